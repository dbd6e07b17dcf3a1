/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In a transparent huge page that a udmabuf pins, a punched part is only
 * zeroed: the page stays shared. SEEK_DATA tells, SEEK_HOLE at the start does
 * not. Punching all of the huge page takes it away.
 *
 * Sets shmem_enabled to advise while it runs.
 */
#include "proof.h"

#define HUGE (2ul << 20)
#define PAGE 4096
#define SHMEM_ENABLED "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static char old_policy[32];

static bool write_policy(const char *policy)
{
    int fd = open(SHMEM_ENABLED, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 &&
                   write(fd, policy, strlen(policy)) == (ssize_t)strlen(policy);

    if (fd >= 0) {
        close(fd);
    }
    return written;
}

static void restore_policy(void)
{
    write_policy(old_policy);
}

static void set_policy(void)
{
    char text[128] = "", *start, *end;
    int fd = open(SHMEM_ENABLED, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        cannot_tell("no transparent huge pages in shmem");
    }
    NEED(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    start = strchr(text, '[');
    end = strchr(text, ']');
    NEED(start && end && end - start < (long)sizeof(old_policy));
    memcpy(old_policy, start + 1, (size_t)(end - start - 1));
    if (!write_policy("advise")) {
        cannot_tell("no right to set the policy of huge pages in shmem");
    }
    atexit(restore_policy);
}

static bool punch(int fd, size_t start, size_t len)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     (off_t)start, (off_t)len) == 0;
}

/* How much of the mapping is in huge pages */
static unsigned long huge_kib(const void *addr)
{
    char line[256], wanted[32];
    unsigned long kib = 0, number;
    bool inside = false;
    FILE *smaps = fopen("/proc/self/smaps", "re");

    NEED(smaps);
    snprintf(wanted, sizeof(wanted), "%lx-", (unsigned long)(uintptr_t)addr);
    while (fgets(line, sizeof(line), smaps)) {
        if (!strncmp(line, wanted, strlen(wanted))) {
            inside = true;
        } else if (inside &&
                   sscanf(line, "ShmemPmdMapped: %lu", &number) == 1) {
            kib = number;
            break;
        }
    }
    fclose(smaps);
    return kib;
}

int main(void)
{
    const size_t len = HUGE + HUGE / 2;
    int udmabuf = open_udmabuf(), memfd, dmabuf;
    uint8_t *ram, *held, *save;
    void *room;

    set_policy();
    memfd = make_memfd(2 * HUGE, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    /* Aligned, or there is no huge page */
    room = mmap(NULL, 3 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(room != MAP_FAILED);
    ram = (uint8_t *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));
    NEED(mmap(ram, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
              memfd, 0) == ram);
    if (madvise(ram, 2 * HUGE, MADV_HUGEPAGE) < 0) {
        cannot_tell("no transparent huge pages");
    }
    memset(ram, 'a', 2 * HUGE);
    printf("%lu KiB in huge pages\n", huge_kib(ram));
    if (huge_kib(ram) != 2 * HUGE / 1024) {
        cannot_tell("the kernel had no huge pages left");
    }

    /* All of the first huge page, and half of the second */
    dmabuf = make_dmabuf(udmabuf, memfd, 0, len);
    NEED(dmabuf >= 0);
    held = map_shared(dmabuf, len);
    held[HUGE] = 'b';
    FACT(ram[HUGE] == 'b', "holder and memfd share");

    NEED(punch(memfd, HUGE, PAGE));
    FACT(ram[HUGE] == 0 && held[HUGE] == 0,
         "a punched part of a pinned huge page is zeroed for both");
    ram[HUGE] = 'c';
    FACT(held[HUGE] == 'c', "and shared still");
    FACT(has_data(memfd, HUGE, PAGE), "SEEK_DATA finds data there");

    NEED(punch(memfd, 0, len));
    FACT(!has_data(memfd, 0, HUGE), "the whole huge page has gone");
    ram[HUGE] = 'd';
    FACT(held[HUGE] == 'd', "the half of the second has not");
    FACT(lseek(memfd, 0, SEEK_HOLE) == 0, "SEEK_HOLE at the start says it has");
    FACT(has_data(memfd, 0, len), "SEEK_DATA over all of it says it has not");

    save = malloc(HUGE);
    NEED(save);
    ram[2 * HUGE - 1] = 'e';
    memcpy(save, ram + HUGE, HUGE);
    NEED(punch(memfd, HUGE, HUGE));
    FACT(!has_data(memfd, 0, 2 * HUGE), "widened to all of it, both have gone");
    memcpy(ram + HUGE, save, HUGE);
    ram[HUGE] = 'f';
    FACT(held[HUGE] == 'd', "the holder does not see new writes");
    FACT(ram[2 * HUGE - 1] == 'e' && ram[len] == 'a',
         "the neighbour's contents are kept");
    free(save);
    return proof_result();
}
