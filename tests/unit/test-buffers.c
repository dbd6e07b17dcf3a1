/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirtio-buf: buffers, their memory, properties and updates, and how they
 * go, against a server that the test plays.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "session.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const no_properties[] = { NULL };

TEST(buffer_accessors)
{
    static const char *const properties[] = {
        "width=64", "fourcc=XR24", "title=a \xc3\xa4", NULL
    };
    struct session *s = open_subscribed();
    const struct vbuf_buffer *buffer;
    const char *name, *value;

    fake_buffer(&s->fake, &(struct fake_buffer) {
                    .id = UINT64_MAX, .size = 12345, .stream = 6, .serial = 88,
                    .mode = VIRTIO_BUF_MODE_EVERY,
                    .backing = VIRTIO_BUF_BACKING_DMABUF,
                    .application = "org.example.camera",
                    .properties = properties });
    expect(s, VBUF_EVENT_BUFFER, UINT64_MAX);
    buffer = s->event->buffer;
    CHECK_INT(vbuf_buffer_guest_id(buffer), ==, 999);
    CHECK_INT(vbuf_buffer_size(buffer), ==, 12345);
    CHECK_INT(vbuf_buffer_stream(buffer), ==, 6);
    CHECK_INT(vbuf_buffer_serial(buffer), ==, 88);
    CHECK_INT(vbuf_buffer_context(buffer), ==, 3);
    CHECK_INT(vbuf_buffer_mode(buffer), ==, VBUF_MODE_EVERY);
    CHECK_INT(vbuf_buffer_backing(buffer), ==, VBUF_BACKING_DMABUF);
    CHECK_INT(vbuf_buffer_uuid(buffer)[0], ==, 0xab);
    CHECK_INT(vbuf_buffer_uuid(buffer)[15], ==, 0xab);
    CHECK_STR(vbuf_buffer_application(buffer), "org.example.camera");
    CHECK_STR(vbuf_buffer_property(buffer, "width"), "64");
    CHECK_STR(vbuf_buffer_property(buffer, "title"), "a \xc3\xa4");
    CHECK(!vbuf_buffer_property(buffer, "widt"));
    CHECK(!vbuf_buffer_property(buffer, "widthh"));
    CHECK(!vbuf_buffer_property(buffer, ""));
    CHECK_INT(vbuf_buffer_property_count(buffer), ==, 3);
    CHECK_INT(vbuf_buffer_property_at(buffer, 0, &name, &value), ==, 0);
    CHECK_STR(name, "fourcc");
    CHECK_STR(value, "XR24");
    CHECK_INT(vbuf_buffer_property_at(buffer, 2, &name, &value), ==, 0);
    CHECK_STR(name, "width");
    CHECK_INT(vbuf_buffer_property_at(buffer, 3, &name, &value), ==, -EINVAL);
    CHECK_INT(vbuf_buffer_fd(buffer), ==, -1);
    CHECK(!vbuf_buffer_user_data(buffer));
    vbuf_buffer_set_user_data(s->event->buffer, s);
    CHECK(vbuf_buffer_user_data(buffer) == s);
    close_session(s);
}

static struct virtio_buf_msg_buffer good_buffer(void)
{
    return (struct virtio_buf_msg_buffer) {
        .buffer = htole64(1), .size = htole64(PAGE), .application = "test",
    };
}

/* Each field of BUFFER that can be wrong */
TEST(bad_buffer)
{
    struct virtio_buf_msg_buffer msg;
    uint8_t list[16] = { 1, 0, 0, 0, 1, 0, 0, 0, 'a', 'b' };
    struct session *s;
    int wrong;

    for (wrong = 0; wrong <= 12; wrong++) {
        size_t more = 0;

        s = open_subscribed();
        msg = good_buffer();
        switch (wrong) {
        case 0:
            msg.buffer = 0;
            break;
        case 1:
            msg.size = 0;
            break;
        case 2:
            msg.backing = 2;
            break;
        case 3:
            msg.mode = 3;
            break;
        case 4:
            msg.access = 2;
            break;
        case 5:
            msg.reserved = 1;
            break;
        case 6:
            msg.reserved2 = 1;
            break;
        case 7:
            msg.property_bytes = htole32(8);
            break;
        case 8:
            msg.application[0] = '\0';
            break;
        case 9:
            msg.application[0] = 0xff;
            break;
        case 10:
            memset(msg.application, 'x', 64);
            break;
        case 11:
            msg.application[63] = 'x';
            break;
        case 12:
            more = sizeof(list);    /* no record: not padded with zeros */
            list[15] = 1;
            msg.property_bytes = htole32(sizeof(list));
            break;
        }
        fake_send(&s->fake, VIRTIO_BUF_MSG_BUFFER, &msg, sizeof(msg), list,
                  more, -1);
        expect_broken(s);
    }
}

