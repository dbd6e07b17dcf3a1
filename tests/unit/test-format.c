/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The format half of the wire code: texts, property records and frames at and
 * around each bound. All bytes are copied to the end of an allocation first, so
 * that AddressSanitizer sees a read behind them.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "virtio-buf/wire.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool text_valid(const char *text, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    bool valid;

    memcpy(copy, text, len);
    valid = virtio_buf_text_valid(copy, len);
    free(copy);
    return valid;
}

TEST(text_good)
{
    static const char *const good[] = {
        "", "a", "\x7f", "\x01", "\n", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
        "\xec\xbf\xbf", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
        "\xf0\x90\x80\x80", "\xf3\xbf\xbf\xbf", "\xf4\x8f\xbf\xbf",
        "a\xc3\xa4z", "\xe2\x82\xac\x31", "\xf0\x9f\x98\x80\xf0\x9f\x98\x80",
    };
    size_t i;

    for (i = 0; i < COUNT(good); i++) {
        CHECK(text_valid(good[i], strlen(good[i])));
    }
}

TEST(text_bad)
{
    static const char *const bad[] = {
        "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2z", "\xc2\xc0",
        "\xdf\x7f", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe1\x80", "\xe1\x80z",
        "\xe1z\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf", "\xf0\x90\x80", "\xf1\x80\x80z", "\xf1\x80z\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80",
        "\xfe", "\xff", "ok\xff", "\xe2\x82", "a\xf0\x9f\x98",
    };
    size_t i;

    for (i = 0; i < COUNT(bad); i++) {
        CHECK(!text_valid(bad[i], strlen(bad[i])));
    }
    CHECK(!text_valid("a\0b", 3));
    CHECK(!text_valid("", 1));
}

/* A second opinion: decode all sequences of two bytes and of some more */
TEST(text_two_bytes_all)
{
    unsigned int a, b;
    bool expected;
    char text[2];

    for (a = 0; a < 256; a++) {
        for (b = 0; b < 256; b++) {
            text[0] = (char)a;
            text[1] = (char)b;
            expected = (a > 0 && a < 128 && b > 0 && b < 128) ||
                       (a >> 5 == 6 && b >> 6 == 2 &&
                        ((a & 31) << 6 | (b & 63)) >= 0x80);
            CHECK_INT(text_valid(text, 2), ==, expected);
        }
    }
}

TEST(text_each_code_point)
{
    uint32_t c;
    char text[4];
    size_t len;

    for (c = 1; c < 0x200000; c += c < 0x12000 ? 1 : 61) {
        if (c < 0x80) {
            text[0] = (char)c;
            len = 1;
        } else if (c < 0x800) {
            text[0] = (char)(0xc0 | c >> 6);
            text[1] = (char)(0x80 | (c & 63));
            len = 2;
        } else if (c < 0x10000) {
            text[0] = (char)(0xe0 | c >> 12);
            text[1] = (char)(0x80 | (c >> 6 & 63));
            text[2] = (char)(0x80 | (c & 63));
            len = 3;
        } else {
            text[0] = (char)(0xf0 | c >> 18);
            text[1] = (char)(0x80 | (c >> 12 & 63));
            text[2] = (char)(0x80 | (c >> 6 & 63));
            text[3] = (char)(0x80 | (c & 63));
            len = 4;
        }
        CHECK_INT(text_valid(text, len), ==,
                  c <= 0x10ffff && (c < 0xd800 || c > 0xdfff));
    }
}

TEST(name)
{
    uint8_t name[VIRTIO_BUF_NAME_SIZE] = "";
    size_t i;

    CHECK(virtio_buf_name_valid(name, true));
    CHECK(!virtio_buf_name_valid(name, false));
    for (i = 0; i < sizeof(name) - 1; i++) {
        name[i] = 'x';
        CHECK(virtio_buf_name_valid(name, false));
    }
    name[sizeof(name) - 1] = 'x';       /* no NUL is left */
    CHECK(!virtio_buf_name_valid(name, true));
    for (i = 5; i < sizeof(name); i++) {
        memset(name, 0, sizeof(name));
        memcpy(name, "name", 4);
        name[i] = 'x';                  /* behind the NUL */
        CHECK(!virtio_buf_name_valid(name, true));
    }
    memset(name, 0, sizeof(name));
    name[3] = 'x';                      /* NUL first */
    CHECK(!virtio_buf_name_valid(name, true));
    memcpy(name, "\xff", 2);
    CHECK(!virtio_buf_name_valid(name, true));
}

