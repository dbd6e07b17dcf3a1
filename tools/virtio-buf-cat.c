/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf-cat: writes the frames of guest programs to files or to a pipe.
 *
 * One loop over the library's events. An UPDATE is written straight from the
 * buffer that the guest filled and then released. Everything about the frame is
 * the guest's word: frame-layout.c checks it, and a frame that is wrong ends
 * the program with a message.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "frame-stats.h"
#include "frame-writer.h"
#include "host-common.h"

#define APPLICATIONS_MAX 64
#define CREDIT 64       /* more buffers than a stream has */
#define PROGRESS_TTY_NS 250000000u
#define PROGRESS_LOG_NS 2000000000u

static const char usage[] =
"Usage: virtio-buf-cat --socket PATH (--application NAME | --all) [OPTION]...\n"
"Write the frames that guest programs share through virtio-buf.\n"
"\n"
"  -s, --socket PATH       socket of QEMU's -object virtio-buf-server\n"
"  -a, --application NAME  frames of this application; may be repeated\n"
"      --all               frames of all applications\n"
"  -n, --count N           end after N frames\n"
"  -f, --format FORMAT     raw, y4m or png; else by the suffix, or raw\n"
"  -o, --output PATTERN    clip.y4m, or frame-%04d.png for a file each;\n"
"                          - is stdout, as without it\n"
"  -t, --timeout S         give up when no frame comes for S seconds\n"
"  -q, --quiet             no progress, no summary\n"
"      --stats-json FILE   write numbers about the run\n"
"  -h, --help, --version\n"
"\n"
"Examples:\n"
"  virtio-buf-cat -s vm.sock --all -n 10 -o frame-%04d.png\n"
"  virtio-buf-cat -s vm.sock -a org.example.player -f y4m | ffplay -\n"
"\n"
"Exit status: 0 done, 1 error, 2 wrong usage, 3 no server or no frame.\n";

struct options {
    const char *socket;
    const char *applications[APPLICATIONS_MAX];
    size_t application_count;
    bool all;
    uint64_t count;             /* 0: for ever */
    const char *format;
    const char *output;
    int timeout_ms;             /* -1: for ever */
    bool quiet;
    const char *stats_json;
};

struct cat {
    struct options options;
    struct vbuf *vbuf;
    struct frame_writer writer;
    struct frame_stats stats;
    uint64_t last_progress;
    bool progress_on_tty;
    bool progress_shown;
};

/* A signal makes it readable, so that none comes too early for a poll() */
static int interrupt_fd;
static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
    static const uint64_t one = 1;
    int saved = errno;

    (void)signal;
    interrupted = 1;
    (void)!write(interrupt_fd, &one, sizeof(one));
    errno = saved;
}

static bool catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };

    interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (interrupt_fd < 0) {
        complain("eventfd: %s", strerror(errno));
        return false;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;    /* a closed pipe is an error of write() */
    sigaction(SIGPIPE, &action, NULL);
    return true;
}

static int usage_error(const char *text, const char *value)
{
    complain("%s%s%s; try --help", text, value ? ": " : "",
             value ? value : "");
    return EXIT_USAGE;
}

enum { OPTION_ALL = 256, OPTION_STATS, OPTION_VERSION };

static const struct option long_options[] = {
    { "socket", required_argument, NULL, 's' },
    { "application", required_argument, NULL, 'a' },
    { "all", no_argument, NULL, OPTION_ALL },
    { "count", required_argument, NULL, 'n' },
    { "format", required_argument, NULL, 'f' },
    { "output", required_argument, NULL, 'o' },
    { "timeout", required_argument, NULL, 't' },
    { "quiet", no_argument, NULL, 'q' },
    { "stats-json", required_argument, NULL, OPTION_STATS },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, OPTION_VERSION },
    { NULL, 0, NULL, 0 },
};

