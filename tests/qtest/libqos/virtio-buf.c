/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos driver for virtio-buf: the guest's side
 *
 * One command at a time: the descriptors of the last one are used again. The
 * queue's interrupt is not looked at, so that reading the interrupt status
 * takes away nothing but configuration changes.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "../libqtest-single.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "virtio-buf.h"

#define PAGE_SIZE 4096
#define QUEUE_SIZE 8

static char *socket_dir;
static char *socket_path;

static void remove_socket_dir(void)
{
    g_unlink(socket_path);
    g_rmdir(socket_dir);
}

const char *qvirtio_buf_socket_path(void)
{
    if (!socket_path) {
        socket_dir = g_dir_make_tmp("virtio-buf-XXXXXX", NULL);
        g_assert_nonnull(socket_dir);
        socket_path = g_build_filename(socket_dir, "server", NULL);
        atexit(remove_socket_dir);
    }
    return socket_path;
}

bool qvirtio_buf_zero_copy(void)
{
    return access("/dev/udmabuf", R_OK | W_OK) == 0;
}

void *qvirtio_buf_before(GString *cmd_line, void *arg)
{
    const char *more = arg;

    g_string_append_printf(cmd_line,
                           " -m 256M"
                           " -object memory-backend-memfd,id=mem,size=256M"
                           " -machine memory-backend=mem"
                           " -object virtio-buf-server,id=s0,path=%s%s%s",
                           qvirtio_buf_socket_path(),
                           more ? "," : "", more ?: "");
    return arg;
}

static void qvirtio_buf_negotiate(QVirtioBuf *b)
{
    uint64_t features = qvirtio_get_features(b->vdev);

    features &= ~(QVIRTIO_F_BAD_FEATURE |
                  (1ull << VIRTIO_RING_F_INDIRECT_DESC) |
                  (1ull << VIRTIO_RING_F_EVENT_IDX) |
                  (1ull << VIRTIO_BUF_F_WRITER)) | b->features;
    qvirtio_set_features(b->vdev, features);
    if (b->pci) {
        /* Each descriptor of a larger one costs two writes */
        b->vdev->bus->queue_select(b->vdev, 0);
        qpci_io_writew(b->pci->pdev, b->pci->bar, b->pci->common_cfg_offset +
                       offsetof(struct virtio_pci_common_cfg, queue_size),
                       b->queue_size ?: QUEUE_SIZE);
    }
}

void qvirtio_buf_setup(QVirtioBuf *b)
{
    b->qts = global_qtest;
    b->request = guest_alloc(b->alloc, QVIRTIO_BUF_PART_SIZE);
    b->response = guest_alloc(b->alloc, QVIRTIO_BUF_PART_SIZE);
    qvirtio_buf_negotiate(b);
    b->vq = qvirtqueue_setup(b->vdev, b->alloc, 0);
    qvirtio_set_driver_ok(b->vdev);
}

static void qvirtio_buf_cleanup(QVirtioBuf *b)
{
    qvirtqueue_cleanup(b->vdev->bus, b->vq, b->alloc);
}

void qvirtio_buf_prepare(QVirtioBuf *b)
{
    qvirtio_reset(b->vdev);
    qvirtio_set_acknowledge(b->vdev);
    qvirtio_set_driver(b->vdev);
    qvirtio_buf_negotiate(b);
    if (b->pci && b->vq->size == (b->queue_size ?: QUEUE_SIZE)) {
        /* The descriptors stay */
        qtest_writew(b->qts, b->vq->avail + 2, 0);
        qtest_writew(b->qts, b->vq->used + 2, 0);
        b->vq->last_used_idx = 0;
        b->vdev->bus->queue_select(b->vdev, 0);
        b->vdev->bus->set_queue_address(b->vdev, b->vq);
        qpci_io_writew(b->pci->pdev, b->pci->bar, b->pci->common_cfg_offset +
                       offsetof(struct virtio_pci_common_cfg, queue_enable), 1);
    } else {
        qvirtqueue_cleanup(b->vdev->bus, b->vq, b->alloc);
        b->vq = qvirtqueue_setup(b->vdev, b->alloc, 0);
    }
    b->last_id = 0;
    b->last_serial = 0;
    b->news = 0;
}

