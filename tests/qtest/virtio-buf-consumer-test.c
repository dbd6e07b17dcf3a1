/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: buffers, from the guest to consumers
 *
 * Consumers are sockets of the test. The cases hold for dma-bufs and for
 * copies, whichever this machine has to give.
 */
#include "qemu/osdep.h"
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

static uint32_t consumers_in_config(QVirtioBuf *b)
{
    struct virtio_buf_config config;

    qvirtio_buf_config(b, &config);
    return le32_to_cpu(config.consumers);
}

/* The server hears of a close() a moment later */
static void wait_consumers(QVirtioBuf *b, uint32_t count)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;

    while (consumers_in_config(b) != count) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

static void test_frame(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {
        .size = 2 * PAGE_SIZE - 100, .mode = VIRTIO_BUF_MODE_LATEST,
        .context = 5, .stream = 6,
    };
    const struct virtio_buf_msg_buffer *msg;
    struct virtio_buf_event event;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    QBufUpdate update;
    QBufMemory memory;
    struct timespec ts;
    uint64_t handle, before, after, serial;

    qvirtio_buf_register_ok(b, &buffer, 0x11);
    msg = qbuf_expect(c, VIRTIO_BUF_MSG_BUFFER);
    handle = le64_to_cpu(msg->buffer);
    g_assert_cmpuint(le64_to_cpu(msg->guest_id), ==, buffer.id);
    g_assert_cmpuint(le64_to_cpu(msg->size), ==, buffer.size);
    g_assert_cmpuint(le64_to_cpu(msg->stream), ==, 6);
    g_assert_cmpuint(le64_to_cpu(msg->serial), ==, 0);
    g_assert_cmpuint(le32_to_cpu(msg->context), ==, 5);
    g_assert_cmpuint(msg->backing, ==, buffer.response.backing);
    g_assert_cmpuint(msg->mode, ==, VIRTIO_BUF_MODE_LATEST);
    g_assert_cmpuint(msg->access, ==, VIRTIO_BUF_ACCESS_READ);
    g_assert_cmpuint(msg->property_bytes, ==, 0);
    g_assert_cmpmem(msg->uuid, 16, buffer.response.uuid, 16);
    g_assert_cmpstr((char *)msg->application, ==, "test");

    /* Who has not asked gets no updates */
    qvirtio_buf_update_ok(b, buffer.id, buffer.size);
    qbuf_expect_silence(c);

    qbuf_attach(c, handle);
    qbuf_expect_attached(c, handle, &memory);
    g_assert_cmpuint(memory.size, ==, 2 * PAGE_SIZE);
    g_assert_cmpuint(memory.backing, ==, qvirtio_buf_zero_copy() ?
                     VIRTIO_BUF_BACKING_DMABUF : VIRTIO_BUF_BACKING_COPY);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, &event);
    g_assert_cmpuint(event.consumers, ==, 1);
    /* A hand-off that was before is over */
    qbuf_expect_silence(c);

    clock_gettime(CLOCK_MONOTONIC, &ts);
    before = ts.tv_sec * 1000000000ull + ts.tv_nsec;
    qtest_memset(b->qts, buffer.addr, 0x22, buffer.size);
    serial = qvirtio_buf_update_ok(b, buffer.id, buffer.size);
    qbuf_expect_update(c, handle, serial, &update);
    clock_gettime(CLOCK_MONOTONIC, &ts);
    after = ts.tv_sec * 1000000000ull + ts.tv_nsec;
    g_assert_cmpuint(update.time, >=, before);
    g_assert_cmpuint(update.time, <=, after);
    g_assert_cmpuint(update.frame.data_size, ==, buffer.size);
    qbuf_memory_check(&memory, 0, buffer.size, 0x22);
    /* A dma-buf of udmabuf can be written, a copy for readers cannot */
    g_assert_cmpint(qbuf_memory_writable(&memory), ==,
                    qvirtio_buf_zero_copy());

    g_assert_cmpuint(qvirtio_buf_update(b, buffer.id, buffer.size, NULL), ==,
                     VIRTIO_BUF_S_BUSY);
    qvirtio_buf_no_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED);
    qvirtio_buf_config_changed(b);
    qbuf_release(c, handle, serial);
    qvirtio_buf_wait_config_changed(b);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED, &event);
    g_assert_cmpuint(event.released, ==, serial);
    qvirtio_buf_update_ok(b, buffer.id, buffer.size);

    qbuf_memory_clear(&memory);
    qbuf_close(c);
}

