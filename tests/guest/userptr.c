/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: BO_USERPTR, objects of a program's own memory.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/udmabuf.h>

#include "content.h"
#include "device.h"
#include "suites.h"

#define PAGES           16
#define HUGE_PAGE       (2 * MIB)
#define NOBODY          65534

static int userptr_do(int fd, const void *p, uint64_t size, uint32_t *bo)
{
    struct drm_virtbuf_bo_userptr args = { .addr = PTR(p), .size = size };
    int ret = ioctl(fd, DRM_IOCTL_VIRTBUF_BO_USERPTR, &args);

    if (ret == 0) {
        CHECK(args.handle != 0);
    } else {
        CHECK_EQ(args.handle, 0);
    }
    *bo = args.handle;
    return ret;
}

static uint32_t userptr(int fd, const void *p, uint64_t size)
{
    uint32_t bo;

    CHECK_OK(userptr_do(fd, p, size, &bo));
    return bo;
}

static void *map(size_t size, int prot, int flags, int fd)
{
    void *p = mmap(NULL, size, prot, flags, fd, 0);

    if (p == MAP_FAILED) {
        test_fail(__FILE__, __LINE__, "mmap: %s", errno_name(errno));
    }
    return p;
}

static void *anonymous(size_t size)
{
    return map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static int memfd(size_t size)
{
    int fd = memfd_create("virtbuf-test", MFD_CLOEXEC);

    CHECK_OK(fd);
    CHECK_OK(ftruncate(fd, (off_t)size));
    return fd;
}

/* Kilobytes in a line of /proc/self/status */
static long status_kb(const char *name)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[128];
    long value = -1;

    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, name, strlen(name)) == 0) {
            CHECK_EQ(sscanf(line + strlen(name) + 1, "%ld", &value), 1);
        }
    }
    fclose(file);
    CHECK(value >= 0);
    return value;
}

/* What is unpinned in the background shows up in this time */
static void check_pinned(long kb)
{
    int64_t give_up = time_in(PATIENCE_MS);

    while (status_kb("VmPin") != kb && time_in(0) < give_up) {
        sleep_ms(10);
    }
    CHECK_EQ(status_kb("VmPin"), kb);
}

static void arguments(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint8_t *p = anonymous(4 * page);
    struct drm_virtbuf_bo_userptr args = { .addr = PTR(p), .size = page };
    uint32_t bo;

    for (unsigned int bit = 0; bit < 32; bit++) {
        args.flags = 1u << bit;
        CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_USERPTR, &args), EINVAL);
    }
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_USERPTR, NULL), EFAULT);
    CHECK_ERRNO(userptr_do(fd, p, 0, &bo), EINVAL);
    CHECK_ERRNO(userptr_do(fd, p, page - 1, &bo), EINVAL);
    CHECK_ERRNO(userptr_do(fd, p, page + 1, &bo), EINVAL);
    CHECK_ERRNO(userptr_do(fd, p + 1, page, &bo), EINVAL);
    CHECK_ERRNO(userptr_do(fd, p + 512, page, &bo), EINVAL);
    CHECK_ERRNO(userptr_do(fd, NULL, page, &bo), EFAULT);
    /* the kernel's half, and ranges that lead there or around */
    CHECK_ERRNO(userptr_do(fd, (void *)(UINT64_MAX - page + 1), page, &bo),
                EFAULT);
    CHECK_ERRNO(userptr_do(fd, (void *)0xffff888000000000, page, &bo),
                EFAULT);
    CHECK_ERRNO(userptr_do(fd, p, -page, &bo), EFAULT, E2BIG);
    CHECK_ERRNO(userptr_do(fd, p, UINT64_MAX - 4095, &bo), EFAULT, E2BIG);
    CHECK_ERRNO(userptr_do(fd, p, 1ull << 46, &bo), EFAULT, E2BIG);
    check_pinned(0);
    munmap(p, 4 * page);
    close(fd);
}