void qvirtio_buf_restart(QVirtioBuf *b)
{
    qvirtio_buf_prepare(b);
    qvirtio_set_driver_ok(b->vdev);
}

void qvirtio_buf_restart_writable(QVirtioBuf *b)
{
    b->features = 1ull << VIRTIO_BUF_F_WRITER;
    qvirtio_buf_restart(b);
}

void qvirtio_buf_kick(QVirtioBuf *b, const void *request, size_t request_size,
                      size_t response_size)
{
    uint32_t head = 0;

    g_assert_cmpuint(request_size, <=, QVIRTIO_BUF_PART_SIZE);
    g_assert_cmpuint(response_size, <=, QVIRTIO_BUF_PART_SIZE);
    qvirtqueue_reset_pool(b->vq);
    if (request_size) {
        qtest_bufwrite(b->qts, b->request, request, request_size);
        head = qvirtqueue_add(b->qts, b->vq, b->request, request_size, false,
                              response_size);
    }
    if (response_size) {
        qtest_memset(b->qts, b->response, 0xee, response_size);
        qvirtqueue_add(b->qts, b->vq, b->response, response_size, true, false);
    }
    qvirtqueue_kick(b->qts, b->vdev, b->vq, head);
}

uint32_t qvirtio_buf_command(QVirtioBuf *b, const void *request,
                             size_t request_size, void *response,
                             size_t response_size)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    struct virtio_buf_response *hdr = response;
    uint32_t desc, len;

    qvirtio_buf_kick(b, request, request_size, response_size);
    while (!qvirtqueue_get_buf(b->qts, b->vq, &desc, &len)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_cmpuint(desc, ==, 0);
    g_assert_cmpuint(len, >=, sizeof(*hdr));
    g_assert_cmpuint(len, <=, response_size);
    qtest_bufread(b->qts, b->response, response, response_size);
    g_assert_cmpuint(hdr->reserved, ==, 0);
    b->news = le64_to_cpu(hdr->news);
    return len;
}

uint32_t qvirtio_buf_command_status(QVirtioBuf *b, const void *request,
                                    size_t request_size)
{
    struct virtio_buf_response response;
    uint32_t len = qvirtio_buf_command(b, request, request_size, &response,
                                       sizeof(response));

    g_assert_cmpuint(len, ==, sizeof(response));
    return le32_to_cpu(response.status);
}

void qvirtio_buf_config(QVirtioBuf *b, struct virtio_buf_config *config)
{
    uint8_t *bytes = (uint8_t *)config;
    size_t i;

    for (i = 0; i < sizeof(*config); i++) {
        bytes[i] = qvirtio_config_readb(b->vdev, i);
    }
}

bool qvirtio_buf_config_changed(QVirtioBuf *b)
{
    g_assert_nonnull(b->pci);
    return qpci_io_readb(b->pci->pdev, b->pci->bar, b->pci->isr_cfg_offset) & 2;
}

void qvirtio_buf_wait_config_changed(QVirtioBuf *b)
{
    qvirtio_wait_config_isr(b->vdev, QVIRTIO_BUF_TIMEOUT_US);
}

