// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: in-fences, what an UPDATE waits for before the device hears of it.
 *
 * Explicit ones come as sync_files and syncobjs, implicit ones from the
 * reservation objects of the buffer's memory: other drivers write there. Only
 * fences that exist are taken, so that every wait ends with their driver's own
 * time limit; ours, fence_timeout, is for drivers that have none. This driver
 * makes no fence that is not signalled: what the host does has no time limit
 * that the kernel could rely on.
 *
 * A callback comes in any context, with the fence's lock held, and only counts.
 * No lock of the driver is held while callbacks are added.
 */
#include <linux/dma-resv.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/sync_file.h>
#include <linux/uaccess.h>

#include <drm/drm_gem.h>
#include <drm/drm_syncobj.h>

#include "virtbuf_drv.h"

static unsigned int fence_timeout = 10000;
module_param(fence_timeout, uint, 0644);
MODULE_PARM_DESC(fence_timeout,
		 "milliseconds after which an update is dropped whose fences have not signalled (default 10000, 0: never)");

/**
 * virtbuf_fences_timeout - how long an UPDATE may wait for its fences
 *
 * Return: jiffies.
 */
unsigned long virtbuf_fences_timeout(void)
{
	unsigned int timeout = READ_ONCE(fence_timeout);

	return timeout ? msecs_to_jiffies(timeout) : MAX_JIFFY_OFFSET;
}

static void virtbuf_fences_count(struct virtbuf_fences *fences)
{
	if (atomic_dec_and_test(&fences->unsignalled))
		fences->signalled(fences->data);
}

static void virtbuf_fence_cb(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	virtbuf_fences_count(container_of(cb, struct virtbuf_in_fence,
					  cb)->fences);
}

/**
 * virtbuf_fences_arm - starts to count
 * @fences: not armed yet
 * @signalled: called when all have signalled, maybe from here
 * @data: for @signalled
 */
void virtbuf_fences_arm(struct virtbuf_fences *fences,
			void (*signalled)(void *data), void *data)
{
	unsigned int i;

	fences->signalled = signalled;
	fences->data = data;
	fences->armed = true;
	/* One more, for the time until the last one is added */
	atomic_set(&fences->unsignalled, fences->count + 1);
	for (i = 0; i < fences->count; i++) {
		struct virtbuf_in_fence *in = &fences->list[i];

		in->fences = fences;
		if (dma_fence_add_callback(in->fence, &in->cb,
					   virtbuf_fence_cb))
			virtbuf_fences_count(fences);
	}
	virtbuf_fences_count(fences);
}

/**
 * virtbuf_fences_error - whether a fence tells of a failure
 * @fences: all signalled
 *
 * Return: 0, or -ECANCELED.
 */
int virtbuf_fences_error(const struct virtbuf_fences *fences)
{
	unsigned int i;

	for (i = 0; i < fences->count; i++) {
		if (dma_fence_get_status(fences->list[i].fence) < 0)
			return -ECANCELED;
	}
	return 0;
}

/**
 * virtbuf_fences_free - gives fences up, signalled or not
 * @fences: no callback comes after it; NULL does nothing
 */
void virtbuf_fences_free(struct virtbuf_fences *fences)
{
	unsigned int i;

	if (!fences)
		return;
	for (i = 0; i < fences->count; i++) {
		struct virtbuf_in_fence *in = &fences->list[i];

		if (fences->armed)
			dma_fence_remove_callback(in->fence, &in->cb);
		dma_fence_put(in->fence);
	}
	kfree(fences);
}

static void virtbuf_wake_waiter(void *data)
{
	wake_up_all(data);
}

/**
 * virtbuf_fences_wait - waits for fences
 * @file: the caller's
 * @fences: not armed yet
 *
 * Return: 0, -ECANCELED when one has failed, -ETIME, the device's error, or
 * -ERESTARTSYS.
 */
int virtbuf_fences_wait(struct virtbuf_file *file,
			struct virtbuf_fences *fences)
{
	long left;

	virtbuf_fences_arm(fences, virtbuf_wake_waiter, &file->wait);
	left = wait_event_interruptible_timeout(file->wait,
						virtbuf_fences_ready(fences) ||
						virtbuf_error(file->vb),
						virtbuf_fences_timeout());
	if (left < 0)
		return left;
	if (virtbuf_fences_ready(fences))
		return virtbuf_fences_error(fences);
	return virtbuf_error(file->vb) ?: -ETIME;
}

/* Makes room for @more; there may be none yet */
static int virtbuf_fences_grow(struct virtbuf_fences **fences,
			       unsigned int more)
{
	unsigned int count = *fences ? (*fences)->count : 0;
	struct virtbuf_fences *grown;

	grown = krealloc(*fences, struct_size(grown, list, count + more),
			 GFP_KERNEL_ACCOUNT);
	if (!grown)
		return -ENOMEM;
	if (!*fences)
		memset(grown, 0, sizeof(*grown));
	*fences = grown;
	return 0;
}

/* Takes @fence; there is room */
static void virtbuf_fences_add(struct virtbuf_fences *fences,
			       struct dma_fence *fence)
{
	unsigned int index = fences->count++;