/* Puts the record by hand, not with the code that is tested */
static size_t put_raw(uint8_t *to, const char *name, uint16_t name_len,
                      uint16_t flags, const char *value, uint32_t value_len)
{
    uint16_t name_len_le = htole16(name_len), flags_le = htole16(flags);
    uint32_t value_len_le = htole32(value_len);
    size_t used = 8u + name_len + value_len;

    memcpy(to, &name_len_le, 2);
    memcpy(to + 2, &flags_le, 2);
    memcpy(to + 4, &value_len_le, 4);
    memcpy(to + 8, name, name_len);
    memcpy(to + 8 + name_len, value, value_len);
    for (; used % 8; used++) {
        to[used] = 0;
    }
    return used;
}

static int check_list(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    int ret;

    memcpy(copy, bytes, size);
    ret = virtio_buf_properties_check(copy, size);
    free(copy);
    return ret;
}

TEST(property_size_bounds)
{
    CHECK_INT(virtio_buf_property_size(0, 0), ==, 0);
    CHECK_INT(virtio_buf_property_size(1, 0), ==, 16);
    CHECK_INT(virtio_buf_property_size(8, 0), ==, 16);
    CHECK_INT(virtio_buf_property_size(1, 7), ==, 16);
    CHECK_INT(virtio_buf_property_size(1, 8), ==, 24);
    CHECK_INT(virtio_buf_property_size(255, 1), ==, 264);
    CHECK_INT(virtio_buf_property_size(256, 1), ==, 0);
    CHECK_INT(virtio_buf_property_size(1, 32768 - 8 - 1), ==, 32768);
    CHECK_INT(virtio_buf_property_size(1, 32768 - 8), ==, 0);
    CHECK_INT(virtio_buf_property_size(1, SIZE_MAX), ==, 0);
    CHECK_INT(virtio_buf_property_size(SIZE_MAX, 1), ==, 0);
}

TEST(property_put_writes_the_documented_bytes)
{
    static const uint8_t expected[] = {
        5, 0, 0, 0, 4, 0, 0, 0, 'w', 'i', 'd', 't', 'h', '1', '9', '2', '0',
        0, 0, 0, 0, 0, 0, 0,
        4, 0, 1, 0, 0, 0, 0, 0, 'c', 'r', 'o', 'p', 0, 0, 0, 0,
    };
    struct virtio_buf_property_view width = {
        .name = "width", .name_len = 5, .value = "1920", .value_len = 4,
    };
    struct virtio_buf_property_view crop = {
        .name = "crop", .name_len = 4, .deleted = true, .value = "ignored",
        .value_len = 7,
    };
    uint8_t bytes[40];

    memset(bytes, 0xff, sizeof(bytes));
    CHECK_INT(virtio_buf_property_put(bytes, &width), ==, 24);
    CHECK_INT(virtio_buf_property_put(bytes + 24, &crop), ==, 16);
    CHECK_INT(memcmp(bytes, expected, sizeof(expected)), ==, 0);
    CHECK_INT(check_list(bytes, sizeof(bytes)), ==, 2);
}

TEST(property_walk)
{
    struct virtio_buf_property_view view;
    uint8_t list[256];
    size_t size = 0, pos = 0;

    size += put_raw(list + size, "a", 1, 0, "", 0);
    size += put_raw(list + size, "fourcc", 6, 0, "XR24", 4);
    size += put_raw(list + size, "gone", 4, 1, "", 0);
    CHECK_INT(virtio_buf_property_next(list, size, &pos, &view), ==, 1);
    CHECK(view.name_len == 1 && view.value_len == 0 && !view.deleted);
    CHECK_INT(virtio_buf_property_next(list, size, &pos, &view), ==, 1);
    CHECK(view.name_len == 6 && !memcmp(view.name, "fourcc", 6));
    CHECK(view.value_len == 4 && !memcmp(view.value, "XR24", 4));
    CHECK_INT(virtio_buf_property_next(list, size, &pos, &view), ==, 1);
    CHECK(view.name_len == 4 && view.deleted);
    CHECK_INT(virtio_buf_property_next(list, size, &pos, &view), ==, 0);
    CHECK_INT(pos, ==, size);
    pos = size + 8;
    CHECK_INT(virtio_buf_property_next(list, size, &pos, &view), ==, -EINVAL);
    CHECK_INT(check_list(list, size), ==, 3);
    CHECK_INT(check_list(list, 0), ==, 0);
}

/* A list that is cut anywhere but between two records is refused */
TEST(property_cut_at_each_byte)
{
    uint8_t list[64];
    size_t size, cut;

    size = put_raw(list, "width", 5, 0, "1920", 4);
    size += put_raw(list + size, "height", 6, 0, "1080", 4);
    CHECK_INT(size, ==, 48);
    for (cut = 0; cut <= size; cut++) {
        CHECK_INT(check_list(list, cut), ==,
                  cut == 0 ? 0 : cut == 24 ? 1 : cut == 48 ? 2 : -EINVAL);
    }
}

