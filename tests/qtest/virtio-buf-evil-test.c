/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: peers that send wrong messages
 *
 * Tables: each line is a message with one thing wrong, sent by a peer of its
 * own. It is told why and disconnected, and nobody else notices.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-watch.h"

#define PAGE_SIZE 4096

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

/* How far a peer has come before it does it */
typedef enum Stage {
    CONNECTED,
    GREETED,
    SUBSCRIBED,     /* to "test", nothing attached */
    ATTACHED,       /* the watched buffer, and has its last update */
} Stage;

static QBufConsumer *peer_at(Stage stage, const QBufWatch *watch)
{
    QBufConsumer *c;
    int fd;

    switch (stage) {
    case CONNECTED:
        return qbuf_connect(path());
    case GREETED:
        return qbuf_hello(path());
    default:
        c = qbuf_subscribe(path(), "test", stage == ATTACHED);
        qbuf_expect_buffer(c, watch->buffer.id);
        qbuf_expect_subscribed(c);
        if (stage == ATTACHED) {
            qbuf_expect(c, VIRTIO_BUF_MSG_ATTACHED);
            fd = c->fd;
            c->fd = -1;
            close(fd);
            qbuf_expect_update(c, watch->handle, watch->serial, NULL);
        }
        return c;
    }
}

/* The peer is told @error, and is gone; with 0 it is still there */
static void check(QBufWatch *watch, QBufConsumer *c, int error)
{
    if (error) {
        qbuf_expect_error(c, error);
    } else {
        qbuf_expect_silence(c);
    }
    qbuf_close(c);
    qbuf_watch_check(watch);
}

/* Sends a header that says @said and @size bytes, zeros behind the header */
static void send_raw(QBufConsumer *c, uint32_t type, uint32_t said, size_t size)
{
    g_autofree uint8_t *bytes = g_malloc0(MAX(size, 8));

    stl_le_p(bytes, type);
    stl_le_p(bytes + 4, said);
    qbuf_send_bytes(c, bytes, size, -1);
}

typedef struct OrderFault {
    const char *what;
    Stage stage;
    uint32_t type;
    uint32_t said;
} OrderFault;

static const OrderFault order_faults[] = {
    { "nothing but zeros", CONNECTED, 0, 0 },
    { "not HELLO first", CONNECTED, VIRTIO_BUF_MSG_DETACH, 16 },
    { "SUBSCRIBE first", CONNECTED, VIRTIO_BUF_MSG_SUBSCRIBE, 24 },
    { "a server's message first", CONNECTED, VIRTIO_BUF_MSG_DEVICE, 80 },
    { "type 0", SUBSCRIBED, 0, 16 },
    { "type 8", SUBSCRIBED, 8, 16 },
    { "type 63", SUBSCRIBED, 63, 16 },
    { "type 75", SUBSCRIBED, 75, 16 },
    { "type 2^31", SUBSCRIBED, 0x80000000, 16 },
    { "type 2^32-1", SUBSCRIBED, UINT32_MAX, 16 },
    { "type in the other byte order", SUBSCRIBED, 0x04000000, 16 },
    { "HELLO again", GREETED, VIRTIO_BUF_MSG_HELLO, 24 },
    { "ATTACH unsubscribed", GREETED, VIRTIO_BUF_MSG_ATTACH, 32 },
    { "DETACH unsubscribed", GREETED, VIRTIO_BUF_MSG_DETACH, 16 },
    { "RELEASE unsubscribed", GREETED, VIRTIO_BUF_MSG_RELEASE, 24 },
    { "REMOVED unsubscribed", GREETED, VIRTIO_BUF_MSG_REMOVED, 16 },
    { "WRITTEN unsubscribed", GREETED, VIRTIO_BUF_MSG_WRITTEN, 80 },
    { "ERROR unsubscribed", GREETED, VIRTIO_BUF_MSG_ERROR, 144 },
    { "HELLO late", SUBSCRIBED, VIRTIO_BUF_MSG_HELLO, 24 },
    { "HELLO attached", ATTACHED, VIRTIO_BUF_MSG_HELLO, 24 },
    { "SUBSCRIBE again", SUBSCRIBED, VIRTIO_BUF_MSG_SUBSCRIBE, 24 },
    { "SUBSCRIBE attached", ATTACHED, VIRTIO_BUF_MSG_SUBSCRIBE, 24 },
    { "ERROR", SUBSCRIBED, VIRTIO_BUF_MSG_ERROR, 144 },
    { "DEVICE", SUBSCRIBED, VIRTIO_BUF_MSG_DEVICE, 80 },
    { "BUFFER", SUBSCRIBED, VIRTIO_BUF_MSG_BUFFER, 144 },
    { "SUBSCRIBED", SUBSCRIBED, VIRTIO_BUF_MSG_SUBSCRIBED, 32 },
    { "ATTACHED", SUBSCRIBED, VIRTIO_BUF_MSG_ATTACHED, 32 },
    { "REFUSED", SUBSCRIBED, VIRTIO_BUF_MSG_REFUSED, 24 },
    { "UPDATE", SUBSCRIBED, VIRTIO_BUF_MSG_UPDATE, 88 },
    { "PROPERTIES", SUBSCRIBED, VIRTIO_BUF_MSG_PROPERTIES, 24 },
    { "REMOVE", SUBSCRIBED, VIRTIO_BUF_MSG_REMOVE, 16 },
    { "LOST", ATTACHED, VIRTIO_BUF_MSG_LOST, 24 },
    { "RESET", ATTACHED, VIRTIO_BUF_MSG_RESET, 16 },
};

