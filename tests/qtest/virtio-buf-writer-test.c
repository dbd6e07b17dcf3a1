/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: consumers that write, and what they may say
 *
 * No vCPU runs: what the guest has in its RAM is what the test, or the writer,
 * put there. The cases do not say how buffers are backed: with udmabuf a writer
 * has the guest's pages, without it what it writes is copied back.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-writer.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define PAGE_SIZE 4096

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

static void test_attach(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer readable = { .application = "writer" };
    QBufConsumer *other;
    struct virtio_buf_event event;
    QBufMemory memory;
    uint64_t handle;
    QBufWriter w;

    qbuf_writer_init(&w, b, VIRTIO_BUF_MODE_EVERY, PAGE_SIZE);
    qvirtio_buf_register_ok(b, &readable, 0);
    handle = qbuf_expect_buffer(w.c, readable.id);
    qbuf_attach_writer(w.c, handle);
    qbuf_expect_refused(w.c, handle, EACCES);

    other = qbuf_subscribe(path(), "writer", 0);
    qbuf_expect_buffer(other, w.buffer.id);
    qbuf_expect_buffer(other, readable.id);
    qbuf_expect_subscribed(other);
    qbuf_attach_writer(other, w.handle);
    qbuf_expect_refused(other, w.handle, EBUSY);
    qbuf_attach(other, w.handle);
    qbuf_expect_attached(other, w.handle, &memory);
    g_assert_false(memory.writer);
    qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, &event);
    g_assert_cmpuint(event.consumers, ==, 2);
    /* A reader that is attached does not become the writer */
    qbuf_attach_writer(other, w.handle);
    qbuf_expect_silence(other);

    qbuf_detach(w.c, w.handle);
    qbuf_writer_let_go(&w);
    qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, &event);
    g_assert_cmpuint(event.consumers, ==, 1);
    qbuf_detach(other, w.handle);
    qbuf_memory_clear(&memory);
    qbuf_attach_writer(other, w.handle);
    qbuf_expect_attached(other, w.handle, &memory);
    g_assert_true(memory.writer);

    qbuf_memory_clear(&memory);
    qbuf_close(other);
    qbuf_close(w.c);
}

/* By stream: what can be written is, the rest is refused */
static void test_attach_stream(void *obj, void *data, QGuestAllocator *alloc)
{
    struct virtio_buf_msg_attach msg = {
        .stream = cpu_to_le64(5),
        .flags = cpu_to_le32(VIRTIO_BUF_ATTACH_WRITER),
    };
    QVirtioBuf *b = obj;
    QVirtioBufBuffer writable = {
        .stream = 5, .access = VIRTIO_BUF_ACCESS_WRITER,
    };
    QVirtioBufBuffer readable = { .stream = 5 };
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    QBufMemory memory;
    uint64_t handle;

    qvirtio_buf_restart_writable(b);
    qbuf_send(c, VIRTIO_BUF_MSG_ATTACH, &msg, sizeof(msg));
    qbuf_send_hello(c);
    qbuf_expect_error(c, EPROTO);
    qbuf_close(c);

    c = qbuf_subscribe_none(path(), "test", 0);
    qbuf_send(c, VIRTIO_BUF_MSG_ATTACH, &msg, sizeof(msg));
    qbuf_removed(c, 1);
    qbuf_expect_silence(c);
    qvirtio_buf_register_ok(b, &writable, 0);
    handle = qbuf_expect_buffer(c, writable.id);
    qbuf_expect_attached(c, handle, &memory);
    g_assert_true(memory.writer);
    qvirtio_buf_register_ok(b, &readable, 0);
    handle = qbuf_expect_buffer(c, readable.id);
    qbuf_expect_refused(c, handle, EACCES);
    qbuf_memory_clear(&memory);
    qbuf_close(c);
}

