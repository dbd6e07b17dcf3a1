/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: whom the server lets in, for how long and how many
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

#define PAGE_SIZE 4096

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

/* A peer that has subscribed */
static QBufConsumer *subscribed(void)
{
    return qbuf_subscribe_none(path(), "nothing", 0);
}

/* The good consumer, which sees a buffer come and go */
static void check_good(QVirtioBuf *b, QBufConsumer *good)
{
    QVirtioBufBuffer buffer = { .addr = b->request };
    uint64_t handle;

    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_OK);
    handle = qbuf_expect_buffer(good, buffer.id);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_OK);
    qbuf_expect_remove(good, handle);
}

static void check_hello(uint32_t magic, uint16_t major, uint16_t minor,
                        uint64_t features, bool fine)
{
    struct virtio_buf_msg_hello msg = {
        .magic = cpu_to_le32(magic),
        .major = cpu_to_le16(major),
        .minor = cpu_to_le16(minor),
        .features = cpu_to_le64(features),
    };
    QBufConsumer *c = qbuf_connect(path());

    qbuf_send(c, VIRTIO_BUF_MSG_HELLO, &msg, sizeof(msg));
    qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
    if (fine) {
        qbuf_send_subscribe(c, "test", 0, 0, NULL, 0);
        qbuf_expect_device(c, true);
    } else {
        qbuf_expect_error(c, EPROTO);
    }
    qbuf_close(c);
}

static void test_hello(void *obj, void *data, QGuestAllocator *alloc)
{
    check_hello(VIRTIO_BUF_PROTOCOL_MAGIC, 1, 0, 0, true);
    /* What it can do beyond is its own */
    check_hello(VIRTIO_BUF_PROTOCOL_MAGIC, 1, 9, UINT64_MAX, true);
    check_hello(VIRTIO_BUF_PROTOCOL_MAGIC, 0, 0, 0, false);
    check_hello(VIRTIO_BUF_PROTOCOL_MAGIC, 2, 0, 0, false);
    check_hello(bswap32(VIRTIO_BUF_PROTOCOL_MAGIC), 1, 0, 0, false);
}

static void test_handshake_timeout(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    QBufConsumer *silent = qbuf_connect(path());
    QBufConsumer *greets = qbuf_hello(path());
    QBufConsumer *good = subscribed();
    int64_t start = g_get_monotonic_time();

    qbuf_expect_error(silent, ETIMEDOUT);
    qbuf_expect_error(greets, ETIMEDOUT);
    g_assert_cmpint(g_get_monotonic_time() - start, <,
                    QVIRTIO_BUF_TIMEOUT_US);
    qbuf_detach(good, 1);
    qbuf_expect_silence(good);
    qbuf_close(silent);
    qbuf_close(greets);
    qbuf_close(good);
}

/* With this as the limit there are none, but poll() takes those there are */
static unsigned lowest_free_fd(QTestState *qts)
{
    unsigned fd;

    for (fd = 0; ; fd++) {
        g_autofree char *name = g_strdup_printf("/proc/%d/fd/%u",
                                                qtest_pid(qts), fd);
        struct stat st;

        if (lstat(name, &st) < 0) {
            return fd;
        }
    }
}

/* accept() fails and the connection stays: neither lost nor a busy loop */
static void test_no_fds(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct rlimit none, old;
    unsigned long before;
    QBufConsumer *c;

    g_assert_cmpint(prlimit(qtest_pid(b->qts), RLIMIT_NOFILE, NULL, &old), ==,
                    0);
    none.rlim_cur = lowest_free_fd(b->qts);
    none.rlim_max = old.rlim_max;
    g_assert_cmpint(prlimit(qtest_pid(b->qts), RLIMIT_NOFILE, &none, NULL), ==,
                    0);
    before = qvirtio_buf_cpu_ticks(b->qts);
    c = qbuf_connect(path());
    g_usleep(G_USEC_PER_SEC / 2);
    qbuf_expect_silence(c);
    g_assert_cmpuint(qvirtio_buf_cpu_ticks(b->qts) - before, <,
                     sysconf(_SC_CLK_TCK) / 10);
    g_assert_cmpint(prlimit(qtest_pid(b->qts), RLIMIT_NOFILE, &old, NULL), ==,
                    0);
    qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
    qbuf_close(c);
}

static void test_max_consumers(void *obj, void *data, QGuestAllocator *alloc)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    QVirtioBuf *b = obj;
    QBufConsumer *one = subscribed(), *two = qbuf_connect(path()), *c;
    const struct virtio_buf_msg *msg;
    unsigned i;

    for (i = 0; i < 20; i++) {
        c = qbuf_connect(path());
        qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
        qbuf_expect_error(c, EUSERS);
        qbuf_close(c);
    }
    /* There is room when one goes, a moment later */
    qbuf_close(two);
    do {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        c = qbuf_connect(path());
        qbuf_send_hello(c);
        qbuf_send_subscribe(c, "test", 0, 0, NULL, 0);
        qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
        while (virtio_buf_reader_next(&c->reader, c->sock, true, &msg,
                                      &c->fd) == -EAGAIN) {
            g_usleep(1000);
        }
        if (le32_to_cpu(msg->type) == VIRTIO_BUF_MSG_DEVICE) {
            break;
        }
        qbuf_close(c);
    } while (true);
    qbuf_expect_subscribed(c);
    check_good(b, c);
    qbuf_close(c);
    qbuf_close(one);
}

