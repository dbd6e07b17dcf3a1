/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: what RAM a machine can have
 *
 * Each kind of RAM is passed without a copy, or copied for the reason that
 * REGISTER states, or refused. Which of these it has to be is known from the
 * kind, from whether there is udmabuf, and from nothing that QEMU says.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "libqtest.h"
#include "libqos/virtio-buf-boot.h"
#include "libqos/virtio-buf-holder.h"
#include "libqos/virtio-buf-query.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_mem.h"

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

/* Kinds of guest RAM */

#define RAM_SIZE (256 * MiB)
/* How a kind's options name a file that the test makes */
#define FILE_MARK "@FILE@"
#define REFUSED 0xff

typedef struct Kind {
    const char *name;
    const char *backend;        /* without id and size; NULL: the default */
    uint8_t reason;             /* VIRTIO_BUF_REASON_*, udmabuf=auto */
    uint8_t demanded;           /* the same, udmabuf=on; or REFUSED */
    const char *folder;         /* where FILE_MARK is */
    uint64_t memfd_offset;      /* FILE_MARK is a memfd, and QEMU's part here */
} Kind;

static const Kind kinds[] = {
    { "memfd", "memory-backend-memfd",
      VIRTIO_BUF_REASON_NONE, VIRTIO_BUF_REASON_NONE },
    { "memfd-private", "memory-backend-memfd,share=off",
      VIRTIO_BUF_REASON_NOT_SHARED, REFUSED },
    { "memfd-unsealed", "memory-backend-memfd,seal=off",
      VIRTIO_BUF_REASON_NOT_SHARED, REFUSED },
    { "hugetlb", "memory-backend-memfd,hugetlb=on,hugetlbsize=2M",
      VIRTIO_BUF_REASON_HUGE_PAGES, VIRTIO_BUF_REASON_WEAK },
    { "ram", "memory-backend-ram", VIRTIO_BUF_REASON_NOT_SHARED, REFUSED },
    { "ram-shared", "memory-backend-ram,share=on",
      VIRTIO_BUF_REASON_NOT_SHARED, REFUSED },
    { "shm", "memory-backend-shm", VIRTIO_BUF_REASON_NOT_SHARED, REFUSED },
    { "file-tmpfs", "memory-backend-file,share=on,mem-path=" FILE_MARK,
      VIRTIO_BUF_REASON_NOT_SHARED, REFUSED, .folder = "/dev/shm" },
    /* On a disk, if that is where temporary files are */
    { "file", "memory-backend-file,share=on,mem-path=" FILE_MARK,
      VIRTIO_BUF_REASON_NOT_SHARED, REFUSED, .folder = "" },
    { "file-memfd", "memory-backend-file,share=on,offset=2M,mem-path="
      FILE_MARK,
      VIRTIO_BUF_REASON_NONE, VIRTIO_BUF_REASON_NONE,
      .memfd_offset = 2 * MiB },
    { "default", NULL, VIRTIO_BUF_REASON_NOT_SHARED, REFUSED },
};

/* Makes the file of @kind, if it has one; returns its name, to be freed */
static char *kind_file(const Kind *kind, int *fd)
{
    g_autofree char *pattern = NULL;

    *fd = -1;
    if (kind->memfd_offset) {
        *fd = memfd_create("ram", MFD_ALLOW_SEALING);
        g_assert_cmpint(*fd, >=, 0);
        g_assert_cmpint(ftruncate(*fd, RAM_SIZE + kind->memfd_offset), ==, 0);
        g_assert_cmpint(fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK), ==, 0);
        /* QEMU inherits it */
        return g_strdup_printf("/proc/self/fd/%d", *fd);
    }
    if (kind->folder) {
        pattern = g_build_filename(*kind->folder ? kind->folder :
                                   g_get_tmp_dir(),
                                   "virtio-buf-ram-XXXXXX", NULL);
        *fd = g_mkstemp(pattern);
        g_assert_cmpint(*fd, >=, 0);
        return g_steal_pointer(&pattern);
    }
    return NULL;
}

/* The options of a machine with this RAM, to be freed */
static char *kind_options(const Kind *kind, const char *file)
{
    g_autofree char *backend = NULL;
    g_auto(GStrv) parts = NULL;

    if (!kind->backend) {
        return g_strdup("-machine pc -m 256M");
    }
    parts = g_strsplit(kind->backend, FILE_MARK, 2);
    backend = g_strjoinv(file, parts);
    return g_strdup_printf("-machine pc,memory-backend=mem -m 256M"
                           " -object %s,id=mem,size=256M", backend);
}

