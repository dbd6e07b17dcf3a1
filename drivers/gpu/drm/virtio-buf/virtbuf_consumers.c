// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: CONSUMERS, the host programs that are there for an application.
 *
 * A program hears only of those of its own applications: it has a buffer that is
 * registered for it. The device is asked as often as it takes to hear of all, by
 * a command that outlives whoever does not wait for the answer. Records come from
 * the device: their lengths are checked, their text is the caller's to check.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "virtbuf_drv.h"

/* Room for one consumer at least, as large as it can be */
#define VIRTBUF_ANSWER_SIZE	(sizeof(struct virtio_buf_consumers_response) + \
				 sizeof(struct virtio_buf_consumer) + \
				 VIRTIO_BUF_MAX_PROPERTY_BYTES)
/* What no real host has: a device that goes on beyond it does not tell the truth */
#define VIRTBUF_MAX_RECORD_BYTES	(64U << 20)

/**
 * struct virtbuf_query - the GET_CONSUMERS command
 * @command: what the queue sees
 * @refs: the ioctl's and the queue's
 * @file: who waits; NULL: nobody. Under virtbuf_device.lock as what follows.
 * @finished: answered
 * @result: VIRTIO_BUF_S_* or VIRTBUF_RESULT_*
 * @request: read by the device
 * @answer: written by the device, VIRTBUF_ANSWER_SIZE bytes, owned
 */
struct virtbuf_query {
	struct virtbuf_command command;
	refcount_t refs;
	struct virtbuf_file *file;
	bool finished;
	int result;
	struct virtio_buf_get_consumers request;
	struct virtio_buf_consumers_response *answer;
};

static void virtbuf_query_put(struct virtbuf_query *query)
{
	if (!refcount_dec_and_test(&query->refs))
		return;
	kvfree(query->answer);
	kfree(query);
}

static void virtbuf_query_done(struct virtbuf_device *vb,
			       struct virtbuf_command *command, int result)
{
	struct virtbuf_query *query = container_of(command,
						   struct virtbuf_query,
						   command);

	spin_lock(&vb->lock);
	query->result = result;
	query->finished = true;
	if (query->file)
		wake_up_all(&query->file->wait);
	spin_unlock(&vb->lock);
	virtbuf_query_put(query);
}

static struct virtbuf_query *virtbuf_query_create(struct virtbuf_file *file,
						  const u8 *application)
{
	struct virtbuf_query *query;

	query = kzalloc(sizeof(*query), GFP_KERNEL_ACCOUNT);
	if (!query)
		return NULL;
	refcount_set(&query->refs, 1);
	query->file = file;
	query->answer = kvzalloc(VIRTBUF_ANSWER_SIZE, GFP_KERNEL_ACCOUNT);
	if (!query->answer) {
		virtbuf_query_put(query);
		return NULL;
	}
	query->request.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_CONSUMERS);
	memcpy(query->request.application, application,
	       sizeof(query->request.application));
	query->command = (struct virtbuf_command) {
		.out[0] = { &query->request, sizeof(query->request) },
		.answer = { query->answer, VIRTBUF_ANSWER_SIZE },
		.answer_min = sizeof(*query->answer),
		.done = virtbuf_query_done,
	};
	return query;
}

static bool virtbuf_query_finished(struct virtbuf_device *vb,
				   struct virtbuf_query *query)
{
	bool finished;

	spin_lock(&vb->lock);
	finished = query->finished;
	spin_unlock(&vb->lock);
	return finished;
}

/* Asks for what comes after consumer @after */
static int virtbuf_query_send(struct virtbuf_file *file,
			      struct virtbuf_query *query, u64 after)
{
	struct virtbuf_device *vb = file->vb;
	int ret;

	query->request.after = cpu_to_le64(after);
	query->finished = false;

	mutex_lock(&vb->vq_lock);
	ret = virtbuf_error(vb);
	if (!ret) {
		refcount_inc(&query->refs);
		ret = virtbuf_queue(vb, &query->command);
		if (ret)
			virtbuf_query_put(query);
	}
	mutex_unlock(&vb->vq_lock);
	if (ret)
		return ret;

	ret = wait_event_interruptible(file->wait,
				       virtbuf_query_finished(vb, query) ||
				       virtbuf_error(vb));
	if (ret)
		return ret;
	if (!virtbuf_query_finished(vb, query))
		return virtbuf_error(vb);
	return query->result == VIRTIO_BUF_S_PENDING ?
	       -EIO : virtbuf_result_to_errno(query->result);
}

