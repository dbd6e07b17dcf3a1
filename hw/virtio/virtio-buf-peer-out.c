/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what is sent to one consumer
 *
 * It has two sources: a byte queue of control messages, which is bounded, and
 * what is pulled when that is empty: announcements of buffers, then what
 * virtio_buf_consumer_peek() has. So a program that does not read costs no
 * memory, and an update waits in the device, where a newer one can overtake it.
 *
 * Invariants: the fd of a memory is sent once, with the first byte of its
 * ATTACHED, and is never duplicated. virtio_buf_peer_queue() only queues: it
 * may be called from inside of the device. virtio_buf_peer_output() calls into
 * it.
 *
 * Main loop, BQL. A send never waits; what the peer does with it is its own.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "trace.h"
#include "virtio-buf-server.h"

#define MESSAGES_PER_WAKE_UP    64
#define OUT_MAX                 (1024 * 1024)
#define OUT_BATCH               65536   /* announcements queued at once */
#define SEND_AGAIN_MIN_MS       1
#define SEND_AGAIN_MAX_MS       128

void virtio_buf_peer_wake(VirtIOBufPeer *peer)
{
    if (!peer->want_write) {
        qemu_bh_schedule(peer->bh);
    }
}

int virtio_buf_peer_send_out(VirtIOBufPeer *peer)
{
    ssize_t n;

    while (peer->out_pos < peer->out->len) {
        struct iovec iov = {
            .iov_base = peer->out->data + peer->out_pos,
            .iov_len = peer->out->len - peer->out_pos,
        };

        n = virtio_buf_send(peer->fd, &iov, 1, -1);
        if (n < 0) {
            return n;
        }
        peer->out_pos += n;
    }
    g_byte_array_set_size(peer->out, 0);
    peer->out_pos = 0;
    return 0;
}

size_t virtio_buf_peer_backlog(const VirtIOBufPeer *peer)
{
    return peer->out->len - peer->out_pos;
}

/* Fills in the header at the start of @msg; @more follows the fixed part */
void virtio_buf_peer_queue(VirtIOBufPeer *peer, uint32_t type,
                                  void *msg, size_t size,
                                  const void *more, size_t more_size)
{
    struct virtio_buf_msg head = {
        .type = cpu_to_le32(type),
        .size = cpu_to_le32(size + more_size),
    };

    if (peer->state == VIRTIO_BUF_PEER_CLOSED) {
        return;
    }
    if (virtio_buf_peer_backlog(peer) + size + more_size > OUT_MAX) {
        virtio_buf_peer_close(peer, ENOBUFS, "It does not read its messages");
        return;
    }
    if (peer->out_pos > peer->out->len / 2) {
        g_byte_array_remove_range(peer->out, 0, peer->out_pos);
        peer->out_pos = 0;
    }
    memcpy(msg, &head, sizeof(head));
    g_byte_array_append(peer->out, msg, size);
    if (more_size) {
        g_byte_array_append(peer->out, more, more_size);
    }
    virtio_buf_peer_wake(peer);
}

void virtio_buf_peer_queue_hello(VirtIOBufPeer *peer)
{
    struct virtio_buf_msg_hello msg = {
        .magic = cpu_to_le32(VIRTIO_BUF_PROTOCOL_MAGIC),
        .major = cpu_to_le16(VIRTIO_BUF_PROTOCOL_MAJOR),
        .minor = cpu_to_le16(VIRTIO_BUF_PROTOCOL_MINOR),
    };

    virtio_buf_peer_queue(peer, VIRTIO_BUF_MSG_HELLO, &msg, sizeof(msg),
                          NULL, 0);
}

void virtio_buf_peer_queue_device(VirtIOBufPeer *peer, bool present)
{
    struct virtio_buf_msg_device msg = {
        .present = cpu_to_le32(present),
    };

    pstrcpy((char *)msg.instance, sizeof(msg.instance),
            virtio_buf_instance(peer->server->device));
    virtio_buf_peer_queue(peer, VIRTIO_BUF_MSG_DEVICE, &msg, sizeof(msg),
                          NULL, 0);
}

static void virtio_buf_peer_queue_subscribed(VirtIOBufPeer *peer)
{
    VirtIOBuf *s = peer->consumer.device;
    struct virtio_buf_msg_subscribed msg = {
        .consumer_id = cpu_to_le64(s ? peer->consumer.id : 0),
        .hold = cpu_to_le32(peer->consumer.hold),
        .hold_timeout_ms = cpu_to_le32(s ? virtio_buf_hold_timeout_ms(s) : 0),
        .release_timeout_ms =
            cpu_to_le32(s ? virtio_buf_release_timeout_ms(s) : 0),
        .credit = cpu_to_le32(peer->credit),
    };

    virtio_buf_peer_queue(peer, VIRTIO_BUF_MSG_SUBSCRIBED, &msg, sizeof(msg),
                          NULL, 0);
}

