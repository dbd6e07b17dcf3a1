// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: the virtqueue.
 *
 * Owns every command from virtbuf_queue() until its done() callback. Commands
 * reach the ring in the order of virtbuf_queue(); what finds no room waits in
 * the backlog. Answers are handled one after the other on the device's ordered
 * workqueue, together with configuration changes and the watchdog that declares
 * a silent device dead. A dead device keeps the commands that it has (it may
 * still write to them) until it was reset.
 *
 * What the device writes is checked here for length and status; it is read
 * once, and never trusted to stay the same.
 */
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/vmalloc.h>

#include <drm/drm_managed.h>
#include <drm/drm_print.h>

#include <kunit/visibility.h>

#include "virtbuf_drv.h"

static unsigned int command_timeout = 5000;
module_param(command_timeout, uint, 0644);
MODULE_PARM_DESC(command_timeout,
		 "milliseconds of silence after which the device counts as dead (default 5000, 0: never)");

/* Room for 127 events in one answer */
#define VIRTBUF_EVENTS_SIZE	4096

/**
 * struct virtbuf_events - the GET_EVENTS command
 * @command: what the queue sees
 * @request: read by the device
 * @answer: written by the device, owned; events follow it
 */
struct virtbuf_events {
	struct virtbuf_command command;
	struct virtio_buf_get_events request;
	struct virtio_buf_events_response *answer;
};

static const struct {
	int error;
	const char *text;
} virtbuf_statuses[] = {
	[VIRTIO_BUF_S_OK] = { 0, "ok" },
	[VIRTIO_BUF_S_PENDING] = { 0, "pending" },
	[VIRTIO_BUF_S_UNSUPPORTED] = { -EOPNOTSUPP, "unsupported" },
	[VIRTIO_BUF_S_INVALID] = { -EINVAL, "invalid" },
	[VIRTIO_BUF_S_NO_BUFFER] = { -EIO, "no such buffer" },
	[VIRTIO_BUF_S_ID_ORDER] = { -EIO, "id or serial out of order" },
	[VIRTIO_BUF_S_LIMIT] = { -E2BIG, "above a limit" },
	[VIRTIO_BUF_S_NO_MEMORY] = { -ENOMEM, "host out of memory" },
	[VIRTIO_BUF_S_BUSY] = { -EBUSY, "busy" },
	[VIRTIO_BUF_S_NOT_RAM] = { -ENXIO, "not RAM" },
	[VIRTIO_BUF_S_NOT_SHAREABLE] = { -EOPNOTSUPP, "not shareable" },
	[VIRTIO_BUF_S_OVERLAP] = { -EINVAL, "overlap" },
};

/**
 * virtbuf_result_to_errno - what an ioctl says of a command's result
 * @result: VIRTIO_BUF_S_* or VIRTBUF_RESULT_*
 *
 * Return: 0 for OK and PENDING.
 */
int virtbuf_result_to_errno(int result)
{
	return result < 0 ? -EIO : virtbuf_statuses[result].error;
}

/* Wakes everyone who waits for the device, and poll() */
static void virtbuf_wake_all(struct virtbuf_device *vb)
{
	struct virtbuf_file *file;
	struct drm_file *drm_file;

	spin_lock(&vb->lock);
	list_for_each_entry(file, &vb->files, node)
		wake_up_all(&file->wait);
	spin_unlock(&vb->lock);

	mutex_lock(&vb->drm->filelist_mutex);
	list_for_each_entry(drm_file, &vb->drm->filelist, lhead)
		wake_up_all(&drm_file->event_wait);
	mutex_unlock(&vb->drm->filelist_mutex);

	wake_up_all(&vb->drained);
}

/**
 * virtbuf_set_error - ends the use of the device by ioctls
 * @vb: the device
 * @error: -EIO or -ENODEV, which overrides -EIO
 *
 * The driver's own commands still work, see virtbuf_vq_close(). The caller
 * holds vq_lock.
 */
void virtbuf_set_error(struct virtbuf_device *vb, int error)
{
	lockdep_assert_held(&vb->vq_lock);

	spin_lock(&vb->lock);
	if (vb->error != -ENODEV)
		WRITE_ONCE(vb->error, error);
	spin_unlock(&vb->lock);
	virtbuf_wake_all(vb);
}

static void virtbuf_die(struct virtbuf_device *vb, const char *why)
{
	lockdep_assert_held(&vb->vq_lock);

	if (!vb->open)
		return;
	vb->open = false;
	drm_err(vb->drm, "the device has failed: %s\n", why);
	virtbuf_set_error(vb, -EIO);
	queue_work(vb->wq, &vb->dead);
}

