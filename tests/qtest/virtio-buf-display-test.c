/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf-display: pictures of an application on a console
 *
 * screendump is who looks. The consumer is inside of QEMU: what the guest and
 * programs on the host see of it is checked, too.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-boot.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-machine.h"
#include "libqos/virtio-buf-query.h"

#define PAGE_SIZE 4096
#define MESSAGE_WIDTH 640
#define MESSAGE_HEIGHT 480

#define RED   0xff0000
#define GREEN 0x00ff00
#define BLUE  0x0000ff
#define WHITE 0xffffff
#define BLACK 0x000000

/* What screendump has written: pixels as 0xRRGGBB */
typedef struct Screen {
    unsigned width;
    unsigned height;
    uint32_t *pixels;
} Screen;

static void screen_clear(Screen *screen)
{
    g_clear_pointer(&screen->pixels, g_free);
}

static void look(QVirtioBuf *b, const char *device, Screen *screen)
{
    g_autofree char *path = NULL;
    g_autofree char *bytes = NULL;
    int fd = g_file_open_tmp("virtio-buf-XXXXXX.ppm", &path, NULL), head = 0;
    QDict *answer;
    size_t size;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    answer = qtest_qmp(b->qts, "{'execute': 'screendump', 'arguments': "
                       "{'filename': %s, 'device': %s}}", path, device);
    g_assert_true(qdict_haskey(answer, "return"));
    qobject_unref(answer);
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    unlink(path);

    g_assert_cmpint(sscanf(bytes, "P6\n%u %u\n255\n%n", &screen->width,
                           &screen->height, &head), ==, 2);
    g_assert_cmpuint(size, ==, head + 3 * screen->width * screen->height);
    screen->pixels = g_new(uint32_t, screen->width * screen->height);
    for (unsigned i = 0; i < screen->width * screen->height; i++) {
        const uint8_t *rgb = (uint8_t *)bytes + head + 3 * i;

        screen->pixels[i] = rgb[0] << 16 | rgb[1] << 8 | rgb[2];
    }
}

/* The console has this size, and one colour but for the text of a message */
static void expect_screen(QVirtioBuf *b, const char *device, unsigned width,
                          unsigned height, uint32_t colour)
{
    Screen screen;

    look(b, device, &screen);
    g_assert_cmpuint(screen.width, ==, width);
    g_assert_cmpuint(screen.height, ==, height);
    for (unsigned i = 0; i < width * height; i++) {
        g_assert_cmphex(screen.pixels[i], ==, colour);
    }
    screen_clear(&screen);
}

/* Something is written there: grey on black */
static void look_at_message(QVirtioBuf *b, const char *device, Screen *screen)
{
    unsigned grey = 0;

    look(b, device, screen);
    g_assert_cmpuint(screen->width, ==, MESSAGE_WIDTH);
    g_assert_cmpuint(screen->height, ==, MESSAGE_HEIGHT);
    for (unsigned i = 0; i < MESSAGE_WIDTH * MESSAGE_HEIGHT; i++) {
        if (screen->pixels[i] != BLACK) {
            g_assert_cmphex(screen->pixels[i], ==, 0xaaaaaa);
            grey++;
        }
    }
    g_assert_cmpuint(grey, >, 100);
}

static bool same_screen(const Screen *a, const Screen *b)
{
    return a->width == b->width && a->height == b->height &&
           !memcmp(a->pixels, b->pixels, a->width * a->height * 4);
}

/* A buffer that has a picture, XR24 unless it is said */
typedef struct Canvas {
    QVirtioBufBuffer buffer;
    unsigned width;
    unsigned height;
    const char *fourcc;
    uint8_t list[512] __attribute__((aligned(8)));
} Canvas;

static void canvas_property(Canvas *canvas, const char *name, uint64_t value)
{
    g_autofree char *text = g_strdup_printf("%" PRIu64, value);

    canvas->buffer.property_bytes =
        qvirtio_buf_property(canvas->list, canvas->buffer.property_bytes, name,
                             text);
    canvas->buffer.properties = canvas->list;
}