static void check_hand_off(QVirtioBuf *b, uint8_t mode)
{
    struct virtio_buf_span spans[] = {
        { cpu_to_le64(100), cpu_to_le64(8) },
        { cpu_to_le64(2 * PAGE_SIZE - 1), cpu_to_le64(2) },
    };
    struct virtio_buf_event event;
    QVirtioBufWritten written;
    QBufConsumer *reader;
    QBufMemory memory;
    uint64_t serial;
    QBufWriter w;

    qbuf_writer_init(&w, b, mode, 3 * PAGE_SIZE - 1);
    reader = qbuf_subscribe(path(), "writer", 1);
    qbuf_expect_buffer(reader, w.buffer.id);
    qbuf_expect_subscribed(reader);
    qbuf_expect_attached(reader, w.handle, &memory);

    serial = qbuf_writer_update(&w);
    qbuf_expect_update(reader, w.handle, serial, NULL);
    qbuf_release(reader, w.handle, serial);
    qbuf_memory_check(&w.memory, 0, w.buffer.size, 0x11);
    qvirtio_buf_no_event(b, w.buffer.id, VIRTIO_BUF_EVENT_RELEASED);

    /* It is the writer's: only what is named is written, and told */
    memset(w.bytes, 0x22, w.memory.size);
    g_assert_cmpuint(qvirtio_buf_update(b, w.buffer.id, 1, NULL), ==,
                     VIRTIO_BUF_S_BUSY);
    b->last_serial--;
    qbuf_written_spans(w.c, w.handle, 7, w.buffer.size, spans, 2);
    qvirtio_buf_wait_written(b, w.buffer.id, 7, w.buffer.size, &written);
    g_assert_cmpuint(written.frame.span_count, ==, 2);
    g_assert_cmpint(memcmp(written.frame.spans, spans, sizeof(spans)), ==, 0);
    g_assert_false(written.event.flags & VIRTIO_BUF_EVENT_RELEASED);
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM + 100, 8, 0x22);
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM, 100,
                     qbuf_writer_unnamed(&w, 0x11, 0x22));
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM + 108, 2 * PAGE_SIZE - 109,
                     qbuf_writer_unnamed(&w, 0x11, 0x22));
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM + 2 * PAGE_SIZE - 1, 2, 0x22);
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM + 2 * PAGE_SIZE + 1, PAGE_SIZE - 2,
                     qbuf_writer_unnamed(&w, 0x11, 0x22));
    g_assert_cmpuint(qvirtio_buf_update(b, w.buffer.id, 1, NULL), ==,
                     VIRTIO_BUF_S_BUSY);
    b->last_serial--;

    /* Once more in the same turn: all of it; then it is the guest's again */
    memset(w.bytes, 0x33, w.memory.size);
    qtest_memset(b->qts, QBUF_WRITER_RAM + 3 * PAGE_SIZE - 1, 0x44, 1);
    qbuf_written(w.c, w.handle, 8, w.buffer.size);
    qbuf_release(w.c, w.handle, serial);
    qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_WRITTEN |
                           VIRTIO_BUF_EVENT_RELEASED, &event);
    g_assert_cmpuint(event.released, ==, serial);
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM, w.buffer.size, 0x33);
    /* What is behind the buffer's size is not its contents */
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM + 3 * PAGE_SIZE - 1, 1, 0x44);

    /* Another turn: the writer sees what the guest has put there */
    qtest_memset(b->qts, QBUF_WRITER_RAM, 0x55, w.buffer.size);
    serial = qbuf_writer_update(&w);
    qbuf_expect_update(reader, w.handle, serial, NULL);
    qbuf_memory_check(&w.memory, 0, w.buffer.size, 0x55);
    qbuf_release(reader, w.handle, serial);
    /* Nothing to write: it is no fault */
    qbuf_release(w.c, w.handle, serial);
    qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_RELEASED, &event);
    g_assert_false(event.flags & VIRTIO_BUF_EVENT_WRITTEN);
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM, w.buffer.size, 0x55);

    qbuf_memory_clear(&memory);
    qbuf_close(reader);
    qbuf_writer_clear(&w);
}

