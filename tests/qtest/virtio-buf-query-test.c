/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: query-virtio-buf
 *
 * Each field and counter against what the test has done. Holds for dma-bufs and
 * for copies.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qemu/uuid.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-query.h"
#include "libqos/virtio-buf-watch.h"

#define PAGE_SIZE 4096
#define DEVICE QVIRTIO_BUF_SERVER ",id=buf0,instance=screen"

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

/* By the numbers of the wire */
static const char *const reason_names[] = {
    "none", "disabled", "no-udmabuf", "not-shared", "huge-pages", "discard",
    "overlap", "ranges", "size", "iommu", "accelerator", "orphaned",
    "readonly", "weak", "failed",
};
static const char *const backing_names[] = { "copy", "dmabuf" };

/* The named members, as key, int, ..., NULL; all others are 0 */
static void check_counters(const QDict *dict, const char *key, ...)
{
    g_autoptr(GHashTable) expected = g_hash_table_new(g_str_hash, g_str_equal);
    const QDictEntry *entry;
    va_list args;

    va_start(args, key);
    for (; key; key = va_arg(args, const char *)) {
        g_assert_true(qdict_haskey(dict, key));
        g_hash_table_insert(expected, (void *)key,
                            GINT_TO_POINTER(va_arg(args, int)));
    }
    va_end(args);
    for (entry = qdict_first(dict); entry; entry = qdict_next(dict, entry)) {
        key = qdict_entry_key(entry);
        qbuf_check_int(dict, key,
                  GPOINTER_TO_INT(g_hash_table_lookup(expected, key)));
    }
}

static QDict *find_buffer(const QDict *device, const QVirtioBufBuffer *buffer)
{
    return qbuf_find(device, "buffers", buffer->id);
}

/* What does not change while it is registered */
static void check_buffer(const QDict *info, const QVirtioBufBuffer *buffer,
                         const char *application, const char *mode,
                         uint64_t handle, unsigned ranges)
{
    g_autofree char *uuid = NULL;
    QemuUUID bytes;

    memcpy(bytes.data, buffer->response.uuid, sizeof(bytes.data));
    uuid = qemu_uuid_unparse_strdup(&bytes);
    qbuf_check_int(info, "id", buffer->id);
    qbuf_check_int(info, "handle", handle);
    qbuf_check_str(info, "uuid", uuid);
    qbuf_check_str(info, "application", application);
    qbuf_check_int(info, "context", buffer->context);
    qbuf_check_int(info, "stream", buffer->stream);
    qbuf_check_str(info, "mode", mode);
    qbuf_check_str(info, "access", "read");
    qbuf_check_int(info, "size", buffer->size);
    qbuf_check_str(info, "state", "registered");
    qbuf_check_int(info, "ranges", ranges);
    qbuf_check_str(info, "backing", backing_names[buffer->response.backing]);
    qbuf_check_str(info, "reason", reason_names[buffer->response.reason]);
}

static void check_use(const QDict *info, bool exported, unsigned attachments,
                      unsigned unreleased, uint64_t serial, uint64_t released)
{
    qbuf_check_bool(info, "exported", exported);
    qbuf_check_int(info, "attachments", attachments);
    qbuf_check_int(info, "unreleased", unreleased);
    qbuf_check_int(info, "serial", serial);
    qbuf_check_int(info, "released", released);
}

static QBufConsumer *subscribe(const char *application, uint32_t credit,
                               uint32_t flags, const uint8_t *properties,
                               uint32_t property_bytes)
{
    QBufConsumer *c = qbuf_hello(path());

    qbuf_send_subscribe(c, application, credit, flags, properties,
                        property_bytes);
    qbuf_expect_device(c, true);
    qbuf_expect_subscribed(c);
    return c;
}

static void check_socket(const QDict *info, const QBufConsumer *c,
                         unsigned connection, bool writer)
{
    qbuf_check_int(info, "id", c->id);
    qbuf_check_str(info, "kind", "socket");
    qbuf_check_str(info, "server", "s0");
    qbuf_check_int(info, "connection", connection);
    qbuf_check_int(info, "pid", getpid());
    qbuf_check_int(info, "uid", getuid());
    qbuf_check_int(info, "gid", getgid());
    qbuf_check_int(info, "queued-bytes", 0);
    qbuf_check_int(info, "unread-fds", 0);
    qbuf_check_bool(info, "writer", writer);
    qbuf_check_int(info, "hold", 1);
}

