/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: buffers that vhost-user back-ends look up
 *
 * A thread of the test is the back-end of a vhost-user-rng that is plugged into
 * the machine: it answers what QEMU asks while it sets the device up, and hands
 * over the back-end's channel, on which the tests look up UUIDs, step by step.
 * The cases share/process/ have a process with QEMU's libvhost-user in its
 * place, as back-ends in use are.
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "qemu/cutils.h"
#include "qemu/module.h"
#include "qemu/sockets.h"
#include "qobject/qdict.h"
#include "libqtest.h"
#include "subprojects/libvhost-user/libvhost-user.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-holder.h"
#include "libqos/virtio-buf-machine.h"
#include "standard-headers/linux/virtio_config.h"

#define PAGE_SIZE 4096
#define RELEASE_TIMEOUT_MS 2000
#define SLOT 6

#define VHOST_USER_VERSION 1
#define MAX_FDS VHOST_MEMORY_BASELINE_NREGIONS
#define HEADER_SIZE VHOST_USER_HDR_SIZE

typedef struct Backend {
    GThread *thread;
    pid_t pid;          /* instead of a thread, see process_start() */
    char *path;
    int listener;
    int channel;        /* the test's end of what QEMU, or the process, reads */
    QTestState *qts;
} Backend;

/* Returns whether it came; @fd is -1, or its first one (others are closed) */
static bool receive(int sock, VhostUserMsg *msg, int *fd)
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
    g_assert_cmpuint(msg->size, <=, sizeof(msg->payload));
    return !msg->size ||
           recv(sock, &msg->payload, msg->size, MSG_WAITALL) == msg->size;
}

static void answer(int sock, VhostUserMsg *msg, uint64_t value)
{
    msg->flags = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;
    msg->size = sizeof(msg->payload.u64);
    msg->payload.u64 = value;
    g_assert_cmpint(send(sock, msg, HEADER_SIZE + msg->size, MSG_NOSIGNAL), ==,
                    HEADER_SIZE + msg->size);
}

