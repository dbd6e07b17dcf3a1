// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: release points, how a timeline syncobj tells of a release.
 *
 * A release has no time limit that the kernel could rely on, so there is no
 * dma_fence for it. A point is added to its syncobj, signalled, when it has
 * happened. Adding a point wakes also those who wait for smaller ones: points of
 * one syncobj are added in the order of their updates, whatever buffer they are
 * of, and one that comes too early waits for those before it. Each is added
 * exactly once, when its update is released, dropped or FREED, or the device is
 * dead.
 *
 * What is to be added leaves all other lists for virtbuf_device.due_points under
 * virtbuf_device.lock; virtbuf_points_signal() takes it from there.
 */
#include <linux/dma-fence-chain.h>
#include <linux/hashtable.h>
#include <linux/slab.h>

#include <drm/drm_syncobj.h>

#include <kunit/visibility.h>

#include "virtbuf_drv.h"

static struct virtbuf_timeline *virtbuf_timeline_find(struct virtbuf_device *vb,
						      struct drm_syncobj *syncobj)
{
	struct virtbuf_timeline *timeline;

	lockdep_assert_held(&vb->lock);

	hash_for_each_possible(vb->timelines, timeline, node,
			       (unsigned long)syncobj) {
		if (timeline->syncobj == syncobj) {
			timeline->users++;
			return timeline;
		}
	}
	return NULL;
}

/* Takes the reference on @syncobj, in any case */
static struct virtbuf_timeline *virtbuf_timeline_get(struct virtbuf_device *vb,
						     struct drm_syncobj *syncobj)
{
	struct virtbuf_timeline *timeline, *fresh;

	spin_lock(&vb->lock);
	timeline = virtbuf_timeline_find(vb, syncobj);
	spin_unlock(&vb->lock);
	if (timeline)
		goto out;

	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		goto out;
	fresh->syncobj = syncobj;
	fresh->users = 1;
	INIT_LIST_HEAD(&fresh->points);

	spin_lock(&vb->lock);
	timeline = virtbuf_timeline_find(vb, syncobj);
	if (!timeline)
		hash_add(vb->timelines, &fresh->node, (unsigned long)syncobj);
	spin_unlock(&vb->lock);
	if (!timeline)
		return fresh;
	kfree(fresh);
out:
	drm_syncobj_put(syncobj);
	return timeline;
}

static void virtbuf_timeline_put(struct virtbuf_device *vb,
				 struct virtbuf_timeline *timeline)
{
	bool last;

	spin_lock(&vb->lock);
	last = !--timeline->users;
	if (last)
		hash_del(&timeline->node);
	spin_unlock(&vb->lock);
	if (!last)
		return;
	drm_syncobj_put(timeline->syncobj);
	kfree(timeline);
}

/* The largest point that anyone has added */
static u64 virtbuf_syncobj_point(struct drm_syncobj *syncobj)
{
	struct dma_fence *fence = drm_syncobj_fence_get(syncobj);
	u64 point = fence && to_dma_fence_chain(fence) ? fence->seqno : 0;

	dma_fence_put(fence);
	return point;
}

/**
 * virtbuf_point_alloc - prepares a release point
 * @vb: the device
 * @syncobj: gets it; takes the caller's reference, in any case
 * @value: the point
 *
 * Return: as virtbuf_point_create().
 */
VISIBLE_IF_KUNIT struct virtbuf_point *
virtbuf_point_alloc(struct virtbuf_device *vb, struct drm_syncobj *syncobj,
		    u64 value)
{
	struct virtbuf_point *point;
	int ret = -ENOMEM;

	point = kzalloc(sizeof(*point), GFP_KERNEL_ACCOUNT);
	if (!point) {
		drm_syncobj_put(syncobj);
		return ERR_PTR(ret);
	}
	point->point = value;
	point->timeline = virtbuf_timeline_get(vb, syncobj);
	if (!point->timeline)
		goto err;
	/* What was added before is in the syncobj, what comes is in the timeline */
	ret = -EINVAL;
	if (value <= virtbuf_syncobj_point(point->timeline->syncobj))
		goto err;
	ret = -ENOMEM;
	point->chain = dma_fence_chain_alloc();
	if (!point->chain)
		goto err;
	return point;

err:
	virtbuf_point_free(vb, point);
	return ERR_PTR(ret);
}

