/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf: buffers shared with programs on the host, the driver's ioctls.
 *
 * Rules for all of them:
 *
 * - Unknown flags and non-zero pads are EINVAL.
 * - An array is {pointer, count, stride}: stride is sizeof the element as the
 *   caller knows it. Longer elements are accepted when the excess is zero.
 * - BO handles and buffer handles belong to the open file. No ioctl takes an id
 *   of another file.
 * - Timeouts are absolute CLOCK_MONOTONIC nanoseconds; in the past: do not wait.
 * - What the kernel or the device cannot do yet is EOPNOTSUPP;
 *   DRM_VIRTBUF_PARAM_FEATURES tells beforehand.
 *
 * Errors, wherever they apply: EINVAL a field is wrong; ENOENT no such handle;
 * EBUSY the consumer has it; E2BIG above a limit of the device; ENOSPC above a
 * quota, or the caller's array is too small; ETIME timeout; EOPNOTSUPP not
 * built or not possible here; ENODEV unplugged; EIO the device has failed;
 * EINTR a signal (restarted by the kernel); ECANCELED a fence of an UPDATE has
 * failed, or of an earlier UPDATE of this buffer, which was dropped. What else
 * can become of an UPDATE after its ioctl is told there.
 *
 * PRIME: DRM_IOCTL_PRIME_FD_TO_HANDLE makes a BO of a dma-buf, where there is
 * DRM_VIRTBUF_FEATURE_IMPORT; one of this device's own is the same BO again.
 * Another driver's stays attached, and its pages in their place, until the BO
 * and all buffers with it are gone. It has to be RAM that the device reaches
 * where it is. Errors: what the exporter says to an attachment without
 * peer-to-peer; ENXIO it is not RAM, but a device's memory (behind an IOMMU,
 * where only the device can tell, REGISTER says so); EOPNOTSUPP this machine has
 * an IOMMU that the device does not use, or would copy the memory to bounce
 * buffers; EINVAL not whole pages. With drm.debug=0x8 the kernel's log has the
 * reason. An exporter that maps its memory write-combined, as vgem does, is not
 * supported on all processors: the host maps it write-back. The pages are the
 * exporter's to account for: until they are registered no quota counts them.
 *
 * No other device may write to pages that are on their way back, from UNREGISTER
 * (or the end of the program) until FREED: the host may replace the pages at any
 * time, and what is written meanwhile is lost. What the CPUs write is not. The
 * driver refuses (EBUSY) to map a BO for another device then, but one that has
 * mapped a BO before keeps it, and it knows nothing of what others do with
 * imported memory, or with that of BO_USERPTR (read() of a file that is open with
 * O_DIRECT, for one): there it is the program's to wait for FREED.
 */
#ifndef _VIRTBUF_DRM_H_
#define _VIRTBUF_DRM_H_

#include "drm.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define DRM_VIRTBUF_GETPARAM		0x00
#define DRM_VIRTBUF_BO_CREATE		0x01
#define DRM_VIRTBUF_BO_MAP		0x02
#define DRM_VIRTBUF_BO_USERPTR		0x03
#define DRM_VIRTBUF_REGISTER		0x04
#define DRM_VIRTBUF_UNREGISTER		0x05
#define DRM_VIRTBUF_SET_PROPERTIES	0x06
#define DRM_VIRTBUF_GET_PROPERTIES	0x07
#define DRM_VIRTBUF_UPDATE		0x08
#define DRM_VIRTBUF_WAIT		0x09
#define DRM_VIRTBUF_CONSUMERS		0x0a
#define DRM_VIRTBUF_EVENTS		0x0b
#define DRM_VIRTBUF_GET_WRITTEN		0x0c

