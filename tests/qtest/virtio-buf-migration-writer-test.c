/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: migration and memory that consumers have
 *
 * What a consumer writes reaches the destination, also where only the consumer
 * knows that it has; and what cannot be right is refused: postcopy,
 * cpr-transfer and x-ignore-shared with dma-bufs, and dma-bufs while these are
 * under way.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/mman.h>
#include <sys/un.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-boot.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-migration.h"

#define PAGE_SIZE 4096

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

static QVirtioBufDestination *destination_new(const char *options)
{
    return qvirtio_buf_destination_new(qvirtio_buf_before,
                                       options ? QVIRTIO_BUF_SERVER : NULL,
                                       options);
}

static void set_bandwidth(QTestState *qts, int64_t bytes)
{
    qtest_qmp_assert_success(qts, "{'execute': 'migrate-set-parameters',"
                             " 'arguments': {'max-bandwidth': %" PRId64 "}}",
                             bytes);
}

/* A writable buffer, with its writer attached */
typedef struct Writer {
    QVirtioBufBuffer buffer;
    QBufConsumer *c;
    QBufMemory memory;
    uint8_t *bytes;
    uint64_t handle;
} Writer;

static void writer_init(Writer *w, QVirtioBuf *b, uint8_t mode)
{
    *w = (Writer) {
        .buffer = {
            .mode = mode, .size = 4 * PAGE_SIZE,
            .access = VIRTIO_BUF_ACCESS_WRITER,
        },
    };
    qvirtio_buf_restart_writable(b);
    qvirtio_buf_register_ok(b, &w->buffer, 0x11);
    w->c = qbuf_subscribe(path(), "test", 0);
    w->handle = qbuf_expect_buffer(w->c, w->buffer.id);
    qbuf_expect_subscribed(w->c);
    qbuf_attach_writer(w->c, w->handle);
    qbuf_expect_attached(w->c, w->handle, &w->memory);
    w->bytes = qbuf_memory_map(&w->memory);
}

static void writer_clear(Writer *w)
{
    munmap(w->bytes, w->memory.size);
    qbuf_memory_clear(&w->memory);
    qbuf_close(w->c);
}

static void check_guest(QTestState *qts, uint64_t addr, size_t size,
                        uint8_t pattern)
{
    g_autofree uint8_t *bytes = g_malloc(size);

    qtest_bufread(qts, addr, bytes, size);
    for (size_t i = 0; i < size; i++) {
        g_assert_cmphex(bytes[i], ==, pattern);
    }
}

/* The guest has not read yet what the writer has written */
static void test_written(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufDestination *d = destination_new(NULL);
    QVirtioBufWritten written;
    uint64_t serial;
    Writer w;

    writer_init(&w, b, VIRTIO_BUF_MODE_EVERY);
    serial = qvirtio_buf_update_ok(b, w.buffer.id, w.buffer.size);
    qbuf_expect_update(w.c, w.handle, serial, NULL);
    qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, NULL);
    qvirtio_buf_config_changed(b);
    memset(w.bytes, 0x22, 2 * PAGE_SIZE);
    qbuf_written(w.c, w.handle, 7, 2 * PAGE_SIZE);
    qvirtio_buf_wait_config_changed(b);

    g_assert_true(qvirtio_buf_migrate(b, d));
    qvirtio_buf_wait_written(&d->buf, w.buffer.id, 7, 2 * PAGE_SIZE, &written);
    g_assert_cmphex(written.event.flags, ==, VIRTIO_BUF_EVENT_WRITTEN |
                    VIRTIO_BUF_EVENT_RELEASED | VIRTIO_BUF_EVENT_CONSUMERS);
    g_assert_cmpuint(written.event.released, ==, serial);
    g_assert_cmpuint(written.frame.span_count, ==, 0);
    check_guest(d->qts, w.buffer.addr, 2 * PAGE_SIZE, 0x22);
    check_guest(d->qts, w.buffer.addr + 2 * PAGE_SIZE, 2 * PAGE_SIZE, 0x11);
    /* Nobody owns it here */
    qvirtio_buf_update_ok(&d->buf, w.buffer.id, w.buffer.size);
    writer_clear(&w);
    qvirtio_buf_destination_free(d);
    qos_invalidate_command_line();
}

