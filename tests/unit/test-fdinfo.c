/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the reading of a dma-buf's fdinfo
 *
 * The texts are what Linux writes (fs/proc/fd.c, drivers/dma-buf/dma-buf.c),
 * and what consumers can make of it.
 */
#include "qemu/osdep.h"
#include "harness.h"
#include "hw/virtio/virtio-buf-fdinfo.h"

#define HEAD "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t7\n"
#define UDMABUF "exp_name:\tudmabuf\n"

static int64_t parse(const char *text)
{
    /* No byte behind the text is there to be read */
    size_t len = strlen(text);
    char *copy = g_malloc(len + !len);
    int64_t count;

    memcpy(copy, text, len);
    count = virtio_buf_fdinfo_parse(copy, len);
    g_free(copy);
    return count;
}

TEST(counts)
{
    CHECK_INT(parse(HEAD "size:\t4096\ncount:\t1\n" UDMABUF), ==, 1);
    CHECK_INT(parse(HEAD "size:\t8294400\ncount:\t27\n" UDMABUF), ==, 27);
    CHECK_INT(parse(HEAD "size:\t4096\ncount:\t2\n" UDMABUF "name:\tframe\n"),
              ==, 2);
    /* Of older kernels, without ino: */
    CHECK_INT(parse("pos:\t0\nflags:\t02\nmnt_id:\t9\nsize:\t4096\ncount:\t3\n"
                    UDMABUF), ==, 3);
}

TEST(forged_names_are_not_read)
{
    CHECK_INT(parse(HEAD "size:\t4096\ncount:\t2\n" UDMABUF
                    "name:\tx\ncount:\t1\n"), ==, 2);
    CHECK_INT(parse(HEAD "size:\t4096\ncount:\t2\n" UDMABUF
                    "name:\tx\nsize:\t4096\ncount:\t1\n" UDMABUF), ==, 2);
    CHECK_INT(parse(HEAD "size:\t4096\ncount:\t2\n" UDMABUF "name:\t"), ==, 2);
}

TEST(locks_and_positions_do_no_harm)
{
    CHECK_INT(parse("pos:\t4096\nflags:\t02004002\nmnt_id:\t15\nino:\t7\n"
                    "lock:\t1: FLOCK  ADVISORY  WRITE 77 00:0f:7 0 EOF\n"
                    "size:\t4096\ncount:\t2\n" UDMABUF), ==, 2);
}

TEST(everything_odd_is_an_error)
{
    static const char *const odd[] = {
        "", "\n", HEAD, HEAD "size:\t4096\n", HEAD "count:\t1\n",
        HEAD "count:\t1\n" UDMABUF,
        HEAD "size:\t4096\ncount:\t1\n",
        HEAD "size:\t4096\ncount:\t1\nexp_name:\tsystem\n",
        HEAD "size:\t4096\ncount:\t1\nexp_name:\tudmabuf",
        HEAD "size:\t4096\ncount:\t1\nexp_name:\tudmabufx\n",
        HEAD "size:\t4096\ncount:\t1\nexp_name: udmabuf\n",
        HEAD "size:\t4096\ncount:\t1\nname:\tx\n" UDMABUF,
        HEAD "size:\t4096\nname:\tx\ncount:\t1\n" UDMABUF,
        HEAD "name:\tx\nsize:\t4096\ncount:\t1\n" UDMABUF,
        HEAD UDMABUF "size:\t4096\ncount:\t1\n" UDMABUF,
        HEAD "count:\t2\nsize:\t4096\ncount:\t1\n" UDMABUF,
        HEAD "size:\t4096\nsize:\t4096\ncount:\t1\n" UDMABUF,
        HEAD "size:\t4096\ncount:\t0\n" UDMABUF,
        HEAD "size:\t4096\ncount:\t-1\n" UDMABUF,
        HEAD "size:\t4096\ncount:\t+1\n" UDMABUF,
        HEAD "size:\t4096\ncount:\t01\n" UDMABUF,
        HEAD "size:\t4096\ncount:\t1 " "\n" UDMABUF,
        HEAD "size:\t4096\ncount:\t 1\n" UDMABUF,
        HEAD "size:\t4096\ncount:\t0x1\n" UDMABUF,
        HEAD "size:\t4096\ncount:\t\n" UDMABUF,
        HEAD "size:\t4096\ncount:1\n" UDMABUF,
        HEAD "size:\t4096\ncounter:\t1\n" UDMABUF,
        HEAD "size:\tx\ncount:\t1\n" UDMABUF,
        HEAD "size:\t4096\ncount:\t1111111111111111111111\n" UDMABUF,
    };

    for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
        if (parse(odd[i]) != -EINVAL) {
            test_fail(__FILE__, __LINE__, "taken: %s", odd[i]);
        }
    }
}

TEST(each_cut_is_an_error)
{
    static const char text[] = HEAD "size:\t4096\ncount:\t1\n" UDMABUF;

    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        char *cut = g_strndup(text, len);

        CHECK_INT(parse(cut), ==, -EINVAL);
        g_free(cut);
    }
}

TEST(other_files_are_errors)
{
    int fd = test_memfd(4096, 0);

    CHECK_INT(virtio_buf_fdinfo_count(fd), ==, -EINVAL);
    CHECK(virtio_buf_fdinfo_readable(fd));
    close(fd);
    CHECK_INT(virtio_buf_fdinfo_count(fd), ==, -ENOENT);
    CHECK(!virtio_buf_fdinfo_readable(fd));
}
