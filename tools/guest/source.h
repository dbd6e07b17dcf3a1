/* SPDX-License-Identifier: MIT */
/*
 * Where frames come from: a file, which shows by its first bytes what it is.
 */
#ifndef VIRTBUF_SOURCE_H
#define VIRTBUF_SOURCE_H

#include <stddef.h>

#include "frame.h"

struct source;

/*
 * Opens the PNG picture or the y4m clip @path; "-" is standard input. NULL and
 * a text in @message when that does not go.
 */
struct source *source_open(const char *path, char *message, size_t size);

/* Of every frame; valid as long as the source */
const struct frame_format *source_format(const struct source *source);

/* As the file says; unknown for a picture */
struct frame_rate source_rate(const struct source *source);

/*
 * Reads the next frame to @pixels, of format->size bytes. Returns 1, or 0 at
 * the end, or -1 and a text in @message.
 */
int source_read(struct source *source, uint8_t *pixels, char *message,
                size_t size);

/* Nothing comes after the frame that was read last */
bool source_at_end(struct source *source);

/* Takes NULL as well */
void source_close(struct source *source);

#endif