static void holes(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint8_t *p = anonymous(4 * page);
    uint32_t bo;

    CHECK_OK(munmap(p + 2 * page, page));
    CHECK_ERRNO(userptr_do(fd, p, 3 * page, &bo), EFAULT);
    CHECK_ERRNO(userptr_do(fd, p, 4 * page, &bo), EFAULT);
    CHECK_ERRNO(userptr_do(fd, p + 2 * page, page, &bo), EFAULT);
    CHECK_ERRNO(userptr_do(fd, p + 2 * page, 2 * page, &bo), EFAULT);
    CHECK_OK(userptr_do(fd, p, 2 * page, &bo));
    CHECK_OK(userptr_do(fd, p + 3 * page, page, &bo));
    munmap(p, 4 * page);
    close(fd);
}

static void read_only(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint8_t *p = map(2 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    uint32_t bo;

    CHECK_ERRNO(userptr_do(fd, p, 2 * page, &bo), EFAULT);
    /* the first page is pinned, the second cannot be: nothing stays */
    CHECK_OK(mprotect(p, page, PROT_READ | PROT_WRITE));
    CHECK_ERRNO(userptr_do(fd, p, 2 * page, &bo), EFAULT);
    CHECK_OK(mprotect(p, 2 * page, PROT_NONE));
    CHECK_ERRNO(userptr_do(fd, p, 2 * page, &bo), EFAULT);
    check_pinned(0);
    munmap(p, 2 * page);
    close(fd);
}

/* Registers @size bytes at @p, and shows that the host reads them */
static void check_shared(int fd, uint8_t *p, size_t size)
{
    uint32_t bo = userptr(fd, p, size), buffer;

    content_fill(p, size, 1);
    buffer = content_register(fd, bo, 0, size);
    content_expect(fd, buffer, p, size);
    content_fill(p, size, 2);
    content_expect(fd, buffer, p, size);
    p[size - 1] ^= 0xff;
    content_expect(fd, buffer, p, size);
    buffer_take_back(fd, buffer);
    bo_close(fd, bo);
    check_pinned(0);
}

static void anonymous_memory(void)
{
    int fd = device_open();
    size_t size = PAGES * device_page(fd);
    uint8_t *p = anonymous(size);

    check_shared(fd, p, size);
    munmap(p, size);
    close(fd);
}

static void shared_memory(void)
{
    int fd = device_open(), file;
    size_t size = PAGES * device_page(fd);
    uint8_t *p = map(size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                     -1);

    check_shared(fd, p, size);
    munmap(p, size);
    file = memfd(size);
    p = map(size, PROT_READ | PROT_WRITE, MAP_SHARED, file);
    check_shared(fd, p, size);
    munmap(p, size);
    close(file);
    close(fd);
}

static void heap_and_stack(void)
{
    static uint8_t data[2 * 4096] __attribute__((aligned(4096)));
    uint8_t stack[2 * 4096] __attribute__((aligned(4096)));
    int fd = device_open();
    void *heap;

    CHECK_EQ(posix_memalign(&heap, 4096, 2 * 4096), 0);
    check_shared(fd, heap, 2 * 4096);
    check_shared(fd, stack, sizeof(stack));
    check_shared(fd, data, sizeof(data));
    free(heap);
    close(fd);
}

static void neighbours(void)
{
    int fd = device_open();
    size_t page = device_page(fd);
    uint8_t *p = anonymous(4 * page);

    /* two kinds of mapping, one range */
    CHECK(mmap(p + 2 * page, 2 * page, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
          p + 2 * page);
    check_shared(fd, p, 4 * page);
    munmap(p, 4 * page);
    close(fd);
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) > 0;

    if (fd >= 0) {
        close(fd);
    }
    return good;
}

static void huge_pages(void)
{
    int fd = device_open();
    uint8_t *p;

    if (!write_file("/proc/sys/vm/nr_hugepages", "2")) {
        test_skip("huge pages cannot be reserved: %s", errno_name(errno));
    }
    p = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (p == MAP_FAILED) {
        write_file("/proc/sys/vm/nr_hugepages", "0");
        test_skip("no huge page: %s", errno_name(errno));
    }
    check_shared(fd, p, HUGE_PAGE);
    /* a part of one */
    check_shared(fd, p + 4096, 3 * 4096);
    munmap(p, HUGE_PAGE);
    write_file("/proc/sys/vm/nr_hugepages", "0");
    close(fd);
}

static void transparent_huge_page(void)
{
    int fd = device_open();
    uint8_t *p = anonymous(2 * HUGE_PAGE);
    uint8_t *aligned = (uint8_t *)((PTR(p) + HUGE_PAGE - 1) &
                                   ~(HUGE_PAGE - 1));

    madvise(aligned, HUGE_PAGE, MADV_HUGEPAGE);
    memset(aligned, 1, HUGE_PAGE);
    check_shared(fd, aligned + 4096, 64 * 4096);
    munmap(p, 2 * HUGE_PAGE);
    close(fd);
}

static void refused_objects(void)
{
    int fd = device_open();
    size_t page = device_page(fd);
    uint32_t own = bo_create(fd, 2 * page), bo;
    uint8_t *p = bo_map(fd, own, 2 * page), *mixed = anonymous(2 * page);

    CHECK_ERRNO(userptr_do(fd, p, page, &bo), EOPNOTSUPP);
    p[0] = 1;
    CHECK_ERRNO(userptr_do(fd, p, page, &bo), EOPNOTSUPP);
    /* also behind something that is good */
    CHECK(mmap(mixed + page, page, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_FIXED, fd,
               (off_t)bo_map_offset(fd, own)) == mixed + page);
    CHECK_ERRNO(userptr_do(fd, mixed, 2 * page, &bo), EOPNOTSUPP);
    check_pinned(0);
    munmap(mixed, 2 * page);
    munmap(p, 2 * page);
    close(fd);
}

static void refused_file(void)
{
    static const char place[] = "/run/virtbuf-test-ramfs";
    int fd = device_open(), file;
    size_t page = device_page(fd);
    char path[64];
    uint32_t bo;
    uint8_t *p;

    /* a file system without a page cache of shmem, in every kernel */
    mkdir(place, 0700);
    if (mount("none", place, "ramfs", 0, NULL) < 0) {
        rmdir(place);
        test_skip("ramfs cannot be mounted: %s", errno_name(errno));
    }
    snprintf(path, sizeof(path), "%s/file", place);
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_OK(umount2(place, MNT_DETACH));
    rmdir(place);
    CHECK_OK(file);
    CHECK_OK(ftruncate(file, (off_t)page));
    p = map(page, PROT_READ | PROT_WRITE, MAP_SHARED, file);
    CHECK_ERRNO(userptr_do(fd, p, page, &bo), EOPNOTSUPP);
    p[0] = 1;
    CHECK_ERRNO(userptr_do(fd, p, page, &bo), EOPNOTSUPP);
    munmap(p, page);
    p = map(page, PROT_READ | PROT_WRITE, MAP_PRIVATE, file);
    CHECK_ERRNO(userptr_do(fd, p, page, &bo), EOPNOTSUPP);
    munmap(p, page);
    close(file);
    close(fd);
}

static void refused_special(void)
{
    int fd = device_open();
    size_t page = device_page(fd);
    const uint8_t *vdso = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);
    uint32_t bo;

    if (!vdso) {
        test_skip("this kernel has no vDSO");
    }
    CHECK_ERRNO(userptr_do(fd, vdso, page, &bo), EOPNOTSUPP);
    close(fd);
}

