/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-buf: sharing buffers of guest RAM with programs on the host.
 *
 * The wire format between driver and device. docs/specs/virtio-buf.rst is the
 * normative text; the rules below are the ones that a reader of a field needs.
 *
 * Everything is little-endian. Every reserved field and every undefined flag
 * is zero, and a device answers VIRTIO_BUF_S_INVALID where it is not.
 */
#ifndef _LINUX_VIRTIO_BUF_H
#define _LINUX_VIRTIO_BUF_H

#include <linux/types.h>

/*
 * Not assigned by OASIS: 63 is the last id that Linux binds (PCI device ids
 * end at 0x107f) and is meant for experiments. To get a real one, send a ballot
 * request to virtio-comment, then change this line and nothing else.
 */
#define VIRTIO_ID_BUF			63

/* Feature bits */
#define VIRTIO_BUF_F_WRITER		0  /* VIRTIO_BUF_ACCESS_WRITER works */

/* Fixed bounds of the format; config space states the smaller ones in force */
#define VIRTIO_BUF_NAME_SIZE		64  /* application, instance: with a NUL */
#define VIRTIO_BUF_UUID_SIZE		16
#define VIRTIO_BUF_MAX_DAMAGE		16  /* rectangles, and also byte ranges */
#define VIRTIO_BUF_MAX_PROPERTY_BYTES	32768

/**
 * struct virtio_buf_config - the device's configuration space
 * @consumers: host programs that are connected now
 * @page_size: host page size in bytes, a power of two: addresses and lengths of
 *	ranges are multiples of it
 * @max_buffers: registered buffers, those that are not FREED yet included
 * @max_ranges: ranges of one buffer
 * @max_buffer_size: bytes of one buffer
 * @max_total_size: bytes of all buffers together
 * @max_dmabuf_size: bytes that one buffer may have to be passed as a dma-buf; a
 *	larger one is copied. 0: the device makes no dma-bufs.
 * @max_dmabuf_ranges: the same for ranges, after neighbours were joined
 * @max_properties: properties of one buffer
 * @max_property_bytes: encoded bytes of the properties of one buffer,
 *	at most VIRTIO_BUF_MAX_PROPERTY_BYTES
 * @release_timeout_ms: how long an UNREGISTER can stay VIRTIO_BUF_S_PENDING
 *	before the device takes the buffer back by itself; 0: for ever
 * @hold_timeout_ms: how long a consumer may hold an update; 0: for ever
 * @reserved: zero
 * @instance: name of this device, chosen by the host; UTF-8, padded with NULs
 *
 * Read-only for the driver. Only @consumers changes while the device lives, and
 * when the machine has moved to another host, what is said of dma-bufs.
 */
struct virtio_buf_config {
	__le32 consumers;
	__le32 page_size;
	__le32 max_buffers;
	__le32 max_ranges;
	__le64 max_buffer_size;
	__le64 max_total_size;
	__le64 max_dmabuf_size;
	__le32 max_dmabuf_ranges;
	__le32 max_properties;
	__le32 max_property_bytes;
	__le32 release_timeout_ms;
	__le32 hold_timeout_ms;
	__le32 reserved;
	__u8 instance[VIRTIO_BUF_NAME_SIZE];
};

/* Commands (virtio_buf_request.type) */
#define VIRTIO_BUF_CMD_REGISTER		1
#define VIRTIO_BUF_CMD_UNREGISTER	2
#define VIRTIO_BUF_CMD_SET_PROPERTIES	3
#define VIRTIO_BUF_CMD_UPDATE		4
#define VIRTIO_BUF_CMD_RESET		5
#define VIRTIO_BUF_CMD_GET_EVENTS	6
#define VIRTIO_BUF_CMD_GET_CONSUMERS	7

