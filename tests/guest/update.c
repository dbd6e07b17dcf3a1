/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: UPDATE. Fields, damage, serials.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

struct fixture {
    int fd;
    uint64_t size;
    uint32_t buffer;
};

static struct fixture fixture_new(void)
{
    struct fixture f = { .fd = device_open() };

    f.size = 4 * device_page(f.fd);
    f.buffer = buffer_register(f.fd, bo_create(f.fd, f.size), f.size);
    return f;
}

static void fixture_end(struct fixture *f)
{
    uint64_t serial = buffer_update(f->fd, f->buffer, f->size);

    CHECK_OK(wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                      PATIENCE_MS));
    buffer_take_back(f->fd, f->buffer);
    close(f->fd);
}

static void serials_rise(void)
{
    struct fixture f = fixture_new(), g = fixture_new();
    uint64_t last = 0;

    for (int i = 0; i < 100; i++) {
        /* they count for the device, not for a file */
        struct fixture *which = i % 2 ? &f : &g;
        uint64_t serial = buffer_update(which->fd, which->buffer, which->size);

        CHECK(serial > last);
        last = serial;
    }
    fixture_end(&f);
    fixture_end(&g);
}

/* With no consumer an update is released at once, in every mode */
static void released_at_once(void)
{
    struct fixture f = fixture_new();

    for (int i = 0; i < 20; i++) {
        uint64_t serial = buffer_update(f.fd, f.buffer, f.size);

        CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                          PATIENCE_MS));
    }
    fixture_end(&f);
}

static void handles(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_update update = update_of(BAD_HANDLE, f.size);
    int other = device_open();

    CHECK_ERRNO(update_do(f.fd, &update), ENOENT);
    update.buffer = 0;
    CHECK_ERRNO(update_do(f.fd, &update), ENOENT);
    update.buffer = f.buffer;
    CHECK_ERRNO(update_do(other, &update), ENOENT);
    close(other);
    fixture_end(&f);
}

static void flags(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_update update = update_of(f.buffer, f.size);
    const uint32_t known = DRM_VIRTBUF_UPDATE_KEYFRAME |
        DRM_VIRTBUF_UPDATE_DISCONTINUITY | DRM_VIRTBUF_UPDATE_END_OF_STREAM |
        DRM_VIRTBUF_UPDATE_ERROR | DRM_VIRTBUF_UPDATE_NO_IMPLICIT_SYNC |
        DRM_VIRTBUF_UPDATE_WAIT_FENCES;

    for (unsigned int bit = 0; bit < 32; bit++) {
        update.flags = 1u << bit;
        if (known & update.flags) {
            CHECK_OK(update_do(f.fd, &update));
        } else {
            CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
        }
    }
    update.flags = known;
    CHECK_OK(update_do(f.fd, &update));
    fixture_end(&f);
}

static void payload(void)
{
    struct fixture f = fixture_new();
    const struct {
        uint64_t offset, size;
        int error;
    } cases[] = {
        { 0, f.size, 0 }, { f.size - 1, 1, 0 }, { 1, 2, 0 },
        { 0, f.size + 1, EINVAL }, { 1, f.size, EINVAL },
        { f.size, 1, EINVAL }, { UINT64_MAX, 1, EINVAL },
        { 1, UINT64_MAX, EINVAL }, { UINT64_MAX, UINT64_MAX, EINVAL },
        { 1ull << 32, 1, EINVAL },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct drm_virtbuf_update update = update_of(f.buffer, cases[i].size);
        int error;

        update.data_offset = cases[i].offset;
        error = update_do(f.fd, &update) < 0 ? errno : 0;
        if (error != cases[i].error) {
            test_fail(__FILE__, __LINE__, "case %zu: %s", i,
                      error ? errno_name(error) : "no error");
        }
    }
    fixture_end(&f);
}

static void clocks(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_update update = update_of(f.buffer, f.size);

    for (uint32_t clock = DRM_VIRTBUF_CLOCK_STREAM;
         clock <= DRM_VIRTBUF_CLOCK_TAI; clock++) {
        update.clock = clock;
        update.pts = UINT64_MAX - clock;
        update.duration = 40000000;
        CHECK_OK(update_do(f.fd, &update));
    }
    update.clock = DRM_VIRTBUF_CLOCK_TAI + 1;
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    update.clock = UINT32_MAX;
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    /* without a clock a time means nothing */
    update.clock = DRM_VIRTBUF_CLOCK_NONE;
    update.pts = 1;
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    fixture_end(&f);
}

