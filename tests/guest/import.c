/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: PRIME import, buffers of other drivers' memory.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/dma-heap.h>
#include <linux/udmabuf.h>

#include "content.h"
#include "device.h"
#include "suites.h"
#include "virtgpu_drm.h"
#include "exporter/virtbuf-exporter.h"

#define PAGES           16

/* Debian 12's libdrm does not have this part of virtio-gpu's ABI yet */
#ifndef VIRTGPU_BLOB_MEM_GUEST
#define VIRTGPU_PARAM_RESOURCE_BLOB     3
#define VIRTGPU_BLOB_MEM_GUEST          1
#define VIRTGPU_BLOB_FLAG_USE_MAPPABLE  1
#define VIRTGPU_BLOB_FLAG_USE_SHAREABLE 2
struct drm_virtgpu_resource_create_blob {
    uint32_t blob_mem;
    uint32_t blob_flags;
    uint32_t bo_handle;
    uint32_t res_handle;
    uint64_t size;
    uint32_t pad;
    uint32_t cmd_size;
    uint64_t cmd;
    uint64_t blob_id;
};
#define DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB \
    DRM_IOWR(DRM_COMMAND_BASE + 0x0a, struct drm_virtgpu_resource_create_blob)
#endif

/* A dma-buf and where its memory can be written */
struct source {
    int dmabuf;
    size_t size;
    uint8_t *p;
};

static uint8_t *map_shared(int fd, size_t size, off_t offset)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

    if (p == MAP_FAILED) {
        test_fail(__FILE__, __LINE__, "mmap: %s", errno_name(errno));
    }
    return p;
}

static struct source source_of_memfd(size_t size)
{
    struct udmabuf_create create = { .flags = UDMABUF_FLAGS_CLOEXEC };
    int udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), memfd;
    struct source s = { .size = size };

    if (udmabuf < 0) {
        test_skip("/dev/udmabuf in the guest: %s", errno_name(errno));
    }
    memfd = memfd_create("source", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK_OK(memfd);
    CHECK_OK(ftruncate(memfd, (off_t)size));
    CHECK_OK(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK));
    create.memfd = (uint32_t)memfd;
    create.size = size;
    s.dmabuf = ioctl(udmabuf, UDMABUF_CREATE, &create);
    CHECK_OK(s.dmabuf);
    s.p = map_shared(memfd, size, 0);
    close(memfd);
    close(udmabuf);
    return s;
}

static struct source source_of_heap(size_t size)
{
    struct dma_heap_allocation_data args = {
        .len = size,
        .fd_flags = O_RDWR | O_CLOEXEC,
    };
    int heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
    struct source s = { .size = size };

    if (heap < 0) {
        test_skip("/dev/dma_heap/system in the guest: %s", errno_name(errno));
    }
    CHECK_OK(ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &args));
    close(heap);
    s.dmabuf = (int)args.fd;
    s.p = map_shared(s.dmabuf, size, 0);
    return s;
}

/* The card node of a DRM driver; skips the test without one */
static int open_driver(const char *wanted)
{
    for (int i = 0; i < 16; i++) {
        char path[32], name[32] = "";
        struct drm_version version = {
            .name = name,
            .name_len = sizeof(name) - 1,
        };
        int fd;

        snprintf(path, sizeof(path), "/dev/dri/card%d", i);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        CHECK_OK(ioctl(fd, DRM_IOCTL_VERSION, &version));
        if (strcmp(name, wanted) == 0) {
            return fd;
        }
        close(fd);
    }
    test_skip("the guest has no device of the driver %s", wanted);
}

static struct source source_of_dumb(const char *driver, size_t size)
{
    struct drm_mode_create_dumb create = {
        .width = 1024, .height = (uint32_t)(size / 4096), .bpp = 32,
    };
    struct drm_mode_map_dumb map = { 0 };
    struct drm_prime_handle export = { .flags = DRM_CLOEXEC | DRM_RDWR };
    int fd = open_driver(driver);
    struct source s = { 0 };

