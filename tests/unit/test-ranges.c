/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the arithmetic of memory ranges and of the claims
 *
 * The random ones compare with a model that counts each byte of a small memory.
 */
#include "qemu/osdep.h"
#include "harness.h"
#include "hw/virtio/virtio-buf-ranges.h"

static char block_a, block_b;

static VirtIOBufRange range(uint64_t start, uint64_t len)
{
    return (VirtIOBufRange) {
        .block = &block_a, .device = 1, .inode = 1, .start = start, .len = len,
    };
}

static unsigned claims_of(const VirtIOBufClaims *claims,
                          const VirtIOBufRange *ranges, size_t count)
{
    unsigned found;

    CHECK(virtio_buf_claims_find(claims, ranges, count, SIZE_MAX, &found));
    return found;
}

TEST(merge_joins_neighbours)
{
    VirtIOBufRange r[] = {
        range(0, 0x1000), range(0x1000, 0x3000), range(0x4000, 0x1000),
    };

    CHECK_INT(virtio_buf_ranges_merge(r, G_N_ELEMENTS(r)), ==, 1);
    CHECK_INT(r[0].start, ==, 0);
    CHECK_INT(r[0].len, ==, 0x5000);
}

TEST(merge_keeps_the_order)
{
    /* The second is in front of the first in memory: bytes must not move */
    VirtIOBufRange r[] = {
        range(0x3000, 0x1000), range(0x2000, 0x1000), range(0x9000, 0x1000),
        range(0xa000, 0x1000), range(0x4000, 0x1000),
    };

    CHECK_INT(virtio_buf_ranges_merge(r, G_N_ELEMENTS(r)), ==, 4);
    CHECK_INT(r[0].start, ==, 0x3000);
    CHECK_INT(r[0].len, ==, 0x1000);
    CHECK_INT(r[1].start, ==, 0x2000);
    CHECK_INT(r[1].len, ==, 0x1000);
    CHECK_INT(r[2].start, ==, 0x9000);
    CHECK_INT(r[2].len, ==, 0x2000);
    CHECK_INT(r[3].start, ==, 0x4000);
}

TEST(merge_stays_inside_a_block_and_a_file)
{
    VirtIOBufRange r[] = {
        range(0, 0x1000), range(0x1000, 0x1000), range(0x2000, 0x1000),
        range(0x3000, 0x1000),
    };

    r[1].block = &block_b;
    r[2].block = &block_b;
    r[2].inode = 2;
    r[3].block = &block_b;
    r[3].inode = 2;
    r[3].device = 2;
    CHECK_INT(virtio_buf_ranges_merge(r, G_N_ELEMENTS(r)), ==, 4);
}

TEST(merge_of_nothing_and_of_one)
{
    VirtIOBufRange r = range(0x1000, 0x1000);

    CHECK_INT(virtio_buf_ranges_merge(&r, 0), ==, 0);
    CHECK_INT(virtio_buf_ranges_merge(&r, 1), ==, 1);
    CHECK_INT(r.start, ==, 0x1000);
}

TEST(merge_at_the_end_of_the_numbers)
{
    VirtIOBufRange up[] = {
        range(UINT64_MAX - 0x1fff, 0x1000), range(UINT64_MAX - 0xfff, 0x1000),
        range(0, 0x1000),
    };
    VirtIOBufRange all[] = {
        range(0, 1ull << 63), range(1ull << 63, 1ull << 63),
    };

    /* What starts at 0 does not continue what ends at 2^64 */
    CHECK_INT(virtio_buf_ranges_merge(up, 3), ==, 2);
    CHECK_INT(up[0].len, ==, 0x2000);
    CHECK_INT(up[1].start, ==, 0);
    /* 2^64 bytes are no length */
    CHECK_INT(virtio_buf_ranges_merge(all, 2), ==, 2);
}

TEST(overlap_self)
{
    VirtIOBufRange apart[] = {
        range(0x3000, 0x1000), range(0x1000, 0x1000), range(0x2000, 0x1000),
    };
    VirtIOBufRange twice[] = {
        range(0x3000, 0x1000), range(0x1000, 0x1000), range(0x3000, 0x1000),
    };
    VirtIOBufRange inside[] = {
        range(0x8000, 1), range(0x1000, 0x2000), range(0x2fff, 1),
    };
    VirtIOBufRange around[] = {
        range(0x4000, 1), range(0x5000, 1), range(0, UINT64_MAX),
    };

    CHECK(!virtio_buf_ranges_overlap_self(apart, 3));
    CHECK(virtio_buf_ranges_overlap_self(twice, 3));
    CHECK(virtio_buf_ranges_overlap_self(inside, 3));
    CHECK(virtio_buf_ranges_overlap_self(around, 3));
    CHECK(!virtio_buf_ranges_overlap_self(twice, 2));
    CHECK(!virtio_buf_ranges_overlap_self(twice, 1));
    CHECK(!virtio_buf_ranges_overlap_self(twice, 0));
}