TEST(buffer_twice)
{
    struct session *s = open_subscribed();

    fake_buffer(&s->fake, &(struct fake_buffer) { .id = 5, .size = 1 });
    fake_buffer(&s->fake, &(struct fake_buffer) { .id = 5, .size = 1 });
    expect(s, VBUF_EVENT_BUFFER, 5);
    expect_broken(s);
}

TEST(thousand_buffers)
{
    struct session *s = open_subscribed();
    const struct vbuf_buffer *buffer;
    uint64_t id, seen;

    /* Ids that fall on few slots of a table that masks the low bits */
    for (id = 1; id <= 1000; id++) {
        fake_buffer(&s->fake, &(struct fake_buffer) {
                        .id = id << 32 | (id % 3), .size = id });
        expect(s, VBUF_EVENT_BUFFER, id << 32 | (id % 3));
    }
    for (id = 1; id <= 1000; id++) {
        buffer = vbuf_find_buffer(s->vbuf, id << 32 | (id % 3));
        CHECK(buffer);
        CHECK_INT(vbuf_buffer_size(buffer), ==, id);
        CHECK(!vbuf_find_buffer(s->vbuf, id));
    }
    for (id = 2; id <= 1000; id += 2) {
        fake_remove(&s->fake, id << 32 | (id % 3));
        expect(s, VBUF_EVENT_REMOVE, id << 32 | (id % 3));
    }
    expect_nothing(s);
    for (id = 1; id <= 1000; id++) {
        CHECK_INT(vbuf_find_buffer(s->vbuf, id << 32 | (id % 3)) != NULL, ==,
                  id % 2);
    }
    for (buffer = vbuf_each_buffer(s->vbuf, NULL), seen = 0; buffer;
         buffer = vbuf_each_buffer(s->vbuf, buffer)) {
        CHECK_INT(vbuf_buffer_size(buffer), ==, seen * 2 + 1);
        seen++;
    }
    CHECK_INT(seen, ==, 500);
    fake_take_nothing(&s->fake);    /* none of them was attached */
    close_session(s);
}

TEST(attach_and_read)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer;
    const void *data, *again;
    int fd = fake_memory(2 * PAGE);

    fake_buffer(&s->fake, &(struct fake_buffer) { .id = 1, .size = PAGE + 1 });
    expect(s, VBUF_EVENT_BUFFER, 1);
    buffer = s->event->buffer;
    CHECK_INT(vbuf_map(buffer, &data), ==, -EINVAL);
    CHECK_INT(vbuf_begin_read(buffer), ==, -EINVAL);
    CHECK_INT(vbuf_end_read(buffer), ==, -EINVAL);
    CHECK_INT(vbuf_detach(buffer), ==, -EINVAL);
    CHECK_INT(vbuf_attach(buffer), ==, 0);
    expect_nothing(s);
    fake_take_attach(&s->fake, 1, 0);
    fake_attached(&s->fake, 1, 2 * PAGE, VIRTIO_BUF_BACKING_COPY, fd);
    expect(s, VBUF_EVENT_ATTACHED, 1);
    CHECK_INT(vbuf_buffer_fd(buffer), >=, 0);
    CHECK_INT(fcntl(vbuf_buffer_fd(buffer), F_GETFD), ==, FD_CLOEXEC);
    CHECK_INT(vbuf_attach(buffer), ==, -EALREADY);
    CHECK_INT(vbuf_map(buffer, &data), ==, 0);
    CHECK_INT(vbuf_map(buffer, &again), ==, 0);
    CHECK(data == again);
    CHECK_INT(vbuf_begin_read(buffer), ==, 0);
    CHECK_INT(((const uint8_t *)data)[PAGE], ==, (uint8_t)(PAGE * 7 + 16));
    CHECK_INT(vbuf_end_read(buffer), ==, 0);
    CHECK_INT(vbuf_detach(buffer), ==, 0);
    CHECK_INT(vbuf_buffer_fd(buffer), ==, -1);
    CHECK_INT(vbuf_map(buffer, &data), ==, -EINVAL);
    expect_nothing(s);
    fake_take_detach(&s->fake, 1);
    /* And once more */
    CHECK_INT(vbuf_attach(buffer), ==, 0);
    expect_nothing(s);
    fake_take_attach(&s->fake, 1, 0);
    fake_attached(&s->fake, 1, 2 * PAGE, VIRTIO_BUF_BACKING_COPY, fd);
    expect(s, VBUF_EVENT_ATTACHED, 1);
    close(fd);
    close_session(s);
}

