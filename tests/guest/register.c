/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: REGISTER and UNREGISTER. Ranges, application names, flags,
 * handles of others.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

/* The smallest buffer, for one wrong field at a time */
struct fixture {
    int fd;
    uint64_t page;
    uint32_t bo;
    struct registration reg;
};

/* Points into itself, so it must not move; one for each test's process */
static struct fixture fixture;

static struct fixture *fixture_new(unsigned int pages)
{
    struct fixture *f = &fixture;

    f->fd = device_open();
    f->page = device_page(f->fd);
    f->bo = bo_create(f->fd, pages * f->page);
    registration_init(&f->reg, f->bo, pages * f->page);
    /* what is wrong later on is wrong for its one wrong field */
    CHECK_OK(registration_do(f->fd, &f->reg));
    buffer_take_back(f->fd, f->reg.args.buffer);
    return f;
}

/* After errors, the same thing done right must still work */
static void fixture_end(struct fixture *f)
{
    uint32_t buffer = buffer_register(f->fd, f->bo, f->page);

    buffer_take_back(f->fd, buffer);
    close(f->fd);
}

static void answer(void)
{
    struct fixture *f = fixture_new(2);
    static const uint8_t nothing[DRM_VIRTBUF_UUID_SIZE];
    uint8_t uuid[DRM_VIRTBUF_UUID_SIZE];
    uint64_t id;

    CHECK_OK(registration_do(f->fd, &f->reg));
    CHECK(f->reg.args.buffer != 0);
    CHECK(f->reg.args.backing == DRM_VIRTBUF_BACKING_COPY ||
          f->reg.args.backing == DRM_VIRTBUF_BACKING_DMABUF);
    CHECK(f->reg.args.reason <= VIRTIO_BUF_REASON_FAILED);
    /* a copy has a reason */
    CHECK(f->reg.args.backing == DRM_VIRTBUF_BACKING_DMABUF ||
          f->reg.args.reason != VIRTIO_BUF_REASON_NONE);
    CHECK(f->reg.args.buffer_id != 0);
    CHECK(memcmp(f->reg.args.uuid, nothing, sizeof(nothing)) != 0);
    registration_expect_shared(&f->reg);
    test_note("backing %u, reason %u", f->reg.args.backing, f->reg.args.reason);
    memcpy(uuid, f->reg.args.uuid, sizeof(uuid));
    id = f->reg.args.buffer_id;
    buffer_take_back(f->fd, f->reg.args.buffer);
    registration_init(&f->reg, f->bo, f->page);
    CHECK_OK(registration_do(f->fd, &f->reg));
    CHECK(f->reg.args.buffer_id > id);
    CHECK(memcmp(f->reg.args.uuid, uuid, sizeof(uuid)) != 0);
    buffer_take_back(f->fd, f->reg.args.buffer);
    close(f->fd);
}

static void ranges_one_to_four(void)
{
    struct fixture *f = fixture_new(8);
    uint32_t second = bo_create(f->fd, 8 * f->page);

    for (uint32_t count = 1; count <= DRM_VIRTBUF_MAX_BO_RANGES; count++) {
        registration_init(&f->reg, f->bo, f->page);
        for (uint32_t i = 0; i < count; i++) {
            f->reg.ranges[i] = (struct drm_virtbuf_bo_range) {
                .handle = i % 2 ? second : f->bo,
                .offset = 2 * i * f->page,
                .size = f->page,
            };
        }
        f->reg.args.range_count = count;
        CHECK_OK(registration_do(f->fd, &f->reg));
        /* the buffer is as large as its ranges together */
        buffer_update(f->fd, f->reg.args.buffer, count * f->page);
        {
            struct drm_virtbuf_update update =
                update_of(f->reg.args.buffer, count * f->page + 1);

            CHECK_ERRNO(update_do(f->fd, &update), EINVAL);
        }
        buffer_take_back(f->fd, f->reg.args.buffer);
    }
    close(f->fd);
}

