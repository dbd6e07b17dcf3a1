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

#include "device.h"
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
};

static struct fixture fixture_new(void)
{
    struct fixture f = { .fd = device_open() };

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

/* Fails in each of its allocations, then succeeds; nothing is left behind */
static void run_short(int (*run)(struct fixture *f))
{
    struct fixture f = fixture_new();
    unsigned int nth, failures = 0;

    setup();
    for (nth = 1; nth < FAR; nth++) {
        bool failed;
        int ret, error;

        arm(nth);
        ret = run(&f);
        error = errno;
        failed = disarm();
        if (ret < 0) {
            CHECK(failed);
            if (error != ENOMEM && error != EINTR) {
                test_fail(__FILE__, __LINE__, "allocation %u fails: %s", nth,
                          errno_name(error));
            }
            failures++;
        } else if (!failed) {
            break;
        }
    }
    CHECK(nth < FAR);
    CHECK(failures > 0);
    test_note("%u allocations, %u of them make the call fail", nth - 1,
              failures);
    close(fail_nth);
    CHECK_OK(run(&f));
    buffer_update(f.fd, f.buffer, f.page);
    buffer_take_back(f.fd, f.buffer);
    close(f.fd);
    check_nothing_leaked();
}

#define SHORT(name) \
    static void short_##name(void) \
    { \
        run_short(do_##name); \
    }

SHORT(open)
SHORT(bo_create)
SHORT(register)
SHORT(set_properties)
SHORT(update)
SHORT(wait)
SHORT(export)
SHORT(map)

static const struct test tests[] = {
    { "open", short_open, 0 },
    { "bo-create", short_bo_create, 0 },
    { "register", short_register, 0 },
    { "set-properties", short_set_properties, 0 },
    { "update", short_update, 0 },
    { "wait", short_wait, 0 },
    { "export", short_export, 0 },
    { "map", short_map, 0 },
};

const struct suite shortage_suite = SUITE("shortage", tests);