    CHECK_OK(ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &create));
    map.handle = export.handle = create.handle;
    CHECK_OK(ioctl(fd, DRM_IOCTL_MODE_MAP_DUMB, &map));
    s.size = create.size;
    s.p = map_shared(fd, s.size, (off_t)map.offset);
    CHECK_OK(ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &export));
    s.dmabuf = export.fd;
    close(fd);
    return s;
}

static struct source source_of_blob(size_t size)
{
    struct drm_virtgpu_resource_create_blob create = {
        .blob_mem = VIRTGPU_BLOB_MEM_GUEST,
        .blob_flags = VIRTGPU_BLOB_FLAG_USE_MAPPABLE |
                      VIRTGPU_BLOB_FLAG_USE_SHAREABLE,
        .size = size,
    };
    struct drm_virtgpu_map map = { 0 };
    struct drm_prime_handle export = { .flags = DRM_CLOEXEC | DRM_RDWR };
    uint64_t value = 0;
    struct drm_virtgpu_getparam param = {
        .param = VIRTGPU_PARAM_RESOURCE_BLOB,
        .value = PTR(&value),
    };
    int fd = open_driver("virtio_gpu");
    struct source s = { .size = size };

    if (ioctl(fd, DRM_IOCTL_VIRTGPU_GETPARAM, &param) < 0 || !value) {
        test_skip("this virtio-gpu has no blobs: its host has no udmabuf");
    }
    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB, &create));
    map.handle = export.handle = create.bo_handle;
    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTGPU_MAP, &map));
    s.p = map_shared(fd, size, (off_t)map.offset);
    CHECK_OK(ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &export));
    s.dmabuf = export.fd;
    close(fd);
    return s;
}

static void source_end(struct source *s)
{
    munmap(s->p, s->size);
    close(s->dmabuf);
}

static uint32_t import(int fd, int dmabuf)
{
    struct drm_prime_handle args = { .fd = dmabuf };

    CHECK_OK(ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &args));
    CHECK(args.handle != 0);
    return args.handle;
}

/* How many there are, kernel users included; see the first line of that name */
static long dmabuf_references(int dmabuf)
{
    char path[64], line[128];
    long count = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", dmabuf);
    file = fopen(path, "re");
    CHECK(file != NULL);
    while (count < 0 && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "count:", 6) == 0) {
            CHECK_EQ(sscanf(line + 6, "%ld", &count), 1);
        }
    }
    fclose(file);
    CHECK(count > 0);
    return count;
}

/* Waits until this process' descriptor is all that is left */
static void check_let_go(int dmabuf)
{
    int64_t give_up = time_in(PATIENCE_MS);

    while (dmabuf_references(dmabuf) != 1 && time_in(0) < give_up) {
        sleep_ms(10);
    }
    CHECK_EQ(dmabuf_references(dmabuf), 1);
}

/* Shares it in place: as well backed as memory of our own, and as it changes */
static void check_shared(struct source *s)
{
    int fd = device_open();
    uint32_t own = bo_create(fd, s->size), bo, buffer;
    struct registration reg;
    uint32_t backing;

    registration_init(&reg, own, s->size);
    CHECK_OK(registration_do(fd, &reg));
    registration_expect_shared(&reg);
    backing = reg.args.backing;
    buffer_take_back(fd, reg.args.buffer);

    bo = import(fd, s->dmabuf);
    registration_init(&reg, bo, s->size);
    CHECK_OK(registration_do(fd, &reg));
    CHECK_EQ(reg.args.backing, backing);
    buffer_take_back(fd, reg.args.buffer);
    test_note("%s, %s", backing == DRM_VIRTBUF_BACKING_DMABUF ?
              "no copy" : "copied by the host",
              reg.args.backing == backing ? "like our own memory" : "!");

    content_fill(s->p, s->size, 1);
    buffer = content_register(fd, bo, 0, s->size);
    content_expect(fd, buffer, s->p, s->size);
    content_fill(s->p, s->size, 2);
    content_expect(fd, buffer, s->p, s->size);
    s->p[s->size - 1] ^= 0xff;
    content_expect(fd, buffer, s->p, s->size);
    buffer_take_back(fd, buffer);

    /* a part of it */
    buffer = content_register(fd, bo, 4096, 2 * 4096);
    content_expect(fd, buffer, s->p + 4096, 2 * 4096);
    buffer_take_back(fd, buffer);
    close(fd);
}

