/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: what the guest asks for, and what it is answered
 *
 * No consumer is there. Each status of the commands that make, change and take
 * back buffers: a command that is right is made wrong, one field at a time.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"

#define PAGE_SIZE 4096

static void check_backing(const struct virtio_buf_register_response *response,
                          uint8_t reason)
{
    if (!qvirtio_buf_zero_copy()) {
        g_assert_cmpuint(response->backing, ==, VIRTIO_BUF_BACKING_COPY);
        g_assert_cmpuint(response->reason, ==, VIRTIO_BUF_REASON_NO_UDMABUF);
        return;
    }
    g_assert_cmpuint(response->reason, ==, reason);
    g_assert_cmpuint(response->backing, ==, reason == VIRTIO_BUF_REASON_NONE ?
                     VIRTIO_BUF_BACKING_DMABUF : VIRTIO_BUF_BACKING_COPY);
}

static void test_register(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer one = { .size = 3 * PAGE_SIZE - 17 }, two = { .id = 1000 };
    QVirtioBufBuffer scattered = { .size = 3 * PAGE_SIZE };
    uint64_t addr = guest_alloc(alloc, 8 * PAGE_SIZE);
    struct virtio_buf_range ranges[] = {
        { cpu_to_le64(addr + 6 * PAGE_SIZE), cpu_to_le64(PAGE_SIZE) },
        { cpu_to_le64(addr), cpu_to_le64(PAGE_SIZE) },
        { cpu_to_le64(addr + PAGE_SIZE), cpu_to_le64(PAGE_SIZE) },
    };

    qvirtio_buf_register_ok(b, &one, 1);
    check_backing(&one.response, VIRTIO_BUF_REASON_NONE);
    /* RFC 9562: random */
    g_assert_cmphex(one.response.uuid[6] & 0xf0, ==, 0x40);
    g_assert_cmphex(one.response.uuid[8] & 0xc0, ==, 0x80);

    qvirtio_buf_register_ok(b, &two, 2);
    g_assert_cmpint(memcmp(one.response.uuid, two.response.uuid, 16), !=, 0);

    scattered.ranges = ranges;
    scattered.range_count = ARRAY_SIZE(ranges);
    qvirtio_buf_register_ok(b, &scattered, 3);
    g_assert_cmpuint(scattered.id, ==, 1001);
    check_backing(&scattered.response, VIRTIO_BUF_REASON_NONE);

    g_assert_cmpuint(qvirtio_buf_unregister(b, one.id), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_unregister(b, one.id), ==,
                     VIRTIO_BUF_S_NO_BUFFER);
    g_assert_cmpuint(qvirtio_buf_unregister(b, two.id), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_unregister(b, scattered.id), ==,
                     VIRTIO_BUF_S_OK);
    /* OK is the end: no FREED follows */
    qvirtio_buf_no_event(b, one.id, ~0);
}

/* A REGISTER that is right, to be made wrong */
typedef struct RawRegister {
    struct virtio_buf_register head;
    struct virtio_buf_range ranges[2];
    struct virtio_buf_property property;
    char text[8];                       /* "a=b" without the '=' */
} RawRegister;

static void raw_register_init(RawRegister *raw, QVirtioBuf *b)
{
    uint64_t addr = guest_alloc(b->alloc, 4 * PAGE_SIZE);

    *raw = (RawRegister) {
        .head = {
            .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_REGISTER),
            .buffer_id = cpu_to_le64(1),
            .size = cpu_to_le64(2 * PAGE_SIZE),
            .range_count = cpu_to_le32(2),
            .property_bytes = cpu_to_le32(16),
            .application = "test",
        },
        .ranges = {
            { cpu_to_le64(addr), cpu_to_le64(PAGE_SIZE) },
            { cpu_to_le64(addr + 2 * PAGE_SIZE), cpu_to_le64(PAGE_SIZE) },
        },
        .property = { .name_len = cpu_to_le16(1), .value_len = cpu_to_le32(1) },
        .text = "ab",
    };
}