/* A number that query-migrate tells of RAM */
static uint64_t ram_number(QTestState *qts, const char *name)
{
    QDict *ret = qtest_qmp_assert_success_ref(qts,
                                              "{'execute': 'query-migrate'}");
    uint64_t number = 0;

    if (qdict_haskey(ret, "ram")) {
        number = qdict_get_int(qdict_get_qdict(ret, "ram"), name);
    }
    qobject_unref(ret);
    return number;
}

/* Pages were sent before the consumer wrote to them, unseen by QEMU */
static void test_late_write(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufDestination *d;
    g_autofree char *uri = NULL;
    uint64_t fill, fill_size = 32 * MiB;
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    Writer w;

    if (!qvirtio_buf_zero_copy()) {
        g_test_skip("no /dev/udmabuf: nobody has the guest's pages");
        return;
    }
    d = destination_new(NULL);
    uri = g_strdup_printf("unix:%s", d->channel);
    /* What is to be sent after the buffer, which was allocated before */
    writer_init(&w, b, VIRTIO_BUF_MODE_IN_PLACE);
    g_assert_cmpuint(w.memory.backing, ==, VIRTIO_BUF_BACKING_DMABUF);
    fill = guest_alloc(alloc, fill_size);
    for (uint64_t at = 0; at < fill_size; at += PAGE_SIZE) {
        qtest_writeq(b->qts, fill + at, at + 1);
    }

    set_bandwidth(b->qts, 4 * MiB);
    qvirtio_buf_migration_capability(b->qts, "return-path", true);
    qvirtio_buf_incoming(d, uri);
    qvirtio_buf_outgoing(b->qts, uri);
    /* The buffer has been sent when much of @fill has, which is above it */
    g_assert_cmpuint(w.buffer.addr, <, fill);
    while (ram_number(b->qts, "transferred") < 4 * MiB) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_cmpuint(ram_number(b->qts, "dirty-sync-count"), ==, 1);
    memset(w.bytes, 0x33, w.buffer.size);
    set_bandwidth(b->qts, 1 * GiB);
    g_assert_true(qvirtio_buf_migrated(b->qts));
    g_assert_true(qvirtio_buf_migrated(d->qts));
    check_guest(d->qts, w.buffer.addr, w.buffer.size, 0x33);

    writer_clear(&w);
    qvirtio_buf_destination_free(d);
    qos_invalidate_command_line();
}

/* Returns the message if the destination refuses postcopy, to be freed */
static char *postcopy_refusal(QVirtioBufDestination *d)
{
    QDict *ret = qtest_qmp(d->qts,
        "{'execute': 'migrate-set-capabilities', 'arguments': {'capabilities':"
        " [{'capability': 'postcopy-ram', 'state': true}]}}");
    char *message = NULL;

    if (qdict_haskey(ret, "error")) {
        message = g_strdup(qdict_get_str(qdict_get_qdict(ret, "error"),
                                         "desc"));
    }
    qobject_unref(ret);
    return message;
}

/* At the source it depends on whether anybody has a dma-buf */
static void expect_refusal(QVirtioBuf *b, const char *capability)
{
    QVirtioBufBuffer buffer = {};
    QBufMemory memory = {};
    QBufConsumer *c;
    QDict *ret;

    c = qbuf_subscribe_none(path(), "test", 8);
    qvirtio_buf_register_ok(b, &buffer, 0x11);
    qbuf_expect_attached(c, qbuf_expect_buffer(c, buffer.id), &memory);
    qvirtio_buf_migration_capability(b->qts, capability, true);
    qvirtio_buf_outgoing(b->qts, "exec:cat >/dev/null");
    g_assert_false(qvirtio_buf_migrated(b->qts));
    ret = qtest_qmp_assert_success_ref(b->qts, "{'execute': 'query-migrate'}");
    g_assert_nonnull(strstr(qdict_get_str(ret, "error-desc"),
                            "virtio-buf: programs on the host have zero-copy"));
    qobject_unref(ret);
    qvirtio_buf_migration_capability(b->qts, capability, false);

    /* And it goes on */
    qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(c, memory.buffer, b->last_serial, NULL);
    qbuf_memory_clear(&memory);
    qbuf_close(c);
    qos_invalidate_command_line();
}

