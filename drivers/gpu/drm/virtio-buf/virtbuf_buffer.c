// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: registered buffers, and how their memory comes back.
 *
 * A buffer holds references to its BOs, their pins and their DMA mappings from
 * before REGISTER until the device has said that the pages are the guest's
 * alone. Who moves its state to VIRTBUF_FREED, exactly once, releases them.
 * Handles, files and processes may vanish at any time before: they only make the
 * buffer an orphan, which is unregistered as soon as it can be, by a command
 * that was allocated with it.
 *
 * States change under virtbuf_device.lock, and nobody who changes one cares for
 * who waits for it.
 */
#include <linux/kmemleak.h>
#include <linux/slab.h>

#include "virtbuf_drv.h"

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

/**
 * virtbuf_buffer_freed - ends the buffer's life in the device, once
 * @vb: the device; the caller holds none of its locks
 * @buffer: what it has in virtbuf_device.buffers is gone after it
 * @shared: the host may still have the pages: nobody gets them any more
 */
void virtbuf_buffer_freed(struct virtbuf_device *vb,
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