/**
 * virtbuf_point_create - prepares the release point of an UPDATE
 * @vb: the device
 * @drm_file: the caller's
 * @args: with a release_syncobj
 *
 * Return: the point, which is the caller's to free until it was added; or an
 * ERR_PTR(): -EINVAL when the syncobj has a larger one.
 */
struct virtbuf_point *
virtbuf_point_create(struct virtbuf_device *vb, struct drm_file *drm_file,
		     const struct drm_virtbuf_update *args)
{
	struct drm_syncobj *syncobj;

	syncobj = drm_syncobj_find(drm_file, args->release_syncobj);
	if (!syncobj)
		return ERR_PTR(-ENOENT);
	return virtbuf_point_alloc(vb, syncobj, args->release_point);
}

/**
 * virtbuf_point_free - frees a point
 * @vb: the device
 * @point: never added, or signalled; NULL does nothing
 */
void virtbuf_point_free(struct virtbuf_device *vb, struct virtbuf_point *point)
{
	if (!point)
		return;
	dma_fence_chain_free(point->chain);
	if (point->timeline)
		virtbuf_timeline_put(vb, point->timeline);
	kfree(point);
}

/**
 * virtbuf_point_add - binds a point to an update
 * @vb: the device
 * @point: above virtbuf_timeline.last; the buffer's from now on
 * @buffer: of the update
 * @serial: of the update
 *
 * The caller holds virtbuf_device.lock.
 */
void virtbuf_point_add(struct virtbuf_device *vb, struct virtbuf_point *point,
		       struct virtbuf_buffer *buffer, u64 serial)
{
	struct virtbuf_timeline *timeline = point->timeline;

	lockdep_assert_held(&vb->lock);

	timeline->last = point->point;
	point->serial = serial;
	list_add_tail(&point->in_timeline, &timeline->points);
	list_add_tail(&point->in_buffer, &buffer->points);
}

/**
 * virtbuf_points_release - takes note of what is released
 * @vb: the device
 * @buffer: the buffer; the caller holds virtbuf_device.lock
 * @released: serial
 *
 * virtbuf_points_signal() has to be called after the lock.
 */
void virtbuf_points_release(struct virtbuf_device *vb,
			    struct virtbuf_buffer *buffer, u64 released)
{
	struct virtbuf_point *point, *next, *first;

	lockdep_assert_held(&vb->lock);

	list_for_each_entry_safe(point, next, &buffer->points, in_buffer) {
		struct list_head *points = &point->timeline->points;

		if (point->serial > released)
			break;
		list_del_init(&point->in_buffer);
		point->released = true;
		while ((first = list_first_entry_or_null(points,
							 struct virtbuf_point,
							 in_timeline)) &&
		       first->released)
			list_move_tail(&first->in_timeline, &vb->due_points);
	}
}

static struct virtbuf_point *virtbuf_next_due_point(struct virtbuf_device *vb)
{
	struct virtbuf_point *point;

	spin_lock(&vb->lock);
	point = list_first_entry_or_null(&vb->due_points, struct virtbuf_point,
					 in_timeline);
	if (point)
		list_del_init(&point->in_timeline);
	spin_unlock(&vb->lock);
	return point;
}

/**
 * virtbuf_points_signal - adds the points that are due to their syncobjs
 * @vb: the device
 *
 * In process context, without virtbuf_device.lock.
 */
void virtbuf_points_signal(struct virtbuf_device *vb)
{
	struct dma_fence *stub;
	struct virtbuf_point *point;

	/* Who has made one due sees it here, and comes after it */
	if (list_empty(&vb->due_points))
		return;

	mutex_lock(&vb->points_lock);
	stub = dma_fence_get_stub();
	while ((point = virtbuf_next_due_point(vb))) {
		drm_syncobj_add_point(point->timeline->syncobj, point->chain,
				      stub, point->point);
		point->chain = NULL;
		virtbuf_point_free(vb, point);
	}
	dma_fence_put(stub);
	mutex_unlock(&vb->points_lock);
}
