// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: ranges, what the device is told of where a buffer's memory is.
 *
 * Neighbours become one range, also across the parts of a buffer: the host has a
 * limit on how many it takes. Nothing is kept here, and no lock is needed: who
 * calls has the parts mapped.
 */
#include <linux/scatterlist.h>

#include "virtbuf_drv.h"

/**
 * virtbuf_ranges_add - adds memory at the end of a list of ranges
 * @ranges: the list
 * @count: ranges that were added so far; what is above @max is only counted
 * @max: room in @ranges
 * @addr: as the device sees it
 * @len: bytes, not zero
 *
 * Return: how many ranges there are with this one; above @max, the list is not
 * complete.
 */
unsigned int virtbuf_ranges_add(struct virtio_buf_range *ranges,
				unsigned int count, unsigned int max, u64 addr,
				u64 len)
{
	if (count && count <= max) {
		struct virtio_buf_range *last = &ranges[count - 1];
		u64 last_len = le64_to_cpu(last->len);

		if (le64_to_cpu(last->addr) + last_len == addr) {
			last->len = cpu_to_le64(last_len + len);
			return count;
		}
	}
	if (count < max) {
		ranges[count].addr = cpu_to_le64(addr);
		ranges[count].len = cpu_to_le64(len);
	}
	return count + 1;
}

/**
 * virtbuf_ranges_add_part - as virtbuf_ranges_add(), for all of a part
 * @ranges: the list
 * @count: ranges that were added so far
 * @max: room in @ranges
 * @part: mapped
 *
 * Return: as virtbuf_ranges_add().
 */
unsigned int virtbuf_ranges_add_part(struct virtio_buf_range *ranges,
				     unsigned int count, unsigned int max,
				     const struct virtbuf_part *part)
{
	u64 skip = part->offset, left = part->size;
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_dma_sg(part->bo->sgt, sg, i) {
		u64 len = sg_dma_len(sg);

		if (skip >= len) {
			skip -= len;
			continue;
		}
		len = min(len - skip, left);
		count = virtbuf_ranges_add(ranges, count, max,
					   sg_dma_address(sg) + skip, len);
		skip = 0;
		left -= len;
		if (!left)
			break;
	}
	return count;
}
