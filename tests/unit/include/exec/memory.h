/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef MEMORY_H
#define MEMORY_H

typedef struct AddressSpace AddressSpace;

#endif /* MEMORY_H */
