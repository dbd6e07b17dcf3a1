/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the RAM of a buffer, and what consumers get of it
 *
 * Translates what the guest sends to pieces of RAMBlocks, decides whether
 * consumers get these very pages (udmabuf) or a copy, and makes the one or the
 * other. A dma-buf is only made of pages that can be taken back from whoever
 * holds it (virtio-buf-revoke.c), unless the operator wants it anyway.
 *
 * Invariants: the memory regions of a VirtIOBufMemory are referenced and its
 * ranges claimed from new() to free(); QEMU has exactly one fd of a dma-buf, or
 * its count would be wrong; the fd of a RAMBlock, which is all of the guest's
 * memory, is given to udmabuf only.
 *
 * Runs under the BQL. The guest's ranges are hostile; they were copied before.
 */
#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/rcu.h"
#include "exec/target_page.h"
#include "standard-headers/linux/udmabuf.h"
#include "virtio-buf-fdinfo.h"
#include "virtio-buf-memory-internal.h"
#include "trace.h"

VirtIOBufClaims *virtio_buf_memory_claims(void)
{
    static VirtIOBufClaims *claims;

    if (!claims) {
        claims = virtio_buf_claims_new();
    }
    return claims;
}

/* What may change between REGISTER and the first export */
static void current_obstacles(VirtIOBufMemoryPool *pool,
                              VirtIOBufObstacles *obstacles)
{
    if (pool->no_dmabufs) {
        virtio_buf_note(&obstacles->refusal, VIRTIO_BUF_REASON_FAILED);
        warn_report_once("virtio-buf: a migration is under way, or has ended, "
                         "that excludes zero-copy buffers: new ones are "
                         "copied");
    }
    if (virtio_buf_orphans_too_many(pool)) {
        virtio_buf_note(&obstacles->refusal, VIRTIO_BUF_REASON_ORPHANED);
    }
    if (ram_block_discard_is_disabled()) {
        virtio_buf_note(&obstacles->weakness, VIRTIO_BUF_REASON_DISCARD);
    }
}

/* The backing of @memory, in its fields; false: demanded and impossible */
static bool choose_backing(VirtIOBufMemory *memory,
                           const VirtIOBufObstacles *obstacles)
{
    bool demanded = memory->pool->config->udmabuf == ON_OFF_AUTO_ON;

    memory->backing = VIRTIO_BUF_BACKING_COPY;
    memory->reason = obstacles->refusal;
    if (obstacles->refusal != VIRTIO_BUF_REASON_NONE) {
        return !demanded;
    }
    if (obstacles->weakness != VIRTIO_BUF_REASON_NONE && !demanded) {
        memory->reason = obstacles->weakness;
        return true;
    }
    memory->backing = VIRTIO_BUF_BACKING_DMABUF;
    memory->reason = obstacles->weakness != VIRTIO_BUF_REASON_NONE ?
                     VIRTIO_BUF_REASON_WEAK : VIRTIO_BUF_REASON_NONE;
    return true;
}

/* Plain RAM, which QEMU can read and write as it is */
static bool is_plain_ram(MemoryRegion *mr)
{
    return memory_region_is_ram(mr) && !memory_region_is_ram_device(mr) &&
           !memory_region_is_rom(mr) && !memory_region_is_protected(mr) &&
           mr->ram_block && mr->ram_block->guest_memfd < 0;
}

/* @last: the piece before, or NULL */
static VirtIOBufRange piece_of(RAMBlock *block, hwaddr offset, uint64_t len,
                               const VirtIOBufRange *last)
{
    VirtIOBufRange piece = { .block = block, .len = len };
    struct stat st;

    if (last && last->block == block) {
        piece.device = last->device;
        piece.inode = last->inode;
    } else if (block->fd >= 0 && qemu_ram_is_shared(block) &&
               fstat(block->fd, &st) == 0) {
        /* Not of a private mapping: it has pages that the file has not */
        piece.device = st.st_dev;
        piece.inode = st.st_ino;
    }
    piece.start = piece.device ? block->fd_offset + offset
                               : (uintptr_t)(block->host + offset);
    return piece;
}

