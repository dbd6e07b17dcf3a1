/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-revoke: attacks the taking back of buffers, in the guest.
 *
 * The other half is virtio-buf-hoarder on the host: it subscribes to
 * APPLICATION_HOLDER and keeps what it gets, in many ways. In each round a
 * buffer of random size is given to it and taken back, by UNREGISTER or by
 * taking the driver from the device, while a thread goes on writing in the
 * buffer's pages and their neighbours and misses no write. Once the pages are
 * back, they are filled with a secret. The hoarder must not see that, and what
 * it writes must not be seen here, in some rounds that follow. The memory is
 * the driver's, this program's own and another driver's, in turn.
 *
 * With --kexec, the last round ends in another kernel, which fills all memory
 * with the secret (--fill) and goes on.
 *
 * Writes TAP; all rounds are one test.
 */
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <linux/reboot.h>
#include <linux/udmabuf.h>
#include <unistd.h>

#include "device.h"
#include "taking-back.h"

#define WORDS           (page / sizeof(uint64_t))
#define MAX_PAGES       64
/* Some buffers are of more than a huge page */
#define MAX_LARGE_PAGES 1100
#define LARGE_ONE_IN    16
/* In mixed rounds */
#define UNBIND_ONE_IN   10
/* Longer than the hoarder keeps what it has got */
#define LOOTS           5
/* For the hoarder to settle */
#define MAX_DELAY_MS    30
#define KEXEC_PAGES     4096

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

/* Pages that are back, with the secret in them */
struct loot {
    uint64_t *memory;
    size_t pages;
};

enum way { WAY_MIXED, WAY_UNREGISTER, WAY_UNBIND };

enum origin { ORIGIN_BO, ORIGIN_USERPTR, ORIGIN_IMPORT, ORIGINS };

static const char *const origin_names[] = { "bo", "userptr", "import" };

/* A BO, and where its pages are mapped */
struct memory {
    enum origin origin;
    uint32_t bo;
    uint64_t *p;
    size_t pages;
    int dmabuf;                 /* ORIGIN_IMPORT: what was imported */
};

static unsigned int rounds = 100, seed = 1, unbound, used[ORIGINS];
/* The only one; or ORIGINS: all */
static unsigned int only_origin = ORIGINS;
static enum way way = WAY_MIXED;
static bool need_dmabuf = true, fill;
static const char *kexec_kernel, *kexec_initrd, *kexec_option;
static uint64_t page, max_ranges;
static int device;

/* Counts up in the first and the last word of each page */
static void *write_on(void *opaque)
{
    struct writer *writer = opaque;

    while (!atomic_load(&writer->stop)) {
        uint64_t expected = counter_word(writer->rounds);
        uint64_t next = counter_word(writer->rounds + 1);

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
            *first = next;
            *last = next;
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
        writer->memory[i] = counter_word(0);
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
        bool counts = i % WORDS == 0 || i % WORDS == WORDS - 1;

        CHECK_EQ(writer->memory[i],
                 counter_word(counts ? writer->rounds : 0));
    }
}

static void *map(size_t size, int flags, int fd)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

    CHECK(p != MAP_FAILED);
    return p;
}

static void new_userptr(struct memory *memory, size_t size)
{
    struct drm_virtbuf_bo_userptr args = { .size = size };

    memory->p = map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    memset(memory->p, 0, size);
    args.addr = PTR(memory->p);
    CHECK_OK(ioctl(device, DRM_IOCTL_VIRTBUF_BO_USERPTR, &args));
    memory->bo = args.handle;
}

static void new_import(struct memory *memory, size_t size)
{
    struct udmabuf_create create = {
        .flags = UDMABUF_FLAGS_CLOEXEC, .size = size,
    };
    struct drm_prime_handle prime = { 0 };
    int udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), file;

    CHECK_OK(udmabuf);
    file = memfd_create("revoke", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK_OK(file);
    CHECK_OK(ftruncate(file, (off_t)size));
    CHECK_OK(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK));
    create.memfd = (uint32_t)file;
    memory->dmabuf = ioctl(udmabuf, UDMABUF_CREATE, &create);
    CHECK_OK(memory->dmabuf);
    memory->p = map(size, MAP_SHARED, file);
    prime.fd = memory->dmabuf;
    CHECK_OK(ioctl(device, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime));
    memory->bo = prime.handle;
    close(file);
    close(udmabuf);
}

static struct memory memory_new(enum origin origin, size_t pages)
{
    struct memory memory = { .origin = origin, .pages = pages, .dmabuf = -1 };

    switch (origin) {
    case ORIGIN_USERPTR:
        new_userptr(&memory, pages * page);
        break;
    case ORIGIN_IMPORT:
        new_import(&memory, pages * page);
        break;
    default:
        memory.bo = bo_create(device, pages * page);
        memory.p = bo_map(device, memory.bo, pages * page);
    }
    used[origin]++;
    return memory;
}

