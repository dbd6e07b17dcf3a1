/* SPDX-License-Identifier: MIT */
/*
 * libvirtio-buf: a connection, what is sent on it and when.
 *
 * Messages for the server are queued in memory and written whenever an event is
 * asked for; the queue is bounded, and who finds it full is told so. Nothing is
 * read while an answer that the server waits for does not fit, so that a server
 * that does not read cannot make us pile up memory.
 *
 * A failed write does not end the connection by itself: the server's reason may
 * still be there to be read. What it sends is not trusted: see dispatch.c.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "private.h"

VBUF_EXPORT const char *vbuf_version(void)
{
    return VBUF_VERSION;
}

VBUF_EXPORT void vbuf_set_log_handler(struct vbuf *vbuf,
                                      void (*handler)(int level,
                                                      const char *text,
                                                      void *opaque),
                                      void *opaque)
{
    vbuf->log_handler = handler;
    vbuf->log_opaque = opaque;
}

void vbuf_log(struct vbuf *vbuf, int level, const char *format, ...)
{
    char text[256];
    va_list args;

    if (vbuf->log_handler) {
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        vbuf->log_handler(level, text, vbuf->log_opaque);
    }
}

static void flush(struct vbuf *vbuf)
{
    struct iovec iov;
    ssize_t n;

    while (vbuf->queue_start < vbuf->queue_end) {
        iov.iov_base = vbuf->queue + vbuf->queue_start;
        iov.iov_len = vbuf->queue_end - vbuf->queue_start;
        n = virtio_buf_send(vbuf->fd, &iov, 1, -1);
        if (n == -EAGAIN) {
            return;
        }
        if (n < 0) {
            vbuf_log(vbuf, VBUF_LOG_DEBUG, "sending failed: %s",
                     strerror((int)-n));
            vbuf->output_failed = true;
            break;
        }
        vbuf->queue_start += (size_t)n;
    }
    vbuf->queue_start = 0;
    vbuf->queue_end = 0;
}

int vbuf_queue(struct vbuf *vbuf, uint32_t type, const struct iovec *iov,
               size_t iov_count)
{
    struct virtio_buf_msg head = { .type = htole32(type) };
    size_t size = 0, used, i;
    uint8_t *to;

    if (vbuf->disconnected) {
        return -ENOTCONN;
    }
    if (vbuf->output_failed) {
        return 0;
    }
    for (i = 0; i < iov_count; i++) {
        size += iov[i].iov_len;
    }
    if (vbuf->queue_end - vbuf->queue_start + size > VBUF_QUEUE_SIZE) {
        flush(vbuf);
    }
    used = vbuf->queue_end - vbuf->queue_start;
    if (used + size > VBUF_QUEUE_SIZE) {
        return -EAGAIN;
    }
    if (vbuf->queue_end + size > VBUF_QUEUE_SIZE) {
        memmove(vbuf->queue, vbuf->queue + vbuf->queue_start, used);
        vbuf->queue_start = 0;
        vbuf->queue_end = used;
    }
    to = vbuf->queue + vbuf->queue_end;
    for (i = 0; i < iov_count; i++) {
        if (iov[i].iov_len) {
            memcpy(to, iov[i].iov_base, iov[i].iov_len);
        }
        to += iov[i].iov_len;
    }
    head.size = htole32((uint32_t)size);
    memcpy(vbuf->queue + vbuf->queue_end, &head, sizeof(head));
    vbuf->queue_end += size;
    return 0;
}

static int queue_hello(struct vbuf *vbuf)
{
    struct virtio_buf_msg_hello msg = {
        .magic = htole32(VIRTIO_BUF_PROTOCOL_MAGIC),
        .major = htole16(VIRTIO_BUF_PROTOCOL_MAJOR),
        .minor = htole16(VIRTIO_BUF_PROTOCOL_MINOR),
    };
    struct iovec iov = { &msg, sizeof(msg) };

    return vbuf_queue(vbuf, VIRTIO_BUF_MSG_HELLO, &iov, 1);
}

static int check_socket(int fd)
{
    int domain, type;
    socklen_t len = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        return -errno;
    }
    return domain == AF_UNIX && type == SOCK_STREAM ? 0 : -EPROTOTYPE;
}

VBUF_EXPORT int vbuf_connect_fd(int fd, struct vbuf **out)
{
    struct vbuf *vbuf;
    int ret;

    ret = check_socket(fd);
    if (ret < 0) {
        close(fd);
        return ret;
    }
    vbuf = calloc(1, sizeof(*vbuf));
    if (!vbuf) {
        close(fd);
        return -ENOMEM;
    }
    vbuf->fd = fd;
    virtio_buf_reader_init(&vbuf->reader, vbuf->input);
    ret = queue_hello(vbuf);
    if (ret < 0) {
        vbuf_disconnect(vbuf);
        return ret;
    }
    *out = vbuf;
    return 0;
}

VBUF_EXPORT int vbuf_connect(const char *path, struct vbuf **out)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t len = strlen(path);
    int fd, ret;

    if (len >= sizeof(address.sun_path)) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, len);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    do {
        ret = connect(fd, (struct sockaddr *)&address, sizeof(address));
    } while (ret < 0 && errno == EINTR);
    if (ret < 0) {
        ret = -errno;
        close(fd);
        return ret;
    }
    return vbuf_connect_fd(fd, out);
}

VBUF_EXPORT void vbuf_disconnect(struct vbuf *vbuf)
{
    if (!vbuf) {
        return;
    }
    while (vbuf->first) {
        vbuf_forget_buffer(vbuf, vbuf->first);
    }
    vbuf_table_clear(&vbuf->table);
    vbuf_properties_clear(&vbuf->properties);
    virtio_buf_reader_clear(&vbuf->reader);
    close(vbuf->fd);
    free(vbuf);
}

VBUF_EXPORT int vbuf_set_property(struct vbuf *vbuf, const char *name,
                                  const char *value)
{
    size_t name_len = strlen(name), value_len = value ? strlen(value) : 0;
    struct virtio_buf_property_view view = {
        .name = name,
        .value = value,
        .name_len = (uint32_t)name_len,
        .value_len = (uint32_t)value_len,
        .deleted = !value,
    };

    if (vbuf->subscribed) {
        return -EBUSY;
    }
    if (value_len > VIRTIO_BUF_MAX_PROPERTY_BYTES) {
        return -ENOSPC;
    }
    if (!name_len || name_len > 255 || strchr(name, '=') ||
        !virtio_buf_text_valid((const uint8_t *)name, name_len) ||
        (value && !virtio_buf_text_valid((const uint8_t *)value, value_len))) {
        return -EINVAL;
    }
    if (value && !virtio_buf_property_size(name_len, value_len)) {
        return -ENOSPC;
    }
    return vbuf_properties_apply(&vbuf->properties, &view);
}

static size_t encode_properties(const struct vbuf_properties *properties,
                                uint8_t *to)
{
    struct virtio_buf_property_view view;
    size_t size = 0, i;

    for (i = 0; i < properties->count; i++) {
        vbuf_properties_at(properties, i, &view.name, &view.value);
        view.name_len = (uint32_t)strlen(view.name);
        view.value_len = (uint32_t)strlen(view.value);
        view.deleted = false;
        size += virtio_buf_property_put(to + size, &view);
    }
    return size;
}

static int check_applications(const char *const *applications, size_t count)
{
    size_t i, len;

    for (i = 0; i < count; i++) {
        len = strlen(applications[i]);
        if (!len || len >= VIRTIO_BUF_NAME_SIZE ||
            !virtio_buf_text_valid((const uint8_t *)applications[i], len)) {
            return -EINVAL;
        }
    }
    return 0;
}

VBUF_EXPORT int vbuf_subscribe(struct vbuf *vbuf,
                               const char *const *applications,
                               size_t application_count, uint32_t credit,
                               uint32_t flags)
{
    struct virtio_buf_msg_subscribe msg = {
        .flags = htole32(flags),
        .credit = htole32(credit),
        .application_count = htole32((uint32_t)application_count),
        .property_bytes = htole32((uint32_t)vbuf->properties.encoded),
    };
    struct iovec iov[2] = { { &msg, sizeof(msg) } };
    size_t size, i;
    uint8_t *more;
    int ret;

    if (vbuf->disconnected) {
        return -ENOTCONN;
    }
    if (vbuf->subscribed) {
        return -EBUSY;
    }
    if ((flags & ~(uint32_t)(VBUF_SUBSCRIBE_ALL | VBUF_SUBSCRIBE_WRITER)) ||
        (application_count == 0) != !!(flags & VBUF_SUBSCRIBE_ALL)) {
        return -EINVAL;
    }
    if (application_count > VIRTIO_BUF_MSG_MAX / VIRTIO_BUF_NAME_SIZE) {
        return -E2BIG;
    }
    size = application_count * VIRTIO_BUF_NAME_SIZE + vbuf->properties.encoded;
    if (sizeof(msg) + size > VIRTIO_BUF_MSG_MAX) {
        return -E2BIG;
    }
    ret = check_applications(applications, application_count);
    if (ret < 0) {
        return ret;
    }
    more = calloc(1, size + 1);
    if (!more) {
        return -ENOMEM;
    }
    for (i = 0; i < application_count; i++) {
        memcpy(more + i * VIRTIO_BUF_NAME_SIZE, applications[i],
               strlen(applications[i]));
    }
    encode_properties(&vbuf->properties,
                      more + application_count * VIRTIO_BUF_NAME_SIZE);
    iov[1] = (struct iovec) { more, size };
    ret = vbuf_queue(vbuf, VIRTIO_BUF_MSG_SUBSCRIBE, iov, 2);
    free(more);
    if (ret == 0) {
        vbuf->subscribed = true;
        flush(vbuf);
    }
    return ret;
}

VBUF_EXPORT const struct vbuf_terms *vbuf_terms(const struct vbuf *vbuf)
{
    return vbuf->have_terms ? &vbuf->terms : NULL;
}

VBUF_EXPORT const char *vbuf_instance(const struct vbuf *vbuf)
{
    return vbuf->instance;
}

VBUF_EXPORT struct vbuf_buffer *vbuf_find_buffer(const struct vbuf *vbuf,
                                                 uint64_t id)
{
    return vbuf_table_find(&vbuf->table, id);
}

VBUF_EXPORT struct vbuf_buffer *
vbuf_each_buffer(const struct vbuf *vbuf, const struct vbuf_buffer *last)
{
    return last ? last->next : vbuf->first;
}

void vbuf_forget_buffer(struct vbuf *vbuf, struct vbuf_buffer *buffer)
{
    vbuf_buffer_let_go(buffer);
    vbuf_properties_clear(&buffer->properties);
    vbuf_table_remove(&vbuf->table, buffer->id);
    *(buffer->previous ? &buffer->previous->next : &vbuf->first) =
        buffer->next;
    *(buffer->next ? &buffer->next->previous : &vbuf->last) =
        buffer->previous;
    free(buffer);
}

/*
 * The program has left the contents of a lost update alone: a reader says so,
 * or it gets no other one; a writer is none any more.
 */
