/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: buffers in QEMU's table of shared objects
 *
 * With share-uuid=on, a registered buffer is in the table under its UUID, where
 * devices with a back-end process (vhost-user) look up what the guest tells
 * them of. Its dma-buf is made at the first lookup, also if no consumer is
 * attached; whoever asks gets a descriptor of its own. A copy is not shared in
 * this way: nobody would tell its holder when it is current.
 *
 * Invariant: a buffer is in the table only while it is registered. Who has
 * looked one up is nobody's consumer and cannot be told to let go, but counts
 * as a holder of the dma-buf: taking back waits for it, and then revokes.
 *
 * Main loop and BQL; a UUID is all that a back-end can send.
 */
#include "qemu/osdep.h"
#include "hw/virtio/virtio-buf.h"
#include "hw/virtio/virtio-dmabuf.h"
#include "virtio-buf-attachment.h"
#include "trace.h"

struct VirtIOBufShared {
    VirtioDmabufExporter exporter;
    VirtIOBufBuffer *buffer;
};

static bool is_dmabuf(const VirtIOBufBuffer *buffer)
{
    return virtio_buf_memory_backing(buffer->memory) ==
           VIRTIO_BUF_BACKING_DMABUF;
}

static int export_shared(VirtioDmabufExporter *exporter)
{
    VirtIOBufShared *shared = container_of(exporter, VirtIOBufShared, exporter);
    VirtIOBufBuffer *buffer = shared->buffer;
    int fd = -1;

    if (is_dmabuf(buffer)) {
        fd = virtio_buf_export(buffer);
        /* The first export can show that it has to be a copy */
        if (fd >= 0 && is_dmabuf(buffer)) {
            fd = qemu_dup(fd);
        } else {
            fd = -1;
            virtio_buf_unexport_unused(buffer);
        }
    }
    trace_virtio_buf_share_lookup(buffer->device, buffer->handle, fd);
    return fd;
}

void virtio_buf_share(VirtIOBufBuffer *buffer)
{
    VirtIOBufShared *shared;

    if (!buffer->device->share_uuid) {
        return;
    }
    shared = g_new(VirtIOBufShared, 1);
    shared->exporter.export = export_shared;
    shared->buffer = buffer;
    if (virtio_add_dmabuf_exporter(&buffer->uuid, &shared->exporter)) {
        buffer->shared = shared;
    } else {
        /* A UUID that came with migration and is somebody else's */
        g_free(shared);
    }
}

void virtio_buf_unshare(VirtIOBufBuffer *buffer)
{
    if (buffer->shared) {
        virtio_remove_resource(&buffer->uuid);
        g_clear_pointer(&buffer->shared, g_free);
    }
}
