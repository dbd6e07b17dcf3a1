/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf-devices: shows the virtio-buf devices of this virtual machine.
 *
 * Devices are found in sysfs and who uses them in /proc, so that no device is
 * opened that is not a virtio-buf one. What only the driver knows, limits and
 * how many host programs are connected, takes opening the device's own node,
 * and is left out where that is not allowed. Names of instances and programs
 * are other people's and are printed escaped.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client.h"
#include "drm/virtbuf_drm.h"
#include "foreign-text.h"
#include "virtbuf-device.h"

#define ARRAY_SIZE(a)   (sizeof(a) / sizeof((a)[0]))

#define EXIT_ERROR      1
#define EXIT_USAGE      2
#define EXIT_NO_DEVICE  3

static const char usage[] =
"Usage: virtio-buf-devices [OPTION]...\n"
"Shows the virtio-buf devices of this machine, their limits, and who uses them.\n"
"\n"
"  --json        print JSON\n"
"  --no-open     open no device: show what sysfs and /proc tell\n"
"  --root DIR    look for /sys, /proc and /dev in DIR\n"
"  --help, --version\n"
"\n"
"Exit codes: 0 done, 1 error, 2 wrong usage, 3 there is no device.\n";

/* What GETPARAM tells; in the order of the output */
static const struct {
    const char *name;
    uint32_t param;
} limits[] = {
    { "page_size", DRM_VIRTBUF_PARAM_PAGE_SIZE },
    { "max_buffers", DRM_VIRTBUF_PARAM_MAX_BUFFERS },
    { "max_ranges", DRM_VIRTBUF_PARAM_MAX_RANGES },
    { "max_buffer_size", DRM_VIRTBUF_PARAM_MAX_BUFFER_SIZE },
    { "max_total_size", DRM_VIRTBUF_PARAM_MAX_TOTAL_SIZE },
    { "max_dmabuf_ranges", DRM_VIRTBUF_PARAM_MAX_DMABUF_RANGES },
    { "max_dmabuf_size", DRM_VIRTBUF_PARAM_MAX_DMABUF_SIZE },
    { "max_properties", DRM_VIRTBUF_PARAM_MAX_PROPERTIES },
    { "max_property_bytes", DRM_VIRTBUF_PARAM_MAX_PROPERTY_BYTES },
    { "release_timeout_ms", DRM_VIRTBUF_PARAM_RELEASE_TIMEOUT_MS },
    { "hold_timeout_ms", DRM_VIRTBUF_PARAM_HOLD_TIMEOUT_MS },
    { "quota_file_bytes", DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES },
    { "quota_file_buffers", DRM_VIRTBUF_PARAM_QUOTA_FILE_BUFFERS },
    { "quota_file_pending", DRM_VIRTBUF_PARAM_QUOTA_FILE_PENDING },
    { "quota_file_property_bytes",
      DRM_VIRTBUF_PARAM_QUOTA_FILE_PROPERTY_BYTES },
    { "quota_user_bytes", DRM_VIRTBUF_PARAM_QUOTA_USER_BYTES },
    { "quota_user_buffers", DRM_VIRTBUF_PARAM_QUOTA_USER_BUFFERS },
    { "quota_user_pending", DRM_VIRTBUF_PARAM_QUOTA_USER_PENDING },
    { "quota_user_property_bytes",
      DRM_VIRTBUF_PARAM_QUOTA_USER_PROPERTY_BYTES },
    { "quota_device_bytes", DRM_VIRTBUF_PARAM_QUOTA_DEVICE_BYTES },
    { "quota_device_buffers", DRM_VIRTBUF_PARAM_QUOTA_DEVICE_BUFFERS },
    { "quota_device_pending", DRM_VIRTBUF_PARAM_QUOTA_DEVICE_PENDING },
    { "quota_device_property_bytes",
      DRM_VIRTBUF_PARAM_QUOTA_DEVICE_PROPERTY_BYTES },
};

/* The bits of DRM_VIRTBUF_PARAM_FEATURES */
static const char *const features[] = {
    "import", "userptr", "fences", "points", "events", "consumers", "writer",
};

struct options {
    const char *root;
    bool json;
    bool no_open;
};

/* One device, with what is known of it */
struct view {
    struct virtbuf_device device;
    int error;          /* errno of opening it; -1: it was not tried */
    uint64_t consumers;
    uint64_t features;
    bool has_limit[ARRAY_SIZE(limits)];
    uint64_t limit[ARRAY_SIZE(limits)];
};

