/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: buffers that a consumer writes. The one on the host (--writer)
 * turns over each bit of an update's payload and says so with a title, a time
 * that counts its frames, and one span and one rectangle.
 */
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

#define WRITER_STEP_NS  1000000

struct room {
    struct drm_virtbuf_get_written args;
    struct drm_virtbuf_rect rects[DRM_VIRTBUF_MAX_DAMAGE];
    struct drm_virtbuf_span spans[DRM_VIRTBUF_MAX_DAMAGE];
    uint8_t records[1024];
};

/* Room for a frame; @room must not move */
static void room_init(struct room *room, uint32_t buffer)
{
    memset(room, 0, sizeof(*room));
    room->args = (struct drm_virtbuf_get_written) {
        .buffer = buffer,
        .rects = PTR(room->rects), .rect_count = DRM_VIRTBUF_MAX_DAMAGE,
        .spans = PTR(room->spans), .span_count = DRM_VIRTBUF_MAX_DAMAGE,
        .properties = PTR(room->records),
        .property_size = sizeof(room->records),
    };
}

static int room_fill(int fd, struct room *room)
{
    return ioctl(fd, DRM_IOCTL_VIRTBUF_GET_WRITTEN, &room->args);
}

static int open_with_writers(void)
{
    int fd = device_open();

    if (!device_feature(fd, DRM_VIRTBUF_FEATURE_WRITER)) {
        test_skip("the device has no buffers that consumers write");
    }
    return fd;
}

static uint32_t new_buffer(int fd, uint32_t bo, const char *application,
                           uint32_t mode)
{
    struct registration reg;

    registration_init(&reg, bo, 2 * device_page(fd));
    reg.args.application = PTR(application);
    reg.args.application_len = (uint32_t)strlen(application);
    reg.args.mode = mode;
    reg.args.access = DRM_VIRTBUF_ACCESS_WRITER;
    CHECK_OK(registration_do(fd, &reg));
    return reg.args.buffer;
}

static void fields(void)
{
    int fd = open_with_writers(), other = device_open();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, 2 * page);
    uint32_t buffer = new_buffer(fd, bo, APPLICATION_ALONE,
                                 DRM_VIRTBUF_MODE_LATEST);
    uint32_t reader = register_page(fd, page);
    struct room room;

    room_init(&room, buffer);
    CHECK_ERRNO(room_fill(fd, &room), ENOENT);
    CHECK_ERRNO(room_fill(other, &room), ENOENT);
    room.args.buffer = BAD_HANDLE;
    CHECK_ERRNO(room_fill(fd, &room), ENOENT);
    room.args.buffer = reader;
    CHECK_ERRNO(room_fill(fd, &room), EINVAL);
    for (unsigned int bit = 0; bit < 32; bit++) {
        room_init(&room, buffer);
        room.args.flags = 1u << bit;
        CHECK_ERRNO(room_fill(fd, &room), EINVAL);
        room_init(&room, buffer);
        room.args.pad = 1u << bit;
        CHECK_ERRNO(room_fill(fd, &room), EINVAL);
    }
    CHECK_ERRNO(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_WRITTEN, 1, 100), ETIME);
    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_WRITTEN, 0, 100));
    CHECK_ERRNO(wait_one(fd, reader, DRM_VIRTBUF_WAIT_WRITTEN, 0, 100), EINVAL);
    close(other);
    close(fd);
}

/* A page that a consumer writes is in no other buffer */
static void overlap(void)
{
    int fd = open_with_writers();
    uint32_t bo = bo_create(fd, 2 * device_page(fd));
    struct registration reg;

    new_buffer(fd, bo, APPLICATION_ALONE, DRM_VIRTBUF_MODE_LATEST);
    registration_init(&reg, bo, 2 * device_page(fd));
    reg.args.access = DRM_VIRTBUF_ACCESS_WRITER;
    CHECK_ERRNO(registration_do(fd, &reg), EINVAL);
    close(fd);
}

