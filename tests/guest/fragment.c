/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: fragmented memory. A frame has to come in few enough ranges for
 * the host's udmabuf where the kernel can make room by moving pages, and to be
 * copied, with the reason said, where it cannot.
 *
 * All of the memory is taken page by page, and every second page is given back:
 * pages of a program, which the kernel can move, or pages of pipes, which it
 * cannot. What is left of longer blocks goes into BOs. /proc/buddyinfo then
 * says in how many ranges a frame would be as memory is; only when these are
 * too many has the test something to show.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "content.h"
#include "device.h"
#include "suites.h"

#define PAGE            4096
#define MAX_ORDERS      16
#define FRAME_1080P     (1920 * 1080 * 4)
#define FRAME_4K        (3840 * 2160 * 4)
#define PAGES(bytes)    (((bytes) + PAGE - 1) / PAGE)
/* Where filling ends: the kernel needs some to go on */
#define SPARE           (16 * MIB)
#define PIPE_PAGES      256
#define MAX_PIPES       2048

/* Free blocks by order, of all zones but the one for ancient DMA */
static void read_buddyinfo(unsigned long *blocks)
{
    FILE *file = fopen("/proc/buddyinfo", "re");
    char line[512];

    CHECK(file);
    memset(blocks, 0, MAX_ORDERS * sizeof(*blocks));
    while (fgets(line, sizeof(line), file)) {
        char zone[32], *rest;
        int parsed;

        CHECK_EQ(sscanf(line, "Node %*d, zone %31s%n", zone, &parsed), 1);
        if (!strcmp(zone, "DMA")) {
            continue;
        }
        rest = line + parsed;
        for (int order = 0; order < MAX_ORDERS; order++) {
            char *end;

            blocks[order] += strtoul(rest, &end, 10);
            if (end == rest) {
                break;
            }
            rest = end;
        }
    }
    fclose(file);
}

/* In how many of these blocks, longest first, have @pages room? */
static unsigned long ranges_as_it_is(const unsigned long *blocks,
                                     unsigned long pages)
{
    unsigned long ranges = 0;

    for (int order = MAX_ORDERS - 1; order >= 0 && pages; order--) {
        for (unsigned long i = 0; i < blocks[order] && pages; i++) {
            pages -= pages < 1ul << order ? pages : 1ul << order;
            ranges++;
        }
    }
    CHECK_EQ(pages, 0); /* or there is no room for a frame at all */
    return ranges;
}

static uint64_t free_memory(void)
{
    struct sysinfo info;

    CHECK_OK(sysinfo(&info));
    return (uint64_t)info.freeram * info.mem_unit;
}