static void finish_lost(struct vbuf *vbuf, struct vbuf_buffer *buffer)
{
    if (buffer->writer) {
        vbuf_buffer_let_go(buffer);
        buffer->released_serial = buffer->sent_serial;
    } else if (buffer->fd >= 0 &&
               buffer->released_serial < vbuf->event.serial) {
        buffer->released_serial = vbuf->event.serial;
        vbuf->answer = VIRTIO_BUF_MSG_RELEASE;
        vbuf->answer_id = buffer->id;
        vbuf->answer_serial = vbuf->event.serial;
    }
}

/* The program has seen the last event, and what was true during it ends */
static void finish_event(struct vbuf *vbuf)
{
    struct vbuf_buffer *buffer = vbuf->event.buffer;

    if (vbuf->event.type == VBUF_EVENT_REMOVE) {
        if (buffer->answer_removed) {
            vbuf->answer = VIRTIO_BUF_MSG_REMOVED;
            vbuf->answer_id = buffer->id;
        }
        vbuf_forget_buffer(vbuf, buffer);
    } else if (vbuf->event.type == VBUF_EVENT_LOST) {
        finish_lost(vbuf, buffer);
    }
    vbuf->event = (struct vbuf_event) { .text = "" };
}

static int queue_answer(struct vbuf *vbuf)
{
    struct virtio_buf_msg_detach removed = {
        .buffer = htole64(vbuf->answer_id),
    };
    struct virtio_buf_msg_release release = {
        .buffer = htole64(vbuf->answer_id),
        .serial = htole64(vbuf->answer_serial),
    };
    struct iovec iov = { &removed, sizeof(removed) };
    int ret;

    if (!vbuf->answer) {
        return 0;
    }
    if (vbuf->answer == VIRTIO_BUF_MSG_RELEASE) {
        iov = (struct iovec) { &release, sizeof(release) };
    }
    ret = vbuf_queue(vbuf, vbuf->answer, &iov, 1);
    if (ret == 0) {
        vbuf->answer = 0;
    }
    return ret;
}