TEST(overlap_self_is_of_a_file_not_of_a_block)
{
    VirtIOBufRange r[] = { range(0x1000, 0x1000), range(0x1000, 0x1000) };

    /* Two mappings of one file: the same bytes */
    r[1].block = &block_b;
    CHECK(virtio_buf_ranges_overlap_self(r, 2));
    r[1].inode = 2;
    CHECK(!virtio_buf_ranges_overlap_self(r, 2));
    r[1].inode = 1;
    r[1].device = 2;
    CHECK(!virtio_buf_ranges_overlap_self(r, 2));
}

TEST(overlap_self_at_the_end_of_the_numbers)
{
    VirtIOBufRange r[] = {
        range(UINT64_MAX, 1), range(UINT64_MAX - 1, 1), range(0, 1),
    };

    CHECK(!virtio_buf_ranges_overlap_self(r, 3));
    r[1].len = 2;
    CHECK(virtio_buf_ranges_overlap_self(r, 3));
}

TEST(claims_are_found_at_their_borders)
{
    VirtIOBufClaims *claims = virtio_buf_claims_new();
    VirtIOBufRange claim = range(0x2000, 0x2000);
    struct {
        uint64_t start, len;
        bool found;
    } probes[] = {
        { 0, 0x2000, false }, { 0, 0x2001, true }, { 0x1fff, 1, false },
        { 0x2000, 1, true }, { 0x3fff, 1, true }, { 0x4000, 1, false },
        { 0x4000, UINT64_MAX - 0x4000, false }, { 0, UINT64_MAX, true },
        { 0x2800, 0x10, true },
    };

    CHECK(virtio_buf_claims_empty(claims));
    virtio_buf_claims_add(claims, &claim, 1, VIRTIO_BUF_CLAIM_READ);
    CHECK(!virtio_buf_claims_empty(claims));
    for (size_t i = 0; i < G_N_ELEMENTS(probes); i++) {
        VirtIOBufRange probe = range(probes[i].start, probes[i].len);

        CHECK_INT(claims_of(claims, &probe, 1), ==,
                  probes[i].found ? VIRTIO_BUF_CLAIM_READ : 0);
    }
    /* Cutting and removing the middle must not have changed the borders */
    claim = range(0x2800, 0x10);
    virtio_buf_claims_add(claims, &claim, 1, VIRTIO_BUF_CLAIM_READ);
    virtio_buf_claims_remove(claims, &claim, 1, VIRTIO_BUF_CLAIM_READ);
    for (size_t i = 0; i < G_N_ELEMENTS(probes); i++) {
        VirtIOBufRange probe = range(probes[i].start, probes[i].len);

        CHECK_INT(claims_of(claims, &probe, 1), ==,
                  probes[i].found ? VIRTIO_BUF_CLAIM_READ : 0);
    }
    claim = range(0x2000, 0x2000);
    virtio_buf_claims_remove(claims, &claim, 1, VIRTIO_BUF_CLAIM_READ);
    CHECK(virtio_buf_claims_empty(claims));
    virtio_buf_claims_free(claims);
}

TEST(claims_of_other_files_are_not_found)
{
    VirtIOBufClaims *claims = virtio_buf_claims_new();
    VirtIOBufRange claim = range(0x2000, 0x2000), other = claim;

    virtio_buf_claims_add(claims, &claim, 1, VIRTIO_BUF_CLAIM_WRITE);
    other.inode = 2;
    CHECK_INT(claims_of(claims, &other, 1), ==, 0);
    other.inode = 1;
    other.device = 2;
    CHECK_INT(claims_of(claims, &other, 1), ==, 0);
    other.device = 1;
    other.block = &block_b;
    CHECK_INT(claims_of(claims, &other, 1), ==,
              VIRTIO_BUF_CLAIM_WRITE);
    virtio_buf_claims_free(claims);
}