static void refused_dmabuf(void)
{
    struct udmabuf_create create = { .flags = UDMABUF_FLAGS_CLOEXEC };
    int udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), fd, dmabuf;
    size_t size = 4 * 4096;
    uint32_t bo;
    uint8_t *p;

    if (udmabuf < 0) {
        test_skip("/dev/udmabuf in the guest: %s", errno_name(errno));
    }
    fd = device_open();
    create.memfd = (uint32_t)memfd_create("dmabuf", MFD_CLOEXEC |
                                          MFD_ALLOW_SEALING);
    create.size = size;
    CHECK_OK(ftruncate((int)create.memfd, (off_t)size));
    CHECK_OK(fcntl((int)create.memfd, F_ADD_SEALS, F_SEAL_SHRINK));
    dmabuf = ioctl(udmabuf, UDMABUF_CREATE, &create);
    CHECK_OK(dmabuf);
    p = map(size, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf);
    CHECK_ERRNO(userptr_do(fd, p, size, &bo), EOPNOTSUPP);
    munmap(p, size);
    close(dmabuf);
    close((int)create.memfd);
    close(udmabuf);
    close(fd);
}

static void not_given_away(void)
{
    struct drm_virtbuf_bo_map where = { 0 };
    struct drm_prime_handle export = { .flags = DRM_CLOEXEC | DRM_RDWR };
    int fd = device_open();
    size_t page = device_page(fd);
    uint8_t *p = anonymous(page);

    where.handle = export.handle = userptr(fd, p, page);
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_MAP, &where), EINVAL);
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &export), EOPNOTSUPP);
    munmap(p, page);
    close(fd);
}

