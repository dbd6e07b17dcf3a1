// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: quotas, so that no program takes everything from the others.
 *
 * What the host has is pinned, and what it does not give back stays so, whoever
 * has died. That is charged to an open file, to the user who has opened it, and
 * to the device: all three or none. A charge that goes over one of them fails
 * with ENOSPC; charges follow the buffer, not the file, to its end. Memory that
 * is allocated and not registered is no matter of these quotas: it is charged to
 * the memory cgroup of who allocates it, as is everything that the driver itself
 * needs for a buffer.
 *
 * virtbuf_device.quota_lock is a leaf: nothing is locked inside of it.
 */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include <drm/drm_file.h>
#include <drm/drm_print.h>

#include "virtbuf_drv.h"

static int quota_mib[VIRTBUF_SCOPE_COUNT] = { -1, -1, -1 };
module_param_array(quota_mib, int, NULL, 0644);
MODULE_PARM_DESC(quota_mib,
		 "MiB of registered buffers per file, user, device (default -1: a quarter, a quarter, a half of the memory)");

static int quota_buffers[VIRTBUF_SCOPE_COUNT] = { 1024, 4096, 16384 };
module_param_array(quota_buffers, int, NULL, 0644);
MODULE_PARM_DESC(quota_buffers,
		 "registered buffers per file, user, device (default 1024,4096,16384)");

static int quota_pending[VIRTBUF_SCOPE_COUNT] = { 64, 256, 1024 };
module_param_array(quota_pending, int, NULL, 0644);
MODULE_PARM_DESC(quota_pending,
		 "buffers that the host has not given back per file, user, device; from there on nothing is registered (default 64,256,1024)");

static int quota_property_kib[VIRTBUF_SCOPE_COUNT] = { 4096, 16384, 65536 };
module_param_array(quota_property_kib, int, NULL, 0644);
MODULE_PARM_DESC(quota_property_kib,
		 "KiB of properties per file, user, device (default 4096,16384,65536)");

static_assert(DRM_VIRTBUF_PARAM_QUOTA_USER_BYTES -
	      DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES ==
	      VIRTBUF_SCOPE_USER * VIRTBUF_QUOTA_COUNT);
static_assert(DRM_VIRTBUF_PARAM_QUOTA_DEVICE_PROPERTY_BYTES -
	      DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES ==
	      VIRTBUF_SCOPE_DEVICE * VIRTBUF_QUOTA_COUNT +
	      VIRTBUF_QUOTA_PROPERTY_BYTES);

/* What is registered is pinned: the rest of the machine needs memory, too */
static u64 virtbuf_default_bytes(enum virtbuf_scope scope)
{
	u64 bytes = (u64)totalram_pages() << PAGE_SHIFT;

	return scope == VIRTBUF_SCOPE_DEVICE ? bytes / 2 : bytes / 4;
}

static u64 virtbuf_quota_limit(enum virtbuf_scope scope,
			       enum virtbuf_quota quota)
{
	int mib;

	switch (quota) {
	case VIRTBUF_QUOTA_BUFFERS:
		return max(READ_ONCE(quota_buffers[scope]), 0);
	case VIRTBUF_QUOTA_PENDING:
		return max(READ_ONCE(quota_pending[scope]), 0);
	case VIRTBUF_QUOTA_PROPERTY_BYTES:
		return max(READ_ONCE(quota_property_kib[scope]), 0) *
		       (u64)SZ_1K;
	default:
		mib = READ_ONCE(quota_mib[scope]);
		return mib < 0 ? virtbuf_default_bytes(scope) :
				 mib * (u64)SZ_1M;
	}
}

/**
 * virtbuf_quota_param - answers GETPARAM for a quota
 * @param: DRM_VIRTBUF_PARAM_*
 * @value: where to
 *
 * Return: 0, or -EINVAL where @param is no quota.
 */
