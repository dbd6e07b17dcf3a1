/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf-wayland: wl_shm, the memory of clients.
 *
 * libwayland has a wl_shm of its own, which maps the memory and does not give
 * the file away. Here the file is all that is wanted. A pool lives as long as
 * the client's object or one of its buffers; it can only grow.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <drm_fourcc.h>

#include "wayland.h"

static void pool_unref(struct pool *pool)
{
    if (--pool->references == 0) {
        surfaces_forget_pool(pool);
        close(pool->fd);
        free(pool);
    }
}

/* What the client promises has to be there: a page that is not is no memory */
static bool file_has(int fd, int32_t size)
{
    struct stat status;

    return size > 0 && fstat(fd, &status) == 0 && status.st_size >= size;
}

static void destroy(struct wl_client *client, struct wl_resource *resource)
{
    (void)client;
    wl_resource_destroy(resource);
}

static const struct wl_buffer_interface buffer_interface = {
    .destroy = destroy,
};

static void buffer_destroyed(struct wl_resource *resource)
{
    struct buffer *buffer = wl_resource_get_user_data(resource);

    surfaces_forget_buffer(buffer);
    pool_unref(buffer->pool);
    free(buffer);
}

/* Alpha is multiplied in already: both show what is seen over black */
static bool has_fourcc(uint32_t format, uint32_t *fourcc)
{
    *fourcc = DRM_FORMAT_XRGB8888;
    return format == WL_SHM_FORMAT_XRGB8888 ||
           format == WL_SHM_FORMAT_ARGB8888;
}

static void pool_create_buffer(struct wl_client *client,
                               struct wl_resource *resource, uint32_t id,
                               int32_t offset, int32_t width, int32_t height,
                               int32_t stride, uint32_t format)
{
    struct pool *pool = wl_resource_get_user_data(resource);
    struct buffer *buffer;
    uint32_t fourcc;

    if (!has_fourcc(format, &fourcc)) {
        wl_resource_post_error(resource, WL_SHM_ERROR_INVALID_FORMAT,
                               "format 0x%x", format);
        return;
    }
    if (offset < 0 || width <= 0 || height <= 0 ||
        stride / 4 < width ||
        (uint64_t)offset + (uint64_t)stride * (uint64_t)height > pool->size) {
        wl_resource_post_error(resource, WL_SHM_ERROR_INVALID_STRIDE,
                               "%dx%d, %d bytes a row, at %d of %llu bytes",
                               width, height, stride, offset,
                               (unsigned long long)pool->size);
        return;
    }
    buffer = calloc(1, sizeof(*buffer));
    if (buffer) {
        buffer->resource = wl_resource_create(client, &wl_buffer_interface, 1,
                                              id);
    }
    if (!buffer || !buffer->resource) {
        free(buffer);
        wl_client_post_no_memory(client);
        return;
    }
    wl_list_init(&buffer->link);
    buffer->pool = pool;
    buffer->offset = (uint64_t)offset;
    buffer->layout = (struct share_layout) {
        .fourcc = fourcc,
        .width = (uint32_t)width,
        .height = (uint32_t)height,
        .stride = (uint32_t)stride,
    };
    pool->references++;
    wl_resource_set_implementation(buffer->resource, &buffer_interface, buffer,
                                   buffer_destroyed);
}

static void pool_resize(struct wl_client *client, struct wl_resource *resource,
                        int32_t size)
{
    struct pool *pool = wl_resource_get_user_data(resource);

    (void)client;
    if (size <= 0 || (uint64_t)size < pool->size ||
        !file_has(pool->fd, size)) {
        wl_resource_post_error(resource, WL_SHM_ERROR_INVALID_FD,
                               "a pool of %llu bytes cannot have %d",
                               (unsigned long long)pool->size, size);
        return;
    }
    pool->size = (uint64_t)size;
}

static const struct wl_shm_pool_interface pool_interface = {
    .create_buffer = pool_create_buffer,
    .destroy = destroy,
    .resize = pool_resize,
};

static void pool_destroyed(struct wl_resource *resource)
{
    pool_unref(wl_resource_get_user_data(resource));
}

static void shm_create_pool(struct wl_client *client,
                            struct wl_resource *resource, uint32_t id,
                            int32_t fd, int32_t size)
{
    struct wl_resource *object;
    struct pool *pool;

    if (!file_has(fd, size)) {
        wl_resource_post_error(resource, WL_SHM_ERROR_INVALID_FD,
                               "the file does not have %d bytes", size);
        close(fd);
        return;
    }
    pool = calloc(1, sizeof(*pool));
    object = pool ? wl_resource_create(client, &wl_shm_pool_interface,
                                       wl_resource_get_version(resource),
                                       id) : NULL;
    if (!object) {
        free(pool);
        close(fd);
        wl_client_post_no_memory(client);
        return;
    }
    pool->fd = fd;
    pool->size = (uint64_t)size;
    pool->references = 1;
    wl_resource_set_implementation(object, &pool_interface, pool,
                                   pool_destroyed);
}

static const struct wl_shm_interface shm_interface = {
    .create_pool = shm_create_pool,
};

static void bind_shm(struct wl_client *client, void *data, uint32_t version,
                     uint32_t id)
{
    struct wl_resource *resource = wl_resource_create(client,
                                                      &wl_shm_interface,
                                                      (int)version, id);

    if (!resource) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(resource, &shm_interface, data, NULL);
    wl_shm_send_format(resource, WL_SHM_FORMAT_ARGB8888);
    wl_shm_send_format(resource, WL_SHM_FORMAT_XRGB8888);
}

bool shm_create(struct wl_display *display)
{
    return wl_global_create(display, &wl_shm_interface, 1, NULL, bind_shm);
}