struct shared {
    int fd;
    size_t size;
    uint8_t *p, *copy;          /* the mapping, and what was in it */
    uint32_t buffer;
};

static struct shared share(uint8_t *p, size_t size, int fd)
{
    struct shared s = { .fd = fd, .size = size, .p = p };
    uint32_t bo;

    s.copy = malloc(size);
    CHECK(s.copy != NULL);
    content_fill(p, size, 5);
    memcpy(s.copy, p, size);
    bo = userptr(fd, p, size);
    s.buffer = content_register(fd, bo, 0, size);
    bo_close(fd, bo);
    content_expect(fd, s.buffer, s.copy, size);
    return s;
}

static void share_end(struct shared *s)
{
    buffer_take_back(s->fd, s->buffer);
    free(s->copy);
    close(s->fd);
    check_pinned(0);
}

/* The buffer has the pages that were mapped; what comes there later is not */
static void after_munmap(void)
{
    int fd = device_open();
    size_t size = PAGES * device_page(fd);
    struct shared s = share(anonymous(size), size, fd);

    munmap(s.p, size);
    content_expect(fd, s.buffer, s.copy, size);
    CHECK(mmap(s.p, size, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == s.p);
    content_fill(s.p, size, 6);
    content_expect(fd, s.buffer, s.copy, size);
    munmap(s.p, size);
    share_end(&s);
}

static void after_dontneed(void)
{
    int fd = device_open();
    size_t size = PAGES * device_page(fd);
    struct shared s = share(anonymous(size), size, fd);

    CHECK_OK(madvise(s.p, size, MADV_DONTNEED));
    for (size_t i = 0; i < size; i++) {
        CHECK_EQ(s.p[i], 0);
    }
    content_expect(fd, s.buffer, s.copy, size);
    munmap(s.p, size);
    share_end(&s);
}

/* A private mapping of a file has left the file when it is registered */
static void copy_on_write(void)
{
    int fd = device_open(), file;
    size_t size = PAGES * device_page(fd);
    struct shared s;
    uint8_t *contents;

    file = memfd(size);
    contents = map(size, PROT_READ | PROT_WRITE, MAP_SHARED, file);
    s = share(map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file), size, fd);
    for (size_t i = 0; i < size; i++) {
        CHECK_EQ(contents[i], 0);
    }
    memset(contents, 7, size);
    content_expect(fd, s.buffer, s.copy, size);
    CHECK_EQ(memcmp(s.p, s.copy, size), 0);
    content_fill(s.p, size, 8);
    content_expect(fd, s.buffer, s.p, size);
    munmap(s.p, size);
    munmap(contents, size);
    close(file);
    share_end(&s);
}

