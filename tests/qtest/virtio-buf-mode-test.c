/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: the three modes, and consumers that are slow
 *
 * A consumer that does not read fills its socket; what the guest says then
 * shows what is merged, overtaken or kept.
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

/* Buffers of one stream that one consumer has attached */
typedef struct Swapchain {
    QVirtioBufBuffer buffers[4];
    QBufMemory memory[4];
    uint64_t handles[4];
} Swapchain;

static void swapchain_init(Swapchain *chain, QVirtioBuf *b, QBufConsumer *c,
                           uint8_t mode)
{
    unsigned i;

    *chain = (Swapchain) {};
    for (i = 0; i < ARRAY_SIZE(chain->buffers); i++) {
        chain->buffers[i].mode = mode;
        chain->buffers[i].stream = 1;
        qvirtio_buf_register_ok(b, &chain->buffers[i], i);
        chain->handles[i] = qbuf_expect_buffer(c, chain->buffers[i].id);
        qbuf_expect_attached(c, chain->handles[i], &chain->memory[i]);
    }
}

static void swapchain_clear(Swapchain *chain)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(chain->memory); i++) {
        qbuf_memory_clear(&chain->memory[i]);
    }
}

static void test_latest(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    struct virtio_buf_event event;
    Swapchain chain;

    g_assert_cmpuint(c->hold, ==, 1);
    swapchain_init(&chain, b, c, VIRTIO_BUF_MODE_LATEST);
    qvirtio_buf_update_ok(b, chain.buffers[0].id, PAGE_SIZE);
    qbuf_expect_update(c, chain.handles[0], 1, NULL);

    /* The second waits for the first one's release, the third overtakes it */
    qvirtio_buf_update_ok(b, chain.buffers[1].id, PAGE_SIZE);
    g_assert_cmpuint(qvirtio_buf_update(b, chain.buffers[1].id, PAGE_SIZE,
                                        NULL), ==, VIRTIO_BUF_S_BUSY);
    b->last_serial = 2;
    qvirtio_buf_no_event(b, chain.buffers[1].id, VIRTIO_BUF_EVENT_RELEASED);
    qvirtio_buf_update_ok(b, chain.buffers[2].id, PAGE_SIZE);
    qvirtio_buf_wait_event(b, chain.buffers[1].id, VIRTIO_BUF_EVENT_RELEASED,
                           &event);
    g_assert_cmpuint(event.released, ==, 2);
    qvirtio_buf_update_ok(b, chain.buffers[1].id, PAGE_SIZE);
    qvirtio_buf_wait_event(b, chain.buffers[2].id, VIRTIO_BUF_EVENT_RELEASED,
                           &event);
    g_assert_cmpuint(event.released, ==, 3);
    g_assert_cmpuint(qvirtio_buf_update(b, chain.buffers[0].id, PAGE_SIZE,
                                        NULL), ==, VIRTIO_BUF_S_BUSY);
    b->last_serial = 4;
    qbuf_expect_silence(c);

    qbuf_release(c, chain.handles[0], 1);
    qbuf_expect_update(c, chain.handles[1], 4, NULL);
    qvirtio_buf_wait_event(b, chain.buffers[0].id, VIRTIO_BUF_EVENT_RELEASED,
                           &event);
    g_assert_cmpuint(event.released, ==, 1);
    /* Released already: no error, and nothing is released by it */
    qbuf_release(c, chain.handles[0], 1);
    qbuf_expect_silence(c);
    qvirtio_buf_no_event(b, chain.buffers[1].id, VIRTIO_BUF_EVENT_RELEASED);

    swapchain_clear(&chain);
    qbuf_close(c);
}