/* Until the test ends, which gives everything back */
static void take_movable(void)
{
    uint64_t room = free_memory(), taken;
    uint8_t *memory = mmap(NULL, room, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    CHECK(memory != MAP_FAILED);
    /* EINVAL: a kernel without huge pages */
    if (madvise(memory, room, MADV_NOHUGEPAGE) < 0) {
        CHECK_EQ(errno, EINVAL);
    }
    for (taken = 0; taken < room && free_memory() > SPARE; taken += MIB) {
        for (uint64_t i = 0; i < MIB && taken + i < room; i += PAGE) {
            memory[taken + i] = 1;
        }
    }
    for (uint64_t i = 0; i < taken && i < room; i += 2 * PAGE) {
        CHECK_OK(madvise(memory + i, PAGE, MADV_DONTNEED));
    }
}

static int pipe_of_pages(int *in)
{
    int ends[2];

    CHECK_OK(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    CHECK_OK(fcntl(ends[1], F_SETPIPE_SZ, PIPE_PAGES * PAGE));
    *in = ends[1];
    return ends[0];
}

/* The same of the kernel's own pages; gives the pipes that have them */
static unsigned int take_pinned(int (*pipes)[2])
{
    struct rlimit many = { 3 * MAX_PIPES, 3 * MAX_PIPES };
    static const uint8_t page[PAGE];
    static int odd[MAX_PIPES][2];
    unsigned int count;

    CHECK_OK(setrlimit(RLIMIT_NOFILE, &many));
    for (count = 0; count < MAX_PIPES && free_memory() > SPARE; count++) {
        pipes[count][0] = pipe_of_pages(&pipes[count][1]);
        odd[count][0] = pipe_of_pages(&odd[count][1]);
        for (int i = 0; i < PIPE_PAGES; i++) {
            CHECK_EQ(write(pipes[count][1], page, PAGE), PAGE);
            CHECK_EQ(write(odd[count][1], page, PAGE), PAGE);
        }
    }
    for (unsigned int i = 0; i < count; i++) {
        close(odd[i][0]);
        close(odd[i][1]);
    }
    return count;
}

/*
 * Takes the longest blocks that are left, until @pages would need more ranges
 * than the host's udmabuf takes. Gives how many.
 */
static unsigned long take_long_blocks(int fd, unsigned long pages,
                                      unsigned long max_ranges)
{
    unsigned long blocks[MAX_ORDERS], ranges = 0;

    for (int i = 0; i < 20000; i++) {
        int order = MAX_ORDERS - 1;

        read_buddyinfo(blocks);
        ranges = ranges_as_it_is(blocks, pages);
        if (ranges > max_ranges + max_ranges / 4) {
            return ranges;
        }
        while (order > 1 && !blocks[order]) {
            order--;
        }
        bo_create(fd, (uint64_t)PAGE << order);
    }
    test_fail(__FILE__, __LINE__, "memory is whole: room in %lu ranges",
              ranges);
}

static unsigned long need_dmabufs(int fd)
{
    unsigned long max = (unsigned long)
        device_param(fd, DRM_VIRTBUF_PARAM_MAX_DMABUF_RANGES);

    if (!max) {
        test_skip("this host copies every buffer");
    }
    return max;
}

/* Registers a frame of @size, which the host must be able to read */
static struct registration share_frame(int fd, uint64_t size,
                                       unsigned long before)
{
    uint64_t whole = (uint64_t)PAGES(size) * PAGE;
    uint32_t bo = bo_create(fd, whole);
    uint8_t *data = bo_map(fd, bo, whole);
    struct registration reg;

    registration_init(&reg, bo, whole);
    reg.args.application = PTR(APPLICATION_CONSUMER);
    reg.args.application_len = sizeof(APPLICATION_CONSUMER) - 1;
    CHECK_OK(registration_do(fd, &reg));
    test_note("%lu ranges as memory was; now %s, reason %u", before,
              reg.args.backing == DRM_VIRTBUF_BACKING_DMABUF ? "a dma-buf"
                                                             : "a copy",
              reg.args.reason);
    CHECK_OK(wait_one(fd, reg.args.buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                      PATIENCE_MS));
    content_fill(data, size, 1);
    content_expect(fd, reg.args.buffer, data, whole);
    munmap(data, whole);
    buffer_take_back(fd, reg.args.buffer);
    return reg;
}

/* Who tries again gets what compaction has made meanwhile */
static void movable(uint64_t size, unsigned int attempts)
{
    int fd = device_open();
    unsigned long max = need_dmabufs(fd), before;
    struct registration reg;

    take_movable();
    before = take_long_blocks(fd, PAGES(size), max);
    reg = share_frame(fd, size, before);
    while (reg.args.backing != DRM_VIRTBUF_BACKING_DMABUF && --attempts) {
        CHECK_EQ(reg.args.backing, DRM_VIRTBUF_BACKING_COPY);
        CHECK_EQ(reg.args.reason, VIRTIO_BUF_REASON_RANGES);
        reg = share_frame(fd, size, before);
    }
    CHECK_EQ(reg.args.backing, DRM_VIRTBUF_BACKING_DMABUF);
    CHECK_EQ(reg.args.reason, VIRTIO_BUF_REASON_NONE);
    close(fd);
}

static void movable_1080p(void)
{
    movable(FRAME_1080P, 1);
}

static void movable_4k(void)
{
    movable(FRAME_4K, 4);
}

static void pinned_4k(void)
{
    static int pipes[MAX_PIPES][2];
    int fd = device_open();
    unsigned long max = need_dmabufs(fd), before;
    unsigned int count = take_pinned(pipes);
    struct registration reg;

    before = take_long_blocks(fd, PAGES(FRAME_4K), max);
    reg = share_frame(fd, FRAME_4K, before);
    CHECK_EQ(reg.args.backing, DRM_VIRTBUF_BACKING_COPY);
    CHECK_EQ(reg.args.reason, VIRTIO_BUF_REASON_RANGES);
    for (unsigned int i = 0; i < count; i++) {
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
    close(fd);
}

static const struct test tests[] = {
    { "movable-1080p", movable_1080p, NEEDS_CONSUMER },
    { "movable-4k", movable_4k, NEEDS_CONSUMER },
    { "pinned-4k", pinned_4k, NEEDS_CONSUMER },
};

const struct suite fragment_suite = SUITE("fragment", tests);
