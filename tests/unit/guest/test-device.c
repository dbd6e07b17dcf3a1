/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding the device, in sysfs trees made here: PCI, MMIO, other people's GPUs,
 * attributes that are missing or strange.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "virtbuf-device.h"

static char sysfs[64];

static void make_folder(const char *path)
{
    char full[256], *slash;

    snprintf(full, sizeof(full), "%s/%s", sysfs, path);
    for (slash = full + strlen(sysfs) + 1; (slash = strchr(slash, '/'));
         slash++) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    CHECK(mkdir(full, 0700) == 0 || errno == EEXIST);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    FILE *file;

    make_folder(folder);
    snprintf(path, sizeof(path), "%s/%s/%s", sysfs, folder, name);
    file = fopen(path, "w");
    CHECK(file);
    fputs(text, file);
    fclose(file);
}

static void make_link(const char *target, const char *path)
{
    char full[256];

    snprintf(full, sizeof(full), "%s/%s", sysfs, path);
    CHECK(symlink(target, full) == 0);
}

static void begin(void)
{
    strcpy(sysfs, "/tmp/virtbuf-sysfs-XXXXXX");
    CHECK(mkdtemp(sysfs));
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void end(void)
{
    CHECK(nftw(sysfs, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

/* class/drm/NODE -> devices/PARENT/drm/NODE, with its link "device" */
static void add_node(const char *parent, const char *node)
{
    char path[128], target[128];

    snprintf(path, sizeof(path), "devices/%s/drm/%s", parent, node);
    make_folder(path);
    snprintf(target, sizeof(target), "../../../%s", parent);
    snprintf(path, sizeof(path), "devices/%s/drm/%s/device", parent, node);
    make_link(target, path);
    make_folder("class/drm");
    snprintf(target, sizeof(target), "../../devices/%s/drm/%s", parent, node);
    snprintf(path, sizeof(path), "class/drm/%s", node);
    make_link(target, path);
}

static void add_pci(const char *parent, const char *device,
                    const char *subsystem)
{
    char path[128];

    snprintf(path, sizeof(path), "devices/%s", parent);
    write_file(path, "vendor", "0x1af4\n");
    write_file(path, "device", device);
    write_file(path, "subsystem_vendor", "0x1af4\n");
    write_file(path, "subsystem_device", subsystem);
}

static void add_virtio(const char *parent, const char *name, const char *id,
                       const char *instance)
{
    char path[128];

    snprintf(path, sizeof(path), "devices/%s/%s", parent, name);
    write_file(path, "device", id);
    write_file(path, "vendor", "0x1af4\n");
    if (instance) {
        write_file(path, "instance", instance);
    }
}

/* A GPU, a virtio GPU, and ours */
static void make_usual(void)
{
    begin();
    write_file("devices/gpu", "vendor", "0x8086\n");
    write_file("devices/gpu", "device", "0x46a6\n");
    write_file("devices/gpu", "subsystem_vendor", "0x8086\n");
    write_file("devices/gpu", "subsystem_device", "0x7270\n");
    add_node("gpu", "card0");
    add_node("gpu", "renderD128");
    add_pci("vgpu", "0x1050\n", "0x1100\n");
    add_virtio("vgpu", "virtio0", "0x0010\n", NULL);
    add_node("vgpu", "card1");
    add_node("vgpu", "renderD129");
    add_pci("ours", "0x107f\n", "0x1100\n");
    add_virtio("ours", "virtio1", "0x003f\n", "camera\n");
    add_node("ours", "card2");
    add_node("ours", "renderD130");
}

static int find(const char *instance, const char *subsystem,
                struct virtbuf_device *device, char *message, size_t size)
{
    struct virtbuf_match match = { .instance = instance };

    if (subsystem) {
        match.subsystem = true;
        CHECK(virtbuf_parse_subsystem(subsystem, &match.subsystem_vendor,
                                      &match.subsystem_device));
    }
    return virtbuf_device_find(sysfs, &match, device, message, size);
}

TEST(one_of_three_gpus)
{
    struct virtbuf_device device;
    char message[1024];

    make_usual();
    CHECK_INT(find(NULL, NULL, &device, message, sizeof(message)), ==, 0);
    CHECK_STR(device.render_node, "renderD130");
    CHECK_STR(device.card_node, "card2");
    CHECK_STR(device.virtio, "virtio1");
    CHECK_STR(device.instance, "camera");
    CHECK(device.has_subsystem);
    CHECK_INT(device.subsystem_vendor, ==, 0x1af4);
    CHECK_INT(device.subsystem_device, ==, 0x1100);
    end();
}

TEST(by_instance)
{
    struct virtbuf_device device;
    char message[1024];

    make_usual();
    add_pci("more", "0x107f\n", "0x4242\n");
    add_virtio("more", "virtio2", "0x003f\n", "screen\n");
    add_node("more", "renderD131");
    CHECK_INT(find("screen", NULL, &device, message, sizeof(message)), ==, 0);
    CHECK_STR(device.render_node, "renderD131");
    CHECK_STR(device.card_node, "");
    CHECK_INT(find("camera", NULL, &device, message, sizeof(message)), ==, 0);
    CHECK_STR(device.render_node, "renderD130");
    CHECK_INT(find(NULL, "1af4:4242", &device, message, sizeof(message)), ==,
              0);
    CHECK_STR(device.instance, "screen");
    CHECK_INT(find("camera", "1af4:4242", &device, message, sizeof(message)),
              ==, -ENODEV);
    end();
}

/* The message lists what there is, so that the user can choose */
TEST(ambiguous_or_missing)
{
    struct virtbuf_device device;
    char message[1024];

    make_usual();
    add_pci("more", "0x107f\n", "0x4242\n");
    add_virtio("more", "virtio2", "0x003f\n", "screen\n");
    add_node("more", "renderD131");
    CHECK_INT(find(NULL, NULL, &device, message, sizeof(message)), ==,
              -ENOTUNIQ);
    CHECK(strstr(message, "--instance"));
    CHECK(strstr(message, "renderD130") && strstr(message, "camera"));
    CHECK(strstr(message, "renderD131") && strstr(message, "1af4:4242"));
    CHECK(!strstr(message, "renderD129"));
    CHECK_INT(find("nobody", NULL, &device, message, sizeof(message)), ==,
              -ENODEV);
    CHECK(strstr(message, "camera") && strstr(message, "screen"));
    end();
}

TEST(no_device)
{
    struct virtbuf_device device;
    char message[1024];

    begin();
    CHECK_INT(find(NULL, NULL, &device, message, sizeof(message)), ==,
              -ENODEV);
    CHECK(strstr(message, "-device virtio-buf-pci"));
    make_folder("class/drm");
    CHECK_INT(find(NULL, NULL, &device, message, sizeof(message)), ==,
              -ENODEV);
    end();
}

TEST(virtio_mmio)
{
    struct virtbuf_device device;
    char message[1024];

    begin();
    make_folder("devices/LNRO0005:01");
    add_virtio("LNRO0005:01", "virtio7", "0x003f\n", "mmio\n");
    add_node("LNRO0005:01", "renderD128");
    CHECK_INT(find("mmio", NULL, &device, message, sizeof(message)), ==, 0);
    CHECK(!device.has_subsystem);
    CHECK_STR(device.virtio, "virtio7");
    CHECK_INT(find(NULL, "1af4:1100", &device, message, sizeof(message)), ==,
              -ENODEV);
    end();
}

/* The DRM device's parent is the virtio device itself */
TEST(virtio_parent)
{
    struct virtbuf_device device;
    char message[1024];

    begin();
    write_file("devices/virtio5", "device", "0x003f\n");
    write_file("devices/virtio5", "vendor", "0x1af4\n");
    write_file("devices/virtio5", "instance", "direct\n");
    add_node("virtio5", "renderD128");
    CHECK_INT(find(NULL, NULL, &device, message, sizeof(message)), ==, 0);
    CHECK_STR(device.instance, "direct");
    CHECK_STR(device.virtio, "virtio5");
    end();
}

TEST(strange_attributes)
{
    struct virtbuf_device device;
    char message[1024], text[300];

    make_usual();
    /* an id of somebody else's virtio device on our PCI id */
    write_file("devices/ours/virtio1", "device", "0x0010\n");
    CHECK_INT(find(NULL, NULL, &device, message, sizeof(message)), ==,
              -ENODEV);
    write_file("devices/ours/virtio1", "device", "");
    CHECK_INT(find(NULL, NULL, &device, message, sizeof(message)), ==,
              -ENODEV);
    write_file("devices/ours/virtio1", "device", "0x003fzz\n");
    CHECK_INT(find(NULL, NULL, &device, message, sizeof(message)), ==,
              -ENODEV);
    write_file("devices/ours/virtio1", "device", "0x003f\n");
    memset(text, 'n', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    write_file("devices/ours/virtio1", "instance", text);
    CHECK_INT(find(NULL, NULL, &device, message, sizeof(message)), ==, 0);
    CHECK_INT(strlen(device.instance), ==, VIRTBUF_INSTANCE_SIZE - 1);
    write_file("devices/ours", "vendor", "0x1234\n");
    CHECK_INT(find(NULL, NULL, &device, message, sizeof(message)), ==,
              -ENODEV);
    end();
}

TEST(of_a_node)
{
    struct virtbuf_device device;
    char message[1024], path[128];

    make_usual();
    /* any file will do for the node: it is never opened */
    write_file("dev", "renderD130", "");
    write_file("dev", "renderD129", "");
    write_file("dev", "card2", "");
    make_link("renderD130", "dev/by-name");
    snprintf(path, sizeof(path), "%s/dev/renderD130", sysfs);
    CHECK(chmod(path, 0) == 0);
    CHECK_INT(virtbuf_device_of_node(sysfs, path, &device, message,
                                     sizeof(message)), ==, 0);
    CHECK_STR(device.instance, "camera");
    CHECK_STR(device.render_node, "renderD130");
    snprintf(path, sizeof(path), "%s/dev/by-name", sysfs);
    CHECK_INT(virtbuf_device_of_node(sysfs, path, &device, message,
                                     sizeof(message)), ==, 0);
    snprintf(path, sizeof(path), "%s/dev/card2", sysfs);
    CHECK_INT(virtbuf_device_of_node(sysfs, path, &device, message,
                                     sizeof(message)), ==, 0);
    CHECK_STR(device.render_node, "renderD130");
    snprintf(path, sizeof(path), "%s/dev/renderD129", sysfs);
    CHECK_INT(virtbuf_device_of_node(sysfs, path, &device, message,
                                     sizeof(message)), ==, -ENODEV);
    CHECK_INT(virtbuf_device_of_node(sysfs, "/nonexistent", &device, message,
                                     sizeof(message)), ==, -ENOENT);
    end();
}

TEST(many_devices)
{
    struct virtbuf_device devices[VIRTBUF_MAX_DEVICES];
    char parent[32], node[32];

    begin();
    for (int i = 0; i < 20; i++) {
        snprintf(parent, sizeof(parent), "pci%d", i);
        snprintf(node, sizeof(node), "renderD%d", 128 + i);
        add_pci(parent, "0x107f\n", "0x1100\n");
        add_virtio(parent, "virtio0", "0x003f\n", "many\n");
        add_node(parent, node);
    }
    CHECK_INT(virtbuf_device_list(sysfs, devices, VIRTBUF_MAX_DEVICES), ==,
              VIRTBUF_MAX_DEVICES);
    CHECK_INT(virtbuf_device_list(sysfs, devices, 1), ==, 1);
    end();
}

TEST(subsystem_ids)
{
    static const char *const bad[] = {
        "", ":", "1af4", "1af4:", "1af4:11000", "1af4:110", "xaf4:1100",
        "1af4 1100", "0x1af4:0x1100", "1af41100", ":1100", "1af4:1100 ",
        "1af4:110g",
    };
    uint16_t vendor, device;

    CHECK(virtbuf_parse_subsystem("4B56:64d4", &vendor, &device));
    CHECK_INT(vendor, ==, 0x4b56);
    CHECK_INT(device, ==, 0x64d4);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (virtbuf_parse_subsystem(bad[i], &vendor, &device)) {
            test_fail(__FILE__, __LINE__, "\"%s\" was taken", bad[i]);
        }
    }
}
