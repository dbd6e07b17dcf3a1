/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The layout of frames and the arithmetic of frame rates, at their bounds.
 */
#include <string.h>

#include <drm_fourcc.h>

#include "frame.h"
#include "harness.h"

static const uint32_t fourccs[] = {
    DRM_FORMAT_XRGB8888, DRM_FORMAT_ARGB8888, DRM_FORMAT_YUV420,
    DRM_FORMAT_YUV422, DRM_FORMAT_YUV444,
};

/* Planes lie one behind the other, rows are inside their stride */
static void check_layout(const struct frame_format *format)
{
    uint64_t end = 0;

    for (unsigned int i = 0; i < format->plane_count; i++) {
        const struct frame_plane *plane = &format->planes[i];

        CHECK_INT(plane->offset, ==, end);
        CHECK_INT(plane->offset % FRAME_STRIDE_ALIGN, ==, 0);
        CHECK_INT(plane->stride % FRAME_STRIDE_ALIGN, ==, 0);
        CHECK_INT(plane->row_bytes, >, 0);
        CHECK_INT(plane->row_bytes, <=, plane->stride);
        CHECK_INT(plane->rows, >, 0);
        end = plane->offset + (uint64_t)plane->stride * plane->rows;
    }
    CHECK_INT(format->size, ==, end);
}

TEST(planes_do_not_overlap)
{
    static const uint32_t sides[] = { 1, 2, 15, 16, 17, 63, 64, 65, 1919,
                                      1920, FRAME_MAX_SIDE };
    struct frame_format format;

    for (size_t f = 0; f < sizeof(fourccs) / sizeof(fourccs[0]); f++) {
        for (size_t w = 0; w < sizeof(sides) / sizeof(sides[0]); w++) {
            for (size_t h = 0; h < sizeof(sides) / sizeof(sides[0]); h++) {
                CHECK(frame_format_init(&format, fourccs[f], sides[w],
                                        sides[h]));
                check_layout(&format);
            }
        }
    }
}

TEST(full_hd_420)
{
    struct frame_format format;

    CHECK(frame_format_init(&format, DRM_FORMAT_YUV420, 1920, 1080));
    CHECK_INT(format.plane_count, ==, 3);
    CHECK_INT(format.planes[0].stride, ==, 1920);
    CHECK_INT(format.planes[1].offset, ==, 1920 * 1080);
    CHECK_INT(format.planes[1].row_bytes, ==, 960);
    CHECK_INT(format.planes[1].rows, ==, 540);
    CHECK_INT(format.planes[2].offset, ==, 1920 * 1080 * 5 / 4);
    CHECK_INT(format.size, ==, 1920 * 1080 * 3 / 2);
}

/* Half of an odd side is rounded up: 3 pixels have 2 chroma samples */
TEST(odd_sides)
{
    struct frame_format format;

    CHECK(frame_format_init(&format, DRM_FORMAT_YUV420, 3, 5));
    CHECK_INT(format.planes[1].row_bytes, ==, 2);
    CHECK_INT(format.planes[1].rows, ==, 3);
    CHECK(frame_format_init(&format, DRM_FORMAT_YUV422, 3, 5));
    CHECK_INT(format.planes[1].row_bytes, ==, 2);
    CHECK_INT(format.planes[1].rows, ==, 5);
}

TEST(impossible_formats)
{
    struct frame_format format;

    CHECK(!frame_format_init(&format, DRM_FORMAT_XRGB8888, 0, 1));
    CHECK(!frame_format_init(&format, DRM_FORMAT_XRGB8888, 1, 0));
    CHECK(!frame_format_init(&format, DRM_FORMAT_XRGB8888,
                             FRAME_MAX_SIDE + 1, 1));
    CHECK(!frame_format_init(&format, DRM_FORMAT_XRGB8888, 1, UINT32_MAX));
    CHECK(!frame_format_init(&format, DRM_FORMAT_NV12, 16, 16));
    CHECK(!frame_format_init(&format, 0, 16, 16));
}

TEST(rates)
{
    static const struct {
        const char *text;
        uint32_t num, den;
    } good[] = {
        { "25", 25, 1 }, { "30000/1001", 30000, 1001 }, { "29.97", 2997, 100 },
        { "0.5", 5, 10 }, { "1000", 1000, 1 }, { "2147483647", 2147483647, 1 },
        { "25.", 25, 1 },
    };
    static const char *const bad[] = {
        "", "0", "0/1", "1/0", "-1", "+1", "abc", "25x", "25/", "/25", "2/3/4",
        "99999999999", "1/99999999999", "1.0000000000001", " 25", "25 ",
        "0.0", "1e3", "25/-1",
    };
    struct frame_rate rate;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        CHECK(frame_rate_parse(good[i].text, &rate));
        CHECK_INT(rate.num, ==, good[i].num);
        CHECK_INT(rate.den, ==, good[i].den);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (frame_rate_parse(bad[i], &rate)) {
            test_fail(__FILE__, __LINE__, "\"%s\" was taken", bad[i]);
        }
    }
}

TEST(times)
{
    struct frame_rate pal = { 25, 1 }, ntsc = { 30000, 1001 };
    struct frame_rate slow = { 1, INT32_MAX };

    CHECK_INT(frame_rate_time(&pal, 0), ==, 0);
    CHECK_INT(frame_rate_time(&pal, 1), ==, 40000000);
    CHECK_INT(frame_rate_time(&pal, 25), ==, 1000000000);
    CHECK_INT(frame_rate_time(&ntsc, 1), ==, 33366666);
    /* no drift: 30000 frames are 1001 seconds, to the nanosecond */
    CHECK_INT(frame_rate_time(&ntsc, 30000), ==, 1001000000000);
    CHECK_INT(frame_rate_time(&ntsc, 3000000000), ==, 100100000000000000);
    CHECK_INT(frame_rate_time(&slow, 1), ==, 2147483647000000000);
}
