/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf-info: shows the device behind a server and its buffers.
 *
 * It subscribes to everything with no credit, so that it gets no memory, and
 * prints what has been announced when the server says that this is all. All
 * texts are the guest's and are printed escaped.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "host-common.h"

static const char usage[] =
"Usage: virtio-buf-info --socket PATH [OPTION]...\n"
"Show the buffers that a guest shares through virtio-buf.\n"
"\n"
"  -s, --socket PATH   socket of QEMU's -object virtio-buf-server\n"
"  -j, --json          print JSON instead of a table\n"
"  -t, --timeout S     how long the server may take to answer; 5 s\n"
"  -h, --help, --version\n"
"\n"
"Examples:\n"
"  virtio-buf-info -s vm.sock\n"
"  virtio-buf-info -s vm.sock --json | jq '.buffers[].properties.title'\n"
"\n"
"Exit status: 0 done, 1 error, 2 wrong usage, 3 no server or no answer.\n";

struct options {
    const char *socket;
    bool json;
    int timeout_ms;
};

/* Returns -1 to go on, or an exit code */
static int parse_options(struct options *options, int argc, char **argv)
{
    enum { OPTION_VERSION = 256 };
    static const struct option long_options[] = {
        { "socket", required_argument, NULL, 's' },
        { "json", no_argument, NULL, 'j' },
        { "timeout", required_argument, NULL, 't' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, OPTION_VERSION },
        { NULL, 0, NULL, 0 },
    };
    int option;

    options->timeout_ms = 5000;
    while ((option = getopt_long(argc, argv, "s:jt:h", long_options,
                                 NULL)) >= 0) {
        switch (option) {
        case 's':
            options->socket = optarg;
            break;
        case 'j':
            options->json = true;
            break;
        case 't':
            options->timeout_ms = parse_seconds(optarg);
            if (options->timeout_ms < 0) {
                complain("--timeout takes seconds: %s; try --help", optarg);
                return EXIT_USAGE;
            }
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_DONE;
        case OPTION_VERSION:
            printf("virtio-buf-info %s\n", vbuf_version());
            return EXIT_DONE;
        default:
            fputs("try --help\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        complain("what is this: %s; try --help", argv[optind]);
        return EXIT_USAGE;
    }
    if (!options->socket) {
        complain("--socket is missing; try --help");
        return EXIT_USAGE;
    }
    return -1;
}

static void print_size(uint64_t size)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)size;
    unsigned int unit = 0;

    for (; value >= 1024 && unit < 4; unit++) {
        value /= 1024;
    }
    printf("  %6.*f %-3s", unit ? 1 : 0, value, units[unit]);
}

static void print_properties(const struct vbuf_buffer *buffer)
{
    const char *name, *value;
    size_t i;

    for (i = 0; vbuf_buffer_property_at(buffer, i, &name, &value) == 0; i++) {
        printf("%s", i ? " " : "      ");
        print_safe(stdout, name);
        putchar('=');
        print_safe(stdout, value);
    }
    if (i) {
        putchar('\n');
    }
}

static void print_table(const struct vbuf *vbuf)
{
    const struct vbuf_buffer *buffer;
    size_t count = 0;

    if (*vbuf_instance(vbuf)) {
        printf("device ");
        print_safe(stdout, vbuf_instance(vbuf));
    } else {
        printf("no device: no guest is running, or its device is unplugged");
    }
    putchar('\n');
    for (buffer = vbuf_each_buffer(vbuf, NULL); buffer;
         buffer = vbuf_each_buffer(vbuf, buffer)) {
        if (!count++) {
            printf("%5s %6s  %10s  %-8s  %-7s  %10s  %s\n", "ID", "STREAM",
                   "SIZE", "MODE", "BACKING", "SERIAL", "APPLICATION");
        }
        printf("%5llu %6llu", (unsigned long long)vbuf_buffer_id(buffer),
               (unsigned long long)vbuf_buffer_stream(buffer));
        print_size(vbuf_buffer_size(buffer));
        printf("  %-8s  %-7s  %10llu  ", mode_name(vbuf_buffer_mode(buffer)),
               backing_name(vbuf_buffer_backing(buffer)),
               (unsigned long long)vbuf_buffer_serial(buffer));
        print_safe(stdout, vbuf_buffer_application(buffer));
        putchar('\n');
        print_properties(buffer);
    }
    printf("%zu buffer%s\n", count, count == 1 ? "" : "s");
}

