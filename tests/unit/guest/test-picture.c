/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading PNG pictures: every kind of PNG gives the pixels that went into it,
 * damaged ones give a message. The pictures are made here, with libpng.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <drm_fourcc.h>
#include <png.h>

#include "harness.h"
#include "picture.h"
#include "source.h"

#define WIDTH   5
#define HEIGHT  3

/* Writes a picture of constant bytes; 0x11, 0x22, 0x33, 0x44 repeat in a row */
static FILE *write_png(int color_type, int depth, int interlace, bool trns)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL,
                                              NULL, NULL);
    png_infop info = png_create_info_struct(png);
    FILE *file = tmpfile();
    uint8_t row[WIDTH * 8];
    int passes;

    CHECK(file && info);
    png_init_io(png, file);
    png_set_IHDR(png, info, WIDTH, HEIGHT, depth, color_type, interlace,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (color_type == PNG_COLOR_TYPE_PALETTE) {
        png_color palette[2] = { { 10, 20, 30 }, { 40, 50, 60 } };

        png_set_PLTE(png, info, palette, 2);
    }
    if (trns) {
        png_byte alpha[2] = { 0, 128 };
        png_color_16 key = { .gray = 0x11 };

        if (color_type == PNG_COLOR_TYPE_PALETTE) {
            png_set_tRNS(png, info, alpha, 2, NULL);
        } else {
            png_set_tRNS(png, info, NULL, 0, &key);
        }
    }
    png_write_info(png, info);
    for (size_t i = 0; i < sizeof(row); i++) {
        row[i] = color_type == PNG_COLOR_TYPE_PALETTE ? 1 :
                 (uint8_t)(0x11 * (1 + i % 4));
    }
    passes = png_set_interlace_handling(png);
    for (int i = 0; i < passes * HEIGHT; i++) {
        png_write_row(png, row);
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return file;
}

static struct picture *open_png(FILE *file, char *message, size_t size)
{
    CHECK(fseek(file, PICTURE_MAGIC_SIZE, SEEK_SET) == 0);
    return picture_open(file, message, size);
}

/* The first pixel, as bytes in memory; the others have the same layout */
static void check_pixel(FILE *file, uint32_t fourcc, const char *bytes)
{
    char message[256] = "";
    struct picture *picture = open_png(file, message, sizeof(message));
    const struct frame_format *format;
    uint8_t *pixels;

    if (!picture) {
        test_fail(__FILE__, __LINE__, "%s", message);
    }
    format = picture_format(picture);
    CHECK_INT(format->fourcc, ==, fourcc);
    CHECK_INT(format->width, ==, WIDTH);
    CHECK_INT(format->height, ==, HEIGHT);
    pixels = malloc(format->size);
    memset(pixels, 0xee, format->size);
    CHECK_INT(picture_read(picture, pixels, message, sizeof(message)), ==, 0);
    for (int y = 0; y < HEIGHT; y++) {
        if (memcmp(pixels + (size_t)y * format->planes[0].stride, bytes, 4)) {
            uint8_t *p = pixels + (size_t)y * format->planes[0].stride;

            test_fail(__FILE__, __LINE__, "row %d: %02x %02x %02x %02x", y,
                      p[0], p[1], p[2], p[3]);
        }
    }
    CHECK_INT(pixels[WIDTH * 4], ==, 0xee); /* padding is left alone */
    free(pixels);
    picture_close(picture);
    fclose(file);
}

TEST(rgb)
{
    check_pixel(write_png(PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, false),
                DRM_FORMAT_XRGB8888, "\x33\x22\x11\xff");
}

TEST(rgba)
{
    check_pixel(write_png(PNG_COLOR_TYPE_RGBA, 8, PNG_INTERLACE_NONE, false),
                DRM_FORMAT_ARGB8888, "\x33\x22\x11\x44");
}

TEST(gray)
{
    check_pixel(write_png(PNG_COLOR_TYPE_GRAY, 8, PNG_INTERLACE_NONE, false),
                DRM_FORMAT_XRGB8888, "\x11\x11\x11\xff");
}

TEST(gray_of_one_bit)
{
    /* 0x11: the first three pixels are 0 */
    check_pixel(write_png(PNG_COLOR_TYPE_GRAY, 1, PNG_INTERLACE_NONE, false),
                DRM_FORMAT_XRGB8888, "\x00\x00\x00\xff");
}

TEST(gray_with_alpha)
{
    check_pixel(write_png(PNG_COLOR_TYPE_GRAY_ALPHA, 8, PNG_INTERLACE_NONE,
                          false), DRM_FORMAT_ARGB8888, "\x11\x11\x11\x22");
}

TEST(gray_with_a_key)
{
    check_pixel(write_png(PNG_COLOR_TYPE_GRAY, 8, PNG_INTERLACE_NONE, true),
                DRM_FORMAT_ARGB8888, "\x11\x11\x11\x00");
}

TEST(palette)
{
    check_pixel(write_png(PNG_COLOR_TYPE_PALETTE, 8, PNG_INTERLACE_NONE,
                          false), DRM_FORMAT_XRGB8888, "\x3c\x32\x28\xff");
}

TEST(palette_with_alpha)
{
    check_pixel(write_png(PNG_COLOR_TYPE_PALETTE, 8, PNG_INTERLACE_NONE, true),
                DRM_FORMAT_ARGB8888, "\x3c\x32\x28\x80");
}

TEST(sixteen_bits)
{
    /* 0x1122, 0x3344, 0x1122: scaled to 8 bits, 0x1122 * 255 / 65535 */
    check_pixel(write_png(PNG_COLOR_TYPE_RGB, 16, PNG_INTERLACE_NONE, false),
                DRM_FORMAT_XRGB8888, "\x11\x33\x11\xff");
}

TEST(interlaced)
{
    check_pixel(write_png(PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_ADAM7, false),
                DRM_FORMAT_XRGB8888, "\x33\x22\x11\xff");
}

static uint8_t *bytes_of(FILE *file, size_t *size)
{
    long end;
    uint8_t *bytes;

    CHECK(fseek(file, 0, SEEK_END) == 0);
    end = ftell(file);
    CHECK(end > 0);
    bytes = malloc((size_t)end);
    rewind(file);
    CHECK(fread(bytes, 1, (size_t)end, file) == (size_t)end);
    *size = (size_t)end;
    return bytes;
}

/* Opens and reads these bytes; true when both went well */
static bool try_bytes(const uint8_t *bytes, size_t size)
{
    static uint8_t pixels[1024 * 1024];
    char message[256] = "";
    FILE *file = tmpfile();
    struct picture *picture;
    bool good = false;

    CHECK(file);
    CHECK(fwrite(bytes, 1, size, file) == size);
    picture = open_png(file, message, sizeof(message));
    if (picture && picture_format(picture)->size <= sizeof(pixels)) {
        good = picture_read(picture, pixels, message, sizeof(message)) == 0;
    }
    CHECK(good || picture || message[0]);
    picture_close(picture);
    fclose(file);
    return good;
}

TEST(every_length)
{
    FILE *file = write_png(PNG_COLOR_TYPE_RGBA, 8, PNG_INTERLACE_ADAM7, false);
    size_t size;
    uint8_t *bytes = bytes_of(file, &size);

    CHECK(try_bytes(bytes, size));
    for (size_t n = PICTURE_MAGIC_SIZE; n < size; n++) {
        CHECK(!try_bytes(bytes, n));
    }
    free(bytes);
    fclose(file);
}

/* One byte is changed at a time: a message or a picture, never a crash */
TEST(every_byte_damaged)
{
    FILE *file = write_png(PNG_COLOR_TYPE_PALETTE, 8, PNG_INTERLACE_NONE,
                           true);
    size_t size;
    uint8_t *bytes = bytes_of(file, &size);

    for (size_t n = PICTURE_MAGIC_SIZE; n < size; n++) {
        bytes[n] ^= 0xff;
        try_bytes(bytes, size);
        bytes[n] ^= 0xff;
    }
    CHECK(try_bytes(bytes, size));
    free(bytes);
    fclose(file);
}

static void put_be32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* A header of 45 bytes that promises 4 GiB of pixels, with a right checksum */
TEST(huge_sides)
{
    static const uint32_t sides[][2] = {
        { 65535, 65535 }, { 0x7fffffff, 0x7fffffff }, { 16385, 1 },
        { 1, 16385 }, { 0, 1 }, { 0xffffffff, 1 },
    };
    FILE *file = write_png(PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, false);
    size_t size;
    uint8_t *bytes = bytes_of(file, &size);

    for (size_t i = 0; i < sizeof(sides) / sizeof(sides[0]); i++) {
        uint32_t crc = 0xffffffff;

        put_be32(bytes + 16, sides[i][0]);
        put_be32(bytes + 20, sides[i][1]);
        for (size_t n = 12; n < 29; n++) {
            crc ^= bytes[n];
            for (int bit = 0; bit < 8; bit++) {
                crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
            }
        }
        put_be32(bytes + 29, ~crc);
        CHECK(!try_bytes(bytes, size));
    }
    free(bytes);
    fclose(file);
}

static char *path_of(FILE *file)
{
    static char path[64];

    fflush(file);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fileno(file));
    return path;
}