static uint64_t free_huge_pages(void)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents("/sys/kernel/mm/hugepages/hugepages-2048kB/"
                             "free_hugepages", &text, NULL, NULL)) {
        return 0;
    }
    return g_ascii_strtoull(text, NULL, 10);
}

static bool skip_without_huge_pages(const Kind *kind)
{
    uint64_t needed = RAM_SIZE / (2 * MiB);

    if (kind->backend && strstr(kind->backend, "hugetlb") &&
        free_huge_pages() < needed) {
        g_autofree char *why = g_strdup_printf(
            "%" PRIu64 " of %" PRIu64 " huge pages of 2 MiB are there "
            "(vm.nr_hugepages)", free_huge_pages(), needed);

        g_test_skip(why);
        return true;
    }
    return false;
}

/* The management is told the same as the guest */
static void check_query(QVirtioBuf *b, const QVirtioBufBuffer *buffer)
{
    static const char *const reasons[] = {
        [VIRTIO_BUF_REASON_NONE] = "none",
        [VIRTIO_BUF_REASON_NO_UDMABUF] = "no-udmabuf",
        [VIRTIO_BUF_REASON_NOT_SHARED] = "not-shared",
        [VIRTIO_BUF_REASON_HUGE_PAGES] = "huge-pages",
        [VIRTIO_BUF_REASON_DISCARD] = "discard",
        [VIRTIO_BUF_REASON_WEAK] = "weak",
    };
    QDict *device = qbuf_query(b, "buf");
    QDict *found = qbuf_find(device, "buffers", buffer->id);

    g_assert_nonnull(found);
    qbuf_check_str(found, "reason", reasons[buffer->response.reason]);
    qbuf_check_str(found, "backing", buffer->response.backing ==
                   VIRTIO_BUF_BACKING_DMABUF ? "dmabuf" : "copy");
    qobject_unref(device);
}

/* Consumers get what the guest has written, however the buffer is backed */
static void check_contents(QVirtioBuf *b, QVirtioBufBuffer *buffer,
                           uint8_t reason)
{
    QBufHolder holder;

    buffer->id = 0;
    qbuf_holder_register(&holder, b, buffer, "contents");
    check_backing(buffer, reason);
    check_query(b, buffer);
    if (buffer->response.backing == VIRTIO_BUF_BACKING_DMABUF) {
        qbuf_holder_check_shared(&holder, b, buffer);
    } else {
        qtest_memset(b->qts, buffer->addr, 0x5a, buffer->size);
        qbuf_holder_update(&holder, b, buffer);
        qbuf_memory_check(&holder.memory, 0, buffer->size, 0x5a);
    }
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer->id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_holder_clear(&holder);
    qvirtio_buf_wait_event(b, buffer->id, VIRTIO_BUF_EVENT_FREED, NULL);
}

static void add_device(QTestState *qts, const char *udmabuf)
{
    qtest_qmp_assert_success(qts,
        "{'execute': 'device_add', 'arguments': {'driver': 'virtio-buf-pci',"
        " 'id': 'buf', 'addr': '4', 'server': 's0', 'udmabuf': %s}}", udmabuf);
}

/* udmabuf=on: the message says what would help */
static void check_demand_refused(QTestState *qts)
{
    QDict *error = qtest_qmp_assert_failure_ref(qts,
        "{'execute': 'device_add', 'arguments': {'driver': 'virtio-buf-pci',"
        " 'addr': '4', 'server': 's0', 'udmabuf': 'on'}}");
    const char *text = qvirtio_buf_zero_copy() ?
                       "add -object memory-backend-memfd" :
                       "Could not open '/dev/udmabuf'";

    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), text));
    qobject_unref(error);
}

