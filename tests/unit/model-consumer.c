/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A model of consumers: see the header
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/timer.h"
#include "system/runstate.h"
#include "harness.h"
#include "model-consumer.h"

GRand *dice;
bool copies_take_time;

bool chance(unsigned percent)
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

bool virtio_buf_memory_readable(const VirtIOBufMemory *memory, uint64_t offset,
                                uint64_t len)
{
    return false;
}

void virtio_buf_memory_read(const VirtIOBufMemory *memory, uint64_t offset,
                            uint8_t *to, uint64_t len)
{
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

void finish_refresh(VirtIOBufMemory *memory)
{
    void (*done)(void *) = memory->done;

    memory->done = NULL;
    for (int i = 0; i < CELLS; i++) {
        memory->copy[i] = MAX(memory->copy[i], memory->snapshot[i]);
    }
    done(memory->opaque);
}

VirtIOBuf device;
VirtIOBufStream streams[STREAMS];
Buffer *buffers[BUFFERS];
Fake *fakes[CONSUMERS];
uint64_t last_serial;
static int64_t host_time;

int64_t qemu_clock_get_ns(QEMUClockType type)
{
    return ++host_time;
}

static int64_t now_ms;
static QEMUTimer hold_timer = { .expires = -1 };

int64_t qemu_clock_get_ms(QEMUClockType type)
{
    CHECK_INT(type, ==, QEMU_CLOCK_VIRTUAL);
    return now_ms;
}

QEMUTimer *timer_new_ms(QEMUClockType type, void (*cb)(void *opaque),
                        void *opaque)
{
    CHECK_INT(type, ==, QEMU_CLOCK_VIRTUAL);
    hold_timer = (QEMUTimer) { .cb = cb, .opaque = opaque, .expires = -1 };
    return &hold_timer;
}

void timer_mod(QEMUTimer *timer, int64_t expires)
{
    CHECK(expires > now_ms);
    timer->expires = expires;
}

bool timer_pending(QEMUTimer *timer)
{
    return timer->expires >= 0;
}

void timer_free(QEMUTimer *timer)
{
    timer->expires = -1;
}

bool runstate_is_running(void)
{
    return true;
}

bool virtio_buf_memory_write_back(VirtIOBufMemory *memory,
                                  const struct virtio_buf_span *spans,
                                  uint32_t span_count, uint64_t data_offset,
                                  uint64_t data_size,
                                  void (*done)(void *opaque), void *opaque)
{
    return true;
}

void virtio_buf_memory_stop_write_back(VirtIOBufMemory *memory)
{
    CHECK(!"nothing is under way");
}

void virtio_buf_news(VirtIOBufBuffer *buffer, uint32_t flags)
{
    CHECK(!buffer->unregistered);
}

void virtio_buf_config_changed(VirtIOBuf *s)
{
}

void buffer_free(Buffer *buffer)
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

View *view_of(Fake *fake, Buffer *buffer)
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
    view->lost = false;
    view->pending = view->taken = view->seen = 0;
}

void fake_attach(Fake *fake, View *view)
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
    look_for_published();
    view->removed = true;
    view->pending = view->taken = 0;
    if (!attachment || chance(50)) {
        g_hash_table_remove(fake->views, &b->handle);
        if (attachment) {
            virtio_buf_detach(attachment);
        }
    }
}

static void stream_passes(Fake *fake, VirtIOBufStream *stream)
{
    for (int i = 0; i < BUFFERS; i++) {
        View *view = buffers[i] ? view_of(fake, buffers[i]) : NULL;

        if (view && buffers[i]->b.stream == stream) {
            view->pending = 0;
        }
    }
}

static void fake_lost(VirtIOBufConsumer *c, VirtIOBufBuffer *b,
                      uint64_t serial)
{
    Fake *fake = (Fake *)c;
    View *view = view_of(fake, (Buffer *)b);

    CHECK_INT(b->mode, ==, VIRTIO_BUF_MODE_LATEST);
    CHECK_INT(view->taken, ==, serial);
    CHECK(now_ms >= view->since + HOLD_TIMEOUT);
    view->taken = 0;
    view->lost = true;
    stream_passes(fake, b->stream);
    if (chance(20)) {
        CHECK(virtio_buf_release(virtio_buf_attachment_find(c, b->handle),
                                 serial));
        view->lost = false;
    }
}

static void fake_overdue(VirtIOBufConsumer *c, uint64_t handle)
{
    Fake *fake = (Fake *)c;
    View *view = g_hash_table_lookup(fake->views, &handle);

    CHECK_INT(view->buffer->b.mode, ==, VIRTIO_BUF_MODE_EVERY);
    CHECK(view->taken || view->pending);
    CHECK(now_ms >= view->since + HOLD_TIMEOUT);
    CHECK(!virtio_buf_attachment_find(c, handle));
    view_detached(view);
}

static const VirtIOBufConsumerOps fake_ops = {
    .needs_fd = true,
    .buffer = fake_buffer,
    .properties = fake_properties,
    .ready = fake_ready,
    .remove = fake_remove,
    .lost = fake_lost,
    .overdue = fake_overdue,
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
        view->since = now_ms;
        CHECK(!view->lost);
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

void fake_take(Fake *fake)
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

static bool has_lost(Fake *fake, VirtIOBufStream *stream)
{
    for (int i = 0; i < BUFFERS; i++) {
        View *view = buffers[i] ? view_of(fake, buffers[i]) : NULL;

        if (view && view->lost && buffers[i]->b.stream == stream) {
            return true;
        }
    }
    return false;
}

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
        if (b->mode == VIRTIO_BUF_MODE_LATEST) {
            stream_passes(fakes[i], b->stream);
            if (has_lost(fakes[i], b->stream)) {
                continue;
            }
        }
        CHECK_INT(view->pending, ==, 0);
        CHECK_INT(view->taken, ==, 0);
        view->pending = b->serial;
        view->since = now_ms;
    }
}

void look_for_published(void)
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

void check_all(void)
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

void fake_let_go(Fake *fake, View *view)
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
        /* Before: it may take what waited for it inside */
        view_detached(view);
        virtio_buf_detach(att);
    }
}

void fake_release(Fake *fake, View *view)
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
    view->lost = false;
}

static void check_time(Fake *fake)
{
    for (int i = 0; i < BUFFERS; i++) {
        View *view = buffers[i] ? view_of(fake, buffers[i]) : NULL;

        if (view && now_ms >= view->since + HOLD_TIMEOUT) {
            CHECK_INT(view->taken, ==, 0);
            if (view->pending) {
                CHECK_INT(buffers[i]->b.mode, ==, VIRTIO_BUF_MODE_LATEST);
                view->pending = 0;
            }
        }
    }
}

void time_passes(int64_t ms)
{
    look_for_published();
    now_ms += ms;
    while (hold_timer.expires >= 0 && hold_timer.expires <= now_ms) {
        hold_timer.expires = -1;
        hold_timer.cb(hold_timer.opaque);
    }
    for (int i = 0; i < CONSUMERS; i++) {
        check_time(fakes[i]);
    }
}

Fake *fake_new(uint32_t hold)
{
    Fake *fake = g_new0(Fake, 1);

    fake->c.ops = &fake_ops;
    fake->c.all = true;
    fake->c.hold = hold;
    fake->views = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                        view_free);
    return fake;
}

void fake_disconnect(Fake *fake)
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
