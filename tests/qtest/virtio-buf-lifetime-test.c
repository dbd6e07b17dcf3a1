/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: taking buffers back
 *
 * By UNREGISTER and RESET, by device and system reset, by unplug; from
 * consumers that let go, that do not, and that have passed the memory on. What
 * holds in each: the guest keeps its contents, and nobody else sees what it
 * writes next.
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-machine.h"

#define PAGE_SIZE 4096
#define RELEASE_TIMEOUT_MS 2000

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

static void step_ms(QVirtioBuf *b, int64_t ms)
{
    qtest_clock_step(b->qts, ms * 1000 * 1000);
}

static void guest_check(QTestState *qts, const QVirtioBufBuffer *buffer,
                        uint8_t pattern)
{
    g_autofree uint8_t *bytes = g_malloc(buffer->size);
    size_t i;

    qtest_memread(qts, buffer->addr, bytes, buffer->size);
    for (i = 0; i < buffer->size; i++) {
        g_assert_cmphex(bytes[i], ==, pattern);
    }
}

/* A buffer that a consumer has attached, and knows the contents of */
typedef struct Shared {
    QVirtioBufBuffer buffer;
    QBufMemory memory;
    uint64_t handle;
} Shared;

static void share(Shared *shared, QVirtioBuf *b, QBufConsumer *c,
                  uint8_t pattern)
{
    shared->buffer.size = shared->buffer.size ?: 3 * PAGE_SIZE;
    qvirtio_buf_register_ok(b, &shared->buffer, pattern);
    shared->handle = qbuf_expect_buffer(c, shared->buffer.id);
    qbuf_expect_attached(c, shared->handle, &shared->memory);
    qvirtio_buf_update_ok(b, shared->buffer.id, shared->buffer.size);
    qbuf_expect_update(c, shared->handle, b->last_serial, NULL);
    qbuf_memory_check(&shared->memory, 0, shared->buffer.size, pattern);
}

/*
 * The guest has its pages back with @pattern in them, and whoever still has
 * memory of @shared has it with @pattern, too: none sees the other from now on.
 */
static void check_apart(QTestState *qts, Shared *shared, uint8_t pattern)
{
    size_t size = shared->buffer.size;
    uint8_t *bytes;

    guest_check(qts, &shared->buffer, pattern);
    qtest_memset(qts, shared->buffer.addr, ~pattern, size);
    qbuf_memory_check(&shared->memory, 0, size, pattern);
    if (qbuf_memory_writable(&shared->memory)) {
        bytes = mmap(NULL, shared->memory.size, PROT_READ | PROT_WRITE,
                     MAP_SHARED, shared->memory.fd, 0);
        g_assert_true(bytes != MAP_FAILED);
        memset(bytes, 0x99, shared->memory.size);
        munmap(bytes, shared->memory.size);
    }
    guest_check(qts, &shared->buffer, ~pattern);
}

