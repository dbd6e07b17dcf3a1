/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A buffer of virtio-buf with a consumer that has its memory: both sides in one
 *
 * Beside what the consumer got, it maps a dma-buf writable, which any process
 * can do that has one.
 */
#include "qemu/osdep.h"
#include "../libqtest.h"
#include "virtio-buf-holder.h"

void qbuf_check_bytes(const uint8_t *bytes, size_t size, uint8_t pattern)
{
    g_assert_cmphex(bytes[0], ==, pattern);
    g_assert_cmpint(memcmp(bytes, bytes + 1, size - 1), ==, 0);
}

void qvirtio_buf_check_ram(QVirtioBuf *b, uint64_t addr, size_t size,
                           uint8_t pattern)
{
    g_autofree uint8_t *bytes = g_malloc(size);

    qtest_bufread(b->qts, addr, bytes, size);
    qbuf_check_bytes(bytes, size, pattern);
}

void qbuf_holder_register(QBufHolder *holder, QVirtioBuf *b,
                          QVirtioBufBuffer *buffer, const char *application)
{
    holder->consumer = qbuf_subscribe_none(qvirtio_buf_socket_path(),
                                           application, 1);
    holder->bytes = NULL;
    buffer->application = application;
    g_assert_cmpuint(qvirtio_buf_register(b, buffer), ==, VIRTIO_BUF_S_OK);
    holder->handle = qbuf_expect_buffer(holder->consumer, buffer->id);
    qbuf_expect_attached(holder->consumer, holder->handle, &holder->memory);
    if (holder->memory.backing == VIRTIO_BUF_BACKING_DMABUF) {
        holder->bytes = mmap(NULL, holder->memory.size,
                             PROT_READ | PROT_WRITE, MAP_SHARED,
                             holder->memory.fd, 0);
        g_assert_true(holder->bytes != MAP_FAILED);
    }
}

void qbuf_holder_clear(QBufHolder *holder)
{
    if (holder->bytes) {
        munmap(holder->bytes, holder->memory.size);
    }
    qbuf_memory_clear(&holder->memory);
    if (holder->consumer) {
        qbuf_close(holder->consumer);
    }
}

void qbuf_holder_update(QBufHolder *holder, QVirtioBuf *b,
                        const QVirtioBufBuffer *buffer)
{
    QBufUpdate update;
    uint64_t serial = qvirtio_buf_update_ok(b, buffer->id, buffer->size);

    qbuf_expect_update(holder->consumer, holder->handle, serial, &update);
}

void qbuf_holder_check_shared(const QBufHolder *holder, QVirtioBuf *b,
                              const QVirtioBufBuffer *buffer)
{
    g_assert_cmpuint(holder->memory.backing, ==, VIRTIO_BUF_BACKING_DMABUF);
    qtest_memset(b->qts, buffer->addr, 0x11, buffer->size);
    qbuf_check_bytes(holder->memory.bytes, buffer->size, 0x11);
    holder->bytes[0] = 0x22;
    qvirtio_buf_check_ram(b, buffer->addr, 1, 0x22);
    qtest_memset(b->qts, buffer->addr, 0x33, buffer->size);
}

void qbuf_holder_check_taken_back(const QBufHolder *holder, QVirtioBuf *b,
                                  const QVirtioBufBuffer *buffer)
{
    qvirtio_buf_check_ram(b, buffer->addr, buffer->size, 0x33);
    qbuf_check_bytes(holder->memory.bytes, buffer->size, 0x33);
    qtest_memset(b->qts, buffer->addr, 0x44, buffer->size);
    qbuf_check_bytes(holder->memory.bytes, buffer->size, 0x33);
    memset(holder->bytes, 0x55, buffer->size);
    qvirtio_buf_check_ram(b, buffer->addr, buffer->size, 0x44);
}