static void parse_options(struct options *options, int argc, char **argv)
{
    static const struct option long_options[] = {
        { "json", no_argument, NULL, 'j' },
        { "no-open", no_argument, NULL, 'n' },
        { "root", required_argument, NULL, 'r' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },
        { 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'j':
            options->json = true;
            break;
        case 'n':
            options->no_open = true;
            break;
        case 'r':
            options->root = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        case 'v':
            puts("virtio-buf-devices " VERSION);
            exit(0);
        default:
            fputs("try --help\n", stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "virtio-buf-devices: what is this: %s; try --help\n",
                argv[optind]);
        exit(EXIT_USAGE);
    }
}

/* False where the driver does not know the parameter */
static bool get_param(int fd, uint32_t param, uint64_t *value)
{
    struct drm_virtbuf_getparam args = { .param = param };

    if (ioctl(fd, DRM_IOCTL_VIRTBUF_GETPARAM, &args) != 0) {
        return false;
    }
    *value = args.value;
    return true;
}

/* Asks the driver of a device whose node this is */
static void ask(const struct options *options, struct view *view)
{
    char path[PATH_MAX];
    size_t i;
    int fd;

    if (options->no_open) {
        view->error = -1;
        return;
    }
    snprintf(path, sizeof(path), "%s/dev/dri/%s", options->root,
             view->device.render_node);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        view->error = errno;
        return;
    }
    if (!get_param(fd, DRM_VIRTBUF_PARAM_CONSUMERS, &view->consumers) ||
        !get_param(fd, DRM_VIRTBUF_PARAM_FEATURES, &view->features)) {
        view->error = errno;
    }
    for (i = 0; i < ARRAY_SIZE(limits); i++) {
        view->has_limit[i] = get_param(fd, limits[i].param, &view->limit[i]);
    }
    close(fd);
}

static bool is_of(const struct client *client, const struct view *view)
{
    return strcmp(client->parent, view->device.parent) == 0;
}

/* A limit by its name; 0 when it is not known */
static uint64_t limit_of(const struct view *view, uint32_t param)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(limits); i++) {
        if (limits[i].param == param) {
            return view->limit[i];
        }
    }
    return 0;
}

static const char *size_text(uint64_t size, char *text, size_t room)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)size;
    unsigned int unit = 0;

    for (; value >= 1024 && unit < ARRAY_SIZE(units) - 1; unit++) {
        value /= 1024;
    }
    snprintf(text, room, "%.*f %s", unit ? 1 : 0, value, units[unit]);
    return text;
}

static void print_limits(const struct view *view)
{
    uint64_t ranges = limit_of(view, DRM_VIRTBUF_PARAM_MAX_DMABUF_RANGES);
    uint64_t size = limit_of(view, DRM_VIRTBUF_PARAM_MAX_DMABUF_SIZE);
    char one[32], all[32];
    size_t i;

    printf("  host programs  %" PRIu64 " connected\n", view->consumers);
    printf("  buffers        at most %" PRIu64 ", %s each, %s together\n",
           limit_of(view, DRM_VIRTBUF_PARAM_MAX_BUFFERS),
           size_text(limit_of(view, DRM_VIRTBUF_PARAM_MAX_BUFFER_SIZE), one,
                     sizeof(one)),
           size_text(limit_of(view, DRM_VIRTBUF_PARAM_MAX_TOTAL_SIZE), all,
                     sizeof(all)));
    if (ranges && size) {
        printf("  without copy   up to %s in %" PRIu64 " ranges\n",
               size_text(size, one, sizeof(one)), ranges);
    } else {
        printf("  without copy   no: everything is copied\n");
    }
    printf("  properties     at most %" PRIu64 ", %s\n",
           limit_of(view, DRM_VIRTBUF_PARAM_MAX_PROPERTIES),
           size_text(limit_of(view, DRM_VIRTBUF_PARAM_MAX_PROPERTY_BYTES), one,
                     sizeof(one)));
    printf("  features      ");
    for (i = 0; i < ARRAY_SIZE(features); i++) {
        if (view->features >> i & 1) {
            printf(" %s", features[i]);
        }
    }
    putchar('\n');
}

static void print_table(const struct view *view, const struct client *clients,
                        int count)
{
    const struct virtbuf_device *device = &view->device;
    char text[32];
    int i, seen = 0;

    printf("/dev/dri/%s  ", device->render_node);
    if (*device->instance) {
        print_safe(stdout, device->instance);
    } else {
        printf("(no instance name)");
    }
    if (device->has_subsystem) {
        printf("  subsystem %04x:%04x", device->subsystem_vendor,
               device->subsystem_device);
    }
    printf("  at %s\n", device->parent);
    if (view->error == 0) {
        print_limits(view);
    } else if (view->error > 0) {
        printf("  limits are not known: /dev/dri/%s: %s\n",
               device->render_node, strerror(view->error));
    }
    for (i = 0; i < count; i++) {
        if (!is_of(&clients[i], view)) {
            continue;
        }
        if (!seen++) {
            printf("  %7s  %7s  %10s  %7s  %s\n", "PID", "BUFFERS",
                   "REGISTERED", "PENDING", "PROGRAM");
        }
        printf("  %7d  %7" PRIu64 "  %10s  %7" PRIu64 "  ",
               (int)clients[i].pid, clients[i].buffers,
               size_text(clients[i].bytes, text, sizeof(text)),
               clients[i].pending);
        print_safe(stdout, clients[i].program);
        putchar('\n');
    }
    if (!seen) {
        printf("  no program uses it\n");
    }
}

