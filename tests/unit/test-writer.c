/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirtio-buf: a program that writes, against a server that the test plays.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "session.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const no_properties[] = { NULL };

/* A buffer of one page, which the session is asked to write */
static struct vbuf_buffer *give_writable(struct session *s, uint64_t id,
                                         uint8_t mode, int *memory)
{
    int fd = fake_memory(PAGE);
    struct vbuf_buffer *buffer;

    fake_buffer(&s->fake, &(struct fake_buffer) {
                    .id = id, .size = PAGE, .mode = mode,
                    .access = VIRTIO_BUF_ACCESS_WRITER });
    expect(s, VBUF_EVENT_BUFFER, id);
    buffer = s->event->buffer;
    CHECK_INT(vbuf_buffer_access(buffer), ==, VBUF_ACCESS_WRITER);
    CHECK_INT(vbuf_attach_writer(buffer), ==, 0);
    expect_nothing(s);
    fake_take_attach_writer(&s->fake, id, 0);
    CHECK(!vbuf_is_writer(buffer));
    fake_attached_writer(&s->fake, id, PAGE, VIRTIO_BUF_BACKING_COPY, fd);
    expect(s, VBUF_EVENT_ATTACHED, id);
    CHECK(vbuf_is_writer(buffer));
    CHECK_INT(vbuf_attach_writer(buffer), ==, -EALREADY);
    if (memory) {
        *memory = fd;
    } else {
        close(fd);
    }
    return buffer;
}

TEST(writes_what_the_server_sees)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer;
    const void *data;
    void *writable;
    char byte;
    int fd;

    buffer = give_writable(s, 1, VBUF_MODE_IN_PLACE, &fd);
    CHECK_INT(vbuf_begin_write(buffer), ==, 0);
    CHECK_INT(vbuf_map_writable(buffer, &writable), ==, 0);
    memset(writable, 'w', PAGE);
    CHECK_INT(vbuf_end_write(buffer), ==, 0);
    CHECK_INT(pread(fd, &byte, 1, PAGE - 1), ==, 1);
    CHECK_INT(byte, ==, 'w');
    CHECK_INT(vbuf_map(buffer, &data), ==, 0);
    CHECK(data == writable);

    /* It is no writer after it has given it back, or got it to read */
    CHECK_INT(vbuf_detach(buffer), ==, 0);
    CHECK(!vbuf_is_writer(buffer));
    CHECK_INT(vbuf_map_writable(buffer, &writable), ==, -EINVAL);
    CHECK_INT(vbuf_begin_write(buffer), ==, -EINVAL);
    CHECK_INT(vbuf_end_write(buffer), ==, -EINVAL);
    CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, -EPERM);
    CHECK_INT(vbuf_attach(buffer), ==, 0);
    expect_nothing(s);
    fake_take_detach(&s->fake, 1);
    fake_take_attach(&s->fake, 1, 0);
    fake_attached(&s->fake, 1, PAGE, VIRTIO_BUF_BACKING_COPY, fd);
    expect(s, VBUF_EVENT_ATTACHED, 1);
    CHECK(!vbuf_is_writer(buffer));
    CHECK_INT(vbuf_map_writable(buffer, &writable), ==, -EACCES);
    CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, -EPERM);
    CHECK_INT(vbuf_map(buffer, &data), ==, 0);
    CHECK_INT(pread(fd, (void *)(uintptr_t)data, 1, 0), ==, -1);
    CHECK_INT(errno, ==, EFAULT);
    expect_nothing(s);
    fake_take_nothing(&s->fake);
    close(fd);
    close_session(s);
}

