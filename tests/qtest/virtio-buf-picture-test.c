/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf-display: pictures, and what is none
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-screen.h"

#define PAGE_SIZE 4096

/* A pixel of each colour as a little-endian word, whatever else is in it */
typedef struct Format {
    const char *fourcc;
    unsigned size;
    uint32_t red, green, blue, white, black;
} Format;

static const Format formats[] = {
    { "XR24", 4, 0x12ff0000, 0x3400ff00, 0x560000ff, 0x78ffffff, 0xff000000 },
    { "AR24", 4, 0x80ff0000, 0x0000ff00, 0xff0000ff, 0x01ffffff, 0xff000000 },
    { "XB24", 4, 0x120000ff, 0x3400ff00, 0x56ff0000, 0x78ffffff, 0xff000000 },
    { "AB24", 4, 0x800000ff, 0x0000ff00, 0xffff0000, 0x01ffffff, 0x00000000 },
    { "RX24", 4, 0xff000012, 0x00ff0034, 0x0000ff56, 0xffffff78, 0x000000ff },
    { "RA24", 4, 0xff000080, 0x00ff0000, 0x0000ffff, 0xffffff01, 0x000000ff },
    { "BX24", 4, 0x0000ff12, 0x00ff0034, 0xff000056, 0xffffff78, 0x000000ff },
    { "BA24", 4, 0x0000ff80, 0x00ff0000, 0xff0000ff, 0xffffff01, 0x000000ff },
    { "XR30", 4, 0x7ff00000, 0x000ffc00, 0x000003ff, 0xffffffff, 0xc0000000 },
    { "AB30", 4, 0x400003ff, 0x000ffc00, 0xfff00000, 0x7fffffff, 0x00000000 },
    { "RG24", 3, 0xff0000, 0x00ff00, 0x0000ff, 0xffffff, 0x000000 },
    { "BG24", 3, 0x0000ff, 0x00ff00, 0xff0000, 0xffffff, 0x000000 },
    { "RG16", 2, 0xf800, 0x07e0, 0x001f, 0xffff, 0x0000 },
    { "BG16", 2, 0x001f, 0x07e0, 0xf800, 0xffff, 0x0000 },
    { "XR15", 2, 0xfc00, 0x03e0, 0x801f, 0x7fff, 0x8000 },
    { "AB15", 2, 0x801f, 0x03e0, 0xfc00, 0x7fff, 0x0000 },
};

/* Rows of all colours, each turned by one; screendump wants fours of pixels */
#define COLUMNS 8
#define ROWS 3

static void check_format(QVirtioBuf *b, const Format *format, bool plane_offset)
{
    static const uint32_t expected[5] = { RED, GREEN, BLUE, WHITE, BLACK };
    const uint32_t words[5] = { format->red, format->green, format->blue,
                                format->white, format->black };
    const unsigned stride = COLUMNS * format->size + 7, data_offset = 24;
    const unsigned offset = plane_offset ? 40 : 0;
    /* Behind the last row there is no padding */
    const unsigned size = offset + (ROWS - 1) * stride + COLUMNS * format->size;
    g_autofree uint8_t *bytes = g_malloc(data_offset + size);
    QBufCanvas canvas = {
        .width = COLUMNS,
        .height = ROWS,
        .fourcc = format->fourcc,
        .buffer.size = data_offset + size,
        .buffer.mode = VIRTIO_BUF_MODE_EVERY,
    };
    QBufScreen screen;

    memset(bytes, 0x5a, data_offset + size);
    for (unsigned y = 0; y < ROWS; y++) {
        for (unsigned x = 0; x < COLUMNS; x++) {
            uint32_t word = cpu_to_le32(words[(x + y) % 5]);

            memcpy(bytes + data_offset + offset + y * stride +
                   x * format->size, &word, format->size);
        }
    }
    qbuf_canvas_property(&canvas, "plane0.stride", stride);
    if (plane_offset) {
        qbuf_canvas_property(&canvas, "plane0.offset", offset);
    }
    qbuf_canvas_register(&canvas, b);
    qtest_memwrite(b->qts, canvas.buffer.addr, bytes, data_offset + size);
    qvirtio_buf_update_rects(b, canvas.buffer.id, data_offset, size, NULL, 0);

    qbuf_screen_look(b, "display0", &screen);
    g_assert_cmpuint(screen.width, ==, COLUMNS);
    g_assert_cmpuint(screen.height, ==, ROWS);
    for (unsigned y = 0; y < ROWS; y++) {
        for (unsigned x = 0; x < COLUMNS; x++) {
            g_assert_cmphex(screen.pixels[COLUMNS * y + x], ==,
                            expected[(x + y) % 5]);
        }
    }
    qbuf_screen_clear(&screen);
    qvirtio_buf_unregister_at_once(b, canvas.buffer.id);
}

