/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: drivers that do what no driver should
 *
 * A full ring, a queue that is reset or asked before it may be, a machine that
 * stands still, descriptors and ranges that lead back into the device or its
 * ring. Whatever comes, others get their turn, and after a reset all is well.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"

#define PAGE_SIZE 4096
#define RING_SIZE 128
#define RELEASE_TIMEOUT_MS 2000

/* What the device does for one notification before others get their turn */
#define COMMANDS_PER_KICK 64

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

static char *log_path(void)
{
    return g_strconcat(path(), ".log", NULL);
}

static void step_ms(QVirtioBuf *b, int64_t ms)
{
    qtest_clock_step(b->qts, ms * 1000 * 1000);
}

/* The index that the device has got to in the used ring */
static uint16_t used_index(QVirtioBuf *b)
{
    return qtest_readw(b->qts, b->vq->used + 2);
}

static void wait_used(QVirtioBuf *b, uint16_t index)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;

    while (used_index(b) != index) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/*
 * A chain of GET_EVENTS at the start of the descriptors, which may be made
 * available as often as one likes: returns its head
 */
static uint16_t make_get_events(QVirtioBuf *b)
{
    struct virtio_buf_get_events request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_EVENTS),
    };
    size_t room = sizeof(struct virtio_buf_events_response) +
                  sizeof(struct virtio_buf_event);
    uint16_t head;

    qvirtqueue_reset_pool(b->vq);
    qtest_bufwrite(b->qts, b->request, &request, sizeof(request));
    head = qvirtqueue_add(b->qts, b->vq, b->request, sizeof(request), false,
                          true);
    qvirtqueue_add(b->qts, b->vq, b->response, room, true, false);
    return head;
}

/* Makes @count chains with @head available, and does not notify */
static void make_available(QVirtioBuf *b, uint16_t head, unsigned count)
{
    uint16_t index = qtest_readw(b->qts, b->vq->avail + 2);
    unsigned i;

    for (i = 0; i < count; i++) {
        qtest_writew(b->qts, b->vq->avail + 4 +
                     2 * ((uint16_t)(index + i) % b->vq->size), head);
    }
    qtest_writew(b->qts, b->vq->avail + 2, index + count);
}

static void notify(QVirtioBuf *b)
{
    b->vdev->bus->virtqueue_kick(b->vdev, b->vq);
}

/* The device works from its ground up */
static void check_works(QVirtioBuf *b)
{
    QVirtioBufBuffer buffer = { .application = "nobody asks for it" };
    uint64_t released;

    qvirtio_buf_register_ok(b, &buffer, 0x55);
    g_assert_cmpuint(qvirtio_buf_update(b, buffer.id, PAGE_SIZE, &released), ==,
                     VIRTIO_BUF_S_OK);
    g_assert_cmpuint(released, ==, b->last_serial);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_OK);
}

/*
 * The trace tells how many commands there were between two interrupts, and
 * that one notification was enough for all of them.
 */
static void check_turns(const char *log, unsigned commands)
{
    g_autofree char *text = NULL;
    unsigned total = 0, turn = 0, notifications = 0;
    char *line, *rest = NULL;

    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    for (line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strstr(line, "virtio_queue_notify ")) {
            notifications++;
        } else if (strstr(line, "virtio_buf_get_events ")) {
            turn++;
        } else if (strstr(line, "virtio_notify ")) {
            g_assert_cmpuint(turn, <=, COMMANDS_PER_KICK);
            total += turn;
            turn = 0;
        }
    }
    g_assert_cmpuint(turn, ==, 0);
    g_assert_cmpuint(total, ==, commands);
    g_assert_cmpuint(notifications, ==, 1 + 3);
}

