/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a fuzz target is: a function that takes any input. libFuzzer calls it,
 * or replay.c where there is none.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * For targets that have to be set up, once, before the first input: takes its
 * own arguments, which stay where they are. Returns 0.
 */
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

/* Returns 0. A fault ends the process: by a sanitizer or by abort(). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* FUZZ_H */
