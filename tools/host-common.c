/* SPDX-License-Identifier: MIT */
/*
 * What the host programs have in common.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "host-common.h"

const char *program_name = "virtio-buf";

void complain(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", program_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

int connect_to_server(const char *path, struct vbuf **vbuf)
{
    int ret = vbuf_connect(path, vbuf);

    switch (ret) {
    case 0:
        return EXIT_DONE;
    case -ENOENT:
    case -ECONNREFUSED:
        complain("no server at %s: start QEMU with "
                 "-object virtio-buf-server,id=s0,path=%s "
                 "-device virtio-buf-pci,server=s0", path, path);
        return EXIT_NOT_THERE;
    case -EACCES:
        complain("cannot connect to %s: permission denied: run this as the "
                 "user that runs QEMU, or give that file to a common group",
                 path);
        return EXIT_ERROR;
    case -ENAMETOOLONG:
        complain("the path of a socket has 107 bytes at most, this one has "
                 "%zu: use a shorter or a relative one", strlen(path));
        return EXIT_ERROR;
    default:
        complain("cannot connect to %s: %s", path, strerror(-ret));
        return EXIT_ERROR;
    }
}

void complain_disconnected(const struct vbuf_event *event)
{
    fprintf(stderr, "%s: disconnected: ", program_name);
    print_safe(stderr, event->text);
    fputc('\n', stderr);
}

bool parse_number(const char *text, uint64_t max, uint64_t *number)
{
    uint64_t value = 0;
    unsigned int digit;

    if (!*text) {
        return false;
    }
    for (; *text; text++) {
        digit = (unsigned int)(*text - '0');
        if (digit > 9 || value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *number = value;
    return value <= max;
}

int parse_seconds(const char *text)
{
    double seconds;
    char *end;

    seconds = strtod(text, &end);
    /* A NaN fails the comparison, too */
    if (end == text || *end || !(seconds >= 0 && seconds <= 1000000)) {
        return -1;
    }
    return (int)(seconds * 1000 + 0.5);
}

const char *backing_name(uint32_t backing)
{
    return backing == VBUF_BACKING_DMABUF ? "dma-buf" : "copy";
}

const char *mode_name(uint32_t mode)
{
    return mode == VBUF_MODE_IN_PLACE ? "in-place" :
           mode == VBUF_MODE_LATEST ? "latest" : "every";
}
