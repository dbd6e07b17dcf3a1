/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: a hostile device, what it says of its consumers. Records of
 * GET_CONSUMERS and frames of WRITTEN that break the format or contradict
 * themselves, answers to RESET, and updates that it never releases.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gate.h"
#include "sim.h"
#include "suites.h"

#define COUNT(array)    (sizeof(array) / sizeof((array)[0]))

/* An answer to GET_CONSUMERS with two records, to be changed */
struct answer {
    struct virtio_buf_consumers_response head;
    struct virtio_buf_consumer consumers[2];
    uint8_t more[64];
};

static int ask(const struct fixture *f, struct drm_virtbuf_consumers *args,
               void *room, uint32_t size)
{
    *args = (struct drm_virtbuf_consumers) {
        .application = PTR(APPLICATION_ALONE),
        .application_len = strlen(APPLICATION_ALONE),
        .data = PTR(room),
        .size = size,
    };
    return ioctl(f->fd, DRM_IOCTL_VIRTBUF_CONSUMERS, args);
}

static void consumers_body(void)
{
    const unsigned int head = sizeof(struct virtio_buf_consumers_response);
    const unsigned int one = head + sizeof(struct virtio_buf_consumer);
    const unsigned int two = one + sizeof(struct virtio_buf_consumer);
    const unsigned int too_large = VIRTIO_BUF_MAX_PROPERTY_BYTES + 8;
    const struct {
        uint32_t count, more;
        uint64_t ids[2];
        uint32_t properties[2];
        unsigned int len;
    } cases[] = {
        /* less than the head */
        { 0, 0, { 1, 2 }, { 0, 0 }, head - 1 },
        { 0, 0, { 1, 2 }, { 0, 0 }, sizeof(struct virtio_buf_response) },
        /* fewer records than it counts */
        { 1, 0, { 1, 2 }, { 0, 0 }, head },
        { 1, 0, { 1, 2 }, { 0, 0 }, one - 1 },
        { 2, 0, { 1, 2 }, { 0, 0 }, one },
        { 2, 0, { 1, 2 }, { 0, 0 }, two - 1 },
        { 3, 0, { 1, 2 }, { 0, 0 }, two },
        { UINT32_MAX, 0, { 1, 2 }, { 0, 0 }, two },
        /* ids that do not rise */
        { 1, 0, { 0, 2 }, { 0, 0 }, two },
        { 2, 0, { 5, 5 }, { 0, 0 }, two },
        { 2, 0, { 5, 4 }, { 0, 0 }, two },
        /* properties that are not there, or of no possible length */
        { 1, 0, { 1, 2 }, { 8, 0 }, one },
        { 1, 0, { 1, 2 }, { 4, 0 }, two },
        { 2, 0, { 1, 2 }, { 0, 64 }, two },
        { 1, 0, { 1, 2 }, { too_large, 0 }, UINT32_MAX },
        { 1, 0, { 1, 2 }, { UINT32_MAX, 0 }, UINT32_MAX },
        { 1, 0, { 1, 2 }, { -8u, 0 }, UINT32_MAX },
        /* more, of nothing, and the same again and again */
        { 0, 1, { 1, 2 }, { 0, 0 }, two },
        { 1, 1, { 1, 2 }, { 0, 0 }, one },
        { 1, UINT32_MAX, { UINT64_MAX, 2 }, { 0, 0 }, one },
    };
    struct fixture f = fixture_new();

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer answer = {
            .head = { .count = cases[i].count, .more = cases[i].more },
        };
        struct drm_virtbuf_consumers args;
        uint8_t room[4096];

        for (int c = 0; c < 2; c++) {
            answer.consumers[c].consumer_id = cases[i].ids[c];
            answer.consumers[c].property_bytes = cases[i].properties[c];
        }
        sim_answer(VIRTIO_BUF_CMD_GET_CONSUMERS, &answer, sizeof(answer),
                   cases[i].len);
        if (ask(&f, &args, room, sizeof(room)) == 0 || errno != EIO) {
            test_fail(__FILE__, __LINE__, "case %zu was not EIO", i);
        }
        CHECK_EQ(args.count, 0);
        sim_no_fault();
    }
    /* the device is none the worse for it */
    CHECK_OK(do_command(&f, VIRTIO_BUF_CMD_GET_CONSUMERS));
    CHECK_OK(do_command(&f, VIRTIO_BUF_CMD_SET_PROPERTIES));
    buffer_take_back(f.fd, f.buffer);
    close(f.fd);
}

