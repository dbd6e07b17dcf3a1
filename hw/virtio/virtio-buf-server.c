/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the socket where programs of the host consume buffers
 *
 * -object virtio-buf-server owns a listening unix socket, its limits
 * (virtio-buf-server-options.c) and the connected consumers
 * (virtio-buf-peer.c); a device links to it. The link is the device's:
 * consumers stay connected while devices come and go.
 *
 * Invariants: the listening fd is open and watched from complete() until the
 * object or QEMU ends, except while accept() lacks a resource; a socket file
 * that is not ours is never removed, and ours is, if it still is ours.
 *
 * Main loop, BQL. Whoever can open the socket, and has one of the allowed uids,
 * is a consumer; what consumers send is hostile.
 */
#include "qemu/osdep.h"
#include <sys/un.h>
#include "qemu/ctype.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/sockets.h"
#include "qapi/error.h"
#include "qom/object_interfaces.h"
#include "monitor/monitor.h"
#include "system/system.h"
#include "trace.h"
#include "virtio-buf-server.h"

#define LISTEN_BACKLOG      16
#define ACCEPT_AGAIN_MS     1000
#define WARN_INTERVAL_MS    1000

static void virtio_buf_server_accept(void *opaque);

const char *virtio_buf_server_id(VirtIOBufServer *server)
{
    return object_get_canonical_path_component(OBJECT(server)) ?: "?";
}

void virtio_buf_server_warn(VirtIOBufServer *server, const char *fmt, ...)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    g_autofree char *text = NULL;
    va_list args;

    if (server->warned_ms && now - server->warned_ms < WARN_INTERVAL_MS) {
        server->warnings_hidden++;
        return;
    }
    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    if (server->warnings_hidden) {
        warn_report("virtio-buf-server '%s': %s (%" PRIu64 " more before)",
                    virtio_buf_server_id(server), text,
                    server->warnings_hidden);
    } else {
        warn_report("virtio-buf-server '%s': %s",
                    virtio_buf_server_id(server), text);
    }
    server->warned_ms = now;
    server->warnings_hidden = 0;
}

static void virtio_buf_server_watch(VirtIOBufServer *server, bool on)
{
    qemu_set_fd_handler(server->listener,
                        on ? virtio_buf_server_accept : NULL, NULL, server);
}

static void virtio_buf_server_accept_again(void *opaque)
{
    virtio_buf_server_watch(opaque, true);
}

/* Nothing that it sends is read */
static void virtio_buf_server_turn_away(VirtIOBufServer *server, int fd,
                                        const struct ucred *cred,
                                        uint32_t error, const char *why)
{
    virtio_buf_server_warn(server, "consumer (pid %d, uid %u, gid %u) turned"
                           " away: %s", (int)cred->pid, (unsigned)cred->uid,
                           (unsigned)cred->gid, why);
    virtio_buf_peer_turn_away(fd, error, why);
    close(fd);
}

/* A connection takes its place until it has no unread descriptor */
static bool virtio_buf_server_has_room(VirtIOBufServer *server)
{
    virtio_buf_inflight_poll(server);
    return server->peer_count + server->draining_count < server->max_consumers;
}

static void virtio_buf_server_accept(void *opaque)
{
    VirtIOBufServer *server = opaque;
    struct ucred cred = { .pid = 0, .uid = -1, .gid = -1 };
    socklen_t cred_len = sizeof(cred);
    int fd;

    fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) {
            return;
        }
        /*
         * The connection stays in the backlog, and so the socket readable:
         * without the pause this would be a busy loop.
         */
        virtio_buf_server_warn(server, "cannot accept a consumer: %s",
                               strerror(errno));
        virtio_buf_server_watch(server, false);
        timer_mod(server->accept_again,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ACCEPT_AGAIN_MS);
        return;
    }
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len);
    trace_virtio_buf_server_accept(server, fd, cred.pid, cred.uid, cred.gid);

    if (!virtio_buf_server_allows_uid(server, cred.uid)) {
        virtio_buf_server_turn_away(server, fd, &cred, EACCES,
                                    "This user is not one of the server's"
                                    " uids");
    } else if (!virtio_buf_server_has_room(server)) {
        virtio_buf_server_turn_away(server, fd, &cred, EUSERS,
                                    "The server has its max-consumers already");
    } else {
        virtio_buf_peer_new(server, fd, &cred);
    }
}

