/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: EVENTS, poll() and read().
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

#define BIT(condition)  (1u << (condition))
#define ALL_CONDITIONS  (BIT(DRM_VIRTBUF_WAIT_WRITTEN + 1) - 1)
/* What the kernel keeps unread for a file, in bytes */
#define EVENT_SPACE     4096

static int subscribe(int fd, uint32_t buffer, uint32_t conditions)
{
    struct drm_virtbuf_events args = {
        .buffer = buffer, .conditions = conditions,
    };

    return ioctl(fd, DRM_IOCTL_VIRTBUF_EVENTS, &args);
}

static uint32_t new_buffer(int fd, const char *application, uint32_t mode)
{
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, page), buffer;

    buffer = buffer_register_for(fd, bo, page, application, mode);
    bo_close(fd, bo);
    return buffer;
}

static uint64_t update_and_wait(int fd, uint32_t buffer)
{
    uint64_t serial = buffer_update(fd, buffer, device_page(fd));

    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                      PATIENCE_MS));
    return serial;
}

static bool is_readable(int fd, int ms)
{
    struct pollfd pollfd = { .fd = fd, .events = POLLIN };
    int ret = poll(&pollfd, 1, ms);

    CHECK_OK(ret);
    CHECK_EQ(pollfd.revents & ~POLLIN, 0);
    return ret == 1;
}

static struct drm_virtbuf_event next_event(int fd)
{
    struct drm_virtbuf_event event;

    CHECK(is_readable(fd, PATIENCE_MS));
    CHECK_EQ(read(fd, &event, sizeof(event)), sizeof(event));
    CHECK_EQ(event.base.length, sizeof(event));
    return event;
}

static void no_event(int fd)
{
    CHECK(!is_readable(fd, 0));
}

static void fields(void)
{
    int fd = device_open(), other = device_open();
    uint32_t buffer = new_buffer(fd, APPLICATION_ALONE,
                                 DRM_VIRTBUF_MODE_LATEST);
    struct drm_virtbuf_events args = { .buffer = buffer };

    CHECK_OK(subscribe(fd, 0, ALL_CONDITIONS));
    CHECK_OK(subscribe(fd, buffer, ALL_CONDITIONS));
    CHECK_OK(subscribe(fd, buffer, 0));
    CHECK_ERRNO(subscribe(fd, BAD_HANDLE, 1), ENOENT);
    CHECK_ERRNO(subscribe(other, buffer, 1), ENOENT);
    for (unsigned int bit = 0; bit < 32; bit++) {
        args.flags = BIT(bit);
        CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_EVENTS, &args), EINVAL);
        args.flags = 0;
        args.pad = BIT(bit);
        CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_EVENTS, &args), EINVAL);
        args.pad = 0;
        if (bit > DRM_VIRTBUF_WAIT_WRITTEN) {
            CHECK_ERRNO(subscribe(fd, buffer, BIT(bit)), EINVAL);
        }
    }
    close(other);
    close(fd);
}

static void released(void)
{
    int fd = device_open();
    uint32_t buffer = new_buffer(fd, APPLICATION_ALONE,
                                 DRM_VIRTBUF_MODE_LATEST);
    struct drm_virtbuf_event event;
    uint64_t serial;

    CHECK_OK(subscribe(fd, buffer, BIT(DRM_VIRTBUF_WAIT_RELEASED)));
    no_event(fd);
    serial = buffer_update(fd, buffer, device_page(fd));
    event = next_event(fd);
    CHECK_EQ(event.base.type, DRM_VIRTBUF_EVENT_BUFFER);
    CHECK_EQ(event.buffer, buffer);
    CHECK_EQ(event.conditions, BIT(DRM_VIRTBUF_WAIT_RELEASED));
    CHECK_EQ(event.released, serial);
    CHECK_EQ(event.consumers, 0);
    CHECK_EQ(event.error, 0);
    no_event(fd);
    close(fd);
}

