/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: pictures of an application on a QEMU console
 *
 * -device virtio-buf-display is a consumer inside of QEMU: it attaches to the
 * buffers of one application and shows the newest frame, in the surface of a
 * console of its own. It reads guest RAM: no dma-buf, and no copy, is made for
 * it.
 *
 * Somebody who looks at the console (VNC, GTK, screendump) calls gfx_update();
 * then the newest frame is converted and released. A frame waits for that for
 * WATCHED_MS at most, and not at all if nobody has looked for so long: it is
 * released unread, and what its buffer has by then is converted at the next
 * look. So nobody can slow the guest down by more than the pace of looking.
 *
 * Invariants: shown is NULL or attached; its frame is what the console shows
 * at the next look, which never is the picture of a buffer that the guest has
 * taken back. No frame is held when the main loop goes on.
 *
 * Main loop and BQL. Damage and pixels are the guest's: rectangles are cut to
 * the picture (virtio-buf-picture.c), pixels are only copied.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-types-virtio-buf.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-buf.h"
#include "ui/console.h"
#include "ui/rect.h"
#include "virtio-buf-picture.h"

#define TYPE_VIRTIO_BUF_DISPLAY "virtio-buf-display"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOBufDisplay, VIRTIO_BUF_DISPLAY)

#define WATCHED_MS 100

#define MESSAGE_WIDTH 640
#define MESSAGE_HEIGHT 480

struct VirtIOBufDisplay {
    DeviceState parent_obj;

    /* Properties */
    DeviceState *device;        /* NULL after it was unplugged */
    char *application;
    uint64_t stream;            /* 0: all */

    Object *owner;              /* whose memory @device's virtio-buf is */
    VirtIOBufConsumer consumer;
    QemuConsole *console;
    QEMUTimer *timer;
    int64_t looked_ms;          /* QEMU_CLOCK_REALTIME; 0: never */

    /* The newest frame */
    VirtIOBufAttachment *shown;
    VirtIOBufBuffer *buffer;    /* of @shown */
    uint64_t serial;
    uint64_t data_offset;
    uint64_t data_size;
    bool held;                  /* it is not released yet */

    /* What of it is not in the surface yet */
    bool damaged;
    uint16_t rect_count;        /* 0: everything */
    struct virtio_buf_rect rects[VIRTIO_BUF_MAX_DAMAGE];

    /* The console's surface: a picture, a message, or what QEMU put there */
    bool has_picture;
    char *message;
    bool redraw;
    uint32_t *row;              /* for conversion, as wide as the picture */
};

/* The console says @text, of which parts may be the guest's */
static void show_message(VirtIOBufDisplay *d, const char *text)
{
    g_autofree char *message = g_strndup(text, MESSAGE_WIDTH / 8);

    /* The console's font has no more */
    for (char *c = message; *c; c++) {
        if (!g_ascii_isprint(*c)) {
            *c = '?';
        }
    }
    if (!g_strcmp0(message, d->message)) {
        return;
    }
    dpy_gfx_replace_surface(d->console,
                            qemu_create_placeholder_surface(MESSAGE_WIDTH,
                                                            MESSAGE_HEIGHT,
                                                            message));
    dpy_gfx_update_full(d->console);
    g_free(d->message);
    d->message = g_steal_pointer(&message);
    d->has_picture = false;
}

static bool make_surface(VirtIOBufDisplay *d, const VirtIOBufPicture *picture,
                         Error **errp)
{
    DisplaySurface *surface = qemu_console_surface(d->console);
    qemu_pixman_shareable handle;
    pixman_image_t *image;

    if (d->has_picture && surface_width(surface) == picture->width &&
        surface_height(surface) == picture->height) {
        return true;
    }
    /* Not qemu_create_displaysurface(): it aborts if there is no memory */
    if (!qemu_pixman_image_new_shareable(&image, &handle,
                                         TYPE_VIRTIO_BUF_DISPLAY,
                                         PIXMAN_x8r8g8b8, picture->width,
                                         picture->height, picture->width * 4,
                                         errp)) {
        return false;
    }
    surface = qemu_create_displaysurface_pixman(image);
    qemu_pixman_image_unref(image);
    qemu_displaysurface_set_share_handle(surface, handle, 0);
    dpy_gfx_replace_surface(d->console, surface);
    g_clear_pointer(&d->message, g_free);
    d->has_picture = true;
    d->rect_count = 0;
    g_free(d->row);
    d->row = g_new0(uint32_t, picture->width);
    return true;
}

