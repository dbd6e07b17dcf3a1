/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of virtio-buf-revoke.c with a real memfd for guest RAM, and a pipe for
 * whoever holds a page of it: vmsplice() refers to pages, as a dma-buf does.
 * What can be in the way is as the test says.
 */
#include "qemu/osdep.h"
#include <sys/syscall.h>
#include "qemu/error-report.h"
#include "qemu/units.h"
#include "migration/misc.h"
#include "system/accel-blocker.h"
#include "system/kvm.h"
#include "system/qtest.h"
#include "hw/virtio/virtio-buf-memory-internal.h"
#include "harness.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum { PAGE = 4096, RAM_PAGES = 2048, FILE_OFFSET = 16 * PAGE };

static bool kvm, qtest, discard_disabled, postcopy, snapshot;
static int inhibits, inhibited, pauses, paused, warnings, orphans, unrevoked;
static uint64_t orphaned_bytes, dirty_bytes;
static RAMBlock block;
static VirtIOBufMemoryPool pool;

/* Bytes of RAM that are in the window of this byte of the file */
static uint64_t huge_len(uint64_t at)
{
    uint64_t start = at / (2 * MiB) * (2 * MiB), end = start + 2 * MiB;

    return MIN(end, FILE_OFFSET + RAM_PAGES * PAGE) - MAX(start, FILE_OFFSET);
}

/* As in a pinned huge page: what is less than all of it is only zeroed */
static bool huge;
static uint64_t punched_len;

int fallocate(int fd, int mode, off_t start, off_t len)
{
    punched_len = len;
    return syscall(SYS_fallocate, fd, mode, start, len);
}

off_t lseek(int fd, off_t start, int whence)
{
    off_t data = syscall(SYS_lseek, fd, start, whence);

    CHECK_INT(whence, ==, SEEK_DATA);
    return huge && punched_len < huge_len(start) ? start : data;
}

bool kvm_enabled(void)
{
    return kvm;
}

bool qtest_enabled(void)
{
    return qtest;
}

bool ram_block_discard_is_disabled(void)
{
    return discard_disabled;
}

bool migration_in_incoming_postcopy(void)
{
    return postcopy;
}

bool migration_in_bg_snapshot(void)
{
    return snapshot;
}

void accel_ioctl_inhibit_begin(void)
{
    CHECK_INT(inhibited++, ==, 0);
    inhibits++;
}

void accel_ioctl_inhibit_end(void)
{
    CHECK_INT(--inhibited, ==, 0);
}

void virtio_buf_copy_pause_all(void)
{
    CHECK_INT(paused++, ==, 0);
    pauses++;
}

void virtio_buf_copy_resume_all(void)
{
    CHECK_INT(--paused, ==, 0);
}

int64_t qemu_clock_get_ns(QEMUClockType type)
{
    return 0;
}

void warn_report(const char *format, ...)
{
    warnings++;
}

size_t qemu_ram_pagesize(RAMBlock *b)
{
    return b->page_size;
}

size_t qemu_real_host_page_size(void)
{
    return PAGE;
}

void memory_region_set_dirty(MemoryRegion *mr, ram_addr_t addr,
                             ram_addr_t size)
{
    CHECK_INT(paused, ==, 1);
    dirty_bytes += size;
}

VirtIOBufClaims *virtio_buf_memory_claims(void)
{
    static VirtIOBufClaims *claims;

    if (!claims) {
        claims = virtio_buf_claims_new();
    }
    return claims;
}

void virtio_buf_unrevoked_add(VirtIOBufMemory *memory)
{
    CHECK(memory->dmabuf >= 0);
    unrevoked++;
}

/* A dma-buf is any fd here; it is held until it is not QEMU's any more */
bool virtio_buf_memory_held(const VirtIOBufMemory *memory)
{
    return memory->dmabuf >= 0;
}

void virtio_buf_orphan_add(VirtIOBufMemoryPool *p, int fd, uint64_t bytes)
{
    CHECK(fd >= 0);
    close(fd);
    orphans++;
    orphaned_bytes += bytes;
}

static void setup(void)
{
    qtest = true;
    block.fd = memfd_create("ram", MFD_ALLOW_SEALING);
    block.fd_offset = FILE_OFFSET;
    block.used_length = RAM_PAGES * PAGE;
    block.page_size = PAGE;
    CHECK_INT(ftruncate(block.fd, FILE_OFFSET + RAM_PAGES * PAGE), ==, 0);
    block.host = mmap(NULL, RAM_PAGES * PAGE, PROT_READ | PROT_WRITE,
                      MAP_SHARED, block.fd, FILE_OFFSET);
    CHECK(block.host != MAP_FAILED);
    for (int i = 0; i < RAM_PAGES; i++) {
        memset(block.host + i * PAGE, i, PAGE);
    }
}

