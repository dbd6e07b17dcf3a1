/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a fuzz target without a fuzzer: over the files of its corpus, and over
 * changed copies of them that are the same in each run.
 *
 *     fuzz-NAME MUTATIONS DIR          each file, and that many copies of each
 *     fuzz-NAME --input K FILE         copy K of one file only; 0: the file
 *
 * Speaks TAP, a case for each file. A file is run in a process of its own, so
 * that a fault is told with what it takes to see it again.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_MAX 65536

struct input {
    uint8_t bytes[INPUT_MAX];
    size_t size;
};

static uint32_t state;

static uint32_t random_below(uint32_t limit)
{
    state = state * 1664525 + 1013904223;
    return (state >> 8) % limit;
}

/* Takes @n bytes out at @from and puts them in again, or not, at @to */
static void move_bytes(struct input *in, size_t from, size_t n, bool keep)
{
    if (keep && in->size + n <= INPUT_MAX) {
        memmove(in->bytes + from + n, in->bytes + from, in->size - from);
        in->size += n;
    } else if (!keep) {
        memmove(in->bytes + from, in->bytes + from + n, in->size - from - n);
        in->size -= n;
    }
}

static void mutate(struct input *in, uint32_t number)
{
    static const uint8_t values[] = { 0, 1, 2, 7, 8, 9, 0x10, 0x7f, 0x80,
                                      0xff };
    uint32_t count, i;
    size_t at, n;

    state = number;
    count = 1 + random_below(4);
    for (i = 0; i < count && in->size; i++) {
        at = random_below((uint32_t)in->size);
        n = 1 + random_below(16);
        n = n < in->size - at ? n : in->size - at;
        switch (random_below(8)) {
        case 0:
            in->bytes[at] = values[random_below(sizeof(values))];
            break;
        case 1:
            in->bytes[at] = (uint8_t)random_below(256);
            break;
        case 2:
            in->bytes[at] = (uint8_t)(in->bytes[at] + random_below(17) - 8);
            break;
        case 3:
            memset(in->bytes + at, (int)random_below(2) * 255, n);
            break;
        case 4:
            move_bytes(in, at, n, true);
            break;
        case 5:
            move_bytes(in, at, n, false);
            break;
        default:
            in->bytes[at] ^= (uint8_t)(1 << random_below(8));
            break;
        }
    }
}

static void load(struct input *in, const char *path)
{
    FILE *file = fopen(path, "rb");

    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
    in->size = fread(in->bytes, 1, sizeof(in->bytes), file);
    fclose(file);
}

static void run(const struct input *original, uint32_t number)
{
    static struct input in;

    in = *original;
    if (number) {
        mutate(&in, number);
    }
    LLVMFuzzerTestOneInput(in.bytes, in.size);
}

/*
 * Returns whether all went well; if not, @number is of the copy that did not.
 * It is in memory that the child, which may end at any time, has in common.
 */
static bool run_file(const char *path, uint32_t mutations, uint32_t *number,
                     int *status)
{
    static struct input in;
    uint32_t i;
    pid_t child;

    load(&in, path);
    fflush(stdout);
    child = fork();
    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (!child) {
        for (i = 0; i <= mutations; i++) {
            __atomic_store_n(number, i, __ATOMIC_SEQ_CST);
            run(&in, i);
        }
        exit(0);
    }
    if (waitpid(child, status, 0) < 0) {
        perror("waitpid");
        exit(2);
    }
    return *status == 0;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int run_folder(const char *program, const char *folder,
                      uint32_t mutations)
{
    uint32_t *number = mmap(NULL, sizeof(*number), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct dirent **names;
    int count = scandir(folder, &names, visible, alphasort);
    int i, status, failed = 0;
    char path[4096];

    if (number == MAP_FAILED || count <= 0) {
        fprintf(stderr, "%s: no corpus\n", folder);
        return 2;
    }
    printf("1..%d\n", count);
    for (i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
        if (run_file(path, mutations, number, &status)) {
            printf("ok %d %s\n", i + 1, names[i]->d_name);
        } else {
            failed++;
            printf("# wait status 0x%x; again: %s --input %u %s\n"
                   "not ok %d %s\n", (unsigned int)status, program, *number,
                   path, i + 1, names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
    return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    static struct input in;

    if (argc == 4 && !strcmp(argv[1], "--input")) {
        load(&in, argv[3]);
        run(&in, (uint32_t)strtoul(argv[2], NULL, 0));
        return 0;
    }
    if (argc != 3) {
        fprintf(stderr, "usage: %s MUTATIONS DIR | --input K FILE\n", argv[0]);
        return 2;
    }
    return run_folder(argv[0], argv[2], (uint32_t)strtoul(argv[1], NULL, 0));
}