static void of_udmabuf(void)
{
    struct source s = source_of_memfd(PAGES * 4096);

    check_shared(&s);
    source_end(&s);
}

static void of_dma_heap(void)
{
    struct source s = source_of_heap(PAGES * 4096);

    check_shared(&s);
    source_end(&s);
}

static void of_virtio_gpu_dumb(void)
{
    struct source s = source_of_dumb("virtio_gpu", PAGES * 4096);

    check_shared(&s);
    source_end(&s);
}

static void of_virtio_gpu_blob(void)
{
    struct source s = source_of_blob(PAGES * 4096);

    check_shared(&s);
    source_end(&s);
}

static void of_vgem(void)
{
    struct source s = source_of_dumb("vgem", PAGES * 4096);

    check_shared(&s);
    source_end(&s);
}

static void two_in_one_buffer(void)
{
    struct source s = source_of_heap(2 * 4096);
    uint8_t both[2 * 4096], *p;
    int fd = device_open();
    uint32_t own = bo_create(fd, 4096);
    struct registration reg;

    CHECK_EQ(device_page(fd), 4096);
    p = bo_map(fd, own, 4096);
    content_fill(s.p, s.size, 1);
    content_fill(p, 4096, 2);
    registration_init(&reg, import(fd, s.dmabuf), 4096);
    reg.ranges[0].offset = 4096;
    reg.ranges[1] = (struct drm_virtbuf_bo_range) { .handle = own,
                                                    .size = 4096 };
    reg.args.range_count = 2;
    reg.args.application = PTR(APPLICATION_CONSUMER);
    reg.args.application_len = strlen(APPLICATION_CONSUMER);
    CHECK_OK(registration_do(fd, &reg));
    registration_expect_shared(&reg);
    CHECK_OK(wait_one(fd, reg.args.buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                      PATIENCE_MS));
    memcpy(both, s.p + 4096, 4096);
    memcpy(both + 4096, p, 4096);
    content_expect(fd, reg.args.buffer, both, sizeof(both));
    buffer_take_back(fd, reg.args.buffer);
    munmap(p, 4096);
    close(fd);
    source_end(&s);
}

static void same_object(void)
{
    struct source s = source_of_memfd(PAGES * 4096);
    struct drm_prime_handle export = { .flags = DRM_CLOEXEC | DRM_RDWR };
    struct stat one, other;
    int fd = device_open(), again;
    uint32_t bo = import(fd, s.dmabuf);

    again = fcntl(s.dmabuf, F_DUPFD_CLOEXEC, 0);
    CHECK_OK(again);
    CHECK_EQ(import(fd, again), bo);
    close(again);
    /* going out again it is what came in */
    export.handle = bo;
    CHECK_OK(ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &export));
    CHECK_OK(fstat(s.dmabuf, &one));
    CHECK_OK(fstat(export.fd, &other));
    CHECK_EQ(one.st_ino, other.st_ino);
    close(export.fd);
    close(fd);
    check_let_go(s.dmabuf);
    source_end(&s);
}

static void not_mapped_by_us(void)
{
    struct source s = source_of_memfd(PAGES * 4096);
    struct drm_virtbuf_bo_map where = { 0 };
    int fd = device_open();

    where.handle = import(fd, s.dmabuf);
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_MAP, &where), EINVAL);
    close(fd);
    source_end(&s);
}

static void ranges_are_checked(void)
{
    struct source s = source_of_memfd(PAGES * 4096);
    int fd = device_open();
    uint32_t bo = import(fd, s.dmabuf);
    struct registration reg;

    registration_init(&reg, bo, (PAGES + 1) * 4096);
    CHECK_ERRNO(registration_do(fd, &reg), EINVAL);
    registration_init(&reg, bo, 4096);
    reg.ranges[0].offset = PAGES * 4096;
    CHECK_ERRNO(registration_do(fd, &reg), EINVAL);
    close(fd);
    check_let_go(s.dmabuf);
    source_end(&s);
}

