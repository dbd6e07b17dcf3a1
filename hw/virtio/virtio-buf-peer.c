/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: one program of the host that consumes buffers over a socket
 *
 * A peer owns its socket and is a VirtIOBufConsumer while the server has a
 * device. This file is its life, and what the device says; what it says is
 * virtio-buf-peer-in.c, what it is sent virtio-buf-peer-out.c.
 *
 * Invariants: the functions of VirtIOBufConsumerOps only queue; whatever calls
 * into the device runs from the socket's handlers or the bottom half, which is
 * also the only place where a peer is freed, but for its server's end.
 *
 * Main loop, BQL. A peer's fault ends its connection, with one line in the log,
 * and touches nothing else.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qapi/qapi-events-virtio-buf.h"
#include "trace.h"
#include "virtio-buf-server.h"

/* For what it says and what it is sent together, but for the last thing */
#define NS_PER_WAKE_UP (2 * SCALE_MS)

static void virtio_buf_peer_readable(void *opaque);
static void virtio_buf_peer_writable(void *opaque);

void virtio_buf_peer_watch(VirtIOBufPeer *peer)
{
    qemu_set_fd_handler(peer->fd,
                        peer->unwritten ? NULL : virtio_buf_peer_readable,
                        peer->want_write ? virtio_buf_peer_writable : NULL,
                        peer);
}

void virtio_buf_peer_begin_work(VirtIOBufPeer *peer)
{
    peer->work_until = get_clock() + NS_PER_WAKE_UP;
}

bool virtio_buf_peer_may_work(const VirtIOBufPeer *peer)
{
    return get_clock() < peer->work_until;
}

void virtio_buf_peer_watch_write(VirtIOBufPeer *peer, bool on)
{
    if (peer->want_write != on) {
        peer->want_write = on;
        virtio_buf_peer_watch(peer);
    }
}

void virtio_buf_peer_close(VirtIOBufPeer *peer, uint32_t error,
                           const char *text)
{
    if (peer->state == VIRTIO_BUF_PEER_CLOSED) {
        return;
    }
    trace_virtio_buf_peer_close(peer->number, error, text ?: "hung up");
    if (text) {
        struct virtio_buf_msg_error msg = {
            .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_ERROR),
            .msg.size = cpu_to_le32(sizeof(msg)),
            .error = cpu_to_le32(error),
        };

        pstrcpy((char *)msg.text, sizeof(msg.text), text);
        g_byte_array_append(peer->out, (uint8_t *)&msg, sizeof(msg));
        virtio_buf_peer_send_out(peer);
        virtio_buf_server_warn(peer->server, "consumer (pid %d, uid %u, gid %u)"
                               " disconnected: %s", (int)peer->pid,
                               (unsigned)peer->uid, (unsigned)peer->gid, text);
    }
    qapi_event_send_virtio_buf_consumer_disconnected(
        virtio_buf_server_id(peer->server), peer->number, peer->pid, peer->uid,
        text);
    peer->state = VIRTIO_BUF_PEER_CLOSED;
    peer->want_write = false;
    peer->unwritten = NULL;
    timer_del(peer->timer);
    virtio_buf_inflight_close(peer);
    qemu_bh_schedule(peer->bh);
}

static VirtIOBufPeer *virtio_buf_peer_of(VirtIOBufConsumer *consumer)
{
    return container_of(consumer, VirtIOBufPeer, consumer);
}

static void virtio_buf_peer_buffer(VirtIOBufConsumer *consumer,
                                   VirtIOBufBuffer *buffer)
{
    VirtIOBufPeer *peer = virtio_buf_peer_of(consumer);
    VirtIOBufPeerBuffer *known = g_new0(VirtIOBufPeerBuffer, 1);

    known->handle = buffer->handle;
    known->stream = buffer->stream_id;
    g_hash_table_insert(peer->buffers, &known->handle, known);
    QTAILQ_INSERT_TAIL(&peer->unannounced, known, next);
    virtio_buf_peer_wake(peer);
}

static void virtio_buf_peer_properties(VirtIOBufConsumer *consumer,
                                       VirtIOBufBuffer *buffer,
                                       const uint8_t *records, uint32_t size)
{
    VirtIOBufPeer *peer = virtio_buf_peer_of(consumer);
    VirtIOBufPeerBuffer *known = g_hash_table_lookup(peer->buffers,
                                                     &buffer->handle);
    struct virtio_buf_msg_properties msg = {
        .buffer = cpu_to_le64(buffer->handle),
        .property_bytes = cpu_to_le32(size),
    };

    /* The announcement has them all */
    if (known && known->announced) {
        virtio_buf_peer_queue(peer, VIRTIO_BUF_MSG_PROPERTIES, &msg,
                              sizeof(msg), records, size);
    }
}

static void virtio_buf_peer_ready(VirtIOBufConsumer *consumer)
{
    virtio_buf_peer_wake(virtio_buf_peer_of(consumer));
}

