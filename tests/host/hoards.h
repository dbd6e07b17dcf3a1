/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf-hoarder: the ways to keep a buffer that the guest takes back
 *
 * Each is used in a process of its own. As long as a hoard is not dropped, the
 * dma-buf has a reference more than QEMU's.
 */
#ifndef VIRTIO_BUF_HOARDS_H
#define VIRTIO_BUF_HOARDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hoard_kind {
    HOARD_NOTHING,      /* lets go as it should */
    HOARD_MAPPING,      /* keeps a mapping, and does not answer */
    HOARD_FD,           /* keeps an fd, and does not answer */
    HOARD_PASSED,       /* a third process got the fd */
    HOARD_IN_FLIGHT,    /* the fd is in a socket that nobody reads */
    HOARD_FORKED,       /* a child has inherited the mapping */
    HOARD_IO_URING,     /* an io_uring has the file */
    HOARD_EPOLL,        /* a duplicate, polled by an epoll set */
    HOARD_IMPORTED,     /* another driver, vgem, has imported it */
    HOARD_RENAMED,      /* a mapping; fdinfo forged by name and locks */
    HOARD_STOPPED,      /* is stopped with a mapping */
    HOARD_KILLED,       /* is killed with a mapping, some time */
    HOARD_KINDS
};

extern const char *const hoard_names[HOARD_KINDS];

struct hoard {
    enum hoard_kind kind;
    size_t size;
    int fd;             /* of the dma-buf; or -1 */
    int other;          /* what keeps it instead: socket, ring, DRM; or -1 */
    uint32_t handle;    /* GEM, of @other; 0: none */
    uint8_t *bytes;     /* the mapping; or NULL */
};

/* Why this machine does not have what it needs; or NULL. A static text. */
const char *hoard_obstacle(enum hoard_kind kind);

/*
 * Takes over @fd, of @size bytes. Returns false, with a message on standard
 * error, when this machine cannot do it.
 */
bool hoard_keep(struct hoard *hoard, enum hoard_kind kind, int fd,
                size_t size);

/* Gets at the bytes, if it has none but a way to them */
bool hoard_open(struct hoard *hoard);

/* Are there bytes that the guest wrote after it had the pages back? */
bool hoard_has_secret(const struct hoard *hoard);

/* Writes junk to all of it, where it is writable */
void hoard_spoil(struct hoard *hoard);

/* This process does not hold it any more; a child of it may */
void hoard_drop(struct hoard *hoard);

#endif
