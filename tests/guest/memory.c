/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: memory. BO_CREATE, BO_MAP, mmap(), dumb buffers, PRIME.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

static void getparam(void)
{
    struct drm_virtbuf_getparam args = { .param = 1000 };
    int fd = device_open();
    uint64_t page = device_page(fd);

    CHECK(page >= 4096 && (page & (page - 1)) == 0);
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_MAX_BUFFERS) >= 1);
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_MAX_RANGES) >= 1);
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_MAX_BUFFER_SIZE) >= page);
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_MAX_DMABUF_RANGES) <=
          device_param(fd, DRM_VIRTBUF_PARAM_MAX_RANGES));
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_MAX_DMABUF_SIZE) <=
          device_param(fd, DRM_VIRTBUF_PARAM_MAX_BUFFER_SIZE));
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_MAX_TOTAL_SIZE) >=
          device_param(fd, DRM_VIRTBUF_PARAM_MAX_BUFFER_SIZE));
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_MAX_PROPERTIES) >= 1);
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_MAX_PROPERTY_BYTES) >= 16);
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_MAX_PROPERTY_BYTES) <=
          VIRTIO_BUF_MAX_PROPERTY_BYTES);
    CHECK((device_param(fd, DRM_VIRTBUF_PARAM_FEATURES) & ~0x7full) == 0);
    device_param(fd, DRM_VIRTBUF_PARAM_CONSUMERS);
    device_param(fd, DRM_VIRTBUF_PARAM_RELEASE_TIMEOUT_MS);
    device_param(fd, DRM_VIRTBUF_PARAM_HOLD_TIMEOUT_MS);
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_GETPARAM, &args), EINVAL);
    args.param = 1ull << 32; /* not cut to 32 bits */
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_GETPARAM, &args), EINVAL);
    close(fd);
}

static void null_arguments(void)
{
    static const unsigned long requests[] = {
        DRM_IOCTL_VIRTBUF_GETPARAM, DRM_IOCTL_VIRTBUF_BO_CREATE,
        DRM_IOCTL_VIRTBUF_BO_MAP, DRM_IOCTL_VIRTBUF_BO_USERPTR,
        DRM_IOCTL_VIRTBUF_REGISTER, DRM_IOCTL_VIRTBUF_UNREGISTER,
        DRM_IOCTL_VIRTBUF_SET_PROPERTIES, DRM_IOCTL_VIRTBUF_GET_PROPERTIES,
        DRM_IOCTL_VIRTBUF_UPDATE, DRM_IOCTL_VIRTBUF_WAIT,
        DRM_IOCTL_VIRTBUF_CONSUMERS, DRM_IOCTL_VIRTBUF_EVENTS,
        DRM_IOCTL_VIRTBUF_GET_WRITTEN,
    };
    int fd = device_open();

    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        CHECK_ERRNO(ioctl(fd, requests[i], NULL), EFAULT);
        CHECK_ERRNO(ioctl(fd, requests[i], BAD_POINTER), EFAULT);
    }
    close(fd);
}

static void bo_create_sizes(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    struct drm_virtbuf_bo_create args = { .size = 1 };

    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &args));
    CHECK_EQ(args.size, page);
    bo_close(fd, args.handle);
    args = (struct drm_virtbuf_bo_create) { .size = page + 1 };
    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &args));
    CHECK_EQ(args.size, 2 * page);
    bo_close(fd, args.handle);
    args = (struct drm_virtbuf_bo_create) { .size = 0 };
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &args), EINVAL);
    /* rounding up wraps around, or no machine has that much */
    args = (struct drm_virtbuf_bo_create) { .size = UINT64_MAX };
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &args), EINVAL, E2BIG);
    args = (struct drm_virtbuf_bo_create) { .size = 1ull << 62 };
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &args), EINVAL, E2BIG,
                ENOSPC, ENOMEM);
    close(fd);
}

static void bo_create_flags(void)
{
    int fd = device_open();

    for (unsigned int bit = 0; bit < 32; bit++) {
        struct drm_virtbuf_bo_create args = {
            .size = 4096,
            .flags = 1u << bit,
        };

        CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &args), EINVAL);
    }
    close(fd);
}

static void bo_map_errors(void)
{
    struct drm_virtbuf_bo_map args = { .handle = BAD_HANDLE };
    int fd = device_open();

    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_MAP, &args), ENOENT);
    args.handle = 0;
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_MAP, &args), ENOENT);
    args.handle = bo_create(fd, 4096);
    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_MAP, &args));
    for (unsigned int bit = 0; bit < 32; bit++) {
        args.flags = 1u << bit;
        CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_MAP, &args), EINVAL);
    }
    close(fd);
}