static void range_counts(void)
{
    struct fixture *f = fixture_new(8);

    for (uint32_t i = 0; i <= DRM_VIRTBUF_MAX_BO_RANGES; i++) {
        f->reg.ranges[i] = (struct drm_virtbuf_bo_range) {
            .handle = f->bo, .offset = i * f->page, .size = f->page,
        };
    }
    f->reg.args.range_count = 0;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    f->reg.args.range_count = DRM_VIRTBUF_MAX_BO_RANGES + 1;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    f->reg.args.range_count = UINT32_MAX;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    fixture_end(f);
}

static void range_pointers(void)
{
    struct fixture *f = fixture_new(1);

    f->reg.args.ranges = 0;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EFAULT);
    f->reg.args.ranges = BAD_POINTER;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EFAULT);
    f->reg.args.ranges = UINT64_MAX - 8;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EFAULT);
    fixture_end(f);
}

static void range_strides(void)
{
    struct fixture *f = fixture_new(4);
    struct {
        struct drm_virtbuf_bo_range range;
        uint64_t future;
    } longer[2] = {
        { .range = { .handle = f->bo, .size = f->page } },
        { .range = { .handle = f->bo, .offset = f->page, .size = f->page } },
    };

    f->reg.args.range_stride = 0;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    f->reg.args.range_stride = sizeof(longer[0].range) - 8;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    f->reg.args.ranges = PTR(wide_element(&longer[0].range,
                                          sizeof(longer[0].range)));
    f->reg.args.range_stride = stride_too_long();
    CHECK_ERRNO(registration_do(f->fd, &f->reg), E2BIG);
    f->reg.args.range_stride = UINT32_MAX;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), E2BIG);
    f->reg.args.range_stride = stride_longest();
    CHECK_OK(registration_do(f->fd, &f->reg));
    buffer_take_back(f->fd, f->reg.args.buffer);
    f->reg.args.ranges = PTR(longer);
    f->reg.args.range_count = 2;
    f->reg.args.range_stride = sizeof(longer[0]);
    longer[1].future = 1;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL, E2BIG);
    longer[1].future = 0;
    CHECK_OK(registration_do(f->fd, &f->reg));
    buffer_take_back(f->fd, f->reg.args.buffer);
    close(f->fd);
}

static void range_values(void)
{
    struct fixture *f = fixture_new(4);
    const struct {
        uint64_t offset, size;
        uint32_t pad;
    } cases[] = {
        { 0, 0, 0 }, { 0, 1, 0 }, { 1, f->page, 0 }, { 0, f->page - 1, 0 },
        { 0, 5 * f->page, 0 }, { 4 * f->page, f->page, 0 },
        { 3 * f->page, 2 * f->page, 0 }, { f->page, 4 * f->page, 0 },
        { -f->page, f->page, 0 }, { -f->page, 2 * f->page, 0 },
        { f->page, -f->page, 0 }, { 0, -f->page, 0 },
        { UINT64_MAX, UINT64_MAX, 0 }, { 0, f->page, 1 },
        { 0, f->page, UINT32_MAX }, { 512, 512, 0 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        registration_init(&f->reg, f->bo, f->page);
        f->reg.ranges[0].offset = cases[i].offset;
        f->reg.ranges[0].size = cases[i].size;
        f->reg.ranges[0].pad = cases[i].pad;
        if (registration_do(f->fd, &f->reg) >= 0 || errno != EINVAL) {
            test_fail(__FILE__, __LINE__, "case %zu was not EINVAL", i);
        }
    }
    /* the second range is checked like the first */
    registration_init(&f->reg, f->bo, f->page);
    f->reg.args.range_count = 2;
    f->reg.ranges[1] = (struct drm_virtbuf_bo_range) {
        .handle = f->bo, .offset = 3 * f->page, .size = 2 * f->page,
    };
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    fixture_end(f);
}

/* A page twice in one buffer can have no one meaning */
static void range_overlaps_itself(void)
{
    struct fixture *f = fixture_new(4);

    f->reg.ranges[0].size = 2 * f->page;
    f->reg.ranges[1] = f->reg.ranges[0];
    f->reg.ranges[1].offset = f->page;
    f->reg.args.range_count = 2;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    fixture_end(f);
}

static void range_handles(void)
{
    struct fixture *f = fixture_new(1);
    int other = device_open();
    uint32_t closed = bo_create(f->fd, f->page), foreign;

    bo_close(f->fd, closed);
    f->reg.ranges[0].handle = closed;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), ENOENT);
    f->reg.ranges[0].handle = 0;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), ENOENT);
    f->reg.ranges[0].handle = BAD_HANDLE;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), ENOENT);
    /* handles of another file: more than this file has ever had */
    for (int i = 0; i < 8; i++) {
        foreign = bo_create(other, f->page);
    }
    f->reg.ranges[0].handle = foreign;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), ENOENT);
    f->reg.ranges[0].handle = f->bo;
    f->reg.ranges[1].handle = BAD_HANDLE;
    f->reg.ranges[1].size = f->page;
    f->reg.args.range_count = 2;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), ENOENT);
    close(other);
    fixture_end(f);
}

