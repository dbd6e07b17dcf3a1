/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtio-buf: what the driver's files share.
 *
 * Locks, in the order in which they nest:
 *
 * virtbuf_device.vq_lock (mutex): the virtqueue and its backlog, and with them
 *	the order of commands. Ids and serials are given, and states that ask for
 *	a command are left, in the same section that queues the command.
 * virtbuf_device.lock (spinlock): states of buffers, their owners, the list of
 *	files. Taken in process context only.
 *
 * Answers are handled on virtbuf_device.wq, an ordered workqueue, one after the
 * other and in the order of the ring, with neither lock held. Nothing there
 * waits for user space or the host. Whoever waits for the host does it on
 * virtbuf_file.wait, without a lock and outside of drm_dev_enter().
 */
#ifndef VIRTBUF_DRV_H
#define VIRTBUF_DRV_H

#include <linux/hashtable.h>
#include <linux/idr.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/overflow.h>
#include <linux/refcount.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_buf.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <drm/drm_device.h>
#include <drm/drm_file.h>
#include <drm/drm_gem_shmem_helper.h>
#include <drm/virtbuf_drm.h>

#include "virtbuf_quota.h"
#include "virtbuf_update.h"
#include "virtbuf_vq.h"

struct virtbuf_buffer;
struct virtbuf_device;
struct virtbuf_file;
struct virtbuf_pending_event;
struct virtbuf_written;

/*
 * Keeps the memory of one REGISTER small, and its chain shorter than a queue of
 * 128 descriptors
 */
#define VIRTBUF_MAX_RANGES	16384
/* The host would be asked for each of them: no program needs more */
#define VIRTBUF_MAX_IN_FENCES	64

/* What is constant in struct virtio_buf_config, checked and clamped */
struct virtbuf_limits {
	u32 max_buffers;
	u32 max_ranges;
	u64 max_buffer_size;
	u64 max_total_size;
	u64 max_dmabuf_size;
	u32 max_dmabuf_ranges;
	u32 max_properties;
	u32 max_property_bytes;
	u32 release_timeout_ms;
	u32 hold_timeout_ms;
};

/* virtbuf_property.c */

/**
 * struct virtbuf_properties - property records, as they go over the wire
 * @refs: users; the contents never change
 * @account: charged for it, referenced; NULL: nobody is
 * @count: records
 * @size: bytes of @data
 * @data: &struct virtio_buf_property, each with what follows it
 */
struct virtbuf_properties {
	refcount_t refs;
	struct virtbuf_account *account;
	u32 count;
	u32 size;
	u8 data[] __aligned(8);
};

struct virtbuf_properties *
virtbuf_properties_from_user(const struct virtbuf_limits *limits, u64 list,
			     u32 count, u32 stride, bool may_delete);
struct virtbuf_properties *
virtbuf_properties_from_device(const u8 *records, size_t size);
struct virtbuf_properties *
virtbuf_properties_apply(const struct virtbuf_limits *limits,
			 const struct virtbuf_properties *old,
			 const struct virtbuf_properties *change);
struct virtbuf_properties *
virtbuf_properties_get(struct virtbuf_properties *properties);
void virtbuf_properties_put(struct virtbuf_properties *properties);
int virtbuf_properties_charge(struct virtbuf_properties *properties,
			      struct virtbuf_account *account);
void virtbuf_properties_uncharge(struct virtbuf_properties *properties);
bool virtbuf_text_is_valid(const u8 *text, size_t len);

/* virtbuf_bo.c */

struct virtbuf_bo;

/**
 * struct virtbuf_bo_ops - what differs from one kind of memory to another
 * @map: makes sure that the pages stay where they are, and sets virtbuf_bo.sgt;
 *	for the first of virtbuf_bo.mappings, in a section of drm_dev_enter()
 * @unmap: undoes it, after the last one; with @leak the pages stay where they are
 *	for ever, and so does the object
 *
 * Called with the reservation lock held.
 */
struct virtbuf_bo_ops {
	int (*map)(struct virtbuf_device *vb, struct virtbuf_bo *bo);
	void (*unmap)(struct virtbuf_device *vb, struct virtbuf_bo *bo,
		      bool leak);
};

