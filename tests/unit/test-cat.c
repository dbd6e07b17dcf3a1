/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf-cat against the fake server: what it writes is what is in the
 * buffers, and a guest that lies about them gets a message and no more.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "program.h"

#define CAT "VIRTIO_BUF_CAT"
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const no_properties[] = { NULL };

/* The bytes of fake_memory() */
static uint8_t pattern(uint64_t offset)
{
    return (uint8_t)(offset * 7 + offset / 256);
}

static void give_buffer(struct program *p, uint64_t id, uint64_t size,
                        const char *const *properties)
{
    int fd = fake_memory(size);

    fake_buffer(&p->fake, &(struct fake_buffer) {
                    .id = id, .size = size, .mode = VIRTIO_BUF_MODE_LATEST,
                    .properties = properties });
    fake_attached(&p->fake, id, size, VIRTIO_BUF_BACKING_COPY, fd);
    close(fd);
}

static struct program *start_cat(const char *const *args)
{
    struct program *p = prepare_program();
    const char *a[6] = { NULL };
    size_t i;

    for (i = 0; args[i]; i++) {
        CHECK_INT(i, <, COUNT(a));
        a[i] = args[i];
    }
    start_program(p, CAT, "--socket", "SOCKET", "--all", a[0], a[1], a[2], a[3],
                  a[4], a[5], NULL);
    greet_program(p);
    return p;
}

static void finish_cat(struct program *p, int exit_code)
{
    finish_program(p, exit_code);
    fake_close(&p->fake);
}

TEST(raw_to_stdout)
{
    static const char *const args[] = { "--count", "2", NULL };
    struct program *p = start_cat(args);
    struct virtio_buf_msg_update msg = {
        .buffer = htole64(1),
        .frame = { .serial = htole64(2), .data_offset = htole64(100),
                   .data_size = htole64(50) },
    };
    size_t i;

    give_buffer(p, 1, 4096, no_properties);
    fake_update(&p->fake, 1, 1, 1000, no_properties);
    fake_take_release(&p->fake, 1, 1);
    fake_send(&p->fake, VIRTIO_BUF_MSG_UPDATE, &msg, sizeof(msg), NULL, 0, -1);
    finish_cat(p, 0);
    CHECK_INT(p->out_size, ==, 1050);
    for (i = 0; i < 1050; i++) {
        CHECK_INT((uint8_t)p->out[i], ==,
                  pattern(i < 1000 ? i : i - 1000 + 100));
    }
    check_said(p, "2 frames in ");
    check_said(p, "0 frames from dma-bufs, 2 from copies by QEMU; 0 of 1050 "
               "bytes copied by this program");
    forget_program(p);
}

TEST(raw_to_a_file_each)
{
    static const char *const args[] = { "-n2", "-o", "f%03d.bin", "-q", NULL };
    struct program *p = start_cat(args);
    uint8_t bytes[64];

    give_buffer(p, 1, 4096, no_properties);
    fake_update(&p->fake, 1, 1, 10, no_properties);
    fake_take_release(&p->fake, 1, 1);
    fake_update(&p->fake, 1, 2, 20, no_properties);
    finish_cat(p, 0);
    CHECK_INT(read_output_file(p, "f001.bin", bytes, sizeof(bytes)), ==, 10);
    CHECK_INT(read_output_file(p, "f002.bin", bytes, sizeof(bytes)), ==, 20);
    CHECK_INT(bytes[19], ==, pattern(19));
    CHECK_STR(p->err, "");
    CHECK_STR(p->out, "");
    forget_program(p);
}

TEST(disk_full)
{
    static const char *const args[] = { "-n1", "-o", "/dev/full", NULL };
    struct program *p = start_cat(args);

    give_buffer(p, 1, 4096, no_properties);
    fake_update(&p->fake, 1, 1, 10, no_properties);
    finish_cat(p, 1);
    check_said(p, "No space left on device");
    forget_program(p);
}

TEST(output_that_cannot_be_made)
{
    static const char *const args[] = { "-n1", "-o", "no/such/dir", NULL };
    struct program *p = start_cat(args);

    give_buffer(p, 1, 4096, no_properties);
    fake_update(&p->fake, 1, 1, 10, no_properties);
    finish_cat(p, 1);
    check_said(p, "cannot write no/such/dir: No such file or directory");
    forget_program(p);
}