static void test_formats(void *obj, void *data, QGuestAllocator *alloc)
{
    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
        check_format(obj, &formats[i], i % 2);
    }
}

/* What the console says, where it says the same of several buffers */
typedef enum Says {
    SAYS_ITS_OWN,           /* the value is in the message */
    SAYS_NO_FOURCC,
    SAYS_WIDTH,
    SAYS_HEIGHT,
    SAYS_STRIDE,
    SAYS_SIZE,
} Says;

/* A picture of 8x8 pixels in 256 bytes, with one thing that is not right */
typedef struct Wrong {
    Says says;
    const char *name;       /* a property, and what it is instead; */
    const char *value;      /* NULL: it is missing */
    uint64_t size;          /* of the payload; 0: all */
} Wrong;

static const Wrong wrong[] = {
    { SAYS_NO_FOURCC, "fourcc", NULL },
    { SAYS_ITS_OWN, "fourcc", "NV12" },
    { SAYS_ITS_OWN, "fourcc", "XR2" },
    { SAYS_ITS_OWN, "fourcc", "XR24 " },
    { SAYS_ITS_OWN, "fourcc", "\xc3\xa4\xc3\xb6" },
    { SAYS_ITS_OWN, "codec", "h264" },
    { SAYS_ITS_OWN, "modifier", "0x100000000000001" },
    { SAYS_ITS_OWN, "modifier", "linear" },
    { SAYS_WIDTH, "width", NULL },
    { SAYS_WIDTH, "width", "0" },
    { SAYS_SIZE, "width", "9" },
    { SAYS_WIDTH, "width", "16385" },
    { SAYS_WIDTH, "width", "4294967304" },
    { SAYS_ITS_OWN, "width", "18446744073709551624" },
    { SAYS_ITS_OWN, "width", "-8" },
    { SAYS_ITS_OWN, "width", " 8" },
    { SAYS_ITS_OWN, "width", "08" },
    { SAYS_ITS_OWN, "width", "8px" },
    { SAYS_HEIGHT, "height", NULL },
    { SAYS_SIZE, "height", "9" },
    { SAYS_HEIGHT, "height", "4294967297" },
    { SAYS_STRIDE, "plane0.stride", "31" },
    { SAYS_STRIDE, "plane0.stride", "0" },
    { SAYS_SIZE, "plane0.stride", "33" },
    { SAYS_SIZE, "plane0.stride", "2305843009213693952" },
    { SAYS_SIZE, "plane0.stride", "18446744073709551615" },
    { SAYS_SIZE, "plane0.offset", "1" },
    { SAYS_SIZE, "plane0.offset", "257" },
    { SAYS_SIZE, "plane0.offset", "18446744073709551615" },
    { SAYS_SIZE, "plane0.offset", "18446744073709551360" },
    { SAYS_SIZE, "width", "8", 255 },
};

static void register_wrong(QVirtioBuf *b, QVirtioBufBuffer *buffer,
                           const Wrong *it)
{
    static const char *const right[][2] = {
        { "fourcc", "XR24" }, { "width", "8" }, { "height", "8" },
    };
    uint8_t list[256] __attribute__((aligned(8)));
    uint32_t size = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(right); i++) {
        if (strcmp(right[i][0], it->name)) {
            size = qvirtio_buf_property(list, size, right[i][0], right[i][1]);
        }
    }
    if (it->value) {
        size = qvirtio_buf_property(list, size, it->name, it->value);
    }
    *buffer = (QVirtioBufBuffer) {
        .size = 256, .properties = list, .property_bytes = size,
    };
    qvirtio_buf_register_ok(b, buffer, 0xff);
    buffer->properties = NULL;
}

static void test_wrong(void *obj, void *data, QGuestAllocator *alloc)
{
    const Wrong nothing = { .name = "width", .value = "8" };
    QVirtioBuf *b = obj;
    QBufScreen screens[ARRAY_SIZE(wrong)];
    QVirtioBufBuffer buffer;

    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        register_wrong(b, &buffer, &wrong[i]);
        qvirtio_buf_update_ok(b, buffer.id, wrong[i].size ?: 256);
        qbuf_screen_look_at_message(b, "display0", &screens[i]);
        qvirtio_buf_unregister_at_once(b, buffer.id);
        for (unsigned other = 0; other < i; other++) {
            g_assert_true(qbuf_screen_same(&screens[i], &screens[other]) ==
                          (wrong[i].says != SAYS_ITS_OWN &&
                           wrong[i].says == wrong[other].says));
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        qbuf_screen_clear(&screens[i]);
    }

    /* The rest of them was right */
    register_wrong(b, &buffer, &nothing);
    qvirtio_buf_update_ok(b, buffer.id, 256);
    qbuf_screen_expect(b, "display0", 8, 8, WHITE);
}

