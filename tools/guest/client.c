/* SPDX-License-Identifier: MIT */
/*
 * Reads who has a virtio-buf device open from the kernel's fdinfo. Processes
 * come and go while this looks: what has gone is left out. Names of programs
 * are theirs to choose; everything else is the kernel's.
 */
#include "client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRIVER          "virtio_buf"
/* more than any fdinfo of this driver */
#define TEXT_SIZE       4096

/* The value of "@key:\tvalue\n" in @text, or NULL */
static const char *find_value(const char *text, const char *key)
{
    size_t len = strlen(key);
    const char *line;

    for (line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && line[len] == ':') {
            return line + len + 1 + strspn(line + len + 1, " \t");
        }
    }
    return NULL;
}

static uint64_t find_number(const char *text, const char *key)
{
    const char *value = find_value(text, key);

    return value ? strtoull(value, NULL, 10) : 0;
}

bool client_parse(const char *fdinfo, struct client *client)
{
    const char *driver = find_value(fdinfo, "drm-driver");
    const char *parent = find_value(fdinfo, "drm-pdev");

    if (!driver || strcspn(driver, "\n") != strlen(DRIVER) ||
        strncmp(driver, DRIVER, strlen(DRIVER)) != 0) {
        return false;
    }
    snprintf(client->parent, sizeof(client->parent), "%.*s",
             parent ? (int)strcspn(parent, "\n") : 0, parent ? parent : "");
    client->id = find_number(fdinfo, "drm-client-id");
    client->buffers = find_number(fdinfo, "drm-virtbuf-buffers");
    client->bytes = find_number(fdinfo, "drm-virtbuf-registered") * 1024;
    client->pending = find_number(fdinfo, "drm-virtbuf-pending");
    client->property_bytes = find_number(fdinfo, "drm-virtbuf-properties");
    return true;
}

/* Reads a small file; false when it is not there (any more) */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = 0;

    if (fd < 0) {
        return false;
    }
    while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0) {
        len += (size_t)n;
    }
    close(fd);
    text[len] = '\0';
    return n >= 0;
}

struct list {
    struct client *clients;
    size_t count;
    size_t room;
};

/* Adds a client once, whoever has it; false when there is no memory */
static bool add(struct list *list, const struct client *client)
{
    struct client *bigger;

    for (size_t i = 0; i < list->count; i++) {
        if (list->clients[i].id == client->id &&
            strcmp(list->clients[i].parent, client->parent) == 0) {
            return true;
        }
    }
    if (list->count == list->room) {
        bigger = realloc(list->clients,
                         (2 * list->room + 8) * sizeof(*bigger));
        if (!bigger) {
            return false;
        }
        list->clients = bigger;
        list->room = 2 * list->room + 8;
    }
    list->clients[list->count++] = *client;
    return true;
}

static bool is_number(const char *name)
{
    return *name && strspn(name, "0123456789") == strlen(name);
}

/* All clients of a process; false when there is no memory */
static bool add_process(struct list *list, const char *proc, const char *pid)
{
    char path[PATH_MAX], text[TEXT_SIZE];
    struct client client = { 0 };
    struct dirent *entry;
    bool good = true;
    DIR *dir;

    snprintf(path, sizeof(path), "%s/%s/fdinfo", proc, pid);
    dir = opendir(path);
    if (!dir) {
        return true;            /* it has gone, or is somebody else's */
    }
    client.pid = (pid_t)atoi(pid);
    snprintf(path, sizeof(path), "%s/%s/comm", proc, pid);
    if (read_text(path, text, sizeof(text))) {
        snprintf(client.program, sizeof(client.program), "%.*s",
                 (int)strcspn(text, "\n"), text);
    }
    while (good && (entry = readdir(dir))) {
        snprintf(path, sizeof(path), "%s/%s/fdinfo/%s", proc, pid,
                 entry->d_name);
        if (is_number(entry->d_name) && read_text(path, text, sizeof(text)) &&
            client_parse(text, &client)) {
            good = add(list, &client);
        }
    }
    closedir(dir);
    return good;
}

static int compare(const void *a, const void *b)
{
    const struct client *left = a, *right = b;

    return left->pid != right->pid ? (left->pid > right->pid) * 2 - 1 :
           (left->id > right->id) - (left->id < right->id);
}

int client_list(const char *proc, struct client **clients)
{
    struct list list = { 0 };
    struct dirent *entry;
    bool good = true;
    DIR *dir = opendir(proc);

    if (!dir) {
        return -errno;
    }
    while (good && (entry = readdir(dir))) {
        if (is_number(entry->d_name)) {
            good = add_process(&list, proc, entry->d_name);
        }
    }
    closedir(dir);
    if (!good) {
        free(list.clients);
        return -ENOMEM;
    }
    if (list.count) {
        qsort(list.clients, list.count, sizeof(*list.clients), compare);
    }
    *clients = list.clients;
    return (int)list.count;
}
