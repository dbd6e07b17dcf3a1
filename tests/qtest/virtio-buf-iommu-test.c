/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: behind a virtual IOMMU
 *
 * The test is the driver of Intel's IOMMU: one table of 4 KiB pages for the one
 * device, in which all RAM below IOVA_WINDOW has its own address, for the queue
 * and the test's structures, and the pages from there on have what the cases
 * give them.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/virtio-buf-boot.h"
#include "libqos/virtio-buf-holder.h"
#include "libqos/virtio-buf-screen.h"

#define PAGE_SIZE 4096
#define MACHINE "-machine q35,memory-backend=mem -m 256M" \
    " -object memory-backend-memfd,id=mem,size=256M"
#define IOMMU " -device intel-iommu,aw-bits=39"
#define BUF QVIRTIO_BUF_BOOT_DEVICE ",server=s0,bus=pcie.0"

/* Guest RAM that no allocator gives away */
#define TABLES (128 * MiB)
#define PAGES (192 * MiB)
/* What is mapped one to one ends here */
#define IOVA_WINDOW (256 * MiB)

/* Intel VT-d: registers, and the bits of tables */
#define VTD 0xfed90000
#define VTD_GCMD 0x18
#define VTD_GSTS 0x1c
#define VTD_RTADDR 0x20
#define VTD_CCMD 0x28
#define VTD_IOTLB 0xf8
#define VTD_TRANSLATE (1u << 31)
#define VTD_SET_ROOT (1u << 30)
#define VTD_CCMD_ALL ((1ull << 63) | (1ull << 61))
#define VTD_IOTLB_ALL ((1ull << 63) | (1ull << 60))
#define VTD_PRESENT 1
#define VTD_LEVELS_3 1          /* 39 bits */
#define VTD_DOMAIN(n) ((n) << 8)
#define VTD_READ 1
#define VTD_WRITE 2

#define ENTRIES 512

enum {
    TABLE_ROOT, TABLE_CONTEXT, TABLE_1G, TABLE_2M, TABLE_4K,
};

static uint64_t table(unsigned number)
{
    return TABLES + number * PAGE_SIZE;
}

static void set_entry(QTestState *qts, unsigned number, unsigned index,
                      uint64_t value)
{
    qtest_writeq(qts, table(number) + index * sizeof(value), value);
}

static void flush(QTestState *qts)
{
    qtest_writeq(qts, VTD + VTD_CCMD, VTD_CCMD_ALL);
    qtest_writeq(qts, VTD + VTD_IOTLB, VTD_IOTLB_ALL);
}

/* Maps the page at @iova; @rights 0: nothing is there */
static void map(QTestState *qts, uint64_t iova, uint64_t addr, uint64_t rights)
{
    uint64_t page = iova / PAGE_SIZE;

    set_entry(qts, TABLE_4K + page / ENTRIES, page % ENTRIES,
              rights ? addr | rights : 0);
}

static void iommu_on(QTestState *qts)
{
    unsigned used = IOVA_WINDOW / PAGE_SIZE / ENTRIES;
    g_autofree uint64_t *pages = g_new(uint64_t, IOVA_WINDOW / PAGE_SIZE);

    qtest_memset(qts, TABLES, 0, (TABLE_4K + used + 1) * PAGE_SIZE);
    for (unsigned i = 0; i <= used; i++) {
        set_entry(qts, TABLE_2M, i,
                  table(TABLE_4K + i) | VTD_READ | VTD_WRITE);
    }
    for (uint64_t i = 0; i < IOVA_WINDOW / PAGE_SIZE; i++) {
        pages[i] = cpu_to_le64(i * PAGE_SIZE | VTD_READ | VTD_WRITE);
    }
    qtest_bufwrite(qts, table(TABLE_4K), pages, used * PAGE_SIZE);
    set_entry(qts, TABLE_1G, 0, table(TABLE_2M) | VTD_READ | VTD_WRITE);
    /* Entries have two words; bus 0, and a context for each of its functions */
    set_entry(qts, TABLE_ROOT, 0, table(TABLE_CONTEXT) | VTD_PRESENT);
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        set_entry(qts, TABLE_CONTEXT, 2 * devfn,
                  table(TABLE_1G) | VTD_PRESENT);
        set_entry(qts, TABLE_CONTEXT, 2 * devfn + 1,
                  VTD_LEVELS_3 | VTD_DOMAIN(1));
    }
    qtest_writeq(qts, VTD + VTD_RTADDR, table(TABLE_ROOT));
    qtest_writel(qts, VTD + VTD_GCMD, VTD_SET_ROOT);
    flush(qts);
    qtest_writel(qts, VTD + VTD_GCMD, VTD_TRANSLATE);
    g_assert_cmphex(qtest_readl(qts, VTD + VTD_GSTS) & VTD_TRANSLATE, ==,
                    VTD_TRANSLATE);
}