/*
 * Removes the socket file of a server that is gone. Anything else at @path
 * stays, and is an error.
 */
static bool virtio_buf_server_clear_path(const char *path,
                                         const struct sockaddr_un *addr,
                                         Error **errp)
{
    struct stat st;
    int fd, err;

    if (lstat(path, &st) < 0) {
        if (errno == ENOENT) {
            return true;
        }
        error_setg_errno(errp, errno, "cannot use path '%s'", path);
        return false;
    }
    if (!S_ISSOCK(st.st_mode)) {
        error_setg(errp, "'%s' exists and is not a socket: it is left alone,"
                   " choose another path", path);
        return false;
    }

    fd = qemu_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot create a socket");
        return false;
    }
    err = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ?
          errno : 0;
    close(fd);
    if (err == ENOENT) {
        return true;
    }
    if (!err || err == EAGAIN) {
        error_setg(errp, "a server is listening on '%s' already: stop it, or"
                   " choose another path", path);
        return false;
    }
    if (err != ECONNREFUSED) {
        error_setg_errno(errp, err, "cannot tell whether the socket '%s' is in"
                         " use", path);
        return false;
    }
    if (unlink(path) < 0 && errno != ENOENT) {
        error_setg_errno(errp, errno, "cannot remove the unused socket '%s'",
                         path);
        return false;
    }
    return true;
}

static int virtio_buf_server_bind(VirtIOBufServer *server, Error **errp)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    g_autofree char *dir = NULL;
    struct stat st;
    int fd;

    if (!server->path[0]) {
        error_setg(errp, "'path' is empty");
        return -1;
    }
    if (strlen(server->path) >= sizeof(addr.sun_path)) {
        error_setg(errp, "path '%s' is too long for a unix socket: %zu bytes"
                   " are possible", server->path, sizeof(addr.sun_path) - 1);
        return -1;
    }
    strcpy(addr.sun_path, server->path);
    dir = g_path_get_dirname(server->path);
    if (!g_file_test(dir, G_FILE_TEST_IS_DIR)) {
        error_setg(errp, "cannot create the socket '%s': there is no directory"
                   " '%s'", server->path, dir);
        return -1;
    }
    if (!virtio_buf_server_clear_path(server->path, &addr, errp)) {
        return -1;
    }

    fd = qemu_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot create a socket");
        return -1;
    }
    /*
     * The file gets the mode that the socket has when it is bound. So it is
     * never open to others, and the umask, which all threads share, stays.
     */
    if (fchmod(fd, 0600) < 0 ||
        bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        error_setg_errno(errp, errno, "cannot create the socket '%s'",
                         server->path);
        close(fd);
        return -1;
    }
    if (lstat(server->path, &st) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
        error_setg_errno(errp, errno, "cannot listen on '%s'", server->path);
        unlink(server->path);
        close(fd);
        return -1;
    }
    server->bound = true;
    server->bound_dev = st.st_dev;
    server->bound_ino = st.st_ino;
    return fd;
}

static bool virtio_buf_server_socket_option(int fd, int option, int wanted)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 &&
           value == wanted;
}

/* Takes over a socket that somebody else has bound, and will unlink */
static int virtio_buf_server_inherit(VirtIOBufServer *server, Error **errp)
{
    int fd = monitor_fd_param(monitor_cur(), server->fd_name, errp);
    int flags;

    if (fd < 0) {
        return -1;
    }
    flags = fcntl(fd, F_GETFD);
    if (flags < 0 ||
        (qemu_isdigit(server->fd_name[0]) && (flags & FD_CLOEXEC))) {
        /* One of our own is none that was inherited: not to be touched */
        error_setg(errp, "fd %s was not inherited: let the program that starts"
                   " QEMU leave it open", server->fd_name);
        return -1;
    }
    if (!virtio_buf_server_socket_option(fd, SO_DOMAIN, AF_UNIX) ||
        !virtio_buf_server_socket_option(fd, SO_TYPE, SOCK_STREAM) ||
        !virtio_buf_server_socket_option(fd, SO_ACCEPTCONN, 1)) {
        error_setg(errp, "fd '%s' is not a listening unix stream socket",
                   server->fd_name);
        if (!qemu_isdigit(server->fd_name[0])) {
            close(fd);
        }
        return -1;
    }
    qemu_set_cloexec(fd);
    if (!g_unix_set_fd_nonblocking(fd, true, NULL)) {
        error_setg_errno(errp, errno, "cannot make fd '%s' non-blocking",
                         server->fd_name);
        close(fd);
        return -1;
    }
    return fd;
}

