/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The test runner: see harness.h.
 *
 * The parent only forks, waits and prints; all that a test does happens in its
 * child, so that a crash, a hang or a leak of one cannot touch another.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#define TIME_LIMIT_SECONDS 60
#define FD_LIMIT 4096

static struct test *tests;
static char *skip_reason;       /* shared by parent and child */
static size_t skip_reason_size = 256;

void test_register(struct test *test)
{
    struct test **link = &tests;

    while (*link) {
        link = &(*link)->next;
    }
    *link = test;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "# %s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(TEST_FAILED);
}

void test_skip(const char *reason)
{
    snprintf(skip_reason, skip_reason_size, "%s", reason);
    _exit(TEST_SKIPPED);
}

/* Marks the open fds in @open, if it is given, and counts them */
static size_t read_fds(bool *open)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    size_t count = 0;
    int fd;

    CHECK(dir);
    while ((entry = readdir(dir))) {
        fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == dirfd(dir)) {
            continue;
        }
        if (open) {
            CHECK_INT(fd, <, FD_LIMIT);
            open[fd] = true;
        }
        count++;
    }
    closedir(dir);
    return count;
}

size_t test_count_fds(void)
{
    return read_fds(NULL);
}

void test_socketpair(int pair[2])
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
}

int test_memfd(uint64_t size, unsigned int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CHECK_INT(fd, >=, 0);
    CHECK_INT(ftruncate(fd, (off_t)size), ==, 0);
    CHECK_INT(fcntl(fd, F_ADD_SEALS, seals), ==, 0);
    return fd;
}

__attribute__((noreturn)) static void run_child(const struct test *test)
{
    static bool before[FD_LIMIT], after[FD_LIMIT];
    char path[64], target[256];
    bool leaked = false;
    ssize_t len;
    int fd;

    alarm(TIME_LIMIT_SECONDS);
    read_fds(before);
    test->run();
    read_fds(after);
    for (fd = 0; fd < FD_LIMIT; fd++) {
        if (before[fd] == after[fd]) {
            continue;
        }
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        len = readlink(path, target, sizeof(target) - 1);
        target[len < 0 ? 0 : len] = '\0';
        fprintf(stderr, "# fd %d %s: %s\n", fd,
                after[fd] ? "was left open" : "is gone", target);
        leaked = true;
    }
#ifdef __SANITIZE_ADDRESS__
    if (!leaked && __lsan_do_recoverable_leak_check()) {
        _exit(TEST_LEAKED_MEMORY);
    }
#endif
    exit(leaked ? TEST_LEAKED_FD : TEST_PASSED);
}

static bool run_test(const struct test *test, unsigned int number)
{
    const char *directive = "";
    int status;
    pid_t pid;
    bool ok;

    fflush(stdout);
    skip_reason[0] = '\0';
    pid = fork();
    if (pid == 0) {
        run_child(test);
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            perror("waitpid");
            exit(TEST_FAILED);
        }
    }
    ok = WIFEXITED(status) && WEXITSTATUS(status) == test->exit_code;
    if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIPPED) {
        ok = true;
        directive = " # SKIP ";
    } else if (WIFSIGNALED(status)) {
        printf("# killed by signal %d (%s)\n", WTERMSIG(status),
               strsignal(WTERMSIG(status)));
    } else if (!ok) {
        printf("# exit code %d, expected %d\n", WEXITSTATUS(status),
               test->exit_code);
    }
    printf("%s %u - %s%s%s\n", ok ? "ok" : "not ok", number, test->name,
           directive, skip_reason);
    return ok;
}

static const struct test *find_test(const char *name)
{
    const struct test *test;

    for (test = tests; test; test = test->next) {
        if (!strcmp(test->name, name)) {
            return test;
        }
    }
    fprintf(stderr, "no test has the name %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    const struct test *test;
    unsigned int number = 0;
    bool ok = true;
    int i;

    skip_reason = mmap(NULL, skip_reason_size, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (skip_reason == MAP_FAILED) {
        perror("mmap");
        return TEST_FAILED;
    }
    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (test = tests; test; test = test->next) {
            puts(test->name);
        }
        return 0;
    }
    for (i = 1; i < argc; i++) {
        ok &= run_test(find_test(argv[i]), ++number);
    }
    for (test = argc == 1 ? tests : NULL; test; test = test->next) {
        ok &= run_test(test, ++number);
    }
    printf("1..%u\n", number);
    return ok ? 0 : TEST_FAILED;
}