/**
 * struct virtbuf_bo - guest memory that can become part of a buffer
 * @shmem: the GEM object. For dumb buffers it also has the pages.
 * @ops: by kind
 * @pages: of the object as long as it exists; NULL for dumb buffers and imports
 * @mappings: parts of buffers; while there are any, the pages are pinned and
 *	mapped once for all of them. Under the reservation lock.
 * @sgt: all pages. Its DMA addresses are what the device takes, nothing else in
 *	it is to be looked at; while there are @mappings
 * @taking_back: buffers with this BO that the host was asked to give back and
 *	has not; under virtbuf_device.lock
 */
struct virtbuf_bo {
	struct drm_gem_shmem_object shmem;
	const struct virtbuf_bo_ops *ops;
	struct page **pages;
	unsigned int mappings;
	struct sg_table *sgt;
	unsigned int taking_back;
};

static inline struct virtbuf_bo *to_virtbuf_bo(struct drm_gem_object *obj)
{
	return container_of(to_drm_gem_shmem_obj(obj), struct virtbuf_bo,
			    shmem);
}

struct drm_gem_object *virtbuf_gem_create_object(struct drm_device *drm,
						 size_t size);
extern const struct virtbuf_bo_ops virtbuf_pages_ops;
struct virtbuf_bo *virtbuf_bo_create(struct virtbuf_device *vb, size_t size);
int virtbuf_bo_map(struct virtbuf_device *vb, struct virtbuf_bo *bo);
void virtbuf_bo_unmap(struct virtbuf_device *vb, struct virtbuf_bo *bo,
		      bool leak);

/* virtbuf_import.c */

bool virtbuf_can_import(struct virtbuf_device *vb);
struct drm_gem_object *virtbuf_prime_import(struct drm_device *drm,
					    struct dma_buf *dma_buf);
struct drm_gem_object *
virtbuf_prime_import_sg_table(struct drm_device *drm,
			      struct dma_buf_attachment *attach,
			      struct sg_table *sgt);
void virtbuf_imports_detach(struct virtbuf_device *vb);

/* virtbuf_userptr.c */

int virtbuf_ioctl_bo_userptr(struct drm_device *drm, void *data,
			     struct drm_file *drm_file);

/* virtbuf_buffer.c */

/**
 * enum virtbuf_state - who has the pages of a buffer
 * @VIRTBUF_REGISTERING: REGISTER is queued
 * @VIRTBUF_REGISTERED: the host
 * @VIRTBUF_UNREGISTERING: UNREGISTER is queued, or could not be queued
 * @VIRTBUF_PENDING: someone on the host still has them, FREED will come
 * @VIRTBUF_FREED: the guest
 *
 * A state is only left for a later one, except that a REGISTER that fails goes
 * straight to FREED.
 */
enum virtbuf_state {
	VIRTBUF_REGISTERING,
	VIRTBUF_REGISTERED,
	VIRTBUF_UNREGISTERING,
	VIRTBUF_PENDING,
	VIRTBUF_FREED,
};

/* virtbuf_buffer.busy */
#define VIRTBUF_BUSY_UPDATE	BIT(0) /* its UPDATE is not answered */
#define VIRTBUF_BUSY_PROPERTIES	BIT(1) /* a change of properties is not */

/**
 * struct virtbuf_part - pages of a BO in a buffer
 * @bo: referenced and mapped
 * @offset: of the first page, in bytes
 * @size: bytes
 */
struct virtbuf_part {
	struct virtbuf_bo *bo;
	u64 offset;
	u64 size;
};

