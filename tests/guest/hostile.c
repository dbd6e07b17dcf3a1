/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: a hostile device. Answers that are none, that are too short,
 * that come twice or never; events and configurations that make no sense.
 *
 * The module virtio-buf-sim is such a device, see
 * drivers/gpu/drm/virtio-buf/tests/virtbuf_sim.c. Whatever it does, calls end,
 * with an error where there is no answer, the device can be pulled, and the
 * kernel has nothing to complain of.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

#define SIM             "/sys/kernel/debug/virtio-buf-sim/"
#define TIMEOUT         "/sys/module/virtio_buf/parameters/command_timeout"
#define INSTANCE        "hostile"
/* Silence of this length is death; a slow device shows ten signs in it */
#define SHORT_TIMEOUT   "2000"
#define LONG_TIMEOUT    "600000"
#define ANY             0
#define MANY            100

static int write_bytes(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int error;

    if (fd < 0) {
        return -1;
    }
    error = write(fd, bytes, size) < 0 ? errno : 0;
    close(fd);
    errno = error;
    return error ? -1 : 0;
}

static int sim(const char *file, const char *text)
{
    char path[128];

    snprintf(path, sizeof(path), SIM "%s", file);
    return write_bytes(path, text, strlen(text));
}

static void fault(unsigned int command, const char *kind, unsigned int len)
{
    char text[64];

    snprintf(text, sizeof(text), "%u %s %u", command, kind, len);
    CHECK_OK(sim("fault", text));
}

/* @command is answered with these bytes; @len: what the device says it wrote */
static void answer(unsigned int command, const void *bytes, size_t size,
                   unsigned int len)
{
    CHECK_OK(write_bytes(SIM "answer", bytes, size));
    fault(command, "raw", len);
}

static void no_fault(void)
{
    fault(ANY, "normal", 0);
}

static void set_timeout(const char *text)
{
    CHECK_OK(write_bytes(TIMEOUT, text, strlen(text)));
}

static void need_sim(void)
{
    if (geteuid() != 0 || access(SIM "create", F_OK) < 0) {
        test_skip("the module virtio-buf-sim is not loaded");
    }
}

static bool find_device(void)
{
    char message[256];

    return device_setup(NULL, INSTANCE, message, sizeof(message)) &&
           device_is_there();
}

static void new_device(void)
{
    int64_t give_up = time_in(PATIENCE_MS);

    CHECK_OK(sim("create", INSTANCE));
    while (!find_device()) {
        CHECK(time_in(0) < give_up);
        sleep_ms(20);
    }
}

/*
 * Runs @body in a child with a device, which is pulled when it has ended, or
 * before that by itself.
 */
static void with_device(void (*body)(void))
{
    char timeout[32] = { 0 };
    int status, fd;
    pid_t pid;

    need_sim();
    fd = open(TIMEOUT, O_RDONLY | O_CLOEXEC);
    CHECK_OK(fd);
    CHECK(read(fd, timeout, sizeof(timeout) - 1) > 0);
    close(fd);
    set_timeout(SHORT_TIMEOUT);
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        new_device();
        body();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    sim("remove", "");
    sim("config", "default");
    set_timeout(timeout);
    CHECK(!find_device());
    if (WIFEXITED(status) && WEXITSTATUS(status)) {
        _exit(1); /* it has said why */
    }
    CHECK(WIFEXITED(status));
}

/* A page and a buffer of a device that is all right until now */
struct fixture {
    int fd;
    uint64_t page;
    uint32_t bo;
    uint32_t buffer;
};

static struct fixture fixture_new(void)
{
    struct fixture f = { .fd = device_open() };

    f.page = device_page(f.fd);
    f.bo = bo_create(f.fd, f.page);
    f.buffer = buffer_register(f.fd, f.bo, f.page);
    return f;
}

