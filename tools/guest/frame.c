/* SPDX-License-Identifier: MIT */
/*
 * How the pixels of a frame lie in a buffer: pure arithmetic on sides that are
 * at most FRAME_MAX_SIDE, so that nothing here can overflow.
 */
#include "frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <drm_fourcc.h>

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static void add_plane(struct frame_format *format, uint32_t row_bytes,
                      uint32_t rows)
{
    struct frame_plane *plane = &format->planes[format->plane_count++];

    plane->offset = format->size;
    plane->stride = (uint32_t)round_up(row_bytes, FRAME_STRIDE_ALIGN);
    plane->row_bytes = row_bytes;
    plane->rows = rows;
    format->size += (uint64_t)plane->stride * rows;
}

bool frame_format_init(struct frame_format *format, uint32_t fourcc,
                       uint32_t width, uint32_t height)
{
    uint32_t half_width = (width + 1) / 2, half_height = (height + 1) / 2;

    if (width == 0 || height == 0 || width > FRAME_MAX_SIDE ||
        height > FRAME_MAX_SIDE) {
        return false;
    }
    memset(format, 0, sizeof(*format));
    format->fourcc = fourcc;
    format->width = width;
    format->height = height;
    switch (fourcc) {
    case DRM_FORMAT_XRGB8888:
    case DRM_FORMAT_ARGB8888:
        add_plane(format, width * 4, height);
        return true;
    case DRM_FORMAT_YUV420:
        add_plane(format, width, height);
        add_plane(format, half_width, half_height);
        add_plane(format, half_width, half_height);
        return true;
    case DRM_FORMAT_YUV422:
        add_plane(format, width, height);
        add_plane(format, half_width, height);
        add_plane(format, half_width, height);
        return true;
    case DRM_FORMAT_YUV444:
        add_plane(format, width, height);
        add_plane(format, width, height);
        add_plane(format, width, height);
        return true;
    default:
        return false;
    }
}

bool frame_format_same_layout(const struct frame_format *a,
                              const struct frame_format *b)
{
    return a->fourcc == b->fourcc && a->width == b->width &&
           a->height == b->height;
}

static bool parse_u32(const char *text, char **end, uint32_t *value)
{
    unsigned long number;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    number = strtoul(text, end, 10);
    *value = (uint32_t)number;
    return errno == 0 && number <= INT32_MAX;
}

bool frame_rate_parse(const char *text, struct frame_rate *rate)
{
    char *end;

    rate->den = 1;
    if (!parse_u32(text, &end, &rate->num)) {
        return false;
    }
    if (*end == '/') {
        if (!parse_u32(end + 1, &end, &rate->den)) {
            return false;
        }
    } else if (*end == '.') {
        for (end++; *end >= '0' && *end <= '9'; end++) {
            if (rate->num > INT32_MAX / 10 - 1 || rate->den > 100000) {
                return false;
            }
            rate->num = rate->num * 10 + (uint32_t)(*end - '0');
            rate->den *= 10;
        }
    }
    return *end == '\0' && rate->num > 0 && rate->den > 0;
}

uint64_t frame_rate_time(const struct frame_rate *rate, uint64_t index)
{
    /* whole seconds apart, so that the product stays small */
    uint64_t ticks = index * rate->den;
    uint64_t seconds = ticks / rate->num;

    return seconds * 1000000000u + ticks % rate->num * 1000000000u / rate->num;
}