/**
 * struct virtbuf_buffer - memory that is registered with the device
 * @refs: one for the handle, one for virtbuf_device.buffers, one for each
 *	command in flight, one for each ioctl that works with it
 * @id: given by virtbuf_buffer_register(), constant then
 * @size: bytes, constant
 * @handle: in virtbuf_file.handles, constant
 * @mode: VIRTIO_BUF_MODE_*, constant
 * @stream: what keeps the order of its updates, referenced, constant
 * @account: charged for the buffer until it is FREED, referenced
 * @request: what REGISTER has said, to say it again after a sleep; constant
 * @part_count: used ones of @parts
 * @parts: the memory; owned by who moves @state to FREED
 * @queued: its updates in the queue of @stream; under virtbuf_device.vq_lock
 * @file: who hears of news; NULL: nobody, the buffer is on its way back.
 *	This and what follows is under virtbuf_device.lock.
 * @state: who has the pages
 * @recalled: counted in virtbuf_device.recalled
 * @busy: VIRTBUF_BUSY_*
 * @register_error: what REGISTER answered, as a negative errno
 * @error: an UPDATE that failed after its ioctl had returned, not reported yet
 * @backing: VIRTIO_BUF_BACKING_*
 * @reason: VIRTIO_BUF_REASON_*
 * @uuid: from REGISTER's answer
 * @consumers: attached to this buffer
 * @given_serial: the newest that an UPDATE got; 0: none
 * @accepted_serial: the newest that the device has accepted
 * @released: no consumer will read this serial and those below
 * @conditions: bits of DRM_VIRTBUF_WAIT_* that are told as events
 * @updates: given a serial and not answered, in order
 * @points: release points of updates that are not released, in order
 * @properties: as they are after all answered commands; never NULL
 * @written: what the writer has said; NULL with VIRTIO_BUF_ACCESS_READ
 * @update: for what can be sent at once, by who has set VIRTBUF_BUSY_UPDATE
 * @unregister: allocated with the buffer, so that giving back cannot fail
 */
struct virtbuf_buffer {
	struct kref refs;
	u64 id;
	u64 size;
	u32 handle;
	u8 mode;
	struct virtbuf_stream *stream;
	struct virtbuf_account *account;
	struct virtio_buf_register request;
	unsigned int part_count;
	struct virtbuf_part parts[DRM_VIRTBUF_MAX_BO_RANGES];

	unsigned int queued;

	struct virtbuf_file *file;
	enum virtbuf_state state;
	bool recalled;
	unsigned int busy;
	int register_error;
	int error;
	u8 backing;
	u8 reason;
	u8 uuid[VIRTIO_BUF_UUID_SIZE];
	u32 consumers;
	u64 given_serial;
	u64 accepted_serial;
	u64 released;
	u32 conditions;
	struct list_head updates;
	struct list_head points;
	struct virtbuf_properties *properties;

	struct virtbuf_written *written;

	struct virtbuf_update update;
	struct {
		struct virtbuf_command command;
		struct virtio_buf_unregister request;
		struct virtbuf_plain_answer answer;
	} unregister;
};

struct virtbuf_buffer *
virtbuf_buffer_create(struct virtbuf_file *file,
		      const struct virtio_buf_register *request);
int virtbuf_buffer_add_part(struct virtbuf_device *vb,
			    struct virtbuf_buffer *buffer,
			    struct virtbuf_bo *bo, u64 offset, u64 size);
void virtbuf_buffer_discard(struct virtbuf_device *vb,
			    struct virtbuf_buffer *buffer);
void virtbuf_buffer_freed(struct virtbuf_device *vb,
			  struct virtbuf_buffer *buffer, bool shared);
void virtbuf_buffer_released(struct virtbuf_device *vb,
			     struct virtbuf_buffer *buffer, u64 released);
int virtbuf_buffer_take_error(struct virtbuf_device *vb,
			      struct virtbuf_buffer *buffer);
struct virtbuf_buffer *virtbuf_buffer_get(struct virtbuf_buffer *buffer);
void virtbuf_buffer_put(struct virtbuf_buffer *buffer);
struct virtbuf_buffer *virtbuf_buffer_lookup(struct virtbuf_file *file,
					     u32 handle);
void virtbuf_buffer_wake(struct virtbuf_device *vb,
			 struct virtbuf_buffer *buffer);

/* virtbuf_register.c */

/**
 * struct virtbuf_registration - the REGISTER command and its memory
 * @command: what the queue sees
 * @buffer: referenced
 * @ranges: owned
 * @properties: owned
 * @request: read by the device
 * @answer: written by the device
 */
