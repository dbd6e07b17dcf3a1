// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: streams, the way of an UPDATE from its ioctl to its answer.
 *
 * An update gets its serial when its ioctl submits it. It is sent at once, or
 * waits in the queue of its stream, behind those before it, until its fences
 * have signalled; when one of them has failed, or is late, the update is dropped,
 * and the buffer says so. A buffer without a stream has one for itself.
 *
 * A buffer has one UPDATE command, and one change of properties, in flight at
 * most; who wants one claims it in virtbuf_buffer.busy and the answer gives it
 * back. So the update that is part of the buffer serves all that is sent at once,
 * and properties change in the order in which the device hears of it.
 *
 * Queues are under vq_lock, like the order of commands. Callbacks of fences take
 * no lock and only start the stream's work, on virtbuf_device.wq. Its timer runs
 * only while something is queued, so that nothing is left to run when all
 * buffers are gone.
 */
#include <linux/hashtable.h>
#include <linux/ktime.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "virtbuf_drv.h"

static void virtbuf_stream_work(struct work_struct *work);

static void virtbuf_dead_work(struct work_struct *work)
{
	virtbuf_buffers_give_up(container_of(work, struct virtbuf_device,
					     dead));
}

/**
 * virtbuf_streams_init - prepares a device for updates
 * @vb: the device, zeroed
 */
void virtbuf_streams_init(struct virtbuf_device *vb)
{
	hash_init(vb->streams);
	hash_init(vb->timelines);
	INIT_LIST_HEAD(&vb->due_points);
	mutex_init(&vb->points_lock);
	INIT_WORK(&vb->dead, virtbuf_dead_work);
}

/**
 * virtbuf_stream_get - finds or makes a stream
 * @vb: the device
 * @id: virtio_buf_register.stream; 0: one of its own
 *
 * Return: the stream with a reference, or NULL without memory.
 */
struct virtbuf_stream *virtbuf_stream_get(struct virtbuf_device *vb, u64 id)
{
	struct virtbuf_stream *stream, *fresh;

	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return NULL;
	refcount_set(&fresh->refs, 1);
	fresh->id = id;
	fresh->vb = vb;
	INIT_LIST_HEAD(&fresh->queue);
	INIT_DELAYED_WORK(&fresh->work, virtbuf_stream_work);
	if (!id)
		return fresh;

	spin_lock(&vb->lock);
	hash_for_each_possible(vb->streams, stream, node, id) {
		if (stream->id == id) {
			refcount_inc(&stream->refs);
			spin_unlock(&vb->lock);
			kfree(fresh);
			return stream;
		}
	}
	hash_add(vb->streams, &fresh->node, id);
	spin_unlock(&vb->lock);
	return fresh;
}

/**
 * virtbuf_stream_put - gives a reference back
 * @stream: the stream; NULL does nothing
 *
 * In process context.
 */
void virtbuf_stream_put(struct virtbuf_stream *stream)
{
	struct virtbuf_device *vb;
	bool last;

	if (!stream)
		return;
	vb = stream->vb;
	spin_lock(&vb->lock);
	last = refcount_dec_and_test(&stream->refs);
	if (last && stream->id)
		hash_del(&stream->node);
	spin_unlock(&vb->lock);
	if (last)
		kfree(stream);
}

/* In any context. The caller has a reference, so that this drops no last one. */
static void virtbuf_stream_run_in(struct virtbuf_stream *stream,
				  unsigned long delay)
{
	refcount_inc(&stream->refs);
	if (mod_delayed_work(stream->vb->wq, &stream->work, delay))
		refcount_dec(&stream->refs);
}

/* As virtbuf_stream_run_in(), but never later than what is pending already */
static void virtbuf_stream_run_by(struct virtbuf_stream *stream,
				  unsigned long delay)
{
	refcount_inc(&stream->refs);
	if (!queue_delayed_work(stream->vb->wq, &stream->work, delay))
		refcount_dec(&stream->refs);
}

/**
 * virtbuf_stream_kick - looks again at what waits in a stream
 * @stream: the caller has a reference
 */
void virtbuf_stream_kick(struct virtbuf_stream *stream)
{
	if (!list_empty(&stream->queue))
		virtbuf_stream_run_in(stream, 0);
}

/**
 * virtbuf_stream_fences_signalled - an update may be ready
 * @stream: with a reference of the update's buffer
 */
void virtbuf_stream_fences_signalled(void *stream)
{
	virtbuf_stream_run_in(stream, 0);
}

/* Keeps others from changing a buffer: 0, -EBUSY while they do, or an error */
static int virtbuf_try_claim(struct virtbuf_device *vb,
			     struct virtbuf_buffer *buffer, unsigned int what)
{
	int ret = 0;

