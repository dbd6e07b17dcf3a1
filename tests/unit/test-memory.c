/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of virtio-buf-memory.c and virtio-buf-kept.c: how a buffer is passed,
 * and what becomes of that at its first export. The test is udmabuf, the copies
 * and the guest's address space: pages of one block, where the test wants them.
 */
#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "exec/target_page.h"
#include "hw/virtio/virtio-buf-fdinfo.h"
#include "hw/virtio/virtio-buf-memory-internal.h"
#include "harness.h"

enum { PAGE = 4096, RAM_PAGES = 64, MAX_RANGES = 16 };

static MemoryRegion region;
static RAMBlock block;
static VirtIOBufMemoryConfig config;
static VirtIOBufMemoryPool pool;
static VirtIOBufObstacles block_obstacles;
static bool discard_disabled, copies_are_kept, file_held;
static int udmabuf_error, dmabufs, copies, copies_closed, warnings;
static int64_t now_ms;
static int page_of[RAM_PAGES];      /* of the block, for the device's; or -1 */

int ioctl(int fd, unsigned long request, ...)
{
    if (udmabuf_error) {
        errno = udmabuf_error;
        return -1;
    }
    dmabufs++;
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int64_t virtio_buf_fdinfo_count(int fd)
{
    return 1;
}

MemoryRegion *address_space_translate(AddressSpace *as, hwaddr addr,
                                      hwaddr *xlat, hwaddr *len, bool is_write,
                                      int attrs)
{
    static MemoryRegion nothing;
    int page = page_of[addr / PAGE];

    CHECK(addr / PAGE < RAM_PAGES);
    if (page < 0) {
        return &nothing;
    }
    /* With an address space there is an IOMMU, of small pages */
    if (as) {
        *len = MIN(*len, PAGE - addr % PAGE);
    }
    *xlat = page * PAGE + addr % PAGE;
    return &region;
}

bool memory_region_is_ram(MemoryRegion *mr)
{
    return mr == &region;
}

bool memory_region_is_ram_device(MemoryRegion *mr)
{
    return false;
}

bool memory_region_is_rom(MemoryRegion *mr)
{
    return false;
}

bool memory_region_is_protected(MemoryRegion *mr)
{
    return false;
}

void memory_region_ref(MemoryRegion *mr)
{
    mr->references++;
}

void memory_region_unref(MemoryRegion *mr)
{
    mr->references--;
}

bool memory_region_has_ram_discard_manager(MemoryRegion *mr)
{
    return false;
}

RamDiscardManager *memory_region_get_ram_discard_manager(MemoryRegion *mr)
{
    return NULL;
}

bool ram_discard_manager_is_populated(const RamDiscardManager *rdm,
                                      const MemoryRegionSection *section)
{
    return false;
}

bool ram_block_discard_is_disabled(void)
{
    return discard_disabled;
}

void memory_region_set_dirty(MemoryRegion *mr, ram_addr_t addr,
                             ram_addr_t size)
{
}

bool qemu_ram_is_shared(RAMBlock *b)
{
    return true;
}

size_t qemu_real_host_page_size(void)
{
    return PAGE;
}

size_t qemu_target_page_size(void)
{
    return PAGE;
}

void warn_report_once(const char *format, ...)
{
    warnings++;
}

int64_t qemu_clock_get_ms(QEMUClockType type)
{
    return now_ms;
}

QEMUTimer *timer_new_ms(QEMUClockType type, void (*cb)(void *opaque),
                        void *opaque)
{
    QEMUTimer *timer = g_new0(QEMUTimer, 1);

    timer->cb = cb;
    timer->opaque = opaque;
    timer->expires = -1;
    return timer;
}

void timer_mod(QEMUTimer *timer, int64_t expires)
{
    timer->expires = expires;
}

bool timer_pending(QEMUTimer *timer)
{
    return timer->expires >= 0;
}

void timer_free(QEMUTimer *timer)
{
    g_free(timer);
}

void virtio_buf_note(uint8_t *obstacle, uint8_t reason)
{
    if (*obstacle == VIRTIO_BUF_REASON_NONE) {
        *obstacle = reason;
    }
}

void virtio_buf_block_obstacles(RAMBlock *b, VirtIOBufObstacles *obstacles)
{
    virtio_buf_note(&obstacles->refusal, block_obstacles.refusal);
    virtio_buf_note(&obstacles->weakness, block_obstacles.weakness);
}

void virtio_buf_memory_close_dmabuf(VirtIOBufMemory *memory)
{
    virtio_buf_claims_remove(virtio_buf_memory_claims(), memory->ranges,
                             memory->range_count, VIRTIO_BUF_CLAIM_EXPORT);
    close(memory->dmabuf);
    memory->dmabuf = -1;
}

void virtio_buf_unrevoked_remove(VirtIOBufMemory *memory)
{
}

void virtio_buf_memory_stop_write_back(VirtIOBufMemory *memory)
{
}

struct VirtIOBufCopy {
    int fd;
};

VirtIOBufCopy *virtio_buf_copy_new(const VirtIOBufMemory *memory, int *error)
{
    VirtIOBufCopy *copy = g_new0(VirtIOBufCopy, 1);

    copy->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    copies++;
    return copy;
}

int virtio_buf_copy_fd(const VirtIOBufCopy *copy)
{
    return copy->fd;
}

bool virtio_buf_copy_idle(VirtIOBufCopy *copy)
{
    return copies_are_kept;
}

bool virtio_buf_copy_file_held(int *fd)
{
    return file_held;
}

void virtio_buf_copy_close(VirtIOBufCopy *copy, VirtIOBufMemoryPool *p)
{
    if (copies_are_kept) {
        virtio_buf_kept_add(p, copy->fd, 4 * PAGE);
    } else {
        close(copy->fd);
    }
    copies_closed++;
    g_free(copy);
}

void virtio_buf_copy_forget_memory(VirtIOBufCopy *copy)
{
}

static void setup(void)
{
    block.mr = &region;
    block.fd = memfd_create("ram", MFD_ALLOW_SEALING);
    block.guest_memfd = -1;
    block.page_size = PAGE;
    CHECK_INT(ftruncate(block.fd, RAM_PAGES * PAGE), ==, 0);
    block.host = mmap(NULL, RAM_PAGES * PAGE, PROT_READ | PROT_WRITE,
                      MAP_SHARED, block.fd, 0);
    CHECK(block.host != MAP_FAILED);
    region.ram_block = &block;
    for (int i = 0; i < RAM_PAGES; i++) {
        page_of[i] = i;
        memset(block.host + i * PAGE, i, PAGE);
    }
    config = (VirtIOBufMemoryConfig) {
        .max_orphaned = 8 * PAGE, .max_buffers = 2, .max_ranges = MAX_RANGES,
        .max_total_size = 8 * PAGE,
    };
    pool.config = &config;
    pool.udmabuf = 0;
    pool.list_limit = 1024;
    pool.size_limit = RAM_PAGES * PAGE;
    virtio_buf_kept_init(&pool);
}

static void teardown(void)
{
    virtio_buf_kept_cleanup(&pool);
    CHECK_INT(pool.memories, ==, 0);
    CHECK_INT(region.references, ==, 0);
    CHECK_INT(copies, ==, copies_closed);
    CHECK(virtio_buf_claims_empty(virtio_buf_memory_claims()));
    virtio_buf_claims_free(virtio_buf_memory_claims());
    munmap(block.host, RAM_PAGES * PAGE);
    close(block.fd);
}

static VirtIOBufMemory *new_of(bool iommu, const struct virtio_buf_range *range,
                               uint32_t count, uint32_t *status)
{
    uint64_t size = 0;

    for (uint32_t i = 0; i < count; i++) {
        size += le64_to_cpu(range[i].len);
    }
    *status = VIRTIO_BUF_S_OK;
    return virtio_buf_memory_new(&pool, iommu ? (AddressSpace *)&pool : NULL,
                                 iommu, range, count, size, false, status);
}

/* @pages pages from @first */
static VirtIOBufMemory *new(int first, int pages)
{
    struct virtio_buf_range range = {
        cpu_to_le64(first * PAGE), cpu_to_le64(pages * PAGE),
    };
    uint32_t status;

    return new_of(false, &range, 1, &status);
}

static void check_backing(const VirtIOBufMemory *memory, uint8_t backing,
                          uint8_t reason)
{
    CHECK_INT(virtio_buf_memory_backing(memory), ==, backing);
    CHECK_INT(virtio_buf_memory_reason(memory), ==, reason);
}

TEST(a_dmabuf_is_made_for_consumers)
{
    VirtIOBufMemory *memory;

    setup();
    memory = new(3, 4);
    check_backing(memory, VIRTIO_BUF_BACKING_DMABUF, VIRTIO_BUF_REASON_NONE);
    CHECK_INT(dmabufs, ==, 0);
    CHECK_INT(virtio_buf_memory_export(memory), ==, memory->dmabuf);
    CHECK_INT(virtio_buf_memory_export(memory), ==, memory->dmabuf);
    CHECK_INT(dmabufs, ==, 1);
    CHECK(virtio_buf_memory_has_dmabuf(memory));
    CHECK(virtio_buf_memory_unexport(memory));
    CHECK(!virtio_buf_memory_exported(memory));
    CHECK_INT(virtio_buf_memory_export(memory), >=, 0);
    CHECK_INT(dmabufs, ==, 2);
    CHECK_INT(copies, ==, 0);
    virtio_buf_memory_free(memory);
    teardown();
}

/* It was to be a dma-buf; then something came: it is a copy for good */
static void check_becomes_copy(VirtIOBufMemory *memory, uint8_t reason)
{
    int made = dmabufs;

    check_backing(memory, VIRTIO_BUF_BACKING_DMABUF, VIRTIO_BUF_REASON_NONE);
    CHECK_INT(virtio_buf_memory_export(memory), >=, 0);
    check_backing(memory, VIRTIO_BUF_BACKING_COPY, reason);
    CHECK(!virtio_buf_memory_has_dmabuf(memory));
    CHECK_INT(dmabufs, ==, made);
}

static void check_stays_copy(VirtIOBufMemory *memory, uint8_t reason)
{
    CHECK(virtio_buf_memory_unexport(memory));
    CHECK_INT(virtio_buf_memory_export(memory), >=, 0);
    check_backing(memory, VIRTIO_BUF_BACKING_COPY, reason);
    virtio_buf_memory_free(memory);
}

TEST(a_vfio_device_came)
{
    VirtIOBufMemory *memory;

    setup();
    memory = new(0, 1);
    discard_disabled = true;
    check_becomes_copy(memory, VIRTIO_BUF_REASON_DISCARD);
    discard_disabled = false;
    check_stays_copy(memory, VIRTIO_BUF_REASON_DISCARD);
    teardown();
}

TEST(a_migration_excludes_dmabufs)
{
    VirtIOBufMemory *memory, *before;

    setup();
    before = new(8, 1);
    CHECK_INT(virtio_buf_memory_export(before), >=, 0);
    memory = new(0, 1);
    pool.no_dmabufs = true;
    check_becomes_copy(memory, VIRTIO_BUF_REASON_FAILED);
    CHECK_INT(warnings, ==, 1);
    pool.no_dmabufs = false;
    check_stays_copy(memory, VIRTIO_BUF_REASON_FAILED);
    /* Nobody is cut off */
    CHECK(virtio_buf_memory_has_dmabuf(before));
    virtio_buf_memory_free(before);
    teardown();
}

TEST(orphans_are_too_many)
{
    VirtIOBufMemory *memory;

    setup();
    memory = new(0, 1);
    pool.orphaned = config.max_orphaned + 1;
    check_becomes_copy(memory, VIRTIO_BUF_REASON_ORPHANED);
    pool.orphaned = 0;
    check_stays_copy(memory, VIRTIO_BUF_REASON_ORPHANED);
    teardown();
}

/* A reset takes the limits away that held for what is in quarantine */
TEST(what_is_in_quarantine_counts)
{
    VirtIOBufMemory *memory;

    setup();
    memory = new(0, 1);
    pool.orphaned = config.max_orphaned - PAGE;
    pool.quarantined = 1;
    pool.quarantined_bytes = 2 * PAGE;
    check_becomes_copy(memory, VIRTIO_BUF_REASON_ORPHANED);
    virtio_buf_memory_free(memory);
    memory = new(0, 1);
    check_backing(memory, VIRTIO_BUF_BACKING_COPY, VIRTIO_BUF_REASON_ORPHANED);
    virtio_buf_memory_free(memory);

    pool.orphaned = 0;
    pool.quarantined = 255;
    memory = new(0, 1);
    pool.quarantined = 256;
    check_becomes_copy(memory, VIRTIO_BUF_REASON_ORPHANED);
    virtio_buf_memory_free(memory);
    teardown();
}

TEST(udmabuf_refuses)
{
    VirtIOBufMemory *memory;

    setup();
    memory = new(0, 1);
    udmabuf_error = EMFILE;
    CHECK_INT(virtio_buf_memory_export(memory), ==, -EMFILE);
    CHECK_INT(warnings, ==, 0);
    /* That may be another time */
    udmabuf_error = EINVAL;
    check_becomes_copy(memory, VIRTIO_BUF_REASON_FAILED);
    CHECK_INT(warnings, ==, 1);
    udmabuf_error = 0;
    check_stays_copy(memory, VIRTIO_BUF_REASON_FAILED);
    teardown();
}

TEST(vcpus_that_cannot_be_stopped)
{
    VirtIOBufMemory *memory;

    setup();
    pool.obstacles.weakness = VIRTIO_BUF_REASON_ACCELERATOR;
    /* The general reason is told, not that of the block */
    block_obstacles.weakness = VIRTIO_BUF_REASON_HUGE_PAGES;
    memory = new(0, 1);
    check_backing(memory, VIRTIO_BUF_BACKING_COPY,
                  VIRTIO_BUF_REASON_ACCELERATOR);
    virtio_buf_memory_free(memory);
    config.udmabuf = ON_OFF_AUTO_ON;
    memory = new(0, 1);
    check_backing(memory, VIRTIO_BUF_BACKING_DMABUF, VIRTIO_BUF_REASON_WEAK);
    CHECK_INT(virtio_buf_memory_export(memory), ==, memory->dmabuf);
    virtio_buf_memory_free(memory);
    teardown();
}

TEST(demanded_is_refused_or_weak)
{
    VirtIOBufMemory *memory;
    struct virtio_buf_range range = { 0, cpu_to_le64(PAGE) };
    uint32_t status;

    setup();
    config.udmabuf = ON_OFF_AUTO_ON;
    memory = new(0, 1);
    check_backing(memory, VIRTIO_BUF_BACKING_DMABUF, VIRTIO_BUF_REASON_NONE);
    pool.no_dmabufs = true;
    CHECK_INT(virtio_buf_memory_export(memory), ==, -ENOMEM);
    CHECK_INT(copies, ==, 0);
    pool.no_dmabufs = false;
    discard_disabled = true;
    CHECK_INT(virtio_buf_memory_export(memory), >=, 0);
    check_backing(memory, VIRTIO_BUF_BACKING_DMABUF, VIRTIO_BUF_REASON_WEAK);
    virtio_buf_memory_free(memory);
    block_obstacles.refusal = VIRTIO_BUF_REASON_NOT_SHARED;
    CHECK(!new_of(false, &range, 1, &status));
    CHECK_INT(status, ==, VIRTIO_BUF_S_NOT_SHAREABLE);
    teardown();
}

TEST(a_copy_that_is_kept_is_the_next_one)
{
    VirtIOBufMemory *memory;
    int fd;

    setup();
    pool.obstacles.refusal = VIRTIO_BUF_REASON_DISABLED;
    memory = new(0, 4);
    fd = virtio_buf_memory_export(memory);
    copies_are_kept = true;
    for (int i = 0; i < 10; i++) {
        CHECK(virtio_buf_memory_unexport(memory));
        CHECK(!virtio_buf_memory_exported(memory));
        CHECK_INT(virtio_buf_memory_export(memory), ==, fd);
    }
    CHECK_INT(copies, ==, 1);
    copies_are_kept = false;
    CHECK(virtio_buf_memory_unexport(memory));
    CHECK_INT(copies_closed, ==, 1);
    CHECK_INT(virtio_buf_memory_export(memory), >=, 0);
    CHECK_INT(copies, ==, 2);
    virtio_buf_memory_free(memory);
    teardown();
}

TEST(kept_copies_are_bounded)
{
    VirtIOBufMemory *memory;
    uint32_t count;
    int rounds = 0;

    setup();
    pool.obstacles.refusal = VIRTIO_BUF_REASON_DISABLED;
    copies_are_kept = file_held = true;
    for (;;) {
        memory = new(0, 4);
        if (virtio_buf_memory_export(memory) < 0) {
            break;
        }
        virtio_buf_memory_free(memory);
        CHECK_INT(++rounds, <, 10);
    }
    /* As much as all buffers may have, and one buffer */
    CHECK_INT(rounds, ==, 3);
    CHECK_INT(virtio_buf_memory_pool_kept(&pool, &count), ==, 12 * PAGE);
    CHECK_INT(count, ==, 3);
    CHECK_INT(warnings, ==, 1);
    CHECK(timer_pending(pool.orphan_timer));
    file_held = false;
    CHECK_INT(virtio_buf_memory_export(memory), >=, 0);
    copies_are_kept = false;
    virtio_buf_memory_free(memory);
    CHECK_INT(virtio_buf_memory_pool_kept(&pool, &count), ==, 0);
    CHECK_INT(count, ==, 0);
    teardown();
}

TEST(an_iommu_has_no_more_pieces_than_the_guest)
{
    struct virtio_buf_range range = { 0, cpu_to_le64(MAX_RANGES * PAGE) };
    VirtIOBufMemory *memory;
    uint32_t status;

    setup();
    memory = new_of(true, &range, 1, &status);
    CHECK(memory);
    virtio_buf_memory_free(memory);
    range.len = cpu_to_le64((MAX_RANGES + 1) * PAGE);
    CHECK(!new_of(true, &range, 1, &status));
    CHECK_INT(status, ==, VIRTIO_BUF_S_LIMIT);
    memory = new_of(false, &range, 1, &status);
    CHECK(memory);
    virtio_buf_memory_free(memory);
    teardown();
}

TEST(a_buffer_is_not_over_any_number_of_others)
{
    VirtIOBufMemory *small[MAX_RANGES + 1];
    struct virtio_buf_range range = { 0, cpu_to_le64(RAM_PAGES * PAGE) };
    VirtIOBufMemory *memory;
    uint32_t status;

    setup();
    for (int i = 0; i < MAX_RANGES; i++) {
        small[i] = new(2 * i, 1);
    }
    memory = new_of(false, &range, 1, &status);
    CHECK(memory);
    check_backing(memory, VIRTIO_BUF_BACKING_COPY, VIRTIO_BUF_REASON_OVERLAP);
    virtio_buf_memory_free(memory);
    small[MAX_RANGES] = new(2 * MAX_RANGES, 1);
    CHECK(!new_of(false, &range, 1, &status));
    CHECK_INT(status, ==, VIRTIO_BUF_S_LIMIT);
    for (int i = 0; i <= MAX_RANGES; i++) {
        virtio_buf_memory_free(small[i]);
    }
    teardown();
}

/* Every part of it, whatever is mapped elsewhere now */
TEST(mapped_is_known_for_each_part)
{
    struct virtio_buf_range ranges[] = {
        { cpu_to_le64(10 * PAGE), cpu_to_le64(2 * PAGE) },
        { cpu_to_le64(4 * PAGE), cpu_to_le64(PAGE) },
        { cpu_to_le64(20 * PAGE), cpu_to_le64(3 * PAGE) },
    };
    const int pages[] = { 10, 11, 4, 20, 21, 22 };
    VirtIOBufMemory *memory;
    uint32_t status;
    uint8_t bytes[PAGE];

    setup();
    memory = new_of(true, ranges, G_N_ELEMENTS(ranges), &status);
    CHECK(virtio_buf_memory_readable(memory, 0, 6 * PAGE));
    CHECK(virtio_buf_memory_readable(memory, 6 * PAGE, 0));
    CHECK(!virtio_buf_memory_readable(memory, 6 * PAGE, 1));
    CHECK(!virtio_buf_memory_readable(memory, 1, UINT64_MAX));
    for (int gone = 0; gone < 6; gone++) {
        for (int other = -1; other <= 1; other++) {
            page_of[pages[gone]] = other < 0 ? -1 : pages[gone] + other;
            for (int from = 0; from < 6; from++) {
                for (int to = from + 1; to <= 6; to++) {
                    bool same = other == 0 || gone < from || gone >= to;

                    CHECK_INT(virtio_buf_memory_readable(memory,
                                  from * PAGE + 1, (to - from) * PAGE - 2), ==,
                              same);
                }
            }
        }
        page_of[pages[gone]] = pages[gone];
    }
    for (int i = 0; i < 6; i++) {
        virtio_buf_memory_read(memory, i * PAGE, bytes, PAGE);
        CHECK_INT(bytes[0], ==, pages[i]);
        CHECK_INT(bytes[PAGE - 1], ==, pages[i]);
    }
    virtio_buf_memory_free(memory);
    teardown();
}
