/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf-display: pictures of an application on a console
 *
 * screendump is who looks. The consumer is inside of QEMU: what the guest and
 * programs on the host see of it is checked, too.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-boot.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-machine.h"
#include "libqos/virtio-buf-screen.h"
#include "libqos/virtio-buf-query.h"

/* display0 shows all streams of "test", display1 only 2 */
static void test_streams(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufCanvas one = { .width = 8, .height = 8, .buffer.stream = 1,
                   .buffer.mode = VIRTIO_BUF_MODE_LATEST };
    QBufCanvas two = one, larger = one, other = one;

    two.buffer.stream = 2;
    larger.width = 32;
    larger.height = 2;
    other.buffer.application = "other";
    qbuf_canvas_register(&one, b);
    qbuf_canvas_register(&two, b);
    qbuf_canvas_register(&other, b);
    qbuf_canvas_fill(&one, b, RED);
    qbuf_canvas_fill(&two, b, GREEN);
    qbuf_canvas_fill(&other, b, WHITE);

    qbuf_canvas_update(&two, b);
    qbuf_canvas_update(&one, b);
    qbuf_canvas_update(&other, b);
    qbuf_screen_expect(b, "display0", 8, 8, RED);
    qbuf_screen_expect(b, "display1", 8, 8, GREEN);

    /* A new size: new buffers, an update is the switch, the old ones go */
    qbuf_canvas_register(&larger, b);
    qbuf_canvas_fill(&larger, b, BLUE);
    qbuf_screen_expect(b, "display0", 8, 8, RED);
    qbuf_canvas_update(&larger, b);
    qvirtio_buf_unregister_at_once(b, one.buffer.id);
    qbuf_screen_expect(b, "display0", 32, 2, BLUE);
    qbuf_screen_expect(b, "display1", 8, 8, GREEN);
    qvirtio_buf_wait_event(b, two.buffer.id, VIRTIO_BUF_EVENT_RELEASED, NULL);
    qbuf_canvas_update(&two, b);
    qbuf_screen_expect(b, "display0", 8, 8, GREEN);
}

/* A picture that the guest has taken back is not seen any more */
static void test_taken_back(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufCanvas canvas = { .width = 16, .height = 16 }, again = canvas;
    QBufScreen screen;

    qbuf_canvas_register(&canvas, b);
    qbuf_canvas_fill(&canvas, b, RED);
    qbuf_canvas_update(&canvas, b);
    qbuf_screen_expect(b, "display0", 16, 16, RED);
    qvirtio_buf_unregister_at_once(b, canvas.buffer.id);
    qbuf_screen_look(b, "display0", &screen);
    for (unsigned i = 0; i < screen.width * screen.height; i++) {
        g_assert_cmphex(screen.pixels[i], !=, RED);
    }
    qbuf_screen_clear(&screen);

    /* Nobody has looked at this one before it went */
    canvas = again;
    qbuf_canvas_register(&canvas, b);
    qbuf_canvas_fill(&canvas, b, GREEN);
    qbuf_canvas_update(&canvas, b);
    qvirtio_buf_unregister_at_once(b, canvas.buffer.id);
    qbuf_screen_look(b, "display0", &screen);
    for (unsigned i = 0; i < screen.width * screen.height; i++) {
        g_assert_cmphex(screen.pixels[i], !=, GREEN);
    }
    qbuf_screen_clear(&screen);

    canvas = again;
    qbuf_canvas_register(&canvas, b);
    qbuf_canvas_fill(&canvas, b, BLUE);
    qbuf_canvas_update(&canvas, b);
    qbuf_screen_expect(b, "display0", 16, 16, BLUE);
    qvirtio_buf_restart(b);
    qbuf_screen_look(b, "display0", &screen);
    g_assert_cmphex(screen.pixels[0], !=, BLUE);
    qbuf_screen_clear(&screen);

    /* Serials start anew */
    canvas = again;
    qbuf_canvas_register(&canvas, b);
    qbuf_canvas_fill(&canvas, b, WHITE);
    qbuf_canvas_update(&canvas, b);
    qbuf_screen_expect(b, "display0", 16, 16, WHITE);
    qtest_system_reset(b->qts);
    qbuf_screen_look(b, "display0", &screen);
    g_assert_cmphex(screen.pixels[0], !=, WHITE);
    qbuf_screen_clear(&screen);
}

