/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The player's stream against a driver made of a table: which buffer has its
 * turn, what is waited for, when old buffers go, what is left after an error.
 * /dev/zero serves as the render node, since it can be mapped.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <drm_fourcc.h>

#include "harness.h"
#include "linux/virtio_buf.h"
#include "stream.h"

#define MAX_LOG 2048

static struct {
    char log[MAX_LOG];          /* what was called */
    char properties[MAX_LOG];   /* of the last call that had some */
    uint32_t bos, last_bo;      /* how many there are, the last handle */
    uint32_t buffers, last_buffer;
    uint64_t serial;
    unsigned long fail_request; /* fails ... */
    unsigned int fail_after;    /* ... after so many calls ... */
    int fail_errno;             /* ... with this */
    uint32_t wait_first;
    unsigned int wait_timeouts; /* that many WAITs end in ETIME */
    uint32_t wait_buffers[STREAM_MAX_BUFFERS];
    uint32_t wait_count, wait_flags, wait_condition;
    struct drm_virtbuf_update update;
} driver;

static volatile sig_atomic_t stop;
static unsigned int waits_reported;

static void __attribute__((format(printf, 1, 2))) note(const char *format, ...)
{
    size_t len = strlen(driver.log);
    va_list ap;

    va_start(ap, format);
    vsnprintf(driver.log + len, sizeof(driver.log) - len, format, ap);
    va_end(ap);
}

static void *pointer(uint64_t value)
{
    return (void *)(uintptr_t)value;
}

static void note_properties(uint64_t list, uint32_t count)
{
    const struct drm_virtbuf_property *items = pointer(list);
    size_t len = 0;

    driver.properties[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        len += (size_t)snprintf(driver.properties + len,
                                sizeof(driver.properties) - len, "%.*s%s%.*s;",
                                (int)items[i].name_len,
                                (char *)pointer(items[i].name),
                                items[i].flags ? " gone" : "=",
                                (int)items[i].value_len, items[i].value_len ?
                                (char *)pointer(items[i].value) : "");
    }
}

static void do_register(struct drm_virtbuf_register *args)
{
    const struct drm_virtbuf_bo_range *range = pointer(args->ranges);

    CHECK_INT(args->range_count, ==, 1);
    CHECK_INT(range->size % 4096, ==, 0);
    CHECK_INT(args->stream, !=, 0);
    note_properties(args->properties, args->property_count);
    args->buffer = ++driver.last_buffer;
    args->backing = DRM_VIRTBUF_BACKING_DMABUF;
    driver.buffers++;
    note("register %u ", args->buffer);
}

static int do_wait(struct drm_virtbuf_wait *args)
{
    const struct drm_virtbuf_wait_item *items = pointer(args->items);

    driver.wait_count = args->count;
    driver.wait_flags = args->flags;
    driver.wait_condition = items[0].condition;
    for (uint32_t i = 0; i < args->count; i++) {
        driver.wait_buffers[i] = items[i].buffer;
    }
    if (driver.wait_timeouts) {
        driver.wait_timeouts--;
        return -ETIME;
    }
    args->first = driver.wait_first;
    note("wait ");
    return 0;
}

static int do_call(unsigned long request, void *data)
{
    if (request == driver.fail_request && !driver.fail_after--) {
        return -driver.fail_errno;
    }
    switch (request) {
    case DRM_IOCTL_VIRTBUF_GETPARAM: {
        struct drm_virtbuf_getparam *args = data;

        args->value = args->param == DRM_VIRTBUF_PARAM_PAGE_SIZE ? 4096 :
                                                                   1 << 20;
        return 0;
    }
    case DRM_IOCTL_VIRTBUF_BO_CREATE: {
        struct drm_virtbuf_bo_create *args = data;

        args->size = (args->size + 4095) & ~4095ull;
        args->handle = ++driver.last_bo;
        driver.bos++;
        return 0;
    }
    case DRM_IOCTL_VIRTBUF_BO_MAP:
        ((struct drm_virtbuf_bo_map *)data)->offset = 0;
        return 0;
    case DRM_IOCTL_GEM_CLOSE:
        driver.bos--;
        return 0;
    case DRM_IOCTL_VIRTBUF_REGISTER:
        do_register(data);
        return 0;
    case DRM_IOCTL_VIRTBUF_UNREGISTER:
        note("unregister %u ",
             ((struct drm_virtbuf_unregister *)data)->buffer);
        driver.buffers--;
        return 0;
    case DRM_IOCTL_VIRTBUF_UPDATE: {
        struct drm_virtbuf_update *args = data;

        note_properties(args->properties, args->property_count);
        args->serial = ++driver.serial;
        driver.update = *args;
        note("update %u ", args->buffer);
        return 0;
    }
    case DRM_IOCTL_VIRTBUF_WAIT:
        return do_wait(data);
    default:
        return -ENOTTY;
    }
}