static void canvas_register(Canvas *canvas, QVirtioBuf *b)
{
    canvas->buffer.property_bytes =
        qvirtio_buf_property(canvas->list, canvas->buffer.property_bytes,
                             "fourcc", canvas->fourcc ?: "XR24");
    canvas_property(canvas, "width", canvas->width);
    canvas_property(canvas, "height", canvas->height);
    canvas->buffer.size = canvas->buffer.size ?:
                          4 * canvas->width * canvas->height;
    qvirtio_buf_register_ok(b, &canvas->buffer, 0);
}

/* Of an XR24 without padding */
static void canvas_fill(Canvas *canvas, QVirtioBuf *b, uint32_t colour)
{
    unsigned count = canvas->width * canvas->height;
    g_autofree uint32_t *pixels = g_new(uint32_t, count);

    for (unsigned i = 0; i < count; i++) {
        /* What is in the unused byte must not matter */
        pixels[i] = cpu_to_le32(colour | i << 24);
    }
    qtest_memwrite(b->qts, canvas->buffer.addr, pixels, 4 * count);
}

static void canvas_update(Canvas *canvas, QVirtioBuf *b)
{
    qvirtio_buf_update_ok(b, canvas->buffer.id, canvas->buffer.size);
}

/* An UPDATE of part of the buffer, with these rectangles */
static void update_rects(QVirtioBuf *b, uint64_t id, uint64_t offset,
                         uint64_t size, const uint32_t (*rects)[4],
                         unsigned count)
{
    struct {
        struct virtio_buf_update head;
        struct virtio_buf_rect rects[VIRTIO_BUF_MAX_DAMAGE];
    } request = {
        .head.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE),
        .head.buffer_id = cpu_to_le64(id),
        .head.frame.serial = cpu_to_le64(++b->last_serial),
        .head.frame.data_offset = cpu_to_le64(offset),
        .head.frame.data_size = cpu_to_le64(size),
        .head.frame.rect_count = cpu_to_le16(count),
    };
    struct virtio_buf_update_response response;

    for (unsigned i = 0; i < count; i++) {
        request.rects[i] = (struct virtio_buf_rect) {
            cpu_to_le32(rects[i][0]), cpu_to_le32(rects[i][1]),
            cpu_to_le32(rects[i][2]), cpu_to_le32(rects[i][3]),
        };
    }
    qvirtio_buf_command(b, &request, sizeof(request.head) +
                        count * sizeof(request.rects[0]), &response,
                        sizeof(response));
    g_assert_cmpuint(le32_to_cpu(response.hdr.status), ==, VIRTIO_BUF_S_OK);
}

/* Nobody waits for a consumer that is inside of QEMU */
static void unregister_at_once(QVirtioBuf *b, uint64_t id)
{
    g_assert_cmpuint(qvirtio_buf_unregister(b, id), ==, VIRTIO_BUF_S_OK);
}

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
    Canvas canvas = {
        .width = COLUMNS,
        .height = ROWS,
        .fourcc = format->fourcc,
        .buffer.size = data_offset + size,
        .buffer.mode = VIRTIO_BUF_MODE_EVERY,
    };
    Screen screen;

    memset(bytes, 0x5a, data_offset + size);
    for (unsigned y = 0; y < ROWS; y++) {
        for (unsigned x = 0; x < COLUMNS; x++) {
            uint32_t word = cpu_to_le32(words[(x + y) % 5]);

            memcpy(bytes + data_offset + offset + y * stride +
                   x * format->size, &word, format->size);
        }
    }
    canvas_property(&canvas, "plane0.stride", stride);
    if (plane_offset) {
        canvas_property(&canvas, "plane0.offset", offset);
    }
    canvas_register(&canvas, b);
    qtest_memwrite(b->qts, canvas.buffer.addr, bytes, data_offset + size);
    update_rects(b, canvas.buffer.id, data_offset, size, NULL, 0);

    look(b, "display0", &screen);
    g_assert_cmpuint(screen.width, ==, COLUMNS);
    g_assert_cmpuint(screen.height, ==, ROWS);
    for (unsigned y = 0; y < ROWS; y++) {
        for (unsigned x = 0; x < COLUMNS; x++) {
            g_assert_cmphex(screen.pixels[COLUMNS * y + x], ==,
                            expected[(x + y) % 5]);
        }
    }
    screen_clear(&screen);
    unregister_at_once(b, canvas.buffer.id);
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
    Screen screens[ARRAY_SIZE(wrong)], first;
    QVirtioBufBuffer buffer;

    look_at_message(b, "display0", &first);
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        register_wrong(b, &buffer, &wrong[i]);
        qvirtio_buf_update_ok(b, buffer.id, wrong[i].size ?: 256);
        look_at_message(b, "display0", &screens[i]);
        unregister_at_once(b, buffer.id);

        g_assert_false(same_screen(&screens[i], &first));
        for (unsigned other = 0; other < i; other++) {
            g_assert_true(same_screen(&screens[i], &screens[other]) ==
                          (wrong[i].says != SAYS_ITS_OWN &&
                           wrong[i].says == wrong[other].says));
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        screen_clear(&screens[i]);
    }
    screen_clear(&first);

    /* The rest of them was right */
    register_wrong(b, &buffer, &nothing);
    qvirtio_buf_update_ok(b, buffer.id, 256);
    expect_screen(b, "display0", 8, 8, WHITE);
}