TEST(mapping_is_read_only)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer = give_buffer(s, 1, VBUF_MODE_LATEST);
    const void *data;

    CHECK_INT(vbuf_map(buffer, &data), ==, 0);
    /* The kernel refuses to write there, instead of a signal */
    CHECK_INT(pread(vbuf_buffer_fd(buffer), (void *)(uintptr_t)data, 1, 0), ==,
              -1);
    CHECK_INT(errno, ==, EFAULT);
    close_session(s);
}

TEST(attach_stream)
{
    struct session *s = open_subscribed();

    CHECK_INT(vbuf_attach_stream(s->vbuf, 0), ==, -EINVAL);
    CHECK_INT(vbuf_attach_stream(s->vbuf, 77), ==, 0);
    expect_nothing(s);
    fake_take_attach(&s->fake, 0, 77);
    close_session(s);
}

TEST(refused)
{
    struct session *s = open_subscribed();

    fake_buffer(&s->fake, &(struct fake_buffer) { .id = 1, .size = 1 });
    fake_refused(&s->fake, 1, ENOSPC);
    expect(s, VBUF_EVENT_BUFFER, 1);
    expect(s, VBUF_EVENT_REFUSED, 1);
    CHECK_INT(s->event->error, ==, ENOSPC);
    fake_refused(&s->fake, 1, 0);
    expect_broken(s);
}

/* A file that is shorter than it is said to be, however it got so */
TEST(short_fd)
{
    static const uint64_t real_sizes[] = { 0, 1, PAGE - 1, PAGE, 2 * PAGE - 1 };
    struct session *s = open_subscribed();
    const void *data;
    size_t i;
    int fd;

    for (i = 0; i < COUNT(real_sizes); i++) {
        fake_buffer(&s->fake, &(struct fake_buffer) {
                        .id = i + 1, .size = PAGE + 1 });
        fd = test_memfd(real_sizes[i], F_SEAL_SHRINK);
        fake_attached(&s->fake, i + 1, 2 * PAGE, VIRTIO_BUF_BACKING_COPY, fd);
        close(fd);
        expect(s, VBUF_EVENT_BUFFER, i + 1);
        expect(s, VBUF_EVENT_ATTACHED, i + 1);
        CHECK_INT(vbuf_map(s->event->buffer, &data), ==, -EPROTO);
    }
    close_session(s);
}

TEST(file_that_can_shrink)
{
    struct session *s = open_subscribed();
    const void *data;
    int fds[4], pipe_fds[2];
    uint64_t i;

    fds[0] = test_memfd(PAGE, 0);
    fds[1] = test_memfd(PAGE, F_SEAL_GROW | F_SEAL_SEAL);
    fds[2] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK_INT(pipe(pipe_fds), ==, 0);
    fds[3] = pipe_fds[0];
    close(pipe_fds[1]);
    for (i = 0; i < 4; i++) {
        fake_buffer(&s->fake, &(struct fake_buffer) {
                        .id = i + 1, .size = PAGE });
        /* That it is called a dma-buf does not make it one */
        fake_attached(&s->fake, i + 1, PAGE,
                      i % 2 ? VIRTIO_BUF_BACKING_COPY :
                              VIRTIO_BUF_BACKING_DMABUF, fds[i]);
        close(fds[i]);
        expect(s, VBUF_EVENT_BUFFER, i + 1);
        expect(s, VBUF_EVENT_ATTACHED, i + 1);
        CHECK_INT(vbuf_map(s->event->buffer, &data), ==, -EPROTO);
    }
    close_session(s);
}

