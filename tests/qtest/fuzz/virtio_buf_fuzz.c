/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of virtio-buf: its command queue, and the socket of its server
 *
 * virtio-buf-fuzz takes its input for a list of steps: commands that are right
 * but for the fields that the input chooses, words of consumers, time that
 * passes, resets. So the fuzzer gets past the ring and the heads at once.
 * virtio-buf-socket-fuzz takes it for what a consumer sends, byte by byte, to a
 * server with buffers in every mode.
 *
 * Each input starts with a device that was reset and without consumers. What is
 * checked besides the sanitizers: every command is answered, or the device
 * wants a reset.
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "tests/qtest/libqos/virtio-buf.h"
#include "tests/qtest/libqos/virtio-buf-consumer.h"
#include "tests/qtest/libqtest-single.h"
#include "fuzz.h"
#include "qos_fuzz.h"

#define PAGE_SIZE   4096
#define ARENA_PAGES 64
#define CONSUMERS   3
#define KNOWN       16
#define STEPS_MAX   256

/* The input; reads zeroes behind its end */
typedef struct Input {
    const uint8_t *bytes;
    size_t size;
} Input;

typedef struct Consumer {
    QBufConsumer *c;        /* NULL: not there */
    uint64_t known[KNOWN];  /* buffers that it was told of */
    unsigned count;
    uint64_t serial;        /* of the last UPDATE */
    int held;               /* an fd that it does not close, or -1 */
} Consumer;

static uint64_t arena;
static Consumer consumers[CONSUMERS];
static uint64_t last_id;
static uint64_t last_serial;

static void input_take(Input *in, void *to, size_t size)
{
    size_t n = MIN(size, in->size);

    memset(to, 0, size);
    memcpy(to, in->bytes, n);
    in->bytes += n;
    in->size -= n;
}

static uint8_t input_u8(Input *in)
{
    uint8_t value;

    input_take(in, &value, sizeof(value));
    return value;
}

static uint16_t input_u16(Input *in)
{
    uint16_t value;

    input_take(in, &value, sizeof(value));
    return le16_to_cpu(value);
}

/* Mostly a value that makes sense, sometimes any */
static uint64_t input_or(Input *in, uint64_t usual)
{
    uint64_t value;

    if (input_u8(in) < 0xf8) {
        return usual;
    }
    input_take(in, &value, sizeof(value));
    return le64_to_cpu(value);
}

static uint64_t input_id(Input *in)
{
    return input_or(in, last_id ? 1 + input_u8(in) % last_id : 1);
}

static void input_name(Input *in, uint8_t *name)
{
    uint8_t which = input_u8(in);

    if (which == 0xff) {
        input_take(in, name, VIRTIO_BUF_NAME_SIZE);
    } else {
        strcpy((char *)name, which & 1 ? "other" : "test");
    }
}

/* Property records that are well-formed, or bytes: returns their size */
static uint32_t input_properties(Input *in, uint8_t *to)
{
    unsigned count = input_u8(in) % 8, i;
    uint32_t size = 0;

    if (count == 7) {
        size = input_u8(in);
        input_take(in, to, size);
        return size;
    }
    for (i = 0; i < count; i++) {
        char name[2] = { 'a' + input_u8(in) % 4 };
        uint8_t kind = input_u8(in);

        size = kind == 0xff ? qvirtio_buf_property_delete(to, size, name) :
               qvirtio_buf_property(to, size, name, kind & 1 ? "x" :
                                    "a longer value than that");
    }
    return size;
}

