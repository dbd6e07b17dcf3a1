/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: copies that consumers keep
 *
 * A consumer here says that it has let go of a copy and has it still, as any
 * program can. What that costs QEMU is bounded.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-machine.h"
#include "libqos/virtio-buf-query.h"

#define PAGE_SIZE 4096
#define LIMITED ",max-buffer-size=16K,max-total-size=16K"

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

static ino_t inode(const QBufMemory *memory)
{
    struct stat st;

    g_assert_cmpint(fstat(memory->fd, &st), ==, 0);
    return st.st_ino;
}

/* Pages that the file has, whoever pays for them */
static uint64_t used_pages(const QBufMemory *memory)
{
    struct stat st;

    g_assert_cmpint(fstat(memory->fd, &st), ==, 0);
    return st.st_blocks * 512 / PAGE_SIZE;
}

/* It is taken back, and @c says that it has let go */
static void unregister(QVirtioBuf *b, QVirtioBufBuffer *buffer,
                       QBufConsumer *c, uint64_t handle)
{
    g_assert_cmpuint(qvirtio_buf_unregister(b, buffer->id), ==,
                     VIRTIO_BUF_S_PENDING);
    qbuf_expect_remove(c, handle);
    qbuf_removed(c, handle);
    qvirtio_buf_wait_event(b, buffer->id, VIRTIO_BUF_EVENT_FREED, NULL);
}

static void check_kept(QVirtioBuf *b, unsigned count, uint64_t bytes)
{
    QDict *device = qbuf_query(b, "buf0");

    qbuf_check_int(device, "kept-count", count);
    qbuf_check_int(device, "kept-bytes", bytes);
    qobject_unref(device);
}

/* However often it is attached, it is the same memory while somebody has it */
static void test_attach(void *obj, void *data, QGuestAllocator *alloc)
{
    enum { TIMES = 4 };
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = { .size = 4 * PAGE_SIZE };
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    QBufMemory memory[TIMES];
    uint64_t handle;
    unsigned fds;

    qvirtio_buf_register_ok(b, &buffer, 0x11);
    handle = qbuf_expect_buffer(c, buffer.id);
    fds = qvirtio_buf_settled_fds(b->qts);
    for (int i = 0; i < TIMES; i++) {
        qtest_memset(b->qts, buffer.addr, 0x20 + i, buffer.size);
        qvirtio_buf_update_ok(b, buffer.id, buffer.size);
        qbuf_attach(c, handle);
        qbuf_expect_attached(c, handle, &memory[i]);
        qbuf_expect_update(c, handle, b->last_serial, NULL);
        qbuf_memory_check(&memory[i], 0, buffer.size, 0x20 + i);
        g_assert_cmpuint(inode(&memory[i]), ==, inode(&memory[0]));
        qbuf_detach(c, handle);
    }
    g_assert_cmpuint(qvirtio_buf_wait_fds(b->qts, fds + 1), <=, fds + 1);

    /* Nobody has it: QEMU does not keep it either */
    for (int i = 0; i < TIMES; i++) {
        qbuf_memory_clear(&memory[i]);
    }
    qbuf_attach(c, handle);
    qbuf_expect_attached(c, handle, &memory[0]);
    qbuf_expect_update(c, handle, b->last_serial, NULL);
    qbuf_memory_clear(&memory[0]);
    qbuf_detach(c, handle);
    qvirtio_buf_wait_fds(b->qts, fds);
    check_kept(b, 0, 0);
    qbuf_close(c);
}

/* Copies of buffers that are gone count until they are let go of */
static void test_limit(void *obj, void *data, QGuestAllocator *alloc)
{
    enum { KEPT = 2 };
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffers[KEPT] = { };
    QVirtioBufBuffer next = { .size = 4 * PAGE_SIZE };
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 0);
    QBufMemory memory[KEPT], other;
    uint64_t handle;
    unsigned fds = qvirtio_buf_settled_fds(b->qts);

    for (int i = 0; i < KEPT; i++) {
        buffers[i].size = 4 * PAGE_SIZE;
        qvirtio_buf_register_ok(b, &buffers[i], 0x11);
        handle = qbuf_expect_buffer(c, buffers[i].id);
        qbuf_attach(c, handle);
        qbuf_expect_attached(c, handle, &memory[i]);
        qvirtio_buf_update_ok(b, buffers[i].id, buffers[i].size);
        qbuf_expect_update(c, handle, b->last_serial, NULL);
        unregister(b, &buffers[i], c, handle);
        check_kept(b, i + 1, (i + 1) * 4 * PAGE_SIZE);
    }
    /* What they have is what they had */
    qbuf_memory_check(&memory[0], 0, 4 * PAGE_SIZE, 0x11);

    qvirtio_buf_register_ok(b, &next, 0x22);
    handle = qbuf_expect_buffer(c, next.id);
    qbuf_attach(c, handle);
    qbuf_expect_refused(c, handle, ENOMEM);

    /* A mapping is as good as a descriptor */
    close(memory[0].fd);
    memory[0].fd = -1;
    check_kept(b, 2, 8 * PAGE_SIZE);
    qbuf_memory_clear(&memory[0]);
    qbuf_attach(c, handle);
    qbuf_expect_attached(c, handle, &other);
    check_kept(b, 1, 4 * PAGE_SIZE);
    qbuf_memory_clear(&other);
    unregister(b, &next, c, handle);
    qbuf_memory_clear(&memory[1]);
    check_kept(b, 0, 0);
    g_assert_cmpuint(qvirtio_buf_wait_fds(b->qts, fds), <=, fds);
    qbuf_close(c);
}

/* What could be written to is emptied, and costs QEMU nothing */
static void test_writer(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QVirtioBufBuffer buffer = {
        .size = 4 * PAGE_SIZE, .access = VIRTIO_BUF_ACCESS_WRITER,
    };
    QBufConsumer *c;
    QBufMemory memory[2];
    uint64_t handle;

    qvirtio_buf_restart_writable(b);
    c = qbuf_subscribe_none(path(), "test", 0);
    qvirtio_buf_register_ok(b, &buffer, 0x11);
    handle = qbuf_expect_buffer(c, buffer.id);
    for (int i = 0; i < 2; i++) {
        qbuf_attach_writer(c, handle);
        qbuf_expect_attached(c, handle, &memory[i]);
        g_assert_cmpuint(used_pages(&memory[i]), ==, 4);
        if (i == 0) {
            qbuf_detach(c, handle);
        }
    }
    g_assert_cmpuint(inode(&memory[0]), !=, inode(&memory[1]));
    unregister(b, &buffer, c, handle);
    for (int i = 0; i < 2; i++) {
        g_assert_cmpuint(used_pages(&memory[i]), ==, 0);
    }
    check_kept(b, 0, 0);
    for (int i = 0; i < 2; i++) {
        qbuf_memory_clear(&memory[i]);
    }
    qbuf_close(c);
}

static void register_virtio_buf_kept_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER ",id=buf0,udmabuf=off"
                                  LIMITED,
    };

    qos_add_test("kept/attach", "virtio-buf", test_attach, &opts);
    qos_add_test("kept/limit", "virtio-buf", test_limit, &opts);
    qos_add_test("kept/writer", "virtio-buf", test_writer, &opts);
}

libqos_init(register_virtio_buf_kept_test);