TEST(bad_attached)
{
    struct virtio_buf_msg_attached msg;
    struct session *s;
    int wrong, fd = fake_memory(PAGE);

    for (wrong = 0; wrong < 5; wrong++) {
        msg = (struct virtio_buf_msg_attached) {
            .buffer = htole64(1), .size = htole64(PAGE),
        };
        s = open_subscribed();
        fake_buffer(&s->fake, &(struct fake_buffer) { .id = 1, .size = PAGE });
        expect(s, VBUF_EVENT_BUFFER, 1);
        switch (wrong) {
        case 0:
            msg.buffer = htole64(2);
            break;
        case 1:
            msg.size = htole64(PAGE - 1);
            break;
        case 2:
            msg.backing = htole32(2);
            break;
        case 3:
            msg.flags = htole32(2);
            break;
        case 4:
            fake_attached(&s->fake, 1, PAGE, 0, fd);
            expect(s, VBUF_EVENT_ATTACHED, 1);
            break;
        }
        fake_send(&s->fake, VIRTIO_BUF_MSG_ATTACHED, &msg, sizeof(msg), NULL,
                  0, fd);
        expect_broken(s);
    }
    close(fd);
}

TEST(surplus_and_missing_fds_end_the_connection)
{
    struct virtio_buf_msg_remove remove_msg = { .buffer = htole64(1) };
    struct session *s = open_subscribed();
    int fd = fake_memory(PAGE);

    give_buffer(s, 1, VBUF_MODE_LATEST);
    fake_send(&s->fake, VIRTIO_BUF_MSG_REMOVE, &remove_msg, sizeof(remove_msg),
              NULL, 0, fd);
    expect_broken(s);
    s = open_subscribed();
    fake_buffer(&s->fake, &(struct fake_buffer) { .id = 1, .size = PAGE });
    expect(s, VBUF_EVENT_BUFFER, 1);
    fake_attached(&s->fake, 1, PAGE, 0, -1);
    expect_broken(s);
    close(fd);
}

TEST(update_and_release)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer = give_buffer(s, 1, VBUF_MODE_LATEST);

    CHECK_INT(vbuf_release(buffer, 10), ==, -EINVAL);
    fake_update(&s->fake, 1, 10, PAGE, no_properties);
    expect(s, VBUF_EVENT_UPDATE, 1);
    CHECK_INT(s->event->serial, ==, 10);
    CHECK_INT(s->event->time, >, 0);
    CHECK_INT(s->event->frame->data_size, ==, PAGE);
    CHECK_INT(vbuf_buffer_serial(buffer), ==, 10);
    CHECK_INT(vbuf_release(buffer, 0), ==, -EINVAL);
    CHECK_INT(vbuf_release(buffer, 11), ==, -EINVAL);
    CHECK_INT(vbuf_release(buffer, 10), ==, 0);
    CHECK_INT(vbuf_release(buffer, 10), ==, 0);     /* once is enough */
    expect_nothing(s);
    fake_take_release(&s->fake, 1, 10);
    fake_take_nothing(&s->fake);
    close_session(s);
}

