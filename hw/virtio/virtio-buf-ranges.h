/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: arithmetic of memory ranges, and who uses which bytes of memory
 */
#ifndef HW_VIRTIO_VIRTIO_BUF_RANGES_H
#define HW_VIRTIO_VIRTIO_BUF_RANGES_H

/*
 * A piece of memory. @device, @inode and @start say which bytes these are, the
 * same for every mapping of a file; @block says through which mapping the bytes
 * were found.
 *
 * @len is at least 1, and the last byte is at most UINT64_MAX.
 */
typedef struct VirtIOBufRange {
    void *block;        /* RAMBlock; not looked into */
    uint64_t device;    /* st_dev; 0: no file, @start is a host address */
    uint64_t inode;     /* st_ino; 0: no file */
    uint64_t start;     /* byte in the file */
    uint64_t len;       /* bytes */
} VirtIOBufRange;

/**
 * virtio_buf_ranges_merge: join ranges that continue the one before
 *
 * Keeps the order: it is the order of the buffer's bytes. Only ranges of one
 * block are joined.
 *
 * Returns the new count.
 */
size_t virtio_buf_ranges_merge(VirtIOBufRange *ranges, size_t count);

/* Is a byte in two of the ranges? Takes O(count * log(count)). */
bool virtio_buf_ranges_overlap_self(const VirtIOBufRange *ranges, size_t count);

/* What memory is used for; bits */
typedef enum VirtIOBufClaim {
    VIRTIO_BUF_CLAIM_READ = 1 << 0,     /* by a buffer that consumers read */
    VIRTIO_BUF_CLAIM_WRITE = 1 << 1,    /* by a buffer that a consumer writes */
    VIRTIO_BUF_CLAIM_EXPORT = 1 << 2,   /* by a dma-buf */
} VirtIOBufClaim;

/* Who uses what: counts for each byte and each kind of use */
typedef struct VirtIOBufClaims VirtIOBufClaims;

VirtIOBufClaims *virtio_buf_claims_new(void);
void virtio_buf_claims_free(VirtIOBufClaims *claims);

/* Nobody claims anything */
bool virtio_buf_claims_empty(const VirtIOBufClaims *claims);

/**
 * virtio_buf_claims_find: all uses of any byte of the ranges
 * @max: pieces of equal use to look at
 * @found: out, the VIRTIO_BUF_CLAIM_* that are there, ORed
 *
 * Returns false if there are more pieces, which may have other uses. Adding and
 * removing a claim takes time for each of them, too.
 */
bool virtio_buf_claims_find(const VirtIOBufClaims *claims,
                            const VirtIOBufRange *ranges, size_t count,
                            size_t max, unsigned *found);

/* The ranges may overlap others' claims, and themselves */
void virtio_buf_claims_add(VirtIOBufClaims *claims,
                           const VirtIOBufRange *ranges, size_t count,
                           VirtIOBufClaim kind);

/* What was added before, with the same kind */
void virtio_buf_claims_remove(VirtIOBufClaims *claims,
                              const VirtIOBufRange *ranges, size_t count,
                              VirtIOBufClaim kind);

#endif /* HW_VIRTIO_VIRTIO_BUF_RANGES_H */
