/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of what consumers hear of updates, in which order, and when an update is
 * released: virtio-buf-consumer.c and virtio-buf-update.c, with a memory whose
 * copies take as long as the test wants, and with a model of the guest and of
 * each consumer that is checked after every step.
 *
 * A buffer is CELLS cells; a cell holds the serial of the update that wrote it.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/timer.h"
#include "harness.h"
#include "hw/virtio/virtio-buf.h"

enum { CELLS = 8, CELL = 4096, CONSUMERS = 3, BUFFERS = 10, STREAMS = 4 };

/* -- a memory ------------------------------------------------------------ */

struct VirtIOBufMemory {
    bool copies;
    bool exported;
    uint64_t guest[CELLS];
    uint64_t copy[CELLS];
    uint64_t snapshot[CELLS];   /* what a refresh under way will bring, or 0 */
    void (*done)(void *opaque);
    void *opaque;
};

static GRand *dice;
static bool copies_take_time;

static bool chance(unsigned percent)
{
    return g_rand_int_range(dice, 0, 100) < (int)percent;
}

uint8_t virtio_buf_memory_backing(const VirtIOBufMemory *memory)
{
    return memory->copies ? VIRTIO_BUF_BACKING_COPY : VIRTIO_BUF_BACKING_DMABUF;
}

uint8_t virtio_buf_memory_reason(const VirtIOBufMemory *memory)
{
    return VIRTIO_BUF_REASON_NONE;
}

int virtio_buf_memory_export(VirtIOBufMemory *memory)
{
    if (!memory->exported) {
        memset(memory->copy, 0, sizeof(memory->copy));
    }
    memory->exported = true;
    return 1000;
}

bool virtio_buf_memory_exported(const VirtIOBufMemory *memory)
{
    return memory->exported;
}

bool virtio_buf_memory_unexport(VirtIOBufMemory *memory)
{
    memory->exported = false;
    return true;
}

bool virtio_buf_memory_refresh(VirtIOBufMemory *memory,
                               const struct virtio_buf_span *spans,
                               uint32_t span_count, uint64_t data_offset,
                               uint64_t data_size, void (*done)(void *opaque),
                               void *opaque)
{
    CHECK(!memory->done);
    if (!memory->copies || !memory->exported) {
        return true;
    }
    memset(memory->snapshot, 0, sizeof(memory->snapshot));
    if (!span_count) {
        CHECK_INT(data_size, ==, CELLS * CELL);
        memcpy(memory->snapshot, memory->guest, sizeof(memory->guest));
    }
    for (uint32_t i = 0; i < span_count; i++) {
        uint64_t cell = le64_to_cpu(spans[i].offset) / CELL;

        memory->snapshot[cell] = memory->guest[cell];
    }
    if (copies_take_time) {
        memory->done = done;
        memory->opaque = opaque;
        return false;
    }
    for (int i = 0; i < CELLS; i++) {
        memory->copy[i] = MAX(memory->copy[i], memory->snapshot[i]);
    }
    return true;
}

static void finish_refresh(VirtIOBufMemory *memory)
{
    void (*done)(void *) = memory->done;

    memory->done = NULL;
    for (int i = 0; i < CELLS; i++) {
        memory->copy[i] = MAX(memory->copy[i], memory->snapshot[i]);
    }
    done(memory->opaque);
}

/* -- the rest of the device ---------------------------------------------- */

typedef struct Buffer {
    VirtIOBufBuffer b;          /* first */
    VirtIOBufMemory memory;
    uint64_t published;         /* what the model has seen of b.serial */
    GArray *writes[CELLS];      /* serials, rising */
    bool alive;
} Buffer;

typedef struct View {
    Buffer *buffer;
    bool attach_asked;
    bool attached;              /* has heard of the memory */
    bool removed;
    uint64_t pending;           /* hand-off: given to it, by the model */
    uint64_t taken;             /* hand-off: held */
    uint64_t seen;
    uint64_t born;              /* last serial when it heard of the buffer */
    bool unknown;               /* IN_PLACE: needs everything */
    GArray *missed;             /* IN_PLACE: Sent, not seen yet */
    GHashTable *properties;
} View;

