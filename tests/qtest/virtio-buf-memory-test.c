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
#include "libqos/virtio-buf-holder.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define PAGE_SIZE 4096
#define HUGE_PAGE (2 * MiB)
/* Above all that the tests allocate, and aligned for huge pages */
#define FREE_RAM (128 * MiB)

#define MS 1000000ll           /* of the virtual clock */
#define RELEASE_TIMEOUT_MS 100
#define REVOKING QVIRTIO_BUF_SERVER ",release-timeout=100"
#define UDMABUF_FD 90

typedef struct Machine {
    const char *ram;        /* options; NULL: what the machine has by default */
    uint8_t reason;         /* VIRTIO_BUF_REASON_*, where there is udmabuf */
    bool always;            /* the same where there is none */
} Machine;

static void *machine_before(GString *cmd_line, void *arg)
{
    const Machine *machine = arg;

    g_string_append_printf(cmd_line, " -m 256M"
                           " -object virtio-buf-server,id=s0,path=%s",
                           qvirtio_buf_socket_path());
    if (machine->ram) {
        g_string_append_printf(cmd_line, " -object %s,id=mem,size=256M"
                               " -machine memory-backend=mem", machine->ram);
    }
    return arg;
}

static void check_copied(const QVirtioBufBuffer *buffer, uint8_t reason,
                         bool always)
{
    g_assert_cmpuint(buffer->response.backing, ==, VIRTIO_BUF_BACKING_COPY);
    g_assert_cmpuint(buffer->response.reason, ==,
                     always || qvirtio_buf_zero_copy() ?
                     reason : VIRTIO_BUF_REASON_NO_UDMABUF);
}

/* Is not zero-copy, for a reason; consumers get the contents all the same */
static void test_copied(void *obj, void *data, QGuestAllocator *alloc)
{
    const Machine *machine = data;
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QBufHolder holder;

    qbuf_holder_register(&holder, b, &buffer, "copied");
    check_copied(&buffer, machine->reason, machine->always);
    g_assert_cmpuint(holder.memory.backing, ==, VIRTIO_BUF_BACKING_COPY);
    qtest_memset(b->qts, FREE_RAM, 0x5a, buffer.size);
    qbuf_memory_check(&holder.memory, 0, buffer.size, 0);
    qbuf_holder_update(&holder, b, &buffer);
    qbuf_memory_check(&holder.memory, 0, buffer.size, 0x5a);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_expect_remove(holder.consumer, holder.handle);
    qbuf_removed(holder.consumer, holder.handle);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    /* The copy is the consumer's to keep, and what it was */
    qtest_memset(b->qts, FREE_RAM, 0xa5, buffer.size);
    qbuf_memory_check(&holder.memory, 0, buffer.size, 0x5a);
    qbuf_holder_clear(&holder);
}

