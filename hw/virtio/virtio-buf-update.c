/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: an update's way from the guest's command to the consumers
 *
 * Owns the frames of a buffer: the one that consumers have, the one whose
 * contents are being copied, and the one that came meanwhile. Gives an update
 * to the attachments by the mode of its buffer:
 *
 *   IN_PLACE  it is merged into the one that a consumer has not taken
 *   LATEST    it replaces the one of its stream that a consumer has not taken,
 *             and what a consumer holds of a stream is bounded
 *   EVERY     it waits for each consumer; the buffer is BUSY until released
 *
 * Hand-off updates of one stream reach consumers by rising serial, also where
 * copying one takes longer than copying the next. Properties that come with an
 * update reach consumers with it, and never after newer ones. Nothing is
 * allocated for an update but when it is larger than all before it.
 *
 * Under the BQL. Frames were checked by virtio_buf_frame_parse().
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/timer.h"
#include "hw/virtio/virtio-buf.h"
#include "virtio-buf-attachment.h"
#include "trace.h"

static void tell_frame_properties(VirtIOBufAttachment *att,
                                  const VirtIOBufFrame *frame)
{
    if (frame->serial && !frame->bare && frame->property_bytes) {
        att->consumer->ops->properties(att->consumer, att->buffer,
                                       virtio_buf_frame_properties(frame),
                                       frame->property_bytes);
    }
}

/* The update goes without its properties, which are told now */
static void tell_pending_properties(VirtIOBufAttachment *att,
                                    const VirtIOBufFrame *frame)
{
    if (att->pending && !att->bare) {
        tell_frame_properties(att, frame);
        att->bare = true;
    }
}

/* Nobody may hear of older properties after newer ones */
static void flush_properties(VirtIOBufBuffer *buffer)
{
    VirtIOBufAttachment *att;

    QLIST_FOREACH(att, &buffer->attachments, next) {
        virtio_buf_update_tell_properties(att);
    }
    buffer->copying.bare = true;
    buffer->following.bare = true;
}

void virtio_buf_update_tell_properties(VirtIOBufAttachment *att)
{
    tell_pending_properties(att, &att->buffer->published);
    tell_frame_properties(att, &att->buffer->copying);
    tell_frame_properties(att, &att->buffer->following);
}

static void tell_all_properties(VirtIOBufBuffer *buffer, const uint8_t *records,
                                uint32_t size, bool attached)
{
    VirtIOBufConsumer *consumer;

    QTAILQ_FOREACH(consumer, &buffer->device->consumers, next) {
        if (virtio_buf_consumer_wants(consumer, buffer->application) &&
            (attached || !virtio_buf_attachment_find(consumer,
                                                     buffer->handle))) {
            consumer->ops->properties(consumer, buffer, records, size);
        }
    }
}

void virtio_buf_tell_properties(VirtIOBufBuffer *buffer,
                                const uint8_t *records, uint32_t size)
{
    flush_properties(buffer);
    tell_all_properties(buffer, records, size, true);
}

/* Damage that is not known is no rectangle, no span: everything */
static void damage_all(VirtIOBufAttachment *att)
{
    att->merged = true;
    att->rect_count = 0;
    att->span_count = 0;
}

static void damage_load(VirtIOBufAttachment *att, const VirtIOBufFrame *frame)
{
    const struct virtio_buf_frame *head = virtio_buf_frame_head(frame);
    const uint8_t *damage = frame->bytes + sizeof(*head);

    att->merged = true;
    att->rect_count = le16_to_cpu(head->rect_count);
    att->span_count = le16_to_cpu(head->span_count);
    memcpy(att->rects, damage, att->rect_count * sizeof(att->rects[0]));
    memcpy(att->spans, damage + att->rect_count * sizeof(att->rects[0]),
           att->span_count * sizeof(att->spans[0]));
}

/* Adds the damage of @frame to that of @old, which @att has not taken */
static void damage_merge(VirtIOBufAttachment *att, const VirtIOBufFrame *old,
                         const VirtIOBufFrame *frame)
{
    const struct virtio_buf_frame *before = virtio_buf_frame_head(old);
    const struct virtio_buf_frame *head = virtio_buf_frame_head(frame);
    const uint8_t *damage = frame->bytes + sizeof(*head);
    unsigned rect_count = le16_to_cpu(head->rect_count);
    unsigned span_count = le16_to_cpu(head->span_count);

    if (!att->merged) {
        damage_load(att, old);
    }
    if (!att->rect_count || !rect_count || frame->full ||
        att->rect_count + rect_count > VIRTIO_BUF_MAX_DAMAGE) {
        att->rect_count = 0;
    } else {
        memcpy(att->rects + att->rect_count, damage,
               rect_count * sizeof(att->rects[0]));
        att->rect_count += rect_count;
    }
    if (!att->span_count || !span_count || frame->full ||
        att->span_count + span_count > VIRTIO_BUF_MAX_DAMAGE ||
        before->data_offset != head->data_offset ||
        before->data_size != head->data_size) {
        att->span_count = 0;
    } else {
        memcpy(att->spans + att->span_count,
               damage + rect_count * sizeof(att->rects[0]),
               span_count * sizeof(att->spans[0]));
        att->span_count += span_count;
    }
}

