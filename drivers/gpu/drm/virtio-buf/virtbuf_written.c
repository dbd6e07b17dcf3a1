// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: GET_WRITTEN, what the consumer that writes to a buffer says of it.
 *
 * Only the newest frame is kept, in memory that was allocated with the buffer;
 * properties of a frame are allocated when it has any. A frame comes from a
 * program on the host by way of the device: it is copied once, and what does not
 * follow the format is an error of the device, which should have checked it.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "virtbuf_drv.h"

/**
 * struct virtbuf_written - the newest frame of a buffer's writer
 * @frame: its serial is 0 as long as there is none; under virtbuf_device.lock as
 *	all that follows
 * @rects: as many as @frame says
 * @spans: the same
 * @properties: never NULL when there is a frame
 */
struct virtbuf_written {
	struct virtio_buf_frame frame;
	struct virtio_buf_rect rects[VIRTIO_BUF_MAX_DAMAGE];
	struct virtio_buf_span spans[VIRTIO_BUF_MAX_DAMAGE];
	struct virtbuf_properties *properties;
};

/**
 * virtbuf_written_create - makes room for the frames of a writer
 *
 * Return: the room, or NULL.
 */
struct virtbuf_written *virtbuf_written_create(void)
{
	return kzalloc(sizeof(struct virtbuf_written), GFP_KERNEL_ACCOUNT);
}

/**
 * virtbuf_written_free - frees the room
 * @written: the room; NULL does nothing
 */
void virtbuf_written_free(struct virtbuf_written *written)
{
	if (!written)
		return;
	virtbuf_properties_put(written->properties);
	kfree(written);
}

/**
 * virtbuf_written_serial - which frame is the newest
 * @buffer: the buffer; the caller holds virtbuf_device.lock
 *
 * Return: the writer's serial; 0: none.
 */
u64 virtbuf_written_serial(const struct virtbuf_buffer *buffer)
{
	return buffer->written ?
	       le64_to_cpu(buffer->written->frame.serial) : 0;
}

static bool virtbuf_frame_is_valid(const struct virtbuf_buffer *buffer,
				   const struct virtbuf_written *fresh)
{
	const struct virtio_buf_frame *frame = &fresh->frame;
	unsigned int i;

	if (!frame->serial ||
	    le32_to_cpu(frame->flags) & ~VIRTIO_BUF_FRAME_FLAGS ||
	    le32_to_cpu(frame->clock) > VIRTIO_BUF_CLOCK_TAI ||
	    !virtbuf_ends_inside(le64_to_cpu(frame->data_offset),
				 le64_to_cpu(frame->data_size), buffer->size))
		return false;
	for (i = 0; i < le16_to_cpu(frame->rect_count); i++) {
		if (!fresh->rects[i].width || !fresh->rects[i].height)
			return false;
	}
	for (i = 0; i < le16_to_cpu(frame->span_count); i++) {
		const struct virtio_buf_span *span = &fresh->spans[i];

		if (!span->len ||
		    !virtbuf_ends_inside(le64_to_cpu(span->offset),
					 le64_to_cpu(span->len), buffer->size))
			return false;
	}
	return true;
}

/* Copies what the device has written; its lengths add up to @size exactly */
static int virtbuf_copy_frame(struct virtbuf_device *vb,
			      struct virtbuf_written *fresh, const u8 *bytes,
			      size_t size)
{
	struct virtio_buf_frame *frame = &fresh->frame;
	size_t rects, spans, properties;

	if (size < sizeof(*frame))
		return -EPROTO;
	memcpy(frame, bytes, sizeof(*frame));
	if (le16_to_cpu(frame->rect_count) > VIRTIO_BUF_MAX_DAMAGE ||
	    le16_to_cpu(frame->span_count) > VIRTIO_BUF_MAX_DAMAGE)
		return -EPROTO;
	rects = le16_to_cpu(frame->rect_count) * sizeof(fresh->rects[0]);
	spans = le16_to_cpu(frame->span_count) * sizeof(fresh->spans[0]);
	properties = le32_to_cpu(frame->property_bytes);
	if (size != sizeof(*frame) + rects + spans + properties ||
	    properties > vb->limits.max_property_bytes)
		return -EPROTO;

	bytes += sizeof(*frame);
	memcpy(fresh->rects, bytes, rects);
	memcpy(fresh->spans, bytes + rects, spans);
	fresh->properties = virtbuf_properties_from_device(bytes + rects + spans,
							   properties);
	if (IS_ERR(fresh->properties))
		return PTR_ERR(fresh->properties);
	return 0;
}