static int do_command(const struct fixture *f, unsigned int command)
{
    struct drm_virtbuf_property title = property("title", "hostile");
    struct drm_virtbuf_unregister unregister = { .buffer = f->buffer };
    struct drm_virtbuf_update update = update_of(f->buffer, f->page);
    struct registration reg;

    switch (command) {
    case VIRTIO_BUF_CMD_REGISTER:
        registration_init(&reg, bo_create(f->fd, f->page), f->page);
        return registration_do(f->fd, &reg);
    case VIRTIO_BUF_CMD_UNREGISTER:
        return ioctl(f->fd, DRM_IOCTL_VIRTBUF_UNREGISTER, &unregister);
    case VIRTIO_BUF_CMD_SET_PROPERTIES:
        return properties_set(f->fd, f->buffer, &title, 1);
    default:
        return update_do(f->fd, &update);
    }
}

/* Every call fails, and poll() says so, from some time on */
static void check_dies(const struct fixture *f)
{
    struct pollfd end = { .fd = f->fd, .events = POLLIN };

    CHECK_EQ(poll(&end, 1, PATIENCE_MS), 1);
    CHECK(end.revents & POLLHUP);
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_REGISTER), EIO);
    /* ENOENT: the buffer was on its way back already, or is back */
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_SET_PROPERTIES), EIO, ENOENT);
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_UPDATE), EIO, ENOENT);
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_UNREGISTER), EIO, ENOENT);
    CHECK_ERRNO(wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                         PATIENCE_MS), EIO, ENOENT);
    /* it does not come back by good conduct */
    no_fault();
    CHECK_ERRNO(do_command(f, VIRTIO_BUF_CMD_REGISTER), EIO);
}

static void each_command_dies(const char *kind)
{
    for (unsigned int command = VIRTIO_BUF_CMD_REGISTER;
         command <= VIRTIO_BUF_CMD_UPDATE; command++) {
        struct fixture f = fixture_new();

        fault(command, kind, 0);
        do_command(&f, command);
        check_dies(&f);
        close(f.fd);
        /* with all that it has; and a new one comes */
        CHECK_OK(sim("remove", ""));
        new_device();
    }
}

static void silent_body(void)
{
    each_command_dies("silent");
}

static void silent(void)
{
    with_device(silent_body);
}

static void twice_body(void)
{
    each_command_dies("twice");
}

static void twice(void)
{
    with_device(twice_body);
}

static void wrong_chain_body(void)
{
    each_command_dies("wrong-chain");
}

static void wrong_chain(void)
{
    with_device(wrong_chain_body);
}

static void no_chain_body(void)
{
    each_command_dies("no-chain");
}

static void no_chain(void)
{
    with_device(no_chain_body);
}

static void jump_body(void)
{
    each_command_dies("jump");
}

static void jump(void)
{
    with_device(jump_body);
}

/* Any sign of life restarts the deadline */
static void slow_body(void)
{
    struct fixture f = fixture_new();
    int64_t before = time_in(0);
    uint32_t buffer;

    /* it takes longer than the deadline, and shows many signs of life */
    fault(VIRTIO_BUF_CMD_REGISTER, "slow", 0);
    buffer = buffer_register(f.fd, f.bo, f.page);
    CHECK(time_in(0) - before >= 2000 * INT64_C(1000000));
    no_fault();
    buffer_update(f.fd, buffer, f.page);
    buffer_take_back(f.fd, buffer);
    close(f.fd);
}

static void slow(void)
{
    with_device(slow_body);
}

