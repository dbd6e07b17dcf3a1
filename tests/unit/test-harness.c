/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checks of the harness fire: a test that cannot fail proves nothing. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

TEST(passes)
{
    CHECK(true);
    CHECK_INT(1, <, 2);
    CHECK_STR("a", "a");
}

TEST_THAT_FAILS(check_fires)
{
    CHECK(false);
}

TEST_THAT_FAILS(check_int_fires)
{
    CHECK_INT(1, ==, 2);
}

TEST_THAT_FAILS(check_str_fires)
{
    CHECK_STR("a", "b");
}

TEST_THAT_FAILS(check_str_takes_null)
{
    CHECK_STR(NULL, "b");
}

TEST(fd_closed_is_no_leak)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    CHECK_INT(fd, >=, 0);
    close(fd);
}

TEST_THAT_LEAKS_FD(fd_left_open)
{
    CHECK_INT(open("/dev/null", O_RDONLY | O_CLOEXEC), >=, 0);
}

TEST_THAT_LEAKS_FD(fd_left_open_by_dup)
{
    CHECK_INT(fcntl(0, F_DUPFD_CLOEXEC, 100), >=, 100);
}

TEST_THAT_LEAKS_FD(fd_left_open_of_a_socket)
{
    int pair[2];

    test_socketpair(pair);
    close(pair[0]);
}

TEST_THAT_LEAKS_FD(fd_of_the_runner_closed)
{
    close(0);
}

TEST_THAT_LEAKS_MEMORY(memory_left_allocated)
{
    static char *volatile kept; /* volatile: or it is never allocated */

#ifndef __SANITIZE_ADDRESS__
    test_skip("needs LeakSanitizer: meson setup -Db_sanitize=address");
#endif
    kept = malloc(100);
    CHECK(kept);
    kept = NULL;
}

TEST(fds_are_counted)
{
    size_t before = test_count_fds();
    int pair[2];

    test_socketpair(pair);
    CHECK_INT(test_count_fds(), ==, before + 2);
    close(pair[0]);
    close(pair[1]);
    CHECK_INT(test_count_fds(), ==, before);
}
