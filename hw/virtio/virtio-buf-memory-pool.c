/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what the buffers of one device share
 *
 * Owns the fd of /dev/udmabuf, knows its limits, and says why the machine's RAM
 * may not do for zero-copy.
 *
 * Runs under the BQL.
 */
#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/memfd.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/boards.h"
#include "system/kvm.h"
#include "system/qtest.h"
#include "standard-headers/linux/udmabuf.h"
#include "virtio-buf-fdinfo.h"
#include "virtio-buf-memory-internal.h"
#include "trace.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define UDMABUF_DEVICE "/dev/udmabuf"
#define UDMABUF_PARAMETERS "/sys/module/udmabuf/parameters/"
/* Linux's defaults, if it does not tell */
#define UDMABUF_LIST_LIMIT 1024
#define UDMABUF_SIZE_LIMIT_MB 64

#define SHAREABLE_RAM \
    "-object memory-backend-memfd,id=mem,size=...,share=on " \
    "and -machine memory-backend=mem"

void virtio_buf_note(uint8_t *obstacle, uint8_t reason)
{
    if (*obstacle == VIRTIO_BUF_REASON_NONE) {
        *obstacle = reason;
    }
}

void virtio_buf_block_obstacles(RAMBlock *block,
                                VirtIOBufObstacles *obstacles)
{
    int seals = -1;

    if (block->fd >= 0 && qemu_ram_is_shared(block) &&
        !(block->flags & (RAM_READONLY | RAM_READONLY_FD))) {
        seals = fcntl(block->fd, F_GET_SEALS);
    }
    if (seals < 0 || !(seals & F_SEAL_SHRINK) ||
        (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) ||
        !QEMU_IS_ALIGNED(block->fd_offset, qemu_real_host_page_size())) {
        virtio_buf_note(&obstacles->refusal, VIRTIO_BUF_REASON_NOT_SHARED);
        return;
    }
    if (qemu_ram_pagesize(block) != qemu_real_host_page_size()) {
        virtio_buf_note(&obstacles->weakness, VIRTIO_BUF_REASON_HUGE_PAGES);
    }
    if (memory_region_has_ram_discard_manager(block->mr)) {
        virtio_buf_note(&obstacles->weakness, VIRTIO_BUF_REASON_DISCARD);
    }
}

const VirtIOBufMemoryCounters *
virtio_buf_memory_pool_counters(const VirtIOBufMemoryPool *pool)
{
    return &pool->counters;
}

static uint64_t udmabuf_limit(const char *name, uint64_t fallback)
{
    g_autofree char *path = g_strconcat(UDMABUF_PARAMETERS, name, NULL);
    g_autofree char *text = NULL;
    uint64_t limit;

    if (!g_file_get_contents(path, &text, NULL, NULL) ||
        parse_uint_full(g_strchomp(text), 10, &limit) < 0 || limit == 0) {
        return fallback;
    }
    return MIN(limit, INT_MAX);
}

static int udmabuf_open(const VirtIOBufMemoryConfig *config, Error **errp)
{
    const char *path = config->udmabuf_device ?: UDMABUF_DEVICE;
    struct udmabuf_create_list nothing = { 0 };
    int fd = qemu_open(path, O_RDWR, errp);

    if (fd < 0) {
        return -1;
    }
    /* udmabuf does not take an empty list; other files have no such ioctl */
    if (ioctl(fd, UDMABUF_CREATE_LIST, &nothing) < 0 && errno == EINVAL) {
        return fd;
    }
    error_setg(errp, "'%s' is not udmabuf", path);
    qemu_close(fd);
    return -1;
}

