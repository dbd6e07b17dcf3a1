/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio-buf: an UPDATE on its way: its fences, its place in the stream, and the
 * timeline point that tells of its release.
 */
#ifndef VIRTBUF_UPDATE_H
#define VIRTBUF_UPDATE_H

#include <linux/atomic.h>
#include <linux/dma-fence.h>
#include <linux/list.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <linux/virtio_buf.h>
#include <linux/workqueue.h>

#include "virtbuf_vq.h"

struct dma_fence_chain;
struct drm_file;
struct drm_syncobj;
struct drm_virtbuf_update;
struct virtbuf_buffer;
struct virtbuf_device;
struct virtbuf_file;
struct virtbuf_properties;

/* virtbuf_fence.c */

struct virtbuf_fences;

/**
 * struct virtbuf_in_fence - one fence of many
 * @fence: referenced
 * @cb: armed by virtbuf_fences_arm()
 * @fences: all of them
 */
struct virtbuf_in_fence {
	struct dma_fence *fence;
	struct dma_fence_cb cb;
	struct virtbuf_fences *fences;
};

/**
 * struct virtbuf_fences - what one UPDATE waits for
 * @signalled: called once when all have signalled, in any context, unless
 *	virtbuf_fences_free() came first
 * @data: for @signalled
 * @unsignalled: how many are left
 * @armed: virtbuf_fences_arm() was here
 * @count: of @list
 * @list: the fences
 */
struct virtbuf_fences {
	void (*signalled)(void *data);
	void *data;
	atomic_t unsignalled;
	bool armed;
	unsigned int count;
	struct virtbuf_in_fence list[] __counted_by(count);
};

struct virtbuf_fences *
virtbuf_fences_collect(struct virtbuf_file *file, struct drm_file *drm_file,
		       const struct drm_virtbuf_update *args,
		       struct virtbuf_buffer *buffer);
void virtbuf_fences_arm(struct virtbuf_fences *fences,
			void (*signalled)(void *data), void *data);
int virtbuf_fences_error(const struct virtbuf_fences *fences);
int virtbuf_fences_wait(struct virtbuf_file *file,
			struct virtbuf_fences *fences);
unsigned long virtbuf_fences_timeout(void);
void virtbuf_fences_free(struct virtbuf_fences *fences);

static inline bool virtbuf_fences_ready(struct virtbuf_fences *fences)
{
	return !atomic_read(&fences->unsignalled);
}

/* virtbuf_timeline.c */

/**
 * struct virtbuf_timeline - a syncobj that has, or gets, release points
 * @node: in virtbuf_device.timelines. This and what follows is under
 *	virtbuf_device.lock.
 * @syncobj: referenced
 * @users: its points
 * @last: the largest point that was asked for
 * @points: those that are not signalled, in order
 */
struct virtbuf_timeline {
	struct hlist_node node;
	struct drm_syncobj *syncobj;
	unsigned int users;
	u64 last;
	struct list_head points;
};

/**
 * struct virtbuf_point - a point that is signalled when an update is released
 * @timeline: one of its users
 * @chain: allocated before, so that a release cannot fail
 * @point: the value
 * @serial: of the update
 * @released: it is; only points before it in the timeline hold it up
 * @in_buffer: in virtbuf_buffer.points until @released, by rising serial
 * @in_timeline: in virtbuf_timeline.points, then in virtbuf_device.due_points
 */
struct virtbuf_point {
	struct virtbuf_timeline *timeline;
	struct dma_fence_chain *chain;
	u64 point;
	u64 serial;
	bool released;
	struct list_head in_buffer;
	struct list_head in_timeline;
};

struct virtbuf_point *
virtbuf_point_create(struct virtbuf_device *vb, struct drm_file *drm_file,
		     const struct drm_virtbuf_update *args);
void virtbuf_point_add(struct virtbuf_device *vb, struct virtbuf_point *point,
		       struct virtbuf_buffer *buffer, u64 serial);
void virtbuf_point_free(struct virtbuf_device *vb, struct virtbuf_point *point);
void virtbuf_points_release(struct virtbuf_device *vb,
			    struct virtbuf_buffer *buffer, u64 released);
