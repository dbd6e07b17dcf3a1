// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: UPDATE, new contents of a buffer.
 *
 * A buffer has one UPDATE command, and one change of properties, in flight at
 * most; who wants one claims it in virtbuf_buffer.busy and the answer gives it
 * back. So an UPDATE without properties allocates nothing, and properties change
 * in the order in which the device hears of it.
 */
#include <linux/ktime.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/drm_print.h>

#include "virtbuf_drv.h"

#define VIRTBUF_UPDATE_FRAME_FLAGS	(DRM_VIRTBUF_UPDATE_KEYFRAME | \
					 DRM_VIRTBUF_UPDATE_DISCONTINUITY | \
					 DRM_VIRTBUF_UPDATE_END_OF_STREAM | \
					 DRM_VIRTBUF_UPDATE_ERROR)
#define VIRTBUF_UPDATE_FLAGS		(VIRTBUF_UPDATE_FRAME_FLAGS | \
					 DRM_VIRTBUF_UPDATE_NO_IMPLICIT_SYNC | \
					 DRM_VIRTBUF_UPDATE_WAIT_FENCES)

static_assert(VIRTBUF_UPDATE_FRAME_FLAGS == VIRTIO_BUF_FRAME_FLAGS);
static_assert(DRM_VIRTBUF_UPDATE_KEYFRAME == VIRTIO_BUF_FRAME_KEYFRAME);
static_assert(DRM_VIRTBUF_UPDATE_DISCONTINUITY ==
	      VIRTIO_BUF_FRAME_DISCONTINUITY);
static_assert(DRM_VIRTBUF_UPDATE_END_OF_STREAM ==
	      VIRTIO_BUF_FRAME_END_OF_STREAM);
static_assert(DRM_VIRTBUF_UPDATE_ERROR == VIRTIO_BUF_FRAME_ERROR);
static_assert(DRM_VIRTBUF_CLOCK_TAI == VIRTIO_BUF_CLOCK_TAI);
static_assert(DRM_VIRTBUF_MAX_DAMAGE == VIRTIO_BUF_MAX_DAMAGE);
/* Rectangles and spans follow the request on the wire */
static_assert(offsetof(struct virtbuf_update, damage) ==
	      offsetofend(struct virtbuf_update, request));

/**
 * struct virtbuf_damage - what an UPDATE's caller says has changed
 * @rects: rectangles
 * @spans: bytes
 */
struct virtbuf_damage {
	struct drm_virtbuf_rect rects[DRM_VIRTBUF_MAX_DAMAGE];
	struct drm_virtbuf_span spans[DRM_VIRTBUF_MAX_DAMAGE];
};

static bool virtbuf_try_claim(struct virtbuf_device *vb,
			      struct virtbuf_buffer *buffer, unsigned int what)
{
	bool free;

	spin_lock(&vb->lock);
	free = !(buffer->busy & what);
	if (free)
		buffer->busy |= what;
	spin_unlock(&vb->lock);
	return free;
}

/**
 * virtbuf_claim - waits until nobody else changes a buffer
 * @file: the caller's
 * @buffer: the buffer
 * @what: VIRTBUF_BUSY_*, set when it returns 0
 *
 * Interruptible, without effect then. Bounded by the device's answer.
 */
int virtbuf_claim(struct virtbuf_file *file, struct virtbuf_buffer *buffer,
		  unsigned int what)
{
	struct virtbuf_device *vb = file->vb;
	bool claimed = false;
	int ret;

	ret = wait_event_interruptible(file->wait,
				       (claimed = virtbuf_try_claim(vb, buffer,
								    what)) ||
				       virtbuf_error(vb));
	if (ret)
		return ret;
	return claimed ? 0 : virtbuf_error(vb);
}

/**
 * virtbuf_unclaim - undoes virtbuf_claim()
 * @vb: the device
 * @buffer: the buffer
 * @what: VIRTBUF_BUSY_*
 */
