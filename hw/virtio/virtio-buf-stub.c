/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the answers of an emulator that does not have the device
 *
 * Its machines cannot have such devices, so there are none to tell of.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-virtio-buf.h"

VirtioBufInfoList *qmp_query_virtio_buf(const char *device, bool has_buffers,
                                        bool buffers, bool has_after,
                                        uint64_t after, Error **errp)
{
    if (device) {
        error_setg(errp, "This QEMU has no virtio-buf devices");
    }
    return NULL;
}
