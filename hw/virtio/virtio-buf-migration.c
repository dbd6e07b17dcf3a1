/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: migration and saved states
 *
 * Owns what is saved of a device, between the stream and the device. A buffer
 * is saved as the REGISTER that would make it as it is now, and made of it
 * again by the same code that runs the guest's commands: the stream is as
 * hostile as the guest. Sizes are checked against the limits of this device
 * before anything is allocated for them, and nothing reaches the device before
 * all of its stream has been read.
 *
 * Consumers, their fds and what they hold stay behind. So at the destination
 * each update is released, what waited to be taken back is FREED, and the guest
 * is told all of that when it runs. Nothing changes at the source: when the
 * migration fails, it goes on.
 *
 * The buffers are made anew when the device is loaded, so that a machine where
 * that is impossible can still be refused: RAM has been loaded then, and so has
 * an IOMMU (MIG_PRI_IOMMU).
 *
 * Under the BQL; in the migration thread or the main loop.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "hw/virtio/virtio-buf.h"
#include "migration/misc.h"
#include "migration/options.h"
#include "migration/postcopy-ram.h"
#include "migration/vmstate.h"
#include "virtio-buf-attachment.h"
#include "trace.h"

/* A registered buffer */
typedef struct SavedBuffer {
    VirtIOBuf *device;          /* whose limits bound @request_size */
    uint32_t request_size;
    uint8_t *request;           /* struct virtio_buf_register and the rest */
    uint8_t uuid[VIRTIO_BUF_UUID_SIZE];
    struct virtio_buf_frame frame; /* of the newest update; serial 0: none */
    uint64_t released;
    uint32_t consumers;
    uint32_t news;
    uint32_t written_size;
    uint8_t *written;           /* struct virtio_buf_frame, EVENT_WRITTEN */
    uint8_t backing;            /* what the guest knows */
    uint8_t reason;
} SavedBuffer;

struct VirtIOBufMigration {
    VirtIOBuf *device;
    NotifierWithReturn precopy;
    NotifierWithReturn postcopy;
    NotifierWithReturn normal;
    NotifierWithReturn cpr_transfer;
    bool left;                  /* the guest went on elsewhere */

    /* What is being saved or loaded */
    struct virtio_buf_config config;
    uint64_t last_id;
    uint64_t last_serial;
    uint64_t news;
    uint32_t buffer_count;
    SavedBuffer *buffers;       /* by rising id */
    uint32_t buffer_room;
    uint32_t freed_count;
    uint64_t *freed;            /* ids that rise; PENDING at the source too */
};

static void saved_clear(VirtIOBufMigration *m)
{
    for (uint32_t i = 0; i < m->buffer_room; i++) {
        g_free(m->buffers[i].request);
        g_free(m->buffers[i].written);
    }
    g_clear_pointer(&m->buffers, g_free);
    g_clear_pointer(&m->freed, g_free);
    m->buffer_room = 0;
    m->buffer_count = 0;
    m->freed_count = 0;
}

/* The array has room for @count buffers, none of them saved yet */
static bool saved_init(VirtIOBufMigration *m, uint32_t count)
{
    saved_clear(m);
    m->buffers = g_try_new0(SavedBuffer, MAX(count, 1));
    if (!m->buffers) {
        return false;
    }
    m->buffer_room = count;
    for (uint32_t i = 0; i < count; i++) {
        m->buffers[i].device = m->device;
    }
    return true;
}

static void get_config(VirtIOBuf *s, struct virtio_buf_config *config)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    VIRTIO_DEVICE_GET_CLASS(vdev)->get_config(vdev, (uint8_t *)config);
    config->consumers = 0;
}

/* What the writer has said and the guest not read: as the guest would see it */
static bool save_written(SavedBuffer *saved, const VirtIOBufBuffer *buffer)
{
    const VirtIOBufFrame *frame = &buffer->written;
    size_t head_size = frame->size - frame->property_bytes;
    struct virtio_buf_frame *head;

    if (!(buffer->news & VIRTIO_BUF_EVENT_WRITTEN)) {
        return true;
    }
    if (frame->full) {
        head_size = sizeof(*head);
    }
    saved->written = g_try_malloc(head_size + frame->property_bytes);
    if (!saved->written) {
        return false;
    }
    saved->written_size = head_size + frame->property_bytes;
    memcpy(saved->written, frame->bytes, head_size);
    memcpy(saved->written + head_size,
           frame->bytes + frame->size - frame->property_bytes,
           frame->property_bytes);
    if (frame->full) {
        head = (struct virtio_buf_frame *)saved->written;
        head->rect_count = 0;
        head->span_count = 0;
    }
    return true;
}