static void test_damage(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .size = 4 * PAGE_SIZE };
    struct {
        struct virtio_buf_update head;
        struct virtio_buf_rect rect;
        struct virtio_buf_span span;
    } request = {
        .head = {
            .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE),
            .buffer_id = cpu_to_le64(1),
            .frame = {
                .serial = cpu_to_le64(2),
                .flags = cpu_to_le32(VIRTIO_BUF_FRAME_KEYFRAME),
                .clock = cpu_to_le32(VIRTIO_BUF_CLOCK_STREAM),
                .data_size = cpu_to_le64(4 * PAGE_SIZE),
                .pts = cpu_to_le64(40),
                .duration = cpu_to_le64(41),
                .time = cpu_to_le64(42),
                .rect_count = cpu_to_le16(1),
                .span_count = cpu_to_le16(1),
            },
        },
        .rect = { cpu_to_le32(1), cpu_to_le32(2), cpu_to_le32(3),
                  cpu_to_le32(4) },
        .span = { cpu_to_le64(PAGE_SIZE + 10), cpu_to_le64(100) },
    };
    struct virtio_buf_update_response response;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 1);
    QBufUpdate update;
    QBufMemory memory;
    uint64_t handle;

    qvirtio_buf_register_ok(b, &buffer, 0x11);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);
    qvirtio_buf_update_ok(b, buffer.id, buffer.size);
    qbuf_expect_update(c, handle, 1, NULL);
    qbuf_memory_check(&memory, 0, buffer.size, 0x11);

    qtest_memset(b->qts, buffer.addr, 0x22, buffer.size);
    qvirtio_buf_command(b, &request, sizeof(request), &response,
                        sizeof(response));
    g_assert_cmpuint(le32_to_cpu(response.hdr.status), ==, VIRTIO_BUF_S_OK);
    qbuf_expect_update(c, handle, 2, &update);
    g_assert_cmphex(update.frame.flags, ==, VIRTIO_BUF_FRAME_KEYFRAME);
    g_assert_cmpuint(update.frame.clock, ==, VIRTIO_BUF_CLOCK_STREAM);
    g_assert_cmpuint(update.frame.pts, ==, 40);
    g_assert_cmpuint(update.frame.duration, ==, 41);
    g_assert_cmpuint(update.frame.time, ==, 42);
    g_assert_cmpuint(update.frame.rect_count, ==, 1);
    g_assert_cmpmem(update.frame.rects, 16, &request.rect, 16);
    g_assert_cmpuint(update.frame.span_count, ==, 1);
    g_assert_cmpmem(update.frame.spans, 16, &request.span, 16);

    /* What was said to have changed; a copy has nothing else */
    qbuf_memory_check(&memory, PAGE_SIZE + 10, 100, 0x22);
    qbuf_memory_check(&memory, 3 * PAGE_SIZE, PAGE_SIZE,
                      qvirtio_buf_zero_copy() ? 0x22 : 0x11);
    qbuf_memory_clear(&memory);
    qbuf_close(c);
}

