/* SPDX-License-Identifier: MIT */
/*
 * virtio-buf-play: plays PNG pictures and y4m clips to the host.
 *
 * Frames are read straight into the buffers that the host sees; nothing is
 * copied on the way. Frames are never skipped: when something is late, what
 * follows is late as well.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "source.h"
#include "stream.h"
#include "virtbuf-device.h"

#define EXIT_USAGE      2
#define EXIT_NO_DEVICE  3

#define NS              INT64_C(1000000000)

struct options {
    const char *node;
    struct virtbuf_match match;
    const char *application;
    const char *title;
    unsigned long loops;        /* 0: for ever */
    struct frame_rate rate;     /* num 0: as the file says */
    unsigned int buffers;
    uint32_t mode;
    bool wait_consumer;
    bool verbose;
    char **files;
    int file_count;
};

/* What is going on, for the progress line */
struct progress {
    uint64_t frames;
    int64_t start;              /* CLOCK_MONOTONIC of the first frame */
    int64_t shown;
    uint64_t frames_shown;
    const struct stream *stream;
};

struct player {
    struct options options;
    struct stream stream;
    struct frame_rate rate;     /* of the present file */
    int64_t base;               /* CLOCK_MONOTONIC of @index 0 */
    uint64_t base_pts;          /* stream time of @index 0 */
    uint64_t index;             /* frame of the present file */
};

static volatile sig_atomic_t stop;  /* the signal that ends us */
static struct progress progress;
static char waiting_for[64];

static void on_signal(int signo)
{
    stop = signo;
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS + now.tv_nsec;
}

static void usage(FILE *out)
{
    fputs(
"Usage: virtio-buf-play [OPTION]... FILE...\n"
"Plays PNG pictures and y4m clips to host programs through virtio-buf.\n"
"FILE may be '-': standard input.\n"
"\n"
"  --application NAME    for programs that ask for NAME (virtio-buf-play)\n"
"  --title TEXT          what a viewer shows (the name of the file)\n"
"  --fps RATE            25, 29.97 or 30000/1001 (as the clip says, else 1)\n"
"  --loop N              play everything N times; 0: for ever (1)\n"
"  --mode latest         a slow host program misses frames (default)\n"
"         every          it gets every frame, and slows us down\n"
"         in-place       one buffer is redrawn while it is shown\n"
"  --buffers N           buffers that take turns, 1 to 16 (3)\n"
"  --wait-consumer       start when a host program has attached\n"
"  --instance NAME       use the device of this name\n"
"  --subsystem VVVV:DDDD use the device with these PCI subsystem ids\n"
"  --device NODE         use this node, /dev/dri/renderD128 for example\n"
"  --verbose             say more\n"
"  --help\n"
"\n"
"Exit codes: 0 all frames were released, 1 a file or the device failed,\n"
"2 wrong usage, 3 no device. A signal ends it after the buffers are back.\n",
        out);
}

static bool parse_number(const char *text, unsigned long max,
                         unsigned long *value)
{
    char *end;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *value = strtoul(text, &end, 10);
    return *end == '\0' && errno == 0 && *value <= max;
}

static bool parse_mode(const char *text, uint32_t *mode)
{
    static const char *const names[] = {
        [DRM_VIRTBUF_MODE_IN_PLACE] = "in-place",
        [DRM_VIRTBUF_MODE_LATEST] = "latest",
        [DRM_VIRTBUF_MODE_EVERY] = "every",
    };

    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *mode = i;
            return true;
        }
    }
    return false;
}

static void wrong(const char *option, const char *value, const char *cure)
{
    fprintf(stderr, "virtio-buf-play: %s %s: %s\n", option, value, cure);
    exit(EXIT_USAGE);
}