/* Returns -1 to go on, or an exit code */
static int parse_option(struct options *options, int option)
{
    switch (option) {
    case 's':
        options->socket = optarg;
        return -1;
    case 'a':
        if (options->application_count == APPLICATIONS_MAX) {
            return usage_error("too many applications: use --all", NULL);
        }
        if (!*optarg || strlen(optarg) > 63) {
            return usage_error("an application's name has 1 to 63 bytes",
                               optarg);
        }
        options->applications[options->application_count++] = optarg;
        return -1;
    case OPTION_ALL:
        options->all = true;
        return -1;
    case 'n':
        if (!parse_number(optarg, UINT64_MAX, &options->count) ||
            !options->count) {
            return usage_error("--count takes a number from 1", optarg);
        }
        return -1;
    case 'f':
        options->format = optarg;
        return -1;
    case 'o':
        options->output = optarg;
        return -1;
    case 't':
        options->timeout_ms = parse_seconds(optarg);
        if (options->timeout_ms < 0) {
            return usage_error("--timeout takes seconds", optarg);
        }
        return -1;
    case 'q':
        options->quiet = true;
        return -1;
    case OPTION_STATS:
        options->stats_json = optarg;
        return -1;
    case 'h':
        fputs(usage, stdout);
        return EXIT_DONE;
    case OPTION_VERSION:
        printf("virtio-buf-cat %s\n", vbuf_version());
        return EXIT_DONE;
    }
    fputs("try --help\n", stderr);
    return EXIT_USAGE;
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t len = strlen(text), suffix_len = strlen(suffix);

    return len > suffix_len && !strcmp(text + len - suffix_len, suffix);
}

static int choose_format(const struct options *options,
                         enum frame_format *format)
{
    const char *name = options->format;

    if (!name) {
        name = has_suffix(options->output, ".png") ? "png" :
               has_suffix(options->output, ".y4m") ? "y4m" : "raw";
    }
    if (!strcmp(name, "raw")) {
        *format = FRAME_FORMAT_RAW;
    } else if (!strcmp(name, "y4m")) {
        *format = FRAME_FORMAT_Y4M;
    } else if (!strcmp(name, "png")) {
        *format = FRAME_FORMAT_PNG;
    } else {
        return usage_error("--format is raw, y4m or png", name);
    }
    return -1;
}

static int parse_options(struct cat *cat, int argc, char **argv)
{
    struct options *options = &cat->options;
    enum frame_format format;
    int option, ret;

    options->timeout_ms = -1;
    options->output = "-";
    while ((option = getopt_long(argc, argv, "s:a:n:f:o:t:qh", long_options,
                                 NULL)) >= 0) {
        ret = parse_option(options, option);
        if (ret >= 0) {
            return ret;
        }
    }
    if (optind < argc) {
        return usage_error("what is this", argv[optind]);
    }
    if (!options->socket) {
        return usage_error("--socket is missing", NULL);
    }
    if (options->all == (options->application_count > 0)) {
        return usage_error("give either --application or --all", NULL);
    }
    ret = choose_format(options, &format);
    if (ret >= 0) {
        return ret;
    }
    if (frame_writer_init(&cat->writer, options->output, format) < 0) {
        return usage_error("--output may hold one number like %04d, and no "
                           "other %", options->output);
    }
    if (format == FRAME_FORMAT_PNG && options->count != 1 &&
        !frame_writer_has_many_files(&cat->writer)) {
        return usage_error("a PNG file holds one frame: use --count 1, or an "
                           "--output like frame-%04d.png", NULL);
    }
    if (!strcmp(options->output, "-") && isatty(STDOUT_FILENO)) {
        return usage_error("frames are nothing for a terminal: use --output, "
                           "or a pipe", NULL);
    }
    return -1;
}