/* After RESET: each buffer goes with an event of its own, then the reset's */
static void next_of_reset(struct vbuf *vbuf)
{
    if (vbuf->first) {
        vbuf->first->removing = true;
        vbuf->event.type = VBUF_EVENT_REMOVE;
        vbuf->event.buffer = vbuf->first;
    } else {
        vbuf->resetting = false;
        vbuf->event.type = VBUF_EVENT_RESET;
        vbuf->event.reason = vbuf->reset_reason;
    }
}

static void end_connection(struct vbuf *vbuf, int error)
{
    if (!vbuf->text[0]) {
        snprintf(vbuf->text, sizeof(vbuf->text), "%s",
                 error == ECONNRESET ? "the server has gone" :
                 error == EPROTO ? "the server breaks the protocol" :
                 strerror(error));
    }
    vbuf_log(vbuf, VBUF_LOG_ERROR, "disconnected: %s", vbuf->text);
    vbuf->disconnected = true;
    vbuf->queue_start = 0;
    vbuf->queue_end = 0;
    shutdown(vbuf->fd, SHUT_RDWR);
    vbuf->event.type = VBUF_EVENT_DISCONNECTED;
    vbuf->event.error = error;
    vbuf->event.text = vbuf->text;
}

VBUF_EXPORT int vbuf_next_event(struct vbuf *vbuf,
                                const struct vbuf_event **event)
{
    const struct virtio_buf_msg *msg;
    int fd, ret;

    finish_event(vbuf);
    if (vbuf->disconnected) {
        return -ENOTCONN;
    }
    *event = &vbuf->event;
    ret = queue_answer(vbuf);
    flush(vbuf);
    if (ret < 0 && queue_answer(vbuf) < 0) {
        return 0;   /* there is no room for the answer: POLLOUT */
    }
    do {
        if (vbuf->resetting) {
            next_of_reset(vbuf);
            return 1;
        }
        vbuf->text[0] = '\0';
        ret = virtio_buf_reader_next(&vbuf->reader, vbuf->fd, true, &msg, &fd);
        if (ret == -EAGAIN) {
            return 0;
        }
        if (ret == 0) {
            ret = -ECONNRESET;
        } else if (ret > 0) {
            ret = vbuf_dispatch(vbuf, msg, fd);
        }
    } while (ret == 0);
    if (ret < 0) {
        end_connection(vbuf, -ret);
    }
    return 1;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

VBUF_EXPORT int vbuf_wait_event(struct vbuf *vbuf, int timeout_ms,
                                const struct vbuf_event **event)
{
    int64_t end = timeout_ms < 0 ? 0 : now_ms() + timeout_ms;
    int64_t left = timeout_ms;
    struct pollfd pollfd = { .fd = vbuf->fd };
    int ret;

    for (;;) {
        ret = vbuf_next_event(vbuf, event);
        if (ret != 0 || left == 0) {
            return ret;
        }
        pollfd.events = vbuf_poll_events(vbuf);
        ret = poll(&pollfd, 1, (int)left);
        if (ret < 0) {
            return -errno;
        }
        if (timeout_ms >= 0) {
            left = end - now_ms();
            left = left < 0 || ret == 0 ? 0 : left;
        }
    }
}

VBUF_EXPORT int vbuf_fd(const struct vbuf *vbuf)
{
    return vbuf->fd;
}

VBUF_EXPORT short vbuf_poll_events(const struct vbuf *vbuf)
{
    return vbuf->queue_start < vbuf->queue_end ? POLLIN | POLLOUT : POLLIN;
}
