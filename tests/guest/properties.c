/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: properties. Set, read, delete, all or none, limits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

struct fixture {
    int fd;
    uint64_t page;
    uint32_t bo;
    uint32_t buffer;
};

static struct fixture fixture_new(void)
{
    struct fixture f = { .fd = device_open() };
    struct drm_virtbuf_property title = property("title", "before");
    struct registration reg;

    f.page = device_page(f.fd);
    f.bo = bo_create(f.fd, f.page);
    registration_init(&reg, f.bo, f.page);
    reg.args.properties = PTR(&title);
    reg.args.property_count = 1;
    CHECK_OK(registration_do(f.fd, &reg));
    f.buffer = reg.args.buffer;
    return f;
}

static void fixture_end(struct fixture *f)
{
    buffer_take_back(f->fd, f->buffer);
    close(f->fd);
}

static void set_and_get(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_property list[] = {
        property("fourcc", "XR24"),
        property("width", "1920"),
        property("example.note", "gr\xc3\xbc\xc3\x9f=dich"),
        property("empty", ""),
    };

    property_expect(f.fd, f.buffer, "title", "before");
    CHECK_OK(properties_set(f.fd, f.buffer, list, 4));
    CHECK_EQ(properties_count(f.fd, f.buffer), 5);
    property_expect(f.fd, f.buffer, "fourcc", "XR24");
    property_expect(f.fd, f.buffer, "width", "1920");
    property_expect(f.fd, f.buffer, "example.note", "gr\xc3\xbc\xc3\x9f=dich");
    property_expect(f.fd, f.buffer, "empty", "");
    property_expect(f.fd, f.buffer, "title", "before");
    list[0] = property("title", "a longer title than it was before");
    list[1] = property_delete("width");
    list[2] = property_delete("never there");
    CHECK_OK(properties_set(f.fd, f.buffer, list, 3));
    CHECK_EQ(properties_count(f.fd, f.buffer), 4);
    property_expect(f.fd, f.buffer, "title",
                    "a longer title than it was before");
    property_expect(f.fd, f.buffer, "width", NULL);
    fixture_end(&f);
}

static void register_with_properties(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_property list[] = {
        property("fourcc", "XR24"), property("height", "1080"),
    };
    uint32_t bo = bo_create(f.fd, f.page);
    struct registration reg;

    registration_init(&reg, bo, f.page);
    reg.args.properties = PTR(list);
    reg.args.property_count = 2;
    CHECK_OK(registration_do(f.fd, &reg));
    property_expect(f.fd, reg.args.buffer, "fourcc", "XR24");
    property_expect(f.fd, reg.args.buffer, "height", "1080");
    property_expect(f.fd, reg.args.buffer, "title", NULL);
    buffer_take_back(f.fd, reg.args.buffer);
    registration_init(&reg, bo, f.page);
    /* ignored when there are none */
    reg.args.properties = BAD_POINTER;
    reg.args.property_stride = 3;
    CHECK_OK(registration_do(f.fd, &reg));
    CHECK_EQ(properties_count(f.fd, reg.args.buffer), 0);
    buffer_take_back(f.fd, reg.args.buffer);
    list[1] = property_delete("title");
    reg.args.properties = PTR(list);
    reg.args.property_count = 2;
    reg.args.property_stride = sizeof(list[0]);
    CHECK_ERRNO(registration_do(f.fd, &reg), EINVAL);
    fixture_end(&f);
}

/* Each of these is wrong, whatever stands before it */
static void check_refused(struct fixture *f, struct drm_virtbuf_property wrong,
                          int error, const char *what)
{
    struct drm_virtbuf_property list[] = {
        property("title", "after"), wrong,
    };
    uint32_t count = properties_count(f->fd, f->buffer);

    if (properties_set(f->fd, f->buffer, list, 2) >= 0) {
        test_fail(__FILE__, __LINE__, "%s: accepted", what);
    }
    if (errno != error) {
        test_fail(__FILE__, __LINE__, "%s: %s, not %s", what,
                  errno_name(errno), errno_name(error));
    }
    /* all or none */
    property_expect(f->fd, f->buffer, "title", "before");
    CHECK_EQ(properties_count(f->fd, f->buffer), count);
}

