/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what properties say of a picture
 */
#ifndef HW_DISPLAY_VIRTIO_BUF_PICTURE_H
#define HW_DISPLAY_VIRTIO_BUF_PICTURE_H

#include "ui/qemu-pixman.h"
#include "hw/virtio/virtio-buf-property.h"

/* Of either edge in pixels: with 4 bytes each, all is less than 2 GiB */
#define VIRTIO_BUF_PICTURE_MAX_EDGE 16384

/* Of all of it, which is converted in one go: the largest screens there are */
#define VIRTIO_BUF_PICTURE_MAX_PIXELS (8192 * 4320)

/* One plane of pixels, all of it inside of a payload */
typedef struct VirtIOBufPicture {
    pixman_format_code_t format;
    uint32_t width;             /* pixels, from 1 */
    uint32_t height;
    uint32_t bytes_per_pixel;   /* 4 at most */
    uint64_t offset;            /* bytes from the buffer's start to row 0 */
    uint64_t stride;            /* bytes from a row to the next */
} VirtIOBufPicture;

/**
 * virtio_buf_picture_parse: the picture of a frame
 * @properties: of its buffer
 * @data_offset: of the frame's payload, in the buffer
 * @data_size: of the frame's payload; it ends inside of the buffer
 *
 * Returns false and @errp, for people, if there is none that pixman can
 * convert, or if it is not inside of the payload.
 */
bool virtio_buf_picture_parse(VirtIOBufPicture *picture,
                              const VirtIOBufProperties *properties,
                              uint64_t data_offset, uint64_t data_size,
                              Error **errp);

#endif /* HW_DISPLAY_VIRTIO_BUF_PICTURE_H */