/* More commands than the ring has room for: they wait, and keep their order */
static void full_queue_body(void)
{
    struct fixture f = fixture_new();
    uint32_t buffers[MANY];
    uint64_t serials[MANY];

    for (int i = 0; i < MANY; i++) {
        buffers[i] = register_page(f.fd, f.page);
        CHECK(buffers[i]);
    }
    fault(ANY, "slow", 0);
    for (int i = 0; i < MANY; i++) {
        serials[i] = buffer_update(f.fd, buffers[i], f.page);
    }
    CHECK_ERRNO(wait_one(f.fd, buffers[MANY - 1], DRM_VIRTBUF_WAIT_RELEASED,
                         serials[MANY - 1], 0), ETIME);
    no_fault();
    for (int i = 0; i < MANY; i++) {
        CHECK_OK(wait_one(f.fd, buffers[i], DRM_VIRTBUF_WAIT_RELEASED,
                          serials[i], PATIENCE_MS));
    }
    close(f.fd);
}

static void full_queue(void)
{
    with_device(full_queue_body);
}

static void full_queue_pulled_body(void)
{
    struct fixture f = fixture_new();
    uint32_t buffers[MANY];

    for (int i = 0; i < MANY; i++) {
        buffers[i] = register_page(f.fd, f.page);
        CHECK(buffers[i]);
    }
    set_timeout(LONG_TIMEOUT);
    fault(ANY, "silent", 0);
    for (int i = 0; i < MANY; i++) {
        buffer_update(f.fd, buffers[i], f.page);
    }
    CHECK_OK(sim("remove", ""));
    close(f.fd);
}

static void full_queue_pulled(void)
{
    with_device(full_queue_pulled_body);
}

struct header {
    uint32_t status, reserved;
    uint64_t news;
};

/* Too short, with all lengths that are; and longer than the room for it */
static void lengths_body(void)
{
    static uint8_t zeroes[4096];

    for (unsigned int command = VIRTIO_BUF_CMD_REGISTER;
         command <= VIRTIO_BUF_CMD_UPDATE; command++) {
        for (unsigned int len = 0; len < sizeof(struct header); len += 5) {
            struct fixture f = fixture_new();

            answer(command, zeroes, len, len);
            if (command == VIRTIO_BUF_CMD_UPDATE) {
                /* its answer comes later: the next call tells */
                do_command(&f, command);
                CHECK_ERRNO(wait_one(f.fd, f.buffer,
                                     DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                                     PATIENCE_MS), EIO);
            } else if (command == VIRTIO_BUF_CMD_UNREGISTER) {
                /* who knows: the pages stay out of use */
                CHECK_EQ(buffer_unregister(f.fd, f.buffer),
                         DRM_VIRTBUF_STATE_PENDING);
            } else {
                CHECK_ERRNO(do_command(&f, command), EIO);
            }
            no_fault();
            close(f.fd);
        }
        for (int i = 0; i < 2; i++) {
            struct fixture f = fixture_new();

            answer(command, zeroes, sizeof(zeroes),
                   i ? UINT32_MAX : sizeof(zeroes));
            CHECK_OK(do_command(&f, command));
            no_fault();
            close(f.fd);
        }
    }
}

static void lengths(void)
{
    with_device(lengths_body);
}

static void statuses_body(void)
{
    static const uint32_t undefined[] = {
        VIRTIO_BUF_S_OVERLAP + 1, 0x7fffffff, 0x80000000, UINT32_MAX,
    };
    uint8_t bytes[256];

    for (unsigned int i = 0; i < 16; i++) {
        struct header header = {
            .status = i < 12 ? i : undefined[i - 12],
            .news = 1ull << (4 * i),
        };

        memset(bytes, 0xff, sizeof(bytes));
        memcpy(bytes, &header, sizeof(header));
        for (unsigned int command = VIRTIO_BUF_CMD_REGISTER;
             command <= VIRTIO_BUF_CMD_UPDATE; command++) {
            struct fixture f = fixture_new();
            int ret;

            answer(command, bytes, sizeof(bytes), sizeof(bytes));
            ret = do_command(&f, command);
            if (command == VIRTIO_BUF_CMD_REGISTER ||
                command == VIRTIO_BUF_CMD_SET_PROPERTIES) {
                CHECK_EQ(ret, i == VIRTIO_BUF_S_OK ? 0 : -1);
            }
            if (ret < 0 && (i >= 12 || i == VIRTIO_BUF_S_PENDING ||
                            i == VIRTIO_BUF_S_NO_BUFFER)) {
                CHECK_EQ(errno, EIO);
            }
            no_fault();
            close(f.fd);
        }
    }
}

