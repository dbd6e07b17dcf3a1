/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what a consumer has of a buffer; between virtio-buf-consumer.c,
 * which owns it, virtio-buf-hold.c, virtio-buf-update.c and virtio-buf-writer.c
 */
#ifndef HW_VIRTIO_VIRTIO_BUF_ATTACHMENT_H
#define HW_VIRTIO_VIRTIO_BUF_ATTACHMENT_H

#include "hw/virtio/virtio-buf.h"

/* What a consumer has of one stream */
typedef struct VirtIOBufHolding {
    uint32_t attachments;
    uint32_t held;                  /* LATEST: taken and not released */
    uint32_t lost;                  /* LATEST: held too long, not answered */
    VirtIOBufAttachment *waiting;   /* LATEST: has the update to be taken */
} VirtIOBufHolding;

struct VirtIOBufAttachment {
    VirtIOBufConsumer *consumer;
    VirtIOBufBuffer *buffer;
    VirtIOBufHolding *holding;      /* NULL once the buffer is retracted */
    uint64_t taken_serial;          /* the largest one it was told */
    bool announced;                 /* in consumer->announcements */
    bool unfilled;                  /* a writer that is announced later */
    bool queued;                    /* in consumer->updates */
    bool pending;                   /* an update waits to be taken */
    bool taken;                     /* hand-off: it holds the update */
    bool lost;                      /* LATEST: it did, and has to release it */
    bool timed;                     /* in device->timed */
    bool late;                      /* IN_PLACE: contents come with the copy */
    bool bare;                      /* the update's properties are told */

    int64_t deadline;               /* virtual clock, ms; when timed */
    uint64_t written_serial;        /* a writer's largest one */
    bool write_waits;               /* virtio_buf_written() was -EAGAIN */

    /* IN_PLACE: damage of several updates; none: everything */
    bool merged;
    uint16_t rect_count;
    uint16_t span_count;
    struct virtio_buf_rect rects[VIRTIO_BUF_MAX_DAMAGE];
    struct virtio_buf_span spans[VIRTIO_BUF_MAX_DAMAGE];

    QLIST_ENTRY(VirtIOBufAttachment) next;
    QTAILQ_ENTRY(VirtIOBufAttachment) next_announcement;
    QTAILQ_ENTRY(VirtIOBufAttachment) next_update;
    QTAILQ_ENTRY(VirtIOBufAttachment) next_timed;
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

static inline const struct virtio_buf_frame *
virtio_buf_frame_head(const VirtIOBufFrame *frame)
{
    return (const struct virtio_buf_frame *)frame->bytes;
}

static inline const uint8_t *
virtio_buf_frame_properties(const VirtIOBufFrame *frame)
{
    return frame->bytes + frame->size - frame->property_bytes;
}

/* hw/virtio/virtio-buf-consumer.c */

/* Tells @att's consumer that its memory is there */
void virtio_buf_queue_announcement(VirtIOBufAttachment *att);

/* Tells @att's consumer that there is an update to take */
void virtio_buf_queue_update(VirtIOBufAttachment *att);

/* The update that @att has not taken is none of its business any more */
void virtio_buf_skip_update(VirtIOBufAttachment *att);

/* One less that will read @buffer's update */
void virtio_buf_drop_owner(VirtIOBufBuffer *buffer);

/*
 * The fd of @buffer's memory, which stays the memory's; or -errno. The guest is
 * told if the backing is another one now.
 */
int virtio_buf_export(VirtIOBufBuffer *buffer);

/*
 * Closes the fd if no consumer that needs it is attached, nobody else holds it,
 * and nothing is being copied
 */
void virtio_buf_unexport_unused(VirtIOBufBuffer *buffer);

/* hw/virtio/virtio-buf-hold.c */

/* @att has an update to take, or has taken it: its time begins, or anew */
void virtio_buf_hold_begin(VirtIOBufAttachment *att);
void virtio_buf_hold_end(VirtIOBufAttachment *att);

/* Whether @att's consumer may hold one more update of the stream (LATEST) */
bool virtio_buf_may_take(const VirtIOBufAttachment *att);

/* It let one time out and has not come back: it owns no other one (LATEST) */
bool virtio_buf_has_stopped(const VirtIOBufAttachment *att);

/* @att's consumer does not read the update any more that it has taken */
void virtio_buf_give_back(VirtIOBufAttachment *att);

/* It has answered that an update was lost, or has not to any more */
void virtio_buf_forgive(VirtIOBufAttachment *att);

/* hw/virtio/virtio-buf-update.c */

/* Room for @size bytes in a frame; false if there is no memory for it */
bool virtio_buf_frame_reserve(VirtIOBufFrame *frame, uint32_t size);

/* There is room: copies a frame of @size bytes and what @view says of it */
void virtio_buf_frame_store(VirtIOBufFrame *frame, const uint8_t *bytes,
                            uint32_t size,
                            const struct virtio_buf_frame_view *view);

/*
 * Whether @att, which is new, has the guest's contents already, as it has to
 * before it writes: a copy that is made later would undo that. Else it is
 * announced when they have been copied.
 */
bool virtio_buf_update_fill(VirtIOBufAttachment *att);

/* The memory is idle: updates that waited for it go on */
void virtio_buf_update_go_on(VirtIOBufBuffer *buffer);

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

/* hw/virtio/virtio-buf-writer.c */

/* Writes back what waits for it, if it can be now */
void virtio_buf_write_back_begin(VirtIOBufBuffer *buffer);

#endif /* HW_VIRTIO_VIRTIO_BUF_ATTACHMENT_H */
