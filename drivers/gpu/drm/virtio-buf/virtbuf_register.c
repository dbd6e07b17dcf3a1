// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: REGISTER and UNREGISTER of one buffer.
 *
 * A buffer is in virtbuf_device.buffers from before its REGISTER is in the ring;
 * ids rise there as they do in the ring, for which vq_lock is held. Answers act
 * on the state of the buffer, never on whoever waits for it. Where the device
 * talks nonsense it counts as having the pages.
 */
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "virtbuf_drv.h"

/**
 * virtbuf_unregister_locked - asks the host for the pages, if it has them
 * @vb: the device; the caller holds vq_lock: the ring has its commands in order
 * @buffer: in any state; only REGISTERED is left
 */
void virtbuf_unregister_locked(struct virtbuf_device *vb,
			       struct virtbuf_buffer *buffer)
{
	unsigned int i;

	lockdep_assert_held(&vb->vq_lock);

	spin_lock(&vb->lock);
	if (buffer->state != VIRTBUF_REGISTERED) {
		spin_unlock(&vb->lock);
		return;
	}
	buffer->state = VIRTBUF_UNREGISTERING;
	for (i = 0; i < buffer->part_count; i++)
		buffer->parts[i].bo->taking_back++;
	virtbuf_account_add_pending(buffer->account);
	virtbuf_buffer_wake(vb, buffer);
	spin_unlock(&vb->lock);
	virtbuf_updates_drop(vb, buffer, 0);
	virtbuf_points_signal(vb);

	virtbuf_buffer_get(buffer);
	if (virtbuf_queue(vb, &buffer->unregister.command))
		virtbuf_buffer_put(buffer);
}

/**
 * virtbuf_registration_free - frees a REGISTER command
 * @registration: answered, or never queued
 */
void virtbuf_registration_free(struct virtbuf_registration *registration)
{
	kvfree(registration->ranges);
	virtbuf_properties_put(registration->properties);
	if (registration->buffer)
		virtbuf_buffer_put(registration->buffer);
	kfree(registration);
}

static void virtbuf_register_done(struct virtbuf_device *vb,
				  struct virtbuf_command *command, int result)
{
	struct virtbuf_registration *registration =
		container_of(command, struct virtbuf_registration, command);
	struct virtio_buf_register_response *answer = &registration->answer;
	struct virtbuf_buffer *buffer = registration->buffer;
	int error = virtbuf_result_to_errno(result);
	bool unwanted;

	if (result == VIRTBUF_RESULT_LOST)
		goto out;

	if (error && result != VIRTBUF_RESULT_GARBAGE) {
		buffer->register_error = error;
		virtbuf_buffer_freed(vb, buffer, false);
		goto out;
	}

	/* Where the device talks nonsense it may have the pages nonetheless */
	if (result != VIRTIO_BUF_S_OK)
		error = -EIO;

	mutex_lock(&vb->vq_lock);
	spin_lock(&vb->lock);
	buffer->register_error = error;
	buffer->backing = answer->backing;
	buffer->reason = answer->reason;
	memcpy(buffer->uuid, answer->uuid, sizeof(buffer->uuid));
	/* After a sleep it may have been unregistered already */
	if (buffer->state == VIRTBUF_REGISTERING)
		buffer->state = VIRTBUF_REGISTERED;
	unwanted = error || !buffer->file || vb->error;
	virtbuf_buffer_wake(vb, buffer);
	spin_unlock(&vb->lock);
	if (unwanted)
		virtbuf_unregister_locked(vb, buffer);
	mutex_unlock(&vb->vq_lock);

out:
	virtbuf_registration_free(registration);
}

static int virtbuf_fill_ranges(struct virtbuf_device *vb,
			       struct virtbuf_registration *registration)
{
	struct virtbuf_buffer *buffer = registration->buffer;
	unsigned int i, max = 0, count = 0;

	for (i = 0; i < buffer->part_count; i++)
		max += buffer->parts[i].bo->sgt->nents;
	max = min(max, vb->limits.max_ranges);
	registration->ranges = kvmalloc_array(max,
					      sizeof(*registration->ranges),
					      GFP_KERNEL_ACCOUNT);
	if (!registration->ranges)
		return -ENOMEM;

	for (i = 0; i < buffer->part_count; i++)
		count = virtbuf_ranges_add_part(registration->ranges, count,
						max, &buffer->parts[i]);
	if (count > max)
		return -E2BIG;

	registration->request.range_count = cpu_to_le32(count);
	registration->command.out[1] = (struct virtbuf_piece) {
		registration->ranges, count * sizeof(*registration->ranges)
	};
	return 0;
}

static void virtbuf_fill_command(struct virtbuf_registration *registration)
{
	struct virtbuf_properties *properties = registration->properties;

	registration->request.property_bytes = cpu_to_le32(properties->size);
	registration->command = (struct virtbuf_command) {
		.out[0] = { &registration->request,
			    sizeof(registration->request) },
		.out[2] = { properties->data, properties->size },
		.answer = { &registration->answer,
			    sizeof(registration->answer) },
		.answer_min = sizeof(registration->answer),
		.done = virtbuf_register_done,
	};
}

/* Gives the buffer its id and sends it, in one section: ids rise in the ring */
static int virtbuf_send_register(struct virtbuf_device *vb,
				 struct virtbuf_registration *registration)
{
	struct virtbuf_buffer *buffer = registration->buffer;
	int ret;

