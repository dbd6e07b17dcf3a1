/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: runs each test in a child and judges it.
 *
 * The parent never opens the device, so a test that dies in any state leaves
 * nothing behind here. The verdict comes back through one page of shared
 * memory, which costs no file descriptor. A child that does not even die of
 * SIGKILL hangs in the kernel: that is reported and left behind.
 */
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD          256
#define KILL_GRACE_S    10
#define SLOW_S          5   /* from here on the time is worth a line */

enum verdict { VERDICT_NONE, VERDICT_PASS, VERDICT_FAIL, VERDICT_SKIP };

struct outcome {
    enum verdict verdict;
    char reason[512];
};

static struct outcome *outcome; /* shared with the child */
static int kernel_log = -1;

static void say(enum verdict verdict, const char *format, va_list ap)
{
    vsnprintf(outcome->reason, sizeof(outcome->reason), format, ap);
    outcome->verdict = verdict;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    char text[400];
    const char *slash = strrchr(file, '/');
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    /* A parent that finds its child failed has less to tell than the child */
    if (outcome->verdict != VERDICT_FAIL) {
        snprintf(outcome->reason, sizeof(outcome->reason), "%s:%d: %s",
                 slash ? slash + 1 : file, line, text);
        outcome->verdict = VERDICT_FAIL;
    }
    _exit(1);
}

void test_skip(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    say(VERDICT_SKIP, format, ap);
    va_end(ap);
    _exit(0);
}

void test_note(const char *format, ...)
{
    va_list ap;

    fputs("# ", stdout);
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

bool errno_in(int error, const int *list)
{
    while (*list) {
        if (*list++ == error) {
            return true;
        }
    }
    return false;
}

const char *errno_name(int error)
{
    const char *name = strerrorname_np(error);

    return name ? name : "an unknown errno";
}

/* Which of the first MAX_FD descriptors are open */
static void open_fds(bool *fds)
{
    for (int fd = 0; fd < MAX_FD; fd++) {
        fds[fd] = fcntl(fd, F_GETFD) >= 0;
    }
}

static void check_fds(const bool *before)
{
    bool after[MAX_FD];

    open_fds(after);
    for (int fd = 0; fd < MAX_FD; fd++) {
        if (after[fd] != before[fd]) {
            char path[32], target[128];
            ssize_t n;

            snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
            n = readlink(path, target, sizeof(target) - 1);
            target[n > 0 ? n : 0] = '\0';
            test_fail(__FILE__, __LINE__, "fd %d (%s) was %s", fd, target,
                      after[fd] ? "leaked" : "closed");
        }
    }
}

static void run_child(const struct test *test)
{
    bool before[MAX_FD];

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    open_fds(before);
    test->run();
    check_fds(before);
    if (outcome->verdict == VERDICT_NONE) {
        outcome->verdict = VERDICT_PASS;
    }
    fflush(stdout);
    _exit(0);
}

/* Waits for @pid; false when it is still there after @seconds */
static bool wait_child(pid_t pid, unsigned int seconds, int *status)
{
    struct timespec end, now;
    sigset_t chld;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    while (waitpid(pid, status, WNOHANG) == 0) {
        struct timespec left = { .tv_nsec = 100000000 };

        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end.tv_sec ||
            (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec)) {
            return false;
        }
        sigtimedwait(&chld, NULL, &left);
    }
    return true;
}

static void open_kernel_log(void)
{
    kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (kernel_log < 0 || lseek(kernel_log, 0, SEEK_END) < 0) {
        test_note("the kernel log is not watched: /dev/kmsg: %s",
                  strerror(errno));
        if (kernel_log >= 0) {
            close(kernel_log);
        }
        kernel_log = -1;
    }
}

/* Reads what the kernel has logged; a complaint in it is a failure */
static void check_kernel_log(void)
{
    static const char *const complaints[] = {
        "BUG:", "WARNING:", "KASAN", "UBSAN:", "Oops", "DMA-API:",
        "INFO: task", "INFO: possible", "kmemleak:", "refcount_t:",
        "general protection fault", "Call Trace:",
    };
    char record[8192];
    ssize_t n;

    if (kernel_log < 0) {
        return;
    }
    /* EPIPE: records were overwritten before we read them */
    while ((n = read(kernel_log, record, sizeof(record) - 1)) > 0 ||
           (n < 0 && errno == EPIPE)) {
        char *text;

        if (n < 0) {
            continue;
        }
        record[n] = '\0';
        text = strchr(record, ';');
        text = text ? text + 1 : record;
        text[strcspn(text, "\n")] = '\0';
        for (size_t i = 0; i < sizeof(complaints) / sizeof(*complaints); i++) {
            if (strstr(text, complaints[i])) {
                if (outcome->verdict != VERDICT_FAIL) {
                    outcome->verdict = VERDICT_FAIL;
                    snprintf(outcome->reason, sizeof(outcome->reason),
                             "the kernel says: %.400s", text);
                }
                break;
            }
        }
    }
}

