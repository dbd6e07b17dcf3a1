/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: consumers that hold an update for too long
 *
 * The virtual clock stands still but for qtest_clock_step(), so that a test
 * says exactly when time is up.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"

#define PAGE_SIZE 4096
#define MS 1000000ll           /* of the virtual clock */
#define TIMEOUT 500
#define HOLDING QVIRTIO_BUF_SERVER ",hold-timeout=500"

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

static void step_ms(QVirtioBuf *b, int64_t ms)
{
    qtest_clock_step(b->qts, ms * MS);
}

/* All that this consumer has said has been processed */
static void settle(QBufConsumer *c)
{
    qbuf_attach(c, UINT64_MAX);
    qbuf_expect_silence(c);
}

static void buffer_init(QVirtioBufBuffer *buffer, QVirtioBuf *b, uint8_t mode,
                        uint64_t stream)
{
    *buffer = (QVirtioBufBuffer) { .mode = mode, .stream = stream };
    qvirtio_buf_register_ok(b, buffer, 0);
}

/* The consumer has this buffer, as the next one that it hears of */
static uint64_t attach(QBufConsumer *c, const QVirtioBufBuffer *buffer)
{
    uint64_t handle = qbuf_expect_buffer(c, buffer->id);
    QBufMemory memory;

    qbuf_expect_attached(c, handle, &memory);
    qbuf_memory_clear(&memory);
    return handle;
}

static void expect_released(QVirtioBuf *b, const QVirtioBufBuffer *buffer,
                            uint64_t serial)
{
    struct virtio_buf_event event;

    qvirtio_buf_wait_event(b, buffer->id, VIRTIO_BUF_EVENT_RELEASED, &event);
    g_assert_cmpuint(event.released, ==, serial);
}

static void expect_held(QVirtioBuf *b, const QVirtioBufBuffer *buffer)
{
    qvirtio_buf_no_event(b, buffer->id, VIRTIO_BUF_EVENT_RELEASED);
    g_assert_cmpuint(qvirtio_buf_update(b, buffer->id, PAGE_SIZE, NULL), ==,
                     VIRTIO_BUF_S_BUSY);
    b->last_serial--;
}

