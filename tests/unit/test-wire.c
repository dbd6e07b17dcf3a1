/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The socket half of the wire code: how a stream is cut into messages and
 * which fd belongs to which, against a peer that does everything wrong. That
 * no fd stays open after any of it is the harness's check.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "virtio-buf/wire.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BOTH 2

/* Written down from protocol.h by hand */
static const struct {
    uint32_t type;
    uint32_t size;
    bool more;
} messages[] = {
    { VIRTIO_BUF_MSG_HELLO, 24, false },
    { VIRTIO_BUF_MSG_SUBSCRIBE, 24, true },
    { VIRTIO_BUF_MSG_ATTACH, 32, false },
    { VIRTIO_BUF_MSG_DETACH, 16, false },
    { VIRTIO_BUF_MSG_RELEASE, 24, false },
    { VIRTIO_BUF_MSG_REMOVED, 16, false },
    { VIRTIO_BUF_MSG_WRITTEN, 80, true },
    { VIRTIO_BUF_MSG_ERROR, 144, false },
    { VIRTIO_BUF_MSG_DEVICE, 80, false },
    { VIRTIO_BUF_MSG_BUFFER, 144, true },
    { VIRTIO_BUF_MSG_SUBSCRIBED, 32, false },
    { VIRTIO_BUF_MSG_ATTACHED, 32, false },
    { VIRTIO_BUF_MSG_REFUSED, 24, false },
    { VIRTIO_BUF_MSG_UPDATE, 88, true },
    { VIRTIO_BUF_MSG_PROPERTIES, 24, true },
    { VIRTIO_BUF_MSG_REMOVE, 16, false },
    { VIRTIO_BUF_MSG_LOST, 24, false },
    { VIRTIO_BUF_MSG_RESET, 16, false },
};

/* A peer that writes to one end, and a reader at the other */
struct link {
    int peer;
    int sock;
    bool take_fds;
    const struct virtio_buf_msg *msg;
    int fd;
    struct virtio_buf_reader reader;
    _Alignas(8) uint8_t buf[VIRTIO_BUF_MSG_MAX];
};

static struct link the_link;

static struct link *open_link(bool take_fds)
{
    struct link *link = &the_link;
    int pair[2];

    test_socketpair(pair);
    memset(link, 0, sizeof(*link));
    link->peer = pair[0];
    link->sock = pair[1];
    link->take_fds = take_fds;
    link->fd = -1;
    virtio_buf_reader_init(&link->reader, link->buf);
    return link;
}

static void close_link(struct link *link)
{
    virtio_buf_reader_clear(&link->reader);
    if (link->peer >= 0) {
        close(link->peer);
    }
    close(link->sock);
}

static int next(struct link *link)
{
    return virtio_buf_reader_next(&link->reader, link->sock, link->take_fds,
                                  &link->msg,
                                  link->take_fds ? &link->fd : NULL);
}

static void send_fds(int sock, const void *bytes, size_t len, int fd,
                     size_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(253 * sizeof(int))];
    } control;
    struct iovec iov = { (void *)bytes, len };
    struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
    struct cmsghdr *cmsg;
    size_t i;

    if (fd_count) {
        memset(&control, 0, sizeof(control));
        hdr.msg_control = &control;
        hdr.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&hdr);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        for (i = 0; i < fd_count; i++) {
            memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd, sizeof(int));
        }
    }
    CHECK_INT(sendmsg(sock, &hdr, MSG_NOSIGNAL), ==, len);
}

/* Writes a message whose body counts up from @seed */
static size_t make_msg(uint8_t *to, uint32_t type, uint32_t size, uint8_t seed)
{
    struct virtio_buf_msg head = { htole32(type), htole32(size) };
    size_t i;

    memcpy(to, &head, sizeof(head));
    for (i = sizeof(head); i < size; i++) {
        to[i] = (uint8_t)(seed + i);
    }
    return size;
}

