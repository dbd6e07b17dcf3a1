/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the options of the consumers' server
 *
 * The properties of -object virtio-buf-server, and what they allow. They cannot
 * be changed once the server listens, so that a consumer has been judged by
 * what holds.
 *
 * Lists are QAPI lists: on a command line the option is given again and again,
 * in JSON it is an array. A list that was not given allows everybody; an empty
 * one is refused, since it could be read either way.
 *
 * Main loop, BQL. What the operator gives is checked, not distrusted.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-builtin-visit.h"
#include "qapi/visitor.h"
#include "virtio-buf-server.h"

static bool virtio_buf_server_settable(VirtIOBufServer *server,
                                       const char *name, Error **errp)
{
    if (server->listener >= 0) {
        error_setg(errp, "'%s' cannot be changed any more", name);
        return false;
    }
    return true;
}

static void virtio_buf_server_set_path(Object *obj, const char *value,
                                       Error **errp)
{
    VirtIOBufServer *server = VIRTIO_BUF_SERVER(obj);

    if (virtio_buf_server_settable(server, "path", errp)) {
        g_free(server->path);
        server->path = g_strdup(value);
    }
}

static char *virtio_buf_server_get_path(Object *obj, Error **errp)
{
    return g_strdup(VIRTIO_BUF_SERVER(obj)->path);
}

static void virtio_buf_server_set_fd(Object *obj, const char *value,
                                     Error **errp)
{
    VirtIOBufServer *server = VIRTIO_BUF_SERVER(obj);

    if (virtio_buf_server_settable(server, "fd", errp)) {
        g_free(server->fd_name);
        server->fd_name = g_strdup(value);
    }
}

/* The numbers, all of them uint32_t from 1 to a maximum */
typedef struct VirtIOBufServerNumber {
    const char *name;
    size_t offset;
    uint32_t max;
    uint32_t preset;
    const char *description;
} VirtIOBufServerNumber;

static const VirtIOBufServerNumber virtio_buf_server_numbers[] = {
    { "max-consumers", offsetof(VirtIOBufServer, max_consumers), 1024, 16,
      "Consumers that may be connected at the same time" },
    { "max-attached", offsetof(VirtIOBufServer, max_attached), 65536, 64,
      "Buffers that one consumer may have attached at the same time" },
    { "hold", offsetof(VirtIOBufServer, hold), 65536, 1,
      "Updates of one LATEST stream that a consumer may hold" },
    { "handshake-timeout", offsetof(VirtIOBufServer, handshake_timeout_ms),
      24 * 60 * 60 * 1000, 10000,
      "Milliseconds until a consumer must have subscribed" },
};

static void virtio_buf_server_get_number(Object *obj, Visitor *v,
                                         const char *name, void *opaque,
                                         Error **errp)
{
    const VirtIOBufServerNumber *number = opaque;
    uint32_t *field = (void *)((char *)obj + number->offset);
    uint32_t value = *field;

    visit_type_uint32(v, name, &value, errp);
}

static void virtio_buf_server_set_number(Object *obj, Visitor *v,
                                         const char *name, void *opaque,
                                         Error **errp)
{
    const VirtIOBufServerNumber *number = opaque;
    uint32_t *field = (void *)((char *)obj + number->offset);
    uint32_t value;

    if (!virtio_buf_server_settable(VIRTIO_BUF_SERVER(obj), name, errp) ||
        !visit_type_uint32(v, name, &value, errp)) {
        return;
    }
    if (value < 1 || value > number->max) {
        error_setg(errp, "'%s' is %" PRIu32 ": it has to be 1 to %" PRIu32,
                   name, value, number->max);
        return;
    }
    *field = value;
}

static bool virtio_buf_server_valid_application(const char *name)
{
    uint8_t padded[VIRTIO_BUF_NAME_SIZE] = {};
    size_t len = strlen(name);

    if (len >= sizeof(padded)) {
        return false;
    }
    memcpy(padded, name, len);
    return virtio_buf_name_valid(padded, false);
}

static void virtio_buf_server_get_applications(Object *obj, Visitor *v,
                                               const char *name, void *opaque,
                                               Error **errp)
{
    VirtIOBufServer *server = VIRTIO_BUF_SERVER(obj);
    g_autoptr(strList) list = NULL;
    GHashTableIter iter;
    gpointer key;

    if (server->applications) {
        g_hash_table_iter_init(&iter, server->applications);
        while (g_hash_table_iter_next(&iter, &key, NULL)) {
            QAPI_LIST_PREPEND(list, g_strdup(key));
        }
    }
    visit_type_strList(v, name, &list, errp);
}

