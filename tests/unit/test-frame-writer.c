/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames to files that do not take the pages of a dma-buf. Such a page is one
 * that fwrite() here refuses, as write() does on 9p: EFAULT.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../tools/frame-writer.h"
#include "harness.h"

#define SIZE 100000

static uint8_t payload[SIZE];
static size_t refused_from;     /* bytes of payload that can be written */
static size_t space_left;

/* For frame-writer.c, by -Dfwrite=fake_fwrite */
size_t fake_fwrite(const void *bytes, size_t size, size_t count, FILE *file)
{
    uintptr_t at = (uintptr_t)bytes, refused = (uintptr_t)payload +
                                               refused_from;
    size_t allowed = count;

    CHECK_INT(size, ==, 1);
    if (at >= (uintptr_t)payload && at < (uintptr_t)payload + SIZE) {
        allowed = at + count <= refused ? count :
                  at < refused ? refused - at : 0;
        errno = EFAULT;
    }
    if (allowed > space_left) {
        allowed = space_left;
        errno = ENOSPC;
    }
    space_left -= allowed;
    return write(fileno(file), bytes, allowed) == (ssize_t)allowed ? allowed :
                                                                     0;
}

/* Writes the payload to a memfd; gives what frame_writer_write() gives */
static int write_payload(struct frame_writer *writer, int memfd)
{
    struct vbuf_frame frame = { .data_size = SIZE };
    char path[64], message[256] = "";
    int ret;

    for (size_t i = 0; i < SIZE; i++) {
        payload[i] = (uint8_t)(i * 31 >> 3);
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
    CHECK_INT(frame_writer_init(writer, path, FRAME_FORMAT_RAW), ==, 0);
    ret = frame_writer_write(writer, 1, NULL, payload, &frame, message,
                             sizeof(message));
    CHECK_INT(ret < 0, ==, message[0] != '\0');
    CHECK_INT(frame_writer_finish(writer), ==, 0);
    return ret;
}

static void check_written(size_t refused, uint64_t copied)
{
    int memfd = memfd_create("frame", MFD_CLOEXEC);
    struct frame_writer writer;
    uint8_t *back = malloc(SIZE);

    refused_from = refused;
    space_left = SIZE;
    CHECK_INT(write_payload(&writer, memfd), ==, 0);
    CHECK_INT(lseek(memfd, 0, SEEK_END), ==, SIZE);
    CHECK_INT(pread(memfd, back, SIZE, 0), ==, SIZE);
    CHECK(memcmp(back, payload, SIZE) == 0);
    CHECK_INT(writer.bytes_copied, ==, copied);
    free(back);
    close(memfd);
}

TEST(straight)
{
    check_written(SIZE, 0);
}

TEST(all_pages_are_refused)
{
    check_written(0, SIZE);
}

/* The kernel may have taken some before it came to a page that it refuses */
TEST(some_pages_are_refused)
{
    check_written(12345, SIZE - 12345);
    check_written(SIZE - 1, 1);
}

TEST(full_while_copying)
{
    int memfd = memfd_create("frame", MFD_CLOEXEC);
    struct frame_writer writer;

    refused_from = 0;
    space_left = SIZE - 1;
    CHECK_INT(write_payload(&writer, memfd), ==, -ENOSPC);
    close(memfd);
}
