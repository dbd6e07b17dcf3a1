/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: shortage. Each allocation that a call makes fails once.
 *
 * /proc/self/fail-nth makes the kernel's n-th allocation of this task fail, so
 * that one call after the other goes one allocation further, until it succeeds
 * without a failure. Needs CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/udmabuf.h>

#include "device.h"
#include "gate.h"
#include "suites.h"

#define DEBUGFS         "/sys/kernel/debug/"
/* No call allocates so often */
#define FAR             3000

static int fail_nth;

static void write_setting(const char *folder, const char *name,
                          const char *value)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), DEBUGFS "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        test_skip("%s: %s: no fault injection in this kernel", path,
                  errno_name(errno));
    }
    CHECK_OK(write(fd, value, strlen(value)));
    close(fd);
}

static void setup(void)
{
    static const char *const folders[] = { "failslab", "fail_page_alloc" };

    for (int i = 0; i < 2; i++) {
        write_setting(folders[i], "verbose", "0");
        write_setting(folders[i], "ignore-gfp-wait", "N");
        write_setting(folders[i], "times", "-1");
    }
    write_setting("failslab", "cache-filter", "N");
    write_setting("fail_page_alloc", "ignore-gfp-highmem", "N");
    write_setting("fail_page_alloc", "min-order", "0");
    fail_nth = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
    CHECK_OK(fail_nth);
}

static void arm(unsigned int nth)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", nth);
    CHECK_EQ(pwrite(fail_nth, text, strlen(text), 0), (ssize_t)strlen(text));
}

/* Ends it; was there a failure? */
static bool disarm(void)
{
    char text[16] = { 0 };

    CHECK(pread(fail_nth, text, sizeof(text) - 1, 0) > 0);
    CHECK_EQ(pwrite(fail_nth, "0", 1, 0), 1);
    return atoi(text) == 0;
}

struct fixture {
    int fd;
    uint64_t page;
    uint32_t bo;
    off_t offset;
    uint32_t buffer;
    int dmabuf;                 /* of another driver */
    uint32_t written;           /* a buffer that a consumer has written */
    uint32_t syncobj;
    uint64_t point, serial;     /* of the last update with them */
    struct gate gate;
};

static struct fixture fixture_new(void)
{
    struct fixture f = { .fd = device_open(), .dmabuf = -1 };

    f.page = device_page(f.fd);
    f.bo = bo_create(f.fd, 4 * f.page);
    f.offset = (off_t)bo_map_offset(f.fd, f.bo);
    /* in place: an UPDATE need not wait for the one before */
    f.buffer = buffer_register_for(f.fd, f.bo, f.page, APPLICATION_ALONE,
                                   DRM_VIRTBUF_MODE_IN_PLACE);
    return f;
}

static int do_open(struct fixture *f)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
    fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? -1 : close(fd);
}

static int do_bo_create(struct fixture *f)
{
    struct drm_virtbuf_bo_create args = { .size = 64 * f->page };

    if (ioctl(f->fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &args) < 0) {
        return -1;
    }
    bo_close(f->fd, args.handle);
    return 0;
}

static int do_register(struct fixture *f)
{
    const struct drm_virtbuf_property list[] = {
        property("title", "short"), property("width", "16"),
    };
    struct registration reg;

    registration_init(&reg, f->bo, f->page);
    reg.ranges[0].offset = f->page;
    reg.args.properties = PTR(list);
    reg.args.property_count = 2;
    reg.args.stream = 1;
    if (registration_do(f->fd, &reg) < 0) {
        return -1;
    }
    buffer_take_back(f->fd, reg.args.buffer);
    return 0;
}

static int do_set_properties(struct fixture *f)
{
    struct drm_virtbuf_property one = property("title", "again");

    return properties_set(f->fd, f->buffer, &one, 1);
}

static int do_update(struct fixture *f)
{
    struct drm_virtbuf_property one = property("title", "once more");
    struct drm_virtbuf_update update = update_of(f->buffer, f->page);

    update.properties = PTR(&one);
    update.property_count = 1;
    if (update_do(f->fd, &update) < 0) {
        return -1;
    }
    return wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_RELEASED,
                    update.serial, PATIENCE_MS);
}

static void before_fenced_update(struct fixture *f)
{
    f->gate = gate_new();
    if (!f->syncobj) {
        f->syncobj = syncobj_create(f->fd);
    }
    f->point++;
    f->serial = 0;
}

