/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of how buffers are taken back, and of what the guest hears: events,
 * virtio-buf-buffer.c and virtio-buf-event.c, with a memory that is held and
 * revoked as the test wants, a clock that it moves, and a consumer that lets go
 * when it is told to.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/timer.h"
#include "system/runstate.h"
#include "hw/virtio/virtio-bus.h"
#include "hw/virtio/virtio-buf.h"
#include "../../hw/virtio/virtio-buf-attachment.h"
#include "harness.h"

enum { SIZE = 4096, RELEASE_TIMEOUT = 2000 };

static int64_t now_ms;
static bool running = true;
static int config_interrupts, warnings, timers, pools;

int64_t qemu_clock_get_ms(QEMUClockType type)
{
    CHECK_INT(type, ==, QEMU_CLOCK_VIRTUAL);
    return now_ms;
}

int64_t qemu_clock_get_ns(QEMUClockType type)
{
    return 1;
}

QEMUTimer *timer_new_ms(QEMUClockType type, void (*cb)(void *opaque),
                        void *opaque)
{
    QEMUTimer *timer = g_new0(QEMUTimer, 1);

    CHECK_INT(type, ==, QEMU_CLOCK_VIRTUAL);
    timer->cb = cb;
    timer->opaque = opaque;
    timer->expires = -1;
    timers++;
    return timer;
}

void timer_mod(QEMUTimer *timer, int64_t expires)
{
    CHECK(expires > now_ms);
    timer->expires = expires;
}

void timer_mod_anticipate(QEMUTimer *timer, int64_t expires)
{
    if (timer->expires < 0 || expires < timer->expires) {
        timer_mod(timer, expires);
    }
}

void timer_del(QEMUTimer *timer)
{
    timer->expires = -1;
}

bool timer_pending(QEMUTimer *timer)
{
    return timer->expires >= 0;
}

void timer_free(QEMUTimer *timer)
{
    timers--;
    g_free(timer);
}

bool runstate_is_running(void)
{
    return running;
}

void virtio_notify_config(VirtIODevice *vdev)
{
    config_interrupts++;
}

struct AddressSpace {
    int nothing;
} address_space_memory;

bool virtio_bus_device_iommu_enabled(VirtIODevice *vdev)
{
    return false;
}

void qemu_uuid_generate(QemuUUID *uuid)
{
    memset(uuid, 0xaa, sizeof(*uuid));
}

static int events_unrevocable, events_quarantined;
static uint64_t event_bytes;

void virtio_buf_qmp_unrevocable(VirtIOBuf *s, bool quarantined,
                                uint32_t buffers, uint64_t bytes)
{
    events_unrevocable++;
    events_quarantined += quarantined;
    event_bytes = bytes;
    CHECK_INT(bytes % buffers, ==, 0);
}

void warn_report_once(const char *format, ...)
{
    warnings++;
}

size_t iov_size(const struct iovec *iov, unsigned int count)
{
    CHECK_INT(count, ==, 1);
    return iov->iov_len;
}

size_t iov_from_buf(const struct iovec *iov, unsigned int count, size_t offset,
                    const void *buf, size_t bytes)
{
    CHECK(offset <= iov->iov_len && bytes <= iov->iov_len - offset);
    memcpy((uint8_t *)iov->iov_base + offset, buf, bytes);
    return bytes;
}

struct VirtIOBufMemory {
    bool exported;
    bool held;              /* by somebody who was passed the fd */
    bool revocable;
    int index;
};

static VirtIOBufMemory memories[8];
static int memory_count, memories_alive, quarantined, revocations;

VirtIOBufMemory *virtio_buf_memory_new(VirtIOBufMemoryPool *pool,
                                       AddressSpace *as, bool translated,
                                       const struct virtio_buf_range *ranges,
                                       uint32_t range_count, uint64_t size,
                                       bool writer, uint32_t *status)
{
    VirtIOBufMemory *memory = &memories[memory_count];

    if (!ranges->len) {
        *status = VIRTIO_BUF_S_NOT_RAM;
        return NULL;
    }
    *memory = (VirtIOBufMemory) { .revocable = true, .index = memory_count };
    memory_count++;
    memories_alive++;
    return memory;
}

