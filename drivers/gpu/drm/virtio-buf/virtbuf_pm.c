// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: when the device stops: for ever, for another kernel, for a sleep.
 *
 * Whoever gets the memory next must find no page shared. Remove and reboot end
 * everything: ioctls fail, all pages are asked for, the device is reset, what it
 * still had is dropped. A sleep does the same to the device, but not to programs:
 * their commands wait, their buffers keep handles, ids and contents, and are
 * registered again when the device is back. Nothing is on the ring then but what
 * this file sends.
 *
 * The reset is complete when nobody on the host shares a page. Pages of which
 * that is not certain are leaked, never given to the allocator.
 */
#include <linux/delay.h>
#include <linux/reboot.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/virtio_config.h>

#include <drm/drm_print.h>

#include "virtbuf_drv.h"

/* How long the host has to give pages back before it is reset */
#define VIRTBUF_STOP_MS		2000
/* How long a reset may take that does not complete at once */
#define VIRTBUF_RESET_MS	2000
/* The freezer's patience: how long commands may take that are under way */
#define VIRTBUF_SETTLE_MS	20000

/**
 * struct virtbuf_recall - the RESET command, which asks for all pages
 * @command: what the queue sees
 * @request: read by the device
 * @answer: written by the device
 */
struct virtbuf_recall {
	struct virtbuf_command command;
	struct virtio_buf_reset request;
	struct {
		struct virtio_buf_reset_response answer;
	} ____cacheline_aligned;
};

/* The reset is complete when nobody on the host shares a page */
static bool virtbuf_reset(struct virtio_device *vdev)
{
	unsigned int ms;

	virtio_reset_device(vdev);
	for (ms = 0; ms < VIRTBUF_RESET_MS; ms += 20) {
		if (!vdev->config->get_status(vdev))
			return true;
		msleep(20);
	}
	return false;
}

/**
 * virtbuf_stop - ends the use of the device, whatever it does
 * @vb: the device
 *
 * For remove and reboot, whichever comes first.
 */
void virtbuf_stop(struct virtbuf_device *vb)
{
	bool reset;

	if (vb->stopped)
		return;
	vb->stopped = true;

	mutex_lock(&vb->vq_lock);
	virtbuf_set_error(vb, -ENODEV);
	mutex_unlock(&vb->vq_lock);

	virtbuf_buffers_take_back(vb);
	wait_event_timeout(vb->drained,
			   xa_empty(&vb->buffers) || !READ_ONCE(vb->open),
			   msecs_to_jiffies(VIRTBUF_STOP_MS));

	virtbuf_vq_close(vb);
	reset = virtbuf_reset(vb->vdev);
	virtbuf_vq_quiesce(vb);
	virtbuf_buffers_drop(vb, !reset);
}

/*
 * Comes before any device's shutdown, on every kernel and also before kexec. The
 * device is reset then, and what the virtio core does after it finds it so.
 */
static int virtbuf_reboot(struct notifier_block *notifier,
			  unsigned long action, void *data)
{
	virtbuf_stop(container_of(notifier, struct virtbuf_device, reboot));
	return NOTIFY_DONE;
}

/*
 * The image of a hibernation has all memory in it, and another kernel runs before
 * it is read back: no page may be in the hands of the host all that time.
 */
static int virtbuf_pm_event(struct notifier_block *notifier,
			    unsigned long action, void *data)
{
	struct virtbuf_device *vb = container_of(notifier,
						 struct virtbuf_device, pm);

	if (action != PM_HIBERNATION_PREPARE || xa_empty(&vb->buffers))
		return NOTIFY_DONE;
	drm_info(vb->drm, "no hibernation while buffers are registered\n");
	return notifier_from_errno(-EBUSY);
}

/**
 * virtbuf_pm_init - hears of reboot and hibernation from now on
 * @vb: the device
 *
 * Return: 0 or a negative errno.
 */
