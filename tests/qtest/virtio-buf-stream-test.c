/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: migration streams that are wrong
 *
 * A real stream is changed in the device's part of it. QEMU refuses it, and
 * says why, or runs; it never crashes. With VIRTIO_BUF_LONG_TESTS in the
 * environment more random changes are tried.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-migration.h"

#define PAGE_SIZE 4096

/* A new QEMU for each: the machine with udmabuf may be an emulated, slow one */
#define RANDOM_CHANGES (qvirtio_buf_zero_copy() ? 8 : 40)
#define RANDOM_CHANGES_LONG (qvirtio_buf_zero_copy() ? 16 : 400)

/* Where a buffer is in the stream */
typedef struct StreamBuffer {
    size_t request_size;
    size_t request;
    size_t range;
    size_t properties;
    size_t uuid;
    size_t frame;
    size_t released;
    size_t consumers;
    size_t news;
    size_t written_size;
    size_t written;
    size_t backing;
} StreamBuffer;

/* A machine's saved state, and where the device's own part is */
typedef struct Stream {
    uint8_t *bytes;
    size_t size;
    size_t config;
    size_t last_id;
    size_t last_serial;
    size_t buffer_count;
    size_t freed_count;
    StreamBuffer first;
    StreamBuffer second;
    size_t freed;
    size_t end;
} Stream;

static size_t find(const Stream *stream, size_t from, const void *bytes,
                   size_t size)
{
    const uint8_t *at = memmem(stream->bytes + from, stream->size - from, bytes,
                               size);

    return at ? at - stream->bytes : 0;
}

static size_t parse_buffer(const Stream *stream, StreamBuffer *buffer,
                           size_t at)
{
    struct virtio_buf_register reg;

    buffer->request_size = at;
    buffer->request = at + 4;
    memcpy(&reg, stream->bytes + buffer->request, sizeof(reg));
    buffer->range = buffer->request + sizeof(reg);
    buffer->properties = buffer->range + le32_to_cpu(reg.range_count) *
                         sizeof(struct virtio_buf_range);
    buffer->uuid = buffer->properties + le32_to_cpu(reg.property_bytes);
    g_assert_cmpuint(ldl_be_p(stream->bytes + at), ==,
                     buffer->uuid - buffer->request);
    buffer->frame = buffer->uuid + VIRTIO_BUF_UUID_SIZE;
    buffer->released = buffer->frame + sizeof(struct virtio_buf_frame);
    buffer->consumers = buffer->released + 8;
    buffer->news = buffer->consumers + 4;
    buffer->written_size = buffer->news + 4;
    buffer->written = buffer->written_size + 4;
    buffer->backing = buffer->written +
                      ldl_be_p(stream->bytes + buffer->written_size);
    return buffer->backing + 2;
}

static void parse(Stream *stream, const struct virtio_buf_config *config)
{
    size_t at = 0;

    /* The last one: the transport saves its own */
    while ((at = find(stream, at + 1, config, sizeof(*config)))) {
        stream->config = at;
    }
    g_assert_cmpuint(stream->config, !=, 0);
    stream->last_id = stream->config + sizeof(*config);
    stream->last_serial = stream->last_id + 8;
    stream->buffer_count = stream->last_serial + 16;
    stream->freed_count = stream->buffer_count + 4;
    g_assert_cmpuint(ldl_be_p(stream->bytes + stream->buffer_count), ==, 2);
    g_assert_cmpuint(ldl_be_p(stream->bytes + stream->freed_count), ==, 2);
    at = parse_buffer(stream, &stream->first, stream->freed_count + 4);
    stream->freed = parse_buffer(stream, &stream->second, at);
    stream->end = stream->freed + 2 * 8;
}

