/* SPDX-License-Identifier: MIT */
/*
 * A stream of frames to the host.
 *
 * It owns the DRM file, its BOs, their mappings and their registrations. One
 * thread. Waits are cut into slices of a second, so that a signal that comes
 * right before one is noticed. Buffers of an old size stay registered until the
 * first frame of the new size is out: that is the switch that consumers see.
 */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "linux/virtio_buf.h"

#define STREAM_ID           1   /* of this file; it has one */
#define WAIT_SLICE_NS       INT64_C(1000000000)
#define MAX_PROPERTIES      32

#define PTR(p)              ((uint64_t)(uintptr_t)(p))

static int __attribute__((format(printf, 3, 4)))
fail(struct stream *stream, int error, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(stream->message, sizeof(stream->message), format, ap);
    va_end(ap);
    return -error;
}

/* Like ioctl(), but goes on after signals that do not stop us */
static int do_ioctl(struct stream *stream, unsigned long request, void *args)
{
    int ret;

    do {
        ret = ioctl(stream->fd, request, args);
    } while (ret < 0 && errno == EINTR && !*stream->stop);
    return ret < 0 ? -errno : 0;
}

static uint64_t get_param(struct stream *stream, uint64_t param)
{
    struct drm_virtbuf_getparam args = { .param = param };

    return do_ioctl(stream, DRM_IOCTL_VIRTBUF_GETPARAM, &args) ? 0 : args.value;
}

int stream_open(struct stream *stream, const char *path)
{
    stream->fd = open(path, O_RDWR | O_CLOEXEC);
    if (stream->fd < 0) {
        int error = errno;

        return fail(stream, error, "%s: %s%s", path, strerror(error),
                    error == EACCES ? "; the user must be in the group render" :
                    "");
    }
    stream->page = get_param(stream, DRM_VIRTBUF_PARAM_PAGE_SIZE);
    if (!stream->page || (stream->page & (stream->page - 1))) {
        close(stream->fd);
        stream->fd = -1;
        return fail(stream, ENODEV, "%s: the driver does not answer like "
                    "virtio-buf", path);
    }
    return 0;
}

static void close_bo(struct stream *stream, uint32_t bo)
{
    struct drm_gem_close args = { .handle = bo };

    do_ioctl(stream, DRM_IOCTL_GEM_CLOSE, &args);
}

static int explain_refusal(struct stream *stream, int error, uint64_t size)
{
    uint64_t max_size = get_param(stream, DRM_VIRTBUF_PARAM_MAX_BUFFER_SIZE);

    if (error == E2BIG && size > max_size) {
        return fail(stream, error, "a frame has %" PRIu64 " bytes, the device "
                    "takes %" PRIu64 ": give max-buffer-size= to -device "
                    "virtio-buf-pci", size, max_size);
    }
    if (error == E2BIG || error == ENOSPC) {
        return fail(stream, error, "the device is full (%s): stop other "
                    "programs, use fewer --buffers, or raise the limits of "
                    "-device virtio-buf-pci", strerror(error));
    }
    if (error == EINVAL) {
        return fail(stream, error, "the device refuses the buffer: is the "
                    "application's name 1 to %d bytes of UTF-8?",
                    DRM_VIRTBUF_APPLICATION_MAX);
    }
    return fail(stream, error, "REGISTER: %s", strerror(error));
}

static int create_pixels(struct stream *stream, struct stream_buffer *buffer,
                         uint64_t size)
{
    struct drm_virtbuf_bo_create create = { .size = size };
    struct drm_virtbuf_bo_map map = { 0 };
    void *pixels;
    int ret;

    ret = do_ioctl(stream, DRM_IOCTL_VIRTBUF_BO_CREATE, &create);
    if (ret == -E2BIG) {
        return explain_refusal(stream, -ret, size);
    }
    if (ret) {
        return fail(stream, -ret, "no memory for a buffer of %" PRIu64
                    " bytes: %s", size, strerror(-ret));
    }
    buffer->bo = create.handle;
    buffer->size = create.size;
    map.handle = create.handle;
    ret = do_ioctl(stream, DRM_IOCTL_VIRTBUF_BO_MAP, &map);
    if (ret) {
        return fail(stream, -ret, "BO_MAP: %s", strerror(-ret));
    }
    pixels = mmap(NULL, create.size, PROT_READ | PROT_WRITE, MAP_SHARED,
                  stream->fd, (off_t)map.offset);
    if (pixels == MAP_FAILED) {
        ret = errno;
        return fail(stream, ret, "mmap: %s", strerror(ret));
    }
    buffer->pixels = pixels;
    return 0;
}