/* A line that is overwritten on a terminal, else one now and then */
static void show_progress(struct cat *cat)
{
    uint64_t now = frame_stats_now();
    uint64_t interval = cat->progress_on_tty ? PROGRESS_TTY_NS :
                                               PROGRESS_LOG_NS;

    if (cat->options.quiet || !cat->stats.frames ||
        now - cat->last_progress < interval) {
        return;
    }
    cat->last_progress = now;
    cat->progress_shown = true;
    if (cat->progress_on_tty) {
        fputs("\r\033[K", stderr);
    }
    frame_stats_print_line(&cat->stats, stderr);
    if (!cat->progress_on_tty) {
        fputc('\n', stderr);
    }
}

static void end_progress(struct cat *cat)
{
    if (cat->progress_on_tty && cat->progress_shown) {
        fputs("\r\033[K", stderr);
    }
    cat->progress_shown = false;
}

static int write_frame(struct cat *cat, const struct vbuf_event *event)
{
    struct vbuf_buffer *buffer = event->buffer;
    char message[512] = "";
    const void *data;
    int ret, end;

    ret = vbuf_map(buffer, &data);
    if (ret == -EPROTO) {
        complain("buffer %llu: its memory is not what the server says",
                 (unsigned long long)vbuf_buffer_id(buffer));
        return EXIT_ERROR;
    }
    if (ret == 0) {
        ret = vbuf_begin_read(buffer);
    }
    if (ret < 0) {
        complain("buffer %llu: cannot read its memory: %s",
                 (unsigned long long)vbuf_buffer_id(buffer), strerror(-ret));
        return EXIT_ERROR;
    }
    frame_stats_add(&cat->stats, event->time, vbuf_buffer_backing(buffer),
                    event->frame->data_size);
    ret = frame_writer_write(&cat->writer, cat->stats.frames, buffer, data,
                             event->frame, message, sizeof(message));
    cat->stats.bytes_copied = cat->writer.bytes_copied;
    end = vbuf_end_read(buffer);
    if (ret == 0 && end < 0) {
        snprintf(message, sizeof(message), "DMA_BUF_IOCTL_SYNC: %s",
                 strerror(-end));
        ret = end;
    }
    if (ret < 0) {
        cat->stats.frames--;
        end_progress(cat);
        fprintf(stderr, "%s: ", program_name);
        print_safe(stderr, message);
        fputc('\n', stderr);
        return EXIT_ERROR;
    }
    ret = vbuf_release(buffer, event->serial);
    if (ret < 0) {
        complain("cannot release a frame: %s", strerror(-ret));
        return EXIT_ERROR;
    }
    return -1;
}

/* Returns -1 to go on, or an exit code */
static int handle_event(struct cat *cat, const struct vbuf_event *event)
{
    switch (event->type) {
    case VBUF_EVENT_UPDATE:
        return write_frame(cat, event);
    case VBUF_EVENT_LOST:
        cat->stats.lost++;
        return -1;
    case VBUF_EVENT_REFUSED:
        end_progress(cat);
        complain("buffer %llu of %llu bytes is not given to us: %s",
                 (unsigned long long)vbuf_buffer_id(event->buffer),
                 (unsigned long long)vbuf_buffer_size(event->buffer),
                 strerror(event->error));
        return -1;
    case VBUF_EVENT_DISCONNECTED:
        end_progress(cat);
        if (event->error == ECONNRESET && !cat->options.count &&
            cat->stats.frames) {
            return EXIT_DONE;   /* the virtual machine ended, and so do we */
        }
        complain_disconnected(event);
        return EXIT_ERROR;
    default:
        return -1;
    }
}

static int timed_out(struct cat *cat)
{
    end_progress(cat);
    complain("no frame for %g s (%llu came): is a guest program sharing "
             "frames? virtio-buf-info --socket %s shows what there is",
             cat->options.timeout_ms / 1000.0,
             (unsigned long long)cat->stats.frames, cat->options.socket);
    return EXIT_NOT_THERE;
}

