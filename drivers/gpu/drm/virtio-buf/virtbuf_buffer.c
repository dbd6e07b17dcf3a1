// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: registered buffers, and how their memory comes back.
 *
 * A buffer holds references to its BOs, their pins and their DMA mappings from
 * before REGISTER until the device has said that the pages are the guest's
 * alone. Who moves its state to VIRTBUF_FREED, exactly once, releases them.
 * Handles, files and processes may vanish at any time before: they only make the
 * buffer an orphan, which is unregistered as soon as it can be, by a command
 * that was allocated with it. virtbuf_device.buffers has every buffer that the
 * host may have; what is left there when the device goes away is dropped after
 * its reset, or leaked on purpose if the reset did not work.
 *
 * Answers act on the state of the buffer, never on whoever waits for it.
 */
#include <linux/kmemleak.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_print.h>

#include "virtbuf_drv.h"

static void virtbuf_unregister_done(struct virtbuf_device *vb,
				    struct virtbuf_command *command,
				    int result);

/**
 * virtbuf_buffer_get - takes a reference
 * @buffer: the buffer
 *
 * Return: @buffer.
 */
struct virtbuf_buffer *virtbuf_buffer_get(struct virtbuf_buffer *buffer)
{
	kref_get(&buffer->refs);
	return buffer;
}

static void virtbuf_buffer_free(struct kref *refs)
{
	struct virtbuf_buffer *buffer = container_of(refs,
						     struct virtbuf_buffer,
						     refs);

	WARN_ON(buffer->part_count);
	virtbuf_properties_put(buffer->properties);
	virtbuf_stream_put(buffer->stream);
	virtbuf_written_free(buffer->written);
	virtbuf_account_put(buffer->account);
	kfree(buffer);
}

/**
 * virtbuf_buffer_put - gives a reference back
 * @buffer: the buffer
 */
void virtbuf_buffer_put(struct virtbuf_buffer *buffer)
{
	kref_put(&buffer->refs, virtbuf_buffer_free);
}

/**
 * virtbuf_buffer_lookup - finds a buffer by its handle
 * @file: whose handle it is
 * @handle: from user space
 *
 * Return: the buffer with a reference, or NULL.
 */
struct virtbuf_buffer *virtbuf_buffer_lookup(struct virtbuf_file *file,
					     u32 handle)
{
	struct virtbuf_buffer *buffer;

	xa_lock(&file->handles);
	buffer = xa_load(&file->handles, handle);
	if (buffer)
		virtbuf_buffer_get(buffer);
	xa_unlock(&file->handles);
	return buffer;
}

/**
 * virtbuf_buffer_wake - wakes who waits for a buffer
 * @vb: the device
 * @buffer: the buffer; the caller holds virtbuf_device.lock
 */
void virtbuf_buffer_wake(struct virtbuf_device *vb,
			 struct virtbuf_buffer *buffer)
{
	lockdep_assert_held(&vb->lock);

	if (buffer->file)
		wake_up_all(&buffer->file->wait);
}

/**
 * virtbuf_buffer_create - makes a buffer without memory
 * @file: who it is for
 * @request: what the device will be told
 *
 * Return: the buffer with one reference, or an ERR_PTR(): -ENOSPC above a quota.
 */
struct virtbuf_buffer *
virtbuf_buffer_create(struct virtbuf_file *file,
		      const struct virtio_buf_register *request)
{
	struct virtbuf_buffer *buffer;
	int ret;

	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return ERR_PTR(-ENOMEM);
	ret = -ENOMEM;
	buffer->stream = virtbuf_stream_get(file->vb,
					    le64_to_cpu(request->stream));
	if (request->access == VIRTIO_BUF_ACCESS_WRITER)
		buffer->written = virtbuf_written_create();
	if (buffer->stream && (buffer->written ||
			       request->access != VIRTIO_BUF_ACCESS_WRITER))
		ret = virtbuf_account_charge(file->account,
					     VIRTBUF_QUOTA_BUFFERS, 1);
	if (ret) {
		virtbuf_written_free(buffer->written);
		virtbuf_stream_put(buffer->stream);
		kfree(buffer);
		return ERR_PTR(ret);
	}
	buffer->account = virtbuf_account_get(file->account);
	kref_init(&buffer->refs);
	buffer->file = file;
	buffer->state = VIRTBUF_REGISTERING;
	buffer->mode = request->mode;
	INIT_LIST_HEAD(&buffer->updates);
	INIT_LIST_HEAD(&buffer->points);
	virtbuf_update_init(&buffer->update, buffer);

	buffer->unregister.request.hdr.type =
		cpu_to_le32(VIRTIO_BUF_CMD_UNREGISTER);
	buffer->unregister.command = (struct virtbuf_command) {
		.out[0] = { &buffer->unregister.request,
			    sizeof(buffer->unregister.request) },
		.answer = { &buffer->unregister.answer,
			    sizeof(struct virtio_buf_response) },
		.answer_min = sizeof(struct virtio_buf_response),
		.done = virtbuf_unregister_done,
	};
	return buffer;
}

/**
 * virtbuf_buffer_add_part - adds memory to a buffer that is not registered yet
 * @vb: the device, in a section of drm_dev_enter()
 * @buffer: with less than DRM_VIRTBUF_MAX_BO_RANGES parts
 * @bo: where the memory is; the buffer takes a reference and maps it
 * @offset: bytes, page aligned
 * @size: bytes, page aligned; the part lies in the BO
 *
 * Return: 0 or a negative errno; -ENOSPC above a quota.
 */
