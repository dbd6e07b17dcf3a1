/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: fences that the test signals.
 *
 * The interfaces of sw_sync and vgem are written down here: the headers of the
 * first are not exported, those of the second not packaged everywhere.
 */
#include "gate.h"

#include <fcntl.h>
#include <linux/dma-buf.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "device.h"

#define SW_SYNC         "/sys/kernel/debug/sync/sw_sync"

struct sw_sync_create {
    uint32_t value;
    char name[32];
    int32_t fence;
};

#define SW_SYNC_CREATE  _IOWR('W', 0, struct sw_sync_create)
#define SW_SYNC_INC     _IOW('W', 1, uint32_t)

struct vgem_fence_attach {
    uint32_t handle;
    uint32_t flags;
    uint32_t out_fence;
    uint32_t pad;
};

struct vgem_fence_signal {
    uint32_t fence;
    uint32_t flags;
};

#define VGEM_WRITE      1
#define VGEM_ATTACH     DRM_IOWR(DRM_COMMAND_BASE + 1, struct vgem_fence_attach)
#define VGEM_SIGNAL     DRM_IOW(DRM_COMMAND_BASE + 2, struct vgem_fence_signal)

static int open_vgem(void)
{
    for (int minor = 0; minor < 16; minor++) {
        char path[32], name[16] = "";
        struct drm_version version = {
            .name = name, .name_len = sizeof(name) - 1,
        };
        int fd;

        snprintf(path, sizeof(path), "/dev/dri/card%d", minor);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        if (ioctl(fd, DRM_IOCTL_VERSION, &version) == 0 &&
            strcmp(name, "vgem") == 0) {
            return fd;
        }
        close(fd);
    }
    return -1;
}

static void gate_of_vgem(struct gate *gate)
{
    struct drm_mode_create_dumb create = {
        .width = 32, .height = 32, .bpp = 32,
    };
    struct vgem_fence_attach attach = { .flags = VGEM_WRITE };
    struct dma_buf_export_sync_file export = { .flags = DMA_BUF_SYNC_READ };
    struct drm_prime_handle prime = { .flags = DRM_CLOEXEC };

    CHECK_OK(ioctl(gate->source, DRM_IOCTL_MODE_CREATE_DUMB, &create));
    gate->handle = create.handle;
    attach.handle = create.handle;
    CHECK_OK(ioctl(gate->source, VGEM_ATTACH, &attach));
    gate->fence = attach.out_fence;
    prime.handle = create.handle;
    CHECK_OK(ioctl(gate->source, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime));
    CHECK_OK(ioctl(prime.fd, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &export));
    gate->sync_file = export.fd;
    close(prime.fd);
}

struct gate gate_new(void)
{
    struct sw_sync_create create = { .value = 1, .name = "virtbuf-test" };
    struct gate gate = { .source = open(SW_SYNC, O_RDWR | O_CLOEXEC) };

    if (gate.source >= 0) {
        CHECK_OK(ioctl(gate.source, SW_SYNC_CREATE, &create));
        gate.sync_file = create.fence;
        return gate;
    }
    gate.source = open_vgem();
    if (gate.source < 0) {
        test_skip("the kernel has neither sw_sync nor vgem to make fences");
    }
    gate.vgem = true;
    gate_of_vgem(&gate);
    return gate;
}

static int vgem_signal(const struct gate *gate)
{
    struct vgem_fence_signal signal = { .fence = gate->fence };

    return ioctl(gate->source, VGEM_SIGNAL, &signal);
}

void gate_open(struct gate *gate)
{
    uint32_t step = 1;

    if (gate->signalled) {
        return;
    }
    gate->signalled = true;
    if (gate->vgem) {
        if (vgem_signal(gate) < 0) {
            CHECK_EQ(errno, ETIMEDOUT);
        }
    } else {
        CHECK_OK(ioctl(gate->source, SW_SYNC_INC, &step));
    }
}

void gate_break(struct gate *gate)
{
    if (gate->vgem) {
        test_skip("the kernel has no sw_sync, whose fences can fail");
    }
    /* A timeline that goes takes its fences along, as failed */
    close(gate->source);
    gate->source = -1;
}

void gate_end(struct gate *gate)
{
    close(gate->sync_file);
    if (gate->source >= 0) {
        close(gate->source);
    }
}

void gate_excuse(struct gate *gate)
{
    if (gate->vgem && vgem_signal(gate) < 0 && errno == ETIMEDOUT) {
        test_skip("the machine stood still longer than a fence of vgem lives");
    }
}

uint32_t syncobj_create(int fd)
{
    struct drm_syncobj_create create = { 0 };

    CHECK_OK(ioctl(fd, DRM_IOCTL_SYNCOBJ_CREATE, &create));
    return create.handle;
}

uint32_t gate_syncobj(const struct gate *gate, int fd)
{
    struct drm_syncobj_handle import = {
        .handle = syncobj_create(fd),
        .flags = DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE,
        .fd = gate->sync_file,
    };

    CHECK_OK(ioctl(fd, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &import));
    return import.handle;
}

uint32_t gate_point(const struct gate *gate, int fd, uint64_t point)
{
    struct drm_syncobj_transfer transfer = {
        .src_handle = gate_syncobj(gate, fd),
        .dst_handle = syncobj_create(fd),
        .dst_point = point,
    };

    CHECK_OK(ioctl(fd, DRM_IOCTL_SYNCOBJ_TRANSFER, &transfer));
    return transfer.dst_handle;
}

void gate_attach(const struct gate *gate, int fd, uint32_t bo, bool writes)
{
    struct drm_prime_handle prime = {
        .handle = bo, .flags = DRM_CLOEXEC | DRM_RDWR,
    };
    struct dma_buf_import_sync_file import = {
        .flags = writes ? DMA_BUF_SYNC_WRITE : DMA_BUF_SYNC_READ,
        .fd = gate->sync_file,
    };

    CHECK_OK(ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime));
    CHECK_OK(ioctl(prime.fd, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &import));
    close(prime.fd);
}

uint64_t syncobj_query(int fd, uint32_t syncobj)
{
    uint64_t point = 0;
    struct drm_syncobj_timeline_array query = {
        .handles = PTR(&syncobj), .points = PTR(&point), .count_handles = 1,
    };

    CHECK_OK(ioctl(fd, DRM_IOCTL_SYNCOBJ_QUERY, &query));
    return point;
}

int syncobj_wait(int fd, uint32_t syncobj, uint64_t point, int64_t ms)
{
    struct drm_syncobj_timeline_wait wait = {
        .handles = PTR(&syncobj), .points = PTR(&point), .count_handles = 1,
        .timeout_nsec = time_in(ms),
        .flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT,
    };

    return ioctl(fd, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &wait);
}