TEST(claims_outlive_each_other)
{
    VirtIOBufClaims *claims = virtio_buf_claims_new();
    VirtIOBufRange first = range(0, 0x3000), second = range(0x2000, 0x3000);
    VirtIOBufRange both = range(0x2000, 0x1000);
    VirtIOBufRange only_second = range(0x3000, 0x2000);

    virtio_buf_claims_add(claims, &first, 1, VIRTIO_BUF_CLAIM_READ);
    virtio_buf_claims_add(claims, &first, 1, VIRTIO_BUF_CLAIM_EXPORT);
    virtio_buf_claims_add(claims, &second, 1, VIRTIO_BUF_CLAIM_WRITE);
    CHECK_INT(claims_of(claims, &both, 1), ==,
              VIRTIO_BUF_CLAIM_READ | VIRTIO_BUF_CLAIM_WRITE |
              VIRTIO_BUF_CLAIM_EXPORT);
    CHECK_INT(claims_of(claims, &only_second, 1), ==,
              VIRTIO_BUF_CLAIM_WRITE);
    virtio_buf_claims_remove(claims, &first, 1, VIRTIO_BUF_CLAIM_EXPORT);
    virtio_buf_claims_remove(claims, &first, 1, VIRTIO_BUF_CLAIM_READ);
    CHECK_INT(claims_of(claims, &both, 1), ==,
              VIRTIO_BUF_CLAIM_WRITE);
    CHECK_INT(claims_of(claims, &first, 1), ==,
              VIRTIO_BUF_CLAIM_WRITE);
    virtio_buf_claims_remove(claims, &second, 1, VIRTIO_BUF_CLAIM_WRITE);
    CHECK(virtio_buf_claims_empty(claims));
    virtio_buf_claims_free(claims);
}

/* It is known where a claim would take long, before it does */
TEST(claims_are_looked_at_up_to_a_number)
{
    VirtIOBufClaims *claims = virtio_buf_claims_new();
    VirtIOBufRange all = range(0, 0x100000), parts[8];
    unsigned found;

    for (int i = 0; i < 8; i++) {
        parts[i] = range(0x2000 * i, 0x1000);
    }
    virtio_buf_claims_add(claims, parts, 8, VIRTIO_BUF_CLAIM_READ);
    CHECK(virtio_buf_claims_find(claims, &all, 1, 8, &found));
    CHECK_INT(found, ==, VIRTIO_BUF_CLAIM_READ);
    CHECK(!virtio_buf_claims_find(claims, &all, 1, 7, &found));
    CHECK(virtio_buf_claims_find(claims, parts, 8, 8, &found));
    CHECK(!virtio_buf_claims_find(claims, parts, 8, 7, &found));
    /* What nobody uses takes no time */
    virtio_buf_claims_remove(claims, parts, 8, VIRTIO_BUF_CLAIM_READ);
    CHECK(virtio_buf_claims_find(claims, &all, 1, 0, &found));
    CHECK_INT(found, ==, 0);
    virtio_buf_claims_free(claims);
}

TEST(claims_at_the_end_of_the_numbers)
{
    VirtIOBufClaims *claims = virtio_buf_claims_new();
    VirtIOBufRange top = range(UINT64_MAX, 1), below = range(0, UINT64_MAX);
    VirtIOBufRange page = range(UINT64_MAX - 0xfff, 0x1000);

    virtio_buf_claims_add(claims, &top, 1, VIRTIO_BUF_CLAIM_READ);
    CHECK_INT(claims_of(claims, &below, 1), ==, 0);
    virtio_buf_claims_add(claims, &page, 1, VIRTIO_BUF_CLAIM_WRITE);
    CHECK_INT(claims_of(claims, &top, 1), ==,
              VIRTIO_BUF_CLAIM_READ | VIRTIO_BUF_CLAIM_WRITE);
    virtio_buf_claims_remove(claims, &top, 1, VIRTIO_BUF_CLAIM_READ);
    virtio_buf_claims_remove(claims, &page, 1, VIRTIO_BUF_CLAIM_WRITE);
    CHECK(virtio_buf_claims_empty(claims));
    virtio_buf_claims_free(claims);
}

/* The model: two files of 64 bytes, the second ends at 2^64 */
#define FILES 2
#define BYTES 64
#define LISTS 24
#define LIST_MAX 6

static const VirtIOBufClaim kinds[] = {
    VIRTIO_BUF_CLAIM_READ, VIRTIO_BUF_CLAIM_WRITE, VIRTIO_BUF_CLAIM_EXPORT,
};

typedef struct List {
    VirtIOBufRange ranges[LIST_MAX];
    size_t count;
    int kind;
    bool claimed;
} List;

static uint64_t file_start(uint64_t file)
{
    return file ? UINT64_MAX - (BYTES - 1) : 0;
}

static void random_list(GRand *rand, List *list)
{
    list->count = g_rand_int_range(rand, 1, LIST_MAX + 1);
    list->kind = g_rand_int_range(rand, 0, G_N_ELEMENTS(kinds));
    for (size_t i = 0; i < list->count; i++) {
        int file = g_rand_int_range(rand, 0, FILES);
        int start = g_rand_int_range(rand, 0, BYTES);

        list->ranges[i] = (VirtIOBufRange) {
            .block = g_rand_boolean(rand) ? &block_a : &block_b,
            .device = 1,
            .inode = file,
            .start = file_start(file) + start,
            .len = g_rand_int_range(rand, 1, MIN(BYTES - start, 12) + 1),
        };
    }
}

