/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: when taking back meets obstacles
 *
 * The kernel refuses to punch holes (a seal that comes from outside), does not
 * free parts of huge pages, or another buffer is in the way; holders keep more
 * than they may; the machine stands still. Each case starts a machine of its
 * own, no vCPU runs. Most are skipped where there is no udmabuf.
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-boot.h"
#include "libqos/virtio-buf-holder.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define PAGE_SIZE 4096
#define HUGE_PAGE (2 * MiB)
#define RAM_SIZE (256 * MiB)
/* Above all that the tests allocate, and aligned for huge pages */
#define FREE_RAM (128 * MiB)

#define MS 1000000ll           /* of the virtual clock */
#define RELEASE_TIMEOUT_MS 100
/* After this, what failed was tried again at least once */
#define RETRY_MS 2000
#define REVOKING QVIRTIO_BUF_BOOT_DEVICE \
    ",server=s0,release-timeout=100,id=buf"

static bool skip_without_udmabuf(void)
{
    if (!qvirtio_buf_zero_copy()) {
        g_test_skip("no usable /dev/udmabuf");
        return true;
    }
    return false;
}

static void step_ms(QTestState *qts, int64_t ms)
{
    qtest_clock_step(qts, ms * MS);
}

/* Starts a machine whose RAM is this backend, with these devices */
static void boot(QVirtioBufBooted *booted, const char *backend,
                 const char *devices)
{
    g_autofree char *options = g_strdup_printf(
        "-machine pc,memory-backend=mem -m 256M"
        " -object %s,id=mem,size=256M %s", backend, devices);

    qvirtio_buf_boot(booted, options);
    qvirtio_buf_boot_driver(booted);
}

/*
 * The same with a memfd that is not QEMU's alone: it can still be sealed.
 * Returns it.
 */
static int boot_on_memfd(QVirtioBufBooted *booted, const char *devices)
{
    int fd = memfd_create("ram", MFD_ALLOW_SEALING);
    g_autofree char *backend = NULL;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, RAM_SIZE + HUGE_PAGE), ==, 0);
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), ==, 0);
    /* QEMU inherits it */
    backend = g_strdup_printf("memory-backend-file,mem-path=/proc/self/fd/%d,"
                              "offset=2M,align=2M,share=on", fd);
    boot(booted, backend, devices);
    return fd;
}

/* From now on no hole can be punched */
static void seal(int fd)
{
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), ==, 0);
}

/* Those that QEMU has open */
static unsigned count_dmabufs(QTestState *qts)
{
    g_autofree char *folder = g_strdup_printf("/proc/%d/fd", qtest_pid(qts));
    GDir *dir = g_dir_open(folder, 0, NULL);
    unsigned count = 0;
    const char *name;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *target = g_file_read_link(path, NULL);

        count += target && g_str_has_prefix(target, "/dmabuf:");
    }
    g_dir_close(dir);
    return count;
}

static void expect_unrevocable(QTestState *qts, bool quarantined,
                               unsigned buffers, uint64_t bytes)
{
    QDict *event, *data;

    if (quarantined) {
        /* Perhaps not the first one within a second */
        step_ms(qts, 1001);
    }
    event = qtest_qmp_eventwait_ref(qts, "VIRTIO_BUF_UNREVOCABLE");
    data = qdict_get_qdict(event, "data");
    g_assert_cmpstr(qdict_get_str(data, "id"), ==, "buf");
    g_assert_true(qdict_get_bool(data, "quarantined") == quarantined);
    g_assert_cmpint(qdict_get_int(data, "buffers"), ==, buffers);
    g_assert_cmpint(qdict_get_int(data, "bytes"), ==, bytes);
    qobject_unref(event);
}

/* A number that query-virtio-buf tells of the only device */
static uint64_t query_number(QTestState *qts, const char *name)
{
    QDict *answer = qtest_qmp(qts, "{'execute': 'query-virtio-buf'}");
    QDict *device = qobject_to(QDict, qlist_peek(qdict_get_qlist(answer,
                                                                 "return")));
    uint64_t number = qdict_get_int(device, name);

    qobject_unref(answer);
    return number;
}