static void broken_consumers(void)
{
    with_sim(consumers_body);
}

/* What no format forbids comes as it is, and no byte more than there is room */
static void odd_consumers_body(void)
{
    struct answer answer = {
        .head.count = 2,
        .consumers = {
            { .consumer_id = 1, .flags = UINT32_MAX },
            { .consumer_id = UINT64_MAX, .flags = 0x80000000,
              .property_bytes = 16 },
        },
    };
    const uint32_t size = sizeof(answer.consumers) + 16;
    struct fixture f = fixture_new();
    struct drm_virtbuf_consumers args;
    uint8_t room[256];

    memset(answer.more, 0xff, sizeof(answer.more));
    sim_answer(VIRTIO_BUF_CMD_GET_CONSUMERS, &answer, sizeof(answer),
               UINT32_MAX);
    memset(room, 0xee, sizeof(room));
    CHECK_OK(ask(&f, &args, room, sizeof(room)));
    CHECK_EQ(args.count, 2);
    CHECK_EQ(args.size, size);
    CHECK(memcmp(room, answer.consumers, sizeof(answer.consumers)) == 0);
    CHECK_EQ(room[size - 1], 0xff);
    CHECK_EQ(room[size], 0xee);
    memset(room, 0xee, sizeof(room));
    CHECK_ERRNO(ask(&f, &args, room, size - 1), ENOSPC);
    CHECK_EQ(args.count, 2);
    CHECK_EQ(args.size, size);
    CHECK_EQ(room[size - 1], 0xee);
    sim_no_fault();
    close(f.fd);
}

static void odd_consumers(void)
{
    with_sim(odd_consumers_body);
}

static void sleep_and_wake(void)
{
    if (sim("sleep", "") < 0) {
        test_skip("this kernel cannot sleep: %s", errno_name(errno));
    }
    CHECK_OK(sim("wake", ""));
    sim_no_fault();
}

static void sleep_through(const struct fixture *f)
{
    uint64_t serial;

    sleep_and_wake();
    serial = buffer_update(f->fd, f->buffer, f->page);
    CHECK_OK(wait_one(f->fd, f->buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                      PATIENCE_MS));
}

/* RESET is sent before a sleep: whatever is answered, buffers outlive it */
static void reset_answers_body(void)
{
    static const struct virtio_buf_reset_response answers[] = {
        { .buffers = UINT32_MAX, .reserved = UINT32_MAX },
        { .hdr.status = VIRTIO_BUF_S_PENDING },
        { .hdr.status = VIRTIO_BUF_S_UNSUPPORTED },
        { .hdr.status = VIRTIO_BUF_S_NO_BUFFER },
        { .hdr.status = UINT32_MAX },
        { .hdr.news = UINT64_MAX },
        { .hdr.reserved = UINT32_MAX },
    };
    static const unsigned int lens[] = {
        0, 8, sizeof(struct virtio_buf_response),
        sizeof(struct virtio_buf_reset_response), UINT32_MAX,
    };
    struct fixture f = fixture_new();

    for (size_t i = 0; i < COUNT(answers); i++) {
        sim_answer(VIRTIO_BUF_CMD_RESET, &answers[i], sizeof(answers[i]),
                   sizeof(answers[i]));
        sleep_through(&f);
    }
    for (size_t i = 0; i < COUNT(lens); i++) {
        sim_answer(VIRTIO_BUF_CMD_RESET, &answers[0], sizeof(answers[0]),
                   lens[i]);
        sleep_through(&f);
    }
    /* the reset of the device ends what is not answered */
    sim_set_timeout(SIM_LONG_TIMEOUT);
    sim_fault(VIRTIO_BUF_CMD_RESET, "silent", 0);
    sleep_through(&f);
    buffer_take_back(f.fd, f.buffer);
    close(f.fd);
}

