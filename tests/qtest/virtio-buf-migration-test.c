/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: live migration, and saved states
 *
 * What the guest has registered is there at the destination, and the guest goes
 * on as if nothing had happened but that its consumers have gone: it hears of
 * all that this means. A migration that fails goes on at the source, with the
 * consumers there.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/mman.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-migration.h"

#define PAGE_SIZE 4096

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

static QVirtioBufDestination *destination_new(const char *from, const char *to)
{
    return qvirtio_buf_destination_new(qvirtio_buf_small_before, from, to);
}

static void guest_check(QTestState *qts, const QVirtioBufBuffer *buffer,
                        uint8_t pattern)
{
    g_autofree uint8_t *bytes = g_malloc(buffer->size);

    qtest_memread(qts, buffer->addr, bytes, buffer->size);
    for (size_t i = 0; i < buffer->size; i++) {
        g_assert_cmphex(bytes[i], ==, pattern);
    }
}

/* An announcement of what the guest registered as @buffer; its handle */
static uint64_t expect_same(QBufConsumer *c, const QVirtioBufBuffer *buffer,
                            uint64_t serial)
{
    const struct virtio_buf_msg_buffer *msg =
        qbuf_expect(c, VIRTIO_BUF_MSG_BUFFER);

    g_assert_cmpuint(le64_to_cpu(msg->guest_id), ==, buffer->id);
    g_assert_cmpuint(le64_to_cpu(msg->size), ==, buffer->size);
    g_assert_cmpuint(le64_to_cpu(msg->stream), ==, buffer->stream);
    g_assert_cmpuint(le64_to_cpu(msg->serial), ==, serial);
    g_assert_cmpuint(le32_to_cpu(msg->context), ==, buffer->context);
    g_assert_cmpuint(msg->mode, ==, buffer->mode);
    g_assert_cmpuint(msg->access, ==, buffer->access);
    g_assert_cmpmem(msg->uuid, sizeof(msg->uuid), buffer->response.uuid,
                    sizeof(buffer->response.uuid));
    g_assert_cmpstr((const char *)msg->application, ==, "test");
    g_assert_cmpmem(msg + 1, le32_to_cpu(msg->property_bytes),
                    buffer->properties, buffer->property_bytes);
    return le64_to_cpu(msg->buffer);
}

static uint64_t attach(QBufConsumer *c, uint64_t handle, QBufMemory *memory)
{
    qbuf_attach(c, handle);
    qbuf_expect_attached(c, handle, memory);
    return handle;
}

/* A moment of a guest's life, with a buffer of every kind */
typedef struct Scene {
    QVirtioBufBuffer picture;   /* IN_PLACE, with contents */
    QVirtioBufBuffer frame;     /* LATEST, its update is held by a consumer */
    QVirtioBufBuffer sample;    /* EVERY, without contents, of two ranges */
    QVirtioBufBuffer pending;   /* unregistered, held by a consumer */
    QVirtioBufBuffer freed;     /* of which the guest has not heard */
    uint8_t properties[256] QEMU_ALIGNED(8);
    struct virtio_buf_range ranges[2];
    QBufMemory memory[4];
    uint64_t picture_serial;
    uint64_t frame_handle;
    uint64_t frame_serial;
} Scene;