static void check_png(const struct program *p, const char *name,
                      uint32_t width, uint32_t height, bool alpha,
                      uint64_t offset, uint64_t stride)
{
    unsigned int channels = alpha ? 4 : 3;
    png_image image = { .version = PNG_IMAGE_VERSION };
    uint8_t *pixels;
    char path[256];
    uint32_t x, y;

    snprintf(path, sizeof(path), "%s/%s", p->dir, name);
    CHECK(png_image_begin_read_from_file(&image, path));
    CHECK_INT(image.width, ==, width);
    CHECK_INT(image.height, ==, height);
    CHECK_INT(image.format, ==, alpha ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB);
    pixels = malloc(PNG_IMAGE_SIZE(image));
    CHECK(png_image_finish_read(&image, NULL, pixels, 0, NULL));
    for (y = 0; y < height; y++) {
        for (x = 0; x < width; x++) {
            const uint8_t *got = pixels + (y * width + x) * channels;
            uint64_t at = offset + y * stride + x * 4;

            CHECK_INT(got[0], ==, pattern(at + 2));
            CHECK_INT(got[1], ==, pattern(at + 1));
            CHECK_INT(got[2], ==, pattern(at));
            CHECK(!alpha || got[3] == pattern(at + 3));
        }
    }
    free(pixels);
}

TEST(png_of_xr24_and_ar24)
{
    static const char *const args[] = { "-n2", "-o", "frame-%04d.png", NULL };
    static const char *const xr24[] = {
        "fourcc=XR24", "width=13", "height=7", "plane0.offset=40",
        "plane0.stride=64", "modifier=0x0", NULL
    };
    static const char *const ar24[] = {
        "fourcc=AR24", "width=16", "height=16", NULL    /* tight */
    };
    struct program *p = start_cat(args);

    give_buffer(p, 1, 40 + 6 * 64 + 13 * 4, xr24);      /* not a byte more */
    give_buffer(p, 2, 16 * 16 * 4, ar24);
    fake_update(&p->fake, 1, 1, 40 + 6 * 64 + 13 * 4, no_properties);
    fake_update(&p->fake, 2, 2, 16 * 16 * 4, no_properties);
    finish_cat(p, 0);
    check_png(p, "frame-0001.png", 13, 7, false, 40, 64);
    check_png(p, "frame-0002.png", 16, 16, true, 0, 64);
    forget_program(p);
}

/* Planes are counted from the payload, not from the buffer */
TEST(png_of_a_payload_that_starts_later)
{
    static const char *const args[] = { "-n2", "-o", "%d.png", NULL };
    static const char *const xr24[] = {
        "fourcc=XR24", "width=4", "height=4", "plane0.offset=8", NULL
    };
    struct program *p = start_cat(args);
    struct virtio_buf_msg_update msg = {
        .buffer = htole64(1),
        .frame = { .serial = htole64(1), .data_offset = htole64(100),
                   .data_size = htole64(72) },
    };

    give_buffer(p, 1, 4096, xr24);
    fake_send(&p->fake, VIRTIO_BUF_MSG_UPDATE, &msg, sizeof(msg), NULL, 0, -1);
    fake_take_release(&p->fake, 1, 1);
    msg.frame.serial = htole64(2);
    msg.frame.data_size = htole64(71);
    fake_send(&p->fake, VIRTIO_BUF_MSG_UPDATE, &msg, sizeof(msg), NULL, 0, -1);
    finish_cat(p, 1);
    check_png(p, "1.png", 4, 4, false, 108, 16);
    check_said(p, "does not lie inside of the frame of 71 bytes");
    forget_program(p);
}

TEST(png_size_changes_with_an_update)
{
    static const char *const args[] = { "-n2", "-o", "%d.png", NULL };
    static const char *const first[] = {
        "fourcc=XR24", "width=4", "height=4", NULL
    };
    static const char *const change[] = { "width=8", "height=2", NULL };
    struct program *p = start_cat(args);

    give_buffer(p, 1, 64, first);
    fake_update(&p->fake, 1, 1, 64, no_properties);
    fake_update(&p->fake, 1, 2, 64, change);
    finish_cat(p, 0);
    check_png(p, "1.png", 4, 4, false, 0, 16);
    check_png(p, "2.png", 8, 2, false, 0, 32);
    forget_program(p);
}

TEST(png_of_yuv_is_refused)
{
    static const char *const args[] = { "-n1", "-o", "x.png", NULL };
    static const char *const yu12[] = {
        "fourcc=YU12", "width=4", "height=4", NULL
    };
    struct program *p = start_cat(args);

    give_buffer(p, 1, 4096, yu12);
    fake_update(&p->fake, 1, 1, 24, no_properties);
    finish_cat(p, 1);
    check_said(p, "use --format y4m");
    forget_program(p);
}