static void reset_answers(void)
{
    with_sim(reset_answers_body);
}

/* A device that fails in RESET is dead after the sleep, and can be pulled */
static void reset_fails_body(void)
{
    static const char *const kinds[] = {
        "twice", "wrong-chain", "no-chain", "jump",
    };

    for (size_t i = 0; i < COUNT(kinds); i++) {
        struct fixture f = fixture_new();

        sim_fault(VIRTIO_BUF_CMD_RESET, kinds[i], 0);
        sleep_and_wake();
        check_dies(&f);
        CHECK_OK(sim("remove", ""));
        CHECK_ERRNO(do_command(&f, VIRTIO_BUF_CMD_UPDATE), ENODEV);
        close(f.fd);
        sim_new();
    }
}

static void reset_fails(void)
{
    with_sim(reset_fails_body);
}

/* An answer to GET_EVENTS with a frame that is right, to be changed */
struct news {
    struct virtio_buf_events_response head;
    struct virtio_buf_event event;
    struct virtio_buf_frame frame;
    struct virtio_buf_rect rect;
    struct virtio_buf_span span;
    struct virtio_buf_property property;
    char text[8];
    uint8_t more[512];
};

/* Its buffer, which a consumer may write; of one page */
static struct fixture writer_new(uint64_t *id)
{
    struct fixture f = { .fd = device_open() };
    struct registration reg;

    CHECK(device_feature(f.fd, DRM_VIRTBUF_FEATURE_WRITER));
    f.page = device_page(f.fd);
    f.bo = bo_create(f.fd, f.page);
    registration_init(&reg, f.bo, f.page);
    reg.args.access = DRM_VIRTBUF_ACCESS_WRITER;
    CHECK_OK(registration_do(f.fd, &reg));
    f.buffer = reg.args.buffer;
    *id = reg.args.buffer_id;
    return f;
}

static struct news news_of(uint64_t id, uint64_t size)
{
    struct news news;

    memset(&news, 0, sizeof(news));
    news.head.count = 1;
    news.event.buffer_id = id;
    news.event.flags = VIRTIO_BUF_EVENT_WRITTEN;
    news.event.size = offsetof(struct news, more) -
                      offsetof(struct news, event);
    news.frame.serial = 1;
    news.frame.flags = VIRTIO_BUF_FRAME_FLAGS;
    news.frame.clock = VIRTIO_BUF_CLOCK_TAI;
    news.frame.data_offset = 1;
    news.frame.data_size = size - 1;
    news.frame.pts = UINT64_MAX;
    news.frame.duration = UINT64_MAX;
    news.frame.rect_count = 1;
    news.frame.span_count = 1;
    news.frame.property_bytes = sizeof(news.property) + sizeof(news.text);
    news.rect = (struct virtio_buf_rect) { UINT32_MAX, UINT32_MAX,
                                           UINT32_MAX, UINT32_MAX };
    news.span = (struct virtio_buf_span) { size - 1, 1 };
    news.property.name_len = 3;
    news.property.value_len = 5;
    /* text is passed on as it is */
    memcpy(news.text, "\xff=\0\n\0\0\0\xfe", 8);
    return news;
}

static void tell(const struct news *news)
{
    sim_answer(VIRTIO_BUF_CMD_GET_EVENTS, news, sizeof(*news),
               offsetof(struct news, event) + news->event.size);
    CHECK_OK(sim("notify", ""));
}

