/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: taking guest RAM back from those who hold its dma-buf
 *
 * A dma-buf cannot be revoked by closing it. But the guest can be given other
 * pages: with no vCPU in guest mode, the contents are copied out, a hole is
 * punched into guest RAM's memfd, and the contents are copied back, which
 * allocates new pages. The dma-buf keeps the old ones, as orphans.
 *
 * Between the copy out and the copy back nobody may write to the pages: vCPUs
 * are stopped, workers that copy are paused, the BQL is held. What else does
 * DMA to a buffer that is taken back is the driver's to prevent.
 *
 * That the dma-buf does not have a page any more is not assumed but seen: after
 * the punch there must be no data in the range, before the copy back. A pinned
 * transparent huge page, of which a part was punched, is only zeroed; then all
 * of it is moved. If that does not help either, the buffer stays held, and is
 * tried again (virtio-buf-quarantine.c).
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/units.h"
#include "migration/misc.h"
#include "system/accel-blocker.h"
#include "system/kvm.h"
#include "system/qtest.h"
#include "virtio-buf-memory-internal.h"
#include "trace.h"

/* A transparent huge page, where host pages have 4 KiB */
#define WINDOW (2 * MiB)

void virtio_buf_memory_close_dmabuf(VirtIOBufMemory *memory)
{
    virtio_buf_claims_remove(virtio_buf_memory_claims(), memory->ranges,
                             memory->range_count, VIRTIO_BUF_CLAIM_EXPORT);
    close(memory->dmabuf);
    memory->dmabuf = -1;
}

/* Why nothing can be revoked now, or NULL */
static const char *revoke_obstacle(void)
{
    if (!kvm_enabled() && !qtest_enabled()) {
        return "vCPUs of this accelerator cannot be stopped";
    }
    if (ram_block_discard_is_disabled()) {
        return "a device, such as one of VFIO, forbids to discard guest RAM";
    }
    if (migration_in_incoming_postcopy() || migration_in_bg_snapshot()) {
        return "guest RAM is under migration";
    }
    return NULL;
}

/* Each obstacle once, however often there are holders and retries */
static void warn_left(const char *obstacle)
{
    static const char *last;

    if (obstacle != last) {
        last = obstacle;
        warn_report("virtio-buf: a program on the host keeps buffers that the "
                    "guest has taken back, and QEMU cannot revoke them: %s; "
                    "it is tried again, or end that program", obstacle);
    }
}

/*
 * Moves the position of the memfd, which the holders of its other fds share;
 * nobody reads or writes guest RAM's file by position.
 */
static bool has_data(int fd, uint64_t start, uint64_t len)
{
    off_t data = lseek(fd, start, SEEK_DATA);

    return data < 0 ? errno != ENXIO : data < start + len;
}

/*
 * Replaces the pages of a piece of a block's file. @save has room for @len
 * bytes.
 *
 * Not ram_block_discard_range(): for locked memory (-overcommit mem-lock=on) it
 * punches the hole and then fails, in madvise(), which a shared mapping does
 * not need.
 *
 * Returns 0 if all of them have been replaced; -EBUSY if not, as more than
 * these may have to be; -errno if the kernel refuses it. The contents are kept
 * in any case.
 */
static int replace_pages(RAMBlock *block, uint64_t start, uint64_t len,
                         uint8_t *save)
{
    ram_addr_t offset = start - block->fd_offset;
    int ret;

    memcpy(save, block->host + offset, len);
    do {
        ret = fallocate(block->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        start, len);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0) {
        ret = -errno;
    } else if (has_data(block->fd, start, len)) {
        ret = -EBUSY;
    }
    memcpy(block->host + offset, save, len);

    memory_region_set_dirty(block->mr, offset, len);
    trace_virtio_buf_replace_pages(block->idstr, offset, len, ret);
    return ret;
}

/* As replace_pages(), for a piece that is inside of one window of the file */
static int replace_pages_in_window(const VirtIOBufRange *range,
                                   uint64_t start, uint64_t len,
                                   uint8_t *save)
{
    RAMBlock *block = virtio_buf_range_block(range);
    uint64_t window = QEMU_ALIGN_DOWN(start, WINDOW);
    VirtIOBufRange wide = *range;
    int ret = replace_pages(block, start, len, save);
    unsigned uses;

    if (ret != -EBUSY) {
        return ret;
    }
    wide.start = MAX(window, block->fd_offset);
    wide.len = MIN(window + WINDOW, block->fd_offset + block->used_length) -
               wide.start;
    /* Another dma-buf would be left behind, with pages that nobody writes */
    virtio_buf_claims_find(virtio_buf_memory_claims(), &wide, 1, SIZE_MAX,
                           &uses);
    if (uses & VIRTIO_BUF_CLAIM_EXPORT) {
        return -EBUSY;
    }
    return replace_pages(block, wide.start, wide.len, save);
}

