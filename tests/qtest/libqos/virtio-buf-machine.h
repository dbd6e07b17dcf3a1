/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine around a virtio-buf in tests: further devices, and what the
 * process of QEMU has open
 */
#ifndef TESTS_LIBQOS_VIRTIO_BUF_MACHINE_H
#define TESTS_LIBQOS_VIRTIO_BUF_MACHINE_H

#include "virtio-buf.h"

/* A device that came later; @buf has the server "s0" */
typedef struct QVirtioBufPlugged {
    QVirtioPCIDevice *pci;
    QVirtioBuf buf;
} QVirtioBufPlugged;

/* @first is another device of the machine, @id QEMU's name for the new one */
void qvirtio_buf_plug(QVirtioBufPlugged *plugged, QVirtioBuf *first,
                      const char *id);
void qvirtio_buf_unplug(QVirtioBufPlugged *plugged, const char *id);

unsigned qvirtio_buf_open_fds(QTestState *qts);

/* A QEMU that was just started may still be closing some */
unsigned qvirtio_buf_settled_fds(QTestState *qts);

/*
 * Until at most @count are open; returns how many. On a slow machine one of
 * QEMU's start may have been closed only after @count was taken.
 */
unsigned qvirtio_buf_wait_fds(QTestState *qts, unsigned count);

/* Clock ticks, of sysconf(_SC_CLK_TCK) per second, that QEMU has used */
unsigned long qvirtio_buf_cpu_ticks(QTestState *qts);

/* Bytes of RAM that are QEMU's own: its heap and stacks, no guest RAM */
uint64_t qvirtio_buf_anonymous_memory(QTestState *qts);

/* Whether it runs with gcc's AddressSanitizer */
bool qvirtio_buf_has_asan(QTestState *qts);

#endif /* TESTS_LIBQOS_VIRTIO_BUF_MACHINE_H */
