/* SPDX-License-Identifier: MIT */
/*
 * How the pixels of a frame lie in a buffer.
 */
#ifndef VIRTBUF_FRAME_H
#define VIRTBUF_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define FRAME_MAX_SIDE      16384   /* pixels: w * h * 4 stays below 2^31 */
#define FRAME_MAX_PLANES    3
#define FRAME_STRIDE_ALIGN  64      /* bytes: what GPUs and SIMD code like */

/**
 * struct frame_plane - a plane of a frame
 * @offset: bytes from the start of the buffer
 * @stride: bytes from a row to the next one
 * @row_bytes: bytes of a row that are pixels
 * @rows: how many
 */
struct frame_plane {
    uint64_t offset;
    uint32_t stride;
    uint32_t row_bytes;
    uint32_t rows;
};

/**
 * struct frame_format - everything that a buffer is allocated by
 * @fourcc: DRM_FORMAT_*
 * @width: pixels
 * @height: pixels
 * @plane_count: planes in use
 * @planes: as many
 * @size: bytes of a frame with its padding
 * @colour: value of the property "colour"; empty: unknown
 */
struct frame_format {
    uint32_t fourcc;
    uint32_t width;
    uint32_t height;
    unsigned int plane_count;
    struct frame_plane planes[FRAME_MAX_PLANES];
    uint64_t size;
    char colour[64];
};

/* Frames per second; @num 0: unknown */
struct frame_rate {
    uint32_t num;
    uint32_t den;
};

/*
 * Lays the planes out. False when @fourcc is none of XR24, AR24, YU12, YU16 and
 * YU24, or a side is 0 or above FRAME_MAX_SIDE.
 */
bool frame_format_init(struct frame_format *format, uint32_t fourcc,
                       uint32_t width, uint32_t height);

/* Can one buffer hold either of them, without a change of its layout? */
bool frame_format_same_layout(const struct frame_format *a,
                              const struct frame_format *b);

/* Reads "25", "29.97" or "30000/1001"; false when it is no positive rate */
bool frame_rate_parse(const char *text, struct frame_rate *rate);

/* When frame @index is shown, in nanoseconds from frame 0 */
uint64_t frame_rate_time(const struct frame_rate *rate, uint64_t index);

#endif
