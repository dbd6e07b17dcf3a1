/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: quotas. Of a file, of a user and of the device; what counts,
 * for whom, and until when.
 *
 * The quotas are the module's parameters. Whatever a test finds, they are what
 * they were after it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

#define PARAMETERS      "/sys/module/virtio_buf/parameters/"
#define OTHER_USER      12345
#define MANY            1000000
#define PROPERTY_SIZE   600

enum scope { SCOPE_FILE, SCOPE_USER, SCOPE_DEVICE, SCOPES };

static const char *const parameters[] = {
    "quota_mib", "quota_buffers", "quota_pending", "quota_property_kib",
};
#define QUOTAS  (sizeof(parameters) / sizeof(parameters[0]))

static void read_parameter(const char *name, char *value, size_t size)
{
    char path[128];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), PARAMETERS "%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        test_skip("%s: %s", path, errno_name(errno));
    }
    n = read(fd, value, size - 1);
    CHECK(n > 0);
    value[n] = '\0';
    close(fd);
}

static void write_parameter(const char *name, const char *value)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), PARAMETERS "%s", name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK_OK(fd);
    CHECK_OK(write(fd, value, strlen(value)));
    close(fd);
}

/* @limit for @scope, and as good as none for the others */
static void set_quota(const char *name, enum scope scope, unsigned int limit)
{
    unsigned int values[SCOPES] = { MANY, MANY, MANY };
    char text[64];

    values[scope] = limit;
    /* MANY MiB would be more than an int of bytes, not than a u64 */
    snprintf(text, sizeof(text), "%u,%u,%u", values[0], values[1], values[2]);
    write_parameter(name, text);
}

/* The number behind @key in what the kernel says of @fd */
static unsigned long long fdinfo(int fd, const char *key)
{
    char path[64], line[256];
    unsigned long long value = 0;
    size_t length = strlen(key);
    bool found = false;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    file = fopen(path, "re");
    CHECK(file);
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, length) == 0 && line[length] == ':') {
            CHECK(!found);
            found = true;
            value = strtoull(line + length + 1, NULL, 10);
        }
    }
    fclose(file);
    if (!found) {
        test_fail(__FILE__, __LINE__, "fdinfo has no %s", key);
    }
    return value;
}

/* Waits until nothing counts of what was there before */
static void settle(void)
{
    int64_t give_up = time_in(PATIENCE_MS);
    int fd = device_open();

    while (fdinfo(fd, "drm-virtbuf-device-buffers") > 0) {
        CHECK(time_in(0) < give_up);
        sleep_ms(10);
    }
    close(fd);
}

/* Runs @body in a child, and sets all quotas as they were */
static void with_quotas(void (*body)(void))
{
    char saved[QUOTAS][64];
    int status;
    pid_t pid;

    if (geteuid() != 0) {
        test_skip("only root can set quotas");
    }
    for (size_t i = 0; i < QUOTAS; i++) {
        read_parameter(parameters[i], saved[i], sizeof(saved[i]));
    }
    settle();
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        body();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    for (size_t i = 0; i < QUOTAS; i++) {
        write_parameter(parameters[i], saved[i]);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status)) {
        _exit(1); /* it has said why */
    }
    CHECK(WIFEXITED(status));
    check_nothing_leaked();
}

/* What counts is who opens the file */
static int open_as(uid_t uid)
{
    int fd;

    CHECK_OK(setresuid(uid, (uid_t)-1, (uid_t)-1));
    fd = device_open();
    CHECK_OK(setresuid(0, (uid_t)-1, (uid_t)-1));
    return fd;
}

static uint32_t register_bytes(int fd, uint64_t size, uint32_t property_size)
{
    static char value[4096];
    struct drm_virtbuf_property one = property("title", "");
    struct registration reg;
    uint32_t bo = bo_create(fd, size);
    int error;

    memset(value, 'x', sizeof(value));
    one.value = PTR(value);
    one.value_len = property_size;
    registration_init(&reg, bo, size);
    if (property_size) {
        reg.args.properties = PTR(&one);
        reg.args.property_count = 1;
    }
    error = registration_do(fd, &reg) < 0 ? errno : 0;
    bo_close(fd, bo);
    errno = error;
    return error ? 0 : reg.args.buffer;
}

/* One that does not fit, in @fd, when @full; else one that does */
static void check_file(int fd, uint64_t size, uint32_t property_size,
                       bool full)
{
    uint32_t buffer = register_bytes(fd, size, property_size);

    if (full) {
        CHECK(buffer == 0);
        CHECK_EQ(errno, ENOSPC);
    } else if (buffer == 0) {
        test_fail(__FILE__, __LINE__, "REGISTER: %s", errno_name(errno));
    } else {
        buffer_take_back(fd, buffer);
    }
}