struct virtbuf_registration {
	struct virtbuf_command command;
	struct virtbuf_buffer *buffer;
	struct virtio_buf_range *ranges;
	struct virtbuf_properties *properties;
	struct virtio_buf_register request;
	struct {
		struct virtio_buf_register_response answer;
	} ____cacheline_aligned;
};

int virtbuf_buffer_register(struct virtbuf_device *vb,
			    struct virtbuf_registration *registration);
int virtbuf_register_again(struct virtbuf_device *vb,
			   struct virtbuf_buffer *buffer);
void virtbuf_registration_free(struct virtbuf_registration *registration);
int virtbuf_buffer_unregister(struct virtbuf_device *vb,
			      struct virtbuf_buffer *buffer);
void virtbuf_buffer_orphan(struct virtbuf_device *vb,
			   struct virtbuf_buffer *buffer);
void virtbuf_unregister_locked(struct virtbuf_device *vb,
			       struct virtbuf_buffer *buffer);
void virtbuf_unregister_done(struct virtbuf_device *vb,
			     struct virtbuf_command *command, int result);

/* virtbuf_buffers.c */

int virtbuf_buffer_news(struct virtbuf_device *vb,
			const struct virtio_buf_event *event, const u8 *bytes,
			size_t size);
void virtbuf_buffers_take_back(struct virtbuf_device *vb);
void virtbuf_buffers_give_up(struct virtbuf_device *vb);
void virtbuf_buffers_drop(struct virtbuf_device *vb, bool shared);
void virtbuf_buffers_recall(struct virtbuf_device *vb);
void virtbuf_buffers_park(struct virtbuf_device *vb);
void virtbuf_buffers_unpark(struct virtbuf_device *vb);

/* virtbuf_range.c */

unsigned int virtbuf_ranges_add(struct virtio_buf_range *ranges,
				unsigned int count, unsigned int max, u64 addr,
				u64 len);
unsigned int virtbuf_ranges_add_part(struct virtio_buf_range *ranges,
				     unsigned int count, unsigned int max,
				     const struct virtbuf_part *part);

/* virtbuf_update.c */

int virtbuf_ioctl_update(struct drm_device *drm, void *data,
			 struct drm_file *drm_file);

/* virtbuf_property_ioctl.c */

struct virtbuf_properties *
virtbuf_buffer_set_properties(struct virtbuf_device *vb,
			      struct virtbuf_buffer *buffer,
			      struct virtbuf_properties *properties);
int virtbuf_ioctl_set_properties(struct drm_device *drm, void *data,
				 struct drm_file *drm_file);
int virtbuf_ioctl_get_properties(struct drm_device *drm, void *data,
				 struct drm_file *drm_file);

/* virtbuf_ioctl.c */

int virtbuf_copy_element(void *to, size_t size, u64 array, u32 stride,
			 u32 index);
int virtbuf_copy_application(u8 *to, u64 text, u32 len);
int virtbuf_ioctl_getparam(struct drm_device *drm, void *data,
			   struct drm_file *drm_file);
int virtbuf_ioctl_bo_create(struct drm_device *drm, void *data,
			    struct drm_file *drm_file);
int virtbuf_ioctl_bo_map(struct drm_device *drm, void *data,
			 struct drm_file *drm_file);
int virtbuf_ioctl_register(struct drm_device *drm, void *data,
			   struct drm_file *drm_file);
int virtbuf_ioctl_unregister(struct drm_device *drm, void *data,
			     struct drm_file *drm_file);

/* virtbuf_wait.c */

int virtbuf_ioctl_wait(struct drm_device *drm, void *data,
		       struct drm_file *drm_file);

/* virtbuf_consumers.c */

/* What no real host has: a device that goes on beyond it does not tell the truth */
#define VIRTBUF_MAX_RECORD_BYTES	(64U << 20)

/**
 * struct virtbuf_listing - records on their way to the caller
 * @data: where the next one goes
 * @room: bytes left there; when one has not fitted, nothing more goes there
 * @size: bytes of all records
 * @count: of all records
 * @last: consumer_id of the last one
 */
struct virtbuf_listing {
	u8 __user *data;
	u32 room;
	u32 size;
	u32 count;
	u64 last;
};

