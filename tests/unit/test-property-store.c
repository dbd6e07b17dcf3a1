/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the store of a buffer's properties
 *
 * Lists are written as text, "name=value;name;-name", and read back so.
 */
#include "qemu/osdep.h"
#include "harness.h"
#include "standard-headers/linux/virtio_buf.h"
#include "virtio-buf/wire.h"
#include "hw/virtio/virtio-buf-property.h"

typedef struct List {
    _Alignas(8) uint8_t bytes[VIRTIO_BUF_MAX_PROPERTY_BYTES];
    uint32_t size;
} List;

/* "a=1;b=;-c": sets a and b (to nothing), deletes c */
static const List *list(const char *text)
{
    static List l;
    g_auto(GStrv) parts = g_strsplit(text, ";", -1);

    l.size = 0;
    for (char **part = parts; *part; part++) {
        bool deleted = **part == '-';
        const char *name = *part + deleted;
        const char *value = strchr(name, '=');
        struct virtio_buf_property_view view = {
            .name = name,
            .name_len = value ? (uint32_t)(value - name) : strlen(name),
            .value = value ? value + 1 : "",
            .value_len = value ? strlen(value + 1) : 0,
            .deleted = deleted,
        };
        size_t size = virtio_buf_property_size(view.name_len, view.value_len);

        CHECK(size && size <= sizeof(l.bytes) - l.size);
        l.size += virtio_buf_property_put(l.bytes + l.size, &view);
    }
    return &l;
}

static int apply(VirtIOBufProperties *store, const char *text)
{
    const List *l = list(text);

    return virtio_buf_properties_apply(store, l->bytes, l->size);
}

static char *text_of(const VirtIOBufProperties *store)
{
    struct virtio_buf_property_view view;
    GString *text = g_string_new(NULL);
    const uint8_t *records;
    uint32_t size;
    size_t pos = 0;
    int ret;

    records = virtio_buf_properties_list(store, &size);
    while ((ret = virtio_buf_property_next(records, size, &pos, &view)) == 1) {
        CHECK(!view.deleted);
        g_string_append_printf(text, "%s%.*s=%.*s", text->len ? ";" : "",
                               (int)view.name_len, view.name,
                               (int)view.value_len, view.value);
    }
    CHECK_INT(ret, ==, 0);
    return g_string_free(text, FALSE);
}

static void check_holds(const VirtIOBufProperties *store, const char *expected)
{
    g_autofree char *text = text_of(store);

    CHECK_STR(text, expected);
}

TEST(starts_empty)
{
    VirtIOBufProperties *store = virtio_buf_properties_new(4, 4096);
    uint32_t size = 1;

    virtio_buf_properties_list(store, &size);
    CHECK_INT(size, ==, 0);
    check_holds(store, "");
    virtio_buf_properties_free(store);
    virtio_buf_properties_free(NULL);
}

TEST(sets_in_order_and_replaces_in_place)
{
    VirtIOBufProperties *store = virtio_buf_properties_new(4, 4096);

    CHECK_INT(apply(store, "width=640;height=480;title=a"), ==, 0);
    check_holds(store, "width=640;height=480;title=a");
    CHECK_INT(apply(store, "fourcc=XR24;height=1080"), ==, 0);
    check_holds(store, "width=640;height=1080;title=a;fourcc=XR24");
    CHECK_INT(apply(store, "title=a title that needs a longer record"), ==, 0);
    check_holds(store, "width=640;height=1080;"
                       "title=a title that needs a longer record;fourcc=XR24");
    virtio_buf_properties_free(store);
}

TEST(deletes)
{
    VirtIOBufProperties *store = virtio_buf_properties_new(4, 4096);

    CHECK_INT(apply(store, "a=1;b=2;c=3"), ==, 0);
    CHECK_INT(apply(store, "-b;d=4;-not.there"), ==, 0);
    check_holds(store, "a=1;c=3;d=4");
    CHECK_INT(apply(store, "-a;-c;-d"), ==, 0);
    check_holds(store, "");
    CHECK_INT(apply(store, "a=again"), ==, 0);
    check_holds(store, "a=again");
    virtio_buf_properties_free(store);
}

TEST(an_empty_value_is_a_value)
{
    VirtIOBufProperties *store = virtio_buf_properties_new(4, 4096);

    CHECK_INT(apply(store, "a=;b=2"), ==, 0);
    check_holds(store, "a=;b=2");
    CHECK_INT(apply(store, "b="), ==, 0);
    check_holds(store, "a=;b=");
    virtio_buf_properties_free(store);
}

TEST(no_change_is_no_error)
{
    VirtIOBufProperties *store = virtio_buf_properties_new(0, 0);

    CHECK_INT(virtio_buf_properties_apply(store, NULL, 0), ==, 0);
    check_holds(store, "");
    virtio_buf_properties_free(store);
}

TEST(too_many_change_nothing)
{
    VirtIOBufProperties *store = virtio_buf_properties_new(3, 4096);

    CHECK_INT(apply(store, "a=1;b=2;c=3"), ==, 0);
    CHECK_INT(apply(store, "a=9;d=4"), ==, -ENOSPC);
    check_holds(store, "a=1;b=2;c=3");
    /* What is deleted makes room in the same change, wherever it stands */
    CHECK_INT(apply(store, "d=4;-c"), ==, 0);
    check_holds(store, "a=1;b=2;d=4");
    virtio_buf_properties_free(store);
}