/* Parameters */
#define DRM_VIRTBUF_PARAM_FEATURES		0 /* DRM_VIRTBUF_FEATURE_* */
#define DRM_VIRTBUF_PARAM_CONSUMERS		1 /* host programs connected */
#define DRM_VIRTBUF_PARAM_PAGE_SIZE		2 /* bytes: unit of BO ranges */
#define DRM_VIRTBUF_PARAM_MAX_BUFFERS		3 /* of the device */
#define DRM_VIRTBUF_PARAM_MAX_RANGES		4 /* of one buffer, merged */
#define DRM_VIRTBUF_PARAM_MAX_BUFFER_SIZE	5 /* bytes */
#define DRM_VIRTBUF_PARAM_MAX_TOTAL_SIZE	6 /* bytes, of the device */
#define DRM_VIRTBUF_PARAM_MAX_PROPERTIES	7 /* of one buffer */
#define DRM_VIRTBUF_PARAM_MAX_PROPERTY_BYTES	8 /* of one buffer, encoded */
#define DRM_VIRTBUF_PARAM_RELEASE_TIMEOUT_MS	9 /* 0: none */
#define DRM_VIRTBUF_PARAM_HOLD_TIMEOUT_MS	10 /* 0: none */
/* What a buffer may have to be passed without a copy; 0: all are copied */
#define DRM_VIRTBUF_PARAM_MAX_DMABUF_RANGES	11 /* merged */
#define DRM_VIRTBUF_PARAM_MAX_DMABUF_SIZE	12 /* bytes */
/*
 * Quotas of this kernel on what is registered: of one open file, of all files of
 * one user, and of the device. ENOSPC above them. Bytes are those of the buffers;
 * PENDING is how many buffers may be on their way back before no more are taken;
 * property bytes are as GET_PROPERTIES counts them. What is used is in
 * /proc/PID/fdinfo: drm-virtbuf-*.
 */
#define DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES		13
#define DRM_VIRTBUF_PARAM_QUOTA_FILE_BUFFERS		14
#define DRM_VIRTBUF_PARAM_QUOTA_FILE_PENDING		15
#define DRM_VIRTBUF_PARAM_QUOTA_FILE_PROPERTY_BYTES	16
#define DRM_VIRTBUF_PARAM_QUOTA_USER_BYTES		17
#define DRM_VIRTBUF_PARAM_QUOTA_USER_BUFFERS		18
#define DRM_VIRTBUF_PARAM_QUOTA_USER_PENDING		19
#define DRM_VIRTBUF_PARAM_QUOTA_USER_PROPERTY_BYTES	20
#define DRM_VIRTBUF_PARAM_QUOTA_DEVICE_BYTES		21
#define DRM_VIRTBUF_PARAM_QUOTA_DEVICE_BUFFERS		22
#define DRM_VIRTBUF_PARAM_QUOTA_DEVICE_PENDING		23
#define DRM_VIRTBUF_PARAM_QUOTA_DEVICE_PROPERTY_BYTES	24

/* What this kernel and this device can do: bits of PARAM_FEATURES */
#define DRM_VIRTBUF_FEATURE_IMPORT	(1 << 0) /* PRIME import */
#define DRM_VIRTBUF_FEATURE_USERPTR	(1 << 1) /* BO_USERPTR */
#define DRM_VIRTBUF_FEATURE_FENCES	(1 << 2) /* in-fences of UPDATE */
#define DRM_VIRTBUF_FEATURE_POINTS	(1 << 3) /* release points of UPDATE */
#define DRM_VIRTBUF_FEATURE_EVENTS	(1 << 4) /* EVENTS, poll() and read() */
#define DRM_VIRTBUF_FEATURE_CONSUMERS	(1 << 5) /* CONSUMERS */
#define DRM_VIRTBUF_FEATURE_WRITER	(1 << 6) /* DRM_VIRTBUF_ACCESS_WRITER */

/**
 * struct drm_virtbuf_getparam - reads one number
 * @param: in, DRM_VIRTBUF_PARAM_*
 * @value: out
 */
struct drm_virtbuf_getparam {
	__u64 param;
	__u64 value;
};

/**
 * struct drm_virtbuf_bo_create - allocates zeroed guest memory
 * @size: in, bytes, not zero; out, rounded up to the page size
 * @flags: in, zero
 * @handle: out, GEM handle; free it with DRM_IOCTL_GEM_CLOSE
 *
 * The pages come in long runs where the guest has them, so that few ranges
 * describe them. They count against no quota before they are registered: the
 * memory cgroup of the caller is charged, which is what bounds them.
 */
struct drm_virtbuf_bo_create {
	__u64 size;
	__u32 flags;
	__u32 handle;
};

/**
 * struct drm_virtbuf_bo_map - where to mmap() a BO
 * @handle: in, GEM handle
 * @flags: in, zero
 * @offset: out, for mmap() on the DRM fd
 *
 * Imported BOs are EINVAL: mmap() their dma-buf. So are those of BO_USERPTR.
 */
struct drm_virtbuf_bo_map {
	__u32 handle;
	__u32 flags;
	__u64 offset;
};