static void unregister_pending(QVirtioBuf *b, const QVirtioBufBuffer *buffer)
{
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer->id), ==,
                     VIRTIO_BUF_S_PENDING);
}

/* Its deadline passes, and it cannot be revoked */
static void miss_deadline(QVirtioBuf *b, const QVirtioBufBuffer *buffer)
{
    unregister_pending(b, buffer);
    step_ms(b->qts, RELEASE_TIMEOUT_MS + 1);
    expect_unrevocable(b->qts, false, 1, buffer->size);
    qvirtio_buf_no_event(b, buffer->id, VIRTIO_BUF_EVENT_FREED);
}

/* The buffer's pages are the guest's once nobody holds them */
static void expect_freed(QVirtioBuf *b, const QVirtioBufBuffer *buffer)
{
    step_ms(b->qts, 500);
    qvirtio_buf_wait_event(b, buffer->id, VIRTIO_BUF_EVENT_FREED, NULL);
}

/* A deadline that passes in vain: the driver keeps the pages */
static void test_seal_deadline(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer next = { .addr = FREE_RAM + 16 * PAGE_SIZE };
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    QBufHolder holder;
    int fd;

    if (skip_without_udmabuf()) {
        return;
    }
    fd = boot_on_memfd(&booted, REVOKING);
    qbuf_holder_register(&holder, b, &buffer, "seal");
    qbuf_holder_check_shared(&holder, b, &buffer);
    seal(fd);
    miss_deadline(b, &buffer);
    qbuf_expect_error(holder.consumer, ETIMEDOUT);

    /* It is shared still, and nothing of it was lost */
    qvirtio_buf_check_ram(b, buffer.addr, buffer.size, 0x33);
    qbuf_holder_check_shared(&holder, b, &buffer);
    step_ms(b->qts, 10 * RETRY_MS);
    qvirtio_buf_no_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED);
    qbuf_holder_check_shared(&holder, b, &buffer);
    g_assert_cmpuint(count_dmabufs(b->qts), ==, 1);

    /* What comes now is not shared in the first place */
    g_assert_cmpuint(qvirtio_buf_register(b, &next), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(next.response.backing, ==, VIRTIO_BUF_BACKING_COPY);
    g_assert_cmpuint(next.response.reason, ==, VIRTIO_BUF_REASON_NOT_SHARED);

    qbuf_holder_clear(&holder);
    expect_freed(b, &buffer);
    g_assert_cmpuint(count_dmabufs(b->qts), ==, 0);
    qvirtio_buf_boot_end(&booted);
    close(fd);
}

/* A reset does not wait; what is held then is not shared again before */
static void test_seal_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    bool whole_machine = data;
    QVirtioBufBuffer one = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer two = {
        .addr = FREE_RAM + 4 * PAGE_SIZE, .size = 2 * PAGE_SIZE,
    };
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    QBufHolder first, second;
    int fd;

    if (skip_without_udmabuf()) {
        return;
    }
    fd = boot_on_memfd(&booted, REVOKING);
    qbuf_holder_register(&first, b, &one, "seal-1");
    qbuf_holder_register(&second, b, &two, "seal-2");
    qbuf_holder_check_shared(&first, b, &one);
    qbuf_holder_check_shared(&second, b, &two);
    seal(fd);
    miss_deadline(b, &one);
    if (whole_machine) {
        qtest_system_reset(b->qts);
        qbuf_expect_reset(second.consumer, VIRTIO_BUF_RESET_REASON_SYSTEM);
    } else {
        qvirtio_buf_restart(b);
        qbuf_expect_reset(second.consumer, VIRTIO_BUF_RESET_REASON_DRIVER);
    }
    /* The one that was told before is in quarantine, too */
    expect_unrevocable(b->qts, true, 2, one.size + two.size);
    g_assert_cmpuint(query_number(b->qts, "quarantined-count"), ==, 2);
    g_assert_cmpuint(query_number(b->qts, "buffer-count"), ==, 0);
    qvirtio_buf_check_ram(b, one.addr, one.size, 0x33);
    step_ms(b->qts, 2 * RETRY_MS);
    g_assert_cmpuint(query_number(b->qts, "quarantined-count"), ==, 2);

    qbuf_holder_clear(&second);
    step_ms(b->qts, 500);
    g_assert_cmpuint(query_number(b->qts, "quarantined-count"), ==, 1);
    g_assert_cmpuint(query_number(b->qts, "quarantined-bytes"), ==, one.size);
    qbuf_holder_clear(&first);
    step_ms(b->qts, 500);
    g_assert_cmpuint(query_number(b->qts, "quarantined-count"), ==, 0);
    g_assert_cmpuint(count_dmabufs(b->qts), ==, 0);
    qvirtio_buf_boot_end(&booted);
    close(fd);
}