TEST(property_padding_is_zero)
{
    uint8_t list[64];
    size_t size = put_raw(list, "width", 5, 0, "1920", 4), i;

    for (i = 17; i < size; i++) {
        list[i] = 1;
        CHECK_INT(check_list(list, size), ==, -EINVAL);
        list[i] = 0;
    }
    CHECK_INT(check_list(list, size), ==, 1);
}

TEST(property_bad_fields)
{
    static const struct {
        const char *name;
        uint16_t name_len, flags;
        const char *value;
        uint32_t value_len;
        int expected;
    } cases[] = {
        { "a", 1, 0, "b", 1, 1 },
        { "a", 1, 1, "", 0, 1 },
        { "a", 1, 1, "b", 1, -EINVAL },         /* deleted, with a value */
        { "a", 1, 2, "b", 1, -EINVAL },         /* undefined flags */
        { "a", 1, 0x8000, "", 0, -EINVAL },
        { "", 0, 0, "b", 1, -EINVAL },          /* no name */
        { "a=b", 3, 0, "c", 1, -EINVAL },
        { "=", 1, 0, "c", 1, -EINVAL },
        { "a\0b", 3, 0, "c", 1, -EINVAL },
        { "a", 1, 0, "c\0d", 3, -EINVAL },
        { "a", 1, 0, "c=d", 3, 1 },
        { "\xff", 1, 0, "c", 1, -EINVAL },
        { "a", 1, 0, "\xc3", 1, -EINVAL },
        { "\xc3", 1, 0, "\xa4", 1, -EINVAL },   /* one character in both */
        { "\xc3\xa4", 2, 0, "\xc3\xb6", 2, 1 },
    };
    uint8_t list[64];
    size_t i, size;

    for (i = 0; i < COUNT(cases); i++) {
        size = put_raw(list, cases[i].name, cases[i].name_len, cases[i].flags,
                       cases[i].value, cases[i].value_len);
        CHECK_INT(check_list(list, size), ==, cases[i].expected);
    }
}

/* Lengths that lie, in a list that ends with the allocation */
TEST(property_lengths_that_lie)
{
    static const uint32_t values[] = {
        2, 8, 0x7fff, 0x8000, 0x8001, 0x7fffffff, 0x80000000, 0xfffffff0,
        0xfffffff8, 0xffffffff,
    };
    uint8_t list[16] = { 0 };
    uint32_t value_le;
    uint16_t names[] = { 9, 255, 256, 0xffff }, name_le;
    size_t i;

    for (i = 0; i < COUNT(values); i++) {
        put_raw(list, "abcdefg", 7, 0, "", 0);
        value_le = htole32(values[i]);
        memcpy(list + 4, &value_le, 4);
        CHECK_INT(check_list(list, sizeof(list)), ==, -EINVAL);
    }
    for (i = 0; i < COUNT(names); i++) {
        put_raw(list, "abcdefgh", 8, 0, "", 0);
        name_le = htole16(names[i]);
        memcpy(list, &name_le, 2);
        CHECK_INT(check_list(list, sizeof(list)), ==, -EINVAL);
    }
}

TEST(property_twice)
{
    uint8_t list[512];
    size_t size, i, j, n;
    char name[2];

    /* Each pair of positions among seven records */
    for (i = 0; i < 7; i++) {
        for (j = i + 1; j < 7; j++) {
            for (n = 0, size = 0; n < 7; n++) {
                name[0] = (char)('a' + (n == j ? i : n));
                size += put_raw(list + size, name, 1, n == j, "", 0);
            }
            CHECK_INT(check_list(list, size), ==, -EINVAL);
        }
    }
    /* A name that starts like another is another */
    size = put_raw(list, "ab", 2, 0, "c", 1);
    size += put_raw(list + size, "a", 1, 0, "bc", 2);
    size += put_raw(list + size, "abc", 3, 0, "", 0);
    CHECK_INT(check_list(list, size), ==, 3);
}

