/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: the simulated device, which misbehaves when it is told to. It
 * is the module virtio-buf-sim, drivers/gpu/drm/virtio-buf/tests/virtbuf_sim.c.
 */
#ifndef VIRTBUF_TEST_SIM_H
#define VIRTBUF_TEST_SIM_H

#include <stddef.h>

#include "device.h"

#define SIM_INSTANCE        "hostile"
/* Instead of VIRTIO_BUF_CMD_* */
#define SIM_ANY             0
/* The driver's patience, in milliseconds; with_sim() sets a short one */
#define SIM_LONG_TIMEOUT    "600000"

/* Skips the test without the module */
void sim_need(void);
/*
 * Runs @body in a child with a device, which is pulled when it has ended, or
 * before that by itself.
 */
void with_sim(void (*body)(void));
/* Makes one and waits for it */
void sim_new(void);
bool sim_find(void);
/* Writes to a file of the module's; -1 and errno */
int sim(const char *file, const char *text);
void sim_fault(unsigned int command, const char *kind, unsigned int len);
/* @command is answered with these bytes; @len: what the device says it wrote */
void sim_answer(unsigned int command, const void *bytes, size_t size,
                unsigned int len);
void sim_no_fault(void);
void sim_set_timeout(const char *text);
/* For fences of updates that come from now on */
void sim_set_fence_timeout(const char *text);

/* A page and a buffer of a device that is all right until now */
struct fixture {
    int fd;
    uint64_t page;
    uint32_t bo;
    uint32_t buffer;
};

struct fixture fixture_new(void);
/* A call that sends @command for the buffer, or for its application */
int do_command(const struct fixture *f, unsigned int command);
/* Every call fails, and poll() says so, from some time on */
void check_dies(const struct fixture *f);

#endif