/* Gives the buffer back: its registration, mapping and memory */
static void destroy_buffer(struct stream *stream, struct stream_buffer *buffer)
{
    struct drm_virtbuf_unregister args = { .buffer = buffer->buffer };

    if (buffer->buffer) {
        /* PENDING is the kernel's to end: it keeps the pages until then */
        do_ioctl(stream, DRM_IOCTL_VIRTBUF_UNREGISTER, &args);
    }
    if (buffer->pixels) {
        munmap(buffer->pixels, buffer->size);
    }
    if (buffer->bo) {
        close_bo(stream, buffer->bo);
    }
    memset(buffer, 0, sizeof(*buffer));
}

static void destroy_buffers(struct stream *stream, struct stream_buffer *list,
                            unsigned int *count)
{
    while (*count) {
        destroy_buffer(stream, &list[--*count]);
    }
}

static int register_buffer(struct stream *stream, struct stream_buffer *buffer,
                           const struct drm_virtbuf_property *properties,
                           uint32_t property_count)
{
    struct drm_virtbuf_bo_range range = {
        .handle = buffer->bo,
        .size = buffer->size,
    };
    struct drm_virtbuf_register args = {
        .ranges = PTR(&range),
        .range_count = 1,
        .range_stride = sizeof(range),
        .properties = PTR(properties),
        .property_count = property_count,
        .property_stride = sizeof(*properties),
        .application = PTR(stream->application),
        .application_len = (uint32_t)strlen(stream->application),
        .stream = STREAM_ID,
        .mode = stream->mode,
        .access = DRM_VIRTBUF_ACCESS_READ,
    };
    int ret = do_ioctl(stream, DRM_IOCTL_VIRTBUF_REGISTER, &args);

    if (ret) {
        return explain_refusal(stream, -ret, buffer->size);
    }
    buffer->buffer = args.buffer;
    stream->backing = args.backing;
    stream->reason = args.reason;
    return 0;
}

/* The properties of a buffer: those of its format, then others */
struct property_list {
    struct drm_virtbuf_property items[MAX_PROPERTIES];
    char names[MAX_PROPERTIES][24];
    char values[MAX_PROPERTIES][24];
    uint32_t count;
};

static void add_property(struct property_list *list, const char *name,
                         const char *value, bool may_delete)
{
    struct drm_virtbuf_property *item = &list->items[list->count];
    bool has_value = value && *value;

    if (list->count == MAX_PROPERTIES || (!has_value && !may_delete)) {
        return;
    }
    *item = (struct drm_virtbuf_property) {
        .name = PTR(name),
        .name_len = (uint32_t)strlen(name),
        .value = PTR(has_value ? value : NULL),
        .value_len = has_value ? (uint32_t)strlen(value) : 0,
        .flags = has_value ? 0 : DRM_VIRTBUF_PROPERTY_DELETE,
    };
    list->count++;
}

static void __attribute__((format(printf, 3, 4)))
add_formatted(struct property_list *list, const char *name, const char *format,
              ...)
{
    uint32_t i = list->count;
    va_list ap;

    if (i == MAX_PROPERTIES) {
        return;
    }
    va_start(ap, format);
    vsnprintf(list->values[i], sizeof(list->values[i]), format, ap);
    va_end(ap);
    snprintf(list->names[i], sizeof(list->names[i]), "%s", name);
    add_property(list, list->names[i], list->values[i], false);
}

static void add_format(struct property_list *list,
                       const struct frame_format *format)
{
    char name[24];

    add_formatted(list, "fourcc", "%.4s", (const char *)&(char[4]) {
        (char)(format->fourcc & 0xff), (char)(format->fourcc >> 8 & 0xff),
        (char)(format->fourcc >> 16 & 0xff), (char)(format->fourcc >> 24),
    });
    add_formatted(list, "modifier", "0x0"); /* linear */
    add_formatted(list, "width", "%" PRIu32, format->width);
    add_formatted(list, "height", "%" PRIu32, format->height);
    for (unsigned int i = 0; i < format->plane_count; i++) {
        snprintf(name, sizeof(name), "plane%u.offset", i);
        add_formatted(list, name, "%" PRIu64, format->planes[i].offset);
        snprintf(name, sizeof(name), "plane%u.stride", i);
        add_formatted(list, name, "%" PRIu32, format->planes[i].stride);
    }
}