static void test_every(void *obj, void *data, QGuestAllocator *alloc)
{
    check_hand_off(obj, VIRTIO_BUF_MODE_EVERY);
}

static void test_latest(void *obj, void *data, QGuestAllocator *alloc)
{
    check_hand_off(obj, VIRTIO_BUF_MODE_LATEST);
}

/* What the guest has not asked for is overtaken: everything may have changed */
static void test_coalesced(void *obj, void *data, QGuestAllocator *alloc)
{
    struct {
        struct virtio_buf_msg_written head;
        struct virtio_buf_rect rect;
        struct virtio_buf_span span;
        uint8_t properties[64];
    } msg = {
        .head.frame = {
            .flags = cpu_to_le32(VIRTIO_BUF_FRAME_KEYFRAME),
            .clock = cpu_to_le32(VIRTIO_BUF_CLOCK_STREAM),
            .pts = cpu_to_le64(123),
            .data_size = cpu_to_le64(PAGE_SIZE),
            .rect_count = cpu_to_le16(1),
            .span_count = cpu_to_le16(1),
        },
        .rect = { .width = cpu_to_le32(1), .height = cpu_to_le32(2) },
        .span = { .len = cpu_to_le64(3) },
    };
    uint32_t size = qvirtio_buf_property(msg.properties, 0, "codec", "h264");
    QVirtioBuf *b = obj;
    QVirtioBufWritten written;
    QBufWriter w;

    qbuf_writer_init(&w, b, VIRTIO_BUF_MODE_IN_PLACE, PAGE_SIZE);
    msg.head.buffer = cpu_to_le64(w.handle);
    msg.head.frame.property_bytes = cpu_to_le32(size);
    for (int serial = 1; serial <= 3; serial++) {
        msg.head.frame.serial = cpu_to_le64(serial);
        qbuf_send(w.c, VIRTIO_BUF_MSG_WRITTEN, &msg,
                  offsetof(typeof(msg), properties) + size);
        if (serial != 2) {
            /* Also says that the one before was processed */
            qbuf_attach_writer(w.c, w.handle);
            qbuf_expect_silence(w.c);
            qvirtio_buf_wait_written(b, w.buffer.id, serial, PAGE_SIZE,
                                     &written);
            g_assert_cmpuint(written.frame.flags, ==,
                             VIRTIO_BUF_FRAME_KEYFRAME);
            g_assert_cmpuint(written.frame.pts, ==, 123);
            g_assert_cmpuint(written.frame.property_bytes, ==, size);
            g_assert_cmpint(memcmp(written.frame.properties, msg.properties,
                                   size), ==, 0);
            g_assert_cmpuint(written.frame.rect_count, ==, serial == 1);
            g_assert_cmpuint(written.frame.span_count, ==, serial == 1);
        }
    }
    qbuf_writer_clear(&w);
}

/* A writer that breaks a rule is disconnected, and the buffer has none again */
typedef struct Fault {
    const char *name;
    uint64_t serial;
    uint64_t data_offset;
    uint64_t data_size;
    struct virtio_buf_span span;
    uint32_t flags;
    uint32_t property_bytes;
    bool reader;            /* sent by one that only reads */
    bool not_its_turn;      /* before an UPDATE */
    bool released;          /* after its RELEASE */
} Fault;

static const Fault faults[] = {
    { "serial 0", .serial = 0 },
    { "the serial before", .serial = 5 },
    { "payload behind the end", .serial = 6, .data_offset = PAGE_SIZE,
      .data_size = PAGE_SIZE + 1 },
    { "payload that wraps", .serial = 6, .data_offset = UINT64_MAX,
      .data_size = 2 },
    { "span behind the end", .serial = 6, .span = { 2 * PAGE_SIZE - 1, 2 } },
    { "span that wraps", .serial = 6, .span = { 1, UINT64_MAX } },
    { "unknown flag", .serial = 6, .flags = 1 << 4 },
    { "bad property", .serial = 6, .property_bytes = 8 },
    { "too many property bytes", .serial = 6, .property_bytes = 72 },
    { "a reader", .serial = 6, .reader = true },
    { "not its turn", .serial = 6, .not_its_turn = true },
    { "after its release", .serial = 6, .released = true },
};

