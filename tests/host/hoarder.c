/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf-hoarder: attacks the taking back of buffers, on the host
 *
 * The other half is virtbuf-revoke in the guest, which has one buffer after the
 * other. For each, a new process connects, attaches the buffer, and keeps it in
 * one of the ways of hoards.h, all of them in random order. That the next
 * buffer is attached says that the one before has been FREED and filled with a
 * secret. Some rounds later the process, by the memory that it has kept, looks
 * for the secret and writes into it, which the guest must not see.
 *
 * Ends when the server's socket is gone. Prints how often each way was used;
 * fails if a secret was seen, or if a way was never used that this machine has
 * what is needed for.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "virtio-buf/virtio-buf.h"
#include "hoards.h"

/* A thief is judged after this many more rounds at most */
#define PATIENT_ROUNDS  3
#define MAX_THIEVES     (PATIENT_ROUNDS + 2)
/* How often a thief looks at what it has while it waits */
#define LOOK_MS         50
/* One that is killed is so at any time from an update to after the deadline */
#define KILL_MS         150
/* An emulated machine that emulates another one may stand still */
#define PATIENCE_MS     60000

/* Exit statuses of a thief */
enum {
    THIEF_SAW_NOTHING = 0,
    THIEF_SAW_SECRET = 1,
    THIEF_FAILED = 2,
    THIEF_HAD_NOTHING = 3,      /* the server went, or disconnected it */
};

struct thief {
    pid_t pid;                  /* 0: none */
    enum hoard_kind kind;
    int orders;                 /* to it: a byte: it is judged */
    int news;                   /* from it: the buffer that it has got */
    unsigned int judged_at;     /* round */
};

static const char *path, *application;
static struct thief thieves[MAX_THIEVES];
static unsigned int rounds, attached[HOARD_KINDS], failures;
static uint64_t last_buffer;
/* The only kind that is used; or HOARD_KINDS: all */
static unsigned int only = HOARD_KINDS;
static unsigned int seed;

static void sleep_ms(unsigned int ms)
{
    nanosleep(&(struct timespec) { ms / 1000, ms % 1000 * 1000000l }, NULL);
}

