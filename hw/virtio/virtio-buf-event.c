/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: news for the guest
 *
 * Owns the set of buffers with news, and when the guest is told that there are
 * some. Nothing is queued but the buffers themselves: an event is the state of
 * its buffer at the time when the guest asks. Invariant: a buffer is in
 * s->with_news exactly while buffer->news is not zero. The configuration
 * interrupt is raised when the guest had drained the set and it gets its first
 * member, not once for each of them; before DRIVER_OK and while the VM is
 * stopped it is kept until there is somebody to hear it.
 *
 * Main loop or vCPU thread, under the BQL.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "system/runstate.h"
#include "hw/virtio/virtio-buf.h"
#include "trace.h"

void virtio_buf_config_changed(VirtIOBuf *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    s->config_changed = !runstate_is_running() ||
                        !(vdev->status & VIRTIO_CONFIG_S_DRIVER_OK);
    if (!s->config_changed) {
        virtio_notify_config(vdev);
    }
}

void virtio_buf_news(VirtIOBufBuffer *buffer, uint32_t flags)
{
    VirtIOBuf *s = buffer->device;

    if (!buffer->news) {
        QTAILQ_INSERT_TAIL(&s->with_news, buffer, next_news);
    }
    buffer->news |= flags;
    s->news++;
    trace_virtio_buf_news(s, buffer->id, buffer->news, s->news);
    if (s->drained) {
        s->drained = false;
        virtio_buf_config_changed(s);
    }
}

void virtio_buf_forget_news(VirtIOBufBuffer *buffer)
{
    if (buffer->news) {
        buffer->news = 0;
        QTAILQ_REMOVE(&buffer->device->with_news, buffer, next_news);
    }
}

/* What the guest is to see of a frame: in two pieces, in one, or nothing */
typedef struct FramePieces {
    struct virtio_buf_frame head;
    struct iovec iov[2];
    unsigned count;
    size_t size;
} FramePieces;

static void add_piece(FramePieces *pieces, void *base, size_t len)
{
    if (len) {
        pieces->iov[pieces->count++] = (struct iovec) { base, len };
        pieces->size += len;
    }
}

static void written_frame(const VirtIOBufBuffer *buffer, FramePieces *pieces)
{
    const VirtIOBufFrame *frame = &buffer->written;

    *pieces = (FramePieces) {};
    if (!(buffer->news & VIRTIO_BUF_EVENT_WRITTEN)) {
        return;
    }
    if (!frame->full) {
        add_piece(pieces, frame->bytes, frame->size);
        return;
    }
    memcpy(&pieces->head, frame->bytes, sizeof(pieces->head));
    pieces->head.rect_count = 0;
    pieces->head.span_count = 0;
    add_piece(pieces, &pieces->head, sizeof(pieces->head));
    add_piece(pieces, frame->bytes + frame->size - frame->property_bytes,
              frame->property_bytes);
}

static void take_event(VirtIOBufBuffer *buffer, struct virtio_buf_event *event,
                       size_t size)
{
    *event = (struct virtio_buf_event) {
        .buffer_id = cpu_to_le64(buffer->id),
        .size = cpu_to_le32(size),
        .flags = cpu_to_le32(buffer->news),
        .released = cpu_to_le64(buffer->released),
        .consumers = cpu_to_le32(buffer->attachment_count),
        .backing = buffer->told_backing,
        .reason = buffer->told_reason,
    };
    if (buffer->news & VIRTIO_BUF_EVENT_FREED) {
        virtio_buf_buffer_destroy(buffer);
    } else {
        virtio_buf_forget_news(buffer);
    }
}

size_t virtio_buf_get_events(VirtIOBuf *s, const struct iovec *in,
                             unsigned in_count)
{
    struct virtio_buf_events_response response = {};
    size_t room = iov_size(in, in_count);
    size_t size = sizeof(response);
    struct virtio_buf_event event;
    VirtIOBufBuffer *buffer;
    FramePieces frame;
    uint32_t count = 0;

    while ((buffer = QTAILQ_FIRST(&s->with_news))) {
        size_t at = size + sizeof(event);

        written_frame(buffer, &frame);
        if (room - size < sizeof(event) + frame.size) {
            break;
        }
        for (unsigned i = 0; i < frame.count; i++) {
            at += iov_from_buf(in, in_count, at, frame.iov[i].iov_base,
                               frame.iov[i].iov_len);
        }
        /* Frees what is FREED, the frame too */
        take_event(buffer, &event, sizeof(event) + frame.size);
        iov_from_buf(in, in_count, size, &event, sizeof(event));
        size = at;
        count++;
    }
    s->drained = !buffer;

    response.hdr.status = cpu_to_le32(VIRTIO_BUF_S_OK);
    response.hdr.news = cpu_to_le64(s->news);
    response.count = cpu_to_le32(count);
    response.more = cpu_to_le32(!s->drained);
    iov_from_buf(in, in_count, 0, &response, sizeof(response));
    trace_virtio_buf_get_events(s, count, !s->drained);
    return size;
}

size_t virtio_buf_get_consumers(VirtIOBuf *s, uint64_t after,
                                const char *application,
                                const struct iovec *in, unsigned in_count)
{
    struct virtio_buf_consumers_response response = {};
    size_t room = iov_size(in, in_count);
    size_t size = sizeof(response);
    VirtIOBufConsumer *consumer;
    uint32_t count = 0;

    QTAILQ_FOREACH(consumer, &s->consumers, next) {
        struct virtio_buf_consumer record = {
            .consumer_id = cpu_to_le64(consumer->id),
            .flags = cpu_to_le32(consumer->flags),
            .property_bytes = cpu_to_le32(consumer->property_bytes),
        };

        if (consumer->id <= after ||
            !virtio_buf_consumer_wants(consumer, application)) {
            continue;
        }
        if (room - size < sizeof(record) + consumer->property_bytes) {
            break;
        }
        size += iov_from_buf(in, in_count, size, &record, sizeof(record));
        if (consumer->property_bytes) {
            size += iov_from_buf(in, in_count, size, consumer->properties,
                                 consumer->property_bytes);
        }
        count++;
    }

    response.hdr.status = cpu_to_le32(VIRTIO_BUF_S_OK);
    response.hdr.news = cpu_to_le64(s->news);
    response.count = cpu_to_le32(count);
    response.more = cpu_to_le32(consumer != NULL);
    iov_from_buf(in, in_count, 0, &response, sizeof(response));
    trace_virtio_buf_get_consumers(s, application, after, count);
    return size;
}
