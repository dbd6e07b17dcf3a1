/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: random calls. All ioctls, with arguments that are mostly right
 * and wrong in one or two places, from one thread, from several on one file
 * whose arguments change under the kernel's hands, and from processes that are
 * killed.
 *
 * A seed gives the same calls again; what they meet differs, but for one
 * thread. Signals come to each thread all the time, so that no wait is for
 * ever. Any errno will do: the kernel has nothing to complain of, nothing
 * leaks, and the device works. VIRTIO_BUF_LONG_TESTS makes a million calls of
 * it.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

#define SCRATCH         (64 * 1024)
#define HANDLES         16
#define THREADS         4
#define SHORT_CALLS     5000
#define LONG_CALLS      500000
#define SHORT_ROUNDS    15
#define LONG_ROUNDS     1000
/* As timer_create(2) has it; glibc gives its place only */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif
#define ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

enum kind { BO, BUFFER, SYNCOBJ, KINDS };

/*
 * What all threads use. Handles are those that calls have returned lately, live
 * or not; scratch is memory for arguments, the page behind it is not there.
 */
struct shared {
    int fd;
    uint64_t page;
    uint8_t *scratch;
    _Atomic uint32_t handles[KINDS][HANDLES];
};

struct fuzzer {
    struct shared *shared;
    unsigned int seed;
    unsigned int calls;
    unsigned int done[32];      /* of each of the calls: succeeded */
};

static uint32_t any(struct fuzzer *f, uint32_t below)
{
    return (((uint32_t)rand_r(&f->seed) << 15) ^ (uint32_t)rand_r(&f->seed)) %
           below;
}

static bool seldom(struct fuzzer *f)
{
    return any(f, 12) == 0;
}

static uint64_t number(struct fuzzer *f)
{
    static const uint64_t numbers[] = {
        0, 1, 2, 3, 7, 8, 16, 64, 65, 255, 256, 4095, 4096, 4097, 8192, 65536,
        0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
        0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffffff,
    };

    return any(f, 3) ? numbers[any(f, ELEMENTS(numbers))] :
                       (uint64_t)any(f, UINT32_MAX) << any(f, 33);
}

static uint32_t handle(struct fuzzer *f, enum kind kind)
{
    return seldom(f) ? (uint32_t)number(f) :
                       f->shared->handles[kind][any(f, HANDLES)];
}

/* A BO that is forgotten is closed: all of them do not fit into memory */
static void remember(struct fuzzer *f, enum kind kind, uint32_t value)
{
    struct drm_gem_close old = {
        .handle = atomic_exchange(&f->shared->handles[kind][any(f, HANDLES)],
                                  value),
    };

    if (kind == BO && old.handle) {
        ioctl(f->shared->fd, DRM_IOCTL_GEM_CLOSE, &old);
    }
}

/* Room for arguments, sometimes with too little of it, or none at all */
static void *room(struct fuzzer *f, size_t size)
{
    return f->shared->scratch + any(f, (uint32_t)(SCRATCH - size)) / 8 * 8;
}

static uint64_t pointer(struct fuzzer *f, const void *right)
{
    if (!seldom(f)) {
        return PTR(right);
    }
    switch (any(f, 5)) {
    case 0:
        return PTR(f->shared->scratch + SCRATCH - any(f, 64));
    case 1:
        return 0;
    case 2:
        return BAD_POINTER;
    case 3:
        return 0xffff888000001000;
    default:
        return number(f);
    }
}

/* Makes one thing wrong, or nothing */
static void spoil(struct fuzzer *f, void *args, size_t size)
{
    if (any(f, 4) == 0) {
        uint32_t wrong = (uint32_t)number(f);
        size_t place = any(f, (uint32_t)(size / 4)) * 4;

        memcpy((uint8_t *)args + place, &wrong, sizeof(wrong));
    }
}

static int call(struct fuzzer *f, unsigned long request, void *args,
                size_t size)
{
    spoil(f, args, size);
    return ioctl(f->shared->fd, request, args);
}

