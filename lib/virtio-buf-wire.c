/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf: reading and writing what the guest ABI and the consumer protocol
 * have in common.
 *
 * Two concepts live here. A socket is a stream of messages that is cut by
 * struct virtio_buf_reader, and a file descriptor belongs to exactly one of
 * them. Lists of property records, frames and texts are checked in place and
 * handed on as views: pointers into the bytes that were checked.
 *
 * Invariants: every fd that the kernel delivers is either given to the caller
 * or closed before the function returns, and no view reaches outside of the
 * bytes that it was read of.
 *
 * There is no state besides that of the caller, so any thread may call in here.
 * All bytes are hostile; none of them is read twice from memory that a peer
 * can still write to, because the caller has copied them.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio-buf/wire.h"

/* The formats: nothing may move, whatever compiler and headers there are */
#define ASSERT_SIZE(type, size) \
    _Static_assert(sizeof(struct type) == (size), #type)

ASSERT_SIZE(virtio_buf_config, 128);
ASSERT_SIZE(virtio_buf_request, 8);
ASSERT_SIZE(virtio_buf_response, 16);
ASSERT_SIZE(virtio_buf_range, 16);
ASSERT_SIZE(virtio_buf_property, 8);
ASSERT_SIZE(virtio_buf_register, 112);
ASSERT_SIZE(virtio_buf_register_response, 40);
ASSERT_SIZE(virtio_buf_unregister, 16);
ASSERT_SIZE(virtio_buf_set_properties, 24);
ASSERT_SIZE(virtio_buf_rect, 16);
ASSERT_SIZE(virtio_buf_span, 16);
ASSERT_SIZE(virtio_buf_frame, 64);
ASSERT_SIZE(virtio_buf_update, 80);
ASSERT_SIZE(virtio_buf_update_response, 24);
ASSERT_SIZE(virtio_buf_reset, 24);
ASSERT_SIZE(virtio_buf_reset_response, 24);
ASSERT_SIZE(virtio_buf_event, 32);
ASSERT_SIZE(virtio_buf_get_events, 8);
ASSERT_SIZE(virtio_buf_events_response, 24);
ASSERT_SIZE(virtio_buf_get_consumers, 80);
ASSERT_SIZE(virtio_buf_consumer, 16);
ASSERT_SIZE(virtio_buf_consumers_response, 24);

ASSERT_SIZE(virtio_buf_msg, 8);
ASSERT_SIZE(virtio_buf_msg_hello, 24);
ASSERT_SIZE(virtio_buf_msg_subscribe, 24);
ASSERT_SIZE(virtio_buf_msg_subscribed, 32);
ASSERT_SIZE(virtio_buf_msg_error, 144);
ASSERT_SIZE(virtio_buf_msg_device, 80);
ASSERT_SIZE(virtio_buf_msg_buffer, 144);
ASSERT_SIZE(virtio_buf_msg_attach, 32);
ASSERT_SIZE(virtio_buf_msg_attached, 32);
ASSERT_SIZE(virtio_buf_msg_refused, 24);
ASSERT_SIZE(virtio_buf_msg_detach, 16);
ASSERT_SIZE(virtio_buf_msg_update, 88);
ASSERT_SIZE(virtio_buf_msg_release, 24);
ASSERT_SIZE(virtio_buf_msg_written, 80);
ASSERT_SIZE(virtio_buf_msg_properties, 24);
ASSERT_SIZE(virtio_buf_msg_remove, 16);
ASSERT_SIZE(virtio_buf_msg_reset, 16);

/* The largest BUFFER fits */
_Static_assert(sizeof(struct virtio_buf_msg_buffer) +
               VIRTIO_BUF_MAX_PROPERTY_BYTES <= VIRTIO_BUF_MSG_MAX,
               "VIRTIO_BUF_MSG_MAX");

/*
 * Takes the fds out of what the kernel delivered. The one that the caller asked
 * for goes to @fd; if anything else came, all of them are closed.
 */
static int take_fd(struct msghdr *hdr, int *fd)
{
    struct cmsghdr *cmsg;
    size_t i, count;
    bool bad = hdr->msg_flags & MSG_CTRUNC;
    int got;

    for (cmsg = CMSG_FIRSTHDR(hdr); cmsg; cmsg = CMSG_NXTHDR(hdr, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            bad = true;
            continue;
        }
        count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (i = 0; i < count; i++) {
            memcpy(&got, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
            if (bad || *fd >= 0) {
                bad = true;
                close(got);
            } else {
                *fd = got;
            }
        }
    }
    if (!bad) {
        return 0;
    }
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return -EPROTO;
}

ssize_t virtio_buf_recv(int sock, void *buf, size_t len, int *fd)
{
    /*
     * Alignment makes room for a second fd. Others do not fit: the kernel
     * drops them and says so with MSG_CTRUNC, as it does when this process
     * has no fd number left. Without any room it installs none.
     */
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = { .iov_base = buf, .iov_len = len };
    struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
    int none = -1;
    ssize_t n;
    int ret;

    if (fd) {
        *fd = -1;
        hdr.msg_control = &control;
        hdr.msg_controllen = sizeof(control);
    }
    do {
        n = recvmsg(sock, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
    ret = take_fd(&hdr, fd ? fd : &none);
    return ret < 0 ? ret : n;
}

ssize_t virtio_buf_send(int sock, const struct iovec *iov, size_t iov_count,
                        int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr hdr = {
        .msg_iov = (struct iovec *)iov,
        .msg_iovlen = iov_count,
    };
    struct cmsghdr *cmsg;
    ssize_t n;

    if (fd >= 0) {
        memset(&control, 0, sizeof(control));
        hdr.msg_control = &control;
        hdr.msg_controllen = sizeof(control);
        cmsg = CMSG_FIRSTHDR(&hdr);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
    }
    do {
        n = sendmsg(sock, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
    return n;
}

size_t virtio_buf_msg_min_size(uint32_t type)
{
    switch (type) {
    case VIRTIO_BUF_MSG_HELLO:
        return sizeof(struct virtio_buf_msg_hello);
    case VIRTIO_BUF_MSG_SUBSCRIBE:
        return sizeof(struct virtio_buf_msg_subscribe);
    case VIRTIO_BUF_MSG_ATTACH:
        return sizeof(struct virtio_buf_msg_attach);
    case VIRTIO_BUF_MSG_DETACH:
    case VIRTIO_BUF_MSG_REMOVED:
        return sizeof(struct virtio_buf_msg_detach);
    case VIRTIO_BUF_MSG_RELEASE:
    case VIRTIO_BUF_MSG_LOST:
        return sizeof(struct virtio_buf_msg_release);
    case VIRTIO_BUF_MSG_WRITTEN:
        return sizeof(struct virtio_buf_msg_written);
    case VIRTIO_BUF_MSG_ERROR:
        return sizeof(struct virtio_buf_msg_error);
    case VIRTIO_BUF_MSG_DEVICE:
        return sizeof(struct virtio_buf_msg_device);
    case VIRTIO_BUF_MSG_BUFFER:
        return sizeof(struct virtio_buf_msg_buffer);
    case VIRTIO_BUF_MSG_SUBSCRIBED:
        return sizeof(struct virtio_buf_msg_subscribed);
    case VIRTIO_BUF_MSG_ATTACHED:
        return sizeof(struct virtio_buf_msg_attached);
    case VIRTIO_BUF_MSG_REFUSED:
        return sizeof(struct virtio_buf_msg_refused);
    case VIRTIO_BUF_MSG_UPDATE:
        return sizeof(struct virtio_buf_msg_update);
    case VIRTIO_BUF_MSG_PROPERTIES:
        return sizeof(struct virtio_buf_msg_properties);
    case VIRTIO_BUF_MSG_REMOVE:
        return sizeof(struct virtio_buf_msg_remove);
    case VIRTIO_BUF_MSG_RESET:
        return sizeof(struct virtio_buf_msg_reset);
    }
    return 0;
}

static bool msg_has_more(uint32_t type)
{
    return type == VIRTIO_BUF_MSG_SUBSCRIBE || type == VIRTIO_BUF_MSG_WRITTEN ||
           type == VIRTIO_BUF_MSG_BUFFER || type == VIRTIO_BUF_MSG_UPDATE ||
           type == VIRTIO_BUF_MSG_PROPERTIES;
}

static bool msg_size_valid(uint32_t type, uint32_t size)
{
    size_t min = virtio_buf_msg_min_size(type);

    if (!min || size % 8 || size > VIRTIO_BUF_MSG_MAX) {
        return false;
    }
    return msg_has_more(type) ? size >= min : size == min;
}

void virtio_buf_reader_init(struct virtio_buf_reader *reader, uint8_t *buf)
{
    reader->buf = buf;
    reader->start = 0;
    reader->end = 0;
    reader->fd = -1;
}

void virtio_buf_reader_clear(struct virtio_buf_reader *reader)
{
    if (reader->fd >= 0) {
        close(reader->fd);
    }
    reader->fd = -1;
    reader->start = 0;
    reader->end = 0;
}

/* Makes sure that a message of @size bytes fits behind reader->start */
static void reader_make_room(struct virtio_buf_reader *reader, size_t size)
{
    size_t have = reader->end - reader->start;

    if (!have) {
        reader->start = 0;
        reader->end = 0;
    } else if (reader->start + size > VIRTIO_BUF_MSG_MAX) {
        memmove(reader->buf, reader->buf + reader->start, have);
        reader->start = 0;
        reader->end = have;
    }
}

/*
 * Receives more of the message at reader->start, which needs @need bytes as far
 * as is known.
 *
 * The kernel merges bytes before those that carry an fd with them into one
 * read. Where fds may come, a read thus stops at the end of a header and at the
 * end of a message: what comes with it can only belong to this message. Where
 * none may come, a read takes as much as there is.
 */
static int reader_fill(struct virtio_buf_reader *reader, int sock,
                       bool take_fds, size_t need)
{
    size_t have, len;
    ssize_t n;
    int fd = -1;

    reader_make_room(reader, need);
    have = reader->end - reader->start;
    len = take_fds ? need - have : VIRTIO_BUF_MSG_MAX - reader->end;

    n = virtio_buf_recv(sock, reader->buf + reader->end, len,
                        take_fds ? &fd : NULL);
    if (n < 0) {
        return (int)n;
    }
    if (n == 0) {
        return have ? -EPROTO : 0;
    }
    reader->end += (size_t)n;
    if (fd >= 0) {
        if (have) {
            close(fd);
            return -EPROTO;
        }
        reader->fd = fd;
    }
    return 1;
}

int virtio_buf_reader_next(struct virtio_buf_reader *reader, int sock,
                           bool take_fds, const struct virtio_buf_msg **msg,
                           int *fd)
{
    const struct virtio_buf_msg *head;
    uint32_t type, size;
    size_t need;
    int ret;

    for (;;) {
        head = (const void *)(reader->buf + reader->start);
        need = sizeof(*head);
        if (reader->end - reader->start >= need) {
            type = le32toh(head->type);
            size = le32toh(head->size);
            if (!msg_size_valid(type, size)) {
                ret = -EPROTO;
                break;
            }
            if (take_fds && (type == VIRTIO_BUF_MSG_ATTACHED) !=
                            (reader->fd >= 0)) {
                ret = -EPROTO;
                break;
            }
            if (reader->end - reader->start >= size) {
                *msg = head;
                reader->start += size;
                if (fd) {
                    *fd = reader->fd;
                    reader->fd = -1;
                }
                return 1;
            }
            need = size;
        }
        ret = reader_fill(reader, sock, take_fds, need);
        if (ret <= 0) {
            break;
        }
    }
    if (ret != -EAGAIN && reader->fd >= 0) {
        close(reader->fd);
        reader->fd = -1;
    }
    return ret;
}

/* Bytes of the character at @text, 0 if it is none (RFC 3629, and no NUL) */
static size_t utf8_len(const uint8_t *text, size_t len)
{
    uint8_t first = text[0], low = 0x80, high = 0xbf;
    size_t i, n;

    if (first >= 0x01 && first <= 0x7f) {
        return 1;
    } else if (first >= 0xc2 && first <= 0xdf) {
        n = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        n = 3;
        low = first == 0xe0 ? 0xa0 : low;   /* shorter ones exist */
        high = first == 0xed ? 0x9f : high; /* surrogates */
    } else if (first >= 0xf0 && first <= 0xf4) {
        n = 4;
        low = first == 0xf0 ? 0x90 : low;   /* shorter ones exist */
        high = first == 0xf4 ? 0x8f : high; /* above U+10FFFF */
    } else {
        return 0;
    }
    if (n > len || text[1] < low || text[1] > high) {
        return 0;
    }
    for (i = 2; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return n;
}

bool virtio_buf_text_valid(const uint8_t *text, size_t len)
{
    size_t n;

    while (len) {
        n = utf8_len(text, len);
        if (!n) {
            return false;
        }
        text += n;
        len -= n;
    }
    return true;
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    while (len) {
        if (bytes[--len]) {
            return false;
        }
    }
    return true;
}

bool virtio_buf_name_valid(const uint8_t *name, bool may_be_empty)
{
    size_t len = strnlen((const char *)name, VIRTIO_BUF_NAME_SIZE);

    return len < VIRTIO_BUF_NAME_SIZE && (len || may_be_empty) &&
           virtio_buf_text_valid(name, len) &&
           all_zero(name + len, VIRTIO_BUF_NAME_SIZE - len);
}

#define NAME_LEN_MAX 255

/* The shortest record is its head and one name of 1 to 8 bytes */
#define RECORD_MIN 16
#define RECORDS_MAX (VIRTIO_BUF_MAX_PROPERTY_BYTES / RECORD_MIN)

size_t virtio_buf_property_size(size_t name_len, size_t value_len)
{
    size_t size;

    if (!name_len || name_len > NAME_LEN_MAX ||
        value_len > VIRTIO_BUF_MAX_PROPERTY_BYTES) {
        return 0;
    }
    size = sizeof(struct virtio_buf_property) + name_len + value_len;
    size = (size + 7) & ~(size_t)7;
    return size <= VIRTIO_BUF_MAX_PROPERTY_BYTES ? size : 0;
}

int virtio_buf_property_next(const uint8_t *list, size_t size, size_t *pos,
                             struct virtio_buf_property_view *view)
{
    struct virtio_buf_property head;
    const uint8_t *name, *value;
    size_t name_len, value_len, record;
    uint16_t flags;

    if (*pos == size) {
        return 0;
    }
    if (*pos > size || size - *pos < sizeof(head)) {
        return -EINVAL;
    }
    memcpy(&head, list + *pos, sizeof(head));
    name_len = le16toh(head.name_len);
    value_len = le32toh(head.value_len);
    flags = le16toh(head.flags);
    record = virtio_buf_property_size(name_len, value_len);
    if (!record || record > size - *pos ||
        (flags & ~VIRTIO_BUF_PROPERTY_DELETE) || (flags && value_len)) {
        return -EINVAL;
    }
    name = list + *pos + sizeof(head);
    value = name + name_len;
    if (!virtio_buf_text_valid(name, name_len) ||
        memchr(name, '=', name_len) ||
        !virtio_buf_text_valid(value, value_len) ||
        !all_zero(value + value_len,
                  record - sizeof(head) - name_len - value_len)) {
        return -EINVAL;
    }
    *view = (struct virtio_buf_property_view) {
        .name = (const char *)name,
        .value = (const char *)value,
        .name_len = (uint32_t)name_len,
        .value_len = (uint32_t)value_len,
        .deleted = flags & VIRTIO_BUF_PROPERTY_DELETE,
    };
    *pos += record;
    return 1;
}

size_t virtio_buf_property_put(uint8_t *to,
                               const struct virtio_buf_property_view *view)
{
    size_t value_len = view->deleted ? 0 : view->value_len;
    size_t size = virtio_buf_property_size(view->name_len, value_len);
    size_t used = sizeof(struct virtio_buf_property) + view->name_len +
                  value_len;
    struct virtio_buf_property head = {
        .name_len = htole16((uint16_t)view->name_len),
        .flags = htole16(view->deleted ? VIRTIO_BUF_PROPERTY_DELETE : 0),
        .value_len = htole32((uint32_t)value_len),
    };

    memcpy(to, &head, sizeof(head));
    memcpy(to + sizeof(head), view->name, view->name_len);
    if (value_len) {
        memcpy(to + sizeof(head) + view->name_len, view->value, value_len);
    }
    memset(to + used, 0, size - used);
    return size;
}

/* Compares the names of two records that have been checked */
static int name_compare(const uint8_t *list, uint16_t a, uint16_t b)
{
    const uint8_t *x = list + a, *y = list + b;
    size_t x_len = (size_t)x[0] | (size_t)x[1] << 8;
    size_t y_len = (size_t)y[0] | (size_t)y[1] << 8;
    int order;

    order = memcmp(x + sizeof(struct virtio_buf_property),
                   y + sizeof(struct virtio_buf_property),
                   x_len < y_len ? x_len : y_len);
    return order ? order : (x_len > y_len) - (x_len < y_len);
}

static void sift_down(const uint8_t *list, uint16_t *heap, size_t root,
                      size_t count)
{
    uint16_t moved = heap[root];
    size_t child;

    for (; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count &&
            name_compare(list, heap[child + 1], heap[child]) > 0) {
            child++;
        }
        if (name_compare(list, heap[child], moved) <= 0) {
            break;
        }
        heap[root] = heap[child];
    }
    heap[root] = moved;
}

/*
 * Finds a name that occurs twice: as names leave a heap in order, equal ones
 * are neighbours. A hash table would be shorter, but hostile names can make it
 * slow.
 */
static bool names_unique(const uint8_t *list, uint16_t *heap, size_t count)
{
    uint16_t last, top;
    size_t i;

    for (i = count / 2; i > 0; i--) {
        sift_down(list, heap, i - 1, count);
    }
    while (count > 1) {
        top = heap[0];
        last = heap[--count];
        heap[0] = last;
        sift_down(list, heap, 0, count);
        if (name_compare(list, top, heap[0]) == 0) {
            return false;
        }
    }
    return true;
}

int virtio_buf_properties_check(const uint8_t *list, size_t size)
{
    struct virtio_buf_property_view view;
    uint16_t heap[RECORDS_MAX];
    size_t pos = 0, count = 0;
    int ret;

    if (size > VIRTIO_BUF_MAX_PROPERTY_BYTES) {
        return -EINVAL;
    }
    for (;;) {
        uint16_t offset = (uint16_t)pos;

        ret = virtio_buf_property_next(list, size, &pos, &view);
        if (ret <= 0) {
            break;
        }
        heap[count++] = offset;
    }
    if (ret < 0 || !names_unique(list, heap, count)) {
        return -EINVAL;
    }
    return (int)count;
}

/* Whether [@offset, @offset + @len) lies in [0, @size] */
static bool inside(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset <= size && len <= size - offset;
}

int virtio_buf_frame_parse(const void *bytes, size_t size, uint64_t buffer_size,
                           struct virtio_buf_frame_view *view)
{
    const struct virtio_buf_frame *frame = bytes;
    size_t i, rest;

    if (size < sizeof(*frame)) {
        return -EINVAL;
    }
    rest = size - sizeof(*frame);
    *view = (struct virtio_buf_frame_view) {
        .serial = le64toh(frame->serial),
        .flags = le32toh(frame->flags),
        .clock = le32toh(frame->clock),
        .data_offset = le64toh(frame->data_offset),
        .data_size = le64toh(frame->data_size),
        .pts = le64toh(frame->pts),
        .duration = le64toh(frame->duration),
        .time = le64toh(frame->time),
        .rect_count = le16toh(frame->rect_count),
        .span_count = le16toh(frame->span_count),
        .property_bytes = le32toh(frame->property_bytes),
        .rects = (const void *)(frame + 1),
    };
    if (!view->serial || (view->flags & ~(uint32_t)VIRTIO_BUF_FRAME_FLAGS) ||
        view->clock > VIRTIO_BUF_CLOCK_TAI ||
        (view->clock == VIRTIO_BUF_CLOCK_NONE && view->pts) ||
        !inside(view->data_offset, view->data_size, buffer_size) ||
        view->rect_count > VIRTIO_BUF_MAX_DAMAGE ||
        view->span_count > VIRTIO_BUF_MAX_DAMAGE ||
        view->property_bytes > VIRTIO_BUF_MAX_PROPERTY_BYTES) {
        return -EINVAL;
    }
    view->spans = (const void *)(view->rects + view->rect_count);
    view->properties = (const uint8_t *)(view->spans + view->span_count);
    if (rest != view->rect_count * sizeof(*view->rects) +
                view->span_count * sizeof(*view->spans) +
                view->property_bytes) {
        return -EINVAL;
    }
    for (i = 0; i < view->rect_count; i++) {
        if (!view->rects[i].width || !view->rects[i].height) {
            return -EINVAL;
        }
    }
    for (i = 0; i < view->span_count; i++) {
        if (!view->spans[i].len ||
            !inside(le64toh(view->spans[i].offset),
                    le64toh(view->spans[i].len), buffer_size)) {
            return -EINVAL;
        }
    }
    if (virtio_buf_properties_check(view->properties,
                                    view->property_bytes) < 0) {
        return -EINVAL;
    }
    return 0;
}
