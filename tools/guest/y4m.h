/* SPDX-License-Identifier: MIT */
/*
 * Reading YUV4MPEG2 clips: planar 8-bit YUV 4:2:0, 4:2:2 and 4:4:4.
 */
#ifndef VIRTBUF_Y4M_H
#define VIRTBUF_Y4M_H

#include <stddef.h>
#include <stdio.h>

#include "frame.h"

#define Y4M_MAGIC       "YUV4MPEG2"
#define Y4M_MAGIC_SIZE  8   /* bytes of it that y4m_open() does not read */

/**
 * struct y4m - a clip that is open
 * @file: borrowed
 * @format: of every frame
 * @rate: as the header says
 * @frames: read so far
 */
struct y4m {
    FILE *file;
    struct frame_format format;
    struct frame_rate rate;
    uint64_t frames;
};

/*
 * Reads the header of @file, which stands behind the first Y4M_MAGIC_SIZE
 * bytes. Returns 0, or -1 and a text in @message. Borrows @file.
 */
int y4m_open(struct y4m *y4m, FILE *file, char *message, size_t size);

/*
 * Reads a frame to @pixels, of y4m->format.size bytes; the padding of rows is
 * left alone. Returns 1, or 0 at the end, or -1 and a text in @message.
 */
int y4m_read(struct y4m *y4m, uint8_t *pixels, char *message, size_t size);

#endif
