/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest cases of virtio-buf: the object virtio-buf-server
 *
 * Its socket comes and goes with it, and whatever else is at its path stays.
 * Command lines that are wrong end with a message that says what to do.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqtest.h"
#include "libqos/virtio-buf.h"
#include "libqos/virtio-buf-consumer.h"

typedef struct Spawned {
    pid_t pid;
    int output;             /* its stderr */
    GString *text;
} Spawned;

static void spawn(Spawned *s, const char *args)
{
    g_autofree char *command = g_strdup_printf(
        "exec %s -nodefaults -display none -machine %s",
        getenv("QTEST_QEMU_BINARY"), args);
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    s->text = g_string_new(NULL);
    s->output = fds[0];
    s->pid = fork();
    g_assert_cmpint(s->pid, >=, 0);
    if (s->pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    close(fds[1]);
}

/* Reads until it ends, and returns its exit status */
static int spawned_wait(Spawned *s)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    struct pollfd pfd = { .fd = s->output, .events = POLLIN };
    char bytes[512];
    ssize_t n;
    int status;

    for (;;) {
        poll(&pfd, 1, 1000);
        if (g_get_monotonic_time() > end) {
            kill(s->pid, SIGKILL);
            g_error("QEMU does not end: %s", s->text->str);
        }
        if (pfd.revents) {
            n = read(s->output, bytes, sizeof(bytes));
            if (n <= 0) {
                break;
            }
            g_string_append_len(s->text, bytes, n);
        }
    }
    close(s->output);
    g_assert_cmpint(waitpid(s->pid, &status, 0), ==, s->pid);
    return status;
}

/* A command line that has to fail, and what its message has to say */
static void check_refused(const char *args, const char *expected)
{
    Spawned s;
    int status;

    g_test_message("%s", args);
    spawn(&s, args);
    status = spawned_wait(&s);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1 ||
        !strstr(s.text->str, expected)) {
        g_error("%s\nstatus 0x%x: %s\nnot: %s", args, status, s.text->str,
                expected);
    }
    g_string_free(s.text, true);
}

#define OBJECT "none -object virtio-buf-server,id=s"

typedef struct Place {
    char *dir;
    char *path;
} Place;

static void place_init(Place *place)
{
    place->dir = g_dir_make_tmp("virtio-buf-XXXXXX", NULL);
    g_assert_nonnull(place->dir);
    place->path = g_build_filename(place->dir, "socket", NULL);
}

static void place_clear(Place *place)
{
    /* Nothing is left in it */
    g_assert_cmpint(g_rmdir(place->dir), ==, 0);
    g_free(place->dir);
    g_free(place->path);
}

