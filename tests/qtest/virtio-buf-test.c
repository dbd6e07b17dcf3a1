/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: the device, its configuration and its queue
 *
 * Nothing is shared here. Chains that are no commands, events and their pages;
 * the normative text is docs/specs/virtio-buf.rst.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "standard-headers/linux/pci_regs.h"
#include "standard-headers/linux/virtio_config.h"

static void test_config(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_config config;

    qvirtio_buf_config(b, &config);
    g_assert_cmpuint(le32_to_cpu(config.consumers), ==, 0);
    g_assert_cmpuint(le32_to_cpu(config.page_size), ==, 4096);
    g_assert_cmpuint(le32_to_cpu(config.max_buffers), ==, 3);
    g_assert_cmpuint(le32_to_cpu(config.max_ranges), ==, 4);
    g_assert_cmpuint(le64_to_cpu(config.max_buffer_size), ==, 64 * 1024);
    g_assert_cmpuint(le64_to_cpu(config.max_total_size), ==, 96 * 1024);
    g_assert_cmpuint(le64_to_cpu(config.max_dmabuf_size), ==,
                     qvirtio_buf_zero_copy() ? 64 * 1024 : 0);
    g_assert_cmpuint(le32_to_cpu(config.max_dmabuf_ranges), ==,
                     qvirtio_buf_zero_copy() ? 4 : 0);
    g_assert_cmpuint(le32_to_cpu(config.max_properties), ==, 2);
    g_assert_cmpuint(le32_to_cpu(config.max_property_bytes), ==, 64);
    g_assert_cmpuint(le32_to_cpu(config.release_timeout_ms), ==, 1234);
    g_assert_cmpuint(le32_to_cpu(config.hold_timeout_ms), ==, 2000);
    g_assert_cmpuint(config.reserved, ==, 0);
    g_assert_true(virtio_buf_name_valid(config.instance, false));
    g_assert_cmpstr((char *)config.instance, ==, "small");
}

static void test_features(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint64_t features = qvirtio_get_features(b->vdev);

    g_assert_true(features & (1ull << VIRTIO_F_VERSION_1));
    g_assert_true(features & (1ull << VIRTIO_F_ACCESS_PLATFORM));
    g_assert_true(features & (1ull << VIRTIO_BUF_F_WRITER));
}

static void test_subsystem_ids(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioPCIDevice *pci = obj;
    QPCIDevice *pdev = pci->pdev;

    g_assert_cmphex(qpci_config_readw(pdev, PCI_VENDOR_ID), ==, 0x1af4);
    g_assert_cmphex(qpci_config_readw(pdev, PCI_DEVICE_ID), ==,
                    0x1040 + VIRTIO_ID_BUF);
    g_assert_cmphex(qpci_config_readw(pdev, PCI_SUBSYSTEM_VENDOR_ID), ==,
                    0x4b56);
    g_assert_cmphex(qpci_config_readw(pdev, PCI_SUBSYSTEM_ID), ==, 0x64d4);
}

/* The device's own are named; the only one without a name is QEMU's trap */
static void check_feature_names(const QDict *features, bool writer)
{
    const char *name = "VIRTIO_BUF_F_WRITER: ";
    bool found = false;
    const QListEntry *entry;

    g_assert_cmphex(qdict_get_try_int(features, "unknown-dev-features", 0) &
                    ~QVIRTIO_F_BAD_FEATURE, ==, 0);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(features, "dev-features"), entry) {
        found |= g_str_has_prefix(
            qstring_get_str(qobject_to(QString, qlist_entry_obj(entry))),
            name);
    }
    g_assert_true(found == writer);
}

static void test_query_status(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    const char *path = NULL;
    const QListEntry *entry;
    QDict *list, *status;

    list = qtest_qmp(b->qts, "{'execute': 'x-query-virtio'}");
    QLIST_FOREACH_ENTRY(qdict_get_qlist(list, "return"), entry) {
        QDict *device = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(device, "name"), "virtio-buf")) {
            path = qdict_get_str(device, "path");
        }
    }
    g_assert_nonnull(path);

    status = qtest_qmp_assert_success_ref(b->qts,
        "{'execute': 'x-query-virtio-status', 'arguments': {'path': %s}}",
        path);
    g_assert_cmpstr(qdict_get_str(status, "name"), ==, "virtio-buf");
    g_assert_cmpint(qdict_get_int(status, "device-id"), ==, VIRTIO_ID_BUF);
    g_assert_cmpint(qdict_get_int(status, "num-vqs"), ==, 1);
    check_feature_names(qdict_get_qdict(status, "host-features"), true);
    check_feature_names(qdict_get_qdict(status, "guest-features"), false);
    qobject_unref(status);

    qvirtio_buf_restart_writable(b);
    status = qtest_qmp_assert_success_ref(b->qts,
        "{'execute': 'x-query-virtio-status', 'arguments': {'path': %s}}",
        path);
    check_feature_names(qdict_get_qdict(status, "guest-features"), true);
    qobject_unref(status);
    qobject_unref(list);
}