uint32_t qvirtio_buf_register(QVirtioBuf *b, QVirtioBufBuffer *buffer)
{
    size_t ranges_size, size;
    struct virtio_buf_register *request;
    struct virtio_buf_range range;
    g_autofree uint8_t *bytes = NULL;
    uint32_t len, status;

    buffer->id = buffer->id ?: b->last_id + 1;
    buffer->size = buffer->size ?: PAGE_SIZE;
    if (!buffer->range_count) {
        uint64_t whole = ROUND_UP(buffer->size, PAGE_SIZE);

        buffer->addr = buffer->addr ?: guest_alloc(b->alloc, whole);
        range.addr = cpu_to_le64(buffer->addr);
        range.len = cpu_to_le64(whole);
        buffer->ranges = &range;
        buffer->range_count = 1;
    }

    ranges_size = buffer->range_count * sizeof(range);
    size = sizeof(*request) + ranges_size + buffer->property_bytes;
    bytes = g_malloc0(size);
    request = (void *)bytes;
    request->hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_REGISTER);
    request->buffer_id = cpu_to_le64(buffer->id);
    request->size = cpu_to_le64(buffer->size);
    request->stream = cpu_to_le64(buffer->stream);
    request->context = cpu_to_le32(buffer->context);
    request->mode = buffer->mode;
    request->access = buffer->access;
    request->range_count = cpu_to_le32(buffer->range_count);
    request->property_bytes = cpu_to_le32(buffer->property_bytes);
    strncpy((char *)request->application, buffer->application ?: "test",
            sizeof(request->application));
    memcpy(bytes + sizeof(*request), buffer->ranges, ranges_size);
    if (buffer->property_bytes) {
        memcpy(bytes + sizeof(*request) + ranges_size, buffer->properties,
               buffer->property_bytes);
    }
    if (buffer->ranges == &range) {
        buffer->ranges = NULL;
        buffer->range_count = 0;
    }

    len = qvirtio_buf_command(b, bytes, size, &buffer->response,
                              sizeof(buffer->response));
    g_assert_cmpuint(len, ==, sizeof(buffer->response));
    status = le32_to_cpu(buffer->response.hdr.status);
    if (status == VIRTIO_BUF_S_OK) {
        g_assert_cmpuint(buffer->id, >, b->last_id);
        b->last_id = buffer->id;
    }
    return status;
}

void qvirtio_buf_register_ok(QVirtioBuf *b, QVirtioBufBuffer *buffer,
                             uint8_t pattern)
{
    g_assert_cmpuint(qvirtio_buf_register(b, buffer), ==, VIRTIO_BUF_S_OK);
    if (buffer->addr) {
        qtest_memset(b->qts, buffer->addr, pattern, buffer->size);
    }
}

uint32_t qvirtio_buf_unregister(QVirtioBuf *b, uint64_t id)
{
    struct virtio_buf_unregister request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UNREGISTER),
        .buffer_id = cpu_to_le64(id),
    };

    return qvirtio_buf_command_status(b, &request, sizeof(request));
}

uint32_t qvirtio_buf_update(QVirtioBuf *b, uint64_t id, uint64_t size,
                            uint64_t *released)
{
    struct virtio_buf_update request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE),
        .buffer_id = cpu_to_le64(id),
        .frame.serial = cpu_to_le64(++b->last_serial),
        .frame.data_size = cpu_to_le64(size),
    };
    struct virtio_buf_update_response response;
    uint32_t len = qvirtio_buf_command(b, &request, sizeof(request), &response,
                                       sizeof(response));

    g_assert_cmpuint(len, ==, sizeof(response));
    if (released) {
        *released = le64_to_cpu(response.released);
    }
    return le32_to_cpu(response.hdr.status);
}

uint64_t qvirtio_buf_update_ok(QVirtioBuf *b, uint64_t id, uint64_t size)
{
    g_assert_cmpuint(qvirtio_buf_update(b, id, size, NULL), ==,
                     VIRTIO_BUF_S_OK);
    return b->last_serial;
}

uint32_t qvirtio_buf_set_properties(QVirtioBuf *b, uint64_t id,
                                    const uint8_t *records, uint32_t size)
{
    struct virtio_buf_set_properties head = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_SET_PROPERTIES),
        .buffer_id = cpu_to_le64(id),
        .property_bytes = cpu_to_le32(size),
    };
    g_autofree uint8_t *request = g_malloc(sizeof(head) + size);

    memcpy(request, &head, sizeof(head));
    if (size) {
        memcpy(request + sizeof(head), records, size);
    }
    return qvirtio_buf_command_status(b, request, sizeof(head) + size);
}

