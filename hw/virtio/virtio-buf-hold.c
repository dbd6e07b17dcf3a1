/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what consumers hold, and for how long
 *
 * Owns the clock of the hand-off modes: an update that was given to a consumer
 * has to be taken, and one that was taken released, within the hold timeout of
 * the virtual clock. What is late is taken away:
 *
 *   LATEST  the consumer is told, the update counts as released for it, and
 *           until it has released it nonetheless, it owns no other of the
 *           stream: one that has stopped costs the stream no second update
 *   EVERY   the consumer goes, as it cannot have them all any more
 *
 * Invariant: an attachment is in s->timed, by rising deadline, exactly while it
 * has a hand-off update to take or to release and there is a timeout. The
 * timeout is one for all, so the queue is sorted by appending. The timer is not
 * touched for each update: when it fires too early, it is set anew.
 *
 * Under the BQL. A consumer is told here, so its callbacks run.
 */
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "hw/virtio/virtio-buf.h"
#include "virtio-buf-attachment.h"
#include "trace.h"

void virtio_buf_hold_begin(VirtIOBufAttachment *att)
{
    VirtIOBuf *s = att->buffer->device;

    virtio_buf_hold_end(att);
    if (!s->limits.hold_timeout_ms) {
        return;
    }
    att->timed = true;
    att->deadline = qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) +
                    s->limits.hold_timeout_ms;
    QTAILQ_INSERT_TAIL(&s->timed, att, next_timed);
    if (!timer_pending(s->hold_timer)) {
        timer_mod(s->hold_timer, att->deadline);
    }
}

void virtio_buf_hold_end(VirtIOBufAttachment *att)
{
    if (att->timed) {
        att->timed = false;
        QTAILQ_REMOVE(&att->buffer->device->timed, att, next_timed);
    }
}

bool virtio_buf_may_take(const VirtIOBufAttachment *att)
{
    return !att->holding->lost &&
           att->holding->held < MAX(att->consumer->hold, 1);
}

bool virtio_buf_has_stopped(const VirtIOBufAttachment *att)
{
    return att->holding->lost || att->consumer->asleep;
}

void virtio_buf_give_back(VirtIOBufAttachment *att)
{
    VirtIOBufAttachment *waiting;

    if (!att->taken) {
        return;
    }
    att->taken = false;
    virtio_buf_hold_end(att);
    trace_virtio_buf_release(att->consumer->id, att->buffer->handle,
                             att->buffer->serial);
    virtio_buf_drop_owner(att->buffer);
    if (att->buffer->mode == VIRTIO_BUF_MODE_LATEST) {
        att->holding->held--;
        waiting = att->holding->waiting;
        if (waiting && virtio_buf_may_take(waiting)) {
            virtio_buf_queue_update(waiting);
        }
    }
}

void virtio_buf_forgive(VirtIOBufAttachment *att)
{
    if (att->lost) {
        att->lost = false;
        att->holding->lost--;
    }
}

/* The update that @att has not taken passes it by */
static void pass_by(VirtIOBufAttachment *att)
{
    virtio_buf_update_tell_properties(att);
    virtio_buf_skip_update(att);
}

static void lose(VirtIOBufAttachment *att)
{
    VirtIOBufConsumer *consumer = att->consumer;

    consumer->counters.lost++;
    if (att->buffer->writer == att) {
        consumer->ops->lost(consumer, att->buffer, att->taken_serial);
        virtio_buf_detach(att);
        return;
    }
    att->lost = true;
    att->holding->lost++;
    if (att->holding->waiting) {
        pass_by(att->holding->waiting);
    }
    virtio_buf_give_back(att);
    /* It may answer inside */
    consumer->ops->lost(consumer, att->buffer, att->taken_serial);
}

static void expire(VirtIOBufAttachment *att)
{
    VirtIOBufConsumer *consumer = att->consumer;
    uint64_t handle = att->buffer->handle;

    trace_virtio_buf_held_too_long(consumer->id, handle, att->buffer->serial,
                                   att->taken);
    if (att->buffer->mode == VIRTIO_BUF_MODE_EVERY) {
        virtio_buf_detach(att);
        consumer->ops->overdue(consumer, handle);
    } else if (att->taken) {
        lose(att);
    } else {
        consumer->asleep = true;
        pass_by(att);
    }
}

static void hold_timeout(void *opaque)
{
    VirtIOBuf *s = opaque;
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL);
    VirtIOBufAttachment *att;

    while ((att = QTAILQ_FIRST(&s->timed)) && att->deadline <= now) {
        expire(att);
    }
    if (att) {
        timer_mod(s->hold_timer, att->deadline);
    }
}

void virtio_buf_hold_init(VirtIOBuf *s)
{
    QTAILQ_INIT(&s->timed);
    s->hold_timer = timer_new_ms(QEMU_CLOCK_VIRTUAL, hold_timeout, s);
}

void virtio_buf_hold_cleanup(VirtIOBuf *s)
{
    g_clear_pointer(&s->hold_timer, timer_free);
}