/* Returns 1 with an event, 0 after waiting for one, or -errno */
static int wait_event(struct cat *cat, int timeout_ms,
                      const struct vbuf_event **event)
{
    struct pollfd pollfds[2] = {
        { .fd = vbuf_fd(cat->vbuf) },
        { .fd = interrupt_fd, .events = POLLIN },
    };
    int ret;

    ret = vbuf_next_event(cat->vbuf, event);
    if (ret != 0) {
        return ret;
    }
    pollfds[0].events = vbuf_poll_events(cat->vbuf);
    ret = poll(pollfds, 2, timeout_ms);
    return ret < 0 && errno != EINTR ? -errno : 0;
}

static int run(struct cat *cat)
{
    const struct options *options = &cat->options;
    const struct vbuf_event *event;
    uint64_t start = frame_stats_now(), waited;
    int ret, left = options->timeout_ms;

    cat->last_progress = start;
    while (!interrupted) {
        if (options->timeout_ms >= 0) {
            /* Since the last frame: other events do not count */
            waited = (frame_stats_now() -
                      (cat->stats.frames ? cat->stats.last_ns : start)) /
                     1000000;
            if (waited >= (uint64_t)options->timeout_ms) {
                return timed_out(cat);
            }
            left = options->timeout_ms - (int)waited;
        }
        ret = wait_event(cat, left, &event);
        if (ret == 0) {
            continue;
        }
        if (ret < 0) {
            complain("cannot wait for frames: %s", strerror(-ret));
            return EXIT_ERROR;
        }
        ret = handle_event(cat, event);
        if (ret >= 0) {
            return ret;
        }
        show_progress(cat);
        if (options->count && cat->stats.frames >= options->count) {
            return EXIT_DONE;
        }
    }
    if (options->count) {
        complain("interrupted after %llu of %llu frames",
                 (unsigned long long)cat->stats.frames,
                 (unsigned long long)options->count);
        return EXIT_ERROR;
    }
    return EXIT_DONE;
}

static int write_stats(const struct cat *cat)
{
    FILE *file = fopen(cat->options.stats_json, "we");

    if (file) {
        frame_stats_print_json(&cat->stats, file);
    }
    if (!file || fclose(file) != 0) {
        complain("cannot write %s: %s", cat->options.stats_json,
                 strerror(errno));
        return EXIT_ERROR;
    }
    return EXIT_DONE;
}

static int subscribe(struct cat *cat)
{
    const struct options *options = &cat->options;
    int ret;

    ret = vbuf_set_property(cat->vbuf, "title", "virtio-buf-cat");
    if (ret == 0) {
        ret = vbuf_subscribe(cat->vbuf, options->applications,
                             options->application_count, CREDIT,
                             options->all ? VBUF_SUBSCRIBE_ALL : 0);
    }
    if (ret < 0) {
        complain("cannot subscribe: %s", strerror(-ret));
        return EXIT_ERROR;
    }
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    static struct cat cat;
    int code, ret;

    program_name = "virtio-buf-cat";
    code = parse_options(&cat, argc, argv);
    if (code >= 0) {
        return code;
    }
    if (!catch_signals()) {
        return EXIT_ERROR;
    }
    cat.progress_on_tty = isatty(STDERR_FILENO);
    code = connect_to_server(cat.options.socket, &cat.vbuf);
    if (code == EXIT_DONE) {
        code = subscribe(&cat);
        if (code == EXIT_DONE) {
            code = run(&cat);
            end_progress(&cat);
        }
        vbuf_disconnect(cat.vbuf);
    }
    ret = frame_writer_finish(&cat.writer);
    if (ret < 0) {
        complain("cannot write %s: %s", cat.options.output, strerror(-ret));
        code = EXIT_ERROR;
    }
    if (cat.stats.frames && !cat.options.quiet) {
        frame_stats_print_summary(&cat.stats, stderr);
    }
    if (cat.options.stats_json) {
        ret = write_stats(&cat);
        code = code == EXIT_DONE ? ret : code;
    }
    return code;
}
