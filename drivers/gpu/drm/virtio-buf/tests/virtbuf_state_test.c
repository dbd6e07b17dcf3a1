// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what becomes of buffers and their updates, as far as that needs
 * no device: release points and their order, claims, and that nothing is left of
 * a buffer that is given back.
 */
#include <kunit/test.h>

#include <linux/dma-fence.h>
#include <linux/slab.h>

#include <drm/drm_syncobj.h>

#include "../virtbuf_drv.h"

/**
 * struct fixture - a device that is closed, with a file and a buffer
 * @vb: the device
 * @file: the file
 * @buffer: REGISTERED, without memory
 */
struct fixture {
	struct virtbuf_device *vb;
	struct virtbuf_file *file;
	struct virtbuf_buffer *buffer;
};

static void put_buffer(void *buffer)
{
	virtbuf_buffer_put(buffer);
}

static void put_account(void *account)
{
	virtbuf_account_put(account);
}

static void destroy_wq(void *wq)
{
	destroy_workqueue(wq);
}

static void put_syncobj(void *syncobj)
{
	drm_syncobj_put(syncobj);
}

static void put_fence(void *fence)
{
	dma_fence_put(fence);
}

static struct virtbuf_device *device_of(struct kunit *test)
{
	struct virtbuf_device *vb = kunit_kzalloc(test, sizeof(*vb),
						  GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vb);
	vb->wq = alloc_ordered_workqueue("virtbuf-test", 0);
	KUNIT_ASSERT_NOT_NULL(test, vb->wq);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, destroy_wq,
							vb->wq), 0);
	spin_lock_init(&vb->lock);
	mutex_init(&vb->vq_lock);
	xa_init(&vb->buffers);
	init_waitqueue_head(&vb->drained);
	virtbuf_quota_init(vb);
	virtbuf_streams_init(vb);
	return vb;
}

static struct virtbuf_buffer *buffer_of(struct kunit *test,
					struct virtbuf_file *file, u64 id)
{
	const struct virtio_buf_register request = {};
	struct virtbuf_buffer *buffer = virtbuf_buffer_create(file, &request);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, buffer);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_buffer,
							buffer), 0);
	buffer->properties = virtbuf_properties_from_device(NULL, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, buffer->properties);
	buffer->id = id;
	buffer->state = VIRTBUF_REGISTERED;
	KUNIT_ASSERT_EQ(test, xa_insert(&file->vb->buffers, id,
					virtbuf_buffer_get(buffer), GFP_KERNEL),
			0);
	return buffer;
}

static struct fixture fixture_of(struct kunit *test)
{
	struct fixture f = { .vb = device_of(test) };

	f.file = kunit_kzalloc(test, sizeof(*f.file), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f.file);
	f.file->vb = f.vb;
	init_waitqueue_head(&f.file->wait);
	f.file->account = virtbuf_account_create(f.vb);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, f.file->account);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_account,
							f.file->account), 0);
	f.buffer = buffer_of(test, f.file, 1);
	return f;
}

static struct drm_syncobj *syncobj_of(struct kunit *test)
{
	struct drm_syncobj *syncobj;

	KUNIT_ASSERT_EQ(test, drm_syncobj_create(&syncobj, 0, NULL), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_syncobj,
							syncobj), 0);
	return syncobj;
}

static u64 point_of(struct drm_syncobj *syncobj)
{
	struct dma_fence *fence = drm_syncobj_fence_get(syncobj);
	u64 point = fence ? fence->seqno : 0;

	dma_fence_put(fence);
	return point;
}

static struct virtbuf_point *new_point(struct virtbuf_device *vb,
				       struct drm_syncobj *syncobj, u64 value)
{
	drm_syncobj_get(syncobj);
	return virtbuf_point_alloc(vb, syncobj, value);
}

static void add_point(struct kunit *test, struct virtbuf_buffer *buffer,
		      struct drm_syncobj *syncobj, u64 value, u64 serial)
{
	struct virtbuf_device *vb = buffer->account->vb;
	struct virtbuf_point *point = new_point(vb, syncobj, value);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, point);
	spin_lock(&vb->lock);
	virtbuf_point_add(vb, point, buffer, serial);
	spin_unlock(&vb->lock);
}

