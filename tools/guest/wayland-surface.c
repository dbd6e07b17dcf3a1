/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf-wayland: surfaces, and what host programs see of them.
 *
 * A surface is a stream. What the client commits is queued until the host has
 * released what was shown of the same pool before, and the newest commit
 * counts. A wl_buffer is released when it is not the newest one any more and
 * no host program reads it. A pool has one view in a surface, which ends, and
 * is waited for, before the pool is shared in another way.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wayland.h"

#define FRAME_MS        16
#define MAX_SURFACE_SIZE 16384

static struct wl_list surfaces;
static struct share_device *device;
static struct wl_event_source *device_source, *frame_timer;
static bool frame_timer_runs;
static uint32_t last_stream;
static bool verbose;

static uint32_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

/* A pool as a surface shows it */
struct view {
    struct wl_list link;        /* surface.views */
    struct share share;
    struct pool *pool;          /* NULL: it is gone, or has become larger */
};

struct surface {
    struct wl_list link;
    struct wl_resource *resource;
    struct wl_list views;
    uint32_t stream;
    char title[128];

    struct buffer *pending;     /* attached, not committed */
    bool attached;              /* since the last commit */
    int32_t scale;
    struct drm_virtbuf_rect damage[DRM_VIRTBUF_MAX_DAMAGE];
    uint32_t damage_count;      /* above the array's size: everything */
    struct wl_list pending_frames, frames;

    struct buffer *queued;      /* committed, not sent */
    struct buffer *shown;       /* sent last */
    struct wl_list retiring;    /* buffers that host programs may still read */
};

static void view_end(struct view *view)
{
    share_end(device, &view->share);
    view->pool = NULL;
    if (!view->share.taken_back) {
        wl_list_remove(&view->link);
        free(view);
    }
}

static struct view *view_find(struct surface *surface, const struct pool *pool)
{
    struct view *view;

    wl_list_for_each(view, &surface->views, link) {
        if (view->pool == pool) {
            return view;
        }
    }
    return NULL;
}

static bool view_is_busy(const struct view *view)
{
    return view->share.released < view->share.serial;
}

static bool same_layout(const struct share_layout *a,
                        const struct share_layout *b)
{
    return a->fourcc == b->fourcc && a->width == b->width &&
           a->height == b->height && a->stride == b->stride;
}

/* A buffer that is not the newest one goes back when nobody reads it */
static void release_retiring(struct surface *surface)
{
    struct buffer *buffer, *next;

    wl_list_for_each_safe(buffer, next, &surface->retiring, link) {
        struct view *view = view_find(surface, buffer->pool);

        if (!view || view->share.released >= buffer->serial) {
            wl_list_remove(&buffer->link);
            wl_list_init(&buffer->link);
            wl_buffer_send_release(buffer->resource);
        }
    }
}

static void retire(struct surface *surface, struct buffer *buffer)
{
    wl_list_remove(&buffer->link);
    wl_list_insert(surface->retiring.prev, &buffer->link);
}

/*
 * The view of the queued buffer; NULL when it has to wait, or *@error. A pool
 * has one view: memory that is shared twice would be copied.
 */
static struct view *view_for(struct surface *surface,
                             const struct buffer *buffer, int *error)
{
    struct view *view = view_find(surface, buffer->pool), *old;

    *error = 0;
    if (view && same_layout(&view->share.layout, &buffer->layout) &&
        view->share.size >= buffer->pool->size) {
        return view;
    }
    if (view) {
        view_end(view);
    }
    wl_list_for_each(old, &surface->views, link) {
        if (old->share.taken_back) {
            return NULL; /* FREED will come */
        }
    }

    view = calloc(1, sizeof(*view));
    if (!view) {
        *error = -ENOMEM;
        return NULL;
    }
    *error = share_begin(device, &view->share, buffer->pool->fd,
                         buffer->pool->size, surface->stream, &buffer->layout,
                         surface->title);
    if (*error < 0) {
        free(view);
        return NULL;
    }
    view->pool = buffer->pool;
    wl_list_insert(&surface->views, &view->link);
    if (verbose) {
        printf("stream %u: %ux%u, %" PRIu64 " bytes, %s (reason %u)\n",
               surface->stream, buffer->layout.width, buffer->layout.height,
               view->share.size,
               view->share.backing == DRM_VIRTBUF_BACKING_DMABUF ?
               "zero-copy" : "copy", view->share.reason);
        fflush(stdout);
    }
    return view;
}

/* Damage inside of the picture; none when all of it has changed */
static uint32_t clip_damage(const struct surface *surface,
                            const struct share_layout *layout,
                            struct drm_virtbuf_rect *rects)
{
    uint32_t count = 0;

