/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine around a virtio-buf in tests: further devices, and what the
 * process of QEMU has open
 */
#include "qemu/osdep.h"
#include "../libqtest.h"
#include "libqos-malloc.h"
#include "virtio-buf-machine.h"

#define PCI_SLOT_HP 0x06

void qvirtio_buf_plug(QVirtioBufPlugged *plugged, QVirtioBuf *first,
                      const char *id)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(PCI_SLOT_HP, 0) };

    qtest_qmp_device_add(first->qts, "virtio-buf-pci", id,
                         "{'addr': %s, 'server': 's0', 'instance': 'late'}",
                         stringify(PCI_SLOT_HP));
    plugged->pci = virtio_pci_new(first->pci->pdev->bus, &addr);
    g_assert_nonnull(plugged->pci);
    qvirtio_pci_device_enable(plugged->pci);
    qvirtio_start_device(&plugged->pci->vdev);
    plugged->buf = (QVirtioBuf) {
        .vdev = &plugged->pci->vdev,
        .pci = plugged->pci,
        .alloc = first->alloc,
    };
    qvirtio_buf_setup(&plugged->buf);
}

void qvirtio_buf_unplug(QVirtioBufPlugged *plugged, const char *id)
{
    QVirtioBuf *b = &plugged->buf;

    qpci_unplug_acpi_device_test(b->qts, id, PCI_SLOT_HP);
    qvirtqueue_cleanup(b->vdev->bus, b->vq, b->alloc);
    guest_free(b->alloc, b->request);
    guest_free(b->alloc, b->response);
    qpci_iounmap(plugged->pci->pdev, plugged->pci->bar);
    g_free(plugged->pci->pdev);
    g_free(plugged->pci);
}

unsigned qvirtio_buf_open_fds(QTestState *qts)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/fd", qtest_pid(qts));
    GDir *dir = g_dir_open(name, 0, NULL);
    unsigned count = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        count++;
    }
    g_dir_close(dir);
    return count;
}

unsigned qvirtio_buf_settled_fds(QTestState *qts)
{
    unsigned count = qvirtio_buf_open_fds(qts), same = 0;

    while (same < 5) {
        unsigned now;

        g_usleep(100 * 1000);
        now = qvirtio_buf_open_fds(qts);
        same = now == count ? same + 1 : 0;
        count = now;
    }
    return count;
}

unsigned qvirtio_buf_wait_fds(QTestState *qts, unsigned count)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    unsigned now;

    while ((now = qvirtio_buf_open_fds(qts)) > count) {
        if (g_get_monotonic_time() > end) {
            g_error("QEMU has %u fds open, not %u", now, count);
        }
        g_usleep(1000);
    }
    return now;
}

unsigned long qvirtio_buf_cpu_ticks(QTestState *qts)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/stat", qtest_pid(qts));
    g_autofree char *text = NULL;
    unsigned long user, kernel;

    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    g_assert_cmpint(sscanf(strrchr(text, ')') + 1,
                           " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u"
                           " %lu %lu", &user, &kernel), ==, 2);
    return user + kernel;
}

uint64_t qvirtio_buf_anonymous_memory(QTestState *qts)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/status", qtest_pid(qts));
    g_autofree char *text = NULL;
    const char *line;

    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    line = strstr(text, "\nRssAnon:");
    g_assert_nonnull(line);
    return g_ascii_strtoull(line + strlen("\nRssAnon:"), NULL, 10) * 1024;
}

bool qvirtio_buf_has_asan(QTestState *qts)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/maps", qtest_pid(qts));
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    return strstr(text, "/libasan.so");
}