/**
 * struct drm_virtbuf_bo_userptr - makes a BO of the caller's own memory
 * @addr: in, page aligned, mapped for reading and writing
 * @size: in, bytes, page multiple, not zero
 * @flags: in, zero
 * @handle: out, GEM handle
 *
 * For memory that a program cannot have allocated as a BO; importing a udmabuf of
 * a memfd is better where that is possible.
 *
 * The BO has the pages that are mapped now. They stay pinned, and charged to the
 * caller as locked memory, until the BO and all buffers with it are gone. What
 * changes the mapping later does not change the BO: after munmap(), mremap() of
 * something else to there, or MADV_DONTNEED the host goes on seeing the old
 * pages. After fork() the parent has the pages and the child others. A private
 * mapping of a file is a copy of the file from now on. When the host loses the
 * pages, the memory and what is in it stay the program's.
 *
 * Anonymous memory, shmem (memfd, tmpfs) and hugetlb. EOPNOTSUPP: any other
 * mapping, such as files, devices and BOs; EFAULT: not all of it is mapped for
 * writing; ENOMEM: above RLIMIT_MEMLOCK, without CAP_IPC_LOCK. The BO cannot be
 * exported (EOPNOTSUPP).
 */
struct drm_virtbuf_bo_userptr {
	__u64 addr;
	__u64 size;
	__u32 flags;
	__u32 handle;
};

/**
 * struct drm_virtbuf_bo_range - a part of a BO
 * @handle: GEM handle
 * @pad: zero
 * @offset: bytes, multiple of DRM_VIRTBUF_PARAM_PAGE_SIZE
 * @size: bytes, multiple of DRM_VIRTBUF_PARAM_PAGE_SIZE, not zero
 */
struct drm_virtbuf_bo_range {
	__u32 handle;
	__u32 pad;
	__u64 offset;
	__u64 size;
};

#define DRM_VIRTBUF_PROPERTY_DELETE	(1 << 0)

/**
 * struct drm_virtbuf_property - one name=value
 * @name: pointer to UTF-8 bytes, no NUL, no '='
 * @value: pointer to UTF-8 bytes, no NUL
 * @name_len: bytes, 1 to 255
 * @value_len: bytes
 * @flags: DRM_VIRTBUF_PROPERTY_DELETE (not for REGISTER), with @value_len 0
 * @pad: zero
 *
 * docs/properties.rst lists the well-known names.
 */
struct drm_virtbuf_property {
	__u64 name;
	__u64 value;
	__u32 name_len;
	__u32 value_len;
	__u32 flags;
	__u32 pad;
};

#define DRM_VIRTBUF_MAX_BO_RANGES	4
#define DRM_VIRTBUF_APPLICATION_MAX	63 /* bytes */
#define DRM_VIRTBUF_UUID_SIZE		16

/* drm_virtbuf_register.mode: who owns the contents after an UPDATE */
#define DRM_VIRTBUF_MODE_IN_PLACE	0 /* nobody: redrawn while it is shown */
#define DRM_VIRTBUF_MODE_LATEST		1 /* handed off; a newer one overtakes */
#define DRM_VIRTBUF_MODE_EVERY		2 /* handed off in order, none left out */

#define DRM_VIRTBUF_ACCESS_READ		0 /* consumers only read */
#define DRM_VIRTBUF_ACCESS_WRITER	1 /* one consumer writes */

#define DRM_VIRTBUF_BACKING_COPY	0 /* consumers get a copy of the pages */
#define DRM_VIRTBUF_BACKING_DMABUF	1 /* consumers get the pages */

/**
 * struct drm_virtbuf_register - shares memory with the host
 * @ranges: in, pointer to struct drm_virtbuf_bo_range
 * @range_count: in, 1 to DRM_VIRTBUF_MAX_BO_RANGES
 * @range_stride: in
 * @properties: in, pointer to struct drm_virtbuf_property
 * @property_count: in
 * @property_stride: in; ignored when @property_count is 0
 * @application: in, pointer to UTF-8 bytes: which host programs it is for
 * @application_len: in, 1 to DRM_VIRTBUF_APPLICATION_MAX, no NUL inside
 * @stream: in, buffers of one surface, camera or pipe of this file have the
 *	same; 0: the buffer stands alone
 * @mode: in, DRM_VIRTBUF_MODE_*
 * @access: in, DRM_VIRTBUF_ACCESS_*
 * @flags: in, zero
 * @buffer: out, buffer handle of this file, never 0; UNREGISTER gives it back
 * @backing: out, DRM_VIRTBUF_BACKING_*
 * @reason: out, VIRTIO_BUF_REASON_* of <linux/virtio_buf.h>: why @backing
 * @buffer_id: out, what the host's logs call it; no ioctl takes it
 * @uuid: out, names the buffer for host programs and other devices
 *
 * The buffer keeps its BOs; closing their handles afterwards is fine. The pages
 * stay pinned until the host has given them back, whatever becomes of the
 * caller. BUSY (EBUSY): a BO is still PENDING from an earlier registration.
 * ENXIO: an imported BO turned out not to be RAM.
 */