void virtbuf_unclaim(struct virtbuf_device *vb, struct virtbuf_buffer *buffer,
		     unsigned int what)
{
	spin_lock(&vb->lock);
	buffer->busy &= ~what;
	virtbuf_buffer_wake(vb, buffer);
	spin_unlock(&vb->lock);
}

static void virtbuf_update_done(struct virtbuf_device *vb,
				struct virtbuf_command *command, int result)
{
	struct virtbuf_buffer *buffer = container_of(command,
						     struct virtbuf_buffer,
						     update.command);
	struct virtbuf_update *update = &buffer->update;
	struct virtbuf_properties *change = update->change;
	struct virtbuf_properties *unused = update->properties;
	u64 released = le64_to_cpu(READ_ONCE(update->answer.released));

	update->change = NULL;
	update->properties = NULL;

	spin_lock(&vb->lock);
	if (result == VIRTIO_BUF_S_OK) {
		if (unused)
			unused = virtbuf_buffer_set_properties(vb, buffer,
							       unused);
		virtbuf_buffer_released(vb, buffer, released);
	} else if (result != VIRTBUF_RESULT_LOST) {
		/* Its ioctl is over: the next one has to say it */
		buffer->error = -EIO;
		buffer->last_serial = update->previous_serial;
	}
	buffer->busy &= ~(VIRTBUF_BUSY_UPDATE |
			  (change ? VIRTBUF_BUSY_PROPERTIES : 0));
	virtbuf_buffer_wake(vb, buffer);
	spin_unlock(&vb->lock);

	virtbuf_properties_put(change);
	virtbuf_properties_put(unused);
	virtbuf_buffer_put(buffer);
}

/**
 * virtbuf_update_init - prepares a new buffer's UPDATE
 * @update: zeroed, in the buffer
 */
void virtbuf_update_init(struct virtbuf_update *update)
{
	update->request.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE);
	update->command = (struct virtbuf_command) {
		.out[0] = { &update->request, sizeof(update->request) },
		.answer = { &update->answer, sizeof(update->answer) },
		.answer_min = sizeof(update->answer),
		.done = virtbuf_update_done,
	};
}

/* What can be said of the arguments without knowing the buffer */
static int virtbuf_check_update(const struct drm_virtbuf_update *args)
{
	if (args->flags & ~VIRTBUF_UPDATE_FLAGS)
		return -EINVAL;
	if (args->clock > DRM_VIRTBUF_CLOCK_TAI ||
	    (args->clock == DRM_VIRTBUF_CLOCK_NONE && args->pts))
		return -EINVAL;
	if (args->rect_count > DRM_VIRTBUF_MAX_DAMAGE ||
	    args->span_count > DRM_VIRTBUF_MAX_DAMAGE)
		return -EINVAL;
	if (args->in_fence_count > VIRTBUF_MAX_IN_FENCES)
		return -E2BIG;
	if (args->in_fence_count &&
	    args->in_fence_stride < sizeof(struct drm_virtbuf_fence))
		return -EINVAL;
	if (args->release_point && !args->release_syncobj)
		return -EINVAL;
	return 0;
}

static int virtbuf_check_fences(const struct drm_virtbuf_update *args)
{
	u32 i;

	for (i = 0; i < args->in_fence_count; i++) {
		struct drm_virtbuf_fence fence;
		int ret = virtbuf_copy_element(&fence, sizeof(fence),
					       args->in_fences,
					       args->in_fence_stride, i);

		if (ret)
			return ret;
		if (fence.flags & ~DRM_VIRTBUF_FENCE_SYNC_FILE ||
		    (fence.flags && fence.point))
			return -EINVAL;
	}
	return 0;
}