/* Large enough for a worker, of ranges in another order than in RAM */
static void test_copy_scattered(void *obj, void *data, QGuestAllocator *alloc)
{
    enum { COUNT = 100, LEN = 3 * PAGE_SIZE };
    QVirtioBuf *b = obj;
    struct virtio_buf_range ranges[COUNT];
    QVirtioBufBuffer buffer = {
        .size = COUNT * LEN - 1, .ranges = ranges, .range_count = COUNT,
    };
    struct {
        struct virtio_buf_update head;
        struct virtio_buf_span spans[2];
    } update = { };
    struct virtio_buf_update_response answer;
    QBufUpdate got;
    QBufHolder holder;

    for (int i = 0; i < COUNT; i++) {
        uint64_t addr = FREE_RAM + (COUNT - 1 - i) * (LEN + PAGE_SIZE);

        ranges[i].addr = cpu_to_le64(addr);
        ranges[i].len = cpu_to_le64(LEN);
        qtest_memset(b->qts, addr, i + 1, LEN);
    }
    qbuf_holder_register(&holder, b, &buffer, "scattered");
    check_copied(&buffer, VIRTIO_BUF_REASON_DISABLED, true);
    g_assert_cmpuint(holder.memory.size, ==, COUNT * LEN);
    qbuf_holder_update(&holder, b, &buffer);
    for (int i = 0; i < COUNT; i++) {
        qbuf_memory_check(&holder.memory, i * LEN,
                          i == COUNT - 1 ? LEN - 1 : LEN, i + 1);
    }

    /* Only what has changed is copied: across a border, and by the worker */
    qtest_memset(b->qts, FREE_RAM, 0xff, COUNT * (LEN + PAGE_SIZE));
    update.head.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE);
    update.head.buffer_id = cpu_to_le64(buffer.id);
    update.head.frame.serial = cpu_to_le64(++b->last_serial);
    update.head.frame.data_size = cpu_to_le64(buffer.size);
    update.head.frame.span_count = cpu_to_le16(2);
    update.spans[0].offset = cpu_to_le64(LEN - 10);
    update.spans[0].len = cpu_to_le64(20);
    update.spans[1].offset = cpu_to_le64(50 * LEN + 1);
    update.spans[1].len = cpu_to_le64(40 * LEN);
    qvirtio_buf_command(b, &update, sizeof(update), &answer, sizeof(answer));
    g_assert_cmpuint(le32_to_cpu(answer.hdr.status), ==, VIRTIO_BUF_S_OK);
    qbuf_expect_update(holder.consumer, holder.handle, b->last_serial, &got);
    qbuf_memory_check(&holder.memory, 0, LEN - 10, 1);
    qbuf_memory_check(&holder.memory, LEN - 10, 20, 0xff);
    qbuf_memory_check(&holder.memory, LEN + 10, LEN - 10, 2);
    qbuf_memory_check(&holder.memory, 50 * LEN, 1, 51);
    qbuf_memory_check(&holder.memory, 50 * LEN + 1, 40 * LEN, 0xff);
    qbuf_memory_check(&holder.memory, 90 * LEN + 1, LEN - 1, 91);
    qbuf_holder_clear(&holder);
}

/* Whatever a reader does with its fd, it cannot write to the copy */
static void test_copy_sealed(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .addr = FREE_RAM };
    g_autofree char *again = NULL;
    QBufHolder holder;
    int fd, seals;

    qbuf_holder_register(&holder, b, &buffer, "sealed");
    seals = fcntl(holder.memory.fd, F_GET_SEALS);
    g_assert_cmphex(seals, ==, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
                    F_SEAL_FUTURE_WRITE);
    g_assert_false(qbuf_memory_writable(&holder.memory));
    g_assert_cmpint(write(holder.memory.fd, "x", 1), ==, -1);
    g_assert_cmpint(ftruncate(holder.memory.fd, 0), ==, -1);
    again = g_strdup_printf("/proc/self/fd/%d", holder.memory.fd);
    fd = open(again, O_RDWR);
    if (fd >= 0) {
        g_assert_true(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                           fd, 0) == MAP_FAILED);
        close(fd);
    }
    g_assert_cmpint(mprotect((void *)holder.memory.bytes, PAGE_SIZE,
                             PROT_READ | PROT_WRITE), ==, -1);
    qbuf_holder_clear(&holder);
}

static unsigned count_fds(QVirtioBuf *b)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/fd", qtest_pid(b->qts));
    GDir *dir = g_dir_open(name, 0, NULL);
    unsigned count = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        count++;
    }
    g_dir_close(dir);
    return count;
}

/* The worker is stopped in the middle, again and again */
static void test_copy_interrupted(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    unsigned fds = count_fds(b);

    for (int i = 0; i < 30; i++) {
        QVirtioBufBuffer buffer = { .addr = FREE_RAM, .size = 48 * MiB };
        g_autofree char *application = g_strdup_printf("interrupted-%d", i);
        QBufHolder holder;

        qbuf_holder_register(&holder, b, &buffer, application);
        qvirtio_buf_update_ok(b, buffer.id, buffer.size);
        switch (i % 3) {
        case 0:
            qvirtio_buf_restart(b);
            qbuf_expect_reset(holder.consumer, VIRTIO_BUF_RESET_REASON_DRIVER);
            break;
        case 1:
            /* The last one detaches, and the buffer goes */
            qbuf_detach(holder.consumer, holder.handle);
            if (qvirtio_buf_unregister(b, buffer.id) != VIRTIO_BUF_S_OK) {
                qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED,
                                       NULL);
            }
            break;
        case 2:
            g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                             VIRTIO_BUF_S_PENDING);
            qbuf_removed(holder.consumer, holder.handle);
            qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
            break;
        }
        qbuf_holder_clear(&holder);
    }
    /* Those of the consumers are closed a moment later */
    for (int i = 0; i < 1000 && count_fds(b) > fds; i++) {
        g_usleep(10000);
    }
    g_assert_cmpuint(count_fds(b), <=, fds);
}