static void rects(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_rect list[DRM_VIRTBUF_MAX_DAMAGE + 1];
    struct drm_virtbuf_update update = update_of(f.buffer, f.size);

    for (uint32_t i = 0; i <= DRM_VIRTBUF_MAX_DAMAGE; i++) {
        list[i] = (struct drm_virtbuf_rect) { i, i, 1, 2 };
    }
    update.rects = PTR(list);
    for (uint32_t i = 1; i <= DRM_VIRTBUF_MAX_DAMAGE; i++) {
        update.rect_count = i;
        CHECK_OK(update_do(f.fd, &update));
    }
    update.rect_count = DRM_VIRTBUF_MAX_DAMAGE + 1;
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    update.rect_count = UINT32_MAX;
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    update.rect_count = 2;
    list[1].width = 0;
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    list[1].width = 1;
    list[1].height = 0;
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    update.rects = 0;
    CHECK_ERRNO(update_do(f.fd, &update), EFAULT);
    update.rects = BAD_POINTER;
    CHECK_ERRNO(update_do(f.fd, &update), EFAULT);
    fixture_end(&f);
}

static void spans(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_span list[DRM_VIRTBUF_MAX_DAMAGE + 1];
    struct drm_virtbuf_update update = update_of(f.buffer, f.size);
    const struct drm_virtbuf_span wrong[] = {
        { 0, 0 }, { f.size, 1 }, { 0, f.size + 1 }, { 1, f.size },
        { UINT64_MAX, 1 }, { 1, UINT64_MAX }, { UINT64_MAX, 2 },
    };

    for (uint32_t i = 0; i <= DRM_VIRTBUF_MAX_DAMAGE; i++) {
        list[i] = (struct drm_virtbuf_span) { i * 64, 17 };
    }
    list[0] = (struct drm_virtbuf_span) { 0, f.size };
    update.spans = PTR(list);
    for (uint32_t i = 1; i <= DRM_VIRTBUF_MAX_DAMAGE; i++) {
        update.span_count = i;
        CHECK_OK(update_do(f.fd, &update));
    }
    update.span_count = DRM_VIRTBUF_MAX_DAMAGE + 1;
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    update.span_count = UINT32_MAX;
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    update.span_count = 2;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        list[1] = wrong[i];
        if (update_do(f.fd, &update) >= 0 || errno != EINVAL) {
            test_fail(__FILE__, __LINE__, "case %zu was not EINVAL", i);
        }
    }
    update.spans = 0;
    CHECK_ERRNO(update_do(f.fd, &update), EFAULT);
    fixture_end(&f);
}

/* A refused update uses up nothing: the next serial follows the last one */
static void an_error_changes_nothing(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_update update;
    uint64_t serial = buffer_update(f.fd, f.buffer, f.size);

    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                      PATIENCE_MS));
    for (int i = 0; i < 10; i++) {
        update = update_of(f.buffer, f.size + 1);
        CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
        CHECK_EQ(update.serial, 0);
    }
    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_RELEASED, serial, 0));
    fixture_end(&f);
}

struct updater {
    int fd;
    struct drm_virtbuf_update update;
};

static void *update_until_it_fails(void *arg)
{
    struct updater *updater = arg;

    do {
        errno = 0;
    } while (update_do(updater->fd, &updater->update) == 0);
    return (void *)(intptr_t)errno;
}

/* Threads that take turns at a buffer all hear that it is gone */
static void given_back_meanwhile(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, page);

    for (int round = 0; round < 50; round++) {
        uint32_t buffer = buffer_register_for(fd, bo, page, APPLICATION_ALONE,
                                              DRM_VIRTBUF_MODE_IN_PLACE);
        struct updater updaters[3];
        pthread_t threads[3];
        void *error;

        for (int i = 0; i < 3; i++) {
            updaters[i].fd = fd;
            updaters[i].update = update_of(buffer, page);
            CHECK_EQ(pthread_create(&threads[i], NULL, update_until_it_fails,
                                    &updaters[i]), 0);
        }
        sleep_ms((unsigned int)rand() % 5);
        buffer_take_back(fd, buffer);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(pthread_join(threads[i], &error), 0);
            CHECK_EQ((intptr_t)error, ENOENT);
        }
    }
    close(fd);
}

static const struct test tests[] = {
    { "serials-rise", serials_rise, 0 },
    { "released-at-once", released_at_once, 0 },
    { "handles", handles, 0 },
    { "flags", flags, 0 },
    { "payload", payload, 0 },
    { "clocks", clocks, 0 },
    { "rects", rects, 0 },
    { "spans", spans, 0 },
    { "an-error-changes-nothing", an_error_changes_nothing, 0 },
    { "given-back-meanwhile", given_back_meanwhile, 0 },
};

const struct suite update_suite = SUITE("update", tests);