static void virtio_buf_peer_forget(VirtIOBufPeer *peer,
                                   VirtIOBufPeerBuffer *known)
{
    if (!known->announced) {
        QTAILQ_REMOVE(&peer->unannounced, known, next);
    }
    g_hash_table_remove(peer->buffers, &known->handle);
}

static void virtio_buf_peer_remove(VirtIOBufConsumer *consumer,
                                   VirtIOBufBuffer *buffer,
                                   VirtIOBufAttachment *attachment)
{
    VirtIOBufPeer *peer = virtio_buf_peer_of(consumer);
    VirtIOBufPeerBuffer *known = g_hash_table_lookup(peer->buffers,
                                                     &buffer->handle);
    struct virtio_buf_msg_remove msg = {
        .buffer = cpu_to_le64(buffer->handle),
    };

    if (!known) {
        return;
    }
    if (known->announced) {
        virtio_buf_peer_queue(peer, VIRTIO_BUF_MSG_REMOVE, &msg, sizeof(msg),
                              NULL, 0);
    }
    virtio_buf_peer_forget(peer, known);
}

static void virtio_buf_peer_forget_all(VirtIOBufPeer *peer)
{
    QTAILQ_INIT(&peer->unannounced);
    g_hash_table_remove_all(peer->buffers);
    g_hash_table_remove_all(peer->streams);
    peer->attaching.stream = 0;
}

static void virtio_buf_peer_reset(VirtIOBufConsumer *consumer, uint32_t reason)
{
    VirtIOBufPeer *peer = virtio_buf_peer_of(consumer);
    struct virtio_buf_msg_reset msg = {
        .reason = cpu_to_le32(reason),
    };

    virtio_buf_peer_forget_all(peer);
    virtio_buf_peer_queue(peer, VIRTIO_BUF_MSG_RESET, &msg, sizeof(msg),
                          NULL, 0);
}

static void virtio_buf_peer_overdue(VirtIOBufConsumer *consumer,
                                    uint64_t handle)
{
    virtio_buf_peer_close(virtio_buf_peer_of(consumer), ETIMEDOUT,
                          "REMOVE was not answered, or an update not released,"
                          " in time");
}

static void virtio_buf_peer_lost(VirtIOBufConsumer *consumer,
                                 VirtIOBufBuffer *buffer, uint64_t serial)
{
    struct virtio_buf_msg_release msg = {
        .buffer = cpu_to_le64(buffer->handle),
        .serial = cpu_to_le64(serial),
    };

    virtio_buf_peer_queue(virtio_buf_peer_of(consumer), VIRTIO_BUF_MSG_LOST,
                          &msg, sizeof(msg), NULL, 0);
}

static void virtio_buf_peer_writable_again(VirtIOBufConsumer *consumer)
{
    qemu_bh_schedule(virtio_buf_peer_of(consumer)->bh);
}

static void virtio_buf_peer_describe(VirtIOBufConsumer *consumer,
                                     VirtioBufConsumerInfo *info)
{
    VirtIOBufPeer *peer = virtio_buf_peer_of(consumer);
    VirtioBufConsumerSocket *socket = &info->u.socket;

    info->kind = VIRTIO_BUF_CONSUMER_KIND_SOCKET;
    socket->server = g_strdup(virtio_buf_server_id(peer->server));
    socket->connection = peer->number;
    socket->pid = peer->pid;
    socket->uid = peer->uid;
    socket->gid = peer->gid;
    socket->queued_bytes = virtio_buf_peer_backlog(peer);
    socket->unread_fds = peer->unread_fds;
}

static const VirtIOBufConsumerOps virtio_buf_peer_ops = {
    .needs_fd = true,
    .buffer = virtio_buf_peer_buffer,
    .properties = virtio_buf_peer_properties,
    .ready = virtio_buf_peer_ready,
    .remove = virtio_buf_peer_remove,
    .reset = virtio_buf_peer_reset,
    .overdue = virtio_buf_peer_overdue,
    .lost = virtio_buf_peer_lost,
    .writable = virtio_buf_peer_writable_again,
    .describe = virtio_buf_peer_describe,
};

static void virtio_buf_peer_readable(void *opaque)
{
    VirtIOBufPeer *peer = opaque;

    virtio_buf_peer_begin_work(peer);
    virtio_buf_peer_input(peer);
    virtio_buf_peer_output(peer);
}

static void virtio_buf_peer_writable(void *opaque)
{
    VirtIOBufPeer *peer = opaque;

    virtio_buf_peer_begin_work(peer);
    if (peer->unwritten) {
        virtio_buf_peer_input(peer);
    }
    virtio_buf_peer_output(peer);
}

static void virtio_buf_peer_bh(void *opaque)
{
    VirtIOBufPeer *peer = opaque;

    if (peer->state == VIRTIO_BUF_PEER_CLOSED) {
        virtio_buf_peer_free(peer);
        return;
    }
    virtio_buf_peer_begin_work(peer);
    if (peer->read_more || peer->unwritten) {
        virtio_buf_peer_input(peer);
    }
    virtio_buf_peer_output(peer);
}

