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

#include "gate.h"
#include "sim.h"
#include "suites.h"

#define MANY            100

/* Those that a program waits for, and UPDATE */
static const unsigned int commands[] = {
    VIRTIO_BUF_CMD_REGISTER, VIRTIO_BUF_CMD_UNREGISTER,
    VIRTIO_BUF_CMD_SET_PROPERTIES, VIRTIO_BUF_CMD_GET_CONSUMERS,
    VIRTIO_BUF_CMD_UPDATE,
};
#define COMMANDS        (sizeof(commands) / sizeof(commands[0]))
#define WAITED_FOR      (COMMANDS - 1)

static void each_command_dies(const char *kind)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        struct fixture f = fixture_new();

        sim_fault(commands[i], kind, 0);
        do_command(&f, commands[i]);
        check_dies(&f);
        close(f.fd);
        /* with all that it has; and a new one comes */
        CHECK_OK(sim("remove", ""));
        sim_new();
    }
}

static void silent_body(void)
{
    each_command_dies("silent");
}

static void silent(void)
{
    with_sim(silent_body);
}

static void twice_body(void)
{
    each_command_dies("twice");
}

static void twice(void)
{
    with_sim(twice_body);
}

static void wrong_chain_body(void)
{
    each_command_dies("wrong-chain");
}

static void wrong_chain(void)
{
    with_sim(wrong_chain_body);
}

static void no_chain_body(void)
{
    each_command_dies("no-chain");
}

static void no_chain(void)
{
    with_sim(no_chain_body);
}

static void jump_body(void)
{
    each_command_dies("jump");
}

static void jump(void)
{
    with_sim(jump_body);
}

/* Any sign of life restarts the deadline */
static void slow_body(void)
{
    struct fixture f = fixture_new();
    int64_t before = time_in(0);
    uint32_t buffer;

    /* it takes longer than the deadline, and shows many signs of life */
    sim_fault(VIRTIO_BUF_CMD_REGISTER, "slow", 0);
    buffer = buffer_register(f.fd, f.bo, f.page);
    CHECK(time_in(0) - before >= 2000 * INT64_C(1000000));
    sim_no_fault();
    buffer_update(f.fd, buffer, f.page);
    buffer_take_back(f.fd, buffer);
    close(f.fd);
}

static void slow(void)
{
    with_sim(slow_body);
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
    sim_fault(SIM_ANY, "slow", 0);
    for (int i = 0; i < MANY; i++) {
        serials[i] = buffer_update(f.fd, buffers[i], f.page);
    }
    CHECK_ERRNO(wait_one(f.fd, buffers[MANY - 1], DRM_VIRTBUF_WAIT_RELEASED,
                         serials[MANY - 1], 0), ETIME);
    sim_no_fault();
    for (int i = 0; i < MANY; i++) {
        CHECK_OK(wait_one(f.fd, buffers[i], DRM_VIRTBUF_WAIT_RELEASED,
                          serials[i], PATIENCE_MS));
    }
    close(f.fd);
}

static void full_queue(void)
{
    with_sim(full_queue_body);
}

static void full_queue_pulled_body(void)
{
    struct fixture f = fixture_new();
    uint32_t buffers[MANY];

    for (int i = 0; i < MANY; i++) {
        buffers[i] = register_page(f.fd, f.page);
        CHECK(buffers[i]);
    }
    sim_set_timeout(SIM_LONG_TIMEOUT);
    sim_fault(SIM_ANY, "silent", 0);
    for (int i = 0; i < MANY; i++) {
        buffer_update(f.fd, buffers[i], f.page);
    }
    CHECK_OK(sim("remove", ""));
    close(f.fd);
}

static void full_queue_pulled(void)
{
    with_sim(full_queue_pulled_body);
}

struct header {
    uint32_t status, reserved;
    uint64_t news;
};