static void test_consumers(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint8_t properties[256];
    uint32_t size = qvirtio_buf_property(properties, 0, "role", "viewer");
    QBufConsumer *viewer, *writer;
    QDict *device, *info, *property;
    QList *list;

    size = qvirtio_buf_property(properties, size, "title", "B\xc3\xbcro \"1\"");
    viewer = subscribe("test", 8, 0, properties, size);
    writer = subscribe(NULL, 0, VIRTIO_BUF_SUBSCRIBE_WRITER, NULL, 0);

    device = qbuf_query(b, "buf0");
    g_assert_cmpuint(qlist_size(qdict_get_qlist(device, "consumers")), ==, 2);
    info = qbuf_find(device, "consumers", viewer->id);
    check_socket(info, viewer, 1, false);
    qbuf_check_int(info, "attached", 0);
    qbuf_check_int(info, "held", 0);
    check_counters(qdict_get_qdict(info, "counters"), NULL);
    list = qdict_get_qlist(info, "applications");
    g_assert_cmpuint(qlist_size(list), ==, 1);
    g_assert_cmpstr(qstring_get_str(qobject_to(QString, qlist_peek(list))),
                    ==, "test");
    list = qdict_get_qlist(info, "properties");
    g_assert_cmpuint(qlist_size(list), ==, 2);
    property = qobject_to(QDict, qlist_pop(list));
    qbuf_check_str(property, "name", "role");
    qbuf_check_str(property, "value", "viewer");
    qobject_unref(property);
    property = qobject_to(QDict, qlist_pop(list));
    qbuf_check_str(property, "name", "title");
    qbuf_check_str(property, "value", "B\xc3\xbcro \"1\"");
    qobject_unref(property);

    info = qbuf_find(device, "consumers", writer->id);
    check_socket(info, writer, 2, true);
    g_assert_false(qdict_haskey(info, "applications"));
    g_assert_true(qlist_empty(qdict_get_qlist(info, "properties")));
    qobject_unref(device);

    qbuf_close(writer);
    qbuf_close(viewer);
}

/* What has reached a program that does not read waits in QEMU */
static void test_queued(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    g_autofree char *value = g_strnfill(3000, 'v');
    g_autofree uint8_t *records = g_malloc(4096);
    uint32_t size = qvirtio_buf_property(records, 0, "v", value);
    QVirtioBufBuffer buffer = {};
    uint64_t queued = 0;
    unsigned i;
    QDict *device;

    qvirtio_buf_register_ok(b, &buffer, 0);
    qbuf_expect_buffer(c, buffer.id);
    for (i = 0; i < 300 && !queued; i++) {
        g_assert_cmpuint(qvirtio_buf_set_properties(b, buffer.id, records,
                                                    size),
                         ==, VIRTIO_BUF_S_OK);
        device = qbuf_query(b, "buf0");
        queued = qdict_get_int(qbuf_find(device, "consumers", c->id),
                               "queued-bytes");
        qobject_unref(device);
    }
    g_assert_cmpuint(queued, >, 0);
    g_assert_cmpuint(queued, <=, size + sizeof(struct
                                               virtio_buf_msg_properties));
    qbuf_close(c);
}

