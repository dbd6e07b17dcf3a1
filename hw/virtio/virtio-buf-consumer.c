/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: who consumes the buffers
 *
 * Owns the attachments: a consumer that has the memory of a buffer. Each says
 * whether its consumer has yet to hear of the memory, of an update, or holds
 * an update. A consumer pulls: what it has to hear waits in two queues of
 * attachments, and is forgotten when it is overtaken, so a slow consumer costs
 * nothing but its places there.
 *
 * Invariant: buffer->owners counts the attachments that have a hand-off update
 * to take or to release, and the device itself while it copies; at zero the
 * update is released.
 *
 * Main loop and BQL only. What consumers say was checked by their
 * implementation, except for what is checked here: serials and handles.
 */
#include "qemu/osdep.h"
#include "hw/virtio/virtio-buf.h"
#include "virtio-buf-attachment.h"
#include "trace.h"

static VirtIOBufAttachment *
first_announcement(const VirtIOBufConsumer *consumer)
{
    return consumer->fd_refused ? NULL : QTAILQ_FIRST(&consumer->announcements);
}

/* The first but for those whose memory has to be told before */
static VirtIOBufAttachment *first_update(const VirtIOBufConsumer *consumer)
{
    VirtIOBufAttachment *att;

    QTAILQ_FOREACH(att, &consumer->updates, next_update) {
        if (!att->announced) {
            break;
        }
    }
    return att;
}

static bool nothing_to_tell(const VirtIOBufConsumer *consumer)
{
    return !first_announcement(consumer) && !first_update(consumer);
}

static void wake(VirtIOBufConsumer *consumer, bool was_empty)
{
    if (was_empty && !consumer->device->quiet) {
        consumer->ops->ready(consumer);
    }
}

void virtio_buf_queue_announcement(VirtIOBufAttachment *att)
{
    bool was_empty = nothing_to_tell(att->consumer);

    att->announced = true;
    QTAILQ_INSERT_TAIL(&att->consumer->announcements, att, next_announcement);
    wake(att->consumer, was_empty);
}

void virtio_buf_queue_update(VirtIOBufAttachment *att)
{
    bool was_empty = nothing_to_tell(att->consumer);

    if (!att->queued) {
        att->queued = true;
        QTAILQ_INSERT_TAIL(&att->consumer->updates, att, next_update);
        wake(att->consumer, was_empty);
    }
}

static void unqueue_update(VirtIOBufAttachment *att)
{
    if (att->queued) {
        att->queued = false;
        QTAILQ_REMOVE(&att->consumer->updates, att, next_update);
    }
}

void virtio_buf_drop_owner(VirtIOBufBuffer *buffer)
{
    if (--buffer->owners || buffer->unregistered) {
        return;
    }
    buffer->released = buffer->serial;
    if (buffer != buffer->device->updating) {
        virtio_buf_news(buffer, VIRTIO_BUF_EVENT_RELEASED);
    }
}

void virtio_buf_skip_update(VirtIOBufAttachment *att)
{
    if (!att->pending) {
        return;
    }
    att->pending = false;
    unqueue_update(att);
    virtio_buf_hold_end(att);
    if (att->holding->waiting == att) {
        att->holding->waiting = NULL;
    }
    if (virtio_buf_hands_off(att->buffer)) {
        virtio_buf_drop_owner(att->buffer);
    }
}

static VirtIOBufHolding *holding_get(VirtIOBufConsumer *consumer,
                                     VirtIOBufStream *stream)
{
    VirtIOBufHolding *holding = g_hash_table_lookup(consumer->streams, stream);

    if (!holding) {
        holding = g_new0(VirtIOBufHolding, 1);
        g_hash_table_insert(consumer->streams, stream, holding);
    }
    holding->attachments++;
    return holding;
}

/* @att takes no part in its stream any more */
static void withdraw(VirtIOBufAttachment *att)
{
    if (!att->holding) {
        return;
    }
    virtio_buf_skip_update(att);
    virtio_buf_give_back(att);
    virtio_buf_forgive(att);
    att->late = false;
    if (!--att->holding->attachments) {
        g_hash_table_remove(att->consumer->streams, att->buffer->stream);
    }
    att->holding = NULL;
}

