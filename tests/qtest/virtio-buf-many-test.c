/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: many consumers, some of them stopped, and few
 * descriptors
 *
 * With VIRTIO_BUF_LONG_TESTS in the environment there are many more updates.
 */
#include "qemu/osdep.h"
#include <sys/resource.h>
#include <sys/socket.h>
#include "qemu/bswap.h"
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

static unsigned how_many(unsigned normal, unsigned more)
{
    return getenv("VIRTIO_BUF_LONG_TESTS") ? more : normal;
}

static void test_consumers(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .mode = VIRTIO_BUF_MODE_EVERY };
    struct virtio_buf_config config;
    struct virtio_buf_event event;
    QBufConsumer *consumers[64], *c;
    QBufMemory memory[64];
    uint64_t handle = 0;
    unsigned i, round;

    for (i = 0; i < ARRAY_SIZE(consumers); i++) {
        consumers[i] = qbuf_subscribe_none(path(), "test", 1);
    }
    c = qbuf_connect(path());
    qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
    qbuf_expect_error(c, EUSERS);
    qbuf_close(c);
    qvirtio_buf_config(b, &config);
    g_assert_cmpuint(le32_to_cpu(config.consumers), ==, 64);

    qvirtio_buf_register_ok(b, &buffer, 0);
    for (i = 0; i < ARRAY_SIZE(consumers); i++) {
        handle = qbuf_expect_buffer(consumers[i], buffer.id);
        qbuf_expect_attached(consumers[i], handle, &memory[i]);
    }
    for (round = 1; round <= 20; round++) {
        qtest_memset(b->qts, buffer.addr, round, PAGE_SIZE);
        qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
        for (i = 0; i < ARRAY_SIZE(consumers); i++) {
            qbuf_expect_update(consumers[i], handle, round, NULL);
            qbuf_memory_check(&memory[i], 0, PAGE_SIZE, round);
            qvirtio_buf_no_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED);
            qbuf_release(consumers[i], handle, round);
        }
        qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED, &event);
        g_assert_cmpuint(event.released, ==, round);
    }
    for (i = 0; i < ARRAY_SIZE(consumers); i++) {
        qbuf_memory_clear(&memory[i]);
        qbuf_close(consumers[i]);
    }
}

/* The buffers of one stream, all attached by each of some consumers */
typedef struct Stream {
    QVirtioBuf *b;
    QVirtioBufBuffer buffers[5];
    uint64_t handles[5];
    unsigned next;
} Stream;

static void stream_init(Stream *stream, QVirtioBuf *b, uint8_t mode,
                        QBufConsumer **consumers, unsigned count)
{
    unsigned i, j;

    *stream = (Stream) { .b = b };
    for (i = 0; i < ARRAY_SIZE(stream->buffers); i++) {
        stream->buffers[i].mode = mode;
        stream->buffers[i].stream = 1;
        qvirtio_buf_register_ok(b, &stream->buffers[i], 0);
        for (j = 0; j < count; j++) {
            QBufMemory memory;

            stream->handles[i] = qbuf_expect_buffer(consumers[j],
                                                    stream->buffers[i].id);
            qbuf_expect_attached(consumers[j], stream->handles[i], &memory);
            qbuf_memory_clear(&memory);
        }
    }
}

/* Updates one that is not busy, the longest unused first: which one */
static bool stream_update(Stream *stream, unsigned *which)
{
    unsigned count = ARRAY_SIZE(stream->buffers), i;
    uint32_t status;

    for (i = 0; i < count; i++) {
        *which = (stream->next + i) % count;
        status = qvirtio_buf_update(stream->b, stream->buffers[*which].id,
                                    PAGE_SIZE, NULL);
        if (status == VIRTIO_BUF_S_OK) {
            stream->next = *which + 1;
            return true;
        }
        g_assert_cmpuint(status, ==, VIRTIO_BUF_S_BUSY);
        stream->b->last_serial--;
    }
    return false;
}

/*
 * Three of four viewers stop, each with a buffer in its hands. Of five buffers
 * one is left for the guest to draw into: it gets it every time, and the fourth
 * viewer gets every update.
 */