static void test_buffers(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    bool zero_copy = qvirtio_buf_zero_copy();
    uint64_t ram = guest_alloc(b->alloc, 6 * PAGE_SIZE);
    struct virtio_buf_range merged[] = {
        { cpu_to_le64(ram), cpu_to_le64(PAGE_SIZE) },
        { cpu_to_le64(ram + PAGE_SIZE), cpu_to_le64(PAGE_SIZE) },
    };
    struct virtio_buf_range apart[] = {
        { cpu_to_le64(ram + 2 * PAGE_SIZE), cpu_to_le64(PAGE_SIZE) },
        { cpu_to_le64(ram + 4 * PAGE_SIZE), cpu_to_le64(PAGE_SIZE) },
    };
    uint8_t properties[256];
    QVirtioBufBuffer one = {
        .size = 2 * PAGE_SIZE - 100, .mode = VIRTIO_BUF_MODE_LATEST,
        .context = 5, .stream = 6, .ranges = merged, .range_count = 2,
    };
    QVirtioBufBuffer two = {
        .size = 2 * PAGE_SIZE, .mode = VIRTIO_BUF_MODE_LATEST,
        .context = 5, .stream = 6, .ranges = apart, .range_count = 2,
    };
    QVirtioBufBuffer three = {
        .mode = VIRTIO_BUF_MODE_LATEST, .stream = 6,
    };
    QVirtioBufBuffer other = {
        .mode = VIRTIO_BUF_MODE_EVERY, .application = "other",
    };
    QVirtioBufBuffer drawn = { .application = "other" };
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QDict *device, *info;
    QBufMemory memory[3];
    uint64_t handle[3];
    unsigned i;

    one.property_bytes = qvirtio_buf_property(properties, 0, "width", "640");
    one.property_bytes = qvirtio_buf_property(properties, one.property_bytes,
                                              "height", "480");
    one.properties = properties;
    g_assert_cmpuint(qvirtio_buf_register(b, &one), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_register(b, &two), ==, VIRTIO_BUF_S_OK);
    qvirtio_buf_register_ok(b, &three, 0);
    qvirtio_buf_register_ok(b, &other, 0);
    qvirtio_buf_register_ok(b, &drawn, 0);
    for (i = 0; i < 3; i++) {
        handle[i] = qbuf_expect_buffer(c, one.id + i);
        qbuf_expect_attached(c, handle[i], &memory[i]);
    }

    /* @three overtakes @two while the consumer still has @one */
    qvirtio_buf_update_ok(b, one.id, one.size);
    qbuf_expect_update(c, handle[0], 1, NULL);
    qvirtio_buf_update_ok(b, two.id, two.size);
    qvirtio_buf_update_ok(b, three.id, PAGE_SIZE);
    qvirtio_buf_update_ok(b, other.id, PAGE_SIZE);
    qvirtio_buf_update_ok(b, drawn.id, PAGE_SIZE);

    three.size = other.size = drawn.size = PAGE_SIZE;
    device = qbuf_query(b, "buf0");
    info = find_buffer(device, &one);
    check_buffer(info, &one, "test", "latest", handle[0], 1);
    check_use(info, true, 1, 1, 1, 0);
    qbuf_check_int(info, "property-count", 2);
    qbuf_check_int(info, "property-bytes", one.property_bytes);
    info = find_buffer(device, &two);
    check_buffer(info, &two, "test", "latest", handle[1], 2);
    check_use(info, true, 1, 0, 2, 2);
    qbuf_check_int(info, "property-count", 0);
    qbuf_check_int(info, "property-bytes", 0);
    info = find_buffer(device, &three);
    check_buffer(info, &three, "test", "latest", handle[2], 1);
    check_use(info, true, 1, 1, 3, 0);
    info = find_buffer(device, &other);
    check_buffer(info, &other, "other", "every", handle[2] + 1, 1);
    check_use(info, false, 0, 0, 4, 4);
    info = find_buffer(device, &drawn);
    check_buffer(info, &drawn, "other", "in-place", handle[2] + 2, 1);
    check_use(info, false, 0, 0, 5, 5);
    info = qbuf_find(device, "consumers", c->id);
    qbuf_check_int(info, "attached", 3);
    qbuf_check_int(info, "held", 1);
    check_counters(qdict_get_qdict(info, "counters"),
                   "updates", 1, "overtaken", 1, NULL);

    qbuf_check_str(device, "id", "buf0");
    qbuf_check_str(device, "instance", "screen");
    qbuf_check_str(device, "server", "s0");
    g_assert_true(g_str_has_prefix(qdict_get_str(device, "qom-path"),
                                   "/machine/peripheral/buf0"));
    qbuf_check_int(device, "buffer-count", 5);
    qbuf_check_int(device, "total-size", one.size + two.size + 3 * PAGE_SIZE);
    qbuf_check_int(device, "last-serial", 5);
    qbuf_check_int(device, "news", b->news);
    qbuf_check_bool(device, "unread-news", true);
    qbuf_check_int(device, "orphaned-count", 0);
    qbuf_check_int(device, "orphaned-bytes", 0);
    qbuf_check_int(device, "quarantined-count", 0);
    qbuf_check_int(device, "quarantined-bytes", 0);
    info = qdict_get_qdict(device, "counters");
    qbuf_check_int(info, "attached", 3);
    qbuf_check_int(info, "freed", 0);
    qbuf_check_int(info, "copies", zero_copy ? 0 : 3);
    qbuf_check_int(info, "copied-bytes",
              zero_copy ? 0 : one.size + two.size + three.size);
    qobject_unref(device);

    qbuf_release(c, handle[0], 1);
    qbuf_expect_update(c, handle[2], 3, NULL);
    device = qbuf_query(b, "buf0");
    check_use(find_buffer(device, &one), true, 1, 0, 1, 1);
    info = qbuf_find(device, "consumers", c->id);
    qbuf_check_int(info, "held", 1);
    check_counters(qdict_get_qdict(info, "counters"),
                   "updates", 2, "released", 1, "overtaken", 1, NULL);
    qobject_unref(device);

    for (i = 0; i < 3; i++) {
        qbuf_memory_clear(&memory[i]);
    }
    qbuf_close(c);
}

