/* SPDX-License-Identifier: MIT */
/*
 * What the host programs have in common: how they end, connect and print.
 */
#ifndef HOST_COMMON_H
#define HOST_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "foreign-text.h"
#include "virtio-buf/virtio-buf.h"

/* Exit codes, documented in the manual pages */
enum {
    EXIT_DONE = 0,
    EXIT_ERROR = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_THERE = 3,     /* no server, or nothing came in time */
};

/* Prints "program: ..." to stderr */
__attribute__((format(printf, 1, 2)))
void complain(const char *format, ...);

/* Name of the program in messages */
extern const char *program_name;

/*
 * Connects to the server at @path. Returns EXIT_DONE; otherwise it has
 * complained, and told what to do.
 */
int connect_to_server(const char *path, struct vbuf **vbuf);

/* Complains about VBUF_EVENT_DISCONNECTED */
void complain_disconnected(const struct vbuf_event *event);

/* Parses seconds, "2.5"; returns milliseconds, or -1 for a bad text */
int parse_seconds(const char *text);

/* Parses a decimal number up to @max, without sign or blanks around */
bool parse_number(const char *text, uint64_t max, uint64_t *number);

/* "dma-buf" or "copy" */
const char *backing_name(uint32_t backing);

/* "in-place", "latest" or "every" */
const char *mode_name(uint32_t mode);

#endif /* HOST_COMMON_H */
