/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: WAIT. Conditions, any and all, time limits, signals.
 *
 * "At least one consumer is attached" never becomes true here: the tests wait
 * for that where they want a wait that does not end by itself.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

struct fixture {
    int fd;
    uint64_t page;
    uint32_t buffer;
    uint64_t serial;            /* of a released update */
    struct drm_virtbuf_wait_item items[DRM_VIRTBUF_MAX_WAIT_ITEMS + 1];
    struct drm_virtbuf_wait args;
};

static void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->fd = device_open();
    f->page = device_page(f->fd);
    f->buffer = buffer_register(f->fd, bo_create(f->fd, f->page), f->page);
    f->serial = buffer_update(f->fd, f->buffer, f->page);
    CHECK_OK(wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_RELEASED, f->serial,
                      PATIENCE_MS));
    f->args.items = PTR(f->items);
    f->args.count = 1;
    f->args.stride = sizeof(f->items[0]);
    for (int i = 0; i <= DRM_VIRTBUF_MAX_WAIT_ITEMS; i++) {
        f->items[i].buffer = f->buffer;
        f->items[i].condition = DRM_VIRTBUF_WAIT_RELEASED;
        f->items[i].value = f->serial;
    }
}

static void fixture_end(struct fixture *f)
{
    buffer_take_back(f->fd, f->buffer);
    close(f->fd);
}

static int wait_do(struct fixture *f)
{
    return ioctl(f->fd, DRM_IOCTL_VIRTBUF_WAIT, &f->args);
}

static void never(struct drm_virtbuf_wait_item *item)
{
    item->condition = DRM_VIRTBUF_WAIT_CONSUMERS;
    item->value = 1;
}

static void fields(void)
{
    struct fixture f;

    fixture_init(&f);
    CHECK_OK(wait_do(&f));
    for (unsigned int bit = 1; bit < 32; bit++) {
        f.args.flags = 1u << bit;
        CHECK_ERRNO(wait_do(&f), EINVAL);
    }
    f.args.flags = 0;
    f.args.count = 0;
    CHECK_ERRNO(wait_do(&f), EINVAL);
    f.args.count = DRM_VIRTBUF_MAX_WAIT_ITEMS + 1;
    CHECK_ERRNO(wait_do(&f), EINVAL);
    f.args.count = UINT32_MAX;
    CHECK_ERRNO(wait_do(&f), EINVAL);
    f.args.count = DRM_VIRTBUF_MAX_WAIT_ITEMS;
    CHECK_OK(wait_do(&f));
    f.args.flags = DRM_VIRTBUF_WAIT_ALL;
    CHECK_OK(wait_do(&f));
    f.args.count = 1;
    f.args.stride = 0;
    CHECK_ERRNO(wait_do(&f), EINVAL);
    f.args.stride = sizeof(f.items[0]) - 8;
    CHECK_ERRNO(wait_do(&f), EINVAL);
    f.args.items = PTR(wide_element(&f.items[0], sizeof(f.items[0])));
    f.args.stride = stride_too_long();
    CHECK_ERRNO(wait_do(&f), E2BIG);
    f.args.stride = UINT32_MAX;
    CHECK_ERRNO(wait_do(&f), E2BIG);
    f.args.stride = stride_longest();
    CHECK_OK(wait_do(&f));
    f.args.stride = sizeof(f.items[0]);
    f.args.items = 0;
    CHECK_ERRNO(wait_do(&f), EFAULT);
    f.args.items = BAD_POINTER;
    CHECK_ERRNO(wait_do(&f), EFAULT);
    fixture_end(&f);
}

static void longer_items(void)
{
    struct fixture f;
    struct {
        struct drm_virtbuf_wait_item item;
        uint64_t future;
    } longer[2];

    fixture_init(&f);
    memset(longer, 0, sizeof(longer));
    longer[0].item = f.items[0];
    longer[1].item = f.items[0];
    f.args.items = PTR(longer);
    f.args.count = 2;
    f.args.stride = sizeof(longer[0]);
    CHECK_OK(wait_do(&f));
    longer[1].future = 1;
    CHECK_ERRNO(wait_do(&f), EINVAL, E2BIG);
    fixture_end(&f);
}

