/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A read-only fd of a memfd is no protection: its holder reopens it for
 * writing. F_SEAL_FUTURE_WRITE is one, and leaves the mapping that was there.
 */
#include "proof.h"

/* Opens the file of @fd once more, as any process that got @fd can */
static int reopen(int fd, int flags)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

static bool can_map_writable(int fd, size_t size)
{
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (map == MAP_FAILED) {
        return false;
    }
    munmap(map, size);
    return true;
}

int main(void)
{
    const size_t size = 4096;
    int fd = make_memfd(size, F_SEAL_SHRINK | F_SEAL_GROW);
    uint8_t *own = map_shared(fd, size);
    const uint8_t *reader;
    int again;

    again = reopen(reopen(fd, O_RDONLY), O_RDWR);
    FACT(again >= 0 && can_map_writable(again, size),
         "an O_RDONLY fd of a memfd is reopened O_RDWR and mapped writable");
    close(again);

    NEED(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0);
    again = reopen(fd, O_RDWR);
    FACT(!can_map_writable(fd, size), "sealed: no writable mapping");
    FACT(again < 0 || !can_map_writable(again, size),
         "sealed: none of a reopened fd");
    FACT(write(fd, "x", 1) < 0 && errno == EPERM, "sealed: no write()");
    FACT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                   (off_t)size) < 0, "sealed: no hole is punched");
    FACT(ftruncate(fd, 0) < 0 && ftruncate(fd, 2 * (off_t)size) < 0,
         "sealed: the size stays");
    FACT(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0, "sealed: no more seals");
    reader = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    NEED(reader != MAP_FAILED);
    FACT(mprotect((void *)reader, size, PROT_READ | PROT_WRITE) < 0,
         "sealed: a reader's mapping does not become writable");
    own[0] = 'x';
    FACT(reader[0] == 'x', "the old mapping still writes, and readers see it");
    return proof_result();
}