static void test_postcopy(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufDestination *d = destination_new(QVIRTIO_BUF_SERVER
                                               ",udmabuf=off");
    g_autofree char *off = postcopy_refusal(d);
    g_autofree char *on = NULL;

    qvirtio_buf_destination_free(d);
    if (off) {
        g_test_message("without dma-bufs: %s", off);
        g_assert_null(strstr(off, "virtio-buf"));
        g_test_skip("this host has no postcopy at all");
        return;
    }
    d = destination_new(NULL);
    on = postcopy_refusal(d);
    qvirtio_buf_destination_free(d);
    if (!qvirtio_buf_zero_copy()) {
        g_assert_null(on);
        g_test_skip("no /dev/udmabuf: postcopy need not be refused");
        return;
    }
    g_assert_nonnull(on);
    g_assert_nonnull(strstr(on, "start the destination with udmabuf=off"));

    expect_refusal(b, "postcopy-ram");
}

/* RAM that the destination opens, too */
static void test_ignore_shared(void *obj, void *data, QGuestAllocator *alloc)
{
    if (!qvirtio_buf_zero_copy()) {
        g_test_skip("no /dev/udmabuf: x-ignore-shared need not be refused");
        return;
    }
    expect_refusal(obj, "x-ignore-shared");
}

static void wait_status(QTestState *qts, const char *status)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    bool same = false;

    while (!same) {
        QDict *ret = qtest_qmp_assert_success_ref(
            qts, "{'execute': 'query-migrate'}");

        same = g_str_equal(qdict_get_try_str(ret, "status") ?: "none", status);
        qobject_unref(ret);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

static int listen_at(const char *name)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    g_assert_cmpuint(g_strlcpy(addr.sun_path, name, sizeof(addr.sun_path)), <,
                     sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    return fd;
}

/* Takes all that comes, as a destination would */
static gpointer drain(gpointer data)
{
    int fd = GPOINTER_TO_INT(data);
    char bytes[4096];

    ssize_t n;

    do {
        n = read(fd, bytes, sizeof(bytes));
    } while (n > 0);
    close(fd);
    return NULL;
}

/* Takes whatever comes to the socket @listener, which is closed, at @name */
static GThread *accept_and_drain(int listener, const char *name)
{
    int fd = accept(listener, NULL, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(listener);
    g_unlink(name);
    return g_thread_new("drain", drain, GINT_TO_POINTER(fd));
}

static uint32_t usual_backing(void)
{
    return qvirtio_buf_zero_copy() ? VIRTIO_BUF_BACKING_DMABUF
                                   : VIRTIO_BUF_BACKING_COPY;
}

/* What a consumer that comes now gets of a buffer that nobody has attached */
static void check_late(QBufConsumer *c, uint64_t handle, uint32_t backing)
{
    QBufMemory memory;

    qbuf_attach(c, handle);
    qbuf_expect_attached(c, handle, &memory);
    g_assert_cmpuint(memory.backing, ==, backing);
    qbuf_memory_clear(&memory);
    qbuf_detach(c, handle);
}

/* Nobody has a dma-buf when it begins; nobody gets one before it has failed */
static void attach_late(QVirtioBuf *b, const char *capability)
{
    QVirtioBufBuffer early = {}, late = {};
    g_autofree char *channel = g_strdup_printf("%s.main", path());
    g_autofree char *uri = g_strdup_printf("unix:%s", channel);
    uint64_t early_handle, late_handle;
    GThread *thread;
    QBufConsumer *c;
    int listener;

    c = qbuf_subscribe_none(path(), "test", 0);
    qvirtio_buf_register_ok(b, &early, 0x11);
    early_handle = qbuf_expect_buffer(c, early.id);
    qvirtio_buf_register_ok(b, &late, 0x11);
    late_handle = qbuf_expect_buffer(c, late.id);
    qvirtio_buf_migration_capability(b->qts, capability, true);
    qvirtio_buf_migration_capability(b->qts, "pause-before-switchover", true);
    listener = listen_at(channel);
    qvirtio_buf_outgoing(b->qts, uri);
    thread = accept_and_drain(listener, channel);
    wait_status(b->qts, "pre-switchover");
    check_late(c, early_handle, VIRTIO_BUF_BACKING_COPY);
    qtest_qmp_assert_success(b->qts, "{'execute': 'migrate_cancel'}");
    g_assert_false(qvirtio_buf_migrated(b->qts));
    g_thread_join(thread);
    qvirtio_buf_migration_capability(b->qts, "pause-before-switchover", false);
    qvirtio_buf_migration_capability(b->qts, capability, false);
    check_late(c, late_handle, usual_backing());
    qbuf_close(c);
    qos_invalidate_command_line();
}

static void test_postcopy_late(void *obj, void *data, QGuestAllocator *alloc)
{
    attach_late(obj, "postcopy-ram");
}

static void test_ignore_shared_late(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    attach_late(obj, "x-ignore-shared");
}

/* Sends to the sockets of @listeners: first the state, then all the rest */
static void begin_cpr_transfer(QTestState *qts, int listeners[2])
{
    g_autofree char *cpr_path = g_strdup_printf("%s.cpr", path());
    g_autofree char *main_path = g_strdup_printf("%s.main", path());

    listeners[0] = listen_at(cpr_path);
    listeners[1] = listen_at(main_path);
    qtest_qmp_assert_success(qts,
        "{'execute': 'migrate', 'arguments': {'channels': ["
        " {'channel-type': 'main', 'addr':"
        "  {'transport': 'socket', 'type': 'unix', 'path': %s}},"
        " {'channel-type': 'cpr', 'addr':"
        "  {'transport': 'socket', 'type': 'unix', 'path': %s}}]}}",
        main_path, cpr_path);
    close(accept(listeners[0], NULL, NULL));
    close(listeners[0]);
    g_unlink(cpr_path);
}

/*
 * Migrates to a destination that hangs up: first where the state comes before
 * all others, which tells the source to connect to the other channel, then
 * there. Returns why it has failed, to be freed.
 */
static char *fail_cpr_transfer(QTestState *qts)
{
    g_autofree char *main_path = g_strdup_printf("%s.main", path());
    int listeners[2];
    char *message;
    QDict *ret;

    begin_cpr_transfer(qts, listeners);
    close(accept(listeners[1], NULL, NULL));
    g_assert_false(qvirtio_buf_migrated(qts));
    ret = qtest_qmp_assert_success_ref(qts, "{'execute': 'query-migrate'}");
    message = g_strdup(qdict_get_str(ret, "error-desc"));
    g_test_message("%s", message);
    qobject_unref(ret);
    close(listeners[1]);
    g_unlink(main_path);
    return message;
}

static GThread *begin_whole_cpr_transfer(QTestState *qts)
{
    g_autofree char *main_path = g_strdup_printf("%s.main", path());
    int listeners[2];

    begin_cpr_transfer(qts, listeners);
    return accept_and_drain(listeners[1], main_path);
}

static void test_cpr_transfer(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufBuffer buffer = { .size = 3 * PAGE_SIZE };
    g_autofree char *refused = NULL, *other = NULL;
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    QBufMemory memory;
    QBufConsumer *c;
    uint64_t handle;

    qvirtio_buf_boot(&booted,
        "-nodefaults -m 256M -machine pc,memory-backend=mem,aux-ram-share=on"
        " -object memory-backend-memfd,id=mem,size=256M"
        QVIRTIO_BUF_BOOT_DEVICE ",server=s0");
    qvirtio_buf_boot_driver(&booted);
    qtest_qmp_assert_success(b->qts,
        "{'execute': 'migrate-set-parameters',"
        " 'arguments': {'mode': 'cpr-transfer'}}");
    c = qbuf_subscribe_none(path(), "test", 8);
    qvirtio_buf_register_ok(b, &buffer, 0x11);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, NULL);
    refused = fail_cpr_transfer(b->qts);
    /* A copy is nobody's but QEMU's */
    g_assert_cmpint(!strstr(refused, "which excludes cpr-transfer"), ==,
                    memory.backing == VIRTIO_BUF_BACKING_COPY);

    /* It goes on; and nothing is in the way when nobody has a dma-buf */
    qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(c, handle, b->last_serial, NULL);
    qbuf_memory_clear(&memory);
    qbuf_detach(c, handle);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, NULL);
    other = fail_cpr_transfer(b->qts);
    g_assert_null(strstr(other, "virtio-buf"));
    qbuf_close(c);
    qvirtio_buf_boot_end(&booted);
    if (!qvirtio_buf_zero_copy()) {
        g_test_skip("no /dev/udmabuf: cpr-transfer need not be refused");
    }
}

