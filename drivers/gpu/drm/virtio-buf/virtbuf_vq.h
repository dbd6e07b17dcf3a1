/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio-buf: commands, and the virtqueue that they go through.
 */
#ifndef VIRTBUF_VQ_H
#define VIRTBUF_VQ_H

#include <linux/list.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <linux/virtio_buf.h>

struct virtbuf_device;
struct virtbuf_file;

/* A command's result where the device gave no (usable) status */
#define VIRTBUF_RESULT_LOST	(-ECANCELED) /* it will never be answered */
#define VIRTBUF_RESULT_GARBAGE	(-EPROTO) /* the answer breaks the protocol */

/**
 * struct virtbuf_piece - contiguous memory of a command, kmalloc or vmalloc
 * @data: where
 * @size: bytes, may be 0
 */
struct virtbuf_piece {
	const void *data;
	size_t size;
};

#define VIRTBUF_MAX_PIECES	3

/**
 * struct virtbuf_command - one chain of the virtqueue
 * @node: in the backlog or in a list of answered commands
 * @out: what the device reads; unused ones have size 0
 * @answer: where the device writes, starts with a &struct virtio_buf_response.
 *	It has its cache lines for itself.
 * @answer_min: bytes that a successful answer has at least
 * @answer_len: bytes that the device has written, never above @answer's size
 * @internal: does not wait while the device is held; see virtbuf_vq_hold()
 * @done: called once, on virtbuf_device.wq or when that is stopped. @result is
 *	VIRTIO_BUF_S_* or VIRTBUF_RESULT_*. Owns the command from then on.
 *
 * Owned by the queue from virtbuf_queue() to @done, whoever waits for it.
 */
struct virtbuf_command {
	struct list_head node;
	struct virtbuf_piece out[VIRTBUF_MAX_PIECES];
	struct virtbuf_piece answer;
	size_t answer_min;
	size_t answer_len;
	bool internal;
	void (*done)(struct virtbuf_device *vb,
		     struct virtbuf_command *command, int result);
};

/* A command whose answer is nothing but the common header */
struct virtbuf_plain_answer {
	struct virtio_buf_response response;
} ____cacheline_aligned;

int virtbuf_vq_init(struct virtbuf_device *vb);
int virtbuf_vq_find(struct virtbuf_device *vb);
void virtbuf_vq_release(struct virtbuf_device *vb);
void virtbuf_vq_fini(struct virtbuf_device *vb);
void virtbuf_vq_close(struct virtbuf_device *vb);
void virtbuf_vq_quiesce(struct virtbuf_device *vb);
void virtbuf_vq_hold(struct virtbuf_device *vb);
void virtbuf_vq_settle(struct virtbuf_device *vb, unsigned int ms);
void virtbuf_vq_resume(struct virtbuf_device *vb);
void virtbuf_fail(struct virtbuf_device *vb, const char *why);
int virtbuf_queue(struct virtbuf_device *vb, struct virtbuf_command *command);
void virtbuf_set_error(struct virtbuf_device *vb, int error);
void virtbuf_config_changed(struct virtbuf_device *vb);
int virtbuf_result_to_errno(int result);
#if IS_ENABLED(CONFIG_KUNIT)
int virtbuf_result(struct virtbuf_device *vb,
		   const struct virtbuf_command *command);
#endif

/* virtbuf_call.c */

/**
 * struct virtbuf_call - a command that an ioctl waits for
 * @command: what the queue sees; its done() ends in virtbuf_call_finish()
 * @refs: the ioctl's and the queue's
 * @free: called when nobody has it any more
 * @file: whose ioctl waits; NULL: not any more. Under virtbuf_device.lock, as
 *	what follows.
 * @finished: answered
 * @result: VIRTIO_BUF_S_* or VIRTBUF_RESULT_*
 */
struct virtbuf_call {
	struct virtbuf_command command;
	refcount_t refs;
	void (*free)(struct virtbuf_call *call);
	struct virtbuf_file *file;
	bool finished;
	int result;
};

void virtbuf_call_init(struct virtbuf_call *call, struct virtbuf_file *file,
		       void (*free)(struct virtbuf_call *call));
int virtbuf_call_queue(struct virtbuf_device *vb, struct virtbuf_call *call);
void virtbuf_call_finish(struct virtbuf_device *vb, struct virtbuf_call *call,
			 int result);
int virtbuf_call_wait(struct virtbuf_call *call, unsigned int state);
void virtbuf_call_end(struct virtbuf_call *call);

#endif /* VIRTBUF_VQ_H */