static void items(void)
{
    struct fixture f;
    int other = device_open();

    fixture_init(&f);
    f.items[0].buffer = BAD_HANDLE;
    CHECK_ERRNO(wait_do(&f), ENOENT);
    f.items[0].buffer = 0;
    CHECK_ERRNO(wait_do(&f), ENOENT);
    f.items[0].buffer = f.buffer;
    CHECK_ERRNO(ioctl(other, DRM_IOCTL_VIRTBUF_WAIT, &f.args), ENOENT);
    f.items[0].condition = DRM_VIRTBUF_WAIT_WRITTEN + 1;
    CHECK_ERRNO(wait_do(&f), EINVAL);
    f.items[0].condition = UINT32_MAX;
    CHECK_ERRNO(wait_do(&f), EINVAL);
    f.items[0].condition = DRM_VIRTBUF_WAIT_FREED;
    f.items[0].value = 1;
    CHECK_ERRNO(wait_do(&f), EINVAL);
    /* a wrong item is found behind one that already holds */
    f.items[0].condition = DRM_VIRTBUF_WAIT_RELEASED;
    f.items[0].value = f.serial;
    f.items[1].buffer = BAD_HANDLE;
    f.args.count = 2;
    CHECK_ERRNO(wait_do(&f), ENOENT);
    close(other);
    fixture_end(&f);
}

/* A serial that was never given out: an error, or nothing to wait for long */
static void serial_of_the_future(void)
{
    struct fixture f;

    fixture_init(&f);
    CHECK_ERRNO(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_RELEASED,
                         UINT64_MAX, 100), EINVAL, ETIME);
    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_RELEASED, 0, -1));
    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 0, -1));
    fixture_end(&f);
}

static void time_limits(void)
{
    struct fixture f;
    int64_t before, after;

    fixture_init(&f);
    /* in the past: looks, and does not wait */
    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_RELEASED, f.serial,
                      -1000));
    f.args.timeout_ns = 0;
    CHECK_OK(wait_do(&f));
    f.args.timeout_ns = INT64_MIN;
    CHECK_OK(wait_do(&f));
    f.args.timeout_ns = INT64_MAX;
    CHECK_OK(wait_do(&f));
    never(&f.items[0]);
    f.args.timeout_ns = 0;
    CHECK_ERRNO(wait_do(&f), ETIME);
    f.args.timeout_ns = INT64_MIN;
    CHECK_ERRNO(wait_do(&f), ETIME);
    before = time_in(0);
    f.args.timeout_ns = before + 300000000;
    CHECK_ERRNO(wait_do(&f), ETIME);
    after = time_in(0);
    CHECK(after - before >= 300000000);
    CHECK(after - before < 20000000000);
    fixture_end(&f);
}

static void any_and_all(void)
{
    struct fixture f;

    fixture_init(&f);
    f.args.count = 3;
    never(&f.items[0]);
    never(&f.items[2]);
    f.args.timeout_ns = time_in(PATIENCE_MS);
    f.args.first = 77;
    CHECK_OK(wait_do(&f));
    CHECK_EQ(f.args.first, 1);
    f.args.flags = DRM_VIRTBUF_WAIT_ALL;
    f.args.timeout_ns = time_in(100);
    CHECK_ERRNO(wait_do(&f), ETIME);
    f.items[0] = f.items[1];
    f.items[2] = f.items[1];
    CHECK_OK(wait_do(&f));
    CHECK_EQ(f.args.first, 0);
    fixture_end(&f);
}

static volatile sig_atomic_t signals;

static void on_signal(int signo)
{
    (void)signo;
    signals++;
}

static void arm(int flags, int ms, int every_ms)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };
    struct itimerval timer = {
        .it_value.tv_usec = ms * 1000,
        .it_interval.tv_usec = every_ms * 1000,
    };

    signals = 0;
    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
}