static bool needs_reset(QVirtioBuf *b)
{
    return b->vdev->bus->get_status(b->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/*
 * A chain of one to four descriptors, cut where the input says. Returns the
 * status, VIRTIO_BUF_S_INVALID when there is no answer.
 */
static uint32_t send_command(QVirtioBuf *b, Input *in, const void *request,
                         size_t size, size_t room)
{
    uint8_t cuts = input_u8(in);
    size_t first = cuts & 1 ? size / 2 : size;
    size_t room_first = cuts & 2 ? 8 : room;
    uint32_t desc, len;

    room_first = MIN(room_first, room);
    if (size > QVIRTIO_BUF_PART_SIZE || needs_reset(b)) {
        return VIRTIO_BUF_S_INVALID;
    }
    qvirtqueue_reset_pool(b->vq);
    qtest_bufwrite(b->qts, b->request, request, size);
    if (first) {
        qvirtqueue_add(b->qts, b->vq, b->request, first, false,
                       first < size || room);
    }
    if (first < size) {
        qvirtqueue_add(b->qts, b->vq, b->request + first, size - first, false,
                       room);
    }
    if (room_first) {
        qvirtqueue_add(b->qts, b->vq, b->response, room_first, true,
                       room_first < room);
    }
    if (room_first < room) {
        qvirtqueue_add(b->qts, b->vq, b->response + room_first,
                       room - room_first, true, false);
    }
    qvirtqueue_kick(b->qts, b->vdev, b->vq, 0);
    if (needs_reset(b)) {
        return VIRTIO_BUF_S_INVALID;
    }
    g_assert_true(qvirtqueue_get_buf(b->qts, b->vq, &desc, &len));
    g_assert_cmpuint(desc, ==, 0);
    g_assert_cmpuint(len, <=, room);
    g_assert_cmpuint(len, >=, sizeof(struct virtio_buf_response));
    return qtest_readl(b->qts, b->response);
}

static void send_register(QVirtioBuf *b, Input *in)
{
    struct {
        struct virtio_buf_register head;
        struct virtio_buf_range ranges[8];
        uint8_t properties[512];
    } request = {};
    unsigned count = 1 + input_u8(in) % 4, i;
    uint64_t pages = 0;
    uint32_t size;
    uint8_t *end;

    for (i = 0; i < count; i++) {
        unsigned page = input_u8(in) % ARENA_PAGES;
        unsigned len = 1 + input_u8(in) % MIN(8, ARENA_PAGES - page);

        pages += len;
        request.ranges[i].addr =
            cpu_to_le64(input_or(in, arena + page * PAGE_SIZE));
        request.ranges[i].len = cpu_to_le64(input_or(in, len * PAGE_SIZE));
    }
    request.head.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_REGISTER);
    request.head.buffer_id = cpu_to_le64(input_or(in, last_id + 1));
    request.head.size = cpu_to_le64(
        input_or(in, pages * PAGE_SIZE - input_u8(in)));
    request.head.stream = cpu_to_le64(input_u8(in) % 3);
    request.head.context = cpu_to_le32(input_u8(in) % 3);
    request.head.mode = input_u8(in) % 3;
    request.head.access = input_u8(in) == 1;
    request.head.range_count = cpu_to_le32(count);
    input_name(in, request.head.application);
    end = (uint8_t *)&request.ranges[count];
    size = input_properties(in, end);
    request.head.property_bytes = cpu_to_le32(size);
    if (send_command(b, in, &request, end + size - (uint8_t *)&request,
                     sizeof(struct virtio_buf_register_response)) ==
        VIRTIO_BUF_S_OK) {
        last_id = le64_to_cpu(request.head.buffer_id);
    }
}

static void send_unregister(QVirtioBuf *b, Input *in)
{
    struct virtio_buf_unregister request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UNREGISTER),
        .buffer_id = cpu_to_le64(input_id(in)),
    };

    send_command(b, in, &request, sizeof(request),
                 sizeof(struct virtio_buf_response));
}

static void send_set_properties(QVirtioBuf *b, Input *in)
{
    struct {
        struct virtio_buf_set_properties head;
        uint8_t properties[512];
    } request = {
        .head.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_SET_PROPERTIES),
        .head.buffer_id = cpu_to_le64(input_id(in)),
    };
    uint32_t size = input_properties(in, request.properties);

    request.head.property_bytes = cpu_to_le32(size);
    send_command(b, in, &request, sizeof(request.head) + size,
                 sizeof(struct virtio_buf_response));
}