static void bo_is_zeroed_and_writable(void)
{
    uint64_t size = 3 * MIB;
    int fd = device_open();
    uint32_t bo;
    uint8_t *p, *again;

    /* the second round gets pages that the first one has written to */
    for (int round = 0; round < 2; round++) {
        bo = bo_create(fd, size);
        p = bo_map(fd, bo, size);
        for (uint64_t i = 0; i < size; i++) {
            if (p[i]) {
                test_fail(__FILE__, __LINE__, "byte %llu is not zero",
                          (unsigned long long)i);
            }
        }
        memset(p, 0xa5, size);
        again = bo_map(fd, bo, size);
        CHECK(again[0] == 0xa5 && again[size - 1] == 0xa5);
        again[size / 2] = 0x11;
        CHECK_EQ(p[size / 2], 0x11);
        munmap(again, size);
        munmap(p, size);
        bo_close(fd, bo);
    }
    close(fd);
}

static void mmap_bounds(void)
{
    int fd = device_open(), other = device_open();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, 2 * page);
    off_t offset = (off_t)bo_map_offset(fd, bo);
    void *p;

    p = mmap(NULL, 3 * page, PROT_READ, MAP_SHARED, fd, offset);
    CHECK(p == MAP_FAILED && errno == EINVAL);
    p = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(p == MAP_FAILED);
    /* the offset of one file is no key for another */
    p = mmap(NULL, page, PROT_READ, MAP_SHARED, other, offset);
    CHECK(p == MAP_FAILED && errno == EACCES);
    close(other);
    close(fd);
}

static void mmap_after_close(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, page);
    off_t offset = (off_t)bo_map_offset(fd, bo);
    uint8_t *p = bo_map(fd, bo, page);

    p[7] = 7;
    bo_close(fd, bo);
    CHECK_EQ(p[7], 7);
    p[8] = 8;
    CHECK(mmap(NULL, page, PROT_READ, MAP_SHARED, fd, offset) == MAP_FAILED);
    close(fd);
    CHECK_EQ(p[8], 8);
    munmap(p, page);
}

static void gem_close_errors(void)
{
    struct drm_gem_close args = { 0 };
    int fd = device_open();

    args.handle = bo_create(fd, 4096);
    CHECK_OK(ioctl(fd, DRM_IOCTL_GEM_CLOSE, &args));
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_GEM_CLOSE, &args), EINVAL, ENOENT);
    close(fd);
}

static void dumb_on_card(void)
{
    struct drm_mode_create_dumb create = {
        .width = 33, .height = 7, .bpp = 32,
    };
    struct drm_mode_map_dumb map = { 0 };
    struct drm_mode_destroy_dumb destroy = { 0 };
    int fd = device_open_card();
    uint8_t *p;

    CHECK_OK(ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &create));
    CHECK(create.handle != 0);
    CHECK(create.pitch >= 33 * 4);
    CHECK(create.size >= (uint64_t)create.pitch * 7);
    map.handle = create.handle;
    CHECK_OK(ioctl(fd, DRM_IOCTL_MODE_MAP_DUMB, &map));
    p = mmap(NULL, create.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
             (off_t)map.offset);
    CHECK(p != MAP_FAILED);
    CHECK_EQ(p[0], 0);
    CHECK_EQ(p[create.size - 1], 0);
    p[0] = 1;
    munmap(p, create.size);
    destroy.handle = create.handle;
    CHECK_OK(ioctl(fd, DRM_IOCTL_MODE_DESTROY_DUMB, &destroy));
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_MODE_MAP_DUMB, &map), ENOENT);
    create.width = 0;
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &create), EINVAL);
    create.width = UINT32_MAX;
    create.height = UINT32_MAX;
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &create), EINVAL,
                EOVERFLOW, ENOMEM, E2BIG);
    close(fd);
}

static void dumb_on_render_node(void)
{
    struct drm_mode_create_dumb create = {
        .width = 16, .height = 16, .bpp = 32,
    };
    int fd = device_open();

    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &create), EACCES);
    close(fd);
}

static void dumb_register(void)
{
    struct drm_mode_create_dumb create = {
        .width = 64, .height = 64, .bpp = 32,
    };
    int fd = device_open_card();
    uint64_t page = device_page(fd);
    uint32_t buffer;

    CHECK_OK(ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &create));
    CHECK_EQ(create.size % page, 0);
    buffer = buffer_register(fd, create.handle, create.size);
    buffer_update(fd, buffer, create.size);
    buffer_take_back(fd, buffer);
    close(fd);
}

/* Leaves @pages pages free of which no two are neighbours */
static void fragment_memory(uint64_t page, uint64_t pages)
{
    uint64_t size = 2 * pages * page;
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    /* Fails where the kernel has no huge pages */
    madvise(p, size, MADV_NOHUGEPAGE);
    memset(p, 1, size);
    for (uint64_t i = 0; i < pages; i++) {
        CHECK_OK(madvise(p + 2 * i * page, page, MADV_DONTNEED));
    }
}