struct drm_virtbuf_register {
	__u64 ranges;
	__u32 range_count;
	__u32 range_stride;
	__u64 properties;
	__u32 property_count;
	__u32 property_stride;
	__u64 application;
	__u32 application_len;
	__u32 stream;
	__u32 mode;
	__u32 access;
	__u32 flags;
	__u32 buffer;
	__u32 backing;
	__u32 reason;
	__u64 buffer_id;
	__u8 uuid[DRM_VIRTBUF_UUID_SIZE];
};

/* drm_virtbuf_unregister.state */
#define DRM_VIRTBUF_STATE_FREED		0 /* the pages are the guest's alone */
#define DRM_VIRTBUF_STATE_PENDING	1 /* a host program still has them */

/**
 * struct drm_virtbuf_unregister - takes a buffer back
 * @buffer: in, buffer handle
 * @state: out, DRM_VIRTBUF_STATE_*
 *
 * FREED: the handle is gone. PENDING: the handle stays, only EVENTS, WAIT with
 * DRM_VIRTBUF_WAIT_FREED and UNREGISTER take it, and UNREGISTER tells the state
 * again. Updates that have not been sent are dropped, without an error.
 */
struct drm_virtbuf_unregister {
	__u32 buffer;
	__u32 state;
};

/**
 * struct drm_virtbuf_set_properties - changes properties, all or none
 * @buffer: in, buffer handle
 * @flags: in, zero
 * @properties: in, pointer to struct drm_virtbuf_property
 * @property_count: in, at least 1
 * @property_stride: in
 */
struct drm_virtbuf_set_properties {
	__u32 buffer;
	__u32 flags;
	__u64 properties;
	__u32 property_count;
	__u32 property_stride;
};

/**
 * struct drm_virtbuf_get_properties - reads the properties back
 * @buffer: in, buffer handle
 * @count: out, how many there are
 * @data: in, pointer to room for records
 * @size: in, bytes of room; out, bytes that all records take
 * @pad: in, zero
 *
 * A record is a struct virtio_buf_property of <linux/virtio_buf.h>, with name,
 * value and padding behind it. ENOSPC: @size was too small, nothing was copied,
 * @size and @count are right.
 */
struct drm_virtbuf_get_properties {
	__u32 buffer;
	__u32 count;
	__u64 data;
	__u32 size;
	__u32 pad;
};

/**
 * struct drm_virtbuf_rect - a changed rectangle, in pixels
 * @x: from the left
 * @y: from the top
 * @width: not zero
 * @height: not zero
 */
struct drm_virtbuf_rect {
	__u32 x;
	__u32 y;
	__u32 width;
	__u32 height;
};

/**
 * struct drm_virtbuf_span - changed bytes
 * @offset: from the start of the buffer
 * @len: not zero
 */
struct drm_virtbuf_span {
	__u64 offset;
	__u64 len;
};

#define DRM_VIRTBUF_FENCE_SYNC_FILE	(1 << 0) /* @syncobj is an fd */

/**
 * struct drm_virtbuf_fence - what an UPDATE waits for
 * @syncobj: syncobj handle, or a sync_file fd with DRM_VIRTBUF_FENCE_SYNC_FILE;
 *	the fd stays the caller's
 * @flags: DRM_VIRTBUF_FENCE_*
 * @point: timeline point; 0: binary, and with DRM_VIRTBUF_FENCE_SYNC_FILE
 *
 * The fence must exist: a syncobj, or a point of it, that has none yet is EINVAL,
 * as is a file that is no sync_file.
 */
struct drm_virtbuf_fence {
	__u32 syncobj;
	__u32 flags;
	__u64 point;
};