static void odd_frame_body(void)
{
    uint64_t id;
    struct fixture f = writer_new(&id);
    struct news news = news_of(id, f.page), unknown = news_of(id + 7, f.page);
    struct drm_virtbuf_rect rect;
    struct drm_virtbuf_span span;
    uint8_t record[16];
    struct drm_virtbuf_get_written args = {
        .buffer = f.buffer,
        .rects = PTR(&rect), .rect_count = 1,
        .spans = PTR(&span), .span_count = 1,
        .properties = PTR(record), .property_size = sizeof(record),
    };

    /* of a buffer that nobody knows: what follows is not even read */
    unknown.frame.rect_count = UINT16_MAX;
    tell(&unknown);
    CHECK_ERRNO(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_WRITTEN, 1, 200),
                ETIME);
    tell(&news);
    CHECK_OK(wait_one(f.fd, f.buffer, DRM_VIRTBUF_WAIT_WRITTEN, 1,
                      PATIENCE_MS));
    sim_no_fault();
    CHECK_OK(ioctl(f.fd, DRM_IOCTL_VIRTBUF_GET_WRITTEN, &args));
    CHECK_EQ(args.flags, VIRTIO_BUF_FRAME_FLAGS);
    CHECK_EQ(args.serial, 1);
    CHECK_EQ(args.data_offset, 1);
    CHECK_EQ(args.data_size, f.page - 1);
    CHECK_EQ(args.pts, UINT64_MAX);
    CHECK_EQ(args.duration, UINT64_MAX);
    CHECK_EQ(args.clock, DRM_VIRTBUF_CLOCK_TAI);
    CHECK_EQ(args.rect_count, 1);
    CHECK_EQ(args.span_count, 1);
    CHECK_EQ(args.property_count, 1);
    CHECK_EQ(args.property_size, sizeof(record));
    CHECK(memcmp(&rect, &news.rect, sizeof(rect)) == 0);
    CHECK(memcmp(&span, &news.span, sizeof(span)) == 0);
    CHECK(memcmp(record, &news.property, sizeof(record)) == 0);
    CHECK_EQ(properties_count(f.fd, f.buffer), 0);
    buffer_take_back(f.fd, f.buffer);
    close(f.fd);
}

static void odd_frame(void)
{
    with_sim(odd_frame_body);
}

/* Each writes one number into a frame that was right */
#define IN(member, value) \
    { offsetof(struct news, member), \
      sizeof(((struct news *)0)->member), (value) }

static void broken_frames_body(void)
{
    static const struct {
        size_t offset, size;
        uint64_t value;
    } cases[] = {
        /* less than a frame, less than what is in it, and more */
        IN(event.size, sizeof(struct virtio_buf_event)),
        IN(event.size, sizeof(struct virtio_buf_event) +
           sizeof(struct virtio_buf_frame) - 8),
        IN(event.size, offsetof(struct news, text) -
           offsetof(struct news, event)),
        IN(event.size, offsetof(struct news, more) + 8 -
           offsetof(struct news, event)),
        IN(frame.rect_count, 0),
        IN(frame.rect_count, 2),
        IN(frame.rect_count, VIRTIO_BUF_MAX_DAMAGE + 1),
        IN(frame.rect_count, UINT16_MAX),
        IN(frame.span_count, 0),
        IN(frame.span_count, 2),
        IN(frame.span_count, VIRTIO_BUF_MAX_DAMAGE + 1),
        IN(frame.span_count, UINT16_MAX),
        IN(frame.property_bytes, 0),
        IN(frame.property_bytes, 24),
        IN(frame.property_bytes, UINT32_MAX),
        IN(frame.property_bytes, -8u),
        /* fields that cannot be */
        IN(frame.serial, 0),
        IN(frame.flags, VIRTIO_BUF_FRAME_FLAGS + 1),
        IN(frame.flags, 0x80000000),
        IN(frame.clock, VIRTIO_BUF_CLOCK_TAI + 1),
        IN(frame.clock, UINT32_MAX),
        IN(frame.data_offset, 2),
        IN(frame.data_offset, UINT64_MAX),
        IN(frame.data_size, 4096),
        IN(frame.data_size, UINT64_MAX),
        IN(rect.width, 0),
        IN(rect.height, 0),
        IN(span.len, 0),
        IN(span.len, 2),
        IN(span.len, UINT64_MAX),
        IN(span.offset, 4096),
        IN(span.offset, UINT64_MAX),
        /* a record that is none */
        IN(property.name_len, 0),
        IN(property.name_len, UINT16_MAX),
        IN(property.value_len, 6),
        IN(property.value_len, UINT32_MAX),
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t id;
        struct fixture f = writer_new(&id);
        struct news news = news_of(id, f.page);

        CHECK_EQ(f.page, 4096); /* as in the cases */
        test_note("case %zu", i);
        memcpy((uint8_t *)&news + cases[i].offset, &cases[i].value,
               cases[i].size);
        tell(&news);
        check_dies(&f);
        close(f.fd);
        CHECK_OK(sim("remove", ""));
        sim_new();
    }
}

