/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server's end of a connection: see fake-server.h. */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fake-server.h"
#include "harness.h"

#define PATIENCE_MS 20000

void fake_init(struct fake *fake, int sock)
{
    fake->sock = sock;
    virtio_buf_reader_init(&fake->reader, fake->input);
}

void fake_close(struct fake *fake)
{
    virtio_buf_reader_clear(&fake->reader);
    close(fake->sock);
}

static void wait_for(int fd, short events)
{
    struct pollfd pollfd = { .fd = fd, .events = events };

    CHECK_INT(poll(&pollfd, 1, PATIENCE_MS), ==, 1);
}

void fake_accept(struct fake *fake, int listener)
{
    int sock;

    wait_for(listener, POLLIN);
    sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK_INT(sock, >=, 0);
    fake_init(fake, sock);
}

void fake_send(struct fake *fake, uint32_t type, void *fixed, size_t fixed_size,
               const void *more, size_t more_size, int fd)
{
    struct virtio_buf_msg head = {
        htole32(type), htole32((uint32_t)(fixed_size + more_size))
    };
    uint8_t bytes[VIRTIO_BUF_MSG_MAX + 64];
    size_t sent = 0, size = fixed_size + more_size;
    struct iovec iov;
    ssize_t n;

    CHECK_INT(size, <=, sizeof(bytes));
    memcpy(fixed, &head, sizeof(head));
    memcpy(bytes, fixed, fixed_size);
    if (more_size) {
        memcpy(bytes + fixed_size, more, more_size);
    }
    while (sent < size) {
        iov = (struct iovec) { bytes + sent, size - sent };
        n = virtio_buf_send(fake->sock, &iov, 1, sent ? -1 : fd);
        if (n == -EAGAIN) {
            wait_for(fake->sock, POLLOUT);
            continue;
        }
        CHECK_INT(n, >, 0);
        sent += (size_t)n;
    }
}

static int take(struct fake *fake, const struct virtio_buf_msg **msg)
{
    int ret;

    while ((ret = virtio_buf_reader_next(&fake->reader, fake->sock, false, msg,
                                         NULL)) == -EAGAIN) {
        wait_for(fake->sock, POLLIN);
    }
    return ret;
}

const void *fake_take(struct fake *fake, uint32_t type)
{
    const struct virtio_buf_msg *msg;

    CHECK_INT(take(fake, &msg), ==, 1);
    CHECK_INT(le32toh(msg->type), ==, type);
    return msg;
}

void fake_take_nothing(struct fake *fake)
{
    const struct virtio_buf_msg *msg;

    CHECK_INT(virtio_buf_reader_next(&fake->reader, fake->sock, false, &msg,
                                     NULL), ==, -EAGAIN);
}

void fake_take_end(struct fake *fake)
{
    const struct virtio_buf_msg *msg;
    int ret;

    /* Bytes of ours that it did not read make it a reset */
    do {
        ret = take(fake, &msg);
    } while (ret == 1);
    CHECK(ret == 0 || ret == -ECONNRESET);
}

size_t fake_properties(uint8_t *to, const char *const *texts)
{
    struct virtio_buf_property_view view;
    const char *equals;
    size_t size = 0;

    for (; texts && *texts; texts++) {
        equals = strchr(*texts, '=');
        view = (struct virtio_buf_property_view) {
            .name = *texts,
            .name_len = (uint32_t)(equals ? (size_t)(equals - *texts) :
                                            strlen(*texts)),
            .value = equals ? equals + 1 : NULL,
            .value_len = equals ? (uint32_t)strlen(equals + 1) : 0,
            .deleted = !equals,
        };
        size += virtio_buf_property_put(to + size, &view);
    }
    return size;
}

void fake_hello(struct fake *fake)
{
    struct virtio_buf_msg_hello msg = {
        .magic = htole32(VIRTIO_BUF_PROTOCOL_MAGIC),
        .major = htole16(VIRTIO_BUF_PROTOCOL_MAJOR),
    };

    fake_send(fake, VIRTIO_BUF_MSG_HELLO, &msg, sizeof(msg), NULL, 0, -1);
}

void fake_device(struct fake *fake, const char *instance, bool present)
{
    struct virtio_buf_msg_device msg = { .present = htole32(present) };

    CHECK_INT(strlen(instance), <, sizeof(msg.instance));
    memcpy(msg.instance, instance, strlen(instance));
    fake_send(fake, VIRTIO_BUF_MSG_DEVICE, &msg, sizeof(msg), NULL, 0, -1);
}