static void test_late_join(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint8_t records[64] QEMU_ALIGNED(8);
    uint32_t size = qvirtio_buf_property(records, 0, "fourcc", "XR24");
    QVirtioBufBuffer redrawn = { .properties = records,
                                 .property_bytes = size };
    QVirtioBufBuffer handed = { .mode = VIRTIO_BUF_MODE_EVERY };
    QVirtioBufBuffer other = { .application = "other" };
    const struct virtio_buf_msg_buffer *msg;
    QBufMemory memory, handed_memory;
    uint64_t handle, handed_handle;
    QBufConsumer *c;

    qvirtio_buf_register_ok(b, &redrawn, 0x33);
    qvirtio_buf_register_ok(b, &handed, 0x44);
    qvirtio_buf_register_ok(b, &other, 0x55);
    qvirtio_buf_update_ok(b, redrawn.id, PAGE_SIZE);
    qvirtio_buf_update_ok(b, handed.id, PAGE_SIZE);

    c = qbuf_subscribe(path(), "test", 8);
    msg = qbuf_expect(c, VIRTIO_BUF_MSG_BUFFER);
    handle = le64_to_cpu(msg->buffer);
    g_assert_cmpuint(le64_to_cpu(msg->guest_id), ==, redrawn.id);
    g_assert_cmpuint(le64_to_cpu(msg->serial), ==, 1);
    g_assert_cmpuint(le32_to_cpu(msg->property_bytes), ==, size);
    g_assert_cmpmem(msg + 1, size, records, size);
    handed_handle = qbuf_expect_buffer(c, handed.id);
    qbuf_expect_subscribed(c);
    g_assert_cmpuint(c->credit, ==, 8);
    g_assert_cmpuint(c->id, !=, 0);

    qbuf_expect_attached(c, handle, &memory);
    qbuf_expect_attached(c, handed_handle, &handed_memory);
    qbuf_expect_update(c, handle, 1, NULL);
    qbuf_memory_check(&memory, 0, PAGE_SIZE, 0x33);
    /* The other one was handed off before it came, to nobody */
    qbuf_expect_silence(c);
    qvirtio_buf_update_ok(b, handed.id, PAGE_SIZE);
    qbuf_expect_update(c, handed_handle, 3, NULL);
    qbuf_memory_check(&handed_memory, 0, PAGE_SIZE, 0x44);

    qbuf_memory_clear(&memory);
    qbuf_memory_clear(&handed_memory);
    qbuf_close(c);
}

static void test_two_consumers(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .mode = VIRTIO_BUF_MODE_EVERY };
    QBufConsumer *one = qbuf_subscribe_none(path(), "test", 1);
    QBufConsumer *all = qbuf_subscribe_none(path(), NULL, 1);
    QBufConsumer *other = qbuf_subscribe_none(path(), "other", 1);
    QBufMemory one_memory, all_memory;
    struct virtio_buf_event event;
    uint64_t handle, serial;

    g_assert_cmpuint(consumers_in_config(b), ==, 3);
    qvirtio_buf_register_ok(b, &buffer, 0x66);
    handle = qbuf_expect_buffer(one, buffer.id);
    g_assert_cmpuint(qbuf_expect_buffer(all, buffer.id), ==, handle);
    qbuf_expect_attached(one, handle, &one_memory);
    qbuf_expect_attached(all, handle, &all_memory);

    serial = qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(one, handle, serial, NULL);
    qbuf_expect_update(all, handle, serial, NULL);
    qbuf_memory_check(&one_memory, 0, PAGE_SIZE, 0x66);
    qbuf_memory_check(&all_memory, 0, PAGE_SIZE, 0x66);

    qbuf_release(one, handle, serial);
    /* The answer to an ATTACH proves that the RELEASE has been seen */
    qbuf_detach(one, handle);
    qbuf_attach(one, handle);
    qbuf_memory_clear(&one_memory);
    qbuf_expect_attached(one, handle, &one_memory);
    qvirtio_buf_no_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED);
    qbuf_release(all, handle, serial);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED, &event);
    g_assert_cmpuint(event.released, ==, serial);
    g_assert_cmpuint(event.consumers, ==, 2);
    qbuf_expect_silence(other);

    /* What a consumer holds ends with it */
    serial = qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(one, handle, serial, NULL);
    qbuf_release(one, handle, serial);
    qbuf_expect_update(all, handle, serial, NULL);
    qbuf_memory_clear(&all_memory);
    qbuf_close(all);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED |
                           VIRTIO_BUF_EVENT_CONSUMERS, &event);
    g_assert_cmpuint(event.released, ==, serial);
    g_assert_cmpuint(event.consumers, ==, 1);
    wait_consumers(b, 2);

    qbuf_memory_clear(&one_memory);
    qbuf_close(one);
    qbuf_close(other);
    wait_consumers(b, 0);
}

static void test_credit(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffers[4] = {};
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 2);
    QBufMemory memory[4];
    uint64_t handles[4];
    unsigned i;

    for (i = 0; i < 3; i++) {
        qvirtio_buf_register_ok(b, &buffers[i], i);
        handles[i] = qbuf_expect_buffer(c, buffers[i].id);
        if (i < 2) {
            qbuf_expect_attached(c, handles[i], &memory[i]);
        }
    }
    qbuf_expect_silence(c);
    qbuf_memory_clear(&memory[0]);
    qbuf_detach(c, handles[0]);
    /* The credit is for buffers that are announced from now on */
    qbuf_expect_silence(c);
    qvirtio_buf_register_ok(b, &buffers[3], 3);
    handles[3] = qbuf_expect_buffer(c, buffers[3].id);
    qbuf_expect_attached(c, handles[3], &memory[3]);
    /* By name it needs no credit */
    qbuf_attach(c, handles[2]);
    qbuf_expect_attached(c, handles[2], &memory[2]);
    for (i = 1; i < 4; i++) {
        qbuf_memory_clear(&memory[i]);
    }
    qbuf_close(c);
}