/* Statuses (virtio_buf_response.status) */
#define VIRTIO_BUF_S_OK			0
#define VIRTIO_BUF_S_PENDING		1  /* accepted; ends in an event */
#define VIRTIO_BUF_S_UNSUPPORTED	2  /* unknown command, or not negotiated */
#define VIRTIO_BUF_S_INVALID		3  /* a field or a length is wrong */
#define VIRTIO_BUF_S_NO_BUFFER		4  /* no such buffer */
#define VIRTIO_BUF_S_ID_ORDER		5  /* id or serial not above the last one */
#define VIRTIO_BUF_S_LIMIT		6  /* above a limit of config space */
#define VIRTIO_BUF_S_NO_MEMORY		7  /* the host is out of memory */
#define VIRTIO_BUF_S_BUSY		8  /* the buffer is not released */
#define VIRTIO_BUF_S_NOT_RAM		9  /* a range is not guest RAM */
#define VIRTIO_BUF_S_NOT_SHAREABLE	10 /* zero-copy was demanded: not possible */
#define VIRTIO_BUF_S_OVERLAP		11 /* a page twice where that is forbidden */

/**
 * struct virtio_buf_request - starts the device-readable part of each chain
 * @type: VIRTIO_BUF_CMD_*
 * @flags: reserved, zero
 */
struct virtio_buf_request {
	__le32 type;
	__le32 flags;
};

/**
 * struct virtio_buf_response - starts the device-writable part of each chain
 * @status: VIRTIO_BUF_S_*
 * @reserved: zero
 * @news: how often a buffer has got news since device reset. The driver has
 *	seen everything when this equals the @news of its last GET_EVENTS.
 */
struct virtio_buf_response {
	__le32 status;
	__le32 reserved;
	__le64 news;
};

/**
 * struct virtio_buf_range - a piece of guest RAM
 * @addr: as the device sees it (an IOVA with VIRTIO_F_ACCESS_PLATFORM)
 * @len: bytes
 *
 * Both are multiples of virtio_buf_config.page_size; @len is not zero.
 */
struct virtio_buf_range {
	__le64 addr;
	__le64 len;
};

/* virtio_buf_property.flags */
#define VIRTIO_BUF_PROPERTY_DELETE	(1 << 0)

/**
 * struct virtio_buf_property - a name=value record
 * @name_len: bytes of the name, 1 to 255; UTF-8 without NUL and without '='
 * @flags: VIRTIO_BUF_PROPERTY_DELETE in SET_PROPERTIES and UPDATE: takes the
 *	name away, @value_len is 0. A name that is not there is no error.
 * @value_len: bytes of the value; UTF-8 without NUL
 *
 * Name and value follow, then NULs up to a multiple of 8 bytes. Records stand
 * one behind the other; a name occurs once in a list. The same encoding serves
 * the consumers' socket (include/virtio-buf/protocol.h).
 */
struct virtio_buf_property {
	__le16 name_len;
	__le16 flags;
	__le32 value_len;
};

/* virtio_buf_register.mode: who owns the contents after an UPDATE */
#define VIRTIO_BUF_MODE_IN_PLACE	0 /* nobody: redrawn while it is shown */
#define VIRTIO_BUF_MODE_LATEST		1 /* handed off; a newer one overtakes */
#define VIRTIO_BUF_MODE_EVERY		2 /* handed off in order; none is left out */

/* virtio_buf_register.access */
#define VIRTIO_BUF_ACCESS_READ		0 /* consumers only read */
#define VIRTIO_BUF_ACCESS_WRITER	1 /* one consumer writes (F_WRITER) */

/**
 * struct virtio_buf_register - makes a buffer of guest RAM
 * @hdr: VIRTIO_BUF_CMD_REGISTER
 * @buffer_id: chosen by the driver, above each one used since device reset,
 *	from 1
 * @size: bytes; the ranges add up to it, rounded up to the page size
 * @stream: buffers of one surface, camera or pipe have the same; 0: alone
 * @context: who it belongs to; Linux has one for each open file
 * @mode: VIRTIO_BUF_MODE_*
 * @access: VIRTIO_BUF_ACCESS_*
 * @reserved: zero
 * @range_count: 1 to virtio_buf_config.max_ranges
 * @property_bytes: length of the encoded properties
 * @application: which consumers it is for; UTF-8, not empty, padded with NULs,
 *	the last byte is NUL
 *
 * &struct virtio_buf_range [@range_count] follow, then @property_bytes of
 * property records.
 */