static uint32_t raw_register(QVirtioBuf *b, const RawRegister *raw, size_t size)
{
    struct virtio_buf_register_response response;
    uint32_t len = qvirtio_buf_command(b, raw, size, &response,
                                       sizeof(response));

    g_assert_cmpuint(len, ==, sizeof(response));
    return le32_to_cpu(response.hdr.status);
}

/* One field with another value */
typedef struct Fault {
    const char *what;
    size_t offset;
    size_t size;
    uint64_t value;
    uint32_t status;
} Fault;

static void fault_put(void *request, const Fault *fault)
{
    uint64_t value = cpu_to_le64(fault->value);

    g_assert_cmpuint(fault->size, <=, sizeof(value));
    memcpy((uint8_t *)request + fault->offset, &value, fault->size);
}

#define FAULT(type, field, new_value, new_status) \
    { #field " = " #new_value, offsetof(type, field), \
      sizeof(((type *)0)->field), new_value, new_status }

#define REGISTER_FAULT(field, value, status) \
    FAULT(RawRegister, field, value, VIRTIO_BUF_S_##status)

static const Fault register_faults[] = {
    REGISTER_FAULT(head.hdr.flags, 1, INVALID),
    REGISTER_FAULT(head.hdr.flags, 0x80000000, INVALID),
    REGISTER_FAULT(head.buffer_id, 0, ID_ORDER),
    REGISTER_FAULT(head.size, 0, INVALID),
    REGISTER_FAULT(head.size, PAGE_SIZE, INVALID),
    REGISTER_FAULT(head.size, 2 * PAGE_SIZE + 1, INVALID),
    REGISTER_FAULT(head.size, UINT64_MAX, LIMIT),
    REGISTER_FAULT(head.mode, 3, INVALID),
    REGISTER_FAULT(head.mode, 255, INVALID),
    REGISTER_FAULT(head.access, VIRTIO_BUF_ACCESS_WRITER, UNSUPPORTED),
    REGISTER_FAULT(head.access, 2, INVALID),
    REGISTER_FAULT(head.reserved, 1, INVALID),
    REGISTER_FAULT(head.range_count, 0, INVALID),
    REGISTER_FAULT(head.range_count, 1, INVALID),
    REGISTER_FAULT(head.range_count, 3, INVALID),
    REGISTER_FAULT(head.range_count, UINT32_MAX, LIMIT),
    REGISTER_FAULT(head.property_bytes, 8, INVALID),
    REGISTER_FAULT(head.property_bytes, 24, INVALID),
    REGISTER_FAULT(head.property_bytes, UINT32_MAX, LIMIT),
    REGISTER_FAULT(head.application[0], 0, INVALID),
    REGISTER_FAULT(head.application[0], 0xff, INVALID),
    REGISTER_FAULT(head.application[2], 0, INVALID),
    REGISTER_FAULT(head.application[63], 'x', INVALID),
    REGISTER_FAULT(ranges[0].addr, PAGE_SIZE + 1, INVALID),
    REGISTER_FAULT(ranges[0].addr, UINT64_MAX - PAGE_SIZE + 1, NOT_RAM),
    REGISTER_FAULT(ranges[0].len, 0, INVALID),
    REGISTER_FAULT(ranges[0].len, PAGE_SIZE - 1, INVALID),
    REGISTER_FAULT(ranges[0].len, 2 * PAGE_SIZE, INVALID),
    REGISTER_FAULT(ranges[1].len, UINT64_MAX - PAGE_SIZE + 1, INVALID),
    REGISTER_FAULT(property.name_len, 0, INVALID),
    REGISTER_FAULT(property.name_len, 256, INVALID),
    REGISTER_FAULT(property.flags, 2, INVALID),
    REGISTER_FAULT(property.value_len, UINT32_MAX, INVALID),
    REGISTER_FAULT(text[0], '=', INVALID),
    REGISTER_FAULT(text[0], 0, INVALID),
    REGISTER_FAULT(text[1], 0xc0, INVALID),
    REGISTER_FAULT(text[1], 0, INVALID),
    REGISTER_FAULT(text[7], 1, INVALID),
};

static void test_register_faults(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    RawRegister raw, wrong;
    size_t i, size;
    uint32_t status;

    raw_register_init(&raw, b);
    for (i = 0; i < ARRAY_SIZE(register_faults); i++) {
        const Fault *fault = &register_faults[i];

        g_test_message("%s", fault->what);
        wrong = raw;
        fault_put(&wrong, fault);
        status = raw_register(b, &wrong, sizeof(wrong));
        if (status != fault->status) {
            g_error("%s: status %u, not %u", fault->what, status,
                    fault->status);
        }
    }

    /* Another length than the fields say */
    for (size = sizeof(raw.head); size < sizeof(raw); size += 4) {
        g_assert_cmpuint(raw_register(b, &raw, size), ==,
                         VIRTIO_BUF_S_INVALID);
    }

    /* DELETE has no sense here, and a name stands once */
    wrong = raw;
    wrong.property.flags = cpu_to_le16(VIRTIO_BUF_PROPERTY_DELETE);
    wrong.property.value_len = 0;
    wrong.text[1] = 0;
    g_assert_cmpuint(raw_register(b, &wrong, sizeof(wrong)), ==,
                     VIRTIO_BUF_S_INVALID);

    /* Nothing has changed: it is still right, and its id not used */
    g_assert_cmpuint(raw_register(b, &raw, sizeof(raw)), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(raw_register(b, &raw, sizeof(raw)), ==,
                     VIRTIO_BUF_S_ID_ORDER);
}

static void test_register_twice_named(void *obj, void *data,
                                      QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint8_t records[64] QEMU_ALIGNED(8);
    QVirtioBufBuffer buffer = { .properties = records };

    buffer.property_bytes = qvirtio_buf_property(records, 0, "a", "1");
    buffer.property_bytes = qvirtio_buf_property(records, buffer.property_bytes,
                                                 "a", "2");
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                     VIRTIO_BUF_S_INVALID);
}

static void test_register_memory(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint64_t addr = guest_alloc(alloc, 4 * PAGE_SIZE);
    struct virtio_buf_range twice[] = {
        { cpu_to_le64(addr), cpu_to_le64(2 * PAGE_SIZE) },
        { cpu_to_le64(addr + PAGE_SIZE), cpu_to_le64(PAGE_SIZE) },
    };
    QVirtioBufBuffer buffer = {}, other = {};

    /* Behind all RAM, the local APIC, and half in RAM */
    buffer.addr = 1ull << 40;
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                     VIRTIO_BUF_S_NOT_RAM);
    buffer.addr = 0xfee00000;
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                     VIRTIO_BUF_S_NOT_RAM);
    buffer.addr = 256 * 1024 * 1024 - PAGE_SIZE;
    buffer.size = 2 * PAGE_SIZE;
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                     VIRTIO_BUF_S_NOT_RAM);

    /* A page twice in one buffer */
    buffer = (QVirtioBufBuffer) {
        .size = 3 * PAGE_SIZE,
        .ranges = twice,
        .range_count = ARRAY_SIZE(twice),
    };
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==,
                     VIRTIO_BUF_S_OVERLAP);

    /* A page in two buffers: the second is copied */
    buffer = (QVirtioBufBuffer) { .addr = addr, .size = 2 * PAGE_SIZE };
    other = (QVirtioBufBuffer) { .addr = addr + PAGE_SIZE };
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_OK);
    check_backing(&buffer.response, VIRTIO_BUF_REASON_NONE);
    g_assert_cmpuint(qvirtio_buf_register(b, &other), ==, VIRTIO_BUF_S_OK);
    check_backing(&other.response, VIRTIO_BUF_REASON_OVERLAP);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_unregister(b, other.id), ==, VIRTIO_BUF_S_OK);

    /* Nothing is claimed any more */
    other.id = 0;
    g_assert_cmpuint(qvirtio_buf_register(b, &other), ==, VIRTIO_BUF_S_OK);
    check_backing(&other.response, VIRTIO_BUF_REASON_NONE);
}

