/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small test runner that speaks TAP.
 *
 * Each test is a function that registers itself and runs in a process of its
 * own, with a time limit. After it has returned, the process must have the same
 * file descriptors open as before: a leak fails the test. LeakSanitizer, when
 * it is compiled in, does the same for memory.
 *
 *     program              runs all tests
 *     program NAME...      runs these
 *     program --list       prints the names
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef __SANITIZE_ADDRESS__     /* GCC's name for it */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#endif

struct test {
    const char *name;
    void (*run)(void);
    int exit_code;      /* what its process has to end with */
    struct test *next;
};

enum {
    TEST_PASSED = 0,
    TEST_FAILED = 1,
    TEST_LEAKED_FD = 3,
    TEST_LEAKED_MEMORY = 4,
    TEST_SKIPPED = 77,
};

void test_register(struct test *test);

#define TEST_EXITS_WITH(name_, exit_code_)                              \
    static void test_##name_(void);                                     \
    __attribute__((constructor)) static void register_##name_(void)     \
    {                                                                   \
        static struct test test = {                                     \
            .name = #name_,                                             \
            .run = test_##name_,                                        \
            .exit_code = exit_code_,                                    \
        };                                                              \
        test_register(&test);                                           \
    }                                                                   \
    static void test_##name_(void)

#define TEST(name) TEST_EXITS_WITH(name, TEST_PASSED)
/* For the tests of the harness itself */
#define TEST_THAT_FAILS(name) TEST_EXITS_WITH(name, TEST_FAILED)
#define TEST_THAT_LEAKS_FD(name) TEST_EXITS_WITH(name, TEST_LEAKED_FD)
#define TEST_THAT_LEAKS_MEMORY(name) TEST_EXITS_WITH(name, TEST_LEAKED_MEMORY)

__attribute__((noreturn, format(printf, 3, 4)))
void test_fail(const char *file, int line, const char *format, ...);

/* Ends the test as skipped; @reason is printed */
__attribute__((noreturn)) void test_skip(const char *reason);

#define CHECK(cond)                                                     \
    do {                                                                \
        if (!(cond)) {                                                  \
            test_fail(__FILE__, __LINE__, "%s", #cond);                 \
        }                                                               \
    } while (0)

#define CHECK_INT(a, op, b)                                             \
    do {                                                                \
        long long a_ = (long long)(a), b_ = (long long)(b);             \
        if (!(a_ op b_)) {                                              \
            test_fail(__FILE__, __LINE__, "%s %s %s: %lld, %lld",       \
                      #a, #op, #b, a_, b_);                             \
        }                                                               \
    } while (0)

#define CHECK_STR(a, b)                                                 \
    do {                                                                \
        const char *a_ = (a), *b_ = (b);                                \
        if (!a_ || strcmp(a_, b_)) {                                    \
            test_fail(__FILE__, __LINE__, "%s: \"%s\", not \"%s\"",     \
                      #a, a_ ? a_ : "(null)", b_);                      \
        }                                                               \
    } while (0)

/* How many file descriptors this process has open */
size_t test_count_fds(void);

/* A connected SOCK_STREAM pair of unix sockets, both blocking */
void test_socketpair(int pair[2]);

/* A memfd of @size bytes with these F_SEAL_* */
int test_memfd(uint64_t size, unsigned int seals);

#endif /* HARNESS_H */