/**
 * struct virtbuf_listing - records on their way to the caller
 * @data: where the next one goes
 * @room: bytes left there; when one has not fitted, nothing more goes there
 * @size: bytes of all records
 * @count: of all records
 * @last: consumer_id of the last one
 */
struct virtbuf_listing {
	u8 __user *data;
	u32 room;
	u32 size;
	u32 count;
	u64 last;
};

/* Takes one record of at most @left bytes: its size, or a negative errno */
static int virtbuf_take_record(struct virtbuf_listing *listing,
			       const u8 *record, size_t left)
{
	struct virtio_buf_consumer consumer;
	u32 properties;
	size_t size;
	u64 id;

	if (left < sizeof(consumer))
		return -EIO;
	memcpy(&consumer, record, sizeof(consumer));
	properties = le32_to_cpu(consumer.property_bytes);
	size = sizeof(consumer) + properties;
	id = le64_to_cpu(consumer.consumer_id);
	if (properties > VIRTIO_BUF_MAX_PROPERTY_BYTES || properties % 8 ||
	    size > left || id <= listing->last ||
	    size > VIRTBUF_MAX_RECORD_BYTES - listing->size)
		return -EIO;

	if (size > listing->room) {
		listing->room = 0;
	} else {
		/* The head as it was checked, whatever is there by now */
		if (copy_to_user(listing->data, &consumer, sizeof(consumer)) ||
		    copy_to_user(listing->data + sizeof(consumer),
				 record + sizeof(consumer), properties))
			return -EFAULT;
		listing->data += size;
		listing->room -= size;
	}
	listing->last = id;
	listing->size += size;
	listing->count++;
	return size;
}

/* Takes the records of an answer: whether there are more, or a negative errno */
static int virtbuf_take_answer(struct virtbuf_listing *listing,
			       const struct virtbuf_query *query)
{
	const struct virtio_buf_consumers_response *answer = query->answer;
	u32 more = le32_to_cpu(READ_ONCE(answer->more));
	u32 count = le32_to_cpu(READ_ONCE(answer->count));
	const u8 *record = (const u8 *)(answer + 1);
	size_t left = query->command.answer_len - sizeof(*answer);

	if (more && !count)
		return -EIO;
	while (count--) {
		int size = virtbuf_take_record(listing, record, left);

		if (size < 0)
			return size;
		record += size;
		left -= size;
	}
	return !!more;
}

static bool virtbuf_has_application(struct virtbuf_file *file,
				    const u8 *application)
{
	struct virtbuf_device *vb = file->vb;
	struct virtbuf_buffer *buffer;
	unsigned long handle;
	bool found = false;

	xa_lock(&file->handles);
	xa_for_each(&file->handles, handle, buffer) {
		spin_lock(&vb->lock);
		found = buffer->state == VIRTBUF_REGISTERED &&
			!memcmp(buffer->request.application, application,
				VIRTIO_BUF_NAME_SIZE);
		spin_unlock(&vb->lock);
		if (found)
			break;
	}
	xa_unlock(&file->handles);
	return found;
}

/**
 * virtbuf_ioctl_consumers - DRM_IOCTL_VIRTBUF_CONSUMERS
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_consumers
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_consumers(struct drm_device *drm, void *data,
			    struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;
	u8 application[VIRTIO_BUF_NAME_SIZE] = { 0 };
	struct drm_virtbuf_consumers *args = data;
	struct virtbuf_listing listing = {
		.data = u64_to_user_ptr(args->data),
		.room = args->size,
	};
	struct virtbuf_query *query;
	int ret;

	if (args->flags)
		return -EINVAL;
	ret = virtbuf_copy_application(application, args->application,
				       args->application_len);
	if (ret)
		return ret;
	if (!access_ok(listing.data, args->size))
		return -EFAULT;
	if (!virtbuf_has_application(file, application))
		return -ENOENT;

	query = virtbuf_query_create(file, application);
	if (!query)
		return -ENOMEM;
	do {
		ret = virtbuf_query_send(file, query, listing.last);
		if (!ret)
			ret = virtbuf_take_answer(&listing, query);
	} while (ret > 0);
	spin_lock(&file->vb->lock);
	query->file = NULL;
	spin_unlock(&file->vb->lock);
	virtbuf_query_put(query);
	if (ret)
		return ret;

	if (listing.size > args->size)
		ret = -ENOSPC;
	args->size = listing.size;
	args->count = listing.count;
	return ret;
}