TEST(property_as_many_as_fit)
{
    static uint8_t list[VIRTIO_BUF_MAX_PROPERTY_BYTES + 16];
    size_t size = 0, i;
    char name[8];

    for (i = 0; i < 2048; i++) {
        snprintf(name, sizeof(name), "%zu", i * 1237 % 2048);
        size += put_raw(list + size, name, (uint16_t)strlen(name), 0, "", 0);
    }
    CHECK_INT(size, ==, VIRTIO_BUF_MAX_PROPERTY_BYTES);
    CHECK_INT(check_list(list, size), ==, 2048);
    /* The last becomes the first */
    put_raw(list + size - 16, "0", 1, 0, "", 0);
    CHECK_INT(check_list(list, size), ==, -EINVAL);
    put_raw(list + size - 16, "x", 1, 0, "", 0);
    CHECK_INT(check_list(list, size), ==, 2048);
    put_raw(list + size, "y", 1, 0, "", 0);
    CHECK_INT(check_list(list, size + 16), ==, -EINVAL);
}

#define BUFFER_SIZE 1000

struct frame {
    struct virtio_buf_frame head;
    struct virtio_buf_rect rects[17];
    struct virtio_buf_span spans[17];
};

/* A frame with these counts that is right; spans stand behind the rects */
static size_t make_frame(struct frame *frame, unsigned int rects,
                         unsigned int spans)
{
    struct virtio_buf_span *span = (void *)&frame->rects[rects];
    unsigned int i;

    memset(frame, 0, sizeof(*frame));
    frame->head.serial = htole64(1);
    frame->head.data_size = htole64(BUFFER_SIZE);
    frame->head.rect_count = htole16((uint16_t)rects);
    frame->head.span_count = htole16((uint16_t)spans);
    for (i = 0; i < rects; i++) {
        frame->rects[i].width = htole32(1);
        frame->rects[i].height = htole32(i + 1);
    }
    for (i = 0; i < spans; i++) {
        span[i].offset = htole64(i);
        span[i].len = htole64(1);
    }
    return sizeof(frame->head) + 16 * (rects + spans);
}

static int parse(const struct frame *frame, size_t size)
{
    struct virtio_buf_frame_view view;
    void *copy = malloc(size ? size : 1);
    int ret;

    memcpy(copy, frame, size);
    ret = virtio_buf_frame_parse(copy, size, BUFFER_SIZE, &view);
    free(copy);
    return ret;
}

TEST(frame_fields)
{
    struct virtio_buf_frame_view view;
    struct virtio_buf_property_view property;
    struct frame frame;
    size_t size = make_frame(&frame, 2, 1), pos = 0;

    frame.head.serial = htole64(0x1122334455667788);
    frame.head.flags = htole32(VIRTIO_BUF_FRAME_KEYFRAME);
    frame.head.clock = htole32(VIRTIO_BUF_CLOCK_TAI);
    frame.head.data_offset = htole64(10);
    frame.head.data_size = htole64(20);
    frame.head.pts = htole64(30);
    frame.head.duration = htole64(40);
    frame.head.time = htole64(50);
    frame.head.property_bytes = htole32(16);
    put_raw((uint8_t *)&frame + size, "ab", 2, 0, "cd", 2);
    CHECK_INT(virtio_buf_frame_parse(&frame, size + 16, 30, &view), ==, 0);
    CHECK_INT(view.serial, ==, 0x1122334455667788);
    CHECK_INT(view.flags, ==, 1);
    CHECK_INT(view.clock, ==, 4);
    CHECK_INT(view.data_offset, ==, 10);
    CHECK_INT(view.data_size, ==, 20);
    CHECK_INT(view.pts, ==, 30);
    CHECK_INT(view.duration, ==, 40);
    CHECK_INT(view.time, ==, 50);
    CHECK_INT(view.rect_count, ==, 2);
    CHECK_INT(view.span_count, ==, 1);
    CHECK_INT(view.property_bytes, ==, 16);
    CHECK_INT(le32toh(view.rects[1].height), ==, 2);
    CHECK_INT(le64toh(view.spans[0].len), ==, 1);
    CHECK_INT(virtio_buf_property_next(view.properties, 16, &pos, &property),
              ==, 1);
    CHECK(!memcmp(property.value, "cd", 2));
}

TEST(frame_each_length)
{
    struct frame frame;
    unsigned int rects, spans;
    size_t size, len;

    for (rects = 0; rects <= 16; rects += 4) {
        for (spans = 0; spans <= 16; spans += 8) {
            size = make_frame(&frame, rects, spans);
            for (len = 0; len <= size + 24; len++) {
                CHECK_INT(parse(&frame, len), ==, len == size ? 0 : -EINVAL);
            }
        }
    }
}

TEST(frame_counts)
{
    struct frame frame;
    size_t size;

    size = make_frame(&frame, 17, 0);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
    size = make_frame(&frame, 0, 17);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
    size = make_frame(&frame, 1, 1);
    frame.head.rect_count = htole16(0xffff);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
    frame.head.rect_count = htole16(1);
    frame.head.span_count = htole16(0xffff);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
    frame.head.span_count = htole16(1);
    frame.head.property_bytes = htole32(0xfffffff0);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
    frame.head.property_bytes = htole32(8);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
}

