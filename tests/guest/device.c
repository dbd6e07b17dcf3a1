/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: the device under test and the steps that many tests share.
 *
 * The only state is which device it is. All calls are the raw ioctl(2), not a
 * library's: libdrm's repeats on EINTR and would hide it.
 */
#include "device.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "virtbuf-device.h"

/* What dead programs had is given back in the background, in this time */
#define GIVE_BACK_MS    20000
/* Until a program on the host has what it was given, on a busy machine */
#define HANDED_MS       300

bool device_shares_pages;
unsigned int device_pulls;

static struct virtbuf_device device;
static char driver[256];        /* "/sys/bus/virtio/drivers/..." */

bool device_setup(const char *node, const char *instance, char *message,
                  size_t message_size)
{
    struct virtbuf_match match = { .instance = instance };

    if (node) {
        return virtbuf_device_of_node("/sys", node, &device, message,
                                      message_size) == 0;
    }
    return virtbuf_device_find("/sys", &match, &device, message,
                               message_size) == 0;
}

const char *device_virtio(void)
{
    return device.virtio;
}

bool device_is_there(void)
{
    char path[64];

    snprintf(path, sizeof(path), "/dev/dri/%s", device.render_node);
    return access(path, R_OK | W_OK) == 0;
}

static int open_node(const char *name)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/dev/dri/%s", name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        test_fail(__FILE__, __LINE__, "%s: %s", path, errno_name(errno));
    }
    return fd;
}

void device_find_driver(void)
{
    char path[96], real[256];
    ssize_t n;

    if (geteuid() != 0) {
        test_skip("only root can unbind a device");
    }
    snprintf(path, sizeof(path), "/sys/bus/virtio/devices/%s/driver",
             device_virtio());
    n = readlink(path, real, sizeof(real) - 1);
    CHECK(n > 0);
    real[n] = '\0';
    snprintf(driver, sizeof(driver), "/sys/bus/virtio/drivers/%.200s",
             strrchr(real, '/') + 1);
}

/* Writes the device's name to "bind" or "unbind" */
static void change_driver(const char *attribute)
{
    char path[300];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", driver, attribute);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK_OK(fd);
    CHECK_OK(write(fd, device_virtio(), strlen(device_virtio())));
    close(fd);
}

void device_unbind(void)
{
    change_driver("unbind");
}

void device_wait(void)
{
    int64_t give_up = time_in(PATIENCE_MS);
    char message[256];

    /*
     * The node is made by the kernel, but not at once; under another name as
     * long as a program has the old one open, or maps its memory
     */
    while (!(device_setup(NULL, NULL, message, sizeof(message)) &&
             device_is_there()) && time_in(0) < give_up) {
        sleep_ms(20);
    }
}

void device_bind(void)
{
    change_driver("bind");
    device_wait();
}

int device_open(void)
{
    return open_node(device.render_node);
}

int device_open_card(void)
{
    if (!device.card_node[0]) {
        test_fail(__FILE__, __LINE__, "the device has no card node");
    }
    return open_node(device.card_node);
}

uint64_t device_param(int fd, uint64_t param)
{
    struct drm_virtbuf_getparam args = { .param = param };

    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_GETPARAM, &args));
    return args.value;
}

bool device_feature(int fd, uint64_t feature)
{
    return device_param(fd, DRM_VIRTBUF_PARAM_FEATURES) & feature;
}

uint64_t device_page(int fd)
{
    return device_param(fd, DRM_VIRTBUF_PARAM_PAGE_SIZE);
}

uint32_t bo_create(int fd, uint64_t size)
{
    struct drm_virtbuf_bo_create args = { .size = size };

    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_CREATE, &args));
    CHECK(args.handle != 0);
    CHECK(args.size >= size);
    return args.handle;
}

void bo_close(int fd, uint32_t bo)
{
    struct drm_gem_close args = { .handle = bo };

    CHECK_OK(ioctl(fd, DRM_IOCTL_GEM_CLOSE, &args));
}

uint64_t bo_map_offset(int fd, uint32_t bo)
{
    struct drm_virtbuf_bo_map args = { .handle = bo };

    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_BO_MAP, &args));
    return args.offset;
}

void *bo_map(int fd, uint32_t bo, uint64_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                   (off_t)bo_map_offset(fd, bo));

    if (p == MAP_FAILED) {
        test_fail(__FILE__, __LINE__, "mmap of a BO: %s", errno_name(errno));
    }
    return p;
}