struct virtio_buf_register {
	struct virtio_buf_request hdr;
	__le64 buffer_id;
	__le64 size;
	__le64 stream;
	__le32 context;
	__u8 mode;
	__u8 access;
	__le16 reserved;
	__le32 range_count;
	__le32 property_bytes;
	__u8 application[VIRTIO_BUF_NAME_SIZE];
};

/* virtio_buf_register_response.backing */
#define VIRTIO_BUF_BACKING_COPY		0 /* consumers get a copy of the pages */
#define VIRTIO_BUF_BACKING_DMABUF	1 /* consumers get the pages */

/* Why the backing is as it is (reason) */
#define VIRTIO_BUF_REASON_NONE		0  /* zero-copy, and it can be taken back */
#define VIRTIO_BUF_REASON_DISABLED	1  /* the operator switched udmabuf off */
#define VIRTIO_BUF_REASON_NO_UDMABUF	2  /* the host has no usable udmabuf */
#define VIRTIO_BUF_REASON_NOT_SHARED	3  /* RAM is no shared, sealed memfd */
#define VIRTIO_BUF_REASON_HUGE_PAGES	4  /* RAM is hugetlb: no page is returned */
#define VIRTIO_BUF_REASON_DISCARD	5  /* RAM that others discard, or forbid to */
#define VIRTIO_BUF_REASON_OVERLAP	6  /* a page is part of another buffer */
#define VIRTIO_BUF_REASON_RANGES	7  /* more ranges than udmabuf takes */
#define VIRTIO_BUF_REASON_SIZE		8  /* more bytes than udmabuf takes */
#define VIRTIO_BUF_REASON_IOMMU		9  /* translated by a virtual IOMMU */
#define VIRTIO_BUF_REASON_ACCELERATOR	10 /* its vCPUs cannot be stopped */
#define VIRTIO_BUF_REASON_ORPHANED	11 /* max-orphaned bytes are held already */
#define VIRTIO_BUF_REASON_READONLY	12 /* strict-readonly=on */
#define VIRTIO_BUF_REASON_WEAK		13 /* zero-copy, but not surely taken back */
#define VIRTIO_BUF_REASON_FAILED	14 /* udmabuf refused; see the host's log */

/**
 * struct virtio_buf_register_response - answers VIRTIO_BUF_CMD_REGISTER
 * @hdr: OK, or an error and nothing has changed
 * @backing: VIRTIO_BUF_BACKING_*
 * @reason: VIRTIO_BUF_REASON_*
 * @reserved: zero
 * @uuid: names the buffer for other devices and for host programs; random
 */
struct virtio_buf_register_response {
	struct virtio_buf_response hdr;
	__u8 backing;
	__u8 reason;
	__u8 reserved[6];
	__u8 uuid[VIRTIO_BUF_UUID_SIZE];
};

/**
 * struct virtio_buf_unregister - takes a buffer back
 * @hdr: VIRTIO_BUF_CMD_UNREGISTER; answered by &struct virtio_buf_response
 * @buffer_id: of a registered buffer
 *
 * OK: no one on the host has the pages any more. PENDING: someone has; the
 * driver keeps the pages until the event with VIRTIO_BUF_EVENT_FREED.
 */
struct virtio_buf_unregister {
	struct virtio_buf_request hdr;
	__le64 buffer_id;
};

/**
 * struct virtio_buf_set_properties - changes properties, all or none
 * @hdr: VIRTIO_BUF_CMD_SET_PROPERTIES; answered by &struct virtio_buf_response
 * @buffer_id: of a registered buffer
 * @property_bytes: length of the property records that follow
 * @reserved: zero
 */
struct virtio_buf_set_properties {
	struct virtio_buf_request hdr;
	__le64 buffer_id;
	__le32 property_bytes;
	__le32 reserved;
};

/**
 * struct virtio_buf_rect - a changed rectangle, in the application's pixels
 * @x: from the left
 * @y: from the top
 * @width: not zero
 * @height: not zero
 *
 * Passed through: the device knows no pixels.
 */
struct virtio_buf_rect {
	__le32 x;
	__le32 y;
	__le32 width;
	__le32 height;
};

/**
 * struct virtio_buf_span - changed bytes of a buffer
 * @offset: from its start
 * @len: not zero; the span ends inside the buffer
 */