static void append_piece(GArray *pieces, RAMBlock *block, hwaddr offset,
                         uint64_t len)
{
    VirtIOBufRange *last = NULL;
    VirtIOBufRange piece;

    if (pieces->len) {
        last = &g_array_index(pieces, VirtIOBufRange, pieces->len - 1);
    }
    piece = piece_of(block, offset, len, last);
    g_array_append_val(pieces, piece);
    if (last) {
        last = &g_array_index(pieces, VirtIOBufRange, pieces->len - 2);
        g_array_set_size(pieces, pieces->len - 2 +
                         virtio_buf_ranges_merge(last, 2));
    }
}

/* RAM of which the guest has only a part, like that of virtio-mem */
static bool is_plugged(MemoryRegion *mr, hwaddr offset, uint64_t len)
{
    RamDiscardManager *rdm = memory_region_get_ram_discard_manager(mr);
    MemoryRegionSection section = {
        .mr = mr,
        .offset_within_region = offset,
        .size = int128_make64(len),
    };

    return !rdm || ram_discard_manager_is_populated(rdm, &section);
}

/*
 * The RAM at @addr, up to where the next piece starts, at most @len bytes.
 * Returns false if there is something else.
 */
static bool translate_piece(AddressSpace *as, uint64_t addr, uint64_t len,
                            bool write, RAMBlock **block, hwaddr *offset,
                            hwaddr *part)
{
    MemoryRegion *mr;

    /*
     * Not dma_memory_map(): for what is no RAM that reads the device there into
     * a bounce buffer.
     */
    *part = len;
    mr = address_space_translate(as, addr, offset, part, write,
                                 MEMTXATTRS_UNSPECIFIED);
    *block = mr->ram_block;
    return is_plain_ram(mr) && *part &&
           QEMU_IS_ALIGNED(*offset | *part, qemu_target_page_size()) &&
           is_plugged(mr, *offset, *part);
}

/*
 * The pieces of RAM that a piece of DMA address space is made of, at most @left
 * of them: that is what a translation costs. Returns VIRTIO_BUF_S_*.
 */
static uint32_t translate_range(AddressSpace *as, uint64_t addr, uint64_t len,
                                bool write, GArray *pieces, uint32_t *left)
{
    while (len) {
        hwaddr offset, part;
        RAMBlock *block;

        if (!*left) {
            return VIRTIO_BUF_S_LIMIT;
        }
        (*left)--;
        if (!translate_piece(as, addr, len, write, &block, &offset, &part)) {
            return VIRTIO_BUF_S_NOT_RAM;
        }
        append_piece(pieces, block, offset, part);
        addr += part;
        len -= part;
    }
    return VIRTIO_BUF_S_OK;
}

/* Returns VIRTIO_BUF_S_* */
static uint32_t translate(AddressSpace *as,
                          const struct virtio_buf_range *ranges,
                          uint32_t range_count, uint64_t size, bool write,
                          uint32_t max_pieces, GArray *pieces)
{
    uint64_t page_mask = qemu_real_host_page_size() - 1;
    uint64_t total = 0;

    if (range_count == 0 || size == 0 || size > UINT64_MAX - page_mask) {
        return VIRTIO_BUF_S_INVALID;
    }
    for (uint32_t i = 0; i < range_count; i++) {
        uint64_t addr = le64_to_cpu(ranges[i].addr);
        uint64_t len = le64_to_cpu(ranges[i].len);

        if (len == 0 || ((addr | len) & page_mask) ||
            addr > UINT64_MAX - (len - 1) || len > UINT64_MAX - total) {
            return VIRTIO_BUF_S_INVALID;
        }
        total += len;
    }
    if (total != ((size + page_mask) & ~page_mask)) {
        return VIRTIO_BUF_S_INVALID;
    }

    RCU_READ_LOCK_GUARD();
    for (uint32_t i = 0; i < range_count; i++) {
        uint32_t status = translate_range(as, le64_to_cpu(ranges[i].addr),
                                          le64_to_cpu(ranges[i].len), write,
                                          pieces, &max_pieces);

        if (status != VIRTIO_BUF_S_OK) {
            return status;
        }
    }
    return VIRTIO_BUF_S_OK;
}

