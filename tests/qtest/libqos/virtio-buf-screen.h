/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A console that shows virtio-buf, and buffers with pictures for it
 */
#ifndef TESTS_LIBQOS_VIRTIO_BUF_SCREEN_H
#define TESTS_LIBQOS_VIRTIO_BUF_SCREEN_H

#include "virtio-buf.h"

#define RED   0xff0000
#define GREEN 0x00ff00
#define BLUE  0x0000ff
#define WHITE 0xffffff
#define BLACK 0x000000

/*
 * "display0" shows the application "test" of the device "buf0". For
 * QOSGraphTestOptions.before, with QBUF_SCREEN_DEVICE as
 * edge.extra_device_opts; @arg is NULL or more options of QEMU.
 */
#define QBUF_SCREEN " -device virtio-buf-display,id=display0,device=buf0," \
                    "application=test"
#define QBUF_SCREEN_DEVICE QVIRTIO_BUF_SERVER ",id=buf0"
void *qbuf_screen_before(GString *cmd_line, void *arg);

/* What screendump has written: pixels as 0xRRGGBB */
typedef struct QBufScreen {
    unsigned width;
    unsigned height;
    uint32_t *pixels;
} QBufScreen;

/* Takes a screendump of the console of @device */
void qbuf_screen_look(QVirtioBuf *b, const char *device, QBufScreen *screen);

/* The same; something has to be written there, grey on black */
void qbuf_screen_look_at_message(QVirtioBuf *b, const char *device,
                                 QBufScreen *screen);

void qbuf_screen_clear(QBufScreen *screen);

/* The console has this size and one colour */
void qbuf_screen_expect(QVirtioBuf *b, const char *device, unsigned width,
                        unsigned height, uint32_t colour);

bool qbuf_screen_same(const QBufScreen *a, const QBufScreen *b);

/* A buffer that has a picture, XR24 unless it is said */
typedef struct QBufCanvas {
    QVirtioBufBuffer buffer;
    unsigned width;
    unsigned height;
    const char *fourcc;
    uint8_t list[512] __attribute__((aligned(8)));
} QBufCanvas;

/* Before it is registered */
void qbuf_canvas_property(QBufCanvas *canvas, const char *name,
                          uint64_t value);

/* Has to succeed; @buffer.size is that of the picture unless it is set */
void qbuf_canvas_register(QBufCanvas *canvas, QVirtioBuf *b);

/* One colour for an XR24 without padding */
void qbuf_canvas_fill(QBufCanvas *canvas, QVirtioBuf *b, uint32_t colour);

/* An UPDATE of all of it, which has to succeed */
void qbuf_canvas_update(QBufCanvas *canvas, QVirtioBuf *b);

/*
 * An UPDATE of @size bytes from @offset, with rectangles { x, y, width, height
 * }, which has to succeed
 */
void qvirtio_buf_update_rects(QVirtioBuf *b, uint64_t id, uint64_t offset,
                              uint64_t size, const uint32_t (*rects)[4],
                              unsigned count);

/* Nobody waits for a consumer that is inside of QEMU */
void qvirtio_buf_unregister_at_once(QVirtioBuf *b, uint64_t id);

#endif /* TESTS_LIBQOS_VIRTIO_BUF_SCREEN_H */