TEST(written_says_what_it_was_told)
{
    static const char *const properties[] = {
        "codec", "h264", "title", "", NULL
    };
    struct vbuf_rect rects[] = { { 1, 2, 3, 4 }, { 5, 6, 7, 8 } };
    struct vbuf_span spans[] = { { 10, 20 } };
    struct vbuf_frame frame = {
        .flags = VBUF_FRAME_KEYFRAME, .clock = VBUF_CLOCK_STREAM,
        .data_offset = 8, .data_size = 100, .pts = 1000, .duration = 40,
        .guest_time = 77, .rect_count = 2, .span_count = 1, .rects = rects,
        .spans = spans,
    };
    struct session *s = open_subscribed();
    struct virtio_buf_property_view property;
    struct virtio_buf_frame_view view;
    struct vbuf_buffer *buffer;
    size_t pos = 0;

    buffer = give_writable(s, 1, VBUF_MODE_IN_PLACE, NULL);
    CHECK_INT(vbuf_written(buffer, &frame, properties), ==, 0);
    CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, 0);
    expect_nothing(s);
    view = fake_take_written(&s->fake, 1, PAGE);
    CHECK_INT(view.serial, ==, 1);
    CHECK_INT(view.flags, ==, VIRTIO_BUF_FRAME_KEYFRAME);
    CHECK_INT(view.clock, ==, VIRTIO_BUF_CLOCK_STREAM);
    CHECK_INT(view.data_offset, ==, 8);
    CHECK_INT(view.data_size, ==, 100);
    CHECK_INT(view.pts, ==, 1000);
    CHECK_INT(view.duration, ==, 40);
    CHECK(view.time > 77);
    CHECK_INT(view.rect_count, ==, 2);
    CHECK_INT(le32toh(view.rects[1].x), ==, 5);
    CHECK_INT(le32toh(view.rects[1].y), ==, 6);
    CHECK_INT(le32toh(view.rects[1].width), ==, 7);
    CHECK_INT(le32toh(view.rects[1].height), ==, 8);
    CHECK_INT(view.span_count, ==, 1);
    CHECK_INT(le64toh(view.spans[0].offset), ==, 10);
    CHECK_INT(le64toh(view.spans[0].len), ==, 20);
    CHECK_INT(virtio_buf_property_next(view.properties, view.property_bytes,
                                       &pos, &property), ==, 1);
    CHECK(property.name_len == 5 && !memcmp(property.name, "codec", 5));
    CHECK(property.value_len == 4 && !memcmp(property.value, "h264", 4));
    CHECK_INT(virtio_buf_property_next(view.properties, view.property_bytes,
                                       &pos, &property), ==, 1);
    CHECK(property.name_len == 5 && !memcmp(property.name, "title", 5));
    CHECK_INT(property.value_len, ==, 0);
    CHECK_INT(pos, ==, view.property_bytes);

    view = fake_take_written(&s->fake, 1, PAGE);
    CHECK_INT(view.serial, ==, 2);
    CHECK_INT(view.data_offset, ==, 0);
    CHECK_INT(view.data_size, ==, PAGE);
    CHECK_INT(view.rect_count + view.span_count, ==, 0);
    CHECK_INT(view.property_bytes, ==, 0);
    /* The buffer's properties are the guest's */
    CHECK(!vbuf_buffer_property(buffer, "codec"));
    close_session(s);
}

TEST(written_in_its_turn_only)
{
    static const uint8_t modes[] = { VBUF_MODE_LATEST, VBUF_MODE_EVERY };
    size_t i;

    for (i = 0; i < COUNT(modes); i++) {
        struct session *s = open_subscribed();
        struct vbuf_buffer *buffer = give_writable(s, 1, modes[i], NULL);

        CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, -EPERM);
        fake_update(&s->fake, 1, 5, PAGE, no_properties);
        expect(s, VBUF_EVENT_UPDATE, 1);
        CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, 0);
        CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, 0);
        CHECK_INT(vbuf_release(buffer, 5), ==, 0);
        CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, -EPERM);
        expect_nothing(s);
        fake_take_written(&s->fake, 1, PAGE);
        fake_take_written(&s->fake, 1, PAGE);
        fake_take_release(&s->fake, 1, 5);
        fake_take_nothing(&s->fake);
        close_session(s);
    }
}

