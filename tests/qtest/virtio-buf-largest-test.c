/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: every command at its largest
 *
 * With the default limits, and 64 consumers; what the management asks for with
 * as many buffers as there can be, if VIRTIO_BUF_LONG_TESTS is in the
 * environment.
 * How long QEMU's main loop was busy with each is told, not judged: see
 * docs/measurements.rst.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-machine.h"

#define PAGE_SIZE 4096
#define MAX_RANGES 16384
#define MAX_BUFFERS 256
#define PROPERTIES 64
#define PROPERTY_BYTES 4096
#define CONSUMERS 64

typedef struct Largest {
    QVirtioBuf *b;
    uint8_t properties[PROPERTY_BYTES];
    QBufConsumer *consumers[CONSUMERS];
    uint8_t *response;
} Largest;

/*
 * Sends a command; a notification is answered when the device has handled it,
 * so that its time is the device's and that of the test's connection, some
 * tens of microseconds.
 */
static void timed_command(Largest *l, const char *what, const void *request,
                          size_t size, size_t room)
{
    QVirtioBuf *b = l->b;
    struct virtio_buf_response *response = (void *)l->response;
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US, start, took;
    uint16_t index = qtest_readw(b->qts, b->vq->avail + 2);

    g_assert_cmpuint(size, <=, QVIRTIO_BUF_PART_SIZE);
    g_assert_cmpuint(room, <=, QVIRTIO_BUF_PART_SIZE);
    qtest_bufwrite(b->qts, b->request, request, size);
    qvirtqueue_reset_pool(b->vq);
    qvirtqueue_add(b->qts, b->vq, b->request, size, false, true);
    qvirtqueue_add(b->qts, b->vq, b->response, room, true, false);
    qtest_writew(b->qts, b->vq->avail + 4 + 2 * (index % b->vq->size), 0);
    qtest_writew(b->qts, b->vq->avail + 2, index + 1);
    start = g_get_monotonic_time();
    b->vdev->bus->virtqueue_kick(b->vdev, b->vq);
    took = g_get_monotonic_time() - start;
    while (!qvirtqueue_get_buf(b->qts, b->vq, NULL, NULL)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    qtest_bufread(b->qts, b->response, l->response, room);
    g_assert_cmpuint(le32_to_cpu(response->status), <=, VIRTIO_BUF_S_PENDING);
    g_test_message("%s: %" PRId64 " us", what, took);
}

/* As many records as there may be, that fill all of the bytes there may be */
static void make_properties(uint8_t *list, char fill)
{
    g_autofree char *value = g_strnfill(PROPERTY_BYTES / PROPERTIES - 8 - 3,
                                        fill);
    uint32_t size = 0;
    unsigned i;

    for (i = 0; i < PROPERTIES; i++) {
        char name[4];

        snprintf(name, sizeof(name), "a%02u", i);
        size = qvirtio_buf_property(list, size, name, value);
    }
    g_assert_cmpuint(size, ==, PROPERTY_BYTES);
}

static void largest_begin(Largest *l, QVirtioBuf *b, unsigned consumers,
                          uint32_t credit)
{
    unsigned i;

    *l = (Largest) {
        .b = b,
        .response = g_malloc(QVIRTIO_BUF_PART_SIZE),
    };
    make_properties(l->properties, 'x');
    for (i = 0; i < consumers; i++) {
        l->consumers[i] = qbuf_hello(qvirtio_buf_socket_path());
        qbuf_send_subscribe(l->consumers[i], "test", credit, 0, l->properties,
                            sizeof(l->properties));
        qbuf_expect_device(l->consumers[i], true);
        qbuf_expect_subscribed(l->consumers[i]);
    }
}

static void largest_end(Largest *l)
{
    unsigned i;

    for (i = 0; i < CONSUMERS && l->consumers[i]; i++) {
        qbuf_close(l->consumers[i]);
    }
    g_free(l->response);
}

static void test_register(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_unregister unregister = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UNREGISTER),
        .buffer_id = cpu_to_le64(1),
    };
    size_t size = sizeof(struct virtio_buf_register) +
                  MAX_RANGES * sizeof(struct virtio_buf_range) +
                  PROPERTY_BYTES;
    g_autofree struct virtio_buf_register *request = g_malloc0(size);
    struct virtio_buf_range *ranges = (void *)(request + 1);
    uint64_t addr = guest_alloc(alloc, MAX_RANGES * PAGE_SIZE);
    uint64_t memory;
    Largest l;
    size_t i;

    largest_begin(&l, b, 1, 0);
    memory = qvirtio_buf_anonymous_memory(b->qts);
    request->hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_REGISTER);
    request->buffer_id = cpu_to_le64(1);
    request->size = cpu_to_le64(MAX_RANGES * PAGE_SIZE);
    request->range_count = cpu_to_le32(MAX_RANGES);
    request->property_bytes = cpu_to_le32(PROPERTY_BYTES);
    strcpy((char *)request->application, "test");
    for (i = 0; i < MAX_RANGES; i++) {
        /* From the last page down: none is merged with its neighbour */
        ranges[i].addr = cpu_to_le64(addr + (MAX_RANGES - 1 - i) * PAGE_SIZE);
        ranges[i].len = cpu_to_le64(PAGE_SIZE);
    }
    memcpy(&ranges[MAX_RANGES], l.properties, PROPERTY_BYTES);
    timed_command(&l, "REGISTER of 16384 ranges", request, size,
                  sizeof(struct virtio_buf_register_response));
    g_test_message("they take %" PRId64 " bytes of QEMU's memory",
                   qvirtio_buf_anonymous_memory(b->qts) - memory);
    timed_command(&l, "UNREGISTER of 16384 ranges", &unregister,
                  sizeof(unregister), sizeof(struct virtio_buf_response));
    largest_end(&l);
}