static void test_every(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    struct virtio_buf_event event;
    Swapchain chain;
    unsigned i, round;

    swapchain_init(&chain, b, c, VIRTIO_BUF_MODE_EVERY);
    for (round = 0; round < 3; round++) {
        /* In the other order than they were registered */
        for (i = 4; i-- > 0; ) {
            qtest_memset(b->qts, chain.buffers[i].addr, 16 * round + i,
                         PAGE_SIZE);
            qvirtio_buf_update_ok(b, chain.buffers[i].id, PAGE_SIZE);
        }
        g_assert_cmpuint(qvirtio_buf_update(b, chain.buffers[0].id, PAGE_SIZE,
                                            NULL), ==, VIRTIO_BUF_S_BUSY);
        b->last_serial--;
        for (i = 4; i-- > 0; ) {
            qbuf_expect_update(c, chain.handles[i], 4 * round + 4 - i, NULL);
            qbuf_memory_check(&chain.memory[i], 0, PAGE_SIZE, 16 * round + i);
        }
        qbuf_expect_silence(c);
        for (i = 0; i < 4; i++) {
            qbuf_release(c, chain.handles[i], 4 * round + 4 - i);
        }
        /* The last one that was given back */
        qvirtio_buf_wait_event(b, chain.buffers[3].id,
                               VIRTIO_BUF_EVENT_RELEASED, &event);
        g_assert_cmpuint(event.released, ==, 4 * round + 1);
    }
    swapchain_clear(&chain);
    qbuf_close(c);
}

/*
 * Says so much about @id that the consumer's socket is full and more waits
 * behind it, in order
 */
static unsigned fill_socket(QVirtioBuf *b, uint64_t id, size_t bytes)
{
    g_autofree uint8_t *records = g_malloc(VIRTIO_BUF_MAX_PROPERTY_BYTES);
    g_autofree char *value = g_strnfill(VIRTIO_BUF_MAX_PROPERTY_BYTES - 16,
                                        'v');
    uint32_t size = qvirtio_buf_property(records, 0, "filler", value);
    unsigned count = bytes / size, i;

    for (i = 0; i < count; i++) {
        g_assert_cmpuint(qvirtio_buf_set_properties(b, id, records, size), ==,
                         VIRTIO_BUF_S_OK);
    }
    return count;
}

static uint32_t update_rect(QVirtioBuf *b, uint64_t id, unsigned rects)
{
    struct {
        struct virtio_buf_update head;
        struct virtio_buf_rect rects[VIRTIO_BUF_MAX_DAMAGE];
        struct virtio_buf_span span;
    } request = {
        .head = {
            .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE),
            .buffer_id = cpu_to_le64(id),
            .frame = {
                .serial = cpu_to_le64(++b->last_serial),
                .data_size = cpu_to_le64(PAGE_SIZE),
                .rect_count = cpu_to_le16(rects),
                .span_count = cpu_to_le16(1),
            },
        },
    };
    struct virtio_buf_span span = { cpu_to_le64(b->last_serial),
                                    cpu_to_le64(1) };
    struct virtio_buf_update_response response;
    size_t size = sizeof(request.head) + rects * sizeof(request.rects[0]);
    unsigned i;

    for (i = 0; i < rects; i++) {
        request.rects[i].x = cpu_to_le32(b->last_serial);
        request.rects[i].y = cpu_to_le32(i);
        request.rects[i].width = cpu_to_le32(1);
        request.rects[i].height = cpu_to_le32(1);
    }
    memcpy((uint8_t *)&request + size, &span, sizeof(span));
    qvirtio_buf_command(b, &request, size + sizeof(span), &response,
                        sizeof(response));
    return le32_to_cpu(response.hdr.status);
}