TEST(update_fields)
{
    struct {
        struct virtio_buf_msg_update update;
        struct virtio_buf_rect rects[16];
        struct virtio_buf_span spans[16];
    } msg = {
        .update.buffer = htole64(1),
        .update.time = htole64(123),
        .update.frame = {
            .serial = htole64(5), .flags = htole32(VBUF_FRAME_END_OF_STREAM),
            .clock = htole32(VBUF_CLOCK_REALTIME), .data_offset = htole64(1),
            .data_size = htole64(2), .pts = htole64(3), .duration = htole64(4),
            .time = htole64(6), .rect_count = htole16(16),
            .span_count = htole16(16),
        },
    };
    struct session *s = open_subscribed();
    const struct vbuf_frame *frame;
    uint32_t i;

    give_buffer(s, 1, VBUF_MODE_IN_PLACE);
    for (i = 0; i < 16; i++) {
        msg.rects[i] = (struct virtio_buf_rect) {
            htole32(i), htole32(i + 1), htole32(i + 2), htole32(i + 3)
        };
        msg.spans[i] = (struct virtio_buf_span) { htole64(i), htole64(9) };
    }
    fake_send(&s->fake, VIRTIO_BUF_MSG_UPDATE, &msg.update, sizeof(msg.update),
              msg.rects, sizeof(msg) - sizeof(msg.update), -1);
    expect(s, VBUF_EVENT_UPDATE, 1);
    frame = s->event->frame;
    CHECK_INT(s->event->time, ==, 123);
    CHECK_INT(s->event->serial, ==, 5);
    CHECK_INT(frame->flags, ==, VBUF_FRAME_END_OF_STREAM);
    CHECK_INT(frame->clock, ==, VBUF_CLOCK_REALTIME);
    CHECK_INT(frame->data_offset, ==, 1);
    CHECK_INT(frame->data_size, ==, 2);
    CHECK_INT(frame->pts, ==, 3);
    CHECK_INT(frame->duration, ==, 4);
    CHECK_INT(frame->guest_time, ==, 6);
    CHECK_INT(frame->rect_count, ==, 16);
    CHECK_INT(frame->span_count, ==, 16);
    CHECK_INT(frame->rects[15].x, ==, 15);
    CHECK_INT(frame->rects[15].y, ==, 16);
    CHECK_INT(frame->rects[15].width, ==, 17);
    CHECK_INT(frame->rects[15].height, ==, 18);
    CHECK_INT(frame->spans[15].offset, ==, 15);
    CHECK_INT(frame->spans[15].len, ==, 9);
    /* Nobody owns it: there is nothing to release */
    CHECK_INT(vbuf_release(s->event->buffer, 5), ==, 0);
    expect_nothing(s);
    fake_take_nothing(&s->fake);
    close_session(s);
}

TEST(bad_update)
{
    struct session *s;
    int wrong;

    for (wrong = 0; wrong < 4; wrong++) {
        s = open_subscribed();
        give_buffer(s, 1, VBUF_MODE_LATEST);
        switch (wrong) {
        case 0:
            fake_update(&s->fake, 2, 1, PAGE, no_properties);
            break;
        case 1:
            fake_update(&s->fake, 1, 0, PAGE, no_properties);
            break;
        case 2:
            fake_update(&s->fake, 1, 1, PAGE + 1, no_properties);
            break;
        case 3:
            fake_update(&s->fake, 1, 9, PAGE, no_properties);
            expect(s, VBUF_EVENT_UPDATE, 1);
            fake_update(&s->fake, 1, 8, PAGE, no_properties);
            break;
        }
        expect_broken(s);
    }
}

TEST(update_that_crossed_our_detach)
{
    static const char *const crop[] = { "crop=1", NULL };
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer = give_buffer(s, 1, VBUF_MODE_LATEST);
    int fd;

    fake_update(&s->fake, 1, 3, PAGE, no_properties);
    expect(s, VBUF_EVENT_UPDATE, 1);
    CHECK_INT(vbuf_detach(buffer), ==, 0);
    CHECK_INT(vbuf_release(buffer, 3), ==, 0);      /* it is already */
    fake_update(&s->fake, 1, 4, PAGE, crop);
    fake_lost(&s->fake, 1, 3);
    expect_nothing(s);
    CHECK_STR(vbuf_buffer_property(buffer, "crop"), "1");
    CHECK_INT(vbuf_buffer_serial(buffer), ==, 4);
    fake_take_detach(&s->fake, 1);
    /* Attached again, what was held before is not released a second time */
    fd = fake_memory(PAGE);
    fake_attached(&s->fake, 1, PAGE, 0, fd);
    close(fd);
    expect(s, VBUF_EVENT_ATTACHED, 1);
    CHECK_INT(vbuf_release(buffer, 3), ==, 0);
    expect_nothing(s);
    fake_take_nothing(&s->fake);
    close_session(s);
}