static bool skip_without_udmabuf(void)
{
    if (!qvirtio_buf_zero_copy()) {
        g_test_skip("no usable /dev/udmabuf");
        return true;
    }
    return false;
}

static void unregister_pending(QVirtioBuf *b, const QVirtioBufBuffer *buffer)
{
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer->id), ==,
                     VIRTIO_BUF_S_PENDING);
    qtest_clock_step(b->qts, (RELEASE_TIMEOUT_MS - 1) * MS);
    qvirtio_buf_no_event(b, buffer->id, VIRTIO_BUF_EVENT_FREED);
}

static void pass_deadline(QVirtioBuf *b)
{
    qtest_clock_step(b->qts, RELEASE_TIMEOUT_MS * MS);
}

static void test_revoke(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {
        .addr = FREE_RAM + PAGE_SIZE, .size = 2 * MiB + 3 * PAGE_SIZE,
    };
    QBufHolder holder, next;

    if (skip_without_udmabuf()) {
        return;
    }
    qtest_memset(b->qts, buffer.addr - PAGE_SIZE, 0x66, PAGE_SIZE);
    qtest_memset(b->qts, buffer.addr + buffer.size, 0x77, PAGE_SIZE);
    qbuf_holder_register(&holder, b, &buffer, "revoke");
    g_assert_cmpuint(buffer.response.reason, ==, VIRTIO_BUF_REASON_NONE);
    qbuf_holder_check_shared(&holder, b, &buffer);
    unregister_pending(b, &buffer);
    pass_deadline(b);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    qbuf_holder_check_taken_back(&holder, b, &buffer);
    qvirtio_buf_check_ram(b, buffer.addr - PAGE_SIZE, PAGE_SIZE, 0x66);
    qvirtio_buf_check_ram(b, buffer.addr + buffer.size, PAGE_SIZE, 0x77);

    /* The same pages once more: the next consumer has the guest's new ones */
    buffer.id = 0;
    qbuf_holder_register(&next, b, &buffer, "revoke-again");
    qbuf_holder_check_shared(&next, b, &buffer);
    qbuf_check_bytes(holder.memory.bytes, buffer.size, 0x55);
    qbuf_holder_clear(&next);
    qbuf_holder_clear(&holder);
}

/* QEMU cannot open it itself, but gets it */
static void *fdset_before(GString *cmd_line, void *arg)
{
    int fd = open("/dev/udmabuf", O_RDWR);

    if (fd >= 0) {
        g_assert_cmpint(dup2(fd, UDMABUF_FD), ==, UDMABUF_FD);
        close(fd);
        g_string_append_printf(cmd_line, " -add-fd fd=%d,set=9", UDMABUF_FD);
    }
    return qvirtio_buf_before(cmd_line, arg);
}

static void *locked_before(GString *cmd_line, void *arg)
{
    g_string_append(cmd_line, " -overcommit mem-lock=on-fault");
    return qvirtio_buf_before(cmd_line, arg);
}

/* Disconnected, and the memory passed on under a forged name */
static void test_held_by_strangers(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .addr = FREE_RAM };
    QBufHolder holder;
    int stranger;

    if (skip_without_udmabuf()) {
        return;
    }
    qbuf_holder_register(&holder, b, &buffer, "strangers");
    stranger = dup(holder.memory.fd);
    g_assert_cmpint(ioctl(stranger, DMA_BUF_SET_NAME, "x\ncount:\t1"), ==, 0);
    qbuf_holder_clear(&holder);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, NULL);
    unregister_pending(b, &buffer);
    /* It goes before the deadline, and that is seen */
    close(stranger);
    qtest_clock_step(b->qts, MS / 2);
    qtest_clock_step(b->qts, RELEASE_TIMEOUT_MS * MS);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
}