static void test_update(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .size = 64 * PAGE_SIZE };
    struct {
        struct virtio_buf_update head;
        struct virtio_buf_rect rects[VIRTIO_BUF_MAX_DAMAGE];
        struct virtio_buf_span spans[VIRTIO_BUF_MAX_DAMAGE];
        uint8_t properties[PROPERTY_BYTES];
    } update = {
        .head.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE),
    };
    struct {
        struct virtio_buf_set_properties head;
        uint8_t properties[PROPERTY_BYTES];
    } set = {
        .head.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_SET_PROPERTIES),
    };
    struct virtio_buf_get_consumers get_consumers = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_CONSUMERS),
        .application = "test",
    };
    struct virtio_buf_consumers_response *list;
    Largest l;
    unsigned i;

    largest_begin(&l, b, CONSUMERS, 1);
    qvirtio_buf_register_ok(b, &buffer, 0);
    for (i = 0; i < CONSUMERS; i++) {
        QBufMemory memory;

        qbuf_expect_attached(l.consumers[i],
                             qbuf_expect_buffer(l.consumers[i], buffer.id),
                             &memory);
        qbuf_memory_clear(&memory);
    }

    update.head.buffer_id = cpu_to_le64(buffer.id);
    update.head.frame.serial = cpu_to_le64(1);
    update.head.frame.data_size = cpu_to_le64(buffer.size);
    update.head.frame.rect_count = cpu_to_le16(VIRTIO_BUF_MAX_DAMAGE);
    update.head.frame.span_count = cpu_to_le16(VIRTIO_BUF_MAX_DAMAGE);
    update.head.frame.property_bytes = cpu_to_le32(PROPERTY_BYTES);
    for (i = 0; i < VIRTIO_BUF_MAX_DAMAGE; i++) {
        update.rects[i].width = update.rects[i].height = cpu_to_le32(1);
        update.spans[i].offset = cpu_to_le64(i * PAGE_SIZE);
        update.spans[i].len = cpu_to_le64(PAGE_SIZE);
    }
    make_properties(update.properties, 'u');
    timed_command(&l, "UPDATE with 16 rectangles, 16 spans, 64 properties, for"
                  " 64 consumers", &update, sizeof(update),
                  sizeof(struct virtio_buf_update_response));

    set.head.buffer_id = cpu_to_le64(buffer.id);
    set.head.property_bytes = cpu_to_le32(PROPERTY_BYTES);
    make_properties(set.properties, 's');
    timed_command(&l, "SET_PROPERTIES of 64 properties, for 64 consumers",
                  &set, sizeof(set), sizeof(struct virtio_buf_response));

    timed_command(&l, "GET_CONSUMERS with 64 consumers of 64 properties each",
                  &get_consumers, sizeof(get_consumers),
                  QVIRTIO_BUF_PART_SIZE);
    list = (void *)l.response;
    g_assert_cmpuint(le32_to_cpu(list->count), ==, CONSUMERS);
    g_assert_cmpuint(le32_to_cpu(list->more), ==, 0);
    largest_end(&l);
}

