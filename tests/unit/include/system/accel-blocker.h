/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef ACCEL_BLOCKER_H
#define ACCEL_BLOCKER_H

void accel_ioctl_inhibit_begin(void);
void accel_ioctl_inhibit_end(void);

#endif /* ACCEL_BLOCKER_H */