/* What was not subscribed to is not told; a buffer adds to what all get */
static void only_what_was_asked(void)
{
    int fd = device_open();
    uint32_t one = new_buffer(fd, APPLICATION_ALONE, DRM_VIRTBUF_MODE_LATEST);
    uint32_t two = new_buffer(fd, APPLICATION_ALONE, DRM_VIRTBUF_MODE_LATEST);

    update_and_wait(fd, one);
    no_event(fd);
    CHECK_OK(subscribe(fd, one, BIT(DRM_VIRTBUF_WAIT_CONSUMERS)));
    update_and_wait(fd, one);
    no_event(fd);
    CHECK_OK(subscribe(fd, one, BIT(DRM_VIRTBUF_WAIT_RELEASED)));
    update_and_wait(fd, two);
    no_event(fd);
    update_and_wait(fd, one);
    CHECK_EQ(next_event(fd).buffer, one);
    CHECK_OK(subscribe(fd, one, 0));
    update_and_wait(fd, one);
    no_event(fd);
    CHECK_OK(subscribe(fd, 0, BIT(DRM_VIRTBUF_WAIT_RELEASED)));
    update_and_wait(fd, two);
    CHECK_EQ(next_event(fd).buffer, two);
    /* those that come later, too */
    two = new_buffer(fd, APPLICATION_ALONE, DRM_VIRTBUF_MODE_LATEST);
    update_and_wait(fd, two);
    CHECK_EQ(next_event(fd).buffer, two);
    close(fd);
}

/* One event for each buffer, with the newest state */
static void coalesced(void)
{
    int fd = device_open();
    uint32_t one = new_buffer(fd, APPLICATION_ALONE,
                              DRM_VIRTBUF_MODE_IN_PLACE);
    uint32_t two = new_buffer(fd, APPLICATION_ALONE,
                              DRM_VIRTBUF_MODE_IN_PLACE);
    struct drm_virtbuf_event event;
    uint64_t serial = 0, first;

    CHECK_OK(subscribe(fd, 0, ALL_CONDITIONS));
    first = update_and_wait(fd, two);
    for (int i = 0; i < 200; i++) {
        serial = update_and_wait(fd, one);
    }
    event = next_event(fd);
    CHECK_EQ(event.buffer, two);
    CHECK_EQ(event.released, first);
    event = next_event(fd);
    CHECK_EQ(event.buffer, one);
    CHECK_EQ(event.released, serial);
    no_event(fd);
    close(fd);
}

/* More buffers than there is room for: the last event says so */
static void overflow(void)
{
    uint32_t handles[EVENT_SPACE / sizeof(struct drm_virtbuf_event)];
    const uint32_t room = sizeof(handles) / sizeof(handles[0]) - 1;
    int fd = device_open();

    CHECK_OK(subscribe(fd, 0, BIT(DRM_VIRTBUF_WAIT_RELEASED)));
    for (int round = 0; round < 3; round++) {
        struct drm_virtbuf_event event;

        for (uint32_t i = 0; i < room + 20; i++) {
            uint32_t buffer = new_buffer(fd, APPLICATION_ALONE,
                                         DRM_VIRTBUF_MODE_LATEST);

            update_and_wait(fd, buffer);
            buffer_take_back(fd, buffer);
            if (i < room) {
                handles[i] = buffer;
            }
        }
        for (uint32_t i = 0; i < room; i++) {
            event = next_event(fd);
            CHECK_EQ(event.base.type, DRM_VIRTBUF_EVENT_BUFFER);
            CHECK_EQ(event.buffer, handles[i]);
        }
        event = next_event(fd);
        CHECK_EQ(event.base.type, DRM_VIRTBUF_EVENT_OVERFLOW);
        CHECK_EQ(event.buffer, 0);
        CHECK_EQ(event.conditions, 0);
        no_event(fd);
    }
    close(fd);
}

static void reading(void)
{
    int fd = device_open();
    uint32_t one = new_buffer(fd, APPLICATION_ALONE, DRM_VIRTBUF_MODE_LATEST);
    uint32_t two = new_buffer(fd, APPLICATION_ALONE, DRM_VIRTBUF_MODE_LATEST);
    struct drm_virtbuf_event events[3];
    /* volatile, or the compiler sees where it points */
    void *volatile nowhere = (void *)BAD_POINTER;

    CHECK_OK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK));
    CHECK_ERRNO(read(fd, events, sizeof(events)), EAGAIN);
    CHECK_OK(subscribe(fd, 0, ALL_CONDITIONS));
    update_and_wait(fd, one);
    update_and_wait(fd, two);
    /* nothing is cut, and nothing lost */
    CHECK_EQ(read(fd, events, sizeof(events[0]) - 1), 0);
    CHECK_ERRNO(read(fd, nowhere, sizeof(events)), EFAULT);
    CHECK_EQ(read(fd, events, sizeof(events)), 2 * sizeof(events[0]));
    CHECK_EQ(events[0].buffer, one);
    CHECK_EQ(events[1].buffer, two);
    CHECK_ERRNO(read(fd, events, sizeof(events)), EAGAIN);
    close(fd);
}