/* Nothing but the buffer holds it, and that is enough */
static void closed_while_registered(void)
{
    struct source s = source_of_memfd(PAGES * 4096);
    int fd = device_open();
    uint32_t bo = import(fd, s.dmabuf), buffer;
    uint8_t *copy = malloc(s.size);

    CHECK(copy != NULL);
    content_fill(s.p, s.size, 1);
    memcpy(copy, s.p, s.size);
    buffer = content_register(fd, bo, 0, s.size);
    bo_close(fd, bo);
    munmap(s.p, s.size);
    CHECK(dmabuf_references(s.dmabuf) > 1);
    close(s.dmabuf);
    content_expect(fd, buffer, copy, s.size);
    buffer_take_back(fd, buffer);
    free(copy);
    close(fd);
}

static uint32_t give_to_holder(int fd, const struct source *s)
{
    uint32_t bo = import(fd, s->dmabuf), buffer;

    buffer = buffer_register_for(fd, bo, s->size, APPLICATION_HOLDER,
                                 DRM_VIRTBUF_MODE_LATEST);
    wait_for_holder(fd, buffer);
    bo_close(fd, bo);
    buffer_update(fd, buffer, s->size);
    return buffer;
}

/* The exporter keeps the pages until the host has given them back */
static void attached_while_held(void)
{
    struct source s = source_of_memfd(PAGES * 4096);
    int fd = device_open();
    uint32_t buffer = give_to_holder(fd, &s);

    CHECK_EQ(buffer_unregister(fd, buffer), DRM_VIRTBUF_STATE_PENDING);
    CHECK(dmabuf_references(s.dmabuf) > 1);
    close(fd);
    CHECK(dmabuf_references(s.dmabuf) > 1);
    check_let_go(s.dmabuf);
    source_end(&s);
}

static void killed_while_held(void)
{
    struct source s = source_of_memfd(PAGES * 4096);
    pid_t pid = fork();
    int status;

    CHECK_OK(pid);
    if (pid == 0) {
        give_to_holder(device_open(), &s);
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(dmabuf_references(s.dmabuf) > 1);
    check_let_go(s.dmabuf);
    source_end(&s);
    check_nothing_leaked();
}

static void many(void)
{
    int fd = device_open();

    for (int i = 0; i < 100; i++) {
        struct source s = source_of_memfd(PAGES * 4096);
        uint32_t bo = import(fd, s.dmabuf), buffer;

        buffer = buffer_register(fd, bo, s.size);
        buffer_update(fd, buffer, s.size);
        buffer_take_back(fd, buffer);
        bo_close(fd, bo);
        check_let_go(s.dmabuf);
        source_end(&s);
    }
    close(fd);
}

static void garbage(void)
{
    struct drm_prime_handle args = { .fd = -1 };
    int fd = device_open(), memfd = memfd_create("no dma-buf", MFD_CLOEXEC);

    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &args), EBADF);
    args.fd = memfd;
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &args), EINVAL);
    close(memfd);
    close(fd);
}

static int exporter_create(int exporter, unsigned long kind)
{
    int dmabuf = ioctl(exporter, EXPORTER_CREATE, kind);

    CHECK_OK(dmabuf);
    return dmabuf;
}

/* Does an IOMMU translate for it? */
static bool has_iommu(void)
{
    char path[128];

    snprintf(path, sizeof(path), "/sys/bus/virtio/devices/%s/../iommu_group",
             device_virtio());
    return access(path, F_OK) == 0;
}

/* What the driver says to a dma-buf of that kind; 0 when it takes it */
static int import_kind(int fd, int exporter, unsigned long kind)
{
    struct drm_prime_handle args = { .fd = exporter_create(exporter, kind) };
    int error = ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &args) < 0 ? errno : 0;

    CHECK_EQ(args.handle != 0, error == 0);
    if (!error) {
        struct registration reg;

        registration_init(&reg, args.handle, 2 * 4096);
        if (registration_do(fd, &reg) == 0) {
            buffer_take_back(fd, reg.args.buffer);
        } else {
            error = errno;
            /* else it is the driver that sees what it is */
            CHECK(has_iommu());
        }
        bo_close(fd, args.handle);
    }
    check_let_go(args.fd);
    close(args.fd);
    return error;
}