#if IS_ENABLED(CONFIG_KUNIT)
int virtbuf_take_record(struct virtbuf_listing *listing, const u8 *record,
			size_t left);
#endif
int virtbuf_ioctl_consumers(struct drm_device *drm, void *data,
			    struct drm_file *drm_file);

/* virtbuf_written.c */

struct virtbuf_written *virtbuf_written_create(void);
void virtbuf_written_free(struct virtbuf_written *written);
u64 virtbuf_written_serial(const struct virtbuf_buffer *buffer);
int virtbuf_written_news(struct virtbuf_device *vb,
			 struct virtbuf_buffer *buffer, const u8 *bytes,
			 size_t size);
int virtbuf_ioctl_get_written(struct drm_device *drm, void *data,
			      struct drm_file *drm_file);

/* virtbuf_event.c */

void virtbuf_event_tell(struct virtbuf_device *vb,
			struct virtbuf_buffer *buffer, u32 conditions);
__poll_t virtbuf_poll(struct file *filp, struct poll_table_struct *wait);
ssize_t virtbuf_read(struct file *filp, char __user *buffer, size_t count,
		     loff_t *offset);
int virtbuf_release(struct inode *inode, struct file *filp);
int virtbuf_ioctl_events(struct drm_device *drm, void *data,
			 struct drm_file *drm_file);

/**
 * struct virtbuf_file - an open file
 * @vb: the device
 * @node: in virtbuf_device.files, under virtbuf_device.lock
 * @context: virtio_buf_register.context, not 0
 * @account: what this file's buffers use, referenced
 * @handles: buffers by handle, each with a reference; an entry without one is
 *	reserved by a REGISTER
 * @next_handle: where to look for a free one first: an event may be read after
 *	its buffer is gone, and must not seem to be about another one
 * @wait: woken whenever something happens to a buffer of this file, and when
 *	the device is gone
 * @read_lock: who has it takes events
 * @drm_file: gets events; NULL: it is being closed. This and what follows is
 *	under virtbuf_device.lock.
 * @conditions: bits of DRM_VIRTBUF_WAIT_* that are told of all buffers
 * @overflow: an OVERFLOW that has its room; under the DRM device's event_lock
 *	as @overflow_due
 * @overflow_due: there was none when it was needed
 */
struct virtbuf_file {
	struct virtbuf_device *vb;
	struct list_head node;
	u32 context;
	struct virtbuf_account *account;
	struct xarray handles;
	u32 next_handle;
	wait_queue_head_t wait;
	struct mutex read_lock; /* taking events */
	struct drm_file *drm_file;
	u32 conditions;
	struct virtbuf_pending_event *overflow;
	bool overflow_due;
};

/* One descriptor for each page of ranges, properties and answer, and some */
#define VIRTBUF_MAX_SG	(VIRTBUF_MAX_PIECES + 1 + \
	DIV_ROUND_UP(VIRTBUF_MAX_RANGES * \
		     sizeof(struct virtio_buf_range), PAGE_SIZE) + 1 + \
	2 * (DIV_ROUND_UP(VIRTIO_BUF_MAX_PROPERTY_BYTES, PAGE_SIZE) + 2))

struct virtbuf_events;

/* virtbuf_pm.c */

int virtbuf_pm_init(struct virtbuf_device *vb);
void virtbuf_pm_fini(struct virtbuf_device *vb);
void virtbuf_stop(struct virtbuf_device *vb);
int virtbuf_freeze(struct virtio_device *vdev);
int virtbuf_restore(struct virtio_device *vdev);