int virtbuf_quota_param(u64 param, u64 *value)
{
	unsigned int index;

	if (param < DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES ||
	    param > DRM_VIRTBUF_PARAM_QUOTA_DEVICE_PROPERTY_BYTES)
		return -EINVAL;
	index = param - DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES;
	*value = virtbuf_quota_limit(index / VIRTBUF_QUOTA_COUNT,
				     index % VIRTBUF_QUOTA_COUNT);
	return 0;
}

/**
 * virtbuf_quota_init - prepares the accounts of a device
 * @vb: the device
 */
void virtbuf_quota_init(struct virtbuf_device *vb)
{
	spin_lock_init(&vb->quota_lock);
	xa_init(&vb->users);
	vb->account.vb = vb;
	vb->account.scope = VIRTBUF_SCOPE_DEVICE;
}

static struct virtbuf_account *virtbuf_account_alloc(struct virtbuf_device *vb,
						     enum virtbuf_scope scope)
{
	struct virtbuf_account *account;

	account = kzalloc(sizeof(*account), GFP_KERNEL_ACCOUNT);
	if (!account)
		return NULL;
	refcount_set(&account->refs, 1);
	account->vb = vb;
	account->scope = scope;
	return account;
}

/* The caller's account on this device, with a reference, or an ERR_PTR() */
static struct virtbuf_account *virtbuf_user_account(struct virtbuf_device *vb)
{
	struct virtbuf_account *user, *fresh;
	kuid_t uid = current_uid();

	fresh = virtbuf_account_alloc(vb, VIRTBUF_SCOPE_USER);
	if (!fresh)
		return ERR_PTR(-ENOMEM);
	fresh->uid = uid;
	fresh->parent = &vb->account;

	xa_lock(&vb->users);
	user = __xa_cmpxchg(&vb->users, __kuid_val(uid), NULL, fresh,
			    GFP_KERNEL_ACCOUNT);
	if (user && !xa_is_err(user))
		refcount_inc(&user->refs);
	xa_unlock(&vb->users);

	if (!user)
		return fresh;
	kfree(fresh);
	return xa_is_err(user) ? ERR_PTR(xa_err(user)) : user;
}

static void virtbuf_user_account_put(struct virtbuf_account *user)
{
	struct virtbuf_device *vb = user->vb;
	bool last;

	xa_lock(&vb->users);
	last = refcount_dec_and_test(&user->refs);
	if (last)
		__xa_erase(&vb->users, __kuid_val(user->uid));
	xa_unlock(&vb->users);
	if (last)
		kfree(user);
}

/**
 * virtbuf_account_create - makes the account of an open file
 * @vb: the device
 *
 * The user is who opens it, whoever may use it later.
 *
 * Return: the account with one reference, or an ERR_PTR().
 */
struct virtbuf_account *virtbuf_account_create(struct virtbuf_device *vb)
{
	struct virtbuf_account *account, *user;

	account = virtbuf_account_alloc(vb, VIRTBUF_SCOPE_FILE);
	if (!account)
		return ERR_PTR(-ENOMEM);
	user = virtbuf_user_account(vb);
	if (IS_ERR(user)) {
		kfree(account);
		return user;
	}
	account->parent = user;
	return account;
}

/**
 * virtbuf_account_get - takes a reference
 * @account: a file's
 *
 * Return: @account.
 */
struct virtbuf_account *virtbuf_account_get(struct virtbuf_account *account)
{
	refcount_inc(&account->refs);
	return account;
}

/**
 * virtbuf_account_put - gives a reference back
 * @account: a file's; NULL does nothing
 */
void virtbuf_account_put(struct virtbuf_account *account)
{
	if (!account || !refcount_dec_and_test(&account->refs))
		return;
	virtbuf_user_account_put(account->parent);
	kfree(account);
}

static bool virtbuf_account_allows(const struct virtbuf_account *account,
				   enum virtbuf_quota quota, u64 amount)
{
	u64 limit = virtbuf_quota_limit(account->scope, quota);
	u64 used = account->used[quota];

	/* The limit may have been lowered */
	if (used > limit || amount > limit - used)
		return false;
	if (quota != VIRTBUF_QUOTA_BUFFERS)
		return true;
	/* Nobody can be kept from leaving buffers behind, but from new ones */
	return account->used[VIRTBUF_QUOTA_PENDING] <
	       virtbuf_quota_limit(account->scope, VIRTBUF_QUOTA_PENDING);
}