static void test_full_ring(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    g_autofree char *log = log_path();
    unsigned commands = RING_SIZE, i;
    uint16_t head;

    b->queue_size = RING_SIZE;
    qvirtio_buf_restart(b);
    g_assert_cmpuint(b->vq->size, ==, RING_SIZE);

    head = make_get_events(b);
    make_available(b, head, RING_SIZE);
    notify(b);
    /* Others have their turn before it is through, and get answers */
    qtest_qmp_assert_success(b->qts, "{'execute': 'query-status'}");
    wait_used(b, commands);

    /* More is notified than there is */
    for (i = 0; i < 3; i++) {
        make_available(b, head, RING_SIZE / 4);
        notify(b);
        commands += RING_SIZE / 4;
    }
    wait_used(b, commands);
    check_turns(log, commands);
    b->vq->last_used_idx = commands;
    check_works(b);
    g_unlink(log);
    qos_invalidate_command_line();
}

/* A chain that is available twice, or never ends, breaks the device only */
static void test_bad_ring(void *obj, void *data, QGuestAllocator *alloc)
{
    static const struct {
        const char *what;
        uint16_t head;      /* in the available ring */
        uint16_t next;      /* of the first descriptor */
        uint32_t len;
    } faults[] = {
        { "head beyond the ring", 0xffff, 1, 8 },
        { "next beyond the ring", 0, 0xffff, 8 },
        { "loop", 0, 0, 8 },
        { "empty descriptor", 0, 1, 0 },
    };
    QVirtioBuf *b = obj;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(faults); i++) {
        int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;

        g_test_message("%s", faults[i].what);
        make_get_events(b);
        qtest_writew(b->qts, b->vq->desc + 14, faults[i].next);
        qtest_writel(b->qts, b->vq->desc + 8, faults[i].len);
        make_available(b, faults[i].head, 1);
        notify(b);
        while (!(b->vdev->bus->get_status(b->vdev) &
                 VIRTIO_CONFIG_S_NEEDS_RESET)) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
        qtest_writew(b->qts, b->vq->desc + 14, 1);
        qvirtio_buf_restart(b);
        check_works(b);
    }

    /* An index that runs ahead of the ring */
    make_available(b, make_get_events(b), 1);
    qtest_writew(b->qts, b->vq->avail + 2, 0x4000);
    notify(b);
    qvirtio_buf_restart(b);
    check_works(b);
}

static void test_before_driver_ok(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;

    qvirtio_buf_prepare(b);
    make_available(b, make_get_events(b), 3);
    notify(b);
    step_ms(b, 1);
    g_assert_cmpuint(used_index(b), ==, 0);
    g_assert_false(b->vdev->bus->get_status(b->vdev) &
                   VIRTIO_CONFIG_S_NEEDS_RESET);

    /* It was notified: no second notification is needed */
    qvirtio_set_driver_ok(b->vdev);
    wait_used(b, 3);
    b->vq->last_used_idx = 3;
    check_works(b);
}

/* What comes while the machine is stopped waits, and nothing is lost */
static void test_stopped(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer buffer = { .mode = VIRTIO_BUF_MODE_EVERY };
    QBufMemory memory;
    uint64_t handle, serial;
    uint16_t before, used;

    qvirtio_buf_register_ok(b, &buffer, 0x11);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);
    serial = qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(c, handle, serial, NULL);

    used = used_index(b);
    before = qtest_readw(b->qts, b->vq->avail + 2);
    g_assert_cmpuint(used, ==, before);
    qtest_qmp_assert_success(b->qts, "{'execute': 'stop'}");
    make_available(b, make_get_events(b), 2);
    notify(b);
    qbuf_release(c, handle, serial);
    step_ms(b, 10);
    qtest_qmp_assert_success(b->qts, "{'execute': 'query-status'}");
    g_assert_cmpuint(used_index(b), ==, used);

    qtest_qmp_assert_success(b->qts, "{'execute': 'cont'}");
    wait_used(b, used + 2);
    b->vq->last_used_idx += 2;
    serial = qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(c, handle, serial, NULL);
    qbuf_memory_clear(&memory);
    qbuf_close(c);
}

