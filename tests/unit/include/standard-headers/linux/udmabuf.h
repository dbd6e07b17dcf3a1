/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's copy of Linux's header */
#include <linux/udmabuf.h>
