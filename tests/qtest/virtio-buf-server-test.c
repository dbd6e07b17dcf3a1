/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: peers that break the protocol
 *
 * Each of them is told why and disconnected; the good one that is there all the
 * time, and the guest, do not notice. Its bounds in time and number, too.
 */
#include "qemu/osdep.h"
#include <sys/resource.h>
#include <sys/socket.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"

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

/* Sends a header that says @said and @size bytes, zeros behind the header */
static void send_raw(QBufConsumer *c, uint32_t type, uint32_t said, size_t size)
{
    g_autofree uint8_t *bytes = g_malloc0(MAX(size, 8));

    stl_le_p(bytes, type);
    stl_le_p(bytes + 4, said);
    qbuf_send_bytes(c, bytes, size, -1);
}

/* What a peer says, how far it has come, and the errno that it is told */
typedef enum Stage { CONNECTED, GREETED, SUBSCRIBED } Stage;

typedef struct RawFault {
    const char *what;
    Stage stage;
    uint32_t type;
    uint32_t said;
    uint32_t size;
    int error;
} RawFault;

static const RawFault raw_faults[] = {
    { "nothing but zeros", CONNECTED, 0, 0, 8, EPROTO },
    { "no magic", CONNECTED, VIRTIO_BUF_MSG_HELLO, 24, 24, EPROTO },
    { "not HELLO first", CONNECTED, VIRTIO_BUF_MSG_DETACH, 16, 16, EPROTO },
    { "SUBSCRIBE first", CONNECTED, VIRTIO_BUF_MSG_SUBSCRIBE, 24, 24, EPROTO },
    { "a long HELLO", CONNECTED, VIRTIO_BUF_MSG_HELLO, 32, 32, EPROTO },
    { "a short HELLO", CONNECTED, VIRTIO_BUF_MSG_HELLO, 16, 16, EPROTO },
    { "HELLO again", GREETED, VIRTIO_BUF_MSG_HELLO, 24, 24, EPROTO },
    { "ATTACH unsubscribed", GREETED, VIRTIO_BUF_MSG_ATTACH, 32, 32, EPROTO },
    { "RELEASE unsubscribed", GREETED, VIRTIO_BUF_MSG_RELEASE, 24, 24, EPROTO },
    { "SUBSCRIBE to nothing", GREETED, VIRTIO_BUF_MSG_SUBSCRIBE, 24, 24,
      EPROTO },
    { "HELLO late", SUBSCRIBED, VIRTIO_BUF_MSG_HELLO, 24, 24, EPROTO },
    { "SUBSCRIBE again", SUBSCRIBED, VIRTIO_BUF_MSG_SUBSCRIBE, 24, 24, EPROTO },
    { "type 8", SUBSCRIBED, 8, 16, 16, EPROTO },
    { "type 2^32-1", SUBSCRIBED, UINT32_MAX, 16, 16, EPROTO },
    { "size 0", SUBSCRIBED, VIRTIO_BUF_MSG_DETACH, 0, 16, EPROTO },
    { "size 8", SUBSCRIBED, VIRTIO_BUF_MSG_DETACH, 8, 16, EPROTO },
    { "size 12", SUBSCRIBED, VIRTIO_BUF_MSG_DETACH, 12, 16, EPROTO },
    { "size 24", SUBSCRIBED, VIRTIO_BUF_MSG_DETACH, 24, 24, EPROTO },
    { "size 65544", SUBSCRIBED, VIRTIO_BUF_MSG_SUBSCRIBE, 65544, 16, EPROTO },
    { "size 2^32-1", SUBSCRIBED, VIRTIO_BUF_MSG_DETACH, UINT32_MAX, 16,
      EPROTO },
    { "size 2^32-8", SUBSCRIBED, VIRTIO_BUF_MSG_SUBSCRIBE, 0xfffffff8, 16,
      EPROTO },
    { "WRITTEN", SUBSCRIBED, VIRTIO_BUF_MSG_WRITTEN, 80, 80, EOPNOTSUPP },
    { "ERROR", SUBSCRIBED, VIRTIO_BUF_MSG_ERROR, 144, 144, EPROTO },
    { "DEVICE", SUBSCRIBED, VIRTIO_BUF_MSG_DEVICE, 80, 80, EPROTO },
    { "BUFFER", SUBSCRIBED, VIRTIO_BUF_MSG_BUFFER, 144, 144, EPROTO },
    { "SUBSCRIBED", SUBSCRIBED, VIRTIO_BUF_MSG_SUBSCRIBED, 32, 32, EPROTO },
    { "ATTACHED", SUBSCRIBED, VIRTIO_BUF_MSG_ATTACHED, 32, 32, EPROTO },
    { "REFUSED", SUBSCRIBED, VIRTIO_BUF_MSG_REFUSED, 24, 24, EPROTO },
    { "UPDATE", SUBSCRIBED, VIRTIO_BUF_MSG_UPDATE, 88, 88, EPROTO },
    { "PROPERTIES", SUBSCRIBED, VIRTIO_BUF_MSG_PROPERTIES, 24, 24, EPROTO },
    { "REMOVE", SUBSCRIBED, VIRTIO_BUF_MSG_REMOVE, 16, 16, EPROTO },
    { "LOST", SUBSCRIBED, VIRTIO_BUF_MSG_LOST, 24, 24, EPROTO },
    { "RESET", SUBSCRIBED, VIRTIO_BUF_MSG_RESET, 16, 16, EPROTO },
    { "ATTACH of neither", SUBSCRIBED, VIRTIO_BUF_MSG_ATTACH, 32, 32, EPROTO },
};

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

