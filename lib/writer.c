/* SPDX-License-Identifier: MIT */
/*
 * libvirtio-buf: a program that fills the guest's buffers.
 *
 * The server has one writer for a buffer, and disconnects who says WRITTEN out
 * of turn or with a frame that is wrong. So both are checked here, with what is
 * known of the buffer, and the program gets an error instead.
 */
#include <endian.h>
#include <errno.h>
#include <linux/dma-buf.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "private.h"

_Static_assert((int)VBUF_ACCESS_READ == VIRTIO_BUF_ACCESS_READ &&
               (int)VBUF_ACCESS_WRITER == VIRTIO_BUF_ACCESS_WRITER,
               "accesses");
_Static_assert((int)VBUF_SUBSCRIBE_WRITER == VIRTIO_BUF_SUBSCRIBE_WRITER,
               "subscribe flags");

VBUF_EXPORT uint32_t vbuf_buffer_access(const struct vbuf_buffer *buffer)
{
    return buffer->access;
}

VBUF_EXPORT int vbuf_attach_writer(struct vbuf_buffer *buffer)
{
    return vbuf_queue_attach(buffer, VIRTIO_BUF_ATTACH_WRITER);
}

VBUF_EXPORT int vbuf_attach_stream_writer(struct vbuf *vbuf, uint64_t stream)
{
    return vbuf_queue_attach_stream(vbuf, stream, VIRTIO_BUF_ATTACH_WRITER);
}

VBUF_EXPORT int vbuf_is_writer(const struct vbuf_buffer *buffer)
{
    return buffer->fd >= 0 && buffer->writer;
}

VBUF_EXPORT int vbuf_map_writable(struct vbuf_buffer *buffer, void **data)
{
    const void *map;
    int ret;

    if (buffer->fd >= 0 && !buffer->writer) {
        return -EACCES;
    }
    ret = vbuf_map(buffer, &map);
    if (ret == 0) {
        *data = buffer->map;
    }
    return ret;
}

VBUF_EXPORT int vbuf_begin_write(struct vbuf_buffer *buffer)
{
    return vbuf_sync(buffer, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
}

VBUF_EXPORT int vbuf_end_write(struct vbuf_buffer *buffer)
{
    return vbuf_sync(buffer, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
}

/* Behind what is there already; false if it does not fit */
static bool put(struct vbuf *vbuf, size_t *size, const void *bytes, size_t len)
{
    if (len > sizeof(vbuf->output) - *size) {
        return false;
    }
    memcpy(vbuf->output + *size, bytes, len);
    *size += len;
    return true;
}

static bool put_damage(struct vbuf *vbuf, size_t *size,
                       const struct vbuf_frame *frame)
{
    uint32_t i;

    for (i = 0; i < frame->rect_count; i++) {
        const struct vbuf_rect *rect = &frame->rects[i];
        struct virtio_buf_rect wire = {
            .x = htole32(rect->x),
            .y = htole32(rect->y),
            .width = htole32(rect->width),
            .height = htole32(rect->height),
        };

        if (!put(vbuf, size, &wire, sizeof(wire))) {
            return false;
        }
    }
    for (i = 0; i < frame->span_count; i++) {
        struct virtio_buf_span wire = {
            .offset = htole64(frame->spans[i].offset),
            .len = htole64(frame->spans[i].len),
        };

        if (!put(vbuf, size, &wire, sizeof(wire))) {
            return false;
        }
    }
    return true;
}

/* Names and values in turn, up to NULL */
static bool put_properties(struct vbuf *vbuf, size_t *size,
                           const char *const *texts)
{
    struct virtio_buf_property_view view = { 0 };
    size_t name_len, value_len, record;

    for (; texts && texts[0]; texts += 2) {
        if (!texts[1]) {
            return false;
        }
        name_len = strlen(texts[0]);
        value_len = strlen(texts[1]);
        record = virtio_buf_property_size(name_len, value_len);
        if (!record || record > sizeof(vbuf->output) - *size) {
            return false;
        }
        view.name = texts[0];
        view.value = texts[1];
        view.name_len = (uint32_t)name_len;
        view.value_len = (uint32_t)value_len;
        *size += virtio_buf_property_put(vbuf->output + *size, &view);
    }
    return true;
}

/* Fills vbuf->output; returns the bytes of a right message, or 0 */
static size_t encode_written(struct vbuf_buffer *buffer,
                             const struct vbuf_frame *frame,
                             const char *const *properties)
{
    struct vbuf *vbuf = buffer->vbuf;
    struct virtio_buf_msg_written msg;
    size_t at = offsetof(struct virtio_buf_msg_written, frame);
    size_t size = sizeof(msg), damage_end;
    struct virtio_buf_frame_view view;
    struct timespec now;

    if (frame->rect_count > VIRTIO_BUF_MAX_DAMAGE ||
        frame->span_count > VIRTIO_BUF_MAX_DAMAGE ||
        !put_damage(vbuf, &size, frame)) {
        return 0;
    }
    damage_end = size;
    if (!put_properties(vbuf, &size, properties)) {
        return 0;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    msg = (struct virtio_buf_msg_written) {
        .buffer = htole64(buffer->id),
        .frame = {
            .serial = htole64(buffer->written_serial + 1),
            .flags = htole32(frame->flags),
            .clock = htole32(frame->clock),
            .data_offset = htole64(frame->data_offset),
            .data_size = htole64(frame->data_size),
            .pts = htole64(frame->pts),
            .duration = htole64(frame->duration),
            .time = htole64((uint64_t)now.tv_sec * 1000000000 +
                            (uint64_t)now.tv_nsec),
            .rect_count = htole16((uint16_t)frame->rect_count),
            .span_count = htole16((uint16_t)frame->span_count),
            .property_bytes = htole32((uint32_t)(size - damage_end)),
        },
    };
    memcpy(vbuf->output, &msg, sizeof(msg));
    return virtio_buf_frame_parse(vbuf->output + at, size - at, buffer->size,
                                  &view) < 0 ? 0 : size;
}

VBUF_EXPORT int vbuf_written(struct vbuf_buffer *buffer,
                             const struct vbuf_frame *frame,
                             const char *const *properties)
{
    struct vbuf_frame whole = { .data_size = buffer->size };
    struct iovec iov = { buffer->vbuf->output, 0 };
    int ret;

    if (!vbuf_is_writer(buffer) ||
        (buffer->mode != VIRTIO_BUF_MODE_IN_PLACE &&
         buffer->released_serial >= buffer->sent_serial)) {
        return -EPERM;
    }
    iov.iov_len = encode_written(buffer, frame ? frame : &whole, properties);
    if (!iov.iov_len) {
        return -EINVAL;
    }
    if (buffer->removing) {
        return 0;
    }
    ret = vbuf_queue(buffer->vbuf, VIRTIO_BUF_MSG_WRITTEN, &iov, 1);
    if (ret == 0) {
        buffer->written_serial++;
    }
    return ret;
}