static uint64_t property_list(struct fuzzer *f, uint32_t *count,
                              uint32_t *stride)
{
    static const char *const names[] = {
        "title", "fourcc", "width", "a.b", "\xc3\xa9", "\xff", "x=y", "",
    };
    struct drm_virtbuf_property *list = room(f, 4 * sizeof(*list));

    *count = any(f, 5);
    *stride = sizeof(*list);
    for (uint32_t i = 0; i < *count; i++) {
        const char *name = names[any(f, seldom(f) ? 8 : 5)];
        struct drm_virtbuf_property one = property(name, "some value");

        if (any(f, 4) == 0) {
            one.value_len = any(f, 4096);
            one.value = pointer(f, room(f, 4096));
        }
        if (seldom(f)) {
            one = property_delete(name);
        }
        spoil(f, &one, sizeof(one));
        memcpy(&list[i], &one, sizeof(one));
    }
    return pointer(f, list);
}

static int fuzz_getparam(struct fuzzer *f)
{
    struct drm_virtbuf_getparam args = { .param = any(f, 30) };

    return call(f, DRM_IOCTL_VIRTBUF_GETPARAM, &args, sizeof(args));
}

static int fuzz_bo_create(struct fuzzer *f)
{
    struct drm_virtbuf_bo_create args = {
        .size = (1 + any(f, 16)) * f->shared->page,
    };

    /* Larger ones are for the limits suite */
    if (seldom(f) && any(f, 2)) {
        args.size = number(f) | 1ull << 62;
    }
    args.flags = seldom(f) ? (uint32_t)number(f) : 0;
    if (ioctl(f->shared->fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &args) < 0) {
        return -1;
    }
    remember(f, BO, args.handle);
    return 0;
}

static int fuzz_bo_close(struct fuzzer *f)
{
    struct drm_gem_close args = { .handle = handle(f, BO) };

    return call(f, DRM_IOCTL_GEM_CLOSE, &args, sizeof(args));
}

static int fuzz_bo_map(struct fuzzer *f)
{
    struct drm_virtbuf_bo_map args = { .handle = handle(f, BO) };
    size_t size = (1 + any(f, 4)) * f->shared->page;
    uint8_t *p;

    if (call(f, DRM_IOCTL_VIRTBUF_BO_MAP, &args, sizeof(args)) < 0) {
        return -1;
    }
    p = mmap(NULL, size, PROT_READ | PROT_WRITE,
             seldom(f) ? MAP_PRIVATE : MAP_SHARED, f->shared->fd,
             (off_t)args.offset);
    if (p == MAP_FAILED) {
        return -1;
    }
    p[any(f, (uint32_t)f->shared->page)]++;
    munmap(p, size);
    return 0;
}

static int fuzz_bo_userptr(struct fuzzer *f)
{
    struct drm_virtbuf_bo_userptr args = {
        .addr = PTR(f->shared->scratch) + any(f, 8) * f->shared->page,
        .size = (1 + any(f, 8)) * f->shared->page,
    };

    if (call(f, DRM_IOCTL_VIRTBUF_BO_USERPTR, &args, sizeof(args)) < 0) {
        return -1;
    }
    remember(f, BO, args.handle);
    return 0;
}

static int fuzz_prime(struct fuzzer *f)
{
    struct drm_prime_handle args = {
        .handle = handle(f, BO), .flags = DRM_RDWR | DRM_CLOEXEC,
    };
    int ret, dma_buf;

    if (ioctl(f->shared->fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &args) < 0) {
        return -1;
    }
    dma_buf = args.fd;
    args.flags = 0;
    ret = ioctl(f->shared->fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &args);
    close(dma_buf);
    return ret;
}

static int fuzz_register(struct fuzzer *f)
{
    static const char *const applications[] = {
        APPLICATION_ALONE, APPLICATION_ALONE, APPLICATION_CONSUMER,
    };
    const char *application = applications[any(f, 3)];
    struct drm_virtbuf_bo_range *ranges = room(f, 4 * sizeof(*ranges));
    struct drm_virtbuf_register args = {
        .ranges = pointer(f, ranges),
        .range_count = 1 + any(f, any(f, 4) ? 1 : 4),
        .range_stride = sizeof(*ranges),
        .application = PTR(application),
        .application_len = (uint32_t)strlen(application),
        .stream = any(f, 4),
        .mode = any(f, 3),
        .access = seldom(f),
    };

    for (uint32_t i = 0; i < args.range_count; i++) {
        struct drm_virtbuf_bo_range range = {
            .handle = handle(f, BO),
            .offset = any(f, 2) * f->shared->page,
            .size = f->shared->page,
        };

        spoil(f, &range, sizeof(range));
        memcpy(&ranges[i], &range, sizeof(range));
    }
    args.properties = property_list(f, &args.property_count,
                                    &args.property_stride);
    if (call(f, DRM_IOCTL_VIRTBUF_REGISTER, &args, sizeof(args)) < 0) {
        return -1;
    }
    remember(f, BUFFER, args.buffer);
    return 0;
}

