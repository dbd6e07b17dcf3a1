/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name: a device without transport */
#ifndef QEMU_VIRTIO_H
#define QEMU_VIRTIO_H

#include "qom/object.h"

#define VIRTIO_CONFIG_S_DRIVER_OK 4

typedef struct AddressSpace AddressSpace;
typedef struct QEMUBH QEMUBH;
typedef struct VMChangeStateEntry VMChangeStateEntry;
typedef struct VirtQueue VirtQueue;
typedef struct VirtQueueElement VirtQueueElement;

typedef struct VirtIODevice {
    DeviceState parent_obj;
    AddressSpace *dma_as;
    uint8_t status;
} VirtIODevice;

#define VIRTIO_DEVICE(s) ((VirtIODevice *)(s))

void virtio_notify_config(VirtIODevice *vdev);

#endif /* QEMU_VIRTIO_H */