static void boot(QVirtioBufBooted *booted, const char *options)
{
    qvirtio_buf_boot(booted, options);
    iommu_on(booted->qts);
    qvirtio_buf_boot_driver(booted);
}

static uint8_t expected_reason(uint8_t reason)
{
    return qvirtio_buf_zero_copy() ? reason : VIRTIO_BUF_REASON_NO_UDMABUF;
}

/* Three pages in a row for the device, here and there in RAM */
static const uint64_t scattered[] = {
    PAGES + 7 * PAGE_SIZE, PAGES, PAGES + 3 * PAGE_SIZE,
};

static void map_scattered(QTestState *qts, uint64_t rights)
{
    for (size_t i = 0; i < ARRAY_SIZE(scattered); i++) {
        map(qts, IOVA_WINDOW + i * PAGE_SIZE, scattered[i], rights);
        qtest_memset(qts, scattered[i], 0x10 + i, PAGE_SIZE);
    }
    flush(qts);
}

/* Through its table, however that may change; a copy can follow */
static void test_translated(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = IOVA_WINDOW, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer nothing = {
        .addr = IOVA_WINDOW + 2 * PAGE_SIZE, .size = 2 * PAGE_SIZE,
    };
    QVirtioBufBooted booted;
    QBufHolder holder;
    QVirtioBuf *b;

    boot(&booted, MACHINE IOMMU BUF);
    b = &booted.buf;
    map_scattered(b->qts, VTD_READ | VTD_WRITE);
    g_assert_cmpuint(qvirtio_buf_register(b, &nothing), ==,
                     VIRTIO_BUF_S_NOT_RAM);

    qbuf_holder_register(&holder, b, &buffer, "translated");
    g_assert_cmpuint(buffer.response.backing, ==, VIRTIO_BUF_BACKING_COPY);
    g_assert_cmpuint(buffer.response.reason, ==,
                     expected_reason(VIRTIO_BUF_REASON_IOMMU));
    qbuf_holder_update(&holder, b, &buffer);
    for (int i = 0; i < 3; i++) {
        qbuf_memory_check(&holder.memory, i * PAGE_SIZE, PAGE_SIZE, 0x10 + i);
    }

    /* One page is another one now: that was never shared, nor is it read */
    qtest_memset(b->qts, PAGES + PAGE_SIZE, 0xaa, PAGE_SIZE);
    qtest_memset(b->qts, scattered[0], 0xbb, PAGE_SIZE);
    map(b->qts, IOVA_WINDOW + PAGE_SIZE, PAGES + PAGE_SIZE, VTD_READ);
    flush(b->qts);
    qbuf_holder_update(&holder, b, &buffer);
    for (int i = 0; i < 3; i++) {
        qbuf_memory_check(&holder.memory, i * PAGE_SIZE, PAGE_SIZE, 0x10 + i);
    }

    /* None: the guest may use the old page for anything */
    map(b->qts, IOVA_WINDOW + PAGE_SIZE, 0, 0);
    flush(b->qts);
    qtest_memset(b->qts, scattered[1], 0xcc, PAGE_SIZE);
    qbuf_holder_update(&holder, b, &buffer);
    qbuf_memory_check(&holder.memory, PAGE_SIZE, PAGE_SIZE, 0x11);

    /* It is as it was, and so is everything else */
    map(b->qts, IOVA_WINDOW + PAGE_SIZE, scattered[1], VTD_READ);
    flush(b->qts);
    qbuf_holder_update(&holder, b, &buffer);
    qbuf_memory_check(&holder.memory, 0, PAGE_SIZE, 0xbb);
    qbuf_memory_check(&holder.memory, PAGE_SIZE, PAGE_SIZE, 0xcc);
    qbuf_memory_check(&holder.memory, 2 * PAGE_SIZE, PAGE_SIZE, 0x12);

    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_holder_clear(&holder);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    qvirtio_buf_boot_end(&booted);
}

