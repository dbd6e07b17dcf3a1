/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: nothing is left behind
 *
 * Buffers, devices and consumers come and go, and afterwards QEMU has as many
 * descriptors and as much memory as before. With VIRTIO_BUF_LONG_TESTS in the
 * environment they do so more often.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"
#include "libqos/virtio-buf-machine.h"

#define PAGE_SIZE 4096
#define CONSUMERS 3

static const char *path(void)
{
    return qvirtio_buf_socket_path();
}

static bool is_long(void)
{
    return getenv("VIRTIO_BUF_LONG_TESTS");
}

/* Some buffers of every mode, each of one page, that every consumer has */
typedef struct Set {
    QVirtioBufBuffer buffers[3];
    QBufMemory memory[CONSUMERS][3];
} Set;

static void set_share(Set *set, QVirtioBuf *b, QBufConsumer **consumers,
                      uint64_t addr)
{
    uint64_t serial;
    unsigned i, j;

    for (i = 0; i < ARRAY_SIZE(set->buffers); i++) {
        set->buffers[i] = (QVirtioBufBuffer) {
            .mode = i,
            .stream = i,
            .addr = addr + i * PAGE_SIZE,
        };
        qvirtio_buf_register_ok(b, &set->buffers[i], i);
        for (j = 0; j < CONSUMERS; j++) {
            QBufMemory *memory = &set->memory[j][i];

            qbuf_expect_attached(consumers[j],
                                 qbuf_expect_buffer(consumers[j],
                                                    set->buffers[i].id),
                                 memory);
        }
        serial = qvirtio_buf_update_ok(b, set->buffers[i].id, PAGE_SIZE);
        for (j = 0; j < CONSUMERS; j++) {
            qbuf_expect_update(consumers[j], set->memory[j][i].buffer, serial,
                               NULL);
        }
    }
}

static void set_forget(Set *set)
{
    unsigned i, j;

    for (i = 0; i < ARRAY_SIZE(set->buffers); i++) {
        for (j = 0; j < CONSUMERS; j++) {
            qbuf_memory_clear(&set->memory[j][i]);
        }
    }
}

/*
 * What QEMU has of descriptors and memory: taken when every kind of thing has
 * been there, after half of the rounds, and in the end
 */
typedef struct Account {
    unsigned fds;
    uint64_t memory[3];
} Account;

static void account(Account *a, QTestState *qts, unsigned round,
                    unsigned last)
{
    if (round == last / 10) {
        a->fds = qvirtio_buf_settled_fds(qts);
        a->memory[0] = qvirtio_buf_anonymous_memory(qts);
    } else if (round == last / 2) {
        a->memory[1] = qvirtio_buf_anonymous_memory(qts);
    }
}

static void account_check(Account *a, QTestState *qts)
{
    int64_t first, second;

    qvirtio_buf_wait_fds(qts, a->fds);
    a->memory[2] = qvirtio_buf_anonymous_memory(qts);
    first = a->memory[1] - a->memory[0];
    second = a->memory[2] - a->memory[1];
    g_test_message("%u fds; memory grew by %" PRId64 " bytes, then by %" PRId64,
                   a->fds, first, second);
    if (qvirtio_buf_has_asan(qts) || !is_long()) {
        g_test_message("memory is not compared: %s", is_long() ?
                       "AddressSanitizer keeps what was freed for a while" :
                       "a new thread counts for more than so few rounds");
        return;
    }
    /*
     * Plugging any device costs QEMU 3 KiB each time. A structure of each
     * buffer, or a page of each device, would be more than this.
     */
    g_assert_cmpint(second, <=, 512 * 1024);
}

static void subscribe_all(QBufConsumer **consumers)
{
    unsigned i;

    for (i = 0; i < CONSUMERS; i++) {
        consumers[i] = qbuf_hello(path());
        qbuf_send_subscribe(consumers[i], "test", 8, 0, NULL, 0);
    }
}

static void test_resets(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    uint64_t addr = guest_alloc(alloc, 3 * PAGE_SIZE);
    unsigned last = is_long() ? 1000 : 50, round, i;
    QBufConsumer *consumers[CONSUMERS];
    Account a = {};
    Set set;

    subscribe_all(consumers);
    for (i = 0; i < CONSUMERS; i++) {
        qbuf_expect_device(consumers[i], true);
        qbuf_expect_subscribed(consumers[i]);
    }
    for (round = 0; round < last; round++) {
        account(&a, b->qts, round, last);
        set_share(&set, b, consumers, addr);
        if (round % 2) {
            set_forget(&set);
        }
        qvirtio_buf_restart(b);
        for (i = 0; i < CONSUMERS; i++) {
            qbuf_expect_reset(consumers[i], VIRTIO_BUF_RESET_REASON_DRIVER);
        }
        if (round % 2 == 0) {
            set_forget(&set);
        }
    }
    account_check(&a, b->qts);
    for (i = 0; i < CONSUMERS; i++) {
        qbuf_close(consumers[i]);
    }
    qvirtio_buf_wait_fds(b->qts, a.fds - CONSUMERS);
}

