/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's end of a connection, played by a test: it says what the test
 * wants, right or wrong, and checks what a consumer says. Every function fails
 * the test when it cannot do what its name says.
 */
#ifndef FAKE_SERVER_H
#define FAKE_SERVER_H

#include "virtio-buf/wire.h"

struct fake {
    int sock;
    struct virtio_buf_reader reader;
    _Alignas(8) uint8_t input[VIRTIO_BUF_MSG_MAX];
};

/* Takes over @sock */
void fake_init(struct fake *fake, int sock);
void fake_close(struct fake *fake);

/* Waits for a consumer on a listening socket */
void fake_accept(struct fake *fake, int listener);

/*
 * Sends a message; its type and size are put into @fixed. @fd stays the test's;
 * -1: none
 */
void fake_send(struct fake *fake, uint32_t type, void *fixed, size_t fixed_size,
               const void *more, size_t more_size, int fd);

/* Waits for the next message, which has to be of this type */
const void *fake_take(struct fake *fake, uint32_t type);

/* Nothing has come */
void fake_take_nothing(struct fake *fake);

/* The consumer is gone */
void fake_take_end(struct fake *fake);

/* Encodes "name=value", or "name" to delete it, up to a NULL; returns bytes */
size_t fake_properties(uint8_t *to, const char *const *texts);

void fake_hello(struct fake *fake);
void fake_device(struct fake *fake, const char *instance, bool present);
void fake_subscribed(struct fake *fake, uint32_t credit);

/* Takes HELLO and SUBSCRIBE, and answers both with device and SUBSCRIBED */
void fake_welcome(struct fake *fake);

struct fake_buffer {
    uint64_t id;
    uint64_t size;
    uint64_t stream;
    uint64_t serial;
    uint8_t mode;
    uint8_t access;
    uint8_t backing;
    const char *application;            /* NULL: "test" */
    const char *const *properties;      /* NULL: none */
};

void fake_buffer(struct fake *fake, const struct fake_buffer *buffer);
void fake_attached(struct fake *fake, uint64_t id, uint64_t size,
                   uint32_t backing, int fd);
void fake_attached_writer(struct fake *fake, uint64_t id, uint64_t size,
                          uint32_t backing, int fd);
/* Payload: @data_size bytes from the start */
void fake_update(struct fake *fake, uint64_t id, uint64_t serial,
                 uint64_t data_size, const char *const *properties);
void fake_set_properties(struct fake *fake, uint64_t id,
                         const char *const *properties);
void fake_remove(struct fake *fake, uint64_t id);
void fake_lost(struct fake *fake, uint64_t id, uint64_t serial);
void fake_refused(struct fake *fake, uint64_t id, uint32_t error);
void fake_reset(struct fake *fake, uint32_t reason);
void fake_error(struct fake *fake, uint32_t error, const char *text);

/* The messages of a consumer that name a buffer */
void fake_take_attach(struct fake *fake, uint64_t id, uint64_t stream);
void fake_take_attach_writer(struct fake *fake, uint64_t id, uint64_t stream);
void fake_take_detach(struct fake *fake, uint64_t id);
void fake_take_removed(struct fake *fake, uint64_t id);
void fake_take_release(struct fake *fake, uint64_t id, uint64_t serial);

/*
 * A WRITTEN of a buffer of @size bytes; its frame is right. Returns what it
 * says, valid until the next message.
 */
struct virtio_buf_frame_view fake_take_written(struct fake *fake, uint64_t id,
                                               uint64_t size);

/* A memfd sealed like those of a real server, with @size bytes of a pattern */
int fake_memory(uint64_t size);

#endif /* FAKE_SERVER_H */
