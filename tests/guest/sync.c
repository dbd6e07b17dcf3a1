/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: UPDATE that waits for fences, and release points.
 *
 * Nobody subscribes to the buffers here, so that an update is released as soon
 * as the device has heard of it: what is not released still waits.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "gate.h"
#include "suites.h"

/* How long something is watched that must not happen */
#define HELD_MS         200
/* For fences that never signal; restored by the parent of the test */
#define TIMEOUT_PATH    "/sys/module/virtio_buf/parameters/fence_timeout"

struct frame {
    uint32_t bo;
    uint32_t buffer;
    struct drm_virtbuf_update update;
    struct drm_virtbuf_fence fence;
};

/* Fills @frame, which must not move: the update points into it */
static void frame_init(struct frame *frame, int fd, uint32_t mode,
                       uint32_t stream)
{
    uint64_t page = device_page(fd);
    struct registration reg;

    memset(frame, 0, sizeof(*frame));
    frame->bo = bo_create(fd, page);
    registration_init(&reg, frame->bo, page);
    reg.args.mode = mode;
    reg.args.stream = stream;
    CHECK_OK(registration_do(fd, &reg));
    frame->buffer = reg.args.buffer;
    frame->update = update_of(frame->buffer, page);
    frame->update.in_fences = PTR(&frame->fence);
}

static void frame_wait_for(struct frame *frame, const struct gate *gate)
{
    frame->update.in_fence_count = gate ? 1 : 0;
    frame->fence.flags = DRM_VIRTBUF_FENCE_SYNC_FILE;
    frame->fence.syncobj = gate ? (uint32_t)gate->sync_file : 0;
}

static uint64_t frame_update(struct frame *frame, int fd)
{
    CHECK_OK(update_do(fd, &frame->update));
    CHECK(frame->update.serial != 0);
    return frame->update.serial;
}

static bool is_released(int fd, const struct frame *frame)
{
    int ret = wait_one(fd, frame->buffer, DRM_VIRTBUF_WAIT_RELEASED,
                       frame->update.serial, HELD_MS);

    CHECK(ret == 0 || errno == ETIME);
    return ret == 0;
}

static void check_held(int fd, const struct frame *frame, struct gate *gate)
{
    if (is_released(fd, frame)) {
        gate_excuse(gate);
        test_fail(__FILE__, __LINE__, "the update has not waited");
    }
}

static void check_released(int fd, const struct frame *frame)
{
    CHECK_OK(wait_one(fd, frame->buffer, DRM_VIRTBUF_WAIT_RELEASED,
                      frame->update.serial, PATIENCE_MS));
}

static void waits_for_sync_file(void)
{
    struct gate gate = gate_new();
    struct frame frame;
    int fd = device_open();

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_LATEST, 0);
    frame_wait_for(&frame, &gate);
    frame_update(&frame, fd);
    check_held(fd, &frame, &gate);
    /* it belongs to the consumers-to-be */
    CHECK_ERRNO(update_do(fd, &frame.update), EBUSY);
    gate_open(&gate);
    check_released(fd, &frame);
    /* a fence that has signalled holds nothing up */
    frame_update(&frame, fd);
    check_released(fd, &frame);
    close(fd);
    gate_end(&gate);
}

static void waits_for_syncobj(void)
{
    int fd = device_open();

    for (int timeline = 0; timeline < 2; timeline++) {
        struct gate gate = gate_new();
        struct frame frame;

        frame_init(&frame, fd, DRM_VIRTBUF_MODE_EVERY, 0);
        frame.update.in_fence_count = 1;
        frame.fence.syncobj = timeline ? gate_point(&gate, fd, 7) :
                                         gate_syncobj(&gate, fd);
        frame.fence.point = timeline ? 7 : 0;
        frame_update(&frame, fd);
        check_held(fd, &frame, &gate);
        gate_open(&gate);
        check_released(fd, &frame);
        gate_end(&gate);
    }
    close(fd);
}