static void wrong_properties(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_property wrong;
    char name[256];

    memset(name, 'n', sizeof(name));
    wrong = property("x", "y");
    wrong.name_len = 0;
    check_refused(&f, wrong, EINVAL, "an empty name");
    wrong.name = PTR(name);
    wrong.name_len = 256;
    check_refused(&f, wrong, EINVAL, "a name of 256 bytes");
    wrong.name_len = UINT32_MAX;
    check_refused(&f, wrong, EINVAL, "a name of 4 GiB");
    check_refused(&f, property("a=b", "y"), EINVAL, "a name with '='");
    wrong = property("abc", "y");
    wrong.name = PTR("a\0c");
    check_refused(&f, wrong, EINVAL, "a name with NUL");
    check_refused(&f, property("\xff", "y"), EINVAL, "a name, not UTF-8");
    check_refused(&f, property("x", "\xc3"), EINVAL, "a value, not UTF-8");
    check_refused(&f, property("x", "\xed\xbf\xbf"), EINVAL, "a surrogate");
    wrong = property("x", "yyy");
    wrong.value = PTR("y\0y");
    check_refused(&f, wrong, EINVAL, "a value with NUL");
    for (unsigned int bit = 1; bit < 32; bit++) {
        wrong = property("x", "y");
        wrong.flags = 1u << bit;
        check_refused(&f, wrong, EINVAL, "an unknown flag");
    }
    wrong = property("x", "y");
    wrong.pad = 1;
    check_refused(&f, wrong, EINVAL, "a pad");
    wrong = property_delete("x");
    wrong.value = PTR("y");
    wrong.value_len = 1;
    check_refused(&f, wrong, EINVAL, "DELETE with a value");
    check_refused(&f, property("title", "twice"), EINVAL, "a name twice");
    check_refused(&f, property_delete("title"), EINVAL, "set and deleted");
    wrong = property("x", "y");
    wrong.name = 0;
    check_refused(&f, wrong, EFAULT, "a NULL name");
    wrong = property("x", "y");
    wrong.value = BAD_POINTER;
    check_refused(&f, wrong, EFAULT, "an unmapped value");
    fixture_end(&f);
}

static void set_errors(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_property one = property("x", "y");
    struct {
        struct drm_virtbuf_property property;
        uint64_t future;
    } longer = { .property = property("x", "y"), .future = 1 };
    struct drm_virtbuf_set_properties good = {
        .buffer = f.buffer,
        .properties = PTR(&one),
        .property_count = 1,
        .property_stride = sizeof(one),
    }, args;
    int other = device_open();

    for (unsigned int bit = 0; bit < 32; bit++) {
        args = good;
        args.flags = 1u << bit;
        CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args),
                    EINVAL);
    }
    args = good;
    args.property_count = 0;
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args), EINVAL);
    args.property_count = UINT32_MAX;
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args), E2BIG,
                EINVAL);
    args = good;
    args.properties = 0;
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args), EFAULT);
    args = good;
    args.property_stride = 0;
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args), EINVAL);
    args.property_stride = sizeof(one) - 1;
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args), EINVAL);
    args.properties = PTR(&longer);
    args.property_stride = sizeof(longer);
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args), EINVAL,
                E2BIG);
    longer.future = 0;
    CHECK_OK(ioctl(f.fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args));
    args = good;
    args.buffer = BAD_HANDLE;
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args), ENOENT);
    CHECK_ERRNO(ioctl(other, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &good), ENOENT);
    close(other);
    fixture_end(&f);
}

/* The calls that take a list */
enum call { CALL_REGISTER, CALL_SET, CALL_UPDATE, CALLS };

static int list_do(struct fixture *f, enum call call, uint64_t list,
                   uint32_t count, uint32_t stride)
{
    struct drm_virtbuf_set_properties set = {
        .buffer = f->buffer, .properties = list, .property_count = count,
        .property_stride = stride,
    };
    struct drm_virtbuf_update update = update_of(f->buffer, f->page);
    struct registration reg;

    switch (call) {
    case CALL_REGISTER:
        registration_init(&reg, f->bo, f->page);
        reg.args.properties = list;
        reg.args.property_count = count;
        reg.args.property_stride = stride;
        return registration_do(f->fd, &reg);
    case CALL_SET:
        return ioctl(f->fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &set);
    default:
        update.properties = list;
        update.property_count = count;
        update.property_stride = stride;
        return update_do(f->fd, &update);
    }
}