static bool save_buffer(SavedBuffer *saved, const VirtIOBufBuffer *buffer)
{
    size_t ranges_size = buffer->range_count * sizeof(buffer->ranges[0]);
    struct virtio_buf_register *reg;
    const uint8_t *properties;
    uint32_t property_bytes;

    properties = virtio_buf_properties_list(buffer->properties,
                                            &property_bytes);
    saved->request_size = sizeof(*reg) + ranges_size + property_bytes;
    saved->request = g_try_malloc0(saved->request_size);
    if (!saved->request) {
        return false;
    }
    reg = (struct virtio_buf_register *)saved->request;
    reg->hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_REGISTER);
    reg->buffer_id = cpu_to_le64(buffer->id);
    reg->size = cpu_to_le64(buffer->size);
    reg->stream = cpu_to_le64(buffer->stream_id);
    reg->context = cpu_to_le32(buffer->context);
    reg->mode = buffer->mode;
    reg->access = buffer->access;
    reg->range_count = cpu_to_le32(buffer->range_count);
    reg->property_bytes = cpu_to_le32(property_bytes);
    memcpy(reg->application, buffer->application, sizeof(reg->application));
    memcpy(reg + 1, buffer->ranges, ranges_size);
    if (property_bytes) {
        memcpy((uint8_t *)(reg + 1) + ranges_size, properties, property_bytes);
    }

    memcpy(saved->uuid, buffer->uuid.data, sizeof(saved->uuid));
    virtio_buf_newest_frame(buffer, &saved->frame);
    saved->released = buffer->released;
    saved->consumers = buffer->attachment_count;
    saved->news = buffer->news;
    saved->backing = buffer->told_backing;
    saved->reason = buffer->told_reason;
    return save_written(saved, buffer);
}

static int compare_ids(gconstpointer a, gconstpointer b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

    return one < other ? -1 : one > other;
}

static void save_freed(VirtIOBufMigration *m)
{
    g_autoptr(GArray) ids = g_array_new(false, false, sizeof(uint64_t));
    VirtIOBufBuffer *buffer;

    QTAILQ_FOREACH(buffer, &m->device->pending, next) {
        g_array_append_val(ids, buffer->id);
    }
    QTAILQ_FOREACH(buffer, &m->device->with_news, next_news) {
        if (buffer->news & VIRTIO_BUF_EVENT_FREED) {
            g_array_append_val(ids, buffer->id);
        }
    }
    g_array_sort(ids, compare_ids);
    m->freed_count = ids->len;
    m->freed = (uint64_t *)g_array_free(g_steal_pointer(&ids), false);
}

static int state_pre_save(void *opaque)
{
    VirtIOBufMigration *m = opaque;
    VirtIOBuf *s = m->device;
    VirtIOBufBuffer *buffer;

    if (!saved_init(m, g_hash_table_size(s->by_id))) {
        return -ENOMEM;
    }
    QTAILQ_FOREACH(buffer, &s->buffers, next) {
        if (!save_buffer(&m->buffers[m->buffer_count], buffer)) {
            saved_clear(m);
            return -ENOMEM;
        }
        m->buffer_count++;
    }
    save_freed(m);
    get_config(s, &m->config);
    m->last_id = s->last_id;
    m->last_serial = s->last_serial;
    m->news = s->news;
    trace_virtio_buf_save(s, m->buffer_count, m->freed_count);
    return 0;
}

static int state_post_save(void *opaque)
{
    saved_clear(opaque);
    return 0;
}

static int state_pre_load(void *opaque)
{
    VirtIOBufMigration *m = opaque;

    return saved_init(m, m->device->limits.buffers) ? 0 : -ENOMEM;
}

