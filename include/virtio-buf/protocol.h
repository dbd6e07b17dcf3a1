/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf: what consumers and the server say to each other.
 *
 * A SOCK_STREAM unix socket. Each message is a struct virtio_buf_msg and what
 * belongs to its type; messages are VIRTIO_BUF_MSG_MAX bytes at most.
 * Everything is little-endian. Only VIRTIO_BUF_MSG_ATTACHED carries a file
 * descriptor, one, on its first byte. docs/interop/virtio-buf.rst is the
 * normative text.
 *
 * Both sides start with HELLO; a side that gets anything else first, a wrong
 * magic or an unknown major version, disconnects. Undefined flags and reserved
 * fields are zero. A consumer that breaks a rule is sent ERROR and then
 * disconnected.
 *
 * Property records, frames and what follows them are those of the guest ABI,
 * <linux/virtio_buf.h>.
 */
#ifndef VIRTIO_BUF_PROTOCOL_H
#define VIRTIO_BUF_PROTOCOL_H

#include <linux/types.h>
#if __has_include("standard-headers/linux/virtio_buf.h") /* QEMU's own copy */
#include "standard-headers/linux/virtio_buf.h"
#else
#include <linux/virtio_buf.h>
#endif

#define VIRTIO_BUF_PROTOCOL_MAGIC       0x46554256u     /* "VBUF" */
#define VIRTIO_BUF_PROTOCOL_MAJOR       1
#define VIRTIO_BUF_PROTOCOL_MINOR       0

/* Header included; the largest is a BUFFER with all its properties */
#define VIRTIO_BUF_MSG_MAX              65536

/* struct virtio_buf_msg.type: from the consumer */
#define VIRTIO_BUF_MSG_SUBSCRIBE        2
#define VIRTIO_BUF_MSG_ATTACH           3
#define VIRTIO_BUF_MSG_DETACH           4
#define VIRTIO_BUF_MSG_RELEASE          5
#define VIRTIO_BUF_MSG_REMOVED          6
#define VIRTIO_BUF_MSG_WRITTEN          7

/* from both */
#define VIRTIO_BUF_MSG_HELLO            1

/* from the server */
#define VIRTIO_BUF_MSG_ERROR            64
#define VIRTIO_BUF_MSG_DEVICE           65
#define VIRTIO_BUF_MSG_BUFFER           66
#define VIRTIO_BUF_MSG_SUBSCRIBED       67
#define VIRTIO_BUF_MSG_ATTACHED         68
#define VIRTIO_BUF_MSG_REFUSED          69
#define VIRTIO_BUF_MSG_UPDATE           70
#define VIRTIO_BUF_MSG_PROPERTIES       71
#define VIRTIO_BUF_MSG_REMOVE           72
#define VIRTIO_BUF_MSG_LOST             73
#define VIRTIO_BUF_MSG_RESET            74

/**
 * struct virtio_buf_msg - starts every message
 * @type: VIRTIO_BUF_MSG_*
 * @size: bytes of the message, this header included; a multiple of 8
 */
struct virtio_buf_msg {
    __le32 type;
    __le32 size;
};

/**
 * struct virtio_buf_msg_hello - the first message of each side
 * @msg: VIRTIO_BUF_MSG_HELLO
 * @magic: VIRTIO_BUF_PROTOCOL_MAGIC
 * @major: VIRTIO_BUF_PROTOCOL_MAJOR
 * @minor: VIRTIO_BUF_PROTOCOL_MINOR; information
 * @features: what the sender can do beyond @major; none is defined: 0. Bits
 *      that both have set are in force.
 */
struct virtio_buf_msg_hello {
    struct virtio_buf_msg msg;
    __le32 magic;
    __le16 major;
    __le16 minor;
    __le64 features;
};

/* struct virtio_buf_msg_subscribe.flags */
#define VIRTIO_BUF_SUBSCRIBE_ALL        (1 << 0) /* every application */
#define VIRTIO_BUF_SUBSCRIBE_WRITER     (1 << 1) /* will ask to write */

/**
 * struct virtio_buf_msg_subscribe - which buffers the consumer wants to hear of
 * @msg: VIRTIO_BUF_MSG_SUBSCRIBE, once, after HELLO
 * @flags: VIRTIO_BUF_SUBSCRIBE_*
 * @credit: how many buffers the server attaches without being asked: each that
 *      is announced while credit is left; a buffer that is given back gives its
 *      credit back. The server may take less.
 * @application_count: names that follow; 0 with VIRTIO_BUF_SUBSCRIBE_ALL
 * @property_bytes: length of the property records that follow the names: what
 *      the consumer says of itself; guest programs can read it
 *
 * @application_count times __u8 [VIRTIO_BUF_NAME_SIZE] follow, then the
 * property records. The server answers with DEVICE if there is one, a BUFFER
 * for each buffer there is, and SUBSCRIBED.
 */
struct virtio_buf_msg_subscribe {
    struct virtio_buf_msg msg;
    __le32 flags;
    __le32 credit;
    __le32 application_count;
    __le32 property_bytes;
};

