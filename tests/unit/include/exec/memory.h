/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef MEMORY_H
#define MEMORY_H

typedef struct AddressSpace AddressSpace;
typedef struct RAMBlock RAMBlock;
typedef struct RamDiscardManager RamDiscardManager;
typedef uint64_t hwaddr;
typedef uint64_t ram_addr_t;
typedef uint64_t Int128;

typedef struct MemoryRegion {
    RAMBlock *ram_block;
    int references;
} MemoryRegion;

typedef struct MemoryRegionSection {
    MemoryRegion *mr;
    hwaddr offset_within_region;
    Int128 size;
} MemoryRegionSection;

#define int128_make64(x) (x)
#define MEMTXATTRS_UNSPECIFIED 0

MemoryRegion *address_space_translate(AddressSpace *as, hwaddr addr,
                                      hwaddr *xlat, hwaddr *len, bool is_write,
                                      int attrs);
bool memory_region_is_ram(MemoryRegion *mr);
bool memory_region_is_ram_device(MemoryRegion *mr);
bool memory_region_is_rom(MemoryRegion *mr);
bool memory_region_is_protected(MemoryRegion *mr);
void memory_region_ref(MemoryRegion *mr);
void memory_region_unref(MemoryRegion *mr);
bool memory_region_has_ram_discard_manager(MemoryRegion *mr);
RamDiscardManager *memory_region_get_ram_discard_manager(MemoryRegion *mr);
bool ram_discard_manager_is_populated(const RamDiscardManager *rdm,
                                      const MemoryRegionSection *section);
bool ram_block_discard_is_disabled(void);
void memory_region_set_dirty(MemoryRegion *mr, ram_addr_t addr,
                             ram_addr_t size);

#endif /* MEMORY_H */
