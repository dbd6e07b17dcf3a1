/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name: no objects, only their names */
#ifndef QEMU_OBJECT_H
#define QEMU_OBJECT_H

typedef struct Error Error;
typedef struct Object Object;

#define OBJECT_DECLARE_SIMPLE_TYPE(InstanceType, NAME) \
    typedef struct InstanceType InstanceType;

#endif /* QEMU_OBJECT_H */
