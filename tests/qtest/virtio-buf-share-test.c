/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: buffers that vhost-user back-ends look up
 *
 * A thread of the test is the back-end of a vhost-user-rng that is plugged into
 * the machine: it answers what QEMU asks while it sets the device up, and hands
 * over the back-end's channel, on which the tests look up UUIDs.
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/un.h>
#include "qemu/cutils.h"
#include "qemu/module.h"
#include "qemu/sockets.h"
#include "qobject/qdict.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-holder.h"
#include "libqos/virtio-buf-machine.h"
#include "standard-headers/linux/virtio_config.h"

#define PAGE_SIZE 4096
#define RELEASE_TIMEOUT_MS 2000
#define SLOT 6

/* Of docs/interop/vhost-user.rst */
#define VHOST_USER_GET_FEATURES 1
#define VHOST_USER_GET_PROTOCOL_FEATURES 15
#define VHOST_USER_SET_BACKEND_REQ_FD 21
#define VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP 8

#define VHOST_USER_VERSION 1
#define VHOST_USER_REPLY (1 << 2)
#define VHOST_USER_NEED_REPLY (1 << 3)

#define VHOST_USER_F_PROTOCOL_FEATURES (1ull << 30)
#define VHOST_USER_PROTOCOL_F_REPLY_ACK (1ull << 3)
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ (1ull << 5)
#define VHOST_USER_PROTOCOL_F_SHARED_OBJECT (1ull << 18)

/* In host byte order, as vhost-user is */
typedef struct QEMU_PACKED VhostUserMessage {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
    union {
        uint64_t u64;
        uint8_t uuid[16];
        uint8_t bytes[4096];
    };
} VhostUserMessage;

#define HEADER_SIZE offsetof(VhostUserMessage, u64)
#define MAX_FDS 8

typedef struct Backend {
    GThread *thread;
    char *path;
    int listener;
    int channel;        /* the test's end of what QEMU listens on */
    QTestState *qts;
} Backend;

/* Returns whether it came; @fd is -1, or its first one (others are closed) */
static bool receive(int sock, VhostUserMessage *msg, int *fd)
{
    char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
    struct iovec iov = { msg, HEADER_SIZE };
    struct msghdr head = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof(control),
    };
    struct pollfd pfd = { .fd = sock, .events = POLLIN };
    struct cmsghdr *cmsg;

    *fd = -1;
    if (poll(&pfd, 1, QVIRTIO_BUF_TIMEOUT_US / 1000) != 1 ||
        recvmsg(sock, &head, MSG_CMSG_CLOEXEC | MSG_WAITALL) != HEADER_SIZE) {
        return false;
    }
    for (cmsg = CMSG_FIRSTHDR(&head); cmsg; cmsg = CMSG_NXTHDR(&head, cmsg)) {
        unsigned count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        int fds[MAX_FDS];

        memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
        for (unsigned i = 0; i < count; i++) {
            if (*fd < 0) {
                *fd = fds[i];
            } else {
                close(fds[i]);
            }
        }
    }
    g_assert_cmpuint(msg->size, <=, sizeof(msg->bytes));
    return !msg->size ||
           recv(sock, msg->bytes, msg->size, MSG_WAITALL) == msg->size;
}

static void answer(int sock, VhostUserMessage *msg, uint64_t value)
{
    msg->flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
    msg->size = sizeof(msg->u64);
    msg->u64 = value;
    g_assert_cmpint(send(sock, msg, HEADER_SIZE + msg->size, MSG_NOSIGNAL), ==,
                    HEADER_SIZE + msg->size);
}