static void test_latest(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *slow = qbuf_subscribe_none(path(), "test", 8);
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer buffers[3];
    struct virtio_buf_config config;
    uint64_t handles[3], serial, released;

    qvirtio_buf_config(b, &config);
    g_assert_cmpuint(le32_to_cpu(config.hold_timeout_ms), ==, TIMEOUT);
    g_assert_cmpuint(c->hold_timeout_ms, ==, TIMEOUT);
    for (int i = 0; i < 3; i++) {
        buffer_init(&buffers[i], b, VIRTIO_BUF_MODE_LATEST, 1);
        handles[i] = attach(slow, &buffers[i]);
        attach(c, &buffers[i]);
    }

    serial = qvirtio_buf_update_ok(b, buffers[0].id, PAGE_SIZE);
    qbuf_expect_update(slow, handles[0], serial, NULL);
    qbuf_expect_update(c, handles[0], serial, NULL);
    qbuf_release(c, handles[0], serial);
    step_ms(b, TIMEOUT - 1);
    settle(slow);
    expect_held(b, &buffers[0]);

    /* One waits for it, and is not given any more either */
    qvirtio_buf_update_ok(b, buffers[1].id, PAGE_SIZE);
    qbuf_expect_update(c, handles[1], 2, NULL);
    qbuf_release(c, handles[1], 2);
    settle(c);
    expect_held(b, &buffers[1]);
    step_ms(b, 1);
    qbuf_expect_lost(slow, handles[0], serial);
    expect_released(b, &buffers[0], serial);
    g_assert_cmpuint(qvirtio_buf_update(b, buffers[1].id, PAGE_SIZE,
                                        &released), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(released, ==, 2);
    qbuf_expect_update(c, handles[1], 3, NULL);
    qbuf_release(c, handles[1], 3);
    expect_released(b, &buffers[1], 3);

    /* It costs no one anything any more */
    for (int i = 0; i < 10; i++) {
        serial = qvirtio_buf_update_ok(b, buffers[2].id, PAGE_SIZE);
        qbuf_expect_update(c, handles[2], serial, NULL);
        qbuf_release(c, handles[2], serial);
        expect_released(b, &buffers[2], serial);
    }
    step_ms(b, 10 * TIMEOUT);
    settle(slow);

    /* An old serial is no answer; a new one: it takes part again */
    qbuf_release(slow, handles[1], 0);
    settle(slow);
    serial = qvirtio_buf_update_ok(b, buffers[0].id, PAGE_SIZE);
    qbuf_expect_update(c, handles[0], serial, NULL);
    settle(slow);
    qbuf_release(slow, handles[0], 1);
    settle(slow);
    serial = qvirtio_buf_update_ok(b, buffers[1].id, PAGE_SIZE);
    qbuf_expect_update(slow, handles[1], serial, NULL);
    qbuf_release(slow, handles[1], serial);
    settle(slow);
    step_ms(b, TIMEOUT);
    settle(slow);
    qbuf_expect_lost(c, handles[0], serial - 1);
    qbuf_close(c);
    qbuf_close(slow);
}

/* The time of each is its own; what is released in time is not lost */
static void test_order(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer buffers[4];
    uint64_t handles[4];

    for (int i = 0; i < 4; i++) {
        buffer_init(&buffers[i], b, VIRTIO_BUF_MODE_LATEST, 0);
        handles[i] = attach(c, &buffers[i]);
        qvirtio_buf_update_ok(b, buffers[i].id, PAGE_SIZE);
        qbuf_expect_update(c, handles[i], i + 1, NULL);
        step_ms(b, 100);
    }
    /* At 400 ms; they were given at 0, 100, 200 and 300 */
    qbuf_release(c, handles[1], 2);
    expect_released(b, &buffers[1], 2);
    qvirtio_buf_update_ok(b, buffers[1].id, PAGE_SIZE);
    qbuf_expect_update(c, handles[1], 5, NULL);
    step_ms(b, 99);
    settle(c);
    step_ms(b, 1);
    qbuf_expect_lost(c, handles[0], 1);
    step_ms(b, 199);
    settle(c);
    step_ms(b, 1);
    qbuf_expect_lost(c, handles[2], 3);
    step_ms(b, 150);
    qbuf_expect_lost(c, handles[3], 4);
    step_ms(b, 49);
    settle(c);
    expect_held(b, &buffers[1]);
    step_ms(b, 1);
    qbuf_expect_lost(c, handles[1], 5);
    expect_released(b, &buffers[1], 5);
    step_ms(b, 10 * TIMEOUT);
    settle(c);
    qbuf_close(c);
}

static void test_every(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *slow = qbuf_subscribe_none(path(), "test", 8);
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer buffers[2];
    struct virtio_buf_event event;
    uint64_t handles[2];

    for (int i = 0; i < 2; i++) {
        buffer_init(&buffers[i], b, VIRTIO_BUF_MODE_EVERY, 1);
        handles[i] = attach(slow, &buffers[i]);
        attach(c, &buffers[i]);
        qvirtio_buf_update_ok(b, buffers[i].id, PAGE_SIZE);
        qbuf_expect_update(slow, handles[i], i + 1, NULL);
        qbuf_expect_update(c, handles[i], i + 1, NULL);
        qbuf_release(c, handles[i], i + 1);
    }
    settle(c);
    qbuf_release(slow, handles[0], 1);
    expect_released(b, &buffers[0], 1);
    step_ms(b, TIMEOUT - 1);
    settle(slow);
    expect_held(b, &buffers[1]);
    step_ms(b, 1);
    qbuf_expect_error(slow, ETIMEDOUT);
    qvirtio_buf_wait_event(b, buffers[1].id, VIRTIO_BUF_EVENT_RELEASED |
                           VIRTIO_BUF_EVENT_CONSUMERS, &event);
    g_assert_cmpuint(event.released, ==, 2);
    g_assert_cmpuint(event.consumers, ==, 1);
    settle(c);
    qvirtio_buf_update_ok(b, buffers[1].id, PAGE_SIZE);
    qbuf_expect_update(c, handles[1], 3, NULL);
    qbuf_close(c);
    qbuf_close(slow);
}

/* Nobody owns what is redrawn, however long it is looked at */
static void test_in_place(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer buffer;
    uint64_t handle;

    buffer_init(&buffer, b, VIRTIO_BUF_MODE_IN_PLACE, 0);
    handle = attach(c, &buffer);
    qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(c, handle, 1, NULL);
    step_ms(b, 10 * TIMEOUT);
    settle(c);
    qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(c, handle, 2, NULL);
    qbuf_close(c);
}

static void test_for_ever(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint8_t modes[] = {
        VIRTIO_BUF_MODE_LATEST, VIRTIO_BUF_MODE_EVERY,
    };
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer buffers[2];
    uint64_t handles[2];

    g_assert_cmpuint(c->hold_timeout_ms, ==, 0);
    for (int i = 0; i < 2; i++) {
        buffer_init(&buffers[i], b, modes[i], 0);
        handles[i] = attach(c, &buffers[i]);
        qvirtio_buf_update_ok(b, buffers[i].id, PAGE_SIZE);
        qbuf_expect_update(c, handles[i], i + 1, NULL);
    }
    step_ms(b, 3600 * 1000);
    settle(c);
    for (int i = 0; i < 2; i++) {
        expect_held(b, &buffers[i]);
        qbuf_release(c, handles[i], i + 1);
        expect_released(b, &buffers[i], i + 1);
    }
    qbuf_close(c);
}

/* Until nothing more goes into the socket of who does not read */
static unsigned fill_socket(QVirtioBuf *b, uint64_t id)
{
    g_autofree uint8_t *records = g_malloc(VIRTIO_BUF_MAX_PROPERTY_BYTES);
    g_autofree char *value = g_strnfill(VIRTIO_BUF_MAX_PROPERTY_BYTES - 16,
                                        'v');
    uint32_t size = qvirtio_buf_property(records, 0, "filler", value);
    unsigned count = 10;

    for (unsigned i = 0; i < count; i++) {
        g_assert_cmpuint(qvirtio_buf_set_properties(b, id, records, size), ==,
                         VIRTIO_BUF_S_OK);
    }
    return count;
}

/* One that does not even read what it is told */
static void test_deaf(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    uint64_t latest_handle, filler_handle, every_handle, released;
    QVirtioBufBuffer filler, latest, every;
    unsigned count;

    buffer_init(&filler, b, VIRTIO_BUF_MODE_IN_PLACE, 0);
    filler_handle = attach(c, &filler);
    buffer_init(&latest, b, VIRTIO_BUF_MODE_LATEST, 0);
    latest_handle = attach(c, &latest);
    count = fill_socket(b, filler.id);
    qvirtio_buf_update_ok(b, latest.id, PAGE_SIZE);
    expect_held(b, &latest);
    step_ms(b, TIMEOUT - 1);
    expect_held(b, &latest);
    step_ms(b, 1);
    expect_released(b, &latest, 1);
    /* It does not wait for each one anew */
    for (int i = 0; i < 5; i++) {
        g_assert_cmpuint(qvirtio_buf_update(b, latest.id, PAGE_SIZE,
                                            &released), ==, VIRTIO_BUF_S_OK);
        g_assert_cmpuint(released, ==, b->last_serial);
    }

    /* Reading again, it goes on with what comes then */
    while (count--) {
        qbuf_expect(c, VIRTIO_BUF_MSG_PROPERTIES);
    }
    settle(c);
    qvirtio_buf_update_ok(b, filler.id, PAGE_SIZE);
    qbuf_expect_update(c, filler_handle, b->last_serial, NULL);
    qvirtio_buf_update_ok(b, latest.id, PAGE_SIZE);
    qbuf_expect_update(c, latest_handle, b->last_serial, NULL);
    qbuf_release(c, latest_handle, b->last_serial);
    expect_released(b, &latest, b->last_serial);

    /* EVERY cannot leave one out */
    buffer_init(&every, b, VIRTIO_BUF_MODE_EVERY, 0);
    every_handle = attach(c, &every);
    g_assert_cmpuint(every_handle, >, latest_handle);
    fill_socket(b, filler.id);
    qvirtio_buf_update_ok(b, every.id, PAGE_SIZE);
    expect_held(b, &every);
    step_ms(b, TIMEOUT);
    expect_released(b, &every, b->last_serial);
    qbuf_expect_end(c);
    qbuf_close(c);
}

/* A writer that keeps the contents is the writer no longer */
static void test_writer(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {
        .mode = VIRTIO_BUF_MODE_LATEST, .access = VIRTIO_BUF_ACCESS_WRITER,
    };
    QBufConsumer *c, *next;
    struct virtio_buf_event event;
    QBufMemory memory;
    uint64_t handle;

    qvirtio_buf_restart_writable(b);
    qvirtio_buf_register_ok(b, &buffer, 0x11);
    c = qbuf_subscribe(path(), "test", 0);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_subscribed(c);
    next = qbuf_subscribe(path(), "test", 0);
    qbuf_expect_buffer(next, buffer.id);
    qbuf_expect_subscribed(next);
    qbuf_attach_writer(c, handle);
    qbuf_expect_attached(c, handle, &memory);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, NULL);

    qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(c, handle, 1, NULL);
    /* Writing is not giving back */
    step_ms(b, TIMEOUT - 1);
    qbuf_written(c, handle, 1, PAGE_SIZE);
    qvirtio_buf_wait_written(b, buffer.id, 1, PAGE_SIZE, NULL);
    step_ms(b, 1);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED |
                           VIRTIO_BUF_EVENT_CONSUMERS, &event);
    g_assert_cmpuint(event.released, ==, 1);
    g_assert_cmpuint(event.consumers, ==, 0);

    /* What it says before it has heard of it hits nothing */
    qbuf_written(c, handle, 2, PAGE_SIZE);
    qbuf_release(c, handle, 1);
    qbuf_expect_lost(c, handle, 1);
    settle(c);
    qvirtio_buf_no_event(b, buffer.id, VIRTIO_BUF_EVENT_WRITTEN);
    qbuf_memory_clear(&memory);

    qbuf_attach_writer(next, handle);
    qbuf_expect_attached(next, handle, &memory);
    g_assert_true(memory.writer);
    qbuf_attach_writer(c, handle);
    qbuf_expect_refused(c, handle, EBUSY);
    qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(next, handle, 2, NULL);
    qbuf_written(next, handle, 1, PAGE_SIZE);
    qbuf_release(next, handle, 2);
    qvirtio_buf_wait_written(b, buffer.id, 1, PAGE_SIZE, NULL);
    qbuf_memory_clear(&memory);
    qbuf_close(c);
    qbuf_close(next);
}