static void register_all(Largest *l, uint64_t addr)
{
    unsigned i;

    for (i = 0; i < MAX_BUFFERS; i++) {
        QVirtioBufBuffer buffer = { .addr = addr + i * PAGE_SIZE };
        QBufMemory memory;

        qvirtio_buf_register_ok(l->b, &buffer, i);
        qbuf_expect_attached(l->consumers[0],
                             qbuf_expect_buffer(l->consumers[0], buffer.id),
                             &memory);
        qbuf_memory_clear(&memory);
    }
}

static void test_resets(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint64_t addr = guest_alloc(alloc, MAX_BUFFERS * PAGE_SIZE);
    struct virtio_buf_reset reset = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_RESET),
        .scope = cpu_to_le32(VIRTIO_BUF_RESET_ALL),
    };
    struct virtio_buf_get_events get_events = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_EVENTS),
    };
    size_t room = sizeof(struct virtio_buf_events_response) +
                  MAX_BUFFERS * sizeof(struct virtio_buf_event);
    struct virtio_buf_events_response *events;
    struct virtio_buf_reset_response *answer;
    int64_t start;
    Largest l;

    largest_begin(&l, b, 1, MAX_BUFFERS);
    register_all(&l, addr);
    timed_command(&l, "RESET of 256 attached buffers", &reset, sizeof(reset),
                  sizeof(*answer));
    answer = (void *)l.response;
    g_assert_cmpuint(le32_to_cpu(answer->buffers), ==, MAX_BUFFERS);

    /* The consumer does not answer: its time is over */
    qtest_clock_step(b->qts, 5000 * 1000 * 1000ll);
    timed_command(&l, "GET_EVENTS with news of 256 buffers", &get_events,
                  sizeof(get_events), room);
    events = (void *)l.response;
    g_assert_cmpuint(le32_to_cpu(events->count), ==, MAX_BUFFERS);
    largest_end(&l);

    largest_begin(&l, b, 1, MAX_BUFFERS);
    register_all(&l, addr);
    start = g_get_monotonic_time();
    qvirtio_reset(b->vdev);
    g_test_message("device reset with 256 attached buffers: %" PRId64 " us",
                   g_get_monotonic_time() - start);
    qbuf_expect_reset(l.consumers[0], VIRTIO_BUF_RESET_REASON_DRIVER);
    qvirtio_buf_restart(b);
    largest_end(&l);
}

/* What QEMU's main loop has used of a CPU, in nanoseconds */
static uint64_t main_loop_ns(QTestState *qts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/schedstat",
                                            qtest_pid(qts));
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return g_ascii_strtoull(text, NULL, 10);
}

static void timed_query(QVirtioBuf *b, const char *arguments)
{
    uint64_t start = main_loop_ns(b->qts);
    QDict *answer = qtest_qmp(b->qts, "{'execute': 'query-virtio-buf',"
                              " 'arguments': %p}",
                              qobject_from_json(arguments, &error_abort));

    g_test_message("query-virtio-buf with %s: %" PRIu64 " us", arguments,
                   (main_loop_ns(b->qts) - start) / 1000);
    g_assert_true(qdict_haskey(answer, "return"));
    qobject_unref(answer);
}

static void test_query(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    unsigned count = getenv("VIRTIO_BUF_LONG_TESTS") ? 65536 : 300;
    uint64_t addr = guest_alloc(alloc, PAGE_SIZE);

    for (unsigned i = 0; i < count; i++) {
        QVirtioBufBuffer buffer = { .addr = addr };

        g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                         VIRTIO_BUF_S_OK);
    }
    g_test_message("%u buffers", count);
    timed_query(b, "{'buffers': false}");
    timed_query(b, "{}");
    timed_query(b, "{'after': 76}");
}

static void register_virtio_buf_largest_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .arg = (void *)"max-consumers=64,max-attached=256",
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    QOSGraphTestOptions most = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER ",max-buffers=65536",
    };

    qos_add_test("largest/register", "virtio-buf", test_register, &opts);
    qos_add_test("largest/update", "virtio-buf", test_update, &opts);
    qos_add_test("largest/resets", "virtio-buf", test_resets, &opts);
    qos_add_test("largest/query", "virtio-buf", test_query, &most);
}

libqos_init(register_virtio_buf_largest_test);