static void give_in_place(VirtIOBufAttachment *att, const VirtIOBufFrame *old)
{
    const VirtIOBufFrame *frame = &att->buffer->published;

    if (att->late) {
        att->late = false;
        damage_all(att);
    } else if (att->pending) {
        trace_virtio_buf_overtaken(att->consumer->id, att->buffer->handle,
                                   old->serial);
        att->consumer->counters.overtaken++;
        tell_pending_properties(att, old);
        damage_merge(att, old, frame);
    } else if (frame->full) {
        damage_all(att);
    } else {
        att->merged = false;
    }
    att->bare = frame->bare;
    att->pending = true;
    virtio_buf_queue_update(att);
}

static void give_latest(VirtIOBufAttachment *att)
{
    VirtIOBufAttachment *overtaken = att->holding->waiting;

    if (virtio_buf_has_stopped(att)) {
        tell_frame_properties(att, &att->buffer->published);
        return;
    }
    att->pending = true;
    att->buffer->owners++;
    att->holding->waiting = att;
    virtio_buf_hold_begin(att);
    if (!overtaken) {
        if (virtio_buf_may_take(att)) {
            virtio_buf_queue_update(att);
        }
        return;
    }

    /* In its place: at the tail, a fast stream would never get its turn */
    tell_pending_properties(overtaken, &overtaken->buffer->published);
    if (overtaken->queued) {
        QTAILQ_INSERT_BEFORE(overtaken, att, next_update);
        att->queued = true;
    }
    trace_virtio_buf_overtaken(att->consumer->id, overtaken->buffer->handle,
                               overtaken->buffer->serial);
    att->consumer->counters.overtaken++;
    virtio_buf_skip_update(overtaken);
}

static void give(VirtIOBufAttachment *att, const VirtIOBufFrame *old)
{
    if (att->buffer->mode == VIRTIO_BUF_MODE_IN_PLACE) {
        give_in_place(att, old);
        return;
    }
    att->merged = false;
    att->bare = att->buffer->published.bare;
    if (att->buffer->mode == VIRTIO_BUF_MODE_LATEST) {
        give_latest(att);
    } else {
        att->pending = true;
        att->buffer->owners++;
        virtio_buf_hold_begin(att);
        virtio_buf_queue_update(att);
    }
}

static void swap_frames(VirtIOBufFrame *a, VirtIOBufFrame *b)
{
    VirtIOBufFrame old = *a;

    *a = *b;
    *b = old;
}

/* The contents of the update in @copying can be read */
static void promote(VirtIOBufBuffer *buffer)
{
    VirtIOBufAttachment *att;

    swap_frames(&buffer->published, &buffer->copying);
    buffer->serial = buffer->published.serial;
    buffer->time = buffer->published.time;
    QLIST_FOREACH(att, &buffer->attachments, next) {
        give(att, &buffer->copying);
    }
    buffer->copying.serial = 0;
    if (virtio_buf_hands_off(buffer)) {
        virtio_buf_drop_owner(buffer);
    }
}

static void refresh_done(void *opaque);

static bool refresh(VirtIOBufBuffer *buffer, const VirtIOBufFrame *frame)
{
    const struct virtio_buf_span *spans = NULL;
    const struct virtio_buf_frame *head;
    uint64_t offset = 0, size = buffer->size;
    uint32_t span_count = 0;

    if (frame && !buffer->stale && !frame->full) {
        head = virtio_buf_frame_head(frame);
        offset = le64_to_cpu(head->data_offset);
        size = le64_to_cpu(head->data_size);
        span_count = le16_to_cpu(head->span_count);
        spans = (const struct virtio_buf_span *)
                (frame->bytes + sizeof(*head) + le16_to_cpu(head->rect_count) *
                 sizeof(struct virtio_buf_rect));
    }
    buffer->stale = false;
    return virtio_buf_memory_refresh(buffer->memory, spans, span_count, offset,
                                     size, refresh_done, buffer);
}

