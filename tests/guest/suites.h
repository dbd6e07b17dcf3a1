/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtbuf-test: the tests, by theme */
#ifndef VIRTBUF_TEST_SUITES_H
#define VIRTBUF_TEST_SUITES_H

#include "harness.h"

extern const struct suite memory_suite;     /* BO_*, dumb buffers, PRIME */
extern const struct suite import_suite;     /* PRIME import */
extern const struct suite userptr_suite;    /* BO_USERPTR */
extern const struct suite register_suite;   /* REGISTER, UNREGISTER */
extern const struct suite property_suite;   /* properties */
extern const struct suite update_suite;     /* UPDATE */
extern const struct suite wait_suite;       /* WAIT */
extern const struct suite sync_suite;       /* fences and release points */
extern const struct suite event_suite;      /* EVENTS, CONSUMERS */
extern const struct suite writer_suite;     /* buffers that a consumer writes */
extern const struct suite lifetime_suite;   /* fork, kill, unload */
extern const struct suite limit_suite;      /* limits, threads */
extern const struct suite fragment_suite;   /* frames in fragmented memory */
extern const struct suite quota_suite;     /* quotas */
extern const struct suite sleep_suite;     /* suspend, hibernation */
extern const struct suite hostile_suite;   /* a device that misbehaves */
extern const struct suite hostile_answers_suite; /* its consumers, too */
extern const struct suite shortage_suite;  /* allocations fail */
extern const struct suite fuzz_suite;      /* random calls */
extern const struct suite unplug_suite;     /* the device goes away */
extern const struct suite consumer_suite;   /* with a program on the host */

#endif
