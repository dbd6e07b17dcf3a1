/* SPDX-License-Identifier: MIT */
/*
 * Reading PNG pictures to XRGB8888, or ARGB8888 where they have alpha.
 */
#ifndef VIRTBUF_PICTURE_H
#define VIRTBUF_PICTURE_H

#include <stddef.h>
#include <stdio.h>

#include "frame.h"

#define PICTURE_MAGIC       "\x89PNG\r\n\x1a\n"
#define PICTURE_MAGIC_SIZE  8   /* bytes that picture_open() does not read */

struct picture;

/*
 * Reads the header of @file, which stands behind the magic bytes. Gives the
 * picture, or NULL and a text in @message. Borrows @file.
 */
struct picture *picture_open(FILE *file, char *message, size_t size);

/* Valid as long as the picture */
const struct frame_format *picture_format(const struct picture *picture);

/*
 * Reads the pixels, once, to @pixels, of format->size bytes: alpha is not
 * multiplied in, gamma is not applied. Returns 0, or -1 and a text in @message.
 */
int picture_read(struct picture *picture, uint8_t *pixels, char *message,
                 size_t size);

/* Takes NULL as well */
void picture_close(struct picture *picture);

#endif
