/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a fuzz target without a fuzzer: over the files of its corpus, and over
 * changed copies of them that are the same in each run.
 *
 *     fuzz-NAME MUTATIONS DIR          each file, and that many copies of each
 *     fuzz-NAME --input K FILE         copy K of one file only; 0: the file
 *     fuzz-NAME --inputs N FILE FD     all up to N; their numbers go to FD
 *
 * In an emulator that was built with it there are several targets, and its own
 * argument, --fuzz-target=NAME, comes before these.
 *
 * Speaks TAP, a case for each file. A file is run by another process, which is
 * this program again (threads of an emulator do not outlive a fork): so a fault
 * is told with what it takes to see it again.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    uint8_t *exact;

    in = *original;
    if (number) {
        mutate(&in, number);
    }
    /* For a sanitizer to see what is read behind the end */
    exact = malloc(in.size ? in.size : 1);
    if (!exact) {
        perror("malloc");
        exit(2);
    }
    memcpy(exact, in.bytes, in.size);
    LLVMFuzzerTestOneInput(exact, in.size);
    free(exact);
}

static void run_all(const char *path, uint32_t count, int fd)
{
    static struct input in;
    uint32_t i;

    load(&in, path);
    for (i = 0; i <= count; i++) {
        if (write(fd, &i, sizeof(i)) != sizeof(i)) {
            perror("write");
            exit(2);
        }
        run(&in, i);
    }
}

/* This program with other arguments; @target only if it has one */
static void become(const char *program, const char *target,
                   const char *mutations, const char *path, int fd)
{
    const char *argv[7], **arg = argv;
    char text[16];

    snprintf(text, sizeof(text), "%d", fd);
    *arg++ = program;
    if (*target) {
        *arg++ = target;
    }
    *arg++ = "--inputs";
    *arg++ = mutations;
    *arg++ = path;
    *arg++ = text;
    *arg = NULL;
    execv("/proc/self/exe", (char **)argv);
    perror("execv");
    _exit(2);
}

/* Returns whether all went well; if not, @number is of the copy that did not */
static bool run_file(const char *program, const char *target,
                     const char *mutations, const char *path,
                     uint32_t *number, int *status)
{
    int news[2];
    pid_t child;

    *number = 0;
    fflush(stdout);
    if (pipe(news) < 0) {
        perror("pipe");
        exit(2);
    }
    child = fork();
    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (!child) {
        close(news[0]);
        become(program, target, mutations, path, news[1]);
    }
    close(news[1]);
    while (read(news[0], number, sizeof(*number)) == sizeof(*number)) {
        /* The last one counts */
    }
    close(news[0]);
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

/* @program, with @target if that is not empty, is what runs one file again */
static int run_folder(const char *program, const char *target,
                      const char *mutations, const char *folder)
{
    struct dirent **names;
    int count = scandir(folder, &names, visible, alphasort);
    int i, status, failed = 0;
    char path[4096];
    uint32_t number;

    if (count <= 0) {
        fprintf(stderr, "%s: no corpus\n", folder);
        return 2;
    }
    printf("1..%d\n", count);
    for (i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
        if (run_file(program, target, mutations, path, &number, &status)) {
            printf("ok %d %s\n", i + 1, names[i]->d_name);
        } else {
            failed++;
            printf("# wait status 0x%x; again: %s%s%s --input %u %s\n"
                   "not ok %d %s\n", (unsigned int)status, program,
                   *target ? " " : "", target, number, path, i + 1,
                   names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
    return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    const char *program = argv[0], *target = "";
    char **args = argv + 1;
    static struct input in;

    if (argc > 1 && !strncmp(argv[1], "--fuzz-target=", 14)) {
        target = *args++;
    }
    argc -= (int)(args - argv);
    if (argc == 2) {
        return run_folder(program, target, args[0], args[1]);
    }
    if (argc < 3 || strncmp(args[0], "--input", 7)) {
        fprintf(stderr, "usage: %s MUTATIONS DIR | --input K FILE\n", program);
        return 2;
    }
    if (LLVMFuzzerInitialize) {
        int count = 2;

        LLVMFuzzerInitialize(&count, &argv);
    }
    if (argc == 4) {
        run_all(args[2], (uint32_t)strtoul(args[1], NULL, 0), atoi(args[3]));
    } else {
        load(&in, args[2]);
        run(&in, (uint32_t)strtoul(args[1], NULL, 0));
    }
    return 0;
}
