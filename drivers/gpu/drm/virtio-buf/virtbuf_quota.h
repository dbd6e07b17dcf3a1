/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio-buf: how much of the guest a file, a user and all of them may share.
 */
#ifndef VIRTBUF_QUOTA_H
#define VIRTBUF_QUOTA_H

#include <linux/refcount.h>
#include <linux/types.h>
#include <linux/uidgid.h>

struct drm_file;
struct drm_printer;
struct virtbuf_device;

/**
 * enum virtbuf_quota - what is counted
 * @VIRTBUF_QUOTA_BYTES: of registered buffers: their pages are pinned
 * @VIRTBUF_QUOTA_BUFFERS: registered buffers
 * @VIRTBUF_QUOTA_PENDING: of these, the ones that are unregistered, by their
 *	program or because it has gone, and not FREED
 * @VIRTBUF_QUOTA_PROPERTY_BYTES: encoded properties of registered buffers
 * @VIRTBUF_QUOTA_COUNT: how many quotas there are
 *
 * In the order of DRM_VIRTBUF_PARAM_QUOTA_*.
 */
enum virtbuf_quota {
	VIRTBUF_QUOTA_BYTES,
	VIRTBUF_QUOTA_BUFFERS,
	VIRTBUF_QUOTA_PENDING,
	VIRTBUF_QUOTA_PROPERTY_BYTES,
	VIRTBUF_QUOTA_COUNT,
};

/**
 * enum virtbuf_scope - whose quota
 * @VIRTBUF_SCOPE_FILE: an open file's
 * @VIRTBUF_SCOPE_USER: of all files of one device that one user has opened
 * @VIRTBUF_SCOPE_DEVICE: of all files of one device
 * @VIRTBUF_SCOPE_COUNT: how many scopes there are
 *
 * In the order of DRM_VIRTBUF_PARAM_QUOTA_*.
 */
enum virtbuf_scope {
	VIRTBUF_SCOPE_FILE,
	VIRTBUF_SCOPE_USER,
	VIRTBUF_SCOPE_DEVICE,
	VIRTBUF_SCOPE_COUNT,
};

/**
 * struct virtbuf_account - what a file, a user or a device uses
 * @refs: users. An account outlives its file while buffers of it are PENDING.
 *	A user's is changed under the lock of virtbuf_device.users; the device's
 *	is not used.
 * @vb: the device
 * @parent: is charged with this one, referenced; NULL: this is the device's
 * @scope: what this is
 * @uid: VIRTBUF_SCOPE_USER: who opened the files
 * @used: by &enum virtbuf_quota, under virtbuf_device.quota_lock
 */
struct virtbuf_account {
	refcount_t refs;
	struct virtbuf_device *vb;
	struct virtbuf_account *parent;
	enum virtbuf_scope scope;
	kuid_t uid;
	u64 used[VIRTBUF_QUOTA_COUNT];
};

void virtbuf_quota_init(struct virtbuf_device *vb);
int virtbuf_quota_param(u64 param, u64 *value);
void virtbuf_show_fdinfo(struct drm_printer *printer,
			 struct drm_file *drm_file);
struct virtbuf_account *virtbuf_account_create(struct virtbuf_device *vb);
struct virtbuf_account *virtbuf_account_get(struct virtbuf_account *account);
void virtbuf_account_put(struct virtbuf_account *account);
int virtbuf_account_charge(struct virtbuf_account *account,
			   enum virtbuf_quota quota, u64 amount);
void virtbuf_account_uncharge(struct virtbuf_account *account,
			      enum virtbuf_quota quota, u64 amount);
void virtbuf_account_add_pending(struct virtbuf_account *account);

#endif /* VIRTBUF_QUOTA_H */