static void broken_frames(void)
{
    with_sim(broken_frames_body);
}

/* Nobody may write to it, and yet it was written */
static void frame_without_writer_body(void)
{
    struct fixture f = { .fd = device_open() };
    struct registration reg;
    struct news news;

    f.page = device_page(f.fd);
    registration_init(&reg, bo_create(f.fd, f.page), f.page);
    CHECK_OK(registration_do(f.fd, &reg));
    f.buffer = reg.args.buffer;
    news = news_of(reg.args.buffer_id, f.page);
    tell(&news);
    check_dies(&f);
    close(f.fd);
}

static void frame_without_writer(void)
{
    with_sim(frame_without_writer_body);
}

/* Whoever waits for a release point gets it, when no release can come */
static void points_of_the_dead_body(void)
{
    const struct virtio_buf_update_response not_yet = { .released = 0 };
    struct gate gate = gate_new();
    struct fixture f = fixture_new();
    uint32_t queued = register_page(f.fd, f.page);
    struct drm_virtbuf_fence fence = {
        .flags = DRM_VIRTBUF_FENCE_SYNC_FILE,
        .syncobj = (uint32_t)gate.sync_file,
    };
    struct drm_virtbuf_update update;
    uint32_t syncobjs[2];
    pid_t pid;
    int status;

    CHECK(queued);
    for (int i = 0; i < 2; i++) {
        syncobjs[i] = syncobj_create(f.fd);
        update = update_of(i ? queued : f.buffer, f.page);
        update.release_syncobj = syncobjs[i];
        update.release_point = 3;
        if (i) {
            update.in_fences = PTR(&fence);
            update.in_fence_count = 1;
        } else {
            sim_answer(VIRTIO_BUF_CMD_UPDATE, &not_yet, sizeof(not_yet),
                       sizeof(not_yet));
        }
        CHECK_OK(update_do(f.fd, &update));
        if (syncobj_wait(f.fd, syncobjs[i], 3, 200) == 0) {
            gate_excuse(&gate);
            test_fail(__FILE__, __LINE__, "update %d is released", i);
        }
    }
    pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        CHECK_OK(syncobj_wait(f.fd, syncobjs[0], 3, PATIENCE_MS));
        CHECK_OK(syncobj_wait(f.fd, syncobjs[1], 3, PATIENCE_MS));
        _exit(0);
    }
    sleep_ms(200);
    sim_fault(VIRTIO_BUF_CMD_REGISTER, "twice", 0);
    do_command(&f, VIRTIO_BUF_CMD_REGISTER);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(syncobj_query(f.fd, syncobjs[i]), 3);
    }
    check_dies(&f);
    /* a point for an update that was refused never comes */
    update.in_fence_count = 0;
    update.release_point = 4;
    CHECK_ERRNO(update_do(f.fd, &update), EIO, ENOENT);
    CHECK_EQ(syncobj_query(f.fd, syncobjs[1]), 3);
    /* nobody is there to hear of it */
    gate_open(&gate);
    gate_end(&gate);
    close(f.fd);
}

static void points_of_the_dead(void)
{
    with_sim(points_of_the_dead_body);
}

static const struct test tests[] = {
    { "broken-consumers", broken_consumers, 0 },
    { "odd-consumers", odd_consumers, 0 },
    { "reset-answers", reset_answers, 0 },
    { "reset-fails", reset_fails, 0 },
    { "odd-frame", odd_frame, 0 },
    { "broken-frames", broken_frames, 0 },
    { "frame-without-writer", frame_without_writer, 0 },
    { "points-of-the-dead", points_of_the_dead, 0 },
};

const struct suite hostile_answers_suite = SUITE("hostile", tests);
