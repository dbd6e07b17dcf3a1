/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running a consumer program against the fake server */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <sys/types.h>

#include "fake-server.h"

#define OUTPUT_MAX (1 << 20)

struct program {
    char dir[64];           /* of its own, with the socket and what it writes */
    char socket[96];
    int listener;
    int out_fd;
    int err_fd;
    pid_t pid;
    struct fake fake;
    size_t out_size;        /* behind finish_program() */
    char out[OUTPUT_MAX];   /* NUL-terminated */
    char err[OUTPUT_MAX];
};

/* Makes the directory and the listening socket */
struct program *prepare_program(void);

/*
 * Starts what the environment variable @path_variable names; an argument
 * "SOCKET" becomes the path of the socket. It runs in its directory. The last
 * argument is NULL.
 */
void start_program(struct program *p, const char *path_variable, ...);

/* start_program() has been called; it connects and is greeted */
void greet_program(struct program *p);

/*
 * Waits for its end; it must exit with this code. The fake server's end of the
 * connection, if there is one, is closed by the test before or behind this.
 */
void finish_program(struct program *p, int exit_code);

/* Removes the directory */
void forget_program(struct program *p);

/* What the program said on stderr contains this */
void check_said(const struct program *p, const char *text);

/* Reads a file of the directory into @to; returns the size */
size_t read_output_file(const struct program *p, const char *name, void *to,
                        size_t size);

#endif /* PROGRAM_H */