static void waits_for_all(void)
{
    struct gate gates[3] = { gate_new(), gate_new(), gate_new() };
    struct drm_virtbuf_fence fences[3] = { 0 };
    struct frame frame;
    int fd = device_open();

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_LATEST, 0);
    for (int i = 0; i < 3; i++) {
        fences[i].flags = DRM_VIRTBUF_FENCE_SYNC_FILE;
        fences[i].syncobj = (uint32_t)gates[i].sync_file;
    }
    frame.update.in_fences = PTR(fences);
    frame.update.in_fence_count = 3;
    frame_update(&frame, fd);
    gate_open(&gates[1]);
    gate_open(&gates[0]);
    check_held(fd, &frame, &gates[2]);
    gate_open(&gates[2]);
    check_released(fd, &frame);
    close(fd);
    for (int i = 0; i < 3; i++) {
        gate_end(&gates[i]);
    }
}

/* What another driver does with the memory */
static void waits_for_writers(void)
{
    struct gate writer = gate_new(), reader = gate_new();
    struct frame frame;
    int fd = device_open();

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_IN_PLACE, 0);
    gate_attach(&reader, fd, frame.bo, false);
    frame_update(&frame, fd);
    check_released(fd, &frame);

    gate_attach(&writer, fd, frame.bo, true);
    frame.update.flags = DRM_VIRTBUF_UPDATE_NO_IMPLICIT_SYNC;
    frame_update(&frame, fd);
    check_released(fd, &frame);
    frame.update.flags = 0;
    frame_update(&frame, fd);
    check_held(fd, &frame, &writer);
    gate_open(&writer);
    check_released(fd, &frame);
    close(fd);
    gate_end(&writer);
    gate_end(&reader);
}

/* A late update holds up those of its stream, and no others */
static void stream_order(void)
{
    struct gate gate = gate_new();
    struct frame late, next, other, alone;
    uint64_t serial;
    int fd = device_open();

    frame_init(&late, fd, DRM_VIRTBUF_MODE_EVERY, 1);
    frame_init(&next, fd, DRM_VIRTBUF_MODE_EVERY, 1);
    frame_init(&other, fd, DRM_VIRTBUF_MODE_EVERY, 2);
    frame_init(&alone, fd, DRM_VIRTBUF_MODE_EVERY, 0);
    frame_wait_for(&late, &gate);
    serial = frame_update(&late, fd);
    CHECK(frame_update(&next, fd) > serial);
    frame_update(&other, fd);
    frame_update(&alone, fd);
    check_released(fd, &other);
    check_released(fd, &alone);
    check_held(fd, &late, &gate);
    check_held(fd, &next, &gate);
    gate_open(&gate);
    check_released(fd, &late);
    check_released(fd, &next);
    close(fd);
    gate_end(&gate);
}

/* Updates of one buffer keep their order, whichever fence comes first */
static void buffer_order(void)
{
    struct gate first = gate_new(), second = gate_new();
    const struct drm_virtbuf_property titles[] = {
        property("title", "first"), property("title", "second"),
    };
    struct frame frame;
    uint64_t serial;
    int fd = device_open();

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_IN_PLACE, 0);
    frame.update.property_count = 1;
    frame_wait_for(&frame, &first);
    frame.update.properties = PTR(&titles[0]);
    serial = frame_update(&frame, fd);
    frame_wait_for(&frame, &second);
    frame.update.properties = PTR(&titles[1]);
    CHECK(frame_update(&frame, fd) > serial);

    gate_open(&second);
    check_held(fd, &frame, &first);
    property_expect(fd, frame.buffer, "title", NULL);
    gate_open(&first);
    check_released(fd, &frame);
    property_expect(fd, frame.buffer, "title", "second");
    close(fd);
    gate_end(&first);
    gate_end(&second);
}

static void on_signal(int signo)
{
    (void)signo;
}

static void interrupt_in(int ms)
{
    struct sigaction action = { .sa_handler = on_signal };
    struct itimerval timer = { .it_value.tv_usec = ms * 1000 };

    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
}

static void wait_fences(void)
{
    struct gate gate = gate_new();
    struct frame frame;
    int fd = device_open(), status;
    int64_t before;
    pid_t pid;

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_LATEST, 0);
    frame_wait_for(&frame, &gate);
    frame.update.flags = DRM_VIRTBUF_UPDATE_WAIT_FENCES;
    interrupt_in(HELD_MS);
    if (update_do(fd, &frame.update) == 0) {
        gate_excuse(&gate);
        test_fail(__FILE__, __LINE__, "the update has not waited");
    }
    CHECK_EQ(errno, EINTR);
    CHECK_EQ(frame.update.serial, 0);

    before = time_in(0);
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        sleep_ms(HELD_MS);
        gate_open(&gate);
        _exit(0);
    }
    frame_update(&frame, fd);
    if (time_in(0) - before < HELD_MS * INT64_C(1000000)) {
        gate_excuse(&gate);
        test_fail(__FILE__, __LINE__, "the update has not waited");
    }
    check_released(fd, &frame);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(fd);
    gate_end(&gate);
}