/* Buffers of files that were closed are given back in the background */
static uint32_t register_soon(int fd, uint64_t size, uint32_t property_size)
{
    int64_t give_up = time_in(PATIENCE_MS);
    uint32_t buffer;

    while ((buffer = register_bytes(fd, size, property_size)) == 0) {
        CHECK_EQ(errno, ENOSPC);
        CHECK(time_in(0) < give_up);
        sleep_ms(10);
    }
    return buffer;
}

/* @limit of @name allows one buffer of this size, and not two */
static void one_fits(const char *name, unsigned int limit, uint64_t size,
                     uint32_t property_size)
{
    for (enum scope scope = SCOPE_FILE; scope < SCOPES; scope++) {
        int first = device_open(), second = device_open();
        int other = open_as(OTHER_USER);
        uint32_t buffer;

        set_quota(name, scope, limit);
        buffer = register_soon(first, size, property_size);
        for (int round = 0; round < 2; round++) {
            check_file(first, size, property_size, true);
            check_file(second, size, property_size, scope >= SCOPE_USER);
            check_file(other, size, property_size, scope == SCOPE_DEVICE);
        }
        /* what is there still works */
        buffer_update(first, buffer, size);
        buffer_take_back(first, buffer);
        check_file(first, size, property_size, false);

        /* the end of a file is the end of its buffers */
        CHECK(register_bytes(first, size, property_size) != 0);
        close(first);
        register_soon(second, size, property_size);
        close(second);
        close(other);
        set_quota(name, scope, MANY);
    }
}

static void buffers_body(void)
{
    one_fits("quota_buffers", 1, device_page(open_as(0)), 0);
}

static void buffers(void)
{
    with_quotas(buffers_body);
}

static void bytes_body(void)
{
    one_fits("quota_mib", 1, MIB - device_page(open_as(0)), 0);
}

static void bytes(void)
{
    with_quotas(bytes_body);
}

static void property_bytes_body(void)
{
    one_fits("quota_property_kib", 1, device_page(open_as(0)), PROPERTY_SIZE);
}

static void property_bytes(void)
{
    with_quotas(property_bytes_body);
}

/* A change that does not fit changes nothing */
static void property_changes_body(void)
{
    static char value[PROPERTY_SIZE + 1];
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t buffer = register_bytes(fd, page, PROPERTY_SIZE / 2);
    struct drm_virtbuf_property list[] = { property("more", "") };
    struct drm_virtbuf_update update = update_of(buffer, page);

    CHECK(buffer != 0);
    memset(value, 'y', PROPERTY_SIZE);
    list[0].value = PTR(value);
    list[0].value_len = PROPERTY_SIZE;
    /* for a moment there are the old ones and the new ones */
    set_quota("quota_property_kib", SCOPE_FILE, 1);
    CHECK_ERRNO(properties_set(fd, buffer, list, 1), ENOSPC);
    CHECK_EQ(properties_count(fd, buffer), 1);
    update.properties = PTR(list);
    update.property_count = 1;
    CHECK_ERRNO(update_do(fd, &update), ENOSPC);
    CHECK_EQ(update.serial, 0);
    CHECK_EQ(properties_count(fd, buffer), 1);
    set_quota("quota_property_kib", SCOPE_FILE, 8);
    CHECK_OK(properties_set(fd, buffer, list, 1));
    CHECK_EQ(properties_count(fd, buffer), 2);
    /* what is replaced counts no more */
    for (int i = 0; i < 20; i++) {
        CHECK_OK(properties_set(fd, buffer, list, 1));
    }
    buffer_update(fd, buffer, page);
    buffer_take_back(fd, buffer);
    close(fd);
}

static void property_changes(void)
{
    with_quotas(property_changes_body);
}

/* A buffer that a host program keeps */
static uint32_t held_buffer(int fd)
{
    uint64_t page = device_page(fd);
    uint32_t bo = bo_create(fd, page);
    uint32_t buffer = buffer_register_for(fd, bo, page, APPLICATION_HOLDER,
                                          DRM_VIRTBUF_MODE_LATEST);

    bo_close(fd, bo);
    wait_for_holder(fd, buffer);
    buffer_update(fd, buffer, page);
    return buffer;
}

