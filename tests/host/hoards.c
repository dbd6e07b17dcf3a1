/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf-hoarder: the ways to keep a buffer that the guest takes back
 *
 * One hoard per process. Nothing here talks to the server.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/io_uring.h>
#include "drm.h"

#include "hoards.h"
#include "taking-back.h"

/* Of all DRM devices */
#define FIRST_RENDER_NODE   128
#define LAST_RENDER_NODE    191

/* Linux 6.8; its number in older headers */
#define OP_FIXED_FD_INSTALL 54

const char *const hoard_names[HOARD_KINDS] = {
    [HOARD_NOTHING] = "nothing",
    [HOARD_MAPPING] = "mapping",
    [HOARD_FD] = "fd",
    [HOARD_PASSED] = "passed",
    [HOARD_IN_FLIGHT] = "in-flight",
    [HOARD_FORKED] = "forked",
    [HOARD_IO_URING] = "io_uring",
    [HOARD_EPOLL] = "epoll",
    [HOARD_IMPORTED] = "imported",
    [HOARD_RENAMED] = "renamed",
    [HOARD_STOPPED] = "stopped",
    [HOARD_KILLED] = "killed",
};

static bool failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return false;
}

static bool map(struct hoard *hoard)
{
    void *bytes = mmap(NULL, hoard->size, PROT_READ | PROT_WRITE, MAP_SHARED,
                       hoard->fd, 0);

    if (bytes == MAP_FAILED && errno == EPERM) {
        /* A copy, which is sealed */
        bytes = mmap(NULL, hoard->size, PROT_READ, MAP_SHARED, hoard->fd, 0);
    }
    if (bytes == MAP_FAILED) {
        return failed("mmap");
    }
    hoard->bytes = bytes;
    return true;
}

static void close_fd(struct hoard *hoard)
{
    close(hoard->fd);
    hoard->fd = -1;
}

static bool send_away(struct hoard *hoard)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov = { (void *)"", 1 };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return failed("socketpair");
    }
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &hoard->fd, sizeof(int));
    if (sendmsg(pair[0], &msg, 0) != 1) {
        return failed("sendmsg");
    }
    close(pair[0]);
    hoard->other = pair[1];
    close_fd(hoard);
    return true;
}

static bool receive(struct hoard *hoard)
{
    char control[CMSG_SPACE(sizeof(int))], byte;
    struct iovec iov = { &byte, 1 };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg;

    if (recvmsg(hoard->other, &msg, MSG_CMSG_CLOEXEC) != 1) {
        return failed("recvmsg");
    }
    cmsg = CMSG_FIRSTHDR(&msg);
    if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS) {
        fprintf(stderr, "the fd was lost on its way\n");
        return false;
    }
    memcpy(&hoard->fd, CMSG_DATA(cmsg), sizeof(int));
    return true;
}

/* Where the kernel has put the parts of the one ring of this process */
static struct io_uring_params ring_params;

static bool register_file(struct hoard *hoard)
{
    int ring = (int)syscall(SYS_io_uring_setup, 2, &ring_params);

    if (ring < 0) {
        return failed("io_uring_setup");
    }
    if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES,
                &hoard->fd, 1) < 0) {
        return failed("IORING_REGISTER_FILES");
    }
    hoard->other = ring;
    close_fd(hoard);
    return true;
}

/* The ring's first request: its result, or -errno */
static int ring_do(int ring, const struct io_uring_sqe *request)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct io_uring_sqe *sqes;
    uint8_t *rings;

    rings = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                 IORING_OFF_SQ_RING);
    sqes = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                (off_t)IORING_OFF_SQES);
    if (rings == MAP_FAILED || sqes == MAP_FAILED) {
        return -errno;
    }
    sqes[0] = *request;
    *(uint32_t *)(rings + ring_params.sq_off.array) = 0;
    __atomic_store_n((uint32_t *)(rings + ring_params.sq_off.tail), 1,
                     __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL,
                0) < 0) {
        return -errno;
    }
    return ((struct io_uring_cqe *)(rings + ring_params.cq_off.cqes))->res;
}

static bool install_file(struct hoard *hoard)
{
    struct io_uring_sqe request = {
        .opcode = OP_FIXED_FD_INSTALL,
        .flags = IOSQE_FIXED_FILE,
        .fd = 0,        /* the first of the registered ones */
    };
    int fd = ring_do(hoard->other, &request);

    if (fd < 0) {
        errno = -fd;
        return failed("IORING_OP_FIXED_FD_INSTALL");
    }
    hoard->fd = fd;
    return true;
}

static bool poll_it(struct hoard *hoard)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };
    int set = epoll_create1(EPOLL_CLOEXEC), again = dup(hoard->fd);

    if (set < 0 || again < 0) {
        return failed("epoll_create1, dup");
    }
    if (epoll_ctl(set, EPOLL_CTL_ADD, again, &event) < 0) {
        /* A copy: it cannot be polled */
        return errno == EPERM || failed("EPOLL_CTL_ADD");
    }
    epoll_wait(set, &event, 1, 0);
    close_fd(hoard);
    hoard->fd = again;
    hoard->other = set;
    return true;
}