static void set_timeout(const char *ms)
{
    int fd = open(TIMEOUT_PATH, O_WRONLY | O_CLOEXEC);

    if (fd < 0) {
        test_skip("%s: %s", TIMEOUT_PATH, errno_name(errno));
    }
    CHECK_EQ(write(fd, ms, strlen(ms)), (ssize_t)strlen(ms));
    close(fd);
}

/* Runs @body in a child, with a time limit of @ms for fences */
static void with_timeout(const char *ms, void (*body)(void))
{
    char old[16] = "";
    int fd = open(TIMEOUT_PATH, O_RDONLY | O_CLOEXEC), status;
    pid_t pid;

    if (fd < 0) {
        test_skip("%s: %s", TIMEOUT_PATH, errno_name(errno));
    }
    CHECK(read(fd, old, sizeof(old) - 1) > 0);
    close(fd);
    set_timeout(ms);
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        body();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    set_timeout(old);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The next WAIT tells it, once */
static void check_dropped(int fd, const struct frame *frame)
{
    CHECK_ERRNO(wait_one(fd, frame->buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                         PATIENCE_MS), ECANCELED);
    CHECK_OK(wait_one(fd, frame->buffer, DRM_VIRTBUF_WAIT_RELEASED,
                      frame->update.serial, PATIENCE_MS));
}

static void leave_closed(void)
{
    struct gate gate = gate_new();
    struct frame late, next;
    uint32_t syncobj;
    int fd = device_open();

    frame_init(&late, fd, DRM_VIRTBUF_MODE_LATEST, 1);
    frame_init(&next, fd, DRM_VIRTBUF_MODE_LATEST, 1);
    syncobj = syncobj_create(fd);
    frame_wait_for(&late, &gate);
    late.update.release_syncobj = syncobj;
    late.update.release_point = 1;
    frame_update(&late, fd);
    frame_update(&next, fd);
    check_dropped(fd, &late);
    CHECK_OK(syncobj_wait(fd, syncobj, 1, PATIENCE_MS));
    check_released(fd, &next);

    /* the next UPDATE tells it, too, and the one after it goes out */
    late.update.release_syncobj = 0;
    late.update.release_point = 0;
    frame_update(&late, fd);
    frame_wait_for(&late, NULL);
    while (update_do(fd, &late.update) < 0 && errno == EBUSY) {
        sleep_ms(20);
    }
    CHECK_EQ(errno, ECANCELED);
    frame_update(&late, fd);
    check_released(fd, &late);

    /* without effect */
    frame_wait_for(&late, &gate);
    late.update.flags = DRM_VIRTBUF_UPDATE_WAIT_FENCES;
    late.update.serial = 0;
    CHECK_ERRNO(update_do(fd, &late.update), ETIME);
    CHECK_EQ(late.update.serial, 0);
    close(fd);
    gate_end(&gate);
}

static void never_signalled(void)
{
    with_timeout("300", leave_closed);
}

/* A fence that signals while the driver looks at it has been seen */
static void open_at_once(void)
{
    struct frame frame;
    int fd = device_open();

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_LATEST, 0);
    for (int round = 0; round < 300; round++) {
        struct gate gate = gate_new();

        frame_wait_for(&frame, &gate);
        frame_update(&frame, fd);
        usleep((useconds_t)rand() % 100);
        gate_open(&gate);
        check_released(fd, &frame);
        gate_end(&gate);
    }
    close(fd);
}

static void signalled_at_once(void)
{
    with_timeout("0", open_at_once);
}