static void pending_body(void)
{
    uint64_t page = device_page(open_as(0));

    for (enum scope scope = SCOPE_FILE; scope < SCOPES; scope++) {
        int first = device_open(), second = device_open();
        int other = open_as(OTHER_USER);
        uint32_t buffer = held_buffer(first);

        set_quota("quota_pending", scope, 1);
        check_file(first, page, 0, false);
        CHECK_EQ(buffer_unregister(first, buffer),
                 DRM_VIRTBUF_STATE_PENDING);
        check_file(first, page, 0, true);
        check_file(second, page, 0, scope >= SCOPE_USER);
        check_file(other, page, 0, scope == SCOPE_DEVICE);
        CHECK_OK(wait_one(first, buffer, DRM_VIRTBUF_WAIT_FREED, 0,
                          PATIENCE_MS));
        check_file(first, page, 0, false);
        close(first);
        close(second);
        close(other);
        set_quota("quota_pending", scope, MANY);
    }
}

static void pending(void)
{
    with_quotas(pending_body);
}

/* What a dead program has left behind counts for its user */
static void pending_of_the_dead_body(void)
{
    int fd = device_open(), other;
    uint64_t page = device_page(fd);

    held_buffer(fd);
    close(fd);
    fd = device_open();
    other = open_as(OTHER_USER);
    set_quota("quota_pending", SCOPE_USER, 1);
    check_file(fd, page, 0, true);
    check_file(other, page, 0, false);
    close(other);
    close(fd);
}

static void pending_of_the_dead(void)
{
    with_quotas(pending_of_the_dead_body);
}

/* As a program of another user meets it: in a process of its own */
static void be_another_user(const char *node, uint64_t page, int expected)
{
    int fd;

    CHECK_OK(setresuid(OTHER_USER, OTHER_USER, OTHER_USER));
    fd = open(node, O_RDWR | O_CLOEXEC);
    CHECK_OK(fd);
    if (expected) {
        CHECK(register_page(fd, page) == 0);
        CHECK_EQ(errno, expected);
    } else {
        CHECK(register_page(fd, page) != 0);
        CHECK(register_page(fd, page) == 0);
        CHECK_EQ(errno, ENOSPC);
    }
    _exit(0);
}

static void two_users_body(void)
{
    char path[64], node[256];
    int fd = device_open();
    uint64_t page = device_page(fd);
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, node, sizeof(node) - 1);
    CHECK(n > 0);
    node[n] = '\0';
    CHECK_OK(chmod(node, 0666));
    set_quota("quota_buffers", SCOPE_USER, 1);
    CHECK(register_page(fd, page) != 0);
    for (int round = 0; round < 2; round++) {
        int status;
        pid_t pid = fork();

        CHECK_OK(pid);
        if (pid == 0) {
            be_another_user(node, page, round ? ENOSPC : 0);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        /* the other one has used nothing of mine */
        CHECK(register_page(fd, page) == 0);
        CHECK_EQ(errno, ENOSPC);
        set_quota("quota_buffers", SCOPE_DEVICE, 1);
    }
    CHECK_OK(chmod(node, 0600));
    close(fd);
}

static void two_users(void)
{
    with_quotas(two_users_body);
}

static void parameters_body(void)
{
    int fd = device_open();
    uint64_t param = DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES;
    struct drm_virtbuf_getparam none = {
        .param = DRM_VIRTBUF_PARAM_QUOTA_DEVICE_PROPERTY_BYTES + 1,
    };

    write_parameter("quota_mib", "1,2,3");
    write_parameter("quota_buffers", "11,12,13");
    write_parameter("quota_pending", "0,22,23");
    write_parameter("quota_property_kib", "31,32,33");
    for (unsigned int scope = 0; scope < SCOPES; scope++) {
        CHECK_EQ(device_param(fd, param++), (scope + 1) * MIB);
        CHECK_EQ(device_param(fd, param++), 11 + scope);
        CHECK_EQ(device_param(fd, param++), scope ? 21 + scope : 0);
        CHECK_EQ(device_param(fd, param++), (31 + scope) * 1024);
    }
    CHECK_ERRNO(ioctl(fd, DRM_IOCTL_VIRTBUF_GETPARAM, &none), EINVAL);
    /* a share of the memory, of which the device has the largest */
    write_parameter("quota_mib", "-1,-1,-1");
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES) >= MIB);
    CHECK(device_param(fd, DRM_VIRTBUF_PARAM_QUOTA_DEVICE_BYTES) >
          device_param(fd, DRM_VIRTBUF_PARAM_QUOTA_USER_BYTES));
    close(fd);
}

static void parameters_are_told(void)
{
    with_quotas(parameters_body);
}

