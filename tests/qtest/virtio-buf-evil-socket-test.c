/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: peers that misuse the socket
 *
 * Descriptors that nobody asked for, messages in pieces, ends in the middle of
 * one, and peers that do not read, or say too much. Nobody else notices.
 */
#include "qemu/osdep.h"
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include "qemu/bswap.h"
#include "qemu/memfd.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-machine.h"
#include "libqos/virtio-buf-watch.h"

#define PAGE_SIZE 4096

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

/* A consumer's first messages */
typedef struct Opening {
    struct virtio_buf_msg_hello hello;
    struct virtio_buf_msg_subscribe subscribe;
    struct virtio_buf_msg_attach attach;
    struct virtio_buf_msg_detach detach;
} Opening;

static void opening_init(Opening *opening, uint64_t handle)
{
    *opening = (Opening) {
        .hello = {
            .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_HELLO),
            .msg.size = cpu_to_le32(sizeof(opening->hello)),
            .magic = cpu_to_le32(VIRTIO_BUF_PROTOCOL_MAGIC),
            .major = cpu_to_le16(VIRTIO_BUF_PROTOCOL_MAJOR),
        },
        .subscribe = {
            .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_SUBSCRIBE),
            .msg.size = cpu_to_le32(sizeof(opening->subscribe)),
            .flags = cpu_to_le32(VIRTIO_BUF_SUBSCRIBE_ALL),
        },
        .attach = {
            .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_ATTACH),
            .msg.size = cpu_to_le32(sizeof(opening->attach)),
            .buffer = cpu_to_le64(handle),
        },
        .detach = {
            .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_DETACH),
            .msg.size = cpu_to_le32(sizeof(opening->detach)),
            .buffer = cpu_to_le64(handle),
        },
    };
}

static bool between_messages(size_t at)
{
    return at == 0 || at == offsetof(Opening, subscribe) ||
           at == offsetof(Opening, attach) || at == offsetof(Opening, detach) ||
           at == sizeof(Opening);
}

/* Until QEMU has read what was sent */
static void wait_read(QBufConsumer *c)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    int unread;

    while (ioctl(c->sock, SIOCOUTQ, &unread) == 0 && unread) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(50);
    }
}

/* Split at every byte, what they say is the same */
static void test_split(void *obj, void *data, QGuestAllocator *alloc)
{
    QBufWatch watch;
    QBufConsumer *c;
    Opening opening;
    size_t i;

    qbuf_watch_begin(&watch, obj);
    opening_init(&opening, watch.handle);
    for (i = 1; i < sizeof(opening); i++) {
        c = qbuf_connect(path());
        qbuf_send_bytes(c, &opening, i, -1);
        wait_read(c);
        qbuf_send_bytes(c, (uint8_t *)&opening + i, sizeof(opening) - i, -1);
        qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
        qbuf_expect_device(c, true);
        qbuf_expect_buffer(c, watch.buffer.id);
        qbuf_expect_subscribed(c);
        wait_read(c);
        qbuf_close(c);
    }
    qbuf_watch_check(&watch);

    g_test_message("byte by byte");
    c = qbuf_connect(path());
    for (i = 0; i < sizeof(opening); i++) {
        qbuf_send_bytes(c, (uint8_t *)&opening + i, 1, -1);
        wait_read(c);
    }
    qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
    qbuf_expect_device(c, true);
    qbuf_expect_buffer(c, watch.buffer.id);
    qbuf_expect_subscribed(c);
    qbuf_close(c);
    qbuf_watch_check(&watch);
    qbuf_watch_end(&watch);
}

/* Cut off at every byte */
static void test_cut(void *obj, void *data, QGuestAllocator *alloc)
{
    QBufWatch watch;
    QBufConsumer *c;
    Opening opening;
    size_t i;

    qbuf_watch_begin(&watch, obj);
    opening_init(&opening, watch.handle);
    for (i = 0; i <= sizeof(opening); i++) {
        c = qbuf_connect(path());
        qbuf_send_bytes(c, &opening, i, -1);
        g_assert_cmpint(shutdown(c->sock, SHUT_WR), ==, 0);
        if (between_messages(i)) {
            qbuf_expect_end(c);
        } else {
            qbuf_expect_error(c, EPROTO);
        }
        qbuf_close(c);
        qbuf_watch_check(&watch);
    }
    qbuf_watch_end(&watch);
}