static void attachment_free(VirtIOBufAttachment *att)
{
    VirtIOBufConsumer *consumer = att->consumer;

    trace_virtio_buf_detach(consumer->id, att->buffer->handle);
    withdraw(att);
    if (att->announced) {
        QTAILQ_REMOVE(&consumer->announcements, att, next_announcement);
    }
    g_hash_table_remove(consumer->attachments, &att->buffer->handle);
    QLIST_REMOVE(att, next);
    if (att->buffer->writer == att) {
        att->buffer->writer = NULL;
    }
    att->buffer->attachment_count--;
    if (consumer->ops->needs_fd) {
        att->buffer->fd_attachment_count--;
    }
    g_free(att);
}

void virtio_buf_unexport_unused(VirtIOBufBuffer *buffer)
{
    if (!buffer->fd_attachment_count && !buffer->refreshing &&
        !buffer->writing.serial && virtio_buf_memory_exported(buffer->memory)) {
        virtio_buf_memory_unexport(buffer->memory);
    }
}

bool virtio_buf_consumer_wants(const VirtIOBufConsumer *consumer,
                               const char *application)
{
    return consumer->all ||
           g_hash_table_contains(consumer->applications, application);
}

void virtio_buf_consumer_add(VirtIOBuf *s, VirtIOBufConsumer *consumer)
{
    VirtIOBufBuffer *buffer;

    consumer->device = s;
    consumer->id = ++s->last_consumer_id;
    consumer->counters = (VirtIOBufConsumerCounters) {};
    consumer->attachments = g_hash_table_new(g_int64_hash, g_int64_equal);
    consumer->streams = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    QTAILQ_INIT(&consumer->announcements);
    QTAILQ_INIT(&consumer->updates);
    QTAILQ_INSERT_TAIL(&s->consumers, consumer, next);
    s->consumer_count++;
    trace_virtio_buf_consumer_add(s, consumer->id, s->consumer_count);

    QTAILQ_FOREACH(buffer, &s->buffers, next) {
        if (virtio_buf_consumer_wants(consumer, buffer->application)) {
            consumer->ops->buffer(consumer, buffer);
        }
    }
    virtio_buf_config_changed(s);
}

void virtio_buf_consumer_remove(VirtIOBufConsumer *consumer)
{
    VirtIOBuf *s = consumer->device;
    g_autoptr(GList) attachments = NULL;

    if (!s) {
        return;
    }
    trace_virtio_buf_consumer_remove(s, consumer->id, s->consumer_count - 1);
    s->quiet = true;
    attachments = g_hash_table_get_values(consumer->attachments);
    for (GList *l = attachments; l; l = l->next) {
        virtio_buf_detach(l->data);
    }
    s->quiet = false;
    QTAILQ_REMOVE(&s->consumers, consumer, next);
    s->consumer_count--;
    g_clear_pointer(&consumer->attachments, g_hash_table_destroy);
    g_clear_pointer(&consumer->streams, g_hash_table_destroy);
    consumer->device = NULL;
    virtio_buf_config_changed(s);
}

VirtIOBufBuffer *virtio_buf_buffer_find(VirtIOBufConsumer *consumer,
                                        uint64_t handle)
{
    VirtIOBufBuffer *buffer;

    if (!consumer->device) {
        return NULL;
    }
    buffer = g_hash_table_lookup(consumer->device->by_handle, &handle);
    if (!buffer || !virtio_buf_consumer_wants(consumer, buffer->application)) {
        return NULL;
    }
    return buffer;
}

VirtIOBufStream *virtio_buf_stream_find(VirtIOBufConsumer *consumer,
                                        uint64_t id)
{
    if (!consumer->device) {
        return NULL;
    }
    return g_hash_table_lookup(consumer->device->streams, &id);
}

VirtIOBufAttachment *virtio_buf_attachment_find(VirtIOBufConsumer *consumer,
                                                uint64_t handle)
{
    if (!consumer->device) {
        return NULL;
    }
    return g_hash_table_lookup(consumer->attachments, &handle);
}