static void virtio_buf_peer_timeout(void *opaque)
{
    VirtIOBufPeer *peer = opaque;

    if (peer->state == VIRTIO_BUF_PEER_SUBSCRIBED) {
        peer->consumer.fd_refused = false;
        virtio_buf_peer_begin_work(peer);
        virtio_buf_peer_output(peer);
    } else {
        virtio_buf_peer_close(peer, ETIMEDOUT, "HELLO and SUBSCRIBE did not"
                              " come within the handshake-timeout");
    }
}

void virtio_buf_peer_link(VirtIOBufPeer *peer)
{
    if (peer->state == VIRTIO_BUF_PEER_SUBSCRIBED && peer->server->device) {
        virtio_buf_peer_queue_device(peer, true);
        virtio_buf_consumer_add(peer->server->device, &peer->consumer);
    }
}

void virtio_buf_peer_unlink(VirtIOBufPeer *peer)
{
    virtio_buf_consumer_remove(&peer->consumer);
    virtio_buf_peer_forget_all(peer);
    if (peer->state == VIRTIO_BUF_PEER_SUBSCRIBED) {
        virtio_buf_peer_queue_device(peer, false);
    }
}

void virtio_buf_peer_new(VirtIOBufServer *server, int fd,
                         const struct ucred *cred)
{
    VirtIOBufPeer *peer = g_new0(VirtIOBufPeer, 1);

    peer->server = server;
    peer->number = ++server->peers_ever;
    peer->pid = cred->pid;
    peer->uid = cred->uid;
    peer->gid = cred->gid;
    peer->fd = fd;
    peer->consumer.ops = &virtio_buf_peer_ops;
    peer->consumer.applications = g_hash_table_new_full(g_str_hash,
                                                        g_str_equal, g_free,
                                                        NULL);
    /* No guard: this is no device that a guest can make call itself */
    peer->bh = qemu_bh_new_guarded(virtio_buf_peer_bh, peer, NULL);
    peer->timer = timer_new_ms(QEMU_CLOCK_REALTIME, virtio_buf_peer_timeout,
                               peer);
    virtio_buf_reader_init(&peer->reader, g_malloc(VIRTIO_BUF_MSG_MAX));
    peer->out = g_byte_array_new();
    peer->streams = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                          NULL);
    peer->buffers = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                          g_free);
    QTAILQ_INIT(&peer->unannounced);
    QLIST_INSERT_HEAD(&server->peers, peer, next);
    server->peer_count++;
    trace_virtio_buf_peer_new(peer->number, cred->pid, cred->uid, cred->gid);
    qapi_event_send_virtio_buf_consumer_connected(
        virtio_buf_server_id(server), peer->number, peer->pid, peer->uid,
        peer->gid);

    qemu_set_fd_handler(fd, virtio_buf_peer_readable, NULL, peer);
    timer_mod(peer->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
              server->handshake_timeout_ms);
    virtio_buf_peer_queue_hello(peer);
}

void virtio_buf_peer_free(VirtIOBufPeer *peer)
{
    if (peer->state != VIRTIO_BUF_PEER_CLOSED) {
        virtio_buf_inflight_close(peer);
    }
    QLIST_REMOVE(peer, next);
    virtio_buf_consumer_remove(&peer->consumer);
    g_hash_table_unref(peer->consumer.applications);
    g_free(peer->consumer.properties);
    qemu_bh_delete(peer->bh);
    timer_free(peer->timer);
    virtio_buf_reader_clear(&peer->reader);
    g_free(peer->reader.buf);
    g_byte_array_unref(peer->out);
    g_hash_table_unref(peer->streams);
    g_hash_table_unref(peer->buffers);
    g_free(peer);
}

void virtio_buf_peer_turn_away(int fd, uint32_t error, const char *text)
{
    struct {
        struct virtio_buf_msg_hello hello;
        struct virtio_buf_msg_error error;
    } msg = {
        .hello = {
            .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_HELLO),
            .msg.size = cpu_to_le32(sizeof(msg.hello)),
            .magic = cpu_to_le32(VIRTIO_BUF_PROTOCOL_MAGIC),
            .major = cpu_to_le16(VIRTIO_BUF_PROTOCOL_MAJOR),
            .minor = cpu_to_le16(VIRTIO_BUF_PROTOCOL_MINOR),
        },
        .error = {
            .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_ERROR),
            .msg.size = cpu_to_le32(sizeof(msg.error)),
            .error = cpu_to_le32(error),
        },
    };
    struct iovec iov = { .iov_base = &msg, .iov_len = sizeof(msg) };

    pstrcpy((char *)msg.error.text, sizeof(msg.error.text), text);
    virtio_buf_send(fd, &iov, 1, -1);
}