static void use_is_shown(void)
{
    int fd = device_open(), second = device_open();
    uint64_t page = device_page(fd);
    uint32_t one, two;

    settle();
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-buffers"), 0);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-registered"), 0);
    one = register_bytes(fd, 3 * page, 0);
    two = register_bytes(second, page, PROPERTY_SIZE);
    CHECK(one && two);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-buffers"), 1);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-registered"), 3 * page / 1024);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-pending"), 0);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-properties"), 0);
    CHECK(fdinfo(second, "drm-virtbuf-properties") >= PROPERTY_SIZE);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-user-buffers"), 2);
    CHECK_EQ(fdinfo(second, "drm-virtbuf-user-buffers"), 2);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-device-buffers"), 2);
    CHECK_EQ(fdinfo(second, "drm-virtbuf-device-registered"), 4 * page / 1024);
    CHECK_EQ(fdinfo(second, "drm-virtbuf-device-pending"), 0);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-device-properties"),
             fdinfo(second, "drm-virtbuf-properties"));
    buffer_take_back(fd, one);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-buffers"), 0);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-registered"), 0);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-user-buffers"), 1);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-device-buffers"), 1);
    close(second);
    close(fd);
}

static void use_of_pending_is_shown(void)
{
    int fd = device_open();
    uint32_t buffer = held_buffer(fd);

    CHECK_EQ(fdinfo(fd, "drm-virtbuf-pending"), 0);
    CHECK_EQ(buffer_unregister(fd, buffer), DRM_VIRTBUF_STATE_PENDING);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-pending"), 1);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-buffers"), 1);
    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_FREED, 0, PATIENCE_MS));
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-pending"), 0);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-buffers"), 0);
    close(fd);
}

static void check_user(int fd, unsigned int buffers, uint64_t bytes,
                       unsigned long long properties)
{
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-user-buffers"), buffers);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-user-registered"), bytes / 1024);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-user-pending"), 0);
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-user-properties"), properties);
}

/* The sums of the user's files, whichever is asked, and of no one else's */
static void use_of_a_user_body(void)
{
    int fd = device_open(), second = device_open();
    int other = open_as(OTHER_USER);
    uint64_t page = device_page(fd);
    unsigned long long properties;
    uint32_t one, two;

    one = register_bytes(fd, 3 * page, PROPERTY_SIZE);
    properties = fdinfo(fd, "drm-virtbuf-properties");
    check_user(second, 1, 3 * page, properties);
    two = register_bytes(second, page, PROPERTY_SIZE);
    CHECK(register_bytes(other, page, 0) && one && two);
    check_user(fd, 2, 4 * page, 2 * properties);
    check_user(second, 2, 4 * page, 2 * properties);
    check_user(other, 1, page, 0);
    /* of the device they are together */
    CHECK_EQ(fdinfo(fd, "drm-virtbuf-device-buffers"), 3);
    CHECK_EQ(fdinfo(other, "drm-virtbuf-device-registered"), 5 * page / 1024);
    buffer_take_back(fd, one);
    check_user(fd, 1, page, properties);
    buffer_take_back(second, two);
    check_user(fd, 0, 0, 0);
    check_user(other, 1, page, 0);
    close(other);
    close(second);
    close(fd);
}

static void use_of_a_user(void)
{
    with_quotas(use_of_a_user_body);
}

static void pending_of_a_user_body(void)
{
    int fd = device_open(), second = device_open();
    int other = open_as(OTHER_USER);
    uint32_t buffer = held_buffer(fd);

    CHECK_EQ(buffer_unregister(fd, buffer), DRM_VIRTBUF_STATE_PENDING);
    CHECK_EQ(fdinfo(second, "drm-virtbuf-pending"), 0);
    CHECK_EQ(fdinfo(second, "drm-virtbuf-user-pending"), 1);
    CHECK_EQ(fdinfo(other, "drm-virtbuf-user-pending"), 0);
    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_FREED, 0, PATIENCE_MS));
    CHECK_EQ(fdinfo(second, "drm-virtbuf-user-pending"), 0);
    close(other);
    close(second);
    close(fd);
}

static void pending_of_a_user(void)
{
    with_quotas(pending_of_a_user_body);
}

static const struct test tests[] = {
    { "buffers", buffers, 0 },
    { "bytes", bytes, 0 },
    { "property-bytes", property_bytes, 0 },
    { "property-changes", property_changes, 0 },
    { "pending", pending, NEEDS_HOLDER },
    { "pending-of-the-dead", pending_of_the_dead, NEEDS_HOLDER },
    { "two-users", two_users, 0 },
    { "parameters-are-told", parameters_are_told, 0 },
    { "use-is-shown", use_is_shown, 0 },
    { "use-of-pending-is-shown", use_of_pending_is_shown, NEEDS_HOLDER },
    { "use-of-a-user", use_of_a_user, 0 },
    { "pending-of-a-user", pending_of_a_user, NEEDS_HOLDER },
};

const struct suite quota_suite = SUITE("quota", tests);