/* What the guest was told of the backing can have changed with the export */
static void check_backing(VirtIOBufBuffer *buffer)
{
    uint8_t backing = virtio_buf_memory_backing(buffer->memory);
    uint8_t reason = virtio_buf_memory_reason(buffer->memory);

    if (backing != buffer->told_backing || reason != buffer->told_reason) {
        buffer->told_backing = backing;
        buffer->told_reason = reason;
        virtio_buf_news(buffer, VIRTIO_BUF_EVENT_BACKING);
    }
}

int virtio_buf_export(VirtIOBufBuffer *buffer)
{
    bool exported = virtio_buf_memory_exported(buffer->memory);
    int fd = virtio_buf_memory_export(buffer->memory);

    if (!exported) {
        check_backing(buffer);
        buffer->stale = virtio_buf_memory_backing(buffer->memory) ==
                        VIRTIO_BUF_BACKING_COPY;
    }
    return fd;
}

int virtio_buf_attach(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer,
                      uint32_t flags)
{
    VirtIOBufAttachment *att;
    int fd = -1;

    if (virtio_buf_attachment_find(consumer, buffer->handle)) {
        return -EALREADY;
    }
    if (flags & VIRTIO_BUF_ATTACH_WRITER) {
        /* What it writes comes back from the memory that it was given */
        if (buffer->access != VIRTIO_BUF_ACCESS_WRITER ||
            !consumer->ops->needs_fd) {
            return -EACCES;
        }
        if (buffer->writer) {
            return -EBUSY;
        }
    }
    if (consumer->ops->needs_fd) {
        fd = virtio_buf_export(buffer);
    }
    trace_virtio_buf_attach(consumer->id, buffer->handle, fd);
    if (consumer->ops->needs_fd && fd < 0) {
        return fd == -ENFILE ? -EMFILE : fd == -EMFILE ? fd : -ENOMEM;
    }

    att = g_new0(VirtIOBufAttachment, 1);
    att->consumer = consumer;
    att->buffer = buffer;
    att->holding = holding_get(consumer, buffer->stream);
    g_hash_table_insert(consumer->attachments, &buffer->handle, att);
    QLIST_INSERT_HEAD(&buffer->attachments, att, next);
    if (flags & VIRTIO_BUF_ATTACH_WRITER) {
        buffer->writer = att;
    }
    buffer->attachment_count++;
    buffer->device->counters.attached++;
    virtio_buf_news(buffer, VIRTIO_BUF_EVENT_CONSUMERS);
    if (consumer->ops->needs_fd) {
        buffer->fd_attachment_count++;
        att->unfilled = !virtio_buf_update_fill(att);
        if (!att->unfilled) {
            virtio_buf_queue_announcement(att);
        }
    }

    virtio_buf_update_late(att);
    return 0;
}

void virtio_buf_detach(VirtIOBufAttachment *att)
{
    VirtIOBufBuffer *buffer = att->buffer;

    if (!buffer->unregistered && !buffer->device->quiet) {
        virtio_buf_update_tell_properties(att);
    }
    attachment_free(att);
    if (!buffer->unregistered) {
        virtio_buf_news(buffer, VIRTIO_BUF_EVENT_CONSUMERS);
        virtio_buf_unexport_unused(buffer);
    } else if (!buffer->attachment_count && !buffer->removing) {
        virtio_buf_buffer_detached(buffer);
    }
}

bool virtio_buf_readable(const VirtIOBufAttachment *att, uint64_t offset,
                         uint64_t len)
{
    return virtio_buf_memory_readable(att->buffer->memory, offset, len);
}

void virtio_buf_read(const VirtIOBufAttachment *att, uint64_t offset,
                     void *dest, uint64_t len)
{
    virtio_buf_memory_read(att->buffer->memory, offset, dest, len);
}