static void virtio_buf_server_set_applications(Object *obj, Visitor *v,
                                               const char *name, void *opaque,
                                               Error **errp)
{
    VirtIOBufServer *server = VIRTIO_BUF_SERVER(obj);
    g_autoptr(GHashTable) set = g_hash_table_new_full(g_str_hash, g_str_equal,
                                                      g_free, NULL);
    g_autoptr(strList) list = NULL;
    strList *l;

    if (!virtio_buf_server_settable(server, name, errp) ||
        !visit_type_strList(v, name, &list, errp)) {
        return;
    }
    if (!list) {
        error_setg(errp, "'%s' is empty: leave it out to allow all", name);
        return;
    }
    for (l = list; l; l = l->next) {
        if (!virtio_buf_server_valid_application(l->value)) {
            error_setg(errp, "'%s' in '%s' is no name of an application: it"
                       " has to be UTF-8, 1 to %d bytes", l->value, name,
                       VIRTIO_BUF_NAME_SIZE - 1);
            return;
        }
        g_hash_table_add(set, g_strdup(l->value));
    }
    g_clear_pointer(&server->applications, g_hash_table_unref);
    server->applications = g_steal_pointer(&set);
}

static void virtio_buf_server_get_uids(Object *obj, Visitor *v,
                                       const char *name, void *opaque,
                                       Error **errp)
{
    VirtIOBufServer *server = VIRTIO_BUF_SERVER(obj);
    g_autoptr(uint32List) list = NULL;
    GHashTableIter iter;
    gpointer key;

    if (server->uids) {
        g_hash_table_iter_init(&iter, server->uids);
        while (g_hash_table_iter_next(&iter, &key, NULL)) {
            QAPI_LIST_PREPEND(list, GPOINTER_TO_UINT(key));
        }
    }
    visit_type_uint32List(v, name, &list, errp);
}

static void virtio_buf_server_set_uids(Object *obj, Visitor *v,
                                       const char *name, void *opaque,
                                       Error **errp)
{
    VirtIOBufServer *server = VIRTIO_BUF_SERVER(obj);
    g_autoptr(GHashTable) set = g_hash_table_new(NULL, NULL);
    g_autoptr(uint32List) list = NULL;
    uint32List *l;

    if (!virtio_buf_server_settable(server, name, errp) ||
        !visit_type_uint32List(v, name, &list, errp)) {
        return;
    }
    if (!list) {
        error_setg(errp, "'%s' is empty: leave it out to allow all", name);
        return;
    }
    for (l = list; l; l = l->next) {
        if (l->value == (uid_t)-1) {
            error_setg(errp, "%" PRIu32 " in '%s' is the uid of nobody",
                       l->value, name);
            return;
        }
        g_hash_table_add(set, GUINT_TO_POINTER(l->value));
    }
    g_clear_pointer(&server->uids, g_hash_table_unref);
    server->uids = g_steal_pointer(&set);
}

bool virtio_buf_server_allows_uid(const VirtIOBufServer *server, uid_t uid)
{
    return !server->uids ||
           g_hash_table_contains(server->uids, GUINT_TO_POINTER(uid));
}

bool virtio_buf_server_allows_application(const VirtIOBufServer *server,
                                          const char *name)
{
    return !server->applications ||
           g_hash_table_contains(server->applications, name);
}

void virtio_buf_server_init_options(VirtIOBufServer *server)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(virtio_buf_server_numbers); i++) {
        const VirtIOBufServerNumber *number = &virtio_buf_server_numbers[i];

        *(uint32_t *)((char *)server + number->offset) = number->preset;
    }
}

void virtio_buf_server_free_options(VirtIOBufServer *server)
{
    g_free(server->path);
    g_free(server->fd_name);
    g_clear_pointer(&server->applications, g_hash_table_unref);
    g_clear_pointer(&server->uids, g_hash_table_unref);
}

void virtio_buf_server_add_options(ObjectClass *oc)
{
    size_t i;

    object_class_property_add_str(oc, "path", virtio_buf_server_get_path,
                                  virtio_buf_server_set_path);
    object_class_property_set_description(oc, "path",
        "Unix socket to listen on");
    object_class_property_add_str(oc, "fd", NULL, virtio_buf_server_set_fd);
    object_class_property_set_description(oc, "fd",
        "Listening unix socket, inherited or from getfd");
    object_class_property_add(oc, "applications", "strList",
                              virtio_buf_server_get_applications,
                              virtio_buf_server_set_applications, NULL, NULL);
    object_class_property_set_description(oc, "applications",
        "Applications whose buffers consumers may have (default: all)");
    object_class_property_add(oc, "uids", "uint32List",
                              virtio_buf_server_get_uids,
                              virtio_buf_server_set_uids, NULL, NULL);
    object_class_property_set_description(oc, "uids",
        "Users whose programs may connect (default: all)");
    for (i = 0; i < ARRAY_SIZE(virtio_buf_server_numbers); i++) {
        const VirtIOBufServerNumber *number = &virtio_buf_server_numbers[i];
        g_autofree char *description = g_strdup_printf("%s (default: %" PRIu32
                                                       ")", number->description,
                                                       number->preset);

        object_class_property_add(oc, number->name, "uint32",
                                  virtio_buf_server_get_number,
                                  virtio_buf_server_set_number, NULL,
                                  (void *)number);
        object_class_property_set_description(oc, number->name, description);
    }
}