static void test_raw_faults(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *good = qbuf_subscribe_none(path(), "test", 0);
    QBufConsumer *c;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(raw_faults); i++) {
        const RawFault *fault = &raw_faults[i];

        g_test_message("%s", fault->what);
        c = fault->stage == CONNECTED ? qbuf_connect(path()) :
            fault->stage == GREETED ? qbuf_hello(path()) : subscribed();
        send_raw(c, fault->type, fault->said, fault->size);
        qbuf_expect_error(c, fault->error);
        qbuf_close(c);
    }
    check_good(b, good);
    qbuf_close(good);
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

typedef struct RawSubscribe {
    struct virtio_buf_msg_subscribe head;
    char names[2][VIRTIO_BUF_NAME_SIZE];
    struct virtio_buf_property property;
    char text[8];
} RawSubscribe;

typedef struct SubscribeFault {
    const char *what;
    size_t offset;
    size_t size;
    uint64_t value;
} SubscribeFault;

#define FAULT(field, value) \
    { #field " = " #value, offsetof(RawSubscribe, field), \
      sizeof(((RawSubscribe *)0)->field), value }

static const SubscribeFault subscribe_faults[] = {
    FAULT(head.flags, 4),
    FAULT(head.flags, 0x80000000),
    FAULT(head.flags, VIRTIO_BUF_SUBSCRIBE_ALL),
    FAULT(head.application_count, 0),
    FAULT(head.application_count, 1),
    FAULT(head.application_count, 3),
    FAULT(head.application_count, 65),
    FAULT(head.application_count, 0x04000002),
    FAULT(head.application_count, UINT32_MAX),
    FAULT(head.property_bytes, 8),
    FAULT(head.property_bytes, 24),
    FAULT(head.property_bytes, 4104),
    FAULT(head.property_bytes, UINT32_MAX),
    FAULT(names[0][0], 0),
    FAULT(names[1][0], 0xff),
    FAULT(names[0][1], 0),
    FAULT(names[1][63], 'x'),
    FAULT(property.name_len, 0),
    FAULT(property.flags, VIRTIO_BUF_PROPERTY_DELETE),
    FAULT(property.value_len, UINT32_MAX),
    FAULT(text[0], '='),
    FAULT(text[7], 1),
};

static void test_subscribe_faults(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    RawSubscribe wrong, raw = {
        .head = {
            .application_count = cpu_to_le32(2),
            .property_bytes = cpu_to_le32(16),
        },
        .names = { "one", "two" },
        .property = { .name_len = cpu_to_le16(1), .value_len = cpu_to_le32(1) },
        .text = "ab",
    };
    g_autofree uint8_t *records = g_malloc(8192);
    g_autofree char *value = g_strnfill(4096 - 14, 'v');
    uint32_t size;
    QBufConsumer *c;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(subscribe_faults); i++) {
        const SubscribeFault *fault = &subscribe_faults[i];
        uint64_t le = cpu_to_le64(fault->value);

        g_test_message("%s", fault->what);
        wrong = raw;
        memcpy((uint8_t *)&wrong + fault->offset, &le, fault->size);
        c = qbuf_hello(path());
        qbuf_send(c, VIRTIO_BUF_MSG_SUBSCRIBE, &wrong, sizeof(wrong));
        qbuf_expect_error(c, EPROTO);
        qbuf_close(c);
    }

    c = qbuf_hello(path());
    qbuf_send(c, VIRTIO_BUF_MSG_SUBSCRIBE, &raw, sizeof(raw));
    qbuf_expect_device(c, true);
    qbuf_expect_subscribed(c);
    qbuf_close(c);

    /* A name twice, and a little too much */
    size = qvirtio_buf_property(records, 0, "a", "1");
    size = qvirtio_buf_property(records, size, "a", "2");
    c = qbuf_hello(path());
    qbuf_send_subscribe(c, "test", 0, 0, records, size);
    qbuf_expect_error(c, EPROTO);
    qbuf_close(c);
    size = qvirtio_buf_property(records, 0, "formats", value);
    g_assert_cmpuint(size, ==, 4104);
    c = qbuf_hello(path());
    qbuf_send_subscribe(c, "test", 0, 0, records, size);
    qbuf_expect_error(c, EPROTO);
    qbuf_close(c);
}

