/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A good consumer of virtio-buf that is there while others misbehave
 */
#ifndef TESTS_LIBQOS_VIRTIO_BUF_WATCH_H
#define TESTS_LIBQOS_VIRTIO_BUF_WATCH_H

#include "virtio-buf.h"
#include "virtio-buf-consumer.h"

/* An IN_PLACE buffer of one page, of "test", and who has it attached */
typedef struct QBufWatch {
    QVirtioBuf *b;
    QBufConsumer *good;
    QVirtioBufBuffer buffer;
    QBufMemory memory;
    uint64_t handle;
    uint64_t serial;        /* of the buffer's last update */
    unsigned fds;           /* QEMU's, with nobody else there */
    unsigned checks;
} QBufWatch;

void qbuf_watch_begin(QBufWatch *watch, QVirtioBuf *b);

/*
 * The one that misbehaved has gone: the guest's next update arrives, and QEMU
 * has as many fds open as before
 */
void qbuf_watch_check(QBufWatch *watch);

/* Until QEMU knows that there are no more than @count consumers */
void qbuf_wait_consumers(QVirtioBuf *b, unsigned count);

/*
 * Takes @buffer back, which consumers had that are gone. QEMU keeps the dma-buf
 * of one that was detached while somebody still had it: until now.
 */
void qbuf_watch_unregister(QBufWatch *watch, const QVirtioBufBuffer *buffer);

/* Prints how often it was checked */
void qbuf_watch_end(QBufWatch *watch);

#endif /* TESTS_LIBQOS_VIRTIO_BUF_WATCH_H */