static int virtbuf_copy_damage(struct virtbuf_damage *damage,
			       const struct drm_virtbuf_update *args)
{
	u32 i;

	if (copy_from_user(damage->rects, u64_to_user_ptr(args->rects),
			   args->rect_count * sizeof(damage->rects[0])) ||
	    copy_from_user(damage->spans, u64_to_user_ptr(args->spans),
			   args->span_count * sizeof(damage->spans[0])))
		return -EFAULT;

	for (i = 0; i < args->rect_count; i++) {
		if (!damage->rects[i].width || !damage->rects[i].height)
			return -EINVAL;
	}
	for (i = 0; i < args->span_count; i++) {
		if (!damage->spans[i].len)
			return -EINVAL;
	}
	return 0;
}

static bool virtbuf_ends_inside(u64 offset, u64 len, u64 size)
{
	u64 end;

	return !check_add_overflow(offset, len, &end) && end <= size;
}

static int virtbuf_check_bounds(const struct virtbuf_buffer *buffer,
				const struct drm_virtbuf_update *args,
				const struct virtbuf_damage *damage)
{
	u32 i;

	if (!virtbuf_ends_inside(args->data_offset, args->data_size,
				 buffer->size))
		return -EINVAL;
	for (i = 0; i < args->span_count; i++) {
		if (!virtbuf_ends_inside(damage->spans[i].offset,
					 damage->spans[i].len, buffer->size))
			return -EINVAL;
	}
	return 0;
}

/* Encodes all but the serial. The caller has claimed the UPDATE. */
static void virtbuf_fill_update(struct virtbuf_buffer *buffer,
				const struct drm_virtbuf_update *args,
				const struct virtbuf_damage *damage)
{
	struct virtbuf_update *update = &buffer->update;
	struct virtio_buf_frame *frame = &update->request.frame;
	struct virtio_buf_rect *rect = (void *)update->damage;
	struct virtio_buf_span *span = (void *)(rect + args->rect_count);
	u32 i;

	update->request.buffer_id = cpu_to_le64(buffer->id);
	frame->flags = cpu_to_le32(args->flags & VIRTBUF_UPDATE_FRAME_FLAGS);
	frame->clock = cpu_to_le32(args->clock);
	frame->data_offset = cpu_to_le64(args->data_offset);
	frame->data_size = cpu_to_le64(args->data_size);
	frame->pts = cpu_to_le64(args->pts);
	frame->duration = cpu_to_le64(args->duration);
	frame->rect_count = cpu_to_le16(args->rect_count);
	frame->span_count = cpu_to_le16(args->span_count);
	frame->property_bytes = cpu_to_le32(update->change ?
					    update->change->size : 0);

	for (i = 0; i < args->rect_count; i++, rect++) {
		rect->x = cpu_to_le32(damage->rects[i].x);
		rect->y = cpu_to_le32(damage->rects[i].y);
		rect->width = cpu_to_le32(damage->rects[i].width);
		rect->height = cpu_to_le32(damage->rects[i].height);
	}
	for (i = 0; i < args->span_count; i++, span++) {
		span->offset = cpu_to_le64(damage->spans[i].offset);
		span->len = cpu_to_le64(damage->spans[i].len);
	}

	update->command.out[0].size = (u8 *)span - (u8 *)&update->request;
	update->command.out[1] = (struct virtbuf_piece) {
		update->change ? update->change->data : NULL,
		update->change ? update->change->size : 0
	};
}

/* Gives the UPDATE its serial and sends it, in one section */
static int virtbuf_send_update(struct virtbuf_device *vb,
			       struct virtbuf_buffer *buffer, u64 *serial)
{
	struct virtbuf_update *update = &buffer->update;
	int ret;

	mutex_lock(&vb->vq_lock);
	spin_lock(&vb->lock);
	ret = vb->error;
	if (!ret && buffer->state != VIRTBUF_REGISTERED)
		ret = -ENOENT;
	if (!ret && buffer->mode != VIRTIO_BUF_MODE_IN_PLACE &&
	    buffer->last_serial > buffer->released)
		ret = -EBUSY;
	if (!ret) {
		update->previous_serial = buffer->last_serial;
		buffer->last_serial = ++vb->last_serial;
		buffer->given_serial = buffer->last_serial;
		*serial = buffer->last_serial;
	}
	spin_unlock(&vb->lock);
	if (ret)
		goto out;