static void check_attach(uint64_t buffer, uint64_t stream, uint32_t flags,
                         uint32_t reserved)
{
    struct virtio_buf_msg_attach msg = {
        .buffer = cpu_to_le64(buffer),
        .stream = cpu_to_le64(stream),
        .flags = cpu_to_le32(flags),
        .reserved = cpu_to_le32(reserved),
    };
    QBufConsumer *c = subscribed();

    qbuf_send(c, VIRTIO_BUF_MSG_ATTACH, &msg, sizeof(msg));
    qbuf_expect_error(c, EPROTO);
    qbuf_close(c);
}

static void test_attach_faults(void *obj, void *data, QGuestAllocator *alloc)
{
    QBufConsumer *c;
    unsigned i;

    check_attach(0, 0, 0, 0);
    check_attach(1, 1, 0, 0);
    check_attach(1, 0, 2, 0);
    check_attach(1, 0, 0x80000000, 0);
    check_attach(1, 0, 0, 1);

    /* Wishes that cost memory are bounded */
    c = subscribed();
    for (i = 1; i <= 1024; i++) {
        qbuf_attach_stream(c, i);
        qbuf_attach_stream(c, i);
    }
    qbuf_expect_silence(c);
    qbuf_attach_stream(c, i);
    qbuf_expect_error(c, ENOSPC);
    qbuf_close(c);
}

static void test_release_faults(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .mode = VIRTIO_BUF_MODE_LATEST };
    struct virtio_buf_event event;
    QBufConsumer *c, *good;
    QBufMemory memory;
    uint64_t handle;
    unsigned i;

    qvirtio_buf_register_ok(b, &buffer, 0);
    for (i = 0; i < 2; i++) {
        good = qbuf_subscribe(path(), "test", 0);
        handle = qbuf_expect_buffer(good, buffer.id);
        qbuf_expect_subscribed(good);
        c = qbuf_subscribe(path(), "test", 1);
        qbuf_expect_buffer(c, buffer.id);
        qbuf_expect_subscribed(c);
        qbuf_expect_attached(c, handle, &memory);
        qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
        qbuf_expect_update(c, handle, b->last_serial, NULL);
        qbuf_release(c, handle, i ? UINT64_MAX : b->last_serial + 1);
        qbuf_expect_error(c, EPROTO);
        /* What it held is released with it */
        qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED, &event);
        g_assert_cmpuint(event.released, ==, b->last_serial);
        qbuf_memory_clear(&memory);
        qbuf_expect_silence(good);
        qbuf_close(c);
        qbuf_close(good);
    }
}

static void test_descriptors(void *obj, void *data, QGuestAllocator *alloc)
{
    struct virtio_buf_msg_hello hello = {
        .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_HELLO),
        .msg.size = cpu_to_le32(sizeof(hello)),
        .magic = cpu_to_le32(VIRTIO_BUF_PROTOCOL_MAGIC),
        .major = cpu_to_le16(VIRTIO_BUF_PROTOCOL_MAJOR),
    };
    struct virtio_buf_msg_detach detach = {
        .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_DETACH),
        .msg.size = cpu_to_le32(sizeof(detach)),
    };
    QBufConsumer *c;
    int fds[2];

    /* Nobody may send any; the end of the pipe shows that it is not kept */
    g_assert_cmpint(pipe(fds), ==, 0);
    c = qbuf_connect(path());
    qbuf_send_bytes(c, &hello, sizeof(hello), fds[1]);
    qbuf_expect_error(c, EPROTO);
    qbuf_close(c);
    c = subscribed();
    qbuf_send_bytes(c, &detach, 8, -1);
    qbuf_send_bytes(c, (uint8_t *)&detach + 8, 8, fds[1]);
    qbuf_expect_error(c, EPROTO);
    qbuf_close(c);
    close(fds[1]);
    g_assert_cmpint(read(fds[0], &hello, 1), ==, 0);
    close(fds[0]);
}

