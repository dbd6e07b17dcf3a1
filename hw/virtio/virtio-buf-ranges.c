/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: arithmetic of memory ranges, and who uses which bytes of memory
 *
 * Pure functions and one container; no device state, no lock: the caller has
 * the BQL, or is a test. Callers have checked each range: it is not empty and
 * does not wrap.
 *
 * The container cuts memory into segments at each border of a claim, so that a
 * segment is used by the same claims from its first byte to its last. Segments
 * are disjoint: a tree whose comparison calls overlapping ones equal finds, for
 * any interval, one segment in it.
 */
#include "qemu/osdep.h"
#include "hw/virtio/virtio-buf-ranges.h"

#define CLAIM_KINDS 3

typedef struct Segment {
    uint64_t device;
    uint64_t inode;
    uint64_t start;
    uint64_t last;
    uint32_t users[CLAIM_KINDS];
} Segment;

struct VirtIOBufClaims {
    GTree *segments;    /* Segment -> the same Segment */
};

static uint64_t range_last(const VirtIOBufRange *range)
{
    return range->start + (range->len - 1);
}

static bool continues(const VirtIOBufRange *range, const VirtIOBufRange *next)
{
    return range->block == next->block &&
           range->device == next->device &&
           range->inode == next->inode &&
           range_last(range) != UINT64_MAX &&
           range_last(range) + 1 == next->start &&
           range->len <= UINT64_MAX - next->len;
}

size_t virtio_buf_ranges_merge(VirtIOBufRange *ranges, size_t count)
{
    size_t merged = 0;

    for (size_t i = 0; i < count; i++) {
        if (merged && continues(&ranges[merged - 1], &ranges[i])) {
            ranges[merged - 1].len += ranges[i].len;
        } else {
            ranges[merged++] = ranges[i];
        }
    }
    return merged;
}

/* Negative: @a is in front of @b; 0: they have a byte in common */
static int segment_compare(gconstpointer a, gconstpointer b)
{
    const Segment *first = a, *second = b;

    if (first->device != second->device) {
        return first->device < second->device ? -1 : 1;
    }
    if (first->inode != second->inode) {
        return first->inode < second->inode ? -1 : 1;
    }
    if (first->last < second->start) {
        return -1;
    }
    return first->start > second->last;
}

static Segment segment_of(const VirtIOBufRange *range)
{
    return (Segment) {
        .device = range->device,
        .inode = range->inode,
        .start = range->start,
        .last = range_last(range),
    };
}

/* By the first byte: a total order, which qsort() needs */
static int segment_compare_start(const void *a, const void *b)
{
    Segment first = *(const Segment *)a, second = *(const Segment *)b;

    first.last = first.start;
    second.last = second.start;
    return segment_compare(&first, &second);
}