/* What the server would disconnect for */
TEST(written_wrongly)
{
    static const char *const half[] = { "name", NULL };
    static const char *const nameless[] = { "", "value", NULL };
    static const char *const equals[] = { "a=b", "value", NULL };
    static const char *const no_text[] = { "a", "\xff", NULL };
    static const char *const twice[] = { "a", "1", "a", "2", NULL };
    struct vbuf_rect rects[17] = { { 0, 0, 0, 1 } };
    struct vbuf_span spans[17] = { { PAGE, 1 } };
    struct {
        struct vbuf_frame frame;
        const char *const *properties;
    } wrong[] = {
        { { .flags = 1 << 4 }, NULL },
        { { .clock = VBUF_CLOCK_TAI + 1 }, NULL },
        { { .pts = 1 }, NULL },
        { { .data_size = PAGE + 1 }, NULL },
        { { .data_offset = UINT64_MAX, .data_size = 2 }, NULL },
        { { .rect_count = 1, .rects = rects }, NULL },
        { { .rect_count = 17, .rects = rects }, NULL },
        { { .span_count = 1, .spans = spans }, NULL },
        { { .span_count = UINT32_MAX, .spans = spans }, NULL },
        { { .flags = 0 }, half },
        { { .flags = 0 }, nameless },
        { { .flags = 0 }, equals },
        { { .flags = 0 }, no_text },
        { { .flags = 0 }, twice },
    };
    char *huge = malloc(VIRTIO_BUF_MAX_PROPERTY_BYTES + 1);
    const char *const too_large[] = { "a", huge, NULL };
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer;
    size_t i;

    memset(huge, 'x', VIRTIO_BUF_MAX_PROPERTY_BYTES);
    huge[VIRTIO_BUF_MAX_PROPERTY_BYTES] = '\0';
    buffer = give_writable(s, 1, VBUF_MODE_IN_PLACE, NULL);
    for (i = 0; i < COUNT(wrong); i++) {
        CHECK_INT(vbuf_written(buffer, &wrong[i].frame, wrong[i].properties),
                  ==, -EINVAL);
    }
    CHECK_INT(vbuf_written(buffer, NULL, too_large), ==, -EINVAL);
    expect_nothing(s);
    fake_take_nothing(&s->fake);
    CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, 0);
    expect_nothing(s);
    CHECK_INT(fake_take_written(&s->fake, 1, PAGE).serial, ==, 1);
    free(huge);
    close_session(s);
}

TEST(written_until_the_queue_is_full)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer;
    uint64_t sent = 0, i;
    int ret;

    buffer = give_writable(s, 1, VBUF_MODE_IN_PLACE, NULL);
    while ((ret = vbuf_written(buffer, NULL, NULL)) == 0) {
        sent++;
        CHECK_INT(sent, <, 1000000);
    }
    CHECK_INT(ret, ==, -EAGAIN);
    CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, -EAGAIN);
    for (i = 1; i <= sent; i++) {
        CHECK_INT(fake_take_written(&s->fake, 1, PAGE).serial, ==, i);
        expect_nothing(s);
    }
    CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, 0);
    expect_nothing(s);
    CHECK_INT(fake_take_written(&s->fake, 1, PAGE).serial, ==, sent + 1);
    close_session(s);
}

