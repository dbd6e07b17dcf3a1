/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: unplug. The driver loses its device while programs use it.
 *
 * The device is unbound from its driver in sysfs, which is to the driver what
 * pulling the device is. Whatever a test finds, it binds the device again.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/dma-heap.h>

#include "device.h"
#include "gate.h"
#include "suites.h"

/*
 * Runs @body, which starts with the device and unbinds it, in a child. Binds
 * the device again, and shows that all of it is there.
 */
static void with_unbinding(void (*body)(void))
{
    int status;
    pid_t pid;

    device_find_driver();
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        body();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    device_bind();
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    check_nothing_leaked();
}

static void use_it(void)
{
    struct drm_virtbuf_getparam param = {
        .param = DRM_VIRTBUF_PARAM_CONSUMERS,
    };
    struct drm_virtbuf_bo_create create = { .size = 4096 };
    struct drm_virtbuf_unregister unregister = { 0 };
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, page), buffer = buffer_register(fd, bo, page);
    uint8_t *p = bo_map(fd, bo, page);
    struct drm_virtbuf_update update = update_of(buffer, page);
    struct registration reg;

    buffer_update(fd, buffer, page);
    p[0] = 1;
    device_unbind();
    /* memory stays memory */
    CHECK_EQ(p[0], 1);
    p[page - 1] = 2;
    registration_init(&reg, bo, page);
    CHECK_ERRNO(registration_do(fd, &reg), ENODEV);
    CHECK_ERRNO(update_do(fd, &update), ENODEV);
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_GETPARAM, &param), ENODEV);
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &create), ENODEV);
    unregister.buffer = buffer;
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_UNREGISTER, &unregister), ENODEV);
    CHECK_ERRNO(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1, 1000),
                ENODEV);
    close(fd);
    CHECK_EQ(p[page - 1], 2);
    munmap(p, page);
}

static void while_open(void)
{
    with_unbinding(use_it);
}

/* Of other drivers, of this program: memory stays where it is, too */
static void borrow_for_it(void)
{
    struct dma_heap_allocation_data heap_args = {
        .len = 4096,
        .fd_flags = O_RDWR | O_CLOEXEC,
    };
    struct drm_virtbuf_bo_userptr userptr = { .size = 4096 };
    struct drm_prime_handle import = { 0 };
    int heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
    int fd = device_open();
    uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *theirs;

    CHECK(p != MAP_FAILED);
    CHECK_OK(heap);
    CHECK_OK(ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &heap_args));
    import.fd = (int)heap_args.fd;
    theirs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, import.fd,
                  0);
    CHECK(theirs != MAP_FAILED);
    CHECK_OK(ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &import));
    buffer_register(fd, import.handle, 4096);
    userptr.addr = PTR(p);
    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_USERPTR, &userptr));
    buffer_register(fd, userptr.handle, 4096);
    p[0] = theirs[0] = 1;
    device_unbind();
    CHECK_EQ(p[0], 1);
    CHECK_EQ(theirs[0], 1);
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &import), ENODEV);
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_USERPTR, &userptr), ENODEV);
    close(fd);
    CHECK_EQ(p[0], 1);
    CHECK_EQ(theirs[0], 1);
    munmap(theirs, 4096);
    munmap(p, 4096);
    close(import.fd);
    close(heap);
}

static void while_borrowing(void)
{
    if (access("/dev/dma_heap/system", R_OK) < 0) {
        test_skip("/dev/dma_heap/system in the guest: %s", errno_name(errno));
    }
    with_unbinding(borrow_for_it);
}

static void wait_for_it(void)
{
    int ready[2], status;
    struct pollfd end;
    char byte;
    pid_t pid;

    CHECK_OK(pipe2(ready, O_CLOEXEC));
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        int fd = device_open();
        uint64_t page = device_page(fd);
        uint32_t buffer = buffer_register(fd, bo_create(fd, page), page);

        CHECK_EQ(write(ready[1], "", 1), 1);
        CHECK_ERRNO(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                             1000000), ENODEV, EIO);
        _exit(0);
    }
    close(ready[1]);
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    sleep_ms(200);
    device_unbind();
    /* the pipe ends when the waiter does */
    end = (struct pollfd) { .fd = ready[0], .events = POLLIN };
    CHECK_EQ(poll(&end, 1, PATIENCE_MS), 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(ready[0]);
}

static void while_waiting(void)
{
    with_unbinding(wait_for_it);
}

/* Buffers that are just being taken back */
static void leave_it(void)
{
    for (int round = 0; round < 5; round++) {
        int fd = device_open();
        uint64_t page = device_page(fd);

        for (int i = 0; i < 8; i++) {
            CHECK(register_page(fd, page));
        }
        close(fd);
        device_unbind();
        if (round < 4) {
            device_bind();
        }
    }
}

static void again_and_again(void)
{
    with_unbinding(leave_it);
}

