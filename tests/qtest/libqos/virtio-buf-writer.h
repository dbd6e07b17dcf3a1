/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A buffer of virtio-buf and the consumer that writes it
 */
#ifndef TESTS_LIBQOS_VIRTIO_BUF_WRITER_H
#define TESTS_LIBQOS_VIRTIO_BUF_WRITER_H

#include "virtio-buf.h"
#include "virtio-buf-consumer.h"

/* Where its buffers are: above all that the tests allocate */
#define QBUF_WRITER_RAM (128ull * 1024 * 1024)

typedef struct QBufWriter {
    QVirtioBuf *b;
    QVirtioBufBuffer buffer;    /* of the application "writer" */
    QBufConsumer *c;
    QBufMemory memory;
    uint8_t *bytes;             /* of @memory, writable */
    uint64_t handle;
} QBufWriter;

/* Restarts the device with the feature, registers a buffer and attaches */
void qbuf_writer_init(QBufWriter *w, QVirtioBuf *b, uint8_t mode,
                      uint64_t size);

/*
 * The same in two: the device has the feature; RAM is filled with 0x11. To
 * attach, the buffer has to be the only one of its application.
 */
void qbuf_writer_register(QBufWriter *w, QVirtioBuf *b, uint8_t mode,
                          uint64_t size);
void qbuf_writer_attach(QBufWriter *w);

/* The guest's UPDATE, which the writer hears of: returns its serial */
uint64_t qbuf_writer_update(QBufWriter *w);

/* Unmaps and closes the memory; says nothing */
void qbuf_writer_let_go(QBufWriter *w);

/* The same, and disconnects */
void qbuf_writer_clear(QBufWriter *w);

/* Guest RAM has this in every byte, or of megabytes, in a sample */
void qbuf_check_guest(QTestState *qts, uint64_t addr, size_t size,
                      uint8_t pattern);

/*
 * What the guest has where the writer has written @writer, without naming it in
 * a WRITTEN: of a copy what it had, @guest
 */
uint8_t qbuf_writer_unnamed(const QBufWriter *w, uint8_t guest, uint8_t writer);

#endif /* TESTS_LIBQOS_VIRTIO_BUF_WRITER_H */
