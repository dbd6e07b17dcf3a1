/* SPDX-License-Identifier: MIT */
/*
 * Finding a virtio-buf device in the guest.
 *
 * Everything is read from sysfs: the DRM device's parent is the PCI (or
 * platform) device, whose child is the virtio device; it may also be the
 * virtio device itself. No node is opened. sysfs is trusted like the kernel,
 * but an attribute may be missing, empty or longer than it should be.
 */
#include "virtbuf-device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "linux/virtio_buf.h"

#define PCI_VENDOR_VIRTIO       0x1af4
#define PCI_DEVICE_VIRTIO_BUF   (0x1040 + VIRTIO_ID_BUF)
#define PATH_SIZE               512

/* Reads an attribute without its newline; false when there is none */
static bool read_attribute(const char *folder, const char *name, char *value,
                           size_t size)
{
    char path[PATH_SIZE + 64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    n = read(fd, value, size - 1);
    close(fd);
    if (n < 0) {
        return false;
    }
    value[n] = '\0';
    value[strcspn(value, "\n")] = '\0';
    return true;
}

static bool read_hex(const char *folder, const char *name, unsigned long *value)
{
    char text[32], *end;

    if (!read_attribute(folder, name, text, sizeof(text))) {
        return false;
    }
    *value = strtoul(text, &end, 16);
    return end != text && *end == '\0';
}

/* The first entry of @folder that starts with @prefix and a digit */
static bool find_entry(const char *folder, const char *prefix, char *name,
                       size_t size)
{
    size_t prefix_len = strlen(prefix);
    struct dirent *entry;
    bool found = false;
    DIR *dir = opendir(folder);

    if (!dir) {
        return false;
    }
    while (!found && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, prefix, prefix_len) == 0 &&
            entry->d_name[prefix_len] >= '0' &&
            entry->d_name[prefix_len] <= '9' &&
            strlen(entry->d_name) < size) {
            strcpy(name, entry->d_name);
            found = true;
        }
    }
    closedir(dir);
    return found;
}

/*
 * Fills @device from the parent of a DRM device; false when that is no
 * virtio-buf device. @parent is the folder "device" of a DRM node.
 */
static bool probe_parent(const char *parent, struct virtbuf_device *device)
{
    char virtio[PATH_SIZE], folder[PATH_SIZE], real[PATH_SIZE];
    unsigned long vendor, id, sub_vendor, sub_device;
    ssize_t n;

    memset(device, 0, sizeof(*device));
    if (read_hex(parent, "subsystem_vendor", &sub_vendor) &&
        read_hex(parent, "subsystem_device", &sub_device)) {
        if (!read_hex(parent, "vendor", &vendor) ||
            !read_hex(parent, "device", &id) || vendor != PCI_VENDOR_VIRTIO ||
            id != PCI_DEVICE_VIRTIO_BUF) {
            return false;
        }
        device->has_subsystem = true;
        device->subsystem_vendor = (uint16_t)sub_vendor;
        device->subsystem_device = (uint16_t)sub_device;
    }
    /* its name is where the link ends */
    n = readlink(parent, real, sizeof(real) - 1);
    real[n > 0 ? n : 0] = '\0';
    snprintf(device->parent, sizeof(device->parent), "%.31s",
             strrchr(real, '/') ? strrchr(real, '/') + 1 : real);
    if (find_entry(parent, "virtio", device->virtio, sizeof(device->virtio))) {
        snprintf(virtio, sizeof(virtio), "%.400s/%s", parent, device->virtio);
    } else {
        /* the parent is the virtio device */
        strcpy(device->virtio, device->parent);
        snprintf(virtio, sizeof(virtio), "%.400s", parent);
    }
    if (!read_hex(virtio, "device", &id) || id != VIRTIO_ID_BUF) {
        return false;
    }
    read_attribute(virtio, "instance", device->instance,
                   sizeof(device->instance));
    snprintf(folder, sizeof(folder), "%.400s/drm", parent);
    find_entry(folder, "renderD", device->render_node,
               sizeof(device->render_node));
    find_entry(folder, "card", device->card_node, sizeof(device->card_node));
    return true;
}

static int compare_devices(const void *a, const void *b)
{
    const struct virtbuf_device *left = a, *right = b;

    return strverscmp(left->render_node, right->render_node);
}