/* A buffer on its way back, with a consumer that takes its time */
static void test_states(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer buffer = { .size = PAGE_SIZE };
    struct virtio_buf_event event;
    QDict *device, *info;
    QBufMemory memory;
    uint64_t handle;
    bool more;

    qvirtio_buf_register_ok(b, &buffer, 0);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_CONSUMERS, NULL);
    device = qbuf_query(b, "buf0");
    qbuf_check_bool(device, "unread-news", false);
    qobject_unref(device);

    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_expect_remove(c, handle);
    device = qbuf_query(b, "buf0");
    info = find_buffer(device, &buffer);
    qbuf_check_str(info, "state", "pending");
    qbuf_check_int(info, "ranges", 1);
    check_use(info, true, 1, 0, 0, 0);
    qbuf_check_int(device, "buffer-count", 1);
    qbuf_check_int(device, "total-size", PAGE_SIZE);
    qbuf_check_int(qbuf_find(device, "consumers", c->id), "attached", 1);
    qbuf_check_int(qdict_get_qdict(device, "counters"), "freed", 0);
    qobject_unref(device);

    qbuf_memory_clear(&memory);
    qbuf_removed(c, handle);
    while (true) {
        device = qbuf_query(b, "buf0");
        info = find_buffer(device, &buffer);
        if (strcmp(qdict_get_str(info, "state"), "pending")) {
            break;
        }
        qobject_unref(device);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        /* A timer looks for holders that are no consumers */
        qtest_clock_step(b->qts, 10 * 1000 * 1000);
    }
    qbuf_check_str(info, "state", "freed");
    g_assert_false(qdict_haskey(info, "ranges"));
    check_use(info, false, 0, 0, 0, 0);
    qbuf_check_str(info, "backing", backing_names[buffer.response.backing]);
    qbuf_check_str(info, "reason", reason_names[buffer.response.reason]);
    qbuf_check_int(device, "buffer-count", 1);
    qbuf_check_int(device, "total-size", 0);
    qbuf_check_bool(device, "unread-news", true);
    qbuf_check_int(qdict_get_qdict(device, "counters"), "freed", 1);
    qobject_unref(device);

    g_assert_cmpuint(qvirtio_buf_get_events(b, &event, 1, &more), ==, 1);
    device = qbuf_query(b, "buf0");
    g_assert_true(qlist_empty(qdict_get_qlist(device, "buffers")));
    qbuf_check_int(device, "buffer-count", 0);
    qbuf_check_bool(device, "unread-news", false);
    qobject_unref(device);
    qbuf_close(c);
}