static void test_events_paging(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_event events[4];
    QVirtioBufBuffer buffers[5] = {};
    uint64_t news;
    uint32_t count;
    unsigned i;
    bool more;

    for (i = 0; i < ARRAY_SIZE(buffers); i++) {
        qvirtio_buf_register_ok(b, &buffers[i], 0);
    }
    g_assert_cmpuint(qvirtio_buf_get_events(b, events, 1, &more), ==, 0);
    g_assert_false(more);
    news = b->news;
    qvirtio_buf_config_changed(b);

    qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_ALL, 0, 0, &count);
    g_assert_cmpuint(count, ==, 5);
    g_assert_cmpuint(b->news, ==, news + 5);
    qvirtio_buf_wait_config_changed(b);

    g_assert_cmpuint(qvirtio_buf_get_events(b, events, 2, &more), ==, 2);
    g_assert_true(more);
    g_assert_cmpuint(le64_to_cpu(events[0].buffer_id), ==, 1);
    g_assert_cmpuint(le64_to_cpu(events[1].buffer_id), ==, 2);
    g_assert_cmpuint(qvirtio_buf_get_events(b, events, 3, &more), ==, 3);
    g_assert_false(more);
    for (i = 0; i < 3; i++) {
        g_assert_cmpuint(le64_to_cpu(events[i].buffer_id), ==, 3 + i);
        g_assert_cmphex(le32_to_cpu(events[i].flags) & VIRTIO_BUF_EVENT_FREED,
                        !=, 0);
    }
    g_assert_cmpuint(qvirtio_buf_get_events(b, events, 1, &more), ==, 0);
    g_assert_false(qvirtio_buf_config_changed(b));
}

static void test_events_room(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_get_events request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_EVENTS),
    };
    struct virtio_buf_get_consumers consumers = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_CONSUMERS),
        .application = "test",
    };
    struct virtio_buf_events_response short_answer;
    uint8_t answer[65536] QEMU_ALIGNED(8);
    struct virtio_buf_consumers_response *list = (void *)answer;

    qvirtio_buf_command(b, &request, sizeof(request), &short_answer,
                        sizeof(short_answer));
    g_assert_cmpuint(le32_to_cpu(short_answer.hdr.status), ==,
                     VIRTIO_BUF_S_INVALID);
    request.hdr.flags = cpu_to_le32(1);
    qvirtio_buf_command(b, &request, sizeof(request), answer, sizeof(answer));
    g_assert_cmpuint(le32_to_cpu(list->hdr.status), ==, VIRTIO_BUF_S_INVALID);

    qvirtio_buf_command(b, &consumers, sizeof(consumers), answer,
                        sizeof(*list) + 16);
    g_assert_cmpuint(le32_to_cpu(list->hdr.status), ==, VIRTIO_BUF_S_INVALID);
    qvirtio_buf_command(b, &consumers, sizeof(consumers), answer,
                        sizeof(answer));
    g_assert_cmpuint(le32_to_cpu(list->hdr.status), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(list->count, ==, 0);
    g_assert_cmpuint(list->more, ==, 0);
    consumers.application[0] = 0;
    qvirtio_buf_command(b, &consumers, sizeof(consumers), answer,
                        sizeof(answer));
    g_assert_cmpuint(le32_to_cpu(list->hdr.status), ==, VIRTIO_BUF_S_INVALID);
}

static void test_unknown_command(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint32_t types[] = { 0, 8, 255, 0x7fffffff, 0xffffffff };
    QVirtioBuf *b = obj;
    struct virtio_buf_request request[4] = {};
    size_t i;

    for (i = 0; i < ARRAY_SIZE(types); i++) {
        request[0].type = cpu_to_le32(types[i]);
        g_assert_cmpuint(qvirtio_buf_command_status(b, request,
                                                    sizeof(request[0])), ==,
                         VIRTIO_BUF_S_UNSUPPORTED);
        g_assert_cmpuint(qvirtio_buf_command_status(b, request,
                                                    sizeof(request)), ==,
                         VIRTIO_BUF_S_UNSUPPORTED);
    }
}

static const struct {
    uint32_t type;
    size_t request_size;
    size_t response_size;
} sizes[] = {
    { VIRTIO_BUF_CMD_REGISTER, sizeof(struct virtio_buf_register),
      sizeof(struct virtio_buf_register_response) },
    { VIRTIO_BUF_CMD_UNREGISTER, sizeof(struct virtio_buf_unregister),
      sizeof(struct virtio_buf_response) },
    { VIRTIO_BUF_CMD_SET_PROPERTIES, sizeof(struct virtio_buf_set_properties),
      sizeof(struct virtio_buf_response) },
    { VIRTIO_BUF_CMD_UPDATE, sizeof(struct virtio_buf_update),
      sizeof(struct virtio_buf_update_response) },
    { VIRTIO_BUF_CMD_RESET, sizeof(struct virtio_buf_reset),
      sizeof(struct virtio_buf_reset_response) },
    { VIRTIO_BUF_CMD_GET_EVENTS, sizeof(struct virtio_buf_get_events),
      sizeof(struct virtio_buf_events_response) },
    { VIRTIO_BUF_CMD_GET_CONSUMERS, sizeof(struct virtio_buf_get_consumers),
      sizeof(struct virtio_buf_consumers_response) },
    { 99, sizeof(struct virtio_buf_request),
      sizeof(struct virtio_buf_response) },
};