static void test_pieces(void *obj, void *data, QGuestAllocator *alloc)
{
    struct {
        struct virtio_buf_msg_hello hello;
        struct virtio_buf_msg_subscribe subscribe;
        struct virtio_buf_msg_detach detach[100];
    } all = {
        .hello = {
            .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_HELLO),
            .msg.size = cpu_to_le32(sizeof(all.hello)),
            .magic = cpu_to_le32(VIRTIO_BUF_PROTOCOL_MAGIC),
            .major = cpu_to_le16(VIRTIO_BUF_PROTOCOL_MAJOR),
        },
        .subscribe = {
            .msg.type = cpu_to_le32(VIRTIO_BUF_MSG_SUBSCRIBE),
            .msg.size = cpu_to_le32(sizeof(all.subscribe)),
            .flags = cpu_to_le32(VIRTIO_BUF_SUBSCRIBE_ALL),
        },
    };
    size_t half = sizeof(all.hello) + sizeof(all.subscribe), i;
    QBufConsumer *c;

    for (i = 0; i < ARRAY_SIZE(all.detach); i++) {
        all.detach[i].msg.type = cpu_to_le32(VIRTIO_BUF_MSG_DETACH);
        all.detach[i].msg.size = cpu_to_le32(sizeof(all.detach[i]));
    }

    /* Byte by byte */
    c = qbuf_connect(path());
    for (i = 0; i < half; i++) {
        qbuf_send_bytes(c, (uint8_t *)&all + i, 1, -1);
    }
    qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
    qbuf_expect_device(c, true);
    qbuf_expect_subscribed(c);
    qbuf_close(c);

    /* All at once: more than one wake-up's worth, the fault is the last */
    all.detach[ARRAY_SIZE(all.detach) - 1].msg.type = cpu_to_le32(99);
    c = qbuf_connect(path());
    qbuf_send_bytes(c, &all, sizeof(all), -1);
    qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
    qbuf_expect_device(c, true);
    qbuf_expect_subscribed(c);
    qbuf_expect_error(c, EPROTO);
    qbuf_close(c);

    /* Half a message, and then the end */
    for (i = 1; i < half; i += 5) {
        if (i == sizeof(all.hello)) {
            continue;
        }
        c = qbuf_connect(path());
        qbuf_send_bytes(c, &all, i, -1);
        g_assert_cmpint(shutdown(c->sock, SHUT_WR), ==, 0);
        qbuf_expect_error(c, EPROTO);
        qbuf_close(c);
    }

    /* Between two messages it is no fault */
    c = qbuf_connect(path());
    qbuf_send_bytes(c, &all, half, -1);
    g_assert_cmpint(shutdown(c->sock, SHUT_WR), ==, 0);
    qbuf_expect_end(c);
    qbuf_close(c);
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

/* Clock ticks that QEMU has used */
static unsigned long used_ticks(QTestState *qts)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/stat", qtest_pid(qts));
    g_autofree char *text = NULL;
    unsigned long user, kernel;

    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    g_assert_cmpint(sscanf(strrchr(text, ')') + 1,
                           " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u"
                           " %lu %lu", &user, &kernel), ==, 2);
    return user + kernel;
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
    before = used_ticks(b->qts);
    c = qbuf_connect(path());
    g_usleep(G_USEC_PER_SEC / 2);
    qbuf_expect_silence(c);
    g_assert_cmpuint(used_ticks(b->qts) - before, <,
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
    QOSGraphTestOptions two = {
        .before = qvirtio_buf_before,
        .arg = (void *)"max-consumers=2",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("server/raw-faults", "virtio-buf", test_raw_faults, &opts);
    qos_add_test("server/hello", "virtio-buf", test_hello, &opts);
    qos_add_test("server/subscribe-faults", "virtio-buf",
                 test_subscribe_faults, &opts);
    qos_add_test("server/attach-faults", "virtio-buf", test_attach_faults,
                 &opts);
    qos_add_test("server/release-faults", "virtio-buf", test_release_faults,
                 &opts);
    qos_add_test("server/descriptors", "virtio-buf", test_descriptors, &opts);
    qos_add_test("server/pieces", "virtio-buf", test_pieces, &opts);
    qos_add_test("server/no-fds", "virtio-buf", test_no_fds, &opts);
    qos_add_test("server/handshake-timeout", "virtio-buf",
                 test_handshake_timeout, &timeout);
    qos_add_test("server/max-consumers", "virtio-buf", test_max_consumers,
                 &two);
}

libqos_init(register_virtio_buf_server_test);