static void check_msg(struct link *link, uint32_t type, uint32_t size,
                      uint8_t seed)
{
    static _Alignas(8) uint8_t expected[VIRTIO_BUF_MSG_MAX];

    make_msg(expected, type, size, seed);
    CHECK_INT((uintptr_t)link->msg % 8, ==, 0);
    CHECK_INT(memcmp(link->msg, expected, size), ==, 0);
}

static void give(struct link *link, uint32_t type, uint32_t size, int fd,
                 size_t fd_count)
{
    static uint8_t bytes[VIRTIO_BUF_MSG_MAX];

    send_fds(link->peer, bytes, make_msg(bytes, type, size, 1), fd, fd_count);
}

TEST(min_size_of_each_type)
{
    uint32_t type, known = 0;
    size_t i;

    for (i = 0; i < COUNT(messages); i++) {
        CHECK_INT(virtio_buf_msg_min_size(messages[i].type), ==,
                  messages[i].size);
    }
    for (type = 0; type < 1000; type++) {
        known += virtio_buf_msg_min_size(type) != 0;
    }
    CHECK_INT(known, ==, COUNT(messages));
    CHECK_INT(virtio_buf_msg_min_size(UINT32_MAX), ==, 0);
}

TEST(each_type_at_each_length)
{
    struct virtio_buf_msg head;
    struct link *link;
    uint32_t size;
    size_t i;
    bool good, attached;
    int take_fds, fd, ret;

    for (take_fds = 0; take_fds < BOTH; take_fds++) {
        for (i = 0; i < COUNT(messages); i++) {
            attached = messages[i].type == VIRTIO_BUF_MSG_ATTACHED;
            for (size = 0; size <= messages[i].size + 24; size++) {
                link = open_link(take_fds);
                fd = test_memfd(4096, 0);
                head.type = htole32(messages[i].type);
                head.size = htole32(size);
                send_fds(link->peer, &head, sizeof(head), fd,
                         take_fds && attached ? 1 : 0);
                if (size > 8) {
                    uint8_t zeros[256] = { 0 };

                    send_fds(link->peer, zeros, size - 8, -1, 0);
                }
                good = size == messages[i].size ||
                       (messages[i].more && size > messages[i].size &&
                        size % 8 == 0);
                ret = next(link);
                CHECK_INT(ret, ==, good ? 1 : -EPROTO);
                if (good && take_fds) {
                    CHECK_INT(link->fd >= 0, ==, attached);
                    close(link->fd);
                }
                close(fd);
                close_link(link);
            }
        }
    }
}

TEST(sizes_that_cannot_be)
{
    static const uint32_t sizes[] = {
        VIRTIO_BUF_MSG_MAX + 8, 1u << 31, UINT32_MAX - 7, UINT32_MAX - 6,
        UINT32_MAX,
    };
    static const uint32_t types[] = {
        0, 8, 63, 75, UINT32_MAX, VIRTIO_BUF_MSG_BUFFER, VIRTIO_BUF_MSG_UPDATE,
        VIRTIO_BUF_MSG_SUBSCRIBE,
    };
    struct virtio_buf_msg head;
    struct link *link;
    size_t i, j;

    for (i = 0; i < COUNT(types); i++) {
        for (j = 0; j < COUNT(sizes); j++) {
            link = open_link(j % 2);
            head = (struct virtio_buf_msg) {
                htole32(types[i]), htole32(sizes[j])
            };
            send_fds(link->peer, &head, sizeof(head), -1, 0);
            CHECK_INT(next(link), ==, -EPROTO);
            CHECK_INT(next(link), ==, -EPROTO);
            close_link(link);
        }
    }
}

TEST(unknown_type)
{
    static const uint32_t types[] = { 0, 8, 63, 75, 1 << 24, UINT32_MAX };
    struct link *link;
    size_t i;

    for (i = 0; i < COUNT(types); i++) {
        link = open_link(i % 2);
        give(link, types[i], 24, -1, 0);
        CHECK_INT(next(link), ==, -EPROTO);
        close_link(link);
    }
}