static void virtio_buf_peer_queue_buffer(VirtIOBufPeer *peer,
                                         VirtIOBufBuffer *buffer)
{
    uint32_t size;
    const uint8_t *records = virtio_buf_properties_list(buffer->properties,
                                                        &size);
    struct virtio_buf_msg_buffer msg = {
        .buffer = cpu_to_le64(buffer->handle),
        .guest_id = cpu_to_le64(buffer->id),
        .size = cpu_to_le64(buffer->size),
        .stream = cpu_to_le64(buffer->stream_id),
        .serial = cpu_to_le64(buffer->serial),
        .context = cpu_to_le32(buffer->context),
        .backing = virtio_buf_memory_backing(buffer->memory),
        .mode = buffer->mode,
        .access = buffer->access,
        .property_bytes = cpu_to_le32(size),
    };

    memcpy(msg.uuid, &buffer->uuid, sizeof(msg.uuid));
    pstrcpy((char *)msg.application, sizeof(msg.application),
            buffer->application);
    virtio_buf_peer_queue(peer, VIRTIO_BUF_MSG_BUFFER, &msg, sizeof(msg),
                          records, size);
}

void virtio_buf_peer_attach(VirtIOBufPeer *peer,
                                   VirtIOBufBuffer *buffer, uint32_t flags)
{
    struct virtio_buf_msg_refused msg = {
        .buffer = cpu_to_le64(buffer->handle),
    };
    int ret;

    if (virtio_buf_attachment_find(&peer->consumer, buffer->handle)) {
        return;
    }
    if (g_hash_table_size(peer->consumer.attachments) >=
        peer->server->max_attached) {
        ret = -ENOSPC;
    } else {
        ret = virtio_buf_attach(&peer->consumer, buffer, flags);
    }
    trace_virtio_buf_peer_attach(peer->number, buffer->handle, flags, ret);
    if (ret < 0 && ret != -EALREADY) {
        msg.error = cpu_to_le32(-ret);
        virtio_buf_peer_queue(peer, VIRTIO_BUF_MSG_REFUSED, &msg, sizeof(msg),
                              NULL, 0);
    }
}

/* Announces the first buffer that waits for it, and attaches what was asked */
static void virtio_buf_peer_announce_next(VirtIOBufPeer *peer)
{
    VirtIOBufPeerBuffer *known = QTAILQ_FIRST(&peer->unannounced);
    VirtIOBufBuffer *buffer = virtio_buf_buffer_find(&peer->consumer,
                                                     known->handle);
    void *flags;

    QTAILQ_REMOVE(&peer->unannounced, known, next);
    known->announced = true;
    if (!buffer) {
        return;
    }
    virtio_buf_peer_queue_buffer(peer, buffer);
    if (g_hash_table_lookup_extended(peer->streams, &known->stream, NULL,
                                     &flags)) {
        virtio_buf_peer_attach(peer, buffer, GPOINTER_TO_UINT(flags));
    } else if (g_hash_table_size(peer->consumer.attachments) < peer->credit) {
        virtio_buf_peer_attach(peer, buffer, 0);
    }
}

/* Returns false if there was nothing */
static bool virtio_buf_peer_announce(VirtIOBufPeer *peer)
{
    VirtIOBufPeerBuffer *known;
    bool any = false;

    while (virtio_buf_peer_backlog(peer) < OUT_BATCH &&
           (!any || virtio_buf_peer_may_work(peer))) {
        known = QTAILQ_FIRST(&peer->unannounced);
        if (peer->subscribed_due &&
            (!known || known->handle > peer->subscribed_after)) {
            peer->subscribed_due = false;
            virtio_buf_peer_queue_subscribed(peer);
        } else if (known) {
            virtio_buf_peer_announce_next(peer);
        } else {
            break;
        }
        any = true;
    }
    return any;
}

/*
 * There is no event for when an fd, or a message for which the kernel lacks
 * memory, can be sent, and the socket counts as writable meanwhile
 */
static void virtio_buf_peer_send_again(VirtIOBufPeer *peer, int error)
{
    virtio_buf_peer_watch_write(peer, false);
    if (peer->state == VIRTIO_BUF_PEER_SUBSCRIBED &&
        !timer_pending(peer->timer)) {
        peer->send_again_ms = MIN(MAX(peer->send_again_ms * 2,
                                      SEND_AGAIN_MIN_MS), SEND_AGAIN_MAX_MS);
        trace_virtio_buf_peer_send_again(peer->number, error,
                                         peer->send_again_ms);
        timer_mod(peer->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                               peer->send_again_ms);
    }
}

