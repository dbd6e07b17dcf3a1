/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what the management sees of the devices
 *
 * Answers query-virtio-buf from the state of the devices, and tells of pages
 * that cannot be taken back. Owns nothing and changes nothing, but that asking
 * for orphans looks whether they still are. What a consumer is, it describes
 * itself.
 *
 * Invariant: the answer is a snapshot, made in one BQL section, of a bounded
 * number of buffers. The names in it come from the guest and from consumers.
 * They have been checked to be UTF-8, and may have any other contents.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-virtio-buf.h"
#include "qapi/qapi-events-virtio-buf.h"
#include "hw/qdev-core.h"
#include "hw/virtio/virtio-buf.h"
#include "virtio-buf-attachment.h"
#include "virtio-buf-server.h"

/* Of one device, in one answer: the main loop writes 400 bytes for each */
#define MAX_BUFFERS_TOLD 256

/* From the wire's numbers to the schema's names */

static const VirtioBufBufferMode modes[] = {
    [VIRTIO_BUF_MODE_IN_PLACE] = VIRTIO_BUF_BUFFER_MODE_IN_PLACE,
    [VIRTIO_BUF_MODE_LATEST] = VIRTIO_BUF_BUFFER_MODE_LATEST,
    [VIRTIO_BUF_MODE_EVERY] = VIRTIO_BUF_BUFFER_MODE_EVERY,
};

static const VirtioBufBufferAccess accesses[] = {
    [VIRTIO_BUF_ACCESS_READ] = VIRTIO_BUF_BUFFER_ACCESS_READ,
    [VIRTIO_BUF_ACCESS_WRITER] = VIRTIO_BUF_BUFFER_ACCESS_WRITER,
};

static const VirtioBufBufferBacking backings[] = {
    [VIRTIO_BUF_BACKING_COPY] = VIRTIO_BUF_BUFFER_BACKING_COPY,
    [VIRTIO_BUF_BACKING_DMABUF] = VIRTIO_BUF_BUFFER_BACKING_DMABUF,
};

static const VirtioBufBackingReason reasons[] = {
    [VIRTIO_BUF_REASON_NONE] = VIRTIO_BUF_BACKING_REASON_NONE,
    [VIRTIO_BUF_REASON_DISABLED] = VIRTIO_BUF_BACKING_REASON_DISABLED,
    [VIRTIO_BUF_REASON_NO_UDMABUF] = VIRTIO_BUF_BACKING_REASON_NO_UDMABUF,
    [VIRTIO_BUF_REASON_NOT_SHARED] = VIRTIO_BUF_BACKING_REASON_NOT_SHARED,
    [VIRTIO_BUF_REASON_HUGE_PAGES] = VIRTIO_BUF_BACKING_REASON_HUGE_PAGES,
    [VIRTIO_BUF_REASON_DISCARD] = VIRTIO_BUF_BACKING_REASON_DISCARD,
    [VIRTIO_BUF_REASON_OVERLAP] = VIRTIO_BUF_BACKING_REASON_OVERLAP,
    [VIRTIO_BUF_REASON_RANGES] = VIRTIO_BUF_BACKING_REASON_RANGES,
    [VIRTIO_BUF_REASON_SIZE] = VIRTIO_BUF_BACKING_REASON_SIZE,
    [VIRTIO_BUF_REASON_IOMMU] = VIRTIO_BUF_BACKING_REASON_IOMMU,
    [VIRTIO_BUF_REASON_ACCELERATOR] = VIRTIO_BUF_BACKING_REASON_ACCELERATOR,
    [VIRTIO_BUF_REASON_ORPHANED] = VIRTIO_BUF_BACKING_REASON_ORPHANED,
    [VIRTIO_BUF_REASON_READONLY] = VIRTIO_BUF_BACKING_REASON_READONLY,
    [VIRTIO_BUF_REASON_WEAK] = VIRTIO_BUF_BACKING_REASON_WEAK,
    [VIRTIO_BUF_REASON_FAILED] = VIRTIO_BUF_BACKING_REASON_FAILED,
};

QEMU_BUILD_BUG_ON(ARRAY_SIZE(modes) != VIRTIO_BUF_BUFFER_MODE__MAX);
QEMU_BUILD_BUG_ON(ARRAY_SIZE(accesses) != VIRTIO_BUF_BUFFER_ACCESS__MAX);
QEMU_BUILD_BUG_ON(ARRAY_SIZE(backings) != VIRTIO_BUF_BUFFER_BACKING__MAX);
QEMU_BUILD_BUG_ON(ARRAY_SIZE(reasons) != VIRTIO_BUF_BACKING_REASON__MAX);

