/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: fences that the test signals.
 *
 * From sw_sync, where the kernel has it: such a fence waits for ever, and can
 * fail. Else from vgem, whose fences signal by themselves after ten seconds: a
 * test that is not through by then is skipped.
 */
#ifndef VIRTBUF_TEST_GATE_H
#define VIRTBUF_TEST_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct gate {
    int source;         /* sw_sync's timeline, or vgem's card node */
    uint32_t handle;    /* vgem's object */
    uint32_t fence;     /* vgem's fence */
    bool vgem;
    bool signalled;     /* by gate_open() */
    int sync_file;      /* the fence */
};

/* Skips the test where there is no source of fences */
struct gate gate_new(void);
/* Signals the fence, once */
void gate_open(struct gate *gate);
/* Signals it as failed; skips the test where that is not possible */
void gate_break(struct gate *gate);
/* Closes what is open; a fence that is not signalled stays so, or fails */
void gate_end(struct gate *gate);
/*
 * What should not have happened before the gate is opened has happened: skips
 * the test if the fence has signalled by itself.
 */
void gate_excuse(struct gate *gate);

/* The fence as a binary syncobj, or as a point of a timeline */
uint32_t gate_syncobj(const struct gate *gate, int fd);
uint32_t gate_point(const struct gate *gate, int fd, uint64_t point);
/* Makes it one that a BO's other users wait for */
void gate_attach(const struct gate *gate, int fd, uint32_t bo, bool writes);

uint32_t syncobj_create(int fd);
/* The largest point that has signalled */
uint64_t syncobj_query(int fd, uint32_t syncobj);
/* Waits until there is such a point */
int syncobj_wait(int fd, uint32_t syncobj, uint64_t point, int64_t ms);

#endif