static void statuses(void)
{
    with_device(statuses_body);
}

/* An answer to GET_EVENTS with one record, to be changed */
struct events {
    struct virtio_buf_events_response head;
    struct virtio_buf_event event;
    uint8_t more[256];
};

static struct events events_of(uint64_t id, uint32_t flags)
{
    struct events events;

    memset(&events, 0, sizeof(events));
    events.head.count = 1;
    events.event.buffer_id = id;
    events.event.size = sizeof(events.event);
    events.event.flags = flags;
    return events;
}

static void tell(const struct events *events, unsigned int len)
{
    answer(VIRTIO_BUF_CMD_GET_EVENTS, events, sizeof(*events), len);
    CHECK_OK(sim("notify", ""));
}

static void broken_events_body(void)
{
    const unsigned int whole = sizeof(struct virtio_buf_events_response) +
                               sizeof(struct virtio_buf_event);
    struct {
        uint32_t count, size;
        unsigned int len;
    } cases[] = {
        { 1, 32, 0 }, { 1, 32, 8 }, { 1, 32, 23 }, { 1, 32, 24 },
        { 1, 32, whole - 1 }, { 2, 32, whole }, { UINT32_MAX, 32, whole },
        { 1, 0, whole }, { 1, 8, whole }, { 1, 33, whole + 8 },
        { 1, 40, whole }, { 1, 0xfffffff8, whole }, { 1, UINT32_MAX, whole },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f = fixture_new();
        struct events events = events_of(1, VIRTIO_BUF_EVENT_RELEASED);

        events.head.count = cases[i].count;
        events.event.size = cases[i].size;
        tell(&events, cases[i].len);
        check_dies(&f);
        close(f.fd);
        CHECK_OK(sim("remove", ""));
        CHECK_OK(sim("create", INSTANCE));
        while (!find_device()) {
            sleep_ms(20);
        }
    }
}

static void broken_events(void)
{
    with_device(broken_events_body);
}

/* News that cannot be: nothing of it may count */
static void false_events_body(void)
{
    static const uint64_t ids[] = {
        0, 1, 2, 77, UINT32_MAX, 1ull << 40, UINT64_MAX,
    };
    struct fixture f = fixture_new();
    const unsigned int len = offsetof(struct events, more);
    uint64_t serial = buffer_update(f.fd, f.buffer, f.page);
    uint8_t *p = bo_map(f.fd, f.bo, f.page);

    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                      PATIENCE_MS));
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        struct events events = events_of(ids[i], UINT32_MAX &
                                         ~VIRTIO_BUF_EVENT_WRITTEN);

        events.event.released = UINT64_MAX;
        events.event.consumers = 3;
        events.event.backing = 255;
        events.event.reason = 255;
        events.event.reserved = 0xffff;
        tell(&events, len);
        sleep_ms(50);
    }
    no_fault();
    /* it is not FREED: nobody has asked for it; and it works */
    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 3,
                      PATIENCE_MS));
    serial = buffer_update(f.fd, f.buffer, f.page);
    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                      PATIENCE_MS));
    p[0] = 1;
    munmap(p, f.page);
    buffer_take_back(f.fd, f.buffer);
    close(f.fd);
}

static void false_events(void)
{
    with_device(false_events_body);
}

