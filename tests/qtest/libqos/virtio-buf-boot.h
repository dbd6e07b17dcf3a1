/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine with a virtio-buf that a test starts by itself, where the graph of
 * qos-test has none like it
 */
#ifndef TESTS_LIBQOS_VIRTIO_BUF_BOOT_H
#define TESTS_LIBQOS_VIRTIO_BUF_BOOT_H

#include "pci.h"
#include "virtio-buf.h"

typedef struct QVirtioBufBooted {
    QTestState *qts;
    QTestState *outer;      /* the graph's */
    QGuestAllocator alloc;
    QPCIBus *bus;
    QVirtioPCIDevice *pci;
    QVirtioBuf buf;
} QVirtioBufBooted;

/* Options of a virtio-buf where qvirtio_buf_boot_driver() finds it */
#define QVIRTIO_BUF_BOOT_DEVICE " -device virtio-buf-pci,addr=04.0"

/*
 * Starts QEMU with these options, a server "s0" at qvirtio_buf_socket_path()
 * added: the graph's machine must not have one. It is the global_qtest.
 */
void qvirtio_buf_boot(QVirtioBufBooted *booted, const char *options);

/* Starts booted->buf, which can be used from now on */
void qvirtio_buf_boot_driver(QVirtioBufBooted *booted);

/* The virtio device in another slot, ready for its queues */
QVirtioPCIDevice *qvirtio_buf_boot_other(QVirtioBufBooted *booted, int slot);
void qvirtio_buf_boot_other_free(QVirtioPCIDevice *pci);

/* Ends the machine; the graph's is global_qtest again */
void qvirtio_buf_boot_end(QVirtioBufBooted *booted);

#endif /* TESTS_LIBQOS_VIRTIO_BUF_BOOT_H */
