/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: when what a writer has written is in guest RAM,
 * and when it must not get there any more
 *
 * Megabytes, so that a worker copies where there is no udmabuf, and whatever
 * else happens can happen in the middle.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-migration.h"
#include "libqos/virtio-buf-writer.h"

#define PAGE_SIZE 4096
#define LARGE (16 * MiB)

/* Nobody owns it: the writer writes when it wants to, the guest as well */
static void test_in_place(void *obj, void *data, QGuestAllocator *alloc)
{
    enum { HALF = LARGE / 2, QUARTER = LARGE / 4, ROUNDS = 20 };
    struct virtio_buf_span spans[] = {
        { cpu_to_le64(HALF), cpu_to_le64(QUARTER - 1) },
        { cpu_to_le64(HALF + QUARTER - 1), cpu_to_le64(QUARTER) },
        { cpu_to_le64(LARGE - 1), cpu_to_le64(1) },
    };
    QVirtioBuf *b = obj;
    QVirtioBufWritten written;
    uint64_t serial = 0;
    QBufWriter w;

    qbuf_writer_init(&w, b, VIRTIO_BUF_MODE_IN_PLACE, LARGE);
    /* It begins with what the guest has, also without any UPDATE */
    g_assert_cmphex(w.bytes[0], ==, 0x11);
    g_assert_cmpint(memcmp(w.bytes, w.bytes + 1, LARGE - 1), ==, 0);
    memset(w.bytes, 0x22, PAGE_SIZE);
    qbuf_written(w.c, w.handle, ++serial, PAGE_SIZE);
    qvirtio_buf_wait_written(b, w.buffer.id, serial, PAGE_SIZE, NULL);
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM, PAGE_SIZE, 0x22);
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM + PAGE_SIZE, LARGE - PAGE_SIZE,
                     0x11);

    for (int i = 0; i < ROUNDS; i++) {
        struct virtio_buf_update update = {
            .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE),
            .buffer_id = cpu_to_le64(w.buffer.id),
            .frame.serial = cpu_to_le64(++b->last_serial),
            .frame.data_size = cpu_to_le64(HALF),
        };
        struct virtio_buf_update_response response;

        /* Faster than they can be written back, and behind an update */
        qtest_memset(b->qts, QBUF_WRITER_RAM, i, HALF);
        memset(w.bytes + HALF, 0x80 + i, HALF);
        qbuf_written_spans(w.c, w.handle, ++serial, LARGE, &spans[0], 1);
        qbuf_written_spans(w.c, w.handle, ++serial, LARGE, &spans[1], 1);
        qvirtio_buf_command(b, &update, sizeof(update), &response,
                            sizeof(response));
        g_assert_cmpuint(le32_to_cpu(response.hdr.status), ==,
                         VIRTIO_BUF_S_OK);
        qbuf_written_spans(w.c, w.handle, ++serial, LARGE, &spans[2], 1);
        qbuf_expect_update(w.c, w.handle, b->last_serial, NULL);
        g_assert_cmphex(w.bytes[0], ==, i);
        g_assert_cmpint(memcmp(w.bytes, w.bytes + 1, HALF - 1), ==, 0);
        qvirtio_buf_wait_written(b, w.buffer.id, serial, LARGE, &written);
        qbuf_check_guest(b->qts, QBUF_WRITER_RAM + HALF, HALF, 0x80 + i);
        qbuf_check_guest(b->qts, QBUF_WRITER_RAM, HALF, i);
    }
    qbuf_expect_silence(w.c);
    qbuf_writer_clear(&w);
}

/*
 * A copy that is large enough for a worker is being written back while the
 * guest takes the buffer: from then on its RAM is its own
 */