static void parse_options(struct options *options, int argc, char **argv)
{
    static const struct option long_options[] = {
        { "application", required_argument, NULL, 'a' },
        { "title", required_argument, NULL, 't' },
        { "fps", required_argument, NULL, 'f' },
        { "loop", required_argument, NULL, 'l' },
        { "mode", required_argument, NULL, 'm' },
        { "buffers", required_argument, NULL, 'b' },
        { "wait-consumer", no_argument, NULL, 'w' },
        { "instance", required_argument, NULL, 'i' },
        { "subsystem", required_argument, NULL, 's' },
        { "device", required_argument, NULL, 'd' },
        { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    unsigned long number;
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'a':
            options->application = optarg;
            if (!*optarg || strlen(optarg) > DRM_VIRTBUF_APPLICATION_MAX) {
                wrong("--application", optarg, "1 to 63 bytes are possible");
            }
            break;
        case 't':
            options->title = optarg;
            break;
        case 'f':
            if (!frame_rate_parse(optarg, &options->rate)) {
                wrong("--fps", optarg, "write 25, 29.97 or 30000/1001");
            }
            break;
        case 'l':
            if (!parse_number(optarg, 1000000000, &options->loops)) {
                wrong("--loop", optarg, "a number; 0 is for ever");
            }
            break;
        case 'm':
            if (!parse_mode(optarg, &options->mode)) {
                wrong("--mode", optarg, "latest, every or in-place");
            }
            break;
        case 'b':
            if (!parse_number(optarg, STREAM_MAX_BUFFERS, &number) || !number) {
                wrong("--buffers", optarg, "1 to 16 are possible");
            }
            options->buffers = (unsigned int)number;
            break;
        case 'w':
            options->wait_consumer = true;
            break;
        case 'i':
            options->match.instance = optarg;
            break;
        case 's':
            options->match.subsystem = true;
            if (!virtbuf_parse_subsystem(optarg,
                                         &options->match.subsystem_vendor,
                                         &options->match.subsystem_device)) {
                wrong("--subsystem", optarg,
                      "four hexadecimal digits, ':' and four more");
            }
            break;
        case 'd':
            options->node = optarg;
            break;
        case 'v':
            options->verbose = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            fputs("virtio-buf-play --help tells more\n", stderr);
            exit(EXIT_USAGE);
        }
    }
    options->files = argv + optind;
    options->file_count = argc - optind;
    if (options->file_count == 0) {
        fputs("virtio-buf-play: no FILE to play; --help tells more\n", stderr);
        exit(EXIT_USAGE);
    }
    if (options->node && (options->match.instance ||
                          options->match.subsystem)) {
        fputs("virtio-buf-play: --device says it all: leave --instance and "
              "--subsystem out\n", stderr);
        exit(EXIT_USAGE);
    }
    if (options->mode == DRM_VIRTBUF_MODE_IN_PLACE) {
        options->buffers = 1;
    }
}

/* A line on a terminal twice a second, else every five seconds */
static void show_progress(bool last)
{
    bool tty = isatty(STDERR_FILENO);
    int64_t now = now_ns(), since = now - progress.shown;
    const struct stream *stream = progress.stream;
    uint64_t frames = progress.frames - progress.frames_shown;
    char backing[80];

    if (last) {
        since = now - progress.start;
        frames = progress.frames;
    } else if (since < (tty ? NS / 2 : 5 * NS)) {
        return;
    }
    stream_describe_backing(stream, backing, sizeof(backing));
    fprintf(stderr, "%s%s%5.1f fps, %" PRIu64 " frames, %ux%u %.4s, %s%s%s%s",
            tty ? "\r\033[K" : "", last ? "played: " : "",
            since > 0 ? (double)frames * 1e9 / (double)since : 0.0,
            progress.frames, stream->format.width, stream->format.height,
            (const char *)&stream->format.fourcc, backing,
            waiting_for[0] ? ", waiting for " : "", waiting_for,
            tty && !last ? "" : "\n");
    progress.shown = now;
    progress.frames_shown = progress.frames;
}

static void on_wait(const char *what_for)
{
    snprintf(waiting_for, sizeof(waiting_for), "%s", what_for);
    show_progress(false);
}

/* Sleeps until the frame is due; when it is late, so is all that follows */
static void pace(struct player *player)
{
    int64_t due = player->base +
                  (int64_t)frame_rate_time(&player->rate, player->index);
    int64_t late = now_ns() - due;
    struct timespec time = { due / NS, due % NS };

    if (late > 0) {
        player->base += late;
        return;
    }
    while (!stop && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time,
                                    NULL) == EINTR) {
        continue;
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (strcmp(path, "-") == 0) {
        return "standard input";
    }
    return slash && slash[1] ? slash + 1 : path;
}

/* Buffers for a new size, or the news for those that are there */
static int prepare(struct player *player, const struct frame_format *format,
                   const struct stream_property *properties, size_t count,
                   bool *same)
{
    struct stream *stream = &player->stream;
    int ret;

    *same = stream->count &&
            frame_format_same_layout(&stream->format, format);
    if (*same) {
        return 0;
    }
    ret = stream_set_format(stream, format, properties, count);
    if (!ret && player->options.wait_consumer) {
        ret = stream_wait_consumer(stream);
        waiting_for[0] = '\0';
    }
    return ret;
}

static int play_frames(struct player *player, struct source *source,
                       const char *path, bool last_file,
                       const struct stream_property *properties, size_t count)
{
    struct stream *stream = &player->stream;
    uint64_t announced = 0; /* buffers that know this file's properties */
    char message[256];
    uint8_t *pixels;
    int ret;

    for (player->index = 0; !stop; player->index++) {
        uint64_t pts = frame_rate_time(&player->rate, player->index);
        uint64_t end = frame_rate_time(&player->rate, player->index + 1);
        uint32_t flags = DRM_VIRTBUF_UPDATE_KEYFRAME;
        bool tell;

        ret = stream_begin(stream, &pixels);
        waiting_for[0] = '\0';
        if (ret) {
            return ret;
        }
        ret = source_read(source, pixels, message, sizeof(message));
        if (ret < 0) {
            snprintf(stream->message, sizeof(stream->message), "%s: %s", path,
                     message);
            return -EINVAL;
        }
        if (ret == 0) {
            return 0;
        }
        if (last_file && source_at_end(source)) {
            flags |= DRM_VIRTBUF_UPDATE_END_OF_STREAM;
        }
        pace(player);
        tell = count && !(announced & 1u << stream->next);
        announced |= 1u << stream->next;
        ret = stream_update(stream, flags, player->base_pts + pts, end - pts,
                            properties, tell ? count : 0);
        if (ret) {
            return ret;
        }
        progress.frames++;
        show_progress(false);
    }
    snprintf(stream->message, sizeof(stream->message), "interrupted");
    return -EINTR;
}

