// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of ranges: what is joined, what is cut off, what is counted.
 */
#include <kunit/test.h>

#include <linux/scatterlist.h>

#include "../virtbuf_drv.h"

#define MAX_RANGES	4
#define GUARD		0x5a5a5a5a5a5a5a5aULL

/* A list with one range of guard bytes behind it */
struct list {
	struct virtio_buf_range ranges[MAX_RANGES + 1];
	unsigned int count;
};

static void start(struct list *list)
{
	memset(list->ranges, 0x5a, sizeof(list->ranges));
	list->count = 0;
}

static void add(struct list *list, u64 addr, u64 len)
{
	list->count = virtbuf_ranges_add(list->ranges, list->count, MAX_RANGES,
					 addr, len);
}

static void expect_range(struct kunit *test, const struct list *list,
			 unsigned int index, u64 addr, u64 len)
{
	KUNIT_EXPECT_EQ(test, le64_to_cpu(list->ranges[index].addr), addr);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(list->ranges[index].len), len);
}

static void virtbuf_test_range_joins_neighbours(struct kunit *test)
{
	struct list list;

	start(&list);
	add(&list, 0x1000, 0x1000);
	add(&list, 0x2000, 0x3000);
	add(&list, 0x5000, 0x1000);
	KUNIT_EXPECT_EQ(test, list.count, 1);
	expect_range(test, &list, 0, 0x1000, 0x5000);
}

static void virtbuf_test_range_keeps_others_apart(struct kunit *test)
{
	struct list list;

	start(&list);
	add(&list, 0x5000, 0x1000);
	/* a gap; right below; the same again; the neighbour of the first */
	add(&list, 0x7000, 0x1000);
	add(&list, 0x6000, 0x1000);
	add(&list, 0x6000, 0x1000);
	KUNIT_EXPECT_EQ(test, list.count, 4);
	expect_range(test, &list, 0, 0x5000, 0x1000);
	expect_range(test, &list, 1, 0x7000, 0x1000);
	expect_range(test, &list, 2, 0x6000, 0x1000);
	expect_range(test, &list, 3, 0x6000, 0x1000);
}

static void virtbuf_test_range_has_64_bits(struct kunit *test)
{
	struct list list;

	start(&list);
	add(&list, 0xfffff000ULL, 0x1000);
	add(&list, 0x100000000ULL, 0x300000000ULL);
	KUNIT_EXPECT_EQ(test, list.count, 1);
	expect_range(test, &list, 0, 0xfffff000ULL, 0x300001000ULL);
}

static void virtbuf_test_range_counts_what_has_no_room(struct kunit *test)
{
	struct list list;
	unsigned int i;

	start(&list);
	for (i = 0; i < MAX_RANGES + 3; i++)
		add(&list, 0x10000 * i, 0x1000);
	KUNIT_EXPECT_EQ(test, list.count, MAX_RANGES + 3);
	expect_range(test, &list, MAX_RANGES - 1, 0x10000 * (MAX_RANGES - 1),
		     0x1000);
	expect_range(test, &list, MAX_RANGES, GUARD, GUARD);
}

static void virtbuf_test_range_joins_in_a_full_list(struct kunit *test)
{
	struct list list;
	unsigned int i;

	start(&list);
	for (i = 0; i < MAX_RANGES; i++)
		add(&list, 0x10000 * i, 0x1000);
	add(&list, 0x10000 * (MAX_RANGES - 1) + 0x1000, 0x1000);
	KUNIT_EXPECT_EQ(test, list.count, MAX_RANGES);
	expect_range(test, &list, MAX_RANGES - 1, 0x10000 * (MAX_RANGES - 1),
		     0x2000);
	expect_range(test, &list, MAX_RANGES, GUARD, GUARD);
}

static void virtbuf_test_range_without_room(struct kunit *test)
{
	struct list list;

	start(&list);
	KUNIT_EXPECT_EQ(test, virtbuf_ranges_add(list.ranges, 0, 0, 0x1000,
						 0x1000), 1);
	expect_range(test, &list, 0, GUARD, GUARD);
}

/* Memory in three pieces as an IOMMU may give them: 2 pages, 1 page, 4 pages */
static struct virtbuf_bo *bo_of_three(struct kunit *test)
{
	static const struct {
		dma_addr_t addr;
		unsigned int len;
	} pieces[] = {
		{ 0x10000, 0x2000 }, { 0x80000, 0x1000 }, { 0x81000, 0x4000 },
	};
	struct virtbuf_bo *bo = kunit_kzalloc(test, sizeof(*bo), GFP_KERNEL);
	struct scatterlist *sg = kunit_kcalloc(test, ARRAY_SIZE(pieces),
					       sizeof(*sg), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, bo);
	KUNIT_ASSERT_NOT_NULL(test, sg);
	bo->sgt = kunit_kzalloc(test, sizeof(*bo->sgt), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bo->sgt);