void virtio_buf_memory_free(VirtIOBufMemory *memory)
{
    /* The promise of the device: nobody has the pages */
    CHECK(!memory->held);
    memories_alive--;
}

void virtio_buf_memory_quarantine(VirtIOBufMemory *memory)
{
    CHECK(memory->held);
    memories_alive--;
    quarantined++;
}

void virtio_buf_memory_pool_free(VirtIOBufMemoryPool *pool)
{
    CHECK_INT(memories_alive, ==, 0);
    pools--;
}

uint8_t virtio_buf_memory_backing(const VirtIOBufMemory *memory)
{
    return VIRTIO_BUF_BACKING_DMABUF;
}

uint8_t virtio_buf_memory_reason(const VirtIOBufMemory *memory)
{
    return VIRTIO_BUF_REASON_NONE;
}

int virtio_buf_memory_export(VirtIOBufMemory *memory)
{
    memory->exported = true;
    return 1000 + memory->index;
}

bool virtio_buf_memory_exported(const VirtIOBufMemory *memory)
{
    return memory->exported;
}

bool virtio_buf_memory_readable(const VirtIOBufMemory *memory, uint64_t offset,
                                uint64_t len)
{
    return false;
}

void virtio_buf_memory_read(const VirtIOBufMemory *memory, uint64_t offset,
                            uint8_t *to, uint64_t len)
{
}

void virtio_buf_share(VirtIOBufBuffer *buffer)
{
}

void virtio_buf_unshare(VirtIOBufBuffer *buffer)
{
}

bool virtio_buf_memory_unexport(VirtIOBufMemory *memory)
{
    memory->exported = memory->held;
    return !memory->held;
}

static uint64_t export_size = SIZE;

uint64_t virtio_buf_memory_export_size(const VirtIOBufMemory *memory)
{
    return export_size;
}

bool virtio_buf_memory_held(const VirtIOBufMemory *memory)
{
    return memory->held;
}

bool virtio_buf_memory_refresh(VirtIOBufMemory *memory,
                               const struct virtio_buf_span *spans,
                               uint32_t span_count, uint64_t data_offset,
                               uint64_t data_size, void (*done)(void *opaque),
                               void *opaque)
{
    return true;
}

bool virtio_buf_memory_write_back(VirtIOBufMemory *memory,
                                  const struct virtio_buf_span *spans,
                                  uint32_t span_count, uint64_t data_offset,
                                  uint64_t data_size,
                                  void (*done)(void *opaque), void *opaque)
{
    return true;
}

void virtio_buf_memory_stop_write_back(VirtIOBufMemory *memory)
{
    CHECK(!"nothing is under way");
}

bool virtio_buf_memory_revoke(VirtIOBufMemory **list, size_t count)
{
    bool all = true;

    CHECK(count);
    revocations++;
    for (size_t i = 0; i < count; i++) {
        list[i]->held &= !list[i]->revocable;
        all &= !list[i]->held;
    }
    return all;
}

static VirtIOBuf device;
static VirtIOBufConsumer consumer;
static bool attaches, lets_go;
static int removed, overdue, resets;

static void take_all(VirtIOBufConsumer *c)
{
    VirtIOBufReady ready;

    while (virtio_buf_consumer_peek(c, &ready)) {
        virtio_buf_consumer_taken(c);
    }
}

static void on_buffer(VirtIOBufConsumer *c, VirtIOBufBuffer *buffer)
{
    if (attaches) {
        CHECK_INT(virtio_buf_attach(c, buffer, 0), ==, 0);
    }
}