static void send_update(QVirtioBuf *b, Input *in)
{
    struct {
        struct virtio_buf_update head;
        uint8_t more[2048];
    } request = {
        .head.hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_UPDATE),
        .head.buffer_id = cpu_to_le64(input_id(in)),
    };
    struct virtio_buf_frame *frame = &request.head.frame;
    unsigned rects = input_u8(in) % 4, spans = input_u8(in) % 4, i;
    struct virtio_buf_rect *rect = (void *)request.more;
    struct virtio_buf_span *span = (void *)(rect + rects);
    uint8_t *end = (uint8_t *)(span + spans);
    uint32_t size;

    frame->serial = cpu_to_le64(input_or(in, ++last_serial));
    frame->flags = cpu_to_le32(input_or(in, input_u8(in) %
                                        (VIRTIO_BUF_FRAME_FLAGS + 1)));
    frame->clock = cpu_to_le32(input_or(in, VIRTIO_BUF_CLOCK_STREAM));
    frame->data_offset = cpu_to_le64(input_or(in, 0));
    frame->data_size = cpu_to_le64(input_or(in, input_u16(in) % 2048));
    frame->pts = cpu_to_le64(input_u8(in));
    for (i = 0; i < rects; i++) {
        input_take(in, &rect[i], sizeof(rect[i]));
        rect[i].width |= cpu_to_le32(1);
        rect[i].height |= cpu_to_le32(1);
    }
    for (i = 0; i < spans; i++) {
        span[i].offset = cpu_to_le64(input_or(in, input_u16(in) % 2048));
        span[i].len = cpu_to_le64(input_or(in, 1 + input_u16(in) % 1024));
    }
    frame->rect_count = cpu_to_le16(rects);
    frame->span_count = cpu_to_le16(spans);
    size = input_properties(in, end);
    frame->property_bytes = cpu_to_le32(size);
    send_command(b, in, &request, end + size - (uint8_t *)&request,
                 sizeof(struct virtio_buf_update_response));
}

static void send_reset(QVirtioBuf *b, Input *in)
{
    unsigned scope = input_u8(in) % 4;
    uint64_t value = input_u8(in) % 3;
    struct virtio_buf_reset request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_RESET),
        .scope = cpu_to_le32(scope),
        .context = cpu_to_le32(scope == VIRTIO_BUF_RESET_CONTEXT ? value : 0),
        .stream = cpu_to_le64(scope == VIRTIO_BUF_RESET_STREAM ? value : 0),
    };

    send_command(b, in, &request, sizeof(request),
                 sizeof(struct virtio_buf_reset_response));
}

static void send_get_events(QVirtioBuf *b, Input *in)
{
    struct virtio_buf_get_events request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_EVENTS),
    };

    send_command(b, in, &request, sizeof(request),
                 sizeof(struct virtio_buf_events_response) +
                 input_or(in, 16384) % 16385);
}

static void send_get_consumers(QVirtioBuf *b, Input *in)
{
    struct virtio_buf_get_consumers request = {
        .hdr.type = cpu_to_le32(VIRTIO_BUF_CMD_GET_CONSUMERS),
        .after = cpu_to_le64(input_or(in, 0)),
    };

    input_name(in, request.application);
    send_command(b, in, &request, sizeof(request),
                 sizeof(struct virtio_buf_consumers_response) +
                 input_or(in, 8192) % 8193);
}

static void send_bytes(QVirtioBuf *b, Input *in)
{
    uint8_t request[256];
    size_t size = input_u8(in), room = input_u8(in);

    input_take(in, request, size);
    if (size || room) {
        send_command(b, in, request, size, room);
    }
}

static void consumer_close(Consumer *consumer)
{
    if (consumer->held >= 0) {
        close(consumer->held);
    }
    if (consumer->c) {
        qbuf_close(consumer->c);
    }
    *consumer = (Consumer) { .held = -1 };
}

/* Takes what the server has said, as far as it is of use */
static void consumer_listen(Consumer *consumer, bool hold)
{
    const struct virtio_buf_msg *msg;
    int fd, ret;

    while ((ret = virtio_buf_reader_next(&consumer->c->reader,
                                         consumer->c->sock, true, &msg,
                                         &fd)) == 1) {
        switch (le32_to_cpu(msg->type)) {
        case VIRTIO_BUF_MSG_BUFFER:
            consumer->known[consumer->count++ % KNOWN] =
                le64_to_cpu(((struct virtio_buf_msg_buffer *)msg)->buffer);
            break;
        case VIRTIO_BUF_MSG_UPDATE:
            consumer->serial = le64_to_cpu(
                ((struct virtio_buf_msg_update *)msg)->frame.serial);
            break;
        }
        if (fd >= 0 && hold && consumer->held < 0) {
            consumer->held = fd;
        } else if (fd >= 0) {
            close(fd);
        }
    }
    /* The server speaks the protocol, whatever it was told */
    g_assert_cmpint(ret, !=, -EPROTO);
    if (ret != -EAGAIN) {
        consumer_close(consumer);
    }
}