static void *read_one(void *arg)
{
    struct drm_virtbuf_event event;
    const int *fd = arg;

    return (void *)(intptr_t)(read(*fd, &event, sizeof(event)) ==
                              sizeof(event));
}

static void blocking_read(void)
{
    int fd = device_open();
    uint32_t buffer = new_buffer(fd, APPLICATION_ALONE,
                                 DRM_VIRTBUF_MODE_LATEST);
    pthread_t reader;
    void *ok;

    CHECK_OK(subscribe(fd, buffer, ALL_CONDITIONS));
    CHECK_EQ(pthread_create(&reader, NULL, read_one, &fd), 0);
    sleep_ms(100);
    update_and_wait(fd, buffer);
    CHECK_EQ(pthread_join(reader, &ok), 0);
    CHECK(ok);
    close(fd);
}

/* An event is not about a newer buffer that has got the handle */
static void handles_are_fresh(void)
{
    int fd = device_open();
    uint32_t old = new_buffer(fd, APPLICATION_ALONE, DRM_VIRTBUF_MODE_LATEST);

    CHECK_OK(subscribe(fd, 0, ALL_CONDITIONS));
    update_and_wait(fd, old);
    buffer_take_back(fd, old);
    CHECK(new_buffer(fd, APPLICATION_ALONE, DRM_VIRTBUF_MODE_LATEST) != old);
    CHECK_EQ(next_event(fd).buffer, old);
    close(fd);
}

/* Files that close while news comes in, with events unread */
static void close_with_news(void)
{
    for (int round = 0; round < 50; round++) {
        int fd = device_open();
        uint64_t page = device_page(fd);
        uint32_t buffers[4];

        CHECK_OK(subscribe(fd, 0, ALL_CONDITIONS));
        for (int i = 0; i < 4; i++) {
            buffers[i] = new_buffer(fd, APPLICATION_ALONE,
                                    DRM_VIRTBUF_MODE_IN_PLACE);
        }
        for (int i = 0; i < 4 * round; i++) {
            buffer_update(fd, buffers[i % 4], page);
        }
        close(fd);
    }
    check_nothing_leaked();
}

static void consumers_come(void)
{
    int fd = device_open();
    struct drm_virtbuf_event event;
    uint32_t buffer;

    CHECK_OK(subscribe(fd, 0, BIT(DRM_VIRTBUF_WAIT_CONSUMERS)));
    buffer = new_buffer(fd, APPLICATION_CONSUMER, DRM_VIRTBUF_MODE_LATEST);
    event = next_event(fd);
    CHECK_EQ(event.buffer, buffer);
    CHECK_EQ(event.conditions, BIT(DRM_VIRTBUF_WAIT_CONSUMERS));
    CHECK(event.consumers >= 1);
    buffer_take_back(fd, buffer);
    close(fd);
}

static void freed(void)
{
    int fd = device_open();
    uint32_t buffer = new_buffer(fd, APPLICATION_HOLDER,
                                 DRM_VIRTBUF_MODE_LATEST);
    struct drm_virtbuf_event event;

    wait_for_holder(fd, buffer);
    CHECK_OK(subscribe(fd, buffer, BIT(DRM_VIRTBUF_WAIT_FREED)));
    CHECK_EQ(buffer_unregister(fd, buffer), DRM_VIRTBUF_STATE_PENDING);
    event = next_event(fd);
    CHECK_EQ(event.buffer, buffer);
    CHECK_EQ(event.conditions, BIT(DRM_VIRTBUF_WAIT_FREED));
    CHECK_EQ(buffer_unregister(fd, buffer), DRM_VIRTBUF_STATE_FREED);
    no_event(fd);
    close(fd);
}

/* CONSUMERS: those of the caller's own applications */