static void on_remove(VirtIOBufConsumer *c, VirtIOBufBuffer *buffer,
                      VirtIOBufAttachment *attachment)
{
    removed++;
    if (attachment && lets_go) {
        virtio_buf_detach(attachment);
    }
}

static void on_reset(VirtIOBufConsumer *c, uint32_t reason)
{
    resets++;
}

static void on_overdue(VirtIOBufConsumer *c, uint64_t handle)
{
    overdue++;
    CHECK(!virtio_buf_attachment_find(c, handle));
}

static const VirtIOBufConsumerOps ops = {
    .needs_fd = true,
    .buffer = on_buffer,
    .ready = take_all,
    .remove = on_remove,
    .reset = on_reset,
    .overdue = on_overdue,
};

static VirtIOBufBuffer *find(uint64_t id)
{
    return g_hash_table_lookup(device.by_id, &id);
}

/* A buffer with this id in this stream */
static VirtIOBufBuffer *add(uint64_t id, uint64_t stream)
{
    struct virtio_buf_register reg = {
        .buffer_id = cpu_to_le64(id),
        .size = cpu_to_le64(SIZE),
        .stream = cpu_to_le64(stream),
        .range_count = cpu_to_le32(1),
        .application = "test",
    };
    struct virtio_buf_range range = { 0, cpu_to_le64(SIZE) };
    uint32_t status = VIRTIO_BUF_S_OK;
    VirtIOBufBuffer *buffer = virtio_buf_buffer_new(&device, &reg, &range, NULL,
                                                    NULL, &status);

    CHECK(buffer && buffer == find(id));
    virtio_buf_announce(buffer);
    return buffer;
}

static struct virtio_buf_event events[16];

/* GET_EVENTS with room for @room; returns how many came */
static unsigned get_events(unsigned room, bool more)
{
    struct {
        struct virtio_buf_events_response head;
        struct virtio_buf_event events[16];
    } answer;
    struct iovec iov = {
        &answer, sizeof(answer.head) + room * sizeof(answer.events[0]),
    };
    size_t size = virtio_buf_get_events(&device, &iov, 1);
    unsigned count = le32_to_cpu(answer.head.count);

    CHECK_INT(size, ==, sizeof(answer.head) + count * sizeof(events[0]));
    CHECK_INT(le32_to_cpu(answer.head.more), ==, more);
    CHECK_INT(le64_to_cpu(answer.head.hdr.news), ==, device.news);
    memcpy(events, answer.events, count * sizeof(events[0]));
    return count;
}

static void check_event(unsigned i, uint64_t id, uint32_t flags)
{
    CHECK_INT(le64_to_cpu(events[i].buffer_id), ==, id);
    CHECK_INT(le32_to_cpu(events[i].flags), ==, flags);
    CHECK_INT(le32_to_cpu(events[i].size), ==, sizeof(events[i]));
}

/* The only event is that this buffer is FREED */
static void expect_freed(uint64_t id)
{
    CHECK_INT(get_events(16, false), ==, 1);
    CHECK_INT(le64_to_cpu(events[0].buffer_id), ==, id);
    CHECK(le32_to_cpu(events[0].flags) & VIRTIO_BUF_EVENT_FREED);
    CHECK_INT(get_events(16, false), ==, 0);
}

static void advance_to(int64_t ms)
{
    while (device.timer && device.timer->expires >= 0 &&
           device.timer->expires <= ms) {
        QEMUTimer *timer = device.timer;

        now_ms = timer->expires;
        timer->expires = -1;
        timer->cb(timer->opaque);
    }
    now_ms = ms;
}

static void setup(void)
{
    device.limits = (VirtIOBufLimits) {
        .buffers = 16, .properties = 4, .property_bytes = 4096,
        .release_timeout_ms = RELEASE_TIMEOUT,
    };
    ((VirtIODevice *)&device)->status = VIRTIO_CONFIG_S_DRIVER_OK;
    device.drained = true;
    pools = 1;
    device.pool = (VirtIOBufMemoryPool *)&pools;
    QTAILQ_INIT(&device.consumers);
    virtio_buf_buffers_init(&device);
    virtio_buf_hold_init(&device);
    consumer.ops = &ops;
    consumer.all = true;
    attaches = lets_go = true;
    virtio_buf_consumer_add(&device, &consumer);
    config_interrupts = 0;
}