/* How the guest's firmware takes a device of the PC's first PCI bus out */
#define ACPI_PCI_EJECT 0xae08

/*
 * The device goes at once, while somebody keeps its pages; QEMU goes on looking
 * after them, and nobody else gets them
 */
static void test_seal_unplug(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer writable = {
        .addr = FREE_RAM + 2 * PAGE_SIZE, .access = VIRTIO_BUF_ACCESS_WRITER,
    };
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf, other;
    QVirtioPCIDevice *pci;
    QBufHolder holder;
    int fd;

    if (skip_without_udmabuf()) {
        return;
    }
    fd = boot_on_memfd(&booted, REVOKING);
    qbuf_holder_register(&holder, b, &buffer, "seal");
    qbuf_holder_check_shared(&holder, b, &buffer);
    seal(fd);
    qtest_qmp_device_del_send(b->qts, "buf");
    /* The register takes four bytes, no fewer */
    qtest_outl(b->qts, ACPI_PCI_EJECT, 1 << 4);
    qbuf_expect_reset(holder.consumer, VIRTIO_BUF_RESET_REASON_UNPLUG);
    expect_unrevocable(b->qts, true, 1, buffer.size);
    qtest_qmp_eventwait(b->qts, "DEVICE_DELETED");
    step_ms(b->qts, 2 * RETRY_MS);
    g_assert_cmpuint(count_dmabufs(b->qts), ==, 1);
    qvirtio_buf_check_ram(b, buffer.addr, buffer.size, 0x33);

    /* The server and the name are free, the pages are not */
    qtest_qmp_assert_success(b->qts,
        "{'execute': 'device_add', 'arguments': {'driver': 'virtio-buf-pci',"
        " 'id': 'buf', 'addr': '6', 'server': 's0'}}");
    pci = qvirtio_buf_boot_other(&booted, 6);
    other = (QVirtioBuf) {
        .vdev = &pci->vdev, .pci = pci, .alloc = &booted.alloc,
    };
    qvirtio_buf_setup(&other);
    qvirtio_buf_restart_writable(&other);
    g_assert_cmpuint(qvirtio_buf_register(&other, &writable), ==,
                     VIRTIO_BUF_S_OVERLAP);
    qbuf_holder_clear(&holder);
    step_ms(b->qts, 500);
    g_assert_cmpuint(count_dmabufs(b->qts), ==, 0);
    writable.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(&other, &writable), ==,
                     VIRTIO_BUF_S_OK);
    qvirtqueue_cleanup(other.vdev->bus, other.vq, &booted.alloc);
    qvirtio_buf_boot_other_free(pci);
    qvirtio_buf_boot_end(&booted);
    close(fd);
}

/* Transparent huge pages for guest RAM */

#define SHMEM_HUGE_PAGES "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool written;

    if (fd < 0) {
        return false;
    }
    written = write(fd, text, strlen(text)) == strlen(text);
    close(fd);
    return written;
}