typedef struct Fake {
    VirtIOBufConsumer c;        /* first */
    GHashTable *views;          /* handle -> View */
    bool notified;
    bool eager;                 /* takes inside of ready() */
    uint64_t stream_seen[STREAMS];
} Fake;

/* An update as the guest sent it */
typedef struct Sent {
    uint64_t serial;
    unsigned rects;
    unsigned spans;             /* 0: everything */
    uint64_t cells;             /* mask */
} Sent;

static VirtIOBuf device;
static VirtIOBufStream streams[STREAMS];
static Buffer *buffers[BUFFERS];
static Fake *fakes[CONSUMERS];
static uint64_t last_serial, last_handle;
static int64_t host_time;

int64_t qemu_clock_get_ns(QEMUClockType type)
{
    return ++host_time;
}

void virtio_buf_news(VirtIOBufBuffer *buffer, uint32_t flags)
{
    CHECK(!buffer->unregistered);
}

void virtio_buf_config_changed(VirtIOBuf *s)
{
}

static void buffer_free(Buffer *buffer)
{
    for (int i = 0; i < CELLS; i++) {
        g_array_unref(buffer->writes[i]);
    }
    virtio_buf_properties_free(buffer->b.properties);
    g_free(buffer->b.published.bytes);
    g_free(buffer->b.copying.bytes);
    g_free(buffer->b.following.bytes);
    g_free(buffer);
}

void virtio_buf_buffer_detached(VirtIOBufBuffer *b)
{
    CHECK(b->unregistered && !b->attachment_count);
    buffer_free((Buffer *)b);
}

/* -- consumers ----------------------------------------------------------- */

static void view_properties(View *view, const uint8_t *records, uint32_t size)
{
    struct virtio_buf_property_view p;
    size_t pos = 0;

    while (virtio_buf_property_next(records, size, &pos, &p) == 1) {
        g_autofree char *name = g_strndup(p.name, p.name_len);

        if (p.deleted) {
            g_hash_table_remove(view->properties, name);
        } else {
            g_hash_table_insert(view->properties, g_steal_pointer(&name),
                                g_strndup(p.value, p.value_len));
        }
    }
}

static View *view_of(Fake *fake, Buffer *buffer)
{
    return g_hash_table_lookup(fake->views, &buffer->b.handle);
}

static void view_free(void *opaque)
{
    View *view = opaque;

    g_array_unref(view->missed);
    g_hash_table_unref(view->properties);
    g_free(view);
}

static void view_detached(View *view)
{
    view->attach_asked = view->attached = view->unknown = false;
    view->pending = view->taken = view->seen = 0;
}

static void fake_attach(Fake *fake, View *view)
{
    VirtIOBufBuffer *b = &view->buffer->b;

    view->attach_asked = true;
    view->unknown = b->mode == VIRTIO_BUF_MODE_IN_PLACE &&
                    (b->serial || b->copying.serial || b->following.serial);
    CHECK_INT(virtio_buf_attach(&fake->c, b, 0), ==, 0);
    CHECK_INT(virtio_buf_attach(&fake->c, b, 0), ==, -EALREADY);
}

static void fake_buffer(VirtIOBufConsumer *c, VirtIOBufBuffer *b)
{
    Fake *fake = (Fake *)c;
    View *view = g_new0(View, 1);
    const uint8_t *records;
    uint32_t size;

    view->buffer = (Buffer *)b;
    view->born = last_serial;
    view->missed = g_array_new(FALSE, FALSE, sizeof(Sent));
    view->properties = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                             g_free);
    records = virtio_buf_properties_list(b->properties, &size);
    view_properties(view, records, size);
    CHECK(g_hash_table_insert(fake->views, &b->handle, view));
    if (chance(50)) {
        fake_attach(fake, view);
    }
}

static void fake_properties(VirtIOBufConsumer *c, VirtIOBufBuffer *b,
                            const uint8_t *records, uint32_t size)
{
    view_properties(view_of((Fake *)c, (Buffer *)b), records, size);
}