/**
 * struct virtio_buf_msg_subscribed - all that was there has been announced
 * @msg: VIRTIO_BUF_MSG_SUBSCRIBED
 * @consumer_id: what the guest sees in GET_CONSUMERS
 * @hold: updates of one LATEST stream that this consumer may hold at once
 * @hold_timeout_ms: how long it may hold one; 0: for ever
 * @release_timeout_ms: how long it may take to answer REMOVE; 0: for ever
 * @credit: what the server took of the credit that was asked for
 */
struct virtio_buf_msg_subscribed {
    struct virtio_buf_msg msg;
    __le64 consumer_id;
    __le32 hold;
    __le32 hold_timeout_ms;
    __le32 release_timeout_ms;
    __le32 credit;
};

/**
 * struct virtio_buf_msg_error - why the server is about to disconnect
 * @msg: VIRTIO_BUF_MSG_ERROR
 * @error: errno, positive (EPROTO, EACCES, EUSERS, ETIMEDOUT, ...)
 * @reserved: zero
 * @text: one sentence in English, padded with NULs, the last byte is NUL
 */
struct virtio_buf_msg_error {
    struct virtio_buf_msg msg;
    __le32 error;
    __le32 reserved;
    __u8 text[128];
};

/**
 * struct virtio_buf_msg_device - a device came or went
 * @msg: VIRTIO_BUF_MSG_DEVICE
 * @present: 1: it is there; 0: it is unplugged, its buffers are gone (RESET
 *      came before)
 * @reserved: zero
 * @instance: its name; UTF-8, padded with NULs
 */
struct virtio_buf_msg_device {
    struct virtio_buf_msg msg;
    __le32 present;
    __le32 reserved;
    __u8 instance[VIRTIO_BUF_NAME_SIZE];
};

/**
 * struct virtio_buf_msg_buffer - there is a buffer
 * @msg: VIRTIO_BUF_MSG_BUFFER
 * @buffer: the server's name for it in all other messages; not zero, not used
 *      twice while the server lives
 * @guest_id: what the guest calls it; information
 * @size: bytes; the file behind ATTACHED's fd has at least as many
 * @stream: buffers of one surface, camera or pipe have the same; 0: alone
 * @serial: of its last update; 0: none
 * @context: which guest program, as far as the guest tells
 * @backing: VIRTIO_BUF_BACKING_*; what it is when ATTACHED comes counts
 * @mode: VIRTIO_BUF_MODE_*
 * @access: VIRTIO_BUF_ACCESS_*
 * @reserved: zero
 * @property_bytes: length of the property records that follow
 * @uuid: what the guest got from REGISTER
 * @application: UTF-8, padded with NULs
 */
struct virtio_buf_msg_buffer {
    struct virtio_buf_msg msg;
    __le64 buffer;
    __le64 guest_id;
    __le64 size;
    __le64 stream;
    __le64 serial;
    __le32 context;
    __u8 backing;
    __u8 mode;
    __u8 access;
    __u8 reserved;
    __le32 property_bytes;
    __le32 reserved2;
    __u8 uuid[VIRTIO_BUF_UUID_SIZE];
    __u8 application[VIRTIO_BUF_NAME_SIZE];
};

/* flags of struct virtio_buf_msg_attach and struct virtio_buf_msg_attached */
#define VIRTIO_BUF_ATTACH_WRITER        (1 << 0)

/**
 * struct virtio_buf_msg_attach - asks for the memory of buffers
 * @msg: VIRTIO_BUF_MSG_ATTACH
 * @buffer: one buffer; or 0: all of @stream, also those that come later
 * @stream: not 0 when @buffer is 0, else 0
 * @flags: VIRTIO_BUF_ATTACH_WRITER to write, to a VIRTIO_BUF_ACCESS_WRITER
 *      buffer
 * @reserved: zero
 *
 * Answered by ATTACHED or REFUSED for each. A buffer that is attached already,
 * or has gone meanwhile, is skipped without an answer.
 */
struct virtio_buf_msg_attach {
    struct virtio_buf_msg msg;
    __le64 buffer;
    __le64 stream;
    __le32 flags;
    __le32 reserved;
};

/**
 * struct virtio_buf_msg_attached - here is the memory
 * @msg: VIRTIO_BUF_MSG_ATTACHED; its fd is the receiver's: a dma-buf, or with
 *      VIRTIO_BUF_BACKING_COPY a sealed memfd
 * @buffer: of a BUFFER
 * @size: bytes of the file; @size of BUFFER rounded up to the page size
 * @backing: VIRTIO_BUF_BACKING_*
 * @flags: VIRTIO_BUF_ATTACH_WRITER: this consumer is the writer
 *
 * Only UPDATEs tell when contents may be read; of an IN_PLACE buffer that was
 * updated before, an UPDATE with its last serial follows.
 */
struct virtio_buf_msg_attached {
    struct virtio_buf_msg msg;
    __le64 buffer;
    __le64 size;
    __le32 backing;
    __le32 flags;
};