static void test_order(void *obj, void *data, QGuestAllocator *alloc)
{
    QBufWatch watch;
    QBufConsumer *c;
    size_t i;

    qbuf_watch_begin(&watch, obj);
    for (i = 0; i < ARRAY_SIZE(order_faults); i++) {
        const OrderFault *fault = &order_faults[i];

        g_test_message("%s", fault->what);
        c = peer_at(fault->stage, &watch);
        send_raw(c, fault->type, fault->said, MAX(fault->said, 8));
        check(&watch, c, EPROTO);
    }
    qbuf_watch_end(&watch);
}

/* What consumers send: written down from protocol.h by hand */
static const struct {
    const char *name;
    uint32_t type;
    uint32_t size;
    bool more;          /* something may follow */
    Stage stage;
} messages[] = {
    { "HELLO", VIRTIO_BUF_MSG_HELLO, 24, false, CONNECTED },
    { "SUBSCRIBE", VIRTIO_BUF_MSG_SUBSCRIBE, 24, true, GREETED },
    { "ATTACH", VIRTIO_BUF_MSG_ATTACH, 32, false, SUBSCRIBED },
    { "DETACH", VIRTIO_BUF_MSG_DETACH, 16, false, ATTACHED },
    { "RELEASE", VIRTIO_BUF_MSG_RELEASE, 24, false, ATTACHED },
    { "REMOVED", VIRTIO_BUF_MSG_REMOVED, 16, false, ATTACHED },
    { "WRITTEN", VIRTIO_BUF_MSG_WRITTEN, 80, true, ATTACHED },
};

static void test_sizes(void *obj, void *data, QGuestAllocator *alloc)
{
    QBufWatch watch;
    QBufConsumer *c;
    size_t i, j;

    qbuf_watch_begin(&watch, obj);
    for (i = 0; i < ARRAY_SIZE(messages); i++) {
        uint32_t size = messages[i].size;
        const uint32_t wrong[] = {
            0, 1, 7, 8, size - 8, size - 1, size + 4, 65544, 0x7fffffff,
            0x80000000, 0xfffffff8, UINT32_MAX, bswap32(size),
            /* Only of what nothing may follow */
            size + 8, 65536,
        };
        size_t count = ARRAY_SIZE(wrong) - (messages[i].more ? 2 : 0);

        for (j = 0; j < count; j++) {
            g_test_message("%s of %" PRIu32 " bytes", messages[i].name,
                           wrong[j]);
            c = peer_at(messages[i].stage, &watch);
            send_raw(c, messages[i].type, wrong[j], 8);
            check(&watch, c, EPROTO);
        }
    }
    qbuf_watch_end(&watch);
}