static void check_frame(int fd, uint32_t buffer, uint64_t offset,
                        uint64_t size)
{
    static const char title[] = "titlewritten";
    struct virtio_buf_property head;
    struct room room;

    room_init(&room, buffer);
    room.args.span_count = 0;
    CHECK_ERRNO(room_fill(fd, &room), ENOSPC);
    CHECK_EQ(room.args.span_count, 1);
    CHECK_EQ(room.spans[0].len, 0);
    room_init(&room, buffer);
    room.args.property_size = 1;
    CHECK_ERRNO(room_fill(fd, &room), ENOSPC);
    room_init(&room, buffer);
    room.args.properties = BAD_POINTER;
    CHECK_ERRNO(room_fill(fd, &room), EFAULT);
    room_init(&room, buffer);
    room.args.rects = BAD_POINTER;
    CHECK_ERRNO(room_fill(fd, &room), EFAULT);
    room_init(&room, buffer);
    room.args.spans = BAD_POINTER;
    CHECK_ERRNO(room_fill(fd, &room), EFAULT);

    room_init(&room, buffer);
    CHECK_OK(room_fill(fd, &room));
    CHECK_EQ(room.args.flags, DRM_VIRTBUF_UPDATE_KEYFRAME);
    CHECK_EQ(room.args.data_offset, offset);
    CHECK_EQ(room.args.data_size, size);
    CHECK_EQ(room.args.clock, DRM_VIRTBUF_CLOCK_STREAM);
    CHECK_EQ(room.args.pts, room.args.serial * WRITER_STEP_NS);
    CHECK_EQ(room.args.duration, WRITER_STEP_NS);
    CHECK_EQ(room.args.rect_count, 1);
    CHECK_EQ(room.rects[0].x, 1);
    CHECK_EQ(room.rects[0].y, 2);
    CHECK_EQ(room.rects[0].width, 3);
    CHECK_EQ(room.rects[0].height, 4);
    CHECK_EQ(room.args.span_count, 1);
    CHECK_EQ(room.spans[0].offset, offset);
    CHECK_EQ(room.spans[0].len, size);
    CHECK_EQ(room.args.property_count, 1);
    CHECK_EQ(room.args.property_size, 24);
    memcpy(&head, room.records, sizeof(head));
    CHECK_EQ(head.name_len, 5);
    CHECK_EQ(head.value_len, 7);
    CHECK(memcmp(room.records + sizeof(head), title, 12) == 0);
}

static void written(void)
{
    int fd = open_with_writers();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, 2 * page);
    uint32_t buffer = new_buffer(fd, bo, APPLICATION_WRITER,
                                 DRM_VIRTBUF_MODE_EVERY);
    struct drm_virtbuf_update update = update_of(buffer, 100);
    uint8_t *bytes = bo_map(fd, bo, 2 * page);

    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1, PATIENCE_MS));
    update.data_offset = page - 50;
    for (uint64_t serial = 1; serial <= 20; serial++) {
        memset(bytes, (int)serial, 2 * page);
        CHECK_OK(update_do(fd, &update));
        CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_WRITTEN, serial,
                          PATIENCE_MS));
        CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_RELEASED, update.serial,
                          PATIENCE_MS));
        /* the payload, and not a byte more */
        CHECK_EQ(bytes[page - 51], serial);
        for (uint64_t i = 0; i < 100; i++) {
            CHECK_EQ(bytes[page - 50 + i], serial ^ 0xff);
        }
        CHECK_EQ(bytes[page + 50], serial);
    }
    check_frame(fd, buffer, page - 50, 100);
    CHECK_EQ(properties_count(fd, buffer), 0);
    munmap(bytes, 2 * page);
    buffer_take_back(fd, buffer);
    close(fd);
}

static void event(void)
{
    int fd = open_with_writers();
    uint32_t bo = bo_create(fd, 2 * device_page(fd));
    uint32_t buffer = new_buffer(fd, bo, APPLICATION_WRITER,
                                 DRM_VIRTBUF_MODE_EVERY);
    struct drm_virtbuf_events subscribe = {
        .buffer = buffer, .conditions = 1 << DRM_VIRTBUF_WAIT_WRITTEN,
    };
    struct drm_virtbuf_event event;
    struct pollfd pollfd = { .fd = fd, .events = POLLIN };

    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1, PATIENCE_MS));
    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_EVENTS, &subscribe));
    buffer_update(fd, buffer, 10);
    CHECK_EQ(poll(&pollfd, 1, PATIENCE_MS), 1);
    CHECK_EQ(read(fd, &event, sizeof(event)), sizeof(event));
    CHECK_EQ(event.base.type, DRM_VIRTBUF_EVENT_BUFFER);
    CHECK_EQ(event.buffer, buffer);
    CHECK_EQ(event.conditions, 1 << DRM_VIRTBUF_WAIT_WRITTEN);
    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_WRITTEN, 1, 0));
    buffer_take_back(fd, buffer);
    close(fd);
}

static const struct test tests[] = {
    { "fields", fields, 0 },
    { "overlap", overlap, 0 },
    { "written", written, NEEDS_WRITER },
    { "event", event, NEEDS_WRITER },
};

const struct suite writer_suite = SUITE("writer", tests);