/* What the guest relies on, and the property that sets it */
static const struct {
    size_t offset;
    size_t size;
    const char *property;   /* NULL: the host's */
} config_fields[] = {
#define CONFIG_FIELD(field, property) \
    { offsetof(struct virtio_buf_config, field), \
      sizeof_field(struct virtio_buf_config, field), property }
    CONFIG_FIELD(page_size, NULL),
    CONFIG_FIELD(max_buffers, "max-buffers"),
    CONFIG_FIELD(max_ranges, "max-ranges"),
    CONFIG_FIELD(max_buffer_size, "max-buffer-size"),
    CONFIG_FIELD(max_total_size, "max-total-size"),
    CONFIG_FIELD(max_properties, "max-properties"),
    CONFIG_FIELD(max_property_bytes, "max-property-bytes"),
    CONFIG_FIELD(release_timeout_ms, "release-timeout"),
    CONFIG_FIELD(hold_timeout_ms, "hold-timeout"),
#undef CONFIG_FIELD
};

static uint64_t config_value(const struct virtio_buf_config *config, size_t i)
{
    const uint8_t *at = (const uint8_t *)config + config_fields[i].offset;

    return config_fields[i].size == sizeof(uint64_t) ? ldq_le_p(at)
                                                     : (uint32_t)ldl_le_p(at);
}

static bool config_matches(void *opaque, int version_id)
{
    VirtIOBufMigration *m = opaque;
    struct virtio_buf_config here;

    get_config(m->device, &here);
    for (size_t i = 0; i < ARRAY_SIZE(config_fields); i++) {
        uint64_t theirs = config_value(&m->config, i);
        uint64_t ours = config_value(&here, i);

        if (theirs == ours) {
            continue;
        }
        if (config_fields[i].property) {
            error_report("virtio-buf: the guest was told another limit at the "
                         "source: set '%s' to %" PRIu64 " here, not %" PRIu64,
                         config_fields[i].property, theirs, ours);
        } else {
            error_report("virtio-buf: the pages of this host have %" PRIu64
                         " bytes, those of the source %" PRIu64, ours, theirs);
        }
        return false;
    }
    if (memcmp(m->config.instance, here.instance, sizeof(here.instance))) {
        error_report("virtio-buf: 'instance' is '%s' here, and another name at "
                     "the source", here.instance);
        return false;
    }
    return true;
}

static bool counts_valid(void *opaque, int version_id)
{
    const VirtIOBufMigration *m = opaque;
    uint32_t limit = m->device->limits.buffers;

    return m->buffer_count <= limit &&
           m->freed_count <= limit - m->buffer_count;
}

static bool request_size_valid(void *opaque, int version_id)
{
    const SavedBuffer *saved = opaque;
    const VirtIOBufLimits *limits = &saved->device->limits;
    size_t size = sizeof(struct virtio_buf_register);

    return saved->request_size >= size &&
           saved->request_size <= size + limits->property_bytes +
           limits->ranges * sizeof(struct virtio_buf_range);
}

static bool written_size_valid(void *opaque, int version_id)
{
    const SavedBuffer *saved = opaque;

    return saved->written_size <= saved->device->limits.property_bytes +
           sizeof(struct virtio_buf_frame) + VIRTIO_BUF_MAX_DAMAGE *
           (sizeof(struct virtio_buf_rect) + sizeof(struct virtio_buf_span));
}

static const VMStateDescription vmstate_buffer = {
    .name = "virtio-buf-device/buffer",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(request_size, SavedBuffer),
        VMSTATE_VALIDATE("request_size is within limits", request_size_valid),
        VMSTATE_VBUFFER_ALLOC_UINT32(request, SavedBuffer, 1, NULL,
                                     request_size),
        VMSTATE_BUFFER(uuid, SavedBuffer),
        VMSTATE_BUFFER_UNSAFE(frame, SavedBuffer, 1,
                              sizeof(struct virtio_buf_frame)),
        VMSTATE_UINT64(released, SavedBuffer),
        VMSTATE_UINT32(consumers, SavedBuffer),
        VMSTATE_UINT32(news, SavedBuffer),
        VMSTATE_UINT32(written_size, SavedBuffer),
        VMSTATE_VALIDATE("written_size is within limits", written_size_valid),
        VMSTATE_VBUFFER_ALLOC_UINT32(written, SavedBuffer, 1, NULL,
                                     written_size),
        VMSTATE_UINT8(backing, SavedBuffer),
        VMSTATE_UINT8(reason, SavedBuffer),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_state = {
    .name = "virtio-buf-device/state",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = state_pre_save,
    .post_save = state_post_save,
    .pre_load = state_pre_load,
    .fields = (const VMStateField[]) {
        VMSTATE_BUFFER_UNSAFE(config, VirtIOBufMigration, 1,
                              sizeof(struct virtio_buf_config)),
        VMSTATE_VALIDATE("config matches", config_matches),
        VMSTATE_UINT64(last_id, VirtIOBufMigration),
        VMSTATE_UINT64(last_serial, VirtIOBufMigration),
        VMSTATE_UINT64(news, VirtIOBufMigration),
        VMSTATE_UINT32(buffer_count, VirtIOBufMigration),
        VMSTATE_UINT32(freed_count, VirtIOBufMigration),
        VMSTATE_VALIDATE("counts are within limits", counts_valid),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(buffers, VirtIOBufMigration,
                                             buffer_count, vmstate_buffer,
                                             SavedBuffer),
        VMSTATE_VARRAY_UINT32_ALLOC(freed, VirtIOBufMigration, freed_count, 1,
                                    vmstate_info_uint64, uint64_t),
        VMSTATE_END_OF_LIST()
    },
};

const VMStateDescription vmstate_virtio_buf_device = {
    .name = "virtio-buf-device",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT_POINTER(migration, VirtIOBuf, vmstate_state,
                               VirtIOBufMigration),
        VMSTATE_END_OF_LIST()
    },
};