/* The number behind @key in a file of /proc */
static long read_number(const char *path, const char *key)
{
    size_t length = strlen(key);
    FILE *file = fopen(path, "re");
    char line[256];
    long value = -1;

    CHECK(file != NULL);
    while (value < 0 && fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, length) == 0) {
            value = (long)strtoul(line + length, NULL, 10);
        }
    }
    fclose(file);
    CHECK(value >= 0);
    return value;
}

/* The pages stay mapped; nobody else has a hold on them any more */
static void memory_let_go(struct memory *memory)
{
    int64_t give_up = time_in(PATIENCE_MS);
    char path[64] = "/proc/self/status";
    const char *key = "VmPin:";
    long free_value = 0;

    if (memory->origin == ORIGIN_BO) {
        return;
    }
    if (memory->origin == ORIGIN_IMPORT) {
        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", memory->dmabuf);
        key = "count:";
        free_value = 1; /* this program's descriptor */
    }
    while (read_number(path, key) != free_value && time_in(0) < give_up) {
        sleep_ms(10);
    }
    CHECK_EQ(read_number(path, key), free_value);
    if (memory->origin == ORIGIN_IMPORT) {
        close(memory->dmabuf);
    }
}

/* All but the first and the last page of the BO are the buffer */
static uint32_t register_inside(uint32_t bo, size_t pages)
{
    struct registration reg;

    registration_init(&reg, bo, pages * page);
    reg.ranges[0].offset = page;
    reg.ranges[0].size = (pages - 2) * page;
    reg.args.application = PTR(APPLICATION_HOLDER);
    reg.args.application_len = strlen(APPLICATION_HOLDER);
    reg.args.mode = DRM_VIRTBUF_MODE_IN_PLACE;
    CHECK_OK(registration_do(device, &reg));
    if (need_dmabuf && reg.args.backing != DRM_VIRTBUF_BACKING_DMABUF) {
        test_fail(__FILE__, __LINE__, "the buffer is copied: reason %u",
                  reg.args.reason);
    }
    return reg.args.buffer;
}

/* Registers it, until the hoarder has it and knows that there are contents */
static uint32_t give(uint32_t bo, size_t pages)
{
    uint32_t buffer = register_inside(bo, pages);

    CHECK_OK(wait_one(device, buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                      PATIENCE_MS));
    buffer_update(device, buffer, (pages - 2) * page);
    sleep_ms((unsigned int)random() % MAX_DELAY_MS);
    return buffer;
}

static void take_back(uint32_t buffer)
{
    if (way == WAY_UNBIND ||
        (way == WAY_MIXED && random() % UNBIND_ONE_IN == 0)) {
        device_unbind();
        close(device);
        unbound++;
    } else if (buffer_unregister(device, buffer) ==
               DRM_VIRTBUF_STATE_PENDING) {
        CHECK_OK(wait_one(device, buffer, DRM_VIRTBUF_WAIT_FREED, 0,
                          PATIENCE_MS));
    }
}

static void loot_check(struct loot *loot)
{
    if (!loot->memory) {
        return;
    }
    for (size_t i = 0; i < loot->pages * WORDS; i++) {
        CHECK_EQ(loot->memory[i], SECRET_WORD);
    }
    munmap(loot->memory, loot->pages * page);
    loot->memory = NULL;
}

static uint64_t attack(enum origin origin, size_t pages, struct loot *loot)
{
    struct memory memory = memory_new(origin, pages);
    unsigned int unbound_before = unbound;
    struct writer writer;
    uint32_t buffer;

    writer_start(&writer, memory.p, pages);
    buffer = give(memory.bo, pages);
    /* Later there may be no device, and a mapping keeps the file's handles */
    bo_close(device, memory.bo);
    take_back(buffer);
    /* The pages are the guest's: the writes that come now are seen by nobody */
    writer_end(&writer);
    memset(memory.p, SECRET_BYTE, pages * page);
    if (unbound != unbound_before) {
        device_bind();
        device = device_open();
    }
    memory_let_go(&memory);
    loot_check(loot);
    *loot = (struct loot) { .memory = memory.p, .pages = pages };
    return writer.rounds * pages * 2;
}

static size_t random_pages(enum origin origin)
{
    bool large = random() % LARGE_ONE_IN == 0;
    size_t pages = 3 + (size_t)random() %
                   ((large ? MAX_LARGE_PAGES : MAX_PAGES) - 2);

    /* Only the driver's own memory is sure to have few ranges */
    if (origin != ORIGIN_BO && need_dmabuf && pages - 2 > max_ranges) {
        pages = 2 + max_ranges;
    }
    return pages;
}