/* Too short, with all lengths that are; and longer than the room for it */
static void lengths_body(void)
{
    static uint8_t zeroes[4096];

    for (size_t c = 0; c < COMMANDS; c++) {
        unsigned int command = commands[c];

        for (unsigned int len = 0; len < sizeof(struct header); len += 5) {
            struct fixture f = fixture_new();

            sim_answer(command, zeroes, len, len);
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
            sim_no_fault();
            close(f.fd);
        }
        for (int i = 0; i < 2; i++) {
            struct fixture f = fixture_new();

            sim_answer(command, zeroes, sizeof(zeroes),
                   i ? UINT32_MAX : sizeof(zeroes));
            CHECK_OK(do_command(&f, command));
            sim_no_fault();
            close(f.fd);
        }
    }
}

static void lengths(void)
{
    with_sim(lengths_body);
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
        for (size_t c = 0; c < COMMANDS; c++) {
            unsigned int command = commands[c];
            struct fixture f = fixture_new();
            int ret;

            sim_answer(command, bytes, sizeof(bytes), sizeof(bytes));
            ret = do_command(&f, command);
            if (command == VIRTIO_BUF_CMD_REGISTER ||
                command == VIRTIO_BUF_CMD_SET_PROPERTIES) {
                CHECK_EQ(ret, i == VIRTIO_BUF_S_OK ? 0 : -1);
            } else if (command == VIRTIO_BUF_CMD_GET_CONSUMERS) {
                /* what follows the header makes no sense */
                CHECK_EQ(ret, -1);
            }
            if (ret < 0 && (i >= 12 || i == VIRTIO_BUF_S_PENDING ||
                            i == VIRTIO_BUF_S_NO_BUFFER)) {
                CHECK_EQ(errno, EIO);
            }
            sim_no_fault();
            close(f.fd);
        }
    }
}

static void statuses(void)
{
    with_sim(statuses_body);
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
    sim_answer(VIRTIO_BUF_CMD_GET_EVENTS, events, sizeof(*events), len);
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
        sim_new();
    }
}

static void broken_events(void)
{
    with_sim(broken_events_body);
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
    sim_no_fault();
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
    with_sim(false_events_body);
}

/* FREED again and again, for one that is PENDING, and for one that was */
static void freed_twice_body(void)
{
    const struct header header = { .status = VIRTIO_BUF_S_PENDING };
    struct fixture f = fixture_new();
    struct events events = events_of(1, VIRTIO_BUF_EVENT_FREED);
    uint32_t again;

    sim_answer(VIRTIO_BUF_CMD_UNREGISTER, &header, sizeof(header),
               sizeof(header));
    CHECK_EQ(buffer_unregister(f.fd, f.buffer), DRM_VIRTBUF_STATE_PENDING);
    memcpy(events.more, &events.event, sizeof(events.event));
    events.head.count = 2;
    for (int i = 0; i < 3; i++) {
        tell(&events, offsetof(struct events, more) + sizeof(events.event));
    }
    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_FREED, 0,
                      PATIENCE_MS));
    CHECK_EQ(buffer_unregister(f.fd, f.buffer), DRM_VIRTBUF_STATE_FREED);
    sim_no_fault();
    again = buffer_register(f.fd, f.bo, f.page);
    buffer_update(f.fd, again, f.page);
    buffer_take_back(f.fd, again);
    close(f.fd);
}

