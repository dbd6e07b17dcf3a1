/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest case of virtio-buf-display with a VNC client that watches it
 *
 * Unlike screendump a client of VNC does not ask for each picture: QEMU finds
 * out that the console has changed and sends it. The client speaks RFC 6143
 * with raw pixels and the DesktopSize pseudo-encoding, nothing else.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-screen.h"

#define RFB_VERSION "RFB 003.008\n"
#define RFB_NO_AUTHENTICATION 1
#define RFB_SET_PIXEL_FORMAT 0
#define RFB_SET_ENCODINGS 2
#define RFB_UPDATE_REQUEST 3
#define RFB_UPDATE 0
#define RFB_RAW 0
#define RFB_DESKTOP_SIZE -223

/* What QEMU takes for a picture of this size, whatever the machine does */
#define PATIENCE_S 60

typedef struct VncClient {
    int fd;
    unsigned width;
    unsigned height;
    uint32_t *pixels;
} VncClient;

static char *vnc_socket_path(void)
{
    g_autofree char *dir = g_path_get_dirname(qvirtio_buf_socket_path());

    return g_build_filename(dir, "vnc", NULL);
}

static void vnc_read(VncClient *client, void *to, size_t size)
{
    g_assert_cmpint(recv(client->fd, to, size, MSG_WAITALL), ==, size);
}

static void vnc_write(VncClient *client, const void *from, size_t size)
{
    g_assert_cmpint(send(client->fd, from, size, MSG_NOSIGNAL), ==, size);
}

static void vnc_skip(VncClient *client, size_t size)
{
    g_autofree uint8_t *skipped = g_malloc(size);

    vnc_read(client, skipped, size);
}

static void vnc_resize(VncClient *client, unsigned width, unsigned height)
{
    client->width = width;
    client->height = height;
    g_free(client->pixels);
    client->pixels = g_new0(uint32_t, width * height);
}

static void vnc_handshake(VncClient *client)
{
    static const uint8_t pixel_format[20] = {
        [0] = RFB_SET_PIXEL_FORMAT,
        [4] = 32, 24, false, true,      /* 0x00RRGGBB, little-endian */
        0, 255, 0, 255, 0, 255, 16, 8, 0,
    };
    uint8_t encodings[12] = { RFB_SET_ENCODINGS, [3] = 2 };
    uint8_t version[12], security[2], init[24];
    uint8_t choice = RFB_NO_AUTHENTICATION, shared = true;
    uint32_t result;

    vnc_read(client, version, sizeof(version));
    g_assert_cmpmem(version, sizeof(version), RFB_VERSION,
                    strlen(RFB_VERSION));
    vnc_write(client, RFB_VERSION, strlen(RFB_VERSION));
    vnc_read(client, security, sizeof(security));
    g_assert_cmpuint(security[0], ==, 1);
    g_assert_cmpuint(security[1], ==, RFB_NO_AUTHENTICATION);
    vnc_write(client, &choice, sizeof(choice));
    vnc_read(client, &result, sizeof(result));
    g_assert_cmpuint(be32_to_cpu(result), ==, 0);

    vnc_write(client, &shared, sizeof(shared));
    vnc_read(client, init, sizeof(init));
    vnc_resize(client, lduw_be_p(init), lduw_be_p(init + 2));
    vnc_skip(client, ldl_be_p(init + 20));

    vnc_write(client, pixel_format, sizeof(pixel_format));
    stl_be_p(encodings + 4, RFB_RAW);
    stl_be_p(encodings + 8, RFB_DESKTOP_SIZE);
    vnc_write(client, encodings, sizeof(encodings));
}

static void vnc_connect(VncClient *client)
{
    struct timeval patience = { .tv_sec = PATIENCE_S };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_autofree char *path = vnc_socket_path();

    g_assert_cmpuint(g_strlcpy(address.sun_path, path,
                               sizeof(address.sun_path)), <,
                     sizeof(address.sun_path));
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(client->fd, >=, 0);
    g_assert_cmpint(setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
                               sizeof(patience)), ==, 0);
    g_assert_cmpint(connect(client->fd, (struct sockaddr *)&address,
                            sizeof(address)), ==, 0);
    /* The folder is to be empty when the test program ends */
    unlink(path);
    vnc_handshake(client);
}

