/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef EXEC_ADDRESS_SPACES_H
#define EXEC_ADDRESS_SPACES_H

#include "hw/virtio/virtio.h"

extern AddressSpace address_space_memory;

#endif /* EXEC_ADDRESS_SPACES_H */