static void failed_fence(void)
{
    struct gate gate = gate_new();
    struct frame frame;
    int fd = device_open();

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_LATEST, 0);
    frame_wait_for(&frame, &gate);
    frame_update(&frame, fd);
    gate_break(&gate);
    check_dropped(fd, &frame);
    /* it is known to have failed: nothing is queued */
    frame.update.serial = 0;
    CHECK_ERRNO(update_do(fd, &frame.update), ECANCELED);
    CHECK_EQ(frame.update.serial, 0);
    frame_wait_for(&frame, NULL);
    frame_update(&frame, fd);
    check_released(fd, &frame);
    close(fd);
    gate_end(&gate);
}

static struct drm_virtbuf_event next_event(int fd)
{
    struct pollfd pollfd = { .fd = fd, .events = POLLIN };
    struct drm_virtbuf_event event;

    CHECK_EQ(poll(&pollfd, 1, PATIENCE_MS), 1);
    CHECK_EQ(read(fd, &event, sizeof(event)), sizeof(event));
    CHECK_EQ(event.base.type, DRM_VIRTBUF_EVENT_BUFFER);
    return event;
}

static void subscribe(int fd, uint32_t conditions)
{
    struct drm_virtbuf_events args = { .conditions = conditions };

    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_EVENTS, &args));
}

/* Who has subscribed to anything is told of the update that was dropped */
static void check_error_event(void (*fail)(struct gate *gate))
{
    struct gate gate = gate_new();
    struct frame frame;
    struct drm_virtbuf_event event;
    int fd = device_open();
    struct pollfd more = { .fd = fd, .events = POLLIN };

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_LATEST, 0);
    subscribe(fd, 1 << DRM_VIRTBUF_WAIT_CONSUMERS);
    frame_wait_for(&frame, &gate);
    frame_update(&frame, fd);
    CHECK_EQ(poll(&more, 1, 0), 0);
    fail(&gate);
    event = next_event(fd);
    CHECK_EQ(event.buffer, frame.buffer);
    CHECK_EQ(event.error, ECANCELED);
    CHECK_EQ(event.conditions, 0);
    CHECK_EQ(event.consumers, 0);
    CHECK_EQ(poll(&more, 1, HELD_MS), 0);
    /* that it was read does not take it from the next WAIT */
    check_dropped(fd, &frame);

    subscribe(fd, 1 << DRM_VIRTBUF_WAIT_RELEASED);
    frame_wait_for(&frame, NULL);
    frame_update(&frame, fd);
    event = next_event(fd);
    CHECK_EQ(event.error, 0);
    CHECK_EQ(event.conditions, 1 << DRM_VIRTBUF_WAIT_RELEASED);
    CHECK_EQ(event.released, frame.update.serial);
    close(fd);
    gate_end(&gate);
}

static void event_of_failed_fence(void)
{
    check_error_event(gate_break);
}

static void do_nothing(struct gate *gate)
{
    (void)gate;
}

static void leave_closed_for_event(void)
{
    check_error_event(do_nothing);
}

static void event_of_never_signalled(void)
{
    with_timeout("300", leave_closed_for_event);
}

/* Properties that fit when they were queued, and not when they are sent */
static void late_properties(void)
{
    struct gate gate = gate_new();
    struct frame frame;
    int fd = device_open();
    uint64_t half = device_param(fd, DRM_VIRTBUF_PARAM_MAX_PROPERTY_BYTES) / 2;
    char *value = malloc(half + 1);
    struct drm_virtbuf_property late, soon;

    CHECK(value);
    memset(value, 'x', half);
    value[half] = '\0';
    late = property("late", value);
    soon = property("soon", value);
    frame_init(&frame, fd, DRM_VIRTBUF_MODE_IN_PLACE, 0);
    frame_wait_for(&frame, &gate);
    frame.update.properties = PTR(&late);
    frame.update.property_count = 1;
    frame_update(&frame, fd);
    CHECK_OK(properties_set(fd, frame.buffer, &soon, 1));
    check_held(fd, &frame, &gate);
    gate_open(&gate);
    CHECK_ERRNO(wait_one(fd, frame.buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                         PATIENCE_MS), E2BIG);
    check_released(fd, &frame);
    CHECK_EQ(properties_count(fd, frame.buffer), 1);
    free(value);
    close(fd);
    gate_end(&gate);
}