static void model_add(int model[FILES][BYTES], const List *list, int n)
{
    for (size_t i = 0; i < list->count; i++) {
        const VirtIOBufRange *r = &list->ranges[i];

        for (uint64_t b = 0; b < r->len; b++) {
            model[r->inode][r->start - file_start(r->inode) + b] += n;
        }
    }
}

static bool model_has(int model[FILES][BYTES], const List *list, int n)
{
    for (size_t i = 0; i < list->count; i++) {
        const VirtIOBufRange *r = &list->ranges[i];

        for (uint64_t b = 0; b < r->len; b++) {
            if (model[r->inode][r->start - file_start(r->inode) + b] >= n) {
                return true;
            }
        }
    }
    return false;
}

TEST(random_claims_equal_the_model)
{
    VirtIOBufClaims *claims = virtio_buf_claims_new();
    GRand *rand = g_rand_new_with_seed(20260301);
    static int model[G_N_ELEMENTS(kinds)][FILES][BYTES];
    static List lists[LISTS];

    for (int round = 0; round < 20000; round++) {
        List *list = &lists[g_rand_int_range(rand, 0, LISTS)];
        List probe;
        unsigned expected = 0;

        if (list->claimed) {
            virtio_buf_claims_remove(claims, list->ranges, list->count,
                                     kinds[list->kind]);
            model_add(model[list->kind], list, -1);
        } else {
            random_list(rand, list);
            virtio_buf_claims_add(claims, list->ranges, list->count,
                                  kinds[list->kind]);
            model_add(model[list->kind], list, 1);
        }
        list->claimed = !list->claimed;

        random_list(rand, &probe);
        for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
            if (model_has(model[k], &probe, 1)) {
                expected |= kinds[k];
            }
        }
        CHECK_INT(claims_of(claims, probe.ranges, probe.count), ==,
                  expected);
    }
    for (int i = 0; i < LISTS; i++) {
        if (lists[i].claimed) {
            virtio_buf_claims_remove(claims, lists[i].ranges, lists[i].count,
                                     kinds[lists[i].kind]);
        }
    }
    CHECK(virtio_buf_claims_empty(claims));
    virtio_buf_claims_free(claims);
    g_rand_free(rand);
}

TEST(random_overlaps_equal_the_model)
{
    GRand *rand = g_rand_new_with_seed(20260302);
    int overlapping = 0;

    for (int round = 0; round < 20000; round++) {
        int model[FILES][BYTES] = { { 0 } };
        List list;
        bool expected;

        random_list(rand, &list);
        model_add(model, &list, 1);
        expected = model_has(model, &list, 2);
        overlapping += expected;
        CHECK_INT(virtio_buf_ranges_overlap_self(list.ranges, list.count),
                  ==, expected);
    }
    /* Both answers have been asked for */
    CHECK_INT(overlapping, >, 1000);
    CHECK_INT(overlapping, <, 19000);
    g_rand_free(rand);
}

/* Writes which bytes the list means, in order; returns how many */
static size_t list_bytes(const VirtIOBufRange *ranges, size_t count,
                         uint64_t bytes[LIST_MAX * BYTES])
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        for (uint64_t b = 0; b < ranges[i].len; b++) {
            bytes[n++] = (ranges[i].start + b) ^ ranges[i].inode << 32 ^
                         (uint64_t)(ranges[i].block == &block_a) << 33;
        }
    }
    return n;
}

TEST(random_merges_mean_the_same_bytes)
{
    GRand *rand = g_rand_new_with_seed(20260303);
    int shorter = 0;

    for (int round = 0; round < 20000; round++) {
        uint64_t before[LIST_MAX * BYTES], after[LIST_MAX * BYTES];
        List list;
        size_t n, merged;

        random_list(rand, &list);
        /* Half of them continue the one before, so that there is something */
        for (size_t i = 1; i < list.count; i++) {
            VirtIOBufRange *r = &list.ranges[i], *last = r - 1;

            if (g_rand_boolean(rand) &&
                last->start - file_start(last->inode) + last->len <
                BYTES - 12) {
                r->inode = last->inode;
                r->start = last->start + last->len;
            }
        }
        n = list_bytes(list.ranges, list.count, before);
        merged = virtio_buf_ranges_merge(list.ranges, list.count);
        CHECK_INT(list_bytes(list.ranges, merged, after), ==, n);
        CHECK(!memcmp(before, after, n * sizeof(before[0])));
        shorter += merged < list.count;
        /* Nothing is left to merge */
        CHECK_INT(virtio_buf_ranges_merge(list.ranges, merged), ==, merged);
    }
    CHECK_INT(shorter, >, 1000);
    g_rand_free(rand);
}