/* Unmapped between REGISTER and the first consumer */
static void test_unmapped_early(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = IOVA_WINDOW, .size = 3 * PAGE_SIZE };
    QVirtioBufBooted booted;
    QBufConsumer *consumer;
    QBufMemory memory;
    uint64_t handle;
    QVirtioBuf *b;

    boot(&booted, MACHINE IOMMU BUF);
    b = &booted.buf;
    map_scattered(b->qts, VTD_READ);
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_OK);
    map_scattered(b->qts, 0);
    qvirtio_buf_update_ok(b, buffer.id, buffer.size);

    consumer = qbuf_subscribe(qvirtio_buf_socket_path(), "test", 1);
    handle = qbuf_expect_buffer(consumer, buffer.id);
    qbuf_expect_subscribed(consumer);
    qbuf_expect_attached(consumer, handle, &memory);
    qvirtio_buf_update_ok(b, buffer.id, buffer.size);
    qbuf_memory_check(&memory, 0, buffer.size, 0);
    qbuf_memory_clear(&memory);
    qbuf_close(consumer);
    qvirtio_buf_boot_end(&booted);
}

/* What the device may not write is nothing for a writer */
static void test_read_only(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = IOVA_WINDOW, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer writer = {
        .addr = IOVA_WINDOW, .size = 3 * PAGE_SIZE,
        .access = VIRTIO_BUF_ACCESS_WRITER,
    };
    QVirtioBufBooted booted;
    QVirtioBuf *b;

    boot(&booted, MACHINE IOMMU BUF);
    b = &booted.buf;
    b->features |= 1ull << VIRTIO_BUF_F_WRITER;
    qvirtio_buf_restart(b);
    map_scattered(b->qts, VTD_READ);
    g_assert_cmpuint(qvirtio_buf_register(b, &writer), ==,
                     VIRTIO_BUF_S_NOT_RAM);
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==, VIRTIO_BUF_S_OK);
    map_scattered(b->qts, VTD_READ | VTD_WRITE);
    writer.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(b, &writer), ==, VIRTIO_BUF_S_OK);
    qvirtio_buf_boot_end(&booted);
}

/* Each page that is looked up costs time, whatever the guest calls a range */
static void test_pieces(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = IOVA_WINDOW, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer in_a_row = { .addr = PAGES, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer less = { .addr = IOVA_WINDOW, .size = 2 * PAGE_SIZE };
    QVirtioBufBooted booted;
    QVirtioBuf *b;

    boot(&booted, MACHINE IOMMU BUF ",max-ranges=2");
    b = &booted.buf;
    map_scattered(b->qts, VTD_READ);
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_LIMIT);
    g_assert_cmpuint(qvirtio_buf_register(b, &in_a_row), ==,
                     VIRTIO_BUF_S_LIMIT);
    less.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(b, &less), ==, VIRTIO_BUF_S_OK);
    qvirtio_buf_boot_end(&booted);
}

/* A console does not show what the guest has unmapped, nor anything else */
static void test_display(void *obj, void *data, QGuestAllocator *alloc)
{
    QBufCanvas canvas = {
        .width = 64, .height = 96, .fourcc = "RG16",
        .buffer.addr = IOVA_WINDOW,
    };
    QVirtioBufBooted booted;
    QBufScreen screen;
    QVirtioBuf *b;

    boot(&booted, MACHINE IOMMU BUF ",id=buf0" QBUF_SCREEN);
    b = &booted.buf;
    map_scattered(b->qts, VTD_READ);
    for (size_t i = 0; i < ARRAY_SIZE(scattered); i++) {
        qtest_memset(b->qts, scattered[i], 0xff, PAGE_SIZE);
    }
    canvas.buffer.size = canvas.width * canvas.height * 2;
    g_assert_cmpuint(canvas.buffer.size, ==, 3 * PAGE_SIZE);
    qbuf_canvas_register(&canvas, b);
    map(b->qts, IOVA_WINDOW + 2 * PAGE_SIZE, 0, 0);
    flush(b->qts);
    qvirtio_buf_update_ok(b, canvas.buffer.id, canvas.buffer.size);
    qbuf_screen_look_at_message(b, "display0", &screen);
    qbuf_screen_clear(&screen);

    map_scattered(b->qts, VTD_READ);
    for (size_t i = 0; i < ARRAY_SIZE(scattered); i++) {
        qtest_memset(b->qts, scattered[i], 0xff, PAGE_SIZE);
    }
    qvirtio_buf_update_ok(b, canvas.buffer.id, canvas.buffer.size);
    qbuf_screen_expect(b, "display0", 64, 96, WHITE);
    qvirtio_buf_boot_end(&booted);
}