TEST(lost_is_the_writer_no_longer)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer;
    int fd;

    buffer = give_writable(s, 1, VBUF_MODE_LATEST, &fd);
    fake_update(&s->fake, 1, 3, PAGE, no_properties);
    expect(s, VBUF_EVENT_UPDATE, 1);
    /* Also when it crosses our RELEASE: the server has detached us */
    CHECK_INT(vbuf_release(buffer, 3), ==, 0);
    fake_lost(&s->fake, 1, 3);
    expect(s, VBUF_EVENT_LOST, 1);
    CHECK_INT(s->event->serial, ==, 3);
    CHECK(vbuf_buffer_fd(buffer) >= 0);
    expect_nothing(s);
    CHECK_INT(vbuf_buffer_fd(buffer), ==, -1);
    CHECK(!vbuf_is_writer(buffer));
    CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, -EPERM);
    CHECK_INT(vbuf_detach(buffer), ==, -EINVAL);
    fake_take_release(&s->fake, 1, 3);
    fake_take_nothing(&s->fake);

    CHECK_INT(vbuf_attach_writer(buffer), ==, 0);
    expect_nothing(s);
    fake_take_attach_writer(&s->fake, 1, 0);
    fake_attached_writer(&s->fake, 1, PAGE, VIRTIO_BUF_BACKING_COPY, fd);
    expect(s, VBUF_EVENT_ATTACHED, 1);
    CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, -EPERM);
    fake_update(&s->fake, 1, 4, PAGE, no_properties);
    expect(s, VBUF_EVENT_UPDATE, 1);
    CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, 0);
    expect_nothing(s);
    CHECK_INT(fake_take_written(&s->fake, 1, PAGE).serial, ==, 1);
    close(fd);
    close_session(s);
}

TEST(removed_while_it_writes)
{
    struct session *s = open_subscribed();
    struct vbuf_buffer *buffer;

    buffer = give_writable(s, 1, VBUF_MODE_IN_PLACE, NULL);
    fake_remove(&s->fake, 1);
    expect(s, VBUF_EVENT_REMOVE, 1);
    CHECK_INT(vbuf_written(buffer, NULL, NULL), ==, 0);
    expect_nothing(s);
    fake_take_removed(&s->fake, 1);
    fake_take_nothing(&s->fake);
    close_session(s);
}

TEST(refused_to_write)
{
    struct session *s = open_subscribed();

    fake_buffer(&s->fake, &(struct fake_buffer) { .id = 1, .size = PAGE });
    expect(s, VBUF_EVENT_BUFFER, 1);
    CHECK_INT(vbuf_buffer_access(s->event->buffer), ==, VBUF_ACCESS_READ);
    CHECK_INT(vbuf_attach_writer(s->event->buffer), ==, 0);
    expect_nothing(s);
    fake_take_attach_writer(&s->fake, 1, 0);
    fake_refused(&s->fake, 1, EACCES);
    expect(s, VBUF_EVENT_REFUSED, 1);
    CHECK_INT(s->event->error, ==, EACCES);
    close_session(s);
}

/* A server that makes a writer of who cannot be one */
TEST(attached_as_a_writer_wrongly)
{
    struct session *s = open_subscribed();
    int fd = fake_memory(PAGE);

    fake_buffer(&s->fake, &(struct fake_buffer) { .id = 1, .size = PAGE });
    fake_attached_writer(&s->fake, 1, PAGE, VIRTIO_BUF_BACKING_COPY, fd);
    close(fd);
    expect(s, VBUF_EVENT_BUFFER, 1);
    expect_broken(s);
}

TEST(asks_to_write_streams)
{
    const struct virtio_buf_msg_subscribe *subscribe;
    struct session *s = open_session();

    CHECK_INT(vbuf_subscribe(s->vbuf, NULL, 0, 0, VBUF_SUBSCRIBE_WRITER), ==,
              -EINVAL);
    CHECK_INT(vbuf_subscribe(s->vbuf, NULL, 0, 0, VBUF_SUBSCRIBE_WRITER |
                             VBUF_SUBSCRIBE_ALL), ==, 0);
    fake_take(&s->fake, VIRTIO_BUF_MSG_HELLO);
    subscribe = fake_take(&s->fake, VIRTIO_BUF_MSG_SUBSCRIBE);
    CHECK_INT(le32toh(subscribe->flags), ==, VIRTIO_BUF_SUBSCRIBE_WRITER |
              VIRTIO_BUF_SUBSCRIBE_ALL);
    CHECK_INT(vbuf_attach_stream_writer(s->vbuf, 0), ==, -EINVAL);
    CHECK_INT(vbuf_attach_stream_writer(s->vbuf, 9), ==, 0);
    fake_hello(&s->fake);
    expect_nothing(s);
    fake_take_attach_writer(&s->fake, 0, 9);
    close_session(s);
}