static void expect_rect(const Screen *screen, unsigned x, unsigned y,
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
    Canvas canvas = { .width = 64, .height = 48 };
    const size_t size = 64 * 48 * 4;
    Screen screen;

    canvas_register(&canvas, b);
    canvas_fill(&canvas, b, RED);
    canvas_update(&canvas, b);
    expect_screen(b, "display0", 64, 48, RED);

    canvas_fill(&canvas, b, BLUE);
    update_rects(b, canvas.buffer.id, 0, size, one, ARRAY_SIZE(one));
    look(b, "display0", &screen);
    expect_rect(&screen, 8, 16, 24, 4, BLUE, RED);
    screen_clear(&screen);

    update_rects(b, canvas.buffer.id, 0, size, outside, ARRAY_SIZE(outside));
    look(b, "display0", &screen);
    expect_rect(&screen, 8, 16, 24, 4, BLUE, RED);
    screen_clear(&screen);

    canvas_update(&canvas, b);
    expect_screen(b, "display0", 64, 48, BLUE);
    canvas_fill(&canvas, b, GREEN);
    update_rects(b, canvas.buffer.id, 0, size, corner, ARRAY_SIZE(corner));
    look(b, "display0", &screen);
    expect_rect(&screen, 60, 40, 4, 8, GREEN, BLUE);
    screen_clear(&screen);

    /* Together more than the picture, once */
    update_rects(b, canvas.buffer.id, 0, size, many, ARRAY_SIZE(many));
    expect_screen(b, "display0", 64, 48, GREEN);
}

/* display0 shows all streams of "test", display1 only 2 */
static void test_streams(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    Canvas one = { .width = 8, .height = 8, .buffer.stream = 1,
                   .buffer.mode = VIRTIO_BUF_MODE_LATEST };
    Canvas two = one, larger = one, other = one;

    two.buffer.stream = 2;
    larger.width = 32;
    larger.height = 2;
    other.buffer.application = "other";
    canvas_register(&one, b);
    canvas_register(&two, b);
    canvas_register(&other, b);
    canvas_fill(&one, b, RED);
    canvas_fill(&two, b, GREEN);
    canvas_fill(&other, b, WHITE);

    canvas_update(&two, b);
    canvas_update(&one, b);
    canvas_update(&other, b);
    expect_screen(b, "display0", 8, 8, RED);
    expect_screen(b, "display1", 8, 8, GREEN);

    /* A new size: new buffers, an update is the switch, the old ones go */
    canvas_register(&larger, b);
    canvas_fill(&larger, b, BLUE);
    expect_screen(b, "display0", 8, 8, RED);
    canvas_update(&larger, b);
    unregister_at_once(b, one.buffer.id);
    expect_screen(b, "display0", 32, 2, BLUE);
    expect_screen(b, "display1", 8, 8, GREEN);
    qvirtio_buf_wait_event(b, two.buffer.id, VIRTIO_BUF_EVENT_RELEASED, NULL);
    canvas_update(&two, b);
    expect_screen(b, "display0", 8, 8, GREEN);
}