/* More than one wake-up's worth, of which the last is wrong */
static void test_many_at_once(void *obj, void *data, QGuestAllocator *alloc)
{
    g_autofree struct virtio_buf_msg_detach *detach =
        g_new0(struct virtio_buf_msg_detach, 1000);
    QBufWatch watch;
    QBufConsumer *c;
    unsigned i;

    qbuf_watch_begin(&watch, obj);
    for (i = 0; i < 1000; i++) {
        detach[i].msg.type = cpu_to_le32(VIRTIO_BUF_MSG_DETACH);
        detach[i].msg.size = cpu_to_le32(sizeof(detach[i]));
    }
    detach[999].msg.type = cpu_to_le32(99);
    c = qbuf_subscribe_none(path(), "nothing", 0);
    qbuf_send_bytes(c, detach, 1000 * sizeof(*detach), -1);
    qbuf_expect_error(c, EPROTO);
    qbuf_close(c);
    qbuf_watch_check(&watch);
    qbuf_watch_end(&watch);
}

/* What cannot be written to any more does not matter to the test */
static void send_fds(QBufConsumer *c, const void *bytes, size_t size, int fd,
                     unsigned count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(253 * sizeof(int))];
    } control = {};
    struct iovec iov = { (void *)bytes, size };
    struct msghdr hdr = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = CMSG_SPACE(count * sizeof(int)),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&hdr);
    unsigned i;

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (i = 0; i < count; i++) {
        memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd, sizeof(int));
    }
    g_assert_cmpint(sendmsg(c->sock, &hdr, MSG_NOSIGNAL), ==, size);
}

/* On the byte of the opening that is at @at */
static void check_fds(QBufWatch *watch, const char *what, size_t at,
                      int fd, unsigned count)
{
    QBufConsumer *c = qbuf_connect(path());
    Opening opening;

    g_test_message("%u x %s at byte %zu", count, what, at);
    opening_init(&opening, watch->handle);
    qbuf_send_bytes(c, &opening, at, -1);
    send_fds(c, (uint8_t *)&opening + at, sizeof(opening) - at,
             fd < 0 ? c->sock : fd, count);
    qbuf_expect_error(c, EPROTO);
    qbuf_close(c);
    qbuf_watch_check(watch);
}

static void test_descriptors(void *obj, void *data, QGuestAllocator *alloc)
{
    static const unsigned counts[] = { 1, 2, 3, 16, 17, 28, 252, 253 };
    static const size_t places[] = {
        0, 1, 8, offsetof(Opening, subscribe), offsetof(Opening, subscribe) + 7,
        offsetof(Opening, attach), offsetof(Opening, attach) + 8,
        offsetof(Opening, detach), sizeof(Opening) - 1,
    };
    QBufWatch watch;
    int fds[2], pair[2], file;
    char byte;
    size_t i;

    qbuf_watch_begin(&watch, obj);
    g_assert_cmpint(pipe(fds), ==, 0);
    for (i = 0; i < ARRAY_SIZE(counts); i++) {
        check_fds(&watch, "a pipe", 0, fds[1], counts[i]);
    }
    for (i = 0; i < ARRAY_SIZE(places); i++) {
        check_fds(&watch, "a pipe", places[i], fds[1], 1);
    }

    /* Those that could make a circle, or wait for something */
    check_fds(&watch, "its own socket", 0, -1, 1);
    check_fds(&watch, "its own socket", offsetof(Opening, detach), -1, 4);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    check_fds(&watch, "another socket", 0, pair[0], 2);
    close(pair[0]);
    close(pair[1]);
    file = qemu_memfd_create("evil", PAGE_SIZE, false, 0, 0, NULL);
    if (file >= 0) {
        check_fds(&watch, "a file", offsetof(Opening, attach), file, 1);
        close(file);
    }

    /* None has been kept */
    close(fds[1]);
    g_assert_cmpint(read(fds[0], &byte, 1), ==, 0);
    close(fds[0]);
    qbuf_watch_end(&watch);
}

