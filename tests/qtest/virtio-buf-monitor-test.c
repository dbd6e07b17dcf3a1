/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: what the monitor and the log tell
 *
 * "info virtio-buf", the events, the names of the features and the traces.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-query.h"

#define PAGE_SIZE 4096
#define DEVICE QVIRTIO_BUF_SERVER ",id=buf0,instance=screen"

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

static void check_line(const char *text, const char *line)
{
    if (!strstr(text, line)) {
        g_error("'%s' is not in\n%s", line, text);
    }
}

static void test_info(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {
        .size = 2 * PAGE_SIZE, .mode = VIRTIO_BUF_MODE_EVERY,
        .application = "a\x1b[2J\xc2\x9b\xc3\xa4", .context = 7, .stream = 8,
    };
    uint8_t properties[64];
    uint32_t size = qvirtio_buf_property(properties, 0, "n\n", "v\x1b");
    QBufConsumer *c = qbuf_hello(path());
    g_autofree char *text = NULL, *error = NULL;
    g_autofree char *pid = g_strdup_printf("pid %d, uid %u, gid %u,"
                                           " connection 1, 0 bytes queued,"
                                           " 1 fds unread\r\n",
                                           (int)getpid(), getuid(), getgid());
    QBufMemory memory;
    uint64_t handle;

    qbuf_send_subscribe(c, buffer.application, 1, 0, properties, size);
    qbuf_expect_device(c, true);
    qbuf_expect_subscribed(c);
    qvirtio_buf_register_ok(b, &buffer, 0);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_attached(c, handle, &memory);
    qvirtio_buf_update_ok(b, buffer.id, buffer.size);
    qbuf_expect_update(c, handle, b->last_serial, NULL);

    text = qtest_hmp(b->qts, "info virtio-buf");
    g_assert_true(g_str_has_prefix(text, "buf0:\r\n"));
    check_line(text, "  instance: 'screen', server: s0\r\n");
    check_line(text, "  buffers: 1 of 256, 8192 of 1073741824 bytes\r\n");
    check_line(text, "  last serial: 1, news: 1, unread\r\n");
    check_line(text, "  orphaned: 0 dma-bufs, 0 of 268435456 bytes;"
               " quarantined: 0 buffers, 0 bytes;"
               " kept: 0 copies, 0 bytes\r\n");
    check_line(text, "  commands: register 1, unregister 0, set-properties 0,"
               " update 1, reset 0,");
    check_line(text, "  errors: unsupported 0, invalid 0,");
    check_line(text, "  attached: 1, freed: 0, copies: ");
    check_line(text, "  revocations: 0 of 0 bytes");
    check_line(text, pid);
    /* What could steer a terminal is gone, an umlaut is not */
    check_line(text, "    applications: 'a?[2J?\xc3\xa4'\r\n    n?=v?\r\n");
    check_line(text, "    buffers attached: 1, updates held: 1, got: 1,"
               " released: 0, overtaken: 0, lost: 0, written: 0\r\n");
    check_line(text, "  buffer 1: 'a?[2J?\xc3\xa4', context 7, stream 8, every,"
               " read, registered\r\n");
    check_line(text, "8192 bytes in 1 ranges, 0 bytes of properties\r\n");
    check_line(text, qvirtio_buf_zero_copy() ?
               "    backing: dmabuf, reason: none, exported, attachments: 1\r\n"
               : "    backing: copy, reason: ");
    check_line(text, "    serial 1, released 0, unreleased by 1\r\n");

    error = qtest_hmp(b->qts, "info virtio-buf nothing");
    g_assert_cmpstr(error, ==, "Error: Device 'nothing' not found\r\n");
    qbuf_memory_clear(&memory);
    qbuf_close(c);
}

/* The next event of that name: about this connection of that server */
static QDict *expect_event(QVirtioBuf *b, const char *name,
                           const char *server, unsigned connection)
{
    QDict *event = qtest_qmp_eventwait_ref(b->qts, name);
    QDict *about = qdict_get_qdict(event, "data");

    qbuf_check_str(about, "server", server);
    qbuf_check_int(about, "connection", connection);
    qbuf_check_int(about, "pid", getpid());
    qbuf_check_int(about, "uid", getuid());
    qobject_ref(about);
    qobject_unref(event);
    return about;
}

static void expect_connected(QVirtioBuf *b, const char *server,
                             unsigned connection)
{
    QDict *about = expect_event(b, "VIRTIO_BUF_CONSUMER_CONNECTED", server,
                                connection);

    qbuf_check_int(about, "gid", getgid());
    qobject_unref(about);
}

static void expect_disconnected(QVirtioBuf *b, unsigned connection,
                                const char *error)
{
    QDict *about = expect_event(b, "VIRTIO_BUF_CONSUMER_DISCONNECTED", "s0",
                                connection);

    qbuf_check_str(about, "error", error);
    qobject_unref(about);
}

#define SECOND 1000000000ll