/* A picture that the guest has taken back is not seen any more */
static void test_taken_back(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    Canvas canvas = { .width = 16, .height = 16 }, again = canvas;
    Screen screen;

    canvas_register(&canvas, b);
    canvas_fill(&canvas, b, RED);
    canvas_update(&canvas, b);
    expect_screen(b, "display0", 16, 16, RED);
    unregister_at_once(b, canvas.buffer.id);
    look(b, "display0", &screen);
    for (unsigned i = 0; i < screen.width * screen.height; i++) {
        g_assert_cmphex(screen.pixels[i], !=, RED);
    }
    screen_clear(&screen);

    /* Nobody has looked at this one before it went */
    canvas = again;
    canvas_register(&canvas, b);
    canvas_fill(&canvas, b, GREEN);
    canvas_update(&canvas, b);
    unregister_at_once(b, canvas.buffer.id);
    look(b, "display0", &screen);
    for (unsigned i = 0; i < screen.width * screen.height; i++) {
        g_assert_cmphex(screen.pixels[i], !=, GREEN);
    }
    screen_clear(&screen);

    canvas = again;
    canvas_register(&canvas, b);
    canvas_fill(&canvas, b, BLUE);
    canvas_update(&canvas, b);
    expect_screen(b, "display0", 16, 16, BLUE);
    qvirtio_buf_restart(b);
    look(b, "display0", &screen);
    g_assert_cmphex(screen.pixels[0], !=, BLUE);
    screen_clear(&screen);

    /* Serials start anew */
    canvas = again;
    canvas_register(&canvas, b);
    canvas_fill(&canvas, b, WHITE);
    canvas_update(&canvas, b);
    expect_screen(b, "display0", 16, 16, WHITE);
    qtest_system_reset(b->qts);
    look(b, "display0", &screen);
    g_assert_cmphex(screen.pixels[0], !=, WHITE);
    screen_clear(&screen);
}

/* Whether somebody looks or not, a guest with one buffer gets it back */
static void test_released(void *obj, void *data, QGuestAllocator *alloc)
{
    static const uint8_t modes[] = {
        VIRTIO_BUF_MODE_LATEST, VIRTIO_BUF_MODE_EVERY,
    };
    QVirtioBuf *b = obj;
    struct virtio_buf_event event;

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        Canvas canvas = { .width = 4, .height = 4, .buffer.mode = modes[i] };

        canvas_register(&canvas, b);
        for (unsigned round = 0; round < 50; round++) {
            bool watched = round % 10 == 9;

            if (watched) {
                expect_screen(b, "display0", 4, 4, round - 1);
            }
            canvas_fill(&canvas, b, round);
            canvas_update(&canvas, b);
            do {
                qvirtio_buf_wait_event(b, canvas.buffer.id,
                                       VIRTIO_BUF_EVENT_RELEASED, &event);
            } while (event.released != b->last_serial);
        }
        /* It was released unread; the buffer still has it */
        expect_screen(b, "display0", 4, 4, 49);
        unregister_at_once(b, canvas.buffer.id);
    }
}

static uint32_t consumers_in_config(QVirtioBuf *b)
{
    struct virtio_buf_config config;

    qvirtio_buf_config(b, &config);
    return le32_to_cpu(config.consumers);
}

