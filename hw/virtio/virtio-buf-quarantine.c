/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what could not be revoked
 *
 * Knows the memories of a pool that somebody has kept although they were to be
 * revoked, and tries them again, less and less often, as what was in the way
 * may go: a device that forbade it, a migration, another buffer in the same
 * huge page.
 *
 * Those of a buffer stay its own. Those in quarantine have none, as their
 * device was reset or is gone: they are owned here, their pages claimed and
 * their memory regions referenced, until nobody holds them. So is a pool whose
 * device is gone, as long as it has any of them.
 *
 * Runs under the BQL, by a timer on the virtual clock.
 */
#include "qemu/osdep.h"
#include "virtio-buf-memory-internal.h"
#include "trace.h"

/* How often to look whether what is in quarantine is still held */
#define POLL_MS 200

/* How long after a revocation that failed it is tried again */
#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS (60 * 1000)

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL);
}

static void plan(VirtIOBufMemoryPool *pool)
{
    int64_t at = pool->retry_at;

    if (pool->quarantined) {
        at = MIN(at, now_ms() + POLL_MS);
    }
    timer_mod(pool->retry_timer, at);
}

static void retry(VirtIOBufMemoryPool *pool)
{
    g_autoptr(GPtrArray) held = g_ptr_array_new();
    VirtIOBufMemory *memory;

    QTAILQ_FOREACH(memory, &pool->unrevoked, next_unrevoked) {
        if (virtio_buf_memory_held(memory)) {
            g_ptr_array_add(held, memory);
        }
    }
    if (held->len) {
        virtio_buf_memory_revoke((VirtIOBufMemory **)held->pdata, held->len);
    }
}

static void retry_timer(void *opaque)
{
    VirtIOBufMemoryPool *pool = opaque;
    VirtIOBufMemory *memory, *next;

    if (now_ms() >= pool->retry_at) {
        retry(pool);
        pool->retry_interval_ms = MIN(pool->retry_interval_ms * 2,
                                      RETRY_MAX_MS);
        pool->retry_at = now_ms() + pool->retry_interval_ms;
    }
    QTAILQ_FOREACH_SAFE(memory, &pool->unrevoked, next_unrevoked, next) {
        if (virtio_buf_memory_held(memory)) {
            continue;
        }
        if (memory->quarantined) {
            virtio_buf_memory_free(memory);
        } else {
            virtio_buf_unrevoked_remove(memory);
        }
    }
    if (!QTAILQ_EMPTY(&pool->unrevoked)) {
        plan(pool);
    } else if (!pool->config) {
        virtio_buf_memory_pool_destroy(pool);
    }
}

void virtio_buf_quarantine_init(VirtIOBufMemoryPool *pool)
{
    QTAILQ_INIT(&pool->unrevoked);
    pool->retry_timer = timer_new_ms(QEMU_CLOCK_VIRTUAL, retry_timer, pool);
}

void virtio_buf_quarantine_cleanup(VirtIOBufMemoryPool *pool)
{
    timer_free(pool->retry_timer);
}

void virtio_buf_unrevoked_add(VirtIOBufMemory *memory)
{
    VirtIOBufMemoryPool *pool = memory->pool;

    if (memory->unrevoked) {
        return;
    }
    if (QTAILQ_EMPTY(&pool->unrevoked)) {
        pool->retry_interval_ms = RETRY_FIRST_MS;
        pool->retry_at = now_ms() + RETRY_FIRST_MS;
    }
    memory->unrevoked = true;
    QTAILQ_INSERT_TAIL(&pool->unrevoked, memory, next_unrevoked);
    plan(pool);
}

void virtio_buf_unrevoked_remove(VirtIOBufMemory *memory)
{
    VirtIOBufMemoryPool *pool = memory->pool;

    if (!memory->unrevoked) {
        return;
    }
    memory->unrevoked = false;
    QTAILQ_REMOVE(&pool->unrevoked, memory, next_unrevoked);
    if (memory->quarantined) {
        pool->quarantined--;
        pool->quarantined_bytes -= memory->export_size;
        trace_virtio_buf_quarantine(pool, pool->quarantined,
                                    pool->quarantined_bytes);
    }
    if (QTAILQ_EMPTY(&pool->unrevoked)) {
        timer_del(pool->retry_timer);
    }
}

void virtio_buf_memory_quarantine(VirtIOBufMemory *memory)
{
    VirtIOBufMemoryPool *pool = memory->pool;

    virtio_buf_unrevoked_add(memory);
    memory->quarantined = true;
    /* The device's, which may go; nothing is copied any more */
    memory->as = NULL;
    pool->quarantined++;
    pool->quarantined_bytes += memory->export_size;
    trace_virtio_buf_quarantine(pool, pool->quarantined,
                                pool->quarantined_bytes);
    plan(pool);
}

uint64_t virtio_buf_memory_pool_quarantined(const VirtIOBufMemoryPool *pool,
                                            uint32_t *count)
{
    *count = pool->quarantined;
    return pool->quarantined_bytes;
}