static void draw_rect(VirtIOBufDisplay *d, const VirtIOBufPicture *picture,
                      uint32_t x, uint32_t y, uint32_t width, uint32_t height)
{
    DisplaySurface *surface = qemu_console_surface(d->console);
    bool as_it_is = picture->format == PIXMAN_x8r8g8b8 ||
                    picture->format == PIXMAN_a8r8g8b8;
    uint64_t offset = picture->offset + y * picture->stride +
                      (uint64_t)x * picture->bytes_per_pixel;
    uint64_t size = (uint64_t)width * picture->bytes_per_pixel;
    pixman_image_t *row = NULL;

    if (!as_it_is) {
        row = pixman_image_create_bits(picture->format, width, 1, d->row,
                                       ROUND_UP(size, sizeof(*d->row)));
    }
    for (uint32_t i = y; i < y + height; i++, offset += picture->stride) {
        if (as_it_is) {
            virtio_buf_read(d->shown, offset,
                            (uint32_t *)(surface_data(surface) +
                                         i * surface_stride(surface)) + x,
                            size);
        } else {
            virtio_buf_read(d->shown, offset, d->row, size);
            pixman_image_composite(PIXMAN_OP_SRC, row, NULL, surface->image,
                                   0, 0, 0, 0, x, i, width, 1);
        }
    }
    if (row) {
        qemu_pixman_image_unref(row);
    }
    dpy_gfx_update(d->console, x, y, width, height);
}

/* Rectangles of the guest's, cut to the picture; their pixels */
static uint64_t cut_damage(VirtIOBufDisplay *d, const VirtIOBufPicture *picture,
                           QemuRect *rects)
{
    uint64_t pixels = 0;

    for (unsigned i = 0; i < d->rect_count; i++) {
        uint32_t x = MIN(le32_to_cpu(d->rects[i].x), picture->width);
        uint32_t y = MIN(le32_to_cpu(d->rects[i].y), picture->height);

        qemu_rect_init(&rects[i], x, y,
                       MIN(le32_to_cpu(d->rects[i].width), picture->width - x),
                       MIN(le32_to_cpu(d->rects[i].height),
                           picture->height - y));
        pixels += (uint64_t)rects[i].width * rects[i].height;
    }
    return pixels;
}

static bool readable(VirtIOBufDisplay *d, const VirtIOBufPicture *picture,
                     Error **errp)
{
    uint64_t size = (picture->height - 1) * picture->stride +
                    (uint64_t)picture->width * picture->bytes_per_pixel;

    if (!virtio_buf_readable(d->shown, picture->offset, size)) {
        error_setg(errp, "The guest has unmapped the picture");
        return false;
    }
    return true;
}

static void draw(VirtIOBufDisplay *d)
{
    QemuRect rects[VIRTIO_BUF_MAX_DAMAGE];
    Error *err = NULL;
    VirtIOBufPicture picture;

    if (!virtio_buf_picture_parse(&picture, d->buffer->properties,
                                  d->data_offset, d->data_size, &err) ||
        !readable(d, &picture, &err) || !make_surface(d, &picture, &err)) {
        show_message(d, error_get_pretty(err));
        error_free(err);
        return;
    }
    /* Not the same pixels again and again: many rectangles can be one */
    if (!d->rect_count || cut_damage(d, &picture, rects) >
                          (uint64_t)picture.width * picture.height) {
        draw_rect(d, &picture, 0, 0, picture.width, picture.height);
        return;
    }
    for (unsigned i = 0; i < d->rect_count; i++) {
        if (rects[i].width && rects[i].height) {
            draw_rect(d, &picture, rects[i].x, rects[i].y, rects[i].width,
                      rects[i].height);
        }
    }
}

static void release(VirtIOBufDisplay *d)
{
    if (d->held) {
        d->held = false;
        virtio_buf_release(d->shown, d->serial);
    }
}

/* The newest frame is the one in @ready */
static void show(VirtIOBufDisplay *d, const VirtIOBufReady *ready)
{
    const struct virtio_buf_frame *head = ready->frame[0].iov_base;
    bool same = ready->attachment == d->shown && d->has_picture &&
                d->data_offset == le64_to_cpu(head->data_offset);

    d->shown = ready->attachment;
    d->buffer = ready->buffer;
    d->serial = ready->serial;
    d->data_offset = le64_to_cpu(head->data_offset);
    d->data_size = le64_to_cpu(head->data_size);
    d->held = true;

    /* Damage says what has changed since the last update of the same buffer */
    d->rect_count = 0;
    if (same && !d->damaged) {
        d->rect_count = le16_to_cpu(head->rect_count);
        memcpy(d->rects, head + 1, d->rect_count * sizeof(d->rects[0]));
    }
    d->damaged = true;
}