/* Returns 1 to end the iteration: this block would do */
static int find_shareable_block(RAMBlock *block, void *opaque)
{
    VirtIOBufObstacles *best = opaque;
    VirtIOBufObstacles obstacles = { 0 };

    if (!block->mr || memory_region_is_rom(block->mr) ||
        memory_region_is_ram_device(block->mr)) {
        return 0;
    }
    virtio_buf_block_obstacles(block, &obstacles);
    if (obstacles.refusal == VIRTIO_BUF_REASON_NONE) {
        *best = obstacles;
    }
    return obstacles.refusal == VIRTIO_BUF_REASON_NONE &&
           obstacles.weakness == VIRTIO_BUF_REASON_NONE;
}

static VirtIOBufObstacles machine_obstacles(void)
{
    VirtIOBufObstacles best = { .refusal = VIRTIO_BUF_REASON_NOT_SHARED };

    qemu_ram_foreach_block(find_shareable_block, &best);
    return best;
}

VirtIOBufMemoryPool *
virtio_buf_memory_pool_new(const VirtIOBufMemoryConfig *config, Error **errp)
{
    VirtIOBufMemoryPool *pool;
    Error *err = NULL;
    int udmabuf = -1;

    if (machine_require_guest_memfd(current_machine)) {
        error_setg(errp, "the machine's RAM is private to the guest "
                   "(guest_memfd): it cannot be shared with host programs");
        return NULL;
    }
    if (config->udmabuf == ON_OFF_AUTO_ON && config->strict_readonly) {
        error_setg(errp, "strict-readonly=on does not go with udmabuf=on: "
                   "who has a udmabuf can write to it");
        return NULL;
    }
    if (config->udmabuf != ON_OFF_AUTO_OFF) {
        udmabuf = udmabuf_open(config, &err);
        if (udmabuf < 0 && config->udmabuf == ON_OFF_AUTO_ON) {
            error_propagate_prepend(errp, err, "udmabuf=on: ");
            error_append_hint(errp, "Load the kernel module udmabuf, and let "
                              "QEMU read and write %s.\n",
                              config->udmabuf_device ?: UDMABUF_DEVICE);
            return NULL;
        }
        if (udmabuf < 0) {
            trace_virtio_buf_memory_no_udmabuf(error_get_pretty(err));
            error_free(err);
        } else if (config->udmabuf == ON_OFF_AUTO_ON &&
                   machine_obstacles().refusal != VIRTIO_BUF_REASON_NONE) {
            error_setg(errp, "udmabuf=on: guest RAM is not shareable: add "
                       SHAREABLE_RAM);
            qemu_close(udmabuf);
            return NULL;
        }
    }

    pool = g_new0(VirtIOBufMemoryPool, 1);
    pool->config = config;
    pool->udmabuf = udmabuf;
    if (config->udmabuf == ON_OFF_AUTO_OFF) {
        pool->obstacles.refusal = VIRTIO_BUF_REASON_DISABLED;
    } else if (udmabuf < 0) {
        pool->obstacles.refusal = VIRTIO_BUF_REASON_NO_UDMABUF;
    } else if (!virtio_buf_fdinfo_readable(udmabuf)) {
        pool->obstacles.weakness = VIRTIO_BUF_REASON_NO_UDMABUF;
    } else if (!kvm_enabled() && !qtest_enabled()) {
        pool->obstacles.weakness = VIRTIO_BUF_REASON_ACCELERATOR;
    }
    pool->list_limit = udmabuf_limit("list_limit", UDMABUF_LIST_LIMIT);
    pool->size_limit = MiB * udmabuf_limit("size_limit_mb",
                                           UDMABUF_SIZE_LIMIT_MB);
    virtio_buf_kept_init(pool);
    virtio_buf_quarantine_init(pool);
    trace_virtio_buf_memory_pool(pool, pool->obstacles.refusal,
                                 pool->obstacles.weakness,
                                 pool->list_limit, pool->size_limit);
    return pool;
}

void virtio_buf_memory_pool_destroy(VirtIOBufMemoryPool *pool)
{
    assert(pool->memories == 0);
    virtio_buf_quarantine_cleanup(pool);
    virtio_buf_kept_cleanup(pool);
    g_free(pool);
}