/* It counts as a consumer, and needs no file for it */
static void test_consumer(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    struct virtio_buf_get_consumers request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_CONSUMERS),
        .application = "test",
    };
    g_autofree uint8_t *answer = g_malloc(64 * 1024);
    struct virtio_buf_consumers_response *list = (void *)answer;
    struct virtio_buf_event event;
    Canvas canvas = { .width = 32, .height = 32 };
    QVirtioBufBuffer other = { .application = "other" };
    QBufMemory memory;
    QBufConsumer *c;
    uint64_t handle;
    unsigned fds;

    g_assert_cmpuint(consumers_in_config(b), ==, 1);
    qvirtio_buf_command(b, &request, sizeof(request), answer, 64 * 1024);
    g_assert_cmpuint(le32_to_cpu(list->count), ==, 1);
    strcpy((char *)request.application, "other");
    qvirtio_buf_command(b, &request, sizeof(request), answer, 64 * 1024);
    g_assert_cmpuint(le32_to_cpu(list->count), ==, 0);

    qvirtio_buf_register_ok(b, &other, 0);
    qvirtio_buf_no_event(b, other.id, VIRTIO_BUF_EVENT_CONSUMERS);

    fds = qvirtio_buf_settled_fds(b->qts);
    canvas_register(&canvas, b);
    qvirtio_buf_wait_event(b, canvas.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS,
                           &event);
    g_assert_cmpuint(event.consumers, ==, 1);
    canvas_fill(&canvas, b, RED);
    canvas_update(&canvas, b);
    g_assert_cmpuint(qvirtio_buf_open_fds(b->qts), ==, fds);

    /* A program beside it gets its memory, and gives it back, as ever */
    c = qbuf_subscribe(qvirtio_buf_socket_path(), "test", 1);
    handle = qbuf_expect_buffer(c, canvas.buffer.id);
    qbuf_expect_subscribed(c);
    qbuf_expect_attached(c, handle, &memory);
    qbuf_expect_update(c, handle, b->last_serial, NULL);
    g_assert_cmpuint(consumers_in_config(b), ==, 2);
    canvas_fill(&canvas, b, GREEN);
    canvas_update(&canvas, b);
    qbuf_expect_update(c, handle, b->last_serial, NULL);
    g_assert_cmphex(le32_to_cpu(*(const uint32_t *)memory.bytes) & 0xffffff, ==,
                    GREEN);
    expect_screen(b, "display0", 32, 32, GREEN);
    fds = qvirtio_buf_open_fds(b->qts);
    qbuf_memory_clear(&memory);
    qbuf_detach(c, handle);
    do {
        qvirtio_buf_wait_event(b, canvas.buffer.id, VIRTIO_BUF_EVENT_CONSUMERS,
                               &event);
    } while (event.consumers != 1);
    g_assert_cmpuint(qvirtio_buf_wait_fds(b->qts, fds - 1), <=, fds - 1);

    canvas_fill(&canvas, b, BLUE);
    canvas_update(&canvas, b);
    expect_screen(b, "display0", 32, 32, BLUE);
    qbuf_close(c);
    unregister_at_once(b, canvas.buffer.id);
}

/* What the management sees of it */
static void test_query(void *obj, void *data, QGuestAllocator *alloc)
{
    static const char path[] = "/machine/peripheral/display0";
    QVirtioBuf *b = obj;
    Canvas canvas = { .width = 32, .height = 32 };
    g_autofree char *text = NULL;
    const QListEntry *entry;
    QDict *device, *info;

    canvas_register(&canvas, b);
    canvas_fill(&canvas, b, RED);
    canvas_update(&canvas, b);

    device = qbuf_query(b, "buf0");
    info = qbuf_find(device, "buffers", canvas.buffer.id);
    qbuf_check_int(info, "attachments", 1);
    qbuf_check_bool(info, "exported", false);
    g_assert_cmpuint(qlist_size(qdict_get_qlist(device, "consumers")), ==, 1);
    entry = qlist_first(qdict_get_qlist(device, "consumers"));
    info = qobject_to(QDict, qlist_entry_obj(entry));
    qbuf_check_str(info, "kind", "internal");
    qbuf_check_str(info, "name", path);
    g_assert_false(qdict_haskey(info, "pid"));
    qbuf_check_int(info, "attached", 1);
    qobject_unref(device);

    text = qtest_hmp(b->qts, "info virtio-buf");
    g_assert_nonnull(strstr(text, path));
}

#define SLOT 4
#define DISPLAY " -device virtio-buf-display,id=display0,device=buf0," \
                "application=test"

