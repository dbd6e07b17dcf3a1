/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: descriptors that were sent to consumers and not read yet
 *
 * The kernel counts the descriptors that are in flight in sockets, for all
 * processes of a user together, and refuses more than RLIMIT_NOFILE of them
 * (ETOOMANYREFS). A program that does not read could so stop other consumers,
 * and the virtual machines of the same user. Therefore each connection has a
 * share of the limit, and what it has not read stays its own when it ends: such
 * a connection keeps its place among max-consumers until it is read or closed
 * at the other end.
 *
 * Invariants: at most max_consumers connections, ended ones included, have at
 * most their share of unread descriptors each; together a part of
 * RLIMIT_NOFILE. A peer's count is never below what is unread: it falls only to
 * 0, when the kernel says that the other end has read, or thrown away, all that
 * was sent.
 *
 * Main loop, BQL. Nothing here depends on what a consumer says.
 */
#include "qemu/osdep.h"
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include "qemu/main-loop.h"
#include "trace.h"
#include "virtio-buf-server.h"

#define LIMIT_PART      4       /* of RLIMIT_NOFILE, for one server */
#define SHARE_MAX       16
#define DRAIN_POLL_MS   100

/* A connection that has ended; nothing is sent or received */
typedef struct VirtIOBufDraining {
    int fd;
    QLIST_ENTRY(VirtIOBufDraining) next;
} VirtIOBufDraining;

/* The limit can be changed from outside at any time */
static uint32_t virtio_buf_inflight_share(const VirtIOBufServer *server)
{
    struct rlimit limit;
    rlim_t share = 0;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        share = limit.rlim_cur / LIMIT_PART / server->max_consumers;
    }
    return MAX(MIN(share, SHARE_MAX), 1);
}

static bool virtio_buf_inflight_all_read(int fd)
{
    int unread;

    return ioctl(fd, SIOCOUTQ, &unread) == 0 && unread == 0;
}

bool virtio_buf_inflight_may_send(VirtIOBufPeer *peer)
{
    uint32_t share = virtio_buf_inflight_share(peer->server);

    if (peer->unread_fds < share) {
        return true;
    }
    if (virtio_buf_inflight_all_read(peer->fd)) {
        peer->unread_fds = 0;
        return true;
    }
    trace_virtio_buf_inflight_full(peer->number, peer->unread_fds, share);
    return false;
}

static void virtio_buf_inflight_drain_later(VirtIOBufServer *server)
{
    timer_mod(server->drain, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                             DRAIN_POLL_MS);
}

void virtio_buf_inflight_close(VirtIOBufPeer *peer)
{
    VirtIOBufServer *server = peer->server;
    VirtIOBufDraining *draining;

    qemu_set_fd_handler(peer->fd, NULL, NULL, NULL);
    if (!peer->unread_fds || virtio_buf_inflight_all_read(peer->fd)) {
        close(peer->fd);
    } else {
        shutdown(peer->fd, SHUT_RDWR);
        draining = g_new0(VirtIOBufDraining, 1);
        draining->fd = peer->fd;
        QLIST_INSERT_HEAD(&server->draining, draining, next);
        server->draining_count++;
        trace_virtio_buf_inflight_draining(peer->number,
                                           server->draining_count);
        virtio_buf_inflight_drain_later(server);
    }
    peer->fd = -1;
    server->peer_count--;
}

static void virtio_buf_inflight_end(VirtIOBufServer *server,
                                    VirtIOBufDraining *draining)
{
    QLIST_REMOVE(draining, next);
    server->draining_count--;
    close(draining->fd);
    g_free(draining);
}

void virtio_buf_inflight_poll(VirtIOBufServer *server)
{
    VirtIOBufDraining *draining, *next;

    QLIST_FOREACH_SAFE(draining, &server->draining, next, next) {
        if (virtio_buf_inflight_all_read(draining->fd)) {
            virtio_buf_inflight_end(server, draining);
        }
    }
}

static void virtio_buf_inflight_timer(void *opaque)
{
    VirtIOBufServer *server = opaque;

    virtio_buf_inflight_poll(server);
    if (server->draining_count) {
        virtio_buf_inflight_drain_later(server);
    }
}

void virtio_buf_inflight_init(VirtIOBufServer *server)
{
    QLIST_INIT(&server->draining);
    server->drain = timer_new_ms(QEMU_CLOCK_REALTIME,
                                 virtio_buf_inflight_timer, server);
}

void virtio_buf_inflight_cleanup(VirtIOBufServer *server)
{
    VirtIOBufDraining *draining, *next;

    QLIST_FOREACH_SAFE(draining, &server->draining, next, next) {
        virtio_buf_inflight_end(server, draining);
    }
    timer_free(server->drain);
}
