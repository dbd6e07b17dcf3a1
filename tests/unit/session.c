/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The library and the fake server: see session.h. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "session.h"

static struct session the_session;


struct session *open_session(void)
{
    struct session *s = &the_session;
    int pair[2];

    test_socketpair(pair);
    CHECK_INT(vbuf_connect_fd(pair[0], &s->vbuf), ==, 0);
    fake_init(&s->fake, pair[1]);
    return s;
}

void expect_nothing(struct session *s)
{
    CHECK_INT(vbuf_next_event(s->vbuf, &s->event), ==, 0);
}

void expect(struct session *s, uint32_t type, uint64_t id)
{
    CHECK_INT(vbuf_next_event(s->vbuf, &s->event), ==, 1);
    CHECK_INT(s->event->type, ==, type);
    CHECK(s->event->text);
    if (id) {
        CHECK(s->event->buffer);
        CHECK_INT(vbuf_buffer_id(s->event->buffer), ==, id);
    } else {
        CHECK(!s->event->buffer);
    }
}

struct session *open_subscribed(void)
{
    struct session *s = open_session();

    CHECK_INT(vbuf_subscribe(s->vbuf, NULL, 0, 4, VBUF_SUBSCRIBE_ALL), ==, 0);
    fake_welcome(&s->fake);
    expect(s, VBUF_EVENT_DEVICE, 0);
    CHECK_STR(s->event->text, "vm1");
    expect(s, VBUF_EVENT_SUBSCRIBED, 0);
    expect_nothing(s);
    return s;
}

struct vbuf_buffer *give_buffer(struct session *s, uint64_t id, uint8_t mode)
{
    int fd = fake_memory(PAGE);

    fake_buffer(&s->fake, &(struct fake_buffer) {
                    .id = id, .size = PAGE, .mode = mode });
    fake_attached(&s->fake, id, PAGE, VIRTIO_BUF_BACKING_COPY, fd);
    close(fd);
    expect(s, VBUF_EVENT_BUFFER, id);
    expect(s, VBUF_EVENT_ATTACHED, id);
    return s->event->buffer;
}

void close_session(struct session *s)
{
    vbuf_disconnect(s->vbuf);
    fake_close(&s->fake);
}

void expect_disconnected(struct session *s, int error)
{
    expect(s, VBUF_EVENT_DISCONNECTED, 0);
    CHECK_INT(s->event->error, ==, error);
    CHECK(s->event->text[0]);
    CHECK_INT(vbuf_next_event(s->vbuf, &s->event), ==, -ENOTCONN);
    CHECK_INT(vbuf_wait_event(s->vbuf, -1, &s->event), ==, -ENOTCONN);
}

void expect_broken(struct session *s)
{
    expect_disconnected(s, EPROTO);
    fake_take_end(&s->fake);
    close_session(s);
}