	mutex_lock(&vb->vq_lock);
	ret = virtbuf_error(vb);
	if (ret)
		goto out;
	ret = -ENOSPC;
	if (vb->last_id >= ULONG_MAX)
		goto out;
	buffer->id = ++vb->last_id;
	registration->request.buffer_id = cpu_to_le64(buffer->id);
	buffer->unregister.request.buffer_id = cpu_to_le64(buffer->id);
	buffer->request = registration->request;

	ret = xa_insert(&vb->buffers, buffer->id, buffer, GFP_KERNEL);
	if (ret)
		goto out;
	virtbuf_buffer_get(buffer);
	ret = virtbuf_queue(vb, &registration->command);
	if (ret) {
		xa_erase(&vb->buffers, buffer->id);
		virtbuf_buffer_put(buffer);
	}
out:
	mutex_unlock(&vb->vq_lock);
	return ret;
}

/**
 * virtbuf_buffer_register - tells the device of a buffer
 * @vb: the device, in a section of drm_dev_enter()
 * @registration: with its buffer and properties, and all of the request that
 *	does not follow from them
 *
 * The answer changes the state of the buffer.
 *
 * Return: 0, and @registration is the queue's; or a negative errno, and it is
 * still the caller's.
 */
int virtbuf_buffer_register(struct virtbuf_device *vb,
			    struct virtbuf_registration *registration)
{
	struct virtio_buf_register *request = &registration->request;
	int ret;

	request->hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_REGISTER);
	request->size = cpu_to_le64(registration->buffer->size);
	virtbuf_fill_command(registration);

	ret = virtbuf_properties_charge(registration->properties,
					registration->buffer->account);
	if (!ret)
		ret = virtbuf_fill_ranges(vb, registration);
	return ret ?: virtbuf_send_register(vb, registration);
}

/**
 * virtbuf_unregister_done - the done() of an UNREGISTER
 * @vb: the device
 * @command: of a buffer
 * @result: VIRTIO_BUF_S_* or VIRTBUF_RESULT_*
 */
void virtbuf_unregister_done(struct virtbuf_device *vb,
			     struct virtbuf_command *command, int result)
{
	struct virtbuf_buffer *buffer = container_of(command,
						     struct virtbuf_buffer,
						     unregister.command);

	/* Where the answer to REGISTER was garbage, there may be no buffer */
	if (result == VIRTIO_BUF_S_NO_BUFFER && buffer->register_error)
		result = VIRTIO_BUF_S_OK;

	switch (result) {
	case VIRTBUF_RESULT_LOST:
		break;
	case VIRTIO_BUF_S_OK:
		virtbuf_buffer_freed(vb, buffer, false);
		break;
	default:
		/* Who knows: the pages stay out of use until the device is reset */
		drm_err_ratelimited(vb->drm,
				    "buffer %llu cannot be taken back: %d\n",
				    buffer->id, result);
		fallthrough;
	case VIRTIO_BUF_S_PENDING:
		spin_lock(&vb->lock);
		buffer->state = VIRTBUF_PENDING;
		virtbuf_buffer_wake(vb, buffer);
		spin_unlock(&vb->lock);
	}
	virtbuf_buffer_put(buffer);
}

/**
 * virtbuf_buffer_unregister - asks the host for the pages
 * @vb: the device
 * @buffer: REGISTERED, or on its way back already
 *
 * Does not wait: the answer changes the state of the buffer.
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_buffer_unregister(struct virtbuf_device *vb,
			      struct virtbuf_buffer *buffer)
{
	int ret;

	mutex_lock(&vb->vq_lock);
	ret = virtbuf_error(vb);
	if (!ret)
		virtbuf_unregister_locked(vb, buffer);
	mutex_unlock(&vb->vq_lock);
	return ret;
}

/**
 * virtbuf_buffer_orphan - nobody has this buffer any more
 * @vb: the device
 * @buffer: in any state; its handle is gone, or was never made
 *
 * Cannot fail, does not wait for the host, and leaves the pages pinned until the
 * host has given them back.
 */
void virtbuf_buffer_orphan(struct virtbuf_device *vb,
			   struct virtbuf_buffer *buffer)
{
	mutex_lock(&vb->vq_lock);
	spin_lock(&vb->lock);
	buffer->file = NULL;
	spin_unlock(&vb->lock);
	virtbuf_unregister_locked(vb, buffer);
	mutex_unlock(&vb->vq_lock);
}

/**
 * virtbuf_register_again - registers a buffer under the id that it has
 * @vb: the device; the caller holds vq_lock
 * @buffer: one that the device does not know any more
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_register_again(struct virtbuf_device *vb,
			   struct virtbuf_buffer *buffer)
{
	struct virtbuf_registration *registration;
	int ret;

	registration = kzalloc(sizeof(*registration), GFP_KERNEL);
	if (!registration)
		return -ENOMEM;
	registration->buffer = virtbuf_buffer_get(buffer);
	registration->request = buffer->request;
	spin_lock(&vb->lock);
	registration->properties =
		virtbuf_properties_get(buffer->properties);
	spin_unlock(&vb->lock);

	virtbuf_fill_command(registration);
	registration->command.internal = true;
	ret = virtbuf_fill_ranges(vb, registration);
	if (!ret)
		ret = virtbuf_queue(vb, &registration->command);
	if (ret)
		virtbuf_registration_free(registration);
	return ret;
}