/* When QEMU cannot take any: MSG_CTRUNC */
static void test_descriptors_at_limit(void *obj, void *data,
                                      QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    pid_t pid = qtest_pid(b->qts);
    struct rlimit few, old;
    QBufWatch watch;
    QBufConsumer *c;
    Opening opening;
    unsigned count;

    qbuf_watch_begin(&watch, b);
    opening_init(&opening, watch.handle);
    g_assert_cmpint(prlimit(pid, RLIMIT_NOFILE, NULL, &old), ==, 0);
    few.rlim_cur = watch.fds + 2;
    few.rlim_max = old.rlim_max;
    for (count = 1; count <= 64; count *= 2) {
        g_test_message("%u", count);
        c = qbuf_hello(path());
        g_assert_cmpint(prlimit(pid, RLIMIT_NOFILE, &few, NULL), ==, 0);
        send_fds(c, &opening.subscribe, sizeof(opening.subscribe), c->sock,
                 count);
        qbuf_expect_error(c, EPROTO);
        g_assert_cmpint(prlimit(pid, RLIMIT_NOFILE, &old, NULL), ==, 0);
        qbuf_close(c);
        qbuf_watch_check(&watch);
    }
    qbuf_watch_end(&watch);
}

/* Killed with a part of a message said */
static void test_killed(void *obj, void *data, QGuestAllocator *alloc)
{
    QBufWatch watch;
    QBufConsumer *c;
    Opening opening;
    int status;
    size_t i;
    pid_t pid;

    qbuf_watch_begin(&watch, obj);
    opening_init(&opening, watch.handle);
    for (i = 0; i <= sizeof(opening); i += 4) {
        c = qbuf_connect(path());
        pid = fork();
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0) {
            if (send(c->sock, &opening, i, MSG_NOSIGNAL) == i) {
                kill(getpid(), SIGKILL);
            }
            _exit(1);
        }
        qbuf_close(c);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFSIGNALED(status));
        qbuf_watch_check(&watch);
    }
    qbuf_watch_end(&watch);
}

/* Goes with answers unread, or will not have any */
static void test_gone(void *obj, void *data, QGuestAllocator *alloc)
{
    QBufWatch watch;
    QBufConsumer *c;
    Opening opening;
    unsigned i;

    qbuf_watch_begin(&watch, obj);
    opening_init(&opening, watch.handle);
    opening.subscribe.credit = cpu_to_le32(1);
    for (i = 0; i < 50; i++) {
        c = qbuf_connect(path());
        qbuf_close(c);
        c = qbuf_connect(path());
        qbuf_send_bytes(c, &opening, offsetof(Opening, attach), -1);
        qbuf_close(c);
        c = qbuf_connect(path());
        qbuf_send_bytes(c, &opening, offsetof(Opening, attach), -1);
        g_assert_cmpint(shutdown(c->sock, SHUT_RD), ==, 0);
        wait_read(c);
        qbuf_close(c);
        c = qbuf_connect(path());
        g_assert_cmpint(shutdown(c->sock, SHUT_RDWR), ==, 0);
        qbuf_close(c);
        qbuf_watch_check(&watch);
    }
    qbuf_watch_end(&watch);
}

/* Reads all that comes until the end, whatever it is */
static void expect_some_end(QBufConsumer *c)
{
    struct timeval limit = { .tv_sec = 60 };
    uint8_t bytes[4096];
    ssize_t n;

    g_assert_cmpint(setsockopt(c->sock, SOL_SOCKET, SO_RCVTIMEO, &limit,
                               sizeof(limit)), ==, 0);
    do {
        n = recv(c->sock, bytes, sizeof(bytes), 0);
        g_assert_true(n >= 0 || errno == ECONNRESET);
    } while (n > 0);
}

static void flood_begin(QVirtioBuf *b, QVirtioBufBuffer *buffers,
                        unsigned count)
{
    unsigned i;

    for (i = 0; i < count; i++) {
        buffers[i] = (QVirtioBufBuffer) { .application = "flood", .stream = 1,
                                          .addr = buffers[i].addr };
        qvirtio_buf_register_ok(b, &buffers[i], 0);
    }
}

static void flood_end(QBufWatch *watch, QVirtioBufBuffer *buffers,
                      unsigned count)
{
    unsigned i;

    for (i = 0; i < count; i++) {
        qbuf_watch_unregister(watch, &buffers[i]);
    }
    qbuf_watch_check(watch);
}

