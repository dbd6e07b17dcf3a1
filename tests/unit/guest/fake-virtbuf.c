/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio-buf device and a udmabuf for virtio-buf-wayland, which is built with
 * ioctl() by another name. The node is a FIFO: news is written to it, and read
 * from it again. What is asked for is said on standard output, updates are
 * released at once, and what is unregistered is held for a moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/udmabuf.h>

#include "drm/virtbuf_drm.h"

#define PAGE    4096

static uint64_t serial;
static uint32_t objects, buffers;
static uint64_t sizes[256];

static void tell(int fd, uint32_t buffer, uint32_t condition)
{
    struct drm_virtbuf_event event = {
        .buffer = buffer,
        .conditions = 1u << condition,
        .released = serial,
        .consumers = 1,
    };

    if (write(fd, &event, sizeof(event)) != sizeof(event)) {
        abort();
    }
}

static int no(int error)
{
    errno = error;
    return -1;
}

static int create_udmabuf(const struct udmabuf_create *create)
{
    int file = (int)create->memfd;
    struct stat status;

    if (create->size % PAGE || create->offset ||
        !(fcntl(file, F_GET_SEALS) & F_SEAL_SHRINK) ||
        fstat(file, &status) < 0 || (uint64_t)status.st_size < create->size) {
        return no(EINVAL);
    }
    printf("udmabuf of %llu\n", (unsigned long long)create->size);
    return dup(file);
}

static int register_buffer(int fd, struct drm_virtbuf_register *args)
{
    const struct drm_virtbuf_bo_range *range =
        (const void *)(uintptr_t)args->ranges;

    args->buffer = ++buffers;
    sizes[buffers % 256] = range->size;
    printf("register %u: %llu bytes, stream %u\n", buffers,
           (unsigned long long)range->size, args->stream);
    tell(fd, buffers, DRM_VIRTBUF_WAIT_CONSUMERS);
    return 0;
}

static int update(int fd, struct drm_virtbuf_update *args)
{
    if (args->data_offset + args->data_size > sizes[args->buffer % 256]) {
        abort();
    }
    args->serial = ++serial;
    printf("update %u: %llu at %llu, %u rectangles\n", args->buffer,
           (unsigned long long)args->data_size,
           (unsigned long long)args->data_offset, args->rect_count);
    tell(fd, args->buffer, DRM_VIRTBUF_WAIT_RELEASED);
    return 0;
}

/* At first a host program still has it */
static int unregister(int fd, struct drm_virtbuf_unregister *args)
{
    uint64_t *size = &sizes[args->buffer % 256];

    args->state = *size ? DRM_VIRTBUF_STATE_PENDING : DRM_VIRTBUF_STATE_FREED;
    printf("unregister %u%s\n", args->buffer, *size ? "" : ": freed");
    if (*size) {
        *size = 0;
        tell(fd, args->buffer, DRM_VIRTBUF_WAIT_FREED);
    }
    return 0;
}

int fake_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *args;
    int ret = 0;

    va_start(ap, request);
    args = va_arg(ap, void *);
    va_end(ap);
    switch (request) {
    case DRM_IOCTL_VIRTBUF_GETPARAM:
        ((struct drm_virtbuf_getparam *)args)->value = PAGE;
        break;
    case UDMABUF_CREATE:
        ret = create_udmabuf(args);
        break;
    case DRM_IOCTL_PRIME_FD_TO_HANDLE:
        ((struct drm_prime_handle *)args)->handle = ++objects;
        break;
    case DRM_IOCTL_VIRTBUF_BO_USERPTR:
        printf("pages of %llu\n", (unsigned long long)
               ((struct drm_virtbuf_bo_userptr *)args)->size);
        ((struct drm_virtbuf_bo_userptr *)args)->handle = ++objects;
        break;
    case DRM_IOCTL_VIRTBUF_REGISTER:
        ret = register_buffer(fd, args);
        break;
    case DRM_IOCTL_VIRTBUF_UPDATE:
        ret = update(fd, args);
        break;
    case DRM_IOCTL_VIRTBUF_UNREGISTER:
        ret = unregister(fd, args);
        break;
    case DRM_IOCTL_VIRTBUF_EVENTS:
    case DRM_IOCTL_GEM_CLOSE:
        break;
    default:
        ret = no(ENOTTY);
    }
    fflush(stdout);
    return ret;
}