/* The parent keeps the pages, the child gets others */
static void after_fork(void)
{
    int fd = device_open(), status;
    size_t size = PAGES * device_page(fd);
    struct shared s = share(anonymous(size), size, fd);
    pid_t pid = fork();

    CHECK_OK(pid);
    if (pid == 0) {
        bool same = memcmp(s.p, s.copy, size) == 0;

        memset(s.p, 9, size);
        _exit(same ? 0 : 1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    content_expect(fd, s.buffer, s.copy, size);
    CHECK_EQ(memcmp(s.p, s.copy, size), 0);
    content_fill(s.p, size, 10);
    content_expect(fd, s.buffer, s.p, size);
    munmap(s.p, size);
    share_end(&s);
}

/* What the checks above rely on: wrong contents are noticed */
static void other_contents(void)
{
    int fd = device_open();
    size_t size = PAGES * device_page(fd);
    struct shared s = share(anonymous(size), size, fd);

    s.copy[size / 2] ^= 1;
    content_expect_not(fd, s.buffer, s.copy, size);
    munmap(s.p, size);
    share_end(&s);
}

static void parts_of_one(void)
{
    int fd = device_open();
    size_t page = device_page(fd), size = 4 * page;
    uint8_t *p = anonymous(size), both[2 * 4096];
    uint32_t bo = userptr(fd, p, size), buffer;
    struct registration reg;

    content_fill(p, size, 3);
    buffer = content_register(fd, bo, page, 2 * page);
    content_expect(fd, buffer, p + page, 2 * page);
    buffer_take_back(fd, buffer);

    /* the last page, then the first one */
    registration_init(&reg, bo, page);
    reg.ranges[0].offset = 3 * page;
    reg.ranges[1] = (struct drm_virtbuf_bo_range) { .handle = bo,
                                                    .size = page };
    reg.args.range_count = 2;
    reg.args.application = PTR(APPLICATION_CONSUMER);
    reg.args.application_len = sizeof(APPLICATION_CONSUMER) - 1;
    CHECK_OK(registration_do(fd, &reg));
    CHECK_OK(wait_one(fd, reg.args.buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                      PATIENCE_MS));
    CHECK_EQ(page, 4096);
    memcpy(both, p + 3 * page, page);
    memcpy(both + page, p, page);
    content_expect(fd, reg.args.buffer, both, 2 * page);
    buffer_take_back(fd, reg.args.buffer);
    munmap(p, size);
    close(fd);
}

/* Pages are charged as long as they are pinned, whoever holds them */
static void memlock_limit(void)
{
    struct rlimit limit = { PAGES * 4096, PAGES * 4096 };
    int fd = device_open();
    size_t page = device_page(fd);
    long kb = (long)(PAGES * page / 1024);
    uint8_t *p = anonymous(2 * PAGES * page);
    uint32_t bo, more, buffer;

    CHECK_EQ(page, 4096);
    CHECK_OK(setrlimit(RLIMIT_MEMLOCK, &limit));
    /* root may pin more than the limit */
    bo = userptr(fd, p, 2 * PAGES * page);
    check_pinned(2 * kb);
    bo_close(fd, bo);
    check_pinned(0);
    CHECK_OK(setgid(NOBODY));
    CHECK_OK(setuid(NOBODY));

    CHECK_ERRNO(userptr_do(fd, p, (PAGES + 1) * page, &bo), ENOMEM);
    check_pinned(0);
    bo = userptr(fd, p, PAGES * page);
    check_pinned(kb);
    CHECK_ERRNO(userptr_do(fd, p + PAGES * page, page, &more), ENOMEM);
    /* the same pages are pinned twice: charged twice */
    CHECK_ERRNO(userptr_do(fd, p, page, &more), ENOMEM);
    buffer = buffer_register(fd, bo, PAGES * page);
    bo_close(fd, bo);
    munmap(p, PAGES * page);
    check_pinned(kb);
    CHECK_ERRNO(userptr_do(fd, p + PAGES * page, page, &more), ENOMEM);
    buffer_take_back(fd, buffer);
    check_pinned(0);
    bo = userptr(fd, p + PAGES * page, PAGES * page);
    close(fd);
    check_pinned(0);
    munmap(p + PAGES * page, PAGES * page);
}

/* The host has the pages, the handles are closed: they stay charged */
static void charged_while_held(void)
{
    int fd = device_open();
    size_t size = PAGES * device_page(fd);
    uint8_t *p = anonymous(size);
    uint32_t bo = userptr(fd, p, size), buffer;

    buffer = buffer_register_for(fd, bo, size, APPLICATION_HOLDER,
                                 DRM_VIRTBUF_MODE_LATEST);
    wait_for_holder(fd, buffer);
    bo_close(fd, bo);
    munmap(p, size);
    buffer_update(fd, buffer, size);
    CHECK_EQ(buffer_unregister(fd, buffer), DRM_VIRTBUF_STATE_PENDING);
    CHECK_EQ(status_kb("VmPin"), (long)(size / 1024));
    close(fd);
    CHECK_EQ(status_kb("VmPin"), (long)(size / 1024));
    check_pinned(0);
}

/* Nobody is left to be charged when the pages come back */
static void killed_while_held(void)
{
    int status;
    pid_t pid = fork();

    CHECK_OK(pid);
    if (pid == 0) {
        int fd = device_open();
        size_t size = PAGES * device_page(fd);
        uint32_t bo = userptr(fd, anonymous(size), size), buffer;

        buffer = buffer_register_for(fd, bo, size, APPLICATION_HOLDER,
                                     DRM_VIRTBUF_MODE_LATEST);
        CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                          PATIENCE_MS));
        buffer_update(fd, buffer, size);
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    check_nothing_leaked();
}

static void many(void)
{
    int fd = device_open();
    size_t page = device_page(fd);
    uint8_t *p = anonymous(PAGES * page);

    for (int i = 0; i < 100; i++) {
        uint32_t bo = userptr(fd, p, PAGES * page);
        uint32_t buffer = buffer_register(fd, bo, PAGES * page);

        buffer_update(fd, buffer, PAGES * page);
        buffer_take_back(fd, buffer);
        bo_close(fd, bo);
    }
    munmap(p, PAGES * page);
    check_pinned(0);
    close(fd);
}

static const struct test tests[] = {
    { "arguments", arguments, 0 },
    { "holes", holes, 0 },
    { "read-only", read_only, 0 },
    { "anonymous-memory", anonymous_memory, NEEDS_CONSUMER },
    { "shared-memory", shared_memory, NEEDS_CONSUMER },
    { "heap-and-stack", heap_and_stack, NEEDS_CONSUMER },
    { "neighbours", neighbours, NEEDS_CONSUMER },
    { "huge-pages", huge_pages, NEEDS_CONSUMER },
    { "transparent-huge-page", transparent_huge_page, NEEDS_CONSUMER },
    { "refused-objects", refused_objects, 0 },
    { "refused-file", refused_file, 0 },
    { "refused-special", refused_special, 0 },
    { "refused-dmabuf", refused_dmabuf, 0 },
    { "not-given-away", not_given_away, 0 },
    { "after-munmap", after_munmap, NEEDS_CONSUMER },
    { "after-dontneed", after_dontneed, NEEDS_CONSUMER },
    { "copy-on-write", copy_on_write, NEEDS_CONSUMER },
    { "after-fork", after_fork, NEEDS_CONSUMER },
    { "other-contents", other_contents, NEEDS_CONSUMER },
    { "parts-of-one", parts_of_one, NEEDS_CONSUMER },
    { "memlock-limit", memlock_limit, 0 },
    { "charged-while-held", charged_while_held, NEEDS_HOLDER },
    { "killed-while-held", killed_while_held, NEEDS_HOLDER },
    { "many", many, 0 },
};

const struct suite userptr_suite = SUITE("userptr", tests);