static void check_ram(void)
{
    for (int i = 0; i < RAM_PAGES; i++) {
        CHECK_INT(block.host[i * PAGE], ==, i & 0xff);
        CHECK_INT(block.host[i * PAGE + PAGE - 1], ==, i & 0xff);
    }
}

static void teardown(void)
{
    check_ram();
    CHECK_INT(inhibited, ==, 0);
    CHECK_INT(paused, ==, 0);
    munmap(block.host, RAM_PAGES * PAGE);
    close(block.fd);
}

/* A buffer of @count pages from @first, exported */
static VirtIOBufMemory *export(int first, int count)
{
    VirtIOBufMemory *memory = g_new0(VirtIOBufMemory, 1);

    memory->pool = &pool;
    memory->range_count = 1;
    memory->ranges = g_new0(VirtIOBufRange, 1);
    memory->ranges[0] = (VirtIOBufRange) {
        .block = &block, .device = 1, .inode = 1,
        .start = FILE_OFFSET + first * PAGE, .len = count * PAGE,
    };
    memory->export_size = count * PAGE;
    memory->dmabuf = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(memory->dmabuf >= 0);
    virtio_buf_claims_add(virtio_buf_memory_claims(), memory->ranges, 1,
                          VIRTIO_BUF_CLAIM_EXPORT);
    return memory;
}

static void destroy(VirtIOBufMemory *memory)
{
    if (memory->dmabuf >= 0) {
        virtio_buf_memory_close_dmabuf(memory);
    }
    g_free(memory->ranges);
    g_free(memory);
}

static bool is_claimed(const VirtIOBufMemory *memory)
{
    unsigned uses;

    virtio_buf_claims_find(virtio_buf_memory_claims(), memory->ranges, 1,
                           SIZE_MAX, &uses);
    return uses & VIRTIO_BUF_CLAIM_EXPORT;
}

/* Somebody refers to a page from now on */
static int hold(int page)
{
    struct iovec iov = { block.host + page * PAGE, PAGE };
    int ends[2];

    CHECK_INT(pipe(ends), ==, 0);
    CHECK_INT(vmsplice(ends[1], &iov, 1, 0), ==, PAGE);
    close(ends[1]);
    return ends[0];
}

/* Whether that somebody sees what the guest writes now */
static bool sees(int holder, int page)
{
    uint8_t bytes[PAGE];

    block.host[page * PAGE] ^= 0x80;
    CHECK_INT(read(holder, bytes, PAGE), ==, PAGE);
    close(holder);
    block.host[page * PAGE] ^= 0x80;
    CHECK_INT(bytes[1], ==, page & 0xff);
    return bytes[0] != (page & 0xff);
}

TEST(holders_keep_old_pages)
{
    VirtIOBufMemory *memory;
    int inside, before, after;

    setup();
    memory = export(500, 600);
    before = hold(499);
    inside = hold(700);
    after = hold(1100);
    CHECK(virtio_buf_memory_revoke(&memory, 1));
    CHECK_INT(memory->dmabuf, ==, -1);
    CHECK(!is_claimed(memory));
    CHECK_INT(orphans, ==, 1);
    CHECK_INT(orphaned_bytes, ==, 600 * PAGE);
    CHECK_INT(dirty_bytes, ==, 600 * PAGE);
    CHECK(sees(before, 499));
    CHECK(!sees(inside, 700));
    CHECK(sees(after, 1100));
    CHECK_INT(warnings, ==, 0);
    destroy(memory);
    teardown();
}

TEST(vcpus_stop_once_for_all)
{
    VirtIOBufMemory *memories[3];

    setup();
    qtest = false;
    kvm = true;
    for (int i = 0; i < 3; i++) {
        memories[i] = export(100 * i, 100);
    }
    CHECK(virtio_buf_memory_revoke(memories, 3));
    CHECK_INT(inhibits, ==, 1);
    CHECK_INT(pauses, ==, 1);
    CHECK_INT(orphans, ==, 3);
    for (int i = 0; i < 3; i++) {
        destroy(memories[i]);
    }
    teardown();
}

/* In a window of 512 pages of the file: from 496 pages of RAM to 1007 */
TEST(a_huge_page_is_replaced_as_a_whole)
{
    VirtIOBufMemory *memory;
    int before, first, inside, last, after;

    setup();
    huge = true;
    memory = export(600, 100);
    before = hold(495);
    first = hold(496);
    inside = hold(650);
    last = hold(1007);
    after = hold(1008);
    CHECK(virtio_buf_memory_revoke(&memory, 1));
    CHECK_INT(memory->dmabuf, ==, -1);
    CHECK_INT(orphaned_bytes, ==, 100 * PAGE);
    /* The piece, and then all of the window */
    CHECK_INT(dirty_bytes, ==, (100 + 512) * PAGE);
    CHECK(sees(before, 495));
    CHECK(!sees(first, 496));
    CHECK(!sees(inside, 650));
    CHECK(!sees(last, 1007));
    CHECK(sees(after, 1008));
    CHECK_INT(warnings, ==, 0);
    destroy(memory);
    teardown();
}