/* The device that the user has made: that of the transport, if there is one */
static DeviceState *user_device(VirtIOBuf *s)
{
    BusState *bus = qdev_get_parent_bus(DEVICE(s));

    return DEVICE(s)->id || !bus || !bus->parent ? DEVICE(s) : bus->parent;
}

static VirtioBufBufferInfo *buffer_info(const VirtIOBufBuffer *buffer)
{
    VirtioBufBufferInfo *info = g_new0(VirtioBufBufferInfo, 1);
    struct virtio_buf_property_view view;
    const uint8_t *records = NULL;
    size_t pos = 0;

    info->id = buffer->id;
    info->handle = buffer->handle;
    info->uuid = qemu_uuid_unparse_strdup(&buffer->uuid);
    info->application = g_strdup(buffer->application);
    info->context = buffer->context;
    info->stream = buffer->stream_id;
    info->mode = modes[buffer->mode];
    info->access = accesses[buffer->access];
    info->size = buffer->size;
    info->state = !buffer->memory ? VIRTIO_BUF_BUFFER_STATE_FREED :
                  buffer->unregistered ? VIRTIO_BUF_BUFFER_STATE_PENDING :
                  VIRTIO_BUF_BUFFER_STATE_REGISTERED;
    if (buffer->memory) {
        info->has_ranges = true;
        info->ranges = virtio_buf_memory_range_count(buffer->memory);
        info->backing = backings[virtio_buf_memory_backing(buffer->memory)];
        info->reason = reasons[virtio_buf_memory_reason(buffer->memory)];
        info->exported = virtio_buf_memory_exported(buffer->memory);
    } else {
        info->backing = backings[buffer->told_backing];
        info->reason = reasons[buffer->told_reason];
    }
    info->attachments = buffer->attachment_count;
    info->has_writer = buffer->writer;
    if (buffer->writer) {
        info->writer = buffer->writer->consumer->id;
    }
    info->unreleased = buffer->owners;
    info->serial = buffer->serial;
    info->released = buffer->released;
    if (buffer->properties) {
        records = virtio_buf_properties_list(buffer->properties,
                                             &info->property_bytes);
    }
    while (virtio_buf_property_next(records, info->property_bytes, &pos,
                                    &view) == 1) {
        info->property_count++;
    }
    return info;
}

static int compare_ids(const void *a, const void *b)
{
    const VirtIOBufBuffer *one = *(VirtIOBufBuffer * const *)a;
    const VirtIOBufBuffer *other = *(VirtIOBufBuffer * const *)b;

    return one->id < other->id ? -1 : one->id > other->id;
}

/* In all states, by rising id: at least the first above @after, and one more */
static GPtrArray *buffers_after(VirtIOBuf *s, uint64_t after)
{
    GPtrArray *found = g_ptr_array_new();
    VirtIOBufBuffer *buffer;

    /* These are in order already */
    QTAILQ_FOREACH(buffer, &s->buffers, next) {
        if (buffer->id > after) {
            g_ptr_array_add(found, buffer);
        }
        if (found->len > MAX_BUFFERS_TOLD) {
            break;
        }
    }
    QTAILQ_FOREACH(buffer, &s->pending, next) {
        if (buffer->id > after) {
            g_ptr_array_add(found, buffer);
        }
    }
    QTAILQ_FOREACH(buffer, &s->with_news, next_news) {
        if (!buffer->memory && buffer->id > after) {
            g_ptr_array_add(found, buffer);
        }
    }
    g_ptr_array_sort(found, compare_ids);
    return found;
}

static void add_buffers(VirtioBufInfo *info, VirtIOBuf *s, uint64_t after)
{
    VirtioBufBufferInfoList **tail = &info->buffers;
    g_autoptr(GPtrArray) found = buffers_after(s, after);

    info->has_buffers = true;
    info->has_more_buffers = true;
    info->more_buffers = found->len > MAX_BUFFERS_TOLD;
    for (unsigned i = 0; i < MIN(found->len, MAX_BUFFERS_TOLD); i++) {
        QAPI_LIST_APPEND(tail, buffer_info(g_ptr_array_index(found, i)));
    }
}

static strList *consumer_applications(const VirtIOBufConsumer *consumer)
{
    strList *names = NULL;
    GHashTableIter iter;
    void *name;

    g_hash_table_iter_init(&iter, consumer->applications);
    while (g_hash_table_iter_next(&iter, &name, NULL)) {
        QAPI_LIST_PREPEND(names, g_strdup(name));
    }
    return names;
}