	spin_lock(&vb->lock);
	if (vb->error)
		ret = vb->error;
	else if (buffer->state != VIRTBUF_REGISTERED)
		ret = -ENOENT;
	else if (buffer->busy & what)
		ret = -EBUSY;
	else
		buffer->busy |= what;
	spin_unlock(&vb->lock);
	return ret;
}

/**
 * virtbuf_claim - waits until nobody else changes a buffer
 * @file: the caller's
 * @buffer: the buffer
 * @what: VIRTBUF_BUSY_*, set when it returns 0
 *
 * Interruptible, without effect then. Bounded by the device's answer, and ends
 * with the buffer: nobody is woken for one whose handle is gone.
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_claim(struct virtbuf_file *file, struct virtbuf_buffer *buffer,
		  unsigned int what)
{
	int ret, claim = 0;

	ret = wait_event_interruptible(file->wait,
				       (claim = virtbuf_try_claim(file->vb,
								  buffer,
								  what)) !=
				       -EBUSY);
	return ret ?: claim;
}

/**
 * virtbuf_unclaim_locked - undoes a claim
 * @vb: the device
 * @buffer: the buffer; the caller holds virtbuf_device.lock
 * @what: VIRTBUF_BUSY_*
 */
void virtbuf_unclaim_locked(struct virtbuf_device *vb,
			    struct virtbuf_buffer *buffer, unsigned int what)
{
	lockdep_assert_held(&vb->lock);

	buffer->busy &= ~what;
	virtbuf_buffer_wake(vb, buffer);
	virtbuf_stream_kick(buffer->stream);
}

/**
 * virtbuf_unclaim - undoes a claim
 * @vb: the device
 * @buffer: the buffer
 * @what: VIRTBUF_BUSY_*
 */
void virtbuf_unclaim(struct virtbuf_device *vb, struct virtbuf_buffer *buffer,
		     unsigned int what)
{
	spin_lock(&vb->lock);
	virtbuf_unclaim_locked(vb, buffer, what);
	spin_unlock(&vb->lock);
}

/**
 * virtbuf_released_look - finds out what nobody will read any more
 * @vb: the device
 * @buffer: the buffer, something of which has changed; the caller holds
 *	virtbuf_device.lock, and calls virtbuf_points_signal() after it
 *
 * An update that failed is read by nobody: once all that the device has accepted
 * is released, so is all before the first update that it has not answered.
 */
void virtbuf_released_look(struct virtbuf_device *vb,
			   struct virtbuf_buffer *buffer)
{
	const struct virtbuf_update *first;
	u64 released = buffer->released;

	lockdep_assert_held(&vb->lock);

	first = list_first_entry_or_null(&buffer->updates,
					 struct virtbuf_update, in_buffer);
	if (buffer->state == VIRTBUF_FREED)
		released = buffer->given_serial;
	else if (released >= buffer->accepted_serial)
		released = max(released, first ? first->previous_serial :
						 buffer->given_serial);
	if (released > buffer->released) {
		buffer->released = released;
		virtbuf_buffer_wake(vb, buffer);
		virtbuf_event_tell(vb, buffer,
				   BIT(DRM_VIRTBUF_WAIT_RELEASED));
	}
	/* Nobody tells of a release on a dead device */
	virtbuf_points_release(vb, buffer, vb->error ? U64_MAX : released);
}

/* Frees what was allocated for one update; the buffer's own is used again */
static void virtbuf_update_free(struct virtbuf_update *update)
{
	struct virtbuf_buffer *buffer = update->buffer;

	virtbuf_fences_free(update->fences);
	virtbuf_properties_put(update->change);
	virtbuf_properties_put(update->properties);
	update->fences = NULL;
	update->change = NULL;
	update->properties = NULL;
	if (update != &buffer->update)
		kfree(update);
}

/* The update has come to its end; @error: of one that the caller has not heard */
static void virtbuf_update_end(struct virtbuf_device *vb,
			       struct virtbuf_update *update, int error)
{
	struct virtbuf_buffer *buffer = update->buffer;

	lockdep_assert_held(&vb->lock);

	list_del_init(&update->in_buffer);
	if (error) {
		/* Its ioctl is over: the next one has to say it */
		buffer->error = error;
		virtbuf_buffer_wake(vb, buffer);
		virtbuf_event_tell(vb, buffer, 0);
	}
	virtbuf_released_look(vb, buffer);
}

static void virtbuf_update_done(struct virtbuf_device *vb,
				struct virtbuf_command *command, int result)
{
	struct virtbuf_update *update =
		container_of(command, struct virtbuf_update, command);
	u64 released = le64_to_cpu(READ_ONCE(update->answer.released));
	struct virtbuf_buffer *buffer = update->buffer;
	struct virtbuf_properties *old = NULL;
	unsigned int claim = VIRTBUF_BUSY_UPDATE |
			     (update->change ? VIRTBUF_BUSY_PROPERTIES : 0);
	int error = 0;