static void look_for_published(void);
static void fake_take(Fake *fake);

static void fake_ready(VirtIOBufConsumer *c)
{
    Fake *fake = (Fake *)c;
    VirtIOBufReady ready;

    CHECK(virtio_buf_consumer_peek(c, &ready));
    fake->notified = true;
    while (fake->eager && fake->notified && chance(70)) {
        fake_take(fake);
    }
}

static void fake_remove(VirtIOBufConsumer *c, VirtIOBufBuffer *b,
                        VirtIOBufAttachment *attachment)
{
    Fake *fake = (Fake *)c;
    View *view = view_of(fake, (Buffer *)b);

    CHECK((attachment != NULL) == view->attached);
    view->removed = true;
    view->pending = view->taken = 0;
    if (!attachment || chance(50)) {
        g_hash_table_remove(fake->views, &b->handle);
        if (attachment) {
            virtio_buf_detach(attachment);
        }
    }
}

static const VirtIOBufConsumerOps fake_ops = {
    .buffer = fake_buffer,
    .properties = fake_properties,
    .ready = fake_ready,
    .remove = fake_remove,
};

/* The serial of the last update up to @serial that wrote the cell */
static uint64_t written(const Buffer *buffer, int cell, uint64_t serial)
{
    const GArray *writes = buffer->writes[cell];
    uint64_t last = 0;

    for (guint i = 0; i < writes->len; i++) {
        uint64_t s = g_array_index(writes, uint64_t, i);

        if (s <= serial) {
            last = s;
        }
    }
    return last;
}

static void check_contents(const Buffer *buffer, uint64_t serial)
{
    const VirtIOBufMemory *m = &buffer->memory;

    for (int i = 0; i < CELLS; i++) {
        uint64_t visible = m->copies ? m->copy[i] : m->guest[i];

        CHECK_INT(visible, >=, written(buffer, i, serial));
    }
}

static void check_damage(const View *view,
                         const struct virtio_buf_frame_view *frame)
{
    uint64_t cells = 0;

    if (view->unknown) {
        CHECK_INT(frame->rect_count, ==, 0);
        CHECK_INT(frame->span_count, ==, 0);
        return;
    }
    for (unsigned i = 0; i < frame->span_count; i++) {
        cells |= 1ull << le64_to_cpu(frame->spans[i].offset) / CELL;
    }
    CHECK(view->missed->len || frame->serial <= view->born);
    for (guint i = 0; i < view->missed->len; i++) {
        const Sent *sent = &g_array_index(view->missed, Sent, i);
        unsigned found = 0;

        if (sent->serial > frame->serial) {
            break;
        }
        for (unsigned r = 0; r < frame->rect_count; r++) {
            found += le32_to_cpu(frame->rects[r].x) == sent->serial;
        }
        if (frame->rect_count) {
            CHECK(sent->rects);
            CHECK_INT(found, ==, sent->rects);
        }
        if (frame->span_count) {
            CHECK(sent->spans);
            CHECK(!(sent->cells & ~cells));
        }
    }
}

static unsigned held_of_stream(Fake *fake, VirtIOBufStream *stream)
{
    unsigned held = 0;

    for (int i = 0; i < BUFFERS; i++) {
        View *view = buffers[i] ? view_of(fake, buffers[i]) : NULL;

        held += view && view->taken && buffers[i]->b.stream == stream;
    }
    return held;
}

