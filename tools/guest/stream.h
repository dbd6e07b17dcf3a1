/* SPDX-License-Identifier: MIT */
/*
 * A stream of frames to the host: a few buffers of one surface that take turns.
 *
 * Functions that return int give 0, or a negative errno and a text with the
 * cure in the stream's message. -EINTR: stream->stop has become true.
 */
#ifndef VIRTBUF_STREAM_H
#define VIRTBUF_STREAM_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drm/virtbuf_drm.h"
#include "frame.h"

#define STREAM_MAX_BUFFERS  16
#define STREAM_MESSAGE_SIZE 512

/* A buffer of the stream, on both sides of the device */
struct stream_buffer {
    uint32_t bo;
    uint32_t buffer;
    uint64_t size;          /* of the BO and of its mapping */
    uint8_t *pixels;
    uint64_t serial;        /* of its last update; 0: none yet */
};

/* A property that a frame or a buffer gets */
struct stream_property {
    const char *name;
    const char *value;      /* NULL or empty: the buffer has no such property */
};

/**
 * struct stream - a stream that is open
 * @application: which host programs it is for; borrowed
 * @mode: DRM_VIRTBUF_MODE_*
 * @wanted: buffers that take turns
 * @stop: borrowed; ends every wait when it is not 0
 * @on_wait: called about every second while nothing goes on; may be NULL
 * @fd: render node
 * @page: unit of BO sizes, bytes
 * @format: of the present buffers
 * @count: present buffers
 * @next: which one is to be drawn
 * @backing: DRM_VIRTBUF_BACKING_* of the present buffers
 * @reason: VIRTIO_BUF_REASON_*
 */
struct stream {
    const char *application;
    uint32_t mode;
    unsigned int wanted;
    const volatile sig_atomic_t *stop;
    void (*on_wait)(const char *what_for);

    int fd;
    uint64_t page;
    struct frame_format format;
    struct stream_buffer buffers[STREAM_MAX_BUFFERS];
    unsigned int count;
    unsigned int next;
    uint32_t backing;
    uint32_t reason;
    struct stream_buffer old[STREAM_MAX_BUFFERS];
    unsigned int old_count;
    char message[STREAM_MESSAGE_SIZE];
};

/* Opens the render node @path for a stream whose first fields are set */
int stream_open(struct stream *stream, const char *path);

/*
 * Makes buffers for @format, with its properties and @extra ones. The old
 * buffers go when the first of the new ones is updated.
 */
int stream_set_format(struct stream *stream, const struct frame_format *format,
                      const struct stream_property *extra, size_t count);

/* Waits until a host program has attached all of the present buffers */
int stream_wait_consumer(struct stream *stream);

/*
 * Waits for a buffer that nobody reads any more and gives where to draw, with
 * the layout of stream->format. Valid until stream_update().
 */
int stream_begin(struct stream *stream, uint8_t **pixels);

/*
 * Hands over what was drawn since stream_begin(). @flags: DRM_VIRTBUF_UPDATE_*;
 * @pts and @duration in nanoseconds of the stream's clock. @changed properties
 * take effect with this frame.
 */
int stream_update(struct stream *stream, uint32_t flags, uint64_t pts,
                  uint64_t duration, const struct stream_property *changed,
                  size_t count);

/* Waits until no host program will read any update any more */
int stream_drain(struct stream *stream);

/* Takes all buffers back and closes the device; waits for nobody */
void stream_close(struct stream *stream);

/* "zero-copy", or "copy" and why */
void stream_describe_backing(const struct stream *stream, char *text,
                             size_t size);

#endif
