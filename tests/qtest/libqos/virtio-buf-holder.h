/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A buffer of virtio-buf with a consumer that has its memory: both sides in one
 */
#ifndef TESTS_LIBQOS_VIRTIO_BUF_HOLDER_H
#define TESTS_LIBQOS_VIRTIO_BUF_HOLDER_H

#include "virtio-buf.h"
#include "virtio-buf-consumer.h"

typedef struct QBufHolder {
    QBufConsumer *consumer;
    QBufMemory memory;
    uint8_t *bytes;         /* writable, of a dma-buf; NULL: it is a copy */
    uint64_t handle;
} QBufHolder;

/*
 * Subscribes to @application, which has to be the holder's alone, registers
 * @buffer, which has to succeed, and attaches.
 */
void qbuf_holder_register(QBufHolder *holder, QVirtioBuf *b,
                          QVirtioBufBuffer *buffer, const char *application);

/* Unmaps, closes and disconnects */
void qbuf_holder_clear(QBufHolder *holder);

/* An UPDATE of all of the buffer, until the consumer has heard of it */
void qbuf_holder_update(QBufHolder *holder, QVirtioBuf *b,
                        const QVirtioBufBuffer *buffer);

/*
 * The buffer, which is one range, is a dma-buf: guest and holder see each
 * other. Leaves 0x33 in all of it.
 */
void qbuf_holder_check_shared(const QBufHolder *holder, QVirtioBuf *b,
                              const QVirtioBufBuffer *buffer);

/*
 * After qbuf_holder_check_shared(): the guest has lost nothing, and neither
 * sees what the other writes now.
 */
void qbuf_holder_check_taken_back(const QBufHolder *holder, QVirtioBuf *b,
                                  const QVirtioBufBuffer *buffer);

/* All @size bytes at @addr of the guest's RAM are @pattern */
void qvirtio_buf_check_ram(QVirtioBuf *b, uint64_t addr, size_t size,
                           uint8_t pattern);

/* All bytes are @pattern. Quick also where the test's machine is emulated. */
void qbuf_check_bytes(const uint8_t *bytes, size_t size, uint8_t pattern);

#endif /* TESTS_LIBQOS_VIRTIO_BUF_HOLDER_H */