/* FREED again and again, for one that is PENDING, and for one that was */
static void freed_twice_body(void)
{
    const struct header header = { .status = VIRTIO_BUF_S_PENDING };
    struct fixture f = fixture_new();
    struct events events = events_of(1, VIRTIO_BUF_EVENT_FREED);
    uint32_t again;

    answer(VIRTIO_BUF_CMD_UNREGISTER, &header, sizeof(header), sizeof(header));
    CHECK_EQ(buffer_unregister(f.fd, f.buffer), DRM_VIRTBUF_STATE_PENDING);
    memcpy(events.more, &events.event, sizeof(events.event));
    events.head.count = 2;
    for (int i = 0; i < 3; i++) {
        tell(&events, offsetof(struct events, more) + sizeof(events.event));
    }
    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_FREED, 0,
                      PATIENCE_MS));
    CHECK_EQ(buffer_unregister(f.fd, f.buffer), DRM_VIRTBUF_STATE_FREED);
    no_fault();
    again = buffer_register(f.fd, f.bo, f.page);
    buffer_update(f.fd, again, f.page);
    buffer_take_back(f.fd, again);
    close(f.fd);
}

static void freed_twice(void)
{
    with_device(freed_twice_body);
}

/* There is always more, and it is always nothing: others get their turn */
static void endless_events_body(void)
{
    struct fixture f = fixture_new();
    struct events events = events_of(77, VIRTIO_BUF_EVENT_RELEASED);

    events.head.more = 1;
    tell(&events, offsetof(struct events, more));
    for (int i = 0; i < 20; i++) {
        uint32_t buffer = register_page(f.fd, f.page);

        CHECK(buffer);
        buffer_update(f.fd, buffer, f.page);
        buffer_take_back(f.fd, buffer);
    }
    for (int i = 0; i < 1000; i++) {
        CHECK_OK(sim("notify", ""));
    }
    buffer_update(f.fd, f.buffer, f.page);
    close(f.fd);
}

static void endless_events(void)
{
    with_device(endless_events_body);
}

static void configurations(void)
{
#define WITH(field, value, usable) \
    { offsetof(struct virtio_buf_config, field), \
      sizeof(((struct virtio_buf_config *)0)->field), (value), (usable) }
    static const struct {
        size_t offset, size;
        unsigned long long value;
        bool usable;
    } cases[] = {
        WITH(page_size, 0, false),
        WITH(page_size, 3, false),
        WITH(page_size, 8192, false),
        WITH(page_size, 0xffffffff, false),
        WITH(page_size, 512, true),
        WITH(max_buffers, 0, false),
        WITH(max_ranges, 0, false),
        WITH(max_ranges, 0xffffffff, true),
        WITH(max_buffer_size, 0, false),
        WITH(max_buffer_size, 4095, false),
        WITH(max_buffer_size, 0xffffffffffffffff, true),
        WITH(max_total_size, 0, false),
        WITH(max_total_size, 0xffffffffffffffff, true),
        WITH(max_properties, 0xffffffff, true),
        WITH(max_property_bytes, 0xffffffff, true),
        WITH(max_dmabuf_ranges, 0xffffffff, true),
        WITH(max_dmabuf_size, 0xffffffffffffffff, true),
    };

    need_sim();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];
        int patience = PATIENCE_MS / 20;
        bool found = false;

        if (!cases[i].usable) {
            patience = 5;
        }
        snprintf(text, sizeof(text), "%zu %zu %llu", cases[i].offset,
                 cases[i].size, cases[i].value);
        CHECK_OK(sim("config", text));
        CHECK_OK(sim("create", INSTANCE));
        for (; patience && !found; patience--) {
            sleep_ms(20);
            found = find_device();
        }
        if (found) {
            struct fixture f = fixture_new();

            buffer_update(f.fd, f.buffer, f.page);
            buffer_take_back(f.fd, f.buffer);
            close(f.fd);
        }
        CHECK_OK(sim("remove", ""));
        CHECK_OK(sim("config", "default"));
        if (found != cases[i].usable) {
            test_fail(__FILE__, __LINE__, "configuration %s is %s", text,
                      found ? "taken" : "refused");
        }
    }
}