/* Two buffers of several ranges each, one of them PENDING, at device reset */
static void test_revoke_at_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer one = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer two = {
        .addr = FREE_RAM + 3 * PAGE_SIZE, .size = 2 * PAGE_SIZE,
    };
    QBufHolder first, second;

    if (skip_without_udmabuf()) {
        return;
    }
    qbuf_holder_register(&first, b, &one, "reset-1");
    qbuf_holder_register(&second, b, &two, "reset-2");
    qbuf_holder_check_shared(&first, b, &one);
    qbuf_holder_check_shared(&second, b, &two);
    g_assert_cmpuint(qvirtio_buf_unregister(b, one.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qvirtio_buf_restart(b);
    qbuf_holder_check_taken_back(&first, b, &one);
    qbuf_holder_check_taken_back(&second, b, &two);
    qbuf_expect_reset(second.consumer, VIRTIO_BUF_RESET_REASON_DRIVER);
    qbuf_holder_clear(&first);
    qbuf_holder_clear(&second);
}

/* What holders keep is bounded; above it, buffers are copied */
static void test_orphans(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer next = { .addr = FREE_RAM };
    unsigned fds = count_fds(b);
    QBufHolder holder;

    if (skip_without_udmabuf()) {
        return;
    }
    qbuf_holder_register(&holder, b, &buffer, "orphans");
    qbuf_holder_check_shared(&holder, b, &buffer);
    unregister_pending(b, &buffer);
    pass_deadline(b);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);

    g_assert_cmpuint(qvirtio_buf_register(b, &next), ==, VIRTIO_BUF_S_OK);
    check_copied(&next, VIRTIO_BUF_REASON_ORPHANED, true);
    g_assert_cmpuint(qvirtio_buf_unregister(b, next.id), ==, VIRTIO_BUF_S_OK);
    qbuf_holder_clear(&holder);
    next.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(b, &next), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(next.response.reason, ==, VIRTIO_BUF_REASON_NONE);
    for (int i = 0; i < 1000 && count_fds(b) > fds; i++) {
        g_usleep(10000);
    }
    g_assert_cmpuint(count_fds(b), <=, fds);
}

#define SHMEM_HUGE_PAGES "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

/*
 * A memory backend that can have huge pages: aligned, which that of a memfd is
 * not, and not at the start of its file.
 */
static void *huge_before(GString *cmd_line, void *arg)
{
    static int memfd = -1;

    if (memfd < 0) {
        /* QEMU inherits it */
        memfd = memfd_create("huge", MFD_ALLOW_SEALING);
        g_assert_cmpint(memfd, >=, 0);
        g_assert_cmpint(ftruncate(memfd, 256 * MiB + HUGE_PAGE), ==, 0);
        g_assert_cmpint(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW |
                              F_SEAL_SEAL), ==, 0);
    }
    /* No page is there yet: the first touch decides how large they are */
    g_assert_cmpint(fallocate(memfd, FALLOC_FL_PUNCH_HOLE |
                              FALLOC_FL_KEEP_SIZE, 0, 256 * MiB + HUGE_PAGE),
                    ==, 0);
    g_string_append_printf(cmd_line, " -m 256M"
                           " -object memory-backend-file,id=mem,size=256M,"
                           "mem-path=/proc/self/fd/%d,offset=2M,align=2M,"
                           "share=on"
                           " -machine memory-backend=mem"
                           " -object virtio-buf-server,id=s0,path=%s",
                           memfd, qvirtio_buf_socket_path());
    return arg;
}

static bool write_policy(const char *policy)
{
    int fd = open(SHMEM_HUGE_PAGES, O_WRONLY);
    bool written;

    if (fd < 0) {
        return false;
    }
    written = write(fd, policy, strlen(policy)) == strlen(policy);
    close(fd);
    return written;
}

/* Whether any guest RAM is in transparent huge pages */
static bool has_huge_pages(QVirtioBuf *b)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/smaps",
                                            qtest_pid(b->qts));
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