/* Keeps what is needed to see whether the guest has it there any more */
static void watch_ranges(VirtIOBufMemory *memory, AddressSpace *as,
                         bool translated,
                         const struct virtio_buf_range *ranges,
                         uint32_t range_count)
{
    bool changes = translated;
    uint64_t offset = 0;

    for (size_t i = 0; i < memory->range_count && !changes; i++) {
        RAMBlock *block = virtio_buf_range_block(&memory->ranges[i]);

        changes = memory_region_has_ram_discard_manager(block->mr);
    }
    if (changes) {
        memory->as = as;
        memory->watched = g_new(VirtIOBufWatched, range_count);
        memory->watched_count = range_count;
        for (uint32_t i = 0; i < range_count; i++) {
            memory->watched[i].addr = le64_to_cpu(ranges[i].addr);
            memory->watched[i].offset = offset;
            offset += le64_to_cpu(ranges[i].len);
        }
    }
}

static VirtIOBufObstacles memory_obstacles(const VirtIOBufMemory *memory,
                                           bool translated, bool overlaps)
{
    VirtIOBufMemoryPool *pool = memory->pool;
    VirtIOBufObstacles obstacles = pool->obstacles;
    RAMBlock *block = NULL;

    if (pool->config->strict_readonly && !memory->writer) {
        virtio_buf_note(&obstacles.refusal, VIRTIO_BUF_REASON_READONLY);
    }
    if (translated) {
        virtio_buf_note(&obstacles.weakness, VIRTIO_BUF_REASON_IOMMU);
    }
    for (size_t i = 0; i < memory->range_count; i++) {
        const VirtIOBufRange *range = &memory->ranges[i];

        if (block != range->block) {
            block = range->block;
            virtio_buf_block_obstacles(block, &obstacles);
        }
        /* An IOMMU's pages may be smaller than the host's */
        if (!QEMU_IS_ALIGNED(range->start | range->len,
                             qemu_real_host_page_size())) {
            virtio_buf_note(&obstacles.refusal, VIRTIO_BUF_REASON_IOMMU);
        }
    }
    if (overlaps) {
        virtio_buf_note(&obstacles.refusal, VIRTIO_BUF_REASON_OVERLAP);
    }
    if (memory->range_count > pool->list_limit) {
        virtio_buf_note(&obstacles.refusal, VIRTIO_BUF_REASON_RANGES);
    }
    if (memory->export_size > pool->size_limit) {
        virtio_buf_note(&obstacles.refusal, VIRTIO_BUF_REASON_SIZE);
    }
    current_obstacles(pool, &obstacles);
    return obstacles;
}

static VirtIOBufClaim memory_claim(const VirtIOBufMemory *memory)
{
    return memory->writer ? VIRTIO_BUF_CLAIM_WRITE : VIRTIO_BUF_CLAIM_READ;
}

static void memory_destroy(VirtIOBufMemory *memory)
{
    for (size_t i = 0; i < memory->range_count; i++) {
        memory_region_unref(virtio_buf_range_block(&memory->ranges[i])->mr);
    }
    g_free(memory->ranges);
    g_free(memory->offsets);
    g_free(memory->watched);
    g_free(memory);
}

/* Frees the array, keeps the pieces and references their memory regions */
static VirtIOBufMemory *memory_create(VirtIOBufMemoryPool *pool,
                                      GArray *pieces, uint64_t size,
                                      bool writer)
{
    VirtIOBufMemory *memory = g_new0(VirtIOBufMemory, 1);

    memory->pool = pool;
    memory->size = size;
    memory->writer = writer;
    memory->dmabuf = -1;
    memory->range_count = pieces->len;
    memory->ranges = (VirtIOBufRange *)g_array_free(pieces, false);
    memory->offsets = g_new(uint64_t, memory->range_count);
    for (size_t i = 0; i < memory->range_count; i++) {
        memory_region_ref(virtio_buf_range_block(&memory->ranges[i])->mr);
        memory->offsets[i] = memory->export_size;
        memory->export_size += memory->ranges[i].len;
    }
    return memory;
}