static void teardown(void)
{
    virtio_buf_consumer_remove(&consumer);
    virtio_buf_buffers_cleanup(&device);
    virtio_buf_hold_cleanup(&device);
    CHECK_INT(memories_alive, ==, 0);
    CHECK_INT(timers, ==, 0);
    CHECK_INT(pools, ==, 0);
    CHECK_INT(device.buffer_count, ==, 0);
    CHECK_INT(device.total_size, ==, 0);
}

TEST(nobody_attached_is_free_at_once)
{
    setup();
    attaches = false;
    add(1, 0);
    CHECK_INT(device.total_size, ==, SIZE);
    CHECK(virtio_buf_buffer_unregister(find(1), false));
    CHECK(!find(1));
    CHECK_INT(removed, ==, 1);
    CHECK_INT(get_events(16, false), ==, 0);
    CHECK_INT(device.timer->expires, ==, -1);
    teardown();
}

TEST(let_go_inside_of_remove_is_free_at_once)
{
    setup();
    add(1, 5);
    CHECK(virtio_buf_buffer_unregister(find(1), false));
    CHECK_INT(get_events(16, false), ==, 0);
    teardown();
}

TEST(freed_when_the_last_one_lets_go)
{
    uint64_t handle;

    setup();
    lets_go = false;
    handle = add(1, 0)->handle;
    CHECK(!virtio_buf_buffer_unregister(find(1), false));
    CHECK(!find(1));
    CHECK(!virtio_buf_buffer_find(&consumer, handle));
    CHECK_INT(memories_alive, ==, 1);
    virtio_buf_detach(virtio_buf_attachment_find(&consumer, handle));
    CHECK_INT(memories_alive, ==, 0);
    CHECK_INT(device.total_size, ==, 0);
    CHECK_INT(device.buffer_count, ==, 1);
    expect_freed(1);
    CHECK_INT(device.buffer_count, ==, 0);
    teardown();
}

TEST(a_consumer_that_never_got_the_memory_holds_nothing)
{
    VirtIOBufConsumerOps deaf = ops;

    setup();
    /* It attaches, and does not come to hear of it */
    deaf.ready = NULL;
    consumer.ops = &deaf;
    lets_go = false;
    device.quiet = true;
    add(1, 0);
    device.quiet = false;
    CHECK(virtio_buf_buffer_unregister(find(1), false));
    consumer.ops = &ops;
    teardown();
}

TEST(a_consumer_without_an_fd_makes_no_export)
{
    VirtIOBufConsumerOps inside = ops;
    VirtIOBufBuffer *buffer;

    setup();
    inside.needs_fd = false;
    consumer.ops = &inside;
    buffer = add(1, 0);
    CHECK(virtio_buf_attachment_find(&consumer, buffer->handle));
    CHECK_INT(buffer->attachment_count, ==, 1);
    CHECK_INT(buffer->fd_attachment_count, ==, 0);
    CHECK(!memories[0].exported);

    /* What somebody else has exported is not kept open for it */
    CHECK_INT(virtio_buf_export(buffer), >=, 0);
    CHECK(memories[0].exported);
    virtio_buf_unexport_unused(buffer);
    CHECK(!memories[0].exported);
    CHECK(virtio_buf_buffer_unregister(find(1), false));
    CHECK_INT(memories_alive, ==, 0);
    consumer.ops = &ops;
    teardown();
}