static void test_events(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    g_autofree char *other = g_strconcat(path(), "2", NULL);
    struct virtio_buf_msg_detach early = {};
    QBufConsumer *c[6];

    qtest_qmp_assert_success(b->qts, "{'execute': 'object-add', 'arguments':"
                             " {'qom-type': 'virtio-buf-server', 'id': 's1',"
                             " 'path': %s}}", other);
    /* Of what comes within a second, the first and the last are told */
    c[1] = qbuf_hello(path());
    expect_connected(b, "s0", 1);
    c[2] = qbuf_hello(path());
    c[3] = qbuf_hello(path());
    /* That one server has many is nothing to the other */
    c[0] = qbuf_hello(other);
    expect_connected(b, "s1", 1);
    qtest_clock_step(b->qts, SECOND);
    expect_connected(b, "s0", 3);
    qtest_clock_step(b->qts, SECOND);
    c[4] = qbuf_hello(path());
    expect_connected(b, "s0", 4);

    qbuf_close(c[1]);
    expect_disconnected(b, 1, NULL);
    qtest_clock_step(b->qts, SECOND);
    qbuf_send(c[2], VIRTIO_BUF_MSG_DETACH, &early, sizeof(early));
    qbuf_expect_error(c[2], EPROTO);
    expect_disconnected(b, 2, "The second message is not SUBSCRIBE");
    qbuf_close(c[2]);

    qbuf_close(c[0]);
    qbuf_close(c[3]);
    qbuf_close(c[4]);
    qtest_qmp_assert_success(b->qts, "{'execute': 'object-del', 'arguments':"
                             " {'id': 's1'}}");
}

static void get_consumers(QVirtioBuf *b)
{
    struct virtio_buf_get_consumers req = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_CONSUMERS),
        .application = "test",
    };
    struct virtio_buf_consumers_response *response;
    g_autofree void *answer = g_malloc(QVIRTIO_BUF_PART_SIZE);

    qvirtio_buf_command(b, &req, sizeof(req), answer, QVIRTIO_BUF_PART_SIZE);
    response = answer;
    g_assert_cmpuint(le32_to_cpu(response->hdr.status), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(le32_to_cpu(response->count), ==, 1);
}

/* What test_trace() makes QEMU do */
static const char *const traces[] = {
    "command", "register", "unregister", "set_properties", "update", "reset",
    "get_events", "get_consumers", "device_reset",
    "server_accept", "peer_new", "peer_message", "peer_subscribe",
    "peer_attach", "peer_attached", "peer_update", "peer_close",
    "consumer_add", "consumer_remove", "attach", "detach", "release",
    "overtaken", "news", "freed",
};

static void test_trace(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    g_autofree char *log = g_strconcat(path(), ".log", NULL);
    g_autofree char *logfile = g_strconcat("logfile ", log, NULL);
    QVirtioBufBuffer buffer[3] = {};
    g_autofree char *text = NULL;
    QBufMemory memory[3];
    uint64_t handle[3];
    QBufConsumer *c;
    uint32_t count;
    unsigned i;

    g_free(qtest_hmp(b->qts, "%s", logfile));
    g_free(qtest_hmp(b->qts, "log trace:virtio_buf_*"));
    c = qbuf_subscribe_none(path(), "test", 3);
    for (i = 0; i < 3; i++) {
        buffer[i].stream = 1;
        buffer[i].mode = VIRTIO_BUF_MODE_LATEST;
        qvirtio_buf_register_ok(b, &buffer[i], 0);
        handle[i] = qbuf_expect_buffer(c, buffer[i].id);
        qbuf_expect_attached(c, handle[i], &memory[i]);
    }
    for (i = 0; i < 3; i++) {
        qvirtio_buf_update_ok(b, buffer[i].id, PAGE_SIZE);
    }
    qbuf_expect_update(c, handle[0], 1, NULL);
    qbuf_release(c, handle[0], 1);
    qbuf_expect_update(c, handle[2], 3, NULL);
    qvirtio_buf_set_properties(b, buffer[0].id, NULL, 0);
    get_consumers(b);
    qvirtio_buf_wait_event(b, buffer[0].id, VIRTIO_BUF_EVENT_RELEASED, NULL);
    for (i = 0; i < 3; i++) {
        qbuf_memory_clear(&memory[i]);
    }
    qbuf_close(c);
    qvirtio_buf_unregister(b, buffer[0].id);
    qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_ALL, 0, 0, &count);
    qvirtio_buf_wait_event(b, buffer[1].id, VIRTIO_BUF_EVENT_FREED, NULL);
    qvirtio_buf_restart(b);
    g_free(qtest_hmp(b->qts, "log none"));
    g_free(qtest_hmp(b->qts, "logfile /dev/null"));

    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    unlink(log);
    if (!*text) {
        g_test_skip("QEMU was built without --enable-trace-backends=log");
        return;
    }
    for (i = 0; i < ARRAY_SIZE(traces); i++) {
        g_autofree char *name = g_strdup_printf("virtio_buf_%s ", traces[i]);

        check_line(text, name);
    }
}

/* What is counted begins at nought: no machine of an earlier case */
static void *fresh_before(GString *cmd_line, void *arg)
{
    qos_invalidate_command_line();
    return qvirtio_buf_before(cmd_line, arg);
}

static void register_virtio_buf_monitor_test(void)
{
    QOSGraphTestOptions opts = {
        .before = fresh_before,
        .edge.extra_device_opts = DEVICE,
    };

    qos_add_test("monitor/info", QVIRTIO_BUF_MONITOR, test_info, &opts);
    qos_add_test("monitor/events", QVIRTIO_BUF_MONITOR, test_events, &opts);
    qos_add_test("monitor/trace", QVIRTIO_BUF_MONITOR, test_trace, &opts);
}

libqos_init(register_virtio_buf_monitor_test);