/* drm_virtbuf_update.flags */
#define DRM_VIRTBUF_UPDATE_KEYFRAME		(1 << 0)
#define DRM_VIRTBUF_UPDATE_DISCONTINUITY	(1 << 1)
#define DRM_VIRTBUF_UPDATE_END_OF_STREAM	(1 << 2)
#define DRM_VIRTBUF_UPDATE_ERROR		(1 << 3)
#define DRM_VIRTBUF_UPDATE_NO_IMPLICIT_SYNC	(1 << 16)
#define DRM_VIRTBUF_UPDATE_WAIT_FENCES		(1 << 17) /* before it returns */

/* drm_virtbuf_update.clock: what pts counts */
#define DRM_VIRTBUF_CLOCK_NONE		0
#define DRM_VIRTBUF_CLOCK_STREAM	1 /* since the start of the stream */
#define DRM_VIRTBUF_CLOCK_MONOTONIC	2
#define DRM_VIRTBUF_CLOCK_REALTIME	3
#define DRM_VIRTBUF_CLOCK_TAI		4

#define DRM_VIRTBUF_MAX_DAMAGE		16
#define DRM_VIRTBUF_MAX_QUEUED		64 /* updates of one buffer */

/**
 * struct drm_virtbuf_update - the contents are ready for consumers
 * @buffer: in, buffer handle
 * @flags: in, DRM_VIRTBUF_UPDATE_*
 * @data_offset: in, where the payload starts in the buffer
 * @data_size: in, bytes of payload
 * @pts: in, nanoseconds of @clock
 * @duration: in, nanoseconds; 0: unknown
 * @clock: in, DRM_VIRTBUF_CLOCK_*
 * @rect_count: in, 0 to DRM_VIRTBUF_MAX_DAMAGE
 * @rects: in, pointer to struct drm_virtbuf_rect
 * @spans: in, pointer to struct drm_virtbuf_span
 * @span_count: in, 0 to DRM_VIRTBUF_MAX_DAMAGE; 0: all of the payload changed
 * @property_count: in
 * @properties: in, pointer to struct drm_virtbuf_property: they take effect
 *	with exactly this update
 * @property_stride: in; ignored when @property_count is 0
 * @in_fence_count: in
 * @in_fences: in, pointer to struct drm_virtbuf_fence
 * @in_fence_stride: in; ignored when @in_fence_count is 0
 * @release_syncobj: in, syncobj handle that gets @release_point; 0: none
 * @release_point: in, timeline point that is signalled when no consumer will
 *	read this update any more; above each one that the syncobj has or will
 *	get; 0 with @release_syncobj 0
 * @serial: out, names the update, here and for host programs; larger than those of
 *	earlier updates of this device
 *
 * Returns as soon as the update is queued; before that it waits, if it has to, for
 * the device's answer to the UPDATE of this buffer that was sent last, and with
 * properties for that to SET_PROPERTIES. Consumers hear of it when its in-fences
 * have signalled, and unless DRM_VIRTBUF_UPDATE_NO_IMPLICIT_SYNC is set those of
 * others that write to its BOs (of all that use them, for a buffer that a consumer
 * writes), and after the earlier updates of its stream. With
 * DRM_VIRTBUF_UPDATE_WAIT_FENCES the fences are waited for before anything happens:
 * ECANCELED, ETIME and EINTR are without effect then.
 *
 * An update that fails later is dropped, with its properties:
 * DRM_VIRTBUF_EVENT_BUFFER tells it, and the next UPDATE or WAIT of the buffer,
 * once, without doing anything else. ECANCELED: a fence has failed, or has not
 * signalled in time. EIO: the device has refused it. E2BIG, ENOSPC, ENOMEM: its
 * properties, merged into those that the buffer has by then, are above a limit, or
 * above a quota, or there is no memory for them.
 *
 * The release point is added to its syncobj when the update is released, or
 * dropped, the buffer is given back or the device has failed: wait for it with
 * DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, or DRM_IOCTL_SYNCOBJ_EVENTFD. Points of
 * one syncobj are added in the order of their updates, and adding one wakes those
 * who wait for smaller ones: a syncobj for each buffer is best.
 *
 * EBUSY: the mode hands the buffer off and its last update is not released, or
 * DRM_VIRTBUF_MAX_QUEUED of its updates are waiting to be sent: WAIT for a release.
 */