static int fuzz_unregister(struct fuzzer *f)
{
    struct drm_virtbuf_unregister args = { .buffer = handle(f, BUFFER) };

    return call(f, DRM_IOCTL_VIRTBUF_UNREGISTER, &args, sizeof(args));
}

static int fuzz_set_properties(struct fuzzer *f)
{
    struct drm_virtbuf_set_properties args = { .buffer = handle(f, BUFFER) };

    args.properties = property_list(f, &args.property_count,
                                    &args.property_stride);
    return call(f, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args, sizeof(args));
}

static int fuzz_get_properties(struct fuzzer *f)
{
    struct drm_virtbuf_get_properties args = {
        .buffer = handle(f, BUFFER),
        .data = pointer(f, room(f, 8192)),
        .size = seldom(f) ? any(f, 64) : 8192,
    };

    return call(f, DRM_IOCTL_VIRTBUF_GET_PROPERTIES, &args, sizeof(args));
}

static int fuzz_update(struct fuzzer *f)
{
    struct drm_virtbuf_update args = update_of(handle(f, BUFFER),
                                               f->shared->page);
    struct drm_virtbuf_fence *fences = room(f, 4 * sizeof(*fences));

    args.flags = any(f, 3) ? 0 : any(f, 16) | any(f, 4) << 16;
    args.clock = any(f, 5);
    args.pts = args.clock ? number(f) : 0;
    args.rect_count = any(f, 3);
    args.rects = pointer(f, room(f, 1024));
    args.span_count = any(f, 2);
    args.spans = pointer(f, room(f, 1024));
    if (any(f, 3) == 0) {
        args.properties = property_list(f, &args.property_count,
                                        &args.property_stride);
    }
    if (any(f, 3) == 0) {
        args.in_fence_count = 1 + any(f, 2);
        args.in_fences = pointer(f, fences);
        for (uint32_t i = 0; i < args.in_fence_count; i++) {
            struct drm_virtbuf_fence fence = {
                .syncobj = handle(f, SYNCOBJ), .point = any(f, 3),
            };

            spoil(f, &fence, sizeof(fence));
            memcpy(&fences[i], &fence, sizeof(fence));
        }
    }
    if (any(f, 4) == 0) {
        args.release_syncobj = handle(f, SYNCOBJ);
        args.release_point = any(f, 100);
    }
    return call(f, DRM_IOCTL_VIRTBUF_UPDATE, &args, sizeof(args));
}

static int fuzz_wait(struct fuzzer *f)
{
    struct drm_virtbuf_wait_item *items = room(f, 8 * sizeof(*items));
    struct drm_virtbuf_wait args = {
        .items = pointer(f, items),
        .count = any(f, 2) ? 1 : 1 + any(f, 4),
        .stride = sizeof(*items),
        .timeout_ns = any(f, 2) ? time_in(any(f, 2)) : (int64_t)number(f),
        .flags = any(f, 2),
    };

    for (uint32_t i = 0; i < args.count; i++) {
        struct drm_virtbuf_wait_item item = {
            .buffer = handle(f, BUFFER),
            .condition = any(f, 4),
            .value = any(f, 2),
        };

        spoil(f, &item, sizeof(item));
        memcpy(&items[i], &item, sizeof(item));
    }
    return call(f, DRM_IOCTL_VIRTBUF_WAIT, &args, sizeof(args));
}

static int fuzz_consumers(struct fuzzer *f)
{
    struct drm_virtbuf_consumers args = {
        .application = PTR(APPLICATION_ALONE),
        .application_len = sizeof(APPLICATION_ALONE) - 1,
        .data = pointer(f, room(f, 4096)),
        .size = 4096,
    };

    return call(f, DRM_IOCTL_VIRTBUF_CONSUMERS, &args, sizeof(args));
}

static int fuzz_get_written(struct fuzzer *f)
{
    struct drm_virtbuf_get_written args = {
        .buffer = handle(f, BUFFER),
        .rects = pointer(f, room(f, 1024)),
        .spans = pointer(f, room(f, 1024)),
        .properties = pointer(f, room(f, 4096)),
        .rect_count = any(f, 17),
        .span_count = any(f, 17),
        .property_size = 4096,
    };

    return call(f, DRM_IOCTL_VIRTBUF_GET_WRITTEN, &args, sizeof(args));
}