struct virtio_buf_span {
	__le64 offset;
	__le64 len;
};

/* virtio_buf_frame.flags */
#define VIRTIO_BUF_FRAME_KEYFRAME	(1 << 0)
#define VIRTIO_BUF_FRAME_DISCONTINUITY	(1 << 1)
#define VIRTIO_BUF_FRAME_END_OF_STREAM	(1 << 2)
#define VIRTIO_BUF_FRAME_ERROR		(1 << 3) /* the contents are damaged */
#define VIRTIO_BUF_FRAME_FLAGS		0xf

/* virtio_buf_frame.clock: what pts counts */
#define VIRTIO_BUF_CLOCK_NONE		0 /* there is no pts */
#define VIRTIO_BUF_CLOCK_STREAM		1 /* since the start of the stream */
#define VIRTIO_BUF_CLOCK_MONOTONIC	2 /* CLOCK_MONOTONIC of the guest */
#define VIRTIO_BUF_CLOCK_REALTIME	3 /* CLOCK_REALTIME of the guest */
#define VIRTIO_BUF_CLOCK_TAI		4 /* CLOCK_TAI of the guest */

/**
 * struct virtio_buf_frame - what an UPDATE or a WRITTEN says of the contents
 * @serial: names the update; chosen by the driver, from 1, above each one of the
 *	same stream, and not used twice between device resets
 * @flags: VIRTIO_BUF_FRAME_*
 * @clock: VIRTIO_BUF_CLOCK_*
 * @data_offset: where the payload starts in the buffer
 * @data_size: bytes of payload; the payload ends inside the buffer
 * @pts: nanoseconds of @clock; 0 with VIRTIO_BUF_CLOCK_NONE
 * @duration: nanoseconds; 0: unknown
 * @time: CLOCK_MONOTONIC of the sender, in nanoseconds
 * @rect_count: 0 to VIRTIO_BUF_MAX_DAMAGE
 * @span_count: 0 to VIRTIO_BUF_MAX_DAMAGE; when 0, all of the payload changed
 * @property_bytes: length of the property records
 *
 * &struct virtio_buf_rect [@rect_count] follow, &struct virtio_buf_span
 * [@span_count], then the properties that take effect with this update.
 */
struct virtio_buf_frame {
	__le64 serial;
	__le32 flags;
	__le32 clock;
	__le64 data_offset;
	__le64 data_size;
	__le64 pts;
	__le64 duration;
	__le64 time;
	__le16 rect_count;
	__le16 span_count;
	__le32 property_bytes;
};

/**
 * struct virtio_buf_update - the contents are ready for consumers
 * @hdr: VIRTIO_BUF_CMD_UPDATE
 * @buffer_id: of a registered buffer
 * @frame: with what follows it
 *
 * BUSY: the buffer's mode hands it off, and its last update is not released.
 */
struct virtio_buf_update {
	struct virtio_buf_request hdr;
	__le64 buffer_id;
	struct virtio_buf_frame frame;
};

/**
 * struct virtio_buf_update_response - answers VIRTIO_BUF_CMD_UPDATE
 * @hdr: OK, or an error and nothing has changed
 * @released: the largest serial of this buffer that no consumer will still
 *	read; 0: none yet
 */
struct virtio_buf_update_response {
	struct virtio_buf_response hdr;
	__le64 released;
};

/* virtio_buf_reset.scope */
#define VIRTIO_BUF_RESET_ALL		0
#define VIRTIO_BUF_RESET_CONTEXT	1
#define VIRTIO_BUF_RESET_STREAM		2

/**
 * struct virtio_buf_reset - takes many buffers back
 * @hdr: VIRTIO_BUF_CMD_RESET
 * @scope: VIRTIO_BUF_RESET_*
 * @context: whose buffers, with VIRTIO_BUF_RESET_CONTEXT; else 0
 * @stream: which buffers, with VIRTIO_BUF_RESET_STREAM, not 0; else 0
 *
 * Each of them ends in an event with VIRTIO_BUF_EVENT_FREED, also where an
 * UNREGISTER would have been answered OK.
 */