uint32_t qvirtio_buf_reset_command(QVirtioBuf *b, uint32_t scope,
                                   uint32_t context, uint64_t stream,
                                   uint32_t *buffers)
{
    struct virtio_buf_reset request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_RESET),
        .scope = cpu_to_le32(scope),
        .context = cpu_to_le32(context),
        .stream = cpu_to_le64(stream),
    };
    struct virtio_buf_reset_response response;
    uint32_t len = qvirtio_buf_command(b, &request, sizeof(request), &response,
                                       sizeof(response));

    g_assert_cmpuint(len, ==, sizeof(response));
    g_assert_cmpuint(response.reserved, ==, 0);
    if (buffers) {
        *buffers = le32_to_cpu(response.buffers);
    }
    return le32_to_cpu(response.hdr.status);
}

uint8_t *qvirtio_buf_get_records(QVirtioBuf *b, size_t room, unsigned *count,
                                 bool *more)
{
    struct virtio_buf_get_events request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_EVENTS),
    };
    struct virtio_buf_events_response head;
    size_t size = sizeof(head) + room;
    g_autofree uint8_t *answer = g_malloc(size);
    uint32_t len = qvirtio_buf_command(b, &request, sizeof(request), answer,
                                       size);
    size_t pos = sizeof(head);
    unsigned i;

    memcpy(&head, answer, sizeof(head));
    *count = le32_to_cpu(head.count);
    g_assert_cmpuint(le32_to_cpu(head.hdr.status), ==, VIRTIO_BUF_S_OK);
    for (i = 0; i < *count; i++) {
        struct virtio_buf_event *event = (void *)(answer + pos);
        bool written = le32_to_cpu(event->flags) & VIRTIO_BUF_EVENT_WRITTEN;

        g_assert_cmpuint(len - pos, >=, sizeof(*event));
        g_assert_cmpuint(le32_to_cpu(event->size), <=, len - pos);
        g_assert_cmpuint(le32_to_cpu(event->size) % 8, ==, 0);
        g_assert_cmpint(le32_to_cpu(event->size) > sizeof(*event), ==,
                        written);
        g_assert_cmpuint(event->flags, !=, 0);
        g_assert_cmpuint(event->reserved, ==, 0);
        pos += le32_to_cpu(event->size);
    }
    g_assert_cmpuint(len, ==, pos);
    g_assert_cmpuint(le32_to_cpu(head.more), <=, 1);
    *more = head.more;
    return g_memdup2(answer + sizeof(head), len - sizeof(head));
}

unsigned qvirtio_buf_get_events(QVirtioBuf *b, struct virtio_buf_event *events,
                                unsigned max, bool *more)
{
    g_autofree uint8_t *records = NULL;
    unsigned count;

    g_assert_false(b->features & (1ull << VIRTIO_BUF_F_WRITER));
    records = qvirtio_buf_get_records(b, max * sizeof(*events), &count, more);
    g_assert_cmpuint(count, <=, max);
    if (count) {
        memcpy(events, records, count * sizeof(*events));
    }
    return count;
}

/*
 * Drains, and returns which of @flags @id had; @last gets the last event, and
 * the last frame
 */