void virtio_buf_memory_pool_free(VirtIOBufMemoryPool *pool)
{
    assert(pool->memories == pool->quarantined);
    if (pool->udmabuf >= 0) {
        qemu_close(pool->udmabuf);
    }
    pool->config = NULL;
    if (!pool->quarantined) {
        virtio_buf_memory_pool_destroy(pool);
    }
}

/* Why pages that udmabuf takes would not be given back, for people; or NULL */
static const char *weakness_text(uint8_t weakness)
{
    switch (weakness) {
    case VIRTIO_BUF_REASON_ACCELERATOR:
        return "only -accel kvm can take pages back from host programs";
    case VIRTIO_BUF_REASON_NO_UDMABUF:
        return "/proc/self/fdinfo, which tells who holds pages, is not there";
    case VIRTIO_BUF_REASON_HUGE_PAGES:
        return "pages of hugetlb RAM cannot be taken back from host programs";
    case VIRTIO_BUF_REASON_DISCARD:
        return "pages of RAM that others discard cannot be taken back from "
               "host programs";
    default:
        return NULL;
    }
}

void virtio_buf_memory_pool_report(const VirtIOBufMemoryPool *pool)
{
    const char *device = pool->config->udmabuf_device ?: UDMABUF_DEVICE;
    VirtIOBufObstacles obstacles = pool->obstacles;
    const char *weakness;

    if (qtest_enabled() || obstacles.refusal == VIRTIO_BUF_REASON_DISABLED) {
        return;
    }
    if (obstacles.refusal == VIRTIO_BUF_REASON_NO_UDMABUF) {
        info_report("virtio-buf: buffers are copied: cannot use %s: load the "
                    "kernel module udmabuf, and let QEMU read and write it",
                    device);
        return;
    }
    virtio_buf_note(&obstacles.weakness, machine_obstacles().weakness);
    weakness = weakness_text(obstacles.weakness);
    if (weakness && pool->config->udmabuf == ON_OFF_AUTO_ON) {
        warn_report("virtio-buf: udmabuf=on: %s", weakness);
    } else if (weakness) {
        info_report("virtio-buf: buffers are copied: %s", weakness);
    } else if (machine_obstacles().refusal != VIRTIO_BUF_REASON_NONE) {
        info_report("virtio-buf: buffers are copied: guest RAM is not "
                    "shareable: add " SHAREABLE_RAM);
    }
}

void virtio_buf_memory_pool_exclude_dmabufs(VirtIOBufMemoryPool *pool,
                                            bool exclude)
{
    pool->no_dmabufs = exclude;
}

/* Whether a buffer with no other obstacles gets a dma-buf */
static bool may_export(const VirtIOBufMemoryPool *pool,
                       const VirtIOBufObstacles *obstacles)
{
    return obstacles->refusal == VIRTIO_BUF_REASON_NONE &&
           (obstacles->weakness == VIRTIO_BUF_REASON_NONE ||
            pool->config->udmabuf == ON_OFF_AUTO_ON);
}

bool virtio_buf_memory_pool_makes_dmabufs(const VirtIOBufMemoryPool *pool)
{
    VirtIOBufObstacles obstacles = pool->obstacles;
    VirtIOBufObstacles machine = machine_obstacles();

    virtio_buf_note(&obstacles.refusal, machine.refusal);
    virtio_buf_note(&obstacles.weakness, machine.weakness);
    return may_export(pool, &obstacles);
}

void virtio_buf_memory_pool_dmabuf_limits(const VirtIOBufMemoryPool *pool,
                                          uint32_t *max_ranges,
                                          uint64_t *max_size)
{
    bool usable = may_export(pool, &pool->obstacles);

    *max_ranges = usable ? pool->list_limit : 0;
    *max_size = usable ? pool->size_limit : 0;
}