/* A good message, of which one field gets another value */
typedef struct FieldFault {
    const char *what;
    size_t offset;
    size_t size;
    uint64_t value;
} FieldFault;

#define FAULT(type, field, value) \
    { #field " = " #value, offsetof(type, field), \
      sizeof(((type *)0)->field), value }

static void test_faults(QBufWatch *watch, Stage stage, uint32_t type,
                        const void *good, size_t size,
                        const FieldFault *faults, size_t count)
{
    g_autofree uint8_t *wrong = g_malloc(size);
    QBufConsumer *c;
    size_t i;

    for (i = 0; i < count; i++) {
        uint64_t value = cpu_to_le64(faults[i].value);

        g_test_message("%s", faults[i].what);
        memcpy(wrong, good, size);
        memcpy(wrong + faults[i].offset, &value, faults[i].size);
        c = peer_at(stage, watch);
        qbuf_send(c, type, wrong, size);
        check(watch, c, EPROTO);
    }
}

#define HELLO(field, value) FAULT(struct virtio_buf_msg_hello, field, value)

static const FieldFault hello_faults[] = {
    HELLO(magic, 0),
    HELLO(magic, 0x56425546),
    HELLO(magic, UINT32_MAX),
    HELLO(major, 0),
    HELLO(major, 2),
    HELLO(major, 0x0100),
    HELLO(major, UINT16_MAX),
};

static void test_hello(void *obj, void *data, QGuestAllocator *alloc)
{
    const struct virtio_buf_msg_hello good = {
        .magic = cpu_to_le32(VIRTIO_BUF_PROTOCOL_MAGIC),
        .major = cpu_to_le16(VIRTIO_BUF_PROTOCOL_MAJOR),
    };
    QBufWatch watch;

    qbuf_watch_begin(&watch, obj);
    test_faults(&watch, CONNECTED, VIRTIO_BUF_MSG_HELLO, &good, sizeof(good),
                hello_faults, ARRAY_SIZE(hello_faults));
    qbuf_watch_end(&watch);
}

typedef struct RawSubscribe {
    struct virtio_buf_msg_subscribe head;
    char names[2][VIRTIO_BUF_NAME_SIZE];
    struct virtio_buf_property property;
    char text[8];
} RawSubscribe;

#define SUBSCRIBE(field, value) FAULT(RawSubscribe, field, value)

static const FieldFault subscribe_faults[] = {
    SUBSCRIBE(head.flags, 4),
    SUBSCRIBE(head.flags, 0x80000000),
    SUBSCRIBE(head.flags, UINT32_MAX),
    SUBSCRIBE(head.flags, VIRTIO_BUF_SUBSCRIBE_ALL),
    SUBSCRIBE(head.application_count, 0),
    SUBSCRIBE(head.application_count, 1),
    SUBSCRIBE(head.application_count, 3),
    SUBSCRIBE(head.application_count, 65),
    SUBSCRIBE(head.application_count, 0x04000002),
    SUBSCRIBE(head.application_count, UINT32_MAX),
    SUBSCRIBE(head.property_bytes, 0),
    SUBSCRIBE(head.property_bytes, 8),
    SUBSCRIBE(head.property_bytes, 24),
    SUBSCRIBE(head.property_bytes, 4104),
    SUBSCRIBE(head.property_bytes, UINT32_MAX),
    SUBSCRIBE(names[0][0], 0),
    SUBSCRIBE(names[1][0], 0xff),
    SUBSCRIBE(names[0][1], 0),
    SUBSCRIBE(names[1][63], 'x'),
    SUBSCRIBE(property.name_len, 0),
    SUBSCRIBE(property.name_len, 256),
    SUBSCRIBE(property.name_len, 9),
    SUBSCRIBE(property.flags, VIRTIO_BUF_PROPERTY_DELETE),
    SUBSCRIBE(property.flags, 2),
    SUBSCRIBE(property.value_len, 8),
    SUBSCRIBE(property.value_len, UINT32_MAX),
    SUBSCRIBE(text[0], '='),
    SUBSCRIBE(text[0], 0),
    SUBSCRIBE(text[1], 0xc3),
    SUBSCRIBE(text[7], 1),
};