    if (surface->damage_count > DRM_VIRTBUF_MAX_DAMAGE) {
        return 0;
    }
    for (uint32_t i = 0; i < surface->damage_count; i++) {
        struct drm_virtbuf_rect rect = surface->damage[i];

        if (rect.x < layout->width && rect.y < layout->height) {
            if (rect.width > layout->width - rect.x) {
                rect.width = layout->width - rect.x;
            }
            if (rect.height > layout->height - rect.y) {
                rect.height = layout->height - rect.y;
            }
            rects[count++] = rect;
        }
    }
    return count;
}

static void send_queued(struct surface *surface)
{
    struct drm_virtbuf_rect rects[DRM_VIRTBUF_MAX_DAMAGE];
    struct buffer *buffer = surface->queued;
    struct view *view;
    uint32_t count;
    int error;

    if (!buffer) {
        return;
    }
    view = view_for(surface, buffer, &error);
    if (!view && !error) {
        return;
    }
    if (view && view_is_busy(view)) {
        return;
    }
    if (view) {
        count = clip_damage(surface, &buffer->layout, rects);
        error = share_update(device, &view->share, buffer->offset, rects,
                             count);
        if (error == -EBUSY) {
            return;
        }
        buffer->serial = view->share.serial;
    }
    if (error < 0) {
        fprintf(stderr, "virtio-buf-wayland: a picture is lost: %s\n",
                strerror(-error));
    }
    if (surface->shown && surface->shown != buffer) {
        retire(surface, surface->shown);
    }
    surface->queued = NULL;
    surface->shown = buffer;
    surface->damage_count = 0;
    release_retiring(surface);
}

/* Who comes to a still picture is to see it */
static void show_again(struct surface *surface, struct view *view)
{
    if (!surface->queued && surface->shown && !view_is_busy(view) &&
        surface->shown->pool == view->pool) {
        surface->queued = surface->shown;
        surface->damage_count = DRM_VIRTBUF_MAX_DAMAGE + 1;
        send_queued(surface);
    }
}

static void view_event(struct surface *surface, struct view *view,
                       const struct drm_virtbuf_event *event)
{
    bool more = event->consumers > view->share.consumers;

    if (view->share.taken_back) {
        if (event->conditions & 1u << DRM_VIRTBUF_WAIT_FREED) {
            view_end(view);
        }
        return;
    }
    view->share.consumers = event->consumers;
    if (event->released > view->share.released) {
        view->share.released = event->released;
    }
    if (more) {
        show_again(surface, view);
    }
}

static int on_device(int fd, uint32_t mask, void *data)
{
    struct drm_virtbuf_event event;
    struct surface *surface;
    struct view *view, *next;

    (void)fd;
    if (mask & (WL_EVENT_HANGUP | WL_EVENT_ERROR)) {
        fputs("virtio-buf-wayland: the device is gone\n", stderr);
        wl_display_terminate(data);
        return 0;
    }
    while (share_read_event(device, &event)) {
        wl_list_for_each(surface, &surfaces, link) {
            wl_list_for_each_safe(view, next, &surface->views, link) {
                if (view->share.buffer == event.buffer) {
                    view_event(surface, view, &event);
                }
            }
        }
    }
    wl_list_for_each(surface, &surfaces, link) {
        release_retiring(surface);
        send_queued(surface);
    }
    return 0;
}

static void run_frame_timer(const struct surface *surface)
{
    if (!frame_timer_runs && !wl_list_empty(&surface->frames)) {
        wl_event_source_timer_update(frame_timer, FRAME_MS);
        frame_timer_runs = true;
    }
}

/* Clients that are ahead of the host wait */
static int on_frame(void *data)
{
    struct wl_resource *frame, *next;
    struct surface *surface;

    (void)data;
    frame_timer_runs = false;
    wl_list_for_each(surface, &surfaces, link) {
        if (surface->queued || !wl_list_empty(&surface->retiring)) {
            run_frame_timer(surface);
            continue;
        }
        wl_resource_for_each_safe(frame, next, &surface->frames) {
            wl_callback_send_done(frame, now_ms());
            wl_resource_destroy(frame);
        }
    }
    return 0;
}

static void unlink_resource(struct wl_resource *resource)
{
    wl_list_remove(wl_resource_get_link(resource));
}

static void destroy(struct wl_client *client, struct wl_resource *resource)
{
    (void)client;
    wl_resource_destroy(resource);
}