/* Lists that cannot be read, or that no device takes */
static void list_errors(void)
{
    struct fixture f = fixture_new();
    struct {
        struct drm_virtbuf_property property;
        uint64_t future;
    } longer[2] = {
        { property("title", "after"), 0 }, { property("x", "y"), 1 },
    };
    const struct drm_virtbuf_property one = longer[0].property;
    const uint32_t stride = sizeof(one);
    /* a record has at least 16 bytes */
    uint32_t too_many = 1 + (uint32_t)
        device_param(f.fd, DRM_VIRTBUF_PARAM_MAX_PROPERTY_BYTES) / 16;
    struct drm_virtbuf_property *list = calloc(too_many, sizeof(*list));
    uint64_t wide = PTR(wide_element(&one, sizeof(one)));

    CHECK(list);
    for (uint32_t i = 0; i < too_many; i++) {
        list[i] = property("x", "");
    }
    for (enum call call = CALL_REGISTER; call < CALLS; call++) {
        CHECK_ERRNO(list_do(&f, call, 0, 1, stride), EFAULT);
        CHECK_ERRNO(list_do(&f, call, BAD_POINTER, 1, stride), EFAULT);
        CHECK_ERRNO(list_do(&f, call, UINT64_MAX - 8, 1, stride), EFAULT);
        CHECK_ERRNO(list_do(&f, call, PTR(&one), 1, 0), EINVAL);
        CHECK_ERRNO(list_do(&f, call, PTR(&one), 1, stride - 1), EINVAL);
        CHECK_ERRNO(list_do(&f, call, wide, 1, stride_too_long()), E2BIG);
        CHECK_ERRNO(list_do(&f, call, wide, 1, UINT32_MAX), E2BIG);
        /* what follows a longer element must be zero */
        CHECK_ERRNO(list_do(&f, call, PTR(longer), 2, sizeof(longer[0])),
                    E2BIG);
        CHECK_ERRNO(list_do(&f, call, PTR(list), too_many, stride), E2BIG);
        CHECK_ERRNO(list_do(&f, call, PTR(list), UINT32_MAX, stride), E2BIG);
        property_expect(f.fd, f.buffer, "title", "before");
        CHECK_EQ(properties_count(f.fd, f.buffer), 1);
    }
    CHECK_OK(list_do(&f, CALL_SET, wide, 1, stride_longest()));
    property_expect(f.fd, f.buffer, "title", "after");
    free(list);
    fixture_end(&f);
}

/* More than SET_PROPERTIES would take one after the other */
static void register_too_many(void)
{
    struct fixture f = fixture_new();
    uint32_t max = (uint32_t)device_param(f.fd,
                                          DRM_VIRTBUF_PARAM_MAX_PROPERTIES);
    struct drm_virtbuf_property *list = calloc(max + 1, sizeof(*list));
    char (*names)[8] = calloc(max + 1, sizeof(*names));

    CHECK(list && names && max < 10000);
    for (uint32_t i = 0; i <= max; i++) {
        snprintf(names[i], sizeof(names[i]), "p%u", i);
        list[i] = property(names[i], "");
    }
    buffer_take_back(f.fd, f.buffer);
    CHECK_ERRNO(list_do(&f, CALL_REGISTER, PTR(list), max + 1, sizeof(*list)),
                E2BIG);
    CHECK_OK(list_do(&f, CALL_REGISTER, PTR(list), max, sizeof(*list)));
    free(names);
    free(list);
    close(f.fd);
}

static void get_errors(void)
{
    struct fixture f = fixture_new();
    uint8_t room[64];
    struct drm_virtbuf_get_properties args = { .buffer = f.buffer };
    int other = device_open();

    /* how much room is needed? */
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_GET_PROPERTIES, &args), ENOSPC);
    CHECK_EQ(args.count, 1);
    /* 8 + "title" + "before", up to a multiple of 8 */
    CHECK_EQ(args.size, 24);
    memset(room, 0xee, sizeof(room));
    args.data = PTR(room);
    args.size = 23;
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_GET_PROPERTIES, &args), ENOSPC);
    CHECK_EQ(args.size, 24);
    CHECK_EQ(room[0], 0xee);
    args.size = 24;
    CHECK_OK(ioctl(f.fd, DRM_IOCTL_VIRTBUF_GET_PROPERTIES, &args));
    CHECK_EQ(room[24], 0xee);
    CHECK(memcmp(room + 8, "titlebefore", 11) == 0);
    args.data = BAD_POINTER;
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_GET_PROPERTIES, &args), EFAULT);
    args.data = PTR(room);
    args.size = sizeof(room);
    for (unsigned int bit = 0; bit < 32; bit++) {
        args.pad = 1u << bit;
        CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_GET_PROPERTIES, &args),
                    EINVAL);
    }
    args.pad = 0;
    CHECK_ERRNO(ioctl(other, DRM_IOCTL_VIRTBUF_GET_PROPERTIES, &args), ENOENT);
    args.buffer = BAD_HANDLE;
    CHECK_ERRNO(ioctl(f.fd, DRM_IOCTL_VIRTBUF_GET_PROPERTIES, &args), ENOENT);
    close(other);
    fixture_end(&f);
}