/**
 * struct virtio_buf_msg_refused - no memory for this buffer
 * @msg: VIRTIO_BUF_MSG_REFUSED
 * @buffer: of a BUFFER
 * @error: errno, positive: EACCES not a writer's buffer; EBUSY it has a writer;
 *      ENOSPC too many attached buffers; ENOMEM, EMFILE the host cannot
 * @reserved: zero
 */
struct virtio_buf_msg_refused {
    struct virtio_buf_msg msg;
    __le64 buffer;
    __le32 error;
    __le32 reserved;
};

/**
 * struct virtio_buf_msg_detach - the consumer has closed and unmapped it
 * @msg: VIRTIO_BUF_MSG_DETACH; VIRTIO_BUF_MSG_REMOVED, as the answer to REMOVE
 * @buffer: of an ATTACHED; one that went meanwhile is no error
 *
 * What the consumer held of it is released. No UPDATE comes after this.
 */
struct virtio_buf_msg_detach {
    struct virtio_buf_msg msg;
    __le64 buffer;
};

/**
 * struct virtio_buf_msg_update - the contents may be read
 * @msg: VIRTIO_BUF_MSG_UPDATE
 * @buffer: an attached buffer
 * @time: CLOCK_MONOTONIC of the host when the guest's UPDATE arrived, in
 *      nanoseconds
 * @frame: as the guest sent it, with what follows it
 *
 * VIRTIO_BUF_MODE_LATEST and _EVERY: the consumer owns the contents until its
 * RELEASE. VIRTIO_BUF_MODE_IN_PLACE: RELEASE is not needed; updates that were
 * not sent yet are merged, serial and frame are the newest, damage the union.
 */
struct virtio_buf_msg_update {
    struct virtio_buf_msg msg;
    __le64 buffer;
    __le64 time;
    struct virtio_buf_frame frame;
};

/**
 * struct virtio_buf_msg_release - the consumer will not read this again
 * @msg: VIRTIO_BUF_MSG_RELEASE, or from the server VIRTIO_BUF_MSG_LOST: held
 *      for longer than the hold timeout, the contents are no longer the
 *      consumer's. Answered by RELEASE, before which no UPDATE of the stream
 *      comes; but the buffer's writer is detached by it, and has no answer.
 * @buffer: an attached buffer; one that went meanwhile is no error
 * @serial: of an UPDATE that was sent for it, and of all before it; one that is
 *      released already is no error
 */
struct virtio_buf_msg_release {
    struct virtio_buf_msg msg;
    __le64 buffer;
    __le64 serial;
};

/**
 * struct virtio_buf_msg_written - the writer's contents may be read
 * @msg: VIRTIO_BUF_MSG_WRITTEN
 * @buffer: a buffer that this consumer is the writer of; one that went
 *      meanwhile, or was lost, is no error
 * @frame: what the guest gets; @frame.serial is the writer's own, above its
 *      last since ATTACHED
 *
 * VIRTIO_BUF_MODE_LATEST and _EVERY: between an UPDATE and its RELEASE.
 */
struct virtio_buf_msg_written {
    struct virtio_buf_msg msg;
    __le64 buffer;
    struct virtio_buf_frame frame;
};

/**
 * struct virtio_buf_msg_properties - the guest changed properties
 * @msg: VIRTIO_BUF_MSG_PROPERTIES
 * @buffer: of a BUFFER
 * @property_bytes: length of the property records that follow: the changes,
 *      deletions included
 * @reserved: zero
 */
struct virtio_buf_msg_properties {
    struct virtio_buf_msg msg;
    __le64 buffer;
    __le32 property_bytes;
    __le32 reserved;
};

/**
 * struct virtio_buf_msg_remove - the guest takes a buffer back
 * @msg: VIRTIO_BUF_MSG_REMOVE
 * @buffer: of a BUFFER; nothing comes about it any more
 *
 * A consumer that has it attached unmaps and closes it and answers REMOVED
 * within the release timeout; later it is disconnected.
 */
struct virtio_buf_msg_remove {
    struct virtio_buf_msg msg;
    __le64 buffer;
};

/* struct virtio_buf_msg_reset.reason */
#define VIRTIO_BUF_RESET_REASON_DRIVER  0 /* the driver reset the device */
#define VIRTIO_BUF_RESET_REASON_SYSTEM  1 /* the machine was reset */
#define VIRTIO_BUF_RESET_REASON_UNPLUG  2 /* the device is going */

/**
 * struct virtio_buf_msg_reset - every buffer is gone
 * @msg: VIRTIO_BUF_MSG_RESET
 * @reason: VIRTIO_BUF_RESET_REASON_*
 * @reserved: zero
 *
 * There is nothing to answer: the guest has its pages back already, and what
 * a consumer still maps are orphaned pages. It unmaps and closes them.
 */
struct virtio_buf_msg_reset {
    struct virtio_buf_msg msg;
    __le32 reason;
    __le32 reserved;
};

#endif /* VIRTIO_BUF_PROTOCOL_H */