TEST(png_to_a_full_disk)
{
    static const char *const args[] = { "-n1", "-fpng", "-o", "/dev/full",
                                        NULL };
    static const char *const xr24[] = {
        "fourcc=XR24", "width=4", "height=4", NULL
    };
    struct program *p = start_cat(args);

    give_buffer(p, 1, 4096, xr24);
    fake_update(&p->fake, 1, 1, 64, no_properties);
    finish_cat(p, 1);
    check_said(p, "cannot write PNG");
    forget_program(p);
}

static size_t put_plane(char *to, uint64_t offset, uint64_t stride,
                        uint32_t width, uint32_t height)
{
    size_t size = 0;
    uint32_t x, y;

    for (y = 0; y < height; y++) {
        for (x = 0; x < width; x++) {
            to[size++] = (char)pattern(offset + y * stride + x);
        }
    }
    return size;
}

/* Odd sizes, two frames */
TEST(y4m_of_each_subsampling)
{
    static const struct {
        const char *fourcc, *chroma;
        uint32_t width, height;     /* of Cb and Cr of a 5x3 picture */
    } cases[] = {
        { "fourcc=YU12", "420jpeg", 3, 2 },
        { "fourcc=YU16", "422", 3, 3 },
        { "fourcc=YU24", "444", 5, 3 },
    };
    static const char *const args[] = { "-n2", "-fy4m", NULL };
    char expected[512];
    struct program *p;
    size_t i, size, start;
    int frame;

    for (i = 0; i < COUNT(cases); i++) {
        const char *properties[] = {
            cases[i].fourcc, "width=5", "height=3", "framerate=30000/1001",
            "plane0.stride=8", "plane1.offset=100", "plane1.stride=7",
            "plane2.offset=200", "plane2.stride=16", NULL
        };

        p = start_cat(args);
        give_buffer(p, 1, 4096, properties);
        fake_update(&p->fake, 1, 1, 300, no_properties);
        fake_update(&p->fake, 1, 2, 300, no_properties);
        finish_cat(p, 0);
        size = (size_t)sprintf(expected, "YUV4MPEG2 W5 H3 F30000:1001 Ip A1:1 "
                               "C%s\n", cases[i].chroma);
        for (frame = 0; frame < 2; frame++) {
            start = size;
            memcpy(expected + size, "FRAME\n", 6);
            size += 6;
            size += put_plane(expected + size, 0, 8, 5, 3);
            size += put_plane(expected + size, 100, 7, cases[i].width,
                              cases[i].height);
            size += put_plane(expected + size, 200, 16, cases[i].width,
                              cases[i].height);
            CHECK_INT(size - start, ==,
                      6 + 15 + 2 * cases[i].width * cases[i].height);
        }
        CHECK_INT(p->out_size, ==, size);
        CHECK_INT(memcmp(p->out, expected, size), ==, 0);
        forget_program(p);
    }
}

TEST(y4m_framerates)
{
    static const struct {
        const char *property, *header;
    } cases[] = {
        { "framerate=30", " F30:1 " }, { "framerate=50:2", " F50:2 " },
        { "framerate=0/1", " F25:1 " }, { "framerate=30/0", " F25:1 " },
        { "framerate=many", " F25:1 " }, { "framerate=-1", " F25:1 " },
        { "framerate=99999999999999999999", " F25:1 " },
        { "framerate=", " F25:1 " }, { "other=1", " F25:1 " },
    };
    static const char *const args[] = { "-n1", "-fy4m", NULL };
    struct program *p;
    size_t i;

    for (i = 0; i < COUNT(cases); i++) {
        const char *properties[] = {
            "fourcc=YU24", "width=1", "height=1", cases[i].property, NULL
        };

        p = start_cat(args);
        give_buffer(p, 1, 16, properties);
        fake_update(&p->fake, 1, 1, 3, no_properties);
        finish_cat(p, 0);
        CHECK(strstr(p->out, cases[i].header));
        forget_program(p);
    }
}

/*
 * The primary colours of BT.601 in studio range, as the standard's tables
 * have them
 */
