/* SPDX-License-Identifier: MIT */
/* A consumer without any library: example-client SOCKET APPLICATION prints a
 * line with a checksum for each update, until the server ends. */
#include <endian.h>
#include <err.h>
#include <linux/dma-buf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "virtio-buf/protocol.h"

#define CREDIT 8    /* how many buffers the server attaches for us at most */

static struct buffer { uint64_t id, size; int fd; uint8_t *data; }
    buffers[CREDIT];
static int sock;

static union {      /* the message that came last */
    struct virtio_buf_msg head;
    struct virtio_buf_msg_error error;
    struct virtio_buf_msg_attached attached;
    struct virtio_buf_msg_update update;
    struct virtio_buf_msg_remove remove;
    uint8_t bytes[VIRTIO_BUF_MSG_MAX];
} msg;

static void send_msg(uint32_t type, void *bytes, size_t size)
{
    *(struct virtio_buf_msg *)bytes =
        (struct virtio_buf_msg) { htole32(type), htole32(size) };
    if (send(sock, bytes, size, MSG_NOSIGNAL) != (ssize_t)size) {
        err(1, "send");
    }
}

/* Receives a message and its fd, or -1; returns its type, 0 at the end */
static uint32_t receive_msg(int *fd)
{
    union { struct cmsghdr head; char bytes[CMSG_SPACE(sizeof(int))]; } control;
    struct iovec iov = { &msg.head, sizeof(msg.head) };
    struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = CMSG_LEN(sizeof(int)) };
    ssize_t rest;

    if (recvmsg(sock, &hdr, MSG_CMSG_CLOEXEC | MSG_WAITALL) != 8) {
        return 0;
    }
    *fd = CMSG_FIRSTHDR(&hdr) ? *(int *)CMSG_DATA(CMSG_FIRSTHDR(&hdr)) : -1;
    rest = (ssize_t)le32toh(msg.head.size) - 8;
    if (rest <= 0 || rest > (ssize_t)sizeof(msg) - 8 ||
        recv(sock, msg.bytes + 8, rest, MSG_WAITALL) != rest) {
        errx(1, "a message is cut, or of an impossible size");
    }
    return le32toh(msg.head.type);
}

static struct buffer *find_buffer(uint64_t id)  /* 0 finds a free place */
{
    int i = 0;

    while (i < CREDIT && buffers[i].id != id) {
        i++;
    }
    return i < CREDIT ? &buffers[i] : NULL;
}

static void on_attached(struct buffer *buffer, int fd)
{
    off_t size = le64toh(msg.attached.size);
    void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

    if (!buffer || data == MAP_FAILED || lseek(fd, 0, SEEK_END) < size) {
        errx(1, "no memory, or less than announced: reading is SIGBUS");
    }
    *buffer = (struct buffer) { le64toh(msg.attached.buffer), size, fd, data };
}

static void on_update(struct buffer *buffer)
{
    struct virtio_buf_msg_release release = {
        .buffer = msg.update.buffer, .serial = msg.update.frame.serial };
    struct dma_buf_sync sync = { DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ };
    uint64_t start = le64toh(msg.update.frame.data_offset);
    uint64_t size = le64toh(msg.update.frame.data_size);
    uint32_t sum = 0;

    if (start > buffer->size || size > buffer->size - start) {
        errx(1, "the payload is not inside of its buffer");
    }
    ioctl(buffer->fd, DMA_BUF_IOCTL_SYNC, &sync);       /* ENOTTY: a copy */
    for (uint64_t i = start; i < start + size; i++) {
        sum = sum * 31 + buffer->data[i];
    }
    sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ;
    ioctl(buffer->fd, DMA_BUF_IOCTL_SYNC, &sync);
    printf("buffer %ju serial %ju bytes %ju sum %08x\n", (uintmax_t)buffer->id,
           (uintmax_t)le64toh(release.serial), (uintmax_t)size, sum);
    send_msg(VIRTIO_BUF_MSG_RELEASE, &release, sizeof(release));
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct virtio_buf_msg_hello hello = {
        .magic = htole32(VIRTIO_BUF_PROTOCOL_MAGIC), .major = htole16(1) };
    struct { struct virtio_buf_msg_subscribe msg; char application[64]; } want =
        { { .credit = htole32(CREDIT), .application_count = htole32(1) }, "" };
    uint32_t type;
    int fd;

    if (argc != 3 || strlen(argv[1]) > 107 || strlen(argv[2]) > 63) {
        errx(2, "usage: example-client SOCKET APPLICATION");
    }
    strcpy(address.sun_path, argv[1]);
    strcpy(want.application, argv[2]);
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0) {
        err(1, "%s", argv[1]);
    }
    send_msg(VIRTIO_BUF_MSG_HELLO, &hello, sizeof(hello));
    send_msg(VIRTIO_BUF_MSG_SUBSCRIBE, &want, sizeof(want));
    if (!receive_msg(&fd) || memcmp(&msg, &hello, 14)) { /* up to the minor */
        errx(1, "this is no server of virtio-buf, or of another version");
    }
    while ((type = receive_msg(&fd)) && type != VIRTIO_BUF_MSG_RESET) {
        struct buffer *buffer = find_buffer(le64toh(msg.update.buffer));

        if (type == VIRTIO_BUF_MSG_ERROR) {
            errx(1, "the server says: %.127s", msg.error.text);
        } else if (type == VIRTIO_BUF_MSG_ATTACHED) {
            on_attached(find_buffer(0), fd);
        } else if (type == VIRTIO_BUF_MSG_UPDATE && buffer) {
            on_update(buffer);
        } else if (type == VIRTIO_BUF_MSG_REMOVE && buffer) {
            munmap(buffer->data, buffer->size);
            close(buffer->fd);
            buffer->id = 0;
            send_msg(VIRTIO_BUF_MSG_REMOVED, &msg, sizeof(msg.remove));
        }
    }
    return 0;
}
