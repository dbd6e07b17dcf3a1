/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what the consumers' server and one connected consumer share
 *
 * Everything runs in the main loop under the BQL.
 */
#ifndef HW_VIRTIO_BUF_SERVER_H
#define HW_VIRTIO_BUF_SERVER_H

#include <sys/socket.h>
#include "qemu/notify.h"
#include "qemu/queue.h"
#include "hw/virtio/virtio-buf.h"

typedef struct VirtIOBufPeer VirtIOBufPeer;

/* What this peer knows of a buffer */
typedef struct VirtIOBufPeerBuffer {
    uint64_t handle;
    uint64_t stream;
    bool announced;             /* else in VirtIOBufPeer.unannounced */
    QTAILQ_ENTRY(VirtIOBufPeerBuffer) next;
} VirtIOBufPeerBuffer;

/* How far a connection has come */
typedef enum VirtIOBufPeerState {
    VIRTIO_BUF_PEER_CONNECTED,      /* HELLO has to come */
    VIRTIO_BUF_PEER_GREETED,        /* SUBSCRIBE has to come */
    VIRTIO_BUF_PEER_SUBSCRIBED,
    VIRTIO_BUF_PEER_CLOSED,         /* to be freed from the bottom half */
} VirtIOBufPeerState;

/* A connected consumer; the fields are virtio-buf-peer*.c's */
struct VirtIOBufPeer {
    VirtIOBufConsumer consumer;
    VirtIOBufServer *server;
    uint64_t number;                /* for traces */
    pid_t pid;
    uid_t uid;
    gid_t gid;
    VirtIOBufPeerState state;
    int fd;
    bool want_write;                /* the socket's buffer is full */
    QEMUBH *bh;
    QEMUTimer *timer;               /* handshake; later: sending again */
    uint32_t send_again_ms;         /* for how long it waited the last time */
    uint32_t unread_fds;            /* see virtio_buf_inflight_may_send() */

    struct virtio_buf_reader reader;
    bool read_more;                 /* @reader may have a message left */
    int64_t work_until;             /* get_clock(); then others get the BQL */
    struct {
        uint64_t stream;            /* whose buffers it attaches; 0: none */
        uint64_t handle;            /* up to this one that is done */
        uint32_t flags;
    } attaching;                    /* nothing else is read before */
    /* Has to be written back later; nothing else is read before; or NULL */
    const struct virtio_buf_msg_written *unwritten;

    GByteArray *out;                /* control messages, and cut off rests */
    size_t out_pos;                 /* sent up to there */

    uint32_t credit;
    bool subscribed_due;            /* SUBSCRIBED was not sent yet, */
    uint64_t subscribed_after;      /* it follows the BUFFER of this handle */
    GHashTable *streams;            /* set of uint64_t: attach all of them */
    GHashTable *buffers;            /* uint64_t handle -> VirtIOBufPeerBuffer */
    QTAILQ_HEAD(, VirtIOBufPeerBuffer) unannounced;

    QLIST_ENTRY(VirtIOBufPeer) next;
};

struct VirtIOBufServer {
    Object parent_obj;

    /* Constant once the object is complete */
    char *path;
    char *fd_name;
    GHashTable *applications;       /* set of char *, allowed; NULL: all */
    GHashTable *uids;               /* set of uid_t, allowed; NULL: all */
    uint32_t max_consumers;
    uint32_t max_attached;          /* of one consumer */
    uint32_t hold;                  /* updates of one LATEST stream */
    uint32_t handshake_timeout_ms;

    int listener;                   /* fd, or -1 */
    bool bound;                     /* @path is our socket's, @bound_* its */
    dev_t bound_dev;
    ino_t bound_ino;
    Notifier exit;                  /* registered while @listener is open */
    QEMUTimer *accept_again;        /* after accept() lacked a resource */

    VirtIOBuf *device;              /* NULL: none is linked */
    QLIST_HEAD(, VirtIOBufPeer) peers;
    uint32_t peer_count;            /* those that are not CLOSED */
    uint64_t peers_ever;

    QLIST_HEAD(, VirtIOBufDraining) draining;
    uint32_t draining_count;
    QEMUTimer *drain;

    int64_t warned_ms;              /* when the log got its last line */
    uint64_t warnings_hidden;       /* since then */
};

/* Its id, for people and for the management */
const char *virtio_buf_server_id(VirtIOBufServer *server);

