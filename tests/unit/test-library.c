/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirtio-buf against a server that the test plays: what it makes of good
 * messages, and that bad ones end in VBUF_EVENT_DISCONNECTED and nothing worse.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "session.h"

TEST(connect_to_nothing)
{
    struct vbuf *vbuf;
    char path[200];

    CHECK_INT(vbuf_connect("/nonexistent/socket", &vbuf), ==, -ENOENT);
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    CHECK_INT(vbuf_connect(path, &vbuf), ==, -ENAMETOOLONG);
}

TEST(connect_fd_of_another_kind)
{
    struct vbuf *vbuf;
    int pair[2];

    CHECK_INT(vbuf_connect_fd(test_memfd(1, 0), &vbuf), ==, -ENOTSOCK);
    CHECK_INT(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), ==, 0);
    CHECK_INT(vbuf_connect_fd(pair[0], &vbuf), ==, -EPROTOTYPE);
    close(pair[1]);
    CHECK_INT(vbuf_connect_fd(-1, &vbuf), ==, -EBADF);
}

TEST(disconnect_takes_null)
{
    vbuf_disconnect(NULL);
}

TEST(disconnect_at_once)
{
    close_session(open_session());
}

TEST(version_is_the_projects)
{
    CHECK_STR(vbuf_version(), EXPECTED_VERSION);
}

TEST(handshake_and_terms)
{
    struct session *s = open_session();

    CHECK(!vbuf_terms(s->vbuf));
    CHECK_STR(vbuf_instance(s->vbuf), "");
    CHECK_INT(vbuf_subscribe(s->vbuf, NULL, 0, 4, VBUF_SUBSCRIBE_ALL), ==, 0);
    fake_welcome(&s->fake);
    expect(s, VBUF_EVENT_DEVICE, 0);
    CHECK_INT(s->event->present, ==, 1);
    CHECK_STR(vbuf_instance(s->vbuf), "vm1");
    expect(s, VBUF_EVENT_SUBSCRIBED, 0);
    CHECK_INT(vbuf_terms(s->vbuf)->consumer_id, ==, 7);
    CHECK_INT(vbuf_terms(s->vbuf)->hold, ==, 2);
    CHECK_INT(vbuf_terms(s->vbuf)->hold_timeout_ms, ==, 1000);
    CHECK_INT(vbuf_terms(s->vbuf)->release_timeout_ms, ==, 2000);
    CHECK_INT(vbuf_terms(s->vbuf)->credit, ==, 4);
    fake_device(&s->fake, "vm1", false);
    expect(s, VBUF_EVENT_DEVICE, 0);
    CHECK_INT(s->event->present, ==, 0);
    CHECK_STR(s->event->text, "vm1");
    CHECK_STR(vbuf_instance(s->vbuf), "");
    close_session(s);
}

TEST(subscribe_says_what_was_asked)
{
    static const char *const names[] = { "org.example.a", "b" };
    static const char *const properties[] = { "formats=XR24", "title=t", NULL };
    const struct virtio_buf_msg_subscribe *msg;
    struct session *s = open_session();
    uint8_t expected[256] = { 0 };
    size_t size;

    CHECK_INT(vbuf_set_property(s->vbuf, "title", "first"), ==, 0);
    CHECK_INT(vbuf_set_property(s->vbuf, "gone", "x"), ==, 0);
    CHECK_INT(vbuf_set_property(s->vbuf, "formats", "XR24"), ==, 0);
    CHECK_INT(vbuf_set_property(s->vbuf, "title", "t"), ==, 0);
    CHECK_INT(vbuf_set_property(s->vbuf, "gone", NULL), ==, 0);
    CHECK_INT(vbuf_subscribe(s->vbuf, names, 2, 9, 0), ==, 0);
    CHECK_INT(vbuf_subscribe(s->vbuf, names, 2, 9, 0), ==, -EBUSY);
    CHECK_INT(vbuf_set_property(s->vbuf, "late", "x"), ==, -EBUSY);

    fake_take(&s->fake, VIRTIO_BUF_MSG_HELLO);
    msg = fake_take(&s->fake, VIRTIO_BUF_MSG_SUBSCRIBE);
    memcpy(expected, "org.example.a", 13);
    memcpy(expected + 64, "b", 1);
    size = fake_properties(expected + 128, properties);
    CHECK_INT(msg->flags, ==, 0);
    CHECK_INT(le32toh(msg->credit), ==, 9);
    CHECK_INT(le32toh(msg->application_count), ==, 2);
    CHECK_INT(le32toh(msg->property_bytes), ==, size);
    CHECK_INT(le32toh(msg->msg.size), ==, sizeof(*msg) + 128 + size);
    CHECK_INT(memcmp(msg + 1, expected, 128 + size), ==, 0);
    close_session(s);
}

