// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: UPDATE, new contents of a buffer.
 *
 * The arguments come from user space: all of it is copied once and checked before
 * anything happens. What is made of them belongs to the ioctl until
 * virtbuf_update_submit() has given out the serial. An UPDATE without fences,
 * properties and a release point allocates nothing.
 */
#include <linux/ktime.h>
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

/**
 * struct virtbuf_submission - what was made of an UPDATE's arguments
 * @args: the arguments
 * @damage: copied
 * @change: property records, owned; or NULL
 * @fences: to wait for, owned; or NULL
 * @point: to be signalled, owned; or NULL
 */
struct virtbuf_submission {
	const struct drm_virtbuf_update *args;
	struct virtbuf_damage damage;
	struct virtbuf_properties *change;
	struct virtbuf_fences *fences;
	struct virtbuf_point *point;
};

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
	if (!args->release_point != !args->release_syncobj)
		return -EINVAL;
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

/* Encodes all but the serial */
static void virtbuf_fill_update(struct virtbuf_update *update,
				const struct drm_virtbuf_update *args,
				const struct virtbuf_damage *damage)
{
	struct virtio_buf_frame *frame = &update->request.frame;
	struct virtio_buf_rect *rect = (void *)update->damage;
	struct virtio_buf_span *span = (void *)(rect + args->rect_count);
	u32 i;

	update->request.buffer_id = cpu_to_le64(update->buffer->id);
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

/* Takes from @sub what the update owns. Returns NULL without memory. */
static struct virtbuf_update *virtbuf_update_create(struct virtbuf_buffer *buffer,
						    struct virtbuf_submission *sub,
						    bool now)
{
	struct virtbuf_update *update = &buffer->update;

	if (!now) {
		update = kzalloc(sizeof(*update), GFP_KERNEL_ACCOUNT);
		if (!update)
			return NULL;
		virtbuf_update_init(update, buffer);
	}
	update->change = sub->change;
	update->fences = sub->fences;
	update->deadline = jiffies + virtbuf_fences_timeout();
	virtbuf_fill_update(update, sub->args, &sub->damage);
	return update;
}

/* What virtbuf_update_create() took is the submission's again */
static void virtbuf_update_discard(struct virtbuf_buffer *buffer,
				   struct virtbuf_update *update)
{
	virtbuf_properties_put(update->properties);
	update->properties = NULL;
	update->change = NULL;
	update->fences = NULL;
	if (update != &buffer->update)
		kfree(update);
}

/* The buffer is claimed for it */
static int virtbuf_update_try(struct virtbuf_device *vb,
			      struct virtbuf_buffer *buffer,
			      struct virtbuf_submission *sub, bool now,
			      u64 *serial)
{
	struct virtbuf_properties *properties = NULL;
	struct virtbuf_update *update;
	int ret;

	/* A queued one is applied when it is sent; its bounds are checked now */
	if (sub->change) {
		properties = virtbuf_properties_apply(&vb->limits,
						      buffer->properties,
						      sub->change);
		if (IS_ERR(properties))
			return PTR_ERR(properties);
	}
	update = virtbuf_update_create(buffer, sub, now);
	if (!update) {
		virtbuf_properties_put(properties);
		return -ENOMEM;
	}
	if (now)
		update->properties = properties;
	else
		virtbuf_properties_put(properties);

	ret = virtbuf_update_submit(vb, update, sub->point, serial);
	if (ret) {
		virtbuf_update_discard(buffer, update);
		return ret;
	}
	sub->change = NULL;
	sub->fences = NULL;
	sub->point = NULL;
	return 0;
}

static int virtbuf_update_buffer(struct virtbuf_file *file,
				 struct virtbuf_buffer *buffer,
				 struct virtbuf_submission *sub, u64 *serial)
{
	unsigned int claim = VIRTBUF_BUSY_UPDATE |
			     (sub->change ? VIRTBUF_BUSY_PROPERTIES : 0);
	struct virtbuf_device *vb = file->vb;
	bool now = !sub->fences;
	int ret;

	ret = virtbuf_claim(file, buffer, claim);
	if (ret)
		return ret;
	ret = virtbuf_buffer_take_error(vb, buffer);
	if (!ret)
		ret = virtbuf_update_try(vb, buffer, sub, now, serial);
	if (ret == -EAGAIN) {
		now = false;
		ret = virtbuf_update_try(vb, buffer, sub, now, serial);
	}
	/* The answer gives the claim back, if one will come */
	if (ret || !now)
		virtbuf_unclaim(vb, buffer, claim);
	return ret;
}

/* Finds what the update waits for, and waits if that is asked for */
static int virtbuf_get_fences(struct virtbuf_file *file,
			      struct drm_file *drm_file,
			      struct virtbuf_buffer *buffer,
			      struct virtbuf_submission *sub)
{
	struct virtbuf_fences *fences;
	int ret;

	fences = virtbuf_fences_collect(file, drm_file, sub->args, buffer);
	if (IS_ERR_OR_NULL(fences))
		return PTR_ERR_OR_ZERO(fences);
	if (!(sub->args->flags & DRM_VIRTBUF_UPDATE_WAIT_FENCES)) {
		virtbuf_fences_arm(fences, virtbuf_stream_fences_signalled,
				   buffer->stream);
		sub->fences = fences;
		return 0;
	}
	ret = virtbuf_fences_wait(file, fences);
	virtbuf_fences_free(fences);
	return ret;
}

/* All that can be said of the arguments before the device is asked */
static int virtbuf_prepare(struct virtbuf_file *file,
			   struct drm_file *drm_file,
			   struct virtbuf_buffer *buffer,
			   struct virtbuf_submission *sub)
{
	const struct drm_virtbuf_update *args = sub->args;
	struct virtbuf_point *point;
	int ret;

	ret = virtbuf_check_bounds(buffer, args, &sub->damage);
	if (ret)
		return ret;
	if (args->release_syncobj) {
		point = virtbuf_point_create(file->vb, drm_file, args);
		if (IS_ERR(point))
			return PTR_ERR(point);
		sub->point = point;
	}
	return virtbuf_get_fences(file, drm_file, buffer, sub);
}

/**
 * virtbuf_ioctl_update - DRM_IOCTL_VIRTBUF_UPDATE
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_update
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_update(struct drm_device *drm, void *data,
			 struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;
	struct drm_virtbuf_update *args = data;
	struct virtbuf_submission sub = { .args = args };
	struct virtbuf_buffer *buffer;
	u64 serial;
	int ret;

	ret = virtbuf_check_update(args);
	if (!ret)
		ret = virtbuf_copy_damage(&sub.damage, args);
	if (ret)
		return ret;
	if (args->property_count) {
		sub.change = virtbuf_properties_from_user(&file->vb->limits,
							  args->properties,
							  args->property_count,
							  args->property_stride,
							  true);
		if (IS_ERR(sub.change))
			return PTR_ERR(sub.change);
	}

	ret = -ENOENT;
	buffer = virtbuf_buffer_lookup(file, args->buffer);
	if (!buffer)
		goto out;
	ret = virtbuf_prepare(file, drm_file, buffer, &sub);
	if (!ret)
		ret = virtbuf_update_buffer(file, buffer, &sub, &serial);
	if (!ret)
		args->serial = serial;
	/* Before the buffer: callbacks use its stream */
	virtbuf_fences_free(sub.fences);
	virtbuf_buffer_put(buffer);
out:
	virtbuf_point_free(file->vb, sub.point);
	virtbuf_properties_put(sub.change);
	return ret;
}