static void test_attach_stream(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer old = { .stream = 7 }, alone = {}, later = { .stream = 7 };
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    QBufMemory memory[2];
    uint64_t handle;

    qvirtio_buf_register_ok(b, &old, 1);
    handle = qbuf_expect_buffer(c, old.id);
    qvirtio_buf_register_ok(b, &alone, 2);
    qbuf_expect_buffer(c, alone.id);
    qbuf_attach_stream(c, 7);
    qbuf_expect_attached(c, handle, &memory[0]);
    qvirtio_buf_register_ok(b, &later, 3);
    handle = qbuf_expect_buffer(c, later.id);
    qbuf_expect_attached(c, handle, &memory[1]);
    qbuf_expect_silence(c);
    qbuf_memory_clear(&memory[0]);
    qbuf_memory_clear(&memory[1]);
    qbuf_close(c);
}

/* More than a wake-up is worth; what is said next comes after all of it */
static void test_large_stream(void *obj, void *data, QGuestAllocator *alloc)
{
    enum { COUNT = 300 };
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffers[COUNT] = { };
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    uint64_t handles[COUNT];
    QBufMemory memory;

    for (int i = 0; i < COUNT; i++) {
        buffers[i].stream = 7;
        qvirtio_buf_register_ok(b, &buffers[i], 0);
        handles[i] = qbuf_expect_buffer(c, buffers[i].id);
    }
    qbuf_attach_stream(c, 7);
    qbuf_detach(c, handles[COUNT - 1]);
    for (int i = 0; i < COUNT - 1; i++) {
        qbuf_expect_attached(c, handles[i], &memory);
        qbuf_memory_clear(&memory);
    }
    qbuf_expect_silence(c);

    /* Some go while it is at it; the others have their turn */
    for (int i = 0; i < COUNT - 1; i++) {
        qbuf_detach(c, handles[i]);
    }
    qbuf_attach_stream(c, 7);
    g_assert_cmpuint(qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_STREAM, 0,
                                               7, NULL), ==, VIRTIO_BUF_S_OK);
    qbuf_close(c);
    qvirtio_buf_register_ok(b, &(QVirtioBufBuffer) { .stream = 7 }, 0);
}

static void test_attach_ignored(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {}, gone = {};
    struct virtio_buf_msg_attach writer = {
        .flags = cpu_to_le32(VIRTIO_BUF_ATTACH_WRITER),
    };
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    uint64_t handle, gone_handle;
    QBufMemory memory;

    qvirtio_buf_register_ok(b, &buffer, 1);
    handle = qbuf_expect_buffer(c, buffer.id);
    qvirtio_buf_register_ok(b, &gone, 2);
    gone_handle = qbuf_expect_buffer(c, gone.id);
    g_assert_cmpuint(qvirtio_buf_unregister(b, gone.id), ==, VIRTIO_BUF_S_OK);
    qbuf_expect_remove(c, gone_handle);

    /* Late words about what is gone, or was never there, and twice the same */
    qbuf_attach(c, gone_handle);
    qbuf_detach(c, gone_handle);
    qbuf_release(c, gone_handle, 1);
    qbuf_removed(c, gone_handle);
    qbuf_attach(c, UINT64_MAX);
    qbuf_attach_stream(c, UINT64_MAX);
    qbuf_detach(c, handle);
    qbuf_attach(c, handle);
    qbuf_attach(c, handle);
    qbuf_expect_attached(c, handle, &memory);
    qbuf_expect_silence(c);
    qbuf_memory_clear(&memory);
    qbuf_detach(c, handle);

    writer.buffer = cpu_to_le64(handle);
    qbuf_send(c, VIRTIO_BUF_MSG_ATTACH, &writer, sizeof(writer));
    qbuf_expect_refused(c, handle, EACCES);
    qbuf_close(c);
}

