/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: what runs a test and what a test says.
 *
 * A test is one function. It runs in a child process of its own, in a process
 * group of its own, with a time limit. It passes when it returns, the file
 * descriptors that were open before are those that are open after, and the
 * kernel has logged no complaint meanwhile.
 */
#ifndef VIRTBUF_TEST_HARNESS_H
#define VIRTBUF_TEST_HARNESS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

/* What a test needs from the host: the command line says what is there */
#define NEEDS_CONSUMER  (1 << 0) /* one that reads and releases */
#define NEEDS_HOLDER    (1 << 1) /* one that never releases */
#define NEEDS_WRITER    (1 << 2) /* one that writes */
#define NEEDS_PULLS     (1 << 3) /* it pulls the device when it is asked to */
#define NEEDS_SUSPEND   (1 << 4) /* nothing else is tried in this machine */

struct test {
    const char *name;
    void (*run)(void);
    unsigned int needs;
};

struct suite {
    const char *name;
    const struct test *tests;
    size_t count;
};

#define SUITE(suite_name, table) \
    { .name = (suite_name), .tests = (table), \
      .count = sizeof(table) / sizeof((table)[0]) }

struct harness_options {
    const char *filter;         /* globs on "suite/test" with commas; or NULL */
    unsigned int provided;      /* NEEDS_* that the host provides */
    unsigned int time_limit_s;
    /*
     * Of what the filter leaves, each @shards-th from the @shard-th on, counted
     * from 0; all when @shards is 0
     */
    unsigned int shard, shards;
    bool list;
};

/*
 * Runs the tests that @options choose and writes TAP to standard output.
 * Returns the exit code: 0 when no test failed and at least one ran.
 */
int harness_run(const struct suite *suites, size_t count,
                const struct harness_options *options);

/*
 * Shows that a failed check, a leaked fd, a signal and a hang are all noticed.
 * Returns the exit code.
 */
int harness_self_test(void);

/* For tests: end this one. The reason is printed. */
void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
void test_skip(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));
/* A line of the log that is no verdict */
void test_note(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* Does @error occur in the zero-terminated @list? */
bool errno_in(int error, const int *list);
const char *errno_name(int error);

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            test_fail(__FILE__, __LINE__, "%s", #condition); \
        } \
    } while (0)

#define CHECK_EQ(a, b) \
    do { \
        long long a_ = (long long)(a); \
        long long b_ = (long long)(b); \
        if (a_ != b_) { \
            test_fail(__FILE__, __LINE__, "%s is %lld, not %s (%lld)", \
                      #a, a_, #b, b_); \
        } \
    } while (0)

/* A call that gives -1 and errno must succeed */
#define CHECK_OK(call) \
    do { \
        if ((call) < 0) { \
            test_fail(__FILE__, __LINE__, "%s: %s", #call, \
                      errno_name(errno)); \
        } \
    } while (0)

/* A call must give -1 and one of these errnos */
#define CHECK_ERRNO(call, ...) \
    do { \
        static const int expected_[] = { __VA_ARGS__, 0 }; \
        errno = 0; \
        if ((call) >= 0) { \
            test_fail(__FILE__, __LINE__, "%s: no error, not %s", #call, \
                      #__VA_ARGS__); \
        } else if (!errno_in(errno, expected_)) { \
            test_fail(__FILE__, __LINE__, "%s: %s, not %s", #call, \
                      errno_name(errno), #__VA_ARGS__); \
        } \
    } while (0)

#endif
