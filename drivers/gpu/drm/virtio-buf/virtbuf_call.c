// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: commands that an ioctl waits for.
 *
 * Such a command lives as long as its ioctl or the queue has it, whoever is last:
 * an ioctl that does not wait any more leaves it behind. Waiting ends with the
 * answer, with the device, or by a signal; no lock is held meanwhile.
 */
#include <linux/sched.h>

#include "virtbuf_drv.h"

/**
 * virtbuf_call_init - prepares a call
 * @call: zeroed; its command is the caller's to fill in
 * @file: whose ioctl waits
 * @free: called when nobody has the call any more
 */
void virtbuf_call_init(struct virtbuf_call *call, struct virtbuf_file *file,
		       void (*free)(struct virtbuf_call *call))
{
	refcount_set(&call->refs, 1);
	call->file = file;
	call->free = free;
}

static void virtbuf_call_put(struct virtbuf_call *call)
{
	if (refcount_dec_and_test(&call->refs))
		call->free(call);
}

/**
 * virtbuf_call_queue - hands a call to the device
 * @vb: the device; the caller holds vq_lock
 * @call: never queued, or finished
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_call_queue(struct virtbuf_device *vb, struct virtbuf_call *call)
{
	int ret;

	lockdep_assert_held(&vb->vq_lock);

	call->finished = false;
	refcount_inc(&call->refs);
	ret = virtbuf_queue(vb, &call->command);
	if (ret)
		virtbuf_call_put(call);
	return ret;
}

/**
 * virtbuf_call_finish - the end of the command's done()
 * @vb: the device
 * @call: not the queue's any more
 * @result: VIRTIO_BUF_S_* or VIRTBUF_RESULT_*
 */
void virtbuf_call_finish(struct virtbuf_device *vb, struct virtbuf_call *call,
			 int result)
{
	spin_lock(&vb->lock);
	call->result = result;
	call->finished = true;
	if (call->file)
		wake_up_all(&call->file->wait);
	spin_unlock(&vb->lock);
	virtbuf_call_put(call);
}

static bool virtbuf_call_finished(struct virtbuf_device *vb,
				  struct virtbuf_call *call)
{
	bool finished;

	spin_lock(&vb->lock);
	finished = call->finished;
	spin_unlock(&vb->lock);
	return finished;
}

/**
 * virtbuf_call_wait - waits for the answer
 * @call: queued
 * @state: TASK_INTERRUPTIBLE or TASK_KILLABLE
 *
 * Return: 0 for VIRTIO_BUF_S_OK, or a negative errno.
 */
int virtbuf_call_wait(struct virtbuf_call *call, unsigned int state)
{
	struct virtbuf_file *file = call->file;
	struct virtbuf_device *vb = file->vb;
	int ret;

	ret = wait_event_state(file->wait,
			       virtbuf_call_finished(vb, call) ||
			       virtbuf_error(vb), state);
	if (ret)
		return ret;
	/* The end of the device ends its commands, before the waiter looks or after */
	if (!virtbuf_call_finished(vb, call) ||
	    call->result == VIRTBUF_RESULT_LOST)
		return virtbuf_error(vb) ?: -EIO;
	return call->result == VIRTIO_BUF_S_PENDING ?
	       -EIO : virtbuf_result_to_errno(call->result);
}

/**
 * virtbuf_call_end - the ioctl is over
 * @call: the caller's reference is gone after it
 */
void virtbuf_call_end(struct virtbuf_call *call)
{
	struct virtbuf_device *vb = call->file->vb;

	spin_lock(&vb->lock);
	call->file = NULL;
	spin_unlock(&vb->lock);
	virtbuf_call_put(call);
}
