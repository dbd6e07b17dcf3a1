/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what a consumer has of a buffer; between virtio-buf-consumer.c,
 * which owns it, and virtio-buf-update.c
 */
#ifndef HW_VIRTIO_VIRTIO_BUF_ATTACHMENT_H
#define HW_VIRTIO_VIRTIO_BUF_ATTACHMENT_H

#include "hw/virtio/virtio-buf.h"

/* What a consumer has of one stream */
typedef struct VirtIOBufHolding {
    uint32_t attachments;
    uint32_t held;                  /* LATEST: taken and not released */
    VirtIOBufAttachment *waiting;   /* LATEST: has the update to be taken */
} VirtIOBufHolding;

struct VirtIOBufAttachment {
    VirtIOBufConsumer *consumer;
    VirtIOBufBuffer *buffer;
    VirtIOBufHolding *holding;      /* NULL once the buffer is retracted */
    uint64_t taken_serial;          /* the largest one it was told */
    bool announced;                 /* in consumer->announcements */
    bool queued;                    /* in consumer->updates */
    bool pending;                   /* an update waits to be taken */
    bool taken;                     /* hand-off: it holds the update */
    bool late;                      /* IN_PLACE: contents come with the copy */
    bool bare;                      /* the update's properties are told */

    /* IN_PLACE: damage of several updates; none: everything */
    bool merged;
    uint16_t rect_count;
    uint16_t span_count;
    struct virtio_buf_rect rects[VIRTIO_BUF_MAX_DAMAGE];
    struct virtio_buf_span spans[VIRTIO_BUF_MAX_DAMAGE];

    QLIST_ENTRY(VirtIOBufAttachment) next;
    QTAILQ_ENTRY(VirtIOBufAttachment) next_announcement;
    QTAILQ_ENTRY(VirtIOBufAttachment) next_update;
};

static inline bool virtio_buf_hands_off(const VirtIOBufBuffer *buffer)
{
    return buffer->mode != VIRTIO_BUF_MODE_IN_PLACE;
}

/* An update is under way to consumers; a new one has to follow it */
static inline bool virtio_buf_is_copying(const VirtIOBufBuffer *buffer)
{
    return buffer->refreshing || buffer->copying.serial;
}

/* hw/virtio/virtio-buf-consumer.c */

/* Tells @att's consumer that there is an update to take */
void virtio_buf_queue_update(VirtIOBufAttachment *att);

/* Whether @att's consumer may hold one more update of the stream (LATEST) */
bool virtio_buf_may_take(const VirtIOBufAttachment *att);

/* The update that @att has not taken is none of its business any more */
void virtio_buf_skip_update(VirtIOBufAttachment *att);

/* One less that will read @buffer's update */
void virtio_buf_drop_owner(VirtIOBufBuffer *buffer);

/* Closes the fd if no consumer is attached and nothing is being copied */
void virtio_buf_unexport_unused(VirtIOBufBuffer *buffer);

/* hw/virtio/virtio-buf-update.c */

/*
 * Gives @att, which is new, the contents that its IN_PLACE buffer has: now, or
 * when they have been copied.
 */
void virtio_buf_update_late(VirtIOBufAttachment *att);

/*
 * Tells @att's consumer the properties that come with updates which it has not
 * taken: it will not take them, or it has to hear of others now.
 */
void virtio_buf_update_tell_properties(VirtIOBufAttachment *att);

/* @buffer is unregistered: the update that is being copied is for nobody */
void virtio_buf_update_cancel(VirtIOBufBuffer *buffer);

/* The update to take, as @att's consumer is to see it */
void virtio_buf_update_peek(VirtIOBufAttachment *att, VirtIOBufReady *ready);

#endif /* HW_VIRTIO_VIRTIO_BUF_ATTACHMENT_H */