/* Gives the child that waits for the answer to @command, and then does @rest */
static pid_t child_in_command(unsigned int command,
                              void (*rest)(const struct fixture *f,
                                           unsigned int command))
{
    int ready[2];
    char byte;
    pid_t pid;

    set_timeout(LONG_TIMEOUT);
    CHECK_OK(pipe2(ready, O_CLOEXEC));
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        struct fixture f = fixture_new();

        fault(command, "silent", 0);
        CHECK_EQ(write(ready[1], "", 1), 1);
        rest(&f, command);
        _exit(0);
    }
    close(ready[1]);
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    sleep_ms(100);
    return pid;
}

static void never_ends(const struct fixture *f, unsigned int command)
{
    do_command(f, command);
    test_fail(__FILE__, __LINE__, "command %u has ended", command);
}

/* Who waits for an answer can be killed before there is one */
static void kill_in_command_body(void)
{
    for (unsigned int command = VIRTIO_BUF_CMD_REGISTER;
         command <= VIRTIO_BUF_CMD_SET_PROPERTIES; command++) {
        pid_t pid = child_in_command(command, never_ends);
        int status;

        CHECK_OK(kill(pid, SIGKILL));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        CHECK_OK(sim("remove", ""));
        new_device();
    }
}

static void kill_in_command(void)
{
    with_device(kill_in_command_body);
}

static void ends_with_the_device(const struct fixture *f, unsigned int command)
{
    /* by the end of the device the pages are the guest's */
    if (command != VIRTIO_BUF_CMD_UNREGISTER || do_command(f, command) < 0) {
        CHECK_ERRNO(do_command(f, command), ENODEV);
    }
}

/* Who waits for an answer hears that the device was pulled */
static void pull_in_command_body(void)
{
    for (unsigned int command = VIRTIO_BUF_CMD_REGISTER;
         command <= VIRTIO_BUF_CMD_SET_PROPERTIES; command++) {
        /* no buffer keeps the device here: who is first is a matter of luck */
        int rounds = command == VIRTIO_BUF_CMD_SET_PROPERTIES ? 5 : 1;

        for (int round = 0; round < rounds; round++) {
            pid_t pid = child_in_command(command, ends_with_the_device);
            int status;

            CHECK_OK(sim("remove", ""));
            CHECK_EQ(waitpid(pid, &status, 0), pid);
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            new_device();
        }
    }
}

static void pull_in_command(void)
{
    with_device(pull_in_command_body);
}

/* The pages may be in anybody's hands: they are out of use for ever */
static void stuck_reset_body(void)
{
    struct fixture f = fixture_new();
    uint8_t *p = bo_map(f.fd, f.bo, f.page);

    /* as often as the driver looks before it gives up */
    fault(ANY, "stuck-reset", 100);
    p[0] = 42;
    CHECK_OK(sim("remove", ""));
    CHECK_ERRNO(do_command(&f, VIRTIO_BUF_CMD_UPDATE), ENODEV);
    CHECK_EQ(p[0], 42);
    munmap(p, f.page);
    close(f.fd);
}

static void stuck_reset(void)
{
    with_device(stuck_reset_body);
}

/* Programs run on while the device sleeps, and what they ask for waits */
static void sleep_awake_body(void)
{
    struct fixture f = fixture_new();
    int status;
    pid_t pid;

    if (sim("sleep", "") < 0) {
        test_skip("this kernel cannot sleep: %s", errno_name(errno));
    }
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        uint32_t buffer = register_page(f.fd, f.page);

        CHECK(buffer);
        CHECK_OK(do_command(&f, VIRTIO_BUF_CMD_SET_PROPERTIES));
        buffer_update(f.fd, f.buffer, f.page);
        buffer_take_back(f.fd, f.buffer);
        buffer_update(f.fd, buffer, f.page);
        buffer_take_back(f.fd, buffer);
        _exit(0);
    }
    sleep_ms(300);
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    CHECK_OK(sim("wake", ""));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(f.fd);
}