static void flags(void)
{
    struct fixture *f = fixture_new(1);

    for (unsigned int bit = 0; bit < 32; bit++) {
        f->reg.args.flags = 1u << bit;
        CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    }
    f->reg.args.flags = 0;
    f->reg.args.mode = DRM_VIRTBUF_MODE_EVERY + 1;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    f->reg.args.mode = 0x100; /* the wire has 8 bits for it */
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    f->reg.args.mode = DRM_VIRTBUF_MODE_EVERY;
    f->reg.args.access = DRM_VIRTBUF_ACCESS_WRITER + 1;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    f->reg.args.access = 0x100;
    CHECK_ERRNO(registration_do(f->fd, &f->reg), EINVAL);
    fixture_end(f);
}

static void writer_access(void)
{
    struct fixture *f = fixture_new(1);

    f->reg.args.access = DRM_VIRTBUF_ACCESS_WRITER;
    if (device_feature(f->fd, DRM_VIRTBUF_FEATURE_WRITER)) {
        CHECK_OK(registration_do(f->fd, &f->reg));
        buffer_take_back(f->fd, f->reg.args.buffer);
    } else {
        CHECK_ERRNO(registration_do(f->fd, &f->reg), EOPNOTSUPP);
    }
    fixture_end(f);
}

static void modes(void)
{
    struct fixture *f = fixture_new(1);
    uint32_t buffer;

    for (uint32_t mode = DRM_VIRTBUF_MODE_IN_PLACE;
         mode <= DRM_VIRTBUF_MODE_EVERY; mode++) {
        buffer = buffer_register_for(f->fd, f->bo, f->page, APPLICATION_ALONE,
                                     mode);
        /* with no consumer nobody holds it: never busy */
        buffer_update(f->fd, buffer, f->page);
        buffer_update(f->fd, buffer, f->page);
        buffer_take_back(f->fd, buffer);
    }
    close(f->fd);
}

static int register_name(struct fixture *f, const char *name, uint32_t len)
{
    f->reg.args.application = PTR(name);
    f->reg.args.application_len = len;
    return registration_do(f->fd, &f->reg);
}

static void application_names(void)
{
    struct fixture *f = fixture_new(1);
    static const char *const broken[] = {
        "\xff", "a\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xe2\x82", "ok\xc3",
    };
    char name[80];

    memset(name, 'a', sizeof(name));
    CHECK_ERRNO(register_name(f, name, 0), EINVAL);
    CHECK_ERRNO(register_name(f, name, DRM_VIRTBUF_APPLICATION_MAX + 1),
                EINVAL);
    CHECK_ERRNO(register_name(f, name, UINT32_MAX), EINVAL);
    CHECK_ERRNO(register_name(f, "a\0b", 3), EINVAL);
    CHECK_ERRNO(register_name(f, "ab\0", 3), EINVAL);
    CHECK_ERRNO(register_name(f, "\0", 1), EINVAL);
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        CHECK_ERRNO(register_name(f, broken[i],
                                  (uint32_t)strlen(broken[i])), EINVAL);
    }
    CHECK_ERRNO(register_name(f, NULL, 4), EFAULT);
    CHECK_ERRNO(register_name(f, (const char *)BAD_POINTER, 4), EFAULT);
    CHECK_OK(register_name(f, name, DRM_VIRTBUF_APPLICATION_MAX));
    buffer_take_back(f->fd, f->reg.args.buffer);
    CHECK_OK(register_name(f, "gr\xc3\xbc\xc3\x9f \xf0\x9f\x8e\xac", 11));
    buffer_take_back(f->fd, f->reg.args.buffer);
    fixture_end(f);
}