static void virtbuf_account_add(struct virtbuf_account *account,
				enum virtbuf_quota quota, u64 amount)
{
	lockdep_assert_held(&account->vb->quota_lock);

	for (; account; account = account->parent)
		account->used[quota] += amount;
}

/**
 * virtbuf_account_charge - uses some of a quota
 * @account: of a file; its user and its device are charged, too
 * @quota: all but VIRTBUF_QUOTA_PENDING
 * @amount: how much
 *
 * Return: 0, or -ENOSPC, and nothing is charged.
 */
int virtbuf_account_charge(struct virtbuf_account *account,
			   enum virtbuf_quota quota, u64 amount)
{
	struct virtbuf_device *vb = account->vb;
	struct virtbuf_account *each;
	int ret = 0;

	spin_lock(&vb->quota_lock);
	for (each = account; each && !ret; each = each->parent) {
		if (!virtbuf_account_allows(each, quota, amount))
			ret = -ENOSPC;
	}
	if (!ret)
		virtbuf_account_add(account, quota, amount);
	spin_unlock(&vb->quota_lock);
	return ret;
}

/**
 * virtbuf_account_uncharge - gives back what was charged
 * @account: of a file
 * @quota: which one
 * @amount: how much
 */
void virtbuf_account_uncharge(struct virtbuf_account *account,
			      enum virtbuf_quota quota, u64 amount)
{
	struct virtbuf_device *vb = account->vb;

	spin_lock(&vb->quota_lock);
	virtbuf_account_add(account, quota, -amount);
	spin_unlock(&vb->quota_lock);
}

/**
 * virtbuf_account_add_pending - counts a buffer that is on its way back
 * @account: of a file
 *
 * Cannot fail; virtbuf_account_uncharge() ends it.
 */
void virtbuf_account_add_pending(struct virtbuf_account *account)
{
	struct virtbuf_device *vb = account->vb;

	spin_lock(&vb->quota_lock);
	virtbuf_account_add(account, VIRTBUF_QUOTA_PENDING, 1);
	spin_unlock(&vb->quota_lock);
}

static void virtbuf_show_account(struct drm_printer *printer,
				 struct virtbuf_account *account,
				 const char *scope)
{
	u64 used[VIRTBUF_QUOTA_COUNT];

	spin_lock(&account->vb->quota_lock);
	memcpy(used, account->used, sizeof(used));
	spin_unlock(&account->vb->quota_lock);

	drm_printf(printer, "drm-virtbuf-%sregistered:\t%llu KiB\n", scope,
		   used[VIRTBUF_QUOTA_BYTES] / SZ_1K);
	drm_printf(printer, "drm-virtbuf-%sbuffers:\t%llu\n", scope,
		   used[VIRTBUF_QUOTA_BUFFERS]);
	drm_printf(printer, "drm-virtbuf-%spending:\t%llu\n", scope,
		   used[VIRTBUF_QUOTA_PENDING]);
	drm_printf(printer, "drm-virtbuf-%sproperties:\t%llu\n", scope,
		   used[VIRTBUF_QUOTA_PROPERTY_BYTES]);
}

/**
 * virtbuf_show_fdinfo - what an open file uses, for /proc/PID/fdinfo
 * @printer: where to
 * @drm_file: the file
 *
 * Apart from the standard keys: drm-virtbuf-registered (memory of registered
 * buffers), -buffers (how many), -pending (of these, those that the host has not
 * given back) and -properties (bytes), of this file; drm-virtbuf-user-..., the
 * same of all files of this device that the file's user has opened; and
 * drm-virtbuf-device-..., of all files of this device.
 */
void virtbuf_show_fdinfo(struct drm_printer *printer,
			 struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;

	drm_show_memory_stats(printer, drm_file);
	virtbuf_show_account(printer, file->account, "");
	virtbuf_show_account(printer, file->account->parent, "user-");
	virtbuf_show_account(printer, &file->vb->account, "device-");
}
