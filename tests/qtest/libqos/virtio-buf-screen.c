/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A console that shows virtio-buf, and buffers with pictures for it
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "../libqtest.h"
#include "virtio-buf-screen.h"

#define MESSAGE_WIDTH 640
#define MESSAGE_HEIGHT 480

void *qbuf_screen_before(GString *cmd_line, void *arg)
{
    qvirtio_buf_before(cmd_line, NULL);
    g_string_append_printf(cmd_line, QBUF_SCREEN "%s", (const char *)arg ?: "");
    return arg;
}

void qbuf_screen_clear(QBufScreen *screen)
{
    g_clear_pointer(&screen->pixels, g_free);
}

void qbuf_screen_look(QVirtioBuf *b, const char *device, QBufScreen *screen)
{
    g_autofree char *path = NULL;
    g_autofree char *bytes = NULL;
    int fd = g_file_open_tmp("virtio-buf-XXXXXX.ppm", &path, NULL), head = 0;
    QDict *answer;
    size_t size;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    answer = qtest_qmp(b->qts, "{'execute': 'screendump', 'arguments': "
                       "{'filename': %s, 'device': %s}}", path, device);
    g_assert_true(qdict_haskey(answer, "return"));
    qobject_unref(answer);
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    unlink(path);

    g_assert_cmpint(sscanf(bytes, "P6\n%u %u\n255\n%n", &screen->width,
                           &screen->height, &head), ==, 2);
    g_assert_cmpuint(size, ==, head + 3 * screen->width * screen->height);
    screen->pixels = g_new(uint32_t, screen->width * screen->height);
    for (unsigned i = 0; i < screen->width * screen->height; i++) {
        const uint8_t *rgb = (uint8_t *)bytes + head + 3 * i;

        screen->pixels[i] = rgb[0] << 16 | rgb[1] << 8 | rgb[2];
    }
}

void qbuf_screen_expect(QVirtioBuf *b, const char *device, unsigned width,
                        unsigned height, uint32_t colour)
{
    QBufScreen screen;

    qbuf_screen_look(b, device, &screen);
    g_assert_cmpuint(screen.width, ==, width);
    g_assert_cmpuint(screen.height, ==, height);
    for (unsigned i = 0; i < width * height; i++) {
        g_assert_cmphex(screen.pixels[i], ==, colour);
    }
    qbuf_screen_clear(&screen);
}

void qbuf_screen_look_at_message(QVirtioBuf *b, const char *device,
                                 QBufScreen *screen)
{
    unsigned grey = 0;

    qbuf_screen_look(b, device, screen);
    g_assert_cmpuint(screen->width, ==, MESSAGE_WIDTH);
    g_assert_cmpuint(screen->height, ==, MESSAGE_HEIGHT);
    for (unsigned i = 0; i < MESSAGE_WIDTH * MESSAGE_HEIGHT; i++) {
        if (screen->pixels[i] != BLACK) {
            g_assert_cmphex(screen->pixels[i], ==, 0xaaaaaa);
            grey++;
        }
    }
    g_assert_cmpuint(grey, >, 100);
}

bool qbuf_screen_same(const QBufScreen *a, const QBufScreen *b)
{
    return a->width == b->width && a->height == b->height &&
           !memcmp(a->pixels, b->pixels, a->width * a->height * 4);
}

void qbuf_canvas_property(QBufCanvas *canvas, const char *name,
                          uint64_t value)
{
    g_autofree char *text = g_strdup_printf("%" PRIu64, value);

    canvas->buffer.property_bytes =
        qvirtio_buf_property(canvas->list, canvas->buffer.property_bytes, name,
                             text);
    canvas->buffer.properties = canvas->list;
}

void qbuf_canvas_register(QBufCanvas *canvas, QVirtioBuf *b)
{
    canvas->buffer.property_bytes =
        qvirtio_buf_property(canvas->list, canvas->buffer.property_bytes,
                             "fourcc", canvas->fourcc ?: "XR24");
    qbuf_canvas_property(canvas, "width", canvas->width);
    qbuf_canvas_property(canvas, "height", canvas->height);
    canvas->buffer.size = canvas->buffer.size ?:
                          4 * canvas->width * canvas->height;
    qvirtio_buf_register_ok(b, &canvas->buffer, 0);
}

void qbuf_canvas_fill(QBufCanvas *canvas, QVirtioBuf *b, uint32_t colour)
{
    unsigned count = canvas->width * canvas->height;
    g_autofree uint32_t *pixels = g_new(uint32_t, count);

    for (unsigned i = 0; i < count; i++) {
        /* What is in the unused byte must not matter */
        pixels[i] = cpu_to_le32(colour | i << 24);
    }
    qtest_memwrite(b->qts, canvas->buffer.addr, pixels, 4 * count);
}

void qbuf_canvas_update(QBufCanvas *canvas, QVirtioBuf *b)
{
    qvirtio_buf_update_ok(b, canvas->buffer.id, canvas->buffer.size);
}

void qvirtio_buf_update_rects(QVirtioBuf *b, uint64_t id, uint64_t offset,
                              uint64_t size, const uint32_t (*rects)[4],
                              unsigned count)
{
    struct {
        struct virtio_buf_update head;
        struct virtio_buf_rect rects[VIRTIO_BUF_MAX_DAMAGE];
    } request = {
        .head.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE),
        .head.buffer_id = cpu_to_le64(id),
        .head.frame.serial = cpu_to_le64(++b->last_serial),
        .head.frame.data_offset = cpu_to_le64(offset),
        .head.frame.data_size = cpu_to_le64(size),
        .head.frame.rect_count = cpu_to_le16(count),
    };
    struct virtio_buf_update_response response;

    for (unsigned i = 0; i < count; i++) {
        request.rects[i] = (struct virtio_buf_rect) {
            cpu_to_le32(rects[i][0]), cpu_to_le32(rects[i][1]),
            cpu_to_le32(rects[i][2]), cpu_to_le32(rects[i][3]),
        };
    }
    qvirtio_buf_command(b, &request, sizeof(request.head) +
                        count * sizeof(request.rects[0]), &response,
                        sizeof(response));
    g_assert_cmpuint(le32_to_cpu(response.hdr.status), ==, VIRTIO_BUF_S_OK);
}

void qvirtio_buf_unregister_at_once(QVirtioBuf *b, uint64_t id)
{
    g_assert_cmpuint(qvirtio_buf_unregister(b, id), ==, VIRTIO_BUF_S_OK);
}