/**
 * virtbuf_fail - declares the device dead
 * @vb: the device
 * @why: for the log
 */
void virtbuf_fail(struct virtbuf_device *vb, const char *why)
{
	mutex_lock(&vb->vq_lock);
	virtbuf_die(vb, why);
	mutex_unlock(&vb->vq_lock);
}

static void virtbuf_arm_watchdog(struct virtbuf_device *vb)
{
	unsigned int timeout = READ_ONCE(command_timeout);

	lockdep_assert_held(&vb->vq_lock);

	if (timeout && vb->in_flight && vb->open)
		queue_delayed_work(vb->wq, &vb->watchdog,
				   msecs_to_jiffies(timeout));
}

static unsigned int virtbuf_piece_sgs(const struct virtbuf_piece *piece)
{
	if (!piece->size)
		return 0;
	if (!is_vmalloc_addr(piece->data))
		return 1;
	return DIV_ROUND_UP(offset_in_page(piece->data) + piece->size,
			    PAGE_SIZE);
}

static struct scatterlist *virtbuf_piece_to_sg(const struct virtbuf_piece *piece,
					       struct scatterlist *sg)
{
	const u8 *data = piece->data;
	size_t left = piece->size;

	if (left && !is_vmalloc_addr(data)) {
		sg_set_buf(sg, data, left);
		return sg + 1;
	}
	while (left) {
		size_t len = min_t(size_t, left,
				   PAGE_SIZE - offset_in_page(data));

		sg_set_page(sg++, vmalloc_to_page(data), len,
			    offset_in_page(data));
		data += len;
		left -= len;
	}
	return sg;
}

static unsigned int virtbuf_out_sgs(const struct virtbuf_command *command)
{
	unsigned int i, count = 0;

	for (i = 0; i < VIRTBUF_MAX_PIECES; i++)
		count += virtbuf_piece_sgs(&command->out[i]);
	return count;
}

static int virtbuf_add(struct virtbuf_device *vb,
		       struct virtbuf_command *command)
{
	unsigned int i, count = virtbuf_out_sgs(command);
	struct scatterlist *lists[2] = { vb->sg, vb->sg + count };
	struct scatterlist *sg = vb->sg;

	sg_init_table(vb->sg, count);
	for (i = 0; i < VIRTBUF_MAX_PIECES; i++)
		sg = virtbuf_piece_to_sg(&command->out[i], sg);
	sg_init_table(lists[1], virtbuf_piece_sgs(&command->answer));
	virtbuf_piece_to_sg(&command->answer, lists[1]);

	return virtqueue_add_sgs(vb->vq, lists, 1, 1, command, GFP_KERNEL);
}

/* Moves what fits from the backlog to the ring */
static void virtbuf_push(struct virtbuf_device *vb)
{
	struct virtbuf_command *command, *next;
	bool added = false;

	lockdep_assert_held(&vb->vq_lock);

	if (!vb->open || !vb->vq)
		return;
	list_for_each_entry_safe(command, next, &vb->backlog, node) {
		int ret = virtbuf_add(vb, command);

		if (ret == -ENOSPC && vb->in_flight)
			break;
		if (ret == -ENOMEM) {
			mod_delayed_work(vb->wq, &vb->watchdog,
					 msecs_to_jiffies(10));
			break;
		}
		if (ret) {
			virtbuf_die(vb, "the queue takes no command");
			return;
		}
		list_del_init(&command->node);
		if (!vb->in_flight++)
			vb->alive = jiffies;
		added = true;
	}
	if (added && !virtqueue_kick(vb->vq))
		virtbuf_die(vb, "the queue is broken");
	virtbuf_arm_watchdog(vb);
}

/**
 * virtbuf_queue - hands a command to the device
 * @vb: the device
 * @command: filled in
 *
 * The caller holds vq_lock, and may have done in this section what the order of
 * commands decides.
 *
 * Return: 0: done() will be called; or a negative errno, and the command is
 * still the caller's.
 */
int virtbuf_queue(struct virtbuf_device *vb, struct virtbuf_command *command)
{
	lockdep_assert_held(&vb->vq_lock);

	if (!vb->open)
		return virtbuf_error(vb) ?: -ENODEV;
	if (virtbuf_out_sgs(command) + virtbuf_piece_sgs(&command->answer) >
	    vb->vq_size)
		return -E2BIG;

	if (vb->held && !command->internal) {
		list_add_tail(&command->node, &vb->held_commands);
		return 0;
	}
	list_add_tail(&command->node, &vb->backlog);
	virtbuf_push(vb);
	return 0;
}