/* Whether any guest RAM is in transparent huge pages */
static bool has_huge_pages(QTestState *qts)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/smaps", qtest_pid(qts));
    g_autofree char *smaps = NULL;
    const char *line;

    g_assert_true(g_file_get_contents(name, &smaps, NULL, NULL));
    for (line = smaps; (line = strstr(line, "ShmemPmdMapped:")); line++) {
        if (atoi(line + strlen("ShmemPmdMapped:"))) {
            return true;
        }
    }
    return false;
}

/* The policy counts at the first touch; QEMU asks for huge pages */
static bool touch_huge_page(QTestState *qts)
{
    g_autofree char *policy = NULL;
    char *start, *end;

    if (!g_file_get_contents(SHMEM_HUGE_PAGES, &policy, NULL, NULL) ||
        !write_text(SHMEM_HUGE_PAGES, "advise")) {
        return false;
    }
    qtest_memset(qts, FREE_RAM, 0x66, HUGE_PAGE);
    start = strchr(policy, '[');
    end = strchr(policy, ']');
    g_assert_true(start && end);
    *end = 0;
    g_assert_true(write_text(SHMEM_HUGE_PAGES, start + 1));
    return has_huge_pages(qts);
}

/* What is in the way goes, and the buffer comes back all by itself */
static void test_retry(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer one = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer two = {
        .addr = FREE_RAM + 4 * PAGE_SIZE, .size = 2 * PAGE_SIZE,
    };
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    QBufHolder first, second;
    int fd;

    if (skip_without_udmabuf()) {
        return;
    }
    fd = boot_on_memfd(&booted, REVOKING);
    if (!touch_huge_page(b->qts)) {
        g_test_skip("the kernel gave no huge page");
        qvirtio_buf_boot_end(&booted);
        close(fd);
        return;
    }
    qbuf_holder_register(&first, b, &one, "retry-1");
    qbuf_holder_register(&second, b, &two, "retry-2");
    qbuf_holder_check_shared(&first, b, &one);
    miss_deadline(b, &one);
    step_ms(b->qts, RETRY_MS);
    qvirtio_buf_no_event(b, one.id, VIRTIO_BUF_EVENT_FREED);
    qvirtio_buf_check_ram(b, one.addr, one.size, 0x33);
    qbuf_holder_check_shared(&second, b, &two);

    unregister_pending(b, &two);
    qbuf_holder_clear(&second);
    expect_freed(b, &two);
    qvirtio_buf_no_event(b, one.id, VIRTIO_BUF_EVENT_FREED);
    step_ms(b->qts, 4 * RETRY_MS);
    qvirtio_buf_wait_event(b, one.id, VIRTIO_BUF_EVENT_FREED, NULL);
    qbuf_holder_check_taken_back(&first, b, &one);
    qvirtio_buf_check_ram(b, two.addr + two.size,
                          HUGE_PAGE - 6 * PAGE_SIZE, 0x66);
    qbuf_holder_clear(&first);
    qvirtio_buf_boot_end(&booted);
    close(fd);
}

/* RAM that cannot be taken back at all: udmabuf=on */

#define HUGETLB_PAGES "/proc/sys/vm/nr_hugepages"
/* The RAM, and some that others may take */
#define HUGETLB_COUNT ((int)(RAM_SIZE / HUGE_PAGE) + 8)

/* Until the test ends; returns the number before, or NULL */
static char *reserve_huge_pages(void)
{
    g_autofree char *wanted = g_strdup_printf("%d", HUGETLB_COUNT);
    char *before = NULL;
    g_autofree char *now = NULL;

    if (!g_file_get_contents(HUGETLB_PAGES, &before, NULL, NULL) ||
        !write_text(HUGETLB_PAGES, wanted) ||
        !g_file_get_contents(HUGETLB_PAGES, &now, NULL, NULL) ||
        atoi(now) < atoi(wanted)) {
        if (before) {
            write_text(HUGETLB_PAGES, before);
        }
        g_clear_pointer(&before, g_free);
    }
    return before;
}