TEST(y4m_of_rgb)
{
    static const struct {
        uint8_t b, g, r, y, cb, cr;
    } colours[] = {
        { 255, 255, 255, 235, 128, 128 }, { 0, 0, 0, 16, 128, 128 },
        { 0, 0, 255, 81, 90, 240 }, { 0, 255, 0, 145, 54, 34 },
        { 255, 0, 0, 41, 240, 110 }, { 255, 255, 0, 170, 166, 16 },
        { 255, 0, 255, 106, 202, 222 }, { 0, 255, 255, 210, 16, 146 },
    };
    static const char *const args[] = { "-n1", "-fy4m", NULL };
    static const char *const xr24[] = {
        "fourcc=XR24", "width=8", "height=1", NULL
    };
    struct program *p = start_cat(args);
    int fd = test_memfd(32, 0);
    const char *frame;
    uint8_t *pixels;
    size_t i;

    pixels = mmap(NULL, 32, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(pixels != MAP_FAILED);
    for (i = 0; i < 8; i++) {
        pixels[i * 4] = colours[i].b;
        pixels[i * 4 + 1] = colours[i].g;
        pixels[i * 4 + 2] = colours[i].r;
        pixels[i * 4 + 3] = 0x5a;       /* X: ignored */
    }
    munmap(pixels, 32);
    CHECK_INT(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), ==, 0);
    fake_buffer(&p->fake, &(struct fake_buffer) {
                    .id = 1, .size = 32, .properties = xr24 });
    fake_attached(&p->fake, 1, 32, VIRTIO_BUF_BACKING_COPY, fd);
    close(fd);
    fake_update(&p->fake, 1, 1, 32, no_properties);
    finish_cat(p, 0);
    CHECK(strstr(p->out, " C444\nFRAME\n"));
    frame = strstr(p->out, "FRAME\n") + 6;
    CHECK_INT(frame + 24 - p->out, ==, p->out_size);
    for (i = 0; i < 8; i++) {
        CHECK_INT((uint8_t)frame[i], ==, colours[i].y);
        CHECK_INT((uint8_t)frame[8 + i], ==, colours[i].cb);
        CHECK_INT((uint8_t)frame[16 + i], ==, colours[i].cr);
    }
    check_said(p, "24 of 32 bytes copied by this program");
    forget_program(p);
}

TEST(y4m_cannot_change_its_size)
{
    static const char *const args[] = { "-n2", "-fy4m", NULL };
    static const char *const first[] = {
        "fourcc=YU24", "width=4", "height=4", NULL
    };
    static const char *const change[] = { "width=8", "height=2", NULL };
    struct program *p = start_cat(args);

    give_buffer(p, 1, 64, first);
    fake_update(&p->fake, 1, 1, 48, no_properties);
    fake_update(&p->fake, 1, 2, 48, change);
    finish_cat(p, 1);
    check_said(p, "the picture changed from 4x4 to 8x2");
    forget_program(p);
}