static void test_unplug(void *obj, void *data, QGuestAllocator *alloc)
{
    Canvas canvas = { .width = 16, .height = 16 };
    QVirtioBufBooted booted;
    QVirtioBuf *b = &booted.buf;
    QDict *answer;
    Screen screen;

    qvirtio_buf_boot(&booted, QVIRTIO_BUF_BOOT_DEVICE ",id=buf0,server=s0"
                     DISPLAY);
    qvirtio_buf_boot_driver(&booted);
    canvas_register(&canvas, b);
    canvas_fill(&canvas, b, RED);
    canvas_update(&canvas, b);
    expect_screen(b, "display0", 16, 16, RED);

    qpci_unplug_acpi_device_test(b->qts, "buf0", SLOT);
    look_at_message(b, "display0", &screen);
    screen_clear(&screen);

    /* Nothing of the device is left that would keep the server */
    answer = qtest_qmp(b->qts, "{'execute': 'object-del', 'arguments': "
                       "{'id': 's0'}}");
    g_assert_true(qdict_haskey(answer, "return"));
    qobject_unref(answer);
    g_assert_false(g_file_test(qvirtio_buf_socket_path(), G_FILE_TEST_EXISTS));

    /* The display itself is there from start to end */
    answer = qtest_qmp(b->qts, "{'execute': 'device_del', 'arguments': "
                       "{'id': 'display0'}}");
    g_assert_true(qdict_haskey(answer, "error"));
    qobject_unref(answer);
    look_at_message(b, "display0", &screen);
    screen_clear(&screen);

    qvirtqueue_cleanup(b->vdev->bus, b->vq, b->alloc);
    qvirtio_buf_boot_other_free(g_steal_pointer(&booted.pci));
    qvirtio_buf_boot_end(&booted);
}

/* Options of virtio-buf-display that QEMU does not start with, and why */
static const struct {
    const char *options;
    const char *error;
} bad_options[] = {
    { "application=test", "'device' is not set" },
    { "device=none,application=test", "Device 'none' not found" },
    { "device=other,application=test", "'device' is not a virtio-buf device" },
    { "device=buf0", "'application' has to be UTF-8 text of 1 to 63 bytes" },
    { "device=buf0,application=", "'application' has to be UTF-8 text" },
    { "device=buf0,application="
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      "'application' has to be UTF-8 text" },
    { "device=buf0,application=\xff", "'application' has to be UTF-8 text" },
    { "device=buf0,application=test,stream=-", "stream" },
};

static void test_options(void *obj, void *data, QGuestAllocator *alloc)
{
    for (unsigned i = 0; i < ARRAY_SIZE(bad_options); i++) {
        g_autofree char *display = g_strdup_printf("virtio-buf-display,%s",
                                                   bad_options[i].options);
        const char *const argv[] = {
            getenv("QTEST_QEMU_BINARY"), "-machine", "pc", "-accel", "qtest",
            "-nodefaults", "-display", "none",
            "-device", "virtio-buf-pci,id=buf0",
            "-device", "virtio-rng-pci,id=other",
            "-device", display, NULL,
        };
        g_autofree char *errors = NULL;
        int status;

        g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL,
                                   G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                                   &errors, &status, NULL));
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        if (!strstr(errors, bad_options[i].error)) {
            g_error("%s: %s", bad_options[i].options, errors);
        }
    }
}

/* @arg: more options */
static void *display_before(GString *cmd_line, void *arg)
{
    qvirtio_buf_before(cmd_line, NULL);
    g_string_append_printf(cmd_line, DISPLAY "%s", (const char *)arg ?: "");
    return arg;
}

static void register_virtio_buf_display_test(void)
{
    QOSGraphTestOptions opts = {
        .before = display_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER ",id=buf0",
    };
    QOSGraphTestOptions alone = { };

    qos_add_test("display/formats", "virtio-buf", test_formats, &opts);
    qos_add_test("display/wrong", "virtio-buf", test_wrong, &opts);
    qos_add_test("display/damage", "virtio-buf", test_damage, &opts);
    qos_add_test("display/taken-back", "virtio-buf", test_taken_back, &opts);
    qos_add_test("display/released", "virtio-buf", test_released, &opts);
    qos_add_test("display/consumer", "virtio-buf", test_consumer, &opts);
    qos_add_test("display/query", "virtio-buf", test_query, &opts);
    opts.arg = (void *)" -device virtio-buf-display,id=display1,device=buf0,"
                       "application=test,stream=2";
    qos_add_test("display/streams", "virtio-buf", test_streams, &opts);
    qos_add_test("display/unplug", QVIRTIO_BUF_ALONE, test_unplug, &alone);
    qos_add_test("display/options", QVIRTIO_BUF_ALONE, test_options, &alone);
}

libqos_init(register_virtio_buf_display_test);
