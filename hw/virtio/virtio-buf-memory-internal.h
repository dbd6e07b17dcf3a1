/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what the files of the memory part share; nobody else includes it
 */
#ifndef HW_VIRTIO_VIRTIO_BUF_MEMORY_INTERNAL_H
#define HW_VIRTIO_VIRTIO_BUF_MEMORY_INTERNAL_H

#include "qemu/queue.h"
#include "qemu/timer.h"
#include "exec/ramblock.h"
#include "hw/virtio/virtio-buf-memory.h"
#include "hw/virtio/virtio-buf-ranges.h"

typedef struct VirtIOBufCopy VirtIOBufCopy;
typedef struct VirtIOBufOrphan VirtIOBufOrphan;

/*
 * Why it is not simply zero-copy: VIRTIO_BUF_REASON_*. The first reason of each
 * kind is told, so the general ones have to be noted before the special ones.
 */
typedef struct VirtIOBufObstacles {
    uint8_t refusal;    /* the kernel, or the operator, does not allow it */
    uint8_t weakness;   /* possible, but the pages may not come back */
} VirtIOBufObstacles;

struct VirtIOBufMemoryPool {
    const VirtIOBufMemoryConfig *config; /* NULL: the device is gone */
    int udmabuf;            /* /dev/udmabuf; -1: not used */
    VirtIOBufObstacles obstacles; /* for every buffer */
    uint32_t list_limit;    /* of udmabuf: ranges */
    uint64_t size_limit;    /* of udmabuf: bytes */
    uint32_t memories;      /* that live */

    /* What consumers have kept: old pages of the guest's, and copies */
    QTAILQ_HEAD(, VirtIOBufOrphan) orphans;
    uint32_t orphan_count;
    uint64_t orphaned;      /* bytes */
    uint32_t kept_count;    /* copies */
    uint64_t kept;          /* bytes */
    QEMUTimer *orphan_timer;

    bool no_dmabufs;        /* a migration is under way that excludes them */

    QTAILQ_HEAD(, VirtIOBufMemory) unrevoked;
    uint32_t quarantined;   /* of them, without a buffer */
    uint64_t quarantined_bytes;
    QEMUTimer *retry_timer;
    int64_t retry_at;       /* virtual clock, ms */
    uint32_t retry_interval_ms;

    VirtIOBufMemoryCounters counters;
};

/* A range as the guest sent it, up to the next one's offset */
typedef struct VirtIOBufWatched {
    uint64_t addr;
    uint64_t offset;        /* in the buffer */
} VirtIOBufWatched;

struct VirtIOBufMemory {
    VirtIOBufMemoryPool *pool;
    VirtIOBufRange *ranges;     /* merged, in the buffer's order */
    uint64_t *offsets;          /* in the buffer, of each range */
    size_t range_count;
    uint64_t size;              /* of the buffer */
    uint64_t export_size;       /* of its ranges */

    /* Where the guest had it, if that may change behind QEMU's back */
    AddressSpace *as;
    VirtIOBufWatched *watched;  /* NULL: it cannot */
    uint32_t watched_count;

    bool writer;
    uint8_t backing;
    uint8_t reason;

    int dmabuf;                 /* the only fd of it in this process; or -1 */
    VirtIOBufCopy *copy;        /* consumers have this one; or NULL */
    VirtIOBufCopy *idle;        /* some have kept it; the next one, or NULL */
    VirtIOBufCopy *copying;     /* a worker is at it */
    void (*done)(void *opaque);
    void *opaque;

    bool unrevoked;             /* in the pool's list */
    bool quarantined;
    QTAILQ_ENTRY(VirtIOBufMemory) next_unrevoked;
};

/* virtio-buf-memory-pool.c */

void virtio_buf_note(uint8_t *obstacle, uint8_t reason);

/* Can udmabuf take pages of this block, and can they be taken back? */
void virtio_buf_block_obstacles(RAMBlock *block,
                                VirtIOBufObstacles *obstacles);

/* Nothing refers to it any more */
void virtio_buf_memory_pool_destroy(VirtIOBufMemoryPool *pool);

/* virtio-buf-kept.c */

void virtio_buf_kept_init(VirtIOBufMemoryPool *pool);
void virtio_buf_kept_cleanup(VirtIOBufMemoryPool *pool);

