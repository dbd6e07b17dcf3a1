/* SPDX-License-Identifier: MIT */
/*
 * libvirtio-buf: from a message of the server to an event of the program.
 *
 * This is the trust boundary: each field is checked against what the protocol
 * allows and against what the server has said before, and whatever is wrong
 * ends the connection with a sentence that says what it was. Only messages that
 * were right when they were sent, and crossed a message of ours, are passed
 * over.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "private.h"

_Static_assert((int)VBUF_FRAME_KEYFRAME == VIRTIO_BUF_FRAME_KEYFRAME &&
               (int)VBUF_FRAME_DISCONTINUITY ==
               VIRTIO_BUF_FRAME_DISCONTINUITY &&
               (int)VBUF_FRAME_END_OF_STREAM ==
               VIRTIO_BUF_FRAME_END_OF_STREAM &&
               (int)VBUF_FRAME_ERROR == VIRTIO_BUF_FRAME_ERROR, "frame flags");
_Static_assert((int)VBUF_CLOCK_TAI == VIRTIO_BUF_CLOCK_TAI &&
               (int)VBUF_CLOCK_MONOTONIC == VIRTIO_BUF_CLOCK_MONOTONIC &&
               (int)VBUF_CLOCK_REALTIME == VIRTIO_BUF_CLOCK_REALTIME &&
               (int)VBUF_CLOCK_STREAM == VIRTIO_BUF_CLOCK_STREAM, "clocks");
_Static_assert((int)VBUF_RESET_DRIVER == VIRTIO_BUF_RESET_REASON_DRIVER &&
               (int)VBUF_RESET_SYSTEM == VIRTIO_BUF_RESET_REASON_SYSTEM &&
               (int)VBUF_RESET_UNPLUG == VIRTIO_BUF_RESET_REASON_UNPLUG,
               "reset reasons");
_Static_assert((int)VBUF_SUBSCRIBE_ALL == VIRTIO_BUF_SUBSCRIBE_ALL,
               "subscribe flags");

static int broken(struct vbuf *vbuf, const char *what)
{
    snprintf(vbuf->text, sizeof(vbuf->text),
             "the server breaks the protocol: %s", what);
    return -EPROTO;
}

static int no_memory(struct vbuf *vbuf)
{
    snprintf(vbuf->text, sizeof(vbuf->text), "out of memory");
    return -ENOMEM;
}

static int give(struct vbuf *vbuf, uint32_t type, struct vbuf_buffer *buffer)
{
    vbuf->event.type = type;
    vbuf->event.buffer = buffer;
    return 1;
}

static int on_hello(struct vbuf *vbuf, const struct virtio_buf_msg_hello *msg)
{
    if (vbuf->hello_received) {
        return broken(vbuf, "a second HELLO");
    }
    if (le32toh(msg->magic) != VIRTIO_BUF_PROTOCOL_MAGIC) {
        snprintf(vbuf->text, sizeof(vbuf->text),
                 "this is no server of virtio-buf");
        return -EPROTO;
    }
    if (le16toh(msg->major) != VIRTIO_BUF_PROTOCOL_MAJOR) {
        snprintf(vbuf->text, sizeof(vbuf->text),
                 "the server speaks version %u of the protocol, not %u",
                 le16toh(msg->major), VIRTIO_BUF_PROTOCOL_MAJOR);
        return -EPROTONOSUPPORT;
    }
    vbuf->hello_received = true;
    return 0;
}

static int on_error(struct vbuf *vbuf, const struct virtio_buf_msg_error *msg)
{
    uint32_t error = le32toh(msg->error);
    size_t len = strnlen((const char *)msg->text, sizeof(msg->text));

    if (len == sizeof(msg->text) || msg->reserved ||
        !virtio_buf_text_valid(msg->text, len)) {
        return broken(vbuf, "a bad ERROR");
    }
    snprintf(vbuf->text, sizeof(vbuf->text), "%s", (const char *)msg->text);
    return error && error < 4096 ? -(int)error : -EPROTO;
}

static int on_device(struct vbuf *vbuf,
                     const struct virtio_buf_msg_device *msg)
{
    uint32_t present = le32toh(msg->present);

    if (present > 1 || msg->reserved ||
        !virtio_buf_name_valid(msg->instance, true)) {
        return broken(vbuf, "a bad DEVICE");
    }
    if (!present && vbuf->first) {
        return broken(vbuf, "a device went before its buffers");
    }
    memcpy(vbuf->text, msg->instance, sizeof(msg->instance));
    memset(vbuf->instance, 0, sizeof(vbuf->instance));
    if (present) {
        memcpy(vbuf->instance, msg->instance, sizeof(vbuf->instance));
    }
    vbuf->event.present = present;
    vbuf->event.text = vbuf->text;
    return give(vbuf, VBUF_EVENT_DEVICE, NULL);
}

static int on_subscribed(struct vbuf *vbuf,
                         const struct virtio_buf_msg_subscribed *msg)
{
    if (vbuf->have_terms) {
        return broken(vbuf, "a second SUBSCRIBED");
    }
    vbuf->terms = (struct vbuf_terms) {
        .consumer_id = le64toh(msg->consumer_id),
        .hold = le32toh(msg->hold),
        .hold_timeout_ms = le32toh(msg->hold_timeout_ms),
        .release_timeout_ms = le32toh(msg->release_timeout_ms),
        .credit = le32toh(msg->credit),
    };
    vbuf->have_terms = true;
    return give(vbuf, VBUF_EVENT_SUBSCRIBED, NULL);
}

static bool buffer_valid(const struct virtio_buf_msg_buffer *msg, size_t more)
{
    return msg->buffer && msg->size && le32toh(msg->property_bytes) == more &&
           msg->backing <= VIRTIO_BUF_BACKING_DMABUF &&
           msg->mode <= VIRTIO_BUF_MODE_EVERY &&
           msg->access <= VIRTIO_BUF_ACCESS_WRITER && !msg->reserved &&
           !msg->reserved2 && virtio_buf_name_valid(msg->application, false);
}

static int on_buffer(struct vbuf *vbuf,
                     const struct virtio_buf_msg_buffer *msg, size_t more)
{
    const uint8_t *list = (const uint8_t *)(msg + 1);
    struct vbuf_buffer *buffer;

    if (!buffer_valid(msg, more) ||
        virtio_buf_properties_check(list, more) < 0) {
        return broken(vbuf, "a bad BUFFER");
    }
    if (vbuf_table_find(&vbuf->table, le64toh(msg->buffer))) {
        return broken(vbuf, "a BUFFER twice");
    }
    if (vbuf->table.count == VBUF_BUFFERS_MAX) {
        return broken(vbuf, "too many buffers");
    }
    buffer = calloc(1, sizeof(*buffer));
    if (!buffer) {
        return no_memory(vbuf);
    }
    buffer->vbuf = vbuf;
    buffer->id = le64toh(msg->buffer);
    buffer->guest_id = le64toh(msg->guest_id);
    buffer->size = le64toh(msg->size);
    buffer->stream = le64toh(msg->stream);
    buffer->serial = le64toh(msg->serial);
    buffer->context = le32toh(msg->context);
    buffer->backing = msg->backing;
    buffer->mode = msg->mode;
    buffer->access = msg->access;
    buffer->fd = -1;
    memcpy(buffer->uuid, msg->uuid, sizeof(buffer->uuid));
    memcpy(buffer->application, msg->application,
           sizeof(buffer->application));

    if (vbuf_properties_apply_list(&buffer->properties, list, more) < 0 ||
        vbuf_table_add(&vbuf->table, buffer) < 0) {
        vbuf_properties_clear(&buffer->properties);
        free(buffer);
        return no_memory(vbuf);
    }
    buffer->previous = vbuf->last;
    *(vbuf->last ? &vbuf->last->next : &vbuf->first) = buffer;
    vbuf->last = buffer;
    return give(vbuf, VBUF_EVENT_BUFFER, buffer);
}

static int on_attached(struct vbuf *vbuf, struct vbuf_buffer *buffer,
                       const struct virtio_buf_msg_attached *msg, int fd)
{
    if (buffer->fd >= 0 || le64toh(msg->size) < buffer->size ||
        le32toh(msg->backing) > VIRTIO_BUF_BACKING_DMABUF ||
        le32toh(msg->flags) & ~(uint32_t)VIRTIO_BUF_ATTACH_WRITER ||
        (msg->flags && buffer->access != VIRTIO_BUF_ACCESS_WRITER)) {
        close(fd);
        return broken(vbuf, "a bad ATTACHED");
    }
    buffer->fd = fd;
    buffer->writer = msg->flags;
    buffer->file_size = le64toh(msg->size);
    buffer->backing = le32toh(msg->backing);
    return give(vbuf, VBUF_EVENT_ATTACHED, buffer);
}

static int on_refused(struct vbuf *vbuf, struct vbuf_buffer *buffer,
                      const struct virtio_buf_msg_refused *msg)
{
    uint32_t error = le32toh(msg->error);

    if (!error || error >= 4096 || msg->reserved) {
        return broken(vbuf, "a bad REFUSED");
    }
    vbuf->event.error = (int32_t)error;
    return give(vbuf, VBUF_EVENT_REFUSED, buffer);
}

static void fill_frame(struct vbuf *vbuf,
                       const struct virtio_buf_frame_view *view)
{
    uint16_t i;

    vbuf->frame = (struct vbuf_frame) {
        .flags = view->flags,
        .clock = view->clock,
        .data_offset = view->data_offset,
        .data_size = view->data_size,
        .pts = view->pts,
        .duration = view->duration,
        .guest_time = view->time,
        .rect_count = view->rect_count,
        .span_count = view->span_count,
        .rects = vbuf->rects,
        .spans = vbuf->spans,
    };
    for (i = 0; i < view->rect_count; i++) {
        vbuf->rects[i] = (struct vbuf_rect) {
            .x = le32toh(view->rects[i].x),
            .y = le32toh(view->rects[i].y),
            .width = le32toh(view->rects[i].width),
            .height = le32toh(view->rects[i].height),
        };
    }
    for (i = 0; i < view->span_count; i++) {
        vbuf->spans[i] = (struct vbuf_span) {
            .offset = le64toh(view->spans[i].offset),
            .len = le64toh(view->spans[i].len),
        };
    }
}

static int apply_properties(struct vbuf *vbuf, struct vbuf_buffer *buffer,
                            const uint8_t *list, size_t size)
{
    switch (vbuf_properties_apply_list(&buffer->properties, list, size)) {
    case 0:
        return 0;
    case -ENOSPC:
        return broken(vbuf, "too many properties");
    default:
        return no_memory(vbuf);
    }
}

static int on_update(struct vbuf *vbuf, struct vbuf_buffer *buffer,
                     const struct virtio_buf_msg_update *msg, size_t more)
{
    struct virtio_buf_frame_view view;
    int ret;

    if (virtio_buf_frame_parse(&msg->frame, sizeof(msg->frame) + more,
                               buffer->size, &view) < 0) {
        return broken(vbuf, "a bad UPDATE");
    }
    if (view.serial < buffer->sent_serial) {
        return broken(vbuf, "an UPDATE with an older serial");
    }
    ret = apply_properties(vbuf, buffer, view.properties, view.property_bytes);
    if (ret < 0) {
        return ret;
    }
    buffer->serial = view.serial;
    if (buffer->fd < 0) {
        vbuf_log(vbuf, VBUF_LOG_DEBUG,
                 "buffer %llu: an update crossed our DETACH",
                 (unsigned long long)buffer->id);
        return 0;
    }
    buffer->sent_serial = view.serial;
    fill_frame(vbuf, &view);
    vbuf->event.serial = view.serial;
    vbuf->event.time = le64toh(msg->time);
    vbuf->event.frame = &vbuf->frame;
    return give(vbuf, VBUF_EVENT_UPDATE, buffer);
}

static int on_properties(struct vbuf *vbuf, struct vbuf_buffer *buffer,
                         const struct virtio_buf_msg_properties *msg,
                         size_t more)
{
    const uint8_t *list = (const uint8_t *)(msg + 1);
    int ret;

    if (le32toh(msg->property_bytes) != more || msg->reserved ||
        virtio_buf_properties_check(list, more) < 0) {
        return broken(vbuf, "a bad PROPERTIES");
    }
    ret = apply_properties(vbuf, buffer, list, more);
    return ret < 0 ? ret : give(vbuf, VBUF_EVENT_PROPERTIES, buffer);
}

static int on_lost(struct vbuf *vbuf, struct vbuf_buffer *buffer,
                   const struct virtio_buf_msg_release *msg)
{
    uint64_t serial = le64toh(msg->serial);

    if (buffer->fd < 0 ||
        (serial <= buffer->released_serial && !buffer->writer)) {
        vbuf_log(vbuf, VBUF_LOG_DEBUG,
                 "buffer %llu: a LOST crossed our RELEASE",
                 (unsigned long long)buffer->id);
        return 0;
    }
    if (serial > buffer->sent_serial) {
        return broken(vbuf, "LOST of an update that never came");
    }
    vbuf->event.serial = serial;
    return give(vbuf, VBUF_EVENT_LOST, buffer);
}

static int on_remove(struct vbuf *vbuf, struct vbuf_buffer *buffer)
{
    buffer->removing = true;
    buffer->answer_removed = buffer->fd >= 0;
    return give(vbuf, VBUF_EVENT_REMOVE, buffer);
}

static int on_reset(struct vbuf *vbuf, const struct virtio_buf_msg_reset *msg)
{
    if (le32toh(msg->reason) > VIRTIO_BUF_RESET_REASON_UNPLUG ||
        msg->reserved) {
        return broken(vbuf, "a bad RESET");
    }
    vbuf->resetting = true;
    vbuf->reset_reason = le32toh(msg->reason);
    return 0;
}

/* The messages that are about a buffer; all of them name it at one place */
static int on_message_of_buffer(struct vbuf *vbuf, uint32_t type,
                                const void *msg, size_t more, int fd)
{
    const struct virtio_buf_msg_detach *named = msg;
    struct vbuf_buffer *buffer;

    buffer = vbuf_table_find(&vbuf->table, le64toh(named->buffer));
    if (!buffer) {
        if (fd >= 0) {
            close(fd);
        }
        return broken(vbuf, "a message about a buffer that is not there");
    }
    switch (type) {
    case VIRTIO_BUF_MSG_ATTACHED:
        return on_attached(vbuf, buffer, msg, fd);
    case VIRTIO_BUF_MSG_REFUSED:
        return on_refused(vbuf, buffer, msg);
    case VIRTIO_BUF_MSG_UPDATE:
        return on_update(vbuf, buffer, msg, more);
    case VIRTIO_BUF_MSG_PROPERTIES:
        return on_properties(vbuf, buffer, msg, more);
    case VIRTIO_BUF_MSG_LOST:
        return on_lost(vbuf, buffer, msg);
    default:
        return on_remove(vbuf, buffer);
    }
}