static void sleep_awake(void)
{
    with_device(sleep_awake_body);
}

/* Asleep, then pulled; and closed while it sleeps */
static void sleep_ends_body(void)
{
    struct fixture f = fixture_new();

    buffer_update(f.fd, f.buffer, f.page);
    if (sim("sleep", "") < 0) {
        test_skip("this kernel cannot sleep: %s", errno_name(errno));
    }
    close(f.fd);
    CHECK_OK(sim("wake", ""));
    f = fixture_new();
    buffer_update(f.fd, f.buffer, f.page);
    CHECK_OK(sim("sleep", ""));
    CHECK_OK(sim("remove", ""));
    CHECK_ERRNO(do_command(&f, VIRTIO_BUF_CMD_UPDATE), ENODEV);
    close(f.fd);
}

static void sleep_ends(void)
{
    with_device(sleep_ends_body);
}

/* What it says on waking up is no better than what it says otherwise */
static void bad_dreams_body(void)
{
    static const uint8_t zeroes[8];
    const struct header limit = { .status = VIRTIO_BUF_S_LIMIT };
    struct fixture f = fixture_new();

    if (sim("sleep", "") < 0) {
        test_skip("this kernel cannot sleep: %s", errno_name(errno));
    }
    answer(VIRTIO_BUF_CMD_REGISTER, &limit, sizeof(limit), sizeof(limit));
    CHECK_OK(sim("wake", ""));
    /* it has no place for the buffer any more */
    CHECK_EQ(buffer_unregister(f.fd, f.buffer), DRM_VIRTBUF_STATE_FREED);
    no_fault();
    f.buffer = buffer_register(f.fd, f.bo, f.page);
    CHECK_OK(sim("sleep", ""));
    answer(VIRTIO_BUF_CMD_REGISTER, zeroes, sizeof(zeroes), sizeof(zeroes));
    CHECK_OK(sim("wake", ""));
    CHECK_EQ(buffer_unregister(f.fd, f.buffer), DRM_VIRTBUF_STATE_FREED);
    no_fault();

    f.buffer = buffer_register(f.fd, f.bo, f.page);
    fault(VIRTIO_BUF_CMD_UPDATE, "silent", 0);
    do_command(&f, VIRTIO_BUF_CMD_UPDATE);
    CHECK_OK(sim("sleep", ""));
    CHECK_OK(sim("wake", ""));
    CHECK_ERRNO(do_command(&f, VIRTIO_BUF_CMD_REGISTER), EIO);
    CHECK_ERRNO(do_command(&f, VIRTIO_BUF_CMD_UPDATE), EIO, ENOENT);
    close(f.fd);
}

static void bad_dreams(void)
{
    with_device(bad_dreams_body);
}

static const struct test tests[] = {
    { "silent", silent, 0 },
    { "twice", twice, 0 },
    { "wrong-chain", wrong_chain, 0 },
    { "no-chain", no_chain, 0 },
    { "jump", jump, 0 },
    { "slow", slow, 0 },
    { "full-queue", full_queue, 0 },
    { "full-queue-pulled", full_queue_pulled, 0 },
    { "lengths", lengths, 0 },
    { "statuses", statuses, 0 },
    { "broken-events", broken_events, 0 },
    { "false-events", false_events, 0 },
    { "freed-twice", freed_twice, 0 },
    { "endless-events", endless_events, 0 },
    { "configurations", configurations, 0 },
    { "kill-in-command", kill_in_command, 0 },
    { "pull-in-command", pull_in_command, 0 },
    { "stuck-reset", stuck_reset, 0 },
    { "sleep-awake", sleep_awake, 0 },
    { "sleep-ends", sleep_ends, 0 },
    { "bad-dreams", bad_dreams, 0 },
};

const struct suite hostile_suite = SUITE("hostile", tests);