void registration_init(struct registration *reg, uint32_t bo, uint64_t size)
{
    memset(reg, 0, sizeof(*reg));
    reg->ranges[0].handle = bo;
    reg->ranges[0].size = size;
    reg->args.ranges = PTR(reg->ranges);
    reg->args.range_count = 1;
    reg->args.range_stride = sizeof(reg->ranges[0]);
    reg->args.property_stride = sizeof(struct drm_virtbuf_property);
    reg->args.application = PTR(APPLICATION_ALONE);
    reg->args.application_len = strlen(APPLICATION_ALONE);
    reg->args.mode = DRM_VIRTBUF_MODE_LATEST;
}

int registration_do(int fd, struct registration *reg)
{
    return ioctl(fd, DRM_IOCTL_VIRTBUF_REGISTER, &reg->args);
}

uint32_t buffer_register_for(int fd, uint32_t bo, uint64_t size,
                             const char *application, uint32_t mode)
{
    struct registration reg;

    registration_init(&reg, bo, size);
    reg.args.application = PTR(application);
    reg.args.application_len = (uint32_t)strlen(application);
    reg.args.mode = mode;
    CHECK_OK(registration_do(fd, &reg));
    CHECK(reg.args.buffer != 0);
    return reg.args.buffer;
}

void registration_expect_shared(const struct registration *reg)
{
    if (device_shares_pages) {
        CHECK_EQ(reg->args.reason, VIRTIO_BUF_REASON_NONE);
        CHECK_EQ(reg->args.backing, DRM_VIRTBUF_BACKING_DMABUF);
    }
}

uint32_t buffer_register(int fd, uint32_t bo, uint64_t size)
{
    return buffer_register_for(fd, bo, size, APPLICATION_ALONE,
                               DRM_VIRTBUF_MODE_LATEST);
}

uint32_t buffer_unregister(int fd, uint32_t buffer)
{
    struct drm_virtbuf_unregister args = { .buffer = buffer };

    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_UNREGISTER, &args));
    CHECK(args.state == DRM_VIRTBUF_STATE_FREED ||
          args.state == DRM_VIRTBUF_STATE_PENDING);
    return args.state;
}

void buffer_take_back(int fd, uint32_t buffer)
{
    if (buffer_unregister(fd, buffer) == DRM_VIRTBUF_STATE_PENDING) {
        CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_FREED, 0, PATIENCE_MS));
    }
}

struct drm_virtbuf_update update_of(uint32_t buffer, uint64_t size)
{
    return (struct drm_virtbuf_update) {
        .buffer = buffer,
        .data_size = size,
        .property_stride = sizeof(struct drm_virtbuf_property),
        .in_fence_stride = sizeof(struct drm_virtbuf_fence),
    };
}

int update_do(int fd, struct drm_virtbuf_update *update)
{
    return ioctl(fd, DRM_IOCTL_VIRTBUF_UPDATE, update);
}

uint64_t buffer_update(int fd, uint32_t buffer, uint64_t size)
{
    struct drm_virtbuf_update update = update_of(buffer, size);

    CHECK_OK(update_do(fd, &update));
    CHECK(update.serial != 0);
    return update.serial;
}

struct drm_virtbuf_property property(const char *name, const char *value)
{
    return (struct drm_virtbuf_property) {
        .name = PTR(name),
        .name_len = (uint32_t)strlen(name),
        .value = PTR(value),
        .value_len = (uint32_t)strlen(value),
    };
}

struct drm_virtbuf_property property_delete(const char *name)
{
    return (struct drm_virtbuf_property) {
        .name = PTR(name),
        .name_len = (uint32_t)strlen(name),
        .flags = DRM_VIRTBUF_PROPERTY_DELETE,
    };
}

int properties_set(int fd, uint32_t buffer,
                   const struct drm_virtbuf_property *list, uint32_t count)
{
    struct drm_virtbuf_set_properties args = {
        .buffer = buffer,
        .properties = PTR(list),
        .property_count = count,
        .property_stride = sizeof(*list),
    };

    return ioctl(fd, DRM_IOCTL_VIRTBUF_SET_PROPERTIES, &args);
}

/* Large enough for every property of a buffer */
static uint8_t records[VIRTIO_BUF_MAX_PROPERTY_BYTES];

static struct drm_virtbuf_get_properties get_properties(int fd,
                                                        uint32_t buffer)
{
    struct drm_virtbuf_get_properties args = {
        .buffer = buffer,
        .data = PTR(records),
        .size = sizeof(records),
    };

    CHECK_OK(ioctl(fd, DRM_IOCTL_VIRTBUF_GET_PROPERTIES, &args));
    CHECK(args.size <= sizeof(records));
    return args;
}

uint32_t properties_count(int fd, uint32_t buffer)
{
    return get_properties(fd, buffer).count;
}

