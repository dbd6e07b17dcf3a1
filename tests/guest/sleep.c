/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: sleep. The machine suspends, or the PCI device is reset under
 * its driver, and buffers are there after it; hibernation is refused while
 * there are any.
 *
 * Mostly /sys/power/pm_test makes the kernel suspend all devices and go on at
 * once: the driver sees what it sees when the machine sleeps, the device is
 * reset and set up anew, and no clock has to wake the machine. One test sleeps
 * in earnest, in ACPI's S3.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "suites.h"

#define WAKE_ALARM      "/sys/class/rtc/rtc0/wakealarm"

/* Who writes here resets the PCI device */
static char pci_reset[128];

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int error;

    if (fd < 0) {
        return -1;
    }
    error = write(fd, text, strlen(text)) < 0 ? errno : 0;
    close(fd);
    errno = error;
    return error ? -1 : 0;
}

/* How far the kernel goes, and comes back: "devices", "freezer", "none" */
static void choose_level(const char *level)
{
    if (geteuid() != 0) {
        test_skip("only root can suspend the machine");
    }
    if (write_text("/sys/power/pm_test", level) < 0) {
        test_skip("/sys/power/pm_test: %s", errno_name(errno));
    }
    /* It would stay there for seconds */
    write_text("/sys/module/suspend/parameters/pm_test_delay", "0");
}

static void sleep_once(void)
{
    CHECK_OK(write_text("/sys/power/state", "freeze"));
}

static void sleep_in_ram(void)
{
    CHECK_OK(write_text(WAKE_ALARM, "+2"));
    CHECK_OK(write_text("/sys/power/state", "mem"));
}

static void reset_once(void)
{
    CHECK_OK(write_text(pci_reset, "1"));
}

/* Buffers keep ids, contents and properties, and go on where they were */
static void stay_through(void (*sleep)(void), int rounds)
{
    int fd = device_open();
    uint64_t page = device_page(fd), serial = 0, next;
    uint32_t bo = bo_create(fd, 4 * page), buffers[4], late;
    struct drm_virtbuf_property title = property("title", "asleep");
    uint8_t *p = bo_map(fd, bo, 4 * page);
    struct registration reg;
    uint64_t last_id = 0;

    for (uint32_t i = 0; i < 4; i++) {
        registration_init(&reg, bo, page);
        reg.ranges[0].offset = i * page;
        reg.args.properties = PTR(&title);
        reg.args.property_count = 1;
        CHECK_OK(registration_do(fd, &reg));
        buffers[i] = reg.args.buffer;
        last_id = reg.args.buffer_id;
        serial = buffer_update(fd, buffers[i], page);
        p[i * page] = (uint8_t)(i + 1);
    }
    for (int round = 0; round < rounds; round++) {
        sleep();
        for (uint32_t i = 0; i < 4; i++) {
            CHECK_EQ(p[i * page], i + 1);
            property_expect(fd, buffers[i], "title", "asleep");
            next = buffer_update(fd, buffers[i], page);
            CHECK(next > serial);
            serial = next;
            CHECK_OK(wait_one(fd, buffers[i], DRM_VIRTBUF_WAIT_RELEASED,
                              serial, PATIENCE_MS));
        }
    }
    title = property("title", "awake");
    CHECK_OK(properties_set(fd, buffers[0], &title, 1));
    property_expect(fd, buffers[0], "title", "awake");
    /* ids go on rising */
    registration_init(&reg, bo_create(fd, page), page);
    CHECK_OK(registration_do(fd, &reg));
    CHECK(reg.args.buffer_id > last_id);
    late = reg.args.buffer;
    for (uint32_t i = 0; i < 4; i++) {
        buffer_take_back(fd, buffers[i]);
    }
    if (rounds > 1) {
        sleep();
    }
    buffer_update(fd, late, page);
    buffer_take_back(fd, late);
    munmap(p, 4 * page);
    close(fd);
    check_nothing_leaked();
}

