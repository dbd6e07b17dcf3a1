/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: how many references the kernel counts to a dma-buf
 *
 * Pure functions; no device state, no lock.
 *
 * Consumers hold the same file and can change some of what is read here: the
 * position, the flags, locks (numbers, all in front of size:), and the name at
 * the end, which may hold newlines and whole forged lines. So only the first
 * count: is looked at, between the size: and the exp_name: that surround it,
 * and nothing behind exp_name: is read.
 */
#include "qemu/osdep.h"
#include "hw/virtio/virtio-buf-fdinfo.h"

/* More than the kernel writes in front of the name, unless someone locks it */
#define FDINFO_MAX 4096

/* Takes a line off the text; its newline is not part of it */
static bool next_line(const char **text, size_t *len, const char **line,
                      size_t *line_len)
{
    const char *newline = *len ? memchr(*text, '\n', *len) : NULL;

    if (!newline) {
        return false;
    }
    *line = *text;
    *line_len = newline - *text;
    *len -= *line_len + 1;
    *text = newline + 1;
    return true;
}

static bool has_key(const char *line, size_t len, const char *key)
{
    return len >= strlen(key) && !memcmp(line, key, strlen(key));
}

/* "KEY:\t" and a decimal number without sign and leading zeros; else -1 */
static int64_t number_of(const char *line, size_t len, const char *key)
{
    int64_t number = 0;
    size_t pos = strlen(key);

    if (!has_key(line, len, key) || pos == len || len - pos > 18 ||
        (line[pos] == '0' && len - pos > 1)) {
        return -1;
    }
    for (; pos < len; pos++) {
        if (line[pos] < '0' || line[pos] > '9') {
            return -1;
        }
        number = number * 10 + (line[pos] - '0');
    }
    return number;
}

int64_t virtio_buf_fdinfo_parse(const char *text, size_t len)
{
    static const char exporter[] = "exp_name:\tudmabuf";
    const char *line;
    size_t line_len;
    int64_t count;

    do {
        if (!next_line(&text, &len, &line, &line_len) ||
            has_key(line, line_len, "count:") ||
            has_key(line, line_len, "exp_name:") ||
            has_key(line, line_len, "name:")) {
            return -EINVAL;
        }
    } while (!has_key(line, line_len, "size:"));

    if (number_of(line, line_len, "size:\t") < 0 ||
        !next_line(&text, &len, &line, &line_len)) {
        return -EINVAL;
    }
    count = number_of(line, line_len, "count:\t");
    if (count < 1 || !next_line(&text, &len, &line, &line_len) ||
        line_len != strlen(exporter) || memcmp(line, exporter, line_len)) {
        return -EINVAL;
    }
    return count;
}

/* Returns the bytes read into @text, or -errno */
static ssize_t fdinfo_read(int fd, char text[FDINFO_MAX])
{
    char path[sizeof("/proc/self/fdinfo/") + 11];
    ssize_t got, len = 0;
    int info;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    info = open(path, O_RDONLY | O_CLOEXEC);
    if (info < 0) {
        return -errno;
    }
    while (len < FDINFO_MAX) {
        got = read(info, text + len, FDINFO_MAX - len);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            len = -errno;
        }
        if (got <= 0) {
            break;
        }
        len += got;
    }
    close(info);
    return len;
}

int64_t virtio_buf_fdinfo_count(int fd)
{
    char text[FDINFO_MAX];
    ssize_t len = fdinfo_read(fd, text);

    return len < 0 ? len : virtio_buf_fdinfo_parse(text, len);
}

bool virtio_buf_fdinfo_readable(int fd)
{
    char text[FDINFO_MAX];

    return fdinfo_read(fd, text) > 0;
}
