/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: guest RAM, its copies, and how it is taken back
 *
 * No vCPU runs: what the guest has in its RAM is what the test put there. The
 * cases with dma-bufs are skipped where there is no udmabuf.
 */
#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/dma-buf.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define PAGE_SIZE 4096
#define HUGE_PAGE (2 * MiB)
/* Above all that the tests allocate, and aligned for huge pages */
#define FREE_RAM (128 * MiB)

#define RELEASE_TIMEOUT_MS 100
#define REVOKING QVIRTIO_BUF_SERVER ",release-timeout=100"

#define SHMEM_HUGE_PAGES "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

/* -- a consumer with one buffer ------------------------------------------ */

typedef struct Holder {
    QBufConsumer *consumer;
    QBufMemory memory;
    uint8_t *bytes;         /* writable, if the memory is */
    uint64_t handle;
} Holder;

static void check_guest(QVirtioBuf *b, uint64_t addr, size_t size,
                        uint8_t pattern)
{
    g_autofree uint8_t *bytes = g_malloc(size);

    qtest_memread(b->qts, addr, bytes, size);
    for (size_t i = 0; i < size; i++) {
        g_assert_cmphex(bytes[i], ==, pattern);
    }
}

/* The first buffer that there is of application "test" */
static void holder_init(Holder *holder, QVirtioBuf *b,
                        const QVirtioBufBuffer *buffer)
{
    holder->consumer = qbuf_subscribe(path(), "test", 0);
    holder->handle = qbuf_expect_buffer(holder->consumer, buffer->id);
    qbuf_attach(holder->consumer, holder->handle);
    do {
        /* Other buffers are announced as well */
    } while (0);
    qbuf_expect_attached(holder->consumer, holder->handle, &holder->memory);
    holder->bytes = NULL;
    if (holder->memory.backing == VIRTIO_BUF_BACKING_DMABUF) {
        holder->bytes = mmap(NULL, holder->memory.size,
                             PROT_READ | PROT_WRITE, MAP_SHARED,
                             holder->memory.fd, 0);
        g_assert_true(holder->bytes != MAP_FAILED);
    }
}