/* Nobody queues without an end, and who tries disturbs no other buffer */
static void queue_is_bounded(void)
{
    struct gate gate = gate_new();
    struct frame frame, other;
    int fd = device_open();

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_IN_PLACE, 1);
    frame_init(&other, fd, DRM_VIRTBUF_MODE_IN_PLACE, 1);
    frame_wait_for(&frame, &gate);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < DRM_VIRTBUF_MAX_QUEUED; i++) {
            frame_update(&frame, fd);
        }
        if (update_do(fd, &frame.update) == 0) {
            gate_excuse(&gate);
            test_fail(__FILE__, __LINE__, "one more is queued");
        }
        CHECK_EQ(errno, EBUSY);
        frame_update(&other, fd);
        gate_open(&gate);
        check_released(fd, &frame);
        check_released(fd, &other);
        gate_end(&gate);
        gate = gate_new();
        frame_wait_for(&frame, &gate);
    }
    gate_end(&gate);
    close(fd);
}

static void fence_fields(void)
{
    struct drm_virtbuf_fence fences[65] = { 0 };
    struct frame frame;
    int fd = device_open();
    struct drm_virtbuf_update *update = &frame.update;
    struct drm_syncobj_create create = {
        .flags = DRM_SYNCOBJ_CREATE_SIGNALED,
    };

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_IN_PLACE, 0);
    CHECK_OK(ioctl(fd, DRM_IOCTL_SYNCOBJ_CREATE, &create));
    update->in_fence_count = 1;
    frame.fence.syncobj = create.handle;
    CHECK_OK(update_do(fd, update));

    for (unsigned int bit = 1; bit < 32; bit++) {
        frame.fence.flags = 1u << bit;
        CHECK_ERRNO(update_do(fd, update), EINVAL);
    }
    frame.fence.flags = 0;
    /* a signalled fence has no points */
    frame.fence.syncobj = syncobj_create(fd);
    CHECK_ERRNO(update_do(fd, update), EINVAL);
    frame.fence.point = 1;
    CHECK_ERRNO(update_do(fd, update), EINVAL);
    frame.fence.point = 0;
    frame.fence.syncobj = BAD_HANDLE;
    CHECK_ERRNO(update_do(fd, update), ENOENT);
    frame.fence.syncobj = 0;
    CHECK_ERRNO(update_do(fd, update), ENOENT);

    frame.fence.flags = DRM_VIRTBUF_FENCE_SYNC_FILE;
    frame.fence.syncobj = (uint32_t)fd;
    CHECK_ERRNO(update_do(fd, update), EINVAL);
    frame.fence.syncobj = UINT32_MAX;
    CHECK_ERRNO(update_do(fd, update), EINVAL);
    frame.fence.point = 1;
    CHECK_ERRNO(update_do(fd, update), EINVAL);

    update->in_fences = BAD_POINTER;
    CHECK_ERRNO(update_do(fd, update), EFAULT);
    update->in_fences = 0;
    CHECK_ERRNO(update_do(fd, update), EFAULT);
    update->in_fences = PTR(fences);
    for (int i = 0; i < 65; i++) {
        fences[i].syncobj = create.handle;
    }
    update->in_fence_count = 64;
    CHECK_OK(update_do(fd, update));
    update->in_fence_count = 65;
    CHECK_ERRNO(update_do(fd, update), E2BIG);
    update->in_fence_count = UINT32_MAX;
    CHECK_ERRNO(update_do(fd, update), E2BIG);
    update->in_fence_count = 1;
    update->in_fence_stride = sizeof(fences[0]) - 1;
    CHECK_ERRNO(update_do(fd, update), EINVAL);
    update->in_fence_stride = 0;
    CHECK_ERRNO(update_do(fd, update), EINVAL);
    update->in_fences = PTR(wide_element(&fences[0], sizeof(fences[0])));
    update->in_fence_stride = stride_too_long();
    CHECK_ERRNO(update_do(fd, update), E2BIG);
    update->in_fence_stride = stride_longest();
    CHECK_OK(update_do(fd, update));
    update->in_fences = PTR(fences);
    /* what follows a longer element must be zero */
    update->in_fence_stride = 2 * sizeof(fences[0]);
    CHECK_ERRNO(update_do(fd, update), E2BIG);
    fences[1] = (struct drm_virtbuf_fence) { 0 };
    CHECK_OK(update_do(fd, update));
    /* of the second one, the handle is wrong */
    update->in_fence_stride = sizeof(fences[0]);
    update->in_fence_count = 2;
    CHECK_ERRNO(update_do(fd, update), ENOENT);
    close(fd);
}