void virtbuf_points_signal(struct virtbuf_device *vb);
#if IS_ENABLED(CONFIG_KUNIT)
struct virtbuf_point *
virtbuf_point_alloc(struct virtbuf_device *vb, struct drm_syncobj *syncobj,
		    u64 value);
#endif

/* virtbuf_stream.c */

/**
 * struct virtbuf_stream - keeps the order of its buffers' updates
 * @refs: one for each buffer, one while @work is pending or runs
 * @node: in virtbuf_device.streams, under virtbuf_device.lock; not with @id 0
 * @id: virtio_buf_register.stream
 * @vb: the device
 * @queue: updates that wait for their fences or for those before them; under
 *	virtbuf_device.vq_lock
 * @work: sends what can be sent; pending at a later time only with a @queue
 */
struct virtbuf_stream {
	refcount_t refs;
	struct hlist_node node;
	u64 id;
	struct virtbuf_device *vb;
	struct list_head queue;
	struct delayed_work work;
};

#define VIRTBUF_DAMAGE_SIZE	(VIRTIO_BUF_MAX_DAMAGE * \
				 (sizeof(struct virtio_buf_rect) + \
				  sizeof(struct virtio_buf_span)))

/**
 * struct virtbuf_update - an UPDATE, from its ioctl to its answer
 * @command: what the queue sees
 * @buffer: referenced while the update is in @in_buffer
 * @in_buffer: in virtbuf_buffer.updates, under virtbuf_device.lock
 * @in_stream: in virtbuf_stream.queue while it waits
 * @fences: that it waits for, owned; or NULL
 * @deadline: jiffies, for @fences
 * @serial: given by virtbuf_update_submit()
 * @previous_serial: of the buffer's update before this one
 * @change: property records of this UPDATE, owned; or NULL
 * @properties: virtbuf_buffer.properties after it, owned; NULL without @change
 *	and until it is sent
 * @request: followed by its rectangles and spans
 * @damage: room for them
 * @answer: written by the device
 *
 * Each buffer has one for what can be sent at once; what has to wait is
 * allocated.
 */
struct virtbuf_update {
	struct virtbuf_command command;
	struct virtbuf_buffer *buffer;
	struct list_head in_buffer;
	struct list_head in_stream;
	struct virtbuf_fences *fences;
	unsigned long deadline;
	u64 serial;
	u64 previous_serial;
	struct virtbuf_properties *change;
	struct virtbuf_properties *properties;
	struct {
		struct virtio_buf_update request;
		u8 damage[VIRTBUF_DAMAGE_SIZE];
	};
	struct {
		struct virtio_buf_update_response answer;
	} ____cacheline_aligned;
};

void virtbuf_streams_init(struct virtbuf_device *vb);
struct virtbuf_stream *virtbuf_stream_get(struct virtbuf_device *vb, u64 id);
void virtbuf_stream_put(struct virtbuf_stream *stream);
void virtbuf_stream_kick(struct virtbuf_stream *stream);
void virtbuf_stream_fences_signalled(void *stream);
int virtbuf_claim(struct virtbuf_file *file, struct virtbuf_buffer *buffer,
		  unsigned int what);
void virtbuf_unclaim(struct virtbuf_device *vb, struct virtbuf_buffer *buffer,
		     unsigned int what);
void virtbuf_unclaim_locked(struct virtbuf_device *vb,
			    struct virtbuf_buffer *buffer, unsigned int what);
void virtbuf_update_init(struct virtbuf_update *update,
			 struct virtbuf_buffer *buffer);
int virtbuf_update_submit(struct virtbuf_device *vb,
			  struct virtbuf_update *update,
			  struct virtbuf_point *point, u64 *serial);
void virtbuf_updates_drop(struct virtbuf_device *vb,
			  struct virtbuf_buffer *buffer, int error);
void virtbuf_released_look(struct virtbuf_device *vb,
			   struct virtbuf_buffer *buffer);

#endif /* VIRTBUF_UPDATE_H */