static int open_vgem(void)
{
    char path[32], name[8] = "";
    struct drm_version version = { .name = name };

    for (int node = FIRST_RENDER_NODE; node <= LAST_RENDER_NODE; node++) {
        int fd;

        snprintf(path, sizeof(path), "/dev/dri/renderD%d", node);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        version.name_len = sizeof(name) - 1;
        if (ioctl(fd, DRM_IOCTL_VERSION, &version) == 0 &&
            strcmp(name, "vgem") == 0) {
            return fd;
        }
        close(fd);
    }
    return -1;
}

const char *hoard_obstacle(enum hoard_kind kind)
{
    int vgem;

    if (kind != HOARD_IMPORTED) {
        return NULL;
    }
    vgem = open_vgem();
    if (vgem < 0) {
        return "the kernel module vgem is not loaded";
    }
    close(vgem);
    return NULL;
}

static bool is_dmabuf(int fd)
{
    struct dma_buf_sync sync = { DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ };
    bool is = ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync) == 0;

    sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ;
    return is && ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync) == 0;
}

static bool import(struct hoard *hoard)
{
    struct drm_prime_handle prime = { .fd = hoard->fd };

    if (!is_dmabuf(hoard->fd)) {
        return true;
    }
    hoard->other = open_vgem();
    if (ioctl(hoard->other, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime) < 0) {
        return failed("DRM_IOCTL_PRIME_FD_TO_HANDLE");
    }
    hoard->handle = prime.handle;
    close_fd(hoard);
    return true;
}

static bool export(struct hoard *hoard)
{
    struct drm_prime_handle prime = {
        .handle = hoard->handle, .flags = DRM_CLOEXEC | DRM_RDWR,
    };

    if (ioctl(hoard->other, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) < 0) {
        return failed("DRM_IOCTL_PRIME_HANDLE_TO_FD");
    }
    hoard->fd = prime.fd;
    return true;
}

/* Of a dma-buf; a copy has no name */
static bool forge(struct hoard *hoard)
{
    flock(hoard->fd, LOCK_SH);
    if (ioctl(hoard->fd, DMA_BUF_SET_NAME, "x\ncount:\t1") < 0 &&
        errno != ENOTTY) {
        return failed("DMA_BUF_SET_NAME");
    }
    return true;
}

bool hoard_keep(struct hoard *hoard, enum hoard_kind kind, int fd,
                size_t size)
{
    *hoard = (struct hoard) {
        .kind = kind, .size = size, .fd = fd, .other = -1,
    };

    switch (kind) {
    case HOARD_FD:
        return true;
    case HOARD_PASSED:
    case HOARD_IN_FLIGHT:
        return send_away(hoard);
    case HOARD_IO_URING:
        return register_file(hoard);
    case HOARD_EPOLL:
        return poll_it(hoard);
    case HOARD_IMPORTED:
        return import(hoard);
    case HOARD_RENAMED:
        return map(hoard) && forge(hoard);
    case HOARD_MAPPING:
    case HOARD_FORKED:
    case HOARD_STOPPED:
    case HOARD_KILLED:
        if (!map(hoard)) {
            return false;
        }
        /* The mapping alone is what holds it */
        close_fd(hoard);
        return true;
    default:
        close_fd(hoard);
        return true;
    }
}

bool hoard_open(struct hoard *hoard)
{
    if (hoard->fd < 0 && !hoard->bytes) {
        if (hoard->kind == HOARD_IO_URING && !install_file(hoard)) {
            return false;
        }
        if (hoard->kind == HOARD_IMPORTED && !export(hoard)) {
            return false;
        }
        if ((hoard->kind == HOARD_PASSED || hoard->kind == HOARD_IN_FLIGHT) &&
            !receive(hoard)) {
            return false;
        }
    }
    return hoard->bytes || hoard->fd < 0 || map(hoard);
}

bool hoard_has_secret(const struct hoard *hoard)
{
    /* The guest may be writing: each word is what it is now */
    const volatile uint64_t *words = (const uint64_t *)hoard->bytes;
    uint64_t seen = 0;

    for (size_t i = 0; words && i < hoard->size / sizeof(*words); i++) {
        seen |= words[i];
    }
    return seen & SECRET_BITS;
}

void hoard_spoil(struct hoard *hoard)
{
    if (hoard->bytes &&
        mprotect(hoard->bytes, hoard->size, PROT_READ | PROT_WRITE) == 0) {
        memset(hoard->bytes, JUNK_BYTE, hoard->size);
    }
}

void hoard_drop(struct hoard *hoard)
{
    if (hoard->bytes) {
        munmap(hoard->bytes, hoard->size);
        hoard->bytes = NULL;
    }
    if (hoard->fd >= 0) {
        close_fd(hoard);
    }
    if (hoard->other >= 0) {
        close(hoard->other);
        hoard->other = -1;
    }
}