/* The state of a guest with two buffers and two that are FREED */
static void stream_init(Stream *stream, QVirtioBuf *b)
{
    g_autofree char *file = g_strdup_printf("%s.stream",
                                            qvirtio_buf_socket_path());
    g_autofree char *uri = g_strdup_printf("file:%s", file);
    uint8_t properties[128] QEMU_ALIGNED(8);
    QVirtioBufBuffer gone[2] = { { .context = 9 }, { .context = 9 } };
    QVirtioBufBuffer picture = {
        .size = 2 * PAGE_SIZE, .properties = properties,
    };
    QVirtioBufBuffer frame = { .mode = VIRTIO_BUF_MODE_LATEST, .stream = 3 };
    struct virtio_buf_config config;

    picture.property_bytes = qvirtio_buf_property(properties, 0, "title",
                                                  "a picture");
    qvirtio_buf_register_ok(b, &gone[0], 0);
    qvirtio_buf_register_ok(b, &picture, 0x11);
    qvirtio_buf_register_ok(b, &frame, 0x22);
    qvirtio_buf_register_ok(b, &gone[1], 0);
    qvirtio_buf_update_ok(b, picture.id, picture.size);
    qvirtio_buf_update_ok(b, frame.id, PAGE_SIZE);
    qvirtio_buf_reset_command(b, VIRTIO_BUF_RESET_CONTEXT, 9, 0, NULL);
    qvirtio_buf_config(b, &config);
    g_assert_cmpuint(config.consumers, ==, 0);

    qvirtio_buf_outgoing(b->qts, uri);
    g_assert_true(qvirtio_buf_migrated(b->qts));
    g_assert_true(g_file_get_contents(file, (char **)&stream->bytes,
                                      &stream->size, NULL));
    g_unlink(file);
    parse(stream, &config);
}

/* Whether a new QEMU loads it; it is left with what it has printed */
static bool load(const uint8_t *bytes, size_t size, QVirtioBufDestination **d)
{
    g_autofree char *uri = NULL;
    bool done;

    *d = qvirtio_buf_destination_new(qvirtio_buf_small_before, NULL, NULL);
    g_assert_true(g_file_set_contents((*d)->channel, (const char *)bytes, size,
                                      NULL));
    uri = g_strdup_printf("file:%s", (*d)->channel);
    qvirtio_buf_incoming(*d, uri);
    done = qvirtio_buf_migrated((*d)->qts);
    return done;
}

/* What is written where, and how many bytes of it; negative: little-endian */
typedef struct Change {
    const char *part;
    const char *message;
    size_t at;
    int size;
    uint64_t value;
} Change;

static void apply(uint8_t *bytes, const Change *change)
{
    switch (change->size) {
    case 1:
        stb_p(bytes + change->at, change->value);
        break;
    case 4:
        stl_be_p(bytes + change->at, change->value);
        break;
    case 8:
        stq_be_p(bytes + change->at, change->value);
        break;
    case -2:
        stw_le_p(bytes + change->at, change->value);
        break;
    case -4:
        stl_le_p(bytes + change->at, change->value);
        break;
    case -8:
        stq_le_p(bytes + change->at, change->value);
        break;
    default:
        g_assert_not_reached();
    }
}

#define COUNTS "counts are within limits"
#define REQUEST_SIZE "request_size is within limits"
#define WRITTEN_SIZE "written_size is within limits"
#define INVALID "invalid in the migration stream"
#define NOT_RAM "not all of it is RAM here"
#define SIZES "sizes"
#define REGISTER "register"
#define LISTS "lists"
#define FRAME "frame"
#define IDS "ids"
#define REG(field) offsetof(struct virtio_buf_register, field)
#define HEAD(field) offsetof(struct virtio_buf_frame, field)