/**
 * struct virtbuf_device - the device
 * @drm: the DRM device; its memory lives as long as this
 * @vdev: valid until virtbuf_remove() returns
 * @dma_dev: what ranges are mapped for; NULL: the device takes physical
 *	addresses
 * @limits: from config space
 * @instance: name that the host has given, printable
 * @writers: VIRTIO_BUF_F_WRITER was negotiated
 * @reboot: takes everything back before another kernel gets the memory
 * @pm: keeps the machine from hibernation while pages are shared
 * @stopped: virtbuf_stop() was here; remove and reboot do not run together
 *
 * @wq: answers, configuration changes, the watchdog and streams; ordered. As
 *	long as the DRM device, because fences signal when they like.
 * @completed: the virtqueue has answers
 * @config: the configuration has changed
 * @watchdog: runs when the device owes an answer
 *
 * @vq_lock: see the top of this file
 * @vq: commandq; NULL while the device sleeps
 * @vq_size: descriptors that it has
 * @open: commands are accepted
 * @backlog: commands that wait for room in @vq, in order
 * @held: the device goes to sleep, or sleeps
 * @held_commands: what came since then, in order
 * @in_flight: commands in @vq
 * @alive: jiffies of the device's last sign of life
 * @last_id: given to a buffer
 * @last_serial: given to an UPDATE
 * @sg: for virtbuf_queue()
 *
 * @lock: see the top of this file
 * @error: why ioctls fail: 0, -EIO or -ENODEV. Also written under @vq_lock.
 * @files: open files
 * @recalled: buffers that the host was asked for before a sleep, and still has
 *
 * @streams: by id; each is there as long as it has references
 * @timelines: by syncobj; each is there as long as it has points
 * @due_points: to be added to their syncobjs, in order
 *
 * @points_lock: only who has it adds points; below @vq_lock
 * @dead: gives up what waits when the device has failed
 *
 * @buffers: by id, each with a reference: whatever the host may have
 * @drained: woken when @buffers, @recalled or the ring may have become empty
 * @contexts: of files
 *
 * @imports_lock: @imports, and that they are attached; above reservation locks
 * @imports: attached dma-bufs of other drivers
 *
 * @quota_lock: a leaf, for virtbuf_account.used
 * @account: what all files use
 * @users: accounts by uid; each is there as long as it has references
 *
 * @events: GET_EVENTS, used on @wq only as all that follows
 * @events_queued: @events is in flight
 * @events_again: something has happened since it was queued
 * @news_seen: news of the last answer to GET_EVENTS
 */
struct virtbuf_device {
	struct drm_device *drm;
	struct virtio_device *vdev;
	struct device *dma_dev;
	struct virtbuf_limits limits;
	char instance[VIRTIO_BUF_NAME_SIZE];
	bool writers;
	struct notifier_block reboot;
	struct notifier_block pm;
	bool stopped;

	struct workqueue_struct *wq;
	struct work_struct completed;
	struct work_struct config;
	struct delayed_work watchdog;

	struct mutex vq_lock; /* what follows, and the order of commands */
	struct virtqueue *vq;
	unsigned int vq_size;
	bool open;
	struct list_head backlog;
	bool held;
	struct list_head held_commands;
	unsigned int in_flight;
	unsigned long alive;
	u64 last_id;
	u64 last_serial;
	struct scatterlist sg[VIRTBUF_MAX_SG];

	spinlock_t lock; /* what follows, and states of buffers */
	int error;
	struct list_head files;
	unsigned int recalled;
	DECLARE_HASHTABLE(streams, 6);
	DECLARE_HASHTABLE(timelines, 6);
	struct list_head due_points;

	struct mutex points_lock; /* adding points */
	struct work_struct dead;

	struct xarray buffers;
	wait_queue_head_t drained;
	struct ida contexts;

	struct mutex imports_lock; /* what follows */
	struct list_head imports;

	spinlock_t quota_lock; /* virtbuf_account.used */
	struct virtbuf_account account;
	struct xarray users;

	struct virtbuf_events *events;
	bool events_queued;
	bool events_again;
	u64 news_seen;
};

static inline struct virtbuf_device *to_virtbuf(struct drm_device *drm)
{
	return drm->dev_private;
}

/* Whether @len bytes at @offset are within @size */
static inline bool virtbuf_ends_inside(u64 offset, u64 len, u64 size)
{
	u64 end;

	return !check_add_overflow(offset, len, &end) && end <= size;
}

/* 0, or why nothing more is to be expected from the device */
static inline int virtbuf_error(struct virtbuf_device *vb)
{
	return READ_ONCE(vb->error);
}

#endif /* VIRTBUF_DRV_H */