/**
 * virtbuf_written_news - takes note of a WRITTEN
 * @vb: the device
 * @buffer: any; whether it has a writer is not known yet
 * @bytes: a struct virtio_buf_frame with what follows it, from the device
 * @size: bytes
 *
 * Return: 0; -EPROTO when it breaks the format; -ENOMEM, and the frame is lost.
 */
int virtbuf_written_news(struct virtbuf_device *vb,
			 struct virtbuf_buffer *buffer, const u8 *bytes,
			 size_t size)
{
	struct virtbuf_written fresh = { 0 };
	int ret;

	if (!buffer->written)
		return -EPROTO;
	ret = virtbuf_copy_frame(vb, &fresh, bytes, size);
	if (ret)
		return ret;
	if (!virtbuf_frame_is_valid(buffer, &fresh)) {
		virtbuf_properties_put(fresh.properties);
		return -EPROTO;
	}

	spin_lock(&vb->lock);
	swap(*buffer->written, fresh);
	virtbuf_event_tell(vb, buffer, BIT(DRM_VIRTBUF_WAIT_WRITTEN));
	virtbuf_buffer_wake(vb, buffer);
	spin_unlock(&vb->lock);
	virtbuf_properties_put(fresh.properties);
	return 0;
}

static int virtbuf_copy_damage_to_user(const struct drm_virtbuf_get_written *args,
				       const struct virtbuf_written *written)
{
	unsigned int i;

	for (i = 0; i < le16_to_cpu(written->frame.rect_count); i++) {
		const struct virtio_buf_rect *rect = &written->rects[i];
		struct drm_virtbuf_rect out = {
			.x = le32_to_cpu(rect->x),
			.y = le32_to_cpu(rect->y),
			.width = le32_to_cpu(rect->width),
			.height = le32_to_cpu(rect->height),
		};

		if (copy_to_user(u64_to_user_ptr(args->rects + i * sizeof(out)),
				 &out, sizeof(out)))
			return -EFAULT;
	}
	for (i = 0; i < le16_to_cpu(written->frame.span_count); i++) {
		const struct virtio_buf_span *span = &written->spans[i];
		struct drm_virtbuf_span out = {
			.offset = le64_to_cpu(span->offset),
			.len = le64_to_cpu(span->len),
		};

		if (copy_to_user(u64_to_user_ptr(args->spans + i * sizeof(out)),
				 &out, sizeof(out)))
			return -EFAULT;
	}
	return 0;
}

static int virtbuf_tell_written(struct drm_virtbuf_get_written *args,
				const struct virtbuf_written *written)
{
	const struct virtio_buf_frame *frame = &written->frame;
	u32 rects = le16_to_cpu(frame->rect_count);
	u32 spans = le16_to_cpu(frame->span_count);
	bool fits = rects <= args->rect_count && spans <= args->span_count &&
		    written->properties->size <= args->property_size;

	if (fits && (virtbuf_copy_damage_to_user(args, written) ||
		     copy_to_user(u64_to_user_ptr(args->properties),
				  written->properties->data,
				  written->properties->size)))
		return -EFAULT;
	args->flags = le32_to_cpu(frame->flags);
	args->serial = le64_to_cpu(frame->serial);
	args->data_offset = le64_to_cpu(frame->data_offset);
	args->data_size = le64_to_cpu(frame->data_size);
	args->pts = le64_to_cpu(frame->pts);
	args->duration = le64_to_cpu(frame->duration);
	args->clock = le32_to_cpu(frame->clock);
	args->rect_count = rects;
	args->span_count = spans;
	args->property_count = written->properties->count;
	args->property_size = written->properties->size;
	return fits ? 0 : -ENOSPC;
}

/**
 * virtbuf_ioctl_get_written - DRM_IOCTL_VIRTBUF_GET_WRITTEN
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_get_written
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_get_written(struct drm_device *drm, void *data,
			      struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;
	struct drm_virtbuf_get_written *args = data;
	struct virtbuf_device *vb = file->vb;
	struct virtbuf_written written;
	struct virtbuf_buffer *buffer;
	int ret = -EINVAL;

	if (args->flags || args->pad)
		return -EINVAL;
	buffer = virtbuf_buffer_lookup(file, args->buffer);
	if (!buffer)
		return -ENOENT;
	if (!buffer->written)
		goto out;

	ret = -ENOENT;
	spin_lock(&vb->lock);
	written = *buffer->written;
	if (buffer->state == VIRTBUF_REGISTERED && written.frame.serial) {
		virtbuf_properties_get(written.properties);
		ret = 0;
	}
	spin_unlock(&vb->lock);
	if (!ret) {
		ret = virtbuf_tell_written(args, &written);
		virtbuf_properties_put(written.properties);
	}
out:
	virtbuf_buffer_put(buffer);
	return ret;
}