bool virtio_buf_ranges_overlap_self(const VirtIOBufRange *ranges, size_t count)
{
    g_autofree Segment *sorted = NULL;

    if (count < 2) {
        return false;
    }
    sorted = g_new(Segment, count);
    for (size_t i = 0; i < count; i++) {
        sorted[i] = segment_of(&ranges[i]);
    }
    qsort(sorted, count, sizeof(*sorted), segment_compare_start);
    /* Two neighbours overlap if any two do: the shortest distance is there */
    for (size_t i = 1; i < count; i++) {
        if (segment_compare(&sorted[i - 1], &sorted[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int segment_compare_data(gconstpointer a, gconstpointer b,
                                gpointer opaque)
{
    return segment_compare(a, b);
}

VirtIOBufClaims *virtio_buf_claims_new(void)
{
    VirtIOBufClaims *claims = g_new(VirtIOBufClaims, 1);

    claims->segments = g_tree_new_full(segment_compare_data, NULL, g_free,
                                       NULL);
    return claims;
}

void virtio_buf_claims_free(VirtIOBufClaims *claims)
{
    g_tree_destroy(claims->segments);
    g_free(claims);
}

bool virtio_buf_claims_empty(const VirtIOBufClaims *claims)
{
    return g_tree_nnodes(claims->segments) == 0;
}

static int claim_index(VirtIOBufClaim kind)
{
    return g_bit_nth_lsf(kind, -1);
}

static Segment *segment_insert(VirtIOBufClaims *claims, const Segment *like,
                               uint64_t start, uint64_t last)
{
    Segment *segment = g_new(Segment, 1);

    *segment = *like;
    segment->start = start;
    segment->last = last;
    g_tree_insert(claims->segments, segment, segment);
    return segment;
}

/*
 * Calls @visit for the segments in @interval, and for the gaps between them
 * (segment NULL), in no order. The recursion follows the tree downwards, so it
 * is as deep as the tree. @visit may change the tree inside of its @interval,
 * and returns false to end it all.
 */
typedef bool SegmentVisit(VirtIOBufClaims *claims, Segment *segment,
                          const Segment *interval, void *opaque);

static bool segments_visit(VirtIOBufClaims *claims, const Segment *interval,
                           SegmentVisit *visit, void *opaque)
{
    Segment *segment = g_tree_lookup(claims->segments, interval);
    Segment before = *interval, inside = *interval, behind = *interval;

    if (!segment) {
        return visit(claims, NULL, interval, opaque);
    }

    inside.start = MAX(segment->start, interval->start);
    inside.last = MIN(segment->last, interval->last);
    if (!visit(claims, segment, &inside, opaque)) {
        return false;
    }
    if (interval->start < inside.start) {
        before.last = inside.start - 1;
        if (!segments_visit(claims, &before, visit, opaque)) {
            return false;
        }
    }
    if (interval->last > inside.last) {
        behind.start = inside.last + 1;
        return segments_visit(claims, &behind, visit, opaque);
    }
    return true;
}

typedef struct Find {
    unsigned found;
    size_t left;        /* segments to look at */
} Find;

static bool visit_find(VirtIOBufClaims *claims, Segment *segment,
                       const Segment *interval, void *opaque)
{
    Find *find = opaque;

    if (!segment) {
        return true;
    }
    if (!find->left) {
        return false;
    }
    find->left--;
    for (int i = 0; i < CLAIM_KINDS; i++) {
        if (segment->users[i]) {
            find->found |= 1u << i;
        }
    }
    return true;
}

bool virtio_buf_claims_find(const VirtIOBufClaims *claims,
                            const VirtIOBufRange *ranges, size_t count,
                            size_t max, unsigned *found)
{
    Find find = { .left = max };
    bool all = true;

    for (size_t i = 0; i < count && all; i++) {
        Segment interval = segment_of(&ranges[i]);

        all = segments_visit((VirtIOBufClaims *)claims, &interval, visit_find,
                             &find);
    }
    *found = find.found;
    return all;
}

/* Cuts @segment so that @interval, which is inside, is a segment of its own */
static Segment *segment_cut(VirtIOBufClaims *claims, Segment *segment,
                            const Segment *interval)
{
    uint64_t start = segment->start, last = segment->last;

    /* The order of the tree does not change: it only shrinks in its place */
    segment->start = interval->start;
    segment->last = interval->last;
    if (start < interval->start) {
        segment_insert(claims, segment, start, interval->start - 1);
    }
    if (last > interval->last) {
        segment_insert(claims, segment, interval->last + 1, last);
    }
    return segment;
}

static bool visit_add(VirtIOBufClaims *claims, Segment *segment,
                      const Segment *interval, void *opaque)
{
    VirtIOBufClaim *kind = opaque;

    if (segment) {
        segment = segment_cut(claims, segment, interval);
    } else {
        segment = segment_insert(claims, interval, interval->start,
                                 interval->last);
    }
    segment->users[claim_index(*kind)]++;
    return true;
}

void virtio_buf_claims_add(VirtIOBufClaims *claims,
                           const VirtIOBufRange *ranges, size_t count,
                           VirtIOBufClaim kind)
{
    for (size_t i = 0; i < count; i++) {
        Segment interval = segment_of(&ranges[i]);

        segments_visit(claims, &interval, visit_add, &kind);
    }
}

static bool visit_remove(VirtIOBufClaims *claims, Segment *segment,
                         const Segment *interval, void *opaque)
{
    VirtIOBufClaim *kind = opaque;

    assert(segment && segment->users[claim_index(*kind)]);
    segment = segment_cut(claims, segment, interval);
    segment->users[claim_index(*kind)]--;
    for (int i = 0; i < CLAIM_KINDS; i++) {
        if (segment->users[i]) {
            return true;
        }
    }
    g_tree_remove(claims->segments, segment);
    return true;
}

void virtio_buf_claims_remove(VirtIOBufClaims *claims,
                              const VirtIOBufRange *ranges, size_t count,
                              VirtIOBufClaim kind)
{
    for (size_t i = 0; i < count; i++) {
        Segment interval = segment_of(&ranges[i]);

        segments_visit(claims, &interval, visit_remove, &kind);
    }
}