/* Its own export is not in the table of claims meanwhile */
static bool replace_memory(VirtIOBufMemory *memory, uint8_t *save)
{
    for (size_t i = 0; i < memory->range_count; i++) {
        const VirtIOBufRange *range = &memory->ranges[i];
        RAMBlock *block = virtio_buf_range_block(range);
        uint64_t start = range->start, end = range->start + range->len;

        /* A part of a huge page cannot be replaced, only be zeroed */
        if (qemu_ram_pagesize(block) != qemu_real_host_page_size()) {
            return false;
        }
        while (start < end) {
            uint64_t next = MIN(QEMU_ALIGN_DOWN(start, WINDOW) + WINDOW, end);

            if (replace_pages_in_window(range, start, next - start,
                                        save) < 0) {
                return false;
            }
            start = next;
        }
    }
    return true;
}

static void stop_guest(void)
{
    if (kvm_enabled()) {
        accel_ioctl_inhibit_begin();
    }
    virtio_buf_copy_pause_all();
}

static void continue_guest(void)
{
    virtio_buf_copy_resume_all();
    if (kvm_enabled()) {
        accel_ioctl_inhibit_end();
    }
}

bool virtio_buf_memory_revoke(VirtIOBufMemory **memories, size_t count)
{
    g_autofree VirtIOBufMemory **held = g_new(VirtIOBufMemory *, count);
    g_autofree uint8_t *save = NULL;
    VirtIOBufClaims *claims = virtio_buf_memory_claims();
    const char *obstacle = NULL;
    VirtIOBufMemoryCounters *counters;
    size_t held_count = 0, left = 0;
    int64_t stopped;

    for (size_t i = 0; i < count; i++) {
        if (virtio_buf_memory_held(memories[i])) {
            held[held_count++] = memories[i];
        } else if (memories[i]->dmabuf >= 0) {
            virtio_buf_memory_close_dmabuf(memories[i]);
        }
    }
    if (!held_count) {
        return true;
    }

    obstacle = revoke_obstacle();
    if (!obstacle) {
        save = g_try_malloc(WINDOW);
        if (!save) {
            obstacle = "out of memory";
        }
    }
    if (obstacle) {
        for (size_t i = 0; i < held_count; i++) {
            virtio_buf_unrevoked_add(held[i]);
        }
        warn_left(obstacle);
        trace_virtio_buf_memory_revoke(held_count, held_count, 0);
        return false;
    }

    /* They may share huge pages with each other: none is to be spared */
    for (size_t i = 0; i < held_count; i++) {
        virtio_buf_claims_remove(claims, held[i]->ranges, held[i]->range_count,
                                 VIRTIO_BUF_CLAIM_EXPORT);
    }
    counters = &held[0]->pool->counters;
    stopped = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    stop_guest();
    for (size_t i = 0; i < held_count; i++) {
        if (replace_memory(held[i], save)) {
            counters->revocations++;
            counters->revoked_bytes += held[i]->export_size;
            virtio_buf_orphan_add(held[i]->pool, held[i]->dmabuf,
                                  held[i]->export_size);
            held[i]->dmabuf = -1;
        } else {
            held[left++] = held[i];
        }
    }
    continue_guest();
    stopped = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - stopped;
    counters->revocation_ns += stopped;
    counters->revocation_max_ns = MAX(counters->revocation_max_ns, stopped);
    for (size_t i = 0; i < left; i++) {
        virtio_buf_claims_add(claims, held[i]->ranges, held[i]->range_count,
                              VIRTIO_BUF_CLAIM_EXPORT);
        virtio_buf_unrevoked_add(held[i]);
    }

    trace_virtio_buf_memory_revoke(held_count, left, stopped / SCALE_US);
    if (left) {
        warn_left("the kernel has not replaced all pages (hugetlb, a huge "
                  "page with another buffer in it, or a seal)");
    }
    return left == 0;
}