/* Sends what the device has ready: 1, 0 if it has nothing, or -errno */
static int virtio_buf_peer_send_ready(VirtIOBufPeer *peer)
{
    struct virtio_buf_msg_attached attached;
    struct virtio_buf_msg_update update;
    VirtIOBufReady ready;
    struct iovec iov[1 + ARRAY_SIZE(ready.frame)];
    struct virtio_buf_msg head;
    unsigned i, count = 1;
    size_t total, sent;
    uint64_t handle;
    ssize_t n;

    if (timer_pending(peer->timer) && !peer->consumer.fd_refused) {
        return 0;
    }
    /* Nothing else either: it has to read until nothing is left */
    if (virtio_buf_consumer_wants_fd(&peer->consumer) &&
        !virtio_buf_inflight_may_send(peer)) {
        return -ETOOMANYREFS;
    }
    if (!virtio_buf_consumer_peek(&peer->consumer, &ready)) {
        return 0;
    }
    handle = ready.buffer->handle;
    if (ready.kind == VIRTIO_BUF_READY_ATTACHED) {
        total = sizeof(attached);
        head.type = cpu_to_le32(VIRTIO_BUF_MSG_ATTACHED);
        head.size = cpu_to_le32(total);
        attached = (struct virtio_buf_msg_attached) {
            .msg = head,
            .buffer = cpu_to_le64(handle),
            .size = cpu_to_le64(
                virtio_buf_memory_export_size(ready.buffer->memory)),
            .backing = cpu_to_le32(
                virtio_buf_memory_backing(ready.buffer->memory)),
            .flags = cpu_to_le32(ready.flags),
        };
        iov[0].iov_base = &attached;
        iov[0].iov_len = total;
    } else {
        /* The frame, the last field, comes from the device */
        total = offsetof(struct virtio_buf_msg_update, frame);
        iov[0].iov_base = &update;
        iov[0].iov_len = total;
        for (i = 0; i < ready.frame_count; i++) {
            iov[count++] = ready.frame[i];
            total += ready.frame[i].iov_len;
        }
        head.type = cpu_to_le32(VIRTIO_BUF_MSG_UPDATE);
        head.size = cpu_to_le32(total);
        update.msg = head;
        update.buffer = cpu_to_le64(handle);
        update.time = cpu_to_le64(ready.buffer->time);
    }

    n = virtio_buf_send(peer->fd, iov, count, ready.kind ==
                        VIRTIO_BUF_READY_ATTACHED ? ready.fd : -1);
    if (n == -ETOOMANYREFS) {
        /* Of other processes, too: others have to read; the rest goes on */
        peer->consumer.fd_refused = true;
        virtio_buf_peer_send_again(peer, n);
        return 1;
    }
    if (n < 0) {
        return n;
    }
    /* What the socket did not take is copied: it is the device's */
    for (i = 0, sent = n; i < count; i++) {
        if (sent < iov[i].iov_len) {
            g_byte_array_append(peer->out, (uint8_t *)iov[i].iov_base + sent,
                                iov[i].iov_len - sent);
            sent = 0;
        } else {
            sent -= iov[i].iov_len;
        }
    }
    if (ready.kind == VIRTIO_BUF_READY_ATTACHED) {
        peer->unread_fds++;
        peer->send_again_ms = 0;
        trace_virtio_buf_peer_attached(peer->number, handle);
    } else {
        trace_virtio_buf_peer_update(peer->number, handle, ready.serial, total);
    }
    virtio_buf_consumer_taken(&peer->consumer);
    return 1;
}

void virtio_buf_peer_output(VirtIOBufPeer *peer)
{
    unsigned budget = MESSAGES_PER_WAKE_UP;
    int ret;

    while (peer->state != VIRTIO_BUF_PEER_CLOSED) {
        ret = virtio_buf_peer_send_out(peer);
        if (ret == 0 && peer->state == VIRTIO_BUF_PEER_SUBSCRIBED) {
            ret = virtio_buf_peer_announce(peer) ? 1 :
                  virtio_buf_peer_send_ready(peer);
        }
        switch (ret) {
        case 1:
            if (--budget == 0 || !virtio_buf_peer_may_work(peer)) {
                virtio_buf_peer_watch_write(peer, false);
                qemu_bh_schedule(peer->bh);
                return;
            }
            break;
        case 0:
            virtio_buf_peer_watch_write(peer, false);
            return;
        case -EAGAIN:
            virtio_buf_peer_watch_write(peer, true);
            return;
        case -ETOOMANYREFS:
        case -ENOBUFS:
        case -ENOMEM:
            virtio_buf_peer_send_again(peer, ret);
            return;
        default:
            virtio_buf_peer_close(peer, 0, NULL);
            return;
        }
    }
}