TEST(passed_on_is_looked_at_by_the_clock)
{
    setup();
    add(1, 0);
    memories[0].held = true;
    CHECK(!virtio_buf_buffer_unregister(find(1), false));
    advance_to(1000);
    CHECK_INT(memories_alive, ==, 1);
    memories[0].held = false;
    advance_to(1000 + 200);
    CHECK_INT(revocations, ==, 0);
    expect_freed(1);
    CHECK_INT(device.timer->expires, ==, -1);
    teardown();
}

TEST(revoked_at_the_deadline)
{
    setup();
    lets_go = false;
    add(1, 0);
    memories[0].held = true;
    CHECK(!virtio_buf_buffer_unregister(find(1), false));
    advance_to(RELEASE_TIMEOUT - 1);
    CHECK_INT(overdue, ==, 0);
    CHECK_INT(revocations, ==, 0);
    advance_to(RELEASE_TIMEOUT);
    CHECK_INT(overdue, ==, 1);
    CHECK_INT(revocations, ==, 1);
    CHECK_INT(events_unrevocable, ==, 0);
    expect_freed(1);
    teardown();
}

TEST(no_timeout_is_no_deadline)
{
    uint64_t handle;

    setup();
    lets_go = false;
    device.limits.release_timeout_ms = 0;
    handle = add(1, 0)->handle;
    CHECK(!virtio_buf_buffer_unregister(find(1), false));
    advance_to(100000000);
    CHECK_INT(overdue, ==, 0);
    CHECK_INT(revocations, ==, 0);
    virtio_buf_detach(virtio_buf_attachment_find(&consumer, handle));
    expect_freed(1);
    teardown();
}

TEST(what_cannot_be_revoked_stays_pending)
{
    setup();
    add(1, 0);
    memories[0].held = true;
    memories[0].revocable = false;
    CHECK(!virtio_buf_buffer_unregister(find(1), false));
    advance_to(10 * RELEASE_TIMEOUT);
    CHECK_INT(revocations, ==, 1);
    CHECK_INT(overdue, ==, 0);
    CHECK_INT(events_unrevocable, ==, 1);
    CHECK_INT(events_quarantined, ==, 0);
    CHECK_INT(event_bytes, ==, SIZE);
    CHECK_INT(memories_alive, ==, 1);
    CHECK_INT(device.buffer_count, ==, 1);
    /* It lets go, or a later try succeeds */
    memories[0].held = false;
    advance_to(10 * RELEASE_TIMEOUT + 200);
    expect_freed(1);
    CHECK_INT(device.timer->expires, ==, -1);
    teardown();
}

TEST(a_consumer_is_told_once_that_it_is_overdue)
{
    setup();
    lets_go = false;
    add(1, 0);
    memories[0].held = true;
    memories[0].revocable = false;
    CHECK(!virtio_buf_buffer_unregister(find(1), false));
    advance_to(RELEASE_TIMEOUT + 60 * 1000);
    CHECK_INT(overdue, ==, 1);
    CHECK_INT(events_unrevocable, ==, 1);
    memories[0].held = false;
    advance_to(RELEASE_TIMEOUT + 60 * 1000 + 200);
    expect_freed(1);
    teardown();
}

TEST(each_deadline_is_kept_beside_what_failed)
{
    setup();
    add(1, 0);
    memories[0].held = true;
    memories[0].revocable = false;
    CHECK(!virtio_buf_buffer_unregister(find(1), false));
    advance_to(1000 * 1000);
    get_events(16, false);
    add(2, 0);
    memories[1].held = true;
    CHECK(!virtio_buf_buffer_unregister(find(2), false));
    advance_to(1000 * 1000 + RELEASE_TIMEOUT);
    CHECK_INT(memories_alive, ==, 1);
    expect_freed(2);
    memories[0].held = false;
    advance_to(1000 * 1000 + RELEASE_TIMEOUT + 200);
    expect_freed(1);
    teardown();
}