static void test_invalid(void *obj, void *data, QGuestAllocator *alloc)
{
    Stream stream;

    stream_init(&stream, obj);

    const size_t first = stream.first.request, second = stream.second.request;
    const Change changes[] = {
        { SIZES, "the pages of this host", stream.config + 4, -4, 65536 },
        { SIZES, "set 'max-buffers' to 16777216", stream.config + 8, -4,
          1 << 24 },
        { SIZES, COUNTS, stream.buffer_count, 4, 255 },
        { SIZES, COUNTS, stream.buffer_count, 4, UINT32_MAX },
        { SIZES, COUNTS, stream.freed_count, 4, 1u << 31 },
        { SIZES, REQUEST_SIZE, stream.first.request_size, 4, 0 },
        { SIZES, REQUEST_SIZE, stream.first.request_size, 4, sizeof(
              struct virtio_buf_register) - 1 },
        { SIZES, REQUEST_SIZE, stream.first.request_size, 4, 1 << 20 },
        { SIZES, REQUEST_SIZE, stream.first.request_size, 4, UINT32_MAX },
        { IDS, INVALID, first + REG(buffer_id), -8, 0 },
        { IDS, INVALID, second + REG(buffer_id), -8, 2 },
        { IDS, INVALID, second + REG(buffer_id), -8, UINT64_MAX },
        { REGISTER, INVALID, first + REG(size), -8, 0 },
        { REGISTER, INVALID, first + REG(size), -8, UINT64_MAX },
        { REGISTER, INVALID, first + REG(size), -8, 3 * PAGE_SIZE },
        { REGISTER, INVALID, first + REG(mode), 1, 3 },
        { REGISTER, INVALID, first + REG(access), 1, 2 },
        { REGISTER, INVALID, first + REG(reserved), -2, 1 },
        { REGISTER, INVALID, first + REG(range_count), -4, 0 },
        { REGISTER, INVALID, first + REG(range_count), -4, UINT32_MAX },
        { REGISTER, INVALID, first + REG(property_bytes), -4, 0 },
        { REGISTER, INVALID, first + REG(property_bytes), -4, UINT32_MAX },
        { REGISTER, INVALID, first + REG(application), 1, 0xff },
        { REGISTER, INVALID, first + REG(application), 1, 0 },
        { REGISTER, INVALID,
          first + REG(application) + VIRTIO_BUF_NAME_SIZE - 1, 1, 'x' },
        { LISTS, NOT_RAM, stream.first.range, -8, 0xfee00000 },
        { LISTS, NOT_RAM, stream.first.range, -8, 1ull << 62 },
        { LISTS, INVALID, stream.first.range, -8, 0x1001 },
        { LISTS, INVALID, stream.first.range + 8, -8, UINT64_MAX },
        { LISTS, INVALID, stream.first.properties, -2, UINT16_MAX },
        { LISTS, INVALID, stream.first.properties + 4, -4, UINT32_MAX },
        { LISTS, INVALID, stream.first.properties + 2, -2,
          VIRTIO_BUF_PROPERTY_DELETE },
        { FRAME, INVALID, stream.first.frame + HEAD(serial), -8, 3 },
        { FRAME, INVALID, stream.first.frame + HEAD(flags), -4, UINT32_MAX },
        { FRAME, INVALID, stream.first.frame + HEAD(data_offset), -8,
          UINT64_MAX },
        { FRAME, INVALID, stream.first.frame + HEAD(data_size), -8, 1 << 20 },
        { FRAME, INVALID, stream.first.frame + HEAD(rect_count), -2, 1 },
        { FRAME, INVALID, stream.first.frame + HEAD(property_bytes), -4, 16 },
        { FRAME, INVALID, stream.first.released, 8, 2 },
        { FRAME, INVALID, stream.first.news, 4, VIRTIO_BUF_EVENT_FREED },
        { FRAME, INVALID, stream.first.news, 4, VIRTIO_BUF_EVENT_WRITTEN },
        { FRAME, INVALID, stream.first.news, 4, 1u << 31 },
        { SIZES, WRITTEN_SIZE, stream.first.written_size, 4, 1 << 20 },
        { SIZES, WRITTEN_SIZE, stream.first.written_size, 4, UINT32_MAX },
        { IDS, INVALID, stream.last_id, 8, 2 },
        { IDS, INVALID, stream.last_serial, 8, 1 },
        { IDS, INVALID, stream.freed, 8, 0 },
        { IDS, INVALID, stream.freed, 8, 2 },
        { IDS, INVALID, stream.freed, 8, 4 },
        { IDS, INVALID, stream.freed + 8, 8, 5 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        g_autofree uint8_t *bytes = NULL;
        QVirtioBufDestination *d;

        if (!g_str_equal(changes[i].part, data)) {
            continue;
        }
        bytes = g_memdup2(stream.bytes, stream.size);
        g_test_message("%zu: %d bytes at %zu: 0x%" PRIx64, i, changes[i].size,
                       changes[i].at - stream.config, changes[i].value);
        apply(bytes, &changes[i]);
        g_assert_false(load(bytes, stream.size, &d));
        qvirtio_buf_destination_said(d, changes[i].message);
        qvirtio_buf_destination_free(d);
    }
    g_free(stream.bytes);
    qos_invalidate_command_line();
}

/* Changes a copy of the stream somewhere in the device's part */
static GByteArray *change(const Stream *stream, GRand *rand)
{
    static const uint8_t extremes[][4] = {
        { 0, 0, 0, 0 }, { 0xff, 0xff, 0xff, 0xff }, { 0x7f, 0xff, 0xff, 0xff },
        { 0x80, 0, 0, 0 }, { 0, 0, 0, 1 }, { 1, 0, 0, 0 }, { 0, 1, 0, 0 },
    };
    GByteArray *bytes = g_byte_array_sized_new(stream->size);
    uint32_t count = g_rand_boolean(rand) ? 1 : g_rand_int_range(rand, 2, 5);

    g_byte_array_append(bytes, stream->bytes, stream->size);
    while (count--) {
        /* Few things can be changed in the configuration and go on */
        size_t at = g_rand_int_range(rand, stream->last_id, stream->end - 4);
        unsigned kind = g_rand_int_range(rand, 0, 20);
        uint32_t len = g_rand_int_range(rand, 1, 64);

        if (kind < 9) {
            bytes->data[at] = g_rand_int_range(rand, 0, 256);
        } else if (kind < 16) {
            memcpy(bytes->data + at,
                   extremes[g_rand_int_range(rand, 0, ARRAY_SIZE(extremes))],
                   4);
        } else if (kind < 17) {
            g_byte_array_set_size(bytes, at);
            break;
        } else if (kind < 18) {
            g_byte_array_remove_range(bytes, at, MIN(len, stream->end - at));
            break;
        } else {
            memmove(bytes->data + at, stream->bytes + stream->last_id,
                    MIN(len, stream->end - at));
        }
    }
    return bytes;
}

static void test_random(void *obj, void *data, QGuestAllocator *alloc)
{
    unsigned count = getenv("VIRTIO_BUF_LONG_TESTS") ? RANDOM_CHANGES_LONG
                                                     : RANDOM_CHANGES;
    unsigned loaded = 0;
    Stream stream;

    stream_init(&stream, obj);
    for (unsigned i = 0; i < count; i++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(i);
        g_autoptr(GByteArray) bytes = change(&stream, rand);
        QVirtioBufDestination *d;
        bool done;

        g_test_message("seed %u", i);
        done = load(bytes->data, bytes->len, &d);
        if (done) {
            /* Whatever it has loaded can be given to consumers, and taken */
            QBufConsumer *c = qbuf_subscribe(d->server, NULL, 8);

            qtest_qmp_assert_success(d->qts, "{'execute': 'system_reset'}");
            qbuf_close(c);
            loaded++;
        }
        qtest_qmp_assert_success(d->qts, "{'execute': 'query-status'}");
        qvirtio_buf_destination_free(d);
    }
    g_test_message("%u of %u were loaded", loaded, count);
    g_free(stream.bytes);
    qos_invalidate_command_line();
}

static void register_virtio_buf_stream_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_small_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("stream/random", "virtio-buf", test_random, &opts);
    opts.arg = (void *)SIZES;
    qos_add_test("stream/" SIZES, "virtio-buf", test_invalid, &opts);
    opts.arg = (void *)REGISTER;
    qos_add_test("stream/" REGISTER, "virtio-buf", test_invalid, &opts);
    opts.arg = (void *)LISTS;
    qos_add_test("stream/" LISTS, "virtio-buf", test_invalid, &opts);
    opts.arg = (void *)FRAME;
    qos_add_test("stream/" FRAME, "virtio-buf", test_invalid, &opts);
    opts.arg = (void *)IDS;
    qos_add_test("stream/" IDS, "virtio-buf", test_invalid, &opts);
}

libqos_init(register_virtio_buf_stream_test);