TEST(subscribe_wrongly)
{
    static char long_name[65], value[VIRTIO_BUF_MAX_PROPERTY_BYTES + 1];
    const char *names[1024];
    struct session *s = open_session();
    struct vbuf *vbuf = s->vbuf;
    size_t i;

    names[0] = "ok";
    CHECK_INT(vbuf_subscribe(vbuf, names, 0, 0, 0), ==, -EINVAL);
    CHECK_INT(vbuf_subscribe(vbuf, names, 1, 0, VBUF_SUBSCRIBE_ALL), ==,
              -EINVAL);
    CHECK_INT(vbuf_subscribe(vbuf, names, 1, 0, 1u << 31), ==, -EINVAL);
    names[0] = "";
    CHECK_INT(vbuf_subscribe(vbuf, names, 1, 0, 0), ==, -EINVAL);
    names[0] = "\xff";
    CHECK_INT(vbuf_subscribe(vbuf, names, 1, 0, 0), ==, -EINVAL);
    memset(long_name, 'n', 64);
    names[0] = long_name;
    CHECK_INT(vbuf_subscribe(vbuf, names, 1, 0, 0), ==, -EINVAL);
    for (i = 0; i < 1024; i++) {
        names[i] = "n";
    }
    CHECK_INT(vbuf_subscribe(vbuf, names, 1024, 0, 0), ==, -E2BIG);
    CHECK_INT(vbuf_subscribe(vbuf, names, SIZE_MAX, 0, 0), ==, -E2BIG);

    CHECK_INT(vbuf_set_property(vbuf, "", "x"), ==, -EINVAL);
    CHECK_INT(vbuf_set_property(vbuf, "a=b", "x"), ==, -EINVAL);
    CHECK_INT(vbuf_set_property(vbuf, "a", "\xff"), ==, -EINVAL);
    CHECK_INT(vbuf_set_property(vbuf, "\xff", "x"), ==, -EINVAL);
    memset(value, 'v', sizeof(value) - 1);
    CHECK_INT(vbuf_set_property(vbuf, "a", value), ==, -ENOSPC);
    CHECK_INT(vbuf_set_property(vbuf, value, "x"), ==, -EINVAL);
    value[VIRTIO_BUF_MAX_PROPERTY_BYTES - 9] = '\0';
    CHECK_INT(vbuf_set_property(vbuf, "a", value), ==, 0);
    CHECK_INT(vbuf_set_property(vbuf, "b", "x"), ==, -ENOSPC);

    /* The most that fits, and nothing was sent before */
    names[0] = "n";
    CHECK_INT(vbuf_subscribe(vbuf, names, 512, 0, 0), ==, -E2BIG);
    CHECK_INT(vbuf_subscribe(vbuf, names, 511, 0, 0), ==, 0);
    fake_take(&s->fake, VIRTIO_BUF_MSG_HELLO);
    fake_take(&s->fake, VIRTIO_BUF_MSG_SUBSCRIBE);
    close_session(s);
}

TEST(refused_with_a_reason)
{
    struct session *s = open_session();

    CHECK_INT(vbuf_subscribe(s->vbuf, NULL, 0, 0, VBUF_SUBSCRIBE_ALL), ==, 0);
    fake_hello(&s->fake);
    fake_error(&s->fake, EUSERS, "16 consumers are connected already");
    shutdown(s->fake.sock, SHUT_WR);
    expect(s, VBUF_EVENT_DISCONNECTED, 0);
    CHECK_INT(s->event->error, ==, EUSERS);
    CHECK_STR(s->event->text, "16 consumers are connected already");
    CHECK_INT(vbuf_subscribe(s->vbuf, NULL, 0, 0, VBUF_SUBSCRIBE_ALL), ==,
              -ENOTCONN);
    close_session(s);
}

/* The server is gone when we write, but its reason can still be read */
TEST(reason_survives_a_failed_write)
{
    struct session *s = open_session();

    fake_hello(&s->fake);
    fake_error(&s->fake, EACCES, "uid 1000 may not");
    fake_close(&s->fake);
    CHECK_INT(vbuf_subscribe(s->vbuf, NULL, 0, 0, VBUF_SUBSCRIBE_ALL), ==, 0);
    expect(s, VBUF_EVENT_DISCONNECTED, 0);
    CHECK_INT(s->event->error, ==, EACCES);
    CHECK_STR(s->event->text, "uid 1000 may not");
    vbuf_disconnect(s->vbuf);
}

TEST(wrong_magic)
{
    struct virtio_buf_msg_hello msg = { .magic = htole32(1),
                                        .major = htole16(1) };
    struct session *s = open_session();

    fake_send(&s->fake, VIRTIO_BUF_MSG_HELLO, &msg, sizeof(msg), NULL, 0, -1);
    expect_broken(s);
}