TEST(too_long_changes_nothing)
{
    /* A record of a name of 1 byte and a value up to 7 bytes has 16 bytes */
    VirtIOBufProperties *store = virtio_buf_properties_new(16, 48);

    CHECK_INT(apply(store, "a=1234567;b=1;c=1"), ==, 0);
    CHECK_INT(apply(store, "c=12345678"), ==, -ENOSPC);
    CHECK_INT(apply(store, "b=2;d=4"), ==, -ENOSPC);
    check_holds(store, "a=1234567;b=1;c=1");
    CHECK_INT(apply(store, "-b;c=12345678"), ==, 0);
    check_holds(store, "a=1234567;c=12345678");
    virtio_buf_properties_free(store);
}

TEST(a_bad_list_changes_nothing)
{
    VirtIOBufProperties *store = virtio_buf_properties_new(16, 4096);
    List bad;

    CHECK_INT(apply(store, "a=1"), ==, 0);
    CHECK_INT(apply(store, "b=1;c=2;b=3"), ==, -EINVAL);
    CHECK_INT(apply(store, "b=1;-b"), ==, -EINVAL);
    bad = *list("b=2");
    CHECK_INT(virtio_buf_properties_apply(store, bad.bytes, bad.size - 1), ==,
              -EINVAL);
    bad.bytes[8] = 0xff;
    CHECK_INT(virtio_buf_properties_apply(store, bad.bytes, bad.size), ==,
              -EINVAL);
    check_holds(store, "a=1");
    virtio_buf_properties_free(store);
}

TEST(names_are_compared_whole)
{
    VirtIOBufProperties *store = virtio_buf_properties_new(16, 4096);

    CHECK_INT(apply(store, "plane1.offset=0;plane1=1;plane1.offset2=2"), ==, 0);
    CHECK_INT(apply(store, "plane1=7"), ==, 0);
    CHECK_INT(apply(store, "-plane1.offset2"), ==, 0);
    check_holds(store, "plane1.offset=0;plane1=7");
    virtio_buf_properties_free(store);
}

TEST(holds_the_most_that_the_format_allows)
{
    uint32_t count = VIRTIO_BUF_MAX_PROPERTY_BYTES / 16;
    VirtIOBufProperties *store =
        virtio_buf_properties_new(count, VIRTIO_BUF_MAX_PROPERTY_BYTES);
    GString *text = g_string_new(NULL);

    for (uint32_t i = 0; i < count; i++) {
        g_string_append_printf(text, "%s%x=%x", i ? ";" : "", i, i & 0xf);
    }
    CHECK_INT(apply(store, text->str), ==, 0);
    check_holds(store, text->str);
    CHECK_INT(apply(store, "one.more=1"), ==, -ENOSPC);
    CHECK_INT(apply(store, "7ff=0"), ==, 0);
    CHECK_INT(apply(store, "7ff=f"), ==, 0);
    check_holds(store, text->str);
    g_string_free(text, TRUE);
    virtio_buf_properties_free(store);
}

/* Random changes, compared with a table and the order of first setting */
TEST(agrees_with_a_model)
{
    enum { NAMES = 12, LIMIT = 8 };
    VirtIOBufProperties *store = virtio_buf_properties_new(LIMIT, 4096);
    int values[NAMES] = {}, order[NAMES] = {}, count = 0, refused = 0;
    GRand *rand = g_rand_new_with_seed(1);

    for (int round = 0; round < 5000; round++) {
        g_autoptr(GString) change = g_string_new(NULL);
        g_autoptr(GString) expected = g_string_new(NULL);
        int new_values[NAMES], new_order[NAMES] = {}, new_count = 0, ret;
        bool deleted[NAMES] = {}, set[NAMES] = {}, was[NAMES] = {};
        int added[NAMES], added_count = 0;

        for (int i = 0; i < count; i++) {
            was[order[i]] = true;
        }
        memcpy(new_values, values, sizeof(values));
        for (int n = g_rand_int_range(rand, 1, 5); n > 0; n--) {
            int name = g_rand_int_range(rand, 0, NAMES);

            if (deleted[name] || set[name]) {
                continue;
            }
            if (change->len) {
                g_string_append_c(change, ';');
            }
            if (g_rand_int_range(rand, 0, 3) == 0) {
                deleted[name] = true;
                g_string_append_printf(change, "-n%d", name);
            } else {
                set[name] = true;
                new_values[name] = g_rand_int_range(rand, 0, 1000000);
                g_string_append_printf(change, "n%d=%d", name,
                                       new_values[name]);
                if (!was[name]) {
                    added[added_count++] = name;
                }
            }
        }
        for (int i = 0; i < count; i++) {
            if (!deleted[order[i]]) {
                new_order[new_count++] = order[i];
            }
        }
        for (int i = 0; i < added_count; i++) {
            new_order[new_count++] = added[i];
        }

        ret = apply(store, change->str);
        if (new_count > LIMIT) {
            CHECK_INT(ret, ==, -ENOSPC);
            refused++;
        } else {
            CHECK_INT(ret, ==, 0);
            memcpy(values, new_values, sizeof(values));
            memcpy(order, new_order, sizeof(order));
            count = new_count;
        }
        for (int i = 0; i < count; i++) {
            g_string_append_printf(expected, "%sn%d=%d", i ? ";" : "",
                                   order[i], values[order[i]]);
        }
        check_holds(store, expected->str);
    }
    CHECK(refused > 10);
    g_rand_free(rand);
    virtio_buf_properties_free(store);
}