static void test_weak(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    g_autofree char *pages = NULL;
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    QBufHolder holder;

    if (skip_without_udmabuf()) {
        return;
    }
    pages = reserve_huge_pages();
    if (!pages) {
        g_test_skip("no huge pages can be reserved (vm.nr_hugepages)");
        return;
    }
    boot(&booted, "memory-backend-memfd,hugetlb=on,hugetlbsize=2M",
         REVOKING ",udmabuf=on");

    /* The deadline is one for the consumer only */
    qbuf_holder_register(&holder, b, &buffer, "weak");
    g_assert_cmpuint(buffer.response.reason, ==, VIRTIO_BUF_REASON_WEAK);
    qbuf_holder_check_shared(&holder, b, &buffer);
    miss_deadline(b, &buffer);
    qbuf_expect_error(holder.consumer, ETIMEDOUT);
    qbuf_holder_check_shared(&holder, b, &buffer);
    qbuf_holder_clear(&holder);
    expect_freed(b, &buffer);

    /* After a reset the holder sees on, and nobody else gets these pages */
    buffer.id = 0;
    qbuf_holder_register(&holder, b, &buffer, "weak");
    qbuf_holder_check_shared(&holder, b, &buffer);
    qvirtio_buf_restart(b);
    expect_unrevocable(b->qts, true, 1, buffer.size);
    qbuf_holder_check_shared(&holder, b, &buffer);
    buffer.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                     VIRTIO_BUF_S_NOT_SHAREABLE);
    qbuf_holder_clear(&holder);
    step_ms(b->qts, 500);
    buffer.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(buffer.response.backing, ==, VIRTIO_BUF_BACKING_DMABUF);
    qvirtio_buf_boot_end(&booted);
    write_text(HUGETLB_PAGES, pages);
}

/* What holders keep is bounded in fds of QEMU, too, however small it is */
static void test_orphan_count(void *obj, void *data, QGuestAllocator *alloc)
{
    /* More than 256, and as many for each consumer as it may attach */
    enum { EACH = 60, CONSUMERS = 5, COUNT = EACH * CONSUMERS };
    QVirtioBufBuffer next = { .addr = FREE_RAM + COUNT * PAGE_SIZE };
    QBufMemory memories[COUNT];
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    QBufConsumer *consumers[CONSUMERS];

    if (skip_without_udmabuf()) {
        return;
    }
    boot(&booted, "memory-backend-memfd", REVOKING ",max-buffers=512");
    for (int i = 0; i < COUNT; i++) {
        QBufConsumer **consumer = &consumers[i / EACH];
        g_autofree char *application = g_strdup_printf("orphans-%d", i / EACH);
        QVirtioBufBuffer buffer = {
            .addr = FREE_RAM + i * PAGE_SIZE, .application = application,
        };
        uint64_t handle;

        if (i % EACH == 0) {
            *consumer = qbuf_subscribe_none(qvirtio_buf_socket_path(),
                                            application, EACH);
        }
        g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                         VIRTIO_BUF_S_OK);
        handle = qbuf_expect_buffer(*consumer, buffer.id);
        qbuf_expect_attached(*consumer, handle, &memories[i]);
        qtest_memset(b->qts, buffer.addr, 0x33, PAGE_SIZE);
    }
    qvirtio_buf_restart(b);
    g_assert_cmpuint(query_number(b->qts, "orphaned-count"), ==, COUNT);
    g_assert_cmpuint(query_number(b->qts, "orphaned-bytes"), ==,
                     COUNT * PAGE_SIZE);
    qtest_memset(b->qts, FREE_RAM, 0x44, COUNT * PAGE_SIZE);
    for (int i = 0; i < COUNT; i++) {
        qbuf_memory_check(&memories[i], 0, PAGE_SIZE, 0x33);
    }

    g_assert_cmpuint(qvirtio_buf_register(b, &next), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(next.response.backing, ==, VIRTIO_BUF_BACKING_COPY);
    g_assert_cmpuint(next.response.reason, ==, VIRTIO_BUF_REASON_ORPHANED);
    g_assert_cmpuint(qvirtio_buf_unregister(b, next.id), ==, VIRTIO_BUF_S_OK);

    for (int i = 0; i < EACH; i++) {
        qbuf_memory_clear(&memories[i]);
    }
    g_assert_cmpuint(query_number(b->qts, "orphaned-count"), ==,
                     COUNT - EACH);
    next.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(b, &next), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(next.response.backing, ==, VIRTIO_BUF_BACKING_DMABUF);
    for (int i = EACH; i < COUNT; i++) {
        qbuf_memory_clear(&memories[i]);
    }
    g_assert_cmpuint(query_number(b->qts, "orphaned-count"), ==, 0);
    g_assert_cmpuint(count_dmabufs(b->qts), ==, 0);
    for (int i = 0; i < CONSUMERS; i++) {
        qbuf_close(consumers[i]);
    }
    qvirtio_buf_boot_end(&booted);
}