static void test_viewers(void *obj, void *data, QGuestAllocator *alloc)
{
    unsigned updates = how_many(1000, 20000), at, i, round;
    QVirtioBuf *b = obj;
    QBufConsumer *viewers[4];
    Stream stream;

    for (i = 0; i < ARRAY_SIZE(viewers); i++) {
        viewers[i] = qbuf_subscribe_none(path(), "test", 8);
    }
    stream_init(&stream, b, VIRTIO_BUF_MODE_LATEST, viewers,
                ARRAY_SIZE(viewers));
    for (round = 1; round <= updates; round++) {
        g_assert_true(stream_update(&stream, &at));
        for (i = 0; i < ARRAY_SIZE(viewers); i++) {
            /* The first three keep update 1, 2 and 3 */
            if (i < 3 && round > i + 1) {
                continue;
            }
            qbuf_expect_update(viewers[i], stream.handles[at], b->last_serial,
                               NULL);
            if (i == 3 || round != i + 1) {
                qbuf_release(viewers[i], stream.handles[at], b->last_serial);
            }
        }
    }

    /* When they go on, what they get is the newest */
    for (i = 0; i < 3; i++) {
        qbuf_release(viewers[i], stream.handles[i], i + 1);
        qbuf_expect_update(viewers[i], stream.handles[at], b->last_serial,
                           NULL);
        qbuf_expect_silence(viewers[i]);
    }
    for (i = 0; i < ARRAY_SIZE(viewers); i++) {
        qbuf_close(viewers[i]);
    }
}

/* Whether something has come, waiting for it or not */
static bool has_come(QBufConsumer *c)
{
    GPollFD pfd = { .fd = c->sock, .events = G_IO_IN };

    return c->reader.start != c->reader.end || g_poll(&pfd, 1, 0) == 1;
}

/* Nothing is lost or comes in another order, also for who is slower */
static void test_every(void *obj, void *data, QGuestAllocator *alloc)
{
    int64_t end = g_get_monotonic_time() + 30 * QVIRTIO_BUF_TIMEOUT_US;
    unsigned updates = how_many(500, 100000);
    uint64_t seen[2] = {}, serials[2][5] = {};
    QVirtioBuf *b = obj;
    QBufConsumer *c[2];
    Stream stream;
    unsigned at, i, round;

    for (i = 0; i < ARRAY_SIZE(c); i++) {
        c[i] = qbuf_subscribe_none(path(), "test", 8);
    }
    stream_init(&stream, b, VIRTIO_BUF_MODE_EVERY, c, ARRAY_SIZE(c));
    for (round = 0; seen[0] < updates || seen[1] < updates; round++) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        while (b->last_serial < updates && stream_update(&stream, &at)) {
            for (i = 0; i < ARRAY_SIZE(c); i++) {
                serials[i][at] = b->last_serial;
            }
        }
        for (i = 0; i < ARRAY_SIZE(c); i++) {
            /* The second one looks now and then only */
            while (seen[i] < updates && (!i || round % 4 == 0) &&
                   has_come(c[i])) {
                seen[i]++;
                for (at = 0; serials[i][at] != seen[i]; at++) {
                    g_assert_cmpuint(at, <, ARRAY_SIZE(serials[i]));
                }
                qbuf_expect_update(c[i], stream.handles[at], seen[i], NULL);
                qbuf_release(c[i], stream.handles[at], seen[i]);
            }
        }
    }
    for (i = 0; i < ARRAY_SIZE(c); i++) {
        qbuf_expect_silence(c[i]);
        qbuf_close(c[i]);
    }
}

/* Descriptors that wait in the socket for @c to read them; -1: not known */
static int waiting_fds(QBufConsumer *c)
{
    g_autofree char *name = g_strdup_printf("/proc/self/fdinfo/%d", c->sock);
    g_autofree char *text = NULL;
    const char *line;

    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    line = strstr(text, "scm_fds:");
    return line ? atoi(line + strlen("scm_fds:")) : -1;
}

static void set_fd_limit(QVirtioBuf *b, unsigned limit, struct rlimit *old)
{
    struct rlimit few;

    g_assert_cmpint(prlimit(qtest_pid(b->qts), RLIMIT_NOFILE, NULL, old), ==,
                    0);
    few = (struct rlimit) { .rlim_cur = limit, .rlim_max = old->rlim_max };
    g_assert_cmpint(prlimit(qtest_pid(b->qts), RLIMIT_NOFILE, &few, NULL), ==,
                    0);
}