static const char *refusal_text(uint32_t status)
{
    switch (status) {
    case VIRTIO_BUF_S_NOT_RAM:
        return "not all of it is RAM here; give the destination the same "
               "memory and memory devices as the source";
    case VIRTIO_BUF_S_NOT_SHAREABLE:
        return "udmabuf=on, and its pages cannot be shared here; give the "
               "destination the memory backend of the source, or udmabuf=auto";
    case VIRTIO_BUF_S_NO_MEMORY:
        return "out of memory";
    default:
        return "invalid in the migration stream";
    }
}

/* Returns what the guest has to hear of @buffer, which has nobody now */
static uint32_t news_of(const VirtIOBufBuffer *buffer, const SavedBuffer *saved)
{
    uint32_t news = saved->news;

    if (saved->consumers) {
        news |= VIRTIO_BUF_EVENT_CONSUMERS;
    }
    if (saved->released != buffer->released) {
        news |= VIRTIO_BUF_EVENT_RELEASED;
    }
    if (saved->backing != buffer->told_backing ||
        saved->reason != buffer->told_reason) {
        news |= VIRTIO_BUF_EVENT_BACKING;
    }
    return news;
}

static bool restore_frame(VirtIOBufMigration *m, VirtIOBufBuffer *buffer,
                          const SavedBuffer *saved)
{
    uint64_t serial = le64_to_cpu(saved->frame.serial);
    struct virtio_buf_frame_view view;

    if (serial > m->last_serial || saved->released > serial) {
        return false;
    }
    if (!serial) {
        return true;
    }
    if (virtio_buf_frame_parse(&saved->frame, sizeof(saved->frame),
                               buffer->size, &view) < 0) {
        return false;
    }
    virtio_buf_restore_frame(buffer, &saved->frame);
    buffer->stream->last_serial = MAX(buffer->stream->last_serial, serial);
    return true;
}

static bool restore_written(VirtIOBufBuffer *buffer, const SavedBuffer *saved)
{
    uint32_t limit = buffer->device->limits.property_bytes;
    bool told = saved->news & VIRTIO_BUF_EVENT_WRITTEN;
    struct virtio_buf_frame_view view;

    if (!saved->written_size || !told) {
        return !saved->written_size && !told;
    }
    if (buffer->access != VIRTIO_BUF_ACCESS_WRITER ||
        virtio_buf_frame_parse(saved->written, saved->written_size,
                               buffer->size, &view) < 0 ||
        view.property_bytes > limit ||
        !virtio_buf_frame_reserve(&buffer->written, saved->written_size)) {
        return false;
    }
    virtio_buf_frame_store(&buffer->written, saved->written,
                           saved->written_size, &view);
    return true;
}