	memset(&fences->list[index], 0, sizeof(fences->list[index]));
	fences->list[index].fence = fence;
}

static struct dma_fence *
virtbuf_explicit_fence(struct drm_file *drm_file,
		       const struct drm_virtbuf_fence *in)
{
	struct dma_fence *fence;
	int ret;

	if (in->flags & ~DRM_VIRTBUF_FENCE_SYNC_FILE ||
	    (in->flags && in->point))
		return ERR_PTR(-EINVAL);
	if (in->flags & DRM_VIRTBUF_FENCE_SYNC_FILE)
		return sync_file_get_fence(in->syncobj) ?: ERR_PTR(-EINVAL);
	ret = drm_syncobj_find_fence(drm_file, in->syncobj, in->point, 0,
				     &fence);
	return ret ? ERR_PTR(ret) : fence;
}

static int virtbuf_collect_explicit(struct virtbuf_fences *fences,
				    struct drm_file *drm_file,
				    const struct drm_virtbuf_update *args)
{
	u32 i;

	for (i = 0; i < args->in_fence_count; i++) {
		struct drm_virtbuf_fence in;
		struct dma_fence *fence;
		int status, ret;

		ret = virtbuf_copy_element(&in, sizeof(in), args->in_fences,
					   args->in_fence_stride, i);
		if (ret)
			return ret;
		fence = virtbuf_explicit_fence(drm_file, &in);
		if (IS_ERR(fence))
			return PTR_ERR(fence);
		status = dma_fence_get_status(fence);
		if (!status) {
			virtbuf_fences_add(fences, fence);
			continue;
		}
		dma_fence_put(fence);
		if (status < 0)
			return -ECANCELED;
	}
	return 0;
}

/* Objects of the buffer that others still work on, with a reference each */
static unsigned int virtbuf_objects_in_use(struct virtbuf_device *vb,
					   struct virtbuf_buffer *buffer,
					   enum dma_resv_usage usage,
					   struct drm_gem_object **objects)
{
	unsigned int i, count = 0;

	spin_lock(&vb->lock);
	/* A buffer that is FREED has no parts any more */
	for (i = 0; buffer->state == VIRTBUF_REGISTERED &&
	     i < buffer->part_count; i++) {
		struct drm_gem_object *obj = &buffer->parts[i].bo->shmem.base;

		if (dma_resv_test_signaled(obj->resv, usage))
			continue;
		drm_gem_object_get(obj);
		objects[count++] = obj;
	}
	spin_unlock(&vb->lock);
	return count;
}

static int virtbuf_collect_of_object(struct virtbuf_fences **fences,
				     struct drm_gem_object *obj,
				     enum dma_resv_usage usage)
{
	struct dma_fence **list;
	unsigned int i, count;
	int ret;

	ret = dma_resv_get_fences(obj->resv, usage, &count, &list);
	if (ret)
		return ret;
	ret = count ? virtbuf_fences_grow(fences, count) : 0;
	for (i = 0; i < count; i++) {
		if (ret)
			dma_fence_put(list[i]);
		else
			virtbuf_fences_add(*fences, list[i]);
	}
	kfree(list);
	return ret;
}

static int virtbuf_collect_implicit(struct virtbuf_device *vb,
				    struct virtbuf_fences **fences,
				    struct virtbuf_buffer *buffer)
{
	/* A consumer that writes has to wait for readers as well */
	enum dma_resv_usage usage =
		dma_resv_usage_rw(buffer->request.access ==
				  VIRTIO_BUF_ACCESS_WRITER);
	struct drm_gem_object *objects[DRM_VIRTBUF_MAX_BO_RANGES];
	unsigned int i, count;
	int ret = 0;

	count = virtbuf_objects_in_use(vb, buffer, usage, objects);
	for (i = 0; i < count; i++) {
		if (!ret)
			ret = virtbuf_collect_of_object(fences, objects[i],
							usage);
		drm_gem_object_put(objects[i]);
	}
	return ret;
}

/**
 * virtbuf_fences_collect - finds what an UPDATE has to wait for
 * @file: the caller's
 * @drm_file: the caller's
 * @args: checked, but for the fences
 * @buffer: that is updated
 *
 * Return: the fences, which are the caller's to free; NULL when there is nothing
 * to wait for; or an ERR_PTR(): -ECANCELED when a fence has failed already.
 */
struct virtbuf_fences *
virtbuf_fences_collect(struct virtbuf_file *file, struct drm_file *drm_file,
		       const struct drm_virtbuf_update *args,
		       struct virtbuf_buffer *buffer)
{
	struct virtbuf_fences *fences = NULL;
	int ret = 0;

	if (args->in_fence_count) {
		ret = virtbuf_fences_grow(&fences, args->in_fence_count);
		if (!ret)
			ret = virtbuf_collect_explicit(fences, drm_file, args);
	}
	if (!ret && !(args->flags & DRM_VIRTBUF_UPDATE_NO_IMPLICIT_SYNC))
		ret = virtbuf_collect_implicit(file->vb, &fences, buffer);
	if (!ret && fences && fences->count)
		return fences;
	virtbuf_fences_free(fences);
	return ERR_PTR(ret);
}
