/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The y4m reader: what ffmpeg writes, and what an attacker writes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <drm_fourcc.h>

#include "harness.h"
#include "y4m.h"

/* A file with these bytes, behind the magic ones that y4m_open() wants gone */
static FILE *file_of(const void *bytes, size_t size)
{
    FILE *file = tmpfile();

    CHECK(file);
    CHECK(fwrite(bytes, 1, size, file) == size);
    CHECK(fseek(file, Y4M_MAGIC_SIZE, SEEK_SET) == 0);
    return file;
}

static int open_text(struct y4m *y4m, const char *text, char *message,
                     size_t size)
{
    FILE *file = file_of(text, strlen(text));
    int ret = y4m_open(y4m, file, message, size);

    if (ret) {
        fclose(file);
    }
    return ret;
}

static void check_opens(const char *text, struct y4m *y4m)
{
    char message[256] = "";

    if (open_text(y4m, text, message, sizeof(message)) < 0) {
        test_fail(__FILE__, __LINE__, "%.60s: %s", text, message);
    }
    fclose(y4m->file);
}

static void check_refused(const char *text, const char *why)
{
    struct y4m y4m;
    char message[256] = "";

    if (open_text(&y4m, text, message, sizeof(message)) == 0) {
        test_fail(__FILE__, __LINE__, "%.60s: was taken", text);
    }
    if (!strstr(message, why)) {
        test_fail(__FILE__, __LINE__, "%.60s: \"%s\", not \"%s\"", text,
                  message, why);
    }
}

TEST(headers)
{
    struct y4m y4m;

    /* as ffmpeg writes it */
    check_opens("YUV4MPEG2 W1920 H1080 F30000:1001 Ip A1:1 C420jpeg "
                "XYSCSS=420JPEG XCOLORRANGE=LIMITED\n", &y4m);
    CHECK_INT(y4m.format.fourcc, ==, DRM_FORMAT_YUV420);
    CHECK_INT(y4m.format.width, ==, 1920);
    CHECK_INT(y4m.format.height, ==, 1080);
    CHECK_INT(y4m.rate.num, ==, 30000);
    CHECK_INT(y4m.rate.den, ==, 1001);
    CHECK_STR(y4m.format.colour, "range=limited,siting=centre");
    check_opens("YUV4MPEG2 W8 H6 F25:1 C422\n", &y4m);
    CHECK_INT(y4m.format.fourcc, ==, DRM_FORMAT_YUV422);
    CHECK_STR(y4m.format.colour, "");
    check_opens("YUV4MPEG2 H6 W8 C444 XCOLORRANGE=FULL\n", &y4m);
    CHECK_INT(y4m.format.fourcc, ==, DRM_FORMAT_YUV444);
    CHECK_STR(y4m.format.colour, "range=full");
    CHECK_INT(y4m.rate.num, ==, 0);
    check_opens("YUV4MPEG2 W8 H6 F0:0\n", &y4m);
    CHECK_INT(y4m.format.fourcc, ==, DRM_FORMAT_YUV420);
    CHECK_INT(y4m.rate.num, ==, 0);
    check_opens("YUV4MPEG2  W8   H6\x20\n", &y4m);
}

TEST(hostile_headers)
{
    check_refused("YUV4MPEG2 W8 H6", "does not end");
    check_refused("YUV4MPEG2\n", "no width");
    check_refused("YUV4MPEG2 W8\n", "no height");
    check_refused("YUV4MPEG2 H8\n", "no width");
    check_refused("YUV4MPEG3 W8 H6\n", "no YUV4MPEG2");
    check_refused("YUV4MPEG22 W8 H6\n", "no YUV4MPEG2");
    check_refused("YUV4MPEG", "does not end");
    check_refused("YUV4MPEG\n", "no YUV4MPEG2");
    check_refused("YUV4MPEG2 W0 H6\n", "the width is 0");
    check_refused("YUV4MPEG2 W8 H0\n", "the height is 0");
    check_refused("YUV4MPEG2 W-8 H6\n", "the width");
    check_refused("YUV4MPEG2 W16385 H6\n", "the width");
    check_refused("YUV4MPEG2 W8 H99999999999999999999\n", "the height");
    check_refused("YUV4MPEG2 W4294967304 H6\n", "the width");
    check_refused("YUV4MPEG2 W H6\n", "the width");
    check_refused("YUV4MPEG2 W8x H6\n", "the width");
    check_refused("YUV4MPEG2 W8 H6 F25\n", "frame rate");
    check_refused("YUV4MPEG2 W8 H6 F25:0\n", "frame rate");
    check_refused("YUV4MPEG2 W8 H6 F0:1\n", "frame rate");
    check_refused("YUV4MPEG2 W8 H6 F99999999999:1\n", "frame rate");
    check_refused("YUV4MPEG2 W8 H6 F\n", "frame rate");
    check_refused("YUV4MPEG2 W8 H6 C420p10\n", "ffmpeg");
    check_refused("YUV4MPEG2 W8 H6 Cmono\n", "ffmpeg");
    check_refused("YUV4MPEG2 W8 H6 C444alpha\n", "ffmpeg");
    check_refused("YUV4MPEG2 W8 H6 C\n", "ffmpeg");
}

