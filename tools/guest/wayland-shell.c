/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf-wayland: what a client wants to see before it draws. Windows of
 * xdg_wm_base that nobody moves or resizes, a seat without devices, an output.
 */
#include <stdlib.h>

#include "wayland.h"
#include "xdg-shell-server-protocol.h"

#define OUTPUT_WIDTH    1920
#define OUTPUT_HEIGHT   1080
#define OUTPUT_MHZ      60000

/* An xdg_surface */
struct window {
    struct wl_list link;
    struct wl_resource *resource;
    struct wl_resource *surface;    /* NULL: it is gone */
    struct wl_listener surface_destroyed;
    struct wl_resource *toplevel;   /* NULL: not yet, or gone */
    bool configured;
};

static struct wl_list windows;

static void destroy(struct wl_client *client, struct wl_resource *resource)
{
    (void)client;
    wl_resource_destroy(resource);
}

/* Requests that change nothing here, by their arguments */
static void ignore(struct wl_client *client, struct wl_resource *resource)
{
    (void)client, (void)resource;
}

static void ignore_u(struct wl_client *client, struct wl_resource *resource,
                     uint32_t a)
{
    (void)client, (void)resource, (void)a;
}

static void ignore_o(struct wl_client *client, struct wl_resource *resource,
                     struct wl_resource *a)
{
    (void)client, (void)resource, (void)a;
}

static void ignore_s(struct wl_client *client, struct wl_resource *resource,
                     const char *a)
{
    (void)client, (void)resource, (void)a;
}

static void ignore_ii(struct wl_client *client, struct wl_resource *resource,
                      int32_t a, int32_t b)
{
    (void)client, (void)resource, (void)a, (void)b;
}

static void ignore_ou(struct wl_client *client, struct wl_resource *resource,
                      struct wl_resource *a, uint32_t b)
{
    (void)client, (void)resource, (void)a, (void)b;
}

static void ignore_ouu(struct wl_client *client, struct wl_resource *resource,
                       struct wl_resource *a, uint32_t b, uint32_t c)
{
    (void)client, (void)resource, (void)a, (void)b, (void)c;
}

static void ignore_ouii(struct wl_client *client, struct wl_resource *resource,
                        struct wl_resource *a, uint32_t b, int32_t c,
                        int32_t d)
{
    (void)client, (void)resource, (void)a, (void)b, (void)c, (void)d;
}

static void ignore_iiii(struct wl_client *client, struct wl_resource *resource,
                        int32_t a, int32_t b, int32_t c, int32_t d)
{
    (void)client, (void)resource, (void)a, (void)b, (void)c, (void)d;
}

/* An object that does nothing but end */
static struct wl_resource *create_inert(struct wl_client *client,
                                        struct wl_resource *parent,
                                        const struct wl_interface *interface,
                                        const void *implementation,
                                        uint32_t id)
{
    struct wl_resource *resource = wl_resource_create(
        client, interface, wl_resource_get_version(parent), id);

    if (!resource) {
        wl_client_post_no_memory(client);
        return NULL;
    }
    wl_resource_set_implementation(resource, implementation, NULL, NULL);
    return resource;
}

/* xdg_toplevel */

static void toplevel_set_title(struct wl_client *client,
                               struct wl_resource *resource, const char *title)
{
    struct window *window = wl_resource_get_user_data(resource);

    (void)client;
    if (window && window->surface) {
        surface_set_title(window->surface, title);
    }
}

static const struct xdg_toplevel_interface toplevel_interface = {
    .destroy = destroy,
    .set_parent = ignore_o,
    .set_title = toplevel_set_title,
    .set_app_id = ignore_s,
    .show_window_menu = ignore_ouii,
    .move = ignore_ou,
    .resize = ignore_ouu,
    .set_max_size = ignore_ii,
    .set_min_size = ignore_ii,
    .set_maximized = ignore,
    .unset_maximized = ignore,
    .set_fullscreen = ignore_o,
    .unset_fullscreen = ignore,
    .set_minimized = ignore,
};

static void toplevel_destroyed(struct wl_resource *resource)
{
    struct window *window = wl_resource_get_user_data(resource);

    if (window) {
        window->toplevel = NULL;
    }
}

static const struct xdg_popup_interface popup_interface = {
    .destroy = destroy,
    .grab = ignore_ou,
};

/* xdg_surface */

static void window_get_toplevel(struct wl_client *client,
                                struct wl_resource *resource, uint32_t id)
{
    struct window *window = wl_resource_get_user_data(resource);

    if (window->toplevel) {
        wl_resource_post_error(resource, XDG_SURFACE_ERROR_ALREADY_CONSTRUCTED,
                               "there is a toplevel already");
        return;
    }
    window->toplevel = create_inert(client, resource, &xdg_toplevel_interface,
                                    NULL, id);
    if (window->toplevel) {
        wl_resource_set_implementation(window->toplevel, &toplevel_interface,
                                       window, toplevel_destroyed);
    }
}

/* There is nobody to click on a menu: it closes at once */
static void window_get_popup(struct wl_client *client,
                             struct wl_resource *resource, uint32_t id,
                             struct wl_resource *parent,
                             struct wl_resource *positioner)
{
    struct wl_resource *popup = create_inert(client, resource,
                                             &xdg_popup_interface,
                                             &popup_interface, id);