static void run_kind(const Kind *kind, bool demand)
{
    QVirtioBufBuffer buffer = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    g_autofree char *options = NULL;
    g_autofree char *file = NULL;
    QVirtioBufBooted booted;
    int fd;

    file = kind_file(kind, &fd);
    options = kind_options(kind, file);
    qvirtio_buf_boot(&booted, options);
    if (fd >= 0) {
        close(fd);
    }
    if (kind->folder) {
        g_unlink(file);
    }
    if (demand && (kind->demanded == REFUSED || !qvirtio_buf_zero_copy())) {
        check_demand_refused(booted.qts);
    } else {
        add_device(booted.qts, demand ? "on" : "auto");
        qvirtio_buf_boot_driver(&booted);
        check_contents(&booted.buf, &buffer,
                       demand ? kind->demanded : kind->reason);
        /* The same pages once more */
        check_contents(&booted.buf, &buffer,
                       demand ? kind->demanded : kind->reason);
    }
    qvirtio_buf_boot_end(&booted);
}

static void test_kind(void *obj, void *data, QGuestAllocator *alloc)
{
    const Kind *kind = data;

    if (!skip_without_huge_pages(kind)) {
        run_kind(kind, false);
        run_kind(kind, true);
    }
}

/* Several memories in one machine */

#define MEMFD(id) " -object memory-backend-memfd,size=128M,id=" id
#define PC "-machine pc -m 256M,slots=4,maxmem=2G"
#define TWO_NODES(first, second) PC first second \
    " -numa node,memdev=a -numa node,memdev=b"
#define BUF QVIRTIO_BUF_BOOT_DEVICE ",server=s0,id=buf"
#define SECOND_NODE (128 * MiB)
#define HOTPLUG_RAM (4 * GiB)

/* A buffer of a page at @first and one at @second */
static void check_pair(QVirtioBuf *b, uint64_t first, uint64_t second,
                       uint8_t reason)
{
    const struct virtio_buf_range ranges[] = {
        { cpu_to_le64(second), cpu_to_le64(PAGE_SIZE) },
        { cpu_to_le64(first), cpu_to_le64(PAGE_SIZE) },
    };
    QVirtioBufBuffer buffer = {
        .size = 2 * PAGE_SIZE, .ranges = ranges, .range_count = 2,
    };
    QBufHolder holder;

    qtest_memset(b->qts, first, 0x11, PAGE_SIZE);
    qtest_memset(b->qts, second, 0x22, PAGE_SIZE);
    qbuf_holder_register(&holder, b, &buffer, "pair");
    check_backing(&buffer, reason);
    qbuf_holder_update(&holder, b, &buffer);
    qbuf_memory_check(&holder.memory, 0, PAGE_SIZE, 0x22);
    qbuf_memory_check(&holder.memory, PAGE_SIZE, PAGE_SIZE, 0x11);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_holder_clear(&holder);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
}

static void test_nodes(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = {
        .addr = SECOND_NODE - PAGE_SIZE, .size = 2 * PAGE_SIZE,
    };
    QVirtioBufBooted booted;

    qvirtio_buf_boot(&booted, TWO_NODES(MEMFD("a"), MEMFD("b")) BUF);
    qvirtio_buf_boot_driver(&booted);
    check_pair(&booted.buf, FREE_RAM, SECOND_NODE + PAGE_SIZE,
               VIRTIO_BUF_REASON_NONE);
    /* Over the border, as one range */
    check_contents(&booted.buf, &buffer, VIRTIO_BUF_REASON_NONE);
    qvirtio_buf_boot_end(&booted);
}

/* One page that cannot be passed is enough */
static void test_mixed_nodes(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer good = { .addr = FREE_RAM, .size = 2 * PAGE_SIZE };
    QVirtioBufBuffer bad = { .addr = SECOND_NODE, .size = 2 * PAGE_SIZE };
    QVirtioBufBooted booted;

    qvirtio_buf_boot(&booted, TWO_NODES(
        MEMFD("a"), " -object memory-backend-ram,size=128M,id=b") BUF);
    qvirtio_buf_boot_driver(&booted);
    check_contents(&booted.buf, &good, VIRTIO_BUF_REASON_NONE);
    check_contents(&booted.buf, &bad, VIRTIO_BUF_REASON_NOT_SHARED);
    check_pair(&booted.buf, FREE_RAM, SECOND_NODE,
               VIRTIO_BUF_REASON_NOT_SHARED);
    qvirtio_buf_boot_end(&booted);
}

/* ACPI's memory hotplug, as the guest drives it */
#define MEMHP 0xa00
#define MEMHP_SELECT 0x0
#define MEMHP_FLAGS 0x14
#define MEMHP_EJECT (1 << 3)