void fake_subscribed(struct fake *fake, uint32_t credit)
{
    struct virtio_buf_msg_subscribed msg = {
        .consumer_id = htole64(7),
        .hold = htole32(2),
        .hold_timeout_ms = htole32(1000),
        .release_timeout_ms = htole32(2000),
        .credit = htole32(credit),
    };

    fake_send(fake, VIRTIO_BUF_MSG_SUBSCRIBED, &msg, sizeof(msg), NULL, 0, -1);
}

void fake_welcome(struct fake *fake)
{
    const struct virtio_buf_msg_subscribe *subscribe;
    const struct virtio_buf_msg_hello *hello;

    hello = fake_take(fake, VIRTIO_BUF_MSG_HELLO);
    CHECK_INT(le32toh(hello->magic), ==, VIRTIO_BUF_PROTOCOL_MAGIC);
    CHECK_INT(le16toh(hello->major), ==, VIRTIO_BUF_PROTOCOL_MAJOR);
    CHECK_INT(hello->features, ==, 0);
    subscribe = fake_take(fake, VIRTIO_BUF_MSG_SUBSCRIBE);
    fake_hello(fake);
    fake_device(fake, "vm1", true);
    fake_subscribed(fake, le32toh(subscribe->credit));
}

void fake_buffer(struct fake *fake, const struct fake_buffer *buffer)
{
    const char *application = buffer->application ? buffer->application :
                                                    "test";
    uint8_t list[VIRTIO_BUF_MAX_PROPERTY_BYTES];
    size_t size = fake_properties(list, buffer->properties);
    struct virtio_buf_msg_buffer msg = {
        .buffer = htole64(buffer->id),
        .guest_id = htole64(buffer->id + 1000),
        .size = htole64(buffer->size),
        .stream = htole64(buffer->stream),
        .serial = htole64(buffer->serial),
        .context = htole32(3),
        .mode = buffer->mode,
        .access = buffer->access,
        .backing = buffer->backing,
        .property_bytes = htole32((uint32_t)size),
    };

    memset(msg.uuid, 0xab, sizeof(msg.uuid));
    CHECK_INT(strlen(application), <, sizeof(msg.application));
    memcpy(msg.application, application, strlen(application));
    fake_send(fake, VIRTIO_BUF_MSG_BUFFER, &msg, sizeof(msg), list, size, -1);
}

static void send_attached(struct fake *fake, uint64_t id, uint64_t size,
                          uint32_t backing, uint32_t flags, int fd)
{
    struct virtio_buf_msg_attached msg = {
        .buffer = htole64(id),
        .size = htole64(size),
        .backing = htole32(backing),
        .flags = htole32(flags),
    };

    fake_send(fake, VIRTIO_BUF_MSG_ATTACHED, &msg, sizeof(msg), NULL, 0, fd);
}

void fake_attached(struct fake *fake, uint64_t id, uint64_t size,
                   uint32_t backing, int fd)
{
    send_attached(fake, id, size, backing, 0, fd);
}

void fake_attached_writer(struct fake *fake, uint64_t id, uint64_t size,
                          uint32_t backing, int fd)
{
    send_attached(fake, id, size, backing, VIRTIO_BUF_ATTACH_WRITER, fd);
}

void fake_update(struct fake *fake, uint64_t id, uint64_t serial,
                 uint64_t data_size, const char *const *properties)
{
    uint8_t list[VIRTIO_BUF_MAX_PROPERTY_BYTES];
    size_t size = fake_properties(list, properties);
    struct timespec now;
    struct virtio_buf_msg_update msg = {
        .buffer = htole64(id),
        .frame.serial = htole64(serial),
        .frame.data_size = htole64(data_size),
        .frame.property_bytes = htole32((uint32_t)size),
    };

    clock_gettime(CLOCK_MONOTONIC, &now);
    msg.time = htole64((uint64_t)now.tv_sec * 1000000000 +
                       (uint64_t)now.tv_nsec);
    fake_send(fake, VIRTIO_BUF_MSG_UPDATE, &msg, sizeof(msg), list, size, -1);
}

void fake_set_properties(struct fake *fake, uint64_t id,
                         const char *const *properties)
{
    uint8_t list[VIRTIO_BUF_MAX_PROPERTY_BYTES];
    size_t size = fake_properties(list, properties);
    struct virtio_buf_msg_properties msg = {
        .buffer = htole64(id),
        .property_bytes = htole32((uint32_t)size),
    };

    fake_send(fake, VIRTIO_BUF_MSG_PROPERTIES, &msg, sizeof(msg), list, size,
              -1);
}