static void freed_twice(void)
{
    with_sim(freed_twice_body);
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
    with_sim(endless_events_body);
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

    sim_need();
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
        CHECK_OK(sim("create", SIM_INSTANCE));
        for (; patience && !found; patience--) {
            sleep_ms(20);
            found = sim_find();
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

    sim_set_timeout(SIM_LONG_TIMEOUT);
    CHECK_OK(pipe2(ready, O_CLOEXEC));
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        struct fixture f = fixture_new();

        sim_fault(command, "silent", 0);
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
    for (size_t i = 0; i < WAITED_FOR; i++) {
        unsigned int command = commands[i];
        pid_t pid = child_in_command(command, never_ends);
        int status;

        CHECK_OK(kill(pid, SIGKILL));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        CHECK_OK(sim("remove", ""));
        sim_new();
    }
}

static void kill_in_command(void)
{
    with_sim(kill_in_command_body);
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
    for (size_t i = 0; i < WAITED_FOR; i++) {
        unsigned int command = commands[i];
        /* no buffer keeps the device here: who is first is a matter of luck */
        int rounds = command == VIRTIO_BUF_CMD_SET_PROPERTIES ? 5 : 1;

        for (int round = 0; round < rounds; round++) {
            pid_t pid = child_in_command(command, ends_with_the_device);
            int status;

            CHECK_OK(sim("remove", ""));
            CHECK_EQ(waitpid(pid, &status, 0), pid);
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            sim_new();
        }
    }
}

static void pull_in_command(void)
{
    with_sim(pull_in_command_body);
}

/* The pages may be in anybody's hands: they are out of use for ever */
static void stuck_reset_body(void)
{
    struct fixture f = fixture_new();
    uint8_t *p = bo_map(f.fd, f.bo, f.page);

    /* as often as the driver looks before it gives up */
    sim_fault(SIM_ANY, "stuck-reset", 100);
    p[0] = 42;
    CHECK_OK(sim("remove", ""));
    CHECK_ERRNO(do_command(&f, VIRTIO_BUF_CMD_UPDATE), ENODEV);
    CHECK_EQ(p[0], 42);
    munmap(p, f.page);
    close(f.fd);
}

static void stuck_reset(void)
{
    with_sim(stuck_reset_body);
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
    with_sim(sleep_awake_body);
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
    with_sim(sleep_ends_body);
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
    sim_answer(VIRTIO_BUF_CMD_REGISTER, &limit, sizeof(limit), sizeof(limit));
    CHECK_OK(sim("wake", ""));
    /* it has no place for the buffer any more */
    CHECK_EQ(buffer_unregister(f.fd, f.buffer), DRM_VIRTBUF_STATE_FREED);
    sim_no_fault();
    f.buffer = buffer_register(f.fd, f.bo, f.page);
    CHECK_OK(sim("sleep", ""));
    sim_answer(VIRTIO_BUF_CMD_REGISTER, zeroes, sizeof(zeroes), sizeof(zeroes));
    CHECK_OK(sim("wake", ""));
    CHECK_EQ(buffer_unregister(f.fd, f.buffer), DRM_VIRTBUF_STATE_FREED);
    sim_no_fault();

    f.buffer = buffer_register(f.fd, f.bo, f.page);
    sim_fault(VIRTIO_BUF_CMD_UPDATE, "silent", 0);
    do_command(&f, VIRTIO_BUF_CMD_UPDATE);
    CHECK_OK(sim("sleep", ""));
    CHECK_OK(sim("wake", ""));
    CHECK_ERRNO(do_command(&f, VIRTIO_BUF_CMD_REGISTER), EIO);
    CHECK_ERRNO(do_command(&f, VIRTIO_BUF_CMD_UPDATE), EIO, ENOENT);
    close(f.fd);
}

static void bad_dreams(void)
{
    with_sim(bad_dreams_body);
}

/* What is queued for a buffer that has no place any more holds nobody up */
static void queued_dreams_body(void)
{
    const struct header limit = { .status = VIRTIO_BUF_S_LIMIT };
    struct fixture f = fixture_new();
    struct gate gate = gate_new();
    struct drm_virtbuf_fence fence = {
        .flags = DRM_VIRTBUF_FENCE_SYNC_FILE,
        .syncobj = (uint32_t)gate.sync_file,
    };
    struct drm_virtbuf_update update;
    struct registration reg;
    uint64_t serial;

    registration_init(&reg, f.bo, f.page);
    reg.args.stream = 1;
    CHECK_OK(registration_do(f.fd, &reg));
    update = update_of(reg.args.buffer, f.page);
    update.in_fences = PTR(&fence);
    update.in_fence_count = 1;
    update.release_syncobj = syncobj_create(f.fd);
    update.release_point = 1;
    sim_set_fence_timeout("0");
    CHECK_OK(update_do(f.fd, &update));
    sim_set_fence_timeout("10000");
    if (sim("sleep", "") < 0) {
        test_skip("this kernel cannot sleep: %s", errno_name(errno));
    }
    sim_answer(VIRTIO_BUF_CMD_REGISTER, &limit, sizeof(limit), sizeof(limit));
    CHECK_OK(sim("wake", ""));
    CHECK_OK(syncobj_wait(f.fd, update.release_syncobj, 1, PATIENCE_MS));
    sim_no_fault();

    CHECK_OK(registration_do(f.fd, &reg));
    serial = buffer_update(f.fd, reg.args.buffer, f.page);
    CHECK_OK(wait_one(f.fd, reg.args.buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                      PATIENCE_MS));
    gate_excuse(&gate);
    gate_end(&gate);
    close(f.fd);
}

static void queued_dreams(void)
{
    with_sim(queued_dreams_body);
}

/* Of the device under test: the simulated one is another device for it */
static int importer;

static int import(int dmabuf)
{
    struct drm_prime_handle args = { .fd = dmabuf };
    int ret = ioctl(importer, DRM_IOCTL_PRIME_FD_TO_HANDLE, &args);

    if (ret == 0) {
        bo_close(importer, args.handle);
    }
    return ret;
}

/* @bo is a page in a buffer with this @id and handle */
static void check_not_mapped(const struct fixture *f, uint32_t bo, uint64_t id)
{
    const struct header pending = { .status = VIRTIO_BUF_S_PENDING };
    struct events events = events_of(id, VIRTIO_BUF_EVENT_FREED);
    struct drm_prime_handle args = {
        .handle = bo, .flags = DRM_CLOEXEC | DRM_RDWR,
    };

    CHECK_OK(ioctl(f->fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &args));
    CHECK_OK(import(args.fd));
    sim_answer(VIRTIO_BUF_CMD_UNREGISTER, &pending, sizeof(pending),
               sizeof(pending));
    CHECK_EQ(buffer_unregister(f->fd, f->buffer), DRM_VIRTBUF_STATE_PENDING);
    CHECK_ERRNO(import(args.fd), EBUSY);
    tell(&events, offsetof(struct events, more));
    CHECK_OK(wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_FREED, 0,
                      PATIENCE_MS));
    CHECK_OK(import(args.fd));
    sim_no_fault();
    close(args.fd);
}