static void test_dimm(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = HOTPLUG_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer gone = { .addr = HOTPLUG_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBooted booted;
    QBufHolder holder;
    QVirtioBuf *b;

    qvirtio_buf_boot(&booted, PC
                     " -object memory-backend-memfd,size=256M,id=mem"
                     " -machine memory-backend=mem" MEMFD("late") BUF);
    qvirtio_buf_boot_driver(&booted);
    b = &booted.buf;
    g_assert_cmpuint(qvirtio_buf_register(b, &gone), ==, VIRTIO_BUF_S_NOT_RAM);
    qtest_qmp_assert_success(b->qts,
        "{'execute': 'device_add', 'arguments': {'driver': 'pc-dimm',"
        " 'id': 'dimm', 'memdev': 'late'}}");
    check_contents(b, &buffer, VIRTIO_BUF_REASON_NONE);
    check_pair(b, FREE_RAM, HOTPLUG_RAM + PAGE_SIZE, VIRTIO_BUF_REASON_NONE);

    /* The guest lets it go with a buffer in it: the buffer keeps its RAM */
    buffer.id = 0;
    qtest_memset(b->qts, HOTPLUG_RAM, 0x77, buffer.size);
    qbuf_holder_register(&holder, b, &buffer, "unplugged");
    qbuf_holder_update(&holder, b, &buffer);
    qtest_outl(b->qts, MEMHP + MEMHP_SELECT, 0);
    qtest_outb(b->qts, MEMHP + MEMHP_FLAGS, MEMHP_EJECT);
    qtest_qmp_eventwait(b->qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(b->qts, "{'execute': 'object-del',"
                             " 'arguments': {'id': 'late'}}");
    qbuf_memory_check(&holder.memory, 0, buffer.size, 0x77);
    qbuf_holder_update(&holder, b, &buffer);
    gone.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(b, &gone), ==, VIRTIO_BUF_S_NOT_RAM);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_holder_clear(&holder);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    qvirtio_buf_boot_end(&booted);
}

static void test_nvdimm(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = HOTPLUG_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBooted booted;

    qvirtio_buf_boot(&booted, PC " -machine nvdimm=on" MEMFD("nv")
                     " -device nvdimm,memdev=nv" BUF);
    qvirtio_buf_boot_driver(&booted);
    check_contents(&booted.buf, &buffer, VIRTIO_BUF_REASON_NONE);
    qvirtio_buf_boot_end(&booted);
}

/* What is no RAM, or not all RAM */
static void test_not_ram(void *obj, void *data, QGuestAllocator *alloc)
{
    static const struct {
        uint64_t addr, size;
    } places[] = {
        { RAM_SIZE, PAGE_SIZE },                    /* nothing */
        { RAM_SIZE - PAGE_SIZE, 2 * PAGE_SIZE },    /* RAM, then nothing */
        { 0xfee00000, PAGE_SIZE },                  /* local APIC */
        { 0xfec00000, PAGE_SIZE },                  /* I/O APIC */
        { 0xffff0000, 0x10000 },                    /* pflash: the firmware */
        { 0xf0000, 0x10000 },                       /* its copy below 1 MiB */
        { UINT64_MAX - PAGE_SIZE + 1, PAGE_SIZE },
    };
    g_autofree char *flash = NULL;
    g_autofree char *options = NULL;
    QVirtioBufBooted booted;
    int fd = g_file_open_tmp("virtio-buf-flash-XXXXXX", &flash, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 1 * MiB), ==, 0);
    close(fd);
    options = g_strdup_printf("-machine pc,memory-backend=mem -m 256M"
                              " -object memory-backend-memfd,id=mem,size=256M"
                              " -drive if=pflash,format=raw,file=%s" BUF,
                              flash);
    qvirtio_buf_boot(&booted, options);
    g_unlink(flash);
    qvirtio_buf_boot_driver(&booted);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        QVirtioBufBuffer buffer = {
            .addr = places[i].addr, .size = places[i].size,
        };

        g_test_message("0x%" PRIx64, buffer.addr);
        g_assert_cmpuint(qvirtio_buf_register(&booted.buf, &buffer), ==,
                         VIRTIO_BUF_S_NOT_RAM);
    }
    qvirtio_buf_boot_end(&booted);
}