/* One that writes, and that holds an update for too long */
static void test_writer(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {
        .size = PAGE_SIZE, .mode = VIRTIO_BUF_MODE_LATEST,
        .access = VIRTIO_BUF_ACCESS_WRITER,
    };
    QVirtioBufBuffer read = { .mode = VIRTIO_BUF_MODE_LATEST };
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    uint64_t handle, read_handle, serial;
    QBufMemory memory, read_memory;
    QDict *device, *info;

    qvirtio_buf_restart_writable(b);
    qvirtio_buf_register_ok(b, &buffer, 0);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_attach_writer(c, handle);
    qbuf_expect_attached(c, handle, &memory);
    qvirtio_buf_register_ok(b, &read, 0);
    read_handle = qbuf_expect_buffer(c, read.id);
    qbuf_attach(c, read_handle);
    qbuf_expect_attached(c, read_handle, &read_memory);

    serial = qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qbuf_expect_update(c, handle, serial, NULL);
    qbuf_written(c, handle, 1, PAGE_SIZE);
    qbuf_release(c, handle, serial);
    qvirtio_buf_wait_written(b, buffer.id, 1, PAGE_SIZE, NULL);

    device = qbuf_query(b, "buf0");
    info = find_buffer(device, &buffer);
    qbuf_check_str(info, "access", "writer");
    qbuf_check_int(info, "writer", c->id);
    g_assert_false(qdict_haskey(find_buffer(device, &read), "writer"));
    info = qbuf_find(device, "consumers", c->id);
    qbuf_check_int(info, "unread-fds", 2);
    check_counters(qdict_get_qdict(info, "counters"),
                   "updates", 1, "released", 1, "written", 1, NULL);
    qobject_unref(device);

    serial = qvirtio_buf_update_ok(b, read.id, PAGE_SIZE);
    qbuf_expect_update(c, read_handle, serial, NULL);
    qtest_clock_step(b->qts, 2000 * 1000 * 1000ll);
    qbuf_expect_lost(c, read_handle, serial);
    device = qbuf_query(b, "buf0");
    info = qbuf_find(device, "consumers", c->id);
    qbuf_check_int(info, "held", 0);
    check_counters(qdict_get_qdict(info, "counters"), "updates", 2,
                   "released", 1, "written", 1, "lost", 1, NULL);
    qobject_unref(device);

    qbuf_memory_clear(&memory);
    qbuf_memory_clear(&read_memory);
    qbuf_close(c);
}

static void test_revocation(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    bool zero_copy = qvirtio_buf_zero_copy();
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    QVirtioBufBuffer buffer = { .size = 3 * PAGE_SIZE - 1 };
    QDict *device, *counters;
    QBufMemory memory;
    uint64_t handle;

    qvirtio_buf_register_ok(b, &buffer, 0);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qtest_clock_step(b->qts, 2000 * 1000 * 1000ll);
    qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);

    device = qbuf_query(b, "buf0");
    qbuf_check_int(device, "orphaned-count", zero_copy ? 1 : 0);
    qbuf_check_int(device, "orphaned-bytes", zero_copy ? 3 * PAGE_SIZE : 0);
    qbuf_check_int(device, "quarantined-count", 0);
    counters = qdict_get_qdict(device, "counters");
    qbuf_check_int(counters, "freed", 1);
    qbuf_check_int(counters, "revocations", zero_copy ? 1 : 0);
    qbuf_check_int(counters, "revoked-bytes", zero_copy ? 3 * PAGE_SIZE : 0);
    g_assert_true((qdict_get_int(counters, "revocation-time") > 0) ==
                  zero_copy);
    qbuf_check_int(counters, "revocation-time-max",
              qdict_get_int(counters, "revocation-time"));
    qobject_unref(device);

    qbuf_memory_clear(&memory);
    qbuf_close(c);
    device = qbuf_query(b, "buf0");
    qbuf_check_int(device, "orphaned-count", 0);
    qbuf_check_int(device, "orphaned-bytes", 0);
    qobject_unref(device);
}

