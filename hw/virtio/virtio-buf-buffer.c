/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the life of a buffer, and how it is taken back
 *
 * Owns the buffers and the tables in which they are found. A registered buffer
 * is in all of them; an unregistered one is in none, only in s->pending until
 * nobody on the host has its pages. Whether anybody has is looked up, in the
 * same BQL section that acts on it, when the last consumer has detached and
 * then by a timer on the virtual clock, because who got the memory may have
 * passed it on. At the deadline it is revoked, what is due at once in steps;
 * a reset, after which the guest may use all of it, has only one.
 *
 * Invariant: the memory of a buffer is freed only when it is not held by
 * anyone. What could not be revoked at its deadline stays pending, until a
 * later try succeeds; at a reset it is not a buffer any more, and its memory
 * goes into quarantine (virtio-buf-quarantine.c). A FREED buffer without
 * memory lives until the guest has read so, and counts against the limit: a
 * guest that never asks cannot make QEMU grow.
 *
 * Under the BQL; consumers are told here, so their callbacks run.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "exec/address-spaces.h"
#include "hw/virtio/virtio-bus.h"
#include "hw/virtio/virtio-buf.h"
#include "trace.h"

/* How often to look whether a buffer is still held: eager, then patient */
#define POLL_FIRST_MS 10
#define POLL_MAX_MS 200

/* Revoked with one stop of the guest, or one buffer: some 10 ms of copying */
#define REVOKE_STEP (4 * MiB)

static VirtIOBufStream *stream_get(VirtIOBuf *s, uint64_t id)
{
    VirtIOBufStream *stream = NULL;

    if (id) {
        stream = g_hash_table_lookup(s->streams, &id);
    }
    if (!stream) {
        stream = g_new0(VirtIOBufStream, 1);
        stream->id = id;
        QTAILQ_INIT(&stream->buffers);
        QTAILQ_INIT(&stream->copying);
        if (id) {
            g_hash_table_insert(s->streams, &stream->id, stream);
        }
    }
    return stream;
}

static void stream_leave(VirtIOBufBuffer *buffer)
{
    VirtIOBufStream *stream = buffer->stream;

    buffer->stream = NULL;
    QTAILQ_REMOVE(&stream->buffers, buffer, next_in_stream);
    if (QTAILQ_EMPTY(&stream->buffers)) {
        if (stream->id) {
            g_hash_table_remove(buffer->device->streams, &stream->id);
        }
        g_free(stream);
    }
}

static void tables_enter(VirtIOBufBuffer *buffer)
{
    VirtIOBuf *s = buffer->device;

    g_hash_table_insert(s->by_id, &buffer->id, buffer);
    g_hash_table_insert(s->by_handle, &buffer->handle, buffer);
    QTAILQ_INSERT_TAIL(&s->buffers, buffer, next);
    buffer->stream = stream_get(s, buffer->stream_id);
    QTAILQ_INSERT_TAIL(&buffer->stream->buffers, buffer, next_in_stream);
    virtio_buf_share(buffer);
}

static void tables_leave(VirtIOBufBuffer *buffer)
{
    VirtIOBuf *s = buffer->device;

    virtio_buf_unshare(buffer);
    g_hash_table_remove(s->by_id, &buffer->id);
    g_hash_table_remove(s->by_handle, &buffer->handle);
    QTAILQ_REMOVE(&s->buffers, buffer, next);
}

static void free_parts(VirtIOBufBuffer *buffer)
{
    virtio_buf_properties_free(buffer->properties);
    g_free(buffer->ranges);
    g_free(buffer->published.bytes);
    g_free(buffer->copying.bytes);
    g_free(buffer->following.bytes);
    g_free(buffer->writing.bytes);
    g_free(buffer->written.bytes);
}

static VirtIOBufMemory *memory_new(VirtIOBuf *s,
                                   const struct virtio_buf_register *reg,
                                   const struct virtio_buf_range *ranges,
                                   uint32_t *status)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    /* There may be an IOMMU, for others: iommu_platform=off */
    bool translated = vdev->dma_as != &address_space_memory &&
                      virtio_bus_device_iommu_enabled(vdev);

    return virtio_buf_memory_new(s->pool, vdev->dma_as, translated, ranges,
                                 le32_to_cpu(reg->range_count),
                                 le64_to_cpu(reg->size),
                                 reg->access == VIRTIO_BUF_ACCESS_WRITER,
                                 status);
}