/* The guest gives a page of a buffer away: consumers keep what they have */
static void test_balloon(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    uint32_t pfn = (FREE_RAM + PAGE_SIZE) / PAGE_SIZE, head;
    QVirtioPCIDevice *balloon;
    QVirtioBufBooted booted;
    QBufHolder holder;
    QVirtQueue *inflate;
    uint64_t list;
    bool shared;
    QVirtioBuf *b;

    qvirtio_buf_boot(&booted, "-machine pc,memory-backend=mem -m 256M"
                     " -object memory-backend-memfd,id=mem,size=256M"
                     " -device virtio-balloon-pci,addr=05.0" BUF);
    qvirtio_buf_boot_driver(&booted);
    b = &booted.buf;
    balloon = qvirtio_buf_boot_other(&booted, 5);
    qvirtio_set_features(&balloon->vdev, 1ull << VIRTIO_F_VERSION_1);
    inflate = qvirtqueue_setup(&balloon->vdev, &booted.alloc, 0);
    qvirtio_set_driver_ok(&balloon->vdev);

    qbuf_holder_register(&holder, b, &buffer, "balloon");
    check_backing(&buffer, VIRTIO_BUF_REASON_NONE);
    shared = holder.bytes;
    qtest_memset(b->qts, FREE_RAM, 0x11, buffer.size);
    qbuf_holder_update(&holder, b, &buffer);

    list = guest_alloc(&booted.alloc, sizeof(pfn));
    qtest_writel(b->qts, list, pfn);
    head = qvirtqueue_add(b->qts, inflate, list, sizeof(pfn), false, false);
    qvirtqueue_kick(b->qts, &balloon->vdev, inflate, head);
    qvirtio_wait_used_elem(b->qts, &balloon->vdev, inflate, head, NULL,
                           QVIRTIO_BUF_TIMEOUT_US);

    /* Gone from the guest, not from the dma-buf; a copy follows the guest */
    qvirtio_buf_check_ram(b, FREE_RAM + PAGE_SIZE, PAGE_SIZE, 0);
    qbuf_holder_update(&holder, b, &buffer);
    qbuf_memory_check(&holder.memory, 0, PAGE_SIZE, 0x11);
    qbuf_memory_check(&holder.memory, PAGE_SIZE, PAGE_SIZE, shared ? 0x11 : 0);
    qbuf_memory_check(&holder.memory, 2 * PAGE_SIZE, PAGE_SIZE, 0x11);

    /* It is taken back as ever, and what is registered then is one again */
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_holder_clear(&holder);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    check_contents(b, &buffer, VIRTIO_BUF_REASON_NONE);
    qvirtqueue_cleanup(balloon->vdev.bus, inflate, &booted.alloc);
    qvirtio_buf_boot_other_free(balloon);
    qvirtio_buf_boot_end(&booted);
}

/* Plugs or unplugs the first block of the virtio-mem */
static void change_block(QVirtioBufBooted *booted, QVirtioPCIDevice *mem,
                         QVirtQueue *vq, uint16_t type, uint64_t addr)
{
    QTestState *qts = booted->qts;
    struct virtio_mem_req request = {
        .type = cpu_to_le16(type),
        .u.plug = {
            .addr = cpu_to_le64(addr), .nb_blocks = cpu_to_le16(1),
        },
    };
    uint64_t out = guest_alloc(&booted->alloc, sizeof(request));
    uint64_t in = guest_alloc(&booted->alloc, sizeof(struct virtio_mem_resp));
    uint32_t head;

    qtest_memwrite(qts, out, &request, sizeof(request));
    head = qvirtqueue_add(qts, vq, out, sizeof(request), false, true);
    qvirtqueue_add(qts, vq, in, sizeof(struct virtio_mem_resp), true, false);
    qvirtqueue_kick(qts, &mem->vdev, vq, head);
    qvirtio_wait_used_elem(qts, &mem->vdev, vq, head, NULL,
                           QVIRTIO_BUF_TIMEOUT_US);
    g_assert_cmpuint(qtest_readw(qts, in), ==, VIRTIO_MEM_RESP_ACK);
}