TEST(largest_message)
{
    static uint8_t bytes[VIRTIO_BUF_MSG_MAX];
    struct link *link;
    int take_fds;

    for (take_fds = 0; take_fds < BOTH; take_fds++) {
        link = open_link(take_fds);
        make_msg(bytes, VIRTIO_BUF_MSG_BUFFER, VIRTIO_BUF_MSG_MAX, 7);
        send_fds(link->peer, bytes, sizeof(bytes), -1, 0);
        CHECK_INT(next(link), ==, 1);
        check_msg(link, VIRTIO_BUF_MSG_BUFFER, VIRTIO_BUF_MSG_MAX, 7);
        CHECK_INT(next(link), ==, -EAGAIN);
        close_link(link);
    }
}

TEST(byte_by_byte)
{
    uint8_t bytes[256];
    struct link *link;
    size_t i, size, at;
    int take_fds;

    for (take_fds = 0; take_fds < BOTH; take_fds++) {
        for (i = 0; i < COUNT(messages); i++) {
            if (messages[i].type == VIRTIO_BUF_MSG_ATTACHED && take_fds) {
                continue;
            }
            link = open_link(take_fds);
            size = make_msg(bytes, messages[i].type, messages[i].size, 3);
            for (at = 0; at < size; at++) {
                CHECK_INT(next(link), ==, -EAGAIN);
                send_fds(link->peer, bytes + at, 1, -1, 0);
            }
            CHECK_INT(next(link), ==, 1);
            check_msg(link, messages[i].type, messages[i].size, 3);
            CHECK_INT(next(link), ==, -EAGAIN);
            close_link(link);
        }
    }
}

TEST(attached_byte_by_byte_keeps_its_fd)
{
    struct link *link = open_link(true);
    int fd = test_memfd(8192, 0);
    uint8_t bytes[32];
    struct stat st;
    size_t at;

    make_msg(bytes, VIRTIO_BUF_MSG_ATTACHED, 32, 3);
    for (at = 0; at < 32; at++) {
        CHECK_INT(next(link), ==, -EAGAIN);
        send_fds(link->peer, bytes + at, 1, fd, at == 0);
    }
    CHECK_INT(next(link), ==, 1);
    check_msg(link, VIRTIO_BUF_MSG_ATTACHED, 32, 3);
    CHECK_INT(fstat(link->fd, &st), ==, 0);
    CHECK_INT(st.st_size, ==, 8192);
    close(link->fd);
    close(fd);
    close_link(link);
}

TEST(two_messages_in_one_write)
{
    uint8_t bytes[40];
    struct link *link;
    int take_fds;

    for (take_fds = 0; take_fds < BOTH; take_fds++) {
        link = open_link(take_fds);
        make_msg(bytes, VIRTIO_BUF_MSG_REMOVE, 16, 1);
        make_msg(bytes + 16, VIRTIO_BUF_MSG_LOST, 24, 2);
        send_fds(link->peer, bytes, 40, -1, 0);
        CHECK_INT(next(link), ==, 1);
        check_msg(link, VIRTIO_BUF_MSG_REMOVE, 16, 1);
        CHECK_INT(next(link), ==, 1);
        check_msg(link, VIRTIO_BUF_MSG_LOST, 24, 2);
        CHECK_INT(next(link), ==, -EAGAIN);
        close_link(link);
    }
}