static int fuzz_events(struct fuzzer *f)
{
    struct drm_virtbuf_events args = {
        .buffer = any(f, 2) ? handle(f, BUFFER) : 0,
        .conditions = any(f, 16),
    };
    struct pollfd events = { .fd = f->shared->fd, .events = POLLIN };
    int ret = call(f, DRM_IOCTL_VIRTBUF_EVENTS, &args, sizeof(args));

    /* O_NONBLOCK is set */
    if (poll(&events, 1, 0) > 0) {
        ssize_t n = read(f->shared->fd, room(f, 4096), any(f, 4096));

        (void)n;
    }
    return ret;
}

static int fuzz_syncobj(struct fuzzer *f)
{
    struct drm_syncobj_create create = { .flags = any(f, 2) };
    struct drm_syncobj_destroy destroy = { .handle = handle(f, SYNCOBJ) };
    uint32_t one = handle(f, SYNCOBJ);
    struct drm_syncobj_array signal = {
        .handles = PTR(&one), .count_handles = 1,
    };

    switch (any(f, 4)) {
    case 0:
        ioctl(f->shared->fd, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy);
        /* fall through */
    case 1:
        if (ioctl(f->shared->fd, DRM_IOCTL_SYNCOBJ_CREATE, &create) < 0) {
            return -1;
        }
        remember(f, SYNCOBJ, create.handle);
        return 0;
    default:
        return ioctl(f->shared->fd, any(f, 3) ? DRM_IOCTL_SYNCOBJ_SIGNAL :
                     DRM_IOCTL_SYNCOBJ_RESET, &signal);
    }
}

/* Any of the driver's numbers, any size, any bytes; whatever it says */
static int fuzz_raw(struct fuzzer *f)
{
    uint8_t *args = room(f, 4096);
    unsigned int size = any(f, 256);

    for (unsigned int i = 0; i < size; i++) {
        args[i] = any(f, 3) ? 0 : (uint8_t)any(f, 256);
    }
    return ioctl(f->shared->fd,
                 _IOC(any(f, 4), DRM_IOCTL_BASE, DRM_COMMAND_BASE + any(f, 16),
                      size), args);
}

static const struct {
    const char *name;
    int (*run)(struct fuzzer *f);
    unsigned int weight;
    bool must_succeed;
} kinds[] = {
    { "GETPARAM", fuzz_getparam, 1, true },
    { "BO_CREATE", fuzz_bo_create, 4, true },
    { "GEM_CLOSE", fuzz_bo_close, 2, true },
    { "BO_MAP", fuzz_bo_map, 2, true },
    { "BO_USERPTR", fuzz_bo_userptr, 1, false },
    { "PRIME", fuzz_prime, 1, true },
    { "REGISTER", fuzz_register, 6, true },
    { "UNREGISTER", fuzz_unregister, 3, true },
    { "SET_PROPERTIES", fuzz_set_properties, 2, true },
    { "GET_PROPERTIES", fuzz_get_properties, 2, true },
    { "UPDATE", fuzz_update, 8, true },
    { "WAIT", fuzz_wait, 6, true },
    { "CONSUMERS", fuzz_consumers, 1, false },
    { "GET_WRITTEN", fuzz_get_written, 1, false },
    { "EVENTS", fuzz_events, 2, false },
    { "SYNCOBJ", fuzz_syncobj, 2, true },
    { "raw", fuzz_raw, 2, false },
};

static void on_signal(int signo)
{
    (void)signo;
}

/* To this thread alone: those of a process mostly go to its first one */
static timer_t start_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    struct sigevent event = {
        .sigev_notify = SIGEV_THREAD_ID,
        .sigev_signo = SIGALRM,
    };
    const struct itimerspec times = {
        .it_value.tv_nsec = 3000000,
        .it_interval.tv_nsec = 3000000,
    };
    timer_t timer;

    event.sigev_notify_thread_id = gettid();
    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    CHECK_OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    CHECK_OK(timer_settime(timer, 0, &times, NULL));
    return timer;
}