static void test_commands(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_request unknown = { .type = cpu_to_le32(99) };
    struct virtio_buf_range nowhere = {
        cpu_to_le64(1ull << 40), cpu_to_le64(PAGE_SIZE),
    };
    struct virtio_buf_range twice[2];
    QVirtioBufBuffer buffer = {}, broken = { .mode = 3 }, old = {};
    QVirtioBufBuffer far = { .ranges = &nowhere, .range_count = 1 };
    QVirtioBufBuffer self = {
        .size = 2 * PAGE_SIZE, .ranges = twice, .range_count = 2,
    };
    QVirtioBufBuffer large = { .size = 1 * TiB };
    QDict *device, *counters;
    uint32_t count;
    bool more;

    qvirtio_buf_register_ok(b, &buffer, 0);
    broken.addr = old.addr = large.addr = buffer.addr;
    twice[0].addr = twice[1].addr = cpu_to_le64(buffer.addr);
    twice[0].len = twice[1].len = cpu_to_le64(PAGE_SIZE);
    old.id = buffer.id;
    g_assert_cmpuint(qvirtio_buf_register(b, &broken), ==,
                     VIRTIO_BUF_S_INVALID);
    g_assert_cmpuint(qvirtio_buf_register(b, &old), ==,
                     VIRTIO_BUF_S_ID_ORDER);
    g_assert_cmpuint(qvirtio_buf_register(b, &far), ==, VIRTIO_BUF_S_NOT_RAM);
    g_assert_cmpuint(qvirtio_buf_register(b, &self), ==,
                     VIRTIO_BUF_S_OVERLAP);
    g_assert_cmpuint(qvirtio_buf_register(b, &large), ==, VIRTIO_BUF_S_LIMIT);
    g_assert_cmpuint(qvirtio_buf_set_properties(b, buffer.id, NULL, 0), ==,
                     VIRTIO_BUF_S_OK);
    qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    qvirtio_buf_update_ok(b, buffer.id, PAGE_SIZE);
    g_assert_cmpuint(qvirtio_buf_unregister(b, 77), ==,
                     VIRTIO_BUF_S_NO_BUFFER);
    g_assert_cmpuint(qvirtio_buf_unregister(b, 78), ==,
                     VIRTIO_BUF_S_NO_BUFFER);
    g_assert_cmpuint(qvirtio_buf_command_status(b, &unknown, sizeof(unknown)),
                     ==, VIRTIO_BUF_S_UNSUPPORTED);
    g_assert_cmpuint(qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_ALL, 0, 0,
                                               &count), ==, VIRTIO_BUF_S_OK);
    qvirtio_buf_get_events(b, &(struct virtio_buf_event) {}, 1, &more);

    device = qbuf_query(b, "buf0");
    counters = qdict_get_qdict(device, "counters");
    check_counters(qdict_get_qdict(counters, "commands"),
                   "register", 6, "set-properties", 1, "update", 2,
                   "unregister", 2, "unknown", 1, "reset", 1, "get-events", 1,
                   NULL);
    check_counters(qdict_get_qdict(counters, "errors"),
                   "invalid", 1, "id-order", 1, "not-ram", 1, "overlap", 1,
                   "limit", 1, "no-buffer", 2, "unsupported", 1, NULL);
    qbuf_check_int(counters, "freed", 1);
    qobject_unref(device);

    /* Not even a reset of the device forgets them */
    qvirtio_buf_restart(b);
    device = qbuf_query(b, "buf0");
    counters = qdict_get_qdict(device, "counters");
    qbuf_check_int(qdict_get_qdict(counters, "commands"), "register", 6);
    qbuf_check_int(device, "news", 0);
    qbuf_check_int(device, "last-serial", 0);
    qobject_unref(device);
}