static void test_limits(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffers[3] = {};
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 100);
    QBufMemory memory[3];
    uint64_t handles[3];
    unsigned i;

    /* max-attached=2,hold=2 */
    g_assert_cmpuint(c->credit, ==, 2);
    g_assert_cmpuint(c->hold, ==, 2);
    for (i = 0; i < 3; i++) {
        buffers[i].mode = VIRTIO_BUF_MODE_LATEST;
        buffers[i].stream = 1;
        qvirtio_buf_register_ok(b, &buffers[i], i);
        handles[i] = qbuf_expect_buffer(c, buffers[i].id);
        if (i < 2) {
            qbuf_expect_attached(c, handles[i], &memory[i]);
        }
    }
    qbuf_attach(c, handles[2]);
    qbuf_expect_refused(c, handles[2], ENOSPC);

    /* Two may be held */
    qvirtio_buf_update_ok(b, buffers[0].id, PAGE_SIZE);
    qvirtio_buf_update_ok(b, buffers[1].id, PAGE_SIZE);
    qbuf_expect_update(c, handles[0], 1, NULL);
    qbuf_expect_update(c, handles[1], 2, NULL);

    qbuf_memory_clear(&memory[0]);
    qbuf_detach(c, handles[0]);
    qbuf_attach(c, handles[2]);
    qbuf_expect_attached(c, handles[2], &memory[2]);
    qbuf_memory_clear(&memory[1]);
    qbuf_memory_clear(&memory[2]);
    qbuf_close(c);
}

static void test_properties(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint8_t records[128] QEMU_ALIGNED(8), expected[128] QEMU_ALIGNED(8);
    struct virtio_buf_update *request;
    g_autofree uint8_t *bytes = NULL;
    struct virtio_buf_update_response response;
    const struct virtio_buf_msg_properties *msg;
    const struct virtio_buf_msg_buffer *announced;
    QVirtioBufBuffer buffer = { .properties = records };
    QBufConsumer *c, *late;
    QBufMemory memory;
    QBufUpdate update;
    uint64_t handle;
    uint32_t size;

    size = qvirtio_buf_property(records, 0, "width", "640");
    size = qvirtio_buf_property(records, size, "height", "480");
    buffer.property_bytes = size;
    c = qbuf_subscribe_none(path(), "test", 1);
    qvirtio_buf_register_ok(b, &buffer, 0);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);

    size = qvirtio_buf_property_delete(records, 0, "width");
    size = qvirtio_buf_property(records, size, "title", "\xc3\xa4");
    g_assert_cmpuint(qvirtio_buf_set_properties(b, buffer.id, records, size),
                     ==, VIRTIO_BUF_S_OK);
    msg = qbuf_expect(c, VIRTIO_BUF_MSG_PROPERTIES);
    g_assert_cmpuint(le64_to_cpu(msg->buffer), ==, handle);
    g_assert_cmpuint(le32_to_cpu(msg->property_bytes), ==, size);
    g_assert_cmpuint(msg->reserved, ==, 0);
    g_assert_cmpmem(msg + 1, size, records, size);

    /* Refused ones reach nobody */
    size = qvirtio_buf_property(records, 0, "a", "");
    size = qvirtio_buf_property(records, size, "a", "");
    g_assert_cmpuint(qvirtio_buf_set_properties(b, buffer.id, records, size),
                     ==, VIRTIO_BUF_S_INVALID);

    /* With an update they take effect with it */
    size = qvirtio_buf_property(records, 0, "crop", "1");
    bytes = g_malloc0(sizeof(*request) + size);
    request = (void *)bytes;
    request->hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE);
    request->buffer_id = cpu_to_le64(buffer.id);
    request->frame.serial = cpu_to_le64(1);
    request->frame.data_size = cpu_to_le64(PAGE_SIZE);
    request->frame.property_bytes = cpu_to_le32(size);
    memcpy(bytes + sizeof(*request), records, size);
    qvirtio_buf_command(b, bytes, sizeof(*request) + size, &response,
                        sizeof(response));
    g_assert_cmpuint(le32_to_cpu(response.hdr.status), ==, VIRTIO_BUF_S_OK);
    qbuf_expect_update(c, handle, 1, &update);
    g_assert_cmpuint(update.frame.property_bytes, ==, size);
    g_assert_cmpmem(update.frame.properties, size, records, size);

    /* Who comes now reads what is in force */
    late = qbuf_subscribe(path(), "test", 0);
    announced = qbuf_expect(late, VIRTIO_BUF_MSG_BUFFER);
    size = qvirtio_buf_property(expected, 0, "height", "480");
    size = qvirtio_buf_property(expected, size, "title", "\xc3\xa4");
    size = qvirtio_buf_property(expected, size, "crop", "1");
    g_assert_cmpuint(le32_to_cpu(announced->property_bytes), ==, size);
    g_assert_cmpmem(announced + 1, size, expected, size);
    qbuf_expect_subscribed(late);

    qbuf_close(late);
    qbuf_memory_clear(&memory);
    qbuf_close(c);
}