/* Only what is plugged is RAM, and pages that are unplugged later stay so */
static void test_virtio_mem(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = HOTPLUG_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer main_ram = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer nothing = { .addr = HOTPLUG_RAM + 2 * MiB };
    QVirtioBufBuffer over = {
        .addr = HOTPLUG_RAM + 2 * MiB - PAGE_SIZE, .size = 2 * PAGE_SIZE,
    };
    QVirtioBufBooted booted;
    QVirtioPCIDevice *mem;
    QBufHolder holder;
    QVirtQueue *vq;
    QVirtioBuf *b;

    qvirtio_buf_boot(&booted, PC " -machine memory-backend=mem"
                     " -object memory-backend-memfd,size=256M,id=mem"
                     MEMFD("more") " -device virtio-mem-pci,memdev=more,"
                     "requested-size=64M,block-size=2M,addr=05.0" BUF);
    qvirtio_buf_boot_driver(&booted);
    b = &booted.buf;
    mem = qvirtio_buf_boot_other(&booted, 5);
    qvirtio_set_features(&mem->vdev, 1ull << VIRTIO_F_VERSION_1 |
                         1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE);
    vq = qvirtqueue_setup(&mem->vdev, &booted.alloc, 0);
    qvirtio_set_driver_ok(&mem->vdev);

    check_contents(b, &main_ram, VIRTIO_BUF_REASON_NONE);
    buffer.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                     VIRTIO_BUF_S_NOT_RAM);
    change_block(&booted, mem, vq, VIRTIO_MEM_REQ_PLUG, HOTPLUG_RAM);
    g_assert_cmpuint(qvirtio_buf_register(b, &nothing), ==,
                     VIRTIO_BUF_S_NOT_RAM);
    g_assert_cmpuint(qvirtio_buf_register(b, &over), ==, VIRTIO_BUF_S_NOT_RAM);
    check_contents(b, &buffer, VIRTIO_BUF_REASON_DISCARD);
    check_pair(b, FREE_RAM, HOTPLUG_RAM, VIRTIO_BUF_REASON_DISCARD);

    /* Unplugged with a buffer in it: no update makes QEMU populate it again */
    buffer.id = 0;
    qbuf_holder_register(&holder, b, &buffer, "unplugged");
    qtest_memset(b->qts, HOTPLUG_RAM, 0x77, buffer.size);
    qbuf_holder_update(&holder, b, &buffer);
    change_block(&booted, mem, vq, VIRTIO_MEM_REQ_UNPLUG, HOTPLUG_RAM);
    qbuf_holder_update(&holder, b, &buffer);
    qbuf_memory_check(&holder.memory, 0, buffer.size, 0x77);
    change_block(&booted, mem, vq, VIRTIO_MEM_REQ_PLUG, HOTPLUG_RAM);
    qbuf_holder_update(&holder, b, &buffer);
    qbuf_memory_check(&holder.memory, 0, buffer.size, 0);
    qbuf_holder_clear(&holder);

    qvirtqueue_cleanup(mem->vdev.bus, vq, &booted.alloc);
    qvirtio_buf_boot_other_free(mem);
    qvirtio_buf_boot_end(&booted);
}

static void register_virtio_buf_ram_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    /* The tests start machines of their own */
    QOSGraphTestOptions alone = { };

    qos_add_test("ram/ranges", "virtio-buf", test_ranges, &opts);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        g_autofree char *name = g_strdup_printf("ram/%s", kinds[i].name);

        alone.arg = (void *)&kinds[i];
        qos_add_test(name, QVIRTIO_BUF_ALONE, test_kind, &alone);
    }
    alone.arg = NULL;
    qos_add_test("ram/nodes", QVIRTIO_BUF_ALONE, test_nodes, &alone);
    qos_add_test("ram/mixed-nodes", QVIRTIO_BUF_ALONE, test_mixed_nodes,
                 &alone);
    qos_add_test("ram/dimm", QVIRTIO_BUF_ALONE, test_dimm, &alone);
    qos_add_test("ram/nvdimm", QVIRTIO_BUF_ALONE, test_nvdimm, &alone);
    qos_add_test("ram/virtio-mem", QVIRTIO_BUF_ALONE, test_virtio_mem,
                 &alone);
    qos_add_test("ram/not-ram", QVIRTIO_BUF_ALONE, test_not_ram, &alone);
    qos_add_test("ram/balloon", QVIRTIO_BUF_ALONE, test_balloon, &alone);
}

libqos_init(register_virtio_buf_ram_test);
