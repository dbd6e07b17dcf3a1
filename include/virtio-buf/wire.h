/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf: reading and writing what the guest ABI and the consumer protocol
 * have in common. Plain C, no library, no allocation, no global state: the QEMU
 * device, its server, the host library and the tests all link this.
 *
 * Whatever is read may be hostile. Bytes that a peer can still change are
 * copied by the caller before they come here.
 */
#ifndef VIRTIO_BUF_WIRE_H
#define VIRTIO_BUF_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "virtio-buf/protocol.h"

/**
 * virtio_buf_recv() - the one recvmsg() of the tree
 * @sock: SOCK_STREAM unix socket
 * @buf: where the bytes go
 * @len: bytes of room, at least 1
 * @fd: out: the fd that rode on these bytes, the caller's, CLOEXEC; or -1.
 *      NULL: the caller takes none
 *
 * Never blocks (MSG_DONTWAIT) and is restarted after signals. The kernel does
 * not merge the bytes of two messages that carry fds, so at most one message's
 * fds arrive at a time; bytes without fds that came before are merged with
 * them.
 *
 * Returns the number of bytes, 0 at the end of the stream, -EAGAIN, or -errno:
 * -EPROTO when there came more fds than the caller takes, or the kernel had to
 * drop some (MSG_CTRUNC). No fd is left open on an error.
 */
ssize_t virtio_buf_recv(int sock, void *buf, size_t len, int *fd);

/**
 * virtio_buf_send() - the one sendmsg() of the tree
 * @sock: SOCK_STREAM unix socket
 * @iov: what to send
 * @iov_count: elements of @iov
 * @fd: rides on the first byte; stays the caller's; -1: none
 *
 * Never blocks, raises no SIGPIPE and is restarted after signals. After a short
 * write the fd has been sent: go on with -1.
 *
 * Returns the number of bytes, at least 1, -EAGAIN, or -errno.
 */
ssize_t virtio_buf_send(int sock, const struct iovec *iov, size_t iov_count,
                        int fd);

/**
 * struct virtio_buf_reader - cuts a stream into messages
 * @buf: owned by the caller, VIRTIO_BUF_MSG_MAX bytes, 8-aligned
 * @start: where the next message starts
 * @end: where the received bytes end
 * @fd: came with the bytes that are not consumed yet, the reader's; or -1
 */
struct virtio_buf_reader {
    uint8_t *buf;
    size_t start;
    size_t end;
    int fd;
};

void virtio_buf_reader_init(struct virtio_buf_reader *reader, uint8_t *buf);
/* Closes the fd that nobody took */
void virtio_buf_reader_clear(struct virtio_buf_reader *reader);

/**
 * virtio_buf_reader_next() - receives until a message is whole
 * @reader: state between calls
 * @sock: the socket
 * @take_fds: whether an fd may come at all
 * @msg: out: the message inside @reader's buffer, valid until the next call;
 *      its type is known and its size is virtio_buf_msg_min_size(), or between
 *      that and the maximum where something may follow the fixed part; else
 *      -EPROTO
 * @fd: out: the fd that rode on it, the caller's; or -1. An fd on another
 *      message than a VIRTIO_BUF_MSG_ATTACHED or behind its header, or an
 *      ATTACHED without, is -EPROTO. NULL if !@take_fds
 *
 * Returns 1 with a message, 0 at the end of the stream (-EPROTO inside a
 * message), -EAGAIN, or -errno as virtio_buf_recv().
 */
int virtio_buf_reader_next(struct virtio_buf_reader *reader, int sock,
                           bool take_fds, const struct virtio_buf_msg **msg,
                           int *fd);

/**
 * virtio_buf_msg_min_size() - bytes of the fixed part of a message
 * @type: VIRTIO_BUF_MSG_*
 *
 * Returns 0 for an unknown type.
 */
size_t virtio_buf_msg_min_size(uint32_t type);

/* Valid UTF-8 without NUL */
bool virtio_buf_text_valid(const uint8_t *text, size_t len);

/*
 * A VIRTIO_BUF_NAME_SIZE field: text, not empty unless @may_be_empty, only NULs
 * behind the first NUL, at least one
 */
bool virtio_buf_name_valid(const uint8_t *name, bool may_be_empty);

/**
 * struct virtio_buf_property_view - a record, inside the list it was read of
 * @name: @name_len bytes, no NUL behind
 * @value: @value_len bytes, no NUL behind
 * @name_len: 1 to 255
 * @value_len: 0 when @deleted
 * @deleted: the record takes the name away
 */
struct virtio_buf_property_view {
    const char *name;
    const char *value;
    uint32_t name_len;
    uint32_t value_len;
    bool deleted;
};

/**
 * virtio_buf_property_next() - walks over a list of property records
 * @list: the records, 8-aligned
 * @size: bytes of all of them
 * @pos: in and out: 0 at first
 * @view: out: a record whose lengths, text and padding have been checked
 *
 * Returns 1 with a record, 0 at the end of the list, -EINVAL for a bad record.
 */
int virtio_buf_property_next(const uint8_t *list, size_t size, size_t *pos,
                             struct virtio_buf_property_view *view);

/**
 * virtio_buf_properties_check() - checks a whole list of property records
 * @list: the records, 8-aligned
 * @size: bytes of all of them
 *
 * Returns the number of records, or -EINVAL for a bad record, a name that
 * occurs twice, or more than VIRTIO_BUF_MAX_PROPERTY_BYTES.
 */
int virtio_buf_properties_check(const uint8_t *list, size_t size);

/* Bytes of an encoded record; 0 if the lengths are out of bounds */
size_t virtio_buf_property_size(size_t name_len, size_t value_len);

/*
 * Writes a record to @to, which has virtio_buf_property_size() bytes; returns
 * that size. Lengths and text are the caller's to check.
 */
size_t virtio_buf_property_put(uint8_t *to,
                               const struct virtio_buf_property_view *view);

/**
 * struct virtio_buf_frame_view - a frame in host byte order
 * @rects: rect_count of the wire's, little-endian, inside the bytes read
 * @spans: span_count of the wire's, little-endian, inside the bytes read
 * @properties: property_bytes of records, inside the bytes read
 *
 * The other fields are those of struct virtio_buf_frame.
 */
struct virtio_buf_frame_view {
    uint64_t serial;
    uint32_t flags;
    uint32_t clock;
    uint64_t data_offset;
    uint64_t data_size;
    uint64_t pts;
    uint64_t duration;
    uint64_t time;
    uint16_t rect_count;
    uint16_t span_count;
    uint32_t property_bytes;
    const struct virtio_buf_rect *rects;
    const struct virtio_buf_span *spans;
    const uint8_t *properties;
};

/**
 * virtio_buf_frame_parse() - checks a frame with all that follows it
 * @bytes: a struct virtio_buf_frame, 8-aligned
 * @size: bytes from there to the end of what was received: must be used up
 * @buffer_size: of the buffer that the frame is about
 * @view: out: points into @bytes
 *
 * Returns 0, or -EINVAL for any broken rule of the guest ABI (properties may
 * delete; that their names are there once is checked, too).
 */
int virtio_buf_frame_parse(const void *bytes, size_t size, uint64_t buffer_size,
                           struct virtio_buf_frame_view *view);

#endif /* VIRTIO_BUF_WIRE_H */
