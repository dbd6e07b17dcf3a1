/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does each way to keep a buffer keep it, and notice what is written to it?
 * With a memfd for the dma-buf, and one process for each look, as in the
 * hoarder.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hoards.h"
#include "taking-back.h"

enum { SIZE = 3 * 4096 };
enum { NOTHING_SEEN, SECRET_SEEN, CANNOT };

static int look(enum hoard_kind kind, const uint8_t *written)
{
    int fd = memfd_create("hoard", MFD_CLOEXEC), keeper = dup(fd);
    struct hoard hoard;
    bool seen;

    if (ftruncate(fd, SIZE) < 0 || !hoard_keep(&hoard, kind, fd, SIZE)) {
        return CANNOT;
    }
    if (written && pwrite(keeper, written, 1, SIZE - 1) != 1) {
        return CANNOT;
    }
    if (!hoard_open(&hoard)) {
        return CANNOT;
    }
    seen = hoard_has_secret(&hoard);
    hoard_spoil(&hoard);
    if (hoard.bytes) {
        uint8_t last;

        if (pread(keeper, &last, 1, SIZE - 1) != 1 || last != JUNK_BYTE) {
            return CANNOT;
        }
    }
    hoard_drop(&hoard);
    return seen ? SECRET_SEEN : NOTHING_SEEN;
}

static int look_in_child(enum hoard_kind kind, const uint8_t *written)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        _exit(look(kind, written));
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
           WEXITSTATUS(status) : CANNOT;
}

int main(void)
{
    static const uint8_t secret = SECRET_BYTE, junk = JUNK_BYTE;
    unsigned int failed = 0;

    for (int kind = 0; kind < HOARD_KINDS; kind++) {
        int wanted = kind == HOARD_NOTHING ? NOTHING_SEEN : SECRET_SEEN;
        const char *obstacle = hoard_obstacle((enum hoard_kind)kind);
        bool good;

        if (obstacle) {
            printf("ok %d - %s # SKIP %s\n", kind + 1, hoard_names[kind],
                   obstacle);
            continue;
        }
        good = look_in_child(kind, &secret) == wanted &&
               look_in_child(kind, &junk) == NOTHING_SEEN &&
               look_in_child(kind, NULL) == NOTHING_SEEN;

        failed += !good;
        printf("%sok %d - %s\n", good ? "" : "not ", kind + 1,
               hoard_names[kind]);
    }
    /* What the guest writes while it shares is no secret */
    for (uint64_t n = 0; n < 1u << 20; n += 4093) {
        if ((counter_word(n) | counter_word(n << 28)) & SECRET_BITS) {
            failed++;
            printf("# %llu has bytes of the secret\n", (unsigned long long)n);
        }
    }
    printf("1..%d\n", HOARD_KINDS);
    return failed ? 1 : 0;
}