/*
 * Consumers stay with the old QEMU: they get none of the pages that the new one
 * has, neither while they go there nor afterwards
 */
static void test_cpr_transfer_late(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    enum { COUNT = 3 };
    QVirtioBufBuffer buffers[COUNT] = {};
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    uint64_t handles[COUNT];
    QBufConsumer *c;
    GThread *thread;

    qvirtio_buf_boot(&booted,
        "-nodefaults -m 256M -machine pc,memory-backend=mem,aux-ram-share=on"
        " -object memory-backend-memfd,id=mem,size=256M"
        QVIRTIO_BUF_BOOT_DEVICE ",server=s0");
    qvirtio_buf_boot_driver(&booted);
    qtest_qmp_assert_success(b->qts,
        "{'execute': 'migrate-set-parameters',"
        " 'arguments': {'mode': 'cpr-transfer'}}");
    c = qbuf_subscribe_none(path(), "test", 0);
    for (int i = 0; i < COUNT; i++) {
        qvirtio_buf_register_ok(b, &buffers[i], 0x11);
        handles[i] = qbuf_expect_buffer(c, buffers[i].id);
    }

    qvirtio_buf_migration_capability(b->qts, "pause-before-switchover", true);
    thread = begin_whole_cpr_transfer(b->qts);
    wait_status(b->qts, "pre-switchover");
    check_late(c, handles[0], VIRTIO_BUF_BACKING_COPY);
    qtest_qmp_assert_success(b->qts, "{'execute': 'migrate_cancel'}");
    g_assert_false(qvirtio_buf_migrated(b->qts));
    g_thread_join(thread);
    check_late(c, handles[1], usual_backing());

    qvirtio_buf_migration_capability(b->qts, "pause-before-switchover", false);
    thread = begin_whole_cpr_transfer(b->qts);
    g_assert_true(qvirtio_buf_migrated(b->qts));
    g_thread_join(thread);
    check_late(c, handles[2], VIRTIO_BUF_BACKING_COPY);
    qbuf_close(c);
    qvirtio_buf_boot_end(&booted);
}

static void register_virtio_buf_migration_writer_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    /* It starts a machine of its own */
    QOSGraphTestOptions alone = { };

    qos_add_test("migration/written", "virtio-buf", test_written, &opts);
    qos_add_test("migration/late-write", "virtio-buf", test_late_write, &opts);
    qos_add_test("migration/postcopy", "virtio-buf", test_postcopy, &opts);
    qos_add_test("migration/postcopy-late", "virtio-buf", test_postcopy_late,
                 &opts);
    qos_add_test("migration/ignore-shared", "virtio-buf", test_ignore_shared,
                 &opts);
    qos_add_test("migration/ignore-shared-late", "virtio-buf",
                 test_ignore_shared_late, &opts);
    qos_add_test("migration/cpr-transfer", QVIRTIO_BUF_ALONE,
                 test_cpr_transfer, &alone);
    qos_add_test("migration/cpr-transfer-late", QVIRTIO_BUF_ALONE,
                 test_cpr_transfer_late, &alone);
}

libqos_init(register_virtio_buf_migration_writer_test);