static void limit_of_count(void)
{
    struct fixture f = fixture_new();
    uint32_t max = (uint32_t)device_param(f.fd,
                                          DRM_VIRTBUF_PARAM_MAX_PROPERTIES);
    char name[32];
    uint32_t i;

    for (i = 1; i < max; i++) {
        struct drm_virtbuf_property one;

        snprintf(name, sizeof(name), "p%u", i);
        one = property(name, "");
        if (properties_set(f.fd, f.buffer, &one, 1) < 0) {
            /* the bytes may be over before the count */
            CHECK_EQ(errno, E2BIG);
            test_skip("%u properties already fill max_property_bytes", i);
        }
    }
    CHECK_EQ(properties_count(f.fd, f.buffer), max);
    {
        struct drm_virtbuf_property list[] = {
            property("title", "after"), property("one more", ""),
        };

        CHECK_ERRNO(properties_set(f.fd, f.buffer, list, 2), E2BIG);
        property_expect(f.fd, f.buffer, "title", "before");
        CHECK_EQ(properties_count(f.fd, f.buffer), max);
        /* makes room in the same step */
        list[0] = property_delete("title");
        CHECK_OK(properties_set(f.fd, f.buffer, list, 2));
        property_expect(f.fd, f.buffer, "one more", "");
    }
    fixture_end(&f);
}

static void limit_of_bytes(void)
{
    struct fixture f = fixture_new();
    uint32_t max = (uint32_t)device_param(f.fd,
                                          DRM_VIRTBUF_PARAM_MAX_PROPERTY_BYTES);
    /* the fixture's own property takes 24, a record's head and "big" 11 */
    uint32_t fits = max - 24 - 11;
    char *value = calloc(1, max + 1);
    struct drm_virtbuf_property big;

    CHECK(value);
    memset(value, 'v', fits + 1);
    big = property("big", value);
    big.value_len = fits + 1;
    CHECK_ERRNO(properties_set(f.fd, f.buffer, &big, 1), E2BIG);
    property_expect(f.fd, f.buffer, "big", NULL);
    big.value_len = UINT32_MAX;
    CHECK_ERRNO(properties_set(f.fd, f.buffer, &big, 1), E2BIG, EINVAL);
    big.value_len = fits;
    CHECK_OK(properties_set(f.fd, f.buffer, &big, 1));
    CHECK_EQ(properties_count(f.fd, f.buffer), 2);
    big = property_delete("big");
    CHECK_OK(properties_set(f.fd, f.buffer, &big, 1));
    CHECK_EQ(properties_count(f.fd, f.buffer), 1);
    free(value);
    fixture_end(&f);
}

/* Its properties are in force when the device has it */
static void update_and_wait(struct fixture *f,
                            struct drm_virtbuf_update *update)
{
    CHECK_OK(update_do(f->fd, update));
    CHECK_OK(wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_RELEASED,
                      update->serial, PATIENCE_MS));
}

static void with_an_update(void)
{
    struct fixture f = fixture_new();
    struct drm_virtbuf_property list[] = {
        property("title", "with the update"), property("crop", "1,2,3,4"),
    };
    struct drm_virtbuf_update update = update_of(f.buffer, f.page);

    update.properties = PTR(list);
    update.property_count = 2;
    update_and_wait(&f, &update);
    property_expect(f.fd, f.buffer, "title", "with the update");
    property_expect(f.fd, f.buffer, "crop", "1,2,3,4");
    list[0] = property_delete("title");
    list[1] = property("bad=name", "");
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    property_expect(f.fd, f.buffer, "title", "with the update");
    list[1] = property_delete("crop");
    update_and_wait(&f, &update);
    CHECK_EQ(properties_count(f.fd, f.buffer), 0);
    update.property_stride = 8;
    CHECK_ERRNO(update_do(f.fd, &update), EINVAL);
    update.property_stride = sizeof(list[0]);
    update.properties = BAD_POINTER;
    CHECK_ERRNO(update_do(f.fd, &update), EFAULT);
    fixture_end(&f);
}

static const struct test tests[] = {
    { "set-and-get", set_and_get, 0 },
    { "register-with-properties", register_with_properties, 0 },
    { "wrong-properties", wrong_properties, 0 },
    { "set-errors", set_errors, 0 },
    { "list-errors", list_errors, 0 },
    { "register-too-many", register_too_many, 0 },
    { "get-errors", get_errors, 0 },
    { "limit-of-count", limit_of_count, 0 },
    { "limit-of-bytes", limit_of_bytes, 0 },
    { "with-an-update", with_an_update, 0 },
};

const struct suite property_suite = SUITE("properties", tests);