VirtIOBufMemory *virtio_buf_memory_new(VirtIOBufMemoryPool *pool,
                                       AddressSpace *as, bool translated,
                                       const struct virtio_buf_range *ranges,
                                       uint32_t range_count, uint64_t size,
                                       bool writer, uint32_t *status)
{
    GArray *pieces = g_array_new(false, false, sizeof(VirtIOBufRange));
    VirtIOBufClaims *claims = virtio_buf_memory_claims();
    VirtIOBufMemory *memory;
    VirtIOBufObstacles obstacles;
    unsigned uses;

    *status = translate(as, ranges, range_count, size, writer,
                        pool->config->max_ranges, pieces);
    if (*status != VIRTIO_BUF_S_OK) {
        g_array_free(pieces, true);
        return NULL;
    }

    memory = memory_create(pool, pieces, size, writer);
    if (!virtio_buf_claims_find(claims, memory->ranges, memory->range_count,
                                pool->config->max_ranges, &uses)) {
        *status = VIRTIO_BUF_S_LIMIT;
        memory_destroy(memory);
        return NULL;
    }
    if ((uses && writer) ||
        virtio_buf_ranges_overlap_self(memory->ranges, memory->range_count)) {
        *status = VIRTIO_BUF_S_OVERLAP;
        memory_destroy(memory);
        return NULL;
    }
    obstacles = memory_obstacles(memory, translated, uses);
    if (!choose_backing(memory, &obstacles)) {
        trace_virtio_buf_memory_refused(range_count, size, obstacles.refusal);
        *status = VIRTIO_BUF_S_NOT_SHAREABLE;
        memory_destroy(memory);
        return NULL;
    }

    watch_ranges(memory, as, translated, ranges, range_count);
    virtio_buf_claims_add(claims, memory->ranges, memory->range_count,
                          memory_claim(memory));
    pool->memories++;
    trace_virtio_buf_memory_new(memory, range_count, memory->range_count, size,
                                memory->backing, memory->reason);
    return memory;
}

void virtio_buf_memory_free(VirtIOBufMemory *memory)
{
    trace_virtio_buf_memory_free(memory);
    virtio_buf_unrevoked_remove(memory);
    if (memory->copying) {
        virtio_buf_memory_stop_write_back(memory);
        virtio_buf_copy_forget_memory(memory->copying);
    }
    if (memory->copy) {
        virtio_buf_copy_close(memory->copy, memory->pool);
    }
    if (memory->idle) {
        virtio_buf_copy_close(memory->idle, memory->pool);
    }
    if (memory->dmabuf >= 0) {
        virtio_buf_memory_close_dmabuf(memory);
    }
    virtio_buf_claims_remove(virtio_buf_memory_claims(), memory->ranges,
                             memory->range_count, memory_claim(memory));
    memory->pool->memories--;
    memory_destroy(memory);
}

uint8_t virtio_buf_memory_backing(const VirtIOBufMemory *memory)
{
    return memory->backing;
}

uint8_t virtio_buf_memory_reason(const VirtIOBufMemory *memory)
{
    return memory->reason;
}

size_t virtio_buf_memory_range_count(const VirtIOBufMemory *memory)
{
    return memory->range_count;
}

uint64_t virtio_buf_memory_export_size(const VirtIOBufMemory *memory)
{
    return memory->export_size;
}

