/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hole punched into a memfd takes its pages away from a udmabuf: the holder
 * keeps the old ones, the memfd gets new ones, and neither sees the other's
 * writes. F_SEAL_SHRINK and F_SEAL_GROW allow it. Neighbours stay shared.
 */
#include "proof.h"

#define PAGES 16
#define PAGE 4096

int main(void)
{
    const size_t size = PAGES * PAGE, start = 4 * PAGE, len = 8 * PAGE;
    int udmabuf = open_udmabuf();
    int memfd = make_memfd(size, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    uint8_t *ram = map_shared(memfd, size), *held, *save;
    int dmabuf;

    memset(ram, 'a', size);
    dmabuf = make_dmabuf(udmabuf, memfd, 0, size);
    NEED(dmabuf >= 0);
    held = map_shared(dmabuf, size);
    ram[start] = 'b';
    FACT(held[start] == 'b', "the holder sees writes to the memfd");

    save = malloc(len);
    NEED(save);
    memcpy(save, ram + start, len);
    FACT(has_data(memfd, (off_t)start, len), "before the punch there is data");
    NEED(fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                   (off_t)start, (off_t)len) == 0);
    FACT(!has_data(memfd, (off_t)start, len), "after it there is none");
    FACT(held[start] == 'b', "the holder keeps its page");
    memcpy(ram + start, save, len);
    FACT(ram[start] == 'b' && ram[start + 1] == 'a',
         "the contents are back in the memfd");

    ram[start] = 'c';
    ram[start + len - 1] = 'c';
    FACT(held[start] == 'b' && held[start + len - 1] == 'a',
         "the holder does not see new writes to the memfd");
    held[start + 1] = 'd';
    FACT(ram[start + 1] == 'a', "the memfd does not see the holder's");
    ram[start - 1] = 'e';
    ram[start + len] = 'e';
    FACT(held[start - 1] == 'e' && held[start + len] == 'e',
         "the pages in front and behind are shared still");
    free(save);
    return proof_result();
}