/* How often the kernel had none to give */
static uint64_t huge_page_failures(void)
{
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents("/proc/vmstat", &text, NULL, NULL)) {
        return 0;
    }
    line = strstr(text, "thp_file_fallback ");
    return line ? g_ascii_strtoull(strchr(line, ' '), NULL, 10) : 0;
}

/* Puts the RAM from FREE_RAM into huge pages, or skips the test */
static bool skip_without_huge_pages(QVirtioBuf *b, size_t size)
{
    g_autofree char *policy = NULL;
    uint64_t failures;
    char *start, *end;

    if (skip_without_udmabuf()) {
        return true;
    }
    if (!g_file_get_contents(SHMEM_HUGE_PAGES, &policy, NULL, NULL) ||
        !write_policy("force")) {
        g_test_skip("the policy of huge pages cannot be set");
        return true;
    }
    failures = huge_page_failures();
    /* It counts at the first touch */
    qtest_memset(b->qts, FREE_RAM, 0x66, size);
    start = strchr(policy, '[');
    end = strchr(policy, ']');
    g_assert_true(start && end);
    *end = 0;
    g_assert_true(write_policy(start + 1));
    if (!has_huge_pages(b)) {
        g_autofree char *why = g_strdup_printf(
            "the kernel gave no huge pages (thp_file_fallback in /proc/vmstat "
            "grew by %" PRIu64 ")", huge_page_failures() - failures);

        g_test_skip(why);
        return true;
    }
    return false;
}

/* Neither end of the buffer is that of a huge page */
static void test_revoke_huge(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {
        .addr = FREE_RAM + 5 * PAGE_SIZE, .size = HUGE_PAGE,
    };
    uint64_t end = buffer.addr + buffer.size;
    QBufHolder holder;

    if (skip_without_huge_pages(b, 2 * HUGE_PAGE)) {
        return;
    }
    qbuf_holder_register(&holder, b, &buffer, "huge");
    qbuf_holder_check_shared(&holder, b, &buffer);
    unregister_pending(b, &buffer);
    pass_deadline(b);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
    qbuf_holder_check_taken_back(&holder, b, &buffer);
    qvirtio_buf_check_ram(b, FREE_RAM, buffer.addr - FREE_RAM, 0x66);
    qvirtio_buf_check_ram(b, end, FREE_RAM + 2 * HUGE_PAGE - end, 0x66);
    qbuf_holder_clear(&holder);
    /* Its RAM is not in huge pages any more */
    qos_invalidate_command_line();
}

/* Where huge pages are shared with a live buffer, that one is not harmed */
static void test_revoke_huge_neighbour(void *obj, void *data,
                                       QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer one = { .addr = FREE_RAM, .size = 3 * PAGE_SIZE };
    QVirtioBufBuffer two = {
        .addr = FREE_RAM + 4 * PAGE_SIZE, .size = 2 * PAGE_SIZE,
    };
    QBufHolder first, second;

    if (skip_without_huge_pages(b, HUGE_PAGE)) {
        return;
    }
    qbuf_holder_register(&first, b, &one, "huge-1");
    qbuf_holder_register(&second, b, &two, "huge-2");
    qbuf_holder_check_shared(&first, b, &one);
    unregister_pending(b, &one);
    pass_deadline(b);
    qvirtio_buf_no_event(b, one.id, VIRTIO_BUF_EVENT_FREED);
    qvirtio_buf_check_ram(b, one.addr, one.size, 0x33);
    qbuf_holder_check_shared(&second, b, &two);

    /* Both of them are, at a reset */
    qvirtio_buf_restart(b);
    qbuf_holder_check_taken_back(&first, b, &one);
    qbuf_holder_check_taken_back(&second, b, &two);
    qvirtio_buf_check_ram(b, FREE_RAM + 3 * PAGE_SIZE, PAGE_SIZE, 0x66);
    qvirtio_buf_check_ram(b, FREE_RAM + 6 * PAGE_SIZE,
                          HUGE_PAGE - 6 * PAGE_SIZE, 0x66);
    qbuf_holder_clear(&first);
    qbuf_holder_clear(&second);
}

