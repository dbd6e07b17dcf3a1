/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the device, its queue and its configuration
 *
 * Owns the virtqueue. A chain is answered before the next one is looked at:
 * the device never keeps one, so reset, queue reset and unplug have nothing to
 * give back. A kick is worth a bounded number of commands, and of milliseconds;
 * the rest goes on in a bottom half. A malformed chain breaks the device
 * (DEVICE_NEEDS_RESET).
 *
 * Nothing that the guest shared outlives a reset or the device itself, see
 * virtio_buf_buffers_revoke().
 *
 * Under the BQL, in the main loop or a vCPU thread.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "hw/qdev-properties.h"
#include "hw/resettable.h"
#include "hw/virtio/virtio-buf.h"
#include "migration/vmstate.h"
#include "system/runstate.h"
#include "trace.h"

#define QUEUE_SIZE 128

/* What a kick is worth before others get the BQL, whichever is used up first */
#define COMMANDS_PER_KICK 64
#define NS_PER_KICK (2 * SCALE_MS)

#define MAX_BUFFERS 65536
#define MAX_RANGES 16384
#define MAX_PROPERTIES 1024

#define PROP_SERVER "server"
#define PROP_INSTANCE "instance"
#define PROP_UDMABUF "udmabuf"
#define PROP_UDMABUF_DEVICE "udmabuf-device"
#define PROP_STRICT_READONLY "strict-readonly"
#define PROP_SHARE_UUID "share-uuid"
#define PROP_MAX_ORPHANED "max-orphaned"
#define PROP_MAX_BUFFERS "max-buffers"
#define PROP_MAX_RANGES "max-ranges"
#define PROP_MAX_BUFFER_SIZE "max-buffer-size"
#define PROP_MAX_TOTAL_SIZE "max-total-size"
#define PROP_MAX_PROPERTIES "max-properties"
#define PROP_MAX_PROPERTY_BYTES "max-property-bytes"
#define PROP_RELEASE_TIMEOUT "release-timeout"
#define PROP_HOLD_TIMEOUT "hold-timeout"

const char *virtio_buf_instance(const VirtIOBuf *s)
{
    return s->instance ?: "";
}

uint32_t virtio_buf_release_timeout_ms(const VirtIOBuf *s)
{
    return s->limits.release_timeout_ms;
}

uint32_t virtio_buf_hold_timeout_ms(const VirtIOBuf *s)
{
    return s->limits.hold_timeout_ms;
}

/* A driver that is not ready has no commands, a stopped machine no new state */
static bool may_work(VirtIOBuf *s)
{
    return runstate_is_running() &&
           VIRTIO_DEVICE(s)->status & VIRTIO_CONFIG_S_DRIVER_OK;
}

/* Returns false if there is none, or none that can be answered */
static bool run_command(VirtIOBuf *s)
{
    VirtQueueElement *elem = virtqueue_pop(s->vq, sizeof(*elem));
    size_t written;

    if (!elem) {
        return false;
    }
    written = virtio_buf_command(s, elem);
    if (written) {
        virtqueue_push(s->vq, elem, written);
    } else {
        virtio_error(VIRTIO_DEVICE(s), "virtio-buf: malformed command: %zu"
                     " bytes to read, %zu bytes to write",
                     iov_size(elem->out_sg, elem->out_num),
                     iov_size(elem->in_sg, elem->in_num));
        virtqueue_detach_element(s->vq, elem, 0);
    }
    g_free(elem);
    return written;
}

static void run_queue(VirtIOBuf *s)
{
    int64_t end = get_clock() + NS_PER_KICK;
    unsigned count = 0;
    bool more;

    do {
        more = run_command(s);
        count += more;
    } while (more && count < COMMANDS_PER_KICK && get_clock() < end);

    if (count) {
        virtio_notify(VIRTIO_DEVICE(s), s->vq);
    }
    if (more) {
        qemu_bh_schedule(s->bh);
    }
}

static void handle_queue(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOBuf *s = VIRTIO_BUF(vdev);

    if (may_work(s)) {
        run_queue(s);
    }
}