/* Makes the update in @copying readable, after the older ones of its stream */
static void begin_copy(VirtIOBufBuffer *buffer)
{
    VirtIOBufStream *stream = buffer->stream;
    VirtIOBufBuffer *other;

    QTAILQ_FOREACH_REVERSE(other, &stream->copying, next_copying) {
        if (other->copying.serial < buffer->copying.serial) {
            break;
        }
    }
    if (other) {
        QTAILQ_INSERT_AFTER(&stream->copying, other, buffer, next_copying);
    } else {
        QTAILQ_INSERT_HEAD(&stream->copying, buffer, next_copying);
    }
    buffer->copied = refresh(buffer, &buffer->copying);
    buffer->refreshing = !buffer->copied;
}

static void begin_following(VirtIOBufBuffer *buffer)
{
    if (buffer->following.serial && !buffer->writing_back) {
        swap_frames(&buffer->copying, &buffer->following);
        buffer->following.serial = 0;
        begin_copy(buffer);
    }
}

static void advance(VirtIOBufStream *stream)
{
    VirtIOBufBuffer *buffer;

    while ((buffer = QTAILQ_FIRST(&stream->copying)) && buffer->copied) {
        if (buffer->stale && buffer->writing_back) {
            break;
        }
        if (buffer->stale) {
            /* Attached for the first time while it waited here */
            buffer->copied = refresh(buffer, &buffer->copying);
            buffer->refreshing = !buffer->copied;
            continue;
        }
        buffer->copied = false;
        QTAILQ_REMOVE(&stream->copying, buffer, next_copying);
        promote(buffer);
        begin_following(buffer);
    }
}

/* Those that attached to an IN_PLACE buffer with contents */
static void give_late(VirtIOBufBuffer *buffer)
{
    VirtIOBufAttachment *att;

    QLIST_FOREACH(att, &buffer->attachments, next) {
        if (att->late && buffer->serial) {
            att->late = false;
            damage_all(att);
            /* It has read all properties in the buffer's announcement */
            att->bare = true;
            att->pending = true;
            virtio_buf_queue_update(att);
        }
    }
}

static void refresh_done(void *opaque)
{
    VirtIOBufBuffer *buffer = opaque;

    buffer->refreshing = false;
    if (buffer->unregistered) {
        return;
    }
    buffer->copied = buffer->copying.serial;
    virtio_buf_write_back_begin(buffer);
    virtio_buf_update_go_on(buffer);
}

/* In the hand-off modes the copy is made before it is the writer's turn */
bool virtio_buf_update_fill(VirtIOBufAttachment *att)
{
    VirtIOBufBuffer *buffer = att->buffer;

    if (buffer->writer != att || virtio_buf_hands_off(buffer)) {
        return true;
    }
    if (buffer->stale && !buffer->refreshing) {
        buffer->refreshing = !refresh(buffer, NULL);
        buffer->copied = buffer->copying.serial && !buffer->refreshing;
    }
    return !buffer->refreshing;
}

void virtio_buf_update_go_on(VirtIOBufBuffer *buffer)
{
    VirtIOBufAttachment *writer = buffer->writer;

    if (writer && writer->unfilled && !buffer->refreshing) {
        writer->unfilled = false;
        virtio_buf_queue_announcement(writer);
    }
    if (!virtio_buf_is_copying(buffer)) {
        give_late(buffer);
        begin_following(buffer);
    }
    advance(buffer->stream);
    virtio_buf_unexport_unused(buffer);
}

/* Where an update goes that comes now */
static VirtIOBufFrame *next_frame(VirtIOBufBuffer *buffer)
{
    return virtio_buf_is_copying(buffer) || buffer->writing_back ?
           &buffer->following : &buffer->copying;
}

bool virtio_buf_frame_reserve(VirtIOBufFrame *frame, uint32_t size)
{
    uint8_t *bytes;

    if (size > frame->capacity) {
        bytes = g_try_realloc(frame->bytes, size);
        if (!bytes) {
            return false;
        }
        frame->bytes = bytes;
        frame->capacity = size;
    }
    return true;
}

bool virtio_buf_reserve(VirtIOBufBuffer *buffer, uint32_t size)
{
    return virtio_buf_frame_reserve(next_frame(buffer), size);
}

void virtio_buf_frame_store(VirtIOBufFrame *frame, const uint8_t *bytes,
                            uint32_t size,
                            const struct virtio_buf_frame_view *view)
{
    memcpy(frame->bytes, bytes, size);
    frame->size = size;
    frame->property_bytes = view->property_bytes;
    frame->serial = view->serial;
    frame->time = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    frame->full = false;
    frame->bare = false;
}