static int listening_socket(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpuint(strlen(path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    return fd;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* What it has when nothing is said */
static void test_help(void *obj, void *data, QGuestAllocator *alloc)
{
    static const char *const defaults[] = {
        "connected at the same time (default: 16)",
        "attached at the same time (default: 64)",
        "that a consumer may hold (default: 1)",
        "must have subscribed (default: 10000)",
    };
    Spawned s;

    spawn(&s, "none -object virtio-buf-server,help 1>&2");
    g_assert_cmpint(spawned_wait(&s), ==, 0);
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
        g_test_message("%s", defaults[i]);
        g_assert_nonnull(strstr(s.text->str, defaults[i]));
    }
    g_string_free(s.text, true);
}

static void test_options(void *obj, void *data, QGuestAllocator *alloc)
{
    g_autofree char *longest = g_strnfill(64, 'x');
    Place place;
    g_autofree char *args = NULL;

    place_init(&place);
    check_refused(OBJECT, "needs either 'path' or 'fd'");
    check_refused(OBJECT ",path=/tmp/x,fd=3", "needs either 'path' or 'fd'");
    check_refused(OBJECT ",path=", "'path' is empty");
    check_refused(OBJECT ",fd=77", "was not inherited");
    check_refused(OBJECT ",fd=x", "Invalid file descriptor number 'x'");
    check_refused(OBJECT ",fd=2", "not a listening unix stream socket");

    args = g_strdup_printf(OBJECT ",path=%s,max-consumers=0", place.path);
    check_refused(args, "'max-consumers' is 0: it has to be 1 to");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s,max-attached=0", place.path);
    check_refused(args, "'max-attached' is 0: it has to be 1 to");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s,hold=0", place.path);
    check_refused(args, "'hold' is 0: it has to be 1 to");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s,handshake-timeout=0", place.path);
    check_refused(args, "'handshake-timeout' is 0: it has to be 1 to");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s,applications=", place.path);
    check_refused(args, "'' in 'applications' is no name of an application");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s,applications=a,applications=%s",
                           place.path, longest);
    check_refused(args, "has to be UTF-8, 1 to 63 bytes");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s,applications=a\xff", place.path);
    check_refused(args, "has to be UTF-8, 1 to 63 bytes");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s,uids=4294967295", place.path);
    check_refused(args, "4294967295 in 'uids' is the uid of nobody");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s,uids=4294967296", place.path);
    check_refused(args, "uids");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s,uids=root", place.path);
    check_refused(args, "uids");
    g_free(args);
    args = g_strdup_printf("none -object '{\"qom-type\":\"virtio-buf-server\","
                           "\"id\":\"s\",\"path\":\"%s\","
                           "\"applications\":[]}'", place.path);
    check_refused(args, "'applications' is empty: leave it out to allow all");
    g_free(args);
    args = g_strdup_printf("none -object '{\"qom-type\":\"virtio-buf-server\","
                           "\"id\":\"s\",\"path\":\"%s\",\"uids\":[]}'",
                           place.path);
    check_refused(args, "'uids' is empty: leave it out to allow all");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s,nothing=0", place.path);
    check_refused(args, "nothing");
    place_clear(&place);
}

static unsigned list_size(QTestState *qts, const char *property)
{
    QDict *response = qtest_qmp(qts,
        "{'execute': 'qom-get', 'arguments': {'path': '/objects/s',"
        " 'property': %s}}", property);
    unsigned size = qlist_size(qdict_get_qlist(response, "return"));

    qobject_unref(response);
    return size;
}

/* Lists can be given in every way that there is to add an object */
static void test_lists(void *obj, void *data, QGuestAllocator *alloc)
{
    QTestState *qts;
    QBufConsumer *c;
    Place place;

    place_init(&place);
    qts = qtest_initf("-machine none -object '{"
                      "\"qom-type\":\"virtio-buf-server\",\"id\":\"s\","
                      "\"path\":\"%s\",\"applications\":[\"a\",\"b:c,d\"],"
                      "\"uids\":[%u,77]}'", place.path, getuid());
    g_assert_cmpuint(list_size(qts, "applications"), ==, 2);
    g_assert_cmpuint(list_size(qts, "uids"), ==, 2);
    c = qbuf_hello(place.path);
    qbuf_send_subscribe(c, "b:c,d", 0, 0, NULL, 0);
    qbuf_expect_subscribed(c);
    qbuf_close(c);
    c = qbuf_hello(place.path);
    qbuf_send_subscribe(c, "b", 0, 0, NULL, 0);
    qbuf_expect_error(c, EACCES);
    qbuf_close(c);
    qtest_quit(qts);

    qts = qtest_init("-machine none");
    g_free(qtest_hmp(qts, "object_add virtio-buf-server,id=s,path=%s,"
                     "applications.0=a,uids.0=%u,uids.1=77,uids.2=78",
                     place.path, getuid()));
    g_assert_cmpuint(list_size(qts, "applications"), ==, 1);
    g_assert_cmpuint(list_size(qts, "uids"), ==, 3);
    qbuf_close(qbuf_hello(place.path));
    qtest_qmp_assert_success(qts, "{'execute': 'object-del',"
                             " 'arguments': {'id': 's'}}");

    qtest_qmp_assert_success(qts,
        "{'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'virtio-buf-server', 'id': 's', 'path': %s,"
        " 'uids': [%d]}}", place.path, getuid() + 1);
    g_assert_cmpuint(list_size(qts, "applications"), ==, 0);
    c = qbuf_connect(place.path);
    qbuf_expect(c, VIRTIO_BUF_MSG_HELLO);
    qbuf_expect_error(c, EACCES);
    qbuf_close(c);
    qtest_quit(qts);
    place_clear(&place);
}

static void test_paths(void *obj, void *data, QGuestAllocator *alloc)
{
    g_autofree char *longest = g_strnfill(200, 'x');
    g_autofree char *args = NULL;
    g_autofree char *contents = NULL;
    g_autofree char *link = NULL;
    QTestState *qts;
    QBufConsumer *c;
    Place place;
    GStatBuf st;

    place_init(&place);
    args = g_strdup_printf(OBJECT ",path=%s/none/socket", place.dir);
    check_refused(args, "there is no directory");
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=/tmp/%s", longest);
    check_refused(args, "is too long for a unix socket: 107 bytes");
    g_free(args);

    /* A file of somebody, a link to it, a directory */
    g_assert_true(g_file_set_contents(place.path, "mine", -1, NULL));
    args = g_strdup_printf(OBJECT ",path=%s", place.path);
    check_refused(args, "exists and is not a socket");
    g_assert_true(g_file_get_contents(place.path, &contents, NULL, NULL));
    g_assert_cmpstr(contents, ==, "mine");
    g_free(args);
    link = g_build_filename(place.dir, "link", NULL);
    g_assert_cmpint(symlink(place.path, link), ==, 0);
    args = g_strdup_printf(OBJECT ",path=%s", link);
    check_refused(args, "exists and is not a socket");
    g_unlink(link);
    g_unlink(place.path);
    g_free(args);
    args = g_strdup_printf(OBJECT ",path=%s", place.dir);
    check_refused(args, "exists and is not a socket");
    g_free(args);

    /* A server that lives: this test's */
    args = g_strdup_printf(OBJECT ",path=%s", qvirtio_buf_socket_path());
    check_refused(args, "a server is listening on");
    g_assert_true(exists(qvirtio_buf_socket_path()));
    qbuf_close(qbuf_hello(qvirtio_buf_socket_path()));

    /* A server that died has left its socket */
    close(listening_socket(place.path));
    g_assert_true(exists(place.path));
    qts = qtest_initf("-machine none -object virtio-buf-server,id=s,path=%s",
                      place.path);
    g_assert_cmpint(g_lstat(place.path, &st), ==, 0);
    g_assert_cmphex(st.st_mode & 07777, ==, 0600);
    c = qbuf_hello(place.path);
    qbuf_send_subscribe(c, NULL, 0, 0, NULL, 0);
    qbuf_expect_subscribed(c);
    qtest_quit(qts);
    qbuf_expect_end(c);
    qbuf_close(c);
    place_clear(&place);
}

/* What took the place of its socket is not removed at the end */
static void test_replaced(void *obj, void *data, QGuestAllocator *alloc)
{
    QTestState *qts;
    Place place;
    int fd;

    place_init(&place);
    qts = qtest_initf("-machine none -object virtio-buf-server,id=s,path=%s",
                      place.path);
    g_unlink(place.path);
    fd = listening_socket(place.path);
    qtest_quit(qts);
    g_assert_true(exists(place.path));
    close(fd);
    g_unlink(place.path);
    place_clear(&place);
}

/* It goes also when a device refers to it */
static void test_exit(void *obj, void *data, QGuestAllocator *alloc)
{
    QTestState *qts;
    Place place;

    place_init(&place);
    qts = qtest_initf("-object virtio-buf-server,id=s,path=%s"
                      " -device virtio-buf-pci,server=s", place.path);
    g_assert_true(exists(place.path));
    qtest_quit(qts);
    place_clear(&place);
}

static void test_fd(void *obj, void *data, QGuestAllocator *alloc)
{
    QTestState *qts;
    QBufConsumer *c;
    QDict *error;
    Place place;
    int fd, pipe_fds[2];

    /* Inherited */
    place_init(&place);
    fd = listening_socket(place.path);
    qts = qtest_initf("-machine none -object virtio-buf-server,id=s,fd=%d", fd);
    close(fd);
    c = qbuf_hello(place.path);
    qbuf_send_subscribe(c, NULL, 0, 0, NULL, 0);
    qbuf_expect_subscribed(c);
    qbuf_close(c);
    qtest_quit(qts);
    /* Its owner removes it */
    g_unlink(place.path);

    /* From getfd */
    qts = qtest_init("-machine none");
    g_assert_cmpint(pipe(pipe_fds), ==, 0);
    qtest_qmp_fds_assert_success(qts, pipe_fds, 1,
        "{'execute': 'getfd', 'arguments': {'fdname': 'pipe'}}");
    error = qtest_qmp_assert_failure_ref(qts,
        "{'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'virtio-buf-server', 'id': 's', 'fd': 'pipe'}}");
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"),
                            "not a listening unix stream socket"));
    qobject_unref(error);
    close(pipe_fds[0]);
    close(pipe_fds[1]);

    fd = listening_socket(place.path);
    qtest_qmp_fds_assert_success(qts, &fd, 1,
        "{'execute': 'getfd', 'arguments': {'fdname': 'listener'}}");
    close(fd);
    qtest_qmp_assert_success(qts,
        "{'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'virtio-buf-server', 'id': 's', 'fd': 'listener'}}");
    c = qbuf_hello(place.path);
    error = qtest_qmp_assert_failure_ref(qts,
        "{'execute': 'qom-set', 'arguments': {'path': '/objects/s',"
        " 'property': 'max-consumers', 'value': 1}}");
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"),
                            "cannot be changed"));
    qobject_unref(error);
    qtest_qmp_assert_success(qts, "{'execute': 'object-del',"
                             " 'arguments': {'id': 's'}}");
    qbuf_expect_end(c);
    qbuf_close(c);
    g_unlink(place.path);
    qtest_quit(qts);
    place_clear(&place);
}

