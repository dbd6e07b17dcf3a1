/* SPDX-License-Identifier: MIT */
/*
 * libvirtio-buf: a set of properties, of a buffer or of this program.
 *
 * Sorted by name, so that finding one is a binary search and listing them gives
 * the same order each time. A value that fits where the old one was is put
 * there: a property that changes with each update costs no allocation. The
 * encoded size is bounded, whatever the server sends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

struct vbuf_property {
    size_t name_len;
    size_t value_len;
    size_t value_room;  /* without the NUL */
    char text[];        /* name, NUL, value, NUL */
};

static char *value_of(struct vbuf_property *property)
{
    return property->text + property->name_len + 1;
}

static size_t encoded_size(const struct vbuf_property *property)
{
    return virtio_buf_property_size(property->name_len, property->value_len);
}

void vbuf_properties_clear(struct vbuf_properties *properties)
{
    size_t i;

    for (i = 0; i < properties->count; i++) {
        free(properties->sorted[i]);
    }
    free(properties->sorted);
    *properties = (struct vbuf_properties) { 0 };
}

/* Where the name is (true), or where it belongs */
static bool find(const struct vbuf_properties *properties, const char *name,
                 size_t name_len, size_t *index)
{
    size_t low = 0, high = properties->count, middle, common;
    const struct vbuf_property *other;
    int order;

    while (low < high) {
        middle = low + (high - low) / 2;
        other = properties->sorted[middle];
        common = name_len < other->name_len ? name_len : other->name_len;
        order = memcmp(name, other->text, common);
        if (!order) {
            order = (name_len > other->name_len) - (name_len < other->name_len);
        }
        if (!order) {
            *index = middle;
            return true;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    *index = low;
    return false;
}

const char *vbuf_properties_get(const struct vbuf_properties *properties,
                                const char *name, size_t name_len)
{
    size_t index;

    return find(properties, name, name_len, &index) ?
           value_of(properties->sorted[index]) : NULL;
}

void vbuf_properties_at(const struct vbuf_properties *properties, size_t index,
                        const char **name, const char **value)
{
    *name = properties->sorted[index]->text;
    *value = value_of(properties->sorted[index]);
}

static void set_value(struct vbuf_property *property, const char *value,
                      size_t len)
{
    if (len) {
        memcpy(value_of(property), value, len);
    }
    value_of(property)[len] = '\0';
    property->value_len = len;
}

static struct vbuf_property *
property_new(const struct virtio_buf_property_view *view)
{
    struct vbuf_property *property;

    property = malloc(sizeof(*property) + view->name_len + 1 +
                      view->value_len + 1);
    if (!property) {
        return NULL;
    }
    property->name_len = view->name_len;
    property->value_room = view->value_len;
    memcpy(property->text, view->name, view->name_len);
    property->text[view->name_len] = '\0';
    set_value(property, view->value, view->value_len);
    return property;
}

static void delete_at(struct vbuf_properties *properties, size_t index)
{
    properties->encoded -= encoded_size(properties->sorted[index]);
    free(properties->sorted[index]);
    properties->count--;
    memmove(properties->sorted + index, properties->sorted + index + 1,
            (properties->count - index) * sizeof(properties->sorted[0]));
}

static int make_room(struct vbuf_properties *properties)
{
    struct vbuf_property **larger;
    size_t room;

    if (properties->count < properties->room) {
        return 0;
    }
    room = properties->room ? properties->room * 2 : 16;
    larger = realloc(properties->sorted, room * sizeof(larger[0]));
    if (!larger) {
        return -ENOMEM;
    }
    properties->sorted = larger;
    properties->room = room;
    return 0;
}

int vbuf_properties_apply(struct vbuf_properties *properties,
                          const struct virtio_buf_property_view *view)
{
    struct vbuf_property *property = NULL;
    size_t index, old_size = 0, new_size;
    bool there;
    int ret;

    there = find(properties, view->name, view->name_len, &index);
    if (view->deleted) {
        if (there) {
            delete_at(properties, index);
        }
        return 0;
    }
    new_size = virtio_buf_property_size(view->name_len, view->value_len);
    if (there) {
        property = properties->sorted[index];
        old_size = encoded_size(property);
    }
    if (properties->encoded - old_size + new_size >
        VIRTIO_BUF_MAX_PROPERTY_BYTES) {
        return -ENOSPC;
    }
    if (there && view->value_len <= property->value_room) {
        set_value(property, view->value, view->value_len);
    } else {
        property = property_new(view);
        if (!property) {
            return -ENOMEM;
        }
        if (there) {
            free(properties->sorted[index]);
        } else {
            ret = make_room(properties);
            if (ret < 0) {
                free(property);
                return ret;
            }
            memmove(properties->sorted + index + 1, properties->sorted + index,
                    (properties->count - index) *
                    sizeof(properties->sorted[0]));
            properties->count++;
        }
        properties->sorted[index] = property;
    }
    properties->encoded += new_size - old_size;
    return 0;
}

int vbuf_properties_apply_list(struct vbuf_properties *properties,
                               const uint8_t *list, size_t size)
{
    struct virtio_buf_property_view view;
    size_t pos = 0;
    int ret;

    while ((ret = virtio_buf_property_next(list, size, &pos, &view)) > 0) {
        ret = vbuf_properties_apply(properties, &view);
        if (ret < 0) {
            return ret;
        }
    }
    return ret;
}
