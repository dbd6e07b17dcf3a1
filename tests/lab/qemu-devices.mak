# The devices of the lab's QEMU: both PC machines (qtests use i440FX, guests
# Q35), what a guest needs to boot and to reach files, and what the tests of
# virtio-buf put beside it.
CONFIG_I440FX=y
CONFIG_Q35=y
CONFIG_PCIE_PORT=y
CONFIG_VTD=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_IOMMU=y
CONFIG_VIRTIO_9P=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_RNG=y
CONFIG_VIRTIO_BALLOON=y
CONFIG_VIRTIO_GPU=y
CONFIG_VHOST_USER_RNG=y
CONFIG_VIRTIO_MEM=y
CONFIG_NVDIMM=y