static void scene_set(Scene *scene, QVirtioBuf *b, QBufConsumer *c)
{
    uint64_t handle, pages = guest_alloc(b->alloc, 5 * PAGE_SIZE);
    struct virtio_buf_event events[8];
    uint32_t size;
    bool more;

    size = qvirtio_buf_property(scene->properties, 0, "width", "64");
    size = qvirtio_buf_property(scene->properties, size, "title", "a picture");
    scene->picture = (QVirtioBufBuffer) {
        .size = 3 * PAGE_SIZE + 8, .context = 7,
        .properties = scene->properties, .property_bytes = size,
    };
    scene->frame = (QVirtioBufBuffer) {
        .stream = 5, .mode = VIRTIO_BUF_MODE_LATEST,
    };
    scene->ranges[0].addr = cpu_to_le64(pages + 3 * PAGE_SIZE);
    scene->ranges[0].len = cpu_to_le64(2 * PAGE_SIZE);
    scene->ranges[1].addr = cpu_to_le64(pages);
    scene->ranges[1].len = cpu_to_le64(PAGE_SIZE);
    scene->sample = (QVirtioBufBuffer) {
        .size = 3 * PAGE_SIZE, .stream = 6, .mode = VIRTIO_BUF_MODE_EVERY,
        .ranges = scene->ranges, .range_count = 2,
    };
    qtest_memset(b->qts, pages + 3 * PAGE_SIZE, 0x33, 2 * PAGE_SIZE);
    qtest_memset(b->qts, pages, 0x34, PAGE_SIZE);
    scene->freed = (QVirtioBufBuffer) {
        .application = "nobody", .context = 9,
    };
    scene->pending = (QVirtioBufBuffer) {};

    qvirtio_buf_register_ok(b, &scene->freed, 0);
    qvirtio_buf_register_ok(b, &scene->picture, 0x11);
    handle = attach(c, expect_same(c, &scene->picture, 0), &scene->memory[0]);
    scene->picture_serial = qvirtio_buf_update_ok(b, scene->picture.id,
                                                  scene->picture.size);
    qbuf_expect_update(c, handle, scene->picture_serial, NULL);

    qvirtio_buf_register_ok(b, &scene->frame, 0x22);
    scene->frame_handle = attach(c, expect_same(c, &scene->frame, 0),
                                 &scene->memory[1]);
    scene->frame_serial = qvirtio_buf_update_ok(b, scene->frame.id, PAGE_SIZE);
    qbuf_expect_update(c, scene->frame_handle, scene->frame_serial, NULL);

    qvirtio_buf_register_ok(b, &scene->sample, 0);
    attach(c, expect_same(c, &scene->sample, 0), &scene->memory[2]);
    qvirtio_buf_register_ok(b, &scene->pending, 0x44);
    handle = attach(c, expect_same(c, &scene->pending, 0), &scene->memory[3]);

    /* The guest knows all so far, and not what comes now */
    qvirtio_buf_get_events(b, events, ARRAY_SIZE(events), &more);
    g_assert_false(more);
    g_assert_cmpuint(qvirtio_buf_unregister(b, scene->pending.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_expect_remove(c, handle);
    g_assert_cmpuint(qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_CONTEXT, 9,
                                               0, NULL), ==, VIRTIO_BUF_S_OK);
}

static void scene_clear(Scene *scene)
{
    for (size_t i = 0; i < ARRAY_SIZE(scene->memory); i++) {
        qbuf_memory_clear(&scene->memory[i]);
    }
}

static void check_event(const struct virtio_buf_event *event, uint64_t id,
                        uint32_t flags, uint64_t released)
{
    g_assert_cmpuint(le64_to_cpu(event->buffer_id), ==, id);
    g_assert_cmphex(le32_to_cpu(event->flags), ==, flags);
    g_assert_cmpuint(le64_to_cpu(event->released), ==, released);
    g_assert_cmpuint(le32_to_cpu(event->consumers), ==, 0);
}

/* The guest hears that its consumers are not here */
static void scene_check_news(const Scene *scene, QVirtioBuf *b)
{
    struct virtio_buf_event events[8];
    uint64_t news = b->news;
    bool more;

    g_assert_true(qvirtio_buf_config_changed(b));
    g_assert_cmpuint(qvirtio_buf_get_events(b, events, ARRAY_SIZE(events),
                                            &more), ==, 5);
    g_assert_false(more);
    g_assert_cmpuint(b->news, >, news);
    check_event(&events[0], scene->picture.id, VIRTIO_BUF_EVENT_CONSUMERS,
                scene->picture_serial);
    check_event(&events[1], scene->frame.id, VIRTIO_BUF_EVENT_CONSUMERS |
                VIRTIO_BUF_EVENT_RELEASED, scene->frame_serial);
    check_event(&events[2], scene->sample.id, VIRTIO_BUF_EVENT_CONSUMERS, 0);
    check_event(&events[3], scene->freed.id, VIRTIO_BUF_EVENT_FREED, 0);
    check_event(&events[4], scene->pending.id, VIRTIO_BUF_EVENT_FREED, 0);
    g_assert_false(qvirtio_buf_config_changed(b));
}

/* The guest goes on with its buffers, and with new consumers */
static void scene_go_on(Scene *scene, QVirtioBuf *b, QBufConsumer *c)
{
    uint64_t picture = expect_same(c, &scene->picture, scene->picture_serial);
    uint64_t frame = expect_same(c, &scene->frame, scene->frame_serial);
    uint64_t sample = expect_same(c, &scene->sample, 0);
    QVirtioBufBuffer old = { .id = scene->pending.id }, fresh = {};
    QBufMemory memory = {};
    QBufUpdate update;
    uint64_t handle;

    /* What was drawn before is there, at once and whole */
    attach(c, picture, &memory);
    qbuf_expect_update(c, picture, scene->picture_serial, &update);
    g_assert_cmpuint(update.frame.data_size, ==, scene->picture.size);
    g_assert_cmpuint(update.frame.span_count, ==, 0);
    g_assert_cmpuint(update.frame.property_bytes, ==, 0);
    qbuf_memory_check(&memory, 0, scene->picture.size, 0x11);
    guest_check(b->qts, &scene->picture, 0x11);
    qtest_memset(b->qts, scene->picture.addr, 0x12, scene->picture.size);
    qvirtio_buf_update_ok(b, scene->picture.id, scene->picture.size);
    qbuf_expect_update(c, picture, b->last_serial, NULL);
    qbuf_memory_check(&memory, 0, scene->picture.size, 0x12);
    g_assert_cmpuint(qvirtio_buf_unregister(b, scene->picture.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_expect_remove(c, picture);
    qbuf_memory_clear(&memory);
    qbuf_removed(c, picture);
    qvirtio_buf_wait_event(b, scene->picture.id, VIRTIO_BUF_EVENT_FREED, NULL);

    /* A hand-off buffer has nothing to show before its next update */
    attach(c, frame, &memory);
    qvirtio_buf_update_ok(b, scene->frame.id, PAGE_SIZE);
    qbuf_expect_update(c, frame, b->last_serial, NULL);
    qbuf_memory_check(&memory, 0, PAGE_SIZE, 0x22);
    qbuf_memory_clear(&memory);

    /* The pages are in the order of the buffer */
    attach(c, sample, &memory);
    qvirtio_buf_update_ok(b, scene->sample.id, scene->sample.size);
    qbuf_expect_update(c, sample, b->last_serial, NULL);
    qbuf_memory_check(&memory, 0, 2 * PAGE_SIZE, 0x33);
    qbuf_memory_check(&memory, 2 * PAGE_SIZE, PAGE_SIZE, 0x34);
    qbuf_memory_clear(&memory);

    /* Nothing comes back that was used */
    g_assert_cmpuint(qvirtio_buf_register(b, &old), ==,
                     VIRTIO_BUF_S_ID_ORDER);
    g_assert_cmpuint(qvirtio_buf_unregister(b, scene->pending.id), ==,
                     VIRTIO_BUF_S_NO_BUFFER);
    b->last_serial = scene->frame_serial - 1;
    g_assert_cmpuint(qvirtio_buf_update(b, scene->sample.id, PAGE_SIZE, NULL),
                     ==, VIRTIO_BUF_S_ID_ORDER);

    qvirtio_buf_register_ok(b, &fresh, 0x55);
    handle = expect_same(c, &fresh, 0);
    g_assert_cmpuint(handle, >, sample);
    g_assert_cmpuint(qvirtio_buf_unregister(b, fresh.id), ==, VIRTIO_BUF_S_OK);
    qbuf_expect_remove(c, handle);
}

static void test_live(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *here = qbuf_subscribe_none(path(), "test", 0);
    QVirtioBufDestination *d = destination_new(NULL, NULL);
    QBufConsumer *there = qbuf_subscribe_none(d->server, "test", 0);
    struct virtio_buf_config config;
    Scene scene = {};

    scene_set(&scene, b, here);
    g_assert_true(qvirtio_buf_migrate(b, d));
    scene_check_news(&scene, &d->buf);
    qvirtio_buf_config(&d->buf, &config);
    g_assert_cmpuint(le32_to_cpu(config.consumers), ==, 1);
    scene_go_on(&scene, &d->buf, there);

    /* Whoever is at the source has what it had */
    qbuf_memory_check(&scene.memory[0], 0, scene.picture.size, 0x11);
    qbuf_expect_silence(here);
    scene_clear(&scene);
    qbuf_close(here);
    qbuf_close(there);
    qvirtio_buf_destination_free(d);
    qos_invalidate_command_line();
}

/* The consumers of the source do not notice that it was tried */
static void scene_check_source(Scene *scene, QVirtioBuf *b, QBufConsumer *c)
{
    uint64_t released;

    qbuf_expect_silence(c);
    g_assert_cmpuint(qvirtio_buf_update(b, scene->frame.id, PAGE_SIZE,
                                        &released), ==, VIRTIO_BUF_S_BUSY);
    g_assert_cmpuint(released, <, scene->frame_serial);
    qbuf_release(c, scene->frame_handle, scene->frame_serial);
    qvirtio_buf_wait_event(b, scene->frame.id, VIRTIO_BUF_EVENT_RELEASED,
                           NULL);
    qvirtio_buf_no_event(b, scene->pending.id, VIRTIO_BUF_EVENT_FREED);
    scene->frame_serial = qvirtio_buf_update_ok(b, scene->frame.id, PAGE_SIZE);
    qbuf_expect_update(c, scene->frame_handle, scene->frame_serial, NULL);
    qbuf_memory_check(&scene->memory[1], 0, PAGE_SIZE, 0x22);
}

/* A destination that would break what the guest was told */
typedef struct Refusal {
    const char *option;
    const char *message;
} Refusal;

static const Refusal sizes[] = {
    { "max-buffer-size=64K",
      "set 'max-buffer-size' to 268435456 here, not 65536" },
    { "max-total-size=2G",
      "set 'max-total-size' to 1073741824 here, not 2147483648" },
    { "max-property-bytes=64",
      "set 'max-property-bytes' to 4096 here, not 64" },
    {}
};

static const Refusal counts[] = {
    { "max-buffers=7", "set 'max-buffers' to 256 here, not 7" },
    { "max-ranges=17", "set 'max-ranges' to 16384 here, not 17" },
    { "max-properties=3", "set 'max-properties' to 64 here, not 3" },
    {}
};

static const Refusal others[] = {
    { "release-timeout=3", "set 'release-timeout' to 2000 here, not 3" },
    { "hold-timeout=3", "set 'hold-timeout' to 2000 here, not 3" },
    { "instance=other", "'instance' is 'other' here" },
    {}
};

static void test_refused(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    Scene scene = {};

    scene_set(&scene, b, c);
    for (const Refusal *refusal = data; refusal->option; refusal++) {
        g_autofree char *options = g_strdup_printf(QVIRTIO_BUF_SERVER ",%s",
                                                   refusal->option);
        QVirtioBufDestination *d = destination_new(QVIRTIO_BUF_SERVER,
                                                   options);

        g_test_message("%s", refusal->option);
        g_assert_false(qvirtio_buf_migrate(b, d));
        qvirtio_buf_destination_said(d, refusal->message);
        scene_check_source(&scene, b, c);
        qvirtio_buf_destination_free(d);
    }
    scene_clear(&scene);
    qbuf_close(c);
    qos_invalidate_command_line();
}

static void test_cancelled(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    QVirtioBufDestination *d = destination_new(NULL, NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s", d->channel);
    Scene scene = {};

    scene_set(&scene, b, c);
    /* This takes a quarter of an hour */
    qtest_memset(b->qts, guest_alloc(alloc, 4 * MiB), 0x77, 4 * MiB);
    qtest_qmp_assert_success(b->qts,
        "{'execute': 'migrate-set-parameters',"
        " 'arguments': {'max-bandwidth': 4096}}");
    qvirtio_buf_incoming(d, uri);
    qvirtio_buf_outgoing(b->qts, uri);
    /* It works while it is sent */
    scene_check_source(&scene, b, c);
    qtest_qmp_assert_success(b->qts, "{'execute': 'migrate_cancel'}");
    g_assert_false(qvirtio_buf_migrated(b->qts));
    scene_check_source(&scene, b, c);
    qvirtio_buf_destination_free(d);

    /* And can be tried again */
    qtest_qmp_assert_success(b->qts,
        "{'execute': 'migrate-set-parameters',"
        " 'arguments': {'max-bandwidth': 1073741824}}");
    d = destination_new(NULL, NULL);
    g_assert_true(qvirtio_buf_migrate(b, d));
    qvirtio_buf_wait_event(&d->buf, scene.pending.id, VIRTIO_BUF_EVENT_FREED,
                           NULL);
    scene_clear(&scene);
    qbuf_close(c);
    qvirtio_buf_destination_free(d);
    qos_invalidate_command_line();
}

/* Runs a job, which has to succeed; @args follow 'job-id' */
static void run_job(QTestState *qts, const char *command, const char *args)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    g_autofree char *request = g_strdup_printf(
        "{'execute': '%s', 'arguments': {'job-id': 'job', %s}}", command, args);
    bool done = false;

    qtest_qmp_assert_success(qts, request, NULL);
    while (!done) {
        QDict *ret = qtest_qmp(qts, "{'execute': 'query-jobs'}");
        QDict *job = qobject_to(QDict, qlist_peek(qdict_get_qlist(ret,
                                                                  "return")));

        done = g_str_equal(qdict_get_str(job, "status"), "concluded");
        if (done && qdict_haskey(job, "error")) {
            g_error("%s: %s", command, qdict_get_str(job, "error"));
        }
        qobject_unref(ret);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    qtest_qmp_assert_success(qts, "{'execute': 'job-dismiss',"
                             " 'arguments': {'id': 'job'}}");
}

/* A block device that takes states of the machine */
static void add_state_device(QTestState *qts, const char *file)
{
    g_autofree char *create = g_strdup_printf(
        "'options': {'driver': 'file', 'filename': '%s', 'size': 0}", file);

    run_job(qts, "blockdev-create", create);
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-add', 'arguments': {"
                             "'driver': 'file', 'node-name': 'file',"
                             "'filename': %s}}", file);
    run_job(qts, "blockdev-create", "'options': {'driver': 'qcow2',"
            " 'file': 'file', 'size': 65536}");
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-add', 'arguments': {"
                             "'driver': 'qcow2', 'node-name': 'states',"
                             "'file': 'file'}}");
}

static void test_snapshot(void *obj, void *data, QGuestAllocator *alloc)
{
    static const char args[] = "'tag': 'one', 'vmstate': 'states',"
                               " 'devices': ['states']";
    QVirtioBuf *b = obj;
    g_autofree char *file = g_strdup_printf("%s.qcow2", path());
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    QVirtioBufBuffer later = {};
    QVirtioBuf saved_b;
    QVirtQueue saved_vq;
    Scene scene = {};

    add_state_device(b->qts, file);
    scene_set(&scene, b, c);
    run_job(b->qts, "snapshot-save", args);
    saved_b = *b;
    saved_vq = *b->vq;
    scene_check_source(&scene, b, c);
    scene.frame_serial = saved_b.last_serial;

    /* A life after, with other contents and other buffers */
    qtest_memset(b->qts, scene.picture.addr, 0x99, scene.picture.size);
    qvirtio_buf_register_ok(b, &later, 0x98);
    attach(c, expect_same(c, &later, 0), &scene.memory[3]);
    qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_STREAM, 0,
                              scene.frame.stream, NULL);
    qbuf_expect_remove(c, scene.frame_handle);

    run_job(b->qts, "snapshot-load", args);
    *b = saved_b;
    *b->vq = saved_vq;
    qbuf_expect_reset(c, VIRTIO_BUF_RESET_REASON_SYSTEM);
    scene_check_news(&scene, b);
    scene_go_on(&scene, b, c);

    scene_clear(&scene);
    qbuf_close(c);
    g_unlink(file);
    qos_invalidate_command_line();
}

static void register_virtio_buf_migration_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_small_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("migration/live", "virtio-buf", test_live, &opts);
    qos_add_test("migration/cancelled", "virtio-buf", test_cancelled, &opts);
    qos_add_test("migration/snapshot", "virtio-buf", test_snapshot, &opts);
    opts.arg = (void *)sizes;
    qos_add_test("migration/other-sizes", "virtio-buf", test_refused, &opts);
    opts.arg = (void *)counts;
    qos_add_test("migration/other-counts", "virtio-buf", test_refused, &opts);
    opts.arg = (void *)others;
    qos_add_test("migration/other-times", "virtio-buf", test_refused, &opts);
}

libqos_init(register_virtio_buf_migration_test);