static void restore_fd_limit(QVirtioBuf *b, const struct rlimit *old)
{
    g_assert_cmpint(prlimit(qtest_pid(b->qts), RLIMIT_NOFILE, old, NULL), ==,
                    0);
}

/* Takes messages until @count ATTACHED have come */
static void take_attached(QBufConsumer *c, unsigned count)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    const struct virtio_buf_msg *msg;
    int ret;

    while (count) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        ret = virtio_buf_reader_next(&c->reader, c->sock, true, &msg, &c->fd);
        if (ret == -EAGAIN) {
            g_usleep(100);
            continue;
        }
        g_assert_cmpint(ret, ==, 1);
        g_assert_cmpuint(le32_to_cpu(msg->type), !=, VIRTIO_BUF_MSG_ERROR);
        g_assert_cmpuint(le32_to_cpu(msg->type), !=, VIRTIO_BUF_MSG_REFUSED);
        if (le32_to_cpu(msg->type) == VIRTIO_BUF_MSG_ATTACHED) {
            close(c->fd);
            c->fd = -1;
            count--;
        }
    }
}

/*
 * 16 consumers that want 64 buffers each and do not read: what is in flight
 * stays below a quarter of the limit, and all of it arrives when they do
 */
static void test_in_flight(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffers[64] = {};
    QBufConsumer *consumers[16];
    struct rlimit old;
    int waiting, sum = 0;
    unsigned i;

    set_fd_limit(b, 1024, &old);
    for (i = 0; i < ARRAY_SIZE(buffers); i++) {
        qvirtio_buf_register_ok(b, &buffers[i], 0);
    }
    for (i = 0; i < ARRAY_SIZE(consumers); i++) {
        consumers[i] = qbuf_subscribe(path(), "test", 64);
    }
    g_usleep(300 * 1000);
    for (i = 0; i < ARRAY_SIZE(consumers); i++) {
        waiting = waiting_fds(consumers[i]);
        if (waiting < 0) {
            g_test_message("not looked at: this kernel's fdinfo has no"
                           " scm_fds");
            break;
        }
        g_assert_cmpint(waiting, >, 0);
        g_assert_cmpint(waiting, <=, 16);
        sum += waiting;
    }
    g_assert_cmpint(sum, <=, 256);
    for (i = 0; i < ARRAY_SIZE(consumers); i++) {
        take_attached(consumers[i], 64);
        g_assert_cmpint(waiting_fds(consumers[i]), <=, 0);
        qbuf_close(consumers[i]);
    }
    restore_fd_limit(b, &old);
}

/* Who is disconnected with descriptors unread keeps its place until then */
static void test_ended_unread(void *obj, void *data, QGuestAllocator *alloc)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffers[4] = {};
    QBufConsumer *evil[2], *c;
    const struct virtio_buf_msg *msg;
    unsigned i, fds;

    for (i = 0; i < ARRAY_SIZE(buffers); i++) {
        qvirtio_buf_register_ok(b, &buffers[i], 0);
    }
    fds = qvirtio_buf_settled_fds(b->qts);
    for (i = 0; i < ARRAY_SIZE(evil); i++) {
        evil[i] = qbuf_subscribe(path(), "test", 4);
        while (!waiting_fds(evil[i])) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
            g_usleep(1000);
        }
        qbuf_send_bytes(evil[i], "nonsense", 8, -1);
    }
    /* max-consumers=2 are there, for the kernel */
    for (i = 0; i < 5; i++) {
        c = qbuf_connect(path());
        qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
        qbuf_expect_error(c, EUSERS);
        qbuf_close(c);
    }
    /* One reads to its end, the other one only goes: there is room again */
    qbuf_expect_error(evil[0], EPROTO);
    qbuf_close(evil[1]);
    for (;;) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        c = qbuf_connect(path());
        qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
        qbuf_send_hello(c);
        qbuf_send_subscribe(c, "none", 0, 0, NULL, 0);
        while (virtio_buf_reader_next(&c->reader, c->sock, true, &msg,
                                      &c->fd) == -EAGAIN) {
            g_usleep(100);
        }
        if (le32_to_cpu(msg->type) == VIRTIO_BUF_MSG_DEVICE) {
            break;
        }
        qbuf_close(c);
    }
    qbuf_close(c);
    qbuf_close(evil[0]);
    /* QEMU keeps what was in flight when it was detached until then */
    qbuf_wait_consumers(b, 0);
    for (i = 0; i < ARRAY_SIZE(buffers); i++) {
        g_assert_cmpuint(qvirtio_buf_unregister(b, buffers[i].id), ==,
                         VIRTIO_BUF_S_OK);
    }
    qvirtio_buf_wait_fds(b->qts, fds);
}

