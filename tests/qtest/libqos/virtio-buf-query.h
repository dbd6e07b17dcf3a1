/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-virtio-buf for tests
 */
#ifndef TESTS_LIBQOS_VIRTIO_BUF_QUERY_H
#define TESTS_LIBQOS_VIRTIO_BUF_QUERY_H

#include "qobject/qdict.h"
#include "virtio-buf.h"

/*
 * What it answers about the device that was given @device as its id. To be
 * unreferenced.
 */
QDict *qbuf_query(QVirtioBuf *b, const char *device);

/*
 * The element with this id of "buffers" or "consumers" of an answer: borrowed,
 * or NULL
 */
QDict *qbuf_find(const QDict *device, const char *list, uint64_t id);

/* A member is there and has this value; a @value of NULL: it is not there */
void qbuf_check_int(const QDict *dict, const char *key, uint64_t value);
void qbuf_check_str(const QDict *dict, const char *key, const char *value);
void qbuf_check_bool(const QDict *dict, const char *key, bool value);

#endif /* TESTS_LIBQOS_VIRTIO_BUF_QUERY_H */