TEST(hostile_properties)
{
    static const struct {
        const char *fourcc, *width, *height, *more, *message;
    } cases[] = {
        { "a=", "width=4", "height=4", "b=", "no property fourcc" },
        { "fourcc=NV12", "width=4", "height=4", "b=", "this program knows" },
        { "fourcc=XR2", "width=4", "height=4", "b=", "this program knows" },
        { "fourcc=\x1b[2J", "width=4", "height=4", "b=", "\\x1b[2J" },
        { "fourcc=XR24", "a=", "height=4", "b=", "no property width" },
        { "fourcc=XR24", "width=4", "a=", "b=", "no property height" },
        { "fourcc=XR24", "width=0", "height=4", "b=", "property width" },
        { "fourcc=XR24", "width=-4", "height=4", "b=", "property width" },
        { "fourcc=XR24", "width=+4", "height=4", "b=", "property width" },
        { "fourcc=XR24", "width= 4", "height=4", "b=", "property width" },
        { "fourcc=XR24", "width=4.0", "height=4", "b=", "property width" },
        { "fourcc=XR24", "width=", "height=4", "b=", "property width" },
        { "fourcc=XR24", "width=16385", "height=4", "b=", "property width" },
        { "fourcc=XR24", "width=4294967296", "height=4", "b=",
          "property width" },
        { "fourcc=XR24", "width=18446744073709551616", "height=4", "b=",
          "property width" },
        { "fourcc=XR24", "width=4", "height=16385", "b=", "property height" },
        { "fourcc=XR24", "width=16", "height=17", "b=", "plane 0 " },
        { "fourcc=XR24", "width=16384", "height=16384", "b=", "plane 0 " },
        { "fourcc=XR24", "width=4", "height=4", "plane0.stride=15",
          "property plane0.stride" },
        { "fourcc=XR24", "width=4", "height=4", "plane0.stride=0",
          "property plane0.stride" },
        { "fourcc=XR24", "width=4", "height=4", "plane0.stride=337",
          "plane 0 " },
        { "fourcc=XR24", "width=4", "height=4",
          "plane0.stride=18446744073709551615", "plane 0 " },
        { "fourcc=XR24", "width=4", "height=4",
          "plane0.stride=9223372036854775808", "plane 0 " },
        { "fourcc=XR24", "width=4", "height=4",
          "plane0.stride=6148914691236517206", "plane 0 " },
        { "fourcc=XR24", "width=4", "height=4", "plane0.offset=961",
          "plane 0 " },
        { "fourcc=XR24", "width=4", "height=4",
          "plane0.offset=18446744073709551615", "plane 0 " },
        { "fourcc=XR24", "width=4", "height=4",
          "plane0.offset=18446744073709551552", "plane 0 " },
        { "fourcc=XR24", "width=4", "height=4", "plane0.offset=-1",
          "property plane0.offset" },
        { "fourcc=XR24", "width=4", "height=4", "modifier=0x1", "tiled" },
        { "fourcc=XR24", "width=4", "height=4", "modifier=0xffffffffffffff",
          "tiled" },
        { "fourcc=XR24", "width=4", "height=4", "codec=h264",
          "compressed (h264)" },
        { "fourcc=YU12", "width=4", "height=4", "plane1.offset=1021",
          "plane 1 " },
        { "fourcc=YU12", "width=4", "height=4", "plane2.stride=1",
          "property plane2.stride" },
        { "fourcc=YU12", "width=4", "height=4", "plane2.offset=1021",
          "plane 2 " },
        { "fourcc=YU24", "width=1", "height=1",
          "plane0.stride=18446744073709551615", "plane 1 " },
        { "fourcc=XR24", "width=4", "height=1",
          "plane0.stride=18446744073709551615", NULL },
        { "fourcc=XR24", "width=16", "height=16", "plane0.stride=64", NULL },
        { "fourcc=XR24", "width=4", "height=4", "plane0.offset=960", NULL },
        { "fourcc=XR24", "width=4", "height=4", "plane0.stride=336", NULL },
    };
    static const char *const args[] = { "-n1", "-fy4m", NULL };
    struct program *p;
    size_t i;

    for (i = 0; i < COUNT(cases); i++) {
        const char *properties[] = {
            cases[i].fourcc, cases[i].width, cases[i].height, cases[i].more,
            NULL
        };

        p = start_cat(args);
        give_buffer(p, 1, 4096, properties);    /* room behind the frame */
        fake_update(&p->fake, 1, 1, 1024, no_properties);
        finish_cat(p, !!cases[i].message);
        if (cases[i].message) {
            check_said(p, cases[i].message);
        }
        forget_program(p);
    }
}

TEST(memory_that_is_too_short)
{
    static const char *const args[] = { "-n1", NULL };
    struct program *p = start_cat(args);
    int fd = fake_memory(4096);

    fake_buffer(&p->fake, &(struct fake_buffer) { .id = 1, .size = 8192 });
    fake_attached(&p->fake, 1, 8192, VIRTIO_BUF_BACKING_COPY, fd);
    close(fd);
    fake_update(&p->fake, 1, 1, 8192, no_properties);
    finish_cat(p, 1);
    check_said(p, "its memory is not what the server says");
    forget_program(p);
}

TEST(no_server)
{
    struct program *p = prepare_program();

    start_program(p, CAT, "-s", "nowhere", "--all", NULL);
    finish_program(p, 3);
    check_said(p, "no server at nowhere: start QEMU with "
               "-object virtio-buf-server,id=s0,path=nowhere");
    forget_program(p);

    p = prepare_program();      /* a socket that nobody listens on */
    close(p->listener);
    p->listener = -1;
    start_program(p, CAT, "-s", "SOCKET", "--all", NULL);
    finish_program(p, 3);
    check_said(p, "start QEMU with -object virtio-buf-server");
    forget_program(p);
}

TEST(no_frame_in_time)
{
    static const char *const args[] = { "-n1", "-t", "0.2", NULL };
    struct program *p = start_cat(args);

    give_buffer(p, 1, 4096, no_properties);
    finish_cat(p, 3);
    check_said(p, "no frame for 0.2 s (0 came)");
    forget_program(p);
}

