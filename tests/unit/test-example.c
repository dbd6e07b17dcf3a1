/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client of docs/interop that needs no library does what it is there for */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "program.h"

#define SIZE 8192

static const char *const no_properties[] = { NULL };

static uint32_t sum_of_memory(size_t len)
{
    uint32_t sum = 0;
    size_t i;

    for (i = 0; i < len; i++) {
        sum = sum * 31 + (uint8_t)(i * 7 + i / 256);    /* fake_memory() */
    }
    return sum;
}

static struct program *start_example(void)
{
    struct program *p = prepare_program();

    start_program(p, "EXAMPLE_CLIENT", "SOCKET", "test", NULL);
    greet_program(p);
    return p;
}

static void give_buffer(struct program *p, uint64_t id)
{
    int fd = fake_memory(SIZE);

    fake_buffer(&p->fake, &(struct fake_buffer) {
                    .id = id, .size = SIZE - 1,
                    .mode = VIRTIO_BUF_MODE_LATEST });
    fake_attached(&p->fake, id, SIZE, VIRTIO_BUF_BACKING_COPY, fd);
    close(fd);
}

TEST(updates_of_two_buffers)
{
    struct program *p = start_example();
    char expected[256];

    give_buffer(p, 5);
    give_buffer(p, 6);
    fake_update(&p->fake, 5, 100, SIZE - 1, no_properties);
    fake_take_release(&p->fake, 5, 100);
    fake_update(&p->fake, 6, 101, 10, no_properties);
    fake_take_release(&p->fake, 6, 101);
    /* One that it has no memory of is none of its business */
    fake_buffer(&p->fake, &(struct fake_buffer) { .id = 7, .size = 1 });
    fake_remove(&p->fake, 7);
    fake_remove(&p->fake, 5);
    fake_take_removed(&p->fake, 5);
    fake_update(&p->fake, 6, 102, 0, no_properties);
    fake_take_release(&p->fake, 6, 102);
    fake_close(&p->fake);
    finish_program(p, 0);
    snprintf(expected, sizeof(expected),
             "buffer 5 serial 100 bytes 8191 sum %08x\n"
             "buffer 6 serial 101 bytes 10 sum %08x\n"
             "buffer 6 serial 102 bytes 0 sum 00000000\n",
             sum_of_memory(SIZE - 1), sum_of_memory(10));
    CHECK_STR(p->out, expected);
    CHECK_STR(p->err, "");
    forget_program(p);
}

TEST(more_buffers_than_credit_over_time)
{
    struct program *p = start_example();
    uint64_t id;

    for (id = 1; id <= 50; id++) {
        give_buffer(p, id);
        fake_update(&p->fake, id, id, 1, no_properties);
        fake_take_release(&p->fake, id, id);
        fake_remove(&p->fake, id);
        fake_take_removed(&p->fake, id);
    }
    fake_reset(&p->fake, VIRTIO_BUF_RESET_REASON_DRIVER);
    finish_program(p, 0);
    fake_close(&p->fake);
    forget_program(p);
}

TEST(memory_that_is_too_short)
{
    struct program *p = start_example();
    int fd = fake_memory(SIZE);

    fake_buffer(&p->fake, &(struct fake_buffer) { .id = 1, .size = 2 * SIZE });
    fake_attached(&p->fake, 1, 2 * SIZE, VIRTIO_BUF_BACKING_COPY, fd);
    close(fd);
    finish_program(p, 1);
    fake_close(&p->fake);
    check_said(p, "SIGBUS");
    forget_program(p);
}

TEST(payload_outside)
{
    struct program *p = start_example();

    give_buffer(p, 1);
    fake_update(&p->fake, 1, 1, SIZE + 1, no_properties);
    finish_program(p, 1);
    fake_close(&p->fake);
    check_said(p, "payload");
    forget_program(p);
}

TEST(error_of_the_server)
{
    struct program *p = start_example();

    fake_error(&p->fake, EUSERS, "too many consumers");
    finish_program(p, 1);
    fake_close(&p->fake);
    check_said(p, "too many consumers");
    forget_program(p);
}

TEST(another_protocol)
{
    struct program *p = prepare_program();

    start_program(p, "EXAMPLE_CLIENT", "SOCKET", "test", NULL);
    fake_accept(&p->fake, p->listener);
    fake_error(&p->fake, 1, "no HELLO before this");
    finish_program(p, 1);
    fake_close(&p->fake);
    check_said(p, "no server of virtio-buf");
    forget_program(p);
}

TEST(usage)
{
    struct program *p = prepare_program();

    start_program(p, "EXAMPLE_CLIENT", "SOCKET", NULL);
    finish_program(p, 2);
    forget_program(p);
}

/* The documentation promises it */
TEST(under_150_lines)
{
    const char *path = getenv("EXAMPLE_CLIENT_SOURCE");
    unsigned int lines = 0;
    FILE *file;
    int c;

    if (!path) {
        test_skip("run by meson test: the environment names the source");
    }
    file = fopen(path, "re");
    CHECK(file);
    while ((c = fgetc(file)) != EOF) {
        lines += c == '\n';
    }
    fclose(file);
    CHECK_INT(lines, >, 50);
    CHECK_INT(lines, <, 150);
}