static void test_in_place(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {}, other = {};
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QBufMemory memory, other_memory;
    uint64_t handle, other_handle, released;
    QBufUpdate update;
    unsigned i, filler;

    qvirtio_buf_register_ok(b, &buffer, 0x11);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);
    qvirtio_buf_register_ok(b, &other, 0x22);
    other_handle = qbuf_expect_buffer(c, other.id);
    qbuf_expect_attached(c, other_handle, &other_memory);

    /* Nobody owns it: released at once, and no RELEASE is needed */
    for (i = 1; i <= 3; i++) {
        g_assert_cmpuint(qvirtio_buf_update(b, buffer.id, PAGE_SIZE, &released),
                         ==, VIRTIO_BUF_S_OK);
        g_assert_cmpuint(released, ==, i);
        qbuf_expect_update(c, handle, i, NULL);
    }

    filler = fill_socket(b, other.id, 320 * 1024);
    g_assert_cmpuint(update_rect(b, buffer.id, 1), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(update_rect(b, buffer.id, 1), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(update_rect(b, buffer.id, 1), ==, VIRTIO_BUF_S_OK);
    qtest_memset(b->qts, buffer.addr, 0x33, PAGE_SIZE);
    qvirtio_buf_update_ok(b, other.id, PAGE_SIZE);
    while (filler--) {
        qbuf_expect(c, VIRTIO_BUF_MSG_PROPERTIES);
    }
    qbuf_expect_update(c, handle, 6, &update);
    g_assert_cmpuint(update.frame.rect_count, ==, 3);
    g_assert_cmpuint(update.frame.span_count, ==, 3);
    for (i = 0; i < 3; i++) {
        g_assert_cmpuint(le32_to_cpu(update.frame.rects[i].x), ==, 4 + i);
        g_assert_cmpuint(le64_to_cpu(update.frame.spans[i].offset), ==, 4 + i);
    }
    qbuf_expect_update(c, other_handle, 7, NULL);

    /* Damage that does not fit is everything */
    filler = fill_socket(b, other.id, 320 * 1024);
    g_assert_cmpuint(update_rect(b, buffer.id, 10), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(update_rect(b, buffer.id, 7), ==, VIRTIO_BUF_S_OK);
    while (filler--) {
        qbuf_expect(c, VIRTIO_BUF_MSG_PROPERTIES);
    }
    qbuf_expect_update(c, handle, 9, &update);
    g_assert_cmpuint(update.frame.rect_count, ==, 0);
    g_assert_cmpuint(update.frame.span_count, ==, 2);
    qbuf_expect_silence(c);

    qbuf_memory_clear(&memory);
    qbuf_memory_clear(&other_memory);
    qbuf_close(c);
}

/* A consumer that stopped costs the guest and the others nothing */
static void test_stopped(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *stopped = qbuf_subscribe_none(path(), "test", 8);
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    Swapchain chain;
    uint32_t status;
    unsigned at;

    swapchain_init(&chain, b, c, VIRTIO_BUF_MODE_LATEST);
    for (at = 0; b->last_serial < 100; at = (at + 1) % 4) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        status = qvirtio_buf_update(b, chain.buffers[at].id, PAGE_SIZE, NULL);
        if (status == VIRTIO_BUF_S_BUSY) {
            /* The stopped one has been told of one, and one waits for it */
            b->last_serial--;
            continue;
        }
        g_assert_cmpuint(status, ==, VIRTIO_BUF_S_OK);
        qbuf_expect_update(c, chain.handles[at], b->last_serial, NULL);
        qbuf_release(c, chain.handles[at], b->last_serial);
    }

    swapchain_clear(&chain);
    qbuf_close(c);
    qbuf_close(stopped);
}

/* Above its limit of unread messages a consumer is disconnected */
static void test_backlog(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {};
    QBufConsumer *stopped = qbuf_subscribe_none(path(), "test", 0);
    QBufConsumer *c = qbuf_subscribe_none(path(), "other", 0);
    struct virtio_buf_config config;

    qvirtio_buf_register_ok(b, &buffer, 0);
    fill_socket(b, buffer.id, 1400 * 1024);
    qvirtio_buf_config(b, &config);
    g_assert_cmpuint(le32_to_cpu(config.consumers), ==, 1);
    qbuf_expect_end(stopped);
    qbuf_close(stopped);
    qbuf_expect_silence(c);
    qbuf_close(c);
}

static void register_virtio_buf_mode_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER
            ",max-property-bytes=32768",
    };

    qos_add_test("mode/latest", "virtio-buf", test_latest, &opts);
    qos_add_test("mode/every", "virtio-buf", test_every, &opts);
    qos_add_test("mode/in-place", "virtio-buf", test_in_place, &opts);
    qos_add_test("mode/stopped", "virtio-buf", test_stopped, &opts);
    qos_add_test("mode/backlog", "virtio-buf", test_backlog, &opts);
}

libqos_init(register_virtio_buf_mode_test);