/* Leaves the verdict and the reason in *outcome */
static void run_test(const struct test *test, unsigned int time_limit_s)
{
    int status = 0;
    pid_t pid;

    memset(outcome, 0, sizeof(*outcome));
    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        outcome->verdict = VERDICT_FAIL;
        snprintf(outcome->reason, sizeof(outcome->reason), "fork: %s",
                 strerror(errno));
        return;
    }
    if (pid == 0) {
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        run_child(test);
    }
    setpgid(pid, pid);
    if (!wait_child(pid, time_limit_s, &status)) {
        bool died;

        kill(-pid, SIGKILL);
        died = wait_child(pid, KILL_GRACE_S, &status);
        outcome->verdict = VERDICT_FAIL;
        snprintf(outcome->reason, sizeof(outcome->reason),
                 "no end after %u s%s", time_limit_s,
                 died ? "" : ", and SIGKILL does not help");
        return;
    }
    kill(-pid, SIGKILL); /* what the test forked and forgot */
    if (WIFSIGNALED(status)) {
        outcome->verdict = VERDICT_FAIL;
        snprintf(outcome->reason, sizeof(outcome->reason), "died of SIG%s",
                 sigabbrev_np(WTERMSIG(status)));
    } else if (outcome->verdict == VERDICT_NONE) {
        outcome->verdict = VERDICT_FAIL;
        snprintf(outcome->reason, sizeof(outcome->reason),
                 "exited with %d and no verdict", WEXITSTATUS(status));
    }
}

static const char *what_is_needed(unsigned int missing)
{
    if (missing & NEEDS_PULLS) {
        return "nobody pulls the device (--pulled says that the host does)";
    }
    if (missing & NEEDS_SUSPEND) {
        return "other tests need the machine (--suspend says that none does)";
    }
    if (missing & NEEDS_HOLDER) {
        return "no host program holds buffers (--holder says that one does)";
    }
    if (missing & NEEDS_WRITER) {
        return "no host program writes (--writer says that one does)";
    }
    return "no host program subscribed (--consumer says that one did)";
}

static void print_outcome(unsigned int number, const char *name,
                          unsigned int seconds)
{
    if (seconds >= SLOW_S) {
        printf("# %u s\n", seconds);
    }
    if (outcome->verdict == VERDICT_FAIL) {
        printf("# %s\nnot ok %u - %s\n", outcome->reason, number, name);
    } else if (outcome->verdict == VERDICT_SKIP) {
        printf("ok %u - %s # SKIP %s\n", number, name, outcome->reason);
    } else {
        printf("ok %u - %s\n", number, name);
    }
    fflush(stdout);
}

static unsigned int now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned int)now.tv_sec;
}