struct drm_virtbuf_update {
	__u32 buffer;
	__u32 flags;
	__u64 data_offset;
	__u64 data_size;
	__u64 pts;
	__u64 duration;
	__u32 clock;
	__u32 rect_count;
	__u64 rects;
	__u64 spans;
	__u32 span_count;
	__u32 property_count;
	__u64 properties;
	__u32 property_stride;
	__u32 in_fence_count;
	__u64 in_fences;
	__u32 in_fence_stride;
	__u32 release_syncobj;
	__u64 release_point;
	__u64 serial;
};

/* drm_virtbuf_wait_item.condition */
#define DRM_VIRTBUF_WAIT_RELEASED	0 /* up to @value, a serial */
#define DRM_VIRTBUF_WAIT_FREED		1 /* after UNREGISTER; @value is 0 */
#define DRM_VIRTBUF_WAIT_CONSUMERS	2 /* at least @value are attached */
#define DRM_VIRTBUF_WAIT_WRITTEN	3 /* up to @value, a writer's serial;
					   * GET_WRITTEN reads it
					   */

#define DRM_VIRTBUF_MAX_WAIT_ITEMS	64

/**
 * struct drm_virtbuf_wait_item - one thing to wait for
 * @buffer: in, buffer handle
 * @condition: in, DRM_VIRTBUF_WAIT_*
 * @value: in
 */
struct drm_virtbuf_wait_item {
	__u32 buffer;
	__u32 condition;
	__u64 value;
};

#define DRM_VIRTBUF_WAIT_ALL		(1 << 0) /* else any of the items */

/**
 * struct drm_virtbuf_wait - waits for the host
 * @items: in, pointer to struct drm_virtbuf_wait_item
 * @count: in, 1 to DRM_VIRTBUF_MAX_WAIT_ITEMS
 * @stride: in
 * @timeout_ns: in, absolute CLOCK_MONOTONIC
 * @flags: in, DRM_VIRTBUF_WAIT_ALL
 * @first: out, index of the first item that holds
 *
 * ETIME: the time is over. ENOENT: not only if there is no such buffer, but also
 * when one is given back meanwhile whose item does not hold; only FREED still
 * comes then. EIO, ENODEV: the device is gone, nothing will come.
 */
struct drm_virtbuf_wait {
	__u64 items;
	__u32 count;
	__u32 stride;
	__s64 timeout_ns;
	__u32 flags;
	__u32 first;
};

/**
 * struct drm_virtbuf_get_written - reads the newest frame of a writer
 * @buffer: in, handle of a buffer with DRM_VIRTBUF_ACCESS_WRITER
 * @flags: in, zero; out, DRM_VIRTBUF_UPDATE_KEYFRAME to _ERROR
 * @serial: out, the writer's own: it rises as long as the buffer has this writer
 * @data_offset: out, where the payload starts in the buffer
 * @data_size: out, bytes of payload
 * @pts: out, nanoseconds of @clock
 * @duration: out, nanoseconds; 0: unknown
 * @clock: out, DRM_VIRTBUF_CLOCK_*
 * @rect_count: in, room in @rects; out, how many there are
 * @rects: in, pointer to room for struct drm_virtbuf_rect
 * @spans: in, pointer to room for struct drm_virtbuf_span
 * @span_count: in, room in @spans; out, how many there are; 0: all of the
 *	payload has changed
 * @property_count: out, how many properties the frame has
 * @properties: in, pointer to room for records as GET_PROPERTIES gives them; they
 *	are not properties of the buffer
 * @property_size: in, bytes of room; out, bytes that all records take
 * @pad: in, zero
 *
 * The frame, like the contents, comes from a program on the host: do not trust
 * it. ENOENT: nothing has been written yet. ENOSPC: something has no room;
 * @rects, @spans and @properties were not written to, all other fields are right.
 */
struct drm_virtbuf_get_written {
	__u32 buffer;
	__u32 flags;
	__u64 serial;
	__u64 data_offset;
	__u64 data_size;
	__u64 pts;
	__u64 duration;
	__u32 clock;
	__u32 rect_count;
	__u64 rects;
	__u64 spans;
	__u32 span_count;
	__u32 property_count;
	__u64 properties;
	__u32 property_size;
	__u32 pad;
};

