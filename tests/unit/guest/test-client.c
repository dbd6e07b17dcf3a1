/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who uses a device: fdinfo of this and other drivers, processes that share a
 * file, that have gone, or that may not be looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"

#define OURS                                                            \
    "pos:\t0\nflags:\t02400002\nmnt_id:\t6\nino:\t9\n"                  \
    "drm-driver:\tvirtio_buf\ndrm-client-id:\t17\n"                     \
    "drm-pdev:\t0000:00:03.0\ndrm-total-memory:\t9 MiB\n"               \
    "drm-virtbuf-registered:\t8100 KiB\ndrm-virtbuf-buffers:\t3\n"      \
    "drm-virtbuf-pending:\t1\ndrm-virtbuf-properties:\t96\n"            \
    "drm-virtbuf-user-registered:\t99 KiB\ndrm-virtbuf-user-buffers:\t9\n"

static char proc[64];

static void begin(void)
{
    strcpy(proc, "/tmp/virtbuf-proc-XXXXXX");
    CHECK(mkdtemp(proc));
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void end(void)
{
    CHECK(nftw(proc, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static void write_file(const char *process, const char *name, const char *text)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", proc, process);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/%s/fdinfo", proc, process);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/%s/%s", proc, process, name);
    file = fopen(path, "w");
    CHECK(file);
    fputs(text, file);
    fclose(file);
}

TEST(all_numbers)
{
    struct client client;

    CHECK(client_parse(OURS, &client));
    CHECK_STR(client.parent, "0000:00:03.0");
    CHECK_INT(client.id, ==, 17);
    CHECK_INT(client.buffers, ==, 3);
    CHECK_INT(client.bytes, ==, 8100 * 1024);
    CHECK_INT(client.pending, ==, 1);
    CHECK_INT(client.property_bytes, ==, 96);
}

TEST(other_files)
{
    struct client client;

    CHECK(!client_parse("", &client));
    CHECK(!client_parse("pos:\t0\nflags:\t02\n", &client));
    CHECK(!client_parse("drm-driver:\tvirtio_gpu\n", &client));
    CHECK(!client_parse("drm-driver:\tvirtio_buffer\n", &client));
    CHECK(!client_parse("drm-driver:\tvirtio\n", &client));
    CHECK(!client_parse("drm-driver:", &client));
    CHECK(!client_parse("xdrm-driver:\tvirtio_buf\n", &client));
}

TEST(missing_keys)
{
    struct client client;

    memset(&client, 0xff, sizeof(client));
    CHECK(client_parse("drm-driver:\tvirtio_buf\n", &client));
    CHECK_STR(client.parent, "");
    CHECK_INT(client.id, ==, 0);
    CHECK_INT(client.buffers, ==, 0);
    CHECK_INT(client.bytes, ==, 0);
    CHECK_INT(client.pending, ==, 0);
}

TEST(long_parent)
{
    struct client client;

    CHECK(client_parse("drm-driver:\tvirtio_buf\n"
                       "drm-pdev:\t0123456789012345678901234567890123456789\n",
                       &client));
    CHECK_INT(strlen(client.parent), ==, sizeof(client.parent) - 1);
}

TEST(processes)
{
    struct client *clients;

    begin();
    write_file("20", "comm", "viewer\n");
    write_file("20", "fdinfo/4", OURS);
    write_file("3", "comm", "player\n");
    write_file("3", "fdinfo/0", "pos:\t0\n");
    write_file("3", "fdinfo/7",
               "drm-driver:\tvirtio_buf\ndrm-client-id:\t2\n"
               "drm-pdev:\t0000:00:03.0\ndrm-virtbuf-buffers:\t1\n");
    write_file("self", "fdinfo/7", OURS);
    CHECK_INT(client_list(proc, &clients), ==, 2);
    CHECK_INT(clients[0].pid, ==, 3);
    CHECK_STR(clients[0].program, "player");
    CHECK_INT(clients[0].buffers, ==, 1);
    CHECK_INT(clients[1].pid, ==, 20);
    CHECK_STR(clients[1].program, "viewer");
    CHECK_INT(clients[1].id, ==, 17);
    free(clients);
    end();
}

TEST(shared_files_once)
{
    struct client *clients;

    begin();
    write_file("5", "comm", "parent\n");
    write_file("5", "fdinfo/4", OURS);
    write_file("5", "fdinfo/5", OURS);
    write_file("6", "comm", "child\n");
    write_file("6", "fdinfo/4", OURS);
    CHECK_INT(client_list(proc, &clients), ==, 1);
    free(clients);
    end();
}

TEST(two_devices)
{
    struct client *clients;

    begin();
    write_file("5", "comm", "both\n");
    write_file("5", "fdinfo/4",
               "drm-driver:\tvirtio_buf\ndrm-client-id:\t1\n"
               "drm-pdev:\t0000:00:03.0\n");
    write_file("5", "fdinfo/5",
               "drm-driver:\tvirtio_buf\ndrm-client-id:\t1\n"
               "drm-pdev:\t0000:00:04.0\n");
    CHECK_INT(client_list(proc, &clients), ==, 2);
    free(clients);
    end();
}

TEST(many_files)
{
    struct client *clients;
    char name[32], text[128];
    int i;

    begin();
    for (i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "fdinfo/%d", i);
        snprintf(text, sizeof(text),
                 "drm-driver:\tvirtio_buf\ndrm-client-id:\t%d\n", 100 - i);
        write_file("9", name, text);
    }
    CHECK_INT(client_list(proc, &clients), ==, 100);
    for (i = 0; i < 100; i++) {
        CHECK_INT(clients[i].id, ==, i + 1);
    }
    CHECK_STR(clients[0].program, "");
    free(clients);
    end();
}

TEST(nobody)
{
    struct client *clients = NULL;

    begin();
    write_file("5", "comm", "other\n");
    CHECK_INT(client_list(proc, &clients), ==, 0);
    free(clients);
    end();
    CHECK_INT(client_list(proc, &clients), ==, -ENOENT);
}