/* Takes answered commands off the ring */
static void virtbuf_pull(struct virtbuf_device *vb, struct list_head *answered)
{
	struct virtbuf_command *command;
	unsigned int len;

	lockdep_assert_held(&vb->vq_lock);

	if (!vb->vq)
		return;
	do {
		virtqueue_disable_cb(vb->vq);
		while ((command = virtqueue_get_buf(vb->vq, &len))) {
			command->answer_len = min_t(size_t, len,
						    command->answer.size);
			list_add_tail(&command->node, answered);
			vb->in_flight--;
			vb->alive = jiffies;
		}
	} while (!virtqueue_enable_cb(vb->vq));

	if (virtqueue_is_broken(vb->vq))
		virtbuf_die(vb, "the queue is broken");
}

VISIBLE_IF_KUNIT int virtbuf_result(struct virtbuf_device *vb,
				    const struct virtbuf_command *command)
{
	const struct virtio_buf_response *response = command->answer.data;
	u32 status;

	if (command->answer_len < sizeof(*response))
		goto garbage;
	status = le32_to_cpu(READ_ONCE(response->status));
	if (status >= ARRAY_SIZE(virtbuf_statuses))
		goto garbage;
	if (!virtbuf_statuses[status].error &&
	    command->answer_len < command->answer_min)
		goto garbage;
	if (virtbuf_statuses[status].error)
		drm_dbg_driver(vb->drm, "command %u: %s\n",
			       le32_to_cpu(*(const __le32 *)command->out[0].data),
			       virtbuf_statuses[status].text);
	return status;

garbage:
	drm_err_ratelimited(vb->drm, "the device answered %zu bytes of garbage\n",
			    command->answer_len);
	return VIRTBUF_RESULT_GARBAGE;
}

/* Queues GET_EVENTS, once; on the workqueue only */
static void virtbuf_get_events(struct virtbuf_device *vb)
{
	if (vb->events_queued) {
		vb->events_again = true;
		return;
	}
	mutex_lock(&vb->vq_lock);
	vb->events_queued = !virtbuf_queue(vb, &vb->events->command);
	mutex_unlock(&vb->vq_lock);
}

static void virtbuf_events_done(struct virtbuf_device *vb,
				struct virtbuf_command *command, int result)
{
	struct virtbuf_events *events = container_of(command,
						     struct virtbuf_events,
						     command);
	const u8 *record = (const u8 *)(events->answer + 1);
	size_t left;
	u32 count;

	vb->events_queued = false;
	if (result == VIRTBUF_RESULT_LOST)
		return;
	if (result != VIRTIO_BUF_S_OK)
		goto garbage;

	left = command->answer_len - sizeof(*events->answer);
	for (count = le32_to_cpu(READ_ONCE(events->answer->count)); count; count--) {
		struct virtio_buf_event event;
		u32 size;

		if (left < sizeof(event))
			goto garbage;
		memcpy(&event, record, sizeof(event));
		size = le32_to_cpu(event.size);
		if (size < sizeof(event) || size % 8 || size > left)
			goto garbage;
		if (virtbuf_buffer_news(vb, &event, record + sizeof(event),
					size - sizeof(event)))
			goto garbage;
		record += size;
		left -= size;
	}

	vb->news_seen = le64_to_cpu(READ_ONCE(events->answer->hdr.news));
	if (vb->events_again || READ_ONCE(events->answer->more)) {
		vb->events_again = false;
		virtbuf_get_events(vb);
	}
	return;

garbage:
	virtbuf_fail(vb, "it does not tell its events");
}

/* Handles commands that have left the ring, in order */
static void virtbuf_finish(struct virtbuf_device *vb,
			   struct list_head *answered)
{
	struct virtbuf_command *command, *next;
	u64 news = vb->news_seen;

	list_for_each_entry_safe(command, next, answered, node) {
		const struct virtio_buf_response *response =
			command->answer.data;
		int result = virtbuf_result(vb, command);

		list_del_init(&command->node);
		if (result >= 0)
			news = le64_to_cpu(READ_ONCE(response->news));
		command->done(vb, command, result);
	}
	if (news != vb->news_seen && !vb->events_queued)
		virtbuf_get_events(vb);
	if (READ_ONCE(vb->held))
		wake_up_all(&vb->drained);
}