TEST(server_ends)
{
    static const char *const counted[] = { "-n2", NULL };
    static const char *const forever[] = { "-q", NULL };
    struct program *p = start_cat(counted);

    give_buffer(p, 1, 4096, no_properties);
    fake_update(&p->fake, 1, 1, 1, no_properties);
    fake_take_release(&p->fake, 1, 1);
    fake_close(&p->fake);
    finish_program(p, 1);
    check_said(p, "disconnected: the server has gone");
    forget_program(p);

    p = start_cat(forever);     /* as long as the virtual machine runs */
    give_buffer(p, 1, 4096, no_properties);
    fake_update(&p->fake, 1, 1, 1, no_properties);
    fake_take_release(&p->fake, 1, 1);
    fake_close(&p->fake);
    finish_program(p, 0);
    CHECK_STR(p->err, "");
    forget_program(p);
}

TEST(error_of_the_server)
{
    static const char *const args[] = { NULL };
    struct program *p = start_cat(args);

    fake_error(&p->fake, EACCES, "uid 7 may not see \x1b[1m this");
    finish_cat(p, 1);
    check_said(p, "disconnected: uid 7 may not see \\x1b[1m this");
    forget_program(p);
}

TEST(interrupted)
{
    static const char *const args[] = { NULL };
    struct program *p = start_cat(args);

    give_buffer(p, 1, 4096, no_properties);
    fake_update(&p->fake, 1, 1, 1, no_properties);
    fake_take_release(&p->fake, 1, 1);
    CHECK_INT(kill(p->pid, SIGTERM), ==, 0);
    finish_cat(p, 0);
    check_said(p, "1 frames in 0.00 s");
    forget_program(p);
}

TEST(removed_refused_and_lost)
{
    static const char *const args[] = { "-n2", "--stats-json", "stats", NULL };
    struct program *p = start_cat(args);
    char stats[1024] = "";

    give_buffer(p, 1, 4096, no_properties);
    give_buffer(p, 2, 4096, no_properties);
    fake_buffer(&p->fake, &(struct fake_buffer) { .id = 3, .size = 1 });
    fake_refused(&p->fake, 3, ENOSPC);
    fake_update(&p->fake, 1, 1, 10, no_properties);
    fake_take_release(&p->fake, 1, 1);
    fake_remove(&p->fake, 1);
    fake_take_removed(&p->fake, 1);
    fake_update(&p->fake, 2, 2, 10, no_properties);
    finish_cat(p, 0);
    check_said(p, "buffer 3 of 1 bytes is not given to us: No space left");
    read_output_file(p, "stats", stats, sizeof(stats));
    CHECK(strstr(stats, "{\"frames\": 2, \"lost\": 0, "
                 "\"frames_from_dmabuf\": 0, \"frames_from_copy\": 2, "));
    CHECK(strstr(stats, "\"bytes\": 20, \"bytes_copied\": 0, "));
    forget_program(p);
}

TEST(usage)
{
    static const char *const wrong[][4] = {
        { "--all" }, { "-sx" }, { "-sx", "--all", "-ay" },
        { "-sx", "--all", "-n0" }, { "-sx", "--all", "-n1x" },
        { "-sx", "--all", "-n-1" }, { "-sx", "--all", "-fjpg" },
        { "-sx", "--all", "-oa%sb" }, { "-sx", "--all", "-oa%d%d" },
        { "-sx", "--all", "-oa%" }, { "-sx", "--all", "-o%99d" },
        { "-sx", "--all", "-oa.png" }, { "-sx", "--all", "-t", "soon" },
        { "-sx", "--all", "what" }, { "-sx", "-a" }, { "-sx", "-a", "" },
    };
    struct program *p;
    size_t i;

    for (i = 0; i < COUNT(wrong); i++) {
        p = prepare_program();
        start_program(p, CAT, wrong[i][0], wrong[i][1], wrong[i][2],
                      wrong[i][3], NULL);
        finish_program(p, 2);
        check_said(p, "try --help");
        forget_program(p);
    }
}

TEST(help_fits_on_a_screen)
{
    struct program *p = prepare_program();
    unsigned int lines = 0, width = 0;
    const char *c;

    start_program(p, CAT, "--help", NULL);
    finish_program(p, 0);
    for (c = p->out; *c; c++) {
        width = *c == '\n' ? 0 : width + 1;
        lines += *c == '\n';
        CHECK_INT(width, <=, 80);
    }
    CHECK_INT(lines, >, 10);
    CHECK_INT(lines, <=, 24);
    forget_program(p);
}