/* Until the channel is there: QEMU asks no more of a device without a driver */
static void *backend_thread(void *opaque)
{
    Backend *backend = opaque;
    int sock = accept(backend->listener, NULL, NULL);
    VhostUserMessage msg;
    int fd;

    g_assert_cmpint(sock, >=, 0);
    while (receive(sock, &msg, &fd)) {
        switch (msg.request) {
        case VHOST_USER_GET_FEATURES:
            answer(sock, &msg, VHOST_USER_F_PROTOCOL_FEATURES |
                               1ull << VIRTIO_F_VERSION_1);
            break;
        case VHOST_USER_GET_PROTOCOL_FEATURES:
            answer(sock, &msg, VHOST_USER_PROTOCOL_F_REPLY_ACK |
                               VHOST_USER_PROTOCOL_F_BACKEND_REQ |
                               VHOST_USER_PROTOCOL_F_SHARED_OBJECT);
            break;
        case VHOST_USER_SET_BACKEND_REQ_FD:
            backend->channel = fd;
            fd = -1;
            /* fall through */
        default:
            if (msg.flags & VHOST_USER_NEED_REPLY) {
                answer(sock, &msg, 0);
            }
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    close(sock);
    return NULL;
}

static void backend_start(Backend *backend, QVirtioBuf *b)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    QDict *response;

    *backend = (Backend) { .channel = -1, .qts = b->qts };
    backend->path = g_strdup_printf("%s.vhost", qvirtio_buf_socket_path());
    pstrcpy(addr.sun_path, sizeof(addr.sun_path), backend->path);
    backend->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(backend->listener, (struct sockaddr *)&addr,
                         sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(backend->listener, 1), ==, 0);
    backend->thread = g_thread_new("backend", backend_thread, backend);

    response = qtest_qmp(b->qts, "{'execute': 'chardev-add', 'arguments': {"
                         "'id': 'vhost', 'backend': {'type': 'socket', 'data': "
                         "{'server': false, 'addr': {'type': 'unix', 'data': "
                         "{'path': %s}}}}}}", backend->path);
    g_assert_true(qdict_haskey(response, "return"));
    qobject_unref(response);
    /* QEMU answers when the thread has told it all: the channel is there */
    qtest_qmp_device_add(b->qts, "vhost-user-rng-pci", "rng",
                         "{'addr': %s, 'chardev': 'vhost'}", stringify(SLOT));
    g_assert_cmpint(backend->channel, >=, 0);
}

/* The device goes first: QEMU does not like to lose a back-end */
static void backend_end(Backend *backend)
{
    qpci_unplug_acpi_device_test(backend->qts, "rng", SLOT);
    qtest_qmp_assert_success(backend->qts, "{'execute': 'chardev-remove', "
                             "'arguments': {'id': 'vhost'}}");
    g_thread_join(backend->thread);
    close(backend->channel);
    close(backend->listener);
    unlink(backend->path);
    g_free(backend->path);
}

static void send_lookup(Backend *backend, const uint8_t *uuid)
{
    VhostUserMessage msg = {
        .request = VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP,
        .flags = VHOST_USER_VERSION,
        .size = sizeof(msg.uuid),
    };

    memcpy(msg.uuid, uuid, sizeof(msg.uuid));
    g_assert_cmpint(send(backend->channel, &msg, HEADER_SIZE + msg.size, 0), ==,
                    HEADER_SIZE + msg.size);
}

/* The dma-buf, or -1 if QEMU says there is none */
static int receive_dmabuf(Backend *backend)
{
    VhostUserMessage msg;
    int fd;

    g_assert_true(receive(backend->channel, &msg, &fd));
    g_assert_cmpuint(msg.request, ==, VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP);
    g_assert_cmpuint(msg.flags, ==, VHOST_USER_VERSION | VHOST_USER_REPLY);
    g_assert_cmpuint(msg.size, ==, sizeof(msg.u64));
    g_assert_true((fd >= 0) == (msg.u64 == 0));
    return fd;
}

static int look_up(Backend *backend, const uint8_t *uuid)
{
    send_lookup(backend, uuid);
    return receive_dmabuf(backend);
}

static void wait_for_answer(Backend *backend)
{
    struct pollfd pfd = { .fd = backend->channel, .events = POLLIN };

    g_assert_cmpint(poll(&pfd, 1, QVIRTIO_BUF_TIMEOUT_US / 1000), ==, 1);
}

static void step_ms(QVirtioBuf *b, int64_t ms)
{
    qtest_clock_step(b->qts, ms * 1000 * 1000);
}

/* All pages of @fd have this pattern */
static void check_dmabuf(int fd, size_t size, uint8_t pattern)
{
    QBufMemory memory = { .size = size, .fd = fd };

    memory.bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    g_assert_true(memory.bytes != MAP_FAILED);
    qbuf_memory_check(&memory, 0, size, pattern);
    munmap((void *)memory.bytes, size);
}

/* The guest and who holds @fd, which has @pattern, do not see each other */
static void check_apart(QVirtioBuf *b, const QVirtioBufBuffer *buffer, int fd,
                        uint8_t pattern)
{
    qvirtio_buf_check_ram(b, buffer->addr, buffer->size, pattern);
    qtest_memset(b->qts, buffer->addr, ~pattern, buffer->size);
    check_dmabuf(fd, buffer->size, pattern);
}

static void test_lookup(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer one = { .size = 3 * PAGE_SIZE }, two = one;
    uint8_t unknown[16] = { 1 };
    Backend backend;
    unsigned fds;
    int fd, again;

    backend_start(&backend, b);
    g_assert_cmpint(look_up(&backend, unknown), ==, -1);
    fds = qvirtio_buf_settled_fds(b->qts);
    qvirtio_buf_register_ok(b, &one, 0x11);
    qvirtio_buf_register_ok(b, &two, 0x22);
    g_assert_cmpint(look_up(&backend, unknown), ==, -1);
    fd = look_up(&backend, one.response.uuid);
    again = look_up(&backend, two.response.uuid);
    if (!qvirtio_buf_zero_copy()) {
        g_assert_cmpint(fd, ==, -1);
        g_assert_cmpint(again, ==, -1);
        g_assert_cmpuint(qvirtio_buf_open_fds(b->qts), ==, fds);
        backend_end(&backend);
        return;
    }

    /* The guest's very pages */
    check_dmabuf(fd, one.size, 0x11);
    check_dmabuf(again, two.size, 0x22);
    qtest_memset(b->qts, one.addr, 0x33, one.size);
    check_dmabuf(fd, one.size, 0x33);
    check_dmabuf(again, two.size, 0x22);

    /* Who asked is a holder: the pages are not the guest's before it let go */
    g_assert_cmpuint(qvirtio_buf_unregister(b, one.id), ==,
                     VIRTIO_BUF_S_PENDING);
    g_assert_cmpint(look_up(&backend, one.response.uuid), ==, -1);
    step_ms(b, RELEASE_TIMEOUT_MS / 2);
    qvirtio_buf_no_event(b, one.id, VIRTIO_BUF_EVENT_FREED);
    close(fd);
    step_ms(b, RELEASE_TIMEOUT_MS / 4);
    qvirtio_buf_wait_event(b, one.id, VIRTIO_BUF_EVENT_FREED, NULL);
    qvirtio_buf_check_ram(b, one.addr, one.size, 0x33);

    close(again);
    g_assert_cmpuint(qvirtio_buf_unregister(b, two.id), ==, VIRTIO_BUF_S_OK);
    g_assert_cmpuint(qvirtio_buf_wait_fds(b->qts, fds), <=, fds);
    backend_end(&backend);
}

/* With and without a consumer, it is one dma-buf */
static void test_same(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .size = PAGE_SIZE };
    struct stat before, attached, after;
    struct virtio_buf_event event;
    Backend backend;
    QBufMemory memory;
    QBufConsumer *c;
    uint64_t handle;
    int fd;

    backend_start(&backend, b);
    qvirtio_buf_register_ok(b, &buffer, 0x11);
    fd = look_up(&backend, buffer.response.uuid);
    c = qbuf_subscribe(qvirtio_buf_socket_path(), "test", 1);
    handle = qbuf_expect_buffer(c, buffer.id);
    qbuf_expect_subscribed(c);
    qbuf_expect_attached(c, handle, &memory);
    g_assert_cmpint(fstat(memory.fd, &attached), ==, 0);
    if (qvirtio_buf_zero_copy()) {
        g_assert_cmpint(fstat(fd, &before), ==, 0);
        g_assert_cmpuint(before.st_ino, ==, attached.st_ino);
        close(fd);
        fd = look_up(&backend, buffer.response.uuid);
        g_assert_cmpint(fstat(fd, &after), ==, 0);
        g_assert_cmpuint(after.st_ino, ==, attached.st_ino);
    } else {
        g_assert_cmpint(look_up(&backend, buffer.response.uuid), ==, -1);
    }

    /* The consumer goes, the back-end still has it */
    qbuf_memory_clear(&memory);
    qbuf_detach(c, handle);
    do {
        qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_CONSUMERS,
                               &event);
    } while (event.consumers);
    qbuf_close(c);
    if (fd >= 0) {
        check_dmabuf(fd, buffer.size, 0x11);
        close(fd);
    }
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_OK);
    backend_end(&backend);
}