VirtIOBufBuffer *virtio_buf_buffer_new(VirtIOBuf *s,
                                       const struct virtio_buf_register *reg,
                                       const struct virtio_buf_range *ranges,
                                       const uint8_t *properties,
                                       const QemuUUID *uuid, uint32_t *status)
{
    static uint64_t last_handle;
    uint32_t range_count = le32_to_cpu(reg->range_count);
    struct virtio_buf_range *kept_ranges;
    VirtIOBufProperties *store;
    VirtIOBufMemory *memory;
    VirtIOBufBuffer *buffer;
    int ret;

    store = virtio_buf_properties_new(s->limits.properties,
                                      s->limits.property_bytes);
    ret = virtio_buf_properties_apply(store, properties,
                                      le32_to_cpu(reg->property_bytes));
    if (ret < 0) {
        *status = ret == -ENOSPC ? VIRTIO_BUF_S_LIMIT :
                  ret == -ENOMEM ? VIRTIO_BUF_S_NO_MEMORY :
                  VIRTIO_BUF_S_INVALID;
        virtio_buf_properties_free(store);
        return NULL;
    }
    kept_ranges = g_try_new(struct virtio_buf_range, range_count);
    if (!kept_ranges) {
        *status = VIRTIO_BUF_S_NO_MEMORY;
        virtio_buf_properties_free(store);
        return NULL;
    }
    memory = memory_new(s, reg, ranges, status);
    if (!memory) {
        g_free(kept_ranges);
        virtio_buf_properties_free(store);
        return NULL;
    }

    buffer = g_new0(VirtIOBufBuffer, 1);
    buffer->device = s;
    buffer->handle = ++last_handle;
    buffer->id = le64_to_cpu(reg->buffer_id);
    buffer->size = le64_to_cpu(reg->size);
    buffer->stream_id = le64_to_cpu(reg->stream);
    buffer->context = le32_to_cpu(reg->context);
    buffer->mode = reg->mode;
    buffer->access = reg->access;
    memcpy(buffer->application, reg->application, VIRTIO_BUF_NAME_SIZE);
    if (uuid) {
        buffer->uuid = *uuid;
    } else {
        qemu_uuid_generate(&buffer->uuid);
    }
    memcpy(kept_ranges, ranges, range_count * sizeof(*ranges));
    buffer->ranges = kept_ranges;
    buffer->range_count = range_count;
    buffer->properties = store;
    buffer->memory = memory;
    buffer->told_backing = virtio_buf_memory_backing(memory);
    buffer->told_reason = virtio_buf_memory_reason(memory);
    QLIST_INIT(&buffer->attachments);
    s->buffer_count++;
    s->total_size += buffer->size;
    tables_enter(buffer);
    return buffer;
}

void virtio_buf_buffer_new_freed(VirtIOBuf *s, uint64_t id)
{
    VirtIOBufBuffer *buffer = g_new0(VirtIOBufBuffer, 1);

    buffer->device = s;
    buffer->id = id;
    buffer->unregistered = true;
    QLIST_INIT(&buffer->attachments);
    s->buffer_count++;
    virtio_buf_news(buffer, VIRTIO_BUF_EVENT_FREED);
}

/* @buffer is in no list but perhaps that of news */
void virtio_buf_buffer_destroy(VirtIOBufBuffer *buffer)
{
    virtio_buf_forget_news(buffer);
    buffer->device->buffer_count--;
    free_parts(buffer);
    g_free(buffer);
}

/* Nobody on the host has the pages: they are the guest's */
static void release_memory(VirtIOBufBuffer *buffer)
{
    VirtIOBuf *s = buffer->device;

    trace_virtio_buf_freed(s, buffer->id);
    QTAILQ_REMOVE(&s->pending, buffer, next);
    s->total_size -= buffer->size;
    s->counters.freed++;
    g_clear_pointer(&buffer->memory, virtio_buf_memory_free);
}