static void test_register_limits(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint64_t addr = guest_alloc(alloc, 16 * PAGE_SIZE);
    uint8_t records[256] QEMU_ALIGNED(8);
    struct virtio_buf_range ranges[5];
    QVirtioBufBuffer buffer, kept[3] = {};
    uint32_t i, size;

    /* max-buffer-size=64K */
    buffer = (QVirtioBufBuffer) { .addr = addr, .size = 64 * 1024 + 1 };
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_LIMIT);

    /* max-ranges=4 */
    for (i = 0; i < ARRAY_SIZE(ranges); i++) {
        ranges[i].addr = cpu_to_le64(addr + 2 * i * PAGE_SIZE);
        ranges[i].len = cpu_to_le64(PAGE_SIZE);
    }
    buffer = (QVirtioBufBuffer) { .size = 5 * PAGE_SIZE, .ranges = ranges,
                                  .range_count = 5 };
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_LIMIT);
    buffer = (QVirtioBufBuffer) { .size = 4 * PAGE_SIZE, .ranges = ranges,
                                  .range_count = 4 };
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==, VIRTIO_BUF_S_OK);

    /* max-properties=2 */
    size = qvirtio_buf_property(records, 0, "a", "1");
    size = qvirtio_buf_property(records, size, "b", "2");
    size = qvirtio_buf_property(records, size, "c", "3");
    buffer = (QVirtioBufBuffer) { .addr = addr, .properties = records,
                                  .property_bytes = size };
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_LIMIT);

    /* max-property-bytes=64 */
    size = qvirtio_buf_property(records, 0, "name",
                                "0123456789012345678901234567890123456789"
                                "0123456789");
    g_assert_cmpuint(size, ==, 64);
    buffer = (QVirtioBufBuffer) { .addr = addr, .properties = records,
                                  .property_bytes = size };
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==, VIRTIO_BUF_S_OK);
    size = qvirtio_buf_property(records, size, "x", "");
    buffer.id = 0;
    buffer.property_bytes = size;
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_LIMIT);

    /* max-total-size=96K */
    kept[0].size = 64 * 1024;
    g_assert_cmpuint(qvirtio_buf_register(b, &kept[0]), ==, VIRTIO_BUF_S_OK);
    buffer = (QVirtioBufBuffer) { .addr = addr, .size = 32 * 1024 + 1 };
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_LIMIT);
    g_assert_cmpuint(qvirtio_buf_unregister(b, kept[0].id), ==,
                     VIRTIO_BUF_S_OK);

    /* max-buffers=3 */
    for (i = 0; i < 3; i++) {
        kept[i] = (QVirtioBufBuffer) {};
        g_assert_cmpuint(qvirtio_buf_register(b, &kept[i]), ==,
                         VIRTIO_BUF_S_OK);
    }
    buffer = (QVirtioBufBuffer) { .addr = addr };
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_LIMIT);
    g_assert_cmpuint(qvirtio_buf_unregister(b, kept[1].id), ==,
                     VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_register(b, &buffer), ==, VIRTIO_BUF_S_OK);
}