/* QEMU has no number left for a buffer's: this is refused, nothing else */
static void test_few_fds(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffers[12] = {};
    uint64_t handles[12], refused[12];
    unsigned attached = 0, refusals = 0, i;
    const struct virtio_buf_msg *msg;
    struct rlimit old;
    QBufWatch watch;
    QBufConsumer *c;

    qbuf_watch_begin(&watch, b);
    c = qbuf_subscribe_none(path(), "few", 0);
    for (i = 0; i < ARRAY_SIZE(buffers); i++) {
        buffers[i].application = "few";
        qvirtio_buf_register_ok(b, &buffers[i], 0);
        handles[i] = qbuf_expect_buffer(c, buffers[i].id);
    }
    set_fd_limit(b, qvirtio_buf_open_fds(b->qts) + 6, &old);
    for (i = 0; i < ARRAY_SIZE(buffers); i++) {
        qbuf_attach(c, handles[i]);
    }
    while (attached + refusals < ARRAY_SIZE(buffers)) {
        int ret = virtio_buf_reader_next(&c->reader, c->sock, true, &msg,
                                         &c->fd);

        if (ret == -EAGAIN) {
            g_usleep(100);
        } else if (le32_to_cpu(msg->type) == VIRTIO_BUF_MSG_ATTACHED) {
            close(c->fd);
            c->fd = -1;
            attached++;
        } else {
            const struct virtio_buf_msg_refused *no = (const void *)msg;

            g_assert_cmpuint(le32_to_cpu(msg->type), ==,
                             VIRTIO_BUF_MSG_REFUSED);
            g_assert_cmpuint(le32_to_cpu(no->error), ==, EMFILE);
            refused[refusals++] = le64_to_cpu(no->buffer);
        }
    }
    g_assert_cmpuint(attached, >, 0);
    g_assert_cmpuint(refusals, >, 0);
    watch.fds += 1 + attached;
    qbuf_watch_check(&watch);

    /* It can be asked for again */
    restore_fd_limit(b, &old);
    qbuf_attach(c, refused[0]);
    take_attached(c, 1);
    qbuf_close(c);
    watch.fds -= 1 + attached;
    qbuf_watch_check(&watch);
    qbuf_watch_end(&watch);
}

static char *real_binary;

/* Root is not refused: its QEMU runs without the two capabilities for it */
static void *confined_before(GString *cmd_line, void *arg)
{
    g_autofree char *program = g_find_program_in_path("setpriv");
    g_autofree char *confined = NULL;

    if (geteuid() == 0 && program) {
        real_binary = g_strdup(getenv("QTEST_QEMU_BINARY"));
        confined = g_strdup_printf("%s --bounding-set=-sys_admin,-sys_resource"
                                   " %s", program, real_binary);
        setenv("QTEST_QEMU_BINARY", confined, true);
    }
    /* A QEMU of its own */
    g_string_append(cmd_line, " -name confined");
    return qvirtio_buf_before(cmd_line, arg);
}

static bool may_exceed_limit(QVirtioBuf *b)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/status",
                                            qtest_pid(b->qts));
    g_autofree char *text = NULL;
    uint64_t caps;

    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    caps = g_ascii_strtoull(strstr(text, "CapEff:") + strlen("CapEff:"), NULL,
                            16);
    return caps & (1ull << 21 | 1ull << 24); /* CAP_SYS_ADMIN, _RESOURCE */
}