static void check_fault(QVirtioBuf *b, const Fault *fault)
{
    struct {
        struct virtio_buf_msg_written head;
        struct virtio_buf_span span;
        uint8_t properties[128];
    } msg = {
        .head.frame = {
            .serial = cpu_to_le64(fault->serial),
            .flags = cpu_to_le32(fault->flags),
            .data_offset = cpu_to_le64(fault->data_offset),
            .data_size = cpu_to_le64(fault->data_size),
            .span_count = cpu_to_le16(fault->span.len != 0),
            .property_bytes = cpu_to_le32(fault->property_bytes),
        },
        .span.offset = cpu_to_le64(fault->span.offset),
        .span.len = cpu_to_le64(fault->span.len),
    };
    size_t size = sizeof(msg.head);
    struct virtio_buf_event event;
    QBufConsumer *c;
    QBufMemory memory = { .fd = -1 };
    uint64_t serial;
    QBufWriter w;

    qbuf_writer_init(&w, b, VIRTIO_BUF_MODE_EVERY, 2 * PAGE_SIZE);
    c = w.c;
    serial = fault->not_its_turn ? 0 : qbuf_writer_update(&w);
    if (serial) {
        qbuf_written(w.c, w.handle, 5, PAGE_SIZE);
        qvirtio_buf_wait_written(b, w.buffer.id, 5, PAGE_SIZE, NULL);
    }
    if (fault->reader) {
        c = qbuf_subscribe(path(), "writer", 1);
        qbuf_expect_buffer(c, w.buffer.id);
        qbuf_expect_subscribed(c);
        qbuf_expect_attached(c, w.handle, &memory);
    }
    if (fault->released) {
        qbuf_release(w.c, w.handle, serial);
    }
    qvirtio_buf_no_event(b, w.buffer.id, VIRTIO_BUF_EVENT_WRITTEN);

    msg.head.buffer = cpu_to_le64(w.handle);
    if (fault->span.len) {
        size += sizeof(msg.span);
    }
    if (fault->property_bytes > 8) {
        /* A good record, larger than the device's max-property-bytes */
        g_autofree char *value = g_strnfill(56, 'v');

        g_assert_cmpuint(qvirtio_buf_property((uint8_t *)&msg + size, 0, "name",
                                              value), ==,
                         fault->property_bytes);
    }
    size += fault->property_bytes;
    qbuf_send(c, VIRTIO_BUF_MSG_WRITTEN, &msg, size);
    qbuf_expect_error(c, EPROTO);
    qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, &event);
    g_assert_cmpuint(event.consumers, ==, fault->reader);
    qvirtio_buf_no_event(b, w.buffer.id, VIRTIO_BUF_EVENT_WRITTEN);
    if (fault->reader) {
        qbuf_memory_clear(&memory);
        qbuf_close(c);
        qbuf_written(w.c, w.handle, 6, PAGE_SIZE);
        qvirtio_buf_wait_written(b, w.buffer.id, 6, PAGE_SIZE, NULL);
        qbuf_writer_clear(&w);
        return;
    }
    qbuf_writer_clear(&w);
    /* Nobody owns the contents any more, and another writer may come */
    if (serial) {
        uint64_t released;

        g_assert_cmpuint(qvirtio_buf_update(b, w.buffer.id, 1, &released), ==,
                         VIRTIO_BUF_S_OK);
        g_assert_cmpuint(released, ==, b->last_serial);
    }
    qbuf_writer_attach(&w);
    qbuf_writer_clear(&w);
}

static void test_faults(void *obj, void *data, QGuestAllocator *alloc)
{
    for (unsigned i = 0; i < ARRAY_SIZE(faults); i++) {
        g_test_message("%s", faults[i].name);
        check_fault(obj, &faults[i]);
    }
}

