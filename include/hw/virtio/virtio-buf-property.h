/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the name=value properties of a buffer
 *
 * Kept as the list of records that goes over both wires, so that nothing has
 * to be converted for a consumer. Knows no device: no lock, no guest memory.
 */
#ifndef HW_VIRTIO_VIRTIO_BUF_PROPERTY_H
#define HW_VIRTIO_VIRTIO_BUF_PROPERTY_H

typedef struct VirtIOBufProperties VirtIOBufProperties;

/**
 * virtio_buf_properties_new: an empty store
 * @max_count: records that it holds at most
 * @max_bytes: bytes of the encoded list, at most VIRTIO_BUF_MAX_PROPERTY_BYTES
 */
VirtIOBufProperties *virtio_buf_properties_new(uint32_t max_count,
                                               uint32_t max_bytes);

void virtio_buf_properties_free(VirtIOBufProperties *properties);

/**
 * virtio_buf_properties_apply: set and delete, all or nothing
 * @changes: records as the guest sent them, copied out of guest RAM, 8-aligned
 * @size: bytes of them
 *
 * A name that is set again keeps its place; a new one comes last. Allocates
 * only when it is called with records for the first time.
 *
 * Returns 0; -EINVAL for a bad list, -ENOSPC above a limit, -ENOMEM: then
 * nothing has changed.
 */
int virtio_buf_properties_apply(VirtIOBufProperties *properties,
                                const uint8_t *changes, uint32_t size);

/**
 * virtio_buf_properties_list: all records
 * @size: out, bytes of them
 *
 * Returns a list that stays the store's, valid until the next apply.
 */
const uint8_t *virtio_buf_properties_list(const VirtIOBufProperties *properties,
                                          uint32_t *size);

#endif /* HW_VIRTIO_VIRTIO_BUF_PROPERTY_H */
