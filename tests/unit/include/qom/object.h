/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's headers: objects are counted, and have no properties */
#ifndef QEMU_OBJECT_H
#define QEMU_OBJECT_H

typedef struct Error Error;

typedef struct Object {
    int references;
} Object;

typedef struct DeviceState {
    Object parent_obj;
    struct BusState *parent_bus;
} DeviceState;

typedef struct BusState {
    DeviceState *parent;
} BusState;

#define OBJECT(o) ((Object *)(o))
#define DEVICE(o) ((DeviceState *)(o))

void *object_ref(void *object);
void object_unref(void *object);

#define OBJECT_DECLARE_SIMPLE_TYPE(InstanceType, NAME) \
    typedef struct InstanceType InstanceType;

#endif /* QEMU_OBJECT_H */
