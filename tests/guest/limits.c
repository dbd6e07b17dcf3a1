/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: limits. What happens at them, what works after it, and many
 * threads at once.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

static void limit_of_buffers(void)
{
    int fd = device_open(), other = device_open();
    uint64_t page = device_page(fd);
    uint32_t max = (uint32_t)device_param(fd, DRM_VIRTBUF_PARAM_MAX_BUFFERS);
    uint32_t *buffers = calloc(max, sizeof(*buffers));

    CHECK(buffers);
    CHECK_EQ(device_fill(fd, buffers, max), max);
    for (int i = 0; i < 3; i++) {
        CHECK(register_page(fd, page) == 0 && is_limit(errno));
        CHECK(register_page(other, page) == 0 && is_limit(errno));
    }
    /* those that are there still work */
    buffer_update(fd, buffers[0], page);
    buffer_update(fd, buffers[max - 1], page);
    /* each one that is given back makes room for one, for anybody */
    buffer_take_back(fd, buffers[max / 2]);
    buffers[max / 2] = register_page(other, page);
    CHECK(buffers[max / 2]);
    CHECK(register_page(fd, page) == 0 && is_limit(errno));
    free(buffers);
    close(other);
    close(fd);
    check_nothing_leaked();
}

static uint64_t spare_memory(void)
{
    struct sysinfo info;

    CHECK_OK(sysinfo(&info));
    return (uint64_t)info.freeram * info.mem_unit / 2;
}

static void limit_of_buffer_size(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint64_t max = device_param(fd, DRM_VIRTBUF_PARAM_MAX_BUFFER_SIZE);
    struct drm_virtbuf_bo_create create = { .size = max + page };
    struct registration reg;

    if (max + page > spare_memory()) {
        test_skip("max_buffer_size is %llu MiB, the guest has less memory",
                  (unsigned long long)(max / MIB));
    }
    if (ioctl(fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &create) < 0) {
        CHECK_EQ(errno, E2BIG);
        close(fd);
        return;
    }
    registration_init(&reg, create.handle, max + page);
    CHECK_ERRNO(registration_do(fd, &reg), E2BIG);
    /* the part of it that is not too large */
    reg.ranges[0].size = max;
    if (registration_do(fd, &reg) < 0) {
        CHECK_EQ(errno, E2BIG); /* too many ranges: memory is fragmented */
        test_note("a buffer of max_buffer_size has too many ranges here");
    } else {
        buffer_take_back(fd, reg.args.buffer);
    }
    close(fd);
}

static void limit_of_total_size(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd), total = 0;
    uint64_t max = device_param(fd, DRM_VIRTBUF_PARAM_MAX_TOTAL_SIZE);
    uint64_t piece = 8 * MIB;
    uint32_t last = 0;

    if (max > spare_memory()) {
        test_skip("max_total_size is %llu MiB, the guest has less memory",
                  (unsigned long long)(max / MIB));
    }
    for (;;) {
        struct registration reg;

        registration_init(&reg, bo_create(fd, piece), piece);
        if (registration_do(fd, &reg) < 0) {
            CHECK(is_limit(errno));
            break;
        }
        last = reg.args.buffer;
        total += piece;
        CHECK(total <= max);
    }
    if (max - total >= piece) {
        test_skip("another limit came first, at %llu of %llu MiB",
                  (unsigned long long)(total / MIB),
                  (unsigned long long)(max / MIB));
    }
    buffer_take_back(fd, last);
    CHECK(register_page(fd, page));
    close(fd);
    check_nothing_leaked();
}

/* Parts of one BO are buffers of their own */
static void one_bo_many_buffers(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, 16 * page), buffers[16];
    struct registration reg;

    for (uint32_t i = 0; i < 16; i++) {
        registration_init(&reg, bo, page);
        reg.ranges[0].offset = i * page;
        CHECK_OK(registration_do(fd, &reg));
        buffers[i] = reg.args.buffer;
    }
    bo_close(fd, bo);
    for (uint32_t i = 0; i < 16; i++) {
        buffer_update(fd, buffers[i], page);
        buffer_take_back(fd, buffers[i]);
    }
    close(fd);
}

struct hammer {
    int fd;
    uint64_t page;
    int64_t end;
    unsigned int seed;
};

/* Calls everything with handles that may be anybody's; any errno will do */
static void *hammer_thread(void *opaque)
{
    struct hammer *h = opaque;
    struct registration reg;

    while (time_in(0) < h->end) {
        uint32_t handle = 1 + (uint32_t)rand_r(&h->seed) % 12;
        struct drm_virtbuf_property title = property("title", "hammer");
        struct drm_virtbuf_unregister unregister = { .buffer = handle };
        struct drm_virtbuf_update update = update_of(handle, h->page);
        struct drm_virtbuf_bo_create create = { .size = h->page };
        struct drm_gem_close gem_close = { .handle = handle };

        switch (rand_r(&h->seed) % 7) {
        case 0:
            ioctl(h->fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &create);
            break;
        case 1:
            ioctl(h->fd, DRM_IOCTL_GEM_CLOSE, &gem_close);
            break;
        case 2:
            registration_init(&reg, handle, h->page);
            registration_do(h->fd, &reg);
            break;
        case 3:
            ioctl(h->fd, DRM_IOCTL_VIRTBUF_UNREGISTER, &unregister);
            break;
        case 4:
            update_do(h->fd, &update);
            break;
        case 5:
            wait_one(h->fd, handle, DRM_VIRTBUF_WAIT_CONSUMERS, 1, 1);
            break;
        default:
            properties_set(h->fd, handle, &title, 1);
            break;
        }
    }
    return NULL;
}

static void threads_race(void)
{
    struct hammer hammers[4];
    pthread_t threads[4];
    int fd = device_open();

    for (unsigned int i = 0; i < 4; i++) {
        hammers[i] = (struct hammer) {
            .fd = fd,
            .page = device_page(fd),
            .end = time_in(5000),
            .seed = 1 + i,
        };
        CHECK_EQ(pthread_create(&threads[i], NULL, hammer_thread,
                                &hammers[i]), 0);
    }
    for (unsigned int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    close(fd);
    check_nothing_leaked();
}

static const struct test tests[] = {
    { "limit-of-buffers", limit_of_buffers, 0 },
    { "limit-of-buffer-size", limit_of_buffer_size, 0 },
    { "limit-of-total-size", limit_of_total_size, 0 },
    { "one-bo-many-buffers", one_bo_many_buffers, 0 },
    { "threads-race", threads_race, 0 },
};

const struct suite limit_suite = SUITE("limits", tests);