/* The range that holds byte @offset of the buffer */
static size_t find_range(const VirtIOBufMemory *memory, uint64_t offset)
{
    size_t low = 0, high = memory->range_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (memory->offsets[middle] <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The guest's range that holds byte @offset; there are some */
static uint32_t find_watched(const VirtIOBufMemory *memory, uint64_t offset)
{
    uint32_t low = 0, high = memory->watched_count;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (memory->watched[middle].offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

bool virtio_buf_memory_mapped(const VirtIOBufMemory *memory, uint64_t offset,
                              uint64_t len)
{
    uint64_t pos = QEMU_ALIGN_DOWN(offset, qemu_target_page_size());
    uint64_t end = QEMU_ALIGN_UP(offset + len, qemu_target_page_size());
    size_t i = find_range(memory, pos);
    uint32_t w;

    if (!memory->watched_count) {
        return true;
    }
    RCU_READ_LOCK_GUARD();
    for (w = find_watched(memory, pos); pos < end; w++) {
        const VirtIOBufWatched *watched = &memory->watched[w];
        uint64_t next = w + 1 < memory->watched_count ? watched[1].offset
                                                      : memory->export_size;

        while (pos < MIN(next, end)) {
            const VirtIOBufRange *range = &memory->ranges[i];
            uint64_t skip = pos - memory->offsets[i];
            hwaddr found, part;
            RAMBlock *block;

            /* Neighbours were merged: a piece does not cross a range's end */
            if (!translate_piece(memory->as,
                                 watched->addr + (pos - watched->offset),
                                 MIN(next, end) - pos, memory->writer, &block,
                                 &found, &part) ||
                block != virtio_buf_range_block(range) ||
                block->host + found != virtio_buf_range_host(range) + skip ||
                part > range->len - skip) {
                return false;
            }
            pos += part;
            i += skip + part == range->len;
        }
    }
    return true;
}

void virtio_buf_memory_copy(const VirtIOBufMemory *memory, uint64_t offset,
                            uint8_t *bytes, uint64_t len, bool write)
{
    for (size_t i = find_range(memory, offset); len; i++) {
        const VirtIOBufRange *range = &memory->ranges[i];
        uint64_t skip = offset - memory->offsets[i];
        uint64_t part = MIN(len, range->len - skip);
        uint8_t *host = virtio_buf_range_host(range) + skip;

        memcpy(write ? host : bytes, write ? bytes : host, part);
        offset += part;
        bytes += part;
        len -= part;
    }
}

static bool is_inside(const VirtIOBufMemory *memory, uint64_t offset,
                      uint64_t len)
{
    return offset <= memory->size && len <= memory->size - offset;
}

bool virtio_buf_memory_readable(const VirtIOBufMemory *memory, uint64_t offset,
                                uint64_t len)
{
    return is_inside(memory, offset, len) &&
           virtio_buf_memory_mapped(memory, offset, len);
}

void virtio_buf_memory_read(const VirtIOBufMemory *memory, uint64_t offset,
                            uint8_t *to, uint64_t len)
{
    assert(is_inside(memory, offset, len));
    virtio_buf_memory_copy(memory, offset, to, len, false);
}

void virtio_buf_memory_set_dirty(const VirtIOBufMemory *memory,
                                 uint64_t offset, uint64_t len)
{
    for (size_t i = find_range(memory, offset); len; i++) {
        const VirtIOBufRange *range = &memory->ranges[i];
        RAMBlock *block = virtio_buf_range_block(range);
        uint64_t skip = offset - memory->offsets[i];
        uint64_t part = MIN(len, range->len - skip);

        memory_region_set_dirty(block->mr, virtio_buf_range_host(range) + skip -
                                block->host, part);
        offset += part;
        len -= part;
    }
}

/* Returns the fd or -errno */
static int make_dmabuf(VirtIOBufMemory *memory)
{
    g_autofree struct udmabuf_create_list *list = NULL;
    int fd;

    list = g_try_malloc0(sizeof(*list) +
                         memory->range_count * sizeof(list->list[0]));
    if (!list) {
        return -ENOMEM;
    }
    list->flags = UDMABUF_FLAGS_CLOEXEC;
    list->count = memory->range_count;
    for (size_t i = 0; i < memory->range_count; i++) {
        const VirtIOBufRange *range = &memory->ranges[i];

        list->list[i].memfd = virtio_buf_range_block(range)->fd;
        list->list[i].offset = range->start;
        list->list[i].size = range->len;
    }
    fd = ioctl(memory->pool->udmabuf, UDMABUF_CREATE_LIST, list);
    return fd < 0 ? -errno : fd;
}

/* The error of the ioctl that is not the table of fds' */
static bool is_udmabuf_error(int error)
{
    return error != -EMFILE && error != -ENFILE && error != -EINTR;
}

static int export_dmabuf(VirtIOBufMemory *memory)
{
    bool demanded = memory->pool->config->udmabuf == ON_OFF_AUTO_ON;
    VirtIOBufObstacles obstacles = { 0 };
    int fd;

    current_obstacles(memory->pool, &obstacles);
    if (demanded) {
        if (obstacles.refusal != VIRTIO_BUF_REASON_NONE) {
            return -ENOMEM;
        }
        if (obstacles.weakness != VIRTIO_BUF_REASON_NONE) {
            memory->reason = VIRTIO_BUF_REASON_WEAK;
        }
    } else {
        choose_backing(memory, &obstacles);
        if (memory->backing == VIRTIO_BUF_BACKING_COPY) {
            return 0;
        }
    }

    fd = make_dmabuf(memory);
    if (fd >= 0) {
        memory->dmabuf = fd;
        virtio_buf_claims_add(virtio_buf_memory_claims(), memory->ranges,
                              memory->range_count, VIRTIO_BUF_CLAIM_EXPORT);
        return 0;
    }
    if (is_udmabuf_error(fd)) {
        warn_report_once("virtio-buf: udmabuf does not take a buffer of "
                         "%zu ranges and %" PRIu64 " bytes: %s%s",
                         memory->range_count, memory->export_size,
                         strerror(-fd), demanded ? "" : "; it is copied");
        if (!demanded) {
            memory->backing = VIRTIO_BUF_BACKING_COPY;
            memory->reason = VIRTIO_BUF_REASON_FAILED;
            return 0;
        }
    }
    return fd;
}

/* Returns 0, or -errno */
static int export_copy(VirtIOBufMemory *memory)
{
    int ret;

    if (memory->idle) {
        memory->copy = g_steal_pointer(&memory->idle);
        return 0;
    }
    if (virtio_buf_kept_too_many(memory->pool)) {
        warn_report_once("virtio-buf: programs on the host keep copies of "
                         "buffers that the guest has taken back: no more are "
                         "made before they close them, or end");
        return -ENOMEM;
    }
    memory->copy = virtio_buf_copy_new(memory, &ret);
    return memory->copy ? 0 : ret;
}

int virtio_buf_memory_export(VirtIOBufMemory *memory)
{
    int ret;

    if (memory->dmabuf < 0 && !memory->copy) {
        if (memory->backing == VIRTIO_BUF_BACKING_DMABUF) {
            ret = export_dmabuf(memory);
            if (ret < 0) {
                return ret;
            }
        }
        if (memory->backing == VIRTIO_BUF_BACKING_COPY) {
            ret = export_copy(memory);
            if (ret < 0) {
                return ret;
            }
        }
        trace_virtio_buf_memory_export(memory, memory->backing,
                                       memory->reason);
    }
    return memory->copy ? virtio_buf_copy_fd(memory->copy) : memory->dmabuf;
}

bool virtio_buf_memory_exported(const VirtIOBufMemory *memory)
{
    return memory->copy || memory->dmabuf >= 0;
}

bool virtio_buf_memory_has_dmabuf(const VirtIOBufMemory *memory)
{
    return memory->dmabuf >= 0;
}

void virtio_buf_memory_sync_writes(const VirtIOBufMemory *memory)
{
    if (memory->writer && memory->dmabuf >= 0) {
        virtio_buf_memory_set_dirty(memory, 0, memory->export_size);
        trace_virtio_buf_memory_sync_writes(memory, memory->export_size);
    }
}

bool virtio_buf_memory_unexport(VirtIOBufMemory *memory)
{
    if (virtio_buf_memory_held(memory)) {
        return false;
    }
    if (memory->copy) {
        if (virtio_buf_copy_idle(memory->copy)) {
            memory->idle = memory->copy;
        } else {
            virtio_buf_copy_close(memory->copy, memory->pool);
        }
        memory->copy = NULL;
    }
    if (memory->dmabuf >= 0) {
        virtio_buf_memory_close_dmabuf(memory);
    }
    return true;
}

bool virtio_buf_memory_held(const VirtIOBufMemory *memory)
{
    return memory->dmabuf >= 0 && virtio_buf_fdinfo_count(memory->dmabuf) != 1;
}