static void complain(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

static void complain(const char *format, ...)
{
    va_list args;

    printf("# round %u: ", rounds);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    failures++;
}

/*
 * The life of a thief: a process of its own
 */

/* Being polite is to answer REMOVE, which the library does */
static void serve(struct vbuf **vbuf)
{
    const struct vbuf_event *event;
    int ret = 0;

    do {
        ret = *vbuf ? vbuf_next_event(*vbuf, &event) : 0;
    } while (ret > 0 && event->type != VBUF_EVENT_DISCONNECTED);
    if (ret) {
        vbuf_disconnect(*vbuf);
        *vbuf = NULL;
    }
}

/* Serves @vbuf, if there is one, and waits; true: it shall be judged */
static bool is_called(int orders, struct vbuf **vbuf)
{
    struct pollfd fds[] = {
        { .fd = orders, .events = POLLIN },
        { .fd = *vbuf ? vbuf_fd(*vbuf) : -1, .events = POLLIN },
    };

    poll(fds, 2, LOOK_MS);
    serve(vbuf);
    return fds[0].revents;
}

static int wait_and_judge(struct hoard *hoard, int orders, struct vbuf *vbuf)
{
    bool secret = false;

    while (!is_called(orders, &vbuf)) {
        secret |= hoard_has_secret(hoard);
    }
    if (!hoard_open(hoard)) {
        return THIEF_FAILED;
    }
    secret |= hoard_has_secret(hoard);
    hoard_spoil(hoard);
    return secret ? THIEF_SAW_SECRET : THIEF_SAW_NOTHING;
}

/* A child has it, and this process is polite; @lent is the library's fd */
static int hand_over(struct hoard *hoard, int orders, struct vbuf *vbuf,
                     int lent)
{
    pid_t pid = fork();
    int status;

    if (pid < 0) {
        return THIEF_FAILED;
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(lent);
        close(vbuf_fd(vbuf));
        if (hoard->kind == HOARD_PASSED && !hoard_open(hoard)) {
            _exit(THIEF_FAILED);
        }
        _exit(wait_and_judge(hoard, orders, NULL));
    }
    hoard_drop(hoard);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        is_called(-1, &vbuf);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : THIEF_FAILED;
}

/* Attaches the first buffer that comes with an id above @after */
static struct vbuf_buffer *attach_next(struct vbuf *vbuf, uint64_t after)
{
    const struct vbuf_event *event;

    while (vbuf_wait_event(vbuf, -1, &event) > 0) {
        if (event->type == VBUF_EVENT_ATTACHED) {
            return event->buffer;
        }
        if (event->type == VBUF_EVENT_BUFFER &&
            vbuf_buffer_id(event->buffer) > after) {
            vbuf_attach(event->buffer);
        }
        /* The guest waits for it in vain: let the log say why */
        if (event->type == VBUF_EVENT_REFUSED) {
            printf("# an ATTACH was refused: %s\n", strerror(event->error));
            fflush(stdout);
        }
    }
    return NULL;
}

/*
 * Who goes before the guest has seen it attached lets the guest wait for it. A
 * guest that takes the buffer back at once can come before the update.
 */
static void wait_for_update(struct vbuf *vbuf)
{
    const struct vbuf_event *event;
    int ret;

    do {
        ret = vbuf_wait_event(vbuf, -1, &event);
    } while (ret > 0 && event->type != VBUF_EVENT_UPDATE &&
             event->type != VBUF_EVENT_REMOVE &&
             event->type != VBUF_EVENT_DISCONNECTED);
}

static int steal(enum hoard_kind kind, uint64_t after, unsigned int delay_ms,
                 int orders, int news)
{
    struct vbuf_buffer *buffer;
    struct hoard hoard;
    struct vbuf *vbuf;
    uint64_t id;
    int lent, fd;

    if (vbuf_connect(path, &vbuf) < 0 ||
        vbuf_subscribe(vbuf, &application, 1, 0, 0) < 0) {
        return THIEF_HAD_NOTHING;
    }
    buffer = attach_next(vbuf, after);
    if (!buffer) {
        return THIEF_HAD_NOTHING;
    }
    id = vbuf_buffer_id(buffer);
    lent = vbuf_buffer_fd(buffer);
    fd = fcntl(lent, F_DUPFD_CLOEXEC, 0);
    if (fd < 0 || !hoard_keep(&hoard, kind, fd, vbuf_buffer_size(buffer)) ||
        write(news, &id, sizeof(id)) != sizeof(id)) {
        return THIEF_FAILED;
    }

    switch (kind) {
    case HOARD_MAPPING:
    case HOARD_FD:
        return wait_and_judge(&hoard, orders, NULL);
    case HOARD_PASSED:
    case HOARD_FORKED:
        return hand_over(&hoard, orders, vbuf, lent);
    case HOARD_STOPPED:
        raise(SIGSTOP);
        return wait_and_judge(&hoard, orders, NULL);
    case HOARD_KILLED:
        wait_for_update(vbuf);
        sleep_ms(delay_ms);
        raise(SIGKILL);
        return THIEF_FAILED;
    default:
        return wait_and_judge(&hoard, orders, vbuf);
    }
}

/*
 * The parent
 */

/* All kinds that are possible, in random order, then again */
static enum hoard_kind next_kind(void)
{
    static enum hoard_kind deck[HOARD_KINDS];
    static unsigned int left;

    if (only != HOARD_KINDS) {
        return (enum hoard_kind)only;
    }
    if (!left) {
        for (unsigned int i = 0; i < HOARD_KINDS; i++) {
            unsigned int other = (unsigned int)random() % (left + 1);

            if (hoard_obstacle((enum hoard_kind)i)) {
                continue;
            }
            deck[left++] = deck[other];
            deck[other] = (enum hoard_kind)i;
        }
    }
    return deck[--left];
}

static struct thief *start_thief(enum hoard_kind kind)
{
    unsigned int delay_ms = (unsigned int)random() % KILL_MS;
    struct thief *thief = thieves;
    int orders[2], news[2];

    while (thief->pid) {
        thief++;
    }
    if (pipe(orders) < 0 || pipe(news) < 0) {
        perror("pipe");
        exit(2);
    }
    fflush(stdout);
    thief->pid = fork();
    if (thief->pid < 0) {
        perror("fork");
        exit(2);
    }
    if (thief->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (size_t i = 0; i < MAX_THIEVES; i++) {
            if (thieves[i].pid) {
                close(thieves[i].orders);
                close(thieves[i].news);
            }
        }
        close(orders[1]);
        close(news[0]);
        _exit(steal(kind, last_buffer, delay_ms, orders[0], news[1]));
    }
    close(orders[0]);
    close(news[1]);
    thief->kind = kind;
    thief->orders = orders[1];
    thief->news = news[0];
    thief->judged_at = 0;
    return thief;
}

/* Waits for its end, and frees the slot; gives what waitpid() gives */
static int reap(struct thief *thief)
{
    int status = 0;

    for (unsigned int ms = 0; waitpid(thief->pid, &status, WNOHANG) == 0;
         ms += 10) {
        if (ms >= PATIENCE_MS) {
            complain("%s: does not come to its end", hoard_names[thief->kind]);
            kill(thief->pid, SIGKILL);
            waitpid(thief->pid, &status, 0);
            break;
        }
        sleep_ms(10);
    }
    close(thief->orders);
    close(thief->news);
    thief->pid = 0;
    return status;
}

static void judge(struct thief *thief)
{
    const char *name = hoard_names[thief->kind];
    int status;

    /* One that was killed does not read it */
    if (write(thief->orders, "", 1) < 0 && errno != EPIPE) {
        complain("%s: %s", name, strerror(errno));
    }
    kill(thief->pid, SIGCONT);
    status = reap(thief);
    if (thief->kind == HOARD_KILLED) {
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
            complain("%s: was not killed", name);
        }
    } else if (!WIFEXITED(status) || WEXITSTATUS(status) >= THIEF_FAILED) {
        complain("%s: the attack itself failed", name);
    } else if (WEXITSTATUS(status) == THIEF_SAW_SECRET) {
        complain("%s: has seen what the guest wrote later", name);
    }
}