/* However many pieces it has, it can be shared: if need be, as a copy */
static void dumb_fragmented(void)
{
    struct drm_mode_create_dumb create = {
        .width = 1920, .height = 1080, .bpp = 32,
    };
    int fd = device_open_card();
    uint64_t page = device_page(fd);
    uint64_t max = device_param(fd, DRM_VIRTBUF_PARAM_MAX_DMABUF_RANGES);
    struct registration reg;

    fragment_memory(page, 8 * MIB / page * 3);
    CHECK_OK(ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &create));
    registration_init(&reg, create.handle, create.size);
    CHECK_OK(registration_do(fd, &reg));
    test_note("backing %u, reason %u; dma-bufs have at most %u ranges",
              reg.args.backing, reg.args.reason, (unsigned int)max);
    if (max && reg.args.backing == DRM_VIRTBUF_BACKING_COPY) {
        CHECK_EQ(reg.args.reason, VIRTIO_BUF_REASON_RANGES);
    }
    buffer_update(fd, reg.args.buffer, create.size);
    buffer_take_back(fd, reg.args.buffer);
    close(fd);
}

static int export_bo(int fd, uint32_t bo)
{
    struct drm_prime_handle args = {
        .handle = bo,
        .flags = DRM_CLOEXEC | DRM_RDWR,
    };

    CHECK_OK(ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &args));
    return args.fd;
}

static void prime_export(void)
{
    int fd = device_open(), dmabuf;
    uint64_t page = device_page(fd), size = 4 * page;
    uint32_t bo = bo_create(fd, size);
    uint8_t *ours = bo_map(fd, bo, size), *theirs;

    dmabuf = export_bo(fd, bo);
    CHECK(fcntl(dmabuf, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(lseek(dmabuf, 0, SEEK_END), size);
    theirs = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
    CHECK(theirs != MAP_FAILED);
    ours[page] = 42;
    CHECK_EQ(theirs[page], 42);
    theirs[size - 1] = 43;
    CHECK_EQ(ours[size - 1], 43);
    CHECK(mmap(NULL, size + page, PROT_READ, MAP_SHARED, dmabuf, 0) ==
          MAP_FAILED);
    munmap(ours, size);
    bo_close(fd, bo);
    close(fd);
    /* the dma-buf keeps the pages */
    CHECK_EQ(theirs[page], 42);
    munmap(theirs, size);
    close(dmabuf);
}

static void prime_import_own(void)
{
    struct drm_prime_handle args = { 0 };
    int fd = device_open(), other = device_open();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, page), buffer;
    uint8_t *ours = bo_map(fd, bo, page), *theirs;

    args.fd = export_bo(fd, bo);
    CHECK_OK(ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &args));
    CHECK_EQ(args.handle, bo);
    args.handle = 0;
    CHECK_OK(ioctl(other, DRM_IOCTL_PRIME_FD_TO_HANDLE, &args));
    theirs = bo_map(other, args.handle, page);
    ours[5] = 55;
    CHECK_EQ(theirs[5], 55);
    buffer = buffer_register(other, args.handle, page);
    buffer_update(other, buffer, page);
    buffer_take_back(other, buffer);
    close(args.fd);
    munmap(ours, page);
    munmap(theirs, page);
    close(other);
    close(fd);
}

static void unknown_ioctl(void)
{
    uint64_t args[16] = { 0 };
    int fd = device_open();

    CHECK_ERRNO(ioctl(fd, DRM_IOWR(DRM_COMMAND_BASE + 0x3f, args), args),
                EINVAL, ENOTTY);
    close(fd);
}

/* An older program's shorter struct is completed with zeros by the core */
static void short_struct(void)
{
    struct {
        __u64 size;
    } args = { .size = 4096 };
    int fd = device_open();

    CHECK_OK(ioctl(fd, DRM_IOWR(DRM_COMMAND_BASE + DRM_VIRTBUF_BO_CREATE,
                                args), &args));
    close(fd);
}

static const struct test tests[] = {
    { "getparam", getparam, 0 },
    { "null-arguments", null_arguments, 0 },
    { "unknown-ioctl", unknown_ioctl, 0 },
    { "short-struct", short_struct, 0 },
    { "bo-create-sizes", bo_create_sizes, 0 },
    { "bo-create-flags", bo_create_flags, 0 },
    { "bo-map-errors", bo_map_errors, 0 },
    { "bo-is-zeroed-and-writable", bo_is_zeroed_and_writable, 0 },
    { "mmap-bounds", mmap_bounds, 0 },
    { "mmap-after-close", mmap_after_close, 0 },
    { "gem-close-errors", gem_close_errors, 0 },
    { "dumb-on-card", dumb_on_card, 0 },
    { "dumb-on-render-node", dumb_on_render_node, 0 },
    { "dumb-register", dumb_register, 0 },
    { "dumb-fragmented", dumb_fragmented, 0 },
    { "prime-export", prime_export, 0 },
    { "prime-import-own", prime_import_own, 0 },
};

const struct suite memory_suite = SUITE("memory", tests);
