/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef EXEC_TARGET_PAGE_H
#define EXEC_TARGET_PAGE_H

size_t qemu_target_page_size(void);

#endif /* EXEC_TARGET_PAGE_H */
