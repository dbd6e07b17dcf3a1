/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of what consumers hear of updates, in which order, and when an update
 * is released: virtio-buf-consumer.c and virtio-buf-update.c against a model of
 * consumers, with a guest that does anything at any time.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "harness.h"
#include "model-consumer.h"

static uint64_t last_handle;

static uint32_t put_property(uint8_t *to, bool may_delete)
{
    g_autofree char *name = g_strdup_printf("p%d",
                                            g_rand_int_range(dice, 0, 4));
    g_autofree char *value = g_strdup_printf("%u", g_rand_int(dice));
    struct virtio_buf_property_view p = {
        .name = name, .name_len = strlen(name),
        .value = value, .value_len = strlen(value),
        .deleted = may_delete && chance(25),
    };

    if (p.deleted) {
        p.value_len = 0;
    }
    return virtio_buf_property_put(to, &p);
}

static void do_register(int slot)
{
    static const uint8_t modes[STREAMS] = {
        VIRTIO_BUF_MODE_IN_PLACE, VIRTIO_BUF_MODE_LATEST,
        VIRTIO_BUF_MODE_EVERY, VIRTIO_BUF_MODE_LATEST,
    };
    Buffer *buffer = g_new0(Buffer, 1);
    VirtIOBufBuffer *b = &buffer->b;
    int stream = slot % STREAMS;

    for (int i = 0; i < CELLS; i++) {
        buffer->writes[i] = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    }
    buffer->memory.copies = chance(70);
    b->device = &device;
    b->handle = ++last_handle;
    b->size = CELLS * CELL;
    b->mode = modes[stream];
    strcpy(b->application, "test");
    b->memory = &buffer->memory;
    b->told_backing = virtio_buf_memory_backing(b->memory);
    b->properties = virtio_buf_properties_new(16, 4096);
    b->stream = &streams[stream];
    g_hash_table_insert(device.by_handle, &b->handle, b);
    QTAILQ_INSERT_TAIL(&device.buffers, b, next);
    buffers[slot] = buffer;
    virtio_buf_announce(b);
}

static void do_unregister(int slot)
{
    Buffer *buffer = buffers[slot];
    VirtIOBufBuffer *b = &buffer->b;

    look_for_published();
    for (int i = 0; i < CONSUMERS; i++) {
        View *view = view_of(fakes[i], buffer);

        if (view) {
            view->pending = view->taken = 0;
        }
    }
    g_hash_table_remove(device.by_handle, &b->handle);
    QTAILQ_REMOVE(&device.buffers, b, next);
    b->unregistered = true;
    b->removing = true;
    virtio_buf_retract(b);
    buffers[slot] = NULL;
    b->removing = false;
    if (buffer->memory.done) {
        /* A memory that is freed does not call back; one that is not, does */
        if (b->attachment_count) {
            finish_refresh(&buffer->memory);
        }
    }
    if (!b->attachment_count) {
        buffer_free(buffer);
    }
}

