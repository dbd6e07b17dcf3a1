/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: what the host reads. The consumer (--consumer) takes a checksum
 * from an update's properties and releases only contents that have it.
 */
#ifndef VIRTBUF_TEST_CONTENT_H
#define VIRTBUF_TEST_CONTENT_H

#include <stddef.h>
#include <stdint.h>

/* A buffer of @size bytes from @offset of @bo, with the consumer attached */
uint32_t content_register(int fd, uint32_t bo, uint64_t offset, uint64_t size);
/* The host must read @data in the buffer, or must not */
void content_expect(int fd, uint32_t buffer, const void *data, size_t size);
void content_expect_not(int fd, uint32_t buffer, const void *data,
                        size_t size);
/* Fills memory with bytes that depend on @seed, none of them alike nearby */
void content_fill(void *data, size_t size, unsigned int seed);

#endif