static void setup(void)
{
    sigset_t chld;

    outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (outcome == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    /* blocked, so that sigtimedwait() gets it */
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
}

static bool matches(const char *name, const char *filter)
{
    char globs[512], *state, *glob;

    if (!filter) {
        return true;
    }
    snprintf(globs, sizeof(globs), "%s", filter);
    for (glob = strtok_r(globs, ",", &state); glob;
         glob = strtok_r(NULL, ",", &state)) {
        if (fnmatch(glob, name, 0) == 0) {
            return true;
        }
    }
    return false;
}

/* @matching counts those that the filter leaves */
static bool chosen(const char *name, const struct harness_options *options,
                   unsigned int *matching)
{
    if (!matches(name, options->filter)) {
        return false;
    }
    return !options->shards ||
           (*matching)++ % options->shards == options->shard;
}

int harness_run(const struct suite *suites, size_t count,
                const struct harness_options *options)
{
    unsigned int planned = 0, number = 0, matching = 0, tally[4] = { 0 };
    char name[128];

    for (size_t s = 0; s < count; s++) {
        for (size_t t = 0; t < suites[s].count; t++) {
            snprintf(name, sizeof(name), "%s/%s", suites[s].name,
                     suites[s].tests[t].name);
            if (!chosen(name, options, &matching)) {
                continue;
            }
            planned++;
            if (options->list) {
                puts(name);
            }
        }
    }
    if (options->list) {
        return 0;
    }
    setup();
    printf("TAP version 13\n1..%u\n", planned);
    open_kernel_log();
    matching = 0;
    for (size_t s = 0; s < count; s++) {
        for (size_t t = 0; t < suites[s].count; t++) {
            const struct test *test = &suites[s].tests[t];
            unsigned int missing = test->needs & ~options->provided;
            unsigned int start = now_s();

            snprintf(name, sizeof(name), "%s/%s", suites[s].name, test->name);
            if (!chosen(name, options, &matching)) {
                continue;
            }
            number++;
            if (missing) {
                outcome->verdict = VERDICT_SKIP;
                snprintf(outcome->reason, sizeof(outcome->reason), "%s",
                         what_is_needed(missing));
            } else {
                run_test(test, options->time_limit_s);
                check_kernel_log();
            }
            tally[outcome->verdict]++;
            print_outcome(number, name, now_s() - start);
        }
    }
    printf("# %u passed, %u failed, %u skipped\n", tally[VERDICT_PASS],
           tally[VERDICT_FAIL], tally[VERDICT_SKIP]);
    if (planned == 0) {
        puts("# no test has such a name: --list shows them");
    }
    return planned == 0 || tally[VERDICT_FAIL] ? 1 : 0;
}

static void self_pass(void)
{
}

static void self_fail(void)
{
    CHECK_EQ(1, 2);
}

static void self_errno(void)
{
    CHECK_ERRNO(close(-1), EINVAL);
}

static void self_skip(void)
{
    test_skip("the reason");
}

static void self_leak(void)
{
    CHECK_OK(dup(0));
}

static void self_signal(void)
{
    raise(SIGSEGV);
}

/* A parent's check of its child does not hide what the child has said */
static void self_child(void)
{
    int status;
    pid_t pid = fork();

    CHECK_OK(pid);
    if (pid == 0) {
        CHECK_EQ(3, 4);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static void self_silent(void)
{
    _exit(0);
}

static void self_hang(void)
{
    for (;;) {
        pause();
    }
}

/* Each test is in one shard */
static bool shards_share(void)
{
    static const char *const names[] = { "a/1", "a/2", "b/3", "a/4", "a/5" };
    struct harness_options options = { .filter = "a/*", .shards = 3 };
    unsigned int times[sizeof(names) / sizeof(names[0])] = { 0 };
    bool good = true;

    for (; options.shard < options.shards; options.shard++) {
        unsigned int matching = 0;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            times[i] += chosen(names[i], &options, &matching);
        }
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        good &= times[i] == (names[i][0] == 'a');
    }
    return good;
}

int harness_self_test(void)
{
    static const struct {
        struct test test;
        enum verdict verdict;
        const char *reason;     /* part of it */
    } cases[] = {
        { { "passes", self_pass, 0 }, VERDICT_PASS, "" },
        { { "failed-check", self_fail, 0 }, VERDICT_FAIL, "1 is 1, not 2" },
        { { "wrong-errno", self_errno, 0 }, VERDICT_FAIL, "EBADF, not EINVAL" },
        { { "child-fails", self_child, 0 }, VERDICT_FAIL, "3 is 3, not 4" },
        { { "skips", self_skip, 0 }, VERDICT_SKIP, "the reason" },
        { { "leaks-an-fd", self_leak, 0 }, VERDICT_FAIL, "was leaked" },
        { { "dies", self_signal, 0 }, VERDICT_FAIL, "SIGSEGV" },
        { { "says-nothing", self_silent, 0 }, VERDICT_FAIL, "no verdict" },
        { { "hangs", self_hang, 0 }, VERDICT_FAIL, "no end after 1 s" },
    };
    size_t count = sizeof(cases) / sizeof(cases[0]);
    int failed = 0;

    setup();
    printf("TAP version 13\n1..%zu\n", count + 1);
    for (size_t i = 0; i < count; i++) {
        bool ok;

        run_test(&cases[i].test, 1);
        ok = outcome->verdict == cases[i].verdict &&
             strstr(outcome->reason, cases[i].reason);
        failed += !ok;
        if (!ok) {
            printf("# the reason given: \"%s\"\n", outcome->reason);
        }
        printf("%s %zu - harness/%s\n", ok ? "ok" : "not ok", i + 1,
               cases[i].test.name);
    }
    printf("%s %zu - harness/shards\n", shards_share() ? "ok" : "not ok",
           count + 1);
    failed += !shards_share();
    return failed ? 1 : 0;
}