/* WRITTEN that crossed what the guest did hits nothing, and is no fault */
static void test_late(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufWriter w;

    qbuf_writer_init(&w, b, VIRTIO_BUF_MODE_IN_PLACE, PAGE_SIZE);
    memset(w.bytes, 0x22, PAGE_SIZE);
    qbuf_written(w.c, 12345, 1, PAGE_SIZE);
    qbuf_detach(w.c, w.handle);
    qbuf_written(w.c, w.handle, 1, PAGE_SIZE);
    qbuf_expect_silence(w.c);
    qvirtio_buf_no_event(b, w.buffer.id, VIRTIO_BUF_EVENT_WRITTEN);
    qbuf_writer_let_go(&w);

    qbuf_attach_writer(w.c, w.handle);
    qbuf_expect_attached(w.c, w.handle, &w.memory);
    w.bytes = qbuf_memory_map(&w.memory);
    g_assert_cmpuint(qvirtio_buf_unregister(b, w.buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_written(w.c, w.handle, 1, PAGE_SIZE);
    qbuf_expect_remove(w.c, w.handle);
    qbuf_written(w.c, w.handle, 2, PAGE_SIZE);
    qbuf_writer_let_go(&w);
    qbuf_removed(w.c, w.handle);
    qbuf_written(w.c, w.handle, 3, PAGE_SIZE);
    qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    qbuf_expect_silence(w.c);

    qbuf_close(w.c);
    qbuf_writer_register(&w, b, VIRTIO_BUF_MODE_IN_PLACE, PAGE_SIZE);
    qbuf_writer_attach(&w);
    qvirtio_buf_restart_writable(b);
    qbuf_written(w.c, w.handle, 1, PAGE_SIZE);
    qbuf_expect_reset(w.c, VIRTIO_BUF_RESET_REASON_DRIVER);
    qbuf_written(w.c, w.handle, 2, PAGE_SIZE);
    qbuf_expect_silence(w.c);
    qbuf_writer_clear(&w);
}

/* Records have different sizes: never split, never left out */
static void test_events(void *obj, void *data, QGuestAllocator *alloc)
{
    enum { COUNT = 5 };
    /* What is read of a record of max-property-bytes=64 */
    size_t largest = sizeof(struct virtio_buf_event) +
                     sizeof(struct virtio_buf_frame) + VIRTIO_BUF_MAX_DAMAGE *
                     (sizeof(struct virtio_buf_rect) +
                      sizeof(struct virtio_buf_span)) + 64;
    /* Behind three of those here: room for an event, not for its frame */
    size_t room = largest + 40;
    struct virtio_buf_get_events request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_EVENTS),
    };
    QVirtioBuf *b = obj;
    struct virtio_buf_span spans[VIRTIO_BUF_MAX_DAMAGE];
    QVirtioBufBuffer buffers[COUNT] = {};
    uint64_t handles[COUNT];
    QBufMemory memory[COUNT];
    struct virtio_buf_events_response head;
    g_autofree uint8_t *small = g_malloc(largest + sizeof(head));
    QBufConsumer *c;
    unsigned count, seen, i;
    bool more;

    qvirtio_buf_restart_writable(b);
    c = qbuf_subscribe_none(path(), "test", 0);
    for (i = 0; i < ARRAY_SIZE(spans); i++) {
        spans[i] = (struct virtio_buf_span) { cpu_to_le64(i), cpu_to_le64(1) };
    }
    for (i = 0; i < COUNT; i++) {
        buffers[i].access = VIRTIO_BUF_ACCESS_WRITER;
        qvirtio_buf_register_ok(b, &buffers[i], 0);
        handles[i] = qbuf_expect_buffer(c, buffers[i].id);
        qbuf_attach_writer(c, handles[i]);
        qbuf_expect_attached(c, handles[i], &memory[i]);
    }
    qvirtio_buf_no_event(b, 0, 0);

    g_assert_cmpuint(qvirtio_buf_command(b, &request, sizeof(request), small,
                                         sizeof(head) + largest - 1), ==,
                     sizeof(head));
    memcpy(&head, small, sizeof(head));
    g_assert_cmpuint(le32_to_cpu(head.hdr.status), ==, VIRTIO_BUF_S_INVALID);

    /* The first is a short one, the others have ever more spans */
    for (i = 0; i < COUNT; i++) {
        qbuf_written_spans(c, handles[i], 1, PAGE_SIZE, spans, 4 * i);
        qvirtio_buf_wait_config_changed(b);
        if (i == 0) {
            qbuf_expect_silence(c);
            g_free(qvirtio_buf_get_records(b, largest, &count, &more));
            g_assert_cmpuint(count, ==, 1);
            g_assert_false(more);
        } else {
            break;
        }
    }
    for (i = 2; i < COUNT; i++) {
        qbuf_written_spans(c, handles[i], 1, PAGE_SIZE, spans, 4 * i);
    }
    qbuf_attach_writer(c, handles[0]);
    qbuf_expect_silence(c);
    for (seen = 1, more = true; more; ) {
        g_autofree uint8_t *records =
            qvirtio_buf_get_records(b, room, &count, &more);
        uint8_t *record = records;

        g_assert_cmpuint(count, >=, 1);
        while (count--) {
            struct virtio_buf_event event;
            struct virtio_buf_frame frame;

            memcpy(&event, record, sizeof(event));
            memcpy(&frame, record + sizeof(event), sizeof(frame));
            g_assert_cmpuint(le64_to_cpu(event.buffer_id), ==,
                             buffers[seen].id);
            g_assert_cmphex(le32_to_cpu(event.flags), ==,
                            VIRTIO_BUF_EVENT_WRITTEN);
            g_assert_cmpuint(le32_to_cpu(event.size), ==, sizeof(event) +
                             sizeof(frame) + 4 * seen * sizeof(spans[0]));
            g_assert_cmpuint(le64_to_cpu(frame.serial), ==, 1);
            g_assert_cmpint(memcmp(record + sizeof(event) + sizeof(frame),
                                   spans, 4 * seen * sizeof(spans[0])), ==, 0);
            record += le32_to_cpu(event.size);
            seen++;
        }
    }
    g_assert_cmpuint(seen, ==, COUNT);
    for (i = 0; i < COUNT; i++) {
        qbuf_memory_clear(&memory[i]);
    }
    qbuf_close(c);
}