static void vnc_take_rectangle(VncClient *client)
{
    uint8_t head[12];
    unsigned x, y, width, height;

    vnc_read(client, head, sizeof(head));
    x = lduw_be_p(head);
    y = lduw_be_p(head + 2);
    width = lduw_be_p(head + 4);
    height = lduw_be_p(head + 6);
    if ((int32_t)ldl_be_p(head + 8) == RFB_DESKTOP_SIZE) {
        vnc_resize(client, width, height);
        return;
    }
    g_assert_cmpint((int32_t)ldl_be_p(head + 8), ==, RFB_RAW);
    g_assert_cmpuint(x + width, <=, client->width);
    g_assert_cmpuint(y + height, <=, client->height);
    for (unsigned row = 0; row < height; row++) {
        uint32_t *pixels = &client->pixels[(y + row) * client->width + x];

        vnc_read(client, pixels, width * 4);
        for (unsigned i = 0; i < width; i++) {
            pixels[i] = le32_to_cpu(pixels[i]) & 0xffffff;
        }
    }
}

/* Asks for what has changed, and waits until QEMU has something */
static void vnc_take_update(VncClient *client)
{
    uint8_t request[10] = { RFB_UPDATE_REQUEST, true };
    uint8_t head[4];

    stw_be_p(request + 6, client->width);
    stw_be_p(request + 8, client->height);
    vnc_write(client, request, sizeof(request));
    vnc_read(client, head, sizeof(head));
    g_assert_cmpuint(head[0], ==, RFB_UPDATE);
    for (unsigned i = lduw_be_p(head + 2); i > 0; i--) {
        vnc_take_rectangle(client);
    }
}

static bool vnc_shows(const VncClient *client, unsigned width, unsigned height,
                      uint32_t colour)
{
    if (client->width != width || client->height != height) {
        return false;
    }
    for (unsigned i = 0; i < width * height; i++) {
        if (client->pixels[i] != colour) {
            return false;
        }
    }
    return true;
}

static void vnc_wait_for(VncClient *client, const QBufCanvas *canvas,
                         uint32_t colour)
{
    while (!vnc_shows(client, canvas->width, canvas->height, colour)) {
        vnc_take_update(client);
    }
}

static void *before(GString *cmd_line, void *arg)
{
    g_autofree char *path = vnc_socket_path();

    qbuf_screen_before(cmd_line, NULL);
    g_string_append_printf(cmd_line, " -vnc unix:%s,display=display0", path);
    return arg;
}

static void test_vnc(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    /* VNC has whole tiles of 16 pixels */
    QBufCanvas canvas = { .width = 32, .height = 16,
                          .buffer.mode = VIRTIO_BUF_MODE_LATEST };
    QBufCanvas larger = canvas;
    VncClient client = { };

    qbuf_canvas_register(&canvas, b);
    qbuf_canvas_fill(&canvas, b, RED);
    qbuf_canvas_update(&canvas, b);
    vnc_connect(&client);
    vnc_wait_for(&client, &canvas, RED);

    /* Each later picture is sent, and given back to the guest */
    for (unsigned i = 0; i < 10; i++) {
        qvirtio_buf_wait_event(b, canvas.buffer.id, VIRTIO_BUF_EVENT_RELEASED,
                               NULL);
        qbuf_canvas_fill(&canvas, b, i % 2 ? GREEN : BLUE);
        qbuf_canvas_update(&canvas, b);
        vnc_wait_for(&client, &canvas, i % 2 ? GREEN : BLUE);
    }

    larger.width = 64;
    larger.height = 48;
    qbuf_canvas_register(&larger, b);
    qbuf_canvas_fill(&larger, b, WHITE);
    qbuf_canvas_update(&larger, b);
    vnc_wait_for(&client, &larger, WHITE);

    /* The message that nothing is shown */
    qvirtio_buf_unregister_at_once(b, larger.buffer.id);
    qvirtio_buf_unregister_at_once(b, canvas.buffer.id);
    while (vnc_shows(&client, larger.width, larger.height, WHITE)) {
        vnc_take_update(&client);
    }
    close(client.fd);
    g_free(client.pixels);
}

static void register_virtio_buf_vnc_test(void)
{
    QOSGraphTestOptions opts = {
        .before = before,
        .edge.extra_device_opts = QBUF_SCREEN_DEVICE,
    };

    qos_add_test("display/vnc", QVIRTIO_BUF_SCREEN, test_vnc, &opts);
}

libqos_init(register_virtio_buf_vnc_test);
