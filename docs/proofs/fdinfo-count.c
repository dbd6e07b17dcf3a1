/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first count: line of a dma-buf's fdinfo is 1 exactly while nobody else
 * has it: it counts dups, mappings, fds in flight, fds of other processes.
 */
#include "proof.h"
#include <sys/wait.h>

static void send_fd(int sock, int fd)
{
    char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
    NEED(sendmsg(sock, &msg, 0) == 1);
}

int main(void)
{
    const size_t size = 16 * 4096;
    int udmabuf = open_udmabuf();
    int memfd = make_memfd(size, F_SEAL_SHRINK);
    int dmabuf = make_dmabuf(udmabuf, memfd, 0, size);
    int copy, pair[2], gate[2], status;
    void *map;
    char byte;
    pid_t child;

    NEED(dmabuf >= 0);
    FACT(first_count(dmabuf) == 1, "a new dma-buf has count 1");

    copy = dup(dmabuf);
    FACT(first_count(dmabuf) == 2, "a dup counts");
    close(copy);
    FACT(first_count(dmabuf) == 1, "a closed dup does not");

    map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
    NEED(map != MAP_FAILED);
    FACT(first_count(dmabuf) == 2, "a mapping counts");
    NEED(munmap(map, size) == 0);
    FACT(first_count(dmabuf) == 1, "a removed mapping does not");

    map = mmap(NULL, size, PROT_READ, MAP_SHARED, dmabuf, 0);
    NEED(map != MAP_FAILED);
    NEED(mmap(map, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
              -1, 0) == map);
    FACT(first_count(dmabuf) == 1, "a replaced mapping does not");

    NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    send_fd(pair[0], dmabuf);
    FACT(first_count(dmabuf) == 2, "a fd in flight counts");
    NEED(recv(pair[1], &byte, 1, 0) == 1);
    FACT(first_count(dmabuf) == 1, "a fd that was not taken does not");
    send_fd(pair[0], dmabuf);
    close(pair[0]);
    close(pair[1]);
    FACT(first_count(dmabuf) == 1, "a fd in a closed socket does not");

    NEED(pipe(gate) == 0);
    NEED((child = fork()) >= 0);
    if (!child) {
        close(gate[1]);
        _exit(read(gate[0], &byte, 1) != 0);
    }
    FACT(first_count(dmabuf) > 1, "the fd of a forked process counts");
    close(gate[1]);
    NEED(waitpid(child, &status, 0) == child);
    FACT(first_count(dmabuf) == 1, "that of an ended process does not");
    return proof_result();
}