static void fake_take_update(Fake *fake, const VirtIOBufReady *ready)
{
    static _Alignas(8) uint8_t bytes[VIRTIO_BUF_MSG_MAX];
    View *view = view_of(fake, (Buffer *)ready->buffer);
    VirtIOBufBuffer *b = ready->buffer;
    struct virtio_buf_frame_view frame;
    size_t size = 0;

    for (unsigned i = 0; i < ready->frame_count; i++) {
        memcpy(bytes + size, ready->frame[i].iov_base, ready->frame[i].iov_len);
        size += ready->frame[i].iov_len;
    }
    CHECK_INT(virtio_buf_frame_parse(bytes, size, b->size, &frame), ==, 0);
    CHECK(view && view->attached && !view->removed);
    CHECK_INT(frame.serial, ==, ready->serial);
    CHECK_INT(frame.serial, ==, b->serial);
    CHECK(frame.serial > view->seen || view->unknown);
    check_contents(view->buffer, frame.serial);

    if (b->mode == VIRTIO_BUF_MODE_IN_PLACE) {
        check_damage(view, &frame);
        view->unknown = false;
        for (guint i = view->missed->len; i > 0; i--) {
            if (g_array_index(view->missed, Sent, i - 1).serial <=
                frame.serial) {
                g_array_remove_index(view->missed, i - 1);
            }
        }
    } else {
        CHECK_INT(frame.serial, ==, view->pending);
        CHECK(frame.serial > fake->stream_seen[b->stream - streams]);
        fake->stream_seen[b->stream - streams] = frame.serial;
        view->pending = 0;
        view->taken = frame.serial;
        if (b->mode == VIRTIO_BUF_MODE_LATEST) {
            CHECK(held_of_stream(fake, b->stream) <= fake->c.hold);
        }
    }
    view->seen = frame.serial;
    view_properties(view, frame.properties, frame.property_bytes);
}

/* It has been told when there is something, again after there was nothing */
static void look_whether_empty(Fake *fake)
{
    VirtIOBufReady ready;

    if (virtio_buf_consumer_peek(&fake->c, &ready)) {
        CHECK(fake->notified);
    } else {
        fake->notified = false;
    }
}

static void fake_take(Fake *fake)
{
    VirtIOBufReady ready;

    look_for_published();
    if (!virtio_buf_consumer_peek(&fake->c, &ready)) {
        fake->notified = false;
        return;
    }
    CHECK(fake->notified);
    if (ready.kind == VIRTIO_BUF_READY_ATTACHED) {
        View *view = view_of(fake, (Buffer *)ready.buffer);

        CHECK(view->attach_asked && !view->attached);
        CHECK_INT(ready.fd, ==, 1000);
        view->attached = true;
    } else {
        CHECK_INT(ready.kind, ==, VIRTIO_BUF_READY_UPDATE);
        fake_take_update(fake, &ready);
    }
    virtio_buf_consumer_taken(&fake->c);
    look_whether_empty(fake);
}

/* -- the model ----------------------------------------------------------- */

/* What a newly published update means for consumers */
static void model_publish(Buffer *buffer)
{
    VirtIOBufBuffer *b = &buffer->b;

    buffer->published = b->serial;
    if (b->mode == VIRTIO_BUF_MODE_IN_PLACE) {
        return;
    }
    for (int i = 0; i < CONSUMERS; i++) {
        View *view = view_of(fakes[i], buffer);

        if (!view || !view->attach_asked || view->removed) {
            continue;
        }
        for (int j = 0; b->mode == VIRTIO_BUF_MODE_LATEST && j < BUFFERS; j++) {
            View *other = buffers[j] ? view_of(fakes[i], buffers[j]) : NULL;

            if (other && buffers[j]->b.stream == b->stream) {
                other->pending = 0;
            }
        }
        CHECK_INT(view->pending, ==, 0);
        CHECK_INT(view->taken, ==, 0);
        view->pending = b->serial;
    }
}

static void look_for_published(void)
{
    Buffer *first;

    do {
        first = NULL;
        for (int i = 0; i < BUFFERS; i++) {
            Buffer *buffer = buffers[i];

            if (buffer && buffer->b.serial != buffer->published &&
                (!first || buffer->b.serial < first->b.serial)) {
                first = buffer;
            }
        }
        if (first) {
            model_publish(first);
        }
    } while (first);
}