/* Here and in stream.c, by -Dioctl=fake_ioctl */
int fake_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *data;
    int ret;

    (void)fd;
    va_start(ap, request);
    data = va_arg(ap, void *);
    va_end(ap);
    ret = do_call(request, data);
    errno = -ret;
    return ret ? -1 : 0;
}

static void on_wait(const char *what_for)
{
    CHECK(*what_for);
    waits_reported++;
}

static struct stream begin(uint32_t mode, unsigned int buffers)
{
    struct stream stream = {
        .application = "test",
        .mode = mode,
        .wanted = buffers,
        .stop = &stop,
        .on_wait = on_wait,
    };

    if (stream_open(&stream, "/dev/zero") < 0) {
        test_fail(__FILE__, __LINE__, "%s", stream.message);
    }
    return stream;
}

static void end(struct stream *stream)
{
    stream_close(stream);
    CHECK_INT(driver.bos, ==, 0);
    CHECK_INT(driver.buffers, ==, 0);
    CHECK_INT(stream->fd, ==, -1);
    stream_close(stream); /* does no harm */
}

static void set_size(struct stream *stream, uint32_t width)
{
    struct frame_format format;

    CHECK(frame_format_init(&format, DRM_FORMAT_XRGB8888, width, 8));
    CHECK_INT(stream_set_format(stream, &format, NULL, 0), ==, 0);
}

static void play(struct stream *stream)
{
    uint8_t *pixels;

    CHECK_INT(stream_begin(stream, &pixels), ==, 0);
    memset(pixels, 0x55, stream->format.size);
    CHECK_INT(stream_update(stream, 0, 0, 0, NULL, 0), ==, 0);
}

static void expect_log(const char *log)
{
    CHECK_STR(driver.log, log);
    driver.log[0] = '\0';
}

TEST(takes_turns)
{
    struct stream stream = begin(DRM_VIRTBUF_MODE_LATEST, 3);

    set_size(&stream, 8);
    expect_log("register 1 register 2 register 3 ");
    for (int i = 0; i < 5; i++) {
        play(&stream);
    }
    expect_log("update 1 update 2 update 3 wait update 1 wait update 2 ");
    /* the oldest one is asked for first */
    CHECK_INT(driver.wait_count, ==, 3);
    CHECK_INT(driver.wait_flags, ==, 0);
    CHECK_INT(driver.wait_buffers[0], ==, 2);
    CHECK_INT(driver.wait_buffers[1], ==, 3);
    CHECK_INT(driver.wait_buffers[2], ==, 1);
    end(&stream);
}

/* A host program may release the second oldest first */
TEST(takes_what_is_free)
{
    struct stream stream = begin(DRM_VIRTBUF_MODE_LATEST, 3);

    set_size(&stream, 8);
    for (int i = 0; i < 3; i++) {
        play(&stream);
    }
    driver.log[0] = '\0';
    driver.wait_first = 1;
    play(&stream);
    expect_log("wait update 2 ");
    end(&stream);
}

TEST(in_place_never_waits)
{
    struct stream stream = begin(DRM_VIRTBUF_MODE_IN_PLACE, 1);

    set_size(&stream, 8);
    for (int i = 0; i < 3; i++) {
        play(&stream);
    }
    expect_log("register 1 update 1 update 1 update 1 ");
    end(&stream);
}

/* The old buffers stay until the first frame of the new size is out */
TEST(new_size)
{
    struct stream stream = begin(DRM_VIRTBUF_MODE_EVERY, 2);

    set_size(&stream, 8);
    play(&stream);
    set_size(&stream, 16);
    expect_log("register 1 register 2 update 1 register 3 register 4 ");
    play(&stream);
    expect_log("update 3 unregister 2 unregister 1 ");
    CHECK_INT(driver.bos, ==, 2);
    play(&stream);
    expect_log("update 4 ");
    /* two in a row */
    set_size(&stream, 32);
    set_size(&stream, 64);
    expect_log("register 5 register 6 unregister 4 unregister 3 "
               "register 7 register 8 ");
    end(&stream);
}

