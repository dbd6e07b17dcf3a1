/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: a server that says anything to libvirtio-buf.
 *
 * The input is a list of pieces, each struct piece and its bytes: the bytes
 * are what the server sends, with an fd if the piece says so, and then the
 * program does something with its buffers. Whatever comes, the library neither
 * crashes nor leaks, every fd is closed in the end, and what it tells of a
 * payload can be read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "virtio-buf/virtio-buf.h"
#include "virtio-buf/wire.h"

#define PAGE 4096

struct piece {
    uint8_t what;
    uint8_t size[2];    /* little-endian: of the bytes that follow */
};

#define PIECE_HAS_FD        (1 << 0)
#define PIECE_HAS_SHORT_FD  (1 << 1)    /* of a file that is too small */
#define PIECE_ACTION(what)  ((what) >> 4)

enum action {
    ACTION_NOTHING,
    ACTION_ATTACH,
    ACTION_DETACH,
    ACTION_ATTACH_STREAM,
    ACTION_RELEASE,
    ACTION_HANG_UP,
};

/* Read, and for nobody */
static volatile uint8_t last_byte;

static int page_fd = -1;
static int short_fd = -1;

static int make_memory(off_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        abort();
    }
    return fd;
}

/* The lowest free number: the same again when every fd was closed */
static int lowest_free_fd(void)
{
    int fd = fcntl(page_fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0) {
        abort();
    }
    close(fd);
    return fd;
}

static void read_update(const struct vbuf_event *event)
{
    const struct vbuf_frame *frame = event->frame;
    const char *name, *value;
    const void *data;

    if (frame->data_size + frame->data_offset >
        vbuf_buffer_size(event->buffer)) {
        abort();
    }
    if (vbuf_map(event->buffer, &data) == 0 &&
        vbuf_begin_read(event->buffer) == 0) {
        if (frame->data_size) {
            last_byte = ((const uint8_t *)data)[frame->data_offset +
                                                frame->data_size - 1];
        }
        vbuf_end_read(event->buffer);
    }
    vbuf_buffer_property_at(event->buffer, 0, &name, &value);
    if (event->serial % 4) {
        vbuf_release(event->buffer, event->serial);
    }
}

/* Returns false when the connection has ended */
static bool take_events(struct vbuf *vbuf)
{
    const struct vbuf_event *event;
    const void *data;
    int ret;

    while ((ret = vbuf_next_event(vbuf, &event)) == 1) {
        switch (event->type) {
        case VBUF_EVENT_ATTACHED:
            vbuf_map(event->buffer, &data);
            break;
        case VBUF_EVENT_UPDATE:
            read_update(event);
            break;
        }
    }
    return ret == 0;
}

static void act(struct vbuf *vbuf, enum action action)
{
    struct vbuf_buffer *buffer = vbuf_each_buffer(vbuf, NULL);

    if (action == ACTION_ATTACH_STREAM) {
        vbuf_attach_stream(vbuf, 9);
    } else if (buffer) {
        switch (action) {
        case ACTION_ATTACH:
            vbuf_attach(buffer);
            break;
        case ACTION_DETACH:
            vbuf_detach(buffer);
            break;
        case ACTION_RELEASE:
            vbuf_release(buffer, 1);
            break;
        default:
            break;
        }
    }
}

/* What the program says has to go somewhere */
static void drain(int sock)
{
    uint8_t bytes[4096];
    ssize_t n;

    do {
        n = virtio_buf_recv(sock, bytes, sizeof(bytes), NULL);
    } while (n > 0);
}

static void serve(struct vbuf *vbuf, int sock, const uint8_t *data,
                  size_t size)
{
    struct piece piece;
    struct iovec iov;
    size_t n;
    int fd;

    while (size > sizeof(piece)) {
        memcpy(&piece, data, sizeof(piece));
        data += sizeof(piece);
        size -= sizeof(piece);
        n = piece.size[0] | (size_t)piece.size[1] << 8;
        n = n < size ? n : size;
        iov = (struct iovec) { (void *)(uintptr_t)data, n };
        data += n;
        size -= n;

        fd = piece.what & PIECE_HAS_FD ? page_fd :
             piece.what & PIECE_HAS_SHORT_FD ? short_fd : -1;
        if (n && virtio_buf_send(sock, &iov, 1, fd) < 0) {
            return;
        }
        if (PIECE_ACTION(piece.what) == ACTION_HANG_UP) {
            shutdown(sock, SHUT_WR);
        }
        if (!take_events(vbuf)) {
            return;
        }
        act(vbuf, PIECE_ACTION(piece.what));
        drain(sock);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vbuf *vbuf;
    int pair[2], before;

    if (page_fd < 0) {
        page_fd = make_memory(PAGE);
        short_fd = make_memory(100);
    }
    before = lowest_free_fd();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
        vbuf_connect_fd(pair[0], &vbuf) < 0 ||
        vbuf_subscribe(vbuf, NULL, 0, 4, VBUF_SUBSCRIBE_ALL) < 0) {
        abort();
    }
    serve(vbuf, pair[1], data, size);
    vbuf_disconnect(vbuf);
    close(pair[1]);
    if (lowest_free_fd() != before) {
        abort();
    }
    return 0;
}