static void test_shared_server(void *obj, void *data, QGuestAllocator *alloc)
{
    g_autofree char *args = NULL;
    Place place;

    place_init(&place);
    args = g_strdup_printf("pc -object virtio-buf-server,id=s,path=%s"
                           " -device virtio-buf-pci,server=s"
                           " -device virtio-buf-pci,server=s", place.path);
    check_refused(args, "serves another device already");
    check_refused("pc -device virtio-buf-pci,server=s", "'s' not found");
    place_clear(&place);
}

/* Zero-copy that is demanded, and cannot be: says what to do about it */
static void test_device(void *obj, void *data, QGuestAllocator *alloc)
{
    check_refused("pc -device virtio-buf-pci,max-ranges=0",
                  "'max-ranges' must be between 1 and 16384, not 0");
    check_refused("pc -device virtio-buf-pci,max-ranges=16385",
                  "'max-ranges' must be between 1 and 16384, not 16385");
    check_refused("pc -device virtio-buf-pci,udmabuf=on,udmabuf-device=/none",
                  "udmabuf=on: Could not open '/none'");
    check_refused("pc -device virtio-buf-pci,udmabuf=on,"
                  "udmabuf-device=/dev/null", "'/dev/null' is not udmabuf");
    check_refused("pc -device virtio-buf-pci,udmabuf=on,strict-readonly=on",
                  "strict-readonly=on does not go with udmabuf=on");
    if (qvirtio_buf_zero_copy()) {
        check_refused("pc -device virtio-buf-pci,udmabuf=on",
                      "add -object memory-backend-memfd,id=mem,size=...,"
                      "share=on and -machine memory-backend=mem");
    }
}