static void buffers_stay(void)
{
    choose_level("devices");
    stay_through(sleep_once, 3);
    choose_level("none");
}

/* Once: what an emulated machine does after it is not for a second time */
static void suspend_to_ram(void)
{
    if (access(WAKE_ALARM, W_OK) < 0) {
        test_skip("no clock to wake the machine: %s: %s", WAKE_ALARM,
                  errno_name(errno));
    }
    /* Else "mem" may stand for a lighter sleep */
    if (write_text("/sys/power/mem_sleep", "deep") < 0) {
        test_skip("the machine has no S3: %s", errno_name(errno));
    }
    choose_level("none");
    stay_through(sleep_in_ram, 1);
}

static bool kernel_has(const char *symbol)
{
    FILE *symbols = fopen("/proc/kallsyms", "re");
    char line[512];
    bool found = false;

    CHECK(symbols != NULL);
    while (!found && fgets(line, sizeof(line), symbols)) {
        found = strstr(line, symbol) != NULL;
    }
    fclose(symbols);
    return found;
}

static void pci_device_is_reset(void)
{
    snprintf(pci_reset, sizeof(pci_reset),
             "/sys/bus/virtio/devices/%s/../reset", device_virtio());
    if (access(pci_reset, W_OK) < 0) {
        test_skip("%s: %s", pci_reset, errno_name(errno));
    }
    if (!kernel_has("virtio_pci_reset_prepare")) {
        test_skip("this kernel does not tell drivers of a PCI reset");
    }
    stay_through(reset_once, 10);
}

/* Three states of a buffer that a host program does not let go of */
static void held_buffers(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd), serials[2];
    uint32_t buffers[2];
    uint8_t *pages[2];

    choose_level("devices");
    for (int i = 0; i < 2; i++) {
        uint32_t bo = bo_create(fd, page);

        pages[i] = bo_map(fd, bo, page);
        memset(pages[i], i + 1, page);
        buffers[i] = buffer_register_for(fd, bo, page, APPLICATION_HOLDER,
                                         DRM_VIRTBUF_MODE_EVERY);
        wait_for_holder(fd, buffers[i]);
        serials[i] = buffer_update(fd, buffers[i], page);
    }
    CHECK_EQ(buffer_unregister(fd, buffers[1]), DRM_VIRTBUF_STATE_PENDING);
    sleep_once();
    /* no holder has got over it */
    CHECK_OK(wait_one(fd, buffers[0], DRM_VIRTBUF_WAIT_RELEASED, serials[0],
                      0));
    CHECK_OK(wait_one(fd, buffers[1], DRM_VIRTBUF_WAIT_FREED, 0, 0));
    CHECK_EQ(buffer_unregister(fd, buffers[1]), DRM_VIRTBUF_STATE_FREED);
    /* the pages were taken from the holder with what was in them */
    for (int i = 0; i < 2; i++) {
        for (uint64_t byte = 0; byte < page; byte++) {
            CHECK_EQ(pages[i][byte], i + 1);
        }
        munmap(pages[i], page);
    }
    /* it is told of the buffer again, and holds it again */
    CHECK_OK(wait_one(fd, buffers[0], DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                      PATIENCE_MS));
    buffer_update(fd, buffers[0], page);
    buffer_take_back(fd, buffers[0]);
    choose_level("none");
    close(fd);
}

static void consumers_come_back(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    const struct drm_virtbuf_property list[] = {
        property("fourcc", "XR24"), property("modifier", "0x0"),
        property("width", "16"), property("height", "16"),
        property("plane0.offset", "0"), property("plane0.stride", "64"),
    };
    struct registration reg;

    choose_level("devices");
    registration_init(&reg, bo_create(fd, page), page);
    reg.args.application = PTR(APPLICATION_CONSUMER);
    reg.args.application_len = strlen(APPLICATION_CONSUMER);
    reg.args.properties = PTR(list);
    reg.args.property_count = sizeof(list) / sizeof(list[0]);
    CHECK_OK(registration_do(fd, &reg));
    for (int round = 0; round < 3; round++) {
        uint64_t serial;

        CHECK_OK(wait_one(fd, reg.args.buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                          PATIENCE_MS));
        serial = buffer_update(fd, reg.args.buffer, page);
        if (round) {
            CHECK_OK(wait_one(fd, reg.args.buffer, DRM_VIRTBUF_WAIT_RELEASED,
                              serial, PATIENCE_MS));
        }
        sleep_once();
    }
    buffer_take_back(fd, reg.args.buffer);
    choose_level("none");
    close(fd);
}