TEST(wrong_version)
{
    struct virtio_buf_msg_hello msg = {
        .magic = htole32(VIRTIO_BUF_PROTOCOL_MAGIC), .major = htole16(2),
    };
    struct session *s = open_session();

    fake_send(&s->fake, VIRTIO_BUF_MSG_HELLO, &msg, sizeof(msg), NULL, 0, -1);
    expect(s, VBUF_EVENT_DISCONNECTED, 0);
    CHECK_INT(s->event->error, ==, EPROTONOSUPPORT);
    CHECK_STR(s->event->text,
              "the server speaks version 2 of the protocol, not 1");
    close_session(s);
}

TEST(another_minor_version_and_features_are_fine)
{
    struct virtio_buf_msg_hello msg = {
        .magic = htole32(VIRTIO_BUF_PROTOCOL_MAGIC), .major = htole16(1),
        .minor = htole16(9), .features = htole64(UINT64_MAX),
    };
    struct session *s = open_session();

    fake_send(&s->fake, VIRTIO_BUF_MSG_HELLO, &msg, sizeof(msg), NULL, 0, -1);
    expect_nothing(s);
    close_session(s);
}

TEST(not_hello_first)
{
    struct session *s = open_session();
    int fd = fake_memory(PAGE);

    CHECK_INT(vbuf_subscribe(s->vbuf, NULL, 0, 0, VBUF_SUBSCRIBE_ALL), ==, 0);
    fake_attached(&s->fake, 1, PAGE, 0, fd);
    close(fd);
    expect_broken(s);
}

TEST(news_before_we_subscribe)
{
    struct session *s = open_session();

    fake_hello(&s->fake);
    fake_device(&s->fake, "vm1", true);
    expect_broken(s);
}

TEST(garbage)
{
    struct session *s = open_session();
    uint8_t bytes[64];

    memset(bytes, 'G', sizeof(bytes));
    CHECK_INT(send(s->fake.sock, bytes, sizeof(bytes), 0), ==, sizeof(bytes));
    expect_broken(s);
}

TEST(hello_twice)
{
    struct session *s = open_subscribed();

    fake_hello(&s->fake);
    expect_broken(s);
}

TEST(server_dies)
{
    struct session *s = open_subscribed();
    const void *data;
    struct vbuf_buffer *buffer = give_buffer(s, 1, VBUF_MODE_LATEST);

    CHECK_INT(vbuf_map(buffer, &data), ==, 0);
    fake_close(&s->fake);
    CHECK_INT(vbuf_attach_stream(s->vbuf, 1), ==, 0);
    expect_disconnected(s, ECONNRESET);
    /* The memory is still there, nothing can be asked for any more */
    CHECK_INT(((const uint8_t *)data)[1], ==, 7);
    CHECK_INT(vbuf_attach_stream(s->vbuf, 1), ==, -ENOTCONN);
    CHECK_INT(vbuf_detach(buffer), ==, -ENOTCONN);
    CHECK(vbuf_find_buffer(s->vbuf, 1) == buffer);
    vbuf_disconnect(s->vbuf);
}

TEST(wait_times_out)
{
    struct session *s = open_session();

    CHECK_INT(vbuf_wait_event(s->vbuf, 0, &s->event), ==, 0);
    CHECK_INT(vbuf_wait_event(s->vbuf, 30, &s->event), ==, 0);
    /* What was queued has gone out meanwhile */
    fake_take(&s->fake, VIRTIO_BUF_MSG_HELLO);
    close_session(s);
}

TEST(wait_gets_what_comes_later)
{
    struct session *s = open_subscribed();
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        usleep(50000);
        fake_device(&s->fake, "vm2", true);
        _exit(0);
    }
    CHECK_INT(vbuf_wait_event(s->vbuf, -1, &s->event), ==, 1);
    CHECK_INT(s->event->type, ==, VBUF_EVENT_DEVICE);
    CHECK_STR(s->event->text, "vm2");
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    close_session(s);
}

TEST(poll_events)
{
    struct session *s = open_session();

    CHECK_INT(vbuf_poll_events(s->vbuf), ==, POLLIN | POLLOUT);  /* HELLO */
    expect_nothing(s);
    CHECK_INT(vbuf_poll_events(s->vbuf), ==, POLLIN);
    CHECK_INT(fcntl(vbuf_fd(s->vbuf), F_GETFD), ==, FD_CLOEXEC);
    close_session(s);
}

static char logged[512];

static void keep_log(int level, const char *text, void *opaque)
{
    CHECK_STR(opaque, "opaque");
    snprintf(logged, sizeof(logged), "%d %s", level, text);
}

TEST(log_handler)
{
    struct session *s = open_session();

    vbuf_set_log_handler(s->vbuf, keep_log, (void *)"opaque");
    fake_close(&s->fake);
    expect(s, VBUF_EVENT_DISCONNECTED, 0);
    CHECK_STR(logged, "0 disconnected: the server has gone");
    vbuf_disconnect(s->vbuf);
}
