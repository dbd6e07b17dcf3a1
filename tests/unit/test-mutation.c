/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A good stream of messages with bytes changed at random: whatever the library
 * makes of it, it ends without a crash, a leak, or an fd left open. The random
 * numbers are the same in each run; a failing round is told by its number.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "session.h"

#define ROUNDS 4000

static uint32_t state;

static uint32_t random_below(uint32_t limit)
{
    state = state * 1664525 + 1013904223;
    return (state >> 8) % limit;
}

/* Everything that a server says in a short life; the second half of a pair */
static void say_it_all(struct fake *fake, int memory)
{
    static const char *const picture[] = { "fourcc=XR24", "width=4", "a=b",
                                           NULL };
    static const char *const change[] = { "width=8", "a", NULL };
    uint64_t id;

    fake_hello(fake);
    fake_device(fake, "vm1", true);
    for (id = 1; id <= 3; id++) {
        fake_buffer(fake, &(struct fake_buffer) {
                        .id = id, .size = PAGE, .stream = 9,
                        .mode = (uint8_t)(id - 1), .properties = picture });
        fake_attached(fake, id, PAGE, VIRTIO_BUF_BACKING_COPY, memory);
    }
    fake_subscribed(fake, 8);
    for (id = 1; id <= 3; id++) {
        fake_update(fake, id, id, PAGE, change);
        fake_set_properties(fake, id, picture);
    }
    fake_lost(fake, 2, 2);
    fake_remove(fake, 1);
    fake_reset(fake, VIRTIO_BUF_RESET_REASON_UNPLUG);
    fake_device(fake, "vm1", false);
    fake_error(fake, ESHUTDOWN, "the end");
}

/* Passes one message on, changed or not, with its fd */
static bool pass_on(struct virtio_buf_reader *reader, int from, int to,
                    uint32_t chance)
{
    static uint8_t bytes[VIRTIO_BUF_MSG_MAX];
    const struct virtio_buf_msg *msg;
    struct iovec iov;
    uint32_t i;
    int fd;

    if (virtio_buf_reader_next(reader, from, true, &msg, &fd) != 1) {
        return false;
    }
    memcpy(bytes, msg, msg->size);
    for (i = 0; i < 3; i++) {
        if (!random_below(chance)) {
            bytes[random_below(msg->size)] ^= (uint8_t)(1 << random_below(8));
        }
    }
    iov = (struct iovec) { bytes, msg->size };
    if (random_below(chance * 4) == 0) {
        iov.iov_len -= random_below(msg->size);
    }
    virtio_buf_send(to, &iov, 1, fd);   /* it may have hung up: no matter */
    if (fd >= 0) {
        close(fd);
    }
    return true;
}

static void use_event(const struct vbuf_event *event)
{
    const char *name, *value;
    const void *data;

    switch (event->type) {
    case VBUF_EVENT_ATTACHED:
        vbuf_map(event->buffer, &data);
        break;
    case VBUF_EVENT_UPDATE:
        if (vbuf_map(event->buffer, &data) == 0 &&
            vbuf_begin_read(event->buffer) == 0) {
            CHECK(event->frame->data_size + event->frame->data_offset <=
                  vbuf_buffer_size(event->buffer));
            if (event->frame->data_size) {
                /* The last byte of the payload can be read */
                (void)*((const volatile uint8_t *)data +
                        event->frame->data_offset +
                        event->frame->data_size - 1);
            }
            vbuf_end_read(event->buffer);
        }
        vbuf_buffer_property_at(event->buffer, 0, &name, &value);
        vbuf_release(event->buffer, event->serial);
        break;
    }
}

TEST(mutated_messages)
{
    static uint8_t input[VIRTIO_BUF_MSG_MAX] __attribute__((aligned(8)));
    struct virtio_buf_reader reader;
    struct session *s;
    struct fake source;
    int memory = fake_memory(PAGE), pair[2], round, ret;
    unsigned int ends[2] = { 0, 0 };

    for (round = 1; round <= ROUNDS; round++) {
        state = (uint32_t)round;
        test_socketpair(pair);
        fake_init(&source, pair[0]);
        say_it_all(&source, memory);
        shutdown(source.sock, SHUT_WR);
        virtio_buf_reader_init(&reader, input);

        s = open_session();
        CHECK_INT(vbuf_subscribe(s->vbuf, NULL, 0, 4, VBUF_SUBSCRIBE_ALL), ==,
                  0);
        do {
            ret = 0;
            if (!pass_on(&reader, pair[1], s->fake.sock, 12)) {
                shutdown(s->fake.sock, SHUT_WR);
            }
            while ((ret = vbuf_next_event(s->vbuf, &s->event)) == 1) {
                if (s->event->type == VBUF_EVENT_DISCONNECTED) {
                    ends[s->event->error == ESHUTDOWN]++;
                }
                use_event(s->event);
            }
        } while (ret == 0);
        CHECK_INT(ret, ==, -ENOTCONN);
        close_session(s);
        virtio_buf_reader_clear(&reader);
        close(pair[1]);
        fake_close(&source);
    }
    close(memory);
    /* Both happen often: what is tested is neither all good nor all bad */
    CHECK_INT(ends[0], >, ROUNDS / 10);
    CHECK_INT(ends[1], >, ROUNDS / 100);
}