static int do_fenced_update(struct fixture *f)
{
    struct drm_virtbuf_fence fence = {
        .flags = DRM_VIRTBUF_FENCE_SYNC_FILE,
        .syncobj = (uint32_t)f->gate.sync_file,
    };
    struct drm_virtbuf_update update = update_of(f->buffer, f->page);

    update.in_fences = PTR(&fence);
    update.in_fence_count = 1;
    update.release_syncobj = f->syncobj;
    update.release_point = f->point;
    if (update_do(f->fd, &update) < 0) {
        return -1;
    }
    f->serial = update.serial;
    return 0;
}

/* What was queued is sent, and what was refused is forgotten */
static void after_fenced_update(struct fixture *f)
{
    if (f->serial) {
        CHECK_ERRNO(wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_RELEASED,
                             f->serial, 0), ETIME);
    }
    gate_open(&f->gate);
    gate_end(&f->gate);
    if (f->serial) {
        CHECK_OK(wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_RELEASED,
                          f->serial, PATIENCE_MS));
        CHECK_OK(syncobj_wait(f->fd, f->syncobj, f->point, PATIENCE_MS));
    }
}

static int do_consumers(struct fixture *f)
{
    struct drm_virtbuf_consumers args = {
        .application = PTR(APPLICATION_ALONE),
        .application_len = strlen(APPLICATION_ALONE),
    };

    return ioctl(f->fd, DRM_IOCTL_VIRTBUF_CONSUMERS, &args);
}

static int do_events(struct fixture *f)
{
    struct drm_virtbuf_events args = {
        .conditions = 1 << DRM_VIRTBUF_WAIT_CONSUMERS,
    };

    return ioctl(f->fd, DRM_IOCTL_VIRTBUF_EVENTS, &args);
}

static int do_get_properties(struct fixture *f)
{
    uint8_t room[256];
    struct drm_virtbuf_get_properties args = {
        .buffer = f->buffer, .data = PTR(room), .size = sizeof(room),
    };

    return ioctl(f->fd, DRM_IOCTL_VIRTBUF_GET_PROPERTIES, &args);
}

static void before_get_written(struct fixture *f)
{
    struct registration reg;

    if (f->written) {
        return;
    }
    registration_init(&reg, bo_create(f->fd, f->page), f->page);
    reg.args.application = PTR(APPLICATION_WRITER);
    reg.args.application_len = strlen(APPLICATION_WRITER);
    reg.args.mode = DRM_VIRTBUF_MODE_EVERY;
    reg.args.access = DRM_VIRTBUF_ACCESS_WRITER;
    CHECK_OK(registration_do(f->fd, &reg));
    f->written = reg.args.buffer;
    CHECK_OK(wait_one(f->fd, f->written, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                      PATIENCE_MS));
    buffer_update(f->fd, f->written, f->page);
    CHECK_OK(wait_one(f->fd, f->written, DRM_VIRTBUF_WAIT_WRITTEN, 1,
                      PATIENCE_MS));
}

static int do_get_written(struct fixture *f)
{
    struct drm_virtbuf_rect rects[DRM_VIRTBUF_MAX_DAMAGE];
    struct drm_virtbuf_span spans[DRM_VIRTBUF_MAX_DAMAGE];
    uint8_t records[1024];
    struct drm_virtbuf_get_written args = {
        .buffer = f->written,
        .rects = PTR(rects), .rect_count = DRM_VIRTBUF_MAX_DAMAGE,
        .spans = PTR(spans), .span_count = DRM_VIRTBUF_MAX_DAMAGE,
        .properties = PTR(records), .property_size = sizeof(records),
    };

    return ioctl(f->fd, DRM_IOCTL_VIRTBUF_GET_WRITTEN, &args);
}

static int do_userptr(struct fixture *f)
{
    static uint8_t memory[8 * 4096] __attribute__((aligned(4096)));
    struct drm_virtbuf_bo_userptr args = {
        .addr = PTR(memory), .size = sizeof(memory),
    };

    memset(memory, 1, sizeof(memory));
    if (ioctl(f->fd, DRM_IOCTL_VIRTBUF_BO_USERPTR, &args) < 0) {
        return -1;
    }
    bo_close(f->fd, args.handle);
    return 0;
}

static void before_userptr(struct fixture *f)
{
    /* its pages are there: what is short is the kernel's memory */
    CHECK_OK(do_userptr(f));
}