static bool restore_buffer(VirtIOBufMigration *m, const SavedBuffer *saved)
{
    const struct virtio_buf_register *reg = (const void *)saved->request;
    VirtIOBufBuffer *buffer;
    QemuUUID uuid;
    uint32_t status;
    uint32_t news;

    memcpy(uuid.data, saved->uuid, sizeof(uuid.data));
    buffer = virtio_buf_register(m->device, reg, saved->request_size, &uuid,
                                 &status);
    if (!buffer) {
        error_report("virtio-buf: buffer %" PRIu64 ": %s",
                     le64_to_cpu(reg->buffer_id), refusal_text(status));
        return false;
    }
    if (buffer->id > m->last_id ||
        (saved->news & ~(VIRTIO_BUF_EVENT_RELEASED |
                         VIRTIO_BUF_EVENT_CONSUMERS |
                         VIRTIO_BUF_EVENT_BACKING |
                         VIRTIO_BUF_EVENT_WRITTEN)) ||
        !restore_frame(m, buffer, saved) || !restore_written(buffer, saved)) {
        error_report("virtio-buf: buffer %" PRIu64 ": %s", buffer->id,
                     refusal_text(VIRTIO_BUF_S_INVALID));
        return false;
    }
    news = news_of(buffer, saved);
    if (news) {
        virtio_buf_news(buffer, news);
    }
    return true;
}

static bool restore_freed(VirtIOBufMigration *m)
{
    uint64_t last = 0;

    for (uint32_t i = 0; i < m->freed_count; i++) {
        uint64_t id = m->freed[i];

        if (id <= last || id > m->last_id ||
            g_hash_table_contains(m->device->by_id, &id)) {
            error_report("virtio-buf: freed buffer %" PRIu64 ": %s", id,
                         refusal_text(VIRTIO_BUF_S_INVALID));
            return false;
        }
        virtio_buf_buffer_new_freed(m->device, id);
        last = id;
    }
    return true;
}

static bool restore(VirtIOBufMigration *m)
{
    VirtIOBuf *s = m->device;

    s->news = m->news;
    for (uint32_t i = 0; i < m->buffer_count; i++) {
        if (!restore_buffer(m, &m->buffers[i])) {
            return false;
        }
    }
    if (!restore_freed(m)) {
        return false;
    }
    s->last_id = m->last_id;
    s->last_serial = m->last_serial;
    return true;
}

int virtio_buf_migration_restore(VirtIOBuf *s)
{
    VirtIOBufMigration *m = s->migration;
    VirtIOBufBuffer *buffer;
    bool done;

    /* The system has been reset before, but nobody who loads has to do so */
    virtio_buf_take_everything_back(s, VIRTIO_BUF_RESET_REASON_SYSTEM);
    done = restore(m);
    trace_virtio_buf_load(s, m->buffer_count, m->freed_count, done);
    saved_clear(m);
    if (!done) {
        virtio_buf_take_everything_back(s, VIRTIO_BUF_RESET_REASON_SYSTEM);
        return -EINVAL;
    }

    QTAILQ_FOREACH(buffer, &s->buffers, next) {
        virtio_buf_announce(buffer);
    }
    /* Others are connected here; and an interrupt of the source may be lost */
    virtio_buf_config_changed(s);
    return 0;
}

static bool has_dmabufs(const VirtIOBuf *s)
{
    VirtIOBufBuffer *buffer;
    uint32_t quarantined;

    QTAILQ_FOREACH(buffer, &s->buffers, next) {
        if (virtio_buf_memory_has_dmabuf(buffer->memory)) {
            return true;
        }
    }
    QTAILQ_FOREACH(buffer, &s->pending, next) {
        if (virtio_buf_memory_has_dmabuf(buffer->memory)) {
            return true;
        }
    }
    virtio_buf_memory_pool_quarantined(s->pool, &quarantined);
    return quarantined;
}

/* What consumers write behind the accelerator's back has to be sent again */
static int precopy_notify_device(NotifierWithReturn *n, void *opaque,
                                 Error **errp)
{
    VirtIOBuf *s = container_of(n, VirtIOBufMigration, precopy)->device;
    const PrecopyNotifyData *data = opaque;
    VirtIOBufBuffer *buffer;

    if (data->reason == PRECOPY_NOTIFY_BEFORE_BITMAP_SYNC) {
        QTAILQ_FOREACH(buffer, &s->buffers, next) {
            virtio_buf_memory_sync_writes(buffer->memory);
        }
        QTAILQ_FOREACH(buffer, &s->pending, next) {
            virtio_buf_memory_sync_writes(buffer->memory);
        }
    }
    return 0;
}

