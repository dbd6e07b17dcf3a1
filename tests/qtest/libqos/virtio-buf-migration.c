/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moving a virtio-buf device from one QEMU to another
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qobject/qdict.h"
#include "../libqtest.h"
#include "virtio-buf-migration.h"

/* The first @from of @text is replaced */
static char *replace(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);

    g_assert_nonnull(at);
    return g_strdup_printf("%.*s%s%s", (int)(at - text), text, to,
                           at + strlen(from));
}

void *qvirtio_buf_small_before(GString *cmd_line, void *arg)
{
    g_string_append_printf(cmd_line,
                           " -m 16M"
                           " -object memory-backend-memfd,id=mem,size=16M"
                           " -machine memory-backend=mem"
                           " -object virtio-buf-server,id=s0,path=%s",
                           qvirtio_buf_socket_path());
    return arg;
}

QVirtioBufDestination *
qvirtio_buf_destination_new(QOSBeforeTest before, const char *from,
                            const char *to)
{
    QVirtioBufDestination *d = g_new0(QVirtioBufDestination, 1);
    g_autoptr(GString) line = g_string_new(qos_get_current_command_line());
    g_autofree char *moved = NULL, *changed = NULL, *args = NULL;

    d->dir = g_dir_make_tmp("virtio-buf-XXXXXX", NULL);
    g_assert_nonnull(d->dir);
    d->server = g_build_filename(d->dir, "server", NULL);
    d->channel = g_build_filename(d->dir, "channel", NULL);
    d->messages = g_build_filename(d->dir, "messages", NULL);

    before(line, NULL);
    moved = replace(line->str, qvirtio_buf_socket_path(), d->server);
    changed = from ? replace(moved, from, to) : g_strdup(moved);
    args = g_strdup_printf("%s -incoming defer 2>%s", changed, d->messages);
    d->qts = qtest_init(args);
    return d;
}

void qvirtio_buf_destination_free(QVirtioBufDestination *d)
{
    qtest_quit(d->qts);
    g_unlink(d->messages);
    g_unlink(d->channel);
    g_assert_cmpint(g_rmdir(d->dir), ==, 0);
    g_free(d->messages);
    g_free(d->channel);
    g_free(d->server);
    g_free(d->dir);
    g_free(d);
}

void qvirtio_buf_move(QVirtioBufDestination *d, const QVirtioBuf *b)
{
    g_assert_nonnull(b->pci);
    d->bus = *b->pci->pdev->bus;
    d->bus.qts = d->qts;
    d->pdev = *b->pci->pdev;
    d->pdev.bus = &d->bus;
    d->pci = *b->pci;
    d->pci.pdev = &d->pdev;
    d->vq = *container_of(b->vq, QVirtQueuePCI, vq);
    d->vq.vq.vdev = &d->pci.vdev;
    d->buf = *b;
    d->buf.qts = d->qts;
    d->buf.pci = &d->pci;
    d->buf.vdev = &d->pci.vdev;
    d->buf.vq = &d->vq.vq;
}

void qvirtio_buf_destination_said(QVirtioBufDestination *d, const char *text)
{
    g_autofree char *messages = NULL;

    g_assert_true(g_file_get_contents(d->messages, &messages, NULL, NULL));
    if (!strstr(messages, text)) {
        g_error("QEMU has said: %s\nnot: %s", messages, text);
    }
}

void qvirtio_buf_incoming(QVirtioBufDestination *d, const char *uri)
{
    qtest_qmp_assert_success(d->qts,
                             "{'execute': 'migrate-incoming', 'arguments': {"
                             "'uri': %s, 'exit-on-error': false}}", uri);
}

void qvirtio_buf_outgoing(QTestState *qts, const char *uri)
{
    qtest_qmp_assert_success(qts, "{'execute': 'migrate', 'arguments': "
                             "{'uri': %s}}", uri);
}

bool qvirtio_buf_migrated(QTestState *qts)
{
    /* All of RAM goes through a socket: slow where a CPU is emulated */
    int64_t end = g_get_monotonic_time() + 10 * QVIRTIO_BUF_TIMEOUT_US;

    for (;;) {
        QDict *ret = qtest_qmp_assert_success_ref(
            qts, "{'execute': 'query-migrate'}");
        const char *status = qdict_get_try_str(ret, "status") ?: "none";
        bool done = g_str_equal(status, "completed");
        bool failed = g_str_equal(status, "failed") ||
                      g_str_equal(status, "cancelled");

        if (!done && !failed && g_get_monotonic_time() > end) {
            g_error("the migration does not end: %s", status);
        }
        qobject_unref(ret);
        if (done || failed) {
            return done;
        }
        g_usleep(1000);
    }
}

void qvirtio_buf_migration_capability(QTestState *qts, const char *name,
                                      bool on)
{
    qtest_qmp_assert_success(qts,
        "{'execute': 'migrate-set-capabilities', 'arguments': {"
        "'capabilities': [{'capability': %s, 'state': %i}]}}", name, on);
}

static void wait_running(QTestState *qts)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    bool running = false;

    while (!running) {
        QDict *ret = qtest_qmp_assert_success_ref(
            qts, "{'execute': 'query-status'}");

        running = qdict_get_bool(ret, "running");
        qobject_unref(ret);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

bool qvirtio_buf_migrate(const QVirtioBuf *b, QVirtioBufDestination *d)
{
    g_autofree char *uri = g_strdup_printf("unix:%s", d->channel);
    bool done;

    /* Else the source does not hear of what fails at the destination */
    qvirtio_buf_migration_capability(b->qts, "return-path", true);
    qvirtio_buf_incoming(d, uri);
    qvirtio_buf_outgoing(b->qts, uri);
    done = qvirtio_buf_migrated(b->qts);
    g_assert_cmpint(qvirtio_buf_migrated(d->qts), ==, done);
    if (done) {
        wait_running(d->qts);
        qvirtio_buf_move(d, b);
    } else {
        wait_running(b->qts);
    }
    return done;
}
