/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef QTEST_H
#define QTEST_H

bool qtest_enabled(void);

#endif /* QTEST_H */
