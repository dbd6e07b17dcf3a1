/* SPDX-License-Identifier: MIT */
/*
 * Where frames come from. The first bytes decide, not the file's name, and are
 * read once, so that a pipe will do.
 */
#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picture.h"
#include "y4m.h"

#define MAGIC_SIZE  8

_Static_assert(MAGIC_SIZE == PICTURE_MAGIC_SIZE &&
               MAGIC_SIZE == Y4M_MAGIC_SIZE, "one look must do for both");

struct source {
    FILE *file;
    struct picture *picture;    /* NULL: a clip */
    bool picture_was_read;
    struct y4m y4m;
};

static int open_file(struct source *source, char *message, size_t size)
{
    char magic[MAGIC_SIZE];

    if (fread(magic, 1, sizeof(magic), source->file) != sizeof(magic)) {
        snprintf(message, size, "%s", ferror(source->file) ? strerror(errno) :
                 "the file is empty or cut off");
        return -1;
    }
    if (memcmp(magic, PICTURE_MAGIC, sizeof(magic)) == 0) {
        source->picture = picture_open(source->file, message, size);
        return source->picture ? 0 : -1;
    }
    if (memcmp(magic, Y4M_MAGIC, sizeof(magic)) == 0) {
        return y4m_open(&source->y4m, source->file, message, size);
    }
    snprintf(message, size, "neither a PNG picture nor a y4m clip; convert it "
             "with ffmpeg -i IN -pix_fmt yuv420p OUT.y4m");
    return -1;
}

struct source *source_open(const char *path, char *message, size_t size)
{
    struct source *source = calloc(1, sizeof(*source));

    if (!source) {
        snprintf(message, size, "out of memory");
        return NULL;
    }
    source->file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (!source->file) {
        snprintf(message, size, "%s", strerror(errno));
    } else if (open_file(source, message, size) == 0) {
        return source;
    }
    source_close(source);
    return NULL;
}

const struct frame_format *source_format(const struct source *source)
{
    return source->picture ? picture_format(source->picture) :
                             &source->y4m.format;
}

struct frame_rate source_rate(const struct source *source)
{
    return source->picture ? (struct frame_rate) { 0 } : source->y4m.rate;
}

int source_read(struct source *source, uint8_t *pixels, char *message,
                size_t size)
{
    if (!source->picture) {
        return y4m_read(&source->y4m, pixels, message, size);
    }
    if (source->picture_was_read) {
        return 0;
    }
    source->picture_was_read = true;
    return picture_read(source->picture, pixels, message, size) < 0 ? -1 : 1;
}

bool source_at_end(struct source *source)
{
    int c;

    if (source->picture) {
        return source->picture_was_read;
    }
    c = getc(source->file);
    return c == EOF || ungetc(c, source->file) == EOF;
}

void source_close(struct source *source)
{
    if (!source) {
        return;
    }
    picture_close(source->picture);
    if (source->file && source->file != stdin) {
        fclose(source->file);
    }
    free(source);
}
