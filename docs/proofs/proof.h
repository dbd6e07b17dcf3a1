/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the proofs share. Each of them prints what it found, and ends with 0
 * when the fact holds, 1 when it does not, 77 when this machine cannot tell.
 */
#ifndef PROOF_H
#define PROOF_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/udmabuf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum { HOLDS = 0, DOES_NOT_HOLD = 1, CANNOT_TELL = 77 };

static bool proof_failed;

/* Prints the fact and whether it holds */
#define FACT(cond, ...)                         \
    do {                                        \
        bool holds_ = (cond);                   \
        printf("%s: ", holds_ ? "yes" : "NO");  \
        printf(__VA_ARGS__);                    \
        printf("\n");                           \
        proof_failed |= !holds_;                \
    } while (0)

static inline int proof_result(void)
{
    return proof_failed ? DOES_NOT_HOLD : HOLDS;
}

/* What only fails when the machine is in trouble */
#define NEED(cond)                                                      \
    do {                                                                \
        if (!(cond)) {                                                  \
            printf("line %d: %s: %s\n", __LINE__, #cond,                \
                   strerror(errno));                                    \
            exit(DOES_NOT_HOLD);                                        \
        }                                                               \
    } while (0)

__attribute__((noreturn)) static inline void cannot_tell(const char *why)
{
    printf("skipped: %s\n", why);
    exit(CANNOT_TELL);
}

static inline int open_udmabuf(void)
{
    int fd = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        printf("/dev/udmabuf: %s\n", strerror(errno));
        cannot_tell("no usable udmabuf (CONFIG_UDMABUF, rights)");
    }
    return fd;
}

/* As guest RAM is: sealed against a change of its size */
static inline int make_memfd(size_t size, unsigned int seals)
{
    int fd = memfd_create("proof", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    NEED(fd >= 0);
    NEED(ftruncate(fd, (off_t)size) == 0);
    NEED(fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

static inline uint8_t *map_shared(int fd, size_t size)
{
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    NEED(map != MAP_FAILED);
    return map;
}

/* Returns the dma-buf, or -errno */
static inline int make_dmabuf(int udmabuf, int memfd, size_t offset,
                              size_t size)
{
    struct udmabuf_create create = {
        .memfd = (uint32_t)memfd,
        .flags = UDMABUF_FLAGS_CLOEXEC,
        .offset = offset,
        .size = size,
    };
    int fd = ioctl(udmabuf, UDMABUF_CREATE, &create);

    return fd < 0 ? -errno : fd;
}

/* Reads all of fdinfo; returns its bytes */
static inline size_t read_fdinfo(int fd, char *text, size_t size)
{
    char path[64];
    ssize_t len;
    int info;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    info = open(path, O_RDONLY | O_CLOEXEC);
    NEED(info >= 0);
    len = read(info, text, size - 1);
    NEED(len > 0);
    text[len] = 0;
    close(info);
    return (size_t)len;
}

/* The number of the first count: line */
static inline long first_count(int fd)
{
    char text[4096], *line;

    read_fdinfo(fd, text, sizeof(text));
    line = strstr(text, "\ncount:\t");
    NEED(line);
    return strtol(line + strlen("\ncount:\t"), NULL, 10);
}

/* Is there a page in the file at @start, or in the @size bytes behind? */
static inline bool has_data(int fd, off_t start, size_t size)
{
    off_t data = lseek(fd, start, SEEK_DATA);

    NEED(data >= 0 || errno == ENXIO);
    return data >= 0 && data < start + (off_t)size;
}

#endif /* PROOF_H */