/* What had to wait: for others, for DRIVER_OK, or for the VM to run */
static void go_on(void *opaque)
{
    VirtIOBuf *s = opaque;

    if (!may_work(s)) {
        return;
    }
    if (s->config_changed) {
        virtio_buf_config_changed(s);
    }
    run_queue(s);
}

static void vm_state_changed(void *opaque, bool running, RunState state)
{
    VirtIOBuf *s = opaque;

    virtio_buf_write_back_run(s, running);
    if (running) {
        virtio_buf_migration_run(s);
        qemu_bh_schedule(s->bh);
    }
}

static void virtio_buf_set_status(VirtIODevice *vdev, uint8_t status)
{
    if (status & VIRTIO_CONFIG_S_DRIVER_OK) {
        qemu_bh_schedule(VIRTIO_BUF(vdev)->bh);
    }
}

static void virtio_buf_get_config(VirtIODevice *vdev, uint8_t *data)
{
    VirtIOBuf *s = VIRTIO_BUF(vdev);
    struct virtio_buf_config config = {
        .consumers = cpu_to_le32(s->consumer_count),
        .page_size = cpu_to_le32(qemu_real_host_page_size()),
        .max_buffers = cpu_to_le32(s->limits.buffers),
        .max_ranges = cpu_to_le32(s->limits.ranges),
        .max_buffer_size = cpu_to_le64(s->limits.buffer_size),
        .max_total_size = cpu_to_le64(s->limits.total_size),
        .max_dmabuf_size = cpu_to_le64(s->dmabuf_size),
        .max_dmabuf_ranges = cpu_to_le32(s->dmabuf_ranges),
        .max_properties = cpu_to_le32(s->limits.properties),
        .max_property_bytes = cpu_to_le32(s->limits.property_bytes),
        .release_timeout_ms = cpu_to_le32(s->limits.release_timeout_ms),
        .hold_timeout_ms = cpu_to_le32(s->limits.hold_timeout_ms),
    };

    memcpy(config.instance, virtio_buf_instance(s),
           strlen(virtio_buf_instance(s)));
    memcpy(data, &config, sizeof(config));
}

static uint64_t virtio_buf_get_features(VirtIODevice *vdev, uint64_t features,
                                        Error **errp)
{
    virtio_add_feature(&features, VIRTIO_BUF_F_WRITER);
    return features;
}

void virtio_buf_take_everything_back(VirtIOBuf *s, uint32_t reason)
{
    trace_virtio_buf_device_reset(s, reason, s->buffer_count);
    virtio_buf_buffers_revoke(s);
    if (s->last_id || reason == VIRTIO_BUF_RESET_REASON_UNPLUG) {
        /* Not each time that firmware and drivers look for their devices */
        virtio_buf_reset_consumers(s, reason);
    }
    s->last_id = 0;
    s->last_serial = 0;
    s->news = 0;
    s->drained = true;
    s->config_changed = false;
    qemu_bh_cancel(s->bh);
}

static void virtio_buf_reset(VirtIODevice *vdev)
{
    VirtIOBuf *s = VIRTIO_BUF(vdev);

    virtio_buf_take_everything_back(s, s->in_system_reset ?
                                    VIRTIO_BUF_RESET_REASON_SYSTEM :
                                    VIRTIO_BUF_RESET_REASON_DRIVER);
}

/* A reset that comes from above brackets that of the transport with these */
static void virtio_buf_reset_enter(Object *obj, ResetType type)
{
    VIRTIO_BUF(obj)->in_system_reset = true;
}

static void virtio_buf_reset_exit(Object *obj, ResetType type)
{
    VIRTIO_BUF(obj)->in_system_reset = false;
}

static bool check_bounds(uint64_t value, uint64_t min, uint64_t max,
                         const char *property, Error **errp)
{
    if (value < min || value > max) {
        error_setg(errp, "virtio-buf: '%s' must be between %" PRIu64 " and %"
                   PRIu64 ", not %" PRIu64, property, min, max, value);
        return false;
    }
    return true;
}