/* A read-only buffer's copy, attacked by who has its fd */
static void test_strict_readonly(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .size = 4 * PAGE_SIZE };
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 1);
    QBufConsumer *victim = qbuf_subscribe_none(path(), "test", 1);
    g_autofree char *again = NULL;
    QBufMemory memory, seen;
    uint64_t handle;
    int fd;

    qvirtio_buf_register_ok(b, &buffer, 0x11);
    g_assert_cmpuint(buffer.response.backing, ==, VIRTIO_BUF_BACKING_COPY);
    g_assert_cmpuint(buffer.response.reason, ==, qvirtio_buf_zero_copy() ?
                     VIRTIO_BUF_REASON_READONLY : VIRTIO_BUF_REASON_NO_UDMABUF);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);
    qbuf_expect_buffer(victim, buffer.id);
    qbuf_expect_attached(victim, handle, &seen);
    qvirtio_buf_update_ok(b, buffer.id, buffer.size);
    qbuf_expect_update(c, handle, 1, NULL);

    fd = memory.fd;
    g_assert_cmphex(fcntl(fd, F_GET_SEALS), ==, F_SEAL_SEAL | F_SEAL_SHRINK |
                    F_SEAL_GROW | F_SEAL_FUTURE_WRITE);
    again = g_strdup_printf("/proc/self/fd/%d", fd);
    for (int i = 0; i < 2; i++) {
        g_assert_cmpint(write(fd, "x", 1), ==, -1);
        g_assert_cmpint(pwrite(fd, "x", 1, 0), ==, -1);
        g_assert_true(mmap(NULL, PAGE_SIZE, PROT_WRITE, MAP_SHARED, fd, 0) ==
                      MAP_FAILED);
        g_assert_true(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                           fd, 0) == MAP_FAILED);
        g_assert_cmpint(fallocate(fd, FALLOC_FL_PUNCH_HOLE |
                                  FALLOC_FL_KEEP_SIZE, 0, PAGE_SIZE), ==, -1);
        g_assert_cmpint(fallocate(fd, 0, 0, 8 * PAGE_SIZE), ==, -1);
        g_assert_cmpint(ftruncate(fd, 0), ==, -1);
        g_assert_cmpint(ftruncate(fd, 8 * PAGE_SIZE), ==, -1);
        g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), ==, -1);
        if (i == 0) {
            /* The same through another open file */
            fd = open(again, O_RDWR | O_CLOEXEC);
            g_assert_cmpint(fd, >=, 0);
        }
    }
    close(fd);
    g_assert_cmpint(open(again, O_RDWR | O_TRUNC), ==, -1);
    g_assert_cmpint(mprotect((void *)memory.bytes, PAGE_SIZE,
                             PROT_READ | PROT_WRITE), ==, -1);
    g_assert_cmpint(madvise((void *)memory.bytes, PAGE_SIZE, MADV_REMOVE), ==,
                    -1);

    qbuf_memory_check(&seen, 0, buffer.size, 0x11);
    qbuf_check_guest(b->qts, buffer.addr, buffer.size, 0x11);
    qtest_memset(b->qts, buffer.addr, 0x22, buffer.size);
    qvirtio_buf_update_ok(b, buffer.id, buffer.size);
    qbuf_expect_update(c, handle, 2, NULL);
    qbuf_memory_check(&seen, 0, buffer.size, 0x22);
    qbuf_memory_clear(&memory);
    qbuf_memory_clear(&seen);
    qbuf_close(victim);
    qbuf_close(c);
}