TEST(properties)
{
    const struct stream_property extra[] = {
        { "title", "T" }, { "colour", "" }, { "framerate", "25/1" },
    };
    struct stream stream = begin(DRM_VIRTBUF_MODE_LATEST, 1);
    struct frame_format format;
    uint8_t *pixels;

    CHECK(frame_format_init(&format, DRM_FORMAT_YUV420, 100, 10));
    CHECK_INT(stream_set_format(&stream, &format, extra, 3), ==, 0);
    CHECK_STR(driver.properties,
              "fourcc=YU12;modifier=0x0;width=100;height=10;"
              "plane0.offset=0;plane0.stride=128;"
              "plane1.offset=1280;plane1.stride=64;"
              "plane2.offset=1600;plane2.stride=64;"
              "title=T;framerate=25/1;");
    CHECK_INT(stream_begin(&stream, &pixels), ==, 0);
    CHECK_INT(stream_update(&stream, DRM_VIRTBUF_UPDATE_END_OF_STREAM, 7, 8,
                            extra, 2), ==, 0);
    CHECK_STR(driver.properties, "title=T;colour gone;");
    CHECK_INT(driver.update.flags, ==, DRM_VIRTBUF_UPDATE_END_OF_STREAM);
    CHECK_INT(driver.update.pts, ==, 7);
    CHECK_INT(driver.update.duration, ==, 8);
    CHECK_INT(driver.update.clock, ==, DRM_VIRTBUF_CLOCK_STREAM);
    CHECK_INT(driver.update.data_size, ==, format.size);
    end(&stream);
}

TEST(drain_waits_for_all)
{
    struct stream stream = begin(DRM_VIRTBUF_MODE_EVERY, 3);

    set_size(&stream, 8);
    CHECK_INT(stream_drain(&stream), ==, 0);
    expect_log("register 1 register 2 register 3 ");
    play(&stream);
    play(&stream);
    CHECK_INT(stream_drain(&stream), ==, 0);
    expect_log("update 1 update 2 wait ");
    CHECK_INT(driver.wait_count, ==, 2);
    CHECK_INT(driver.wait_flags, ==, DRM_VIRTBUF_WAIT_ALL);
    CHECK_INT(driver.wait_condition, ==, DRM_VIRTBUF_WAIT_RELEASED);
    end(&stream);
}

TEST(waits_for_a_consumer_of_all)
{
    struct stream stream = begin(DRM_VIRTBUF_MODE_EVERY, 3);

    set_size(&stream, 8);
    driver.wait_timeouts = 2;
    CHECK_INT(stream_wait_consumer(&stream), ==, 0);
    CHECK_INT(waits_reported, ==, 2);
    CHECK_INT(driver.wait_count, ==, 3);
    CHECK_INT(driver.wait_flags, ==, DRM_VIRTBUF_WAIT_ALL);
    CHECK_INT(driver.wait_condition, ==, DRM_VIRTBUF_WAIT_CONSUMERS);
    end(&stream);
}

TEST(a_signal_ends_a_wait)
{
    struct stream stream = begin(DRM_VIRTBUF_MODE_EVERY, 1);
    uint8_t *pixels;

    set_size(&stream, 8);
    play(&stream);
    stop = SIGTERM;
    CHECK_INT(stream_begin(&stream, &pixels), ==, -EINTR);
    CHECK_INT(stream_drain(&stream), ==, -EINTR);
    CHECK_INT(stream_wait_consumer(&stream), ==, -EINTR);
    end(&stream);
}