static void do_update(Buffer *buffer)
{
    static struct {
        struct virtio_buf_frame head;
        uint8_t tail[2048];
    } frame;
    VirtIOBufBuffer *b = &buffer->b;
    struct virtio_buf_frame_view view;
    struct virtio_buf_rect *rects = (void *)frame.tail;
    Sent sent = { .serial = ++last_serial };
    struct virtio_buf_span *spans;
    uint32_t property_bytes = 0;
    size_t size;

    if (b->owners) {
        return;
    }
    sent.rects = g_rand_int_range(dice, 0, 5);
    sent.spans = chance(20) ? 0 : g_rand_int_range(dice, 1, 5);
    for (unsigned i = 0; i < sent.rects; i++) {
        rects[i] = (struct virtio_buf_rect) {
            cpu_to_le32(sent.serial), cpu_to_le32(i), cpu_to_le32(1),
            cpu_to_le32(1),
        };
    }
    spans = (void *)(rects + sent.rects);
    for (unsigned i = 0; i < sent.spans; i++) {
        uint64_t cell = g_rand_int_range(dice, 0, CELLS);

        sent.cells |= 1ull << cell;
        spans[i].offset = cpu_to_le64(cell * CELL);
        spans[i].len = cpu_to_le64(CELL);
    }
    if (!sent.spans) {
        sent.cells = (1ull << CELLS) - 1;
    }
    if (chance(40)) {
        property_bytes = put_property((uint8_t *)(spans + sent.spans), true);
    }
    frame.head = (struct virtio_buf_frame) {
        .serial = cpu_to_le64(sent.serial),
        .data_size = cpu_to_le64(b->size),
        .rect_count = cpu_to_le16(sent.rects),
        .span_count = cpu_to_le16(sent.spans),
        .property_bytes = cpu_to_le32(property_bytes),
    };
    size = sizeof(frame.head) + sent.rects * sizeof(*rects) +
           sent.spans * sizeof(*spans) + property_bytes;
    for (int i = 0; i < CELLS; i++) {
        if (sent.cells & 1ull << i) {
            buffer->memory.guest[i] = sent.serial;
            g_array_append_val(buffer->writes[i], sent.serial);
        }
    }
    for (int i = 0; i < CONSUMERS; i++) {
        View *missing = view_of(fakes[i], buffer);

        if (missing) {
            g_array_append_val(missing->missed, sent);
        }
    }

    CHECK_INT(virtio_buf_frame_parse(&frame, size, b->size, &view), ==, 0);
    CHECK(virtio_buf_reserve(b, size));
    CHECK_INT(virtio_buf_properties_apply(b->properties, view.properties,
                                          view.property_bytes), ==, 0);
    device.updating = b;
    virtio_buf_publish(b, (uint8_t *)&frame, size, &view);
    device.updating = NULL;
    if (b->mode == VIRTIO_BUF_MODE_IN_PLACE) {
        CHECK_INT(b->released, ==, sent.serial);
    }
}

static void do_set_properties(Buffer *buffer)
{
    uint8_t records[256] __attribute__((aligned(8)));
    uint32_t size = put_property(records, true);

    CHECK_INT(virtio_buf_properties_apply(buffer->b.properties, records, size),
              ==, 0);
    virtio_buf_tell_properties(&buffer->b, records, size);
}

static View *any_view(Fake *fake)
{
    g_autoptr(GList) views = g_hash_table_get_values(fake->views);
    guint count = g_list_length(views);

    return count ? g_list_nth_data(views, g_rand_int_range(dice, 0, count))
                 : NULL;
}

static void consumer_step(Fake *fake)
{
    View *view = any_view(fake);
    int what = g_rand_int_range(dice, 0, 100);

    if (what < 50) {
        if (fake->notified) {
            fake_take(fake);
        }
    } else if (!view) {
        return;
    } else if (what < 85) {
        if (view->attached && !view->removed) {
            fake_release(fake, view);
        }
    } else if (what < 95) {
        if (!view->attach_asked && !view->removed) {
            fake_attach(fake, view);
        }
    } else {
        fake_let_go(fake, view);
    }
}

static void guest_step(void)
{
    int slot = g_rand_int_range(dice, 0, BUFFERS);
    int what = g_rand_int_range(dice, 0, 100);

    if (!buffers[slot]) {
        do_register(slot);
    } else if (what < 80) {
        do_update(buffers[slot]);
    } else if (what < 95) {
        do_set_properties(buffers[slot]);
    } else {
        do_unregister(slot);
    }
}

static void copy_step(void)
{
    Buffer *buffer = buffers[g_rand_int_range(dice, 0, BUFFERS)];

    if (buffer && buffer->memory.done) {
        finish_refresh(&buffer->memory);
    }
}

static void setup(uint32_t seed, bool timeout)
{
    dice = g_rand_new_with_seed(seed);
    device.by_handle = g_hash_table_new(g_int64_hash, g_int64_equal);
    QTAILQ_INIT(&device.buffers);
    QTAILQ_INIT(&device.consumers);
    QTAILQ_INIT(&device.writing);
    device.limits.hold_timeout_ms = timeout ? HOLD_TIMEOUT : 0;
    virtio_buf_hold_init(&device);
    for (int i = 0; i < STREAMS; i++) {
        QTAILQ_INIT(&streams[i].copying);
    }
    for (int i = 0; i < CONSUMERS; i++) {
        fakes[i] = fake_new(i + 1);
        fakes[i]->eager = i == 1;
        virtio_buf_consumer_add(&device, &fakes[i]->c);
    }
}