static uint32_t qvirtio_buf_drain(QVirtioBuf *b, uint64_t id, uint32_t flags,
                                  QVirtioBufWritten *last)
{
    uint32_t seen = 0;
    bool more;

    do {
        g_autofree uint8_t *records = NULL;
        uint8_t *record;
        unsigned count;

        records = qvirtio_buf_get_records(b, sizeof(last->bytes), &count,
                                          &more);
        for (record = records; count--; ) {
            struct virtio_buf_event event;
            size_t frame_size;

            memcpy(&event, record, sizeof(event));
            frame_size = le32_to_cpu(event.size) - sizeof(event);
            if (le64_to_cpu(event.buffer_id) == id) {
                seen |= le32_to_cpu(event.flags) & flags;
                last->event.buffer_id = id;
                last->event.size = le32_to_cpu(event.size);
                last->event.flags = le32_to_cpu(event.flags);
                last->event.released = le64_to_cpu(event.released);
                last->event.consumers = le32_to_cpu(event.consumers);
                last->event.backing = event.backing;
                last->event.reason = event.reason;
                if (frame_size) {
                    memcpy(last->bytes, record + sizeof(event), frame_size);
                    g_assert_cmpint(virtio_buf_frame_parse(
                                        last->bytes, frame_size, UINT64_MAX,
                                        &last->frame), ==, 0);
                }
            }
            record += le32_to_cpu(event.size);
        }
    } while (more);
    return seen;
}

void qvirtio_buf_wait_event(QVirtioBuf *b, uint64_t id, uint32_t flags,
                            struct virtio_buf_event *event)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    QVirtioBufWritten last = {};
    uint32_t seen = 0;

    for (;;) {
        seen |= qvirtio_buf_drain(b, id, flags, &last);
        if (seen == flags) {
            break;
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    if (event) {
        *event = last.event;
    }
}

void qvirtio_buf_wait_written(QVirtioBuf *b, uint64_t id, uint64_t serial,
                              uint64_t size, QVirtioBufWritten *written)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    QVirtioBufWritten own;

    written = written ?: &own;
    written->frame.serial = 0;
    while (!qvirtio_buf_drain(b, id, VIRTIO_BUF_EVENT_WRITTEN, written) ||
           written->frame.serial < serial) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    g_assert_cmpuint(written->frame.serial, ==, serial);
    g_assert_cmpuint(written->frame.data_offset, ==, 0);
    g_assert_cmpuint(written->frame.data_size, ==, size);
}

void qvirtio_buf_no_event(QVirtioBuf *b, uint64_t id, uint32_t flags)
{
    QVirtioBufWritten last;

    g_assert_cmphex(qvirtio_buf_drain(b, id, flags, &last), ==, 0);
}

uint32_t qvirtio_buf_property(uint8_t *list, uint32_t size, const char *name,
                              const char *value)
{
    struct virtio_buf_property_view view = {
        .name = name,
        .value = value,
        .name_len = strlen(name),
        .value_len = strlen(value),
    };

    return size + virtio_buf_property_put(list + size, &view);
}

uint32_t qvirtio_buf_property_delete(uint8_t *list, uint32_t size,
                                     const char *name)
{
    struct virtio_buf_property_view view = {
        .name = name,
        .value = "",
        .name_len = strlen(name),
        .deleted = true,
    };

    return size + virtio_buf_property_put(list + size, &view);
}

static void *qvirtio_buf_get_driver(QVirtioBuf *b, const char *interface)
{
    if (!g_strcmp0(interface, "virtio-buf") ||
        !g_strcmp0(interface, QVIRTIO_BUF_WRITER) ||
        !g_strcmp0(interface, QVIRTIO_BUF_PEERS) ||
        !g_strcmp0(interface, QVIRTIO_BUF_SCREEN) ||
        !g_strcmp0(interface, QVIRTIO_BUF_MONITOR) ||
        !g_strcmp0(interface, QVIRTIO_BUF_ALONE)) {
        return b;
    }
    if (!g_strcmp0(interface, "virtio")) {
        return b->vdev;
    }
    fprintf(stderr, "%s not present in virtio-buf\n", interface);
    g_assert_not_reached();
}

static void *qvirtio_buf_device_get_driver(void *object, const char *interface)
{
    QVirtioBufDevice *device = object;

    return qvirtio_buf_get_driver(&device->buf, interface);
}

static void qvirtio_buf_device_destructor(QOSGraphObject *obj)
{
    qvirtio_buf_cleanup(&((QVirtioBufDevice *)obj)->buf);
}