/* Whether somebody looks or not, a guest with one buffer gets it back */
static void test_released(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint8_t modes[] = {
        VIRTIO_BUF_MODE_LATEST, VIRTIO_BUF_MODE_EVERY,
    };
    QVirtioBuf *b = obj;
    struct virtio_buf_event event;

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        QBufCanvas canvas = {
            .width = 4, .height = 4, .buffer.mode = modes[i],
        };

        qbuf_canvas_register(&canvas, b);
        for (unsigned round = 0; round < 50; round++) {
            bool watched = round % 10 == 9;

            if (watched) {
                qbuf_screen_expect(b, "display0", 4, 4, round - 1);
            }
            qbuf_canvas_fill(&canvas, b, round);
            qbuf_canvas_update(&canvas, b);
            do {
                qvirtio_buf_wait_event(b, canvas.buffer.id,
                                       VIRTIO_BUF_EVENT_RELEASED, &event);
            } while (event.released != b->last_serial);
        }
        /* It was released unread; the buffer still has it */
        qbuf_screen_expect(b, "display0", 4, 4, 49);
        qvirtio_buf_unregister_at_once(b, canvas.buffer.id);
    }
}

static uint32_t consumers_in_config(QVirtioBuf *b)
{
    struct virtio_buf_config config;

    qvirtio_buf_config(b, &config);
    return le32_to_cpu(config.consumers);
}

/* It counts as a consumer, and needs no file for it */
static void test_consumer(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_get_consumers request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_CONSUMERS),
        .application = "test",
    };
    g_autofree uint8_t *answer = g_malloc(64 * 1024);
    struct virtio_buf_consumers_response *list = (void *)answer;
    struct virtio_buf_event event;
    QBufCanvas canvas = { .width = 32, .height = 32 };
    QVirtioBufBuffer other = { .application = "other" };
    QBufMemory memory;
    QBufConsumer *c;
    uint64_t handle;
    unsigned fds;

    g_assert_cmpuint(consumers_in_config(b), ==, 1);
    qvirtio_buf_command(b, &request, sizeof(request), answer, 64 * 1024);
    g_assert_cmpuint(le32_to_cpu(list->count), ==, 1);
    strcpy((char *)request.application, "other");
    qvirtio_buf_command(b, &request, sizeof(request), answer, 64 * 1024);
    g_assert_cmpuint(le32_to_cpu(list->count), ==, 0);

    qvirtio_buf_register_ok(b, &other, 0);
    qvirtio_buf_no_event(b, other.id, VIRTIO_BUF_EVENT_CONSUMERS);

    fds = qvirtio_buf_settled_fds(b->qts);
    qbuf_canvas_register(&canvas, b);
    qvirtio_buf_wait_event(b, canvas.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS,
                           &event);
    g_assert_cmpuint(event.consumers, ==, 1);
    qbuf_canvas_fill(&canvas, b, RED);
    qbuf_canvas_update(&canvas, b);
    g_assert_cmpuint(qvirtio_buf_open_fds(b->qts), ==, fds);

    /* A program beside it gets its memory, and gives it back, as ever */
    c = qbuf_subscribe(qvirtio_buf_socket_path(), "test", 1);
    handle = qbuf_expect_buffer(c, canvas.buffer.id);
    qbuf_expect_subscribed(c);
    qbuf_expect_attached(c, handle, &memory);
    qbuf_expect_update(c, handle, b->last_serial, NULL);
    g_assert_cmpuint(consumers_in_config(b), ==, 2);
    qbuf_canvas_fill(&canvas, b, GREEN);
    qbuf_canvas_update(&canvas, b);
    qbuf_expect_update(c, handle, b->last_serial, NULL);
    g_assert_cmphex(le32_to_cpu(*(const uint32_t *)memory.bytes) & 0xffffff, ==,
                    GREEN);
    qbuf_screen_expect(b, "display0", 32, 32, GREEN);
    fds = qvirtio_buf_open_fds(b->qts);
    qbuf_memory_clear(&memory);
    qbuf_detach(c, handle);
    do {
        qvirtio_buf_wait_event(b, canvas.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS,
                               &event);
    } while (event.consumers != 1);
    g_assert_cmpuint(qvirtio_buf_wait_fds(b->qts, fds - 1), <=, fds - 1);

    qbuf_canvas_fill(&canvas, b, BLUE);
    qbuf_canvas_update(&canvas, b);
    qbuf_screen_expect(b, "display0", 32, 32, BLUE);
    qbuf_close(c);
    qvirtio_buf_unregister_at_once(b, canvas.buffer.id);
}

/* What the management sees of it */
static void test_query(void *obj, void *data, QGuestAllocator *alloc)
{
    static const char path[] = "/machine/peripheral/display0";
    QVirtioBuf *b = obj;
    QBufCanvas canvas = { .width = 32, .height = 32 };
    g_autofree char *text = NULL;
    const QListEntry *entry;
    QDict *device, *info;

    qbuf_canvas_register(&canvas, b);
    qbuf_canvas_fill(&canvas, b, RED);
    qbuf_canvas_update(&canvas, b);

    device = qbuf_query(b, "buf0");
    info = qbuf_find(device, "buffers", canvas.buffer.id);
    qbuf_check_int(info, "attachments", 1);
    qbuf_check_bool(info, "exported", false);
    g_assert_cmpuint(qlist_size(qdict_get_qlist(device, "consumers")), ==, 1);
    entry = qlist_first(qdict_get_qlist(device, "consumers"));
    info = qobject_to(QDict, qlist_entry_obj(entry));
    qbuf_check_str(info, "kind", "internal");
    qbuf_check_str(info, "name", path);
    g_assert_false(qdict_haskey(info, "pid"));
    qbuf_check_int(info, "attached", 1);
    qobject_unref(device);

    text = qtest_hmp(b->qts, "info virtio-buf");
    g_assert_nonnull(strstr(text, path));
}