/* Until the channel is there: QEMU asks no more of a device without a driver */
static void *backend_thread(void *opaque)
{
    Backend *backend = opaque;
    int sock = accept(backend->listener, NULL, NULL);
    VhostUserMsg msg;
    int fd;

    g_assert_cmpint(sock, >=, 0);
    while (receive(sock, &msg, &fd)) {
        switch (msg.request) {
        case VHOST_USER_GET_FEATURES:
            answer(sock, &msg, 1ull << VHOST_USER_F_PROTOCOL_FEATURES |
                               1ull << VIRTIO_F_VERSION_1);
            break;
        case VHOST_USER_GET_PROTOCOL_FEATURES:
            answer(sock, &msg, 1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK |
                               1ull << VHOST_USER_PROTOCOL_F_BACKEND_REQ |
                               1ull << VHOST_USER_PROTOCOL_F_SHARED_OBJECT);
            break;
        case VHOST_USER_SET_BACKEND_REQ_FD:
            backend->channel = fd;
            fd = -1;
            /* fall through */
        default:
            if (msg.flags & VHOST_USER_NEED_REPLY_MASK) {
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

static void backend_listen(Backend *backend, QVirtioBuf *b)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    *backend = (Backend) { .channel = -1, .qts = b->qts };
    backend->path = g_strdup_printf("%s.vhost", qvirtio_buf_socket_path());
    pstrcpy(addr.sun_path, sizeof(addr.sun_path), backend->path);
    backend->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(backend->listener, (struct sockaddr *)&addr,
                         sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(backend->listener, 1), ==, 0);
}

/* QEMU answers when the back-end has told it all: the channel is there */
static void backend_plug(Backend *backend)
{
    QDict *response = qtest_qmp(backend->qts,
        "{'execute': 'chardev-add', 'arguments': {"
        "'id': 'vhost', 'backend': {'type': 'socket', 'data': "
        "{'server': false, 'addr': {'type': 'unix', 'data': "
        "{'path': %s}}}}}}", backend->path);

    g_assert_true(qdict_haskey(response, "return"));
    qobject_unref(response);
    qtest_qmp_device_add(backend->qts, "vhost-user-rng-pci", "rng",
                         "{'addr': %s, 'chardev': 'vhost'}", stringify(SLOT));
}

static void backend_start(Backend *backend, QVirtioBuf *b)
{
    backend_listen(backend, b);
    backend->thread = g_thread_new("backend", backend_thread, backend);
    backend_plug(backend);
    g_assert_cmpint(backend->channel, >=, 0);
}

/* The device goes first: QEMU does not like to lose a back-end */
static void backend_end(Backend *backend)
{
    int status;

    qpci_unplug_acpi_device_test(backend->qts, "rng", SLOT);
    qtest_qmp_assert_success(backend->qts, "{'execute': 'chardev-remove', "
                             "'arguments': {'id': 'vhost'}}");
    if (backend->thread) {
        g_thread_join(backend->thread);
    }
    close(backend->channel);
    close(backend->listener);
    if (backend->pid) {
        g_assert_cmpint(waitpid(backend->pid, &status, 0), ==, backend->pid);
        g_assert_cmpint(status, ==, 0);
    }
    unlink(backend->path);
    g_free(backend->path);
}

static void send_lookup(Backend *backend, const uint8_t *uuid)
{
    VhostUserMsg msg = {
        .request = VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP,
        .flags = VHOST_USER_VERSION,
        .size = sizeof(msg.payload.object.uuid),
    };

    memcpy(msg.payload.object.uuid, uuid, sizeof(msg.payload.object.uuid));
    g_assert_cmpint(send(backend->channel, &msg, HEADER_SIZE + msg.size, 0), ==,
                    HEADER_SIZE + msg.size);
}

/* The dma-buf, or -1 if QEMU says there is none */
static int receive_dmabuf(Backend *backend)
{
    VhostUserMsg msg;
    int fd;

    g_assert_true(receive(backend->channel, &msg, &fd));
    g_assert_cmpuint(msg.request, ==, VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP);
    g_assert_cmpuint(msg.flags, ==, VHOST_USER_VERSION | VHOST_USER_REPLY_MASK);
    g_assert_cmpuint(msg.size, ==, sizeof(msg.payload.u64));
    g_assert_true((fd >= 0) == (msg.payload.u64 == 0));
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

/* What a back-end process is asked for, and answers */
typedef struct Question {
    bool look_up;       /* else: of the buffer that was looked up last */
    bool let_go;        /* of that buffer */
    uint8_t uuid[UUID_LEN];
} Question;

typedef struct Answer {
    bool found;
    ino_t inode;
    size_t size;
    uint8_t byte;       /* all of the buffer has it */
} Answer;

static uint64_t process_features(VuDev *dev)
{
    return 1ull << VHOST_USER_F_PROTOCOL_FEATURES | 1ull << VIRTIO_F_VERSION_1;
}

static uint64_t process_protocol_features(VuDev *dev)
{
    return 1ull << VHOST_USER_PROTOCOL_F_SHARED_OBJECT;
}

static void process_set_features(VuDev *dev, uint64_t features)
{
}

static const VuDevIface process_iface = {
    .get_features = process_features,
    .set_features = process_set_features,
    .get_protocol_features = process_protocol_features,
};

static void process_panic(VuDev *dev, const char *why)
{
    fprintf(stderr, "back-end: %s\n", why);
    _exit(1);
}

/* Queues are never started: the device has no driver */
static void process_set_watch(VuDev *dev, int fd, int condition,
                              vu_watch_cb cb, void *data)
{
    process_panic(dev, "a queue is watched");
}

static void process_remove_watch(VuDev *dev, int fd)
{
}

static Answer process_look(int fd)
{
    Answer answer = { .found = fd >= 0 };
    struct stat stat;
    uint8_t *bytes;

    if (fd < 0) {
        return answer;
    }
    answer.size = lseek(fd, 0, SEEK_END);
    bytes = mmap(NULL, answer.size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED || fstat(fd, &stat) < 0) {
        _exit(2);
    }
    answer.inode = stat.st_ino;
    answer.byte = bytes[0];
    for (size_t i = 0; i < answer.size; i++) {
        if (bytes[i] != answer.byte) {
            _exit(3);
        }
    }
    munmap(bytes, answer.size);
    return answer;
}

/* Until the test or QEMU hangs up */
static void process_main(int listener, int control)
{
    struct pollfd fds[] = {
        { .fd = accept(listener, NULL, NULL), .events = POLLIN },
        { .fd = control, .events = POLLIN },
    };
    int buffer = -1;
    VuDev dev;

    if (!vu_init(&dev, 1, fds[0].fd, process_panic, NULL, process_set_watch,
                 process_remove_watch, &process_iface)) {
        _exit(4);
    }
    while (poll(fds, ARRAY_SIZE(fds), -1) > 0) {
        Question question;
        Answer answer;
        char byte;

        if (fds[0].revents) {
            if (recv(fds[0].fd, &byte, 1, MSG_PEEK) <= 0) {
                fds[0].fd = -1;     /* the device is gone, see backend_end() */
            } else if (!vu_dispatch(&dev)) {
                _exit(5);
            }
        }
        if (!fds[1].revents) {
            continue;
        }
        if (read(control, &question, sizeof(question)) != sizeof(question)) {
            break;
        }
        if (buffer >= 0 && (question.look_up || question.let_go)) {
            close(buffer);
            buffer = -1;
        }
        if (question.look_up &&
            !vu_lookup_shared_object(&dev, question.uuid, &buffer)) {
            buffer = -1;
        }
        answer = process_look(buffer);
        if (write(control, &answer, sizeof(answer)) != sizeof(answer)) {
            break;
        }
    }
    _exit(0);
}

static void process_start(Backend *backend, QVirtioBuf *b)
{
    int ends[2];

    backend_listen(backend, b);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
                               ends), ==, 0);
    backend->channel = ends[0];
    backend->pid = fork();
    g_assert_cmpint(backend->pid, >=, 0);
    if (!backend->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        process_main(backend->listener, ends[1]);
    }
    close(ends[1]);
    backend_plug(backend);
}

static Answer ask(Backend *backend, const Question *question)
{
    Answer answer;

    g_assert_cmpint(write(backend->channel, question, sizeof(*question)), ==,
                    sizeof(*question));
    g_assert_cmpint(read(backend->channel, &answer, sizeof(answer)), ==,
                    sizeof(answer));
    return answer;
}

static Answer process_look_up(Backend *backend, const uint8_t *uuid)
{
    Question question = { .look_up = true };

    memcpy(question.uuid, uuid, sizeof(question.uuid));
    return ask(backend, &question);
}

static void check_seen(const Answer *answer, size_t size, uint8_t byte)
{
    g_assert_true(answer->found);
    g_assert_cmpuint(answer->size, ==, size);
    g_assert_cmphex(answer->byte, ==, byte);
}

/* Another process gets the guest's own pages, and is waited for */
static void test_process_lookup(void *obj, void *data, QGuestAllocator *alloc)
{
    const Question look = {}, let_go = { .let_go = true };
    QVirtioBuf *b = obj;
    QVirtioBufBuffer one = { .size = 3 * PAGE_SIZE }, two = one;
    uint8_t unknown[UUID_LEN] = { 1 };
    Backend backend;
    Answer seen;
    ino_t inode;

    two.size = PAGE_SIZE;
    process_start(&backend, b);
    qvirtio_buf_register_ok(b, &one, 0x11);
    qvirtio_buf_register_ok(b, &two, 0x22);
    g_assert_false(process_look_up(&backend, unknown).found);
    seen = process_look_up(&backend, one.response.uuid);
    g_assert_true(seen.found == qvirtio_buf_zero_copy());
    if (!qvirtio_buf_zero_copy()) {
        backend_end(&backend);
        return;
    }
    check_seen(&seen, one.size, 0x11);
    inode = seen.inode;
    seen = process_look_up(&backend, two.response.uuid);
    check_seen(&seen, two.size, 0x22);
    g_assert_cmpuint(seen.inode, !=, inode);
    seen = process_look_up(&backend, one.response.uuid);
    g_assert_cmpuint(seen.inode, ==, inode);
    qtest_memset(b->qts, one.addr, 0x33, one.size);
    seen = ask(&backend, &look);
    check_seen(&seen, one.size, 0x33);

    g_assert_cmpuint(qvirtio_buf_unregister(b, one.id), ==,
                     VIRTIO_BUF_S_PENDING);
    qvirtio_buf_no_event(b, one.id, VIRTIO_BUF_EVENT_FREED);
    g_assert_false(ask(&backend, &let_go).found);
    step_ms(b, RELEASE_TIMEOUT_MS / 2);
    qvirtio_buf_wait_event(b, one.id, VIRTIO_BUF_EVENT_FREED, NULL);
    g_assert_false(process_look_up(&backend, one.response.uuid).found);
    g_assert_cmpuint(qvirtio_buf_unregister(b, two.id), ==, VIRTIO_BUF_S_OK);
    backend_end(&backend);
}

/* A process that does not let go sees nothing more */
static void test_process_keeps(void *obj, void *data, QGuestAllocator *alloc)
{
    const Question look = {};
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .size = 2 * PAGE_SIZE };
    Backend backend;
    Answer seen;

    process_start(&backend, b);
    qvirtio_buf_register_ok(b, &buffer, 0x11);
    seen = process_look_up(&backend, buffer.response.uuid);
    g_assert_true(seen.found == qvirtio_buf_zero_copy());
    if (seen.found) {
        g_assert_cmpuint(qvirtio_buf_unregister(b, buffer.id), ==,
                         VIRTIO_BUF_S_PENDING);
        step_ms(b, RELEASE_TIMEOUT_MS + 1);
        qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
        qvirtio_buf_check_ram(b, buffer.addr, buffer.size, 0x11);
        qtest_memset(b->qts, buffer.addr, 0xee, buffer.size);
        seen = ask(&backend, &look);
        check_seen(&seen, buffer.size, 0x11);
    }
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
    qos_add_test("share/process/lookup", "virtio-buf", test_process_lookup,
                 &opts);
    qos_add_test("share/process/keeps", "virtio-buf", test_process_keeps,
                 &opts);
    opts.edge.extra_device_opts = QVIRTIO_BUF_SERVER;
    qos_add_test("share/off", "virtio-buf", test_off, &opts);
}

libqos_init(register_virtio_buf_share_test);
