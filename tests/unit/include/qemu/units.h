/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef QEMU_UNITS_H
#define QEMU_UNITS_H

#define MiB (INT64_C(1) << 20)

#endif /* QEMU_UNITS_H */
