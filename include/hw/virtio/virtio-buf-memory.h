/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: from ranges of guest RAM to memory that consumers can have, and
 * back
 *
 * A VirtIOBufMemory is the RAM of one registered buffer: translated, checked,
 * merged, its memory regions referenced. At the first export it gets its
 * dma-buf (udmabuf) or its copy (a sealed memfd). QEMU has exactly one fd of
 * each, and the kernel's count of it tells whether anyone else has one.
 *
 * Runs under the BQL. Only copying guest RAM happens in a worker thread.
 */
#ifndef HW_VIRTIO_VIRTIO_BUF_MEMORY_H
#define HW_VIRTIO_VIRTIO_BUF_MEMORY_H

#include "exec/memory.h"
#include "qapi/qapi-types-common.h"
#include "standard-headers/linux/virtio_buf.h"

typedef struct VirtIOBufMemory VirtIOBufMemory;
typedef struct VirtIOBufMemoryPool VirtIOBufMemoryPool;

/* What the operator decides; lives in the device, constant while realized */
typedef struct VirtIOBufMemoryConfig {
    OnOffAuto udmabuf;          /* property udmabuf */
    char *udmabuf_device;       /* property udmabuf-device: path, fdsets too */
    bool strict_readonly;       /* property strict-readonly */
    uint64_t max_orphaned;      /* property max-orphaned: bytes */
    /* The device's limits, for what is beyond its buffers */
    uint32_t max_buffers;
    uint32_t max_ranges;
    uint64_t max_total_size;
} VirtIOBufMemoryConfig;

/**
 * virtio_buf_memory_pool_new: what the buffers of one device share
 * @config: stays the caller's until virtio_buf_memory_pool_free()
 *
 * Opens udmabuf, reads its limits. Returns NULL and @errp if udmabuf=on and it
 * cannot work, or if the machine's RAM is private to the guest (guest_memfd).
 */
VirtIOBufMemoryPool *
virtio_buf_memory_pool_new(const VirtIOBufMemoryConfig *config, Error **errp);

/*
 * All memories of it are freed before, or in quarantine, which goes on until
 * nobody holds them. Orphans are not counted any further.
 */
void virtio_buf_memory_pool_free(VirtIOBufMemoryPool *pool);

/*
 * Says, once the machine's RAM is there, why buffers will not be zero-copy and
 * what to do about it. Silent if they will be, or if that is not wanted.
 */
void virtio_buf_memory_pool_report(const VirtIOBufMemoryPool *pool);

/* Some of the machine's RAM can be passed as dma-bufs */
bool virtio_buf_memory_pool_makes_dmabufs(const VirtIOBufMemoryPool *pool);

/*
 * udmabuf's limits for one buffer: merged ranges, and bytes. Both are 0 if no
 * buffer gets a dma-buf, whatever RAM it has.
 */
void virtio_buf_memory_pool_dmabuf_limits(const VirtIOBufMemoryPool *pool,
                                          uint32_t *max_ranges,
                                          uint64_t *max_size);

/*
 * Bytes that revocations have left to consumers, and that still are there, of
 * @count dma-bufs
 */
uint64_t virtio_buf_memory_pool_orphaned(VirtIOBufMemoryPool *pool,
                                         uint32_t *count);

/* Bytes of @count copies of buffers that are gone, which consumers keep */
uint64_t virtio_buf_memory_pool_kept(VirtIOBufMemoryPool *pool,
                                     uint32_t *count);

/*
 * Whether what is exported from now on is a copy, since the guest's RAM goes to
 * another QEMU, which would not know of a dma-buf
 */
void virtio_buf_memory_pool_exclude_dmabufs(VirtIOBufMemoryPool *pool,
                                            bool exclude);

/* Bytes of the @count memories that are in quarantine */
uint64_t virtio_buf_memory_pool_quarantined(const VirtIOBufMemoryPool *pool,
                                            uint32_t *count);

/* What has happened since the pool was made */
typedef struct VirtIOBufMemoryCounters {
    uint64_t copies;            /* of a buffer, whole or in part */
    uint64_t copied_bytes;
    uint64_t revocations;       /* of dma-bufs */
    uint64_t revoked_bytes;
    uint64_t revocation_ns;     /* that the guest stood still for them */
    uint64_t revocation_max_ns; /* the longest of these times */
} VirtIOBufMemoryCounters;

const VirtIOBufMemoryCounters *
virtio_buf_memory_pool_counters(const VirtIOBufMemoryPool *pool);

/**
 * virtio_buf_memory_new: the RAM of a buffer
 * @as: the device's DMA address space
 * @translated: a virtual IOMMU is between
 * @ranges: as the guest sent them, copied out of guest RAM; multiples of the
 *          host page size are checked here
 * @range_count: at least 1
 * @size: bytes of the buffer, checked against the ranges here
 * @writer: a consumer will write
 * @status: out, VIRTIO_BUF_S_* when NULL is returned
 *
 * Decides the backing and holds the ranges in this QEMU's table of claims until
 * virtio_buf_memory_free().
 */
VirtIOBufMemory *virtio_buf_memory_new(VirtIOBufMemoryPool *pool,
                                       AddressSpace *as, bool translated,
                                       const struct virtio_buf_range *ranges,
                                       uint32_t range_count, uint64_t size,
                                       bool writer, uint32_t *status);

/**
 * virtio_buf_memory_free: the guest has the pages again
 *
 * Nobody else holds them: virtio_buf_memory_held() is false or
 * virtio_buf_memory_revoke() was successful. What is being copied is stopped,
 * its callback is not called: QEMU does not touch the pages afterwards.
 */
void virtio_buf_memory_free(VirtIOBufMemory *memory);