static bool server_is_there(void)
{
    return access(path, F_OK) == 0;
}

/* Until @thief has a buffer, or has ended: 0 */
static uint64_t wait_for_news(const struct thief *thief)
{
    struct pollfd fd = { .fd = thief->news, .events = POLLIN };
    uint64_t buffer;

    while (poll(&fd, 1, 200) == 0) {
        if (!server_is_there()) {
            return 0;
        }
    }
    return read(thief->news, &buffer, sizeof(buffer)) == sizeof(buffer) ?
           buffer : 0;
}

static void attack(void)
{
    enum hoard_kind kind = next_kind();

    while (server_is_there()) {
        struct thief *fresh = start_thief(kind);
        uint64_t buffer = wait_for_news(fresh);

        if (!buffer) {
            int status;

            kill(fresh->pid, SIGTERM);
            status = reap(fresh);
            if (WIFEXITED(status) && WEXITSTATUS(status) == THIEF_FAILED) {
                complain("%s: cannot be done here", hoard_names[kind]);
            }
            sleep_ms(20);
            continue;
        }
        rounds++;
        attached[kind]++;
        last_buffer = buffer;
        fresh->judged_at = rounds + 1 + (unsigned int)random() % PATIENT_ROUNDS;
        kind = next_kind();
        for (size_t i = 0; i < MAX_THIEVES; i++) {
            if (thieves[i].pid && thieves[i].judged_at <= rounds) {
                judge(&thieves[i]);
            }
        }
    }
    for (size_t i = 0; i < MAX_THIEVES; i++) {
        if (thieves[i].pid) {
            judge(&thieves[i]);
        }
    }
}

static int report(void)
{
    unsigned int cases = 0;

    for (unsigned int i = 0; i < HOARD_KINDS; i++) {
        const char *obstacle = hoard_obstacle((enum hoard_kind)i);

        if (only != HOARD_KINDS && only != i) {
            continue;
        }
        if (obstacle) {
            printf("ok %u - holder, %s # SKIP %s\n", ++cases, hoard_names[i],
                   obstacle);
            continue;
        }
        failures += !attached[i];
        printf("%sok %u - holder, %s: %u rounds\n", attached[i] ? "" : "not ",
               ++cases, hoard_names[i], attached[i]);
    }
    printf("%sok %u - no holder sees what is not shared any more: "
           "%u rounds, seed %u\n", failures ? "not " : "", cases + 1, rounds,
           seed);
    printf("1..%u\n", cases + 1);
    return failures ? 1 : 0;
}

static void usage(FILE *out)
{
    fputs("Usage: virtio-buf-hoarder [--seed N] [--only KIND] SOCKET "
          "APPLICATION\n"
          "Needs virtbuf-revoke in the guest. Writes TAP.\n", out);
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        { "seed", required_argument, NULL, 's' },
        { "only", required_argument, NULL, 'o' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    int option;

    seed = (unsigned int)time(NULL);
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 's':
            seed = (unsigned int)strtoul(optarg, NULL, 0);
            break;
        case 'o':
            only = 0;
            while (only < HOARD_KINDS && strcmp(optarg, hoard_names[only])) {
                only++;
            }
            if (only == HOARD_KINDS) {
                usage(stderr);
                return 2;
            }
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (argc - optind != 2) {
        usage(stderr);
        return 2;
    }
    path = argv[optind];
    application = argv[optind + 1];
    signal(SIGPIPE, SIG_IGN);
    srandom(seed);
    attack();
    return report();
}