/* Takes all there is, and holds the newest */
static void take_frames(VirtIOBufDisplay *d)
{
    VirtIOBufReady ready;

    while (virtio_buf_consumer_peek(&d->consumer, &ready)) {
        VirtIOBufAttachment *old = ready.attachment;
        uint64_t old_serial = ready.serial;

        if (ready.serial > d->serial) {
            old = d->held ? d->shown : NULL;
            old_serial = d->serial;
            show(d, &ready);
        }
        virtio_buf_consumer_taken(&d->consumer);
        if (old) {
            virtio_buf_release(old, old_serial);
        }
    }
}

/* Nobody looks: the guest does not have to wait */
static void not_watched(void *opaque)
{
    VirtIOBufDisplay *d = opaque;

    take_frames(d);
    release(d);
}

static void virtio_buf_display_update(void *opaque)
{
    VirtIOBufDisplay *d = opaque;

    d->looked_ms = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    timer_del(d->timer);
    take_frames(d);
    if (!d->device) {
        show_message(d, "The virtio-buf device was unplugged");
    } else if (d->shown && d->damaged) {
        draw(d);
        d->damaged = false;
    } else if (!d->shown && (d->has_picture || d->message)) {
        dpy_gfx_replace_surface(d->console, NULL);
        g_clear_pointer(&d->message, g_free);
        d->has_picture = false;
    }
    release(d);
    if (d->redraw) {
        d->redraw = false;
        dpy_gfx_update_full(d->console);
    }
}

static void virtio_buf_display_invalidate(void *opaque)
{
    VirtIOBufDisplay *d = opaque;

    d->redraw = true;
}

static const GraphicHwOps virtio_buf_display_hw_ops = {
    .gfx_update = virtio_buf_display_update,
    .invalidate = virtio_buf_display_invalidate,
};

static VirtIOBufDisplay *display_of(VirtIOBufConsumer *consumer)
{
    return container_of(consumer, VirtIOBufDisplay, consumer);
}

static void forget_frame(VirtIOBufDisplay *d)
{
    d->shown = NULL;
    d->buffer = NULL;
    d->held = false;
    d->damaged = false;
}

static void display_buffer(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer)
{
    VirtIOBufDisplay *d = display_of(consumer);

    if (!d->stream || buffer->stream_id == d->stream) {
        virtio_buf_attach(consumer, buffer, 0);
    }
}

static void display_properties(VirtIOBufConsumer *consumer,
                               VirtIOBufBuffer *buffer, const uint8_t *records,
                               uint32_t size)
{
    /* They are read when a frame is drawn */
}

static void display_ready(VirtIOBufConsumer *consumer)
{
    VirtIOBufDisplay *d = display_of(consumer);
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    bool watched = d->looked_ms && now - d->looked_ms < WATCHED_MS;

    timer_mod(d->timer, watched ? now + WATCHED_MS : now);
}

static void display_remove(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer,
                           VirtIOBufAttachment *attachment)
{
    VirtIOBufDisplay *d = display_of(consumer);

    if (attachment) {
        if (attachment == d->shown) {
            forget_frame(d);
        }
        virtio_buf_detach(attachment);
    }
}

static void display_reset(VirtIOBufConsumer *consumer, uint32_t reason)
{
    VirtIOBufDisplay *d = display_of(consumer);

    forget_frame(d);
    d->serial = 0;
    if (reason == VIRTIO_BUF_RESET_REASON_UNPLUG) {
        object_unref(OBJECT(g_steal_pointer(&d->device)));
        object_unref(g_steal_pointer(&d->owner));
    }
}

static void display_lost(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer,
                         uint64_t serial)
{
    virtio_buf_release(virtio_buf_attachment_find(consumer, buffer->handle),
                       serial);
}

static void display_overdue(VirtIOBufConsumer *consumer, uint64_t handle)
{
    VirtIOBufDisplay *d = display_of(consumer);

    if (d->buffer && d->buffer->handle == handle) {
        forget_frame(d);
    }
}

