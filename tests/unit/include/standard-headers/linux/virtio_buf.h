/* SPDX-License-Identifier: BSD-3-Clause */
/* Stands in for QEMU's copy of the guest ABI: the original */
#include <linux/virtio_buf.h>