/* Nobody's deadline passes while the machine stands still */
static void test_stopped(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    QBufHolder holder;

    boot(&booted, "memory-backend-memfd", REVOKING);
    qbuf_holder_register(&holder, b, &buffer, "stopped");
    qtest_memset(b->qts, buffer.addr, 0x33, buffer.size);
    unregister_pending(b, &buffer);
    qbuf_expect_remove(holder.consumer, holder.handle);
    qtest_qmp_assert_success(b->qts, "{'execute': 'stop'}");
    step_ms(b->qts, 100 * RELEASE_TIMEOUT_MS);
    qbuf_expect_silence(holder.consumer);
    if (holder.bytes) {
        /* Still shared */
        holder.bytes[0] = 0x11;
        qvirtio_buf_check_ram(b, buffer.addr, 1, 0x11);
        holder.bytes[0] = 0x33;
    }
    qtest_qmp_assert_success(b->qts, "{'execute': 'cont'}");
    step_ms(b->qts, RELEASE_TIMEOUT_MS + 1);
    qbuf_expect_error(holder.consumer, ETIMEDOUT);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    if (holder.bytes) {
        qbuf_holder_check_taken_back(&holder, b, &buffer);
    }
    qbuf_holder_clear(&holder);
    qvirtio_buf_boot_end(&booted);
}

static void check_backing(const QVirtioBufBuffer *buffer, uint8_t reason)
{
    if (!qvirtio_buf_zero_copy()) {
        reason = VIRTIO_BUF_REASON_NO_UDMABUF;
    }
    g_assert_cmpuint(buffer->response.reason, ==, reason);
    g_assert_cmpuint(buffer->response.backing, ==,
                     reason == VIRTIO_BUF_REASON_NONE ?
                     VIRTIO_BUF_BACKING_DMABUF : VIRTIO_BUF_BACKING_COPY);
}

/* What two buffers have in common is given away once only */
static void test_overlap(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer one = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer two = {
        .addr = FREE_RAM + 2 * PAGE_SIZE, .size = 3 * PAGE_SIZE,
    };
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    QBufHolder first, second;

    boot(&booted, "memory-backend-memfd", REVOKING);
    qbuf_holder_register(&first, b, &one, "overlap-1");
    check_backing(&one, VIRTIO_BUF_REASON_NONE);
    qtest_memset(b->qts, one.addr, 0x33, one.size);
    unregister_pending(b, &one);

    /* The other one is not left behind with old pages, now or later */
    qbuf_holder_register(&second, b, &two, "overlap-2");
    check_backing(&two, VIRTIO_BUF_REASON_OVERLAP);
    step_ms(b->qts, RELEASE_TIMEOUT_MS + 1);
    qvirtio_buf_wait_event(b, one.id, VIRTIO_BUF_EVENT_FREED, NULL);
    if (first.bytes) {
        qbuf_holder_check_taken_back(&first, b, &one);
    }
    qtest_memset(b->qts, two.addr, 0x77, two.size);
    qbuf_holder_update(&second, b, &two);
    qbuf_memory_check(&second.memory, 0, two.size, 0x77);
    qbuf_holder_clear(&first);
    qbuf_holder_clear(&second);
    qvirtio_buf_boot_end(&booted);
}

