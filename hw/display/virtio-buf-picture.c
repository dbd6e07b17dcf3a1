/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what properties say of a picture
 *
 * Knows the fourccs that pixman converts, and checks the layout of a picture
 * against the payload that it is in (docs/properties.rst), so that whoever has
 * a VirtIOBufPicture can read its rows without another look at the numbers.
 *
 * Owns nothing, any thread. The properties are the guest's: valid records, with
 * any text in them.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qapi/error.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "virtio-buf/wire.h"
#include "virtio-buf-picture.h"

/* DRM's formats are little-endian, pixman's are the host's words */
static const struct {
    uint32_t fourcc;
    pixman_format_code_t pixman;
} formats[] = {
    { DRM_FORMAT_XRGB8888, PIXMAN_LE_x8r8g8b8 },
    { DRM_FORMAT_ARGB8888, PIXMAN_LE_a8r8g8b8 },
    { DRM_FORMAT_XBGR8888, PIXMAN_LE_x8b8g8r8 },
    { DRM_FORMAT_ABGR8888, PIXMAN_LE_a8b8g8r8 },
    { DRM_FORMAT_RGB888, PIXMAN_LE_r8g8b8 },
#if HOST_BIG_ENDIAN
    { DRM_FORMAT_BGR888, PIXMAN_r8g8b8 },
#else
    { DRM_FORMAT_BGR888, PIXMAN_b8g8r8 },
    { DRM_FORMAT_RGBX8888, PIXMAN_r8g8b8x8 },
    { DRM_FORMAT_RGBA8888, PIXMAN_r8g8b8a8 },
    { DRM_FORMAT_BGRX8888, PIXMAN_b8g8r8x8 },
    { DRM_FORMAT_BGRA8888, PIXMAN_b8g8r8a8 },
    { DRM_FORMAT_XRGB2101010, PIXMAN_x2r10g10b10 },
    { DRM_FORMAT_ARGB2101010, PIXMAN_a2r10g10b10 },
    { DRM_FORMAT_XBGR2101010, PIXMAN_x2b10g10r10 },
    { DRM_FORMAT_ABGR2101010, PIXMAN_a2b10g10r10 },
    { DRM_FORMAT_RGB565, PIXMAN_r5g6b5 },
    { DRM_FORMAT_BGR565, PIXMAN_b5g6r5 },
    { DRM_FORMAT_XRGB1555, PIXMAN_x1r5g5b5 },
    { DRM_FORMAT_ARGB1555, PIXMAN_a1r5g5b5 },
    { DRM_FORMAT_XBGR1555, PIXMAN_x1b5g5r5 },
    { DRM_FORMAT_ABGR1555, PIXMAN_a1b5g5r5 },
#endif
};

/* What a picture needs to know; a value that is not there is NULL */
typedef struct PictureProperties {
    char *codec;
    char *fourcc;
    char *modifier;
    char *width;
    char *height;
    char *offset;
    char *stride;
} PictureProperties;

static const struct {
    const char *name;
    size_t field;
} property_fields[] = {
    { "codec", offsetof(PictureProperties, codec) },
    { "fourcc", offsetof(PictureProperties, fourcc) },
    { "modifier", offsetof(PictureProperties, modifier) },
    { "width", offsetof(PictureProperties, width) },
    { "height", offsetof(PictureProperties, height) },
    { "plane0.offset", offsetof(PictureProperties, offset) },
    { "plane0.stride", offsetof(PictureProperties, stride) },
};

static char **property_field(PictureProperties *values, size_t i)
{
    return (char **)((char *)values + property_fields[i].field);
}

static void read_properties(const VirtIOBufProperties *properties,
                            PictureProperties *values)
{
    struct virtio_buf_property_view view;
    uint32_t size;
    const uint8_t *list = virtio_buf_properties_list(properties, &size);
    size_t pos = 0;

    *values = (PictureProperties) {};
    while (virtio_buf_property_next(list, size, &pos, &view) == 1) {
        for (size_t i = 0; i < ARRAY_SIZE(property_fields); i++) {
            const char *name = property_fields[i].name;

            if (view.name_len == strlen(name) &&
                !memcmp(view.name, name, view.name_len)) {
                *property_field(values, i) = g_strndup(view.value,
                                                       view.value_len);
            }
        }
    }
}

