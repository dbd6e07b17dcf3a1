/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef EXEC_RAMBLOCK_H
#define EXEC_RAMBLOCK_H

#include "exec/memory.h"

typedef uint64_t ram_addr_t;
typedef struct MemoryRegion MemoryRegion;

typedef struct RAMBlock {
    MemoryRegion *mr;
    uint8_t *host;
    int fd;
    uint64_t fd_offset;
    ram_addr_t used_length;
    size_t page_size;
    char idstr[256];
} RAMBlock;

size_t qemu_ram_pagesize(RAMBlock *block);
size_t qemu_real_host_page_size(void);
void memory_region_set_dirty(MemoryRegion *mr, ram_addr_t addr,
                             ram_addr_t size);
bool ram_block_discard_is_disabled(void);

#endif /* EXEC_RAMBLOCK_H */