/* Consumers are served by a device that waits for its reset */
static void test_needs_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer kept = { .mode = VIRTIO_BUF_MODE_EVERY };
    QVirtioBufBuffer pending = {}, again = {};
    uint64_t handle, pending_handle, serial;
    QBufMemory memory, pending_memory;
    QBufConsumer *late;

    qvirtio_buf_register_ok(b, &kept, 0x11);
    handle = qbuf_expect_buffer(c, kept.id);
    qbuf_expect_attached(c, handle, &memory);
    serial = qvirtio_buf_update_ok(b, kept.id, PAGE_SIZE);
    qbuf_expect_update(c, handle, serial, NULL);
    qvirtio_buf_register_ok(b, &pending, 0x22);
    pending_handle = qbuf_expect_buffer(c, pending.id);
    qbuf_expect_attached(c, pending_handle, &pending_memory);
    g_assert_cmpuint(qvirtio_buf_unregister(b, pending.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_expect_remove(c, pending_handle);

    qvirtio_buf_kick(b, &(uint8_t) { 0 }, 1, 16);
    while (!(b->vdev->bus->get_status(b->vdev) &
             VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_usleep(1000);
    }
    qbuf_release(c, handle, serial);
    qbuf_memory_clear(&pending_memory);
    qbuf_removed(c, pending_handle);
    late = qbuf_subscribe(path(), "test", 0);
    qbuf_expect_buffer(late, kept.id);
    qbuf_expect_subscribed(late);
    step_ms(b, 2 * RELEASE_TIMEOUT_MS);
    make_available(b, make_get_events(b), 1);
    notify(b);
    qbuf_expect_silence(c);

    qvirtio_buf_restart(b);
    qbuf_expect_reset(c, VIRTIO_BUF_RESET_REASON_DRIVER);
    qbuf_expect_reset(late, VIRTIO_BUF_RESET_REASON_DRIVER);
    qvirtio_buf_register_ok(b, &again, 0x33);
    handle = qbuf_expect_buffer(c, again.id);
    qbuf_memory_clear(&memory);
    qbuf_expect_attached(c, handle, &memory);
    qvirtio_buf_update_ok(b, again.id, PAGE_SIZE);
    qbuf_expect_update(c, handle, b->last_serial, NULL);
    qbuf_memory_check(&memory, 0, PAGE_SIZE, 0x33);
    qbuf_memory_clear(&memory);
    qbuf_close(late);
    qbuf_close(c);
}

static uint16_t queue_field(QVirtioBuf *b, unsigned offset)
{
    b->vdev->bus->queue_select(b->vdev, 0);
    return qpci_io_readw(b->pci->pdev, b->pci->bar,
                         b->pci->common_cfg_offset + offset);
}

static void queue_set_field(QVirtioBuf *b, unsigned offset, uint16_t value)
{
    b->vdev->bus->queue_select(b->vdev, 0);
    qpci_io_writew(b->pci->pdev, b->pci->bar,
                   b->pci->common_cfg_offset + offset, value);
}

static void queue_reset(QVirtioBuf *b)
{
    g_assert_true(b->vdev->features & (1ull << VIRTIO_F_RING_RESET));
    queue_set_field(b, VIRTIO_PCI_COMMON_Q_RESET, 1);
    g_assert_cmpuint(queue_field(b, VIRTIO_PCI_COMMON_Q_RESET), ==, 0);
    g_assert_cmpuint(queue_field(b, VIRTIO_PCI_COMMON_Q_ENABLE), ==, 0);
}

static void queue_enable(QVirtioBuf *b)
{
    uint16_t size = b->vq->size;

    qvirtqueue_cleanup(b->vdev->bus, b->vq, b->alloc);
    queue_set_field(b, VIRTIO_PCI_COMMON_Q_SIZE, size);
    b->vq = qvirtqueue_setup(b->vdev, b->alloc, 0);
    g_assert_cmpuint(queue_field(b, VIRTIO_PCI_COMMON_Q_ENABLE), ==, 1);
}

/* The queue's reset takes its commands along, and nothing else */
static void test_queue_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer buffer = {
        .size = 8 * 1024 * 1024,
        .mode = VIRTIO_BUF_MODE_EVERY,
    };
    struct virtio_buf_event event;
    QBufMemory memory;
    uint64_t handle, serial;
    unsigned i;

    qvirtio_buf_register_ok(b, &buffer, 0x11);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);

    for (i = 0; i < 4; i++) {
        /* A copy is made meanwhile, where one is made; then commands wait */
        serial = qvirtio_buf_update_ok(b, buffer.id, buffer.size);
        make_available(b, make_get_events(b), 3);
        queue_reset(b);
        notify(b);
        g_assert_cmpuint(b->vdev->bus->get_status(b->vdev) &
                         VIRTIO_CONFIG_S_NEEDS_RESET, ==, 0);
        if (i % 2) {
            qbuf_expect_update(c, handle, serial, NULL);
            qbuf_release(c, handle, serial);
            queue_enable(b);
        } else {
            queue_enable(b);
            qbuf_expect_update(c, handle, serial, NULL);
            qbuf_release(c, handle, serial);
        }
        g_assert_cmpuint(used_index(b), ==, 0);
        qbuf_memory_check(&memory, 0, buffer.size, 0x11);
        qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_RELEASED, &event);
        g_assert_cmpuint(event.released, ==, serial);
    }
    qbuf_memory_clear(&memory);
    qbuf_detach(c, handle);
    qbuf_close(c);
}