/*
 * At the destination: udmabuf would allocate pages that are still to come, and
 * their contents would not be asked for any more.
 */
static int postcopy_notify_device(NotifierWithReturn *n, void *opaque,
                                  Error **errp)
{
    VirtIOBuf *s = container_of(n, VirtIOBufMigration, postcopy)->device;
    const struct PostcopyNotifyData *data = opaque;

    if (data->reason == POSTCOPY_NOTIFY_PROBE &&
        virtio_buf_memory_pool_makes_dmabufs(s->pool)) {
        error_setg(errp, "virtio-buf shares guest RAM that has not arrived "
                   "yet: start the destination with udmabuf=off for postcopy");
        return -EINVAL;
    }
    return 0;
}

/* From here on nobody gets a dma-buf; an error if somebody has one */
static int exclude_dmabufs(VirtIOBuf *s, const char *what, const char *cure,
                           Error **errp)
{
    if (has_dmabufs(s)) {
        error_setg(errp, "virtio-buf: programs on the host have zero-copy "
                   "buffers, which excludes %s: %s, or use udmabuf=off", what,
                   cure);
        return -EBUSY;
    }
    virtio_buf_memory_pool_exclude_dmabufs(s->pool, true);
    return 0;
}

/*
 * At the source, before anything is sent. After postcopy has begun, writes to a
 * dma-buf that come after the last look at what is dirty would be lost; and RAM
 * that is not sent, since the destination opens it, too, would stay with
 * consumers that it does not know. So there are none from here on until the
 * guest runs here again.
 */
static int normal_notify_device(NotifierWithReturn *n, MigrationEvent *event,
                                Error **errp)
{
    VirtIOBufMigration *m = container_of(n, VirtIOBufMigration, normal);

    switch (event->type) {
    case MIG_EVENT_PRECOPY_SETUP:
        if (migrate_postcopy_ram()) {
            return exclude_dmabufs(m->device, "postcopy", "switch the "
                                   "capability postcopy-ram off", errp);
        }
        if (migrate_ignore_shared()) {
            return exclude_dmabufs(m->device, "x-ignore-shared", "switch that "
                                   "capability off", errp);
        }
        break;
    case MIG_EVENT_PRECOPY_DONE:
        m->left = true;
        break;
    default:
        virtio_buf_memory_pool_exclude_dmabufs(m->device->pool, false);
        break;
    }
    return 0;
}

void virtio_buf_migration_run(VirtIOBuf *s)
{
    if (s->migration->left) {
        s->migration->left = false;
        virtio_buf_memory_pool_exclude_dmabufs(s->pool, false);
    }
}

/*
 * The new QEMU has the same RAM, and would not know who still holds it. When it
 * has it, it has it for good; consumers still are this one's.
 */
static int cpr_transfer_notify_device(NotifierWithReturn *n,
                                      MigrationEvent *event, Error **errp)
{
    VirtIOBuf *s = container_of(n, VirtIOBufMigration, cpr_transfer)->device;

    switch (event->type) {
    case MIG_EVENT_PRECOPY_SETUP:
        return exclude_dmabufs(s, "cpr-transfer", "end them", errp);
    case MIG_EVENT_PRECOPY_FAILED:
        virtio_buf_memory_pool_exclude_dmabufs(s->pool, false);
        break;
    default:
        break;
    }
    return 0;
}

void virtio_buf_migration_init(VirtIOBuf *s)
{
    VirtIOBufMigration *m = g_new0(VirtIOBufMigration, 1);

    s->migration = m;
    m->device = s;
    m->precopy.notify = precopy_notify_device;
    precopy_add_notifier(&m->precopy);
    m->postcopy.notify = postcopy_notify_device;
    postcopy_add_notifier(&m->postcopy);
    migration_add_notifier(&m->normal, normal_notify_device);
    migration_add_notifier_mode(&m->cpr_transfer, cpr_transfer_notify_device,
                                MIG_MODE_CPR_TRANSFER);
}

void virtio_buf_migration_cleanup(VirtIOBuf *s)
{
    VirtIOBufMigration *m = s->migration;

    precopy_remove_notifier(&m->precopy);
    postcopy_remove_notifier(&m->postcopy);
    migration_remove_notifier(&m->normal);
    migration_remove_notifier(&m->cpr_transfer);
    saved_clear(m);
    g_clear_pointer(&s->migration, g_free);
}