static bool is_free(VirtIOBufBuffer *buffer)
{
    return !buffer->attachment_count &&
           !virtio_buf_memory_held(buffer->memory);
}

static void freed(VirtIOBufBuffer *buffer)
{
    release_memory(buffer);
    virtio_buf_news(buffer, VIRTIO_BUF_EVENT_FREED);
}

static void poll_soon(VirtIOBuf *s)
{
    s->poll_interval_ms = POLL_FIRST_MS;
    timer_mod_anticipate(s->timer, qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) +
                                   POLL_FIRST_MS);
}

bool virtio_buf_buffer_unregister(VirtIOBufBuffer *buffer, bool event)
{
    VirtIOBuf *s = buffer->device;
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL);

    tables_leave(buffer);
    QTAILQ_INSERT_TAIL(&s->pending, buffer, next);
    buffer->unregistered = true;
    buffer->removing = true;
    virtio_buf_retract(buffer);
    buffer->removing = false;
    stream_leave(buffer);

    if (is_free(buffer)) {
        if (event) {
            freed(buffer);
        } else {
            release_memory(buffer);
            virtio_buf_buffer_destroy(buffer);
        }
        return true;
    }
    buffer->deadline = s->limits.release_timeout_ms ?
                       now + s->limits.release_timeout_ms : INT64_MAX;
    poll_soon(s);
    return false;
}

void virtio_buf_buffer_detached(VirtIOBufBuffer *buffer)
{
    if (is_free(buffer)) {
        freed(buffer);
    } else {
        poll_soon(buffer->device);
    }
}

/* Revokes what is held of @memories, with one stop of the vCPUs */
static bool revoke_held(VirtIOBuf *s, GPtrArray *memories)
{
    bool done = true;

    if (memories->len) {
        done = virtio_buf_memory_revoke((VirtIOBufMemory **)memories->pdata,
                                        memories->len);
        trace_virtio_buf_revoke(s, memories->len, done);
    }
    return done;
}

/* Tells what is held after all of @memories, which have just been revoked */
static void tell_unrevocable(VirtIOBuf *s, const GPtrArray *memories,
                             bool quarantined)
{
    uint32_t count = 0;
    uint64_t bytes = 0;

    for (unsigned i = 0; i < memories->len; i++) {
        const VirtIOBufMemory *memory = g_ptr_array_index(memories, i);

        if (virtio_buf_memory_held(memory)) {
            count++;
            bytes += virtio_buf_memory_export_size(memory);
        }
    }
    if (count) {
        trace_virtio_buf_unrevocable(s, quarantined, count, bytes);
        virtio_buf_qmp_unrevocable(s, quarantined, count, bytes);
    }
}

/* What is due goes to @due, but for what is more than @step bytes */
static void take_due(VirtIOBuf *s, int64_t now, uint64_t step, GPtrArray *due)
{
    VirtIOBufBuffer *buffer;
    uint64_t bytes = 0;

    QTAILQ_FOREACH(buffer, &s->pending, next) {
        if (now < buffer->deadline) {
            continue;
        }
        virtio_buf_detach_all(buffer, true);
        if (bytes < step) {
            buffer->deadline = INT64_MAX;
            if (virtio_buf_memory_held(buffer->memory)) {
                bytes += virtio_buf_memory_export_size(buffer->memory);
                g_ptr_array_add(due, buffer->memory);
            }
        }
    }
}

static void poll_pending(VirtIOBuf *s, int64_t now)
{
    g_autoptr(GPtrArray) due = g_ptr_array_new();
    VirtIOBufBuffer *buffer, *next;
    unsigned tried;

    take_due(s, now, REVOKE_STEP, due);
    tried = due->len;
    if (!revoke_held(s, due)) {
        /* They may share huge pages with those that were to come later */
        take_due(s, now, UINT64_MAX, due);
        if (due->len > tried) {
            revoke_held(s, due);
        }
    }
    tell_unrevocable(s, due, false);
    QTAILQ_FOREACH_SAFE(buffer, &s->pending, next, next) {
        if (is_free(buffer)) {
            freed(buffer);
        }
    }
}