TEST(lost)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer = give_buffer(s, 1, VBUF_MODE_LATEST);

    fake_update(&s->fake, 1, 3, PAGE, no_properties);
    fake_lost(&s->fake, 1, 3);
    expect(s, VBUF_EVENT_UPDATE, 1);
    expect(s, VBUF_EVENT_LOST, 1);
    CHECK_INT(s->event->serial, ==, 3);
    fake_take_nothing(&s->fake);
    /* Answered when the next event is asked for */
    expect_nothing(s);
    fake_take_release(&s->fake, 1, 3);
    CHECK_INT(vbuf_release(buffer, 3), ==, 0);      /* nothing left to do */
    fake_take_nothing(&s->fake);
    /* One that crosses our RELEASE hits nothing */
    fake_update(&s->fake, 1, 4, PAGE, no_properties);
    expect(s, VBUF_EVENT_UPDATE, 1);
    CHECK_INT(vbuf_release(buffer, 4), ==, 0);
    fake_lost(&s->fake, 1, 4);
    expect_nothing(s);
    fake_take_release(&s->fake, 1, 4);
    fake_take_nothing(&s->fake);
    fake_lost(&s->fake, 1, 5);
    expect_broken(s);
}

TEST(properties_change)
{
    static const char *const first[] = { "a=1", "b=2", "c=3", NULL };
    static const char *const change[] = { "b", "a=long enough for a new place",
                                          "nowhere", "d=", NULL };
    static const char *const update[] = { "a=x", "c", NULL };
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer;
    int fd = fake_memory(PAGE);

    fake_buffer(&s->fake, &(struct fake_buffer) {
                    .id = 1, .size = PAGE, .properties = first });
    fake_attached(&s->fake, 1, PAGE, 0, fd);
    close(fd);
    expect(s, VBUF_EVENT_BUFFER, 1);
    buffer = s->event->buffer;
    expect(s, VBUF_EVENT_ATTACHED, 1);
    fake_set_properties(&s->fake, 1, change);
    expect(s, VBUF_EVENT_PROPERTIES, 1);
    CHECK_INT(vbuf_buffer_property_count(buffer), ==, 3);
    CHECK_STR(vbuf_buffer_property(buffer, "a"), "long enough for a new place");
    CHECK(!vbuf_buffer_property(buffer, "b"));
    CHECK_STR(vbuf_buffer_property(buffer, "c"), "3");
    CHECK_STR(vbuf_buffer_property(buffer, "d"), "");
    fake_update(&s->fake, 1, 1, PAGE, update);
    CHECK_STR(vbuf_buffer_property(buffer, "a"), "long enough for a new place");
    expect(s, VBUF_EVENT_UPDATE, 1);
    CHECK_STR(vbuf_buffer_property(buffer, "a"), "x");
    CHECK(!vbuf_buffer_property(buffer, "c"));
    CHECK_INT(vbuf_buffer_property_count(buffer), ==, 2);
    close_session(s);
}

TEST(properties_sorted_and_found)
{
    static char texts[300][16];
    const char *list[301], *name, *value, *last = "";
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer;
    size_t i;

    for (i = 0; i < 300; i++) {
        snprintf(texts[i], sizeof(texts[i]), "n%zu=%zu", i * 173 % 300, i);
        list[i] = texts[i];
    }
    list[300] = NULL;
    fake_buffer(&s->fake, &(struct fake_buffer) {
                    .id = 1, .size = 1, .properties = list });
    expect(s, VBUF_EVENT_BUFFER, 1);
    buffer = s->event->buffer;
    for (i = 0; i < 300; i++) {
        CHECK_INT(vbuf_buffer_property_at(buffer, i, &name, &value), ==, 0);
        CHECK_INT(strcmp(last, name), <, 0);
        last = name;
        *strchr(texts[i], '=') = '\0';
        CHECK_INT(atoi(vbuf_buffer_property(buffer, texts[i])), ==, i);
    }
    close_session(s);
}