/* A dma-buf has kept old pages. Takes over @fd, QEMU's only one of it. */
void virtio_buf_orphan_add(VirtIOBufMemoryPool *pool, int fd, uint64_t bytes);

/* Are there more than the operator allows? In bounded time. */
bool virtio_buf_orphans_too_many(VirtIOBufMemoryPool *pool);

/*
 * A copy of which the buffer is gone is kept by somebody. Takes over @fd, for
 * virtio_buf_copy_file_held().
 */
void virtio_buf_kept_add(VirtIOBufMemoryPool *pool, int fd, uint64_t bytes);

/* Do consumers keep more copies than all buffers may have? In bounded time. */
bool virtio_buf_kept_too_many(VirtIOBufMemoryPool *pool);

/* virtio-buf-memory.c */

/*
 * Are these bytes, which are inside of the ranges, still where the guest said?
 * Not when the memory has been unplugged, or when a virtual IOMMU maps
 * something else: then it is not the device's to copy, from there or to there.
 */
bool virtio_buf_memory_mapped(const VirtIOBufMemory *memory, uint64_t offset,
                              uint64_t len);

/* This QEMU's table of who uses which guest RAM */
VirtIOBufClaims *virtio_buf_memory_claims(void);

static inline RAMBlock *virtio_buf_range_block(const VirtIOBufRange *range)
{
    return range->block;
}

/* Where QEMU has the bytes */
static inline uint8_t *virtio_buf_range_host(const VirtIOBufRange *range)
{
    RAMBlock *block = range->block;

    return range->device ? block->host + (range->start - block->fd_offset)
                         : (uint8_t *)(uintptr_t)range->start;
}

/**
 * virtio_buf_memory_copy: copy bytes of the buffer to or from guest RAM
 * @write: to guest RAM, which virtio_buf_memory_set_dirty() has to be told of
 *
 * From @offset, @len bytes, which are inside of the ranges. Any thread: they do
 * not change while the memory lives.
 */
void virtio_buf_memory_copy(const VirtIOBufMemory *memory, uint64_t offset,
                            uint8_t *bytes, uint64_t len, bool write);

/* Guest RAM was written there, for migration and whoever else looks */
void virtio_buf_memory_set_dirty(const VirtIOBufMemory *memory,
                                 uint64_t offset, uint64_t len);

/* virtio-buf-copy.c */

/* A memfd for consumers, sealed; or NULL and *@error is -errno */
VirtIOBufCopy *virtio_buf_copy_new(const VirtIOBufMemory *memory, int *error);
int virtio_buf_copy_fd(const VirtIOBufCopy *copy);

/*
 * No consumer is to have it now: what it has is not current, nor copied any
 * more. Returns false if it is of no use: it can be closed, nobody has kept it.
 */
bool virtio_buf_copy_idle(VirtIOBufCopy *copy);

/*
 * Has anybody else the memory of this file, or a mapping of it? The kernel
 * counts open files, and gives a lease if there is none but QEMU's. What others
 * were sent is that very one: it is exchanged for another one before.
 */
bool virtio_buf_copy_file_held(int *fd);

/*
 * Take back the reference of _new(). After this returns, no worker reads or
 * writes guest RAM for it any more.
 */
void virtio_buf_copy_close(VirtIOBufCopy *copy, VirtIOBufMemoryPool *pool);

/* @memory will be freed: its done() must not be called */
void virtio_buf_copy_forget_memory(VirtIOBufCopy *copy);

/*
 * No worker reads or writes guest RAM between these two; they wait for a slice
 * at most, and do not nest
 */
void virtio_buf_copy_pause_all(void);
void virtio_buf_copy_resume_all(void);

/* virtio-buf-revoke.c */

/* Close the only fd of the memory's dma-buf */
void virtio_buf_memory_close_dmabuf(VirtIOBufMemory *memory);

/* virtio-buf-quarantine.c */

void virtio_buf_quarantine_init(VirtIOBufMemoryPool *pool);
void virtio_buf_quarantine_cleanup(VirtIOBufMemoryPool *pool);

/* @memory is held after its revocation; does nothing if that is known */
void virtio_buf_unrevoked_add(VirtIOBufMemory *memory);
/* @memory is not held, or about to be freed; does nothing if it is not known */
void virtio_buf_unrevoked_remove(VirtIOBufMemory *memory);

#endif /* HW_VIRTIO_VIRTIO_BUF_MEMORY_INTERNAL_H */
