/* SPDX-License-Identifier: MIT */
/*
 * Finding a virtio-buf device in the guest, in sysfs, without opening any
 * device node: opening a GPU's node to ask who it is wakes that GPU up.
 */
#ifndef VIRTBUF_DEVICE_H
#define VIRTBUF_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTBUF_INSTANCE_SIZE   64
#define VIRTBUF_MAX_DEVICES     16

/**
 * struct virtbuf_device - a virtio-buf device of this machine
 * @render_node: name in /dev/dri, "renderD128"
 * @card_node: name in /dev/dri, "card0"; empty when there is none
 * @parent: name of the device that does DMA, "0000:00:03.0"
 * @virtio: name on the virtio bus, "virtio3"
 * @instance: name that the host gave it; may be empty
 * @has_subsystem: it is a PCI device: the next two are known
 * @subsystem_vendor: PCI subsystem vendor id
 * @subsystem_device: PCI subsystem id
 */
struct virtbuf_device {
    char render_node[32];
    char card_node[32];
    char parent[32];
    char virtio[32];
    char instance[VIRTBUF_INSTANCE_SIZE];
    bool has_subsystem;
    uint16_t subsystem_vendor;
    uint16_t subsystem_device;
};

/**
 * struct virtbuf_match - which device is meant
 * @instance: its instance name; NULL: any
 * @subsystem: only with these PCI subsystem ids
 * @subsystem_vendor: with @subsystem
 * @subsystem_device: with @subsystem
 */
struct virtbuf_match {
    const char *instance;
    bool subsystem;
    uint16_t subsystem_vendor;
    uint16_t subsystem_device;
};

/*
 * Lists the virtio-buf devices below @sysfs ("/sys"), by render node. Returns
 * how many are in @devices, at most @max, or a negative errno.
 */
int virtbuf_device_list(const char *sysfs, struct virtbuf_device *devices,
                        size_t max);

/*
 * Finds the one device that @match describes. Returns 0, or -ENODEV when none
 * fits, -ENOTUNIQ when several do, or another negative errno; @message then
 * says what to do about it.
 */
int virtbuf_device_find(const char *sysfs, const struct virtbuf_match *match,
                        struct virtbuf_device *device, char *message,
                        size_t message_size);

/*
 * Describes the device of @node, a path like "/dev/dri/renderD128" or
 * "/dev/dri/card0". Returns 0, or a negative errno and @message.
 */
int virtbuf_device_of_node(const char *sysfs, const char *node,
                           struct virtbuf_device *device, char *message,
                           size_t message_size);

/* Reads "VVVV:DDDD" (hexadecimal); false when @text is something else */
bool virtbuf_parse_subsystem(const char *text, uint16_t *vendor,
                             uint16_t *device);

#endif