bool property_get(int fd, uint32_t buffer, const char *name, char *value,
                  size_t size)
{
    struct drm_virtbuf_get_properties args = get_properties(fd, buffer);
    uint32_t position = 0;
    bool found = false;

    for (uint32_t i = 0; i < args.count; i++) {
        struct virtio_buf_property head;
        const char *text = (const char *)records + position + sizeof(head);
        uint32_t length;

        CHECK(args.size - position >= sizeof(head));
        memcpy(&head, records + position, sizeof(head));
        length = (uint32_t)sizeof(head) + head.name_len + head.value_len;
        CHECK(length <= args.size - position);
        if (head.name_len == strlen(name) &&
            memcmp(text, name, head.name_len) == 0) {
            CHECK(!found);
            CHECK(head.value_len < size);
            memcpy(value, text + head.name_len, head.value_len);
            value[head.value_len] = '\0';
            found = true;
        }
        for (; length % 8; length++) {
            CHECK_EQ(records[position + length], 0);
        }
        position += length;
    }
    CHECK_EQ(position, args.size);
    return found;
}

void property_expect(int fd, uint32_t buffer, const char *name,
                     const char *value)
{
    char actual[256];

    if (!property_get(fd, buffer, name, actual, sizeof(actual))) {
        if (value) {
            test_fail(__FILE__, __LINE__, "there is no property %s", name);
        }
    } else if (!value) {
        test_fail(__FILE__, __LINE__, "there is a property %s=%s", name,
                  actual);
    } else if (strcmp(actual, value) != 0) {
        test_fail(__FILE__, __LINE__, "%s is '%s', not '%s'", name, actual,
                  value);
    }
}

uint32_t stride_longest(void)
{
    return (uint32_t)sysconf(_SC_PAGESIZE);
}

uint32_t stride_too_long(void)
{
    return stride_longest() + 8;
}

void *wide_element(const void *element, size_t size)
{
    static uint8_t *room;

    free(room);
    room = calloc(1, stride_too_long());
    CHECK(room && size <= stride_longest());
    return memcpy(room, element, size);
}

int64_t time_in(int64_t ms)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec + ms * 1000000;
}

int wait_one(int fd, uint32_t buffer, uint32_t condition, uint64_t value,
             int64_t ms)
{
    struct drm_virtbuf_wait_item item = {
        .buffer = buffer,
        .condition = condition,
        .value = value,
    };
    struct drm_virtbuf_wait args = {
        .items = PTR(&item),
        .count = 1,
        .stride = sizeof(item),
        .timeout_ns = time_in(ms),
    };

    return ioctl(fd, DRM_IOCTL_VIRTBUF_WAIT, &args);
}

void sleep_ms(unsigned int ms)
{
    struct timespec time = {
        .tv_sec = ms / 1000,
        .tv_nsec = (long)(ms % 1000) * 1000000,
    };

    nanosleep(&time, NULL);
}

void wait_for_holder(int fd, uint32_t buffer)
{
    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1, PATIENCE_MS));
    sleep_ms(HANDED_MS);
}

uint32_t register_page(int fd, uint64_t page)
{
    uint32_t bo = bo_create(fd, page);
    struct registration reg;
    int error;

    registration_init(&reg, bo, page);
    error = registration_do(fd, &reg) < 0 ? errno : 0;
    bo_close(fd, bo);
    errno = error;
    return error ? 0 : reg.args.buffer;
}

bool is_limit(int error)
{
    return error == E2BIG || error == ENOSPC;
}

uint32_t device_fill(int fd, uint32_t *buffers, uint32_t max)
{
    uint64_t page = device_page(fd);
    int64_t give_up = time_in(GIVE_BACK_MS);
    uint32_t count = 0;

    while (count < max) {
        buffers[count] = register_page(fd, page);
        if (buffers[count]) {
            count++;
        } else if (!is_limit(errno)) {
            test_fail(__FILE__, __LINE__, "buffer %u: %s", count,
                      errno_name(errno));
        } else if (time_in(0) > give_up) {
            break;
        } else {
            sleep_ms(20);
        }
    }
    return count;
}

void check_nothing_leaked(void)
{
    int fd = device_open();
    uint32_t max = (uint32_t)device_param(fd, DRM_VIRTBUF_PARAM_MAX_BUFFERS);
    uint32_t *buffers = calloc(max, sizeof(*buffers)), count;

    CHECK(buffers);
    count = device_fill(fd, buffers, max);
    if (count != max) {
        test_fail(__FILE__, __LINE__, "%u of %u buffers have leaked",
                  max - count, max);
    }
    free(buffers);
    close(fd);
}
