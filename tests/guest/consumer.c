/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: with programs on the host. One that reads and releases what it
 * gets (--consumer), one that attaches and never answers (--holder).
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

#define FRAME_SIZE      (64 * 64 * 4)
#define HELD_MS         300
/* More than a consumer gets at a time */
#define MANY            12

struct frame {
    uint32_t bo;
    uint32_t buffer;
    uint64_t serial;
};

/* A buffer that every consumer can make a picture of */
static struct frame frame_new(int fd, const char *application, uint32_t mode,
                              uint32_t stream)
{
    const struct drm_virtbuf_property list[] = {
        property("fourcc", "XR24"), property("modifier", "0x0"),
        property("width", "64"), property("height", "64"),
        property("plane0.offset", "0"), property("plane0.stride", "256"),
    };
    struct registration reg;
    struct frame frame = { 0 };

    frame.bo = bo_create(fd, FRAME_SIZE);
    registration_init(&reg, frame.bo, FRAME_SIZE);
    reg.args.application = PTR(application);
    reg.args.application_len = (uint32_t)strlen(application);
    reg.args.mode = mode;
    reg.args.stream = stream;
    reg.args.properties = PTR(list);
    reg.args.property_count = sizeof(list) / sizeof(list[0]);
    CHECK_OK(registration_do(fd, &reg));
    frame.buffer = reg.args.buffer;
    return frame;
}

static struct frame frame_attached(int fd, const char *application,
                                   uint32_t mode)
{
    struct frame frame = frame_new(fd, application, mode, 0);

    CHECK_OK(wait_one(fd, frame.buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                      PATIENCE_MS));
    return frame;
}

static void frame_end(int fd, struct frame *frame)
{
    if (buffer_unregister(fd, frame->buffer) == DRM_VIRTBUF_STATE_PENDING) {
        CHECK_OK(wait_one(fd, frame->buffer, DRM_VIRTBUF_WAIT_FREED, 0,
                          PATIENCE_MS));
    }
}

static void attaches_and_releases(void)
{
    int fd = device_open();

    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_CONSUMERS) >= 1);
    for (uint32_t mode = DRM_VIRTBUF_MODE_IN_PLACE;
         mode <= DRM_VIRTBUF_MODE_EVERY; mode++) {
        struct frame frame = frame_attached(fd, APPLICATION_CONSUMER, mode);

        for (int i = 0; i < 10; i++) {
            frame.serial = buffer_update(fd, frame.buffer, FRAME_SIZE);
            CHECK_OK(wait_one(fd, frame.buffer, DRM_VIRTBUF_WAIT_RELEASED,
                              frame.serial, PATIENCE_MS));
        }
        frame_end(fd, &frame);
    }
    close(fd);
}

static void only_for_its_application(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t buffer = buffer_register(fd, bo_create(fd, page), page);

    CHECK_ERRNO(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1, 500),
                ETIME);
    buffer_take_back(fd, buffer);
    close(fd);
}

/* Three buffers, 60 updates, each in its turn */
static void triple_buffering(void)
{
    struct frame frames[3];
    int fd = device_open();

    for (int i = 0; i < 3; i++) {
        frames[i] = frame_new(fd, APPLICATION_CONSUMER, DRM_VIRTBUF_MODE_EVERY,
                              1);
    }
    for (int i = 0; i < 60; i++) {
        struct frame *frame = &frames[i % 3];
        uint8_t *pixels = bo_map(fd, frame->bo, FRAME_SIZE);

        if (i >= 3) {
            CHECK_OK(wait_one(fd, frame->buffer, DRM_VIRTBUF_WAIT_RELEASED,
                              frame->serial, PATIENCE_MS));
        }
        memset(pixels, i, FRAME_SIZE);
        munmap(pixels, FRAME_SIZE);
        frame->serial = buffer_update(fd, frame->buffer, FRAME_SIZE);
    }
    for (int i = 0; i < 3; i++) {
        frame_end(fd, &frames[i]);
    }
    close(fd);
}

static void unregister_while_it_reads(void)
{
    int fd = device_open();

    for (int i = 0; i < 20; i++) {
        struct frame frame = frame_attached(fd, APPLICATION_CONSUMER,
                                            DRM_VIRTBUF_MODE_EVERY);

        buffer_update(fd, frame.buffer, FRAME_SIZE);
        frame_end(fd, &frame);
    }
    close(fd);
}

