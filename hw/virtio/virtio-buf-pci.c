/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the device on the PCI bus
 *
 * Owns the subsystem ids, by which guest programs find their device without
 * opening it (docs/subsystem-ids.txt). Modern virtio only.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "hw/pci/pci.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-buf.h"
#include "hw/virtio/virtio-pci.h"

#define TYPE_VIRTIO_BUF_PCI "virtio-buf-pci-base"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOBufPCI, VIRTIO_BUF_PCI)

struct VirtIOBufPCI {
    VirtIOPCIProxy parent_obj;

    uint16_t subsystem_id;          /* 0: virtio's default */
    uint16_t subsystem_vendor_id;   /* 0: virtio's default */
    VirtIOBuf vdev;
};

static const Property virtio_buf_pci_properties[] = {
    DEFINE_PROP_UINT16("subsystem-id", VirtIOBufPCI, subsystem_id, 0),
    DEFINE_PROP_UINT16("subsystem-vendor-id", VirtIOBufPCI,
                       subsystem_vendor_id, 0),
    /* One for the queue, one for the configuration */
    DEFINE_PROP_UINT32("vectors", VirtIOPCIProxy, nvectors, 2),
};

static void virtio_buf_pci_realize(VirtIOPCIProxy *proxy, Error **errp)
{
    VirtIOBufPCI *dev = VIRTIO_BUF_PCI(proxy);
    uint8_t *config = PCI_DEVICE(proxy)->config;

    virtio_pci_force_virtio_1(proxy);
    if (!qdev_realize(DEVICE(&dev->vdev), BUS(&proxy->bus), errp)) {
        return;
    }

    /* Plugging the device into the bus of the proxy has set the defaults */
    if (dev->subsystem_vendor_id) {
        pci_set_word(config + PCI_SUBSYSTEM_VENDOR_ID,
                     dev->subsystem_vendor_id);
    }
    if (dev->subsystem_id) {
        pci_set_word(config + PCI_SUBSYSTEM_ID, dev->subsystem_id);
    }
}

static void virtio_buf_pci_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioPCIClass *k = VIRTIO_PCI_CLASS(klass);
    PCIDeviceClass *pcidev_k = PCI_DEVICE_CLASS(klass);

    device_class_set_props(dc, virtio_buf_pci_properties);
    k->realize = virtio_buf_pci_realize;
    pcidev_k->class_id = PCI_CLASS_OTHERS;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static void virtio_buf_pci_instance_init(Object *obj)
{
    VirtIOBufPCI *dev = VIRTIO_BUF_PCI(obj);

    virtio_instance_init_common(obj, &dev->vdev, sizeof(dev->vdev),
                                TYPE_VIRTIO_BUF);
}

static const VirtioPCIDeviceTypeInfo virtio_buf_pci_info = {
    .base_name = TYPE_VIRTIO_BUF_PCI,
    .generic_name = "virtio-buf-pci",
    .instance_size = sizeof(VirtIOBufPCI),
    .instance_init = virtio_buf_pci_instance_init,
    .class_init = virtio_buf_pci_class_init,
};

static void virtio_buf_pci_register_types(void)
{
    virtio_pci_types_register(&virtio_buf_pci_info);
}

type_init(virtio_buf_pci_register_types)
