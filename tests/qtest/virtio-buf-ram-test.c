/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: what RAM a machine can have
 *
 * Each kind of RAM is passed without a copy, or copied for the reason that
 * REGISTER states, or refused. Which of these it has to be is known from the
 * kind, from whether there is udmabuf, and from nothing that QEMU says.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/virtio-buf-holder.h"

#define PAGE_SIZE 4096
/* Above what the tests allocate */
#define FREE_RAM (64 * MiB)

#define MAX_RANGES 16384

/* Of zero-copy and its conditions: what a buffer has to be like */
static void check_backing(const QVirtioBufBuffer *buffer, uint8_t reason)
{
    uint8_t backing = VIRTIO_BUF_BACKING_DMABUF;

    if (!qvirtio_buf_zero_copy()) {
        reason = VIRTIO_BUF_REASON_NO_UDMABUF;
    }
    if (reason != VIRTIO_BUF_REASON_NONE && reason != VIRTIO_BUF_REASON_WEAK) {
        backing = VIRTIO_BUF_BACKING_COPY;
    }
    g_assert_cmpuint(buffer->response.reason, ==, reason);
    g_assert_cmpuint(buffer->response.backing, ==, backing);
}

/* @count pages with @distance bytes from one to the next */
static struct virtio_buf_range *make_ranges(uint64_t addr, uint32_t count,
                                            uint64_t distance)
{
    struct virtio_buf_range *ranges = g_new(struct virtio_buf_range, count);

    for (uint32_t i = 0; i < count; i++) {
        ranges[i].addr = cpu_to_le64(addr + i * distance);
        ranges[i].len = cpu_to_le64(PAGE_SIZE);
    }
    return ranges;
}

static uint32_t register_ranges(QVirtioBuf *b, QVirtioBufBuffer *buffer,
                                const struct virtio_buf_range *ranges,
                                uint32_t count)
{
    *buffer = (QVirtioBufBuffer) {
        .size = count * PAGE_SIZE, .ranges = ranges, .range_count = count,
    };
    return qvirtio_buf_register(b, buffer);
}

/* Up to list_limit ranges udmabuf takes them; more than that are copied */
static void test_ranges(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    g_autofree struct virtio_buf_range *apart =
        make_ranges(FREE_RAM, MAX_RANGES + 1, 2 * PAGE_SIZE);
    g_autofree struct virtio_buf_range *together =
        make_ranges(FREE_RAM, MAX_RANGES, PAGE_SIZE);
    struct virtio_buf_config config;
    QVirtioBufBuffer buffer;
    QBufHolder holder;
    uint32_t limit;

    qvirtio_buf_config(b, &config);
    g_assert_cmpuint(le32_to_cpu(config.max_ranges), ==, MAX_RANGES);
    limit = le32_to_cpu(config.max_dmabuf_ranges);
    if (!qvirtio_buf_zero_copy()) {
        g_assert_cmpuint(limit, ==, 0);
        g_assert_cmpuint(le64_to_cpu(config.max_dmabuf_size), ==, 0);
        limit = 1024;
    }

    g_assert_cmpuint(register_ranges(b, &buffer, apart, limit), ==,
                     VIRTIO_BUF_S_OK);
    check_backing(&buffer, VIRTIO_BUF_REASON_NONE);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(register_ranges(b, &buffer, together, MAX_RANGES), ==,
                     VIRTIO_BUF_S_OK);
    check_backing(&buffer, buffer.size > le64_to_cpu(config.max_dmabuf_size) ?
                           VIRTIO_BUF_REASON_SIZE : VIRTIO_BUF_REASON_NONE);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==, VIRTIO_BUF_S_OK);

    buffer = (QVirtioBufBuffer) {
        .size = (limit + 1) * PAGE_SIZE, .ranges = apart,
        .range_count = limit + 1,
    };
    for (uint32_t i = 0; i <= limit; i++) {
        qtest_memset(b->qts, FREE_RAM + i * 2 * PAGE_SIZE, i, PAGE_SIZE);
    }
    qbuf_holder_register(&holder, b, &buffer, "ranges");
    check_backing(&buffer, VIRTIO_BUF_REASON_RANGES);
    qbuf_holder_update(&holder, b, &buffer);
    for (uint32_t i = 0; i <= limit; i++) {
        qbuf_check_bytes(holder.memory.bytes + i * PAGE_SIZE, PAGE_SIZE, i);
    }
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_holder_clear(&holder);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);

    g_assert_cmpuint(register_ranges(b, &buffer, apart, MAX_RANGES), ==,
                     VIRTIO_BUF_S_OK);
    check_backing(&buffer, VIRTIO_BUF_REASON_RANGES);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(register_ranges(b, &buffer, apart, MAX_RANGES + 1), ==,
                     VIRTIO_BUF_S_LIMIT);
}

static void register_virtio_buf_ram_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("ram/ranges", "virtio-buf", test_ranges, &opts);
}

libqos_init(register_virtio_buf_ram_test);