static void work_for_ever(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);

    for (;;) {
        uint32_t buffer = register_page(fd, page);

        CHECK(buffer);
        buffer_update(fd, buffer, page);
        buffer_take_back(fd, buffer);
    }
}

static void under_load(void)
{
    pid_t pids[3];

    choose_level("devices");
    for (int i = 0; i < 3; i++) {
        pids[i] = fork();
        CHECK_OK(pids[i]);
        if (pids[i] == 0) {
            work_for_ever();
        }
    }
    for (int round = 0; round < 10; round++) {
        sleep_ms(20 + 13 * round);
        sleep_once();
    }
    sleep_ms(100);
    for (int i = 0; i < 3; i++) {
        int status;

        /* nobody ended by itself: no call has failed */
        CHECK_EQ(waitpid(pids[i], &status, WNOHANG), 0);
        CHECK_OK(kill(pids[i], SIGKILL));
        CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
    }
    choose_level("none");
    check_nothing_leaked();
}

static int64_t wait_through(int fd, uint32_t buffer)
{
    int64_t before = time_in(0);

    CHECK_ERRNO(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1, 3000),
                ETIME);
    return time_in(0) - before;
}

/* Who waits is frozen, and waits on */
static void a_waiter_waits_on(void)
{
    int status;
    pid_t pid;

    choose_level("devices");
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        int fd = device_open();
        uint64_t page = device_page(fd);
        uint32_t buffer = buffer_register(fd, bo_create(fd, page), page);

        CHECK(wait_through(fd, buffer) >= 3000 * INT64_C(1000000));
        buffer_take_back(fd, buffer);
        _exit(0);
    }
    sleep_ms(500);
    sleep_once();
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    choose_level("none");
}

/* Buffers of programs that have just died may be on their way back */
static int hibernate_when_free(void)
{
    int64_t give_up = time_in(PATIENCE_MS);
    int ret = write_text("/sys/power/state", "disk");

    while (ret < 0 && errno == EBUSY && time_in(0) < give_up) {
        sleep_ms(20);
        ret = write_text("/sys/power/state", "disk");
    }
    return ret;
}

static void hibernation_is_refused(void)
{
    int fd = device_open();
    uint64_t page = device_page(fd);
    uint32_t buffer;

    choose_level("freezer");
    if (hibernate_when_free() < 0) {
        int error = errno;

        choose_level("none");
        test_skip("this kernel does not hibernate: %s", errno_name(error));
    }
    buffer = buffer_register(fd, bo_create(fd, page), page);
    CHECK_ERRNO(write_text("/sys/power/state", "disk"), EBUSY);
    buffer_update(fd, buffer, page);
    buffer_take_back(fd, buffer);
    CHECK_OK(write_text("/sys/power/state", "disk"));
    choose_level("none");
    close(fd);
}

static const struct test tests[] = {
    { "buffers-stay", buffers_stay, 0 },
    { "under-load", under_load, 0 },
    { "a-waiter-waits-on", a_waiter_waits_on, 0 },
    { "suspend-to-ram", suspend_to_ram, NEEDS_SUSPEND },
    { "pci-device-is-reset", pci_device_is_reset, 0 },
    { "hibernation-is-refused", hibernation_is_refused, 0 },
    { "consumers-come-back", consumers_come_back, NEEDS_CONSUMER },
    { "held-buffers", held_buffers, NEEDS_HOLDER },
};

const struct suite sleep_suite = SUITE("sleep", tests);
