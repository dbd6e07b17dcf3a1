/* SPDX-License-Identifier: MIT */
/*
 * libvirtio-buf: buffers by their ids.
 *
 * A table with linear probing. At most half of its slots are used, so that a
 * search ends soon; removing moves the entries behind into the gap, so that
 * there are no tombstones. The ids are the server's: mixing their bits keeps a
 * bad one from making a long row of collisions by accident; a hostile one can
 * make its own consumer slow, which it can do anyway.
 */
#include <errno.h>
#include <stdlib.h>

#include "private.h"

#define SIZE_AT_FIRST 64

static size_t slot_of(const struct vbuf_table *table, uint64_t id)
{
    /* Fibonacci hashing: the upper bits depend on all lower ones */
    return (size_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) &
           (table->size - 1);
}

/* The slot where the id is, or the free one where it would be put */
static size_t probe(const struct vbuf_table *table, uint64_t id)
{
    size_t slot = slot_of(table, id);

    while (table->slots[slot] && table->slots[slot]->id != id) {
        slot = (slot + 1) & (table->size - 1);
    }
    return slot;
}

void vbuf_table_clear(struct vbuf_table *table)
{
    free(table->slots);
    *table = (struct vbuf_table) { 0 };
}

struct vbuf_buffer *vbuf_table_find(const struct vbuf_table *table,
                                    uint64_t id)
{
    return table->size ? table->slots[probe(table, id)] : NULL;
}

static int grow(struct vbuf_table *table)
{
    struct vbuf_table larger = {
        .size = table->size ? table->size * 2 : SIZE_AT_FIRST,
        .count = table->count,
    };
    size_t i;

    larger.slots = calloc(larger.size, sizeof(larger.slots[0]));
    if (!larger.slots) {
        return -ENOMEM;
    }
    for (i = 0; i < table->size; i++) {
        if (table->slots[i]) {
            larger.slots[probe(&larger, table->slots[i]->id)] =
                table->slots[i];
        }
    }
    free(table->slots);
    *table = larger;
    return 0;
}

int vbuf_table_add(struct vbuf_table *table, struct vbuf_buffer *buffer)
{
    int ret;

    if ((table->count + 1) * 2 > table->size) {
        ret = grow(table);
        if (ret < 0) {
            return ret;
        }
    }
    table->slots[probe(table, buffer->id)] = buffer;
    table->count++;
    return 0;
}

void vbuf_table_remove(struct vbuf_table *table, uint64_t id)
{
    size_t mask = table->size - 1, gap, slot, home;

    if (!vbuf_table_find(table, id)) {
        return;
    }
    gap = probe(table, id);
    for (slot = (gap + 1) & mask; table->slots[slot];
         slot = (slot + 1) & mask) {
        home = slot_of(table, table->slots[slot]->id);
        /* Whoever is found from its home over the gap moves into it */
        if (((slot - home) & mask) >= ((slot - gap) & mask)) {
            table->slots[gap] = table->slots[slot];
            gap = slot;
        }
    }
    table->slots[gap] = NULL;
    table->count--;
}
