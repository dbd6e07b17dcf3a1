// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: SET_PROPERTIES and GET_PROPERTIES.
 *
 * The driver's copy of a buffer's properties follows the device's answers. One
 * change is in flight at most, claimed in virtbuf_buffer.busy, so that changes
 * are made in the order in which the device hears of them.
 */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "virtbuf_drv.h"

/**
 * struct virtbuf_property_change - the SET_PROPERTIES command
 * @call: what the queue sees
 * @buffer: referenced
 * @change: records of this change, owned
 * @properties: virtbuf_buffer.properties after it, owned
 * @request: read by the device
 * @answer: written by the device
 */
struct virtbuf_property_change {
	struct virtbuf_call call;
	struct virtbuf_buffer *buffer;
	struct virtbuf_properties *change;
	struct virtbuf_properties *properties;
	struct virtio_buf_set_properties request;
	struct virtbuf_plain_answer answer;
};

/**
 * virtbuf_buffer_set_properties - the device has taken over a change
 * @vb: the device
 * @buffer: the buffer; the caller holds virtbuf_device.lock
 * @properties: all that it has from now on
 *
 * Return: what the caller has to put after the lock.
 */
struct virtbuf_properties *
virtbuf_buffer_set_properties(struct virtbuf_device *vb,
			      struct virtbuf_buffer *buffer,
			      struct virtbuf_properties *properties)
{
	lockdep_assert_held(&vb->lock);

	swap(buffer->properties, properties);
	return properties;
}

static void virtbuf_change_free(struct virtbuf_call *call)
{
	struct virtbuf_property_change *change =
		container_of(call, struct virtbuf_property_change, call);

	virtbuf_properties_put(change->change);
	virtbuf_properties_put(change->properties);
	virtbuf_buffer_put(change->buffer);
	kfree(change);
}

static void virtbuf_change_done(struct virtbuf_device *vb,
				struct virtbuf_command *command, int result)
{
	struct virtbuf_property_change *change =
		container_of(command, struct virtbuf_property_change,
			     call.command);
	struct virtbuf_buffer *buffer = change->buffer;

	spin_lock(&vb->lock);
	if (result == VIRTIO_BUF_S_OK)
		change->properties =
			virtbuf_buffer_set_properties(vb, buffer,
						      change->properties);
	virtbuf_unclaim_locked(vb, buffer, VIRTBUF_BUSY_PROPERTIES);
	spin_unlock(&vb->lock);
	virtbuf_call_finish(vb, &change->call, result);
}

static int virtbuf_send_change(struct virtbuf_device *vb,
			       struct virtbuf_property_change *change)
{
	int ret;

	mutex_lock(&vb->vq_lock);
	spin_lock(&vb->lock);
	ret = vb->error;
	if (!ret && change->buffer->state != VIRTBUF_REGISTERED)
		ret = -ENOENT;
	spin_unlock(&vb->lock);
	if (!ret)
		ret = virtbuf_call_queue(vb, &change->call);
	mutex_unlock(&vb->vq_lock);
	return ret;
}

/* @change is the caller's, with the records that are wanted */
static int virtbuf_change_properties(struct virtbuf_file *file,
				     struct virtbuf_property_change *change)
{
	struct virtbuf_buffer *buffer = change->buffer;
	struct virtbuf_device *vb = file->vb;
	struct virtbuf_properties *properties;
	int ret;

	ret = virtbuf_claim(file, buffer, VIRTBUF_BUSY_PROPERTIES);
	if (ret)
		return ret;
	properties = virtbuf_properties_apply(&vb->limits, buffer->properties,
					      change->change);
	if (IS_ERR(properties)) {
		ret = PTR_ERR(properties);
		goto err;
	}
	change->properties = properties;
	ret = virtbuf_send_change(vb, change);
	if (ret)
		goto err;

	return virtbuf_call_wait(&change->call, TASK_KILLABLE);

err:
	virtbuf_unclaim(vb, buffer, VIRTBUF_BUSY_PROPERTIES);
	return ret;
}

/**
 * virtbuf_ioctl_set_properties - DRM_IOCTL_VIRTBUF_SET_PROPERTIES
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_set_properties
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_set_properties(struct drm_device *drm, void *data,
				 struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;
	const struct drm_virtbuf_set_properties *args = data;
	struct virtbuf_property_change *change;
	struct virtbuf_properties *records;
	struct virtbuf_buffer *buffer;
	int ret;

	if (args->flags || !args->property_count)
		return -EINVAL;
	records = virtbuf_properties_from_user(&file->vb->limits,
					       args->properties,
					       args->property_count,
					       args->property_stride, true);
	if (IS_ERR(records))
		return PTR_ERR(records);

	ret = -ENOENT;
	buffer = virtbuf_buffer_lookup(file, args->buffer);
	if (!buffer)
		goto err_records;
	ret = -ENOMEM;
	change = kzalloc(sizeof(*change), GFP_KERNEL_ACCOUNT);
	if (!change)
		goto err_buffer;

	virtbuf_call_init(&change->call, file, virtbuf_change_free);
	change->buffer = buffer;
	change->change = records;
	change->request.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_SET_PROPERTIES);
	change->request.buffer_id = cpu_to_le64(buffer->id);
	change->request.property_bytes = cpu_to_le32(records->size);
	change->call.command = (struct virtbuf_command) {
		.out[0] = { &change->request, sizeof(change->request) },
		.out[1] = { records->data, records->size },
		.answer = { &change->answer,
			    sizeof(struct virtio_buf_response) },
		.answer_min = sizeof(struct virtio_buf_response),
		.done = virtbuf_change_done,
	};
	ret = virtbuf_change_properties(file, change);
	virtbuf_call_end(&change->call);
	return ret;

err_buffer:
	virtbuf_buffer_put(buffer);
err_records:
	virtbuf_properties_put(records);
	return ret;
}

/**
 * virtbuf_ioctl_get_properties - DRM_IOCTL_VIRTBUF_GET_PROPERTIES
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_get_properties
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_get_properties(struct drm_device *drm, void *data,
				 struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;
	struct drm_virtbuf_get_properties *args = data;
	struct virtbuf_properties *properties = NULL;
	struct virtbuf_device *vb = file->vb;
	struct virtbuf_buffer *buffer;
	int ret = 0;

	if (args->pad)
		return -EINVAL;
	buffer = virtbuf_buffer_lookup(file, args->buffer);
	if (!buffer)
		return -ENOENT;

	spin_lock(&vb->lock);
	if (buffer->state == VIRTBUF_REGISTERED)
		properties = virtbuf_properties_get(buffer->properties);
	spin_unlock(&vb->lock);
	virtbuf_buffer_put(buffer);
	if (!properties)
		return -ENOENT;

	if (args->size < properties->size)
		ret = -ENOSPC;
	else if (copy_to_user(u64_to_user_ptr(args->data), properties->data,
			      properties->size))
		ret = -EFAULT;
	if (ret != -EFAULT) {
		args->size = properties->size;
		args->count = properties->count;
	}
	virtbuf_properties_put(properties);
	return ret;
}