static void *fuzz_thread(void *opaque)
{
    timer_t signals = start_signals();
    struct fuzzer *f = opaque;
    unsigned int total = 0;

    for (size_t i = 0; i < ELEMENTS(kinds); i++) {
        total += kinds[i].weight;
    }
    for (unsigned int call = 0; call < f->calls; call++) {
        unsigned int choice = any(f, total);
        size_t i = 0;

        while (choice >= kinds[i].weight) {
            choice -= kinds[i++].weight;
        }
        f->done[i] += kinds[i].run(f) >= 0;
    }
    CHECK_OK(timer_delete(signals));
    return NULL;
}

static void shared_init(struct shared *shared)
{
    memset((void *)shared, 0, sizeof(*shared));
    shared->fd = device_open();
    shared->page = device_page(shared->fd);
    CHECK_OK(fcntl(shared->fd, F_SETFL, O_RDWR | O_NONBLOCK));
    shared->scratch = mmap(NULL, SCRATCH + shared->page,
                           PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared->scratch != MAP_FAILED);
    CHECK_OK(mprotect(shared->scratch + SCRATCH, shared->page, PROT_NONE));
}

static void shared_end(struct shared *shared)
{
    munmap(shared->scratch, SCRATCH + shared->page);
    close(shared->fd);
    check_nothing_leaked();
}

static unsigned int calls(void)
{
    return getenv("VIRTIO_BUF_LONG_TESTS") ? LONG_CALLS : SHORT_CALLS;
}

static unsigned int first_seed(void)
{
    const char *seed = getenv("VIRTBUF_FUZZ_SEED");

    return seed ? (unsigned int)strtoul(seed, NULL, 0) : 1;
}

/* Calls that never succeed would try nothing but the first check */
static void check_done(const struct fuzzer *fuzzers, unsigned int count)
{
    unsigned int all = 0;

    for (size_t i = 0; i < ELEMENTS(kinds); i++) {
        unsigned int done = 0;

        for (unsigned int n = 0; n < count; n++) {
            done += fuzzers[n].done[i];
        }
        if (done == 0 && kinds[i].must_succeed) {
            test_fail(__FILE__, __LINE__, "no %s has succeeded",
                      kinds[i].name);
        }
        all += done;
    }
    test_note("%u of %u calls have succeeded, first seed %u", all,
              count * fuzzers[0].calls, first_seed());
}

static void one_thread(void)
{
    struct shared shared;
    struct fuzzer fuzzer = {
        .shared = &shared, .seed = first_seed(), .calls = calls(),
    };

    shared_init(&shared);
    fuzz_thread(&fuzzer);
    check_done(&fuzzer, 1);
    shared_end(&shared);
}

static void threads(void)
{
    struct shared shared;
    struct fuzzer fuzzers[THREADS];
    pthread_t ids[THREADS];

    shared_init(&shared);
    for (unsigned int i = 0; i < THREADS; i++) {
        fuzzers[i] = (struct fuzzer) {
            .shared = &shared, .seed = first_seed() + 1 + i,
            .calls = calls() / THREADS,
        };
        CHECK_EQ(pthread_create(&ids[i], NULL, fuzz_thread, &fuzzers[i]), 0);
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    }
    check_done(fuzzers, THREADS);
    shared_end(&shared);
}

/* Each has a file of its own, and one in common; each is killed somewhere */
static void killed_processes(void)
{
    const unsigned int rounds = calls() == LONG_CALLS ? LONG_ROUNDS :
                                                        SHORT_ROUNDS;
    struct shared common;
    unsigned int seed = first_seed() + 100;

    shared_init(&common);
    for (unsigned int round = 0; round < rounds; round++) {
        int status;
        pid_t pid = fork();

        CHECK_OK(pid);
        if (pid == 0) {
            struct shared own;
            struct fuzzer fuzzer = {
                .shared = &common, .seed = seed + round, .calls = 100,
            };

            shared_init(&own);
            for (;;) {
                fuzz_thread(&fuzzer);
                fuzzer.shared = fuzzer.shared == &own ? &common : &own;
            }
        }
        sleep_ms(2 + 5 * (round % 17));
        CHECK_OK(kill(pid, SIGKILL));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    shared_end(&common);
}

static const struct test tests[] = {
    { "one-thread", one_thread, 0 },
    { "threads", threads, 0 },
    { "killed-processes", killed_processes, 0 },
};

const struct suite fuzz_suite = SUITE("fuzz", tests);