/* One line in the log, at most one per second; the others are counted */
void virtio_buf_server_warn(VirtIOBufServer *server, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/*
 * Options: hw/virtio/virtio-buf-server-options.c
 */

void virtio_buf_server_add_options(ObjectClass *oc);
void virtio_buf_server_init_options(VirtIOBufServer *server);
void virtio_buf_server_free_options(VirtIOBufServer *server);
bool virtio_buf_server_allows_uid(const VirtIOBufServer *server, uid_t uid);
/* @name is NUL-terminated */
bool virtio_buf_server_allows_application(const VirtIOBufServer *server,
                                          const char *name);

/*
 * Descriptors that were sent and not read: hw/virtio/virtio-buf-inflight.c
 */

void virtio_buf_inflight_init(VirtIOBufServer *server);
void virtio_buf_inflight_cleanup(VirtIOBufServer *server);

/*
 * Whether @peer may be sent one more descriptor now. The caller counts those
 * it sends in @peer->unread_fds, which is set to 0 when all have been read.
 */
bool virtio_buf_inflight_may_send(VirtIOBufPeer *peer);

/* Ends the connection, now or when what was sent has been read */
void virtio_buf_inflight_close(VirtIOBufPeer *peer);

/* Closes the ended connections in which nothing is unread any more */
void virtio_buf_inflight_poll(VirtIOBufServer *server);

/**
 * virtio_buf_peer_new: somebody has connected
 * @fd: non-blocking socket, the peer's from now on
 * @cred: who it is
 *
 * The peer joins @server->peers, and leaves it by itself when the connection
 * ends.
 */
void virtio_buf_peer_new(VirtIOBufServer *server, int fd,
                         const struct ucred *cred);

/* Not from inside of a VirtIOBufConsumerOps function */
void virtio_buf_peer_free(VirtIOBufPeer *peer);

/* Why a connection gets no peer; best effort, @fd stays the caller's */
void virtio_buf_peer_turn_away(int fd, uint32_t error, const char *text);

/* The device has come, or the peer has subscribed: it becomes its consumer */
void virtio_buf_peer_link(VirtIOBufPeer *peer);

/* @server->device goes: the peer is no longer its consumer */
void virtio_buf_peer_unlink(VirtIOBufPeer *peer);

/*
 * Between virtio-buf-peer.c, -in.c and -out.c
 */

/*
 * The connection ends: soon, since callers may be inside of the device. @text
 * is what the ERROR message and the log say; NULL when the peer just went.
 */
void virtio_buf_peer_close(VirtIOBufPeer *peer, uint32_t error,
                           const char *text);

/* Watches the socket for what @peer waits for */
void virtio_buf_peer_watch(VirtIOBufPeer *peer);

/* Whether to be called when the socket can be written to */
void virtio_buf_peer_watch_write(VirtIOBufPeer *peer, bool on);

/* Reads, and does what the peer says */
void virtio_buf_peer_input(VirtIOBufPeer *peer);

/*
 * What a wake-up is worth before others get the BQL; at least one thing is done
 * in each
 */
void virtio_buf_peer_begin_work(VirtIOBufPeer *peer);
bool virtio_buf_peer_may_work(const VirtIOBufPeer *peer);

/* There is something to send: soon */
void virtio_buf_peer_wake(VirtIOBufPeer *peer);

/*
 * Queues a message: a fixed part, whose header is filled in here, and what
 * follows it. A peer with too long a queue is closed.
 */
void virtio_buf_peer_queue(VirtIOBufPeer *peer, uint32_t type,
                           void *msg, size_t size,
                           const void *more, size_t more_size);
void virtio_buf_peer_queue_hello(VirtIOBufPeer *peer);
void virtio_buf_peer_queue_device(VirtIOBufPeer *peer, bool present);

/* Bytes that are queued and not sent */
size_t virtio_buf_peer_backlog(const VirtIOBufPeer *peer);

/* Sends queued bytes; 0 when all are out, -EAGAIN, or -errno */
int virtio_buf_peer_send_out(VirtIOBufPeer *peer);

/* Sends queued bytes, announcements and what the device has ready */
void virtio_buf_peer_output(VirtIOBufPeer *peer);

/* Attaches, or queues REFUSED; nothing if it is attached */
void virtio_buf_peer_attach(VirtIOBufPeer *peer, VirtIOBufBuffer *buffer,
                            uint32_t flags);

#endif /* HW_VIRTIO_BUF_SERVER_H */