TEST(source_of_a_picture)
{
    FILE *file = write_png(PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, false);
    char message[256] = "";
    struct source *source = source_open(path_of(file), message,
                                        sizeof(message));
    uint8_t *pixels;

    CHECK(source);
    CHECK_INT(source_rate(source).num, ==, 0);
    pixels = malloc(source_format(source)->size);
    CHECK(!source_at_end(source));
    CHECK_INT(source_read(source, pixels, message, sizeof(message)), ==, 1);
    CHECK(source_at_end(source));
    CHECK_INT(source_read(source, pixels, message, sizeof(message)), ==, 0);
    source_close(source);
    free(pixels);
    fclose(file);
}

TEST(source_of_a_clip)
{
    FILE *file = tmpfile();
    char message[256] = "";
    struct source *source;
    uint8_t pixels[4096];

    CHECK(file);
    fputs("YUV4MPEG2 W1 H1 F5:1 C444\nFRAME\nabcFRAME\ndef", file);
    source = source_open(path_of(file), message, sizeof(message));
    CHECK(source);
    CHECK_INT(source_rate(source).num, ==, 5);
    CHECK_INT(source_read(source, pixels, message, sizeof(message)), ==, 1);
    CHECK(!source_at_end(source));
    CHECK_INT(source_read(source, pixels, message, sizeof(message)), ==, 1);
    CHECK_INT(pixels[0], ==, 'd');
    CHECK(source_at_end(source));
    CHECK_INT(source_read(source, pixels, message, sizeof(message)), ==, 0);
    source_close(source);
    fclose(file);
}

static void check_no_source(const char *path, const char *why)
{
    char message[256] = "";

    CHECK(!source_open(path, message, sizeof(message)));
    if (!strstr(message, why)) {
        test_fail(__FILE__, __LINE__, "\"%s\", not \"%s\"", message, why);
    }
}

TEST(no_source)
{
    FILE *file = tmpfile();

    CHECK(file);
    check_no_source("/nonexistent/file", "No such file");
    check_no_source("/", "Is a directory");
    check_no_source("/dev/null", "empty");
    fputs("GIF89a, really", file);
    check_no_source(path_of(file), "neither");
    fclose(file);
}