static void subscribe_two(QBufConsumer *c, const char *one, const char *two)
{
    struct {
        struct virtio_buf_msg_subscribe head;
        char names[2][VIRTIO_BUF_NAME_SIZE];
    } msg = { .head.application_count = cpu_to_le32(2) };

    strcpy(msg.names[0], one);
    strcpy(msg.names[1], two);
    qbuf_send(c, VIRTIO_BUF_MSG_SUBSCRIBE, &msg, sizeof(msg));
}

/* With applications=test,applications=b:c,applications=comma,,ted */
static void test_applications(void *obj, void *data, QGuestAllocator *alloc)
{
    static const char *const refused[] = { "other", "tes", "test2", "b", "c",
                                           "test:b:c", "comma" };
    QVirtioBuf *b = obj;
    QVirtioBufBuffer test = {}, secret = { .application = "other",
                                           .stream = 7 };
    QVirtioBufBuffer more = { .application = "comma,ted" };
    uint8_t records[64];
    uint32_t size = qvirtio_buf_property(records, 0, "title", "secret");
    QBufConsumer *all, *c;
    uint64_t handle;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(refused); i++) {
        c = qbuf_hello(path());
        qbuf_send_subscribe(c, refused[i], 0, 0, NULL, 0);
        qbuf_expect_error(c, EACCES);
        qbuf_close(c);
    }
    c = qbuf_hello(path());
    subscribe_two(c, "test", "other");
    qbuf_expect_error(c, EACCES);
    qbuf_close(c);
    c = qbuf_hello(path());
    subscribe_two(c, "b:c", "test");
    qbuf_expect_device(c, true);
    qbuf_expect_subscribed(c);
    qbuf_close(c);

    /* All are the allowed ones: those that are there, and later ones */
    qvirtio_buf_register_ok(b, &test, 0);
    qvirtio_buf_register_ok(b, &secret, 0);
    all = qbuf_subscribe(path(), NULL, 8);
    handle = qbuf_expect_buffer(all, test.id);
    qbuf_expect_subscribed(all);
    qbuf_expect(all, VIRTIO_BUF_MSG_ATTACHED);
    for (i = 1; i < 100; i++) {
        if (i != handle) {
            qbuf_attach(all, i);
        }
    }
    qbuf_attach_stream(all, secret.stream);
    qvirtio_buf_update_ok(b, secret.id, PAGE_SIZE);
    g_assert_cmpuint(qvirtio_buf_set_properties(b, secret.id, records, size),
                     ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_unregister(b, secret.id), ==, VIRTIO_BUF_S_OK);
    secret = (QVirtioBufBuffer) { .application = "other", .stream = 7 };
    qvirtio_buf_register_ok(b, &secret, 0);
    qbuf_expect_silence(all);
    qvirtio_buf_register_ok(b, &more, 0);
    qbuf_expect_buffer(all, more.id);
    qbuf_close(all);
}

static void check_user(uid_t uid, bool welcome)
{
    QBufConsumer *c;

    g_assert_cmpint(seteuid(uid), ==, 0);
    c = qbuf_connect(path());
    g_assert_cmpint(seteuid(getuid()), ==, 0);
    if (welcome) {
        qbuf_send_hello(c);
        qbuf_send_subscribe(c, "test", 0, 0, NULL, 0);
        qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
        qbuf_expect_device(c, true);
        qbuf_expect_subscribed(c);
    } else {
        /* Whatever it says is not even wrong */
        qbuf_send_bytes(c, "garbage!garbage!", 16, -1);
        qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
        qbuf_expect_error(c, EACCES);
    }
    qbuf_close(c);
}

/* With uids=12345,uids=12350-12355 */
static void test_uids(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uid_t allowed[] = { 12345, 12350, 12353, 12355 };
    static const uid_t refused[] = { 12344, 12346, 12349, 12356, 65534 };
    g_autofree char *dir = g_path_get_dirname(path());
    QVirtioBuf *b = obj;
    unsigned i, fds = qvirtio_buf_settled_fds(b->qts);

    check_user(getuid(), false);
    if (getuid()) {
        g_test_message("as root, other users would be tried");
    } else {
        g_assert_cmpint(chmod(dir, 0711), ==, 0);
        g_assert_cmpint(chmod(path(), 0666), ==, 0);
        for (i = 0; i < ARRAY_SIZE(allowed); i++) {
            check_user(allowed[i], true);
        }
        for (i = 0; i < ARRAY_SIZE(refused); i++) {
            check_user(refused[i], false);
        }
        check_user(0, false);
        g_assert_cmpint(chmod(dir, 0700), ==, 0);
    }
    qvirtio_buf_wait_fds(b->qts, fds);
}

static void register_virtio_buf_server_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions timeout = {
        .before = qvirtio_buf_before,
        .arg = (void *)"handshake-timeout=500",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions applications = {
        .before = qvirtio_buf_before,
        .arg = (void *)"applications=test,applications=b:c,"
                       "applications=comma,,ted",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions uids = {
        .before = qvirtio_buf_before,
        .arg = (void *)"uids=12345,uids=12350-12355",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions two = {
        .before = qvirtio_buf_before,
        .arg = (void *)"max-consumers=2",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("server/hello", QVIRTIO_BUF_PEERS, test_hello, &opts);
    qos_add_test("server/no-fds", QVIRTIO_BUF_PEERS, test_no_fds, &opts);
    qos_add_test("server/handshake-timeout", QVIRTIO_BUF_PEERS,
                 test_handshake_timeout, &timeout);
    qos_add_test("server/max-consumers", QVIRTIO_BUF_PEERS, test_max_consumers,
                 &two);
    qos_add_test("server/applications", QVIRTIO_BUF_PEERS, test_applications,
                 &applications);
    qos_add_test("server/uids", QVIRTIO_BUF_PEERS, test_uids, &uids);
}

libqos_init(register_virtio_buf_server_test);
