/* SPDX-License-Identifier: MIT */
/*
 * Frames to files: raw bytes, YUV4MPEG2 (y4m) or PNG.
 */
#ifndef FRAME_WRITER_H
#define FRAME_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "frame-layout.h"

enum frame_format {
    FRAME_FORMAT_RAW,
    FRAME_FORMAT_Y4M,
    FRAME_FORMAT_PNG,
};

/**
 * struct frame_writer - where frames go
 * @pattern: a path; one with a %d is a file for each frame; "-": stdout
 * @format: how they are written
 * @file: the one that is open, or NULL
 * @stream: what the y4m header in @file says
 * @has_stream: there is one in @file
 * @bytes_copied: what went through a buffer of this program on its way
 */
struct frame_writer {
    const char *pattern;
    enum frame_format format;
    FILE *file;
    struct frame_layout stream;
    bool has_stream;
    uint64_t bytes_copied;
    uint8_t *row;
    size_t row_size;
};

/**
 * frame_writer_init() - checks the pattern
 *
 * Returns 0, or -EINVAL when it has a % that is not one %d or %04d.
 */
int frame_writer_init(struct frame_writer *writer, const char *pattern,
                      enum frame_format format);

/* Whether each frame is a file of its own */
bool frame_writer_has_many_files(const struct frame_writer *writer);

/**
 * frame_writer_write() - writes a frame straight from the buffer
 * @writer: where to
 * @number: of the frame, from 1
 * @buffer: between vbuf_begin_read() and vbuf_end_read()
 * @data: its mapping
 * @frame: which bytes are the payload
 * @message: out: what went wrong
 * @size: bytes of @message
 *
 * Returns 0, or -errno with a message.
 */
int frame_writer_write(struct frame_writer *writer, uint64_t number,
                       const struct vbuf_buffer *buffer, const void *data,
                       const struct vbuf_frame *frame, char *message,
                       size_t size);

/* Closes the file. Returns 0, or -errno when the last bytes were not written */
int frame_writer_finish(struct frame_writer *writer);

#endif /* FRAME_WRITER_H */