static void attack_on(void)
{
    struct loot loots[LOOTS] = { 0 };
    uint64_t writes = 0;

    srandom(seed);
    for (unsigned int i = 0; i < rounds; i++) {
        enum origin origin = only_origin != ORIGINS ? only_origin :
                             i % ORIGINS;

        writes += attack(origin, random_pages(origin), &loots[i % LOOTS]);
        if (i % 20 == 19) {
            test_note("%u rounds, %llu writes", i + 1,
                      (unsigned long long)writes);
        }
    }
    for (unsigned int i = 0; i < LOOTS; i++) {
        loot_check(&loots[i]);
    }
    for (unsigned int i = 0; i < ORIGINS; i++) {
        test_note("%s: %u rounds", origin_names[i], used[i]);
    }
    test_note("seed %u: %u rounds, %u of them by unbinding, %llu writes, none "
              "lost", seed, rounds, unbound, (unsigned long long)writes);
}

/* Most of what is free, until the process ends */
static void fill_memory(void)
{
    struct sysinfo info;
    size_t size;
    void *memory;

    CHECK_OK(sysinfo(&info));
    size = info.freeram * info.mem_unit / 10 * 8;
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, SECRET_BYTE, size);
    test_note("%zu MiB have been filled", (size_t)(size / MIB));
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        test_fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
    }
    return fd;
}

/* Into another kernel, with a buffer that the hoarder has */
static void kexec(void)
{
    uint32_t bo = bo_create(device, KEXEC_PAGES * page);
    uint64_t *memory = bo_map(device, bo, KEXEC_PAGES * page);
    char line[1024] = "";
    ssize_t n;
    int fd;

    fd = open_file("/proc/cmdline");
    n = read(fd, line, sizeof(line) / 2);
    CHECK(n > 0);
    line[n - 1] = ' ';
    strncpy(line + n, kexec_option, sizeof(line) - 1 - (size_t)n);
    CHECK_OK(syscall(SYS_kexec_file_load, open_file(kexec_kernel),
                     open_file(kexec_initrd), strlen(line) + 1, line, 0));

    for (size_t i = 0; i < KEXEC_PAGES * WORDS; i++) {
        memory[i] = counter_word(0);
    }
    give(bo, KEXEC_PAGES);
    test_note("into another kernel");
    CHECK_OK(reboot(LINUX_REBOOT_CMD_KEXEC));
}

static void taking_back(void)
{
    if (way != WAY_UNREGISTER) {
        device_find_driver();
    }
    if (fill) {
        fill_memory();
    }
    device = device_open();
    page = device_page(device);
    max_ranges = device_param(device, DRM_VIRTBUF_PARAM_MAX_DMABUF_RANGES);
    attack_on();
    if (kexec_kernel) {
        kexec();
    }
    close(device);
}

static void usage(FILE *out)
{
    fputs("Usage: virtbuf-revoke [--rounds N] [--seed N] [--any-backing]\n"
          "                      [--only unregister|unbind] [--fill]\n"
          "                      [--memory bo|userptr|import]\n"
          "                      [--kexec KERNEL --initrd INITRD\n"
          "                       --append OPTION]\n"
          "Needs virtio-buf-hoarder on the host. Writes TAP.\n", out);
}

/* ORIGINS: there is none of that name */
static unsigned int origin_of(const char *name)
{
    unsigned int origin = ORIGIN_BO;

    while (origin < ORIGINS && strcmp(name, origin_names[origin])) {
        origin++;
    }
    return origin;
}

static bool parse(int argc, char **argv)
{
    static const struct option long_options[] = {
        { "rounds", required_argument, NULL, 'r' },
        { "seed", required_argument, NULL, 's' },
        { "any-backing", no_argument, NULL, 'a' },
        { "only", required_argument, NULL, 'o' },
        { "fill", no_argument, NULL, 'f' },
        { "memory", required_argument, NULL, 'm' },
        { "kexec", required_argument, NULL, 'k' },
        { "initrd", required_argument, NULL, 'i' },
        { "append", required_argument, NULL, 'p' },
        { 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'r':
            rounds = (unsigned int)atoi(optarg);
            break;
        case 's':
            seed = (unsigned int)strtoul(optarg, NULL, 0);
            break;
        case 'a':
            need_dmabuf = false;
            break;
        case 'o':
            way = strcmp(optarg, "unbind") ? WAY_UNREGISTER : WAY_UNBIND;
            break;
        case 'f':
            fill = true;
            break;
        case 'm':
            only_origin = origin_of(optarg);
            if (only_origin == ORIGINS) {
                return false;
            }
            break;
        case 'k':
            kexec_kernel = optarg;
            break;
        case 'i':
            kexec_initrd = optarg;
            break;
        case 'p':
            kexec_option = optarg;
            break;
        default:
            return false;
        }
    }
    return !kexec_kernel == !kexec_initrd && !kexec_kernel == !kexec_option;
}

int main(int argc, char **argv)
{
    static const struct test tests[] = { { "taking-back", taking_back, 0 } };
    const struct suite suite = SUITE("revoke", tests);
    struct harness_options options = { 0 };
    char message[1024];

    if (!parse(argc, argv)) {
        usage(stderr);
        return 2;
    }
    if (!device_setup(NULL, NULL, message, sizeof(message))) {
        printf("Bail out! %s\n", message);
        return 3;
    }

    options.time_limit_s = 120 + rounds * 10;
    return harness_run(&suite, 1, &options);
}
