/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: what the host reads, see content.h. tests/lab/peer.py is the
 * other end.
 */
#include <stdio.h>

#include "content.h"
#include "device.h"

/* The checksum of an update's payload: Adler-32 in decimal */
#define CHECKSUM        "virtbuf-test.adler32"
/* How long a release must not come */
#define REFUSED_MS      500

static uint32_t adler32(const uint8_t *data, size_t size)
{
    uint32_t a = 1, b = 0;

    for (size_t i = 0; i < size; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

void content_fill(void *data, size_t size, unsigned int seed)
{
    uint8_t *bytes = data;
    uint32_t state = seed * 2654435761u + 1;

    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(state >> 24);
    }
}

uint32_t content_register(int fd, uint32_t bo, uint64_t offset, uint64_t size)
{
    struct registration reg;

    registration_init(&reg, bo, size);
    reg.ranges[0].offset = offset;
    reg.args.application = PTR(APPLICATION_CONSUMER);
    reg.args.application_len = sizeof(APPLICATION_CONSUMER) - 1;
    CHECK_OK(registration_do(fd, &reg));
    registration_expect_shared(&reg);
    CHECK_OK(wait_one(fd, reg.args.buffer, DRM_VIRTBUF_WAIT_CONSUMERS, 1,
                      PATIENCE_MS));
    return reg.args.buffer;
}

static uint64_t update_with_checksum(int fd, uint32_t buffer, const void *data,
                                     size_t size)
{
    struct drm_virtbuf_update update = update_of(buffer, size);
    struct drm_virtbuf_property checksum;
    char text[16];

    snprintf(text, sizeof(text), "%u", adler32(data, size));
    checksum = property(CHECKSUM, text);
    update.properties = PTR(&checksum);
    update.property_count = 1;
    CHECK_OK(update_do(fd, &update));
    return update.serial;
}

void content_expect(int fd, uint32_t buffer, const void *data, size_t size)
{
    uint64_t serial = update_with_checksum(fd, buffer, data, size);

    CHECK_OK(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                      PATIENCE_MS));
}

void content_expect_not(int fd, uint32_t buffer, const void *data, size_t size)
{
    uint64_t serial = update_with_checksum(fd, buffer, data, size);

    CHECK_ERRNO(wait_one(fd, buffer, DRM_VIRTBUF_WAIT_RELEASED, serial,
                         REFUSED_MS), ETIME);
}
