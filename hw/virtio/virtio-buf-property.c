/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the name=value properties of a buffer
 *
 * Owns two encoded lists of the same capacity: the current one, and the one in
 * which the next is put together, so that a change that fails has changed
 * nothing. Invariant: the current list is valid by
 * virtio_buf_properties_check() and has no deletions. The caller serializes.
 * The changes are the guest's bytes and are checked here; the caller has
 * copied them.
 */
#include "qemu/osdep.h"
#include "standard-headers/linux/virtio_buf.h"
#include "virtio-buf/wire.h"
#include "hw/virtio/virtio-buf-property.h"

/* A record has a header of 8 bytes and a name, padded */
#define MAX_RECORDS (VIRTIO_BUF_MAX_PROPERTY_BYTES / 16)

struct VirtIOBufProperties {
    uint32_t max_count;
    uint32_t max_bytes;
    uint32_t size;
    uint8_t *list;      /* of max_bytes; NULL before the first record */
    uint8_t *next;      /* of max_bytes */
};

/* One change, and whether its name has been in the list already */
typedef struct Change {
    struct virtio_buf_property_view view;
    uint32_t hash;
    bool placed;
} Change;

VirtIOBufProperties *virtio_buf_properties_new(uint32_t max_count,
                                               uint32_t max_bytes)
{
    VirtIOBufProperties *p = g_new0(VirtIOBufProperties, 1);

    p->max_count = max_count;
    p->max_bytes = max_bytes;
    return p;
}

void virtio_buf_properties_free(VirtIOBufProperties *p)
{
    if (p) {
        g_free(p->list);
        g_free(p->next);
        g_free(p);
    }
}

/* FNV-1a: compares names by one word before it compares them by bytes */
static uint32_t name_hash(const struct virtio_buf_property_view *view)
{
    uint32_t hash = 2166136261u;

    for (uint32_t i = 0; i < view->name_len; i++) {
        hash = (hash ^ (uint8_t)view->name[i]) * 16777619u;
    }
    return hash;
}

static Change *find_change(Change *changes, size_t count,
                           const struct virtio_buf_property_view *view)
{
    uint32_t hash = name_hash(view);

    for (size_t i = 0; i < count; i++) {
        if (changes[i].hash == hash &&
            changes[i].view.name_len == view->name_len &&
            !memcmp(changes[i].view.name, view->name, view->name_len)) {
            return &changes[i];
        }
    }
    return NULL;
}

/* Appends to p->next; false above a limit */
static bool put(VirtIOBufProperties *p, uint32_t *count, uint32_t *size,
                const struct virtio_buf_property_view *view)
{
    size_t len = virtio_buf_property_size(view->name_len, view->value_len);

    if (*count == p->max_count || len > p->max_bytes - *size) {
        return false;
    }
    *size += virtio_buf_property_put(p->next + *size, view);
    ++*count;
    return true;
}

static int merge(VirtIOBufProperties *p, Change *changes, size_t change_count,
                 uint32_t *new_size)
{
    struct virtio_buf_property_view view;
    uint32_t count = 0;
    size_t pos = 0;

    while (virtio_buf_property_next(p->list, p->size, &pos, &view) == 1) {
        Change *change = find_change(changes, change_count, &view);

        if (change) {
            change->placed = true;
            if (change->view.deleted) {
                continue;
            }
        }
        if (!put(p, &count, new_size, change ? &change->view : &view)) {
            return -ENOSPC;
        }
    }
    for (size_t i = 0; i < change_count; i++) {
        if (!changes[i].placed && !changes[i].view.deleted &&
            !put(p, &count, new_size, &changes[i].view)) {
            return -ENOSPC;
        }
    }
    return 0;
}

int virtio_buf_properties_apply(VirtIOBufProperties *p, const uint8_t *list,
                                uint32_t size)
{
    static Change changes[MAX_RECORDS];
    struct virtio_buf_property_view view;
    size_t change_count = 0, pos = 0;
    uint32_t new_size = 0;
    uint8_t *old;
    int ret;

    if (!size) {
        return 0;
    }
    if (virtio_buf_properties_check(list, size) < 0) {
        return -EINVAL;
    }
    if (!p->list) {
        p->list = g_try_malloc(p->max_bytes);
        p->next = g_try_malloc(p->max_bytes);
        if (!p->list || !p->next) {
            g_clear_pointer(&p->list, g_free);
            g_clear_pointer(&p->next, g_free);
            return -ENOMEM;
        }
    }

    while (virtio_buf_property_next(list, size, &pos, &view) == 1) {
        changes[change_count++] = (Change) {
            .view = view,
            .hash = name_hash(&view),
        };
    }
    ret = merge(p, changes, change_count, &new_size);
    if (ret < 0) {
        return ret;
    }
    old = p->list;
    p->list = p->next;
    p->next = old;
    p->size = new_size;
    return 0;
}

const uint8_t *virtio_buf_properties_list(const VirtIOBufProperties *p,
                                          uint32_t *size)
{
    *size = p->size;
    return p->list;
}
