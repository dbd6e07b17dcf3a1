/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A consumer of virtio-buf inside of the test: the host's side
 *
 * One thread: what the server sends waits in the socket until it is expected.
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/bswap.h"
#include "virtio-buf-consumer.h"

#define TIMEOUT_MS  60000
#define SILENCE_MS  50

QBufConsumer *qbuf_connect(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    QBufConsumer *c = g_new0(QBufConsumer, 1);

    c->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(c->sock, >=, 0);
    g_assert_cmpuint(strlen(path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, path);
    if (connect(c->sock, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        g_error("connect to %s: %s", path, strerror(errno));
    }
    c->fd = -1;
    virtio_buf_reader_init(&c->reader, g_malloc(VIRTIO_BUF_MSG_MAX));
    return c;
}

static void qbuf_drop_fd(QBufConsumer *c)
{
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
}

void qbuf_close(QBufConsumer *c)
{
    qbuf_drop_fd(c);
    close(c->sock);
    virtio_buf_reader_clear(&c->reader);
    g_free(c->reader.buf);
    g_free(c);
}

static void qbuf_poll(QBufConsumer *c, short events)
{
    struct pollfd pfd = { .fd = c->sock, .events = events };

    if (poll(&pfd, 1, TIMEOUT_MS) != 1) {
        g_error("virtio-buf-server does not answer");
    }
}

void qbuf_send_bytes(QBufConsumer *c, const void *bytes, size_t size, int fd)
{
    while (size) {
        struct iovec iov = { .iov_base = (void *)bytes, .iov_len = size };
        ssize_t n = virtio_buf_send(c->sock, &iov, 1, fd);

        if (n == -EAGAIN) {
            qbuf_poll(c, POLLOUT);
            continue;
        }
        if (n == -EPIPE || n == -ECONNRESET) {
            return; /* what is expected next tells why */
        }
        g_assert_cmpint(n, >, 0);
        bytes = (const uint8_t *)bytes + n;
        size -= n;
        fd = -1;
    }
}

void qbuf_send(QBufConsumer *c, uint32_t type, void *msg, size_t size)
{
    struct virtio_buf_msg head = {
        .type = cpu_to_le32(type),
        .size = cpu_to_le32(size),
    };

    memcpy(msg, &head, sizeof(head));
    qbuf_send_bytes(c, msg, size, -1);
}

void qbuf_send_hello(QBufConsumer *c)
{
    struct virtio_buf_msg_hello msg = {
        .magic = cpu_to_le32(VIRTIO_BUF_PROTOCOL_MAGIC),
        .major = cpu_to_le16(VIRTIO_BUF_PROTOCOL_MAJOR),
    };

    qbuf_send(c, VIRTIO_BUF_MSG_HELLO, &msg, sizeof(msg));
}

void qbuf_send_subscribe(QBufConsumer *c, const char *application,
                         uint32_t credit, uint32_t flags,
                         const uint8_t *properties, uint32_t property_bytes)
{
    size_t names = application ? VIRTIO_BUF_NAME_SIZE : 0;
    size_t size = sizeof(struct virtio_buf_msg_subscribe) + names +
                  property_bytes;
    g_autofree struct virtio_buf_msg_subscribe *msg = g_malloc0(size);
    uint8_t *more = (uint8_t *)(msg + 1);

    msg->flags = cpu_to_le32(flags | (application ? 0 :
                                      VIRTIO_BUF_SUBSCRIBE_ALL));
    msg->credit = cpu_to_le32(credit);
    msg->application_count = cpu_to_le32(application ? 1 : 0);
    msg->property_bytes = cpu_to_le32(property_bytes);
    if (application) {
        strncpy((char *)more, application, names - 1);
    }
    if (property_bytes) {
        memcpy(more + names, properties, property_bytes);
    }
    qbuf_send(c, VIRTIO_BUF_MSG_SUBSCRIBE, msg, size);
}

void qbuf_attach(QBufConsumer *c, uint64_t buffer)
{
    struct virtio_buf_msg_attach msg = { .buffer = cpu_to_le64(buffer) };

    qbuf_send(c, VIRTIO_BUF_MSG_ATTACH, &msg, sizeof(msg));
}

void qbuf_attach_writer(QBufConsumer *c, uint64_t buffer)
{
    struct virtio_buf_msg_attach msg = {
        .buffer = cpu_to_le64(buffer),
        .flags = cpu_to_le32(VIRTIO_BUF_ATTACH_WRITER),
    };

    qbuf_send(c, VIRTIO_BUF_MSG_ATTACH, &msg, sizeof(msg));
}

void qbuf_attach_stream(QBufConsumer *c, uint64_t stream)
{
    struct virtio_buf_msg_attach msg = { .stream = cpu_to_le64(stream) };

    qbuf_send(c, VIRTIO_BUF_MSG_ATTACH, &msg, sizeof(msg));
}

void qbuf_detach(QBufConsumer *c, uint64_t buffer)
{
    struct virtio_buf_msg_detach msg = { .buffer = cpu_to_le64(buffer) };

    qbuf_send(c, VIRTIO_BUF_MSG_DETACH, &msg, sizeof(msg));
}

void qbuf_removed(QBufConsumer *c, uint64_t buffer)
{
    struct virtio_buf_msg_detach msg = { .buffer = cpu_to_le64(buffer) };

    qbuf_send(c, VIRTIO_BUF_MSG_REMOVED, &msg, sizeof(msg));
}

void qbuf_release(QBufConsumer *c, uint64_t buffer, uint64_t serial)
{
    struct virtio_buf_msg_release msg = {
        .buffer = cpu_to_le64(buffer),
        .serial = cpu_to_le64(serial),
    };

    qbuf_send(c, VIRTIO_BUF_MSG_RELEASE, &msg, sizeof(msg));
}

void qbuf_written_spans(QBufConsumer *c, uint64_t buffer, uint64_t serial,
                        uint64_t size, const struct virtio_buf_span *spans,
                        unsigned count)
{
    size_t more = count * sizeof(*spans);
    g_autofree struct virtio_buf_msg_written *msg =
        g_malloc0(sizeof(*msg) + more);

    msg->buffer = cpu_to_le64(buffer);
    msg->frame.serial = cpu_to_le64(serial);
    msg->frame.data_size = cpu_to_le64(size);
    msg->frame.span_count = cpu_to_le16(count);
    if (count) {
        memcpy(msg + 1, spans, more);
    }
    qbuf_send(c, VIRTIO_BUF_MSG_WRITTEN, msg, sizeof(*msg) + more);
}

void qbuf_written(QBufConsumer *c, uint64_t buffer, uint64_t serial,
                  uint64_t size)
{
    qbuf_written_spans(c, buffer, serial, size, NULL, 0);
}

/* 1 and a message, or 0 at the end of the stream */
static int qbuf_next(QBufConsumer *c, const struct virtio_buf_msg **msg)
{
    int ret;

    qbuf_drop_fd(c);
    for (;;) {
        ret = virtio_buf_reader_next(&c->reader, c->sock, true, msg, &c->fd);
        if (ret == -EAGAIN) {
            qbuf_poll(c, POLLIN);
        } else if (ret == -ECONNRESET) {
            return 0;
        } else {
            g_assert_cmpint(ret, >=, 0);
            return ret;
        }
    }
}

const void *qbuf_expect(QBufConsumer *c, uint32_t type)
{
    const struct virtio_buf_msg *msg;

    if (!qbuf_next(c, &msg)) {
        g_error("the end of the stream, not message %u", type);
    }
    if (le32_to_cpu(msg->type) == VIRTIO_BUF_MSG_ERROR &&
        type != VIRTIO_BUF_MSG_ERROR) {
        g_error("ERROR, not message %u: %s", type,
                ((const struct virtio_buf_msg_error *)msg)->text);
    }
    g_assert_cmpuint(le32_to_cpu(msg->type), ==, type);
    return msg;
}

uint64_t qbuf_expect_buffer(QBufConsumer *c, uint64_t guest_id)
{
    const struct virtio_buf_msg_buffer *msg =
        qbuf_expect(c, VIRTIO_BUF_MSG_BUFFER);

    g_assert_cmpuint(le64_to_cpu(msg->guest_id), ==, guest_id);
    g_assert_cmpuint(msg->buffer, !=, 0);
    g_assert_cmpuint(msg->reserved, ==, 0);
    g_assert_cmpuint(msg->reserved2, ==, 0);
    return le64_to_cpu(msg->buffer);
}

void qbuf_expect_attached(QBufConsumer *c, uint64_t buffer, QBufMemory *memory)
{
    const struct virtio_buf_msg_attached *msg =
        qbuf_expect(c, VIRTIO_BUF_MSG_ATTACHED);

    g_assert_cmpuint(le64_to_cpu(msg->buffer), ==, buffer);
    memory->buffer = buffer;
    memory->size = le64_to_cpu(msg->size);
    memory->backing = le32_to_cpu(msg->backing);
    memory->writer = le32_to_cpu(msg->flags) & VIRTIO_BUF_ATTACH_WRITER;
    memory->fd = c->fd;
    c->fd = -1;
    g_assert_cmpint(lseek(memory->fd, 0, SEEK_END), ==, memory->size);
    memory->bytes = mmap(NULL, memory->size, PROT_READ, MAP_SHARED, memory->fd,
                         0);
    g_assert_true(memory->bytes != MAP_FAILED);
}

void qbuf_expect_refused(QBufConsumer *c, uint64_t buffer, int error)
{
    const struct virtio_buf_msg_refused *msg =
        qbuf_expect(c, VIRTIO_BUF_MSG_REFUSED);

    g_assert_cmpuint(le64_to_cpu(msg->buffer), ==, buffer);
    g_assert_cmpuint(le32_to_cpu(msg->error), ==, error);
    g_assert_cmpuint(msg->reserved, ==, 0);
}

void qbuf_expect_update(QBufConsumer *c, uint64_t buffer, uint64_t serial,
                        QBufUpdate *update)
{
    const struct virtio_buf_msg_update *msg =
        qbuf_expect(c, VIRTIO_BUF_MSG_UPDATE);
    QBufUpdate own;

    update = update ?: &own;
    update->buffer = le64_to_cpu(msg->buffer);
    update->time = le64_to_cpu(msg->time);
    g_assert_cmpint(virtio_buf_frame_parse(&msg->frame,
                        le32_to_cpu(msg->msg.size) -
                        offsetof(struct virtio_buf_msg_update, frame),
                        UINT64_MAX, &update->frame), ==, 0);
    update->serial = update->frame.serial;
    g_assert_cmpuint(update->buffer, ==, buffer);
    g_assert_cmpuint(update->serial, ==, serial);
}

void qbuf_expect_lost(QBufConsumer *c, uint64_t buffer, uint64_t serial)
{
    const struct virtio_buf_msg_release *msg =
        qbuf_expect(c, VIRTIO_BUF_MSG_LOST);

    g_assert_cmpuint(le64_to_cpu(msg->buffer), ==, buffer);
    g_assert_cmpuint(le64_to_cpu(msg->serial), ==, serial);
}

void qbuf_expect_remove(QBufConsumer *c, uint64_t buffer)
{
    const struct virtio_buf_msg_remove *msg =
        qbuf_expect(c, VIRTIO_BUF_MSG_REMOVE);

    g_assert_cmpuint(le64_to_cpu(msg->buffer), ==, buffer);
}

void qbuf_expect_reset(QBufConsumer *c, uint32_t reason)
{
    const struct virtio_buf_msg_reset *msg =
        qbuf_expect(c, VIRTIO_BUF_MSG_RESET);

    g_assert_cmpuint(le32_to_cpu(msg->reason), ==, reason);
}

void qbuf_expect_device(QBufConsumer *c, bool present)
{
    const struct virtio_buf_msg_device *msg =
        qbuf_expect(c, VIRTIO_BUF_MSG_DEVICE);

    g_assert_cmpuint(le32_to_cpu(msg->present), ==, present);
    g_assert_true(virtio_buf_name_valid(msg->instance, true));
}

void qbuf_expect_subscribed(QBufConsumer *c)
{
    const struct virtio_buf_msg_subscribed *msg =
        qbuf_expect(c, VIRTIO_BUF_MSG_SUBSCRIBED);

    c->id = le64_to_cpu(msg->consumer_id);
    c->hold = le32_to_cpu(msg->hold);
    c->hold_timeout_ms = le32_to_cpu(msg->hold_timeout_ms);
    c->credit = le32_to_cpu(msg->credit);
}

void qbuf_expect_end(QBufConsumer *c)
{
    const struct virtio_buf_msg *msg;

    while (qbuf_next(c, &msg)) {
        g_assert_cmpuint(le32_to_cpu(msg->type), !=, VIRTIO_BUF_MSG_ERROR);
    }
}

void qbuf_expect_error(QBufConsumer *c, int error)
{
    const struct virtio_buf_msg *msg;
    const struct virtio_buf_msg_error *got;

    do {
        g_assert_cmpint(qbuf_next(c, &msg), ==, 1);
    } while (le32_to_cpu(msg->type) != VIRTIO_BUF_MSG_ERROR);
    got = (const void *)msg;
    g_assert_cmpuint(le32_to_cpu(got->error), ==, error);
    g_assert_cmpuint(got->text[0], !=, 0);
    g_assert_cmpuint(got->text[sizeof(got->text) - 1], ==, 0);
    g_assert_cmpint(qbuf_next(c, &msg), ==, 0);
}

void qbuf_expect_silence(QBufConsumer *c)
{
    struct pollfd pfd = { .fd = c->sock, .events = POLLIN };

    g_assert_cmpuint(c->reader.start, ==, c->reader.end);
    g_assert_cmpint(poll(&pfd, 1, SILENCE_MS), ==, 0);
}

QBufConsumer *qbuf_hello(const char *path)
{
    QBufConsumer *c = qbuf_connect(path);
    const struct virtio_buf_msg_hello *msg;

    qbuf_send_hello(c);
    msg = qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
    g_assert_cmphex(le32_to_cpu(msg->magic), ==, VIRTIO_BUF_PROTOCOL_MAGIC);
    g_assert_cmpuint(le16_to_cpu(msg->major), ==, VIRTIO_BUF_PROTOCOL_MAJOR);
    g_assert_cmphex(msg->features, ==, 0);
    return c;
}

QBufConsumer *qbuf_subscribe(const char *path, const char *application,
                             uint32_t credit)
{
    QBufConsumer *c = qbuf_hello(path);

    qbuf_send_subscribe(c, application, credit, 0, NULL, 0);
    qbuf_expect_device(c, true);
    return c;
}

QBufConsumer *qbuf_subscribe_none(const char *path, const char *application,
                                  uint32_t credit)
{
    QBufConsumer *c = qbuf_subscribe(path, application, credit);

    qbuf_expect_subscribed(c);
    return c;
}

void qbuf_memory_clear(QBufMemory *memory)
{
    if (memory->bytes) {
        munmap((void *)memory->bytes, memory->size);
        close(memory->fd);
    }
    *memory = (QBufMemory) { .fd = -1 };
}

void qbuf_memory_check(const QBufMemory *memory, size_t offset, size_t size,
                       uint8_t pattern)
{
    size_t i;

    for (i = offset; i < offset + size; i++) {
        if (memory->bytes[i] != pattern) {
            g_error("byte %zu is 0x%02x, not 0x%02x", i, memory->bytes[i],
                    pattern);
        }
    }
}

uint8_t *qbuf_memory_map(const QBufMemory *memory)
{
    void *bytes = mmap(NULL, memory->size, PROT_READ | PROT_WRITE, MAP_SHARED,
                       memory->fd, 0);

    g_assert_true(bytes != MAP_FAILED);
    return bytes;
}

bool qbuf_memory_writable(const QBufMemory *memory)
{
    void *bytes = mmap(NULL, memory->size, PROT_READ | PROT_WRITE, MAP_SHARED,
                       memory->fd, 0);

    if (bytes == MAP_FAILED) {
        return false;
    }
    munmap(bytes, memory->size);
    return true;
}