TEST(a_window_ends_with_the_ram)
{
    VirtIOBufMemory *memory;
    int first, last;

    setup();
    huge = true;
    memory = export(10, 2000);
    first = hold(0);
    last = hold(RAM_PAGES - 1);
    CHECK(virtio_buf_memory_revoke(&memory, 1));
    CHECK(!sees(first, 0));
    CHECK(sees(last, RAM_PAGES - 1));
    destroy(memory);
    memory = export(RAM_PAGES - 4, 2);
    last = hold(RAM_PAGES - 1);
    CHECK(virtio_buf_memory_revoke(&memory, 1));
    CHECK(!sees(last, RAM_PAGES - 1));
    destroy(memory);
    teardown();
}

/* Another buffer would be left with pages that the guest does not write to */
TEST(a_huge_page_with_another_buffer_stays)
{
    VirtIOBufMemory *both[2];
    int mine, other;

    setup();
    huge = true;
    both[0] = export(600, 10);
    both[1] = export(800, 10);
    mine = hold(604);
    other = hold(804);
    CHECK(!virtio_buf_memory_revoke(&both[0], 1));
    CHECK(both[0]->dmabuf >= 0);
    CHECK(is_claimed(both[0]));
    CHECK_INT(unrevoked, ==, 1);
    CHECK_INT(orphans, ==, 0);
    CHECK_INT(warnings, ==, 1);
    CHECK(sees(other, 804));
    close(mine);

    /* Unless it is taken back as well */
    mine = hold(604);
    other = hold(804);
    CHECK(virtio_buf_memory_revoke(both, 2));
    CHECK(!sees(mine, 604));
    CHECK(!sees(other, 804));
    CHECK_INT(orphans, ==, 2);
    destroy(both[0]);
    destroy(both[1]);
    teardown();
}

/* With the obstacle nothing is touched; without it, it works */
static void check_obstacle(bool *obstacle, bool value)
{
    VirtIOBufMemory *memory = export(10, 10);
    bool before = *obstacle;
    int holder;

    *obstacle = value;
    warnings = 0;
    dirty_bytes = 0;
    pauses = 0;
    for (int i = 0; i < 3; i++) {
        holder = hold(12);
        CHECK(!virtio_buf_memory_revoke(&memory, 1));
        CHECK(sees(holder, 12));
    }
    CHECK(memory->dmabuf >= 0);
    CHECK(is_claimed(memory));
    CHECK_INT(warnings, ==, 1);
    CHECK_INT(unrevoked, ==, 3);
    CHECK_INT(dirty_bytes, ==, 0);
    CHECK_INT(pauses, ==, 0);

    *obstacle = before;
    holder = hold(12);
    CHECK(virtio_buf_memory_revoke(&memory, 1));
    CHECK(!sees(holder, 12));
    CHECK_INT(warnings, ==, 1);
    destroy(memory);
}

/* As VFIO does, also when it comes after the buffer */
TEST(not_while_discards_are_forbidden)
{
    setup();
    check_obstacle(&discard_disabled, true);
    teardown();
}

TEST(not_in_incoming_postcopy)
{
    setup();
    check_obstacle(&postcopy, true);
    teardown();
}

TEST(not_in_a_background_snapshot)
{
    setup();
    check_obstacle(&snapshot, true);
    teardown();
}

TEST(not_while_vcpus_run)
{
    setup();
    check_obstacle(&qtest, false);
    teardown();
}

TEST(huge_pages_are_not_touched)
{
    VirtIOBufMemory *memory;
    int holder;

    setup();
    block.page_size = 2 * MiB;
    memory = export(10, 10);
    holder = hold(12);
    CHECK(!virtio_buf_memory_revoke(&memory, 1));
    CHECK(sees(holder, 12));
    CHECK_INT(dirty_bytes, ==, 0);
    CHECK_INT(warnings, ==, 1);
    destroy(memory);
    teardown();
}

TEST(what_the_kernel_refuses_stays_held)
{
    VirtIOBufMemory *memory;
    int holder;

    setup();
    memory = export(10, 10);
    holder = hold(12);
    CHECK_INT(fcntl(block.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), ==, 0);
    CHECK(!virtio_buf_memory_revoke(&memory, 1));
    CHECK(memory->dmabuf >= 0);
    CHECK(is_claimed(memory));
    CHECK(sees(holder, 12));
    CHECK_INT(orphans, ==, 0);
    CHECK_INT(unrevoked, ==, 1);
    CHECK_INT(warnings, ==, 1);
    /* It does not try its luck with the neighbours */
    CHECK_INT(dirty_bytes, ==, 10 * PAGE);
    destroy(memory);
    teardown();
}
