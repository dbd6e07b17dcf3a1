// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: the buffers of a device, together.
 *
 * virtbuf_device.buffers has every buffer that the host may have, by its id:
 * the device's events are about them, and a device that goes, or sleeps, needs
 * all of them. What is left there when it goes is dropped after its reset, or
 * leaked on purpose if the reset did not work; what is there when it sleeps is
 * the guest's meanwhile, and registered again after it.
 *
 * Each walk goes by rising ids and holds no lock between two buffers: ids only
 * grow, so that a buffer that comes meanwhile is met, and one that goes is not.
 */
#include <drm/drm_drv.h>
#include <drm/drm_print.h>

#include "virtbuf_drv.h"

static struct virtbuf_buffer *virtbuf_buffer_by_id(struct virtbuf_device *vb,
						   unsigned long *id,
						   unsigned long max)
{
	struct virtbuf_buffer *buffer;

	xa_lock(&vb->buffers);
	buffer = xa_find(&vb->buffers, id, max, XA_PRESENT);
	if (buffer)
		virtbuf_buffer_get(buffer);
	xa_unlock(&vb->buffers);
	return buffer;
}

/* The host has given back, before a sleep, what is to stay registered */
static void virtbuf_end_recall(struct virtbuf_device *vb,
			       struct virtbuf_buffer *buffer)
{
	lockdep_assert_held(&vb->lock);

	if (!buffer->recalled)
		return;
	buffer->recalled = false;
	if (!--vb->recalled)
		wake_up_all(&vb->drained);
}

/**
 * virtbuf_buffer_news - takes note of an event
 * @vb: the device
 * @event: a copy of what the device has written
 * @bytes: what follows it, the device's memory
 * @size: bytes
 *
 * On the workqueue. Ids that nobody knows are no news.
 *
 * Return: 0, or -EPROTO when @bytes break the format.
 */
int virtbuf_buffer_news(struct virtbuf_device *vb,
			const struct virtio_buf_event *event, const u8 *bytes,
			size_t size)
{
	u64 wide = le64_to_cpu(event->buffer_id);
	u32 flags = le32_to_cpu(event->flags);
	unsigned long id = wide;
	struct virtbuf_buffer *buffer = NULL;
	bool freed = false;
	int ret = 0;

	if (id == wide)
		buffer = virtbuf_buffer_by_id(vb, &id, id);
	if (!buffer) {
		drm_dbg_driver(vb->drm, "an event about unknown buffer %llu\n",
			       wide);
		return 0;
	}
	/* Before a release that the writer has said after it */
	if (flags & VIRTIO_BUF_EVENT_WRITTEN)
		ret = virtbuf_written_news(vb, buffer, bytes, size);

	spin_lock(&vb->lock);
	if (buffer->state == VIRTBUF_REGISTERING)
		flags = 0;
	if (flags & VIRTIO_BUF_EVENT_RELEASED)
		virtbuf_buffer_released(vb, buffer,
					le64_to_cpu(event->released));
	if (flags & VIRTIO_BUF_EVENT_CONSUMERS) {
		buffer->consumers = le32_to_cpu(event->consumers);
		virtbuf_event_tell(vb, buffer,
				   BIT(DRM_VIRTBUF_WAIT_CONSUMERS));
	}
	if (flags & VIRTIO_BUF_EVENT_BACKING) {
		buffer->backing = event->backing;
		buffer->reason = event->reason;
	}
	if (flags & VIRTIO_BUF_EVENT_FREED) {
		freed = buffer->state == VIRTBUF_PENDING;
		virtbuf_end_recall(vb, buffer);
	}
	virtbuf_buffer_wake(vb, buffer);
	spin_unlock(&vb->lock);
	virtbuf_points_signal(vb);

	if (freed)
		virtbuf_buffer_freed(vb, buffer, false);
	virtbuf_buffer_put(buffer);
	return ret == -EPROTO ? ret : 0;
}

/**
 * virtbuf_buffers_take_back - asks the host for all pages
 * @vb: the device, with its error set, so that no buffer is added
 */
void virtbuf_buffers_take_back(struct virtbuf_device *vb)
{
	struct virtbuf_buffer *buffer;
	unsigned long id = 0;

	while ((buffer = virtbuf_buffer_by_id(vb, &id, ULONG_MAX))) {
		mutex_lock(&vb->vq_lock);
		virtbuf_unregister_locked(vb, buffer);
		mutex_unlock(&vb->vq_lock);
		virtbuf_buffer_put(buffer);
		if (!++id)
			break;
	}
}

/**
 * virtbuf_buffers_recall - counts what the host has, before it is asked for all
 * @vb: the device, held and settled
 *
 * virtbuf_device.recalled is 0 when everything was given back.
 */