static void signal_interrupts(void)
{
    struct fixture f;

    fixture_init(&f);
    never(&f.items[0]);
    f.args.timeout_ns = time_in(60000);
    arm(0, 200, 0);
    CHECK_ERRNO(wait_do(&f), EINTR);
    CHECK_EQ(signals, 1);
    fixture_end(&f);
}

/* With SA_RESTART the kernel goes on, to the same absolute time */
static void signal_restarts(void)
{
    struct fixture f;
    int64_t before, after;

    fixture_init(&f);
    never(&f.items[0]);
    before = time_in(0);
    f.args.timeout_ns = before + 600000000;
    arm(SA_RESTART, 50, 50);
    CHECK_ERRNO(wait_do(&f), ETIME);
    after = time_in(0);
    arm(SA_RESTART, 0, 0);
    CHECK(after - before >= 600000000);
    CHECK(after - before < 20000000000);
    fixture_end(&f);
}

/* Under a storm of signals every ioctl still does its work exactly once */
static void signal_storm(void)
{
    struct fixture f;
    uint32_t bo;

    fixture_init(&f);
    bo = bo_create(f.fd, f.page);
    arm(SA_RESTART, 1, 1);
    for (int i = 0; i < 100; i++) {
        uint32_t buffer = buffer_register(f.fd, bo, f.page);
        uint64_t serial = buffer_update(f.fd, buffer, f.page);

        CHECK_OK(wait_one(f.fd, buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                          PATIENCE_MS));
        buffer_take_back(f.fd, buffer);
    }
    {
        struct itimerval off = { 0 };

        setitimer(ITIMER_REAL, &off, NULL);
    }
    test_note("%d signals", (int)signals);
    fixture_end(&f);
}

static void freed(void)
{
    struct fixture f;

    fixture_init(&f);
    /* it is not unregistered: there is nothing to wait for */
    CHECK_ERRNO(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_FREED, 0, 100),
                EINVAL, ETIME);
    /* nobody has it, so it is freed at once, and its handle is gone */
    CHECK_EQ(buffer_unregister(f.fd, f.buffer), DRM_VIRTBUF_STATE_FREED);
    CHECK_ERRNO(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_FREED, 0, 100),
                ENOENT);
    close(f.fd);
}

static void *wait_in_thread(void *arg)
{
    return (void *)(intptr_t)(wait_do(arg) < 0 ? errno : 0);
}

/* Another thread takes the buffer back: what was waited for does not come */
static void given_back(void)
{
    for (int round = 0; round < 2; round++) {
        struct fixture f;
        pthread_t waiter;
        void *error;

        fixture_init(&f);
        never(&f.items[round]);
        f.args.count = (uint32_t)round + 1;
        f.args.flags = round ? DRM_VIRTBUF_WAIT_ALL : 0;
        f.args.timeout_ns = INT64_MAX;
        CHECK_EQ(pthread_create(&waiter, NULL, wait_in_thread, &f), 0);
        sleep_ms(100);
        buffer_take_back(f.fd, f.buffer);
        CHECK_EQ(pthread_join(waiter, &error), 0);
        CHECK_EQ((intptr_t)error, ENOENT);
        close(f.fd);
    }
}

static void written_without_writer(void)
{
    struct fixture f;

    fixture_init(&f);
    CHECK_ERRNO(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_WRITTEN, 1, 100),
                EINVAL);
    fixture_end(&f);
}

static const struct test tests[] = {
    { "fields", fields, 0 },
    { "longer-items", longer_items, 0 },
    { "items", items, 0 },
    { "serial-of-the-future", serial_of_the_future, 0 },
    { "time-limits", time_limits, 0 },
    { "any-and-all", any_and_all, 0 },
    { "signal-interrupts", signal_interrupts, 0 },
    { "signal-restarts", signal_restarts, 0 },
    { "signal-storm", signal_storm, 0 },
    { "freed", freed, 0 },
    { "given-back", given_back, 0 },
    { "written-without-writer", written_without_writer, 0 },
};

const struct suite wait_suite = SUITE("wait", tests);