struct virtio_buf_reset {
	struct virtio_buf_request hdr;
	__le32 scope;
	__le32 context;
	__le64 stream;
};

/**
 * struct virtio_buf_reset_response - answers VIRTIO_BUF_CMD_RESET
 * @hdr: OK
 * @buffers: how many will be FREED by this
 * @reserved: zero
 */
struct virtio_buf_reset_response {
	struct virtio_buf_response hdr;
	__le32 buffers;
	__le32 reserved;
};

/* virtio_buf_event.flags: which of the event's fields are news */
#define VIRTIO_BUF_EVENT_RELEASED	(1 << 0)
#define VIRTIO_BUF_EVENT_FREED		(1 << 1) /* the pages are the guest's */
#define VIRTIO_BUF_EVENT_CONSUMERS	(1 << 2)
#define VIRTIO_BUF_EVENT_BACKING	(1 << 3)
#define VIRTIO_BUF_EVENT_WRITTEN	(1 << 4) /* a virtio_buf_frame follows */

/**
 * struct virtio_buf_event - the state of one buffer that has news
 * @buffer_id: of a buffer whose REGISTER was answered
 * @size: bytes of this record, a multiple of 8, what follows it included
 * @flags: VIRTIO_BUF_EVENT_*; after FREED nothing comes about this id
 * @released: as in virtio_buf_update_response
 * @consumers: consumers that are attached to this buffer
 * @backing: VIRTIO_BUF_BACKING_*
 * @reason: VIRTIO_BUF_REASON_*
 * @reserved: zero
 *
 * With VIRTIO_BUF_EVENT_WRITTEN the newest &struct virtio_buf_frame of the
 * writer follows, with what follows it.
 */
struct virtio_buf_event {
	__le64 buffer_id;
	__le32 size;
	__le32 flags;
	__le64 released;
	__le32 consumers;
	__u8 backing;
	__u8 reason;
	__le16 reserved;
};

/**
 * struct virtio_buf_get_events - drains what has changed
 * @hdr: VIRTIO_BUF_CMD_GET_EVENTS
 */
struct virtio_buf_get_events {
	struct virtio_buf_request hdr;
};

/**
 * struct virtio_buf_events_response - answers VIRTIO_BUF_CMD_GET_EVENTS
 * @hdr: OK
 * @count: records that follow; bounded by the length of the writable part,
 *	which has room for at least one
 * @more: 1: others have news as well, ask again; 0: drained
 *
 * Coalesced: one &struct virtio_buf_event for each buffer, with its newest
 * state.
 */
struct virtio_buf_events_response {
	struct virtio_buf_response hdr;
	__le32 count;
	__le32 more;
};

/**
 * struct virtio_buf_get_consumers - who is there for an application
 * @hdr: VIRTIO_BUF_CMD_GET_CONSUMERS
 * @after: only consumers whose id is above this; 0 for the first call
 * @application: as in virtio_buf_register
 */
struct virtio_buf_get_consumers {
	struct virtio_buf_request hdr;
	__le64 after;
	__u8 application[VIRTIO_BUF_NAME_SIZE];
};

/* virtio_buf_consumer.flags */
#define VIRTIO_BUF_CONSUMER_WRITER	(1 << 0) /* it asks to write */

/**
 * struct virtio_buf_consumer - a host program that subscribed
 * @consumer_id: not used twice between device resets
 * @flags: VIRTIO_BUF_CONSUMER_*
 * @property_bytes: length of the property records that follow: what the
 *	consumer says of itself (the formats that it accepts, for example)
 */
struct virtio_buf_consumer {
	__le64 consumer_id;
	__le32 flags;
	__le32 property_bytes;
};

/**
 * struct virtio_buf_consumers_response - answers VIRTIO_BUF_CMD_GET_CONSUMERS
 * @hdr: OK
 * @count: records that follow, by rising id; the writable part has room for at
 *	least one with VIRTIO_BUF_MAX_PROPERTY_BYTES of properties
 * @more: 1: there are more, ask again with the last id in @after
 */
struct virtio_buf_consumers_response {
	struct virtio_buf_response hdr;
	__le32 count;
	__le32 more;
};

#endif /* _LINUX_VIRTIO_BUF_H */