void virtio_buf_publish(VirtIOBufBuffer *buffer, const uint8_t *bytes,
                        uint32_t size,
                        const struct virtio_buf_frame_view *view)
{
    VirtIOBufFrame *frame = next_frame(buffer);
    bool merge = frame->serial;

    if (merge) {
        flush_properties(buffer);
    }
    if (view->property_bytes) {
        tell_all_properties(buffer, view->properties, view->property_bytes,
                            false);
    }
    virtio_buf_frame_store(frame, bytes, size, view);
    frame->full = merge;
    if (virtio_buf_hands_off(buffer)) {
        buffer->owners = 1;
    } else {
        buffer->released = view->serial;
    }
    if (frame == &buffer->copying) {
        begin_copy(buffer);
        advance(buffer->stream);
    }
}

void virtio_buf_update_late(VirtIOBufAttachment *att)
{
    VirtIOBufBuffer *buffer = att->buffer;

    if (virtio_buf_hands_off(buffer)) {
        return;
    }
    att->late = buffer->serial || virtio_buf_is_copying(buffer);
    if (att->late && !virtio_buf_is_copying(buffer) && !buffer->writing_back) {
        buffer->refreshing = buffer->stale && !refresh(buffer, NULL);
        if (!buffer->refreshing) {
            give_late(buffer);
        }
    }
}

void virtio_buf_update_cancel(VirtIOBufBuffer *buffer)
{
    if (buffer->copying.serial) {
        buffer->copying.serial = 0;
        buffer->copied = false;
        QTAILQ_REMOVE(&buffer->stream->copying, buffer, next_copying);
        advance(buffer->stream);
    }
}

/* The published update with a head, and damage, of this attachment's own */
static void peek_changed(VirtIOBufAttachment *att, VirtIOBufReady *ready)
{
    VirtIOBuf *s = att->buffer->device;
    const VirtIOBufFrame *frame = &att->buffer->published;
    size_t rects, spans;

    if (!att->merged) {
        damage_load(att, frame);
    }
    rects = att->rect_count * sizeof(att->rects[0]);
    spans = att->span_count * sizeof(att->spans[0]);
    s->frame.head = *virtio_buf_frame_head(frame);
    s->frame.head.rect_count = cpu_to_le16(att->rect_count);
    s->frame.head.span_count = cpu_to_le16(att->span_count);
    memcpy(s->frame.damage, att->rects, rects);
    memcpy(s->frame.damage + rects, att->spans, spans);
    ready->frame[0].iov_base = &s->frame;
    ready->frame[0].iov_len = sizeof(s->frame.head) + rects + spans;
    ready->frame_count = 1;
    if (att->bare) {
        s->frame.head.property_bytes = 0;
    } else if (frame->property_bytes) {
        ready->frame[1].iov_base = (void *)virtio_buf_frame_properties(frame);
        ready->frame[1].iov_len = frame->property_bytes;
        ready->frame_count = 2;
    }
}

void virtio_buf_newest_frame(const VirtIOBufBuffer *buffer,
                             struct virtio_buf_frame *head)
{
    const VirtIOBufFrame *frame = buffer->following.serial ? &buffer->following
                                : buffer->copying.serial ? &buffer->copying
                                : &buffer->published;

    *head = (struct virtio_buf_frame) {
        .serial = cpu_to_le64(buffer->serial),
    };
    if (frame->serial) {
        *head = *virtio_buf_frame_head(frame);
        head->rect_count = 0;
        head->span_count = 0;
        head->property_bytes = 0;
    }
}

void virtio_buf_restore_frame(VirtIOBufBuffer *buffer,
                              const struct virtio_buf_frame *head)
{
    VirtIOBufFrame *frame = &buffer->published;

    frame->bytes = g_memdup2(head, sizeof(*head));
    frame->size = sizeof(*head);
    frame->capacity = sizeof(*head);
    frame->serial = le64_to_cpu(head->serial);
    frame->time = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    frame->full = true;
    frame->bare = true;
    buffer->serial = frame->serial;
    buffer->released = frame->serial;
    buffer->time = frame->time;
}

void virtio_buf_update_peek(VirtIOBufAttachment *att, VirtIOBufReady *ready)
{
    const VirtIOBufFrame *frame = &att->buffer->published;

    if (att->merged || (att->bare && frame->property_bytes)) {
        peek_changed(att, ready);
    } else {
        ready->frame[0].iov_base = frame->bytes;
        ready->frame[0].iov_len = frame->size;
        ready->frame_count = 1;
    }
}
