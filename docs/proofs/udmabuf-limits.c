/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What udmabuf takes: at most list_limit ranges and size_limit_mb MiB, in whole
 * pages, of memfds with F_SEAL_SHRINK and without F_SEAL_WRITE. Everything else
 * is EINVAL, and an empty list is: QEMU knows udmabuf by that.
 */
#include "proof.h"

#define PARAMETERS "/sys/module/udmabuf/parameters/"

static long parameter(const char *path)
{
    FILE *file = fopen(path, "re");
    long value = -1;

    if (file) {
        if (fscanf(file, "%ld", &value) != 1) {
            value = -1;
        }
        fclose(file);
    }
    printf("%s: %ld\n", path, value);
    return value;
}

/* @count ranges of @pages pages each, one behind the other; fd or -errno */
static int make_list(int udmabuf, int memfd, uint32_t count, size_t pages)
{
    size_t size = sizeof(struct udmabuf_create_list) +
                  count * sizeof(struct udmabuf_create_item);
    struct udmabuf_create_list *list = calloc(1, size);
    int fd;

    NEED(list);
    list->flags = UDMABUF_FLAGS_CLOEXEC;
    list->count = count;
    for (uint32_t i = 0; i < count; i++) {
        list->list[i].memfd = (uint32_t)memfd;
        list->list[i].offset = i * pages * 4096;
        list->list[i].size = pages * 4096;
    }
    fd = ioctl(udmabuf, UDMABUF_CREATE_LIST, list);
    if (fd < 0) {
        fd = -errno;
    }
    free(list);
    return fd;
}

int main(void)
{
    int udmabuf = open_udmabuf();
    long list_limit = parameter(PARAMETERS "list_limit");
    long size_limit = parameter(PARAMETERS "size_limit_mb");
    struct udmabuf_create_list nothing = { 0 };
    int memfd, fd, null;

    FACT(list_limit > 0 && size_limit > 0, "the limits can be read");
    memfd = make_memfd((size_t)(list_limit + 1) * 4096, F_SEAL_SHRINK);
    fd = make_list(udmabuf, memfd, (uint32_t)list_limit, 1);
    FACT(fd >= 0, "list_limit ranges are taken");
    FACT(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC), "it is CLOEXEC");
    FACT(fd >= 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR,
         "it can be written, whatever it is for");
    fd = make_list(udmabuf, memfd, (uint32_t)list_limit + 1, 1);
    FACT(fd == -EINVAL, "one more is not");
    FACT(make_list(udmabuf, memfd, 0, 1) == -EINVAL, "none is not");
    FACT(make_dmabuf(udmabuf, memfd, 4096, 4097) == -EINVAL,
         "a part of a page is not");
    FACT(make_dmabuf(udmabuf, memfd, 1, 4096) == -EINVAL,
         "an unaligned page is not");

    if (size_limit <= 1024) {
        /* Sparse: what is refused is not allocated */
        int big = make_memfd(((size_t)size_limit + 1) << 20, F_SEAL_SHRINK);

        FACT(make_dmabuf(udmabuf, big, 0, ((size_t)size_limit << 20) + 4096) ==
             -EINVAL, "a page more than size_limit_mb is not");
    } else {
        printf("size_limit_mb is too large to be tried\n");
    }

    FACT(make_dmabuf(udmabuf, make_memfd(4096, 0), 0, 4096) == -EINVAL,
         "a memfd without F_SEAL_SHRINK is not");
    FACT(make_dmabuf(udmabuf, make_memfd(4096, F_SEAL_SHRINK | F_SEAL_WRITE),
                     0, 4096) == -EINVAL, "one with F_SEAL_WRITE is not");

    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    NEED(null >= 0);
    FACT(ioctl(null, UDMABUF_CREATE_LIST, &nothing) < 0 && errno == ENOTTY,
         "another device has no such ioctl");
    return proof_result();
}