/* The same, in two devices; and what a writer wants is its alone */
static void test_two_devices(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer one = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer two = { .addr = FREE_RAM + 2 * PAGE_SIZE };
    QVirtioBufBuffer writable = {
        .addr = FREE_RAM, .access = VIRTIO_BUF_ACCESS_WRITER,
    };
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf, other;
    QVirtioPCIDevice *pci;
    QBufHolder holder;

    boot(&booted, "memory-backend-memfd",
         REVOKING " -device virtio-buf-pci,addr=05.0");
    pci = qvirtio_buf_boot_other(&booted, 5);
    other = (QVirtioBuf) {
        .vdev = &pci->vdev, .pci = pci, .alloc = &booted.alloc,
    };
    qvirtio_buf_setup(&other);
    qvirtio_buf_restart_writable(&other);

    qbuf_holder_register(&holder, b, &one, "two-devices");
    check_backing(&one, VIRTIO_BUF_REASON_NONE);
    g_assert_cmpuint(qvirtio_buf_register(&other, &two), ==, VIRTIO_BUF_S_OK);
    check_backing(&two, VIRTIO_BUF_REASON_OVERLAP);
    g_assert_cmpuint(qvirtio_buf_unregister(&other, two.id), ==,
                     VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_register(&other, &writable), ==,
                     VIRTIO_BUF_S_OVERLAP);

    /* PENDING is not free */
    unregister_pending(b, &one);
    two.id = writable.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(&other, &two), ==, VIRTIO_BUF_S_OK);
    check_backing(&two, VIRTIO_BUF_REASON_OVERLAP);
    g_assert_cmpuint(qvirtio_buf_unregister(&other, two.id), ==,
                     VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_register(&other, &writable), ==,
                     VIRTIO_BUF_S_OVERLAP);

    step_ms(b->qts, RELEASE_TIMEOUT_MS + 1);
    qvirtio_buf_wait_event(b, one.id, VIRTIO_BUF_EVENT_FREED, NULL);
    two.id = writable.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(&other, &two), ==, VIRTIO_BUF_S_OK);
    check_backing(&two, VIRTIO_BUF_REASON_NONE);
    g_assert_cmpuint(qvirtio_buf_register(&other, &writable), ==,
                     VIRTIO_BUF_S_OK);
    qbuf_holder_clear(&holder);
    qvirtqueue_cleanup(other.vdev->bus, other.vq, &booted.alloc);
    qvirtio_buf_boot_other_free(pci);
    qvirtio_buf_boot_end(&booted);
}

static void register_virtio_buf_revoke_test(void)
{
    /* The tests start machines of their own */
    QOSGraphTestOptions alone = { };
    QOSGraphTestOptions whole_machine = { .arg = (void *)true };

    qos_add_test("revoke/seal-deadline", QVIRTIO_BUF_ALONE, test_seal_deadline,
                 &alone);
    qos_add_test("revoke/seal-reset", QVIRTIO_BUF_ALONE, test_seal_reset,
                 &alone);
    qos_add_test("revoke/seal-system-reset", QVIRTIO_BUF_ALONE, test_seal_reset,
                 &whole_machine);
    qos_add_test("revoke/seal-unplug", QVIRTIO_BUF_ALONE, test_seal_unplug,
                 &alone);
    qos_add_test("revoke/retry", QVIRTIO_BUF_ALONE, test_retry, &alone);
    qos_add_test("revoke/weak", QVIRTIO_BUF_ALONE, test_weak, &alone);
    qos_add_test("revoke/orphan-count", QVIRTIO_BUF_ALONE, test_orphan_count,
                 &alone);
    qos_add_test("revoke/stopped", QVIRTIO_BUF_ALONE, test_stopped, &alone);
    qos_add_test("revoke/overlap", QVIRTIO_BUF_ALONE, test_overlap, &alone);
    qos_add_test("revoke/two-devices", QVIRTIO_BUF_ALONE, test_two_devices,
                 &alone);
}

libqos_init(register_virtio_buf_revoke_test);
