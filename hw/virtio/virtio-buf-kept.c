/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what programs on the host have kept
 *
 * Two kinds of host memory that the guest does not pay for: the old pages of
 * dma-bufs whose buffers were revoked, called orphans, and copies of buffers
 * that are gone. Both are counted, with one fd of QEMU's for each, until nobody
 * else has one; above the limits of the pool no more are made.
 *
 * Runs under the BQL, by a timer of the host's clock.
 */
#include "qemu/osdep.h"
#include "virtio-buf-fdinfo.h"
#include "virtio-buf-memory-internal.h"
#include "trace.h"

/* QEMU's fds are bounded too, however small the buffers are */
#define MAX_ORPHANS 256

#define ORPHAN_POLL_MS 1000
/* Looked at for a command of the guest, while there are too many */
#define ORPHANS_PER_COMMAND 8

/* A dma-buf that keeps old pages, or a copy, and QEMU's fd of it */
struct VirtIOBufOrphan {
    int fd;
    bool copy;
    uint64_t bytes;
    QTAILQ_ENTRY(VirtIOBufOrphan) next;
};

static bool orphan_held(VirtIOBufOrphan *orphan)
{
    return orphan->copy ? virtio_buf_copy_file_held(&orphan->fd)
                        : virtio_buf_fdinfo_count(orphan->fd) != 1;
}

static void orphan_account(VirtIOBufMemoryPool *pool,
                           const VirtIOBufOrphan *orphan, int sign)
{
    if (orphan->copy) {
        pool->kept_count += sign;
        pool->kept += sign * orphan->bytes;
    } else {
        pool->orphan_count += sign;
        pool->orphaned += sign * orphan->bytes;
    }
}

/* Looks at @max of them, those that were not looked at for longest */
static void orphans_poll(VirtIOBufMemoryPool *pool, uint32_t max)
{
    for (max = MIN(max, pool->orphan_count + pool->kept_count); max; max--) {
        VirtIOBufOrphan *orphan = QTAILQ_FIRST(&pool->orphans);

        QTAILQ_REMOVE(&pool->orphans, orphan, next);
        if (orphan_held(orphan)) {
            QTAILQ_INSERT_TAIL(&pool->orphans, orphan, next);
            continue;
        }
        orphan_account(pool, orphan, -1);
        close(orphan->fd);
        g_free(orphan);
    }
    trace_virtio_buf_orphans(pool, pool->orphan_count, pool->orphaned,
                             pool->kept_count, pool->kept);
}

/* QEMU's own fd keeps the pages: nobody else frees them */
static void orphans_timer(void *opaque)
{
    VirtIOBufMemoryPool *pool = opaque;

    orphans_poll(pool, UINT32_MAX);
    if (!QTAILQ_EMPTY(&pool->orphans)) {
        timer_mod(pool->orphan_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ORPHAN_POLL_MS);
    }
}

void virtio_buf_kept_init(VirtIOBufMemoryPool *pool)
{
    QTAILQ_INIT(&pool->orphans);
    pool->orphan_timer = timer_new_ms(QEMU_CLOCK_REALTIME, orphans_timer, pool);
}

void virtio_buf_kept_cleanup(VirtIOBufMemoryPool *pool)
{
    VirtIOBufOrphan *orphan, *next;

    timer_free(pool->orphan_timer);
    QTAILQ_FOREACH_SAFE(orphan, &pool->orphans, next, next) {
        close(orphan->fd);
        g_free(orphan);
    }
}

static void orphan_add(VirtIOBufMemoryPool *pool, int fd, bool copy,
                       uint64_t bytes)
{
    VirtIOBufOrphan *orphan = g_new(VirtIOBufOrphan, 1);

    *orphan = (VirtIOBufOrphan) { .fd = fd, .copy = copy, .bytes = bytes };
    QTAILQ_INSERT_TAIL(&pool->orphans, orphan, next);
    orphan_account(pool, orphan, 1);
    if (!timer_pending(pool->orphan_timer)) {
        timer_mod(pool->orphan_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ORPHAN_POLL_MS);
    }
}

void virtio_buf_orphan_add(VirtIOBufMemoryPool *pool, int fd, uint64_t bytes)
{
    orphan_add(pool, fd, false, bytes);
}

void virtio_buf_kept_add(VirtIOBufMemoryPool *pool, int fd, uint64_t bytes)
{
    orphan_add(pool, fd, true, bytes);
}

uint64_t virtio_buf_memory_pool_orphaned(VirtIOBufMemoryPool *pool,
                                         uint32_t *count)
{
    orphans_poll(pool, UINT32_MAX);
    *count = pool->orphan_count;
    return pool->orphaned;
}

uint64_t virtio_buf_memory_pool_kept(VirtIOBufMemoryPool *pool,
                                     uint32_t *count)
{
    orphans_poll(pool, UINT32_MAX);
    *count = pool->kept_count;
    return pool->kept;
}

/* What is in quarantine is kept as well, and the guest has the limits anew */
static bool too_many_orphans(const VirtIOBufMemoryPool *pool)
{
    return pool->orphan_count + pool->quarantined >= MAX_ORPHANS ||
           pool->orphaned + pool->quarantined_bytes >
           pool->config->max_orphaned;
}

bool virtio_buf_orphans_too_many(VirtIOBufMemoryPool *pool)
{
    if (too_many_orphans(pool)) {
        orphans_poll(pool, ORPHANS_PER_COMMAND);
    }
    return too_many_orphans(pool);
}

/*
 * Above the limits of all buffers: so one program that has stopped does not
 * bring the others to it, whatever it had attached
 */
static bool too_many_kept(const VirtIOBufMemoryPool *pool)
{
    return pool->kept_count > pool->config->max_buffers ||
           pool->kept > pool->config->max_total_size;
}

bool virtio_buf_kept_too_many(VirtIOBufMemoryPool *pool)
{
    if (too_many_kept(pool)) {
        orphans_poll(pool, ORPHANS_PER_COMMAND);
    }
    return too_many_kept(pool);
}