static void check_consumers(QVirtioBuf *b, const char *application,
                            uint64_t after, size_t room, unsigned count,
                            bool more, uint64_t first_id, uint32_t first_flags,
                            const uint8_t *records, uint32_t size)
{
    struct virtio_buf_get_consumers request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_CONSUMERS),
        .after = cpu_to_le64(after),
    };
    g_autofree uint8_t *answer = g_malloc(room);
    struct virtio_buf_consumers_response *list = (void *)answer;
    struct virtio_buf_consumer *first = (void *)(list + 1);

    strcpy((char *)request.application, application);
    qvirtio_buf_command(b, &request, sizeof(request), answer, room);
    g_assert_cmpuint(le32_to_cpu(list->hdr.status), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(le32_to_cpu(list->count), ==, count);
    g_assert_cmpuint(le32_to_cpu(list->more), ==, more);
    if (count) {
        g_assert_cmpuint(le64_to_cpu(first->consumer_id), ==, first_id);
        g_assert_cmpuint(le32_to_cpu(first->flags), ==, first_flags);
        g_assert_cmpuint(le32_to_cpu(first->property_bytes), ==, size);
        g_assert_cmpmem(first + 1, size, records, size);
    }
}

static void test_get_consumers(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    const size_t least = sizeof(struct virtio_buf_consumers_response) +
                         sizeof(struct virtio_buf_consumer) +
                         VIRTIO_BUF_MAX_PROPERTY_BYTES;
    const size_t room = 100 * 1024;
    g_autofree uint8_t *records = g_malloc0(4096);
    g_autofree char *value = g_strnfill(4096 - 16, 'v');
    uint32_t size = qvirtio_buf_property(records, 0, "formats", value);
    QBufConsumer *c[10];
    unsigned i;

    qvirtio_buf_config_changed(b);
    for (i = 0; i < ARRAY_SIZE(c); i++) {
        c[i] = qbuf_hello(path());
        qbuf_send_subscribe(c[i], i == 1 ? "other" : "test", 0,
                            i ? 0 : VIRTIO_BUF_SUBSCRIBE_WRITER, records, size);
        qbuf_expect_device(c[i], true);
        qbuf_expect_subscribed(c[i]);
        g_assert_true(i == 0 || c[i]->id > c[i - 1]->id);
    }
    g_assert_true(qvirtio_buf_config_changed(b));
    g_assert_cmpuint(consumers_in_config(b), ==, ARRAY_SIZE(c));

    check_consumers(b, "test", 0, room, 9, false, c[0]->id,
                    VIRTIO_BUF_CONSUMER_WRITER, records, size);
    check_consumers(b, "other", 0, room, 1, false, c[1]->id, 0, records, size);
    check_consumers(b, "none", 0, room, 0, false, 0, 0, NULL, 0);
    check_consumers(b, "test", c[0]->id, room, 8, false, c[2]->id, 0, records,
                    size);
    check_consumers(b, "test", c[9]->id, room, 0, false, 0, 0, NULL, 0);
    check_consumers(b, "test", UINT64_MAX, room, 0, false, 0, 0, NULL, 0);
    /* Eight records of 4112 bytes do not fit, seven do */
    check_consumers(b, "test", 0, least, 7, true, c[0]->id,
                    VIRTIO_BUF_CONSUMER_WRITER, records, size);
    check_consumers(b, "test", c[7]->id, least, 2, false, c[8]->id, 0, records,
                    size);
    for (i = 0; i < ARRAY_SIZE(c); i++) {
        qbuf_close(c[i]);
    }
    wait_consumers(b, 0);
}