void fake_remove(struct fake *fake, uint64_t id)
{
    struct virtio_buf_msg_remove msg = { .buffer = htole64(id) };

    fake_send(fake, VIRTIO_BUF_MSG_REMOVE, &msg, sizeof(msg), NULL, 0, -1);
}

void fake_lost(struct fake *fake, uint64_t id, uint64_t serial)
{
    struct virtio_buf_msg_release msg = {
        .buffer = htole64(id), .serial = htole64(serial),
    };

    fake_send(fake, VIRTIO_BUF_MSG_LOST, &msg, sizeof(msg), NULL, 0, -1);
}

void fake_refused(struct fake *fake, uint64_t id, uint32_t error)
{
    struct virtio_buf_msg_refused msg = {
        .buffer = htole64(id), .error = htole32(error),
    };

    fake_send(fake, VIRTIO_BUF_MSG_REFUSED, &msg, sizeof(msg), NULL, 0, -1);
}

void fake_reset(struct fake *fake, uint32_t reason)
{
    struct virtio_buf_msg_reset msg = { .reason = htole32(reason) };

    fake_send(fake, VIRTIO_BUF_MSG_RESET, &msg, sizeof(msg), NULL, 0, -1);
}

void fake_error(struct fake *fake, uint32_t error, const char *text)
{
    struct virtio_buf_msg_error msg = { .error = htole32(error) };

    CHECK_INT(strlen(text), <, sizeof(msg.text));
    memcpy(msg.text, text, strlen(text));
    fake_send(fake, VIRTIO_BUF_MSG_ERROR, &msg, sizeof(msg), NULL, 0, -1);
}

static void take_attach(struct fake *fake, uint64_t id, uint64_t stream,
                        uint32_t flags)
{
    const struct virtio_buf_msg_attach *msg;

    msg = fake_take(fake, VIRTIO_BUF_MSG_ATTACH);
    CHECK_INT(le64toh(msg->buffer), ==, id);
    CHECK_INT(le64toh(msg->stream), ==, stream);
    CHECK_INT(le32toh(msg->flags), ==, flags);
    CHECK(!msg->reserved);
}

void fake_take_attach(struct fake *fake, uint64_t id, uint64_t stream)
{
    take_attach(fake, id, stream, 0);
}

void fake_take_attach_writer(struct fake *fake, uint64_t id, uint64_t stream)
{
    take_attach(fake, id, stream, VIRTIO_BUF_ATTACH_WRITER);
}

struct virtio_buf_frame_view fake_take_written(struct fake *fake, uint64_t id,
                                               uint64_t size)
{
    const struct virtio_buf_msg_written *msg;
    struct virtio_buf_frame_view view;

    msg = fake_take(fake, VIRTIO_BUF_MSG_WRITTEN);
    CHECK_INT(le64toh(msg->buffer), ==, id);
    CHECK_INT(virtio_buf_frame_parse(&msg->frame, le32toh(msg->msg.size) -
                                     offsetof(struct virtio_buf_msg_written,
                                              frame), size, &view), ==, 0);
    return view;
}

static void take_named(struct fake *fake, uint32_t type, uint64_t id)
{
    const struct virtio_buf_msg_detach *msg = fake_take(fake, type);

    CHECK_INT(le64toh(msg->buffer), ==, id);
}

void fake_take_detach(struct fake *fake, uint64_t id)
{
    take_named(fake, VIRTIO_BUF_MSG_DETACH, id);
}

void fake_take_removed(struct fake *fake, uint64_t id)
{
    take_named(fake, VIRTIO_BUF_MSG_REMOVED, id);
}

void fake_take_release(struct fake *fake, uint64_t id, uint64_t serial)
{
    const struct virtio_buf_msg_release *msg;

    msg = fake_take(fake, VIRTIO_BUF_MSG_RELEASE);
    CHECK_INT(le64toh(msg->buffer), ==, id);
    CHECK_INT(le64toh(msg->serial), ==, serial);
}

int fake_memory(uint64_t size)
{
    int fd = test_memfd(size, 0);
    uint8_t *bytes;
    uint64_t i;

    bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED);
    for (i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
    munmap(bytes, size);
    CHECK_INT(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
              ==, 0);
    return fd;
}