/* The server cannot make us keep more than a list can hold */
TEST(properties_are_bounded)
{
    struct session *s = open_subscribed();
    static char text[20000];
    const char *list[] = { text, NULL };

    memset(text, 'v', sizeof(text) - 1);
    memcpy(text, "a=", 2);
    fake_buffer(&s->fake, &(struct fake_buffer) {
                    .id = 1, .size = 1, .properties = list });
    expect(s, VBUF_EVENT_BUFFER, 1);
    fake_set_properties(&s->fake, 1, list);     /* the same one: no more */
    expect(s, VBUF_EVENT_PROPERTIES, 1);
    text[0] = 'b';
    fake_set_properties(&s->fake, 1, list);
    expect_broken(s);
}

TEST(bad_properties)
{
    static const char *const twice[] = { "a=1", "a=2", NULL };
    struct virtio_buf_msg_properties msg = { .buffer = htole64(1),
                                             .property_bytes = htole32(8) };
    struct session *s = open_subscribed();

    give_buffer(s, 1, VBUF_MODE_LATEST);
    fake_set_properties(&s->fake, 1, twice);
    expect_broken(s);
    s = open_subscribed();
    give_buffer(s, 1, VBUF_MODE_LATEST);
    fake_send(&s->fake, VIRTIO_BUF_MSG_PROPERTIES, &msg, sizeof(msg), NULL, 0,
              -1);
    expect_broken(s);
}

TEST(remove_is_answered_after_the_event)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer = give_buffer(s, 1, VBUF_MODE_LATEST);
    const uint8_t *bytes;
    const void *data;
    int fd = vbuf_buffer_fd(buffer);

    CHECK_INT(vbuf_map(buffer, &data), ==, 0);
    bytes = data;
    fake_remove(&s->fake, 1);
    expect(s, VBUF_EVENT_REMOVE, 1);
    /* The program can still look at it, and the server has no answer yet */
    CHECK_INT(bytes[1], ==, 7);
    CHECK_INT(fcntl(fd, F_GETFD), >=, 0);
    fake_take_nothing(&s->fake);
    expect_nothing(s);
    fake_take_removed(&s->fake, 1);
    fake_take_nothing(&s->fake);
    CHECK_INT(fcntl(fd, F_GETFD), ==, -1);
    CHECK_INT(msync((void *)(uintptr_t)bytes, PAGE, MS_ASYNC), ==, -1);
    CHECK_INT(errno, ==, ENOMEM);                   /* unmapped */
    CHECK(!vbuf_find_buffer(s->vbuf, 1));
    fake_update(&s->fake, 1, 1, PAGE, no_properties);
    expect_broken(s);
}

TEST(remove_of_what_is_not_attached)
{
    struct session *s = open_subscribed();

    fake_buffer(&s->fake, &(struct fake_buffer) { .id = 1, .size = 1 });
    fake_remove(&s->fake, 1);
    expect(s, VBUF_EVENT_BUFFER, 1);
    expect(s, VBUF_EVENT_REMOVE, 1);
    CHECK_INT(vbuf_attach(s->event->buffer), ==, 0);    /* too late */
    expect_nothing(s);
    fake_take_nothing(&s->fake);
    close_session(s);
}

TEST(detach_while_it_is_removed)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer = give_buffer(s, 1, VBUF_MODE_LATEST);

    fake_update(&s->fake, 1, 1, PAGE, no_properties);
    fake_remove(&s->fake, 1);
    expect(s, VBUF_EVENT_UPDATE, 1);
    expect(s, VBUF_EVENT_REMOVE, 1);
    CHECK_INT(vbuf_release(buffer, 1), ==, 0);
    CHECK_INT(vbuf_detach(buffer), ==, 0);
    CHECK_INT(vbuf_buffer_fd(buffer), ==, -1);
    expect_nothing(s);
    fake_take_removed(&s->fake, 1);     /* the one answer */
    fake_take_nothing(&s->fake);
    close_session(s);
}

TEST(many_removed_in_order)
{
    struct session *s = open_subscribed();
    uint64_t id;

    for (id = 1; id <= 100; id++) {
        give_buffer(s, id, VBUF_MODE_LATEST);
    }
    for (id = 100; id >= 1; id--) {
        fake_remove(&s->fake, id);
    }
    for (id = 100; id >= 1; id--) {
        expect(s, VBUF_EVENT_REMOVE, id);
    }
    expect_nothing(s);
    for (id = 100; id >= 1; id--) {
        fake_take_removed(&s->fake, id);
    }
    close_session(s);
}