static void display_describe(VirtIOBufConsumer *consumer,
                             VirtioBufConsumerInfo *info)
{
    VirtIOBufDisplay *d = display_of(consumer);

    info->kind = VIRTIO_BUF_CONSUMER_KIND_INTERNAL;
    info->u.internal.name = object_get_canonical_path(OBJECT(d));
}

static const VirtIOBufConsumerOps virtio_buf_display_ops = {
    .buffer = display_buffer,
    .properties = display_properties,
    .ready = display_ready,
    .remove = display_remove,
    .reset = display_reset,
    .lost = display_lost,
    .overdue = display_overdue,
    .describe = display_describe,
};

/* @device itself, or what a transport has as its back-end */
static VirtIOBuf *find_virtio_buf(DeviceState *device)
{
    Object *obj = OBJECT(device);

    if (!object_dynamic_cast(obj, TYPE_VIRTIO_BUF)) {
        obj = object_resolve_path_component(obj, "virtio-backend");
    }
    return (VirtIOBuf *)object_dynamic_cast(obj, TYPE_VIRTIO_BUF);
}

static void virtio_buf_display_realize(DeviceState *dev, Error **errp)
{
    VirtIOBufDisplay *d = VIRTIO_BUF_DISPLAY(dev);
    VirtIOBuf *s;

    if (!d->device) {
        error_setg(errp, "'device' is not set: it is the id of a virtio-buf "
                   "device");
        return;
    }
    s = find_virtio_buf(d->device);
    if (!s || !DEVICE(s)->realized) {
        error_setg(errp, "'device' is not a virtio-buf device");
        return;
    }
    if (!d->application || !d->application[0] ||
        strlen(d->application) >= VIRTIO_BUF_NAME_SIZE ||
        !virtio_buf_text_valid((const uint8_t *)d->application,
                               strlen(d->application))) {
        error_setg(errp, "'application' has to be UTF-8 text of 1 to %d bytes",
                   VIRTIO_BUF_NAME_SIZE - 1);
        return;
    }

    /* A transport has the virtio-buf inside of its own memory */
    d->owner = object_ref(DEVICE(s)->parent_bus ?
                          OBJECT(DEVICE(s)->parent_bus->parent) : OBJECT(s));
    d->console = graphic_console_init(dev, 0, &virtio_buf_display_hw_ops, d);
    d->timer = timer_new_ms(QEMU_CLOCK_REALTIME, not_watched, d);
    d->consumer.ops = &virtio_buf_display_ops;
    d->consumer.hold = 1;
    d->consumer.applications = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_add(d->consumer.applications, d->application);
    virtio_buf_consumer_add(s, &d->consumer);
}

static void virtio_buf_display_unrealize(DeviceState *dev)
{
    VirtIOBufDisplay *d = VIRTIO_BUF_DISPLAY(dev);

    virtio_buf_consumer_remove(&d->consumer);
    forget_frame(d);
    g_clear_pointer(&d->consumer.applications, g_hash_table_destroy);
    g_clear_pointer(&d->timer, timer_free);
    g_clear_pointer(&d->console, graphic_console_close);
    g_clear_pointer(&d->message, g_free);
    g_clear_pointer(&d->row, g_free);
    g_clear_pointer(&d->owner, object_unref);
}

static const Property virtio_buf_display_properties[] = {
    DEFINE_PROP_LINK("device", VirtIOBufDisplay, device, TYPE_DEVICE,
                     DeviceState *),
    DEFINE_PROP_STRING("application", VirtIOBufDisplay, application),
    DEFINE_PROP_UINT64("stream", VirtIOBufDisplay, stream, 0),
};

static void virtio_buf_display_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);

    dc->desc = "Pictures of a virtio-buf application";
    dc->realize = virtio_buf_display_realize;
    dc->unrealize = virtio_buf_display_unrealize;
    /* It is on no bus: nobody would handle the plugging */
    dc->hotpluggable = false;
    device_class_set_props(dc, virtio_buf_display_properties);
    set_bit(DEVICE_CATEGORY_DISPLAY, dc->categories);
}

static const TypeInfo virtio_buf_display_info = {
    .name = TYPE_VIRTIO_BUF_DISPLAY,
    .parent = TYPE_DEVICE,
    .instance_size = sizeof(VirtIOBufDisplay),
    .class_init = virtio_buf_display_class_init,
};

static void virtio_buf_display_register_types(void)
{
    type_register_static(&virtio_buf_display_info);
}

type_init(virtio_buf_display_register_types)