static void clear_properties(PictureProperties *values)
{
    for (size_t i = 0; i < ARRAY_SIZE(property_fields); i++) {
        g_clear_pointer(property_field(values, i), g_free);
    }
}

/* As docs/properties.rst defines a number; without @text, it is @absent */
static bool parse_number(const char *name, const char *text, uint64_t absent,
                         uint64_t *value, Error **errp)
{
    if (!text) {
        *value = absent;
        return true;
    }
    if (!g_ascii_isdigit(text[0]) || (text[0] == '0' && text[1]) ||
        parse_uint_full(text, 10, value) < 0) {
        error_setg(errp, "%s=%s is not a number", name, text);
        return false;
    }
    return true;
}

static bool parse_edge(const char *name, const char *text, uint32_t *pixels,
                       Error **errp)
{
    uint64_t value;

    if (!parse_number(name, text, 0, &value, errp)) {
        return false;
    }
    if (value < 1 || value > VIRTIO_BUF_PICTURE_MAX_EDGE) {
        error_setg(errp, "%s has to be 1 to %d pixels", name,
                   VIRTIO_BUF_PICTURE_MAX_EDGE);
        return false;
    }
    *pixels = value;
    return true;
}

static bool parse_format(const PictureProperties *values,
                         VirtIOBufPicture *picture, Error **errp)
{
    uint64_t modifier = 0;

    if (values->codec) {
        error_setg(errp, "Contents are compressed: codec %s", values->codec);
        return false;
    }
    if (!values->fourcc) {
        error_setg(errp, "The buffer is no picture: it has no fourcc");
        return false;
    }
    if (values->modifier &&
        (parse_uint_full(values->modifier, 16, &modifier) < 0 || modifier)) {
        error_setg(errp, "Layout cannot be shown: modifier %s",
                   values->modifier);
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (strlen(values->fourcc) == sizeof(formats[i].fourcc) &&
            ldl_le_p(values->fourcc) == formats[i].fourcc) {
            picture->format = formats[i].pixman;
            picture->bytes_per_pixel = PIXMAN_FORMAT_BPP(picture->format) / 8;
            return true;
        }
    }
    error_setg(errp, "Format cannot be shown: fourcc %s", values->fourcc);
    return false;
}

static bool parse_layout(const PictureProperties *values,
                         uint64_t data_offset, uint64_t data_size,
                         VirtIOBufPicture *picture, Error **errp)
{
    uint64_t row, offset;

    if (!parse_edge("width", values->width, &picture->width, errp) ||
        !parse_edge("height", values->height, &picture->height, errp)) {
        return false;
    }
    if (picture->width > VIRTIO_BUF_PICTURE_MAX_PIXELS / picture->height) {
        error_setg(errp, "The picture has more than %d pixels",
                   VIRTIO_BUF_PICTURE_MAX_PIXELS);
        return false;
    }
    row = (uint64_t)picture->width * picture->bytes_per_pixel;
    if (!parse_number("plane0.offset", values->offset, 0, &offset, errp) ||
        !parse_number("plane0.stride", values->stride, row, &picture->stride,
                      errp)) {
        return false;
    }
    if (picture->stride < row) {
        error_setg(errp, "plane0.stride is less than a row of pixels");
        return false;
    }
    /* Behind the last row no padding is needed */
    if (offset > data_size || row > data_size - offset ||
        (picture->height > 1 &&
         picture->stride > (data_size - offset - row) /
                           (picture->height - 1))) {
        error_setg(errp, "The picture is larger than its payload");
        return false;
    }
    picture->offset = data_offset + offset;
    return true;
}

bool virtio_buf_picture_parse(VirtIOBufPicture *picture,
                              const VirtIOBufProperties *properties,
                              uint64_t data_offset, uint64_t data_size,
                              Error **errp)
{
    PictureProperties values;
    bool valid;

    read_properties(properties, &values);
    valid = parse_format(&values, picture, errp) &&
            parse_layout(&values, data_offset, data_size, picture, errp);
    clear_properties(&values);
    return valid;
}