static VirtioBufPropertyList *
consumer_properties(const VirtIOBufConsumer *consumer)
{
    VirtioBufPropertyList *properties = NULL, **tail = &properties;
    struct virtio_buf_property_view view;
    size_t pos = 0;

    while (virtio_buf_property_next(consumer->properties,
                                    consumer->property_bytes, &pos,
                                    &view) == 1) {
        VirtioBufProperty *property = g_new0(VirtioBufProperty, 1);

        property->name = g_strndup(view.name, view.name_len);
        property->value = g_strndup(view.value, view.value_len);
        QAPI_LIST_APPEND(tail, property);
    }
    return properties;
}

static uint32_t consumer_held(const VirtIOBufConsumer *consumer)
{
    uint32_t held = 0;
    GHashTableIter iter;
    void *att;

    g_hash_table_iter_init(&iter, consumer->attachments);
    while (g_hash_table_iter_next(&iter, NULL, &att)) {
        held += ((VirtIOBufAttachment *)att)->taken;
    }
    return held;
}

static VirtioBufConsumerInfo *consumer_info(VirtIOBufConsumer *consumer)
{
    VirtioBufConsumerInfo *info = g_new0(VirtioBufConsumerInfo, 1);

    info->id = consumer->id;
    info->writer = consumer->flags & VIRTIO_BUF_CONSUMER_WRITER;
    info->has_applications = !consumer->all;
    if (!consumer->all) {
        info->applications = consumer_applications(consumer);
    }
    info->properties = consumer_properties(consumer);
    info->hold = MAX(consumer->hold, 1);
    info->attached = g_hash_table_size(consumer->attachments);
    info->held = consumer_held(consumer);
    info->counters = g_new0(VirtioBufConsumerCounters, 1);
    info->counters->updates = consumer->counters.updates;
    info->counters->released = consumer->counters.released;
    info->counters->overtaken = consumer->counters.overtaken;
    info->counters->lost = consumer->counters.lost;
    info->counters->written = consumer->counters.written;
    consumer->ops->describe(consumer, info);
    return info;
}

static VirtioBufConsumerInfoList *consumer_infos(VirtIOBuf *s)
{
    VirtioBufConsumerInfoList *infos = NULL, **tail = &infos;
    VirtIOBufConsumer *consumer;

    QTAILQ_FOREACH(consumer, &s->consumers, next) {
        QAPI_LIST_APPEND(tail, consumer_info(consumer));
    }
    return infos;
}

static VirtioBufDeviceLimits *limits_info(const VirtIOBuf *s)
{
    VirtioBufDeviceLimits *info = g_new0(VirtioBufDeviceLimits, 1);

    info->buffers = s->limits.buffers;
    info->ranges = s->limits.ranges;
    info->buffer_size = s->limits.buffer_size;
    info->dmabuf_ranges = s->dmabuf_ranges;
    info->dmabuf_size = s->dmabuf_size;
    info->total_size = s->limits.total_size;
    info->properties = s->limits.properties;
    info->property_bytes = s->limits.property_bytes;
    info->orphaned = s->memory_config.max_orphaned;
    info->release_timeout = s->limits.release_timeout_ms;
    info->hold_timeout = s->limits.hold_timeout_ms;
    return info;
}

static VirtioBufCommandCounters *command_counters(const VirtIOBuf *s)
{
    VirtioBufCommandCounters *info = g_new0(VirtioBufCommandCounters, 1);
    const uint64_t *commands = s->counters.commands;

    info->q_register = commands[VIRTIO_BUF_CMD_REGISTER];
    info->unregister = commands[VIRTIO_BUF_CMD_UNREGISTER];
    info->set_properties = commands[VIRTIO_BUF_CMD_SET_PROPERTIES];
    info->update = commands[VIRTIO_BUF_CMD_UPDATE];
    info->reset = commands[VIRTIO_BUF_CMD_RESET];
    info->get_events = commands[VIRTIO_BUF_CMD_GET_EVENTS];
    info->get_consumers = commands[VIRTIO_BUF_CMD_GET_CONSUMERS];
    info->unknown = commands[0];
    return info;
}

