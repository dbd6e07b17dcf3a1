/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A good consumer of virtio-buf that is there while others misbehave
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-buf-machine.h"
#include "virtio-buf-watch.h"

#define PAGE_SIZE 4096

void qbuf_watch_begin(QBufWatch *watch, QVirtioBuf *b)
{
    *watch = (QBufWatch) { .b = b };
    watch->good = qbuf_subscribe_none(qvirtio_buf_socket_path(), "test", 1);
    qvirtio_buf_register_ok(b, &watch->buffer, 0);
    watch->handle = qbuf_expect_buffer(watch->good, watch->buffer.id);
    qbuf_expect_attached(watch->good, watch->handle, &watch->memory);
    watch->fds = qvirtio_buf_settled_fds(b->qts);
    qbuf_watch_check(watch);
}

void qbuf_watch_check(QBufWatch *watch)
{
    QVirtioBuf *b = watch->b;
    uint8_t pattern = ++watch->checks;

    qvirtio_buf_wait_fds(b->qts, watch->fds);
    qtest_memset(b->qts, watch->buffer.addr, pattern, PAGE_SIZE);
    watch->serial = qvirtio_buf_update_ok(b, watch->buffer.id, PAGE_SIZE);
    qbuf_expect_update(watch->good, watch->handle, watch->serial, NULL);
    qbuf_memory_check(&watch->memory, 0, PAGE_SIZE, pattern);
}

void qbuf_wait_consumers(QVirtioBuf *b, unsigned count)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    struct virtio_buf_config config;

    for (;;) {
        qvirtio_buf_config(b, &config);
        if (le32_to_cpu(config.consumers) <= count) {
            return;
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

void qbuf_watch_unregister(QBufWatch *watch, const QVirtioBufBuffer *buffer)
{
    qbuf_wait_consumers(watch->b, 1);
    g_assert_cmpuint(qvirtio_buf_unregister(watch->b, buffer->id), ==,
                     VIRTIO_BUF_S_OK);
}

void qbuf_watch_end(QBufWatch *watch)
{
    g_test_message("%u times nobody else noticed", watch->checks - 1);
    qbuf_memory_clear(&watch->memory);
    qbuf_close(watch->good);
}
