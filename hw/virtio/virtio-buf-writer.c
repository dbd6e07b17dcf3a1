/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: a consumer that writes
 *
 * Owns what becomes of a WRITTEN: it is checked, what it says has changed is
 * written back to guest RAM where the consumer has a copy, and then its frame
 * is an event for the guest. One at a time for a buffer: a writer that is
 * faster is told to wait, since two of them cannot be merged without writing
 * bytes that neither has named.
 *
 * Invariants: buffer->writing has a serial exactly while a frame waits for its
 * write-back or is in it; then the buffer is in s->writing, its memory stays
 * exported, and in the hand-off modes the device is one of its owners, so that
 * a RELEASE, the end of the writer and the hold timeout take effect afterwards.
 * Guest RAM is not written while the VM is stopped, nor once the buffer is
 * unregistered.
 *
 * Under the BQL. A writer's bytes are hostile.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "system/runstate.h"
#include "hw/virtio/virtio-buf.h"
#include "virtio-buf-attachment.h"
#include "trace.h"

/* The frame that was being written back is for nobody, or is told */
static void leave(VirtIOBufBuffer *buffer)
{
    buffer->writing.serial = 0;
    QTAILQ_REMOVE(&buffer->device->writing, buffer, next_writing);
}

static void finish(VirtIOBufBuffer *buffer)
{
    VirtIOBufAttachment *writer = buffer->writer;
    VirtIOBufFrame told = buffer->written;

    trace_virtio_buf_written(buffer->device, buffer->id,
                             buffer->writing.serial);
    buffer->written = buffer->writing;
    buffer->writing = told;
    leave(buffer);
    /* The guest has not asked since the last one: what that changed is news */
    buffer->written.full = buffer->news & VIRTIO_BUF_EVENT_WRITTEN;
    virtio_buf_news(buffer, VIRTIO_BUF_EVENT_WRITTEN);
    if (virtio_buf_hands_off(buffer)) {
        virtio_buf_drop_owner(buffer);
    }
    if (writer && writer->write_waits) {
        writer->write_waits = false;
        writer->consumer->ops->writable(writer->consumer);
    }
    virtio_buf_update_go_on(buffer);
}

static void write_back_done(void *opaque)
{
    VirtIOBufBuffer *buffer = opaque;

    buffer->writing_back = false;
    if (buffer->unregistered) {
        return;
    }
    if (buffer->write_stopped) {
        virtio_buf_write_back_begin(buffer);
    } else {
        finish(buffer);
    }
}

void virtio_buf_write_back_begin(VirtIOBufBuffer *buffer)
{
    const VirtIOBufFrame *frame = &buffer->writing;
    const struct virtio_buf_frame *head;
    const struct virtio_buf_span *spans;

    if (!frame->serial || buffer->writing_back || buffer->refreshing ||
        !runstate_is_running()) {
        return;
    }
    head = virtio_buf_frame_head(frame);
    spans = (const struct virtio_buf_span *)
            (frame->bytes + sizeof(*head) + le16_to_cpu(head->rect_count) *
             sizeof(struct virtio_buf_rect));
    buffer->write_stopped = false;
    if (virtio_buf_memory_write_back(buffer->memory, spans,
                                     le16_to_cpu(head->span_count),
                                     le64_to_cpu(head->data_offset),
                                     le64_to_cpu(head->data_size),
                                     write_back_done, buffer)) {
        finish(buffer);
    } else {
        buffer->writing_back = true;
    }
}

int virtio_buf_written(VirtIOBufAttachment *att, const uint8_t *bytes,
                       uint32_t size)
{
    VirtIOBufBuffer *buffer = att->buffer;
    VirtIOBuf *s = buffer->device;
    struct virtio_buf_frame_view view;

    if (buffer->unregistered) {
        return 0;
    }
    if (buffer->writer != att || att->announced || att->unfilled ||
        (virtio_buf_hands_off(buffer) && !att->taken)) {
        return -EPERM;
    }
    if (virtio_buf_frame_parse(bytes, size, buffer->size, &view) < 0 ||
        view.serial <= att->written_serial ||
        view.property_bytes > s->limits.property_bytes) {
        return -EINVAL;
    }
    if (buffer->writing.serial) {
        att->write_waits = true;
        return -EAGAIN;
    }
    if (!virtio_buf_frame_reserve(&buffer->writing, size)) {
        return -ENOMEM;
    }
    att->written_serial = view.serial;
    att->consumer->counters.written++;
    virtio_buf_frame_store(&buffer->writing, bytes, size, &view);
    QTAILQ_INSERT_TAIL(&s->writing, buffer, next_writing);
    if (virtio_buf_hands_off(buffer)) {
        buffer->owners++;
    }
    virtio_buf_write_back_begin(buffer);
    return 0;
}

void virtio_buf_write_back_cancel(VirtIOBufBuffer *buffer)
{
    if (buffer->writing_back) {
        virtio_buf_memory_stop_write_back(buffer->memory);
    }
    if (buffer->writing.serial) {
        leave(buffer);
    }
}

void virtio_buf_write_back_run(VirtIOBuf *s, bool running)
{
    VirtIOBufBuffer *buffer, *next;

    QTAILQ_FOREACH_SAFE(buffer, &s->writing, next_writing, next) {
        if (running) {
            virtio_buf_write_back_begin(buffer);
        } else if (buffer->writing_back) {
            buffer->write_stopped = true;
            virtio_buf_memory_stop_write_back(buffer->memory);
        }
    }
}