static int consumers_do(int fd, const char *application,
                        struct drm_virtbuf_consumers *args)
{
    args->application = PTR(application);
    args->application_len = (uint32_t)strlen(application);
    return ioctl(fd, DRM_IOCTL_VIRTBUF_CONSUMERS, args);
}

static void consumers_fields(void)
{
    int fd = device_open(), other = device_open();
    uint32_t buffer = new_buffer(fd, APPLICATION_ALONE,
                                 DRM_VIRTBUF_MODE_LATEST);
    struct drm_virtbuf_consumers args = { 0 };
    char name[DRM_VIRTBUF_APPLICATION_MAX + 2];

    args.count = 77;
    CHECK_OK(consumers_do(fd, APPLICATION_ALONE, &args));
    CHECK_EQ(args.count, 0);
    CHECK_EQ(args.size, 0);
    for (unsigned int bit = 0; bit < 32; bit++) {
        args.flags = BIT(bit);
        CHECK_ERRNO(consumers_do(fd, APPLICATION_ALONE, &args), EINVAL);
    }
    args.flags = 0;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    CHECK_ERRNO(consumers_do(fd, name, &args), EINVAL);
    CHECK_ERRNO(consumers_do(fd, "", &args), EINVAL);
    CHECK_ERRNO(consumers_do(fd, "\xff", &args), EINVAL);
    args.application = BAD_POINTER;
    args.application_len = 5;
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_CONSUMERS, &args), EFAULT);
    /* of others nothing is told */
    CHECK_ERRNO(consumers_do(other, APPLICATION_ALONE, &args), ENOENT);
    CHECK_ERRNO(consumers_do(fd, APPLICATION_CONSUMER, &args), ENOENT);
    CHECK_ERRNO(consumers_do(fd, "virtbuf-test-alon", &args), ENOENT);
    buffer_take_back(fd, buffer);
    CHECK_ERRNO(consumers_do(fd, APPLICATION_ALONE, &args), ENOENT);
    close(other);
    close(fd);
}

static void consumers_listed(void)
{
    int fd = device_open();
    uint32_t buffer = new_buffer(fd, APPLICATION_CONSUMER,
                                 DRM_VIRTBUF_MODE_LATEST);
    struct drm_virtbuf_consumers args = { 0 };
    uint8_t records[4096];
    uint32_t place = 0;
    uint64_t last = 0;

    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1, PATIENCE_MS));
    CHECK_ERRNO(consumers_do(fd, APPLICATION_CONSUMER, &args), ENOSPC);
    CHECK(args.count >= 1 && args.size >= sizeof(struct virtio_buf_consumer));
    args.size = sizeof(records);
    args.data = BAD_POINTER;
    CHECK_ERRNO(consumers_do(fd, APPLICATION_CONSUMER, &args), EFAULT);
    args.size = sizeof(records);
    args.data = PTR(records);
    CHECK_OK(consumers_do(fd, APPLICATION_CONSUMER, &args));
    CHECK(args.count >= 1 && args.size <= sizeof(records));
    for (uint32_t i = 0; i < args.count; i++) {
        struct virtio_buf_consumer consumer;

        CHECK(args.size - place >= sizeof(consumer));
        memcpy(&consumer, records + place, sizeof(consumer));
        CHECK(consumer.consumer_id > last);
        CHECK_EQ(consumer.flags, 0);
        last = consumer.consumer_id;
        place += (uint32_t)sizeof(consumer) + consumer.property_bytes;
        CHECK(place <= args.size);
    }
    CHECK_EQ(place, args.size);
    buffer_take_back(fd, buffer);
    close(fd);
}

static const struct test tests[] = {
    { "fields", fields, 0 },
    { "released", released, 0 },
    { "only-what-was-asked", only_what_was_asked, 0 },
    { "coalesced", coalesced, 0 },
    { "overflow", overflow, 0 },
    { "reading", reading, 0 },
    { "blocking-read", blocking_read, 0 },
    { "handles-are-fresh", handles_are_fresh, 0 },
    { "close-with-news", close_with_news, 0 },
    { "consumers-come", consumers_come, NEEDS_CONSUMER },
    { "freed", freed, NEEDS_HOLDER },
    { "consumers-fields", consumers_fields, 0 },
    { "consumers-listed", consumers_listed, NEEDS_CONSUMER },
};

const struct suite event_suite = SUITE("event", tests);