static int play_file(struct player *player, const char *path, bool last_file)
{
    struct stream *stream = &player->stream;
    char rate[32];
    char message[256];
    struct source *source = source_open(path, message, sizeof(message));
    struct stream_property properties[3];
    bool same;
    int ret;

    if (!source) {
        snprintf(stream->message, sizeof(stream->message), "%s: %s", path,
                 message);
        return -EINVAL;
    }
    player->rate = player->options.rate.num ? player->options.rate :
                                              source_rate(source);
    if (!player->rate.num) {
        player->rate = (struct frame_rate) { 1, 1 };
    }
    snprintf(rate, sizeof(rate), "%" PRIu32 "/%" PRIu32, player->rate.num,
             player->rate.den);
    properties[0] = (struct stream_property) { "framerate", rate };
    properties[1] = (struct stream_property) {
        "title", player->options.title ? player->options.title :
                                         base_name(path),
    };
    properties[2] = (struct stream_property) {
        "colour", source_format(source)->colour,
    };
    if (player->options.verbose) {
        fprintf(stderr, "%s: %ux%u %.4s, %s frames/s\n", path,
                source_format(source)->width, source_format(source)->height,
                (const char *)&source_format(source)->fourcc, rate);
    }
    ret = prepare(player, source_format(source), properties, 3, &same);
    if (!ret) {
        if (!player->base) {
            player->base = now_ns();
            progress.start = progress.shown = player->base;
        }
        ret = play_frames(player, source, path, last_file, properties,
                          same ? 3 : 0);
        /* the next file goes on where this one ends */
        player->base += (int64_t)frame_rate_time(&player->rate, player->index);
        player->base_pts += frame_rate_time(&player->rate, player->index);
    }
    source_close(source);
    return ret;
}

static int play(struct player *player)
{
    const struct options *options = &player->options;
    int ret = 0;

    for (unsigned long loop = 0; !ret && (!options->loops ||
                                          loop < options->loops); loop++) {
        for (int i = 0; !ret && i < options->file_count; i++) {
            ret = play_file(player, options->files[i],
                            options->loops && loop + 1 == options->loops &&
                            i + 1 == options->file_count);
        }
    }
    if (!ret) {
        /* the last frame has its time, like the others */
        player->index = 0;
        pace(player);
        ret = stream_drain(&player->stream);
    }
    return ret;
}

static int find_device(const struct options *options, char *path, size_t size)
{
    struct virtbuf_device device;
    char message[1024];
    int ret;

    if (options->node) {
        ret = virtbuf_device_of_node("/sys", options->node, &device, message,
                                     sizeof(message));
    } else {
        ret = virtbuf_device_find("/sys", &options->match, &device, message,
                                  sizeof(message));
    }
    if (ret) {
        fprintf(stderr, "virtio-buf-play: %s\n", message);
        return ret;
    }
    snprintf(path, size, "/dev/dri/%s", device.render_node);
    if (options->verbose) {
        fprintf(stderr, "%s, instance '%s'\n", path, device.instance);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct player player = {
        .options = {
            .application = "virtio-buf-play",
            .loops = 1,
            .buffers = 3,
            .mode = DRM_VIRTBUF_MODE_LATEST,
        },
    };
    struct sigaction action = { .sa_handler = on_signal };
    char path[64];
    int ret;

    parse_options(&player.options, argc, argv);
    if (find_device(&player.options, path, sizeof(path))) {
        return EXIT_NO_DEVICE;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    player.stream.application = player.options.application;
    player.stream.mode = player.options.mode;
    player.stream.wanted = player.options.buffers;
    player.stream.stop = &stop;
    player.stream.on_wait = on_wait;
    progress.stream = &player.stream;
    progress.start = progress.shown = now_ns();
    ret = stream_open(&player.stream, path);
    if (!ret) {
        ret = play(&player);
    }
    if (progress.frames) {
        show_progress(true);
    }
    if (ret && ret != -EINTR) {
        fprintf(stderr, "virtio-buf-play: %s\n", player.stream.message);
    }
    stream_close(&player.stream);
    if (stop) {
        signal(stop, SIG_DFL);
        raise(stop);
    }
    return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
