/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of virtio-buf-quarantine.c with memories that are held and revoked as
 * the test wants, and a clock that it moves.
 */
#include "qemu/osdep.h"
#include "hw/virtio/virtio-buf-memory-internal.h"
#include "harness.h"

enum { PAGE = 4096, COUNT = 3 };

static int64_t now_ms;
static int revocations, last_revoked, timers, pools;
static VirtIOBufMemoryConfig config;
static VirtIOBufMemoryPool pool;
static VirtIOBufMemory memories[COUNT];
static bool held[COUNT], revocable[COUNT], freed[COUNT];

int64_t qemu_clock_get_ms(QEMUClockType type)
{
    CHECK_INT(type, ==, QEMU_CLOCK_VIRTUAL);
    return now_ms;
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

void timer_del(QEMUTimer *timer)
{
    timer->expires = -1;
}

void timer_free(QEMUTimer *timer)
{
    timers--;
    g_free(timer);
}

bool virtio_buf_memory_held(const VirtIOBufMemory *memory)
{
    return held[memory - memories];
}

void virtio_buf_memory_free(VirtIOBufMemory *memory)
{
    CHECK(!virtio_buf_memory_held(memory));
    CHECK(!freed[memory - memories]);
    freed[memory - memories] = true;
    virtio_buf_unrevoked_remove(memory);
    pool.memories--;
}

bool virtio_buf_memory_revoke(VirtIOBufMemory **list, size_t count)
{
    bool all = true;

    CHECK(count);
    revocations++;
    last_revoked = count;
    for (size_t i = 0; i < count; i++) {
        held[list[i] - memories] &= !revocable[list[i] - memories];
        if (virtio_buf_memory_held(list[i])) {
            virtio_buf_unrevoked_add(list[i]);
            all = false;
        }
    }
    return all;
}

void virtio_buf_memory_pool_destroy(VirtIOBufMemoryPool *p)
{
    CHECK(p == &pool);
    CHECK_INT(p->memories, ==, 0);
    virtio_buf_quarantine_cleanup(p);
    p->retry_timer = NULL;
    pools--;
}

static void advance_to(int64_t ms)
{
    while (pool.retry_timer && pool.retry_timer->expires >= 0 &&
           pool.retry_timer->expires <= ms) {
        QEMUTimer *timer = pool.retry_timer;

        now_ms = timer->expires;
        timer->expires = -1;
        timer->cb(timer->opaque);
    }
    now_ms = ms;
}

/* @count memories of 1, 2, ... pages that could not be revoked */
static void setup(int count)
{
    pool = (VirtIOBufMemoryPool) { .config = &config, .memories = count };
    pools = 1;
    virtio_buf_quarantine_init(&pool);
    for (int i = 0; i < count; i++) {
        memories[i] = (VirtIOBufMemory) {
            .pool = &pool, .export_size = (i + 1) * PAGE,
        };
        held[i] = true;
        virtio_buf_unrevoked_add(&memories[i]);
    }
}

static void check_quarantined(uint32_t count, uint64_t bytes)
{
    uint32_t counted;

    CHECK_INT(virtio_buf_memory_pool_quarantined(&pool, &counted), ==, bytes);
    CHECK_INT(counted, ==, count);
}

/* All are let go; everything is as before */
static void teardown(void)
{
    check_quarantined(0, 0);
    CHECK(QTAILQ_EMPTY(&pool.unrevoked));
    CHECK_INT(pool.retry_timer->expires, ==, -1);
    virtio_buf_quarantine_cleanup(&pool);
    CHECK_INT(timers, ==, 0);
    CHECK_INT(pools, ==, 1);
}

TEST(less_and_less_often_but_not_never)
{
    setup(1);
    advance_to(999);
    CHECK_INT(revocations, ==, 0);
    advance_to(1000);
    CHECK_INT(revocations, ==, 1);
    /* At 1, 3, 7, 15, 31, 63, 123, ... s */
    advance_to(2999);
    CHECK_INT(revocations, ==, 1);
    advance_to(3000);
    CHECK_INT(revocations, ==, 2);
    advance_to(62999);
    CHECK_INT(revocations, ==, 5);
    advance_to(63000);
    CHECK_INT(revocations, ==, 6);
    advance_to(63000 + 100 * 60000);
    CHECK_INT(revocations, ==, 106);

    /* What was in the way is gone; the buffer frees it itself */
    revocable[0] = true;
    advance_to(63000 + 101 * 60000);
    CHECK_INT(revocations, ==, 107);
    CHECK(!freed[0]);
    virtio_buf_memory_free(&memories[0]);
    teardown();
}

TEST(a_new_one_after_the_last_is_tried_soon)
{
    setup(1);
    advance_to(63000);
    held[0] = false;
    virtio_buf_memory_free(&memories[0]);
    CHECK_INT(pool.retry_timer->expires, ==, -1);
    freed[0] = false;
    held[0] = true;
    virtio_buf_unrevoked_add(&memories[0]);
    revocations = 0;
    advance_to(63999);
    CHECK_INT(revocations, ==, 0);
    advance_to(64000);
    CHECK_INT(revocations, ==, 1);
    held[0] = false;
    virtio_buf_unrevoked_remove(&memories[0]);
    teardown();
}

/* They may be in each other's way, in one huge page */
TEST(all_are_tried_at_once)
{
    setup(3);
    virtio_buf_memory_quarantine(&memories[1]);
    advance_to(1000);
    CHECK_INT(revocations, ==, 1);
    CHECK_INT(last_revoked, ==, 3);
    held[0] = false;
    revocable[2] = true;
    advance_to(3000);
    CHECK_INT(revocations, ==, 2);
    CHECK_INT(last_revoked, ==, 2);
    advance_to(7000);
    CHECK_INT(last_revoked, ==, 1);
    held[1] = false;
    advance_to(7200);
    CHECK(freed[1] && !freed[0] && !freed[2]);
    teardown();
}

TEST(quarantine_ends_when_nobody_holds_it)
{
    setup(2);
    virtio_buf_memory_quarantine(&memories[0]);
    check_quarantined(1, PAGE);
    virtio_buf_memory_quarantine(&memories[1]);
    check_quarantined(2, 3 * PAGE);
    advance_to(60000);
    held[0] = false;
    advance_to(60200);
    CHECK(freed[0]);
    check_quarantined(1, 2 * PAGE);
    held[1] = false;
    advance_to(60400);
    CHECK(freed[1]);
    teardown();
}

TEST(quarantine_ends_when_it_is_revoked)
{
    setup(1);
    virtio_buf_memory_quarantine(&memories[0]);
    revocable[0] = true;
    advance_to(999);
    CHECK(!freed[0]);
    advance_to(1000);
    CHECK(freed[0]);
    teardown();
}

/* It could not be looked at for a moment: it counts as held */
TEST(quarantine_of_what_was_never_tried)
{
    setup(0);
    memories[0] = (VirtIOBufMemory) { .pool = &pool, .export_size = PAGE };
    pool.memories = 1;
    held[0] = true;
    virtio_buf_memory_quarantine(&memories[0]);
    check_quarantined(1, PAGE);
    held[0] = false;
    advance_to(200);
    CHECK(freed[0]);
    teardown();
}

TEST(quarantine_outlives_the_device)
{
    setup(2);
    virtio_buf_memory_quarantine(&memories[0]);
    virtio_buf_memory_quarantine(&memories[1]);
    pool.config = NULL;
    advance_to(60000);
    held[0] = false;
    advance_to(60200);
    CHECK(freed[0]);
    CHECK_INT(pools, ==, 1);
    held[1] = false;
    advance_to(60400);
    CHECK(freed[1]);
    CHECK_INT(pools, ==, 0);
    CHECK_INT(timers, ==, 0);
}