	spin_lock(&vb->lock);
	if (result == VIRTIO_BUF_S_OK) {
		if (update->change)
			old = virtbuf_buffer_set_properties(vb, buffer,
							    update->properties);
		buffer->accepted_serial = update->serial;
		virtbuf_buffer_released(vb, buffer, released);
	} else if (result != VIRTBUF_RESULT_LOST) {
		error = -EIO;
	}
	if (old)
		update->properties = old;
	virtbuf_update_end(vb, update, error);
	spin_unlock(&vb->lock);

	virtbuf_update_free(update);
	virtbuf_unclaim(vb, buffer, claim);
	virtbuf_points_signal(vb);
	virtbuf_buffer_put(buffer);
}

/**
 * virtbuf_update_init - prepares an UPDATE
 * @update: zeroed
 * @buffer: that it is for
 */
void virtbuf_update_init(struct virtbuf_update *update,
			 struct virtbuf_buffer *buffer)
{
	update->buffer = buffer;
	INIT_LIST_HEAD(&update->in_buffer);
	INIT_LIST_HEAD(&update->in_stream);
	update->request.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE);
	update->command = (struct virtbuf_command) {
		.out[0] = { &update->request, sizeof(update->request) },
		.answer = { &update->answer, sizeof(update->answer) },
		.answer_min = sizeof(update->answer),
		.done = virtbuf_update_done,
	};
}

/* Its buffer is claimed for it */
static int virtbuf_update_send(struct virtbuf_device *vb,
			       struct virtbuf_update *update)
{
	update->request.frame.serial = cpu_to_le64(update->serial);
	update->request.frame.time = cpu_to_le64(ktime_get_ns());
	return virtbuf_queue(vb, &update->command);
}

static void virtbuf_update_dequeue(struct virtbuf_update *update)
{
	list_del_init(&update->in_stream);
	update->buffer->queued--;
}

static void virtbuf_update_drop(struct virtbuf_device *vb,
				struct virtbuf_update *update, int error)
{
	struct virtbuf_buffer *buffer = update->buffer;

	lockdep_assert_held(&vb->vq_lock);

	virtbuf_update_dequeue(update);
	spin_lock(&vb->lock);
	virtbuf_update_end(vb, update, error);
	spin_unlock(&vb->lock);
	virtbuf_update_free(update);
	virtbuf_buffer_put(buffer);
}

/* What the device will have after it, when all before it was answered */
static int virtbuf_update_apply(struct virtbuf_device *vb,
				struct virtbuf_update *update)
{
	struct virtbuf_properties *properties;

	if (!update->change)
		return 0;
	properties = virtbuf_properties_apply(&vb->limits,
					      update->buffer->properties,
					      update->change);
	if (IS_ERR(properties))
		return PTR_ERR(properties);
	update->properties = properties;
	return 0;
}

/* Sends the first of the queue: 0, -EAGAIN when it has to wait, or its error */
static int virtbuf_stream_send(struct virtbuf_stream *stream,
			       struct virtbuf_update *update)
{
	struct virtbuf_buffer *buffer = update->buffer;
	struct virtbuf_device *vb = stream->vb;
	unsigned int claim = VIRTBUF_BUSY_UPDATE |
			     (update->change ? VIRTBUF_BUSY_PROPERTIES : 0);
	int ret = 0;

	if (update->fences) {
		if (virtbuf_fences_ready(update->fences))
			ret = virtbuf_fences_error(update->fences);
		else if (time_after_eq(jiffies, update->deadline))
			ret = -ECANCELED;
		else
			return -EAGAIN;
	}
	if (ret)
		return ret;
	/* Who gives the claim back kicks the stream */
	ret = virtbuf_try_claim(vb, buffer, claim);
	if (ret)
		return ret == -EBUSY ? -EAGAIN : ret;
	ret = virtbuf_update_apply(vb, update);
	if (!ret)
		ret = virtbuf_update_send(vb, update);
	if (ret)
		virtbuf_unclaim(vb, buffer, claim);
	else
		virtbuf_update_dequeue(update);
	return ret;
}