/* The driver has to ask for it */
static void test_feature(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .access = VIRTIO_BUF_ACCESS_WRITER };
    QVirtioBufBuffer reader = { .access = VIRTIO_BUF_ACCESS_READ };

    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                     VIRTIO_BUF_S_UNSUPPORTED);
    qvirtio_buf_restart_writable(b);
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_OK);
    reader.addr = buffer.addr;
    g_assert_cmpuint(qvirtio_buf_register(b, &reader), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(reader.response.reason, ==, qvirtio_buf_zero_copy() ?
                     VIRTIO_BUF_REASON_OVERLAP : VIRTIO_BUF_REASON_NO_UDMABUF);
    buffer.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                     VIRTIO_BUF_S_OVERLAP);
}

static void register_virtio_buf_writer_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions few = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER ",max-property-bytes=64",
    };
    QOSGraphTestOptions strict = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER ",strict-readonly=on",
    };

    qos_add_test("writer/feature", QVIRTIO_BUF_WRITER, test_feature, &opts);
    qos_add_test("writer/attach", QVIRTIO_BUF_WRITER, test_attach, &opts);
    qos_add_test("writer/attach-stream", QVIRTIO_BUF_WRITER, test_attach_stream,
                 &opts);
    qos_add_test("writer/every", QVIRTIO_BUF_WRITER, test_every, &opts);
    qos_add_test("writer/latest", QVIRTIO_BUF_WRITER, test_latest, &opts);
    qos_add_test("writer/coalesced", QVIRTIO_BUF_WRITER, test_coalesced, &opts);
    qos_add_test("writer/faults", QVIRTIO_BUF_WRITER, test_faults, &few);
    qos_add_test("writer/late", QVIRTIO_BUF_WRITER, test_late, &opts);
    qos_add_test("writer/events", QVIRTIO_BUF_WRITER, test_events, &few);
    qos_add_test("writer/strict-readonly", QVIRTIO_BUF_WRITER,
                 test_strict_readonly, &strict);
}

libqos_init(register_virtio_buf_writer_test);