#define SLOT 4
static void test_unplug(void *obj, void *data, QGuestAllocator *alloc)
{
    QBufCanvas canvas = { .width = 16, .height = 16 };
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    QDict *answer;
    QBufScreen screen;

    qvirtio_buf_boot(&booted, QVIRTIO_BUF_BOOT_DEVICE ",id=buf0,server=s0"
                     QBUF_SCREEN);
    qvirtio_buf_boot_driver(&booted);
    qbuf_canvas_register(&canvas, b);
    qbuf_canvas_fill(&canvas, b, RED);
    qbuf_canvas_update(&canvas, b);
    qbuf_screen_expect(b, "display0", 16, 16, RED);

    qpci_unplug_acpi_device_test(b->qts, "buf0", SLOT);
    qbuf_screen_look_at_message(b, "display0", &screen);
    qbuf_screen_clear(&screen);

    /* Nothing of the device is left that would keep the server */
    answer = qtest_qmp(b->qts, "{'execute': 'object-del', 'arguments': "
                       "{'id': 's0'}}");
    g_assert_true(qdict_haskey(answer, "return"));
    qobject_unref(answer);
    g_assert_false(g_file_test(qvirtio_buf_socket_path(), G_FILE_TEST_EXISTS));

    /* The display itself is there from start to end */
    answer = qtest_qmp(b->qts, "{'execute': 'device_del', 'arguments': "
                       "{'id': 'display0'}}");
    g_assert_true(qdict_haskey(answer, "error"));
    qobject_unref(answer);
    qbuf_screen_look_at_message(b, "display0", &screen);
    qbuf_screen_clear(&screen);

    qvirtqueue_cleanup(b->vdev->bus, b->vq, b->alloc);
    qvirtio_buf_boot_other_free(g_steal_pointer(&booted.pci));
    qvirtio_buf_boot_end(&booted);
}

/* Options of virtio-buf-display that QEMU does not start with, and why */
static const struct {
    const char *options;
    const char *error;
} bad_options[] = {
    { "application=test", "'device' is not set" },
    { "device=none,application=test", "Device 'none' not found" },
    { "device=other,application=test", "'device' is not a virtio-buf device" },
    { "device=buf0", "'application' has to be UTF-8 text of 1 to 63 bytes" },
    { "device=buf0,application=", "'application' has to be UTF-8 text" },
    { "device=buf0,application="
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      "'application' has to be UTF-8 text" },
    { "device=buf0,application=\xff", "'application' has to be UTF-8 text" },
    { "device=buf0,application=test,stream=-", "stream" },
};

static void test_options(void *obj, void *data, QGuestAllocator *alloc)
{
    for (unsigned i = 0; i < ARRAY_SIZE(bad_options); i++) {
        g_autofree char *display = g_strdup_printf("virtio-buf-display,%s",
                                                   bad_options[i].options);
        const char *const argv[] = {
            getenv("QTEST_QEMU_BINARY"), "-machine", "pc", "-accel", "qtest",
            "-nodefaults", "-display", "none",
            "-device", "virtio-buf-pci,id=buf0",
            "-device", "virtio-rng-pci,id=other",
            "-device", display, NULL,
        };
        g_autofree char *errors = NULL;
        int status;

        g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL,
                                   G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                                   &errors, &status, NULL));
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        if (!strstr(errors, bad_options[i].error)) {
            g_error("%s: %s", bad_options[i].options, errors);
        }
    }
}

static void register_virtio_buf_display_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qbuf_screen_before,
        .edge.extra_device_opts = QBUF_SCREEN_DEVICE,
    };
    QOSGraphTestOptions alone = { };

    qos_add_test("display/taken-back", QVIRTIO_BUF_SCREEN, test_taken_back,
                 &opts);
    qos_add_test("display/released", QVIRTIO_BUF_SCREEN, test_released, &opts);
    qos_add_test("display/consumer", QVIRTIO_BUF_SCREEN, test_consumer, &opts);
    qos_add_test("display/query", QVIRTIO_BUF_SCREEN, test_query, &opts);
    opts.arg = (void *)" -device virtio-buf-display,id=display1,device=buf0,"
                       "application=test,stream=2";
    qos_add_test("display/streams", QVIRTIO_BUF_SCREEN, test_streams, &opts);
    qos_add_test("display/unplug", QVIRTIO_BUF_ALONE, test_unplug, &alone);
    qos_add_test("display/options", QVIRTIO_BUF_ALONE, test_options, &alone);
}

libqos_init(register_virtio_buf_display_test);

