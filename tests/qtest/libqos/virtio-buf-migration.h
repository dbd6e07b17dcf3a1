/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moving a virtio-buf device from one QEMU to another
 *
 * The destination has the command line of the source, with a server at another
 * path. The guest's driver moves as well: its queue is in guest RAM.
 */
#ifndef TESTS_LIBQOS_VIRTIO_BUF_MIGRATION_H
#define TESTS_LIBQOS_VIRTIO_BUF_MIGRATION_H

#include "virtio-buf.h"

typedef struct QVirtioBufDestination {
    QTestState *qts;
    char *dir;              /* of the files that follow */
    char *server;           /* path of the server's socket */
    char *channel;          /* path of the migration socket */
    char *messages;         /* path of what QEMU prints */

    /* The driver, after qvirtio_buf_move() */
    QVirtioBuf buf;
    QVirtioPCIDevice pci;
    QPCIDevice pdev;
    QPCIBus bus;
    QVirtQueuePCI vq;
} QVirtioBufDestination;

/*
 * For QOSGraphTestOptions.before, as qvirtio_buf_before(), but with little
 * memory, which is sent soon; returns @arg
 */
void *qvirtio_buf_small_before(GString *cmd_line, void *arg);

/*
 * Starts a QEMU that waits for a migration. @before: the test's one, which gets
 * NULL. @from, if not NULL, is replaced by @to in its command line.
 */
QVirtioBufDestination *
qvirtio_buf_destination_new(QOSBeforeTest before, const char *from,
                            const char *to);
void qvirtio_buf_destination_free(QVirtioBufDestination *destination);

/* Makes destination->buf drive the device that @b drove at the source */
void qvirtio_buf_move(QVirtioBufDestination *destination, const QVirtioBuf *b);

/* Fails the test if QEMU has not printed this */
void qvirtio_buf_destination_said(QVirtioBufDestination *destination,
                                  const char *text);

/* Lets the destination read @uri; does not wait */
void qvirtio_buf_incoming(QVirtioBufDestination *destination, const char *uri);

/* Starts to send @qts to @uri; does not wait */
void qvirtio_buf_outgoing(QTestState *qts, const char *uri);

/* Whether QEMU sees the whole migration done; waits for the end of it */
bool qvirtio_buf_migrated(QTestState *qts);

/* Switches a capability of migration */
void qvirtio_buf_migration_capability(QTestState *qts, const char *name,
                                      bool on);

/*
 * Sends @b to @destination over a socket. If that succeeds, waits until the
 * guest runs there and moves the driver. Returns whether it has; at the source
 * and at the destination it is the same.
 */
bool qvirtio_buf_migrate(const QVirtioBuf *b,
                         QVirtioBufDestination *destination);

#endif /* TESTS_LIBQOS_VIRTIO_BUF_MIGRATION_H */