bool virtio_buf_release(VirtIOBufAttachment *att, uint64_t serial)
{
    if (serial > att->taken_serial) {
        return false;
    }
    if (serial == att->taken_serial) {
        if (att->taken) {
            att->consumer->counters.released++;
        }
        virtio_buf_give_back(att);
        virtio_buf_forgive(att);
    }
    return true;
}

bool virtio_buf_consumer_wants_fd(const VirtIOBufConsumer *consumer)
{
    return first_announcement(consumer);
}

bool virtio_buf_consumer_peek(VirtIOBufConsumer *consumer,
                              VirtIOBufReady *ready)
{
    VirtIOBufAttachment *att;

    *ready = (VirtIOBufReady) { .kind = VIRTIO_BUF_READY_NOTHING, .fd = -1 };
    if (!consumer->device) {
        return false;
    }
    consumer->asleep = false;

    att = first_announcement(consumer);
    if (att) {
        ready->kind = VIRTIO_BUF_READY_ATTACHED;
        ready->flags = att->buffer->writer == att ?
                       VIRTIO_BUF_ATTACH_WRITER : 0;
        ready->fd = virtio_buf_memory_export(att->buffer->memory);
        ready->buffer = att->buffer;
        ready->attachment = att;
        return true;
    }

    att = first_update(consumer);
    if (!att) {
        return false;
    }
    ready->kind = VIRTIO_BUF_READY_UPDATE;
    ready->buffer = att->buffer;
    ready->attachment = att;
    ready->serial = att->buffer->serial;
    virtio_buf_update_peek(att, ready);
    return true;
}

void virtio_buf_consumer_taken(VirtIOBufConsumer *consumer)
{
    VirtIOBufAttachment *att;

    att = first_announcement(consumer);
    if (att) {
        QTAILQ_REMOVE(&consumer->announcements, att, next_announcement);
        att->announced = false;
        return;
    }

    att = first_update(consumer);
    if (!att) {
        return;
    }
    unqueue_update(att);
    consumer->counters.updates++;
    att->pending = false;
    att->merged = false;
    att->taken_serial = att->buffer->serial;
    if (virtio_buf_hands_off(att->buffer)) {
        att->taken = true;
        virtio_buf_hold_begin(att);
    }
    if (att->holding->waiting == att) {
        att->holding->waiting = NULL;
        att->holding->held++;
    }
}

void virtio_buf_announce(VirtIOBufBuffer *buffer)
{
    VirtIOBufConsumer *consumer;

    QTAILQ_FOREACH(consumer, &buffer->device->consumers, next) {
        if (virtio_buf_consumer_wants(consumer, buffer->application)) {
            consumer->ops->buffer(consumer, buffer);
        }
    }
}

void virtio_buf_retract(VirtIOBufBuffer *buffer)
{
    VirtIOBufConsumer *consumer;

    virtio_buf_update_cancel(buffer);
    virtio_buf_write_back_cancel(buffer);
    QTAILQ_FOREACH(consumer, &buffer->device->consumers, next) {
        VirtIOBufAttachment *att = virtio_buf_attachment_find(consumer,
                                                              buffer->handle);

        if (!att && !virtio_buf_consumer_wants(consumer, buffer->application)) {
            continue;
        }
        if (att && (att->announced || att->unfilled)) {
            /* It has never got the memory */
            attachment_free(att);
            att = NULL;
        } else if (att) {
            withdraw(att);
        }
        consumer->ops->remove(consumer, buffer, att);
    }
}

void virtio_buf_detach_all(VirtIOBufBuffer *buffer, bool overdue)
{
    VirtIOBufAttachment *att, *next_att;

    QLIST_FOREACH_SAFE(att, &buffer->attachments, next, next_att) {
        VirtIOBufConsumer *consumer = att->consumer;

        attachment_free(att);
        if (overdue) {
            consumer->ops->overdue(consumer, buffer->handle);
        }
    }
}

void virtio_buf_reset_consumers(VirtIOBuf *s, uint32_t reason)
{
    VirtIOBufConsumer *consumer;

    QTAILQ_FOREACH(consumer, &s->consumers, next) {
        consumer->ops->reset(consumer, reason);
    }
}