/* A chain that cannot be answered breaks the device until its reset */
static void check_malformed(QVirtioBuf *b, uint32_t type, size_t request_size,
                            size_t response_size)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    uint8_t request[256] = {};
    uint32_t len;

    stl_le_p(request, type);
    qvirtio_buf_kick(b, request, request_size, response_size);
    while (!(b->vdev->bus->get_status(b->vdev) &
             VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_false(qvirtqueue_get_buf(b->qts, b->vq, NULL, &len));
    qvirtio_buf_restart(b);
}

/*
 * Every one below @end for the first command; for the others, what is checked
 * in the same way, those around the head and the last one
 */
static size_t next_size(size_t size, size_t end, bool first)
{
    if (first || size < 1 || size == 7 || size == 8 || size == end - 1) {
        return size + 1;
    }
    return MIN(size < 7 ? 7 : end - 1, end - 1);
}

static void test_malformed(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_event event;
    QVirtioBufBuffer buffer = {};
    size_t i, size;
    bool more;

    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (size = 0; size < sizes[i].request_size;
             size = next_size(size, sizes[i].request_size, i == 0)) {
            check_malformed(b, sizes[i].type, size, sizes[i].response_size);
        }
        for (size = 0; size < sizes[i].response_size;
             size = next_size(size, sizes[i].response_size, i == 0)) {
            check_malformed(b, sizes[i].type, sizes[i].request_size, size);
        }
    }
    check_malformed(b, VIRTIO_BUF_CMD_GET_EVENTS, 1, 0);

    g_assert_cmpuint(qvirtio_buf_get_events(b, &event, 1, &more), ==, 0);
    qvirtio_buf_register_ok(b, &buffer, 0);
}

/* A device without a server is legal */
static void test_no_server(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .mode = VIRTIO_BUF_MODE_EVERY };
    uint64_t released;

    qvirtio_buf_register_ok(b, &buffer, 0);
    g_assert_cmpuint(qvirtio_buf_update(b, buffer.id, 4096, &released), ==,
                     VIRTIO_BUF_S_OK);
    g_assert_cmpuint(released, ==, b->last_serial);
    qvirtio_buf_restart(b);
    buffer.id = 0;
    qvirtio_buf_register_ok(b, &buffer, 0);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_OK);
}

/* A request may be longer than any command can be: the rest is not read */
static void test_long_request(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    g_autofree uint8_t *request = g_malloc0(QVIRTIO_BUF_PART_SIZE);
    uint8_t answer[256] QEMU_ALIGNED(8);
    struct virtio_buf_response *hdr = (void *)answer;
    QVirtioBufBuffer buffer = {};
    size_t i;

    qvirtio_buf_register_ok(b, &buffer, 0);
    stq_le_p(request + 8, buffer.id);
    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        stl_le_p(request, sizes[i].type);
        qvirtio_buf_command(b, request, QVIRTIO_BUF_PART_SIZE, answer,
                            sizeof(answer));
        g_assert_cmpuint(le32_to_cpu(hdr->status), ==,
                         sizes[i].type == 99 ? VIRTIO_BUF_S_UNSUPPORTED :
                         VIRTIO_BUF_S_INVALID);
    }
}

static void register_virtio_buf_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions small = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SMALL,
    };
    QOSGraphTestOptions no_link = {
        .before = qvirtio_buf_before,
    };
    QOSGraphTestOptions ids = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER
            ",subsystem-vendor-id=0x4b56,subsystem-id=0x64d4",
    };

    qos_add_test("guest/features", "virtio-buf", test_features, &opts);
    qos_add_test("guest/query-status", "virtio-buf", test_query_status, &opts);
    qos_add_test("guest/events-paging", "virtio-buf", test_events_paging,
                 &opts);
    qos_add_test("guest/events-room", "virtio-buf", test_events_room, &opts);
    qos_add_test("guest/unknown-command", "virtio-buf", test_unknown_command,
                 &opts);
    qos_add_test("guest/malformed", "virtio-buf", test_malformed, &opts);
    qos_add_test("guest/long-request", "virtio-buf", test_long_request, &opts);

    qos_add_test("guest/no-server", "virtio-buf", test_no_server, &no_link);

    qos_add_test("guest/config", "virtio-buf", test_config, &small);

    qos_add_test("guest/subsystem-ids", "virtio-buf-pci", test_subsystem_ids,
                 &ids);
}

libqos_init(register_virtio_buf_test);