static void surface_attach(struct wl_client *client,
                           struct wl_resource *resource,
                           struct wl_resource *buffer, int32_t x, int32_t y)
{
    struct surface *surface = wl_resource_get_user_data(resource);

    (void)client, (void)x, (void)y;
    surface->pending = buffer ? wl_resource_get_user_data(buffer) : NULL;
    surface->attached = true;
}

static void surface_damage_buffer(struct wl_client *client,
                                  struct wl_resource *resource, int32_t x,
                                  int32_t y, int32_t width, int32_t height)
{
    struct surface *surface = wl_resource_get_user_data(resource);
    int64_t right = (int64_t)x + width, bottom = (int64_t)y + height;

    (void)client;
    x = x < 0 ? 0 : x;
    y = y < 0 ? 0 : y;
    right = right > MAX_SURFACE_SIZE ? MAX_SURFACE_SIZE : right;
    bottom = bottom > MAX_SURFACE_SIZE ? MAX_SURFACE_SIZE : bottom;
    if (right <= x || bottom <= y ||
        surface->damage_count > DRM_VIRTBUF_MAX_DAMAGE) {
        return;
    }
    if (surface->damage_count < DRM_VIRTBUF_MAX_DAMAGE) {
        surface->damage[surface->damage_count] = (struct drm_virtbuf_rect) {
            .x = (uint32_t)x,
            .y = (uint32_t)y,
            .width = (uint32_t)(right - x),
            .height = (uint32_t)(bottom - y),
        };
    }
    surface->damage_count++;
}

static void surface_damage(struct wl_client *client,
                           struct wl_resource *resource, int32_t x, int32_t y,
                           int32_t width, int32_t height)
{
    struct surface *surface = wl_resource_get_user_data(resource);

    if (surface->scale == 1) {
        surface_damage_buffer(client, resource, x, y, width, height);
    } else {
        surface->damage_count = DRM_VIRTBUF_MAX_DAMAGE + 1;
    }
}

static void surface_frame(struct wl_client *client,
                          struct wl_resource *resource, uint32_t id)
{
    struct surface *surface = wl_resource_get_user_data(resource);
    struct wl_resource *frame = wl_resource_create(client,
                                                   &wl_callback_interface, 1,
                                                   id);

    if (!frame) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(frame, NULL, NULL, unlink_resource);
    wl_list_insert(surface->pending_frames.prev, wl_resource_get_link(frame));
}

static void surface_commit(struct wl_client *client,
                           struct wl_resource *resource)
{
    struct surface *surface = wl_resource_get_user_data(resource);
    struct buffer *buffer = surface->pending;

    (void)client;
    wl_list_insert_list(surface->frames.prev, &surface->pending_frames);
    wl_list_init(&surface->pending_frames);
    run_frame_timer(surface);
    if (!surface->attached) {
        shell_commit(surface->resource);
        return;
    }
    surface->attached = false;
    surface->pending = NULL;
    if (surface->queued && surface->queued != buffer &&
        surface->queued != surface->shown) {
        wl_buffer_send_release(surface->queued->resource); /* overtaken */
    }
    surface->queued = buffer;
    if (buffer) {
        wl_list_remove(&buffer->link); /* from those that retire */
        wl_list_init(&buffer->link);
    } else if (surface->shown) {
        retire(surface, surface->shown);
        surface->shown = NULL;
        release_retiring(surface);
    }
    send_queued(surface);
}

static void surface_ignore_region(struct wl_client *client,
                                  struct wl_resource *resource,
                                  struct wl_resource *region)
{
    (void)client, (void)resource, (void)region;
}

static void surface_set_transform(struct wl_client *client,
                                  struct wl_resource *resource,
                                  int32_t transform)
{
    struct surface *surface = wl_resource_get_user_data(resource);

    (void)client;
    if (transform != WL_OUTPUT_TRANSFORM_NORMAL) {
        surface->scale = 0; /* damage means something else */
    }
}

static void surface_set_scale(struct wl_client *client,
                              struct wl_resource *resource, int32_t scale)
{
    struct surface *surface = wl_resource_get_user_data(resource);

    (void)client;
    surface->scale = scale;
}

static const struct wl_surface_interface surface_interface = {
    .destroy = destroy,
    .attach = surface_attach,
    .damage = surface_damage,
    .frame = surface_frame,
    .set_opaque_region = surface_ignore_region,
    .set_input_region = surface_ignore_region,
    .commit = surface_commit,
    .set_buffer_transform = surface_set_transform,
    .set_buffer_scale = surface_set_scale,
    .damage_buffer = surface_damage_buffer,
};

