/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-buf-info against the fake server: exactly what it prints */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "program.h"

static const char *const picture[] = {
    "fourcc=XR24", "height=1080", "title=\"a\\b\"\x1b[2J\xc2\x9b", "width=1920",
    NULL
};

static struct program *run_info(const char *option, bool buffers)
{
    struct program *p = prepare_program();

    start_program(p, "VIRTIO_BUF_INFO", "--socket", "SOCKET", option, NULL);
    fake_accept(&p->fake, p->listener);
    fake_take(&p->fake, VIRTIO_BUF_MSG_HELLO);
    fake_hello(&p->fake);
    fake_take(&p->fake, VIRTIO_BUF_MSG_SUBSCRIBE);
    if (buffers) {
        fake_device(&p->fake, "desktop", true);
        fake_buffer(&p->fake, &(struct fake_buffer) {
                        .id = 3, .size = 8294400, .stream = 9, .serial = 77,
                        .mode = VIRTIO_BUF_MODE_LATEST,
                        .backing = VIRTIO_BUF_BACKING_DMABUF,
                        .application = "org.example.player",
                        .properties = picture });
        fake_buffer(&p->fake, &(struct fake_buffer) {
                        .id = 4, .size = 1000, .application = "audio" });
    }
    fake_subscribed(&p->fake, 0);
    return p;
}

TEST(table)
{
    struct program *p = run_info(NULL, true);

    finish_program(p, 0);
    fake_close(&p->fake);
    CHECK_STR(p->out,
"device desktop\n"
"   ID STREAM        SIZE  MODE      BACKING      SERIAL  APPLICATION\n"
"    3      9     7.9 MiB  latest    dma-buf          77  org.example.player\n"
"      fourcc=XR24 height=1080 title=\"a\\b\"\\x1b[2J\\u009b width=1920\n"
"    4      0    1000 B    in-place  copy              0  audio\n"
"2 buffers\n");
    forget_program(p);
}

TEST(json)
{
    struct program *p = run_info("--json", true);

    finish_program(p, 0);
    fake_close(&p->fake);
    CHECK_STR(p->out,
"{\"instance\": \"desktop\", \"consumer_id\": 7, \"buffers\": [\n"
"  {\"id\": 3, \"guest_id\": 1003, "
"\"uuid\": \"abababab-abab-abab-abab-abababababab\", "
"\"application\": \"org.example.player\", \"context\": 3, \"stream\": 9, "
"\"size\": 8294400, \"mode\": \"latest\", \"backing\": \"dma-buf\", "
"\"serial\": 77, \"properties\": {\"fourcc\": \"XR24\", \"height\": \"1080\", "
"\"title\": \"\\\"a\\\\b\\\"\\u001b[2J\xc2\x9b\", \"width\": \"1920\"}},\n"
"  {\"id\": 4, \"guest_id\": 1004, "
"\"uuid\": \"abababab-abab-abab-abab-abababababab\", "
"\"application\": \"audio\", \"context\": 3, \"stream\": 0, "
"\"size\": 1000, \"mode\": \"in-place\", \"backing\": \"copy\", "
"\"serial\": 0, \"properties\": {}}]}\n");
    forget_program(p);
}

TEST(nothing_there)
{
    struct program *p = run_info(NULL, false);

    finish_program(p, 0);
    fake_close(&p->fake);
    CHECK_STR(p->out, "no device: no guest is running, or its device is "
              "unplugged\n0 buffers\n");
    forget_program(p);

    p = run_info("-j", false);
    finish_program(p, 0);
    fake_close(&p->fake);
    CHECK_STR(p->out,
              "{\"instance\": null, \"consumer_id\": 7, \"buffers\": []}\n");
    forget_program(p);
}

TEST(asks_for_no_memory)
{
    const struct virtio_buf_msg_subscribe *msg;
    struct program *p = prepare_program();

    start_program(p, "VIRTIO_BUF_INFO", "-s", "SOCKET", NULL);
    fake_accept(&p->fake, p->listener);
    fake_take(&p->fake, VIRTIO_BUF_MSG_HELLO);
    msg = fake_take(&p->fake, VIRTIO_BUF_MSG_SUBSCRIBE);
    CHECK_INT(msg->credit, ==, 0);
    fake_hello(&p->fake);
    fake_error(&p->fake, EACCES, "not for you");
    finish_program(p, 1);
    fake_close(&p->fake);
    check_said(p, "virtio-buf-info: disconnected: not for you\n");
    forget_program(p);
}

TEST(no_server)
{
    struct program *p = prepare_program();

    start_program(p, "VIRTIO_BUF_INFO", "-s", "nowhere", NULL);
    finish_program(p, 3);
    check_said(p, "no server at nowhere: start QEMU with "
               "-object virtio-buf-server,id=s0,path=nowhere");
    forget_program(p);
}

TEST(no_answer)
{
    struct program *p = prepare_program();

    start_program(p, "VIRTIO_BUF_INFO", "-s", "SOCKET", "-t", "0.1", NULL);
    finish_program(p, 3);
    check_said(p, "does not answer");
    forget_program(p);
}

TEST(usage)
{
    static const char *const wrong[][2] = {
        { "--socket", NULL }, { NULL, NULL }, { "-s", "x" }, { "-t", "x" },
        { "--nonsense", NULL }, { "-sx", "-t-1" }, { "-sx", "-tnan" },
    };
    struct program *p;
    size_t i;

    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        p = prepare_program();
        start_program(p, "VIRTIO_BUF_INFO", wrong[i][0], wrong[i][1],
                      i == 2 ? "y" : NULL, NULL);
        finish_program(p, 2);
        check_said(p, "try --help");
        forget_program(p);
    }
    p = prepare_program();
    start_program(p, "VIRTIO_BUF_INFO", "--help", NULL);
    finish_program(p, 0);
    CHECK(strstr(p->out, "Usage: virtio-buf-info"));
    forget_program(p);
}
