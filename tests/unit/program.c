/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running a consumer program against the fake server: see program.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "program.h"

#define ARGS_MAX 32

static struct program the_program;

struct program *prepare_program(void)
{
    struct program *p = &the_program;
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    strcpy(p->dir, "/tmp/virtio-buf-test.XXXXXX");
    CHECK(mkdtemp(p->dir));
    snprintf(p->socket, sizeof(p->socket), "%s/socket", p->dir);
    strcpy(address.sun_path, p->socket);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(p->listener, (struct sockaddr *)&address, sizeof(address)),
              ==, 0);
    CHECK_INT(listen(p->listener, 1), ==, 0);
    p->out_fd = memfd_create("stdout", MFD_CLOEXEC);
    p->err_fd = memfd_create("stderr", MFD_CLOEXEC);
    CHECK(p->out_fd >= 0 && p->err_fd >= 0);
    return p;
}

void start_program(struct program *p, const char *path_variable, ...)
{
    const char *path = getenv(path_variable);
    const char *args[ARGS_MAX] = { path };
    va_list list;
    int count = 0;

    if (!path) {
        test_skip("run by meson test: the environment names the programs");
    }
    va_start(list, path_variable);
    do {
        CHECK_INT(++count, <, ARGS_MAX);
        args[count] = va_arg(list, const char *);
        if (args[count] && !strcmp(args[count], "SOCKET")) {
            args[count] = p->socket;
        }
    } while (args[count]);
    va_end(list);

    p->pid = fork();
    CHECK_INT(p->pid, >=, 0);
    if (p->pid == 0) {
        dup2(p->out_fd, STDOUT_FILENO);
        dup2(p->err_fd, STDERR_FILENO);
        if (chdir(p->dir) == 0) {
            execv(path, (char *const *)args);
        }
        _exit(127);
    }
}

void greet_program(struct program *p)
{
    fake_accept(&p->fake, p->listener);
    fake_welcome(&p->fake);
}

static size_t read_all(int fd, char *to)
{
    ssize_t n = pread(fd, to, OUTPUT_MAX - 1, 0);

    CHECK_INT(n, >=, 0);
    CHECK_INT(n, <, OUTPUT_MAX - 1);
    to[n] = '\0';
    close(fd);
    return (size_t)n;
}

void finish_program(struct program *p, int exit_code)
{
    int status;

    CHECK_INT(waitpid(p->pid, &status, 0), ==, p->pid);
    p->out_size = read_all(p->out_fd, p->out);
    read_all(p->err_fd, p->err);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != exit_code) {
        test_fail(__FILE__, __LINE__, "status 0x%x, not exit code %d: %s",
                  status, exit_code, p->err);
    }
    close(p->listener);
}

void forget_program(struct program *p)
{
    DIR *dir = opendir(p->dir);
    struct dirent *entry;

    CHECK(dir);
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] != '.') {
            CHECK_INT(unlinkat(dirfd(dir), entry->d_name, 0), ==, 0);
        }
    }
    closedir(dir);
    CHECK_INT(rmdir(p->dir), ==, 0);
}

void check_said(const struct program *p, const char *text)
{
    if (!strstr(p->err, text)) {
        test_fail(__FILE__, __LINE__, "\"%s\" is not in what it said: %s", text,
                  p->err);
    }
}

size_t read_output_file(const struct program *p, const char *name, void *to,
                        size_t size)
{
    char path[256];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", p->dir, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK_INT(fd, >=, 0);
    n = read(fd, to, size);
    CHECK_INT(n, >=, 0);
    CHECK_INT(n, <, size);
    close(fd);
    return (size_t)n;
}