static void test_limits(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_config config;
    QDict *device, *limits;

    qvirtio_buf_config(b, &config);
    device = qbuf_query(b, "buf0");
    qbuf_check_str(device, "instance", "small");
    limits = qdict_get_qdict(device, "limits");
    qbuf_check_int(limits, "buffers", 3);
    qbuf_check_int(limits, "ranges", 4);
    qbuf_check_int(limits, "buffer-size", 64 * KiB);
    qbuf_check_int(limits, "total-size", 96 * KiB);
    qbuf_check_int(limits, "dmabuf-ranges",
                   le32_to_cpu(config.max_dmabuf_ranges));
    qbuf_check_int(limits, "dmabuf-size",
                   le64_to_cpu(config.max_dmabuf_size));
    qbuf_check_int(limits, "properties", 2);
    qbuf_check_int(limits, "property-bytes", 64);
    qbuf_check_int(limits, "orphaned", 256 * MiB);
    qbuf_check_int(limits, "release-timeout", 1234);
    qbuf_check_int(limits, "hold-timeout", 2000);
    qobject_unref(device);
}

/* Checks that the buffers are those from @first to @last */
static void check_page(QVirtioBuf *b, uint64_t after, unsigned first,
                       unsigned last, bool more)
{
    QDict *answer = qtest_qmp(b->qts, "{'execute': 'query-virtio-buf',"
                              " 'arguments': {'device': 'buf0',"
                              " 'after': %" PRIu64 "}}", after);
    QDict *device = qobject_to(QDict, qlist_peek(qdict_get_qlist(answer,
                                                                 "return")));
    const QListEntry *entry;
    uint64_t id = first;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(device, "buffers"), entry) {
        qbuf_check_int(qobject_to(QDict, qlist_entry_obj(entry)), "id", id++);
    }
    g_assert_cmpuint(id, ==, last + 1);
    g_assert_true(qdict_get_bool(device, "more-buffers") == more);
    qobject_unref(answer);
}

/* An answer is bounded, and buffers of all states are told in one order */
static void test_pages(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(qvirtio_buf_socket_path(), "kept",
                                          4);
    QVirtioBufBuffer first = { .application = "kept" }, beyond = {};
    unsigned i, last = 256;
    g_autofree char *text = NULL;
    QBufMemory memory;

    qvirtio_buf_register_ok(b, &first, 0);
    qbuf_expect_attached(c, qbuf_expect_buffer(c, first.id), &memory);
    for (i = first.id + 1; i <= last; i++) {
        QVirtioBufBuffer buffer = { .addr = first.addr };

        qvirtio_buf_register_ok(b, &buffer, i);
    }
    check_page(b, 0, 1, last, false);
    check_page(b, last - 1, last, last, false);
    check_page(b, last, last + 1, last, false);
    check_page(b, UINT64_MAX, last + 1, last, false);

    /* One more; and the first is pending, and then only told to be free */
    beyond.addr = first.addr;
    qvirtio_buf_register_ok(b, &beyond, last + 1);
    check_page(b, 0, 1, last, true);
    check_page(b, last, last + 1, last + 1, false);
    g_assert_cmpuint(qvirtio_buf_unregister(b, first.id), ==,
                     VIRTIO_BUF_S_PENDING);
    check_page(b, 0, 1, last, true);
    qbuf_memory_clear(&memory);
    qbuf_close(c);
    qbuf_wait_consumers(b, 0);
    check_page(b, 0, 1, last, true);
    check_page(b, 1, 2, last + 1, false);

    text = qtest_hmp(b->qts, "info virtio-buf buf0");
    g_assert_nonnull(strstr(text, "\r\n  and more buffers: "));
}

static void check_refused(QTestState *qts, const char *device,
                          const char *expected)
{
    QDict *error = qtest_qmp_assert_failure_ref(
        qts, "{'execute': 'query-virtio-buf', 'arguments': {'device': %s}}",
        device);

    g_assert_cmpstr(qdict_get_str(error, "desc"), ==, expected);
    qobject_unref(error);
}