/* Time that was up when the buffer, or the consumer, went is up for nobody */
static void test_gone(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer buffers[3];
    uint64_t handles[3];

    for (int i = 0; i < 3; i++) {
        buffer_init(&buffers[i], b, VIRTIO_BUF_MODE_LATEST, 0);
        handles[i] = attach(c, &buffers[i]);
        qvirtio_buf_update_ok(b, buffers[i].id, PAGE_SIZE);
        qbuf_expect_update(c, handles[i], i + 1, NULL);
    }
    qbuf_detach(c, handles[0]);
    expect_released(b, &buffers[0], 1);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffers[1].id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_expect_remove(c, handles[1]);
    qbuf_removed(c, handles[1]);
    qvirtio_buf_wait_event(b, buffers[1].id, VIRTIO_BUF_EVENT_FREED, NULL);
    step_ms(b, TIMEOUT);
    qbuf_expect_lost(c, handles[2], 3);
    /* It does not answer, and attaches anew: that begins from the start */
    qbuf_detach(c, handles[2]);
    qbuf_attach(c, handles[2]);
    qbuf_expect(c, VIRTIO_BUF_MSG_ATTACHED);
    qvirtio_buf_update_ok(b, buffers[2].id, PAGE_SIZE);
    qbuf_expect_update(c, handles[2], 4, NULL);
    qbuf_close(c);
    expect_released(b, &buffers[2], 4);
    step_ms(b, TIMEOUT);
    qvirtio_buf_restart(b);
    step_ms(b, TIMEOUT);
}

static void register_virtio_buf_hold_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = HOLDING ",max-property-bytes=32768",
    };
    QOSGraphTestOptions for_ever = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER ",hold-timeout=0",
    };
    QOSGraphTestOptions writer = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = HOLDING,
    };

    qos_add_test("hold/latest", QVIRTIO_BUF_WRITER, test_latest, &opts);
    qos_add_test("hold/order", QVIRTIO_BUF_WRITER, test_order, &opts);
    qos_add_test("hold/every", QVIRTIO_BUF_WRITER, test_every, &opts);
    qos_add_test("hold/in-place", QVIRTIO_BUF_WRITER, test_in_place, &opts);
    qos_add_test("hold/for-ever", QVIRTIO_BUF_WRITER, test_for_ever, &for_ever);
    qos_add_test("hold/deaf", QVIRTIO_BUF_WRITER, test_deaf, &opts);
    qos_add_test("hold/writer", QVIRTIO_BUF_WRITER, test_writer, &writer);
    qos_add_test("hold/gone", QVIRTIO_BUF_WRITER, test_gone, &opts);
}

libqos_init(register_virtio_buf_hold_test);