int stream_set_format(struct stream *stream, const struct frame_format *format,
                      const struct stream_property *extra, size_t count)
{
    struct property_list list = { .count = 0 };
    uint64_t size = (format->size + stream->page - 1) & ~(stream->page - 1);
    int ret = 0;

    add_format(&list, format);
    for (size_t i = 0; i < count; i++) {
        add_property(&list, extra[i].name, extra[i].value, false);
    }
    /* two changes without a frame between them: the first one has no reader */
    destroy_buffers(stream, stream->old, &stream->old_count);
    memcpy(stream->old, stream->buffers, sizeof(stream->old));
    stream->old_count = stream->count;
    memset(stream->buffers, 0, sizeof(stream->buffers));
    stream->count = 0;
    stream->next = 0;
    stream->format = *format;
    while (!ret && stream->count < stream->wanted) {
        struct stream_buffer *buffer = &stream->buffers[stream->count++];

        ret = create_pixels(stream, buffer, size);
        if (!ret) {
            ret = register_buffer(stream, buffer, list.items, list.count);
        }
    }
    return ret;
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Waits in slices; *first is the index of the item that holds */
static int wait_items(struct stream *stream,
                      const struct drm_virtbuf_wait_item *items,
                      uint32_t count, uint32_t flags, const char *what_for,
                      uint32_t *first)
{
    int ret;

    do {
        struct drm_virtbuf_wait args = {
            .items = PTR(items),
            .count = count,
            .stride = sizeof(*items),
            .timeout_ns = now_ns() + WAIT_SLICE_NS,
            .flags = flags,
        };

        if (*stream->stop) {
            return fail(stream, EINTR, "interrupted");
        }
        ret = do_ioctl(stream, DRM_IOCTL_VIRTBUF_WAIT, &args);
        *first = args.first;
        if (ret == -ETIME && stream->on_wait) {
            stream->on_wait(what_for);
        }
    } while (ret == -ETIME);
    if (ret == -EINTR) {
        return fail(stream, EINTR, "interrupted");
    }
    return ret ? fail(stream, -ret, "WAIT: %s", strerror(-ret)) : 0;
}

int stream_wait_consumer(struct stream *stream)
{
    struct drm_virtbuf_wait_item items[STREAM_MAX_BUFFERS];
    uint32_t first;

    for (unsigned int i = 0; i < stream->count; i++) {
        items[i] = (struct drm_virtbuf_wait_item) {
            .buffer = stream->buffers[i].buffer,
            .condition = DRM_VIRTBUF_WAIT_CONSUMERS,
            .value = 1,
        };
    }
    return wait_items(stream, items, stream->count, DRM_VIRTBUF_WAIT_ALL,
                      "a host program that attaches", &first);
}

int stream_begin(struct stream *stream, uint8_t **pixels)
{
    struct drm_virtbuf_wait_item items[STREAM_MAX_BUFFERS] = { 0 };
    unsigned int which[STREAM_MAX_BUFFERS] = { 0 };
    uint32_t first = 0, count = 0;
    int ret;

    /* the one that was updated longest ago comes first */
    for (unsigned int i = 0; i < stream->count; i++) {
        unsigned int at = (stream->next + i) % stream->count;

        if (!stream->buffers[at].serial ||
            stream->mode == DRM_VIRTBUF_MODE_IN_PLACE) {
            stream->next = at;
            *pixels = stream->buffers[at].pixels;
            return 0;
        }
        which[count] = at;
        items[count++] = (struct drm_virtbuf_wait_item) {
            .buffer = stream->buffers[at].buffer,
            .condition = DRM_VIRTBUF_WAIT_RELEASED,
            .value = stream->buffers[at].serial,
        };
    }
    ret = wait_items(stream, items, count, 0,
                     "a host program that releases a buffer", &first);
    if (ret) {
        return ret;
    }
    stream->next = which[first < count ? first : 0];
    *pixels = stream->buffers[stream->next].pixels;
    return 0;
}

int stream_update(struct stream *stream, uint32_t flags, uint64_t pts,
                  uint64_t duration, const struct stream_property *changed,
                  size_t count)
{
    struct stream_buffer *buffer = &stream->buffers[stream->next];
    struct property_list list = { .count = 0 };
    struct drm_virtbuf_update args = {
        .buffer = buffer->buffer,
        .flags = flags,
        .data_size = stream->format.size,
        .pts = pts,
        .duration = duration,
        .clock = DRM_VIRTBUF_CLOCK_STREAM,
        .property_stride = sizeof(list.items[0]),
    };
    int ret;

    for (size_t i = 0; i < count; i++) {
        add_property(&list, changed[i].name, changed[i].value, true);
    }
    args.properties = PTR(list.items);
    args.property_count = list.count;
    ret = do_ioctl(stream, DRM_IOCTL_VIRTBUF_UPDATE, &args);
    if (ret) {
        return fail(stream, -ret, "UPDATE: %s", strerror(-ret));
    }
    buffer->serial = args.serial;
    stream->next = (stream->next + 1) % stream->count;
    destroy_buffers(stream, stream->old, &stream->old_count);
    return 0;
}

int stream_drain(struct stream *stream)
{
    struct drm_virtbuf_wait_item items[STREAM_MAX_BUFFERS];
    uint32_t count = 0, first;

    for (unsigned int i = 0; i < stream->count; i++) {
        if (stream->buffers[i].serial) {
            items[count++] = (struct drm_virtbuf_wait_item) {
                .buffer = stream->buffers[i].buffer,
                .condition = DRM_VIRTBUF_WAIT_RELEASED,
                .value = stream->buffers[i].serial,
            };
        }
    }
    if (!count) {
        return 0;
    }
    return wait_items(stream, items, count, DRM_VIRTBUF_WAIT_ALL,
                      "host programs that release the last frames", &first);
}

void stream_close(struct stream *stream)
{
    if (stream->fd < 0) {
        return;
    }
    destroy_buffers(stream, stream->old, &stream->old_count);
    destroy_buffers(stream, stream->buffers, &stream->count);
    close(stream->fd);
    stream->fd = -1;
}

void stream_describe_backing(const struct stream *stream, char *text,
                             size_t size)
{
    static const char *const reasons[] = {
        [VIRTIO_BUF_REASON_NONE] = NULL,
        [VIRTIO_BUF_REASON_DISABLED] = "the operator wants it so",
        [VIRTIO_BUF_REASON_NO_UDMABUF] = "the host has no udmabuf",
        [VIRTIO_BUF_REASON_NOT_SHARED] = "guest RAM is no shared memfd",
        [VIRTIO_BUF_REASON_HUGE_PAGES] = "guest RAM is huge pages",
        [VIRTIO_BUF_REASON_DISCARD] = "others may discard guest RAM",
        [VIRTIO_BUF_REASON_OVERLAP] = "a page is in another buffer",
        [VIRTIO_BUF_REASON_RANGES] = "guest memory is fragmented",
        [VIRTIO_BUF_REASON_SIZE] = "udmabuf takes no buffer so large",
        [VIRTIO_BUF_REASON_IOMMU] = "there is a virtual IOMMU",
        [VIRTIO_BUF_REASON_ACCELERATOR] = "the VM runs without KVM",
        [VIRTIO_BUF_REASON_ORPHANED] = "too much memory is still held",
        [VIRTIO_BUF_REASON_READONLY] = "strict-readonly=on",
        [VIRTIO_BUF_REASON_WEAK] = "not surely taken back",
        [VIRTIO_BUF_REASON_FAILED] = "udmabuf refused",
    };
    const char *reason = stream->reason < sizeof(reasons) / sizeof(*reasons) ?
                         reasons[stream->reason] : "for a reason of its own";

    snprintf(text, size, "%s%s%s%s",
             stream->backing == DRM_VIRTBUF_BACKING_DMABUF ? "zero-copy" :
             "copy", reason ? " (" : "", reason ? reason : "",
             reason ? ")" : "");
}
