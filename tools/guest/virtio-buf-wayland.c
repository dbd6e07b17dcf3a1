/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf-wayland: a Wayland compositor whose screen is on the host.
 *
 * What a client draws into shared memory becomes a stream of pictures for host
 * programs, without a copy: a pool of the client is a buffer, a commit is an
 * update, and a wl_buffer is released when no host program reads it any more. A
 * picture that a newer one overtakes is never sent. This file starts and ends
 * it; wayland-surface.c has the surfaces, wayland-shm.c the pools, and
 * wayland-shell.c what else a client wants to see.
 *
 * One thread. Clients are not trusted: what they send is checked against their
 * pools, and never makes this program touch their memory.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virtbuf-device.h"
#include "wayland.h"

static int on_signal(int number, void *display)
{
    if (number == SIGCHLD) {
        waitpid(-1, NULL, WNOHANG);
    }
    wl_display_terminate(display);
    return 0;
}

/* The client that we were told to start; it ends us when it ends */
static int start(char **command)
{
    pid_t pid = fork();
    sigset_t none;

    if (pid != 0) {
        return pid < 0 ? -errno : 0;
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(command[0], command);
    perror(command[0]);
    _exit(127);
}

static int serve(struct share_device *device, const char *socket,
                 char **command, bool verbose)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGCHLD };
    struct wl_display *display = wl_display_create();
    struct wl_event_source *sources[3];
    struct wl_event_loop *loop;

    if (!display) {
        perror("virtio-buf-wayland");
        return 1;
    }
    if (socket && wl_display_add_socket(display, socket) < 0) {
        fprintf(stderr, "virtio-buf-wayland: %s: %s\n", socket,
                strerror(errno));
        wl_display_destroy(display);
        return 1;
    }
    if (!socket) {
        socket = wl_display_add_socket_auto(display);
    }
    if (!socket || setenv("WAYLAND_DISPLAY", socket, 1) < 0 ||
        !surfaces_create(display, device, verbose) || !shm_create(display) ||
        !shell_create(display)) {
        fputs("virtio-buf-wayland: no socket; is XDG_RUNTIME_DIR set?\n",
              stderr);
        surfaces_destroy();
        wl_display_destroy(display);
        return 1;
    }
    loop = wl_display_get_event_loop(display);
    for (size_t i = 0; i < 3; i++) {
        sources[i] = wl_event_loop_add_signal(loop, signals[i], on_signal,
                                              display);
    }
    if (!command[0]) {
        printf("WAYLAND_DISPLAY=%s\n", socket);
        fflush(stdout);
    } else if (start(command) < 0) {
        perror(command[0]);
        wl_display_terminate(display);
    }
    wl_display_run(display);
    wl_display_destroy_clients(display);
    for (size_t i = 0; i < 3; i++) {
        wl_event_source_remove(sources[i]);
    }
    surfaces_destroy();
    wl_display_destroy(display);
    return 0;
}

static void usage(FILE *out)
{
    fputs(
"Usage: virtio-buf-wayland [OPTION]... [COMMAND [ARGUMENT]...]\n"
"A Wayland compositor whose windows are seen by programs on the host, without\n"
"a copy. Runs COMMAND as its client and ends with it.\n"
"\n"
"  --application NAME    for programs that ask for NAME (virtio-buf-wayland)\n"
"  --socket NAME         of the Wayland display (wayland-0, or the next)\n"
"  --instance NAME       use the device of this name\n"
"  --device NODE         use this node, /dev/dri/renderD128 for example\n"
"  --verbose             say what is shared, and how\n"
"  --help\n"
"\n"
"Exit codes: 0 a signal or the end of COMMAND, 1 something failed, 2 wrong\n"
"usage, 3 no device.\n", out);
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        { "application", required_argument, NULL, 'a' },
        { "socket", required_argument, NULL, 's' },
        { "instance", required_argument, NULL, 'i' },
        { "device", required_argument, NULL, 'd' },
        { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    const char *application = "virtio-buf-wayland", *socket = NULL;
    char found[48], message[512];
    const char *node = NULL;
    struct virtbuf_match match = { 0 };
    struct virtbuf_device virtbuf;
    struct share_device device;
    bool verbose = false;
    int option, ret;

    while ((option = getopt_long(argc, argv, "+", long_options, NULL)) != -1) {
        switch (option) {
        case 'a':
            application = optarg;
            break;
        case 's':
            socket = optarg;
            break;
        case 'i':
            match.instance = optarg;
            break;
        case 'd':
            node = optarg;
            break;
        case 'v':
            verbose = true;
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (!application[0] || strlen(application) > DRM_VIRTBUF_APPLICATION_MAX) {
        fputs("virtio-buf-wayland: --application has 1 to 63 bytes\n", stderr);
        return 2;
    }
    if (!node) {
        if (virtbuf_device_find("/sys", &match, &virtbuf, message,
                                sizeof(message)) < 0) {
            fprintf(stderr, "virtio-buf-wayland: %s\n", message);
            return 3;
        }
        snprintf(found, sizeof(found), "/dev/dri/%s", virtbuf.render_node);
        node = found;
    }
    ret = share_open(&device, node, application);
    if (ret < 0) {
        fprintf(stderr, "virtio-buf-wayland: %s: %s\n", node, strerror(-ret));
        return 3;
    }
    ret = serve(&device, socket, argv + optind, verbose);
    share_close(&device);
    return ret;
}
