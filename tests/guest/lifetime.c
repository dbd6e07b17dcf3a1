/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: lifetime. Who keeps an open file and its buffers, what is left
 * of a program that was killed.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

static void wait_for(pid_t pid)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static pid_t fork_or_fail(void)
{
    pid_t pid = fork();

    CHECK_OK(pid);
    return pid;
}

static void fork_shares_the_file(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t buffer = register_page(fd, page);
    pid_t pid;

    CHECK(buffer);
    pid = fork_or_fail();
    if (pid == 0) {
        buffer_update(fd, buffer, page);
        CHECK(register_page(fd, page));
        _exit(0);
    }
    wait_for(pid);
    buffer_update(fd, buffer, page);
    buffer_take_back(fd, buffer);
    close(fd);
}

static void dup_keeps_the_file(void)
{
    int fd = device_open(), copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    uint64_t page = device_page(fd);
    uint32_t buffer = register_page(fd, page);

    CHECK_OK(copy);
    CHECK(buffer);
    close(fd);
    buffer_update(copy, buffer, page);
    buffer_take_back(copy, buffer);
    close(copy);
}

static void send_fd(int sock, int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec iov = { .iov_base = (char[1]) { 0 }, .iov_len = 1 };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
    CHECK_EQ(sendmsg(sock, &message, 0), 1);
}

static int receive_fd(int sock)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    int fd;

    CHECK_EQ(recvmsg(sock, &message, MSG_CMSG_CLOEXEC), 1);
    CHECK(CMSG_FIRSTHDR(&message));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    return fd;
}

/* The file is in flight in a socket while no process has it open */
static void file_in_flight(void)
{
    int pair[2], fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t buffer = register_page(fd, page);

    CHECK(buffer);
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    send_fd(pair[0], fd);
    close(fd);
    sleep_ms(100);
    fd = receive_fd(pair[1]);
    buffer_update(fd, buffer, page);
    buffer_take_back(fd, buffer);
    /* and once more, to be dropped with the socket */
    CHECK(register_page(fd, page));
    send_fd(pair[0], fd);
    close(fd);
    close(pair[0]);
    close(pair[1]);
    check_nothing_leaked();
}

/* A mapping keeps the BO, not the registration */
static void mapping_outlives_the_file(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, page);
    uint8_t *p = bo_map(fd, bo, page);

    buffer_update(fd, buffer_register(fd, bo, page), page);
    close(fd);
    p[0] = 1;
    CHECK_EQ(p[0], 1);
    munmap(p, page);
    check_nothing_leaked();
}

static void close_unregisters(void)
{
    for (int round = 0; round < 2; round++) {
        check_nothing_leaked();
    }
}

/* What a victim does until it is killed; it writes a byte when it is there */
enum state {
    STATE_CREATED, STATE_REGISTERED, STATE_UPDATED, STATE_WAITING,
    STATE_FULL, STATE_BUSY_WORKING,
};

static void be_a_victim(enum state state, int ready)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t buffer = 0, *buffers;

    if (state == STATE_CREATED) {
        bo_create(fd, 16 * page);
    } else if (state == STATE_FULL) {
        uint32_t max = (uint32_t)device_param(fd,
                                              DRM_VIRTBUF_PARAM_MAX_BUFFERS);

        buffers = calloc(max, sizeof(*buffers));
        CHECK(buffers);
        CHECK_EQ(device_fill(fd, buffers, max), max);
    } else {
        buffer = register_page(fd, page);
        CHECK(buffer);
    }
    if (state == STATE_UPDATED) {
        buffer_update(fd, buffer, page);
    }
    CHECK_EQ(write(ready, "", 1), 1);
    if (state == STATE_WAITING) {
        wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1, 1000000);
    }
    while (state == STATE_BUSY_WORKING) {
        uint32_t another = register_page(fd, page);

        CHECK(another);
        buffer_update(fd, another, page);
        buffer_take_back(fd, another);
    }
    for (;;) {
        pause();
    }
}

static void kill_in(enum state state, unsigned int rounds)
{
    for (unsigned int i = 0; i < rounds; i++) {
        int pipes[2], status;
        char byte;
        pid_t pid;

        CHECK_OK(pipe2(pipes, O_CLOEXEC));
        pid = fork_or_fail();
        if (pid == 0) {
            be_a_victim(state, pipes[1]);
        }
        close(pipes[1]);
        if (read(pipes[0], &byte, 1) != 1) {
            test_fail(__FILE__, __LINE__, "the victim died by itself");
        }
        close(pipes[0]);
        sleep_ms(state == STATE_BUSY_WORKING ? 1 + 7 * (i % 13) : 5);
        CHECK_OK(kill(pid, SIGKILL));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    check_nothing_leaked();
}

static void kill_created(void)
{
    kill_in(STATE_CREATED, 5);
}

static void kill_registered(void)
{
    kill_in(STATE_REGISTERED, 5);
}

static void kill_updated(void)
{
    kill_in(STATE_UPDATED, 5);
}

static void kill_waiting(void)
{
    kill_in(STATE_WAITING, 5);
}

static void kill_full(void)
{
    kill_in(STATE_FULL, 2);
}

static void kill_working(void)
{
    kill_in(STATE_BUSY_WORKING, 25);
}

static void unload_refused(void)
{
    char path[96], target[256];
    const char *name;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/sys/bus/virtio/devices/%s/driver/module",
             device_virtio());
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0) {
        test_skip("the driver is no module here");
    }
    target[n] = '\0';
    name = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
    if (geteuid() != 0) {
        test_skip("only root can unload a module");
    }
    fd = device_open();
    CHECK_ERRNO(syscall(SYS_delete_module, name, O_NONBLOCK), EWOULDBLOCK);
    CHECK(register_page(fd, device_page(fd)));
    close(fd);
}

static const struct test tests[] = {
    { "fork-shares-the-file", fork_shares_the_file, 0 },
    { "dup-keeps-the-file", dup_keeps_the_file, 0 },
    { "file-in-flight", file_in_flight, 0 },
    { "mapping-outlives-the-file", mapping_outlives_the_file, 0 },
    { "close-unregisters", close_unregisters, 0 },
    { "kill-created", kill_created, 0 },
    { "kill-registered", kill_registered, 0 },
    { "kill-updated", kill_updated, 0 },
    { "kill-waiting", kill_waiting, 0 },
    { "kill-full", kill_full, 0 },
    { "kill-working", kill_working, 0 },
    { "unload-refused", unload_refused, 0 },
};

const struct suite lifetime_suite = SUITE("lifetime", tests);
