/* SPDX-License-Identifier: MIT */
/*
 * libvirtio-buf: a buffer, its memory and what is said about it.
 *
 * A buffer has an fd between ATTACHED and whatever ends it: vbuf_detach(),
 * REMOVE, RESET, or the end of the connection. The fd and the one mapping of it
 * belong to the buffer. Nothing is mapped before the file has been seen to be
 * long enough and unable to shrink: a server that lies must not be able to kill
 * this process with SIGBUS.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "private.h"

#ifndef DMA_BUF_MAGIC
#define DMA_BUF_MAGIC 0x444d4142
#endif

_Static_assert((int)VBUF_MODE_IN_PLACE == VIRTIO_BUF_MODE_IN_PLACE &&
               (int)VBUF_MODE_LATEST == VIRTIO_BUF_MODE_LATEST &&
               (int)VBUF_MODE_EVERY == VIRTIO_BUF_MODE_EVERY, "modes");
_Static_assert((int)VBUF_BACKING_COPY == VIRTIO_BUF_BACKING_COPY &&
               (int)VBUF_BACKING_DMABUF == VIRTIO_BUF_BACKING_DMABUF,
               "backings");

VBUF_EXPORT uint64_t vbuf_buffer_id(const struct vbuf_buffer *buffer)
{
    return buffer->id;
}

VBUF_EXPORT uint64_t vbuf_buffer_guest_id(const struct vbuf_buffer *buffer)
{
    return buffer->guest_id;
}

VBUF_EXPORT uint64_t vbuf_buffer_size(const struct vbuf_buffer *buffer)
{
    return buffer->size;
}

VBUF_EXPORT uint64_t vbuf_buffer_stream(const struct vbuf_buffer *buffer)
{
    return buffer->stream;
}

VBUF_EXPORT uint64_t vbuf_buffer_serial(const struct vbuf_buffer *buffer)
{
    return buffer->serial;
}

VBUF_EXPORT uint32_t vbuf_buffer_context(const struct vbuf_buffer *buffer)
{
    return buffer->context;
}

VBUF_EXPORT uint32_t vbuf_buffer_mode(const struct vbuf_buffer *buffer)
{
    return buffer->mode;
}

VBUF_EXPORT uint32_t vbuf_buffer_backing(const struct vbuf_buffer *buffer)
{
    return buffer->backing;
}

VBUF_EXPORT const uint8_t *vbuf_buffer_uuid(const struct vbuf_buffer *buffer)
{
    return buffer->uuid;
}

VBUF_EXPORT const char *
vbuf_buffer_application(const struct vbuf_buffer *buffer)
{
    return buffer->application;
}

VBUF_EXPORT const char *vbuf_buffer_property(const struct vbuf_buffer *buffer,
                                             const char *name)
{
    return vbuf_properties_get(&buffer->properties, name, strlen(name));
}

VBUF_EXPORT size_t vbuf_buffer_property_count(const struct vbuf_buffer *buffer)
{
    return buffer->properties.count;
}

VBUF_EXPORT int vbuf_buffer_property_at(const struct vbuf_buffer *buffer,
                                        size_t index, const char **name,
                                        const char **value)
{
    if (index >= buffer->properties.count) {
        return -EINVAL;
    }
    vbuf_properties_at(&buffer->properties, index, name, value);
    return 0;
}

VBUF_EXPORT void vbuf_buffer_set_user_data(struct vbuf_buffer *buffer,
                                           void *data)
{
    buffer->user_data = data;
}

VBUF_EXPORT void *vbuf_buffer_user_data(const struct vbuf_buffer *buffer)
{
    return buffer->user_data;
}

VBUF_EXPORT int vbuf_buffer_fd(const struct vbuf_buffer *buffer)
{
    return buffer->fd;
}

void vbuf_buffer_let_go(struct vbuf_buffer *buffer)
{
    if (buffer->map) {
        munmap(buffer->map, (size_t)buffer->size);
        buffer->map = NULL;
    }
    if (buffer->fd >= 0) {
        close(buffer->fd);
        buffer->fd = -1;
    }
    buffer->writer = false;
}

static int queue_attach(struct vbuf *vbuf, uint64_t id, uint64_t stream,
                        uint32_t flags)
{
    struct virtio_buf_msg_attach msg = {
        .buffer = htole64(id),
        .stream = htole64(stream),
        .flags = htole32(flags),
    };
    struct iovec iov = { &msg, sizeof(msg) };

    return vbuf_queue(vbuf, VIRTIO_BUF_MSG_ATTACH, &iov, 1);
}

int vbuf_queue_attach(struct vbuf_buffer *buffer, uint32_t flags)
{
    if (buffer->removing) {
        return 0;   /* the server has no answer either */
    }
    if (buffer->fd >= 0) {
        return -EALREADY;
    }
    return queue_attach(buffer->vbuf, buffer->id, 0, flags);
}