static void check_taken_back(QVirtioBuf *b, bool reset)
{
    unsigned partly = 0;

    for (int round = 0; round < 10; round++) {
        QBufWriter w;

        qbuf_writer_init(&w, b, VIRTIO_BUF_MODE_IN_PLACE, LARGE);
        memset(w.bytes, 0x22, LARGE);
        qbuf_written(w.c, w.handle, 1, LARGE);
        qbuf_written(w.c, w.handle, 2, LARGE);
        qbuf_written(w.c, w.handle, 3, LARGE);
        g_usleep(round * 500);
        if (reset) {
            qvirtio_buf_restart_writable(b);
        } else {
            g_assert_cmpuint(qvirtio_buf_unregister(b, w.buffer.id), ==,
                             VIRTIO_BUF_S_PENDING);
        }
        partly += qtest_readb(b->qts, QBUF_WRITER_RAM) == 0x22 &&
                  qtest_readb(b->qts, QBUF_WRITER_RAM + LARGE - 1) == 0x11;
        qtest_memset(b->qts, QBUF_WRITER_RAM, 0x33, LARGE);
        memset(w.bytes, 0x44, LARGE);
        if (reset) {
            qbuf_expect_reset(w.c, VIRTIO_BUF_RESET_REASON_DRIVER);
        } else {
            qbuf_check_guest(b->qts, QBUF_WRITER_RAM, LARGE,
                             w.memory.backing == VIRTIO_BUF_BACKING_COPY ?
                             0x33 : 0x44);
            qbuf_expect_remove(w.c, w.handle);
            qbuf_writer_let_go(&w);
            qbuf_removed(w.c, w.handle);
            qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_FREED,
                                   NULL);
            qtest_memset(b->qts, QBUF_WRITER_RAM, 0x33, LARGE);
        }
        qbuf_check_guest(b->qts, QBUF_WRITER_RAM, LARGE, 0x33);
        if (reset) {
            qbuf_writer_let_go(&w);
        }
        qbuf_close(w.c);
    }
    g_test_message("stopped in the middle: %u of 10", partly);
}

static void test_unregister(void *obj, void *data, QGuestAllocator *alloc)
{
    check_taken_back(obj, false);
}

static void test_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    check_taken_back(obj, true);
}

/* A writer says that it has written, and is gone: it counts, and is finished */
static void test_gone(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_event event;
    uint64_t serial;
    QBufWriter w;

    qbuf_writer_init(&w, b, VIRTIO_BUF_MODE_EVERY, LARGE);
    serial = qbuf_writer_update(&w);
    memset(w.bytes, 0x22, LARGE);
    qbuf_written(w.c, w.handle, 1, LARGE);
    qbuf_writer_clear(&w);
    qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_RELEASED, &event);
    g_assert_cmpuint(event.released, ==, serial);
    g_assert_cmpuint(event.consumers, ==, 0);
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM, LARGE, 0x22);

    /* One that has not said so leaves the guest's contents alone */
    qtest_memset(b->qts, QBUF_WRITER_RAM, 0x33, LARGE);
    qbuf_writer_attach(&w);
    serial = qbuf_writer_update(&w);
    if (w.memory.backing == VIRTIO_BUF_BACKING_COPY) {
        memset(w.bytes, 0x44, LARGE);
    }
    qbuf_writer_clear(&w);
    qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_RELEASED |
                           VIRTIO_BUF_EVENT_CONSUMERS, &event);
    g_assert_false(event.flags & VIRTIO_BUF_EVENT_WRITTEN);
    qbuf_check_guest(b->qts, QBUF_WRITER_RAM, LARGE, 0x33);
    g_assert_cmpuint(qvirtio_buf_unregister(b, w.buffer.id), ==,
                     VIRTIO_BUF_S_OK);
}

/* While the machine is stopped its RAM does not change, and nothing is lost */
static void test_stopped_machine(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint64_t serial;
    QBufWriter w;

    qbuf_writer_init(&w, b, VIRTIO_BUF_MODE_EVERY, LARGE);
    serial = qbuf_writer_update(&w);
    for (int round = 0; round < 5; round++) {
        memset(w.bytes, 0x80 + round, LARGE);
        if (round) {
            /* In the middle of it, perhaps */
            qbuf_written(w.c, w.handle, 2 * round, LARGE);
            g_usleep(round * 1000);
        }
        qtest_qmp_assert_success(b->qts, "{ 'execute': 'stop' }");
        qtest_qmp_eventwait(b->qts, "STOP");
        if (w.memory.backing == VIRTIO_BUF_BACKING_COPY) {
            qtest_memset(b->qts, QBUF_WRITER_RAM, 0x33, LARGE);
        }
        qbuf_written(w.c, w.handle, 2 * round + 1, LARGE);
        qbuf_expect_silence(w.c);
        qbuf_check_guest(b->qts, QBUF_WRITER_RAM, LARGE,
                         qbuf_writer_unnamed(&w, 0x33, 0x80 + round));
        qtest_qmp_assert_success(b->qts, "{ 'execute': 'cont' }");
        qtest_qmp_eventwait(b->qts, "RESUME");
        qvirtio_buf_wait_written(b, w.buffer.id, 2 * round + 1, LARGE, NULL);
        qbuf_check_guest(b->qts, QBUF_WRITER_RAM, LARGE, 0x80 + round);
    }
    qbuf_release(w.c, w.handle, serial);
    qvirtio_buf_wait_event(b, w.buffer.id, VIRTIO_BUF_EVENT_RELEASED, NULL);
    qbuf_writer_clear(&w);
}