/* More than is converted in one go, though each edge is allowed */
static void test_too_large(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufCanvas canvas = {
        .width = 8192, .height = 4321, .fourcc = "RG16",
        .buffer.size = PAGE_SIZE,
    };
    QBufCanvas below = {
        .width = 8192, .height = 4320, .fourcc = "RG16",
        .buffer.size = PAGE_SIZE,
    };
    QBufScreen large, other;

    qbuf_canvas_register(&canvas, b);
    qvirtio_buf_update_ok(b, canvas.buffer.id, PAGE_SIZE);
    qbuf_screen_look_at_message(b, "display0", &large);
    qvirtio_buf_unregister_at_once(b, canvas.buffer.id);
    qbuf_canvas_register(&below, b);
    qvirtio_buf_update_ok(b, below.buffer.id, PAGE_SIZE);
    qbuf_screen_look_at_message(b, "display0", &other);
    /* That one is larger than its payload */
    g_assert_false(qbuf_screen_same(&large, &other));
    qbuf_screen_clear(&large);
    qbuf_screen_clear(&other);
}

static void expect_rect(const QBufScreen *screen, unsigned x, unsigned y,
                        unsigned width, unsigned height, uint32_t inside,
                        uint32_t outside)
{
    for (unsigned i = 0; i < screen->width * screen->height; i++) {
        unsigned px = i % screen->width, py = i / screen->width;
        bool in = px >= x && px < x + width && py >= y && py < y + height;

        g_assert_cmphex(screen->pixels[i], ==, in ? inside : outside);
    }
}

static void test_damage(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint32_t one[][4] = { { 8, 16, 24, 4 } };
    static const uint32_t outside[][4] = {
        { 64, 0, 1, 1 }, { 0, 48, 64, 1 }, { UINT32_MAX, UINT32_MAX, 1, 1 },
        { 1000, 0, UINT32_MAX, UINT32_MAX },
    };
    static const uint32_t corner[][4] = {
        { 60, 40, UINT32_MAX, UINT32_MAX },
    };
    static const uint32_t many[][4] = {
        { 0, 0, 64, 48 }, { 0, 0, 64, 48 }, { 1, 1, 1, 1 },
    };
    QVirtioBuf *b = obj;
    QBufCanvas canvas = { .width = 64, .height = 48 };
    const size_t size = 64 * 48 * 4;
    QBufScreen screen;

    qbuf_canvas_register(&canvas, b);
    qbuf_canvas_fill(&canvas, b, RED);
    qbuf_canvas_update(&canvas, b);
    qbuf_screen_expect(b, "display0", 64, 48, RED);

    qbuf_canvas_fill(&canvas, b, BLUE);
    qvirtio_buf_update_rects(b, canvas.buffer.id, 0, size, one,
                             ARRAY_SIZE(one));
    qbuf_screen_look(b, "display0", &screen);
    expect_rect(&screen, 8, 16, 24, 4, BLUE, RED);
    qbuf_screen_clear(&screen);

    qvirtio_buf_update_rects(b, canvas.buffer.id, 0, size, outside,
                             ARRAY_SIZE(outside));
    qbuf_screen_look(b, "display0", &screen);
    expect_rect(&screen, 8, 16, 24, 4, BLUE, RED);
    qbuf_screen_clear(&screen);

    qbuf_canvas_update(&canvas, b);
    qbuf_screen_expect(b, "display0", 64, 48, BLUE);
    qbuf_canvas_fill(&canvas, b, GREEN);
    qvirtio_buf_update_rects(b, canvas.buffer.id, 0, size, corner,
                             ARRAY_SIZE(corner));
    qbuf_screen_look(b, "display0", &screen);
    expect_rect(&screen, 60, 40, 4, 8, GREEN, BLUE);
    qbuf_screen_clear(&screen);

    /* Together more than the picture, once */
    qvirtio_buf_update_rects(b, canvas.buffer.id, 0, size, many,
                             ARRAY_SIZE(many));
    qbuf_screen_expect(b, "display0", 64, 48, GREEN);
}

static void register_virtio_buf_picture_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qbuf_screen_before,
        .edge.extra_device_opts = QBUF_SCREEN_DEVICE,
    };

    qos_add_test("display/formats", QVIRTIO_BUF_SCREEN, test_formats, &opts);
    qos_add_test("display/wrong", QVIRTIO_BUF_SCREEN, test_wrong, &opts);
    qos_add_test("display/too-large", QVIRTIO_BUF_SCREEN, test_too_large,
                 &opts);
    qos_add_test("display/damage", QVIRTIO_BUF_SCREEN, test_damage, &opts);
}

libqos_init(register_virtio_buf_picture_test);