int vbuf_dispatch(struct vbuf *vbuf, const struct virtio_buf_msg *msg, int fd)
{
    const void *body = msg;
    uint32_t type = le32toh(msg->type);
    size_t more = le32toh(msg->size) - virtio_buf_msg_min_size(type);

    if (type == VIRTIO_BUF_MSG_HELLO) {
        return on_hello(vbuf, body);
    }
    if (type == VIRTIO_BUF_MSG_ERROR) {
        return on_error(vbuf, body);
    }
    if (!vbuf->hello_received || !vbuf->subscribed) {
        if (fd >= 0) {
            close(fd);
        }
        return broken(vbuf, vbuf->hello_received ?
                      "a message before SUBSCRIBE" :
                      "a message before HELLO");
    }
    switch (type) {
    case VIRTIO_BUF_MSG_DEVICE:
        return on_device(vbuf, body);
    case VIRTIO_BUF_MSG_BUFFER:
        return on_buffer(vbuf, body, more);
    case VIRTIO_BUF_MSG_SUBSCRIBED:
        return on_subscribed(vbuf, body);
    case VIRTIO_BUF_MSG_RESET:
        return on_reset(vbuf, body);
    case VIRTIO_BUF_MSG_ATTACHED:
    case VIRTIO_BUF_MSG_REFUSED:
    case VIRTIO_BUF_MSG_UPDATE:
    case VIRTIO_BUF_MSG_PROPERTIES:
    case VIRTIO_BUF_MSG_LOST:
    case VIRTIO_BUF_MSG_REMOVE:
        return on_message_of_buffer(vbuf, type, body, more, fd);
    }
    return broken(vbuf, "a message that only consumers send");
}