static void kill_while_it_reads(void)
{
    for (int i = 0; i < 5; i++) {
        int status;
        pid_t pid = fork();

        CHECK_OK(pid);
        if (pid == 0) {
            int fd = device_open();
            struct frame frame = frame_attached(fd, APPLICATION_CONSUMER,
                                                DRM_VIRTBUF_MODE_LATEST);

            buffer_update(fd, frame.buffer, FRAME_SIZE);
            raise(SIGKILL);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    attaches_and_releases();
}

static void held_is_busy(uint32_t mode)
{
    int fd = device_open();
    struct frame frame = frame_attached(fd, APPLICATION_HOLDER, mode);
    struct drm_virtbuf_update update = update_of(frame.buffer, FRAME_SIZE);

    frame.serial = buffer_update(fd, frame.buffer, FRAME_SIZE);
    CHECK_ERRNO(wait_one(fd, frame.buffer, DRM_VIRTBUF_WAIT_RELEASED,
                         frame.serial, HELD_MS), ETIME);
    CHECK_ERRNO(update_do(fd, &update), EBUSY);
    CHECK_EQ(update.serial, 0);
    CHECK_ERRNO(wait_one(fd, frame.buffer, DRM_VIRTBUF_WAIT_RELEASED,
                         frame.serial, 0), ETIME);
    close(fd);
}

static void held_is_busy_latest(void)
{
    held_is_busy(DRM_VIRTBUF_MODE_LATEST);
}

static void held_is_busy_every(void)
{
    held_is_busy(DRM_VIRTBUF_MODE_EVERY);
}

/* Nobody owns a buffer that is redrawn in place */
static void held_in_place(void)
{
    int fd = device_open();
    struct frame frame = frame_attached(fd, APPLICATION_HOLDER,
                                        DRM_VIRTBUF_MODE_IN_PLACE);

    for (int i = 0; i < 50; i++) {
        buffer_update(fd, frame.buffer, FRAME_SIZE);
    }
    close(fd);
}

/* What was not sent before a newer one came counts as released */
static void latest_overtakes(void)
{
    struct frame frames[MANY];
    int fd = device_open(), released = 0;

    for (int i = 0; i < MANY; i++) {
        frames[i] = frame_new(fd, APPLICATION_HOLDER, DRM_VIRTBUF_MODE_LATEST,
                              7);
        CHECK_OK(wait_one(fd, frames[i].buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                          PATIENCE_MS));
    }
    for (int i = 0; i < MANY; i++) {
        frames[i].serial = buffer_update(fd, frames[i].buffer, FRAME_SIZE);
    }
    sleep_ms(HELD_MS);
    for (int i = 0; i < MANY; i++) {
        released += wait_one(fd, frames[i].buffer, DRM_VIRTBUF_WAIT_RELEASED,
                             frames[i].serial, -1) == 0;
    }
    test_note("%d of %d updates were overtaken", released, MANY);
    CHECK(released >= 1 && released < MANY);
    close(fd);
}

static void every_leaves_none_out(void)
{
    struct frame frames[3];
    int fd = device_open();

    for (int i = 0; i < 3; i++) {
        frames[i] = frame_new(fd, APPLICATION_HOLDER, DRM_VIRTBUF_MODE_EVERY,
                              9);
        CHECK_OK(wait_one(fd, frames[i].buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                          PATIENCE_MS));
    }
    for (int i = 0; i < 3; i++) {
        frames[i].serial = buffer_update(fd, frames[i].buffer, FRAME_SIZE);
    }
    sleep_ms(HELD_MS);
    for (int i = 0; i < 3; i++) {
        CHECK_ERRNO(wait_one(fd, frames[i].buffer, DRM_VIRTBUF_WAIT_RELEASED,
                             frames[i].serial, -1), ETIME);
    }
    close(fd);
}

static void held_stays_pending(void)
{
    int fd = device_open();
    struct frame frame = frame_attached(fd, APPLICATION_HOLDER,
                                        DRM_VIRTBUF_MODE_LATEST);
    struct drm_virtbuf_update update = update_of(frame.buffer, FRAME_SIZE);
    struct drm_virtbuf_property one = property("title", "too late");
    uint8_t *pixels = bo_map(fd, frame.bo, FRAME_SIZE);
    struct registration reg;

    wait_for_holder(fd, frame.buffer);
    buffer_update(fd, frame.buffer, FRAME_SIZE);
    CHECK_EQ(buffer_unregister(fd, frame.buffer), DRM_VIRTBUF_STATE_PENDING);
    CHECK_EQ(buffer_unregister(fd, frame.buffer), DRM_VIRTBUF_STATE_PENDING);
    CHECK_ERRNO(wait_one(fd, frame.buffer, DRM_VIRTBUF_WAIT_FREED, 0, HELD_MS),
                ETIME);
    CHECK_ERRNO(update_do(fd, &update), ENOENT, EINVAL, EBUSY);
    CHECK_ERRNO(properties_set(fd, frame.buffer, &one, 1), ENOENT, EINVAL,
                EBUSY);
    /* its memory is still in foreign hands */
    registration_init(&reg, frame.bo, FRAME_SIZE);
    CHECK_ERRNO(registration_do(fd, &reg), EBUSY);
    /* the guest can use it all the same */
    memset(pixels, 0x5a, FRAME_SIZE);
    CHECK_EQ(pixels[FRAME_SIZE - 1], 0x5a);
    munmap(pixels, FRAME_SIZE);
    close(fd);
}

/* The pages of a dead program stay out of use while someone has them */
static void kill_while_held(void)
{
    int status;
    pid_t pid = fork();

    CHECK_OK(pid);
    if (pid == 0) {
        int fd = device_open();
        struct frame frame = frame_attached(fd, APPLICATION_HOLDER,
                                            DRM_VIRTBUF_MODE_LATEST);

        buffer_update(fd, frame.buffer, FRAME_SIZE);
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /* the device goes on for others */
    only_for_its_application();
}

static const struct test tests[] = {
    { "attaches-and-releases", attaches_and_releases, NEEDS_CONSUMER },
    { "only-for-its-application", only_for_its_application, NEEDS_CONSUMER },
    { "triple-buffering", triple_buffering, NEEDS_CONSUMER },
    { "unregister-while-it-reads", unregister_while_it_reads, NEEDS_CONSUMER },
    { "kill-while-it-reads", kill_while_it_reads, NEEDS_CONSUMER },
    { "held-is-busy-latest", held_is_busy_latest, NEEDS_HOLDER },
    { "held-is-busy-every", held_is_busy_every, NEEDS_HOLDER },
    { "held-in-place", held_in_place, NEEDS_HOLDER },
    { "latest-overtakes", latest_overtakes, NEEDS_HOLDER },
    { "every-leaves-none-out", every_leaves_none_out, NEEDS_HOLDER },
    { "held-stays-pending", held_stays_pending, NEEDS_HOLDER },
    { "kill-while-held", kill_while_held, NEEDS_HOLDER },
};

const struct suite consumer_suite = SUITE("consumer", tests);