/* Messages of all sizes, written in pieces that match none of them */
TEST(many_messages_in_odd_pieces)
{
    static uint8_t stream[1 << 22];
    size_t total = 0, sent = 0, piece = 1;
    uint32_t size, i, made = 0, got = 0;
    struct link *link;
    ssize_t n;
    int ret, take_fds;

    for (i = 0; total + VIRTIO_BUF_MSG_MAX <= sizeof(stream); i++) {
        size = 144 + (i * 7919 % 8000) * 8;
        total += make_msg(stream + total, VIRTIO_BUF_MSG_BUFFER, size,
                          (uint8_t)i);
        made++;
    }
    CHECK_INT(made, >, 100);
    for (take_fds = 0; take_fds < BOTH; take_fds++, got = 0, sent = 0) {
        link = open_link(take_fds);
        while (got < made) {
            if (sent < total) {
                piece = piece * 31 % 40009 + 1;
                if (piece > total - sent) {
                    piece = total - sent;
                }
                n = send(link->peer, stream + sent, piece,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
                sent += n > 0 ? (size_t)n : 0;
            }
            while ((ret = next(link)) == 1) {
                check_msg(link, VIRTIO_BUF_MSG_BUFFER,
                          144 + (got * 7919 % 8000) * 8, (uint8_t)got);
                got++;
            }
            CHECK_INT(ret, ==, -EAGAIN);
        }
        close_link(link);
    }
}

TEST(end_of_stream)
{
    uint8_t bytes[24];
    struct link *link;
    size_t len;

    make_msg(bytes, VIRTIO_BUF_MSG_LOST, 24, 1);
    for (len = 0; len <= 24; len++) {
        link = open_link(len % 2);
        if (len) {
            send_fds(link->peer, bytes, len, -1, 0);
        }
        shutdown(link->peer, SHUT_WR); /* half close: ours stays open */
        if (len == 24) {
            CHECK_INT(next(link), ==, 1);
        }
        CHECK_INT(next(link), ==, len % 24 ? -EPROTO : 0);
        close_link(link);
    }
}

TEST(end_of_stream_by_close)
{
    struct link *link = open_link(true);

    give(link, VIRTIO_BUF_MSG_REMOVE, 16, -1, 0);
    close(link->peer);
    link->peer = -1;
    CHECK_INT(next(link), ==, 1);
    CHECK_INT(next(link), ==, 0);
    CHECK_INT(next(link), ==, 0);
    close_link(link);
}

TEST(reset_by_peer)
{
    struct link *link = open_link(true);

    /* Unread bytes of ours make the peer's close a reset */
    CHECK_INT(send(link->sock, "x", 1, MSG_NOSIGNAL), ==, 1);
    close(link->peer);
    link->peer = -1;
    CHECK_INT(next(link), ==, -ECONNRESET);
    close_link(link);
}

TEST(fd_arrives_close_on_exec)
{
    struct link *link = open_link(true);
    int fd = test_memfd(4096, 0);

    give(link, VIRTIO_BUF_MSG_ATTACHED, 32, fd, 1);
    CHECK_INT(next(link), ==, 1);
    CHECK_INT(link->fd, >=, 0);
    CHECK_INT(fcntl(link->fd, F_GETFD), ==, FD_CLOEXEC);
    close(link->fd);
    close(fd);
    close_link(link);
}

TEST(fds_go_with_their_messages)
{
    struct link *link = open_link(true);
    struct stat st;
    int i, fd;

    for (i = 1; i <= 20; i++) {
        fd = test_memfd((uint64_t)i * 4096, 0);
        give(link, VIRTIO_BUF_MSG_UPDATE, 88, -1, 0);
        give(link, VIRTIO_BUF_MSG_ATTACHED, 32, fd, 1);
        give(link, VIRTIO_BUF_MSG_UPDATE, 96, -1, 0);
        close(fd);
    }
    for (i = 1; i <= 20; i++) {
        CHECK_INT(next(link), ==, 1);
        CHECK_INT(link->fd, ==, -1);
        CHECK_INT(next(link), ==, 1);
        CHECK_INT(fstat(link->fd, &st), ==, 0);
        CHECK_INT(st.st_size, ==, i * 4096);
        close(link->fd);
        CHECK_INT(next(link), ==, 1);
        CHECK_INT(link->fd, ==, -1);
    }
    CHECK_INT(next(link), ==, -EAGAIN);
    close_link(link);
}

TEST(fd_of_two_messages_in_one_write_is_the_first_ones)
{
    struct link *link = open_link(true);
    int fd = test_memfd(4096, 0);
    uint8_t bytes[120];

    make_msg(bytes, VIRTIO_BUF_MSG_ATTACHED, 32, 1);
    make_msg(bytes + 32, VIRTIO_BUF_MSG_UPDATE, 88, 1);
    send_fds(link->peer, bytes, sizeof(bytes), fd, 1);
    CHECK_INT(next(link), ==, 1);
    CHECK_INT(link->fd, >=, 0);
    close(link->fd);
    CHECK_INT(next(link), ==, 1);
    CHECK_INT(link->fd, ==, -1);
    close_link(link);

    link = open_link(true);
    make_msg(bytes, VIRTIO_BUF_MSG_UPDATE, 88, 1);
    make_msg(bytes + 88, VIRTIO_BUF_MSG_ATTACHED, 32, 1);
    send_fds(link->peer, bytes, sizeof(bytes), fd, 1);
    CHECK_INT(next(link), ==, -EPROTO);
    close_link(link);
    close(fd);
}

TEST(fd_on_each_other_type)
{
    struct link *link;
    int fd = test_memfd(4096, 0), take_fds;
    size_t i;

    for (take_fds = 0; take_fds < BOTH; take_fds++) {
        for (i = 0; i < COUNT(messages); i++) {
            if (messages[i].type == VIRTIO_BUF_MSG_ATTACHED) {
                continue;
            }
            link = open_link(take_fds);
            give(link, messages[i].type, messages[i].size, fd, 1);
            CHECK_INT(next(link), ==, -EPROTO);
            CHECK_INT(link->fd, ==, -1);
            close_link(link);
        }
    }
    close(fd);
}

TEST(fd_on_each_wrong_byte)
{
    struct link *link;
    int fd = test_memfd(4096, 0);
    uint8_t bytes[32];
    size_t at;

    make_msg(bytes, VIRTIO_BUF_MSG_ATTACHED, 32, 3);
    for (at = 1; at < 32; at++) {
        link = open_link(true);
        send_fds(link->peer, bytes, at, -1, 0);
        if (at < 8) {
            CHECK_INT(next(link), ==, -EAGAIN);
        }
        send_fds(link->peer, bytes + at, 32 - at, fd, 1);
        CHECK_INT(next(link), ==, -EPROTO);
        close_link(link);
    }
    close(fd);
}

TEST(attached_without_fd)
{
    struct link *link = open_link(true);

    give(link, VIRTIO_BUF_MSG_ATTACHED, 32, -1, 0);
    CHECK_INT(next(link), ==, -EPROTO);
    close_link(link);
}

TEST(attached_at_a_side_that_takes_none)
{
    struct link *link = open_link(false);
    int fd = test_memfd(4096, 0);

    give(link, VIRTIO_BUF_MSG_ATTACHED, 32, fd, 1);
    CHECK_INT(next(link), ==, -EPROTO);
    close(fd);
    close_link(link);
}

TEST(surplus_fds)
{
    static const size_t counts[] = { 2, 3, 4, 28, 252, 253 };
    struct link *link;
    int fd = test_memfd(4096, 0), take_fds;
    size_t i;

    for (take_fds = 0; take_fds < BOTH; take_fds++) {
        for (i = 0; i < COUNT(counts); i++) {
            size_t before = test_count_fds();

            link = open_link(take_fds);
            give(link, VIRTIO_BUF_MSG_ATTACHED, 32, fd, counts[i]);
            CHECK_INT(next(link), ==, -EPROTO);
            close_link(link);
            CHECK_INT(test_count_fds(), ==, before);
        }
    }
    close(fd);
}

TEST(second_fd_in_the_body)
{
    struct link *link = open_link(true);
    int fd = test_memfd(4096, 0);
    uint8_t bytes[32];

    make_msg(bytes, VIRTIO_BUF_MSG_ATTACHED, 32, 3);
    send_fds(link->peer, bytes, 16, fd, 1);
    send_fds(link->peer, bytes + 16, 16, fd, 1);
    CHECK_INT(next(link), ==, -EPROTO);
    CHECK_INT(link->fd, ==, -1);
    close(fd);
    close_link(link);
}

TEST(no_fd_number_left)
{
    struct link *link = open_link(true);
    int fd = test_memfd(4096, 0), take_fds, unused;
    struct rlimit old, limit;

    CHECK_INT(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
    close_link(link);
    for (take_fds = 0; take_fds < BOTH; take_fds++) {
        link = open_link(take_fds);
        give(link, VIRTIO_BUF_MSG_ATTACHED, 32, fd, 1);
        unused = dup(fd);
        close(unused);
        limit = old;
        limit.rlim_cur = (rlim_t)unused;
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        CHECK_INT(next(link), ==, -EPROTO);
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
        close_link(link);
    }
    close(fd);
}

TEST(fd_of_a_message_that_never_ends)
{
    struct link *link = open_link(true);
    int fd = test_memfd(4096, 0);
    uint8_t bytes[32];

    make_msg(bytes, VIRTIO_BUF_MSG_ATTACHED, 32, 3);
    send_fds(link->peer, bytes, 16, fd, 1);
    CHECK_INT(next(link), ==, -EAGAIN);
    close_link(link);

    link = open_link(true);
    send_fds(link->peer, bytes, 16, fd, 1);
    shutdown(link->peer, SHUT_WR);
    CHECK_INT(next(link), ==, -EPROTO);
    CHECK_INT(link->reader.fd, ==, -1);
    close(fd);
    close_link(link);
}

TEST(control_message_of_another_kind)
{
    struct link *link = open_link(true);
    int on = 1;

    CHECK_INT(setsockopt(link->sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)),
              ==, 0);
    give(link, VIRTIO_BUF_MSG_REMOVE, 16, -1, 0);
    CHECK_INT(next(link), ==, -EPROTO);
    close_link(link);
}

TEST(send_until_full)
{
    static uint8_t bytes[1 << 20];
    struct iovec iov = { bytes, sizeof(bytes) };
    size_t sent = 0, got = 0;
    struct link *link = open_link(true);
    ssize_t n;
    int fd;

    while ((n = virtio_buf_send(link->sock, &iov, 1, -1)) > 0) {
        sent += (size_t)n;
    }
    CHECK_INT(n, ==, -EAGAIN);
    CHECK_INT(sent, >, 0);
    while ((n = virtio_buf_recv(link->peer, bytes, sizeof(bytes), &fd)) > 0) {
        CHECK_INT(fd, ==, -1);
        got += (size_t)n;
    }
    CHECK_INT(n, ==, -EAGAIN);
    CHECK_INT(got, ==, sent);
    close_link(link);
}

TEST(send_gives_the_fd_with_the_first_byte)
{
    uint8_t bytes[32], head[8];
    struct iovec iov[2] = { { bytes, 8 }, { bytes + 8, 24 } };
    struct link *link = open_link(true);
    int fd = test_memfd(4096, 0), got;

    make_msg(bytes, VIRTIO_BUF_MSG_ATTACHED, 32, 3);
    CHECK_INT(virtio_buf_send(link->sock, iov, 2, fd), ==, 32);
    CHECK_INT(virtio_buf_recv(link->peer, head, 1, &got), ==, 1);
    CHECK_INT(got, >=, 0);
    close(got);
    CHECK_INT(virtio_buf_recv(link->peer, head, 8, &got), ==, 8);
    CHECK_INT(got, ==, -1);
    CHECK_INT(fcntl(fd, F_GETFD), >=, 0);   /* still ours */
    close(fd);
    close_link(link);
}

TEST(send_to_nobody)
{
    uint8_t byte = 0;
    struct iovec iov = { &byte, 1 };
    struct link *link = open_link(true);

    close(link->peer);
    link->peer = -1;
    CHECK_INT(virtio_buf_send(link->sock, &iov, 1, -1), ==, -EPIPE);
    close_link(link);
}