int vbuf_queue_attach_stream(struct vbuf *vbuf, uint64_t stream,
                             uint32_t flags)
{
    return stream ? queue_attach(vbuf, 0, stream, flags) : -EINVAL;
}

VBUF_EXPORT int vbuf_attach(struct vbuf_buffer *buffer)
{
    return vbuf_queue_attach(buffer, 0);
}

VBUF_EXPORT int vbuf_attach_stream(struct vbuf *vbuf, uint64_t stream)
{
    return vbuf_queue_attach_stream(vbuf, stream, 0);
}

VBUF_EXPORT int vbuf_detach(struct vbuf_buffer *buffer)
{
    struct virtio_buf_msg_detach msg = { .buffer = htole64(buffer->id) };
    struct iovec iov = { &msg, sizeof(msg) };
    int ret;

    if (buffer->fd < 0) {
        return -EINVAL;
    }
    if (!buffer->removing) {
        ret = vbuf_queue(buffer->vbuf, VIRTIO_BUF_MSG_DETACH, &iov, 1);
        if (ret < 0) {
            return ret;
        }
    }
    vbuf_buffer_let_go(buffer);
    buffer->released_serial = buffer->sent_serial;
    return 0;
}

VBUF_EXPORT int vbuf_release(struct vbuf_buffer *buffer, uint64_t serial)
{
    struct virtio_buf_msg_release msg = {
        .buffer = htole64(buffer->id),
        .serial = htole64(serial),
    };
    struct iovec iov = { &msg, sizeof(msg) };
    int ret;

    if (!serial || serial > buffer->sent_serial) {
        return -EINVAL;
    }
    if (serial <= buffer->released_serial || buffer->fd < 0 ||
        buffer->removing || buffer->mode == VIRTIO_BUF_MODE_IN_PLACE) {
        return 0;
    }
    ret = vbuf_queue(buffer->vbuf, VIRTIO_BUF_MSG_RELEASE, &iov, 1);
    if (ret == 0) {
        buffer->released_serial = serial;
    }
    return ret;
}

/* Neither anyone else nor the server can make the file shorter than it is */
static bool cannot_shrink(int fd)
{
    struct statfs fs;
    int seals;

    if (fstatfs(fd, &fs) == 0 && fs.f_type == DMA_BUF_MAGIC) {
        return true;
    }
    seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK);
}

VBUF_EXPORT int vbuf_map(struct vbuf_buffer *buffer, const void **data)
{
    off_t length;
    void *map;

    if (buffer->fd < 0) {
        return -EINVAL;
    }
    if (!buffer->map) {
        if (!cannot_shrink(buffer->fd)) {
            vbuf_log(buffer->vbuf, VBUF_LOG_ERROR,
                     "buffer %llu: its memory is neither a dma-buf nor a memfd "
                     "that is sealed against shrinking",
                     (unsigned long long)buffer->id);
            return -EPROTO;
        }
        length = lseek(buffer->fd, 0, SEEK_END);
        if (length < 0 || (uint64_t)length < buffer->file_size) {
            vbuf_log(buffer->vbuf, VBUF_LOG_ERROR,
                     "buffer %llu: its memory has %lld bytes, not %llu",
                     (unsigned long long)buffer->id, (long long)length,
                     (unsigned long long)buffer->file_size);
            return -EPROTO;
        }
        if ((size_t)buffer->size != buffer->size) {
            return -EFBIG;
        }
        map = mmap(NULL, (size_t)buffer->size,
                   buffer->writer ? PROT_READ | PROT_WRITE : PROT_READ,
                   MAP_SHARED, buffer->fd, 0);
        if (map == MAP_FAILED) {
            return -errno;
        }
        buffer->map = map;
    }
    *data = buffer->map;
    return 0;
}

int vbuf_sync(struct vbuf_buffer *buffer, uint64_t flags)
{
    struct dma_buf_sync sync = { .flags = flags };
    int ret;

    if (buffer->fd < 0) {
        return -EINVAL;
    }
    if (buffer->backing != VIRTIO_BUF_BACKING_DMABUF) {
        return 0;
    }
    do {
        ret = ioctl(buffer->fd, DMA_BUF_IOCTL_SYNC, &sync);
    } while (ret < 0 && (errno == EINTR || errno == EAGAIN));
    return ret < 0 ? -errno : 0;
}

VBUF_EXPORT int vbuf_begin_read(struct vbuf_buffer *buffer)
{
    return vbuf_sync(buffer, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
}

VBUF_EXPORT int vbuf_end_read(struct vbuf_buffer *buffer)
{
    return vbuf_sync(buffer, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
}