	sg_init_table(sg, ARRAY_SIZE(pieces));
	for (i = 0; i < ARRAY_SIZE(pieces); i++) {
		sg_dma_address(&sg[i]) = pieces[i].addr;
		sg_dma_len(&sg[i]) = pieces[i].len;
	}
	bo->sgt->sgl = sg;
	bo->sgt->nents = ARRAY_SIZE(pieces);
	bo->sgt->orig_nents = ARRAY_SIZE(pieces);
	return bo;
}

static void add_part(struct list *list, struct virtbuf_bo *bo, u64 offset,
		     u64 size)
{
	struct virtbuf_part part = { .bo = bo, .offset = offset,
				     .size = size };

	list->count = virtbuf_ranges_add_part(list->ranges, list->count,
					      MAX_RANGES, &part);
}

static void virtbuf_test_range_whole_part(struct kunit *test)
{
	struct virtbuf_bo *bo = bo_of_three(test);
	struct list list;

	start(&list);
	add_part(&list, bo, 0, 0x7000);
	KUNIT_EXPECT_EQ(test, list.count, 2);
	expect_range(test, &list, 0, 0x10000, 0x2000);
	expect_range(test, &list, 1, 0x80000, 0x5000);
}

static void virtbuf_test_range_inside_of_a_piece(struct kunit *test)
{
	struct virtbuf_bo *bo = bo_of_three(test);
	struct list list;

	start(&list);
	add_part(&list, bo, 0x4000, 0x2000);
	KUNIT_EXPECT_EQ(test, list.count, 1);
	expect_range(test, &list, 0, 0x82000, 0x2000);
}

static void virtbuf_test_range_across_pieces(struct kunit *test)
{
	struct virtbuf_bo *bo = bo_of_three(test);
	struct list list;

	start(&list);
	add_part(&list, bo, 0x1000, 0x3000);
	KUNIT_EXPECT_EQ(test, list.count, 2);
	expect_range(test, &list, 0, 0x11000, 0x1000);
	expect_range(test, &list, 1, 0x80000, 0x2000);
}

static void virtbuf_test_range_ends_with_a_piece(struct kunit *test)
{
	struct virtbuf_bo *bo = bo_of_three(test);
	struct list list;

	start(&list);
	add_part(&list, bo, 0, 0x2000);
	KUNIT_EXPECT_EQ(test, list.count, 1);
	expect_range(test, &list, 0, 0x10000, 0x2000);
}

static void virtbuf_test_range_joins_parts(struct kunit *test)
{
	struct virtbuf_bo *bo = bo_of_three(test);
	struct list list;

	start(&list);
	add_part(&list, bo, 0x2000, 0x1000);
	add_part(&list, bo, 0x3000, 0x1000);
	add_part(&list, bo, 0, 0x1000);
	KUNIT_EXPECT_EQ(test, list.count, 2);
	expect_range(test, &list, 0, 0x80000, 0x2000);
	expect_range(test, &list, 1, 0x10000, 0x1000);
}

static struct kunit_case virtbuf_range_tests[] = {
	KUNIT_CASE(virtbuf_test_range_joins_neighbours),
	KUNIT_CASE(virtbuf_test_range_keeps_others_apart),
	KUNIT_CASE(virtbuf_test_range_has_64_bits),
	KUNIT_CASE(virtbuf_test_range_counts_what_has_no_room),
	KUNIT_CASE(virtbuf_test_range_joins_in_a_full_list),
	KUNIT_CASE(virtbuf_test_range_without_room),
	KUNIT_CASE(virtbuf_test_range_whole_part),
	KUNIT_CASE(virtbuf_test_range_inside_of_a_piece),
	KUNIT_CASE(virtbuf_test_range_across_pieces),
	KUNIT_CASE(virtbuf_test_range_ends_with_a_piece),
	KUNIT_CASE(virtbuf_test_range_joins_parts),
	{ }
};

static struct kunit_suite virtbuf_range_suite = {
	.name = "virtbuf_range",
	.test_cases = virtbuf_range_tests,
};

kunit_test_suite(virtbuf_range_suite);