static void consumer_connect(QVirtioBuf *b, Input *in)
{
    Consumer *consumer = &consumers[input_u8(in) % CONSUMERS];
    uint8_t what = input_u8(in);
    uint8_t properties[512];
    uint32_t size;

    consumer_close(consumer);
    if (what & 1) {
        return;
    }
    consumer->c = qbuf_connect(qvirtio_buf_socket_path());
    qbuf_send_hello(consumer->c);
    size = input_properties(in, properties);
    qbuf_send_subscribe(consumer->c, what & 2 ? "test" : NULL, what >> 4,
                        what & 4 ? VIRTIO_BUF_SUBSCRIBE_WRITER : 0, properties,
                        size);
}

static void consumer_send(Consumer *consumer, const void *bytes, size_t size)
{
    struct iovec iov = { (void *)bytes, size };

    /* It is small, and nobody is asked to wait */
    virtio_buf_send(consumer->c->sock, &iov, 1, -1);
}

static void consumer_say(QVirtioBuf *b, Input *in)
{
    static const uint8_t types[] = {
        VIRTIO_BUF_MSG_ATTACH, VIRTIO_BUF_MSG_DETACH, VIRTIO_BUF_MSG_REMOVED,
        VIRTIO_BUF_MSG_RELEASE, VIRTIO_BUF_MSG_WRITTEN,
    };
    Consumer *consumer = &consumers[input_u8(in) % CONSUMERS];
    uint32_t type = types[input_u8(in) % ARRAY_SIZE(types)];
    uint64_t buffer = input_or(in, consumer->known[input_u8(in) % KNOWN]);
    union {
        struct virtio_buf_msg msg;
        struct virtio_buf_msg_attach attach;
        struct virtio_buf_msg_detach detach;
        struct virtio_buf_msg_release release;
        struct virtio_buf_msg_written written;
    } u = {};
    uint8_t flags = input_u8(in);

    if (!consumer->c) {
        return;
    }
    u.msg.type = cpu_to_le32(type);
    u.msg.size = cpu_to_le32(virtio_buf_msg_min_size(type));
    u.detach.buffer = cpu_to_le64(buffer);
    switch (type) {
    case VIRTIO_BUF_MSG_ATTACH:
        if (flags & 1) {
            u.attach.buffer = 0;
            u.attach.stream = cpu_to_le64(1 + (flags >> 1) % 2);
        }
        u.attach.flags = cpu_to_le32(flags & 8 ? VIRTIO_BUF_ATTACH_WRITER : 0);
        break;
    case VIRTIO_BUF_MSG_RELEASE:
        u.release.serial = cpu_to_le64(input_or(in, consumer->serial));
        break;
    case VIRTIO_BUF_MSG_WRITTEN:
        u.written.frame.serial = cpu_to_le64(input_or(in, ++last_serial));
        u.written.frame.data_size = cpu_to_le64(input_u16(in));
        break;
    }
    consumer_send(consumer, &u, virtio_buf_msg_min_size(type));
}

static void let_time_pass(QVirtioBuf *b, Input *in)
{
    int64_t ms = 1 + input_u16(in) % 4096;

    qtest_clock_step(b->qts, ms * 1000 * 1000);
}

static void restart(QVirtioBuf *b, Input *in)
{
    if (input_u8(in) % 4) {
        return;
    }
    qvirtio_buf_restart(b);
    last_id = 0;
    last_serial = 0;
}

static void reset_queue(QVirtioBuf *b, Input *in)
{
    uint64_t common = b->pci->common_cfg_offset;

    if (input_u8(in) % 4) {
        return;
    }
    b->vdev->bus->queue_select(b->vdev, 0);
    qpci_io_writew(b->pci->pdev, b->pci->bar,
                   common + VIRTIO_PCI_COMMON_Q_RESET, 1);
    b->vq->last_used_idx = 0;
    qtest_writew(b->qts, b->vq->avail + 2, 0);
    qtest_writew(b->qts, b->vq->used + 2, 0);
    qpci_io_writew(b->pci->pdev, b->pci->bar,
                   common + VIRTIO_PCI_COMMON_Q_SIZE, b->vq->size);
    b->vdev->bus->set_queue_address(b->vdev, b->vq);
    qpci_io_writew(b->pci->pdev, b->pci->bar,
                   common + VIRTIO_PCI_COMMON_Q_ENABLE, 1);
}