static void qvirtio_buf_device_start_hw(QOSGraphObject *obj)
{
    qvirtio_buf_setup(&((QVirtioBufDevice *)obj)->buf);
}

static void *qvirtio_buf_device_create(void *virtio_dev,
                                       QGuestAllocator *alloc, void *addr)
{
    QVirtioBufDevice *device = g_new0(QVirtioBufDevice, 1);

    device->buf.vdev = virtio_dev;
    device->buf.alloc = alloc;
    device->obj.get_driver = qvirtio_buf_device_get_driver;
    device->obj.start_hw = qvirtio_buf_device_start_hw;
    device->obj.destructor = qvirtio_buf_device_destructor;
    return &device->obj;
}

static void *qvirtio_buf_pci_get_driver(void *object, const char *interface)
{
    QVirtioBufPCI *pci = object;

    if (!g_strcmp0(interface, "pci-device")) {
        return pci->pci_vdev.pdev;
    }
    return qvirtio_buf_get_driver(&pci->buf, interface);
}

static void qvirtio_buf_pci_destructor(QOSGraphObject *obj)
{
    qvirtio_buf_cleanup(&((QVirtioBufPCI *)obj)->buf);
    qvirtio_pci_destructor(obj);
}

static void qvirtio_buf_pci_start_hw(QOSGraphObject *obj)
{
    qvirtio_pci_start_hw(obj);
    qvirtio_buf_setup(&((QVirtioBufPCI *)obj)->buf);
}

static void *qvirtio_buf_pci_create(void *pci_bus, QGuestAllocator *alloc,
                                    void *addr)
{
    QVirtioBufPCI *pci = g_new0(QVirtioBufPCI, 1);
    QOSGraphObject *obj = &pci->pci_vdev.obj;

    virtio_pci_init(&pci->pci_vdev, pci_bus, addr);
    pci->buf.vdev = &pci->pci_vdev.vdev;
    pci->buf.pci = &pci->pci_vdev;
    pci->buf.alloc = alloc;
    obj->get_driver = qvirtio_buf_pci_get_driver;
    obj->start_hw = qvirtio_buf_pci_start_hw;
    obj->destructor = qvirtio_buf_pci_destructor;
    return obj;
}

static void virtio_buf_register_nodes(void)
{
    QPCIAddress addr = {
        .devfn = QPCI_DEVFN(4, 0),
    };
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = "addr=04.0",
    };

    qos_node_create_driver("virtio-buf-device", qvirtio_buf_device_create);
    qos_node_consumes("virtio-buf-device", "virtio-bus", NULL);
    qos_node_produces("virtio-buf-device", "virtio");
    qos_node_produces("virtio-buf-device", "virtio-buf");
    qos_node_produces("virtio-buf-device", QVIRTIO_BUF_WRITER);
    qos_node_produces("virtio-buf-device", QVIRTIO_BUF_PEERS);
    qos_node_produces("virtio-buf-device", QVIRTIO_BUF_SCREEN);
    qos_node_produces("virtio-buf-device", QVIRTIO_BUF_MONITOR);

    add_qpci_address(&opts, &addr);
    qos_node_create_driver("virtio-buf-pci", qvirtio_buf_pci_create);
    qos_node_consumes("virtio-buf-pci", "pci-bus", &opts);
    qos_node_produces("virtio-buf-pci", "pci-device");
    qos_node_produces("virtio-buf-pci", "virtio");
    qos_node_produces("virtio-buf-pci", "virtio-buf");
    qos_node_produces("virtio-buf-pci", QVIRTIO_BUF_WRITER);
    qos_node_produces("virtio-buf-pci", QVIRTIO_BUF_PEERS);
    qos_node_produces("virtio-buf-pci", QVIRTIO_BUF_SCREEN);
    qos_node_produces("virtio-buf-pci", QVIRTIO_BUF_MONITOR);
    qos_node_produces("virtio-buf-pci", QVIRTIO_BUF_ALONE);
}

libqos_init(virtio_buf_register_nodes);