static void virtbuf_completed_work(struct work_struct *work)
{
	struct virtbuf_device *vb = container_of(work, struct virtbuf_device,
						 completed);
	LIST_HEAD(answered);

	mutex_lock(&vb->vq_lock);
	virtbuf_pull(vb, &answered);
	virtbuf_push(vb);
	mutex_unlock(&vb->vq_lock);
	virtbuf_finish(vb, &answered);
}

static void virtbuf_watchdog_work(struct work_struct *work)
{
	struct virtbuf_device *vb = container_of(work, struct virtbuf_device,
						 watchdog.work);
	unsigned int timeout = READ_ONCE(command_timeout);
	LIST_HEAD(answered);

	mutex_lock(&vb->vq_lock);
	/* An interrupt may have been lost: look before judging */
	virtbuf_pull(vb, &answered);
	virtbuf_push(vb);
	if (timeout && vb->in_flight &&
	    time_after_eq(jiffies, vb->alive + msecs_to_jiffies(timeout)))
		virtbuf_die(vb, "it does not answer");
	mutex_unlock(&vb->vq_lock);
	virtbuf_finish(vb, &answered);
}

static void virtbuf_config_work(struct work_struct *work)
{
	struct virtbuf_device *vb = container_of(work, struct virtbuf_device,
						 config);

	mutex_lock(&vb->vq_lock);
	vb->alive = jiffies;
	mutex_unlock(&vb->vq_lock);
	virtbuf_get_events(vb);
}

/**
 * virtbuf_config_changed - the device has news
 * @vb: the device
 *
 * From any context.
 */
void virtbuf_config_changed(struct virtbuf_device *vb)
{
	queue_work(vb->wq, &vb->config);
}

static void virtbuf_vq_callback(struct virtqueue *vq)
{
	struct virtbuf_device *vb = vq->vdev->priv;

	queue_work(vb->wq, &vb->completed);
}

/**
 * virtbuf_vq_find - finds the virtqueue, also after virtbuf_vq_release()
 * @vb: the device
 *
 * Return: 0 or a negative errno.
 */
int virtbuf_vq_find(struct virtbuf_device *vb)
{
	struct virtqueue *vq;

	vq = virtio_find_single_vq(vb->vdev, virtbuf_vq_callback, "command");
	if (IS_ERR(vq))
		return PTR_ERR(vq);

	mutex_lock(&vb->vq_lock);
	vb->vq = vq;
	vb->vq_size = virtqueue_get_vring_size(vq);
	mutex_unlock(&vb->vq_lock);
	return 0;
}

/**
 * virtbuf_vq_release - undoes virtbuf_vq_find()
 * @vb: the device, quiet
 */
void virtbuf_vq_release(struct virtbuf_device *vb)
{
	struct virtqueue *vq;

	mutex_lock(&vb->vq_lock);
	vq = vb->vq;
	vb->vq = NULL;
	mutex_unlock(&vb->vq_lock);
	if (vq)
		vb->vdev->config->del_vqs(vb->vdev);
}

/* Room for what one event can be at most */
static size_t virtbuf_events_size(struct virtbuf_device *vb)
{
	size_t size = sizeof(struct virtio_buf_events_response) +
		      sizeof(struct virtio_buf_event) +
		      sizeof(struct virtio_buf_frame) + VIRTBUF_DAMAGE_SIZE +
		      ALIGN(vb->limits.max_property_bytes, 8);

	if (!vb->writers)
		return VIRTBUF_EVENTS_SIZE;
	return max_t(size_t, size, VIRTBUF_EVENTS_SIZE);
}

static void virtbuf_destroy_wq(struct drm_device *drm, void *wq)
{
	destroy_workqueue(wq);
}

/**
 * virtbuf_vq_init - finds the virtqueue and makes it work
 * @vb: the device; its vdev's priv points to it already
 *
 * Commands may be queued after virtio_device_ready().
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_vq_init(struct virtbuf_device *vb)
{
	struct virtbuf_events *events;
	size_t size = virtbuf_events_size(vb);
	int ret = -ENOMEM;

	mutex_init(&vb->vq_lock);
	INIT_LIST_HEAD(&vb->backlog);
	INIT_LIST_HEAD(&vb->held_commands);
	INIT_WORK(&vb->completed, virtbuf_completed_work);
	INIT_WORK(&vb->config, virtbuf_config_work);
	INIT_DELAYED_WORK(&vb->watchdog, virtbuf_watchdog_work);

	events = kzalloc(sizeof(*events), GFP_KERNEL);
	if (!events)
		return -ENOMEM;
	events->answer = kvzalloc(size, GFP_KERNEL);
	if (!events->answer)
		goto err_events;
	events->request.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_EVENTS);
	events->command.out[0].data = &events->request;
	events->command.out[0].size = sizeof(events->request);
	events->command.answer.data = events->answer;
	events->command.answer.size = size;
	events->command.answer_min = sizeof(*events->answer);
	events->command.internal = true;
	events->command.done = virtbuf_events_done;
	vb->events = events;

	/* Fences of ioctls that are older than an unplug still queue to it */
	vb->wq = alloc_ordered_workqueue("virtbuf", 0);
	if (!vb->wq)
		goto err_events;
	ret = drmm_add_action_or_reset(vb->drm, virtbuf_destroy_wq, vb->wq);
	if (ret)
		goto err_events;

	ret = virtbuf_vq_find(vb);
	if (ret)
		goto err_events;
	vb->dma_dev = virtqueue_dma_dev(vb->vq);
	vb->open = true;
	return 0;