/* Events that are not read, and who waits for one */
static void watch_it(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t buffer = buffer_register(fd, bo_create(fd, page), page);
    struct drm_virtbuf_events events = {
        .conditions = 1 << DRM_VIRTBUF_WAIT_RELEASED,
    };
    struct pollfd pollfd = { .fd = fd };
    struct drm_virtbuf_event event;
    uint64_t serial;

    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_EVENTS, &events));
    serial = buffer_update(fd, buffer, page);
    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                      PATIENCE_MS));
    device_unbind();
    CHECK_EQ(poll(&pollfd, 1, PATIENCE_MS), 1);
    CHECK(pollfd.revents & POLLHUP);
    /* what was told before is still there, and then the end */
    CHECK_EQ(read(fd, &event, sizeof(event)), sizeof(event));
    CHECK_EQ(event.buffer, buffer);
    CHECK_EQ(event.released, serial);
    CHECK_ERRNO(read(fd, &event, sizeof(event)), ENODEV);
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_EVENTS, &events), ENODEV);
    close(fd);
}

static void while_polling(void)
{
    with_unbinding(watch_it);
}

static void *read_until_the_end(void *arg)
{
    struct drm_virtbuf_event event;
    const int *fd = arg;

    do {
        errno = 0;
    } while (read(*fd, &event, sizeof(event)) == sizeof(event));
    return (void *)(intptr_t)errno;
}

#define READERS 4
#define EVENTS  60

/* Threads that all run for the last event: losers hear of the end, too */
static void read_to_the_end(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, EVENTS * page);
    struct drm_virtbuf_events events = {
        .conditions = 1 << DRM_VIRTBUF_WAIT_RELEASED,
    };
    pthread_t readers[READERS];

    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_EVENTS, &events));
    for (uint32_t i = 0; i < EVENTS; i++) {
        struct registration reg;
        uint64_t serial;

        registration_init(&reg, bo, page);
        reg.ranges[0].offset = i * page;
        CHECK_OK(registration_do(fd, &reg));
        serial = buffer_update(fd, reg.args.buffer, page);
        CHECK_OK(wait_one(fd, reg.args.buffer, DRM_VIRTBUF_WAIT_RELEASED,
                          serial, PATIENCE_MS));
    }
    for (int i = 0; i < READERS; i++) {
        CHECK_EQ(pthread_create(&readers[i], NULL, read_until_the_end, &fd),
                 0);
    }
    sleep_ms(300);
    device_unbind();
    for (int i = 0; i < READERS; i++) {
        void *error;

        CHECK_EQ(pthread_join(readers[i], &error), 0);
        CHECK_EQ((intptr_t)error, ENODEV);
    }
    close(fd);
}

static void read_it(void)
{
    for (int round = 0; round < 4; round++) {
        read_to_the_end();
        if (round < 3) {
            device_bind();
        }
    }
}

static void while_reading(void)
{
    with_unbinding(read_it);
}

/* Whoever waits for a release point gets it, though the update was not sent */
static void queue_it(void)
{
    struct gate gate = gate_new();
    int fd = device_open(), status;
    uint64_t page = device_page(fd);
    uint32_t syncobj = syncobj_create(fd);
    uint32_t buffer = buffer_register(fd, bo_create(fd, page), page);
    struct drm_virtbuf_fence fence = {
        .flags = DRM_VIRTBUF_FENCE_SYNC_FILE,
        .syncobj = (uint32_t)gate.sync_file,
    };
    struct drm_virtbuf_update update = update_of(buffer, page);
    pid_t pid;

    update.in_fences = PTR(&fence);
    update.in_fence_count = 1;
    update.release_syncobj = syncobj;
    update.release_point = 1;
    CHECK_OK(update_do(fd, &update));
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        CHECK_OK(syncobj_wait(fd, syncobj, 1, PATIENCE_MS));
        _exit(0);
    }
    sleep_ms(200);
    device_unbind();
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* nobody is there to hear of it */
    gate_open(&gate);
    gate_end(&gate);
    close(fd);
}

static void while_queued(void)
{
    with_unbinding(queue_it);
}

/* Everything may fail from one call to the next, and then with these errors */
static void work_until_it_goes(int ready)
{
    int fd = device_open();
    uint64_t page = device_page(fd);

    CHECK_EQ(write(ready, "", 1), 1);
    for (;;) {
        struct drm_virtbuf_bo_create create = { .size = page };
        struct drm_virtbuf_unregister unregister = { 0 };
        struct drm_gem_close gem_close = { 0 };
        struct drm_virtbuf_update update;
        struct registration reg;

        if (ioctl(fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &create) < 0) {
            break;
        }
        gem_close.handle = create.handle;
        registration_init(&reg, create.handle, page);
        if (registration_do(fd, &reg) < 0) {
            break;
        }
        update = update_of(reg.args.buffer, page);
        unregister.buffer = reg.args.buffer;
        if (update_do(fd, &update) < 0 ||
            ioctl(fd, DRM_IOCTL_VIRTBUF_UNREGISTER, &unregister) < 0 ||
            ioctl(fd, DRM_IOCTL_GEM_CLOSE, &gem_close) < 0) {
            break;
        }
    }
    if (errno != ENODEV && errno != EIO) {
        test_fail(__FILE__, __LINE__, "the end is %s", errno_name(errno));
    }
    close(fd);
    _exit(0);
}