static void test_set_properties(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint8_t records[256] QEMU_ALIGNED(8);
    QVirtioBufBuffer buffer = {};
    uint32_t size;
    struct virtio_buf_set_properties request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_SET_PROPERTIES),
        .buffer_id = cpu_to_le64(1),
        .reserved = cpu_to_le32(1),
    };

    size = qvirtio_buf_property(records, 0, "a", "1");
    g_assert_cmpuint(qvirtio_buf_set_properties(b, 1, records, size), ==,
                     VIRTIO_BUF_S_NO_BUFFER);
    qvirtio_buf_register_ok(b, &buffer, 0);
    g_assert_cmpuint(qvirtio_buf_set_properties(b, 1, records, size), ==,
                     VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_set_properties(b, 1, records, 0), ==,
                     VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_set_properties(b, 1, records, size - 8), ==,
                     VIRTIO_BUF_S_INVALID);

    /* The second of two is too many, so the first is not set either */
    size = qvirtio_buf_property(records, 0, "b", "2");
    size = qvirtio_buf_property(records, size, "c", "3");
    g_assert_cmpuint(qvirtio_buf_set_properties(b, 1, records, size), ==,
                     VIRTIO_BUF_S_LIMIT);
    size = qvirtio_buf_property(records, 0, "b", "2");
    g_assert_cmpuint(qvirtio_buf_set_properties(b, 1, records, size), ==,
                     VIRTIO_BUF_S_OK);
    size = qvirtio_buf_property(records, 0, "c", "3");
    g_assert_cmpuint(qvirtio_buf_set_properties(b, 1, records, size), ==,
                     VIRTIO_BUF_S_LIMIT);

    /* One goes, one comes; one that is not there may go */
    size = qvirtio_buf_property_delete(records, 0, "a");
    size = qvirtio_buf_property(records, size, "c", "3");
    size = qvirtio_buf_property_delete(records, size, "nothing");
    g_assert_cmpuint(qvirtio_buf_set_properties(b, 1, records, size), ==,
                     VIRTIO_BUF_S_OK);

    /* A name twice */
    size = qvirtio_buf_property_delete(records, 0, "c");
    size = qvirtio_buf_property(records, size, "c", "4");
    g_assert_cmpuint(qvirtio_buf_set_properties(b, 1, records, size), ==,
                     VIRTIO_BUF_S_INVALID);

    g_assert_cmpuint(qvirtio_buf_command_status(b, &request, sizeof(request)),
                     ==, VIRTIO_BUF_S_INVALID);
    request.reserved = 0;
    request.hdr.flags = cpu_to_le32(1);
    g_assert_cmpuint(qvirtio_buf_command_status(b, &request, sizeof(request)),
                     ==, VIRTIO_BUF_S_INVALID);
    request.hdr.flags = 0;
    g_assert_cmpuint(qvirtio_buf_command_status(b, &request, sizeof(request)),
                     ==, VIRTIO_BUF_S_OK);
}

