// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: EVENTS, what poll() and read() tell of buffers.
 *
 * An event is a hint that a buffer has news, with its newest state, and no log:
 * a buffer has at most one event that is not read, and what happens meanwhile
 * goes into that one. Where there is neither room nor memory for an event, there
 * is still the OVERFLOW that was reserved before, after which nothing more needs
 * to be told until it is read. A file that subscribes to nothing costs nothing.
 *
 * Events are made under virtbuf_device.lock, in which nests the DRM device's
 * event_lock. The DRM core frees what is unread early in its release, long before
 * postclose, and nothing may be added in between: so a file is unsubscribed by
 * virtbuf_release(), before the core hears of it.
 */
#include <linux/poll.h>
#include <linux/slab.h>

#include "virtbuf_drv.h"

/* All bits of drm_virtbuf_events.conditions */
#define VIRTBUF_CONDITIONS	((1U << (DRM_VIRTBUF_WAIT_WRITTEN + 1)) - 1)

/**
 * struct virtbuf_pending_event - an event, the DRM core's once it is sent
 * @base: what the core sees
 * @event: what read() gives
 */
struct virtbuf_pending_event {
	struct drm_pending_event base;
	struct drm_virtbuf_event event;
};

/* The unread event about @buffer, or else the one that covers all; or NULL */
static struct virtbuf_pending_event *virtbuf_find_event(struct drm_file *drm_file,
							u32 buffer)
{
	struct virtbuf_pending_event *pending, *overflow = NULL;
	struct drm_pending_event *base;

	lockdep_assert_held(&drm_file->minor->dev->event_lock);

	/* 4096 bytes of events at most, and few as a rule */
	list_for_each_entry(base, &drm_file->event_list, link) {
		pending = container_of(base, struct virtbuf_pending_event,
				       base);
		switch (base->event->type) {
		case DRM_VIRTBUF_EVENT_BUFFER:
			if (pending->event.buffer == buffer)
				return pending;
			break;
		case DRM_VIRTBUF_EVENT_OVERFLOW:
			overflow = pending;
			break;
		}
	}
	return overflow;
}

static struct virtbuf_pending_event *virtbuf_event_alloc(u32 type, gfp_t gfp)
{
	struct virtbuf_pending_event *pending = kzalloc(sizeof(*pending), gfp);

	if (!pending)
		return NULL;
	pending->event.base.type = type;
	pending->event.base.length = sizeof(pending->event);
	return pending;
}

/* One more unread event; NULL when there is no room */
static struct virtbuf_pending_event *virtbuf_event_add(struct drm_file *drm_file,
						       u32 buffer)
{
	struct drm_device *drm = drm_file->minor->dev;
	struct virtbuf_pending_event *pending;

	pending = virtbuf_event_alloc(DRM_VIRTBUF_EVENT_BUFFER,
				      GFP_NOWAIT | __GFP_NOWARN);
	if (!pending)
		return NULL;
	pending->event.buffer = buffer;
	if (drm_event_reserve_init_locked(drm, drm_file, &pending->base,
					  &pending->event.base)) {
		kfree(pending);
		return NULL;
	}
	drm_send_event_locked(drm, &pending->base);
	return pending;
}

static void virtbuf_send_overflow(struct virtbuf_file *file)
{
	struct virtbuf_pending_event *overflow = file->overflow;

	file->overflow = NULL;
	file->overflow_due = !overflow;
	if (overflow)
		drm_send_event_locked(file->vb->drm, &overflow->base);
}

/**
 * virtbuf_event_tell - tells subscribers of a change
 * @vb: the device
 * @buffer: the buffer; the caller holds virtbuf_device.lock
 * @conditions: bits of DRM_VIRTBUF_WAIT_*: what has changed; 0: its @error,
 *	which every subscriber is told
 */
void virtbuf_event_tell(struct virtbuf_device *vb,
			struct virtbuf_buffer *buffer, u32 conditions)
{
	struct virtbuf_file *file = buffer->file;
	struct virtbuf_pending_event *pending;
	unsigned long flags;
	u32 wanted;

	lockdep_assert_held(&vb->lock);

	if (!file || !file->drm_file)
		return;
	wanted = file->conditions | buffer->conditions;
	if (!wanted || (conditions && !(conditions & wanted)))
		return;

	spin_lock_irqsave(&vb->drm->event_lock, flags);
	pending = virtbuf_find_event(file->drm_file, buffer->handle);
	if (!pending)
		pending = virtbuf_event_add(file->drm_file, buffer->handle);
	if (!pending) {
		virtbuf_send_overflow(file);
	} else if (pending->event.buffer) {
		struct drm_virtbuf_event *event = &pending->event;

		event->conditions |= conditions & wanted;
		event->released = buffer->released;
		event->consumers = buffer->consumers;
		if (buffer->error)
			event->error = -buffer->error;
	}
	spin_unlock_irqrestore(&vb->drm->event_lock, flags);
}

