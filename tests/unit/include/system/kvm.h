/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef QEMU_KVM_H
#define QEMU_KVM_H

bool kvm_enabled(void);

#endif /* QEMU_KVM_H */