typedef struct RawUpdate {
    struct virtio_buf_update head;
    struct virtio_buf_rect rect;
    struct virtio_buf_span span;
    struct virtio_buf_property property;
    char text[8];
} RawUpdate;

#define UPDATE_FAULT(field, value, status) \
    FAULT(RawUpdate, field, value, VIRTIO_BUF_S_##status)

static const Fault update_faults[] = {
    UPDATE_FAULT(head.hdr.flags, 1, INVALID),
    UPDATE_FAULT(head.buffer_id, 2, NO_BUFFER),
    UPDATE_FAULT(head.buffer_id, 0, NO_BUFFER),
    UPDATE_FAULT(head.frame.serial, 9, ID_ORDER),
    UPDATE_FAULT(head.frame.flags, 0x10, INVALID),
    UPDATE_FAULT(head.frame.clock, 5, INVALID),
    UPDATE_FAULT(head.frame.clock, VIRTIO_BUF_CLOCK_NONE, INVALID),
    UPDATE_FAULT(head.frame.data_offset, 1, INVALID),
    UPDATE_FAULT(head.frame.data_offset, UINT64_MAX, INVALID),
    UPDATE_FAULT(head.frame.data_size, PAGE_SIZE + 1, INVALID),
    UPDATE_FAULT(head.frame.data_size, UINT64_MAX, INVALID),
    UPDATE_FAULT(head.frame.rect_count, 0, INVALID),
    UPDATE_FAULT(head.frame.rect_count, 17, INVALID),
    UPDATE_FAULT(head.frame.span_count, 0, INVALID),
    UPDATE_FAULT(head.frame.span_count, 17, INVALID),
    UPDATE_FAULT(head.frame.property_bytes, 8, INVALID),
    UPDATE_FAULT(head.frame.property_bytes, UINT32_MAX, LIMIT),
    UPDATE_FAULT(rect.width, 0, INVALID),
    UPDATE_FAULT(rect.height, 0, INVALID),
    UPDATE_FAULT(span.len, 0, INVALID),
    UPDATE_FAULT(span.len, UINT64_MAX, INVALID),
    UPDATE_FAULT(span.offset, PAGE_SIZE, INVALID),
    UPDATE_FAULT(span.offset, UINT64_MAX, INVALID),
    UPDATE_FAULT(property.name_len, 0, INVALID),
    UPDATE_FAULT(property.flags, 2, INVALID),
    UPDATE_FAULT(text[0], '=', INVALID),
};

static uint32_t raw_update(QVirtioBuf *b, const RawUpdate *raw, size_t size,
                           uint64_t *released)
{
    struct virtio_buf_update_response response;
    uint32_t len = qvirtio_buf_command(b, raw, size, &response,
                                       sizeof(response));

    g_assert_cmpuint(len, ==, sizeof(response));
    *released = le64_to_cpu(response.released);
    return le32_to_cpu(response.hdr.status);
}

static void test_update(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .mode = VIRTIO_BUF_MODE_LATEST };
    RawUpdate wrong, raw = {
        .head = {
            .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE),
            .buffer_id = cpu_to_le64(1),
            .frame = {
                .serial = cpu_to_le64(10),
                .flags = cpu_to_le32(VIRTIO_BUF_FRAME_FLAGS),
                .clock = cpu_to_le32(VIRTIO_BUF_CLOCK_STREAM),
                .data_size = cpu_to_le64(PAGE_SIZE),
                .pts = cpu_to_le64(1),
                .rect_count = cpu_to_le16(1),
                .span_count = cpu_to_le16(1),
                .property_bytes = cpu_to_le32(16),
            },
        },
        .rect = { 0, 0, cpu_to_le32(1), cpu_to_le32(1) },
        .span = { 0, cpu_to_le64(PAGE_SIZE) },
        .property = { .name_len = cpu_to_le16(1), .value_len = cpu_to_le32(1) },
        .text = "ab",
    };
    uint64_t released;
    uint32_t status;
    size_t i, size;

    qvirtio_buf_register_ok(b, &buffer, 0);
    b->last_serial = 8;
    g_assert_cmpuint(qvirtio_buf_update(b, 1, PAGE_SIZE, &released), ==,
                     VIRTIO_BUF_S_OK);
    /* Nobody reads it */
    g_assert_cmpuint(released, ==, 9);

    for (i = 0; i < ARRAY_SIZE(update_faults); i++) {
        const Fault *fault = &update_faults[i];

        g_test_message("%s", fault->what);
        wrong = raw;
        fault_put(&wrong, fault);
        status = raw_update(b, &wrong, sizeof(wrong), &released);
        if (status != fault->status) {
            g_error("%s: status %u, not %u", fault->what, status,
                    fault->status);
        }
    }
    for (size = sizeof(raw.head); size < sizeof(raw); size += 4) {
        g_assert_cmpuint(raw_update(b, &raw, size, &released), ==,
                         VIRTIO_BUF_S_INVALID);
    }

    /* None of them has used the serial */
    g_assert_cmpuint(raw_update(b, &raw, sizeof(raw), &released), ==,
                     VIRTIO_BUF_S_OK);
    g_assert_cmpuint(released, ==, 10);
    g_assert_cmpuint(raw_update(b, &raw, sizeof(raw), &released), ==,
                     VIRTIO_BUF_S_ID_ORDER);
    /* The answer has told: there is no event */
    qvirtio_buf_no_event(b, 1, VIRTIO_BUF_EVENT_RELEASED);
}