TEST(revokes_all_that_are_due_at_once)
{
    setup();
    for (int i = 1; i <= 4; i++) {
        add(i, 7);
        memories[i - 1].held = true;
    }
    memories[2].revocable = false;
    CHECK_INT(get_events(16, false), ==, 4);
    for (int i = 1; i <= 4; i++) {
        CHECK(!virtio_buf_buffer_unregister(find(i), true));
    }
    advance_to(RELEASE_TIMEOUT);
    CHECK_INT(revocations, ==, 1);
    CHECK_INT(get_events(16, false), ==, 3);
    CHECK_INT(memories_alive, ==, 1);
    memories[2].held = false;
    advance_to(RELEASE_TIMEOUT + 200);
    expect_freed(3);
    teardown();
}

/* The guest runs between the steps; all consumers are told in the first */
TEST(large_ones_are_revoked_one_by_one)
{
    setup();
    lets_go = false;
    export_size = 8 * 1024 * 1024;
    for (int i = 1; i <= 3; i++) {
        add(i, 7);
        memories[i - 1].held = true;
    }
    get_events(16, false);
    for (int i = 1; i <= 3; i++) {
        CHECK(!virtio_buf_buffer_unregister(find(i), true));
    }
    for (int i = 1; i <= 3; i++) {
        advance_to(RELEASE_TIMEOUT + i - 1);
        CHECK_INT(overdue, ==, 3);
        CHECK_INT(revocations, ==, i);
        expect_freed(i);
    }
    CHECK_INT(device.timer->expires, ==, -1);
    teardown();
}

/* They may be in each other's way */
TEST(what_a_step_cannot_revoke_is_tried_with_all)
{
    setup();
    export_size = 8 * 1024 * 1024;
    for (int i = 1; i <= 3; i++) {
        add(i, 7);
        memories[i - 1].held = true;
    }
    memories[0].revocable = false;
    get_events(16, false);
    for (int i = 1; i <= 3; i++) {
        CHECK(!virtio_buf_buffer_unregister(find(i), true));
    }
    advance_to(RELEASE_TIMEOUT);
    CHECK_INT(revocations, ==, 2);
    CHECK_INT(get_events(16, false), ==, 2);
    CHECK_INT(events_unrevocable, ==, 1);
    CHECK_INT(event_bytes, ==, export_size);
    CHECK_INT(memories_alive, ==, 1);
    memories[0].held = false;
    advance_to(RELEASE_TIMEOUT + 200);
    expect_freed(1);
    teardown();
}

TEST(a_reset_takes_all_back_at_once)
{
    setup();
    lets_go = false;
    add(1, 0);
    add(2, 3);
    add(3, 3);
    memories[0].held = memories[1].held = true;
    CHECK(!virtio_buf_buffer_unregister(find(2), false));
    CHECK_INT(removed, ==, 1);
    virtio_buf_buffers_revoke(&device);
    CHECK_INT(revocations, ==, 1);
    CHECK_INT(memories_alive, ==, 0);
    CHECK_INT(removed, ==, 1);
    CHECK_INT(g_hash_table_size(consumer.attachments), ==, 0);
    CHECK_INT(g_hash_table_size(consumer.streams), ==, 0);
    CHECK_INT(g_hash_table_size(device.by_handle), ==, 0);
    CHECK_INT(g_hash_table_size(device.streams), ==, 0);
    CHECK_INT(get_events(16, false), ==, 0);
    CHECK_INT(warnings, ==, 0);
    teardown();
}

TEST(a_reset_forgets_what_the_guest_has_not_read)
{
    setup();
    add(1, 0);
    virtio_buf_buffer_unregister(find(1), true);
    CHECK_INT(device.buffer_count, ==, 1);
    virtio_buf_buffers_revoke(&device);
    CHECK_INT(device.buffer_count, ==, 0);
    CHECK_INT(get_events(16, false), ==, 0);
    teardown();
}