int virtbuf_buffer_add_part(struct virtbuf_device *vb,
			    struct virtbuf_buffer *buffer,
			    struct virtbuf_bo *bo, u64 offset, u64 size)
{
	int ret = virtbuf_account_charge(buffer->account, VIRTBUF_QUOTA_BYTES,
					 size);

	if (ret)
		return ret;
	ret = virtbuf_bo_map(vb, bo);
	if (ret) {
		virtbuf_account_uncharge(buffer->account, VIRTBUF_QUOTA_BYTES,
					 size);
		return ret;
	}
	drm_gem_object_get(&bo->shmem.base);
	buffer->parts[buffer->part_count++] = (struct virtbuf_part) {
		bo, offset, size
	};
	buffer->size += size;
	return 0;
}

/* With @leak the pages stay pinned, and their objects referenced, for ever */
static void virtbuf_free_parts(struct virtbuf_device *vb,
			       struct virtbuf_buffer *buffer, bool leak)
{
	unsigned int i;

	for (i = 0; i < buffer->part_count; i++) {
		struct virtbuf_bo *bo = buffer->parts[i].bo;

		virtbuf_bo_unmap(vb, bo, leak);
		if (leak)
			kmemleak_not_leak(bo);
		else
			drm_gem_object_put(&bo->shmem.base);
	}
	buffer->part_count = 0;
}

static void virtbuf_uncharge(struct virtbuf_buffer *buffer)
{
	virtbuf_account_uncharge(buffer->account, VIRTBUF_QUOTA_BYTES,
				 buffer->size);
	virtbuf_account_uncharge(buffer->account, VIRTBUF_QUOTA_BUFFERS, 1);
}

/**
 * virtbuf_buffer_discard - gives up a buffer that the device never heard of
 * @vb: the device, in a section of drm_dev_enter()
 * @buffer: the caller's reference is gone after it
 */
void virtbuf_buffer_discard(struct virtbuf_device *vb,
			    struct virtbuf_buffer *buffer)
{
	virtbuf_free_parts(vb, buffer, false);
	virtbuf_uncharge(buffer);
	virtbuf_buffer_put(buffer);
}

/* The pages are the guest's: ends the buffer's life in the device, once */
static void virtbuf_buffer_freed(struct virtbuf_device *vb,
				 struct virtbuf_buffer *buffer, bool shared)
{
	unsigned int i;
	bool pending;

	mutex_lock(&vb->vq_lock);
	spin_lock(&vb->lock);
	if (buffer->state == VIRTBUF_FREED) {
		spin_unlock(&vb->lock);
		mutex_unlock(&vb->vq_lock);
		return;
	}
	if (buffer->state >= VIRTBUF_UNREGISTERING) {
		for (i = 0; i < buffer->part_count && !shared; i++)
			buffer->parts[i].bo->taking_back--;
		virtbuf_account_uncharge(buffer->account,
					 VIRTBUF_QUOTA_PENDING, 1);
	}
	/* Before anyone hears of it, who may want to use it again at once */
	virtbuf_uncharge(buffer);
	virtbuf_properties_uncharge(buffer->properties);
	pending = buffer->state == VIRTBUF_PENDING;
	buffer->state = VIRTBUF_FREED;
	virtbuf_buffer_wake(vb, buffer);
	virtbuf_released_look(vb, buffer);
	if (pending)
		virtbuf_event_tell(vb, buffer, BIT(DRM_VIRTBUF_WAIT_FREED));
	spin_unlock(&vb->lock);
	/* One that was never unregistered may still have some */
	virtbuf_updates_drop(vb, buffer, 0);
	mutex_unlock(&vb->vq_lock);
	virtbuf_points_signal(vb);

	virtbuf_free_parts(vb, buffer, shared);
	xa_erase(&vb->buffers, buffer->id);
	wake_up_all(&vb->drained);
	virtbuf_buffer_put(buffer);
}

/* Leaves REGISTERED, with vq_lock held: the ring has its commands in order */
static void virtbuf_unregister_locked(struct virtbuf_device *vb,
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

static void virtbuf_unregister_done(struct virtbuf_device *vb,
				    struct virtbuf_command *command,
				    int result)
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
 * virtbuf_buffer_released - takes note of what no consumer will read
 * @vb: the device
 * @buffer: the buffer; the caller holds virtbuf_device.lock, and calls
 *	virtbuf_points_signal() after it
 * @released: serial, from the device
 */
void virtbuf_buffer_released(struct virtbuf_device *vb,
			     struct virtbuf_buffer *buffer, u64 released)
{
	lockdep_assert_held(&vb->lock);

	/* The device cannot release what it was not given */
	released = min(released, buffer->given_serial);
	if (released > buffer->released) {
		buffer->released = released;
		virtbuf_buffer_wake(vb, buffer);
		virtbuf_event_tell(vb, buffer,
				   BIT(DRM_VIRTBUF_WAIT_RELEASED));
	}
	virtbuf_released_look(vb, buffer);
}

/**
 * virtbuf_buffer_take_error - tells once of an UPDATE that failed later
 * @vb: the device
 * @buffer: the buffer
 *
 * Return: 0, or the error, which is reported by this.
 */
int virtbuf_buffer_take_error(struct virtbuf_device *vb,
			      struct virtbuf_buffer *buffer)
{
	int error;

	spin_lock(&vb->lock);
	error = buffer->error;
	buffer->error = 0;
	spin_unlock(&vb->lock);
	return error;
}

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

/* Registers a buffer under the id that it has */
static int virtbuf_register_again(struct virtbuf_device *vb,
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
