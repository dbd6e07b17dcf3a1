/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-revoke: attacks the taking back of buffers, in the guest.
 *
 * The other half is tests/lab/hoarder.py on the host: it subscribes to
 * APPLICATION_HOLDER and keeps what it gets. In each round a buffer of random
 * size is given to it and taken back, while a thread goes on writing in the
 * buffer's pages and their neighbours and misses no write. Once the buffer is
 * FREED, it is filled with a secret. The hoarder must not see that in the next
 * round, and what the hoarder writes then must not be seen here.
 *
 * Writes TAP; all rounds are one test.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"

#define WORDS           (page / sizeof(uint64_t))
#define MAX_PAGES       64
/* As hoarder.py knows them */
#define SECRET          0x5345435245542121ull
#define COUNTERS        0x100000000ull

/* Each access is one in the page that is there now, none is kept or merged */
typedef volatile uint64_t word; /* hence volatile */

struct writer {
    word *memory;
    size_t pages;
    uint64_t rounds;            /* all counters are there, or one before */
    uint64_t lost;
    atomic_bool stop;
    pthread_t thread;
};

static unsigned int rounds = 100, seed = 1;
static bool need_dmabuf = true;
static uint64_t page;

/* Counts up in the first and the last word of each page */
static void *write_on(void *opaque)
{
    struct writer *writer = opaque;

    while (!atomic_load(&writer->stop)) {
        uint64_t expected = COUNTERS + writer->rounds;

        for (size_t i = 0; i < writer->pages; i++) {
            word *first = writer->memory + i * WORDS;
            word *last = first + WORDS - 1;

            if (*first != expected || *last != expected) {
                writer->lost++;
                test_note("page %zu of %zu: %llx and %llx, not %llx", i,
                          writer->pages, (unsigned long long)*first,
                          (unsigned long long)*last,
                          (unsigned long long)expected);
            }
            *first = expected + 1;
            *last = expected + 1;
        }
        writer->rounds++;
    }
    return NULL;
}

static void writer_start(struct writer *writer, void *memory, size_t pages)
{
    memset(writer, 0, sizeof(*writer));
    writer->memory = memory;
    writer->pages = pages;
    for (size_t i = 0; i < pages * WORDS; i++) {
        writer->memory[i] = COUNTERS;
    }
    CHECK_EQ(pthread_create(&writer->thread, NULL, write_on, writer), 0);
}

static void writer_end(struct writer *writer)
{
    atomic_store(&writer->stop, true);
    CHECK_EQ(pthread_join(writer->thread, NULL), 0);
    CHECK_EQ(writer->lost, 0);
    CHECK(writer->rounds > 0);
    /* What nobody wrote to is as it was, too */
    for (size_t i = 0; i < writer->pages * WORDS; i++) {
        uint64_t expected = COUNTERS;

        if (i % WORDS == 0 || i % WORDS == WORDS - 1) {
            expected += writer->rounds;
        }
        CHECK_EQ(writer->memory[i], expected);
    }
}

/* All but the first and the last page of the BO are the buffer */
static uint32_t register_inside(int fd, uint32_t bo, size_t pages)
{
    struct registration reg;

    registration_init(&reg, bo, pages * page);
    reg.ranges[0].offset = page;
    reg.ranges[0].size = (pages - 2) * page;
    reg.args.application = PTR(APPLICATION_HOLDER);
    reg.args.application_len = strlen(APPLICATION_HOLDER);
    reg.args.mode = DRM_VIRTBUF_MODE_IN_PLACE;
    CHECK_OK(registration_do(fd, &reg));
    if (need_dmabuf && reg.args.backing != DRM_VIRTBUF_BACKING_DMABUF) {
        test_fail(__FILE__, __LINE__, "the buffer is copied: reason %u",
                  reg.args.reason);
    }
    return reg.args.buffer;
}

/* Of the round before. The hoarder writes to it when it has the next buffer. */
struct loot {
    uint32_t bo;
    uint64_t *memory;
    size_t pages;
};

static void loot_check(int fd, struct loot *loot)
{
    if (!loot->memory) {
        return;
    }
    for (size_t i = 0; i < loot->pages * WORDS; i++) {
        CHECK_EQ(loot->memory[i], SECRET);
    }
    munmap(loot->memory, loot->pages * page);
    bo_close(fd, loot->bo);
    loot->memory = NULL;
}

static uint64_t attack(int fd, size_t pages, struct loot *loot)
{
    uint32_t bo = bo_create(fd, pages * page), buffer;
    uint64_t *memory = bo_map(fd, bo, pages * page);
    struct writer writer;

    writer_start(&writer, memory, pages);
    buffer = register_inside(fd, bo, pages);
    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                      PATIENCE_MS));
    buffer_update(fd, buffer, (pages - 2) * page);
    if (buffer_unregister(fd, buffer) == DRM_VIRTBUF_STATE_PENDING) {
        CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_FREED, 0,
                          PATIENCE_MS));
    }
    writer_end(&writer);
    loot_check(fd, loot);

    for (size_t i = 0; i < pages * WORDS; i++) {
        memory[i] = SECRET;
    }
    *loot = (struct loot) { .bo = bo, .memory = memory, .pages = pages };
    return writer.rounds * pages * 2;
}

static void taking_back(void)
{
    struct loot loot = { 0 };
    uint64_t writes = 0;
    int fd = device_open();

    page = device_page(fd);
    srandom(seed);
    for (unsigned int i = 0; i < rounds; i++) {
        size_t pages = 3 + (size_t)random() % (MAX_PAGES - 2);

        writes += attack(fd, pages, &loot);
        if (i % 20 == 19) {
            test_note("%u rounds, %llu writes", i + 1,
                      (unsigned long long)writes);
        }
    }
    loot_check(fd, &loot);
    test_note("%u rounds, %llu writes, none lost", rounds,
              (unsigned long long)writes);
    close(fd);
}

static void usage(FILE *out)
{
    fputs("Usage: virtbuf-revoke [--rounds N] [--seed N] [--any-backing]\n"
          "Needs hoarder.py on the host. Writes TAP.\n", out);
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        { "rounds", required_argument, NULL, 'r' },
        { "seed", required_argument, NULL, 's' },
        { "any-backing", no_argument, NULL, 'a' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    static const struct test tests[] = { { "taking-back", taking_back, 0 } };
    const struct suite suite = SUITE("revoke", tests);
    struct harness_options options = { 0 };
    char message[1024];
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'r':
            rounds = (unsigned int)atoi(optarg);
            break;
        case 's':
            seed = (unsigned int)atoi(optarg);
            break;
        case 'a':
            need_dmabuf = false;
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (!device_setup(NULL, NULL, message, sizeof(message))) {
        printf("Bail out! %s\n", message);
        return 3;
    }

    options.time_limit_s = 60 + rounds * 10;
    return harness_run(&suite, 1, &options);
}
