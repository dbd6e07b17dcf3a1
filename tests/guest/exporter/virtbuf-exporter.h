/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * virtbuf-exporter: dma-bufs of all kinds, for virtbuf-test. A module of tests.
 */
#ifndef VIRTBUF_EXPORTER_H
#define VIRTBUF_EXPORTER_H

#include <linux/ioctl.h>

#define EXPORTER_NODE	"/dev/virtbuf-exporter"

/* What a dma-buf of two pages is made of */
#define EXPORTER_RAM		0 /* RAM, as it should be */
#define EXPORTER_MMIO		1 /* addresses of a PCI device */
#define EXPORTER_MIXED		2 /* a page of RAM, a page of MMIO */
#define EXPORTER_PEER_TO_PEER	3 /* refuses who cannot do peer-to-peer */
#define EXPORTER_EMPTY		4 /* a table without entries */
#define EXPORTER_SHORT		5 /* the table ends after one page */
#define EXPORTER_BROKEN		6 /* runs that end inside of a page */
#define EXPORTER_ODD_SIZE	7 /* RAM, but the size is no page multiple */
#define EXPORTER_KINDS		8

/* The argument is one of those; gives the fd of a dma-buf */
#define EXPORTER_CREATE		_IO('v', 0)

#endif