/* Has an OVERFLOW ready again, and sends it if one could not be sent */
static int virtbuf_reserve_overflow(struct virtbuf_file *file,
				    struct drm_file *drm_file)
{
	struct drm_device *drm = file->vb->drm;
	struct virtbuf_pending_event *overflow;
	int ret = 0;

	if (READ_ONCE(file->overflow))
		return 0;
	overflow = virtbuf_event_alloc(DRM_VIRTBUF_EVENT_OVERFLOW,
				       GFP_KERNEL_ACCOUNT);
	if (!overflow)
		return -ENOMEM;

	spin_lock_irq(&drm->event_lock);
	if (!file->overflow)
		ret = drm_event_reserve_init_locked(drm, drm_file,
						    &overflow->base,
						    &overflow->event.base);
	if (!file->overflow && !ret) {
		WRITE_ONCE(file->overflow, overflow);
		overflow = NULL;
		if (file->overflow_due)
			virtbuf_send_overflow(file);
	}
	spin_unlock_irq(&drm->event_lock);
	kfree(overflow);
	return ret;
}

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
	struct virtbuf_buffer *buffer = NULL;
	struct virtbuf_device *vb = file->vb;
	int ret = 0;

	if (args->flags || args->pad || args->conditions & ~VIRTBUF_CONDITIONS)
		return -EINVAL;
	if (args->buffer) {
		buffer = virtbuf_buffer_lookup(file, args->buffer);
		if (!buffer)
			return -ENOENT;
	}
	if (args->conditions)
		ret = virtbuf_reserve_overflow(file, drm_file);
	if (!ret) {
		spin_lock(&vb->lock);
		if (buffer)
			buffer->conditions = args->conditions;
		else
			file->conditions = args->conditions;
		spin_unlock(&vb->lock);
	}
	if (buffer)
		virtbuf_buffer_put(buffer);
	return ret;
}

/* file_operations.poll: a device that is gone is a hang-up */
__poll_t virtbuf_poll(struct file *filp, struct poll_table_struct *wait)
{
	struct drm_file *drm_file = filp->private_data;
	struct virtbuf_file *file = drm_file->driver_priv;
	__poll_t mask = drm_poll(filp, wait);

	if (virtbuf_error(file->vb))
		mask |= EPOLLHUP | EPOLLERR;
	return mask;
}

/* Reads what is there; -EAGAIN: nothing. drm_read() does not end with the device */
static ssize_t virtbuf_try_read(struct file *filp, char __user *buffer,
				size_t count, loff_t *offset)
{
	struct drm_file *drm_file = filp->private_data;
	struct virtbuf_file *file = drm_file->driver_priv;
	ssize_t ret;

	/* One after the other: what is seen here nobody else takes */
	ret = mutex_lock_interruptible(&file->read_lock);
	if (ret)
		return ret;
	if (!list_empty(&drm_file->event_list))
		ret = drm_read(filp, buffer, count, offset);
	else
		ret = virtbuf_error(file->vb) ?: -EAGAIN;
	mutex_unlock(&file->read_lock);
	return ret;
}

/* file_operations.read: ends with the device, and makes room for an OVERFLOW */
ssize_t virtbuf_read(struct file *filp, char __user *buffer, size_t count,
		     loff_t *offset)
{
	struct drm_file *drm_file = filp->private_data;
	struct virtbuf_file *file = drm_file->driver_priv;
	ssize_t ret;

	for (;;) {
		ret = virtbuf_try_read(filp, buffer, count, offset);
		if (ret != -EAGAIN || filp->f_flags & O_NONBLOCK)
			break;
		ret = wait_event_interruptible(drm_file->event_wait,
					       !list_empty(&drm_file->event_list) ||
					       virtbuf_error(file->vb));
		if (ret)
			return ret;
	}
	/* Without memory now, the next one that is read tries it again */
	if (ret > 0)
		virtbuf_reserve_overflow(file, drm_file);
	return ret;
}

/* file_operations.release: see the top of this file */
int virtbuf_release(struct inode *inode, struct file *filp)
{
	struct drm_file *drm_file = filp->private_data;
	struct virtbuf_file *file = drm_file->driver_priv;
	struct virtbuf_pending_event *overflow;

	spin_lock(&file->vb->lock);
	file->drm_file = NULL;
	overflow = file->overflow;
	file->overflow = NULL;
	spin_unlock(&file->vb->lock);
	if (overflow)
		drm_event_cancel_free(file->vb->drm, &overflow->base);
	return drm_release(inode, filp);
}