/* Serials rise in a stream; streams overtake each other */
static void test_serial_order(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffers[] = {
        { .stream = 7 }, { .stream = 7 }, { .stream = 0 }, { .stream = 0 },
    };
    const struct {
        uint64_t id, serial;
        uint32_t status;
    } updates[] = {
        { 1, 100, VIRTIO_BUF_S_OK },
        { 3, 50, VIRTIO_BUF_S_OK },
        { 4, 40, VIRTIO_BUF_S_OK },
        { 2, 100, VIRTIO_BUF_S_ID_ORDER },
        { 2, 99, VIRTIO_BUF_S_ID_ORDER },
        { 2, 101, VIRTIO_BUF_S_OK },
        { 1, 101, VIRTIO_BUF_S_ID_ORDER },
        { 3, 50, VIRTIO_BUF_S_ID_ORDER },
        { 4, 51, VIRTIO_BUF_S_OK },
        { 3, 52, VIRTIO_BUF_S_OK },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(buffers); i++) {
        qvirtio_buf_register_ok(b, &buffers[i], 0);
    }
    for (i = 0; i < ARRAY_SIZE(updates); i++) {
        g_test_message("update %zu", i);
        b->last_serial = updates[i].serial - 1;
        g_assert_cmpuint(qvirtio_buf_update(b, updates[i].id, PAGE_SIZE, NULL),
                         ==, updates[i].status);
    }
}