static void release(struct virtbuf_buffer *buffer, u64 serial)
{
	struct virtbuf_device *vb = buffer->account->vb;

	spin_lock(&vb->lock);
	virtbuf_points_release(vb, buffer, serial);
	spin_unlock(&vb->lock);
	virtbuf_points_signal(vb);
}

/* One that comes early waits for those before it, whatever buffer they are of */
static void virtbuf_test_points_in_order(struct kunit *test)
{
	struct fixture f = fixture_of(test);
	struct virtbuf_buffer *other = buffer_of(test, f.file, 2);
	struct drm_syncobj *syncobj = syncobj_of(test);
	struct drm_syncobj *alone = syncobj_of(test);

	add_point(test, f.buffer, syncobj, 1, 1);
	add_point(test, other, syncobj, 2, 2);
	add_point(test, other, alone, 9, 3);
	add_point(test, f.buffer, syncobj, 4, 4);
	release(other, 3);
	KUNIT_EXPECT_EQ(test, point_of(syncobj), 0);
	KUNIT_EXPECT_EQ(test, point_of(alone), 9);
	release(f.buffer, 1);
	KUNIT_EXPECT_EQ(test, point_of(syncobj), 2);
	release(f.buffer, 3);
	KUNIT_EXPECT_EQ(test, point_of(syncobj), 2);
	release(f.buffer, U64_MAX);
	KUNIT_EXPECT_EQ(test, point_of(syncobj), 4);
	KUNIT_EXPECT_TRUE(test, hash_empty(f.vb->timelines));
	virtbuf_buffers_drop(f.vb, false);
}

static void virtbuf_test_points_rise(struct kunit *test)
{
	struct fixture f = fixture_of(test);
	struct drm_syncobj *syncobj = syncobj_of(test);
	struct virtbuf_point *point;

	add_point(test, f.buffer, syncobj, 5, 1);
	release(f.buffer, 1);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(new_point(f.vb, syncobj, 4)),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(new_point(f.vb, syncobj, 5)),
			-EINVAL);
	KUNIT_EXPECT_TRUE(test, hash_empty(f.vb->timelines));

	/* A larger one that comes and goes meanwhile is not forgotten */
	point = new_point(f.vb, syncobj, 6);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, point);
	add_point(test, f.buffer, syncobj, 7, 2);
	release(f.buffer, 2);
	KUNIT_EXPECT_EQ(test, point_of(syncobj), 7);
	KUNIT_EXPECT_EQ(test, point->timeline->last, 7);
	virtbuf_point_free(f.vb, point);
	KUNIT_EXPECT_TRUE(test, hash_empty(f.vb->timelines));
	virtbuf_buffers_drop(f.vb, false);
}

/* Nobody tells of a release any more */
static void virtbuf_test_points_of_a_dead_device(struct kunit *test)
{
	struct fixture f = fixture_of(test);
	struct drm_syncobj *syncobj = syncobj_of(test);

	add_point(test, f.buffer, syncobj, 3, 1);
	f.vb->error = -EIO;
	virtbuf_buffers_give_up(f.vb);
	KUNIT_EXPECT_EQ(test, point_of(syncobj), 3);
	KUNIT_EXPECT_EQ(test, f.buffer->state, VIRTBUF_REGISTERED);
	virtbuf_buffers_drop(f.vb, false);
}

static void virtbuf_test_claims(struct kunit *test)
{
	struct fixture f = fixture_of(test);

	KUNIT_EXPECT_EQ(test, virtbuf_claim(f.file, f.buffer,
					    VIRTBUF_BUSY_UPDATE), 0);
	KUNIT_EXPECT_EQ(test, virtbuf_claim(f.file, f.buffer,
					    VIRTBUF_BUSY_PROPERTIES), 0);
	/* Who waits for one does not wait for what is gone */
	f.buffer->state = VIRTBUF_UNREGISTERING;
	KUNIT_EXPECT_EQ(test, virtbuf_claim(f.file, f.buffer,
					    VIRTBUF_BUSY_UPDATE), -ENOENT);
	f.vb->error = -ENODEV;
	KUNIT_EXPECT_EQ(test, virtbuf_claim(f.file, f.buffer,
					    VIRTBUF_BUSY_UPDATE), -ENODEV);
	f.vb->error = 0;
	f.buffer->state = VIRTBUF_REGISTERED;
	virtbuf_unclaim(f.vb, f.buffer, VIRTBUF_BUSY_UPDATE);
	KUNIT_EXPECT_EQ(test, f.buffer->busy, VIRTBUF_BUSY_PROPERTIES);
	KUNIT_EXPECT_EQ(test, virtbuf_claim(f.file, f.buffer,
					    VIRTBUF_BUSY_UPDATE), 0);
	virtbuf_buffers_drop(f.vb, false);
}