uint8_t virtio_buf_memory_backing(const VirtIOBufMemory *memory);
uint8_t virtio_buf_memory_reason(const VirtIOBufMemory *memory);

/* Pieces of RAM, neighbours merged */
size_t virtio_buf_memory_range_count(const VirtIOBufMemory *memory);

/* Bytes of the exported file: whole host pages */
uint64_t virtio_buf_memory_export_size(const VirtIOBufMemory *memory);

/**
 * virtio_buf_memory_export: the fd for consumers
 *
 * Makes it at the first call. A udmabuf that the kernel refuses, or that could
 * no longer be taken back, turns the backing into a copy, for good
 * (VIRTIO_BUF_REASON_FAILED, _DISCARD, _ORPHANED), unless udmabuf=on. A copy is
 * zeroed, or has what it had at the last export; it gets its contents with the
 * next virtio_buf_memory_refresh().
 *
 * Returns an fd that stays the memory's, or -errno.
 */
int virtio_buf_memory_export(VirtIOBufMemory *memory);

/*
 * Whether the bytes are inside of the buffer and still where the guest said, so
 * that they, or parts of them, can be read until the main loop goes on
 */
bool virtio_buf_memory_readable(const VirtIOBufMemory *memory, uint64_t offset,
                                uint64_t len);

/* Copies bytes of the buffer, which are readable, from guest RAM */
void virtio_buf_memory_read(const VirtIOBufMemory *memory, uint64_t offset,
                            uint8_t *to, uint64_t len);

/* There is a fd now */
bool virtio_buf_memory_exported(const VirtIOBufMemory *memory);

/* The fd is a dma-buf: consumers have the guest's own pages */
bool virtio_buf_memory_has_dmabuf(const VirtIOBufMemory *memory);

/*
 * If a consumer may have written to the guest's own pages, of which nobody else
 * knows, they are dirty
 */
void virtio_buf_memory_sync_writes(const VirtIOBufMemory *memory);

/**
 * virtio_buf_memory_unexport: no consumer is to have the memory
 *
 * When the last one has detached: closes QEMU's fd. Does nothing and returns
 * false if somebody else still holds the dma-buf: then the fd stays, to be
 * asked again. A copy that somebody has kept is used again by the next export.
 * A refresh that is under way is stopped, its callback is called still.
 */
bool virtio_buf_memory_unexport(VirtIOBufMemory *memory);

/**
 * virtio_buf_memory_held: does anyone but QEMU hold the guest's pages?
 *
 * By the first count: line of the dma-buf's fdinfo; what cannot be read counts
 * as held. A copy never is: the pages were never given away.
 */
bool virtio_buf_memory_held(const VirtIOBufMemory *memory);

/**
 * virtio_buf_memory_refresh: make the consumers' view current
 * @spans: changed bytes, checked, little-endian; none: from @data_offset,
 *         @data_size bytes
 * @done: called from the main loop when the copy is made; never before this
 *        returns
 *
 * To be called for every update while there is an export, whoever is attached.
 * The first after a copy was made copies the whole buffer, whatever has
 * changed. Memory that the guest has unmapped from a virtual IOMMU, or a block
 * of virtio-mem that it has unplugged, is not copied: consumers keep what they
 * have. A DIMM that is unplugged lives as long as the buffers in it.
 *
 * Returns true if there is nothing to wait for: it is a dma-buf, or not
 * exported, or not mapped any more, or so little that it has been copied at
 * once; @done is not called then. One at a time: not before @done of the last.
 */
bool virtio_buf_memory_refresh(VirtIOBufMemory *memory,
                               const struct virtio_buf_span *spans,
                               uint32_t span_count,
                               uint64_t data_offset, uint64_t data_size,
                               void (*done)(void *opaque), void *opaque);

/**
 * virtio_buf_memory_write_back: what the writer has written is the guest's
 *
 * To be called for every WRITTEN, with what it says has changed, as
 * virtio_buf_memory_refresh(), and not while that is under way. Marks guest RAM
 * dirty; copies just these bytes from a copy to it. The @memory has a writer.
 *
 * Returns true if there is nothing to wait for; @done is not called then. Not
 * again, and no refresh, before @done.
 */
bool virtio_buf_memory_write_back(VirtIOBufMemory *memory,
                                  const struct virtio_buf_span *spans,
                                  uint32_t span_count,
                                  uint64_t data_offset, uint64_t data_size,
                                  void (*done)(void *opaque), void *opaque);

/*
 * Stops a write-back that is under way, which may have been done in part: guest
 * RAM is not written after this returns. Waits for a slice at most. Its
 * callback is called still.
 */
void virtio_buf_memory_stop_write_back(VirtIOBufMemory *memory);

/**
 * virtio_buf_memory_revoke: take pages from whoever holds them
 * @memories: those whose dma-bufs are to be revoked, all of one pool
 *
 * The guest's contents move to new pages of its RAM, the holders keep the old
 * ones. Stops the vCPUs once for all of them. Safe in a reset handler: does not
 * drop the BQL.
 *
 * Those that nobody holds are unexported only. Returns true when every page is
 * the guest's alone. Else, the ones which are not stay held and exported
 * (virtio_buf_memory_held()), with a warning, and it is tried again, less and
 * less often, until they are not held or freed.
 */
bool virtio_buf_memory_revoke(VirtIOBufMemory **memories, size_t count);

/**
 * virtio_buf_memory_quarantine: no buffer has it any more, but somebody does
 * @memory: still held after its revocation; not the caller's any more
 *
 * Its pages are not shared again, and their memory regions stay referenced,
 * until nobody holds it: then it is freed. The device may go before.
 */
void virtio_buf_memory_quarantine(VirtIOBufMemory *memory);

#endif /* HW_VIRTIO_VIRTIO_BUF_MEMORY_H */
