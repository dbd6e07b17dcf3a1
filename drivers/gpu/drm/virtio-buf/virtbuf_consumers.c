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

#include <kunit/visibility.h>

#include "virtbuf_drv.h"

/* Room for one consumer at least, as large as it can be */
#define VIRTBUF_ANSWER_SIZE	(sizeof(struct virtio_buf_consumers_response) + \
				 sizeof(struct virtio_buf_consumer) + \
				 VIRTIO_BUF_MAX_PROPERTY_BYTES)

/**
 * struct virtbuf_query - the GET_CONSUMERS command
 * @call: what the queue sees
 * @request: read by the device
 * @answer: written by the device, VIRTBUF_ANSWER_SIZE bytes, owned
 */
struct virtbuf_query {
	struct virtbuf_call call;
	struct virtio_buf_get_consumers request;
	struct virtio_buf_consumers_response *answer;
};

static void virtbuf_query_free(struct virtbuf_call *call)
{
	struct virtbuf_query *query = container_of(call, struct virtbuf_query,
						   call);

	kvfree(query->answer);
	kfree(query);
}

static void virtbuf_query_done(struct virtbuf_device *vb,
			       struct virtbuf_command *command, int result)
{
	virtbuf_call_finish(vb, container_of(command, struct virtbuf_call,
					     command), result);
}

static struct virtbuf_query *virtbuf_query_create(struct virtbuf_file *file,
						  const u8 *application)
{
	struct virtbuf_query *query;

	query = kzalloc(sizeof(*query), GFP_KERNEL_ACCOUNT);
	if (!query)
		return NULL;
	query->answer = kvzalloc(VIRTBUF_ANSWER_SIZE, GFP_KERNEL_ACCOUNT);
	if (!query->answer) {
		kfree(query);
		return NULL;
	}
	virtbuf_call_init(&query->call, file, virtbuf_query_free);
	query->request.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_CONSUMERS);
	memcpy(query->request.application, application,
	       sizeof(query->request.application));
	query->call.command = (struct virtbuf_command) {
		.out[0] = { &query->request, sizeof(query->request) },
		.answer = { query->answer, VIRTBUF_ANSWER_SIZE },
		.answer_min = sizeof(*query->answer),
		.done = virtbuf_query_done,
	};
	return query;
}

/* Asks for what comes after consumer @after */
static int virtbuf_query_send(struct virtbuf_file *file,
			      struct virtbuf_query *query, u64 after)
{
	struct virtbuf_device *vb = file->vb;
	int ret;

	query->request.after = cpu_to_le64(after);
	mutex_lock(&vb->vq_lock);
	ret = virtbuf_error(vb);
	if (!ret)
		ret = virtbuf_call_queue(vb, &query->call);
	mutex_unlock(&vb->vq_lock);
	return ret ?: virtbuf_call_wait(&query->call, TASK_INTERRUPTIBLE);
}

/* Takes one record of at most @left bytes: its size, or a negative errno */
VISIBLE_IF_KUNIT int virtbuf_take_record(struct virtbuf_listing *listing,
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
	size_t left = query->call.command.answer_len - sizeof(*answer);

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
	virtbuf_call_end(&query->call);
	if (ret)
		return ret;

	if (listing.size > args->size)
		ret = -ENOSPC;
	args->size = listing.size;
	args->count = listing.count;
	return ret;
}