static void check_properties(QBufWatch *watch, const uint8_t *records,
                             uint32_t size)
{
    QBufConsumer *c = qbuf_hello(path());

    qbuf_send_subscribe(c, "test", 0, 0, records, size);
    check(watch, c, EPROTO);
}

static void test_subscribe(void *obj, void *data, QGuestAllocator *alloc)
{
    const RawSubscribe good = {
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
    RawSubscribe sent = good;
    QBufWatch watch;
    QBufConsumer *c;
    uint32_t size;

    qbuf_watch_begin(&watch, obj);
    test_faults(&watch, GREETED, VIRTIO_BUF_MSG_SUBSCRIBE, &good, sizeof(good),
                subscribe_faults, ARRAY_SIZE(subscribe_faults));

    g_test_message("what all of these were made of");
    c = qbuf_hello(path());
    qbuf_send(c, VIRTIO_BUF_MSG_SUBSCRIBE, &sent, sizeof(sent));
    qbuf_expect_device(c, true);
    qbuf_expect_subscribed(c);
    check(&watch, c, 0);

    g_test_message("a name without NUL");
    memset(sent.names[0], 'x', sizeof(sent.names[0]));
    c = qbuf_hello(path());
    qbuf_send(c, VIRTIO_BUF_MSG_SUBSCRIBE, &sent, sizeof(sent));
    check(&watch, c, EPROTO);

    g_test_message("a property twice");
    size = qvirtio_buf_property(records, 0, "a", "1");
    size = qvirtio_buf_property(records, size, "a", "2");
    check_properties(&watch, records, size);

    g_test_message("a little too many bytes of properties");
    size = qvirtio_buf_property(records, 0, "formats", value);
    g_assert_cmpuint(size, ==, 4104);
    check_properties(&watch, records, size);
    qbuf_watch_end(&watch);
}

#define ATTACH(field, value) FAULT(struct virtio_buf_msg_attach, field, value)

static const FieldFault attach_faults[] = {
    ATTACH(buffer, 0),
    ATTACH(stream, 1),
    ATTACH(stream, UINT64_MAX),
    ATTACH(flags, 2),
    ATTACH(flags, 0x80000000),
    ATTACH(flags, UINT32_MAX),
    ATTACH(reserved, 1),
    ATTACH(reserved, 0x80000000),
};

static void test_attach(void *obj, void *data, QGuestAllocator *alloc)
{
    struct virtio_buf_msg_attach good = {};
    QBufWatch watch;
    QBufConsumer *c;
    unsigned i;

    qbuf_watch_begin(&watch, obj);
    good.buffer = cpu_to_le64(watch.handle);
    test_faults(&watch, SUBSCRIBED, VIRTIO_BUF_MSG_ATTACH, &good, sizeof(good),
                attach_faults, ARRAY_SIZE(attach_faults));

    g_test_message("ATTACH as the writer of a buffer that has none");
    c = peer_at(SUBSCRIBED, &watch);
    good.flags = cpu_to_le32(VIRTIO_BUF_ATTACH_WRITER);
    qbuf_send(c, VIRTIO_BUF_MSG_ATTACH, &good, sizeof(good));
    qbuf_expect_refused(c, watch.handle, EACCES);
    check(&watch, c, 0);

    g_test_message("ATTACH of what there is not");
    c = peer_at(SUBSCRIBED, &watch);
    qbuf_attach(c, watch.handle + 1);
    qbuf_attach(c, watch.handle | 1ull << 32);
    qbuf_attach(c, UINT64_MAX);
    check(&watch, c, 0);

    g_test_message("ATTACH of another application's buffer");
    c = qbuf_subscribe_none(path(), "other", 0);
    qbuf_attach(c, watch.handle);
    qbuf_attach_stream(c, 1);
    check(&watch, c, 0);

    g_test_message("ATTACH of more streams than there may be");
    c = peer_at(SUBSCRIBED, &watch);
    for (i = 1; i <= 1024; i++) {
        qbuf_attach_stream(c, i);
        qbuf_attach_stream(c, i);
    }
    qbuf_expect_silence(c);
    qbuf_attach_stream(c, i);
    check(&watch, c, ENOSPC);
    qbuf_watch_end(&watch);
}

/* RELEASE of @serial for what the peer has, or has not, attached */
static void check_release(QBufWatch *watch, const char *what, Stage stage,
                          uint64_t handle, uint64_t serial, int error)
{
    QBufConsumer *c = peer_at(stage, watch);

    g_test_message("RELEASE of %s", what);
    qbuf_release(c, handle, serial);
    check(watch, c, error);
}

static void test_release(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer held = { .application = "held",
                              .mode = VIRTIO_BUF_MODE_EVERY };
    struct virtio_buf_event event;
    QBufConsumer *holder, *c;
    QBufMemory memory;
    uint64_t handle;
    QBufWatch watch;

    qbuf_watch_begin(&watch, b);
    check_release(&watch, "the serial after the last", ATTACHED, watch.handle,
                  watch.serial + 1, EPROTO);
    check_release(&watch, "2^63", ATTACHED, watch.handle, 1ull << 63, EPROTO);
    check_release(&watch, "2^64-1", ATTACHED, watch.handle, UINT64_MAX, EPROTO);
    check_release(&watch, "serial 0", ATTACHED, watch.handle, 0, 0);
    check_release(&watch, "the same again", ATTACHED, watch.handle, 1, 0);
    check_release(&watch, "what is not attached", SUBSCRIBED, watch.handle, 1,
                  0);
    check_release(&watch, "no buffer", ATTACHED, watch.handle + 77, 1, 0);
    check_release(&watch, "buffer 0", ATTACHED, 0, 1, 0);

    /* An update that a good consumer holds stays its own */
    holder = qbuf_subscribe_none(path(), "held", 1);
    qvirtio_buf_register_ok(b, &held, 0);
    handle = qbuf_expect_buffer(holder, held.id);
    qbuf_expect_attached(holder, handle, &memory);
    qvirtio_buf_update_ok(b, held.id, PAGE_SIZE);
    qbuf_expect_update(holder, handle, b->last_serial, NULL);
    qvirtio_buf_wait_event(b, held.id, VIRTIO_BUF_EVENT_CONSUMERS, NULL);
    watch.fds += 2;
    check_release(&watch, "what another one holds", ATTACHED, handle,
                  b->last_serial, 0);
    c = peer_at(ATTACHED, &watch);
    qbuf_detach(c, handle);
    qbuf_removed(c, handle);
    g_test_message("DETACH and REMOVED of what another one has");
    check(&watch, c, 0);
    qvirtio_buf_no_event(b, held.id, VIRTIO_BUF_EVENT_RELEASED |
                                     VIRTIO_BUF_EVENT_CONSUMERS);

    /* Who is disconnected releases what it holds */
    g_test_message("RELEASE of more than was sent, of a held update");
    qbuf_release(holder, handle, UINT64_MAX);
    qbuf_expect_error(holder, EPROTO);
    qvirtio_buf_wait_event(b, held.id, VIRTIO_BUF_EVENT_RELEASED, &event);
    g_assert_cmpuint(event.released, >, 0);
    qbuf_memory_clear(&memory);
    qbuf_close(holder);
    qbuf_watch_unregister(&watch, &held);
    watch.fds -= 2;
    qbuf_watch_check(&watch);
    qbuf_watch_end(&watch);
}

static void test_detach(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer other = {};
    QBufWatch watch;
    QBufConsumer *c;
    uint64_t handle;

    qbuf_watch_begin(&watch, b);
    g_test_message("DETACH twice, and RELEASE behind it");
    c = peer_at(ATTACHED, &watch);
    qbuf_detach(c, watch.handle);
    qbuf_detach(c, watch.handle);
    qbuf_release(c, watch.handle, UINT64_MAX);
    check(&watch, c, 0);

    g_test_message("REMOVED without REMOVE");
    c = peer_at(ATTACHED, &watch);
    qbuf_removed(c, watch.handle);
    check(&watch, c, 0);

    g_test_message("everything about a buffer that has gone");
    c = peer_at(ATTACHED, &watch);
    qvirtio_buf_register_ok(b, &other, 0);
    handle = qbuf_expect_buffer(c, other.id);
    qbuf_expect_buffer(watch.good, other.id);
    g_assert_cmpuint(qvirtio_buf_unregister(b, other.id), ==, VIRTIO_BUF_S_OK);
    qbuf_expect_remove(c, handle);
    qbuf_expect_remove(watch.good, handle);
    qbuf_attach(c, handle);
    qbuf_release(c, handle, UINT64_MAX);
    qbuf_detach(c, handle);
    qbuf_removed(c, handle);
    qbuf_removed(c, handle);
    check(&watch, c, 0);
    qbuf_watch_end(&watch);
}

/* WRITTEN by who is no writer, whatever is in it */
static const FieldFault written_faults[] = {
    FAULT(struct virtio_buf_msg_written, frame.serial, 1),
    FAULT(struct virtio_buf_msg_written, frame.serial, 0),
    FAULT(struct virtio_buf_msg_written, frame.serial, UINT64_MAX),
    FAULT(struct virtio_buf_msg_written, frame.data_size, UINT64_MAX),
    FAULT(struct virtio_buf_msg_written, frame.rect_count, UINT16_MAX),
    FAULT(struct virtio_buf_msg_written, frame.span_count, UINT16_MAX),
    FAULT(struct virtio_buf_msg_written, frame.property_bytes, UINT32_MAX),
};

static void test_written(void *obj, void *data, QGuestAllocator *alloc)
{
    struct virtio_buf_msg_written good = {};
    QBufWatch watch;
    QBufConsumer *c;

    qbuf_watch_begin(&watch, obj);
    good.buffer = cpu_to_le64(watch.handle);
    test_faults(&watch, ATTACHED, VIRTIO_BUF_MSG_WRITTEN, &good, sizeof(good),
                written_faults, ARRAY_SIZE(written_faults));

    g_test_message("WRITTEN of what is not attached");
    c = peer_at(SUBSCRIBED, &watch);
    qbuf_written(c, watch.handle, 1, PAGE_SIZE);
    qbuf_written(c, 0, UINT64_MAX, UINT64_MAX);
    check(&watch, c, 0);
    qbuf_watch_end(&watch);
}

static void register_virtio_buf_evil_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("evil/order", QVIRTIO_BUF_PEERS, test_order, &opts);
    qos_add_test("evil/sizes", QVIRTIO_BUF_PEERS, test_sizes, &opts);
    qos_add_test("evil/hello", QVIRTIO_BUF_PEERS, test_hello, &opts);
    qos_add_test("evil/subscribe", QVIRTIO_BUF_PEERS, test_subscribe, &opts);
    qos_add_test("evil/attach", QVIRTIO_BUF_PEERS, test_attach, &opts);
    qos_add_test("evil/release", QVIRTIO_BUF_PEERS, test_release, &opts);
    qos_add_test("evil/detach", QVIRTIO_BUF_PEERS, test_detach, &opts);
    qos_add_test("evil/written", QVIRTIO_BUF_PEERS, test_written, &opts);
}

libqos_init(register_virtio_buf_evil_test);