void virtbuf_buffers_recall(struct virtbuf_device *vb)
{
	struct virtbuf_buffer *buffer;
	unsigned long id = 0;

	while ((buffer = virtbuf_buffer_by_id(vb, &id, ULONG_MAX))) {
		spin_lock(&vb->lock);
		/* Who is REGISTERING is held, and unknown to the host */
		if (buffer->state != VIRTBUF_REGISTERING) {
			buffer->recalled = true;
			vb->recalled++;
		}
		spin_unlock(&vb->lock);
		virtbuf_buffer_put(buffer);
		if (!++id)
			break;
	}
}

/**
 * virtbuf_buffers_park - what buffers are while the device sleeps
 * @vb: the device, held, reset and quiet
 *
 * All pages are the guest's. Programs do not notice, but that nobody reads.
 */
void virtbuf_buffers_park(struct virtbuf_device *vb)
{
	struct virtbuf_buffer *buffer;
	unsigned long id = 0;
	bool freed;

	while ((buffer = virtbuf_buffer_by_id(vb, &id, ULONG_MAX))) {
		spin_lock(&vb->lock);
		virtbuf_end_recall(vb, buffer);
		freed = buffer->state == VIRTBUF_PENDING;
		if (buffer->consumers) {
			buffer->consumers = 0;
			virtbuf_event_tell(vb, buffer,
					   BIT(DRM_VIRTBUF_WAIT_CONSUMERS));
		}
		virtbuf_buffer_released(vb, buffer, buffer->accepted_serial);
		virtbuf_buffer_wake(vb, buffer);
		spin_unlock(&vb->lock);
		virtbuf_points_signal(vb);

		if (freed)
			virtbuf_buffer_freed(vb, buffer, false);
		virtbuf_buffer_put(buffer);
		if (!++id)
			break;
	}
}

/**
 * virtbuf_buffers_unpark - registers all buffers again, after a sleep
 * @vb: the device, ready; the caller holds vq_lock, and what was held follows
 *
 * Their ids are those that they had: they rise in the ring, as those to come do. A
 * buffer that the device does not take any more is freed; its program finds no
 * buffer when it uses it next.
 */
void virtbuf_buffers_unpark(struct virtbuf_device *vb)
{
	struct virtbuf_buffer *buffer;
	unsigned long id = 0;

	lockdep_assert_held(&vb->vq_lock);

	while ((buffer = virtbuf_buffer_by_id(vb, &id, ULONG_MAX))) {
		int ret = 0;

		if (buffer->state != VIRTBUF_REGISTERING)
			ret = virtbuf_register_again(vb, buffer);
		if (ret) {
			drm_warn(vb->drm, "buffer %llu is not registered again: %d\n",
				 buffer->id, ret);
			/* The device will say that it has no such buffer */
			buffer->register_error = ret;
			virtbuf_unregister_locked(vb, buffer);
		}
		virtbuf_buffer_put(buffer);
		if (!++id)
			break;
	}
}

/**
 * virtbuf_buffers_give_up - nothing will be released any more
 * @vb: the device, with its error set
 *
 * The pages stay where they are: the host may still have them.
 */
void virtbuf_buffers_give_up(struct virtbuf_device *vb)
{
	struct virtbuf_buffer *buffer;
	unsigned long id = 0;

	while ((buffer = virtbuf_buffer_by_id(vb, &id, ULONG_MAX))) {
		mutex_lock(&vb->vq_lock);
		virtbuf_updates_drop(vb, buffer, virtbuf_error(vb));
		spin_lock(&vb->lock);
		virtbuf_released_look(vb, buffer);
		spin_unlock(&vb->lock);
		mutex_unlock(&vb->vq_lock);
		virtbuf_points_signal(vb);
		virtbuf_buffer_put(buffer);
		if (!++id)
			break;
	}
}

/**
 * virtbuf_buffers_drop - ends all buffers, the device is gone
 * @vb: the device, quiet
 * @shared: the host may still have the pages: nobody gets them any more
 */
void virtbuf_buffers_drop(struct virtbuf_device *vb, bool shared)
{
	struct virtbuf_buffer *buffer;
	unsigned long id = 0;
	u64 leaked = 0;

	while ((buffer = virtbuf_buffer_by_id(vb, &id, ULONG_MAX))) {
		leaked += buffer->size;
		virtbuf_buffer_freed(vb, buffer, shared);
		virtbuf_buffer_put(buffer);
	}
	if (!shared || !leaked)
		return;

	/* The leaked objects point to the DRM device, which must not end */
	drm_dev_get(vb->drm);
	drm_warn(vb->drm, "leaking %llu bytes that the host may still have\n",
		 leaked);
}