/* No other device gets pages that are on their way back */
static void exported_body(void)
{
    struct fixture f = fixture_new();
    struct drm_mode_create_dumb create = { .width = 1024, .bpp = 32 };
    int card = device_open_card();
    struct drm_prime_handle dumb = { .flags = DRM_CLOEXEC | DRM_RDWR };

    check_not_mapped(&f, f.bo, 1);
    create.height = (uint32_t)(f.page / 4096);
    CHECK_OK(ioctl(card, DRM_IOCTL_MODE_CREATE_DUMB, &create));
    dumb.handle = create.handle;
    CHECK_OK(ioctl(card, DRM_IOCTL_PRIME_HANDLE_TO_FD, &dumb));
    CHECK_OK(ioctl(f.fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &dumb));
    f.buffer = buffer_register(f.fd, dumb.handle, f.page);
    check_not_mapped(&f, dumb.handle, 2);
    close(dumb.fd);
    close(card);
    close(f.fd);
}

static void exported(void)
{
    sim_need();
    importer = device_open();
    if (!device_feature(importer, DRM_VIRTBUF_FEATURE_IMPORT)) {
        test_skip("the device under test cannot import");
    }
    with_sim(exported_body);
    close(importer);
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
    { "queued-dreams", queued_dreams, 0 },
    { "exported", exported, 0 },
};

const struct suite hostile_suite = SUITE("hostile", tests);