/* News that arise meanwhile are raised when it runs */
static void test_stopped_machine(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .mode = VIRTIO_BUF_MODE_EVERY };
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 1);
    struct virtio_buf_event event;
    QBufMemory memory;
    uint64_t handle, serial;

    qvirtio_buf_register_ok(b, &buffer, 0);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);
    serial = qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(c, handle, serial, NULL);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, NULL);
    qvirtio_buf_config_changed(b);

    qtest_qmp_assert_success(b->qts, "{'execute': 'stop'}");
    qbuf_release(c, handle, serial);
    /* The second ATTACHED comes after the RELEASE has been seen */
    qbuf_memory_clear(&memory);
    qbuf_detach(c, handle);
    qbuf_attach(c, handle);
    qbuf_expect_attached(c, handle, &memory);
    g_assert_false(qvirtio_buf_config_changed(b));
    qtest_qmp_assert_success(b->qts, "{'execute': 'cont'}");
    qvirtio_buf_wait_config_changed(b);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED, &event);
    g_assert_cmpuint(event.released, ==, serial);
    qbuf_memory_clear(&memory);
    qbuf_close(c);
}

static void test_killed(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .mode = VIRTIO_BUF_MODE_EVERY };
    struct virtio_buf_event event;
    QBufConsumer *c;
    QBufMemory memory;
    uint64_t handle, serial;
    int pipe_fds[2];
    char byte;
    pid_t pid;

    qvirtio_buf_register_ok(b, &buffer, 0x77);
    g_assert_cmpint(pipe(pipe_fds), ==, 0);
    pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        c = qbuf_subscribe(path(), "test", 1);
        handle = qbuf_expect_buffer(c, buffer.id);
        qbuf_expect_subscribed(c);
        qbuf_expect_attached(c, handle, &memory);
        g_assert_cmpint(write(pipe_fds[1], "a", 1), ==, 1);
        qbuf_expect_update(c, handle, 1, NULL);
        g_assert_cmpint(write(pipe_fds[1], "u", 1), ==, 1);
        for (;;) {
            pause();
        }
    }
    g_assert_cmpint(read(pipe_fds[0], &byte, 1), ==, 1);
    serial = qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    g_assert_cmpint(read(pipe_fds[0], &byte, 1), ==, 1);
    g_assert_cmpuint(qvirtio_buf_update(b, buffer.id, PAGE_SIZE, NULL), ==,
                     VIRTIO_BUF_S_BUSY);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, NULL);
    g_assert_cmpuint(consumers_in_config(b), ==, 1);
    qvirtio_buf_config_changed(b);

    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    qvirtio_buf_wait_config_changed(b);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED |
                           VIRTIO_BUF_EVENT_CONSUMERS, &event);
    g_assert_cmpuint(event.released, ==, serial);
    g_assert_cmpuint(event.consumers, ==, 0);
    wait_consumers(b, 0);
    qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_OK);
}

static void register_virtio_buf_consumer_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions limits = {
        .before = qvirtio_buf_before,
        .arg = (void *)"max-attached=2,hold=2",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions large = {
        .before = qvirtio_buf_before,
        .arg = (void *)"max-attached=300",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER ",max-buffers=301",
    };

    qos_add_test("consumer/frame", "virtio-buf", test_frame, &opts);
    qos_add_test("consumer/damage", "virtio-buf", test_damage, &opts);
    qos_add_test("consumer/late-join", "virtio-buf", test_late_join, &opts);
    qos_add_test("consumer/two", "virtio-buf", test_two_consumers, &opts);
    qos_add_test("consumer/credit", "virtio-buf", test_credit, &opts);
    qos_add_test("consumer/attach-stream", "virtio-buf", test_attach_stream,
                 &opts);
    qos_add_test("consumer/large-stream", "virtio-buf", test_large_stream,
                 &large);
    qos_add_test("consumer/attach-ignored", "virtio-buf", test_attach_ignored,
                 &opts);
    qos_add_test("consumer/properties", "virtio-buf", test_properties, &opts);
    qos_add_test("consumer/get-consumers", "virtio-buf", test_get_consumers,
                 &opts);
    qos_add_test("consumer/stopped-machine", "virtio-buf",
                 test_stopped_machine, &opts);
    qos_add_test("consumer/killed", "virtio-buf", test_killed, &opts);
    qos_add_test("consumer/limits", "virtio-buf", test_limits, &limits);
}

libqos_init(register_virtio_buf_consumer_test);