/**
 * struct drm_virtbuf_consumers - who is there for an application
 * @application: in, pointer to UTF-8 bytes; the caller has a buffer of it
 * @application_len: in
 * @count: out, how many there are
 * @data: in, pointer to room for records
 * @size: in, bytes of room; out, bytes that all records take
 * @flags: in, zero
 *
 * A record is a struct virtio_buf_consumer of <linux/virtio_buf.h> and the
 * consumer's properties behind it, with names and values that nobody has checked.
 * ENOENT: the caller has no buffer for @application. ENOSPC: @size was too small;
 * what @data has now is undefined, @size and @count are right.
 */
struct drm_virtbuf_consumers {
	__u64 application;
	__u32 application_len;
	__u32 count;
	__u64 data;
	__u32 size;
	__u32 flags;
};

/**
 * struct drm_virtbuf_events - which buffers wake poll() and read()
 * @buffer: in, buffer handle; 0: all buffers of this file
 * @conditions: in, bits (1 << DRM_VIRTBUF_WAIT_*); 0: none
 * @flags: in, zero
 * @pad: in, zero
 *
 * Replaces what was set before, for the buffer or for all. A buffer is told of
 * when either asks for it. What has happened before is not told: look at it with
 * WAIT, after this.
 */
struct drm_virtbuf_events {
	__u32 buffer;
	__u32 conditions;
	__u32 flags;
	__u32 pad;
};

/* drm_event.type */
#define DRM_VIRTBUF_EVENT_BUFFER	0x80000000 /* one buffer has news */
#define DRM_VIRTBUF_EVENT_OVERFLOW	0x80000001 /* ask for all of them */

/**
 * struct drm_virtbuf_event - what read() on the DRM fd gives
 * @base: type and length
 * @buffer: buffer handle, which may have been given back since; 0 with
 *	DRM_VIRTBUF_EVENT_OVERFLOW
 * @conditions: bits (1 << DRM_VIRTBUF_WAIT_*) of what has changed
 * @released: as DRM_VIRTBUF_WAIT_RELEASED compares it
 * @consumers: attached to the buffer
 * @error: errno of an UPDATE that failed after it was queued, see there; 0: none
 *
 * A buffer has at most one unread event, with its newest state. OVERFLOW: there was
 * no room for another one; look at all buffers with WAIT. When the device is gone,
 * poll() says POLLHUP, and read() gives what is unread and then EIO or ENODEV.
 */
struct drm_virtbuf_event {
	struct drm_event base;
	__u32 buffer;
	__u32 conditions;
	__u64 released;
	__u32 consumers;
	__s32 error;
};

#define DRM_IOCTL_VIRTBUF_GETPARAM DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_GETPARAM, struct drm_virtbuf_getparam)
#define DRM_IOCTL_VIRTBUF_BO_CREATE DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_BO_CREATE, struct drm_virtbuf_bo_create)
#define DRM_IOCTL_VIRTBUF_BO_MAP DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_BO_MAP, struct drm_virtbuf_bo_map)
#define DRM_IOCTL_VIRTBUF_BO_USERPTR DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_BO_USERPTR, struct drm_virtbuf_bo_userptr)
#define DRM_IOCTL_VIRTBUF_REGISTER DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_REGISTER, struct drm_virtbuf_register)
#define DRM_IOCTL_VIRTBUF_UNREGISTER DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_UNREGISTER, struct drm_virtbuf_unregister)
#define DRM_IOCTL_VIRTBUF_SET_PROPERTIES DRM_IOW(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_SET_PROPERTIES, struct drm_virtbuf_set_properties)
#define DRM_IOCTL_VIRTBUF_GET_PROPERTIES DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_GET_PROPERTIES, struct drm_virtbuf_get_properties)
#define DRM_IOCTL_VIRTBUF_UPDATE DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_UPDATE, struct drm_virtbuf_update)
#define DRM_IOCTL_VIRTBUF_WAIT DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_WAIT, struct drm_virtbuf_wait)
#define DRM_IOCTL_VIRTBUF_CONSUMERS DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_CONSUMERS, struct drm_virtbuf_consumers)
#define DRM_IOCTL_VIRTBUF_EVENTS DRM_IOW(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_EVENTS, struct drm_virtbuf_events)
#define DRM_IOCTL_VIRTBUF_GET_WRITTEN DRM_IOWR(DRM_COMMAND_BASE + \
	DRM_VIRTBUF_GET_WRITTEN, struct drm_virtbuf_get_written)

#if defined(__cplusplus)
}
#endif

#endif /* _VIRTBUF_DRM_H_ */