/* The name ends where mapped memory ends: not one byte more is read */
static void application_at_the_end_of_memory(void)
{
    struct fixture *f = fixture_new(1);
    long page = sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    CHECK_OK(munmap(p + page, (size_t)page));
    memcpy(p + page - 4, "last", 4);
    CHECK_OK(register_name(f, p + page - 4, 4));
    buffer_take_back(f->fd, f->reg.args.buffer);
    CHECK_ERRNO(register_name(f, p + page - 4, 5), EFAULT);
    munmap(p, (size_t)page);
    fixture_end(f);
}

static void bo_closed_while_registered(void)
{
    struct fixture *f = fixture_new(1);
    uint32_t buffer = buffer_register(f->fd, f->bo, f->page);

    bo_close(f->fd, f->bo);
    buffer_update(f->fd, buffer, f->page);
    buffer_take_back(f->fd, buffer);
    close(f->fd);
}

static void unregister_errors(void)
{
    struct fixture *f = fixture_new(1);
    struct drm_virtbuf_unregister args = { .buffer = 0 };
    int other = device_open();

    CHECK_ERRNO(ioctl(f->fd, DRM_IOCTL_VIRTBUF_UNREGISTER, &args), ENOENT);
    args.buffer = BAD_HANDLE;
    CHECK_ERRNO(ioctl(f->fd, DRM_IOCTL_VIRTBUF_UNREGISTER, &args), ENOENT);
    args.buffer = UINT32_MAX;
    CHECK_ERRNO(ioctl(f->fd, DRM_IOCTL_VIRTBUF_UNREGISTER, &args), ENOENT);
    args.buffer = buffer_register(f->fd, f->bo, f->page);
    CHECK_ERRNO(ioctl(other, DRM_IOCTL_VIRTBUF_UNREGISTER, &args), ENOENT);
    buffer_take_back(f->fd, args.buffer);
    CHECK_ERRNO(ioctl(f->fd, DRM_IOCTL_VIRTBUF_UNREGISTER, &args), ENOENT);
    close(other);
    close(f->fd);
}

/* One memory as two buffers: the second one gets a copy, or is refused */
static void bo_twice(void)
{
    struct fixture *f = fixture_new(1);
    uint32_t first = buffer_register(f->fd, f->bo, f->page);

    if (registration_do(f->fd, &f->reg) == 0) {
        CHECK_EQ(f->reg.args.backing, DRM_VIRTBUF_BACKING_COPY);
        buffer_take_back(f->fd, f->reg.args.buffer);
    } else {
        CHECK_EQ(errno, EBUSY);
    }
    buffer_take_back(f->fd, first);
    close(f->fd);
}

static void many_rounds(void)
{
    struct fixture *f = fixture_new(1);

    for (int i = 0; i < 50; i++) {
        uint32_t buffer = buffer_register(f->fd, f->bo, f->page);

        buffer_update(f->fd, buffer, f->page);
        buffer_take_back(f->fd, buffer);
    }
    close(f->fd);
}

static const struct test tests[] = {
    { "answer", answer, 0 },
    { "ranges-one-to-four", ranges_one_to_four, 0 },
    { "range-counts", range_counts, 0 },
    { "range-pointers", range_pointers, 0 },
    { "range-strides", range_strides, 0 },
    { "range-values", range_values, 0 },
    { "range-overlaps-itself", range_overlaps_itself, 0 },
    { "range-handles", range_handles, 0 },
    { "flags", flags, 0 },
    { "writer-access", writer_access, 0 },
    { "modes", modes, 0 },
    { "application-names", application_names, 0 },
    { "application-at-the-end-of-memory", application_at_the_end_of_memory,
      0 },
    { "bo-closed-while-registered", bo_closed_while_registered, 0 },
    { "unregister-errors", unregister_errors, 0 },
    { "bo-twice", bo_twice, 0 },
    { "many-rounds", many_rounds, 0 },
};

const struct suite register_suite = SUITE("register", tests);
