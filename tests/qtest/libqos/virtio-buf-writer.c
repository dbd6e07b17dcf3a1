/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A buffer of virtio-buf and the consumer that writes it
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/units.h"
#include "../libqtest.h"
#include "virtio-buf-writer.h"

#define PAGE_SIZE 4096

void qbuf_writer_register(QBufWriter *w, QVirtioBuf *b, uint8_t mode,
                          uint64_t size)
{
    *w = (QBufWriter) {
        .b = b,
        .buffer = {
            .mode = mode, .size = size, .addr = QBUF_WRITER_RAM,
            .access = VIRTIO_BUF_ACCESS_WRITER, .application = "writer",
        },
    };
    qvirtio_buf_register_ok(b, &w->buffer, 0x11);
}

void qbuf_writer_attach(QBufWriter *w)
{
    w->c = qbuf_subscribe(qvirtio_buf_socket_path(), "writer", 0);
    w->handle = qbuf_expect_buffer(w->c, w->buffer.id);
    qbuf_expect_subscribed(w->c);
    qbuf_attach_writer(w->c, w->handle);
    qbuf_expect_attached(w->c, w->handle, &w->memory);
    g_assert_true(w->memory.writer);
    w->bytes = qbuf_memory_map(&w->memory);
}

void qbuf_writer_init(QBufWriter *w, QVirtioBuf *b, uint8_t mode,
                      uint64_t size)
{
    qvirtio_buf_restart_writable(b);
    qbuf_writer_register(w, b, mode, size);
    qbuf_writer_attach(w);
}

uint64_t qbuf_writer_update(QBufWriter *w)
{
    uint64_t serial = qvirtio_buf_update_ok(w->b, w->buffer.id,
                                            w->buffer.size);

    qbuf_expect_update(w->c, w->handle, serial, NULL);
    return serial;
}

void qbuf_writer_let_go(QBufWriter *w)
{
    munmap(w->bytes, w->memory.size);
    qbuf_memory_clear(&w->memory);
}

void qbuf_writer_clear(QBufWriter *w)
{
    qbuf_writer_let_go(w);
    qbuf_close(w->c);
}

void qbuf_check_guest(QTestState *qts, uint64_t addr, size_t size,
                      uint8_t pattern)
{
    uint8_t bytes[2 * PAGE_SIZE];
    size_t step = size > MiB ? 64 * KiB : sizeof(bytes);
    size_t sample = size > MiB ? 64 : sizeof(bytes);

    for (size_t at = 0; at < size; at += step) {
        size_t len = MIN(sample, size - at);

        qtest_bufread(qts, addr + at, bytes, len);
        for (size_t i = 0; i < len; i++) {
            if (bytes[i] != pattern) {
                g_error("guest byte %zu is 0x%02x, not 0x%02x", at + i,
                        bytes[i], pattern);
            }
        }
    }
    g_assert_cmphex(qtest_readb(qts, addr + size - 1), ==, pattern);
}

uint8_t qbuf_writer_unnamed(const QBufWriter *w, uint8_t guest, uint8_t writer)
{
    return w->memory.backing == VIRTIO_BUF_BACKING_COPY ? guest : writer;
}
