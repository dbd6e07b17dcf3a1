/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A consumer of virtio-buf inside of the test: the host's side
 *
 * Speaks the protocol word for word, also wrong ones; it is no library. What is
 * expected has a deadline, and the test fails when something else comes.
 */
#ifndef TESTS_LIBQOS_VIRTIO_BUF_CONSUMER_H
#define TESTS_LIBQOS_VIRTIO_BUF_CONSUMER_H

#include "virtio-buf/wire.h"

typedef struct QBufConsumer {
    int sock;
    struct virtio_buf_reader reader;
    int fd;                 /* of the last ATTACHED, or -1 */
    uint64_t id;            /* from SUBSCRIBED */
    uint32_t hold;
    uint32_t hold_timeout_ms;
    uint32_t credit;
} QBufConsumer;

/* What an ATTACHED brought, mapped for reading */
typedef struct QBufMemory {
    uint64_t buffer;
    uint64_t size;
    uint32_t backing;
    bool writer;            /* this consumer is the buffer's */
    int fd;
    const uint8_t *bytes;
} QBufMemory;

/* An UPDATE in host byte order; its damage is as it came */
typedef struct QBufUpdate {
    uint64_t buffer;
    uint64_t serial;
    uint64_t time;
    struct virtio_buf_frame_view frame;
} QBufUpdate;

/* Connects and does nothing else */
QBufConsumer *qbuf_connect(const char *path);

/* Disconnects */
void qbuf_close(QBufConsumer *c);

/* Connects, and exchanges HELLO */
QBufConsumer *qbuf_hello(const char *path);

/*
 * Connects, exchanges HELLO and subscribes to @application (NULL: all), until
 * the first DEVICE has come.
 */
QBufConsumer *qbuf_subscribe(const char *path, const char *application,
                             uint32_t credit);

/* The same, until SUBSCRIBED; there must not be any buffer */
QBufConsumer *qbuf_subscribe_none(const char *path, const char *application,
                                  uint32_t credit);

/* Sends bytes as they are, with @fd if it is not -1 */
void qbuf_send_bytes(QBufConsumer *c, const void *bytes, size_t size, int fd);

/* Sends a message: @msg has to start with a header, which is filled in */
void qbuf_send(QBufConsumer *c, uint32_t type, void *msg, size_t size);

void qbuf_send_hello(QBufConsumer *c);
void qbuf_send_subscribe(QBufConsumer *c, const char *application,
                         uint32_t credit, uint32_t flags,
                         const uint8_t *properties, uint32_t property_bytes);
void qbuf_attach(QBufConsumer *c, uint64_t buffer);
void qbuf_attach_stream(QBufConsumer *c, uint64_t stream);
void qbuf_attach_writer(QBufConsumer *c, uint64_t buffer);
void qbuf_detach(QBufConsumer *c, uint64_t buffer);
void qbuf_removed(QBufConsumer *c, uint64_t buffer);
void qbuf_release(QBufConsumer *c, uint64_t buffer, uint64_t serial);

/* A WRITTEN of @size bytes from the start of the buffer */
void qbuf_written(QBufConsumer *c, uint64_t buffer, uint64_t serial,
                  uint64_t size);

/* A WRITTEN of spans, of which only these have changed */
void qbuf_written_spans(QBufConsumer *c, uint64_t buffer, uint64_t serial,
                        uint64_t size, const struct virtio_buf_span *spans,
                        unsigned count);

/* The next message, which has to be of this type; valid until the next call */
const void *qbuf_expect(QBufConsumer *c, uint32_t type);

/* A BUFFER of the guest's id @guest_id: returns the server's name for it */
uint64_t qbuf_expect_buffer(QBufConsumer *c, uint64_t guest_id);

void qbuf_expect_attached(QBufConsumer *c, uint64_t buffer, QBufMemory *memory);
void qbuf_expect_refused(QBufConsumer *c, uint64_t buffer, int error);
void qbuf_expect_update(QBufConsumer *c, uint64_t buffer, uint64_t serial,
                        QBufUpdate *update);
void qbuf_expect_lost(QBufConsumer *c, uint64_t buffer, uint64_t serial);
void qbuf_expect_remove(QBufConsumer *c, uint64_t buffer);
void qbuf_expect_reset(QBufConsumer *c, uint32_t reason);
void qbuf_expect_device(QBufConsumer *c, bool present);
void qbuf_expect_subscribed(QBufConsumer *c);

/* ERROR with this errno (messages before it are skipped), then the end */
void qbuf_expect_error(QBufConsumer *c, int error);

/* The end of the stream, perhaps after messages */
void qbuf_expect_end(QBufConsumer *c);

/* Nothing has come and nothing comes for a moment */
void qbuf_expect_silence(QBufConsumer *c);

/* Unmaps and closes */
void qbuf_memory_clear(QBufMemory *memory);

/* All @size bytes at @offset are @pattern */
void qbuf_memory_check(const QBufMemory *memory, size_t offset, size_t size,
                       uint8_t pattern);

/* A mapping of it to write to, @memory->size bytes: for munmap() */
uint8_t *qbuf_memory_map(const QBufMemory *memory);

/* Whether the file is writable through a mapping of this fd */
bool qbuf_memory_writable(const QBufMemory *memory);

#endif /* TESTS_LIBQOS_VIRTIO_BUF_CONSUMER_H */
