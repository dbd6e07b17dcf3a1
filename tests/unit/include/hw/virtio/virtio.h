/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name: a device without transport */
#ifndef QEMU_VIRTIO_H
#define QEMU_VIRTIO_H

#include "qom/object.h"

typedef struct QEMUBH QEMUBH;
typedef struct VMChangeStateEntry VMChangeStateEntry;
typedef struct VirtIODevice {
    int unused;
} VirtIODevice;
typedef struct VirtQueue VirtQueue;
typedef struct VirtQueueElement VirtQueueElement;

#endif /* QEMU_VIRTIO_H */
