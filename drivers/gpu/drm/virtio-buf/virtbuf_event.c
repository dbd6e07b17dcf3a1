// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: EVENTS, what poll() and read() tell of buffers.
 */
#include "virtbuf_drv.h"

/* All bits of drm_virtbuf_events.conditions */
#define VIRTBUF_CONDITIONS	((1U << (DRM_VIRTBUF_WAIT_WRITTEN + 1)) - 1)

/**
 * virtbuf_ioctl_events - DRM_IOCTL_VIRTBUF_EVENTS
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_events
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_events(struct drm_device *drm, void *data,
			 struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;
	const struct drm_virtbuf_events *args = data;
	struct virtbuf_buffer *buffer;

	if (args->flags || args->pad || args->conditions & ~VIRTBUF_CONDITIONS)
		return -EINVAL;
	if (args->buffer) {
		buffer = virtbuf_buffer_lookup(file, args->buffer);
		if (!buffer)
			return -ENOENT;
		virtbuf_buffer_put(buffer);
	}
	return -EOPNOTSUPP;
}