static bool check_properties(VirtIOBuf *s, Error **errp)
{
    const VirtIOBufLimits *limits = &s->limits;
    const char *instance = virtio_buf_instance(s);

    if (strlen(instance) >= VIRTIO_BUF_NAME_SIZE ||
        !virtio_buf_text_valid((const uint8_t *)instance, strlen(instance))) {
        error_setg(errp, "virtio-buf: '" PROP_INSTANCE "' must be UTF-8 text "
                   "of at most %d bytes", VIRTIO_BUF_NAME_SIZE - 1);
        return false;
    }
    if (limits->total_size < limits->buffer_size) {
        error_setg(errp, "virtio-buf: '" PROP_MAX_TOTAL_SIZE "' must not be "
                   "smaller than '" PROP_MAX_BUFFER_SIZE "'");
        return false;
    }
    return check_bounds(limits->buffers, 1, MAX_BUFFERS, PROP_MAX_BUFFERS,
                        errp) &&
           check_bounds(limits->ranges, 1, MAX_RANGES, PROP_MAX_RANGES,
                        errp) &&
           check_bounds(limits->buffer_size, qemu_real_host_page_size(),
                        1 * TiB, PROP_MAX_BUFFER_SIZE, errp) &&
           check_bounds(limits->properties, 0, MAX_PROPERTIES,
                        PROP_MAX_PROPERTIES, errp) &&
           check_bounds(limits->property_bytes, 0,
                        VIRTIO_BUF_MAX_PROPERTY_BYTES, PROP_MAX_PROPERTY_BYTES,
                        errp);
}

static void undo_realize(VirtIOBuf *s)
{
    g_clear_pointer(&s->vm_change, qemu_del_vm_change_state_handler);
    g_clear_pointer(&s->bh, qemu_bh_delete);
    virtio_delete_queue(s->vq);
    virtio_cleanup(VIRTIO_DEVICE(s));
    virtio_buf_migration_cleanup(s);
    virtio_buf_buffers_cleanup(s);
    virtio_buf_hold_cleanup(s);
    virtio_buf_commands_cleanup(s);
}

static void virtio_buf_device_realize(DeviceState *dev, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOBuf *s = VIRTIO_BUF(dev);

    QEMU_BUILD_BUG_ON(sizeof(s->frame.head) !=
                      offsetof(typeof(s->frame), damage));

    if (!check_properties(s, errp)) {
        return;
    }
    s->memory_config.max_buffers = s->limits.buffers;
    s->memory_config.max_ranges = s->limits.ranges;
    s->memory_config.max_total_size = s->limits.total_size;
    s->pool = virtio_buf_memory_pool_new(&s->memory_config, errp);
    if (!s->pool) {
        return;
    }
    virtio_buf_memory_pool_dmabuf_limits(s->pool, &s->dmabuf_ranges,
                                         &s->dmabuf_size);
    s->dmabuf_ranges = MIN(s->dmabuf_ranges, s->limits.ranges);
    s->dmabuf_size = MIN(s->dmabuf_size, s->limits.buffer_size);

    virtio_buf_commands_init(s);
    QTAILQ_INIT(&s->consumers);
    s->drained = true;
    virtio_buf_buffers_init(s);
    virtio_buf_hold_init(s);
    virtio_buf_migration_init(s);

    virtio_init(vdev, VIRTIO_ID_BUF, sizeof(struct virtio_buf_config));
    s->vq = virtio_add_queue(vdev, QUEUE_SIZE, handle_queue);
    s->bh = virtio_bh_io_new_guarded(dev, go_on, s);
    s->vm_change = qdev_add_vm_change_state_handler(dev, vm_state_changed, s);

    if (s->server && !virtio_buf_server_link(s->server, s, errp)) {
        undo_realize(s);
        return;
    }
    virtio_buf_memory_pool_report(s->pool);
}

static void virtio_buf_device_unrealize(DeviceState *dev)
{
    VirtIOBuf *s = VIRTIO_BUF(dev);
    VirtIOBufConsumer *consumer;

    virtio_buf_take_everything_back(s, VIRTIO_BUF_RESET_REASON_UNPLUG);
    if (s->server) {
        virtio_buf_server_unlink(s->server, s);
    }
    while ((consumer = QTAILQ_FIRST(&s->consumers))) {
        virtio_buf_consumer_remove(consumer);
    }
    undo_realize(s);
}