/* Others of this user have too many in flight: the kernel refuses more */
static void test_refused_by_kernel(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer first = { .application = "late",
                               .mode = VIRTIO_BUF_MODE_EVERY };
    QVirtioBufBuffer second = first;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(200 * sizeof(int))];
    } control = {};
    struct iovec iov = { .iov_base = (void *)"x", .iov_len = 1 };
    struct msghdr hdr = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&hdr);
    struct rlimit old;
    unsigned long ticks;
    QBufWatch watch;
    QBufConsumer *c;
    QBufMemory memory;
    uint64_t handles[2];
    int pair[2];
    unsigned i;

    if (real_binary) {
        setenv("QTEST_QEMU_BINARY", real_binary, true);
        g_clear_pointer(&real_binary, g_free);
    }
    if (may_exceed_limit(b)) {
        g_test_skip("the kernel does not refuse a QEMU with CAP_SYS_ADMIN or"
                    " CAP_SYS_RESOURCE, and setpriv is not there");
        return;
    }
    qbuf_watch_begin(&watch, b);
    c = qbuf_subscribe_none(path(), "late", 2);
    qvirtio_buf_register_ok(b, &first, 0);
    handles[0] = qbuf_expect_buffer(c, first.id);
    take_attached(c, 1);
    set_fd_limit(b, 128, &old);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(200 * sizeof(int));
    for (i = 0; i < 200; i++) {
        memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &watch.memory.fd,
               sizeof(int));
    }
    g_assert_cmpint(sendmsg(pair[0], &hdr, 0), ==, 1);

    /* It hears of the second buffer, but does not get the memory */
    qvirtio_buf_register_ok(b, &second, 0);
    handles[1] = qbuf_expect_buffer(c, second.id);
    ticks = qvirtio_buf_cpu_ticks(b->qts);
    g_usleep(G_USEC_PER_SEC / 2);
    g_assert_cmpuint(qvirtio_buf_cpu_ticks(b->qts) - ticks, <,
                     sysconf(_SC_CLK_TCK) / 10);
    qvirtio_buf_update_ok(b, second.id, PAGE_SIZE);
    qbuf_expect_silence(c);
    for (i = 0; i < 10; i++) {
        qvirtio_buf_update_ok(b, first.id, PAGE_SIZE);
        qbuf_expect_update(c, handles[0], b->last_serial, NULL);
        qbuf_release(c, handles[0], b->last_serial);
        qvirtio_buf_wait_event(b, first.id, VIRTIO_BUF_EVENT_RELEASED, NULL);
    }
    watch.fds += 3;
    qbuf_watch_check(&watch);
    qvirtio_buf_no_event(b, second.id, VIRTIO_BUF_EVENT_RELEASED);

    /* They have read theirs: nothing was lost meanwhile */
    close(pair[0]);
    close(pair[1]);
    qbuf_expect_attached(c, handles[1], &memory);
    qbuf_memory_clear(&memory);
    qbuf_expect_update(c, handles[1], 2, NULL);
    qbuf_close(c);
    restore_fd_limit(b, &old);
    watch.fds -= 3;
    qbuf_watch_check(&watch);
    qbuf_watch_end(&watch);
}

static void register_virtio_buf_many_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions many = {
        .before = qvirtio_buf_before,
        .arg = (void *)"max-consumers=64",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions two = {
        .before = qvirtio_buf_before,
        .arg = (void *)"max-consumers=2",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions confined = {
        .before = confined_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("many/consumers", QVIRTIO_BUF_PEERS, test_consumers, &many);
    qos_add_test("many/viewers", QVIRTIO_BUF_PEERS, test_viewers, &opts);
    qos_add_test("many/every", QVIRTIO_BUF_PEERS, test_every, &opts);
    qos_add_test("many/in-flight", QVIRTIO_BUF_PEERS, test_in_flight, &opts);
    qos_add_test("many/ended-unread", QVIRTIO_BUF_PEERS, test_ended_unread,
                 &two);
    qos_add_test("many/few-fds", QVIRTIO_BUF_PEERS, test_few_fds, &opts);
    qos_add_test("many/refused-by-kernel", QVIRTIO_BUF_PEERS,
                 test_refused_by_kernel, &confined);
}

libqos_init(register_virtio_buf_many_test);
