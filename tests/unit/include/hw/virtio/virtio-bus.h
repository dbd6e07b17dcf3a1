/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef VIRTIO_BUS_H
#define VIRTIO_BUS_H

#include "hw/virtio/virtio.h"

bool virtio_bus_device_iommu_enabled(VirtIODevice *vdev);

#endif /* VIRTIO_BUS_H */