int virtbuf_device_list(const char *sysfs, struct virtbuf_device *devices,
                        size_t max)
{
    char folder[PATH_SIZE], parent[PATH_SIZE + 300];
    struct dirent *entry;
    size_t count = 0;
    DIR *dir;

    snprintf(folder, sizeof(folder), "%.300s/class/drm", sysfs);
    dir = opendir(folder);
    if (!dir) {
        /* no DRM in this kernel, hence no device */
        return errno == ENOENT ? 0 : -errno;
    }
    while (count < max && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, "renderD", 7) != 0) {
            continue;
        }
        snprintf(parent, sizeof(parent), "%.400s/%.255s/device", folder,
                 entry->d_name);
        if (probe_parent(parent, &devices[count])) {
            snprintf(devices[count].render_node,
                     sizeof(devices[count].render_node), "%.31s",
                     entry->d_name);
            count++;
        }
    }
    closedir(dir);
    qsort(devices, count, sizeof(*devices), compare_devices);
    return (int)count;
}

static bool matches(const struct virtbuf_device *device,
                    const struct virtbuf_match *match)
{
    if (match->instance && strcmp(match->instance, device->instance) != 0) {
        return false;
    }
    return !match->subsystem ||
           (device->has_subsystem &&
            device->subsystem_vendor == match->subsystem_vendor &&
            device->subsystem_device == match->subsystem_device);
}

/* Appends to the text in @message; what does not fit is left out */
static void __attribute__((format(printf, 3, 4)))
append(char *message, size_t size, const char *format, ...)
{
    size_t len = strlen(message);
    va_list ap;

    va_start(ap, format);
    vsnprintf(message + len, size - len, format, ap);
    va_end(ap);
}

int virtbuf_device_find(const char *sysfs, const struct virtbuf_match *match,
                        struct virtbuf_device *device, char *message,
                        size_t message_size)
{
    struct virtbuf_device devices[VIRTBUF_MAX_DEVICES];
    size_t found = 0;
    int count = virtbuf_device_list(sysfs, devices, VIRTBUF_MAX_DEVICES);

    message[0] = '\0';
    if (count < 0) {
        append(message, message_size, "%s/class/drm: %s", sysfs,
               strerror(-count));
        return count;
    }
    if (count == 0) {
        append(message, message_size,
               "this machine has no virtio-buf device: start QEMU with "
               "-device virtio-buf-pci, and load the module virtio-buf in "
               "the guest");
        return -ENODEV;
    }
    for (int i = 0; i < count; i++) {
        if (matches(&devices[i], match)) {
            *device = devices[i];
            found++;
        }
    }
    if (found == 1) {
        return 0;
    }
    append(message, message_size, "%s:",
           found ? "several virtio-buf devices fit, choose one with "
                   "--instance, --subsystem or --device" :
                   "no virtio-buf device fits, there are");
    for (int i = 0; i < count; i++) {
        if (found && !matches(&devices[i], match)) {
            continue;
        }
        append(message, message_size, "\n  /dev/dri/%s  instance '%s'",
               devices[i].render_node, devices[i].instance);
        if (devices[i].has_subsystem) {
            append(message, message_size, "  subsystem %04x:%04x",
                   devices[i].subsystem_vendor, devices[i].subsystem_device);
        }
    }
    return found ? -ENOTUNIQ : -ENODEV;
}

int virtbuf_device_of_node(const char *sysfs, const char *node,
                           struct virtbuf_device *device, char *message,
                           size_t message_size)
{
    char parent[PATH_SIZE], real[PATH_SIZE];
    const char *name;
    char *resolved = realpath(node, NULL);

    message[0] = '\0';
    if (!resolved) {
        int error = errno;

        append(message, message_size, "%s: %s", node, strerror(error));
        return -error;
    }
    snprintf(real, sizeof(real), "%.255s", resolved);
    free(resolved);
    name = strrchr(real, '/') ? strrchr(real, '/') + 1 : real;
    snprintf(parent, sizeof(parent), "%.200s/class/drm/%.200s/device", sysfs,
             name);
    if (!probe_parent(parent, device)) {
        append(message, message_size,
               "%s is no virtio-buf device; without --device the right one is "
               "looked for", node);
        return -ENODEV;
    }
    return 0;
}

bool virtbuf_parse_subsystem(const char *text, uint16_t *vendor,
                             uint16_t *device)
{
    size_t digits = strspn(text, "0123456789abcdefABCDEF");
    const char *second = text + digits + 1;

    if (digits != 4 || text[4] != ':' ||
        strspn(second, "0123456789abcdefABCDEF") != 4 || second[4] != '\0') {
        return false;
    }
    *vendor = (uint16_t)strtoul(text, NULL, 16);
    *device = (uint16_t)strtoul(second, NULL, 16);
    return true;
}