static void print_json_text(const char *key, const char *text)
{
    printf(", \"%s\": ", key);
    if (*text) {
        print_json_string(stdout, text);
    } else {
        printf("null");
    }
}

static void print_json_limits(const struct view *view)
{
    const char *separator = "";
    size_t i;

    printf(", \"consumers\": %" PRIu64 ", \"features\": [", view->consumers);
    for (i = 0; i < ARRAY_SIZE(features); i++) {
        if (view->features >> i & 1) {
            printf("%s\"%s\"", separator, features[i]);
            separator = ", ";
        }
    }
    printf("], \"limits\": {");
    separator = "";
    for (i = 0; i < ARRAY_SIZE(limits); i++) {
        if (view->has_limit[i]) {
            printf("%s\"%s\": %" PRIu64, separator, limits[i].name,
                   view->limit[i]);
            separator = ", ";
        }
    }
    printf("}");
}

static void print_json_device(const struct view *view,
                              const struct client *clients, int count)
{
    const struct virtbuf_device *device = &view->device;
    const char *separator = "";
    int i;

    printf("{\"node\": \"/dev/dri/%s\"", device->render_node);
    print_json_text("instance", device->instance);
    print_json_text("parent", device->parent);
    print_json_text("virtio", device->virtio);
    if (device->has_subsystem) {
        printf(", \"subsystem\": \"%04x:%04x\"", device->subsystem_vendor,
               device->subsystem_device);
    } else {
        printf(", \"subsystem\": null");
    }
    if (view->error == 0) {
        print_json_limits(view);
    } else {
        printf(", \"consumers\": null, \"features\": null, \"limits\": null");
    }
    print_json_text("error", view->error > 0 ? strerror(view->error) : "");
    printf(", \"clients\": [");
    for (i = 0; i < count; i++) {
        if (!is_of(&clients[i], view)) {
            continue;
        }
        printf("%s{\"pid\": %d, \"program\": ", separator,
               (int)clients[i].pid);
        print_json_string(stdout, clients[i].program);
        printf(", \"buffers\": %" PRIu64 ", \"bytes\": %" PRIu64
               ", \"pending\": %" PRIu64 ", \"property_bytes\": %" PRIu64 "}",
               clients[i].buffers, clients[i].bytes, clients[i].pending,
               clients[i].property_bytes);
        separator = ", ";
    }
    printf("]}");
}

int main(int argc, char **argv)
{
    struct virtbuf_device devices[VIRTBUF_MAX_DEVICES];
    struct options options = { .root = "" };
    struct client *clients = NULL;
    char path[PATH_MAX];
    int count, users, i;

    parse_options(&options, argc, argv);
    snprintf(path, sizeof(path), "%s/sys", options.root);
    count = virtbuf_device_list(path, devices, VIRTBUF_MAX_DEVICES);
    if (count < 0) {
        fprintf(stderr, "virtio-buf-devices: %s/class/drm: %s\n", path,
                strerror(-count));
        return EXIT_ERROR;
    }
    /* before a device is opened here: we are no user of it */
    snprintf(path, sizeof(path), "%s/proc", options.root);
    users = client_list(path, &clients);
    if (users < 0) {
        fprintf(stderr, "virtio-buf-devices: %s: %s\n", path,
                strerror(-users));
        return EXIT_ERROR;
    }

    if (options.json) {
        printf("{\"devices\": [");
    }
    for (i = 0; i < count; i++) {
        struct view view = { .device = devices[i] };

        ask(&options, &view);
        if (options.json) {
            printf("%s", i ? ",\n  " : "\n  ");
            print_json_device(&view, clients, users);
        } else {
            print_table(&view, clients, users);
        }
    }
    if (options.json) {
        printf("]}\n");
    }
    free(clients);
    if (fflush(stdout) != 0) {
        fprintf(stderr, "virtio-buf-devices: cannot write: %s\n",
                strerror(errno));
        return EXIT_ERROR;
    }
    if (count == 0) {
        fprintf(stderr, "virtio-buf-devices: this machine has no virtio-buf "
                "device: start QEMU with -device virtio-buf-pci, and load the "
                "module virtio-buf in the guest\n");
        return EXIT_NO_DEVICE;
    }
    return 0;
}