static void teardown(void)
{
    for (int i = 0; i < BUFFERS; i++) {
        if (buffers[i]) {
            do_unregister(i);
        }
    }
    for (int i = 0; i < CONSUMERS; i++) {
        fake_disconnect(fakes[i]);
        g_hash_table_unref(fakes[i]->views);
        g_free(fakes[i]);
    }
    CHECK_INT(device.consumer_count, ==, 0);
    CHECK(QTAILQ_EMPTY(&device.timed));
    virtio_buf_hold_cleanup(&device);
    g_hash_table_unref(device.by_handle);
    g_rand_free(dice);
}

static void check_same_properties(View *view)
{
    struct virtio_buf_property_view p;
    const uint8_t *records;
    unsigned count = 0;
    uint32_t size;
    size_t pos = 0;

    records = virtio_buf_properties_list(view->buffer->b.properties, &size);
    while (virtio_buf_property_next(records, size, &pos, &p) == 1) {
        g_autofree char *name = g_strndup(p.name, p.name_len);
        g_autofree char *value = g_strndup(p.value, p.value_len);

        CHECK_STR(g_hash_table_lookup(view->properties, name), value);
        count++;
    }
    CHECK_INT(g_hash_table_size(view->properties), ==, count);
}

/* All copies are made, everything is taken and released */
static void settle(void)
{
    bool again;

    do {
        again = false;
        for (int i = 0; i < BUFFERS; i++) {
            if (buffers[i] && buffers[i]->memory.done) {
                finish_refresh(&buffers[i]->memory);
                again = true;
            }
        }
        for (int i = 0; i < CONSUMERS; i++) {
            while (fakes[i]->notified) {
                fake_take(fakes[i]);
                again = true;
            }
            for (int j = 0; j < BUFFERS; j++) {
                View *view = buffers[j] ? view_of(fakes[i], buffers[j]) : NULL;

                if (view && view->taken) {
                    fake_release(fakes[i], view);
                    again = true;
                }
            }
        }
        check_all();
    } while (again);

    for (int i = 0; i < BUFFERS; i++) {
        Buffer *buffer = buffers[i];

        if (!buffer) {
            continue;
        }
        CHECK_INT(buffer->b.owners, ==, 0);
        CHECK(!buffer->b.copying.serial && !buffer->b.following.serial);
        for (int j = 0; j < CONSUMERS; j++) {
            View *view = view_of(fakes[j], buffer);

            CHECK(view);
            CHECK_INT(view->pending, ==, 0);
            check_same_properties(view);
            if (view->attached &&
                buffer->b.mode == VIRTIO_BUF_MODE_IN_PLACE) {
                CHECK_INT(view->seen, ==, buffer->b.serial);
                CHECK_INT(view->missed->len, ==, 0);
            }
        }
    }
}

static void run_model(bool slow, bool timeout)
{
    for (uint32_t seed = 1; seed <= 20; seed++) {
        setup(seed, timeout);
        for (int step = 0; step < 4000; step++) {
            int what = g_rand_int_range(dice, 0, 1000);

            copies_take_time = slow && chance(60);
            if (what < 400) {
                guest_step();
            } else if (what < 800) {
                consumer_step(fakes[what % CONSUMERS]);
            } else if (what < 960) {
                copy_step();
            } else if (what < 990) {
                if (timeout) {
                    time_passes(g_rand_int_range(dice, 1, HOLD_TIMEOUT));
                }
            } else if (what < 995) {
                settle();
            } else {
                Fake *fake = fakes[what % CONSUMERS];

                fake_disconnect(fake);
                virtio_buf_consumer_add(&device, &fake->c);
            }
            check_all();
        }
        settle();
        teardown();
    }
}

TEST(model_without_copies_that_take_time)
{
    run_model(false, false);
}

TEST(model_with_copies_that_take_time)
{
    run_model(true, false);
}

TEST(model_with_a_hold_timeout)
{
    run_model(true, true);
}
