/* SPDX-License-Identifier: MIT */
/*
 * Where the pixels of a frame are, according to the properties of its buffer.
 *
 * The properties are texts of the guest. All arithmetic on them is checked for
 * overflow, and what comes out is inside of the payload,
 * which the library has checked to be inside of the buffer.
 */
#include <drm_fourcc.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "frame-layout.h"
#include "host-common.h"

static const struct format {
    uint32_t fourcc;
    uint32_t plane_count;
    uint32_t bytes_per_pixel;   /* of each plane */
    uint32_t shift_x;           /* of the planes behind the first */
    uint32_t shift_y;
} formats[] = {
    { DRM_FORMAT_XRGB8888, 1, 4, 0, 0 },
    { DRM_FORMAT_ARGB8888, 1, 4, 0, 0 },
    { DRM_FORMAT_YUV420, 3, 1, 1, 1 },
    { DRM_FORMAT_YUV422, 3, 1, 1, 0 },
    { DRM_FORMAT_YUV444, 3, 1, 0, 0 },
};

__attribute__((format(printf, 3, 4)))
static int bad(char *message, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, size, format, args);
    va_end(args);
    return -EINVAL;
}

int frame_layout_is_yuv(const struct frame_layout *layout)
{
    return layout->plane_count == 3;
}

/* A number from a property; @number stays what it is where there is none */
static int read_number(const struct vbuf_buffer *buffer, const char *name,
                       uint64_t min, uint64_t max, uint64_t *number,
                       char *message, size_t size)
{
    const char *text = vbuf_buffer_property(buffer, name);

    if (!text) {
        return 0;
    }
    if (!parse_number(text, max, number) || *number < min) {
        return bad(message, size, "property %s is \"%.40s\", not a number from "
                   "%llu to %llu", name, text, (unsigned long long)min,
                   (unsigned long long)max);
    }
    return 0;
}

static const struct format *find_format(const struct vbuf_buffer *buffer,
                                        char *message, size_t size)
{
    const char *text = vbuf_buffer_property(buffer, "fourcc");
    const char *modifier = vbuf_buffer_property(buffer, "modifier");
    const char *codec = vbuf_buffer_property(buffer, "codec");
    uint32_t fourcc;
    size_t i;

    if (codec) {
        bad(message, size, "the frames are compressed (%.40s): use --format "
            "raw", codec);
        return NULL;
    }
    if (!text) {
        bad(message, size, "the buffer has no property fourcc, so it is no "
            "picture: use --format raw");
        return NULL;
    }
    if (modifier && strcmp(modifier, "0x0")) {
        bad(message, size, "the picture is tiled (modifier %.40s): only linear "
            "ones can be written", modifier);
        return NULL;
    }
    if (strlen(text) == 4) {
        fourcc = fourcc_code((uint8_t)text[0], (uint8_t)text[1],
                             (uint8_t)text[2], (uint8_t)text[3]);
        for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
            if (formats[i].fourcc == fourcc) {
                return &formats[i];
            }
        }
    }
    bad(message, size, "the picture is of format \"%.40s\"; this program knows "
        "XR24, AR24, YU12, YU16 and YU24: use --format raw", text);
    return NULL;
}

/* Whether all rows of the plane lie in [0, @size) */
static bool plane_inside(const struct frame_plane *plane, uint64_t size)
{
    uint64_t end;

    return !__builtin_mul_overflow(plane->stride, plane->rows - 1, &end) &&
           !__builtin_add_overflow(end, plane->row_bytes, &end) &&
           !__builtin_add_overflow(end, plane->offset, &end) && end <= size;
}

/* Planes whose place the guest does not tell are tight, at @offset */
static int read_plane(const struct vbuf_buffer *buffer, unsigned int index,
                      uint64_t offset, uint64_t payload_size,
                      struct frame_plane *plane, char *message, size_t size)
{
    char name[32];
    uint64_t stride = plane->row_bytes;
    int ret;

    snprintf(name, sizeof(name), "plane%u.offset", index);
    ret = read_number(buffer, name, 0, UINT64_MAX, &offset, message, size);
    if (ret < 0) {
        return ret;
    }
    snprintf(name, sizeof(name), "plane%u.stride", index);
    ret = read_number(buffer, name, plane->row_bytes, UINT64_MAX, &stride,
                      message, size);
    if (ret < 0) {
        return ret;
    }
    plane->offset = offset;
    plane->stride = stride;
    if (!plane_inside(plane, payload_size)) {
        return bad(message, size, "plane %u (offset %llu, stride %llu, %u rows "
                   "of %u bytes) does not lie inside of the frame of %llu "
                   "bytes", index, (unsigned long long)offset,
                   (unsigned long long)stride, plane->rows, plane->row_bytes,
                   (unsigned long long)payload_size);
    }
    return 0;
}

/* "30", "30/1" or "30:1"; anything else is taken for 25:1 */
static void read_rate(const struct vbuf_buffer *buffer,
                      struct frame_layout *layout)
{
    const char *text = vbuf_buffer_property(buffer, "framerate");
    uint64_t numerator, denominator = 1;
    char copy[32];
    char *slash;

    layout->rate_numerator = 25;
    layout->rate_denominator = 1;
    if (!text || strlen(text) >= sizeof(copy)) {
        return;
    }
    strcpy(copy, text);
    slash = strpbrk(copy, "/:");
    if (slash) {
        *slash = '\0';
        if (!parse_number(slash + 1, INT32_MAX, &denominator)) {
            return;
        }
    }
    if (parse_number(copy, INT32_MAX, &numerator) && numerator && denominator) {
        layout->rate_numerator = (uint32_t)numerator;
        layout->rate_denominator = (uint32_t)denominator;
    }
}

int frame_layout_read(const struct vbuf_buffer *buffer, uint64_t payload_size,
                      struct frame_layout *layout, char *message, size_t size)
{
    const struct format *format;
    struct frame_plane *plane;
    uint64_t width = 0, height = 0, offset = 0;
    uint32_t shift_x, shift_y, i;
    int ret;

    format = find_format(buffer, message, size);
    if (!format) {
        return -EINVAL;
    }
    ret = read_number(buffer, "width", 1, FRAME_SIDE_MAX, &width, message,
                      size);
    if (ret == 0) {
        ret = read_number(buffer, "height", 1, FRAME_SIDE_MAX, &height,
                          message, size);
    }
    if (ret < 0) {
        return ret;
    }
    if (!width || !height) {
        return bad(message, size, "the buffer has no property %s",
                   width ? "height" : "width");
    }
    memset(layout, 0, sizeof(*layout));
    layout->fourcc = format->fourcc;
    layout->width = (uint32_t)width;
    layout->height = (uint32_t)height;
    layout->plane_count = format->plane_count;
    for (i = 0; i < format->plane_count; i++) {
        plane = &layout->planes[i];
        shift_x = i ? format->shift_x : 0;
        shift_y = i ? format->shift_y : 0;
        plane->row_bytes = ((layout->width + (1u << shift_x) - 1) >> shift_x) *
                           format->bytes_per_pixel;
        plane->rows = (layout->height + (1u << shift_y) - 1) >> shift_y;
        ret = read_plane(buffer, i, offset, payload_size, plane, message,
                         size);
        if (ret < 0) {
            return ret;
        }
        offset = plane->offset + plane->stride * plane->rows;
    }
    read_rate(buffer, layout);
    return 0;
}