static void (*const steps[])(QVirtioBuf *b, Input *in) = {
    send_register, send_register, send_unregister, send_set_properties,
    send_update, send_update, send_reset, send_get_events, send_get_consumers,
    send_bytes, consumer_connect, consumer_say, consumer_say, let_time_pass,
    restart, reset_queue,
};

static void listen_all(QTestState *s, bool hold)
{
    unsigned i;

    flush_events(s);
    for (i = 0; i < CONSUMERS; i++) {
        if (consumers[i].c) {
            consumer_listen(&consumers[i], hold);
        }
    }
}

/* A device that was just reset, with nobody who listens */
static QVirtioBuf *begin(void)
{
    QVirtioBuf *b = fuzz_qos_obj;
    unsigned i;

    for (i = 0; i < CONSUMERS; i++) {
        consumer_close(&consumers[i]);
    }
    flush_events(b->qts);
    qvirtio_buf_restart(b);
    last_id = 0;
    last_serial = 0;
    return b;
}

static void fuzz_commands(QTestState *s, const unsigned char *data,
                          size_t size)
{
    Input in = { data, size };
    QVirtioBuf *b = begin();
    unsigned i;

    for (i = 0; in.size && i < STEPS_MAX; i++) {
        uint8_t step = input_u8(&in);

        steps[step % ARRAY_SIZE(steps)](b, &in);
        listen_all(s, step & 0x80);
    }
    if (needs_reset(b)) {
        qvirtio_buf_restart(b);
    }
}

/*
 * The first byte says how the bytes behind it reach the server: at once, or in
 * pieces; and whether HELLO and SUBSCRIBE have been said already.
 */
static void fuzz_socket(QTestState *s, const unsigned char *data, size_t size)
{
    Input in = { data, size };
    QVirtioBuf *b = begin();
    Consumer *consumer = &consumers[0];
    uint8_t how = input_u8(&in);
    size_t piece = how & 1 ? 1 + (how >> 4) : size;
    QVirtioBufBuffer buffers[6] = {};
    unsigned i;

    consumer->c = qbuf_connect(qvirtio_buf_socket_path());
    if (how & 2) {
        qbuf_send_hello(consumer->c);
    }
    if (how & 4) {
        qbuf_send_subscribe(consumer->c, NULL, 4, 0, NULL, 0);
    }
    for (i = 0; i < ARRAY_SIZE(buffers); i++) {
        buffers[i].addr = arena + i * PAGE_SIZE;
        buffers[i].mode = i % 3;
        buffers[i].stream = i / 3;
        qvirtio_buf_register(b, &buffers[i]);
        listen_all(s, false);
        qvirtio_buf_update(b, buffers[i].id, PAGE_SIZE, NULL);
    }
    while (in.size && consumer->c) {
        size_t n = MIN(piece, in.size);

        consumer_send(consumer, in.bytes, n);
        in.bytes += n;
        in.size -= n;
        listen_all(s, false);
        /* What is released can be updated again */
        qvirtio_buf_update(b, buffers[i++ % ARRAY_SIZE(buffers)].id, PAGE_SIZE,
                           NULL);
    }
    listen_all(s, false);
}

static void pre_fuzz(QTestState *s)
{
    unsigned i;

    global_qtest = s;
    qos_init_path(s);
    ((QVirtioBuf *)fuzz_qos_obj)->features |= 1ull << VIRTIO_BUF_F_WRITER;
    arena = guest_alloc(fuzz_qos_alloc, ARENA_PAGES * PAGE_SIZE);
    for (i = 0; i < CONSUMERS; i++) {
        consumers[i].held = -1;
    }
}

static void register_virtio_buf_fuzz_targets(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER
            ",max-buffers=24,max-buffer-size=128K,max-total-size=1M",
    };

    fuzz_add_qos_target(&(FuzzTarget) {
            .name = "virtio-buf-fuzz",
            .description = "Fuzz the commands of virtio-buf",
            .pre_fuzz = pre_fuzz,
            .fuzz = fuzz_commands,
        }, "virtio-buf", &opts);
    fuzz_add_qos_target(&(FuzzTarget) {
            .name = "virtio-buf-socket-fuzz",
            .description = "Fuzz the socket of virtio-buf-server",
            .pre_fuzz = pre_fuzz,
            .fuzz = fuzz_socket,
        }, "virtio-buf", &opts);
}

fuzz_target_init(register_virtio_buf_fuzz_targets);