static void tables_free(VirtIOBuf *s)
{
    g_clear_pointer(&s->by_id, g_hash_table_destroy);
    g_clear_pointer(&s->by_handle, g_hash_table_destroy);
    g_clear_pointer(&s->streams, g_hash_table_destroy);
}

static void poll_timer(void *opaque)
{
    VirtIOBuf *s = opaque;
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL);
    VirtIOBufBuffer *buffer;
    int64_t at;

    poll_pending(s, now);
    if (QTAILQ_EMPTY(&s->pending)) {
        return;
    }
    s->poll_interval_ms = MIN(s->poll_interval_ms * 2, POLL_MAX_MS);
    at = now + s->poll_interval_ms;
    QTAILQ_FOREACH(buffer, &s->pending, next) {
        at = MIN(at, buffer->deadline);
    }
    /* The guest, and others, go on before what else is due */
    timer_mod(s->timer, MAX(at, now + 1));
}

/* @buffer leaves everything but s->pending; nobody is told */
static void abandon(VirtIOBufBuffer *buffer)
{
    if (!buffer->unregistered) {
        tables_leave(buffer);
        QTAILQ_INSERT_TAIL(&buffer->device->pending, buffer, next);
        buffer->unregistered = true;
    }
    virtio_buf_write_back_cancel(buffer);
    virtio_buf_detach_all(buffer, false);
    if (buffer->stream) {
        if (buffer->copying.serial) {
            QTAILQ_REMOVE(&buffer->stream->copying, buffer, next_copying);
        }
        stream_leave(buffer);
    }
}

void virtio_buf_buffers_revoke(VirtIOBuf *s)
{
    g_autoptr(GPtrArray) held = g_ptr_array_new();
    VirtIOBufBuffer *buffer, *next;

    s->quiet = true;
    QTAILQ_FOREACH_SAFE(buffer, &s->buffers, next, next) {
        abandon(buffer);
    }
    QTAILQ_FOREACH(buffer, &s->pending, next) {
        abandon(buffer);
        if (virtio_buf_memory_held(buffer->memory)) {
            g_ptr_array_add(held, buffer->memory);
        }
    }
    s->quiet = false;

    revoke_held(s, held);
    tell_unrevocable(s, held, true);
    QTAILQ_FOREACH_SAFE(buffer, &s->pending, next, next) {
        if (virtio_buf_memory_held(buffer->memory)) {
            warn_report_once("virtio-buf: the device was reset while a program "
                             "on the host holds pages that cannot be taken "
                             "back: it sees what the guest does with them; "
                             "they are not shared again before it has let go");
            virtio_buf_memory_quarantine(g_steal_pointer(&buffer->memory));
            QTAILQ_REMOVE(&s->pending, buffer, next);
            s->total_size -= buffer->size;
        } else {
            release_memory(buffer);
        }
        virtio_buf_buffer_destroy(buffer);
    }
    while ((buffer = QTAILQ_FIRST(&s->with_news))) {
        virtio_buf_buffer_destroy(buffer);
    }
    timer_del(s->timer);
}

void virtio_buf_buffers_init(VirtIOBuf *s)
{
    s->by_id = g_hash_table_new(g_int64_hash, g_int64_equal);
    s->by_handle = g_hash_table_new(g_int64_hash, g_int64_equal);
    s->streams = g_hash_table_new(g_int64_hash, g_int64_equal);
    QTAILQ_INIT(&s->buffers);
    QTAILQ_INIT(&s->pending);
    QTAILQ_INIT(&s->with_news);
    QTAILQ_INIT(&s->writing);
    s->timer = timer_new_ms(QEMU_CLOCK_VIRTUAL, poll_timer, s);
}

void virtio_buf_buffers_cleanup(VirtIOBuf *s)
{
    virtio_buf_buffers_revoke(s);
    tables_free(s);
    g_clear_pointer(&s->timer, timer_free);
    g_clear_pointer(&s->pool, virtio_buf_memory_pool_free);
}