err_events:
	kvfree(events->answer);
	kfree(events);
	return ret;
}

/**
 * virtbuf_vq_close - takes no more commands
 * @vb: the device
 */
void virtbuf_vq_close(struct virtbuf_device *vb)
{
	mutex_lock(&vb->vq_lock);
	vb->open = false;
	mutex_unlock(&vb->vq_lock);
}

/**
 * virtbuf_vq_hold - keeps commands of programs from the device
 * @vb: the device
 *
 * Commands that come from now on wait for virtbuf_vq_resume(), except for the
 * driver's own. Those that came before are not touched.
 */
void virtbuf_vq_hold(struct virtbuf_device *vb)
{
	mutex_lock(&vb->vq_lock);
	vb->held = true;
	mutex_unlock(&vb->vq_lock);
}

/* A condition to wait for, so without vq_lock, which may sleep */
static bool virtbuf_vq_is_idle(struct virtbuf_device *vb)
{
	return !READ_ONCE(vb->open) ||
	       (list_empty_careful(&vb->backlog) && !READ_ONCE(vb->in_flight));
}

/**
 * virtbuf_vq_settle - waits until all commands are answered
 * @vb: the device, held
 * @ms: for how long; a device that takes longer is dead
 */
void virtbuf_vq_settle(struct virtbuf_device *vb, unsigned int ms)
{
	if (!wait_event_timeout(vb->drained, virtbuf_vq_is_idle(vb),
				msecs_to_jiffies(ms)))
		virtbuf_fail(vb, "it does not answer before a sleep");
	/* What has left the ring may not have been handled yet */
	flush_workqueue(vb->wq);
}

/**
 * virtbuf_vq_resume - lets commands go to the device again
 * @vb: the device, ready
 *
 * Buffers are registered again before anything else is said of them.
 */
void virtbuf_vq_resume(struct virtbuf_device *vb)
{
	mutex_lock(&vb->vq_lock);
	virtbuf_buffers_unpark(vb);
	vb->held = false;
	list_splice_tail_init(&vb->held_commands, &vb->backlog);
	virtbuf_push(vb);
	mutex_unlock(&vb->vq_lock);
}

/**
 * virtbuf_vq_quiesce - ends every command that is not held
 * @vb: the device: closed or held, and reset, so that it writes nowhere any more
 *
 * Where the device is closed, held commands end, too.
 */
void virtbuf_vq_quiesce(struct virtbuf_device *vb)
{
	struct virtbuf_command *command, *next;
	LIST_HEAD(lost);

	cancel_work_sync(&vb->completed);
	cancel_work_sync(&vb->config);
	cancel_work_sync(&vb->dead);
	cancel_delayed_work_sync(&vb->watchdog);

	mutex_lock(&vb->vq_lock);
	while (vb->vq && (command = virtqueue_detach_unused_buf(vb->vq)))
		list_add_tail(&command->node, &lost);
	list_splice_tail_init(&vb->backlog, &lost);
	if (!vb->open)
		list_splice_tail_init(&vb->held_commands, &lost);
	vb->in_flight = 0;
	mutex_unlock(&vb->vq_lock);

	list_for_each_entry_safe(command, next, &lost, node) {
		list_del_init(&command->node);
		command->done(vb, command, VIRTBUF_RESULT_LOST);
	}
}

/**
 * virtbuf_vq_fini - undoes virtbuf_vq_init()
 * @vb: the device, quiet
 *
 * The workqueue stays until the DRM device ends.
 */
void virtbuf_vq_fini(struct virtbuf_device *vb)
{
	virtbuf_vq_release(vb);
	flush_workqueue(vb->wq);
	kvfree(vb->events->answer);
	kfree(vb->events);
}
