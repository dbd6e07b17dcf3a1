/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: the functions that read the guest ABI and the protocol.
 *
 * The first byte of the input chooses the function. Checked is what wire.h
 * promises: views that stay inside of the bytes that were read, records that
 * are the same when they are written again, messages of sizes that can be.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "virtio-buf/wire.h"

#define SIZE_MAX_TRIED  16384

static _Alignas(8) uint8_t bytes[SIZE_MAX_TRIED];

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

static bool inside(const void *at, size_t len, size_t size)
{
    const uint8_t *start = at;

    return start >= bytes && len <= size &&
           (size_t)(start - bytes) <= size - len;
}

static void fuzz_properties(size_t size)
{
    static uint8_t again[SIZE_MAX_TRIED];
    struct virtio_buf_property_view view;
    int count = virtio_buf_properties_check(bytes, size);
    size_t pos = 0, at = 0;
    int ret, seen = 0;

    while ((ret = virtio_buf_property_next(bytes, size, &pos, &view)) == 1) {
        check(inside(view.name, view.name_len, size));
        check(view.deleted || inside(view.value, view.value_len, size));
        check(virtio_buf_property_size(view.name_len, view.value_len) ==
              pos - at);
        virtio_buf_property_put(again + at, &view);
        at = pos;
        seen++;
    }
    if (count >= 0) {
        check(ret == 0 && seen == count);
        check(pos == size && !memcmp(bytes, again, size));
    }
}

static void fuzz_frame(size_t size)
{
    struct virtio_buf_frame_view view;
    uint64_t buffer_size = size % 3 ? size * 64 : UINT64_MAX;

    if (size < sizeof(struct virtio_buf_frame) ||
        virtio_buf_frame_parse(bytes, size, buffer_size, &view) < 0) {
        return;
    }
    check(view.data_size <= buffer_size &&
          view.data_offset <= buffer_size - view.data_size);
    check(view.rect_count <= VIRTIO_BUF_MAX_DAMAGE &&
          view.span_count <= VIRTIO_BUF_MAX_DAMAGE);
    check(inside(view.rects, view.rect_count * sizeof(*view.rects), size));
    check(inside(view.spans, view.span_count * sizeof(*view.spans), size));
    check(inside(view.properties, view.property_bytes, size));
    check(virtio_buf_properties_check(view.properties,
                                      view.property_bytes) >= 0);
}

static void fuzz_text(size_t size)
{
    if (size >= VIRTIO_BUF_NAME_SIZE &&
        virtio_buf_name_valid(bytes, true)) {
        check(memchr(bytes, 0, VIRTIO_BUF_NAME_SIZE));
        check(virtio_buf_text_valid(bytes, strlen((char *)bytes)));
    }
    if (virtio_buf_text_valid(bytes, size)) {
        check(!memchr(bytes, 0, size));
    }
}

/* A stream of messages that comes in two pieces, to a server or a consumer */
static void fuzz_reader(size_t size, bool take_fds)
{
    static _Alignas(8) uint8_t buf[VIRTIO_BUF_MSG_MAX];
    struct virtio_buf_reader reader;
    const struct virtio_buf_msg *msg;
    struct iovec pieces[2] = {
        { bytes, size / 3 }, { bytes + size / 3, size - size / 3 },
    };
    int pair[2], ret = -EAGAIN, fd = -1, i;
    uint32_t type, len;

    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    virtio_buf_reader_init(&reader, buf);
    for (i = 0; i < 2 && ret == -EAGAIN; i++) {
        if (pieces[i].iov_len) {
            check(virtio_buf_send(pair[0], &pieces[i], 1, -1) ==
                  (ssize_t)pieces[i].iov_len);
        }
        while ((ret = virtio_buf_reader_next(&reader, pair[1], take_fds, &msg,
                                             &fd)) == 1) {
            memcpy(&type, &msg->type, sizeof(type));
            memcpy(&len, &msg->size, sizeof(len));
            check(len <= VIRTIO_BUF_MSG_MAX && len % 8 == 0);
            check(virtio_buf_msg_min_size(type) &&
                  len >= virtio_buf_msg_min_size(type));
            check((const uint8_t *)msg + len <= buf + sizeof(buf));
            check(fd == -1);
        }
    }
    check(ret == -EAGAIN || ret == -EPROTO);
    virtio_buf_reader_clear(&reader);
    close(pair[0]);
    close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size - 1 > sizeof(bytes)) {
        return 0;
    }
    memcpy(bytes, data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        fuzz_properties(size - 1);
        break;
    case 1:
        fuzz_frame(size - 1);
        break;
    case 2:
        fuzz_text(size - 1);
        break;
    default:
        fuzz_reader(size - 1, data[0] % 5 == 3);
        break;
    }
    return 0;
}