static void print_uuid(const uint8_t *uuid)
{
    int i;

    for (i = 0; i < 16; i++) {
        printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
               uuid[i]);
    }
}

static void print_json_buffer(const struct vbuf_buffer *buffer)
{
    const char *name, *value;
    size_t i;

    printf("{\"id\": %llu, \"guest_id\": %llu, \"uuid\": \"",
           (unsigned long long)vbuf_buffer_id(buffer),
           (unsigned long long)vbuf_buffer_guest_id(buffer));
    print_uuid(vbuf_buffer_uuid(buffer));
    printf("\", \"application\": ");
    print_json_string(stdout, vbuf_buffer_application(buffer));
    printf(", \"context\": %u, \"stream\": %llu, \"size\": %llu, "
           "\"mode\": \"%s\", \"backing\": \"%s\", \"serial\": %llu, "
           "\"properties\": {",
           vbuf_buffer_context(buffer),
           (unsigned long long)vbuf_buffer_stream(buffer),
           (unsigned long long)vbuf_buffer_size(buffer),
           mode_name(vbuf_buffer_mode(buffer)),
           backing_name(vbuf_buffer_backing(buffer)),
           (unsigned long long)vbuf_buffer_serial(buffer));
    for (i = 0; vbuf_buffer_property_at(buffer, i, &name, &value) == 0; i++) {
        printf("%s", i ? ", " : "");
        print_json_string(stdout, name);
        printf(": ");
        print_json_string(stdout, value);
    }
    printf("}}");
}

static void print_json(const struct vbuf *vbuf)
{
    const struct vbuf_buffer *buffer;
    const char *separator = "\n  ";

    printf("{\"instance\": ");
    if (*vbuf_instance(vbuf)) {
        print_json_string(stdout, vbuf_instance(vbuf));
    } else {
        printf("null");
    }
    printf(", \"consumer_id\": %llu, \"buffers\": [",
           (unsigned long long)vbuf_terms(vbuf)->consumer_id);
    for (buffer = vbuf_each_buffer(vbuf, NULL); buffer;
         buffer = vbuf_each_buffer(vbuf, buffer)) {
        printf("%s", separator);
        print_json_buffer(buffer);
        separator = ",\n  ";
    }
    printf("]}\n");
}

/* ------------------------------------------------------------------------ */

static int wait_until_subscribed(struct vbuf *vbuf,
                                 const struct options *options)
{
    const struct vbuf_event *event;
    int ret;

    for (;;) {
        ret = vbuf_wait_event(vbuf, options->timeout_ms, &event);
        if (ret == -EINTR) {
            continue;
        }
        if (ret == 0) {
            complain("the server at %s does not answer", options->socket);
            return EXIT_NOT_THERE;
        }
        if (ret < 0) {
            complain("cannot wait for the server: %s", strerror(-ret));
            return EXIT_ERROR;
        }
        if (event->type == VBUF_EVENT_DISCONNECTED) {
            complain_disconnected(event);
            return EXIT_ERROR;
        }
        if (event->type == VBUF_EVENT_SUBSCRIBED) {
            return EXIT_DONE;
        }
    }
}

int main(int argc, char **argv)
{
    struct options options = { 0 };
    struct vbuf *vbuf;
    int code, ret;

    program_name = "virtio-buf-info";
    code = parse_options(&options, argc, argv);
    if (code >= 0) {
        return code;
    }
    code = connect_to_server(options.socket, &vbuf);
    if (code != EXIT_DONE) {
        return code;
    }
    ret = vbuf_set_property(vbuf, "title", "virtio-buf-info");
    if (ret == 0) {
        ret = vbuf_subscribe(vbuf, NULL, 0, 0, VBUF_SUBSCRIBE_ALL);
    }
    if (ret < 0) {
        complain("cannot subscribe: %s", strerror(-ret));
        code = EXIT_ERROR;
    } else {
        code = wait_until_subscribed(vbuf, &options);
    }
    if (code == EXIT_DONE) {
        if (options.json) {
            print_json(vbuf);
        } else {
            print_table(vbuf);
        }
        if (fflush(stdout) != 0) {
            complain("cannot write: %s", strerror(errno));
            code = EXIT_ERROR;
        }
    }
    vbuf_disconnect(vbuf);
    return code;
}