static uint64_t migrated_bytes(QTestState *qts)
{
    QDict *ret = qtest_qmp_assert_success_ref(qts,
                                              "{'execute': 'query-migrate'}");
    QDict *ram = qdict_get_qdict(ret, "ram");
    uint64_t bytes = ram ? qdict_get_int(ram, "transferred") : 0;

    g_assert_cmpstr(qdict_get_try_str(ret, "status") ?: "none", !=,
                    "completed");
    qobject_unref(ret);
    return bytes;
}

static void limit_bandwidth(QTestState *qts, uint64_t bytes_per_second)
{
    qtest_qmp_assert_success(qts, "{'execute': 'migrate-set-parameters', "
                             "'arguments': {'max-bandwidth': %" PRIu64 "}}",
                             bytes_per_second);
}

/* Written when a migration had sent these pages already: they are sent again */
static void test_migrated(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBufDestination *d = qvirtio_buf_destination_new(qvirtio_buf_before,
                                                           NULL, NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s", d->channel);
    struct virtio_buf_event event;
    QVirtioBuf *b = obj;
    QBufWriter w;

    qbuf_writer_init(&w, b, VIRTIO_BUF_MODE_IN_PLACE, MiB);
    qtest_memset(b->qts, QBUF_WRITER_RAM + MiB, 0xee, 100 * MiB);
    limit_bandwidth(b->qts, 20 * MiB);
    qvirtio_buf_migration_capability(b->qts, "return-path", true);
    qvirtio_buf_incoming(d, uri);
    qvirtio_buf_outgoing(b->qts, uri);
    /* RAM is sent from its start; before the buffer there is next to nothing */
    while (migrated_bytes(b->qts) < 10 * MiB) {
        g_usleep(1000);
    }
    memset(w.bytes, 0x22, MiB);
    qbuf_written(w.c, w.handle, 1, MiB);
    qvirtio_buf_wait_written(b, w.buffer.id, 1, MiB, NULL);
    g_assert_cmpuint(migrated_bytes(b->qts), <, 100 * MiB);
    limit_bandwidth(b->qts, 100 * GiB);
    g_assert_true(qvirtio_buf_migrated(b->qts));
    g_assert_true(qvirtio_buf_migrated(d->qts));
    qvirtio_buf_move(d, b);
    qbuf_check_guest(d->qts, QBUF_WRITER_RAM, MiB, 0x22);
    qbuf_check_guest(d->qts, QBUF_WRITER_RAM + MiB, MiB, 0xee);

    /* Its writer has stayed behind */
    qvirtio_buf_wait_event(&d->buf, w.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS,
                           &event);
    g_assert_cmpuint(event.consumers, ==, 0);
    qbuf_writer_clear(&w);
    qvirtio_buf_destination_free(d);
    qos_invalidate_command_line();
}

static void register_virtio_buf_write_back_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("write-back/in-place", QVIRTIO_BUF_WRITER, test_in_place,
                 &opts);
    qos_add_test("write-back/unregister", QVIRTIO_BUF_WRITER, test_unregister,
                 &opts);
    qos_add_test("write-back/reset", QVIRTIO_BUF_WRITER, test_reset, &opts);
    qos_add_test("write-back/gone", QVIRTIO_BUF_WRITER, test_gone, &opts);
    qos_add_test("write-back/stopped-machine", QVIRTIO_BUF_WRITER,
                 test_stopped_machine, &opts);
    qos_add_test("write-back/migrated", QVIRTIO_BUF_WRITER, test_migrated,
                 &opts);
}

libqos_init(register_virtio_buf_write_back_test);