static void surface_destroyed(struct wl_resource *resource)
{
    struct surface *surface = wl_resource_get_user_data(resource);
    struct wl_resource *frame, *next_frame;
    struct buffer *buffer, *next_buffer;
    struct view *view, *next;

    wl_list_insert_list(&surface->frames, &surface->pending_frames);
    wl_resource_for_each_safe(frame, next_frame, &surface->frames) {
        wl_resource_destroy(frame);
    }
    wl_list_for_each_safe(buffer, next_buffer, &surface->retiring, link) {
        wl_list_remove(&buffer->link);
        wl_list_init(&buffer->link);
    }
    /* The driver takes back what we do not wait for */
    wl_list_for_each_safe(view, next, &surface->views, link) {
        if (!view->share.taken_back) {
            share_end(device, &view->share);
        }
        wl_list_remove(&view->link);
        free(view);
    }
    wl_list_remove(&surface->link);
    free(surface);
}

void surface_set_title(struct wl_resource *resource, const char *title)
{
    struct surface *surface = wl_resource_get_user_data(resource);

    snprintf(surface->title, sizeof(surface->title), "%s", title);
}

void surfaces_forget_buffer(struct buffer *buffer)
{
    struct surface *surface;

    wl_list_for_each(surface, &surfaces, link) {
        surface->pending = surface->pending == buffer ? NULL :
                                                        surface->pending;
        surface->queued = surface->queued == buffer ? NULL : surface->queued;
        surface->shown = surface->shown == buffer ? NULL : surface->shown;
    }
    wl_list_remove(&buffer->link);
}

void surfaces_forget_pool(struct pool *pool)
{
    struct surface *surface;

    wl_list_for_each(surface, &surfaces, link) {
        struct view *view = view_find(surface, pool);

        if (view) {
            view_end(view);
        }
    }
}

static void compositor_create_surface(struct wl_client *client,
                                      struct wl_resource *resource,
                                      uint32_t id)
{
    struct surface *surface = calloc(1, sizeof(*surface));

    if (surface) {
        surface->resource = wl_resource_create(client, &wl_surface_interface,
                                               wl_resource_get_version(
                                                   resource), id);
    }
    if (!surface || !surface->resource) {
        free(surface);
        wl_client_post_no_memory(client);
        return;
    }
    wl_list_init(&surface->views);
    wl_list_init(&surface->pending_frames);
    wl_list_init(&surface->frames);
    wl_list_init(&surface->retiring);
    surface->scale = 1;
    surface->stream = ++last_stream;
    wl_list_insert(&surfaces, &surface->link);
    wl_resource_set_implementation(surface->resource, &surface_interface,
                                   surface, surface_destroyed);
}

static void region_ignore(struct wl_client *client,
                          struct wl_resource *resource, int32_t x, int32_t y,
                          int32_t width, int32_t height)
{
    (void)client, (void)resource, (void)x, (void)y, (void)width, (void)height;
}

static const struct wl_region_interface region_interface = {
    .destroy = destroy,
    .add = region_ignore,
    .subtract = region_ignore,
};

static void compositor_create_region(struct wl_client *client,
                                     struct wl_resource *resource, uint32_t id)
{
    struct wl_resource *region = wl_resource_create(client,
                                                    &wl_region_interface, 1,
                                                    id);

    (void)resource;
    if (!region) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(region, &region_interface, NULL, NULL);
}

static const struct wl_compositor_interface compositor_interface = {
    .create_surface = compositor_create_surface,
    .create_region = compositor_create_region,
};

static void bind_compositor(struct wl_client *client, void *data,
                            uint32_t version, uint32_t id)
{
    struct wl_resource *resource = wl_resource_create(client,
                                                      &wl_compositor_interface,
                                                      (int)version, id);

    if (!resource) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(resource, &compositor_interface, data,
                                   NULL);
}

bool surfaces_create(struct wl_display *display, struct share_device *shared,
                     bool talkative)
{
    struct wl_event_loop *loop = wl_display_get_event_loop(display);

    wl_list_init(&surfaces);
    device = shared;
    verbose = talkative;
    device_source = wl_event_loop_add_fd(loop, device->fd, WL_EVENT_READABLE,
                                         on_device, display);
    frame_timer = wl_event_loop_add_timer(loop, on_frame, NULL);
    return device_source && frame_timer &&
           wl_global_create(display, &wl_compositor_interface, 4, NULL,
                            bind_compositor);
}

void surfaces_destroy(void)
{
    if (device_source) {
        wl_event_source_remove(device_source);
    }
    if (frame_timer) {
        wl_event_source_remove(frame_timer);
    }
}
