/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef EXEC_RAMBLOCK_H
#define EXEC_RAMBLOCK_H

#include "exec/memory.h"

struct RAMBlock {
    MemoryRegion *mr;
    uint8_t *host;
    int fd;
    uint64_t fd_offset;
    int guest_memfd;
    ram_addr_t used_length;
    size_t page_size;
    char idstr[256];
};

bool qemu_ram_is_shared(RAMBlock *block);
size_t qemu_ram_pagesize(RAMBlock *block);
size_t qemu_real_host_page_size(void);

#endif /* EXEC_RAMBLOCK_H */