static void virtio_buf_server_close(VirtIOBufServer *server)
{
    struct stat st;

    if (server->listener < 0) {
        return;
    }
    timer_del(server->accept_again);
    virtio_buf_server_watch(server, false);
    /* Another server may have its socket there by now */
    if (server->bound && lstat(server->path, &st) == 0 &&
        st.st_dev == server->bound_dev && st.st_ino == server->bound_ino) {
        unlink(server->path);
    }
    server->bound = false;
    close(server->listener);
    server->listener = -1;
    qemu_remove_exit_notifier(&server->exit);
}

/*
 * QEMU ends, perhaps since a device of the command line is wrong: devices keep
 * their references then, and objects are not finalized
 */
static void virtio_buf_server_exit(Notifier *notifier, void *data)
{
    virtio_buf_server_close(container_of(notifier, VirtIOBufServer, exit));
}

bool virtio_buf_server_link(VirtIOBufServer *server, VirtIOBuf *s,
                            Error **errp)
{
    VirtIOBufPeer *peer;

    if (server->device) {
        error_setg(errp, "virtio-buf-server '%s' serves another device already:"
                   " each device needs a server of its own",
                   virtio_buf_server_id(server));
        return false;
    }
    server->device = s;
    QLIST_FOREACH(peer, &server->peers, next) {
        virtio_buf_peer_link(peer);
    }
    return true;
}

void virtio_buf_server_unlink(VirtIOBufServer *server, VirtIOBuf *s)
{
    VirtIOBufPeer *peer;

    if (server->device != s) {
        return;
    }
    QLIST_FOREACH(peer, &server->peers, next) {
        virtio_buf_peer_unlink(peer);
    }
    server->device = NULL;
}

static void virtio_buf_server_complete(UserCreatable *uc, Error **errp)
{
    VirtIOBufServer *server = VIRTIO_BUF_SERVER(uc);

    if (!server->path == !server->fd_name) {
        error_setg(errp, "virtio-buf-server needs either 'path' or 'fd'");
        return;
    }
    server->listener = server->path ?
                       virtio_buf_server_bind(server, errp) :
                       virtio_buf_server_inherit(server, errp);
    if (server->listener >= 0) {
        virtio_buf_server_watch(server, true);
        server->exit.notify = virtio_buf_server_exit;
        qemu_add_exit_notifier(&server->exit);
    }
}

static bool virtio_buf_server_can_be_deleted(UserCreatable *uc)
{
    return !VIRTIO_BUF_SERVER(uc)->device;
}

static void virtio_buf_server_init(Object *obj)
{
    VirtIOBufServer *server = VIRTIO_BUF_SERVER(obj);

    virtio_buf_server_init_options(server);
    server->listener = -1;
    server->accept_again = timer_new_ms(QEMU_CLOCK_REALTIME,
                                        virtio_buf_server_accept_again, server);
    virtio_buf_inflight_init(server);
    QLIST_INIT(&server->peers);
}

static void virtio_buf_server_finalize(Object *obj)
{
    VirtIOBufServer *server = VIRTIO_BUF_SERVER(obj);

    virtio_buf_server_close(server);
    while (!QLIST_EMPTY(&server->peers)) {
        virtio_buf_peer_free(QLIST_FIRST(&server->peers));
    }
    virtio_buf_inflight_cleanup(server);
    timer_free(server->accept_again);
    virtio_buf_server_free_options(server);
}

static void virtio_buf_server_class_init(ObjectClass *oc, void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);

    ucc->complete = virtio_buf_server_complete;
    ucc->can_be_deleted = virtio_buf_server_can_be_deleted;

    virtio_buf_server_add_options(oc);
}

static const TypeInfo virtio_buf_server_info = {
    .name = TYPE_VIRTIO_BUF_SERVER,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(VirtIOBufServer),
    .instance_init = virtio_buf_server_init,
    .instance_finalize = virtio_buf_server_finalize,
    .class_init = virtio_buf_server_class_init,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    }
};

static void virtio_buf_server_register_types(void)
{
    type_register_static(&virtio_buf_server_info);
}

type_init(virtio_buf_server_register_types)