TEST(reset)
{
    struct session *s = open_subscribed();
    const void *data;
    uint64_t id;

    for (id = 1; id <= 10; id++) {
        CHECK_INT(vbuf_map(give_buffer(s, id, VBUF_MODE_LATEST), &data), ==, 0);
    }
    fake_reset(&s->fake, VIRTIO_BUF_RESET_REASON_SYSTEM);
    fake_buffer(&s->fake, &(struct fake_buffer) { .id = 11, .size = 1 });
    for (id = 1; id <= 10; id++) {
        expect(s, VBUF_EVENT_REMOVE, id);
    }
    expect(s, VBUF_EVENT_RESET, 0);
    CHECK_INT(s->event->reason, ==, VBUF_RESET_SYSTEM);
    expect(s, VBUF_EVENT_BUFFER, 11);
    fake_take_nothing(&s->fake);        /* there is nothing to answer */
    fake_reset(&s->fake, VIRTIO_BUF_RESET_REASON_DRIVER);
    expect(s, VBUF_EVENT_REMOVE, 11);
    expect(s, VBUF_EVENT_RESET, 0);
    fake_reset(&s->fake, VIRTIO_BUF_RESET_REASON_UNPLUG);
    expect(s, VBUF_EVENT_RESET, 0);
    fake_device(&s->fake, "vm1", false);
    expect(s, VBUF_EVENT_DEVICE, 0);
    fake_reset(&s->fake, 3);
    expect_broken(s);
}

TEST(device_goes_without_a_reset)
{
    struct session *s = open_subscribed();

    give_buffer(s, 1, VBUF_MODE_LATEST);
    fake_device(&s->fake, "vm1", false);
    expect_broken(s);
}

TEST(server_dies_in_the_middle_of_it_all)
{
    struct session *s = open_subscribed();

    give_buffer(s, 1, VBUF_MODE_LATEST);
    give_buffer(s, 2, VBUF_MODE_LATEST);
    fake_remove(&s->fake, 1);
    expect(s, VBUF_EVENT_REMOVE, 1);
    fake_close(&s->fake);
    expect_disconnected(s, ECONNRESET);
    CHECK(!vbuf_find_buffer(s->vbuf, 1));
    CHECK(vbuf_find_buffer(s->vbuf, 2));
    vbuf_disconnect(s->vbuf);
}

TEST(queue_full)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer = give_buffer(s, 1, VBUF_MODE_LATEST);
    uint64_t sent = 0, i;
    int ret;

    while ((ret = vbuf_attach_stream(s->vbuf, sent + 1)) == 0) {
        sent++;
        CHECK_INT(sent, <, 10000000);
    }
    CHECK_INT(ret, ==, -EAGAIN);
    CHECK_INT(vbuf_poll_events(s->vbuf), ==, POLLIN | POLLOUT);
    CHECK_INT(vbuf_detach(buffer), ==, -EAGAIN);
    CHECK_INT(vbuf_buffer_fd(buffer), >=, 0);           /* nothing was done */

    /* The answer to REMOVE waits for room, and so do the events behind it */
    fake_remove(&s->fake, 1);
    fake_device(&s->fake, "vm2", true);
    expect(s, VBUF_EVENT_REMOVE, 1);
    expect_nothing(s);
    expect_nothing(s);
    CHECK(!vbuf_find_buffer(s->vbuf, 1));
    CHECK_INT(vbuf_poll_events(s->vbuf), ==, POLLIN | POLLOUT);

    for (i = 1; i <= sent; i++) {
        fake_take_attach(&s->fake, 0, i);
        if (i == sent / 2) {
            expect(s, VBUF_EVENT_DEVICE, 0);
            expect_nothing(s);
        }
        if (i > sent / 2 && vbuf_poll_events(s->vbuf) != POLLIN) {
            expect_nothing(s);
        }
    }
    fake_take_removed(&s->fake, 1);
    fake_take_nothing(&s->fake);
    CHECK_INT(vbuf_poll_events(s->vbuf), ==, POLLIN);
    close_session(s);
}