TEST(quarantine_after_a_reset)
{
    setup();
    add(1, 0);
    add(2, 0);
    memories[0].held = memories[1].held = true;
    memories[0].revocable = false;
    virtio_buf_buffers_revoke(&device);
    CHECK_INT(revocations, ==, 1);
    CHECK_INT(warnings, ==, 1);
    CHECK_INT(events_unrevocable, ==, 1);
    CHECK_INT(events_quarantined, ==, 1);
    CHECK_INT(event_bytes, ==, SIZE);
    CHECK_INT(quarantined, ==, 1);
    CHECK_INT(memories_alive, ==, 0);
    CHECK_INT(device.buffer_count, ==, 0);
    CHECK_INT(device.total_size, ==, 0);
    CHECK_INT(device.timer->expires, ==, -1);
    CHECK_INT(get_events(16, false), ==, 0);
    teardown();
}

/* What is pending when the device goes is in quarantine, too */
TEST(quarantine_when_the_device_goes)
{
    setup();
    add(1, 0);
    memories[0].held = true;
    memories[0].revocable = false;
    CHECK(!virtio_buf_buffer_unregister(find(1), false));
    advance_to(RELEASE_TIMEOUT);
    CHECK_INT(events_quarantined, ==, 0);
    teardown();
    CHECK_INT(events_quarantined, ==, 1);
    CHECK_INT(quarantined, ==, 1);
}

TEST(a_register_that_fails_leaves_nothing)
{
    struct virtio_buf_register reg = {
        .buffer_id = cpu_to_le64(1), .size = cpu_to_le64(SIZE),
        .range_count = cpu_to_le32(1), .application = "test",
    };
    struct virtio_buf_range range = {};
    uint32_t status = VIRTIO_BUF_S_OK;

    setup();
    CHECK(!virtio_buf_buffer_new(&device, &reg, &range, NULL, NULL, &status));
    CHECK_INT(status, ==, VIRTIO_BUF_S_NOT_RAM);
    CHECK(!find(1));
    teardown();
}

TEST(one_interrupt_until_drained)
{
    setup();
    add(1, 0);
    CHECK_INT(config_interrupts, ==, 1);
    add(2, 0);
    add(3, 0);
    CHECK_INT(config_interrupts, ==, 1);
    CHECK_INT(get_events(2, true), ==, 2);
    check_event(0, 1, VIRTIO_BUF_EVENT_CONSUMERS);
    check_event(1, 2, VIRTIO_BUF_EVENT_CONSUMERS);
    CHECK_INT(le32_to_cpu(events[0].consumers), ==, 1);

    /* Not drained: no interrupt for what comes meanwhile */
    virtio_buf_buffer_unregister(find(1), true);
    CHECK_INT(config_interrupts, ==, 1);
    CHECK_INT(get_events(16, false), ==, 2);
    check_event(0, 3, VIRTIO_BUF_EVENT_CONSUMERS);
    check_event(1, 1, VIRTIO_BUF_EVENT_FREED);

    virtio_buf_buffer_unregister(find(2), true);
    CHECK_INT(config_interrupts, ==, 2);
    expect_freed(2);
    teardown();
}

TEST(no_news_after_an_unregister_that_is_ok)
{
    setup();
    add(1, 0);
    CHECK(virtio_buf_buffer_unregister(find(1), false));
    CHECK_INT(get_events(16, false), ==, 0);
    teardown();
}

TEST(interrupts_wait_for_the_machine)
{
    setup();
    running = false;
    add(1, 0);
    CHECK_INT(config_interrupts, ==, 0);
    CHECK(device.config_changed);
    running = true;
    virtio_buf_config_changed(&device);
    CHECK_INT(config_interrupts, ==, 1);
    CHECK(!device.config_changed);
    teardown();
}

TEST(interrupts_wait_for_the_driver)
{
    setup();
    ((VirtIODevice *)&device)->status = 0;
    add(1, 0);
    CHECK_INT(config_interrupts, ==, 0);
    CHECK(device.config_changed);
    teardown();
}