static void register_virtio_buf_memory_test(void)
{
    static Machine private_ram = { .reason = VIRTIO_BUF_REASON_NOT_SHARED };
    static Machine share_off = {
        .ram = "memory-backend-memfd,share=off",
        .reason = VIRTIO_BUF_REASON_NOT_SHARED,
    };
    static Machine unsealed = {
        .ram = "memory-backend-memfd,seal=off",
        .reason = VIRTIO_BUF_REASON_NOT_SHARED,
    };
    static Machine disabled = {
        .ram = "memory-backend-memfd",
        .reason = VIRTIO_BUF_REASON_DISABLED, .always = true,
    };
    static Machine other_device = {
        .ram = "memory-backend-memfd",
        .reason = VIRTIO_BUF_REASON_NO_UDMABUF, .always = true,
    };
    static Machine strict = {
        .ram = "memory-backend-memfd",
        .reason = VIRTIO_BUF_REASON_READONLY,
    };
    static const struct {
        const char *name;
        Machine *machine;
        const char *device;
    } copied[] = {
        { "memory/private-ram", &private_ram, QVIRTIO_BUF_SERVER },
        { "memory/share-off", &share_off, QVIRTIO_BUF_SERVER },
        { "memory/unsealed", &unsealed, QVIRTIO_BUF_SERVER },
        { "memory/udmabuf-off", &disabled, QVIRTIO_BUF_SERVER ",udmabuf=off" },
        { "memory/not-udmabuf", &other_device,
          QVIRTIO_BUF_SERVER ",udmabuf-device=/dev/null" },
        { "memory/strict-readonly", &strict,
          QVIRTIO_BUF_SERVER ",strict-readonly=on" },
    };
    QOSGraphTestOptions copy = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER ",udmabuf=off",
    };
    QOSGraphTestOptions revoke = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = REVOKING,
    };
    QOSGraphTestOptions fdset = {
        .before = fdset_before,
        .edge.extra_device_opts = REVOKING ",udmabuf-device=/dev/fdset/9",
    };
    QOSGraphTestOptions locked = {
        .before = locked_before,
        .edge.extra_device_opts = REVOKING,
    };
    QOSGraphTestOptions huge = {
        .before = huge_before,
        .edge.extra_device_opts = REVOKING,
    };
    QOSGraphTestOptions orphans = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = REVOKING ",max-orphaned=8K",
    };

    for (size_t i = 0; i < ARRAY_SIZE(copied); i++) {
        QOSGraphTestOptions opts = {
            .before = machine_before,
            .arg = copied[i].machine,
            .edge.extra_device_opts = copied[i].device,
        };

        qos_add_test(copied[i].name, "virtio-buf", test_copied, &opts);
    }
    qos_add_test("memory/copy-scattered", "virtio-buf", test_copy_scattered,
                 &copy);
    qos_add_test("memory/copy-sealed", "virtio-buf", test_copy_sealed, &copy);
    qos_add_test("memory/copy-interrupted", "virtio-buf",
                 test_copy_interrupted, &copy);
    qos_add_test("memory/revoke", "virtio-buf", test_revoke, &revoke);
    qos_add_test("memory/revoke-fdset", "virtio-buf", test_revoke, &fdset);
    if (geteuid() == 0) {
        /* Others may lock only as much as ulimit -l allows */
        qos_add_test("memory/revoke-locked", "virtio-buf", test_revoke,
                     &locked);
    }
    qos_add_test("memory/held-by-strangers", "virtio-buf",
                 test_held_by_strangers, &revoke);
    qos_add_test("memory/revoke-at-reset", "virtio-buf", test_revoke_at_reset,
                 &revoke);
    qos_add_test("memory/revoke-in-file", "virtio-buf", test_revoke, &huge);
    qos_add_test("memory/revoke-huge", "virtio-buf", test_revoke_huge, &huge);
    qos_add_test("memory/revoke-huge-neighbour", "virtio-buf",
                 test_revoke_huge_neighbour, &huge);
    qos_add_test("memory/orphans", "virtio-buf", test_orphans, &orphans);
}

libqos_init(register_virtio_buf_memory_test);