    (void)parent, (void)positioner;
    if (popup) {
        xdg_popup_send_popup_done(popup);
    }
}

static const struct xdg_surface_interface window_interface = {
    .destroy = destroy,
    .get_toplevel = window_get_toplevel,
    .get_popup = window_get_popup,
    .set_window_geometry = ignore_iiii,
    .ack_configure = ignore_u,
};

static void window_destroyed(struct wl_resource *resource)
{
    struct window *window = wl_resource_get_user_data(resource);

    if (window->toplevel) {
        wl_resource_set_user_data(window->toplevel, NULL);
    }
    wl_list_remove(&window->surface_destroyed.link);
    wl_list_remove(&window->link);
    free(window);
}

static void window_lost_surface(struct wl_listener *listener, void *data)
{
    struct window *window = wl_container_of(listener, window,
                                            surface_destroyed);

    (void)data;
    wl_list_remove(&listener->link);
    wl_list_init(&listener->link);
    window->surface = NULL;
}

void shell_commit(struct wl_resource *surface)
{
    struct window *window;

    wl_list_for_each(window, &windows, link) {
        if (window->surface == surface && window->toplevel &&
            !window->configured) {
            struct wl_array states;

            wl_array_init(&states);
            xdg_toplevel_send_configure(window->toplevel, 0, 0, &states);
            wl_array_release(&states);
            xdg_surface_send_configure(window->resource, 1);
            window->configured = true;
        }
    }
}

/* xdg_wm_base */

static const struct xdg_positioner_interface positioner_interface = {
    .destroy = destroy,
    .set_size = ignore_ii,
    .set_anchor_rect = ignore_iiii,
    .set_anchor = ignore_u,
    .set_gravity = ignore_u,
    .set_constraint_adjustment = ignore_u,
    .set_offset = ignore_ii,
};

static void base_create_positioner(struct wl_client *client,
                                   struct wl_resource *resource, uint32_t id)
{
    create_inert(client, resource, &xdg_positioner_interface,
                 &positioner_interface, id);
}

static void base_get_surface(struct wl_client *client,
                             struct wl_resource *resource, uint32_t id,
                             struct wl_resource *surface)
{
    struct window *window = calloc(1, sizeof(*window));

    if (window) {
        window->resource = create_inert(client, resource,
                                        &xdg_surface_interface, NULL, id);
    }
    if (!window || !window->resource) {
        free(window);
        wl_client_post_no_memory(client);
        return;
    }
    window->surface = surface;
    window->surface_destroyed.notify = window_lost_surface;
    wl_resource_add_destroy_listener(surface, &window->surface_destroyed);
    wl_list_insert(&windows, &window->link);
    wl_resource_set_implementation(window->resource, &window_interface, window,
                                   window_destroyed);
}

static const struct xdg_wm_base_interface base_interface = {
    .destroy = destroy,
    .create_positioner = base_create_positioner,
    .get_xdg_surface = base_get_surface,
    .pong = ignore_u,
};

static void bind_base(struct wl_client *client, void *data, uint32_t version,
                      uint32_t id)
{
    struct wl_resource *resource = wl_resource_create(
        client, &xdg_wm_base_interface, (int)version, id);

    if (!resource) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(resource, &base_interface, data, NULL);
}

/* wl_seat: without a capability a client asks for no device */

static void seat_get_device(struct wl_client *client,
                            struct wl_resource *resource, uint32_t id)
{
    (void)client;
    wl_resource_post_error(resource, WL_DISPLAY_ERROR_INVALID_METHOD,
                           "object %u: the seat has no device", id);
}

static const struct wl_seat_interface seat_interface = {
    .get_pointer = seat_get_device,
    .get_keyboard = seat_get_device,
    .get_touch = seat_get_device,
};

static void bind_seat(struct wl_client *client, void *data, uint32_t version,
                      uint32_t id)
{
    struct wl_resource *resource = wl_resource_create(
        client, &wl_seat_interface, (int)version, id);

    if (!resource) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(resource, &seat_interface, data, NULL);
    wl_seat_send_capabilities(resource, 0);
}

static void bind_output(struct wl_client *client, void *data, uint32_t version,
                        uint32_t id)
{
    struct wl_resource *resource = wl_resource_create(
        client, &wl_output_interface, (int)version, id);

    if (!resource) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(resource, NULL, data, NULL);
    wl_output_send_geometry(resource, 0, 0, 0, 0, WL_OUTPUT_SUBPIXEL_UNKNOWN,
                            "virtio-buf", "host", WL_OUTPUT_TRANSFORM_NORMAL);
    wl_output_send_mode(resource, WL_OUTPUT_MODE_CURRENT, OUTPUT_WIDTH,
                        OUTPUT_HEIGHT, OUTPUT_MHZ);
    if (version >= WL_OUTPUT_DONE_SINCE_VERSION) {
        wl_output_send_scale(resource, 1);
        wl_output_send_done(resource);
    }
}

bool shell_create(struct wl_display *display)
{
    wl_list_init(&windows);
    return wl_global_create(display, &xdg_wm_base_interface, 1, NULL,
                            bind_base) &&
           wl_global_create(display, &wl_seat_interface, 1, NULL, bind_seat) &&
           wl_global_create(display, &wl_output_interface, 2, NULL,
                            bind_output);
}