static void virtbuf_stream_work(struct work_struct *work)
{
	struct virtbuf_stream *stream =
		container_of(work, struct virtbuf_stream, work.work);
	struct virtbuf_device *vb = stream->vb;
	struct virtbuf_update *update;

	mutex_lock(&vb->vq_lock);
	while ((update = list_first_entry_or_null(&stream->queue,
						  struct virtbuf_update,
						  in_stream))) {
		int ret = virtbuf_stream_send(stream, update);

		if (ret == -EAGAIN)
			break;
		if (ret) {
			drm_dbg_driver(vb->drm, "update %llu is dropped: %d\n",
				       update->serial, ret);
			virtbuf_update_drop(vb, update, ret);
		}
	}
	if (update && update->fences && !virtbuf_fences_ready(update->fences)) {
		long left = update->deadline - jiffies;

		/* A fence that has signalled meanwhile has started it again */
		virtbuf_stream_run_by(stream, max(left, 0L));
	}
	mutex_unlock(&vb->vq_lock);
	virtbuf_points_signal(vb);
	virtbuf_stream_put(stream);
}

/**
 * virtbuf_updates_drop - gives up what is not sent
 * @vb: the device; the caller holds vq_lock, and calls virtbuf_points_signal()
 *	after it
 * @buffer: the buffer; the caller has a reference
 * @error: what the caller of UPDATE has to hear; 0: nothing
 */
void virtbuf_updates_drop(struct virtbuf_device *vb,
			  struct virtbuf_buffer *buffer, int error)
{
	struct virtbuf_stream *stream = buffer->stream;
	struct virtbuf_update *update, *next;

	lockdep_assert_held(&vb->vq_lock);

	if (list_empty(&stream->queue))
		return;
	list_for_each_entry_safe(update, next, &stream->queue, in_stream) {
		if (update->buffer == buffer)
			virtbuf_update_drop(vb, update, error);
	}
	if (!list_empty(&stream->queue))
		virtbuf_stream_run_in(stream, 0);
	else if (cancel_delayed_work(&stream->work))
		refcount_dec(&stream->refs);
}

/* With vq_lock held: nobody else gives serials, or takes points */
static int virtbuf_update_check(struct virtbuf_device *vb,
				const struct virtbuf_buffer *buffer,
				const struct virtbuf_point *point)
{
	int ret;

	spin_lock(&vb->lock);
	if (vb->error)
		ret = vb->error;
	else if (buffer->state != VIRTBUF_REGISTERED)
		ret = -ENOENT;
	else if (buffer->mode != VIRTIO_BUF_MODE_IN_PLACE &&
		 buffer->given_serial > buffer->released)
		ret = -EBUSY;
	else if (point && point->point <= point->timeline->last)
		ret = -EINVAL;
	else
		ret = 0;
	spin_unlock(&vb->lock);
	return ret;
}

/* From now on the update and its point are the driver's */
static void virtbuf_update_commit(struct virtbuf_device *vb,
				  struct virtbuf_update *update,
				  struct virtbuf_point *point)
{
	struct virtbuf_buffer *buffer = update->buffer;

	virtbuf_buffer_get(buffer);
	spin_lock(&vb->lock);
	vb->last_serial = update->serial;
	update->previous_serial = buffer->given_serial;
	buffer->given_serial = update->serial;
	list_add_tail(&update->in_buffer, &buffer->updates);
	if (point)
		virtbuf_point_add(vb, point, buffer, update->serial);
	spin_unlock(&vb->lock);
}

/**
 * virtbuf_update_submit - gives an UPDATE its serial, and sends or queues it
 * @vb: the device
 * @update: filled in, but for its serial and time. The buffer's own goes out at
 *	once, and the buffer is claimed for it; another one is queued.
 * @point: of it, or NULL
 * @serial: set with 0; the update and the point are the driver's then
 *
 * Return: 0; -EAGAIN when the stream has a queue, so that the buffer's own update
 * cannot be used; another negative errno.
 */
int virtbuf_update_submit(struct virtbuf_device *vb,
			  struct virtbuf_update *update,
			  struct virtbuf_point *point, u64 *serial)
{
	struct virtbuf_buffer *buffer = update->buffer;
	struct virtbuf_stream *stream = buffer->stream;
	bool now = update == &buffer->update;
	int ret;

	mutex_lock(&vb->vq_lock);
	ret = virtbuf_update_check(vb, buffer, point);
	if (!ret && now && !list_empty(&stream->queue))
		ret = -EAGAIN;
	/* Who does not hand off its buffer could queue without an end */
	if (!ret && !now && buffer->queued >= DRM_VIRTBUF_MAX_QUEUED)
		ret = -EBUSY;
	if (ret)
		goto out;

	update->serial = vb->last_serial + 1;
	*serial = update->serial;
	if (now) {
		/* Nobody pulls the answer before vq_lock is free */
		ret = virtbuf_update_send(vb, update);
		if (!ret)
			virtbuf_update_commit(vb, update, point);
	} else {
		virtbuf_update_commit(vb, update, point);
		list_add_tail(&update->in_stream, &stream->queue);
		buffer->queued++;
		virtbuf_stream_run_in(stream, 0);
	}
out:
	mutex_unlock(&vb->vq_lock);
	return ret;
}