static void test_devices(void *obj, void *data, QGuestAllocator *alloc)
{
    QTestState *qts = qtest_init("-nodefaults -machine q35"
                                 " -device virtio-buf-pci,id=a,instance=first"
                                 " -device virtio-buf-pci,instance=second");
    QDict *answer, *device;
    g_autofree char *text = NULL;
    const QListEntry *entry;
    unsigned found = 0;
    QList *list;

    answer = qtest_qmp(qts, "{'execute': 'query-virtio-buf',"
                       " 'arguments': {'buffers': false}}");
    list = qdict_get_qlist(answer, "return");
    g_assert_cmpuint(qlist_size(list), ==, 2);
    QLIST_FOREACH_ENTRY(list, entry) {
        device = qobject_to(QDict, qlist_entry_obj(entry));
        g_assert_false(qdict_haskey(device, "server"));
        g_assert_false(qdict_haskey(device, "buffers"));
        g_assert_true(qlist_empty(qdict_get_qlist(device, "consumers")));
        if (!strcmp(qdict_get_str(device, "instance"), "first")) {
            qbuf_check_str(device, "id", "a");
            found |= 1;
        } else {
            qbuf_check_str(device, "instance", "second");
            g_assert_false(qdict_haskey(device, "id"));
            g_free(text);
            text = g_strdup(qdict_get_str(device, "qom-path"));
            found |= 2;
        }
    }
    g_assert_cmpuint(found, ==, 3);
    qobject_unref(answer);

    /* By the path that it has told */
    answer = qtest_qmp(qts, "{'execute': 'query-virtio-buf',"
                       " 'arguments': {'device': %s}}", text);
    list = qdict_get_qlist(answer, "return");
    g_assert_cmpuint(qlist_size(list), ==, 1);
    device = qobject_to(QDict, qlist_peek(list));
    qbuf_check_str(device, "instance", "second");
    g_assert_true(qlist_empty(qdict_get_qlist(device, "buffers")));
    qobject_unref(answer);

    check_refused(qts, "b", "Device 'b' not found");
    check_refused(qts, "/machine", "'/machine' is not a virtio-buf device");
    qtest_quit(qts);
}

static void test_no_device(void *obj, void *data, QGuestAllocator *alloc)
{
    QTestState *qts = qtest_init("-nodefaults -machine none");
    g_autofree char *text = NULL;
    QDict *answer;

    answer = qtest_qmp(qts, "{'execute': 'query-virtio-buf'}");
    g_assert_true(qlist_empty(qdict_get_qlist(answer, "return")));
    qobject_unref(answer);
    check_refused(qts, "buf0", "Device 'buf0' not found");
    text = qtest_hmp(qts, "info virtio-buf");
    g_assert_cmpstr(text, ==, "No virtio-buf devices\r\n");
    qtest_quit(qts);
}

/* What is counted begins at nought: no machine of an earlier case */
static void *fresh_before(GString *cmd_line, void *arg)
{
    qos_invalidate_command_line();
    return qvirtio_buf_before(cmd_line, arg);
}

static void register_virtio_buf_query_test(void)
{
    QOSGraphTestOptions opts = {
        .before = fresh_before,
        .edge.extra_device_opts = DEVICE,
    };
    QOSGraphTestOptions small = {
        .before = fresh_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SMALL ",id=buf0",
    };
    QOSGraphTestOptions large = {
        .before = fresh_before,
        .edge.extra_device_opts = DEVICE ",max-buffers=512",
    };

    qos_add_test("query/consumers", QVIRTIO_BUF_MONITOR, test_consumers, &opts);
    qos_add_test("query/queued", QVIRTIO_BUF_MONITOR, test_queued, &opts);
    qos_add_test("query/buffers", QVIRTIO_BUF_MONITOR, test_buffers, &opts);
    qos_add_test("query/states", QVIRTIO_BUF_MONITOR, test_states, &opts);
    qos_add_test("query/writer", QVIRTIO_BUF_MONITOR, test_writer, &opts);
    qos_add_test("query/revocation", QVIRTIO_BUF_MONITOR,
                 test_revocation, &opts);
    qos_add_test("query/commands", QVIRTIO_BUF_MONITOR, test_commands, &opts);
    qos_add_test("query/limits", QVIRTIO_BUF_MONITOR, test_limits, &small);
    qos_add_test("query/pages", QVIRTIO_BUF_MONITOR, test_pages, &large);
    qos_add_test("query/devices", QVIRTIO_BUF_ALONE, test_devices, &opts);
    qos_add_test("query/no-device", QVIRTIO_BUF_ALONE, test_no_device, &opts);
}

libqos_init(register_virtio_buf_query_test);