static void point_fields(void)
{
    struct frame frame;
    int fd = device_open();
    struct drm_virtbuf_update *update = &frame.update;

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_IN_PLACE, 0);
    update->release_syncobj = syncobj_create(fd);
    CHECK_ERRNO(update_do(fd, update), EINVAL);
    update->release_point = 5;
    CHECK_OK(update_do(fd, update));
    CHECK_OK(syncobj_wait(fd, update->release_syncobj, 5, PATIENCE_MS));
    CHECK_ERRNO(update_do(fd, update), EINVAL);
    update->release_point = 4;
    CHECK_ERRNO(update_do(fd, update), EINVAL);
    update->release_point = 6;
    CHECK_OK(update_do(fd, update));
    update->release_syncobj = BAD_HANDLE;
    update->release_point = 7;
    CHECK_ERRNO(update_do(fd, update), ENOENT);
    update->release_syncobj = 0;
    CHECK_ERRNO(update_do(fd, update), EINVAL);
    close(fd);
}

/* A point that comes early waits for those before it in the same syncobj */
static void points_in_order(void)
{
    struct gate gate = gate_new();
    struct frame late, early;
    int fd = device_open();
    uint32_t syncobj = syncobj_create(fd);

    frame_init(&late, fd, DRM_VIRTBUF_MODE_LATEST, 0);
    frame_init(&early, fd, DRM_VIRTBUF_MODE_LATEST, 0);
    frame_wait_for(&late, &gate);
    late.update.release_syncobj = early.update.release_syncobj = syncobj;
    late.update.release_point = 1;
    frame_update(&late, fd);
    for (uint64_t point = 2; point <= 5; point++) {
        early.update.release_point = point;
        frame_update(&early, fd);
        check_released(fd, &early);
    }
    early.update.release_point = 5;
    CHECK_ERRNO(update_do(fd, &early.update), EINVAL);
    if (syncobj_wait(fd, syncobj, 1, HELD_MS) == 0) {
        gate_excuse(&gate);
        test_fail(__FILE__, __LINE__, "a later point has woken the first");
    }
    CHECK_EQ(syncobj_query(fd, syncobj), 0);
    gate_open(&gate);
    CHECK_OK(syncobj_wait(fd, syncobj, 5, PATIENCE_MS));
    /* a point twice, or out of order, would make it 0 */
    CHECK_EQ(syncobj_query(fd, syncobj), 5);
    close(fd);
    gate_end(&gate);
}

/* 200 updates of 4 buffers, all points in one syncobj */
static void many_points(void)
{
    struct frame frames[4];
    int fd = device_open();
    uint32_t syncobj = syncobj_create(fd);

    for (int i = 0; i < 4; i++) {
        frame_init(&frames[i], fd, DRM_VIRTBUF_MODE_IN_PLACE, i % 2);
    }
    for (uint64_t point = 1; point <= 200; point++) {
        struct frame *frame = &frames[rand() % 4];

        frame->update.release_syncobj = syncobj;
        frame->update.release_point = point;
        frame_update(frame, fd);
    }
    CHECK_OK(syncobj_wait(fd, syncobj, 200, PATIENCE_MS));
    CHECK_EQ(syncobj_query(fd, syncobj), 200);
    close(fd);
}

static uint32_t share_syncobj(int from, int to, uint32_t syncobj)
{
    struct drm_syncobj_handle handle = { .handle = syncobj };

    CHECK_OK(ioctl(from, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &handle));
    CHECK_OK(ioctl(to, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &handle));
    close(handle.fd);
    return handle.handle;
}

static void unregister_drops(void)
{
    struct gate gate = gate_new();
    struct frame frame;
    int fd = device_open();
    uint32_t syncobj = syncobj_create(fd);

    frame_init(&frame, fd, DRM_VIRTBUF_MODE_IN_PLACE, 0);
    frame_wait_for(&frame, &gate);
    for (uint64_t point = 1; point <= 3; point++) {
        frame.update.release_syncobj = syncobj;
        frame.update.release_point = point;
        frame_update(&frame, fd);
    }
    check_held(fd, &frame, &gate);
    buffer_take_back(fd, frame.buffer);
    CHECK_OK(syncobj_wait(fd, syncobj, 3, PATIENCE_MS));
    CHECK_EQ(syncobj_query(fd, syncobj), 3);
    /* nobody is there to hear of it */
    gate_open(&gate);
    close(fd);
    gate_end(&gate);
}