#define WORKERS 3

static void workers_start(pid_t *pids)
{
    for (int i = 0; i < WORKERS; i++) {
        int ready[2];
        char byte;

        CHECK_OK(pipe2(ready, O_CLOEXEC));
        pids[i] = fork();
        CHECK_OK(pids[i]);
        if (pids[i] == 0) {
            work_until_it_goes(ready[1]);
        }
        close(ready[1]);
        CHECK_EQ(read(ready[0], &byte, 1), 1);
        close(ready[0]);
    }
}

static void workers_end(const pid_t *pids)
{
    for (int i = 0; i < WORKERS; i++) {
        int status;

        CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
        if (WIFEXITED(status) && WEXITSTATUS(status)) {
            _exit(1); /* it has said why */
        }
        CHECK(WIFEXITED(status));
    }
}

/* Lets @pull take the device from workers, five times */
static void pull_under_load(void (*pull)(void), void (*give_back)(void))
{
    for (int round = 0; round < 5; round++) {
        pid_t pids[WORKERS];

        workers_start(pids);
        sleep_ms(10 + 37 * (unsigned int)round);
        pull();
        workers_end(pids);
        if (round < 4) {
            give_back();
        }
    }
}

static void unbind_it_under_load(void)
{
    pull_under_load(device_unbind, device_bind);
}

static void unbound_under_load(void)
{
    with_unbinding(unbind_it_under_load);
}

/* The PCI device goes, as it does when it is unplugged, and is found again */
static void remove_pci_device(void)
{
    char path[128], real[PATH_MAX];
    int fd;

    snprintf(path, sizeof(path), "/sys/bus/virtio/devices/%s/../remove",
             device_virtio());
    CHECK(realpath(path, real));
    fd = open(real, O_WRONLY | O_CLOEXEC);
    CHECK_OK(fd);
    CHECK_OK(write(fd, "1", 1));
    close(fd);
}

static void rescan_pci(void)
{
    int fd = open("/sys/bus/pci/rescan", O_WRONLY | O_CLOEXEC);

    CHECK_OK(fd);
    CHECK_OK(write(fd, "1", 1));
    close(fd);
    device_wait();
}

static void remove_it_under_load(void)
{
    pull_under_load(remove_pci_device, rescan_pci);
}

static void removed_under_load(void)
{
    int status;
    pid_t pid;

    device_find_driver();
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        remove_it_under_load();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    rescan_pci();
    if (WIFEXITED(status) && WEXITSTATUS(status)) {
        _exit(1); /* it has said why */
    }
    CHECK(WIFEXITED(status));
    check_nothing_leaked();
}

/* A buffer that somebody on the host has, until the host pulls the device */
static void use_until_pulled(unsigned int round)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, page), buffer;
    uint8_t *p = bo_map(fd, bo, page);
    struct pollfd end = { .fd = fd, .events = POLLIN };
    pid_t pids[WORKERS];

    memset(p, (int)round + 1, page);
    buffer = buffer_register_for(fd, bo, page, APPLICATION_HOLDER,
                                 DRM_VIRTBUF_MODE_IN_PLACE);
    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1, PATIENCE_MS));
    buffer_update(fd, buffer, page);
    workers_start(pids);
    test_note("pull %u", round);
    CHECK_EQ(poll(&end, 1, PATIENCE_MS), 1);
    CHECK(end.revents & POLLHUP);
    CHECK_ERRNO(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1, 0),
                ENODEV);
    workers_end(pids);
    for (uint64_t i = 0; i < page; i++) {
        CHECK_EQ(p[i], round + 1);
    }
    munmap(p, page);
    close(fd);
}

/* tests/lab/hotplug.py reads the notes */
static void pulled_by_the_host(void)
{
    for (unsigned int round = 0; round < device_pulls; round++) {
        int64_t give_up = time_in(PATIENCE_MS);
        int fd;

        use_until_pulled(round);
        while (device_is_there()) {
            CHECK(time_in(0) < give_up);
            sleep_ms(20);
        }
        test_note("gone %u", round);
        device_wait();
        CHECK(device_is_there());
        fd = device_open();
        CHECK(register_page(fd, device_page(fd)));
        close(fd);
        check_nothing_leaked();
    }
}

static const struct test tests[] = {
    { "while-open", while_open, 0 },
    { "while-borrowing", while_borrowing, 0 },
    { "while-waiting", while_waiting, 0 },
    { "while-polling", while_polling, 0 },
    { "while-reading", while_reading, 0 },
    { "while-queued", while_queued, 0 },
    { "again-and-again", again_and_again, 0 },
    { "unbound-under-load", unbound_under_load, 0 },
    { "removed-under-load", removed_under_load, 0 },
    { "pulled-by-the-host", pulled_by_the_host, NEEDS_PULLS | NEEDS_HOLDER },
};

const struct suite unplug_suite = SUITE("unplug", tests);
