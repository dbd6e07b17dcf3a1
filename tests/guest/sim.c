/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: the simulated device, see sim.h.
 */
#include "sim.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIM             "/sys/kernel/debug/virtio-buf-sim/"
#define TIMEOUT         "/sys/module/virtio_buf/parameters/command_timeout"
#define FENCE_TIMEOUT   "/sys/module/virtio_buf/parameters/fence_timeout"
/* Silence of this length is death; a slow device shows ten signs in it */
#define SHORT_TIMEOUT   "2000"

static int write_bytes(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int error;

    if (fd < 0) {
        return -1;
    }
    error = write(fd, bytes, size) < 0 ? errno : 0;
    close(fd);
    errno = error;
    return error ? -1 : 0;
}

int sim(const char *file, const char *text)
{
    char path[128];

    snprintf(path, sizeof(path), SIM "%s", file);
    return write_bytes(path, text, strlen(text));
}

void sim_fault(unsigned int command, const char *kind, unsigned int len)
{
    char text[64];

    snprintf(text, sizeof(text), "%u %s %u", command, kind, len);
    CHECK_OK(sim("fault", text));
}

void sim_answer(unsigned int command, const void *bytes, size_t size,
                unsigned int len)
{
    CHECK_OK(write_bytes(SIM "answer", bytes, size));
    sim_fault(command, "raw", len);
}

void sim_no_fault(void)
{
    sim_fault(SIM_ANY, "normal", 0);
}

void sim_set_timeout(const char *text)
{
    CHECK_OK(write_bytes(TIMEOUT, text, strlen(text)));
}

void sim_set_fence_timeout(const char *text)
{
    CHECK_OK(write_bytes(FENCE_TIMEOUT, text, strlen(text)));
}

void sim_need(void)
{
    if (geteuid() != 0 || access(SIM "create", F_OK) < 0) {
        test_skip("the module virtio-buf-sim is not loaded");
    }
}

bool sim_find(void)
{
    char message[256];

    return device_setup(NULL, SIM_INSTANCE, message, sizeof(message)) &&
           device_is_there();
}

void sim_new(void)
{
    int64_t give_up = time_in(PATIENCE_MS);

    CHECK_OK(sim("create", SIM_INSTANCE));
    while (!sim_find()) {
        CHECK(time_in(0) < give_up);
        sleep_ms(20);
    }
}

void with_sim(void (*body)(void))
{
    char timeout[32] = { 0 };
    int status, fd;
    pid_t pid;

    sim_need();
    fd = open(TIMEOUT, O_RDONLY | O_CLOEXEC);
    CHECK_OK(fd);
    CHECK(read(fd, timeout, sizeof(timeout) - 1) > 0);
    close(fd);
    sim_set_timeout(SHORT_TIMEOUT);
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        sim_new();
        body();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    sim("remove", "");
    sim("config", "default");
    sim_set_timeout(timeout);
    CHECK(!sim_find());
    if (WIFEXITED(status) && WEXITSTATUS(status)) {
        _exit(1); /* it has said why */
    }
    CHECK(WIFEXITED(status));
}

struct fixture fixture_new(void)
{
    struct fixture f = { .fd = device_open() };

    f.page = device_page(f.fd);
    f.bo = bo_create(f.fd, f.page);
    f.buffer = buffer_register(f.fd, f.bo, f.page);
    return f;
}

int do_command(const struct fixture *f, unsigned int command)
{
    struct drm_virtbuf_property title = property("title", "hostile");
    struct drm_virtbuf_unregister unregister = { .buffer = f->buffer };
    struct drm_virtbuf_update update = update_of(f->buffer, f->page);
    struct drm_virtbuf_consumers consumers = {
        .application = PTR(APPLICATION_ALONE),
        .application_len = strlen(APPLICATION_ALONE),
    };
    struct registration reg;

    switch (command) {
    case VIRTIO_BUF_CMD_REGISTER:
        registration_init(&reg, bo_create(f->fd, f->page), f->page);
        return registration_do(f->fd, &reg);
    case VIRTIO_BUF_CMD_UNREGISTER:
        return ioctl(f->fd, DRM_IOCTL_VIRTBUF_UNREGISTER, &unregister);
    case VIRTIO_BUF_CMD_SET_PROPERTIES:
        return properties_set(f->fd, f->buffer, &title, 1);
    case VIRTIO_BUF_CMD_GET_CONSUMERS:
        return ioctl(f->fd, DRM_IOCTL_VIRTBUF_CONSUMERS, &consumers);
    default:
        return update_do(f->fd, &update);
    }
}

void check_dies(const struct fixture *f)
{
    struct pollfd end = { .fd = f->fd, .events = POLLIN };

    CHECK_EQ(poll(&end, 1, PATIENCE_MS), 1);
    CHECK(end.revents & POLLHUP);
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_REGISTER), EIO);
    /* ENOENT: the buffer was on its way back already, or is back */
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_SET_PROPERTIES), EIO, ENOENT);
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_UPDATE), EIO, ENOENT);
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_UNREGISTER), EIO, ENOENT);
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_GET_CONSUMERS), EIO, ENOENT);
    CHECK_ERRNO(wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                         PATIENCE_MS), EIO, ENOENT);
    /* it does not come back by good conduct */
    sim_no_fault();
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_REGISTER), EIO);
}