static void test_unregister(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QBufConsumer *looks = qbuf_subscribe_none(path(), "test", 0);
    struct virtio_buf_event event;
    Shared shared = {};
    uint64_t looked;

    share(&shared, b, c, 0x11);
    looked = qbuf_expect_buffer(looks, shared.buffer.id);
    qvirtio_buf_wait_event(b, shared.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS,
                           NULL);
    qvirtio_buf_config_changed(b);

    g_assert_cmpuint(qvirtio_buf_unregister(b, shared.buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_expect_remove(c, shared.handle);
    qbuf_expect_remove(looks, looked);
    g_assert_cmpuint(qvirtio_buf_unregister(b, shared.buffer.id), ==,
                     VIRTIO_BUF_S_NO_BUFFER);
    g_assert_cmpuint(qvirtio_buf_update(b, shared.buffer.id, PAGE_SIZE, NULL),
                     ==, VIRTIO_BUF_S_NO_BUFFER);
    g_assert_cmpuint(qvirtio_buf_set_properties(b, shared.buffer.id, NULL, 0),
                     ==, VIRTIO_BUF_S_NO_BUFFER);
    step_ms(b, RELEASE_TIMEOUT_MS / 2);
    qvirtio_buf_no_event(b, shared.buffer.id, VIRTIO_BUF_EVENT_FREED);

    qbuf_memory_clear(&shared.memory);
    qbuf_removed(c, shared.handle);
    qvirtio_buf_wait_config_changed(b);
    qvirtio_buf_wait_event(b, shared.buffer.id, VIRTIO_BUF_EVENT_FREED, &event);
    qvirtio_buf_no_event(b, shared.buffer.id, ~0);
    guest_check(b->qts, &shared.buffer, 0x11);

    /* Who has given it back before is not waited for */
    shared = (Shared) {};
    share(&shared, b, c, 0x22);
    qbuf_memory_clear(&shared.memory);
    qbuf_detach(c, shared.handle);
    qbuf_attach(c, shared.handle);
    qbuf_expect_attached(c, shared.handle, &shared.memory);
    qbuf_memory_clear(&shared.memory);
    qbuf_detach(c, shared.handle);
    /* Both DETACHs have been seen when nobody has it */
    qvirtio_buf_wait_event(b, shared.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS,
                           &event);
    while (event.consumers) {
        qvirtio_buf_wait_event(b, shared.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS,
                               &event);
    }
    g_assert_cmpuint(qvirtio_buf_unregister(b, shared.buffer.id), ==,
                     VIRTIO_BUF_S_OK);
    qbuf_close(c);
    qbuf_close(looks);
}

/* REMOVED is said, but the memory was passed on */
static void test_passed_on(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    Shared shared = {};
    int other;

    share(&shared, b, c, 0x11);
    other = fcntl(shared.memory.fd, F_DUPFD_CLOEXEC, 0);
    g_assert_cmpint(other, >=, 0);
    qbuf_memory_clear(&shared.memory);
    g_assert_cmpuint(qvirtio_buf_unregister(b, shared.buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_expect_remove(c, shared.handle);
    qbuf_removed(c, shared.handle);

    if (qvirtio_buf_zero_copy()) {
        step_ms(b, 500);
        qbuf_expect_silence(c);
        qvirtio_buf_no_event(b, shared.buffer.id, VIRTIO_BUF_EVENT_FREED);
        close(other);
        step_ms(b, 500);
    } else {
        /* These never were the guest's pages */
        close(other);
    }
    qvirtio_buf_wait_event(b, shared.buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    guest_check(b->qts, &shared.buffer, 0x11);
    qbuf_close(c);
}

/* REMOVED is not said in time: the pages are taken */
static void test_release_timeout(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QBufConsumer *good = qbuf_subscribe_none(path(), "other", 8);
    Shared shared = {}, again = {};

    share(&shared, b, c, 0x11);
    g_assert_cmpuint(qvirtio_buf_unregister(b, shared.buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_expect_remove(c, shared.handle);
    step_ms(b, RELEASE_TIMEOUT_MS - 1);
    qbuf_expect_silence(c);
    qvirtio_buf_no_event(b, shared.buffer.id, VIRTIO_BUF_EVENT_FREED);
    qvirtio_buf_config_changed(b);
    step_ms(b, 2);
    qvirtio_buf_wait_config_changed(b);
    qvirtio_buf_wait_event(b, shared.buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    qbuf_expect_error(c, ETIMEDOUT);
    check_apart(b->qts, &shared, 0x11);

    /* The pages can be shared anew, with the old ones still held */
    again.buffer.addr = shared.buffer.addr;
    again.buffer.application = "other";
    share(&again, b, good, 0x44);
    g_assert_cmpuint(again.memory.backing, ==, qvirtio_buf_zero_copy() ?
                     VIRTIO_BUF_BACKING_DMABUF : VIRTIO_BUF_BACKING_COPY);
    qbuf_memory_clear(&again.memory);
    qbuf_memory_clear(&shared.memory);
    qbuf_close(c);
    qbuf_close(good);
}

/* REMOVED is said in time, but the memory stays with somebody */
static void test_passed_on_timeout(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    Shared shared = {};

    share(&shared, b, c, 0x11);
    qvirtio_buf_unregister(b, shared.buffer.id);
    qbuf_expect_remove(c, shared.handle);
    qbuf_removed(c, shared.handle);
    step_ms(b, RELEASE_TIMEOUT_MS + 1);
    qvirtio_buf_wait_event(b, shared.buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    check_apart(b->qts, &shared, 0x11);
    /* It has answered: it is not to blame */
    qbuf_expect_silence(c);
    qbuf_memory_clear(&shared.memory);
    qbuf_close(c);
}

static void test_reset_command(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    Shared mine = { .buffer.context = 1 }, yours = { .buffer.context = 2 };
    uint32_t count;

    share(&mine, b, c, 0x11);
    share(&yours, b, c, 0x22);
    g_assert_cmpuint(qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_CONTEXT, 1,
                                               0, &count), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(count, ==, 1);
    qbuf_expect_remove(c, mine.handle);
    qbuf_expect_silence(c);
    qvirtio_buf_no_event(b, mine.buffer.id, VIRTIO_BUF_EVENT_FREED);
    qbuf_memory_clear(&mine.memory);
    qbuf_removed(c, mine.handle);
    qvirtio_buf_wait_event(b, mine.buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);

    qvirtio_buf_update_ok(b, yours.buffer.id, PAGE_SIZE);
    qbuf_expect_update(c, yours.handle, b->last_serial, NULL);
    qbuf_memory_clear(&yours.memory);
    qbuf_close(c);
}

static void test_device_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    Shared shared = { .buffer.mode = VIRTIO_BUF_MODE_EVERY }, again = {};
    struct virtio_buf_event event;
    Shared pending = {};
    bool more;

    share(&shared, b, c, 0x11);
    share(&pending, b, c, 0x22);
    qvirtio_buf_unregister(b, pending.buffer.id);
    qbuf_expect_remove(c, pending.handle);

    qvirtio_buf_restart(b);
    qbuf_expect_reset(c, VIRTIO_BUF_RESET_REASON_DRIVER);
    check_apart(b->qts, &shared, 0x11);
    check_apart(b->qts, &pending, 0x22);

    /* All starts anew: ids, serials, news; late words hit nothing */
    g_assert_cmpuint(qvirtio_buf_get_events(b, &event, 1, &more), ==, 0);
    qbuf_release(c, shared.handle, 1);
    qbuf_removed(c, pending.handle);
    qbuf_detach(c, shared.handle);
    again.buffer.addr = shared.buffer.addr;
    share(&again, b, c, 0x33);
    g_assert_cmpuint(again.buffer.id, ==, 1);
    g_assert_cmpuint(b->last_serial, ==, 1);
    g_assert_cmpuint(again.handle, >, pending.handle);
    g_assert_cmpuint(again.memory.backing, ==, qvirtio_buf_zero_copy() ?
                     VIRTIO_BUF_BACKING_DMABUF : VIRTIO_BUF_BACKING_COPY);

    qbuf_memory_clear(&shared.memory);
    qbuf_memory_clear(&pending.memory);
    qbuf_memory_clear(&again.memory);
    qbuf_close(c);
}

static void test_system_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    Shared shared = {};

    share(&shared, b, c, 0x11);
    qtest_system_reset(b->qts);
    qbuf_expect_reset(c, VIRTIO_BUF_RESET_REASON_SYSTEM);
    check_apart(b->qts, &shared, 0x11);
    /* Nothing is shared now: nobody is told of the next one */
    qtest_system_reset(b->qts);
    qbuf_expect_silence(c);
    qbuf_memory_clear(&shared.memory);
    qbuf_close(c);
}

static void test_unplug(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *first = obj;
    QTestState *qts = first->qts;
    Shared shared = {}, second = {};
    QVirtioBufPlugged plugged;
    QBufConsumer *c;
    QDict *error;

    /* It waits for a device */
    c = qbuf_hello(path());
    qbuf_send_subscribe(c, "test", 8, 0, NULL, 0);
    qbuf_expect_subscribed(c);
    g_assert_cmpuint(c->id, ==, 0);
    qbuf_attach(c, 1);
    qbuf_release(c, 1, 1);

    qvirtio_buf_plug(&plugged, first, "hp1");
    qbuf_expect_device(c, true);
    share(&shared, &plugged.buf, c, 0x11);

    /* One server, one device; and it cannot go before */
    error = qtest_qmp_assert_failure_ref(qts,
        "{'execute': 'device_add', 'arguments': {'driver': 'virtio-buf-pci',"
        " 'id': 'hp2', 'addr': '7', 'server': 's0'}}");
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"),
                            "serves another device already"));
    qobject_unref(error);
    error = qtest_qmp_assert_failure_ref(qts,
        "{'execute': 'object-del', 'arguments': {'id': 's0'}}");
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), "in use"));
    qobject_unref(error);

    qvirtio_buf_unplug(&plugged, "hp1");
    qbuf_expect_reset(c, VIRTIO_BUF_RESET_REASON_UNPLUG);
    qbuf_expect_device(c, false);
    check_apart(qts, &shared, 0x11);
    qbuf_release(c, shared.handle, 1);

    qvirtio_buf_plug(&plugged, first, "hp1");
    qbuf_expect_device(c, true);
    share(&second, &plugged.buf, c, 0x22);
    g_assert_cmpuint(second.handle, >, shared.handle);
    qvirtio_buf_unplug(&plugged, "hp1");
    qbuf_expect_reset(c, VIRTIO_BUF_RESET_REASON_UNPLUG);
    qbuf_expect_device(c, false);
    check_apart(qts, &second, 0x22);

    qtest_qmp_assert_success(qts, "{'execute': 'object-del',"
                             " 'arguments': {'id': 's0'}}");
    qbuf_expect_end(c);
    g_assert_cmpint(access(path(), F_OK), ==, -1);
    qbuf_memory_clear(&shared.memory);
    qbuf_memory_clear(&second.memory);
    qbuf_close(c);
    qos_invalidate_command_line();
}

static void register_virtio_buf_lifetime_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions no_link = {
        .before = qvirtio_buf_before,
    };

    qos_add_test("lifetime/unregister", "virtio-buf", test_unregister, &opts);
    qos_add_test("lifetime/passed-on", "virtio-buf", test_passed_on, &opts);
    qos_add_test("lifetime/release-timeout", "virtio-buf",
                 test_release_timeout, &opts);
    qos_add_test("lifetime/passed-on-timeout", "virtio-buf",
                 test_passed_on_timeout, &opts);
    qos_add_test("lifetime/reset-command", "virtio-buf", test_reset_command,
                 &opts);
    qos_add_test("lifetime/device-reset", "virtio-buf", test_device_reset,
                 &opts);
    qos_add_test("lifetime/system-reset", "virtio-buf", test_system_reset,
                 &opts);
    qos_add_test("lifetime/unplug", "virtio-buf", test_unplug, &no_link);
}

libqos_init(register_virtio_buf_lifetime_test);
