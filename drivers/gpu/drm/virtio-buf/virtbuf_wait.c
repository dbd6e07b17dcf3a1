// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: WAIT, for what the host does with buffers.
 *
 * Looks at states, never at whoever changes them: each change wakes all waiters
 * of the file. Waits outside of every lock, and ends with the device: by its
 * answer, by the watchdog or by unplug. Items come from user space, and are
 * copied once and checked before anything is waited for.
 */
#include <linux/ktime.h>
#include <linux/slab.h>

#include "virtbuf_drv.h"

/**
 * struct virtbuf_wait - an item of WAIT, looked up
 * @buffer: referenced
 * @item: checked
 */
struct virtbuf_wait {
	struct virtbuf_buffer *buffer;
	struct drm_virtbuf_wait_item item;
};

static bool virtbuf_holds(const struct virtbuf_wait *wait)
{
	const struct virtbuf_buffer *buffer = wait->buffer;
	u64 value = wait->item.value;

	switch (wait->item.condition) {
	case DRM_VIRTBUF_WAIT_RELEASED:
		return buffer->released >= value;
	case DRM_VIRTBUF_WAIT_FREED:
		return buffer->state == VIRTBUF_FREED;
	case DRM_VIRTBUF_WAIT_WRITTEN:
		return virtbuf_written_serial(buffer) >= value;
	default:
		return buffer->consumers >= value;
	}
}

/* What can still happen to a buffer that is given back is FREED alone */
static bool virtbuf_is_over(const struct virtbuf_wait *wait)
{
	return wait->item.condition != DRM_VIRTBUF_WAIT_FREED &&
	       wait->buffer->state != VIRTBUF_REGISTERED;
}

/* Whether WAIT has an end: its index, -ETIME if not, or an error of an item */
static int virtbuf_look(struct virtbuf_device *vb, struct virtbuf_wait *waits,
			u32 count, bool all)
{
	u32 i, held = 0, first = 0;
	bool over = false;
	int ret = -ETIME;

	spin_lock(&vb->lock);
	for (i = 0; i < count; i++) {
		if (waits[i].buffer->error) {
			ret = waits[i].buffer->error;
			waits[i].buffer->error = 0;
			goto out;
		}
		if (!virtbuf_holds(&waits[i]))
			over |= virtbuf_is_over(&waits[i]);
		else if (!held++)
			first = i;
	}
	if (all ? held == count : held)
		ret = first;
	else if (vb->error)
		ret = vb->error;
	else if (over)
		ret = -ENOENT;
out:
	spin_unlock(&vb->lock);
	return ret;
}

static int virtbuf_check_wait_item(struct virtbuf_device *vb,
				   const struct virtbuf_wait *wait)
{
	int ret = 0;

	spin_lock(&vb->lock);
	if (virtbuf_is_over(wait))
		ret = -ENOENT;
	else if (wait->item.condition == DRM_VIRTBUF_WAIT_RELEASED &&
		 wait->item.value > wait->buffer->given_serial)
		ret = -EINVAL;
	spin_unlock(&vb->lock);
	return ret;
}

static int virtbuf_get_wait(struct virtbuf_file *file,
			    const struct drm_virtbuf_wait *args, u32 index,
			    struct virtbuf_wait *wait)
{
	struct drm_virtbuf_wait_item *item = &wait->item;
	int ret;

	ret = virtbuf_copy_element(item, sizeof(*item), args->items,
				   args->stride, index);
	if (ret)
		return ret;
	if (item->condition > DRM_VIRTBUF_WAIT_WRITTEN ||
	    (item->condition == DRM_VIRTBUF_WAIT_FREED && item->value))
		return -EINVAL;

	wait->buffer = virtbuf_buffer_lookup(file, item->buffer);
	if (!wait->buffer)
		return -ENOENT;
	if (item->condition == DRM_VIRTBUF_WAIT_WRITTEN &&
	    !wait->buffer->written)
		return -EINVAL;
	return virtbuf_check_wait_item(file->vb, wait);
}

/*
 * Waits until virtbuf_look() has an answer, and returns it. Never ends early: a
 * timeout in jiffies could, where ticks come late.
 */
static int virtbuf_wait_until(struct virtbuf_file *file,
			      struct virtbuf_wait *waits, u32 count, bool all,
			      s64 timeout_ns)
{
	struct virtbuf_device *vb = file->vb;
	int found = virtbuf_look(vb, waits, count, all);
	s64 now = ktime_get_ns();
	int ret;

	if (found != -ETIME || timeout_ns <= now)
		return found;
	ret = wait_event_interruptible_hrtimeout(file->wait,
						 (found = virtbuf_look(vb, waits, count, all)) !=
						 -ETIME,
						 ns_to_ktime(timeout_ns - now));
	return ret ?: found;
}

/**
 * virtbuf_ioctl_wait - DRM_IOCTL_VIRTBUF_WAIT
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_wait
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_wait(struct drm_device *drm, void *data,
		       struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;
	struct drm_virtbuf_wait *args = data;
	struct virtbuf_wait *waits;
	u32 i;
	int ret = 0;

	if (args->flags & ~DRM_VIRTBUF_WAIT_ALL || !args->count ||
	    args->count > DRM_VIRTBUF_MAX_WAIT_ITEMS ||
	    args->stride < sizeof(struct drm_virtbuf_wait_item))
		return -EINVAL;

	waits = kcalloc(args->count, sizeof(*waits), GFP_KERNEL);
	if (!waits)
		return -ENOMEM;
	for (i = 0; i < args->count && !ret; i++)
		ret = virtbuf_get_wait(file, args, i, &waits[i]);
	if (!ret)
		ret = virtbuf_wait_until(file, waits, args->count,
					 args->flags & DRM_VIRTBUF_WAIT_ALL,
					 args->timeout_ns);
	if (ret >= 0) {
		args->first = ret;
		ret = 0;
	}

	for (i = 0; i < args->count && waits[i].buffer; i++)
		virtbuf_buffer_put(waits[i].buffer);
	kfree(waits);
	return ret;
}