#define RESET_FAULT(field, value, status) \
    FAULT(struct virtio_buf_reset, field, value, VIRTIO_BUF_S_##status)

static const Fault reset_faults[] = {
    RESET_FAULT(hdr.flags, 1, INVALID),
    RESET_FAULT(scope, 3, INVALID),
    RESET_FAULT(context, 1, INVALID),
    RESET_FAULT(stream, 1, INVALID),
    RESET_FAULT(scope, VIRTIO_BUF_RESET_STREAM, INVALID),
};

static void test_reset_scopes(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_reset wrong, request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_RESET),
    };
    struct virtio_buf_reset_response response;
    QVirtioBufBuffer buffers[] = {
        { .context = 1, .stream = 7 }, { .context = 1, .stream = 8 },
        { .context = 2, .stream = 7 }, { .context = 2 }, { .context = 0 },
    };
    uint32_t count;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(buffers); i++) {
        qvirtio_buf_register_ok(b, &buffers[i], 0);
    }
    for (i = 0; i < ARRAY_SIZE(reset_faults); i++) {
        g_test_message("%s", reset_faults[i].what);
        wrong = request;
        fault_put(&wrong, &reset_faults[i]);
        qvirtio_buf_command(b, &wrong, sizeof(wrong), &response,
                            sizeof(response));
        g_assert_cmpuint(le32_to_cpu(response.hdr.status), ==,
                         VIRTIO_BUF_S_INVALID);
        g_assert_cmpuint(response.buffers, ==, 0);
    }

    g_assert_cmpuint(qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_STREAM, 0, 7,
                                               &count), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(count, ==, 2);
    qvirtio_buf_wait_event(b, buffers[0].id, VIRTIO_BUF_EVENT_FREED, NULL);
    qvirtio_buf_no_event(b, buffers[2].id, VIRTIO_BUF_EVENT_FREED);

    g_assert_cmpuint(qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_CONTEXT, 2,
                                               0, &count), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(count, ==, 1);
    qvirtio_buf_wait_event(b, buffers[3].id, VIRTIO_BUF_EVENT_FREED, NULL);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffers[3].id), ==,
                     VIRTIO_BUF_S_NO_BUFFER);

    /* 0 is a context like any other */
    g_assert_cmpuint(qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_CONTEXT, 0,
                                               0, &count), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(count, ==, 1);
    g_assert_cmpuint(qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_ALL, 0, 0,
                                               &count), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(count, ==, 1);
    qvirtio_buf_wait_event(b, buffers[1].id, VIRTIO_BUF_EVENT_FREED, NULL);
    g_assert_cmpuint(qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_ALL, 0, 0,
                                               &count), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(count, ==, 0);
}

static void register_virtio_buf_command_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions small = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SMALL,
    };

    qos_add_test("guest/register", "virtio-buf", test_register, &opts);
    qos_add_test("guest/register-faults", "virtio-buf", test_register_faults,
                 &opts);
    qos_add_test("guest/register-twice-named", "virtio-buf",
                 test_register_twice_named, &opts);
    qos_add_test("guest/register-memory", "virtio-buf", test_register_memory,
                 &opts);
    qos_add_test("guest/update", "virtio-buf", test_update, &opts);
    qos_add_test("guest/serial-order", "virtio-buf", test_serial_order, &opts);
    qos_add_test("guest/reset-scopes", "virtio-buf", test_reset_scopes, &opts);
    qos_add_test("guest/register-limits", "virtio-buf", test_register_limits,
                 &small);
    qos_add_test("guest/set-properties", "virtio-buf", test_set_properties,
                 &small);
}

libqos_init(register_virtio_buf_command_test);