static const char *fence_name(struct dma_fence *fence)
{
	return "virtbuf-test";
}

static const struct dma_fence_ops fence_ops = {
	.get_driver_name = fence_name,
	.get_timeline_name = fence_name,
};

static DEFINE_SPINLOCK(fence_lock);

static struct dma_fence *fence_of(struct kunit *test)
{
	struct dma_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fence);
	dma_fence_init(fence, &fence_ops, &fence_lock,
		       dma_fence_context_alloc(1), 1);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_fence,
							fence), 0);
	return fence;
}

/* An UPDATE of @buffer that waits for @fence; returns its serial */
static u64 queue_update(struct kunit *test, struct virtbuf_buffer *buffer,
			struct dma_fence *fence)
{
	struct virtbuf_device *vb = buffer->account->vb;
	struct virtbuf_update *update = kzalloc(sizeof(*update), GFP_KERNEL);
	struct virtbuf_fences *fences = kzalloc(struct_size(fences, list, 1),
						GFP_KERNEL);
	u64 serial = 0;

	KUNIT_ASSERT_NOT_NULL(test, update);
	KUNIT_ASSERT_NOT_NULL(test, fences);
	virtbuf_update_init(update, buffer);
	fences->count = 1;
	fences->list[0].fence = dma_fence_get(fence);
	virtbuf_fences_arm(fences, virtbuf_stream_fences_signalled,
			   buffer->stream);
	update->fences = fences;
	update->deadline = jiffies + MAX_JIFFY_OFFSET;
	KUNIT_ASSERT_EQ(test, virtbuf_update_submit(vb, update, NULL, &serial),
			0);
	return serial;
}

static void expect_no_updates(struct kunit *test, struct virtbuf_buffer *buffer,
			      struct dma_fence *fence)
{
	KUNIT_EXPECT_EQ(test, buffer->queued, 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&buffer->updates));
	KUNIT_EXPECT_TRUE(test, list_empty(&buffer->stream->queue));
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(&buffer->stream->work));
	KUNIT_EXPECT_EQ(test, kref_read(&fence->refcount), 1);
}

/* The fence starts what waits for it: here, to find a device that is closed */
static void virtbuf_test_update_is_sent(struct kunit *test)
{
	struct fixture f = fixture_of(test);
	struct dma_fence *fence = fence_of(test);
	u64 serial = queue_update(test, f.buffer, fence);

	flush_workqueue(f.vb->wq);
	KUNIT_EXPECT_EQ(test, f.buffer->queued, 1);
	KUNIT_EXPECT_EQ(test, f.buffer->released, 0);
	dma_fence_signal(fence);
	/* It looks once more, because it gives its claim back */
	drain_workqueue(f.vb->wq);
	expect_no_updates(test, f.buffer, fence);
	KUNIT_EXPECT_EQ(test, f.buffer->busy, 0);
	KUNIT_EXPECT_EQ(test, f.buffer->released, serial);
	KUNIT_EXPECT_EQ(test, virtbuf_buffer_take_error(f.vb, f.buffer),
			-ENODEV);
	KUNIT_EXPECT_EQ(test, virtbuf_buffer_take_error(f.vb, f.buffer), 0);
	virtbuf_buffers_drop(f.vb, false);
}

static void virtbuf_test_update_of_failed_fence(struct kunit *test)
{
	struct fixture f = fixture_of(test);
	struct dma_fence *fence = fence_of(test);
	u64 serial = queue_update(test, f.buffer, fence);

	dma_fence_set_error(fence, -EIO);
	dma_fence_signal(fence);
	flush_workqueue(f.vb->wq);
	expect_no_updates(test, f.buffer, fence);
	KUNIT_EXPECT_EQ(test, f.buffer->released, serial);
	KUNIT_EXPECT_EQ(test, virtbuf_buffer_take_error(f.vb, f.buffer),
			-ECANCELED);
	virtbuf_buffers_drop(f.vb, false);
}