	update->request.frame.serial = cpu_to_le64(*serial);
	update->request.frame.time = cpu_to_le64(ktime_get_ns());
	virtbuf_buffer_get(buffer);
	ret = virtbuf_queue(vb, &update->command);
	if (ret) {
		spin_lock(&vb->lock);
		buffer->last_serial = update->previous_serial;
		spin_unlock(&vb->lock);
		virtbuf_buffer_put(buffer);
	}
out:
	mutex_unlock(&vb->vq_lock);
	return ret;
}

/* Takes @change, in any case */
static int virtbuf_update_buffer(struct virtbuf_file *file,
				 struct virtbuf_buffer *buffer,
				 struct virtbuf_properties *change,
				 const struct drm_virtbuf_update *args,
				 const struct virtbuf_damage *damage,
				 u64 *serial)
{
	struct virtbuf_update *update = &buffer->update;
	unsigned int claim = VIRTBUF_BUSY_UPDATE |
			     (change ? VIRTBUF_BUSY_PROPERTIES : 0);
	struct virtbuf_device *vb = file->vb;
	struct virtbuf_properties *properties = NULL;
	int ret;

	ret = virtbuf_claim(file, buffer, claim);
	if (ret)
		goto err_change;
	ret = virtbuf_buffer_take_error(vb, buffer);
	if (ret)
		goto err_claim;
	if (change) {
		properties = virtbuf_properties_apply(&vb->limits,
						      buffer->properties,
						      change);
		if (IS_ERR(properties)) {
			ret = PTR_ERR(properties);
			goto err_claim;
		}
	}

	update->change = change;
	update->properties = properties;
	virtbuf_fill_update(buffer, args, damage);
	ret = virtbuf_send_update(vb, buffer, serial);
	if (!ret)
		return 0;

	update->change = NULL;
	update->properties = NULL;
	virtbuf_properties_put(properties);
err_claim:
	virtbuf_unclaim(vb, buffer, claim);
err_change:
	virtbuf_properties_put(change);
	return ret;
}

/**
 * virtbuf_ioctl_update - DRM_IOCTL_VIRTBUF_UPDATE
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_update
 * @drm_file: the caller's
 */
int virtbuf_ioctl_update(struct drm_device *drm, void *data,
			 struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;
	struct drm_virtbuf_update *args = data;
	struct virtbuf_properties *change = NULL;
	struct virtbuf_damage damage;
	struct virtbuf_buffer *buffer;
	u64 serial;
	int ret;

	ret = virtbuf_check_update(args);
	if (!ret)
		ret = virtbuf_check_fences(args);
	if (!ret)
		ret = virtbuf_copy_damage(&damage, args);
	if (ret)
		return ret;

	if (args->property_count) {
		change = virtbuf_properties_from_user(&file->vb->limits,
						      args->properties,
						      args->property_count,
						      args->property_stride,
						      true);
		if (IS_ERR(change))
			return PTR_ERR(change);
	}

	ret = -ENOENT;
	buffer = virtbuf_buffer_lookup(file, args->buffer);
	if (!buffer)
		goto err_change;
	ret = virtbuf_check_bounds(buffer, args, &damage);
	if (!ret && (args->in_fence_count || args->release_syncobj))
		ret = -EOPNOTSUPP;
	if (ret)
		goto err_buffer;

	ret = virtbuf_update_buffer(file, buffer, change, args, &damage,
				    &serial);
	if (!ret)
		args->serial = serial;
	virtbuf_buffer_put(buffer);
	return ret;

err_buffer:
	virtbuf_buffer_put(buffer);
err_change:
	virtbuf_properties_put(change);
	return ret;
}