static VirtioBufErrorCounters *error_counters(const VirtIOBuf *s)
{
    VirtioBufErrorCounters *info = g_new0(VirtioBufErrorCounters, 1);
    const uint64_t *statuses = s->counters.statuses;

    info->unsupported = statuses[VIRTIO_BUF_S_UNSUPPORTED];
    info->invalid = statuses[VIRTIO_BUF_S_INVALID];
    info->no_buffer = statuses[VIRTIO_BUF_S_NO_BUFFER];
    info->id_order = statuses[VIRTIO_BUF_S_ID_ORDER];
    info->limit = statuses[VIRTIO_BUF_S_LIMIT];
    info->no_memory = statuses[VIRTIO_BUF_S_NO_MEMORY];
    info->busy = statuses[VIRTIO_BUF_S_BUSY];
    info->not_ram = statuses[VIRTIO_BUF_S_NOT_RAM];
    info->not_shareable = statuses[VIRTIO_BUF_S_NOT_SHAREABLE];
    info->overlap = statuses[VIRTIO_BUF_S_OVERLAP];
    return info;
}

static VirtioBufDeviceCounters *device_counters(const VirtIOBuf *s)
{
    VirtioBufDeviceCounters *info = g_new0(VirtioBufDeviceCounters, 1);
    const VirtIOBufMemoryCounters *memory =
        virtio_buf_memory_pool_counters(s->pool);

    info->commands = command_counters(s);
    info->errors = error_counters(s);
    info->attached = s->counters.attached;
    info->freed = s->counters.freed;
    info->copies = memory->copies;
    info->copied_bytes = memory->copied_bytes;
    info->revocations = memory->revocations;
    info->revoked_bytes = memory->revoked_bytes;
    info->revocation_time = memory->revocation_ns;
    info->revocation_time_max = memory->revocation_max_ns;
    return info;
}

static VirtioBufInfo *device_info(VirtIOBuf *s)
{
    VirtioBufInfo *info = g_new0(VirtioBufInfo, 1);

    info->qom_path = g_strdup(DEVICE(s)->canonical_path);
    info->id = g_strdup(user_device(s)->id);
    info->instance = g_strdup(virtio_buf_instance(s));
    if (s->server) {
        info->server = g_strdup(virtio_buf_server_id(s->server));
    }
    info->limits = limits_info(s);
    info->buffer_count = s->buffer_count;
    info->total_size = s->total_size;
    info->last_serial = s->last_serial;
    info->news = s->news;
    info->unread_news = !QTAILQ_EMPTY(&s->with_news);
    info->orphaned_bytes = virtio_buf_memory_pool_orphaned(
        s->pool, &info->orphaned_count);
    info->kept_bytes = virtio_buf_memory_pool_kept(s->pool, &info->kept_count);
    info->quarantined_bytes = virtio_buf_memory_pool_quarantined(
        s->pool, &info->quarantined_count);
    info->consumers = consumer_infos(s);
    info->counters = device_counters(s);
    return info;
}

/* What is asked for, and the answer */
typedef struct Query {
    Object *device;             /* NULL: all */
    bool buffers;
    uint64_t after;             /* id of a buffer */
    VirtioBufInfoList *infos;
} Query;

static int query_object(Object *obj, void *opaque)
{
    VirtIOBuf *s = (VirtIOBuf *)object_dynamic_cast(obj, TYPE_VIRTIO_BUF);
    Query *query = opaque;
    VirtioBufInfo *info;

    if (s && DEVICE(s)->realized &&
        (!query->device || query->device == obj ||
         query->device == OBJECT(user_device(s)))) {
        info = device_info(s);
        if (query->buffers) {
            add_buffers(info, s, query->after);
        }
        QAPI_LIST_PREPEND(query->infos, info);
    }
    return 0;
}

VirtioBufInfoList *qmp_query_virtio_buf(const char *device, bool has_buffers,
                                        bool buffers, bool has_after,
                                        uint64_t after, Error **errp)
{
    Query query = {
        .buffers = !has_buffers || buffers,
        .after = has_after ? after : 0,
    };

    if (device) {
        query.device = object_resolve_path_at(
            machine_get_container("peripheral"), device);
        if (!query.device) {
            error_setg(errp, "Device '%s' not found", device);
            return NULL;
        }
    }
    object_child_foreach_recursive(object_get_root(), query_object, &query);
    if (device && !query.infos) {
        error_setg(errp, "'%s' is not a virtio-buf device", device);
    }
    return query.infos;
}

void virtio_buf_qmp_unrevocable(VirtIOBuf *s, bool quarantined,
                                uint32_t buffers, uint64_t bytes)
{
    qapi_event_send_virtio_buf_unrevocable(DEVICE(s)->canonical_path,
                                           user_device(s)->id, quarantined,
                                           buffers, bytes);
}
