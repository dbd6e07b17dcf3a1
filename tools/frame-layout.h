/* SPDX-License-Identifier: MIT */
/*
 * Where the pixels of a frame are, according to the properties of its buffer.
 */
#ifndef FRAME_LAYOUT_H
#define FRAME_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "virtio-buf/virtio-buf.h"

#define FRAME_PLANES_MAX 3
#define FRAME_SIDE_MAX 16384

/**
 * struct frame_plane - one plane, checked to lie inside of the payload
 * @offset: of the first byte in the payload
 * @stride: bytes from one row to the next
 * @row_bytes: bytes of a row that are pixels
 * @rows: how many
 */
struct frame_plane {
    uint64_t offset;
    uint64_t stride;
    uint32_t row_bytes;
    uint32_t rows;
};

/**
 * struct frame_layout - a picture in a payload
 * @fourcc: DRM_FORMAT_*
 * @rate_numerator: pictures in @rate_denominator seconds
 */
struct frame_layout {
    uint32_t fourcc;
    uint32_t width;
    uint32_t height;
    uint32_t plane_count;
    uint32_t rate_numerator;
    uint32_t rate_denominator;
    struct frame_plane planes[FRAME_PLANES_MAX];
};

/**
 * frame_layout_read() - reads and checks the properties of a buffer
 * @buffer: whose
 * @payload_size: bytes of the frame
 * @layout: out
 * @message: out: what is wrong with them
 * @size: bytes of @message
 *
 * Nothing is believed: after success, all bytes of all planes lie inside of the
 * payload.
 *
 * Returns 0; -EINVAL with a message.
 */
int frame_layout_read(const struct vbuf_buffer *buffer, uint64_t payload_size,
                      struct frame_layout *layout, char *message, size_t size);

/* Whether it is stored as Y, Cb and Cr */
int frame_layout_is_yuv(const struct frame_layout *layout);

#endif /* FRAME_LAYOUT_H */