static void before_import(struct fixture *f)
{
    struct udmabuf_create create = { .flags = UDMABUF_FLAGS_CLOEXEC,
                                     .size = 16 * 4096 };
    int udmabuf, memfd;

    if (f->dmabuf >= 0) {
        return;
    }
    udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    if (udmabuf < 0) {
        test_skip("/dev/udmabuf in the guest: %s", errno_name(errno));
    }
    memfd = memfd_create("source", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK_OK(memfd);
    CHECK_OK(ftruncate(memfd, (off_t)create.size));
    CHECK_OK(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK));
    create.memfd = (uint32_t)memfd;
    f->dmabuf = ioctl(udmabuf, UDMABUF_CREATE, &create);
    CHECK_OK(f->dmabuf);
    close(memfd);
    close(udmabuf);
}

static int do_import(struct fixture *f)
{
    struct drm_prime_handle args = { .fd = f->dmabuf };

    if (ioctl(f->fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &args) < 0) {
        return -1;
    }
    bo_close(f->fd, args.handle);
    return 0;
}

static int do_wait(struct fixture *f)
{
    return wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 0, -1);
}

static int do_export(struct fixture *f)
{
    struct drm_prime_handle args = {
        .handle = f->bo, .flags = DRM_RDWR | DRM_CLOEXEC,
    };

    if (ioctl(f->fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &args) < 0) {
        return -1;
    }
    return close(args.fd);
}

static int do_map(struct fixture *f)
{
    void *p = mmap(NULL, f->page, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd,
                   f->offset);

    return p == MAP_FAILED ? -1 : munmap(p, f->page);
}

/* A call, and what is done before and after it, with all the memory it needs */
struct call {
    void (*before)(struct fixture *f);
    int (*run)(struct fixture *f);
    void (*after)(struct fixture *f);
    bool allocates;
};

/* @nth: the allocation that fails; gives whether there was one */
static bool run_once(struct fixture *f, const struct call *call,
                     unsigned int nth, unsigned int *failures)
{
    bool failed;
    int ret, error;

    if (call->before) {
        call->before(f);
    }
    arm(nth);
    ret = call->run(f);
    error = errno;
    failed = disarm();
    if (call->after) {
        call->after(f);
    }
    if (ret < 0) {
        CHECK(failed);
        if (error != ENOMEM && error != EINTR) {
            test_fail(__FILE__, __LINE__, "allocation %u fails: %s", nth,
                      errno_name(error));
        }
        (*failures)++;
    }
    return failed;
}

/* Fails in each of its allocations, then succeeds; nothing is left behind */
static void run_short(const struct call *call)
{
    struct fixture f = fixture_new();
    unsigned int nth = 1, failures = 0;

    setup();
    while (run_once(&f, call, nth, &failures)) {
        CHECK(++nth < FAR);
    }
    CHECK_EQ(failures > 0, call->allocates);
    test_note("%u allocations, %u of them make the call fail", nth - 1,
              failures);
    close(fail_nth);
    buffer_update(f.fd, f.buffer, f.page);
    buffer_take_back(f.fd, f.buffer);
    if (f.dmabuf >= 0) {
        close(f.dmabuf);
    }
    close(f.fd);
    check_nothing_leaked();
}

#define SHORT(name, ...) \
    static void short_##name(void) \
    { \
        static const struct call call = { \
            .run = do_##name, __VA_ARGS__ \
        }; \
        run_short(&call); \
    }

SHORT(open, .allocates = true)
SHORT(bo_create, .allocates = true)
SHORT(userptr, .before = before_userptr, .allocates = true)
SHORT(import, .before = before_import, .allocates = true)
SHORT(register, .allocates = true)
SHORT(set_properties, .allocates = true)
SHORT(get_properties, .allocates = false)
SHORT(update, .allocates = true)
SHORT(fenced_update, .before = before_fenced_update,
      .after = after_fenced_update, .allocates = true)
SHORT(wait, .allocates = true)
SHORT(consumers, .allocates = true)
SHORT(events, .allocates = true)
SHORT(get_written, .before = before_get_written, .allocates = false)
SHORT(export, .allocates = true)
SHORT(map, .allocates = true)

static const struct test tests[] = {
    { "open", short_open, 0 },
    { "bo-create", short_bo_create, 0 },
    { "userptr", short_userptr, 0 },
    { "import", short_import, 0 },
    { "register", short_register, 0 },
    { "set-properties", short_set_properties, 0 },
    { "get-properties", short_get_properties, 0 },
    { "update", short_update, 0 },
    { "fenced-update", short_fenced_update, 0 },
    { "wait", short_wait, 0 },
    { "consumers", short_consumers, 0 },
    { "events", short_events, 0 },
    { "get-written", short_get_written, NEEDS_WRITER },
    { "export", short_export, 0 },
    { "map", short_map, 0 },
};

const struct suite shortage_suite = SUITE("shortage", tests);