static void test_hotplug(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *first = obj;
    QTestState *qts = first->qts;
    uint64_t addr = guest_alloc(alloc, 3 * PAGE_SIZE);
    unsigned last = is_long() ? 100 : 10, round, i;
    QBufConsumer *consumers[CONSUMERS];
    QVirtioBufPlugged plugged;
    Account a = {};
    Set set;

    subscribe_all(consumers);
    for (i = 0; i < CONSUMERS; i++) {
        qbuf_expect_subscribed(consumers[i]);
    }
    for (round = 0; round < last; round++) {
        account(&a, qts, round, last);
        qvirtio_buf_plug(&plugged, first, "hp");
        for (i = 0; i < CONSUMERS; i++) {
            qbuf_expect_device(consumers[i], true);
        }
        set_share(&set, &plugged.buf, consumers, addr);
        qvirtio_buf_unplug(&plugged, "hp");
        if (is_long()) {
            /* RCU frees a device later; those that wait do not count */
            g_usleep(150 * 1000);
        }
        for (i = 0; i < CONSUMERS; i++) {
            qbuf_expect_reset(consumers[i], VIRTIO_BUF_RESET_REASON_UNPLUG);
            qbuf_expect_device(consumers[i], false);
        }
        set_forget(&set);
    }
    account_check(&a, qts);
    for (i = 0; i < CONSUMERS; i++) {
        qbuf_close(consumers[i]);
    }
    qvirtio_buf_wait_fds(qts, a.fds - CONSUMERS);
    qos_invalidate_command_line();
}

/* Each way in which a buffer is given back, and consumers that say little */
static void test_buffers(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioBuf *b = obj;
    QBufConsumer *c = qbuf_subscribe_none(path(), "test", 8);
    uint64_t addr = guest_alloc(alloc, PAGE_SIZE);
    unsigned own = 0, i;
    QBufMemory memory;
    uint64_t handle;

    for (i = 0; i < 103; i++) {
        QVirtioBufBuffer buffer = { .addr = addr };

        if (i == 3) {
            own = qvirtio_buf_settled_fds(b->qts);
        }
        qvirtio_buf_register_ok(b, &buffer, i);
        handle = qbuf_expect_buffer(c, buffer.id);
        qbuf_expect_attached(c, handle, &memory);
        qbuf_memory_clear(&memory);
        if (i % 3 == 0) {
            qbuf_detach(c, handle);
            qvirtio_buf_unregister(b, buffer.id);
            qbuf_expect_remove(c, handle);
        } else if (i % 3 == 1) {
            qvirtio_buf_unregister(b, buffer.id);
            qbuf_expect_remove(c, handle);
            qbuf_removed(c, handle);
            qvirtio_buf_wait_event(b, buffer.id, VIRTIO_BUF_EVENT_FREED, NULL);
        } else {
            qvirtio_buf_restart(b);
            qbuf_expect_reset(c, VIRTIO_BUF_RESET_REASON_DRIVER);
        }
    }
    own = qvirtio_buf_wait_fds(b->qts, own);

    for (i = 0; i < 100; i++) {
        qbuf_close(i % 2 ? qbuf_connect(path()) : qbuf_hello(path()));
    }
    own = qvirtio_buf_wait_fds(b->qts, own);
    qbuf_close(c);
    qvirtio_buf_wait_fds(b->qts, own - 1);
}

/* A QEMU of its own, whose threads have one heap: each new one takes MiBs */
static void *before(GString *cmd_line, void *arg)
{
    g_setenv("MALLOC_ARENA_MAX", "1", true);
    qvirtio_buf_before(cmd_line, arg);
    g_string_append(cmd_line, " -name leak");
    return arg;
}

static void register_virtio_buf_leak_test(void)
{
    QOSGraphTestOptions opts = {
        .before = before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };
    QOSGraphTestOptions no_link = {
        .before = before,
    };

    qos_add_test("leak/buffers", "virtio-buf", test_buffers, &opts);
    qos_add_test("leak/resets", "virtio-buf", test_resets, &opts);
    qos_add_test("leak/hotplug", "virtio-buf", test_hotplug, &no_link);
}

libqos_init(register_virtio_buf_leak_test);