/* The IOMMU is there, but not for this device */
static void test_bypassed(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = PAGES, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer nothing = { .addr = IOVA_WINDOW };
    QVirtioBufBooted booted;
    QBufHolder holder;
    QVirtioBuf *b;

    boot(&booted, MACHINE IOMMU BUF ",iommu_platform=off");
    b = &booted.buf;
    map_scattered(b->qts, VTD_READ);
    g_assert_cmpuint(qvirtio_buf_register(b, &nothing), ==,
                     VIRTIO_BUF_S_NOT_RAM);
    qbuf_holder_register(&holder, b, &buffer, "bypassed");
    g_assert_cmpuint(buffer.response.reason, ==,
                     expected_reason(VIRTIO_BUF_REASON_NONE));
    if (qvirtio_buf_zero_copy()) {
        qbuf_holder_check_shared(&holder, b, &buffer);
    } else {
        qtest_memset(b->qts, PAGES, 0x77, buffer.size);
        qbuf_holder_update(&holder, b, &buffer);
        qbuf_memory_check(&holder.memory, 0, buffer.size, 0x77);
    }
    qbuf_holder_clear(&holder);
    qvirtio_buf_boot_end(&booted);
}

/* Zero-copy is demanded: pages stay shared until they are unregistered */
static void test_demanded(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = IOVA_WINDOW, .size = PAGE_SIZE };
    QVirtioBufBooted booted;
    QBufHolder holder;
    QVirtioBuf *b;

    if (!qvirtio_buf_zero_copy()) {
        g_test_skip("no usable /dev/udmabuf");
        return;
    }
    boot(&booted, MACHINE IOMMU BUF ",udmabuf=on");
    b = &booted.buf;
    map_scattered(b->qts, VTD_READ | VTD_WRITE);
    qbuf_holder_register(&holder, b, &buffer, "demanded");
    g_assert_cmpuint(buffer.response.backing, ==, VIRTIO_BUF_BACKING_DMABUF);
    g_assert_cmpuint(buffer.response.reason, ==, VIRTIO_BUF_REASON_WEAK);
    qbuf_check_bytes(holder.memory.bytes, PAGE_SIZE, 0x10);
    qbuf_holder_clear(&holder);
    qvirtio_buf_boot_end(&booted);
}

/* There is none: device addresses are the guest's physical ones */
static void test_no_iommu(void *obj, void *data, QGuestAllocator *alloc)
{
    static const char *const options[] = {
        MACHINE BUF ",iommu_platform=on", MACHINE BUF ",iommu_platform=off",
    };

    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        QVirtioBufBuffer buffer = { .addr = PAGES, .size = 3 * PAGE_SIZE };
        QVirtioBufBooted booted;

        qvirtio_buf_boot(&booted, options[i]);
        qvirtio_buf_boot_driver(&booted);
        g_assert_cmpuint(qvirtio_buf_register(&booted.buf, &buffer), ==,
                         VIRTIO_BUF_S_OK);
        g_assert_cmpuint(buffer.response.reason, ==,
                         expected_reason(VIRTIO_BUF_REASON_NONE));
        qvirtio_buf_boot_end(&booted);
    }
}

static void register_virtio_buf_iommu_test(void)
{
    qos_add_test("iommu/translated", QVIRTIO_BUF_ALONE, test_translated, NULL);
    qos_add_test("iommu/unmapped-early", QVIRTIO_BUF_ALONE,
                 test_unmapped_early, NULL);
    qos_add_test("iommu/read-only", QVIRTIO_BUF_ALONE, test_read_only, NULL);
    qos_add_test("iommu/pieces", QVIRTIO_BUF_ALONE, test_pieces, NULL);
    qos_add_test("iommu/display", QVIRTIO_BUF_ALONE, test_display, NULL);
    qos_add_test("iommu/bypassed", QVIRTIO_BUF_ALONE, test_bypassed, NULL);
    qos_add_test("iommu/demanded", QVIRTIO_BUF_ALONE, test_demanded, NULL);
    qos_add_test("iommu/none", QVIRTIO_BUF_ALONE, test_no_iommu, NULL);
}

libqos_init(register_virtio_buf_iommu_test);