static int open_exporter(void)
{
    int exporter = open(EXPORTER_NODE, O_RDWR | O_CLOEXEC);

    if (exporter < 0) {
        test_skip("%s: %s", EXPORTER_NODE, errno_name(errno));
    }
    return exporter;
}

static bool booted_with(const char *option)
{
    char line[4096] = "";
    FILE *file = fopen("/proc/cmdline", "re");

    CHECK(file != NULL);
    CHECK(fgets(line, sizeof(line), file) != NULL);
    fclose(file);
    return strstr(line, option);
}

static void refused(void)
{
    static const struct {
        unsigned long kind;
        int error;
        int core;               /* where DMABUF_DEBUG of 7.x copies the list */
    } cases[] = {
        { EXPORTER_RAM, 0, 0 },
        { EXPORTER_MMIO, ENXIO, 0 },
        { EXPORTER_MIXED, ENXIO, 0 },
        { EXPORTER_PEER_TO_PEER, EREMOTE, 0 },
        { EXPORTER_EMPTY, ENXIO, EINVAL },
        { EXPORTER_SHORT, ENXIO, 0 },
        { EXPORTER_BROKEN, EINVAL, 0 },
        { EXPORTER_ODD_SIZE, EINVAL, 0 },
    };
    int exporter = open_exporter(), fd = device_open();

    if (booted_with("swiotlb=force")) {
        test_skip("everything is refused with swiotlb=force");
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int error = import_kind(fd, exporter, cases[i].kind);

        if (error != cases[i].error &&
            !(error && error == cases[i].core)) {
            test_fail(__FILE__, __LINE__, "kind %lu: %s, not %s",
                      cases[i].kind, errno_name(error),
                      errno_name(cases[i].error));
        }
    }
    close(fd);
    close(exporter);
}

/* In a guest whose kernel copies all DMA to bounce buffers */
static void bounced(void)
{
    int exporter = open_exporter(), fd;
    struct registration reg;

    if (!booted_with("swiotlb=force")) {
        test_skip("needs a guest that was booted with swiotlb=force");
    }
    fd = device_open();
    CHECK_EQ(import_kind(fd, exporter, EXPORTER_RAM), EOPNOTSUPP);
    registration_init(&reg, bo_create(fd, 4096), 4096);
    CHECK_ERRNO(registration_do(fd, &reg), EOPNOTSUPP);
    close(fd);
    close(exporter);
}

/* Where there is an IOMMU the device uses it, for the memory of others, too */
static void translated(void)
{
    int fd;

    if (!booted_with("intel_iommu=on")) {
        test_skip("needs a guest with an IOMMU, booted with intel_iommu=on");
    }
    CHECK(has_iommu());
    fd = device_open();
    CHECK(device_feature(fd, DRM_VIRTBUF_FEATURE_IMPORT));
    close(fd);
}

static const struct test tests[] = {
    { "of-udmabuf", of_udmabuf, NEEDS_CONSUMER },
    { "of-dma-heap", of_dma_heap, NEEDS_CONSUMER },
    { "of-virtio-gpu-dumb", of_virtio_gpu_dumb, NEEDS_CONSUMER },
    { "of-virtio-gpu-blob", of_virtio_gpu_blob, NEEDS_CONSUMER },
    { "of-vgem", of_vgem, NEEDS_CONSUMER },
    { "two-in-one-buffer", two_in_one_buffer, NEEDS_CONSUMER },
    { "same-object", same_object, 0 },
    { "not-mapped-by-us", not_mapped_by_us, 0 },
    { "ranges-are-checked", ranges_are_checked, 0 },
    { "closed-while-registered", closed_while_registered, NEEDS_CONSUMER },
    { "attached-while-held", attached_while_held, NEEDS_HOLDER },
    { "killed-while-held", killed_while_held, NEEDS_HOLDER },
    { "many", many, 0 },
    { "garbage", garbage, 0 },
    { "refused", refused, 0 },
    { "bounced", bounced, 0 },
    { "translated", translated, 0 },
};

const struct suite import_suite = SUITE("import", tests);
