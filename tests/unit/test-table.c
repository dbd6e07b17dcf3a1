/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The library's table of buffers against a plain array, id by id */
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "../../lib/private.h"

#define IDS 3000

static struct vbuf_buffer buffers[IDS];
static bool there[IDS];

static void check_all(const struct vbuf_table *table)
{
    size_t i, count = 0;

    for (i = 0; i < IDS; i++) {
        CHECK(vbuf_table_find(table, buffers[i].id) ==
              (there[i] ? &buffers[i] : NULL));
        count += there[i];
    }
    CHECK_INT(table->count, ==, count);
    CHECK(!table->size || table->count * 2 <= table->size);
}

/* Adds and removes in an order that is the same in each run */
static void churn(uint64_t (*id_of)(size_t))
{
    struct vbuf_table table = { 0 };
    uint32_t random = 1;
    size_t i, step;

    memset(there, 0, sizeof(there));
    for (i = 0; i < IDS; i++) {
        buffers[i].id = id_of(i);
    }
    check_all(&table);
    for (step = 0; step < 40000; step++) {
        random = random * 1664525 + 1013904223;
        i = (random >> 8) % IDS;
        if (there[i]) {
            vbuf_table_remove(&table, buffers[i].id);
        } else {
            CHECK_INT(vbuf_table_add(&table, &buffers[i]), ==, 0);
        }
        there[i] = !there[i];
        if (step % 1000 == 0) {
            check_all(&table);
        }
    }
    check_all(&table);
    for (i = 0; i < IDS; i++) {
        vbuf_table_remove(&table, buffers[i].id);   /* there or not */
        there[i] = false;
    }
    check_all(&table);
    vbuf_table_clear(&table);
}

static uint64_t one_by_one(size_t i)
{
    return i + 1;
}

static uint64_t in_steps(size_t i)
{
    return (uint64_t)(i + 1) << 40;
}

static uint64_t scattered(size_t i)
{
    return (i + 1) * UINT64_C(0xd1342543de82ef95);
}

TEST(ids_one_by_one)
{
    churn(one_by_one);
}

TEST(ids_in_steps)
{
    churn(in_steps);
}

TEST(ids_scattered)
{
    churn(scattered);
}