static void check_buffer(Buffer *buffer)
{
    VirtIOBufBuffer *b = &buffer->b;
    unsigned owners = b->copying.serial != 0;

    if (b->mode == VIRTIO_BUF_MODE_IN_PLACE) {
        CHECK_INT(b->owners, ==, 0);
        return;
    }
    for (int i = 0; i < CONSUMERS; i++) {
        View *view = view_of(fakes[i], buffer);

        owners += view && (view->pending || view->taken);
    }
    CHECK_INT(b->owners, ==, owners);
    CHECK_INT(b->following.serial, ==, 0);
    if (!owners) {
        CHECK_INT(b->released, ==, b->serial);
    } else {
        CHECK(b->released < MAX(b->serial, b->copying.serial));
    }
}

static void check_all(void)
{
    look_for_published();
    for (int i = 0; i < BUFFERS; i++) {
        if (buffers[i]) {
            check_buffer(buffers[i]);
        }
    }
    for (int i = 0; i < CONSUMERS; i++) {
        look_whether_empty(fakes[i]);
    }
}

static uint32_t put_property(uint8_t *to, bool may_delete)
{
    g_autofree char *name = g_strdup_printf("p%d", g_rand_int_range(dice, 0, 4));
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
    buffers[slot] = NULL;
    g_hash_table_remove(device.by_handle, &b->handle);
    QTAILQ_REMOVE(&device.buffers, b, next);
    b->unregistered = true;
    b->removing = true;
    virtio_buf_retract(b);
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

static void fake_let_go(Fake *fake, View *view)
{
    VirtIOBufAttachment *att;

    if (!view->attach_asked) {
        return;
    }
    att = virtio_buf_attachment_find(&fake->c, view->buffer->b.handle);
    CHECK(att);
    if (view->removed) {
        g_hash_table_steal(fake->views, &view->buffer->b.handle);
        virtio_buf_detach(att);
        view_free(view);
    } else {
        virtio_buf_detach(att);
        view_detached(view);
    }
}

static void fake_release(Fake *fake, View *view)
{
    VirtIOBufAttachment *att =
        virtio_buf_attachment_find(&fake->c, view->buffer->b.handle);
    uint64_t serial = view->taken;

    CHECK(!virtio_buf_release(att, last_serial + 1));
    if (serial) {
        CHECK(virtio_buf_release(att, serial - 1));
        CHECK(view->taken == serial);
        view->taken = 0;
        CHECK(virtio_buf_release(att, serial));
    }
    CHECK(virtio_buf_release(att, view->seen));
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

static Fake *fake_new(uint32_t hold)
{
    Fake *fake = g_new0(Fake, 1);

    fake->c.ops = &fake_ops;
    fake->c.all = true;
    fake->c.hold = hold;
    fake->views = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                        view_free);
    return fake;
}

static void fake_disconnect(Fake *fake)
{
    GHashTable *old = fake->views;

    /* The keys are in the buffers, which may go with their last attachment */
    fake->views = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                        view_free);
    virtio_buf_consumer_remove(&fake->c);
    g_hash_table_steal_all(fake->views);
    CHECK(!fake->c.device);
    fake->notified = false;
    memset(fake->stream_seen, 0, sizeof(fake->stream_seen));
    {
        GHashTableIter iter;
        void *view;

        g_hash_table_iter_init(&iter, old);
        while (g_hash_table_iter_next(&iter, NULL, &view)) {
            g_hash_table_iter_steal(&iter);
            view_free(view);
        }
        g_hash_table_unref(old);
    }
}

static void setup(uint32_t seed)
{
    dice = g_rand_new_with_seed(seed);
    device.by_handle = g_hash_table_new(g_int64_hash, g_int64_equal);
    QTAILQ_INIT(&device.buffers);
    QTAILQ_INIT(&device.consumers);
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

static void run_model(bool slow)
{
    for (uint32_t seed = 1; seed <= 20; seed++) {
        setup(seed);
        for (int step = 0; step < 4000; step++) {
            int what = g_rand_int_range(dice, 0, 1000);

            copies_take_time = slow && chance(60);
            if (what < 400) {
                guest_step();
            } else if (what < 800) {
                consumer_step(fakes[what % CONSUMERS]);
            } else if (what < 990) {
                copy_step();
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
    run_model(false);
}

TEST(model_with_copies_that_take_time)
{
    run_model(true);
}
