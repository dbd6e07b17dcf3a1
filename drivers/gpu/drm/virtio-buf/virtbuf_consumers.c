// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: CONSUMERS, the host programs that are there for an application.
 */
#include <linux/uaccess.h>

#include "virtbuf_drv.h"

/**
 * virtbuf_ioctl_consumers - DRM_IOCTL_VIRTBUF_CONSUMERS
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_consumers
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_consumers(struct drm_device *drm, void *data,
			    struct drm_file *drm_file)
{
	const struct drm_virtbuf_consumers *args = data;
	u8 application[VIRTIO_BUF_NAME_SIZE];
	int ret;

	if (args->flags)
		return -EINVAL;
	ret = virtbuf_copy_application(application, args->application,
				       args->application_len);
	if (ret)
		return ret;
	if (!access_ok(u64_to_user_ptr(args->data), args->size))
		return -EFAULT;
	return -EOPNOTSUPP;
}
