/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf-wayland: what its files share.
 */
#ifndef WAYLAND_H
#define WAYLAND_H

#include <stdbool.h>
#include <stdint.h>

#include <wayland-server.h>

#include "share.h"

/**
 * struct pool - shared memory of a client
 * @fd: the client's file, a descriptor of ours
 * @size: bytes, as the client says and as the file has at least
 * @references: the client's object, and its buffers
 */
struct pool {
    int fd;
    uint64_t size;
    unsigned int references;
};

/**
 * struct buffer - a picture in a pool
 * @link: in surface.retiring, or in no list
 * @resource: the client's object
 * @pool: referenced
 * @offset: bytes; the picture ends inside of the pool
 * @layout: checked
 * @serial: of the update that showed it last
 */
struct buffer {
    struct wl_list link;
    struct wl_resource *resource;
    struct pool *pool;
    uint64_t offset;
    struct share_layout layout;
    uint64_t serial;
};

/* wayland-shm.c */
bool shm_create(struct wl_display *display);

/* wayland-shell.c: xdg_wm_base, and a seat and an output without devices */
bool shell_create(struct wl_display *display);
/* A commit without a buffer: the first one asks for a size */
void shell_commit(struct wl_resource *surface);

/* wayland-surface.c */
bool surfaces_create(struct wl_display *display, struct share_device *device,
                     bool verbose);
/* After the clients; also when surfaces_create() has failed */
void surfaces_destroy(void);
void surface_set_title(struct wl_resource *surface, const char *title);
void surfaces_forget_buffer(struct buffer *buffer);
/* It goes away, or another size of it is to be shared */
void surfaces_forget_pool(struct pool *pool);

#endif /* WAYLAND_H */