TEST(frame_numbers)
{
    struct frame frame;
    size_t size = make_frame(&frame, 0, 0);

    frame.head.serial = 0;
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
    frame.head.serial = htole64(UINT64_MAX);
    CHECK_INT(parse(&frame, size), ==, 0);
    frame.head.flags = htole32(0xf);
    CHECK_INT(parse(&frame, size), ==, 0);
    frame.head.flags = htole32(0x10);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
    frame.head.flags = htole32(0x80000000);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
    frame.head.flags = 0;
    frame.head.pts = htole64(1);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);    /* pts of no clock */
    frame.head.clock = htole32(VIRTIO_BUF_CLOCK_STREAM);
    CHECK_INT(parse(&frame, size), ==, 0);
    frame.head.clock = htole32(VIRTIO_BUF_CLOCK_TAI + 1);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
    frame.head.clock = htole32(UINT32_MAX);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
}

static const struct {
    uint64_t offset, len;
    bool inside;
} pieces[] = {
    { 0, BUFFER_SIZE, true },
    { 0, BUFFER_SIZE + 1, false },
    { 1, BUFFER_SIZE - 1, true },
    { 1, BUFFER_SIZE, false },
    { BUFFER_SIZE - 1, 1, true },
    { BUFFER_SIZE - 1, 2, false },
    { BUFFER_SIZE, 1, false },
    { BUFFER_SIZE + 1, 1, false },
    { 0, UINT64_MAX, false },
    { 1, UINT64_MAX, false },
    { UINT64_MAX, 1, false },
    { UINT64_MAX, 2, false },
    { UINT64_MAX, UINT64_MAX, false },
    { UINT64_MAX - BUFFER_SIZE, BUFFER_SIZE + 1, false },
    { UINT64_MAX - 1, 3, false },
    { 1ull << 63, 1ull << 63, false },
};

TEST(frame_payload_bounds)
{
    struct frame frame;
    size_t size = make_frame(&frame, 0, 0), i;

    for (i = 0; i < COUNT(pieces); i++) {
        frame.head.data_offset = htole64(pieces[i].offset);
        frame.head.data_size = htole64(pieces[i].len);
        CHECK_INT(parse(&frame, size), ==, pieces[i].inside ? 0 : -EINVAL);
    }
    /* Empty payloads: up to the very end */
    frame.head.data_size = 0;
    frame.head.data_offset = htole64(BUFFER_SIZE);
    CHECK_INT(parse(&frame, size), ==, 0);
    frame.head.data_offset = htole64(BUFFER_SIZE + 1);
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
}

TEST(frame_span_bounds)
{
    struct virtio_buf_span *span;
    struct frame frame;
    size_t size, i;
    unsigned int at;

    for (at = 0; at < 16; at += 5) {
        size = make_frame(&frame, 3, 16);
        span = (void *)&frame.rects[3];
        for (i = 0; i < COUNT(pieces); i++) {
            span[at].offset = htole64(pieces[i].offset);
            span[at].len = htole64(pieces[i].len);
            CHECK_INT(parse(&frame, size), ==,
                      pieces[i].inside ? 0 : -EINVAL);
        }
        span[at].offset = 0;
        span[at].len = 0;
        CHECK_INT(parse(&frame, size), ==, -EINVAL);
    }
}

TEST(frame_rect_empty)
{
    struct frame frame;
    size_t size = make_frame(&frame, 16, 0);

    frame.rects[15].width = 0;
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
    frame.rects[15].width = htole32(UINT32_MAX);
    CHECK_INT(parse(&frame, size), ==, 0);
    frame.rects[0].height = 0;
    CHECK_INT(parse(&frame, size), ==, -EINVAL);
}

TEST(frame_properties)
{
    struct frame frame;
    size_t size = make_frame(&frame, 1, 1);
    uint8_t *list = (uint8_t *)&frame + size;

    frame.head.property_bytes = htole32(32);
    put_raw(list, "a", 1, 0, "1", 1);
    put_raw(list + 16, "b", 1, 1, "", 0);
    CHECK_INT(parse(&frame, size + 32), ==, 0);
    put_raw(list + 16, "a", 1, 1, "", 0);
    CHECK_INT(parse(&frame, size + 32), ==, -EINVAL);
    put_raw(list + 16, "b", 1, 2, "", 0);
    CHECK_INT(parse(&frame, size + 32), ==, -EINVAL);
}