/* The answer is on its way when the buffer goes */
static void test_unregistered(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .size = 2 * PAGE_SIZE }, next = buffer;
    Backend backend;
    int fd;

    backend_start(&backend, b);
    qvirtio_buf_register_ok(b, &buffer, 0x11);
    send_lookup(&backend, buffer.response.uuid);
    wait_for_answer(&backend);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     qvirtio_buf_zero_copy() ? VIRTIO_BUF_S_PENDING :
                     VIRTIO_BUF_S_OK);
    /* QEMU's numbers of files are used again */
    qvirtio_buf_register_ok(b, &next, 0x22);
    send_lookup(&backend, next.response.uuid);
    fd = receive_dmabuf(&backend);
    if (qvirtio_buf_zero_copy()) {
        check_dmabuf(fd, buffer.size, 0x11);
        close(receive_dmabuf(&backend));
        step_ms(b, RELEASE_TIMEOUT_MS + 1);
        qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
        check_apart(b, &buffer, fd, 0x11);
        close(fd);
    } else {
        g_assert_cmpint(fd, ==, -1);
        g_assert_cmpint(receive_dmabuf(&backend), ==, -1);
    }
    backend_end(&backend);
}

/* A reset does not wait for a back-end */
static void test_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .size = 2 * PAGE_SIZE };
    Backend backend;
    int fd;

    backend_start(&backend, b);
    qvirtio_buf_register_ok(b, &buffer, 0x11);
    fd = look_up(&backend, buffer.response.uuid);
    qvirtio_buf_restart(b);
    g_assert_cmpint(look_up(&backend, buffer.response.uuid), ==, -1);
    if (qvirtio_buf_zero_copy()) {
        check_apart(b, &buffer, fd, 0x11);
        close(fd);
    } else {
        g_assert_cmpint(fd, ==, -1);
    }
    backend_end(&backend);
}

/* Nobody finds what the operator has not allowed */
static void test_off(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .size = PAGE_SIZE };
    Backend backend;

    backend_start(&backend, b);
    qvirtio_buf_register_ok(b, &buffer, 0x11);
    g_assert_cmpint(look_up(&backend, buffer.response.uuid), ==, -1);
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                     VIRTIO_BUF_S_OK);
    backend_end(&backend);
}

static void register_virtio_buf_share_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER ",share-uuid=on",
    };

    qos_add_test("share/lookup", "virtio-buf", test_lookup, &opts);
    qos_add_test("share/same", "virtio-buf", test_same, &opts);
    qos_add_test("share/unregistered", "virtio-buf", test_unregistered, &opts);
    qos_add_test("share/reset", "virtio-buf", test_reset, &opts);
    opts.edge.extra_device_opts = QVIRTIO_BUF_SERVER;
    qos_add_test("share/off", "virtio-buf", test_off, &opts);
}

libqos_init(register_virtio_buf_share_test);