/* Says much and reads nothing */
static void test_floods(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffers[16] = {};
    uint64_t handles[16];
    QBufWatch watch;
    QBufConsumer *c;
    unsigned i;

    qbuf_watch_begin(&watch, b);

    g_test_message("ATTACH and DETACH");
    flood_begin(b, buffers, ARRAY_SIZE(buffers));
    c = qbuf_subscribe(path(), "flood", 0);
    for (i = 0; i < ARRAY_SIZE(buffers); i++) {
        handles[i] = qbuf_expect_buffer(c, buffers[i].id);
    }
    qbuf_expect_subscribed(c);
    for (i = 0; i < 3000; i++) {
        qbuf_attach(c, handles[i % ARRAY_SIZE(handles)]);
        qbuf_detach(c, handles[i % ARRAY_SIZE(handles)]);
    }
    wait_read(c);
    qbuf_close(c);
    flood_end(&watch, buffers, ARRAY_SIZE(buffers));

    /* It may have two: each ATTACH is answered by 14 REFUSED */
    g_test_message("ATTACH of a stream, refused");
    flood_begin(b, buffers, ARRAY_SIZE(buffers));
    c = qbuf_subscribe(path(), "flood", 2);
    for (i = 0; i < 5000; i++) {
        qbuf_attach_stream(c, 1);
    }
    expect_some_end(c);
    qbuf_close(c);
    flood_end(&watch, buffers, ARRAY_SIZE(buffers));

    g_test_message("DETACH of nothing");
    c = qbuf_subscribe(path(), "flood", 0);
    for (i = 0; i < 10000; i++) {
        qbuf_detach(c, i);
    }
    wait_read(c);
    qbuf_close(c);
    qbuf_watch_check(&watch);

    g_test_message("connections");
    for (i = 0; i < 300; i++) {
        c = qbuf_connect(path());
        qbuf_send_hello(c);
        qbuf_close(c);
    }
    qbuf_watch_check(&watch);
    qbuf_watch_end(&watch);
}

/* A byte now and then is no progress: the deadline is for all of it */
static void test_slow(void *obj, void *data, QGuestAllocator *alloc)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    QBufConsumer *slow[8];
    struct virtio_buf_msg_error error;
    QBufWatch watch;
    Opening opening;
    size_t sent;
    unsigned i;

    qbuf_watch_begin(&watch, obj);
    opening_init(&opening, watch.handle);
    for (i = 0; i < ARRAY_SIZE(slow); i++) {
        slow[i] = qbuf_connect(path());
    }
    /* Those with an odd number greet first */
    for (sent = 0; ; sent = MIN(sent + 1, offsetof(Opening, attach) - 2)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        for (i = 0; i < ARRAY_SIZE(slow); i++) {
            uint8_t *bytes = (uint8_t *)&opening;

            if (i % 2 && sent == 0) {
                qbuf_send_bytes(slow[i], bytes, sizeof(opening.hello), -1);
            } else if (sent < (i % 2 ? sizeof(opening.subscribe) :
                               sizeof(opening.hello)) - 1) {
                qbuf_send_bytes(slow[i], bytes + sent + (i % 2 ?
                                sizeof(opening.hello) - 1 : 0), 1, -1);
            }
        }
        g_usleep(40 * 1000);
        if (recv(slow[0]->sock, &error, sizeof(error), MSG_PEEK) >
            sizeof(opening.hello)) {
            break;
        }
    }
    for (i = 0; i < ARRAY_SIZE(slow); i++) {
        qbuf_expect_error(slow[i], ETIMEDOUT);
        qbuf_close(slow[i]);
    }
    qbuf_watch_check(&watch);
    qbuf_watch_end(&watch);
}

static void register_virtio_buf_evil_socket_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions small = {
        .before = qvirtio_buf_before,
        .arg = (void *)"max-attached=2",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions timeout = {
        .before = qvirtio_buf_before,
        .arg = (void *)"handshake-timeout=500",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("evil-socket/split", QVIRTIO_BUF_PEERS, test_split, &opts);
    qos_add_test("evil-socket/cut", QVIRTIO_BUF_PEERS, test_cut, &opts);
    qos_add_test("evil-socket/many-at-once", QVIRTIO_BUF_PEERS,
                 test_many_at_once, &opts);
    qos_add_test("evil-socket/descriptors", QVIRTIO_BUF_PEERS, test_descriptors,
                 &opts);
    qos_add_test("evil-socket/descriptors-at-limit", QVIRTIO_BUF_PEERS,
                 test_descriptors_at_limit, &opts);
    qos_add_test("evil-socket/killed", QVIRTIO_BUF_PEERS, test_killed, &opts);
    qos_add_test("evil-socket/gone", QVIRTIO_BUF_PEERS, test_gone, &opts);
    qos_add_test("evil-socket/floods", QVIRTIO_BUF_PEERS, test_floods, &small);
    qos_add_test("evil-socket/slow", QVIRTIO_BUF_PEERS, test_slow, &timeout);
}

libqos_init(register_virtio_buf_evil_socket_test);
