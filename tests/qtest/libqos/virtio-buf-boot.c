/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine with a virtio-buf that a test starts by itself, where the graph of
 * qos-test has none like it
 *
 * PC machines only.
 */
#include "qemu/osdep.h"
#include "../libqtest-single.h"
#include "malloc-pc.h"
#include "pci-pc.h"
#include "virtio-buf-boot.h"

#define SLOT 4

void qvirtio_buf_boot(QVirtioBufBooted *booted, const char *options)
{
    *booted = (QVirtioBufBooted) { .outer = global_qtest };
    booted->qts = qtest_initf("-object virtio-buf-server,id=s0,path=%s %s",
                              qvirtio_buf_socket_path(), options);
    global_qtest = booted->qts;
    pc_alloc_init(&booted->alloc, booted->qts, ALLOC_NO_FLAGS);
    booted->bus = qpci_new_pc(booted->qts, &booted->alloc);
}

QVirtioPCIDevice *qvirtio_buf_boot_other(QVirtioBufBooted *booted, int slot)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(slot, 0) };
    QVirtioPCIDevice *pci = virtio_pci_new(booted->bus, &addr);

    g_assert_nonnull(pci);
    qvirtio_pci_device_enable(pci);
    qvirtio_start_device(&pci->vdev);
    return pci;
}

void qvirtio_buf_boot_other_free(QVirtioPCIDevice *pci)
{
    qpci_iounmap(pci->pdev, pci->bar);
    g_free(pci->pdev);
    g_free(pci);
}

void qvirtio_buf_boot_driver(QVirtioBufBooted *booted)
{
    booted->pci = qvirtio_buf_boot_other(booted, SLOT);
    booted->buf = (QVirtioBuf) {
        .vdev = &booted->pci->vdev,
        .pci = booted->pci,
        .alloc = &booted->alloc,
    };
    qvirtio_buf_setup(&booted->buf);
}

void qvirtio_buf_boot_end(QVirtioBufBooted *booted)
{
    if (booted->pci) {
        qvirtqueue_cleanup(booted->buf.vdev->bus, booted->buf.vq,
                           &booted->alloc);
        qvirtio_buf_boot_other_free(booted->pci);
    }
    qpci_free_pc(booted->bus);
    alloc_destroy(&booted->alloc);
    qtest_quit(booted->qts);
    global_qtest = booted->outer;
}