static void virtbuf_test_updates_are_bounded(struct kunit *test)
{
	struct fixture f = fixture_of(test);
	struct dma_fence *fence = fence_of(test);
	struct virtbuf_update *update = kunit_kzalloc(test, sizeof(*update),
						      GFP_KERNEL);
	u64 serial = 0, last = 0;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, update);
	for (i = 0; i < DRM_VIRTBUF_MAX_QUEUED; i++)
		last = queue_update(test, f.buffer, fence);
	virtbuf_update_init(update, f.buffer);
	KUNIT_EXPECT_EQ(test, virtbuf_update_submit(f.vb, update, NULL,
						    &serial), -EBUSY);
	KUNIT_EXPECT_EQ(test, f.vb->last_serial, last);
	virtbuf_buffers_drop(f.vb, false);
	expect_no_updates(test, f.buffer, fence);
}

/* Its handle goes, the host is asked, and gives it back: each counts once */
static void virtbuf_test_buffer_is_given_back(struct kunit *test)
{
	struct fixture f = fixture_of(test);
	u64 *used = f.file->account->used;

	KUNIT_EXPECT_EQ(test, used[VIRTBUF_QUOTA_BUFFERS], 1);
	virtbuf_buffer_orphan(f.vb, f.buffer);
	virtbuf_buffer_orphan(f.vb, f.buffer);
	KUNIT_EXPECT_NULL(test, f.buffer->file);
	KUNIT_EXPECT_EQ(test, f.buffer->state, VIRTBUF_UNREGISTERING);
	KUNIT_EXPECT_EQ(test, used[VIRTBUF_QUOTA_PENDING], 1);
	KUNIT_EXPECT_EQ(test, used[VIRTBUF_QUOTA_BUFFERS], 1);
	virtbuf_buffers_drop(f.vb, false);
	virtbuf_buffers_drop(f.vb, false);
	KUNIT_EXPECT_EQ(test, f.buffer->state, VIRTBUF_FREED);
	KUNIT_EXPECT_EQ(test, used[VIRTBUF_QUOTA_PENDING], 0);
	KUNIT_EXPECT_EQ(test, used[VIRTBUF_QUOTA_BUFFERS], 0);
	KUNIT_EXPECT_TRUE(test, xa_empty(&f.vb->buffers));
	KUNIT_EXPECT_EQ(test, kref_read(&f.buffer->refs), 1);
}

/* Nothing is left in the stream, whichever way the buffer goes */
static void virtbuf_test_updates_go_with_the_buffer(struct kunit *test)
{
	struct fixture f = fixture_of(test);
	struct dma_fence *fence = fence_of(test);
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct virtbuf_buffer *buffer = buffer_of(test, f.file, 2 + i);
		u64 serial = queue_update(test, buffer, fence);

		flush_workqueue(f.vb->wq);
		KUNIT_EXPECT_TRUE(test,
				  delayed_work_pending(&buffer->stream->work));
		if (i)
			virtbuf_buffer_orphan(f.vb, buffer);
		else
			virtbuf_buffers_drop(f.vb, false);
		expect_no_updates(test, buffer, fence);
		KUNIT_EXPECT_EQ(test, buffer->released, serial);
		KUNIT_EXPECT_EQ(test, virtbuf_buffer_take_error(f.vb, buffer),
				0);
	}
	virtbuf_buffers_drop(f.vb, false);
}

static struct kunit_case virtbuf_state_tests[] = {
	KUNIT_CASE(virtbuf_test_points_in_order),
	KUNIT_CASE(virtbuf_test_points_rise),
	KUNIT_CASE(virtbuf_test_points_of_a_dead_device),
	KUNIT_CASE(virtbuf_test_claims),
	KUNIT_CASE(virtbuf_test_update_is_sent),
	KUNIT_CASE(virtbuf_test_update_of_failed_fence),
	KUNIT_CASE(virtbuf_test_updates_are_bounded),
	KUNIT_CASE(virtbuf_test_buffer_is_given_back),
	KUNIT_CASE(virtbuf_test_updates_go_with_the_buffer),
	{ }
};

static struct kunit_suite virtbuf_state_suite = {
	.name = "virtbuf_state",
	.test_cases = virtbuf_state_tests,
};

kunit_test_suite(virtbuf_state_suite);