/* News that could not be told yet outlive the reset of the queue */
static void test_queue_reset_news(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {};
    uint32_t count;

    qvirtio_buf_register_ok(b, &buffer, 0);
    qvirtio_buf_no_event(b, buffer.id, ~0);
    qvirtio_buf_config_changed(b);
    g_assert_cmpuint(qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_ALL, 0, 0,
                                               &count), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(count, ==, 1);
    queue_reset(b);
    qvirtio_buf_wait_config_changed(b);
    queue_enable(b);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
}

/* Ranges and descriptors that lead into the device's own registers */
static void test_own_registers(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint64_t bar = b->pci->bar.addr;
    struct virtio_buf_get_events get_events = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_EVENTS),
    };
    struct virtio_buf_range range = {
        .addr = cpu_to_le64(bar),
        .len = cpu_to_le64(PAGE_SIZE),
    };
    QVirtioBufBuffer buffer = { .ranges = &range, .range_count = 1 };
    size_t room = sizeof(struct virtio_buf_events_response) +
                  sizeof(struct virtio_buf_event);
    unsigned offset;
    uint64_t ring;

    for (offset = 0; offset < 4 * PAGE_SIZE; offset += PAGE_SIZE) {
        range.addr = cpu_to_le64(bar + offset);
        g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                         VIRTIO_BUF_S_NOT_RAM);
    }

    /* The command is there, the answer goes to each register in turn */
    for (offset = 0; offset < 4 * PAGE_SIZE; offset += PAGE_SIZE / 2) {
        qvirtqueue_reset_pool(b->vq);
        qtest_bufwrite(b->qts, b->request, &get_events, sizeof(get_events));
        make_available(b, qvirtqueue_add(b->qts, b->vq, b->request,
                                         sizeof(get_events), false, true), 1);
        qvirtqueue_add(b->qts, b->vq, bar + offset, room, true, false);
        notify(b);
        qvirtqueue_reset_pool(b->vq);
        make_available(b, qvirtqueue_add(b->qts, b->vq, bar + offset,
                                         sizeof(get_events), false, true), 1);
        qvirtqueue_add(b->qts, b->vq, b->response, room, true, false);
        notify(b);
        qtest_qmp_assert_success(b->qts, "{'execute': 'query-status'}");
        qvirtio_buf_restart(b);
        check_works(b);
    }

    /* And the ring itself is there */
    ring = b->vq->desc;
    for (offset = 0; offset < 4 * PAGE_SIZE; offset += PAGE_SIZE) {
        uint64_t avail = b->vq->avail, used = b->vq->used;

        qvirtio_buf_prepare(b);
        b->vq->desc = bar + offset;
        b->vq->avail = bar + offset + 16 * b->vq->size;
        b->vq->used = bar + offset + 32 * b->vq->size;
        b->vdev->bus->set_queue_address(b->vdev, b->vq);
        qvirtio_set_driver_ok(b->vdev);
        notify(b);
        qtest_qmp_assert_success(b->qts, "{'execute': 'query-status'}");
        b->vq->desc = ring;
        b->vq->avail = avail;
        b->vq->used = used;
        qvirtio_buf_restart(b);
        check_works(b);
    }
}

