/* SPDX-License-Identifier: MIT */
/*
 * Memory of other programs, a file of shared memory for each, as pictures for
 * host programs. Not one byte of it is looked at or copied.
 *
 * Functions that return int give 0, or a negative errno.
 */
#ifndef SHARE_H
#define SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drm/virtbuf_drm.h"

/**
 * struct share_device - where memory is shared
 * @fd: render node; readable when there is news for share_read_event()
 * @udmabuf: /dev/udmabuf, or -1
 * @page: unit of sizes, bytes
 * @application: which host programs it is for; borrowed
 */
struct share_device {
    int fd;
    int udmabuf;
    uint64_t page;
    const char *application;
};

/* How pictures lie in the memory */
struct share_layout {
    uint32_t fourcc;        /* as drm_fourcc.h has it */
    uint32_t width;
    uint32_t height;
    uint32_t stride;        /* bytes */
};

/**
 * struct share - memory that is shared
 * @buffer: buffer handle; 0: not shared
 * @size: bytes, a multiple of the page size
 * @layout: of all pictures in it
 * @serial: of the last update; 0: none
 * @released: no host program will read updates up to this one any more
 * @consumers: host programs that have it
 * @taken_back: UNREGISTER was asked for; a host program still has it
 * @backing: DRM_VIRTBUF_BACKING_*
 * @reason: VIRTIO_BUF_REASON_*
 */
struct share {
    uint32_t buffer;
    uint64_t size;
    struct share_layout layout;
    uint64_t serial;
    uint64_t released;
    uint32_t consumers;
    bool taken_back;
    uint32_t backing;
    uint32_t reason;
};

int share_open(struct share_device *device, const char *node,
               const char *application);
void share_close(struct share_device *device);

/*
 * Shares the first @size bytes of @file, which stays the caller's and may be
 * made longer by less than a page. @stream is what share_end() of the last
 * buffer ends.
 */
int share_begin(struct share_device *device, struct share *share, int file,
                uint64_t size, uint32_t stream,
                const struct share_layout *layout, const char *title);

/* Shows the picture at @offset. -EBUSY: the one before is not released yet */
int share_update(struct share_device *device, struct share *share,
                 uint64_t offset, const struct drm_virtbuf_rect *damage,
                 uint32_t damage_count);

/* Takes the memory back; share->taken_back until it is */
int share_end(struct share_device *device, struct share *share);

/* Takes one piece of news; false when there is none */
bool share_read_event(struct share_device *device,
                      struct drm_virtbuf_event *event);

#endif /* SHARE_H */