int virtbuf_pm_init(struct virtbuf_device *vb)
{
	int ret;

	vb->reboot.notifier_call = virtbuf_reboot;
	vb->pm.notifier_call = virtbuf_pm_event;
	ret = register_reboot_notifier(&vb->reboot);
	if (ret)
		return ret;
	ret = register_pm_notifier(&vb->pm);
	if (ret)
		unregister_reboot_notifier(&vb->reboot);
	return ret;
}

/**
 * virtbuf_pm_fini - undoes virtbuf_pm_init()
 * @vb: the device
 */
void virtbuf_pm_fini(struct virtbuf_device *vb)
{
	unregister_pm_notifier(&vb->pm);
	unregister_reboot_notifier(&vb->reboot);
}

#ifdef CONFIG_PM_SLEEP
static void virtbuf_recall_done(struct virtbuf_device *vb,
				struct virtbuf_command *command, int result)
{
	if (result != VIRTIO_BUF_S_OK && result != VIRTBUF_RESULT_LOST)
		drm_err(vb->drm, "the host was not asked for its pages: %d\n",
			result);
	kfree(container_of(command, struct virtbuf_recall, command));
}

/* Asks the host for all pages at once, and waits for them, for some time */
static void virtbuf_recall_all(struct virtbuf_device *vb)
{
	struct virtbuf_recall *recall;
	int ret;

	/* It is a courtesy to consumers: the reset takes the pages anyway */
	recall = kzalloc(sizeof(*recall), GFP_KERNEL);
	if (!recall)
		return;
	recall->request.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_RESET);
	recall->request.scope = cpu_to_le32(VIRTIO_BUF_RESET_ALL);
	recall->command = (struct virtbuf_command) {
		.out[0] = { &recall->request, sizeof(recall->request) },
		.answer = { &recall->answer, sizeof(recall->answer) },
		.answer_min = sizeof(recall->answer),
		.internal = true,
		.done = virtbuf_recall_done,
	};

	virtbuf_buffers_recall(vb);
	mutex_lock(&vb->vq_lock);
	ret = virtbuf_queue(vb, &recall->command);
	mutex_unlock(&vb->vq_lock);
	if (ret) {
		kfree(recall);
		return;
	}
	wait_event_timeout(vb->drained,
			   !READ_ONCE(vb->recalled) || !READ_ONCE(vb->open),
			   msecs_to_jiffies(VIRTBUF_STOP_MS));
}

/**
 * virtbuf_freeze - takes the device out of use for a while
 * @vdev: the virtio device
 *
 * Programs may go on: what they ask of the device waits for virtbuf_restore().
 * A device that fails on the way is dead after it, which is no reason to keep the
 * machine awake.
 *
 * Return: 0.
 */
int virtbuf_freeze(struct virtio_device *vdev)
{
	struct virtbuf_device *vb = vdev->priv;
	bool reset;

	virtbuf_vq_hold(vb);
	virtbuf_vq_settle(vb, VIRTBUF_SETTLE_MS);
	if (READ_ONCE(vb->open))
		virtbuf_recall_all(vb);
	reset = virtbuf_reset(vdev);
	if (!reset)
		virtbuf_fail(vb, "its reset does not end");
	virtbuf_vq_quiesce(vb);
	if (READ_ONCE(vb->open))
		virtbuf_buffers_park(vb);
	else
		virtbuf_buffers_drop(vb, !reset);
	virtbuf_vq_release(vb);
	return 0;
}

/**
 * virtbuf_restore - takes the device into use again
 * @vdev: the virtio device, reset, with its features
 *
 * Return: 0, or a negative errno, and the device is dead.
 */
int virtbuf_restore(struct virtio_device *vdev)
{
	struct virtbuf_device *vb = vdev->priv;
	int ret;

	if (!READ_ONCE(vb->open))
		return 0;
	ret = virtbuf_vq_find(vb);
	if (ret) {
		virtbuf_fail(vb, "its queue is gone after a sleep");
		return ret;
	}
	virtio_device_ready(vdev);
	virtbuf_vq_resume(vb);
	virtbuf_config_changed(vb);
	return 0;
}
#endif /* CONFIG_PM_SLEEP */