/* Whatever fails, and whenever: a message, and nothing is left behind */
TEST(every_failure)
{
    static const struct {
        unsigned long request;
        int error;
        const char *message;
    } cases[] = {
        { DRM_IOCTL_VIRTBUF_BO_CREATE, ENOMEM, "no memory" },
        { DRM_IOCTL_VIRTBUF_BO_CREATE, E2BIG, "the device is full" },
        { DRM_IOCTL_VIRTBUF_BO_MAP, EINVAL, "BO_MAP" },
        { DRM_IOCTL_VIRTBUF_REGISTER, E2BIG, "fewer --buffers" },
        { DRM_IOCTL_VIRTBUF_REGISTER, ENOSPC, "fewer --buffers" },
        { DRM_IOCTL_VIRTBUF_REGISTER, EINVAL, "application" },
        { DRM_IOCTL_VIRTBUF_REGISTER, EIO, "REGISTER: Input/output" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned int after = 0; after < 3; after++) {
            struct stream stream = begin(DRM_VIRTBUF_MODE_LATEST, 3);
            struct frame_format format;

            CHECK(frame_format_init(&format, DRM_FORMAT_XRGB8888, 8, 8));
            driver.fail_request = cases[i].request;
            driver.fail_after = after;
            driver.fail_errno = cases[i].error;
            CHECK_INT(stream_set_format(&stream, &format, NULL, 0), ==,
                      -cases[i].error);
            if (!strstr(stream.message, cases[i].message)) {
                test_fail(__FILE__, __LINE__, "\"%s\"", stream.message);
            }
            end(&stream);
        }
    }
}

TEST(frame_too_large)
{
    struct stream stream = begin(DRM_VIRTBUF_MODE_LATEST, 3);
    struct frame_format format;

    CHECK(frame_format_init(&format, DRM_FORMAT_XRGB8888, 1024, 1024));
    driver.fail_request = DRM_IOCTL_VIRTBUF_REGISTER;
    driver.fail_errno = E2BIG;
    CHECK_INT(stream_set_format(&stream, &format, NULL, 0), ==, -E2BIG);
    CHECK(strstr(stream.message, "max-buffer-size") &&
          strstr(stream.message, "4194304") &&
          strstr(stream.message, "1048576"));
    end(&stream);
}

TEST(failed_update)
{
    struct stream stream = begin(DRM_VIRTBUF_MODE_LATEST, 2);
    uint8_t *pixels;

    set_size(&stream, 8);
    CHECK_INT(stream_begin(&stream, &pixels), ==, 0);
    driver.fail_request = DRM_IOCTL_VIRTBUF_UPDATE;
    driver.fail_errno = ENODEV;
    CHECK_INT(stream_update(&stream, 0, 0, 0, NULL, 0), ==, -ENODEV);
    CHECK(strstr(stream.message, "UPDATE"));
    end(&stream);
}

TEST(failed_wait)
{
    struct stream stream = begin(DRM_VIRTBUF_MODE_LATEST, 1);
    uint8_t *pixels;

    set_size(&stream, 8);
    play(&stream);
    driver.fail_request = DRM_IOCTL_VIRTBUF_WAIT;
    driver.fail_errno = EIO;
    CHECK_INT(stream_begin(&stream, &pixels), ==, -EIO);
    CHECK(strstr(stream.message, "WAIT"));
    end(&stream);
}

TEST(open_errors)
{
    struct stream stream = { .stop = &stop };

    CHECK_INT(stream_open(&stream, "/nonexistent"), ==, -ENOENT);
    stream_close(&stream);
    driver.fail_request = DRM_IOCTL_VIRTBUF_GETPARAM;
    driver.fail_errno = ENOTTY;
    CHECK_INT(stream_open(&stream, "/dev/zero"), ==, -ENODEV);
    CHECK(strstr(stream.message, "does not answer like virtio-buf"));
    stream_close(&stream);
}

TEST(backing)
{
    struct stream stream = { 0 };
    char text[80];

    stream.backing = DRM_VIRTBUF_BACKING_DMABUF;
    stream_describe_backing(&stream, text, sizeof(text));
    CHECK_STR(text, "zero-copy");
    stream.backing = DRM_VIRTBUF_BACKING_COPY;
    for (stream.reason = 1; stream.reason <= VIRTIO_BUF_REASON_FAILED;
         stream.reason++) {
        stream_describe_backing(&stream, text, sizeof(text));
        CHECK(strncmp(text, "copy (", 6) == 0 && strlen(text) > 10);
        CHECK(!strstr(text, "of its own"));
    }
    stream.reason = 1000;
    stream_describe_backing(&stream, text, sizeof(text));
    CHECK_STR(text, "copy (for a reason of its own)");
}