/* Many faults are few lines */
static void test_log(void *obj, void *data, QGuestAllocator *alloc)
{
    int64_t end = g_get_monotonic_time() + QVIRTIO_BUF_TIMEOUT_US;
    g_autofree char *args = NULL, *who = NULL;
    unsigned i, lines = 0;
    QBufConsumer *c;
    Place place;
    Spawned s;

    place_init(&place);
    args = g_strdup_printf(OBJECT ",path=%s", place.path);
    spawn(&s, args);
    while (!exists(place.path)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    /* It listens a moment after it has bound */
    g_usleep(100 * 1000);
    for (i = 0; i < 500; i++) {
        c = qbuf_connect(place.path);
        qbuf_send_bytes(c, "garbage!garbage!", 16, -1);
        qbuf_expect_error(c, EPROTO);
        qbuf_close(c);
    }
    kill(s.pid, SIGTERM);
    g_assert_cmpint(spawned_wait(&s), ==, 0);
    for (i = 0; i < s.text->len; i++) {
        lines += s.text->str[i] == '\n';
    }
    /* Who it was, and what was wrong */
    who = g_strdup_printf("virtio-buf-server 's': consumer (pid %d, uid %u, "
                          "gid %u) disconnected: ", (int)getpid(),
                          (unsigned)getuid(), (unsigned)getgid());
    g_assert_nonnull(strstr(s.text->str, who));
    g_assert_cmpuint(lines, <, 100);
    g_string_free(s.text, true);
    place_clear(&place);
}

static void register_virtio_buf_object_test(void)
{
    QOSGraphTestOptions opts = {
        .before = qvirtio_buf_before,
        .edge.extra_device_opts = QVIRTIO_BUF_SERVER,
    };

    qos_add_test("object/options", QVIRTIO_BUF_ALONE, test_options, &opts);
    qos_add_test("object/help", QVIRTIO_BUF_ALONE, test_help, &opts);
    qos_add_test("object/lists", QVIRTIO_BUF_ALONE, test_lists, &opts);
    qos_add_test("object/paths", QVIRTIO_BUF_ALONE, test_paths, &opts);
    qos_add_test("object/replaced", QVIRTIO_BUF_ALONE, test_replaced, &opts);
    qos_add_test("object/exit", QVIRTIO_BUF_ALONE, test_exit, &opts);
    qos_add_test("object/fd", QVIRTIO_BUF_ALONE, test_fd, &opts);
    qos_add_test("object/shared-server", QVIRTIO_BUF_ALONE, test_shared_server,
                 &opts);
    qos_add_test("object/device", QVIRTIO_BUF_ALONE, test_device, &opts);
    qos_add_test("object/log", QVIRTIO_BUF_ALONE, test_log, &opts);
}

libqos_init(register_virtio_buf_object_test);