static void close_drops(void)
{
    struct gate gate = gate_new();
    int watcher = device_open();
    uint32_t syncobj = syncobj_create(watcher);

    for (uint64_t point = 1; point <= 10; point++) {
        struct frame frame;
        int fd = device_open();

        frame_init(&frame, fd, DRM_VIRTBUF_MODE_LATEST, 1);
        frame_wait_for(&frame, &gate);
        frame.update.release_syncobj = share_syncobj(watcher, fd, syncobj);
        frame.update.release_point = point;
        frame_update(&frame, fd);
        close(fd);
        CHECK_OK(syncobj_wait(watcher, syncobj, point, PATIENCE_MS));
    }
    CHECK_EQ(syncobj_query(watcher, syncobj), 10);
    close(watcher);
    gate_end(&gate);
    check_nothing_leaked();
}

static void kill_drops(void)
{
    struct gate gate = gate_new();
    int watcher = device_open(), status;
    uint32_t syncobj = syncobj_create(watcher);
    pid_t pid = fork();

    CHECK_OK(pid);
    if (pid == 0) {
        int fd = device_open();
        struct frame frames[8];

        for (int i = 0; i < 8; i++) {
            frame_init(&frames[i], fd, DRM_VIRTBUF_MODE_LATEST, 1);
            frame_wait_for(&frames[i], &gate);
            frames[i].update.release_syncobj =
                share_syncobj(watcher, fd, syncobj);
            frames[i].update.release_point = i + 1;
            frame_update(&frames[i], fd);
        }
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK_OK(syncobj_wait(watcher, syncobj, 8, PATIENCE_MS));
    close(watcher);
    gate_end(&gate);
    check_nothing_leaked();
}

/* Queues and gives up in every order that comes up */
static void churn(void)
{
    int fd = device_open();

    for (int round = 0; round < 30; round++) {
        struct gate gates[3] = { gate_new(), gate_new(), gate_new() };
        struct frame frames[3];

        for (int i = 0; i < 3; i++) {
            frame_init(&frames[i], fd, DRM_VIRTBUF_MODE_LATEST, i / 2);
            frame_wait_for(&frames[i], &gates[i]);
            frame_update(&frames[i], fd);
        }
        for (int i = 0; i < 3; i++) {
            if (rand() % 2) {
                gate_open(&gates[rand() % 3]);
            }
            if (rand() % 2) {
                buffer_take_back(fd, frames[i].buffer);
                frames[i].buffer = 0;
            }
        }
        for (int i = 0; i < 3; i++) {
            if (frames[i].buffer) {
                buffer_take_back(fd, frames[i].buffer);
            }
            bo_close(fd, frames[i].bo);
            gate_end(&gates[i]);
        }
    }
    close(fd);
    check_nothing_leaked();
}

static const struct test tests[] = {
    { "waits-for-sync-file", waits_for_sync_file, 0 },
    { "waits-for-syncobj", waits_for_syncobj, 0 },
    { "waits-for-all", waits_for_all, 0 },
    { "waits-for-writers", waits_for_writers, 0 },
    { "stream-order", stream_order, 0 },
    { "buffer-order", buffer_order, 0 },
    { "wait-fences", wait_fences, 0 },
    { "never-signalled", never_signalled, 0 },
    { "signalled-at-once", signalled_at_once, 0 },
    { "failed-fence", failed_fence, 0 },
    { "event-of-failed-fence", event_of_failed_fence, 0 },
    { "event-of-never-signalled", event_of_never_signalled, 0 },
    { "late-properties", late_properties, 0 },
    { "queue-is-bounded", queue_is_bounded, 0 },
    { "fence-fields", fence_fields, 0 },
    { "point-fields", point_fields, 0 },
    { "points-in-order", points_in_order, 0 },
    { "many-points", many_points, 0 },
    { "unregister-drops", unregister_drops, 0 },
    { "close-drops", close_drops, 0 },
    { "kill-drops", kill_drops, 0 },
    { "churn", churn, 0 },
};

const struct suite sync_suite = SUITE("sync", tests);