TEST(endless_header)
{
    char *text = malloc(100000);

    memset(text, ' ', 99999);
    text[99999] = '\0';
    memcpy(text, "YUV4MPEG2", 9);
    check_refused(text, "does not end");
    memset(text + 9, 'X', 99000);
    check_refused(text, "does not end");
    free(text);
}

TEST(nul_in_the_header)
{
    static const char bytes[] = "YUV4MPEG2 W8\0 H6\n";
    FILE *file = file_of(bytes, sizeof(bytes) - 1);
    struct y4m y4m;
    char message[256];

    CHECK(y4m_open(&y4m, file, message, sizeof(message)) < 0);
    fclose(file);
}

/* 3 x 3 in 4:2:0: 9 + 4 + 4 bytes, each of them known */
#define SMALL "YUV4MPEG2 W3 H3 F25:1 C420\n"

TEST(frames)
{
    static const char bytes[] = SMALL "FRAME\nabcdefghiABCDwxyz"
                                "FRAME Ip XSOMETHING\n123456789JKLMjklm";
    FILE *file = file_of(bytes, sizeof(bytes) - 1);
    struct y4m y4m;
    uint8_t *pixels;
    char message[256] = "";
    const struct frame_plane *planes = y4m.format.planes;

    CHECK_INT(y4m_open(&y4m, file, message, sizeof(message)), ==, 0);
    pixels = malloc(y4m.format.size);
    memset(pixels, 0xee, y4m.format.size);
    CHECK_INT(y4m_read(&y4m, pixels, message, sizeof(message)), ==, 1);
    CHECK(memcmp(pixels, "abc", 3) == 0);
    CHECK_INT(pixels[3], ==, 0xee); /* padding is left alone */
    CHECK(memcmp(pixels + planes[0].stride, "def", 3) == 0);
    CHECK(memcmp(pixels + 2 * planes[0].stride, "ghi", 3) == 0);
    CHECK(memcmp(pixels + planes[1].offset, "AB", 2) == 0);
    CHECK(memcmp(pixels + planes[1].offset + planes[1].stride, "CD", 2) == 0);
    CHECK(memcmp(pixels + planes[2].offset, "wx", 2) == 0);
    CHECK(memcmp(pixels + planes[2].offset + planes[2].stride, "yz", 2) == 0);
    CHECK_INT(y4m_read(&y4m, pixels, message, sizeof(message)), ==, 1);
    CHECK(memcmp(pixels, "123", 3) == 0);
    CHECK(memcmp(pixels + planes[2].offset + planes[2].stride, "lm", 2) == 0);
    CHECK_INT(y4m_read(&y4m, pixels, message, sizeof(message)), ==, 0);
    CHECK_INT(y4m.frames, ==, 2);
    free(pixels);
    fclose(file);
}

static void check_damaged(const char *frames, const char *why)
{
    char bytes[1024], message[256] = "";
    struct y4m y4m;
    uint8_t *pixels;
    FILE *file;

    snprintf(bytes, sizeof(bytes), SMALL "%s", frames);
    file = file_of(bytes, strlen(bytes));
    CHECK_INT(y4m_open(&y4m, file, message, sizeof(message)), ==, 0);
    pixels = malloc(y4m.format.size);
    while (y4m_read(&y4m, pixels, message, sizeof(message)) == 1) {
        continue;
    }
    if (!strstr(message, why)) {
        test_fail(__FILE__, __LINE__, "\"%s\", not \"%s\"", message, why);
    }
    free(pixels);
    fclose(file);
}

TEST(damaged_frames)
{
    char long_header[600];

    check_damaged("FRAME\nabcdefghiABCDwxy", "frame 1: the file is cut off");
    check_damaged("FRAME\n", "frame 1: the file is cut off");
    check_damaged("FRAME", "frame 1: its header does not end");
    check_damaged("FRAME\nabcdefghiABCDwxyzFRA", "frame 2: its header");
    check_damaged("FRAMES\nabcdefghiABCDwxyz", "start with FRAME");
    check_damaged("frame\nabcdefghiABCDwxyz", "start with FRAME");
    check_damaged("\n", "start with FRAME");
    /* one byte too many: the next frame has no header */
    check_damaged("FRAME\nabcdefghiABCDwxyz0FRAME\nabcdefghiABCDwxyz",
                  "frame 2");
    memset(long_header, 'X', sizeof(long_header) - 1);
    memcpy(long_header, "FRAME ", 6);
    long_header[sizeof(long_header) - 1] = '\0';
    check_damaged(long_header, "frame 1: its header does not end");
}

/* Each prefix of a good file is opened and read: never a crash, never a hang */
TEST(every_length)
{
    static const char bytes[] = SMALL "FRAME\nabcdefghiABCDwxyz";
    uint8_t pixels[4096];

    for (size_t size = Y4M_MAGIC_SIZE; size < sizeof(bytes); size++) {
        FILE *file = file_of(bytes, size);
        struct y4m y4m;
        char message[256];

        if (y4m_open(&y4m, file, message, sizeof(message)) == 0) {
            CHECK(y4m.format.size <= sizeof(pixels));
            CHECK_INT(y4m_read(&y4m, pixels, message, sizeof(message)), ==,
                      size == sizeof(SMALL) - 1 ? 0 :
                      size == sizeof(bytes) - 1 ? 1 : -1);
        } else {
            CHECK(size < sizeof(SMALL) - 1);
        }
        fclose(file);
    }
}