static void virtio_buf_instance_init(Object *obj)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(obj);

    /*
     * The bus looks at it before it asks for features, so it has to be there
     * as a default of the property; iommu_platform=off takes it away.
     */
    virtio_add_feature(&vdev->host_features, VIRTIO_F_ACCESS_PLATFORM);
}

static int virtio_buf_post_load(VirtIODevice *vdev)
{
    return virtio_buf_migration_restore(VIRTIO_BUF(vdev));
}

static const VMStateDescription vmstate_virtio_buf = {
    .name = "virtio-buf",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_VIRTIO_DEVICE,
        VMSTATE_END_OF_LIST()
    },
};

static const Property virtio_buf_properties[] = {
    DEFINE_PROP_LINK(PROP_SERVER, VirtIOBuf, server, TYPE_VIRTIO_BUF_SERVER,
                     VirtIOBufServer *),
    DEFINE_PROP_STRING(PROP_INSTANCE, VirtIOBuf, instance),
    DEFINE_PROP_ON_OFF_AUTO(PROP_UDMABUF, VirtIOBuf, memory_config.udmabuf,
                            ON_OFF_AUTO_AUTO),
    DEFINE_PROP_STRING(PROP_UDMABUF_DEVICE, VirtIOBuf,
                       memory_config.udmabuf_device),
    DEFINE_PROP_BOOL(PROP_STRICT_READONLY, VirtIOBuf,
                     memory_config.strict_readonly, false),
    DEFINE_PROP_BOOL(PROP_SHARE_UUID, VirtIOBuf, share_uuid, false),
    DEFINE_PROP_SIZE(PROP_MAX_ORPHANED, VirtIOBuf, memory_config.max_orphaned,
                     256 * MiB),
    DEFINE_PROP_UINT32(PROP_MAX_BUFFERS, VirtIOBuf, limits.buffers, 256),
    DEFINE_PROP_UINT32(PROP_MAX_RANGES, VirtIOBuf, limits.ranges,
                       MAX_RANGES),
    DEFINE_PROP_SIZE(PROP_MAX_BUFFER_SIZE, VirtIOBuf, limits.buffer_size,
                     256 * MiB),
    DEFINE_PROP_SIZE(PROP_MAX_TOTAL_SIZE, VirtIOBuf, limits.total_size,
                     1 * GiB),
    DEFINE_PROP_UINT32(PROP_MAX_PROPERTIES, VirtIOBuf, limits.properties, 64),
    DEFINE_PROP_UINT32(PROP_MAX_PROPERTY_BYTES, VirtIOBuf,
                       limits.property_bytes, 4096),
    DEFINE_PROP_UINT32(PROP_RELEASE_TIMEOUT, VirtIOBuf,
                       limits.release_timeout_ms, 2000),
    DEFINE_PROP_UINT32(PROP_HOLD_TIMEOUT, VirtIOBuf, limits.hold_timeout_ms,
                       2000),
};

static void virtio_buf_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);

    device_class_set_props(dc, virtio_buf_properties);
    dc->vmsd = &vmstate_virtio_buf;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    rc->phases.enter = virtio_buf_reset_enter;
    rc->phases.exit = virtio_buf_reset_exit;
    vdc->realize = virtio_buf_device_realize;
    vdc->unrealize = virtio_buf_device_unrealize;
    vdc->get_config = virtio_buf_get_config;
    vdc->get_features = virtio_buf_get_features;
    vdc->set_status = virtio_buf_set_status;
    vdc->reset = virtio_buf_reset;
    vdc->vmsd = &vmstate_virtio_buf_device;
    vdc->post_load = virtio_buf_post_load;
}

static const TypeInfo virtio_buf_info = {
    .name = TYPE_VIRTIO_BUF,
    .parent = TYPE_VIRTIO_DEVICE,
    .instance_size = sizeof(VirtIOBuf),
    .instance_init = virtio_buf_instance_init,
    .class_init = virtio_buf_class_init,
};

static void virtio_buf_register_types(void)
{
    type_register_static(&virtio_buf_info);
}

type_init(virtio_buf_register_types)
