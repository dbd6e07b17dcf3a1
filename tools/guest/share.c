/* SPDX-License-Identifier: MIT */
/*
 * Memory of other programs as pictures for host programs.
 *
 * A file becomes a dma-buf where udmabuf takes it: sealed against shrinking
 * and a whole number of pages long. Where it does not, the file is mapped and
 * its pages are pinned as this program's memory, which has the same effect but
 * counts as locked memory. The file is another program's: it may be cut,
 * punched or unmapped at any time, and nothing here depends on what becomes of
 * it, because no byte of it is read.
 */
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/udmabuf.h>

#define PTR(p)          ((uint64_t)(uintptr_t)(p))
#define MAX_PROPERTIES  8

static int do_ioctl(struct share_device *device, unsigned long request,
                    void *args)
{
    int ret;

    do {
        ret = ioctl(device->fd, request, args);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

int share_open(struct share_device *device, const char *node,
               const char *application)
{
    struct drm_virtbuf_getparam page = {
        .param = DRM_VIRTBUF_PARAM_PAGE_SIZE,
    };
    struct drm_virtbuf_events events = {
        .conditions = 1 << DRM_VIRTBUF_WAIT_RELEASED |
                      1 << DRM_VIRTBUF_WAIT_FREED |
                      1 << DRM_VIRTBUF_WAIT_CONSUMERS,
    };
    int ret;

    device->application = application;
    device->fd = open(node, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (device->fd < 0) {
        return -errno;
    }
    ret = do_ioctl(device, DRM_IOCTL_VIRTBUF_GETPARAM, &page);
    if (ret == 0) {
        ret = do_ioctl(device, DRM_IOCTL_VIRTBUF_EVENTS, &events);
    }
    if (ret < 0) {
        close(device->fd);
        return ret;
    }
    device->page = page.value;
    device->udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    return 0;
}

void share_close(struct share_device *device)
{
    if (device->udmabuf >= 0) {
        close(device->udmabuf);
    }
    close(device->fd);
}

static void close_bo(struct share_device *device, uint32_t bo)
{
    struct drm_gem_close args = { .handle = bo };

    do_ioctl(device, DRM_IOCTL_GEM_CLOSE, &args);
}

/* Makes the file as long as the pages that it takes */
static int fill_last_page(int file, uint64_t size)
{
    struct stat status;

    if (fstat(file, &status) < 0) {
        return -errno;
    }
    if ((uint64_t)status.st_size < size &&
        ftruncate(file, (off_t)size) < 0) {
        return -errno;
    }
    return 0;
}

static int bo_of_dmabuf(struct share_device *device, int file, uint64_t size,
                        uint32_t *bo)
{
    struct udmabuf_create create = {
        .memfd = (uint32_t)file,
        .flags = UDMABUF_FLAGS_CLOEXEC,
        .size = size,
    };
    struct drm_prime_handle import = { 0 };
    int ret = fill_last_page(file, size);

    if (ret < 0) {
        return ret;
    }
    /* EPERM: sealed for good; then it is shrink-proof already, or not at all */
    if (fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) < 0 && errno != EPERM) {
        return -errno;
    }
    import.fd = ioctl(device->udmabuf, UDMABUF_CREATE, &create);
    if (import.fd < 0) {
        return -errno;
    }
    ret = do_ioctl(device, DRM_IOCTL_PRIME_FD_TO_HANDLE, &import);
    close(import.fd);
    *bo = import.handle;
    return ret;
}

static int bo_of_pages(struct share_device *device, int file, uint64_t size,
                       uint32_t *bo)
{
    struct drm_virtbuf_bo_userptr args = { .size = size };
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    int ret;

    if (p == MAP_FAILED) {
        return -errno;
    }
    args.addr = PTR(p);
    ret = do_ioctl(device, DRM_IOCTL_VIRTBUF_BO_USERPTR, &args);
    munmap(p, size); /* the object has the pages */
    *bo = args.handle;
    return ret;
}

static void add_property(struct drm_virtbuf_property *list, uint32_t *count,
                         const char *name, const char *value)
{
    list[(*count)++] = (struct drm_virtbuf_property) {
        .name = PTR(name),
        .name_len = (uint32_t)strlen(name),
        .value = PTR(value),
        .value_len = (uint32_t)strlen(value),
    };
}

static int register_bo(struct share_device *device, struct share *share,
                       uint32_t bo, uint32_t stream, const char *title)
{
    const struct share_layout *layout = &share->layout;
    struct drm_virtbuf_property list[MAX_PROPERTIES];
    struct drm_virtbuf_bo_range range = { .handle = bo, .size = share->size };
    struct drm_virtbuf_register args = {
        .ranges = PTR(&range),
        .range_count = 1,
        .range_stride = sizeof(range),
        .properties = PTR(list),
        .property_stride = sizeof(list[0]),
        .application = PTR(device->application),
        .application_len = (uint32_t)strlen(device->application),
        .stream = stream,
        .mode = DRM_VIRTBUF_MODE_LATEST,
    };
    char width[16], height[16], stride[16], fourcc[5];
    int ret;

    for (int i = 0; i < 4; i++) {
        fourcc[i] = (char)(layout->fourcc >> (8 * i) & 0x7f);
    }
    fourcc[4] = '\0';
    snprintf(width, sizeof(width), "%u", layout->width);
    snprintf(height, sizeof(height), "%u", layout->height);
    snprintf(stride, sizeof(stride), "%u", layout->stride);
    add_property(list, &args.property_count, "role", "window");
    add_property(list, &args.property_count, "fourcc", fourcc);
    add_property(list, &args.property_count, "width", width);
    add_property(list, &args.property_count, "height", height);
    add_property(list, &args.property_count, "plane0.offset", "0");
    add_property(list, &args.property_count, "plane0.stride", stride);
    if (title && title[0]) {
        add_property(list, &args.property_count, "title", title);
    }
    ret = do_ioctl(device, DRM_IOCTL_VIRTBUF_REGISTER, &args);
    share->buffer = ret < 0 ? 0 : args.buffer;
    share->backing = args.backing;
    share->reason = args.reason;
    return ret;
}

int share_begin(struct share_device *device, struct share *share, int file,
                uint64_t size, uint32_t stream,
                const struct share_layout *layout, const char *title)
{
    uint32_t bo = 0;
    int ret;

    *share = (struct share) {
        .size = (size + device->page - 1) / device->page * device->page,
        .layout = *layout,
    };
    ret = bo_of_dmabuf(device, file, share->size, &bo);
    if (ret < 0) {
        ret = bo_of_pages(device, file, share->size, &bo);
    }
    if (ret < 0) {
        return ret;
    }
    ret = register_bo(device, share, bo, stream, title);
    close_bo(device, bo);
    return ret;
}

int share_update(struct share_device *device, struct share *share,
                 uint64_t offset, const struct drm_virtbuf_rect *damage,
                 uint32_t damage_count)
{
    const struct share_layout *layout = &share->layout;
    struct drm_virtbuf_span spans[DRM_VIRTBUF_MAX_DAMAGE];
    struct drm_virtbuf_update args = {
        .buffer = share->buffer,
        .data_offset = offset,
        .data_size = (uint64_t)layout->stride * layout->height,
        .rect_count = damage_count,
        .rects = PTR(damage),
        .spans = PTR(spans),
        .span_count = damage_count,
        .property_stride = sizeof(struct drm_virtbuf_property),
        .in_fence_stride = sizeof(struct drm_virtbuf_fence),
    };
    int ret;

    /* Whole rows: what a host that copies has to copy */
    for (uint32_t i = 0; i < damage_count; i++) {
        spans[i] = (struct drm_virtbuf_span) {
            .offset = offset + (uint64_t)damage[i].y * layout->stride,
            .len = (uint64_t)damage[i].height * layout->stride,
        };
    }
    ret = do_ioctl(device, DRM_IOCTL_VIRTBUF_UPDATE, &args);
    if (ret == 0) {
        share->serial = args.serial;
    }
    return ret;
}

int share_end(struct share_device *device, struct share *share)
{
    struct drm_virtbuf_unregister args = { .buffer = share->buffer };
    int ret = do_ioctl(device, DRM_IOCTL_VIRTBUF_UNREGISTER, &args);

    share->taken_back = ret == 0 && args.state == DRM_VIRTBUF_STATE_PENDING;
    if (!share->taken_back) {
        share->buffer = 0;
    }
    return ret;
}

bool share_read_event(struct share_device *device,
                      struct drm_virtbuf_event *event)
{
    /* Gives whole events only, and here there is room for one */
    return read(device->fd, event, sizeof(*event)) == sizeof(*event);
}