/*
 * A buffer of the very pages that the ring and the commands are in: it is the
 * guest's right to share them, and they can be taken back under the ring.
 */
static void test_own_ring(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    struct virtio_buf_range ranges[] = {
        {
            .addr = cpu_to_le64(b->vq->desc & -PAGE_SIZE),
            .len = cpu_to_le64(2 * PAGE_SIZE),
        }, {
            .addr = cpu_to_le64(b->request & -PAGE_SIZE),
            .len = cpu_to_le64(PAGE_SIZE),
        },
    };
    QVirtioBufBuffer buffer = {
        .size = 3 * PAGE_SIZE,
        .ranges = ranges,
        .range_count = ARRAY_SIZE(ranges),
    };
    QBufMemory memory;
    uint64_t handle;

    qvirtio_buf_register_ok(b, &buffer, 0);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);
    qvirtio_buf_update_ok(b, buffer.id, buffer.size);
    qbuf_expect_update(c, handle, b->last_serial, NULL);
    check_works(b);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    step_ms(b, RELEASE_TIMEOUT_MS + 1);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    check_works(b);
    qbuf_close(c);

    /* The same by a reset, while the ring is in use */
    c = qbuf_subscribe_none(path(), "test", 8);
    buffer.id = 0;
    qvirtio_buf_register_ok(b, &buffer, 0);
    qbuf_memory_clear(&memory);
    qbuf_expect_attached(c, qbuf_expect_buffer(c, buffer.id), &memory);
    qvirtio_buf_restart(b);
    qbuf_expect_reset(c, VIRTIO_BUF_RESET_REASON_DRIVER);
    check_works(b);
    qbuf_memory_clear(&memory);
    qbuf_close(c);
}

static void *before_trace(GString *cmd_line, void *arg)
{
    g_autofree char *log = log_path();

    g_unlink(log);
    qvirtio_buf_before(cmd_line, NULL);
    g_string_append_printf(cmd_line, " -d trace:virtio_queue_notify,"
                           "trace:virtio_notify,trace:virtio_buf_get_events"
                           " -D %s", log);
    return arg;
}

static void register_virtio_buf_robust_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions trace = {
        .before = before_trace,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("robust/full-ring", "virtio-buf", test_full_ring, &trace);
    qos_add_test("robust/bad-ring", "virtio-buf", test_bad_ring, &opts);
    qos_add_test("robust/before-driver-ok", "virtio-buf",
                 test_before_driver_ok, &opts);
    qos_add_test("robust/stopped", "virtio-buf", test_stopped, &opts);
    qos_add_test("robust/needs-reset", "virtio-buf", test_needs_reset, &opts);
    qos_add_test("robust/queue-reset", "virtio-buf", test_queue_reset, &opts);
    qos_add_test("robust/queue-reset-news", "virtio-buf",
                 test_queue_reset_news, &opts);
    qos_add_test("robust/own-registers", "virtio-buf", test_own_registers,
                 &opts);
    qos_add_test("robust/own-ring", "virtio-buf", test_own_ring, &opts);
}

libqos_init(register_virtio_buf_robust_test);
