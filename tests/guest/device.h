/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: the device under test and the steps that many tests share.
 * Each of these ends the test when the step does not succeed.
 */
#ifndef VIRTBUF_TEST_DEVICE_H
#define VIRTBUF_TEST_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "harness.h"
#include "drm.h"
#include "drm_mode.h"
#include "drm/virtbuf_drm.h"
#include "linux/virtio_buf.h"

/* Nobody subscribes to it: updates of its buffers are released at once */
#define APPLICATION_ALONE       "virtbuf-test-alone"
/* --consumer: subscribed, reads and releases */
#define APPLICATION_CONSUMER    "virtbuf-test"
/* --holder: subscribed, and never releases */
#define APPLICATION_HOLDER      "virtbuf-test-held"
/* --writer: attaches to write, see writer.c */
#define APPLICATION_WRITER      "virtbuf-test-written"

#define BAD_HANDLE              0x7ffffff0u
/* An address that no process of Linux has mapped */
#define BAD_POINTER             ((uintptr_t)0x10)
#define PTR(p)                  ((uint64_t)(uintptr_t)(p))

#define MIB                     (1024ull * 1024)

/*
 * How long something may take that has to happen: an emulated machine that
 * emulates another one was seen to stand still for ten seconds.
 */
#define PATIENCE_MS             60000

/* Finds the device in sysfs; false and a message when there is none */
bool device_setup(const char *node, const char *instance, char *message,
                  size_t message_size);
/* "virtio3" */
const char *device_virtio(void);

/* --zero-copy: a buffer whose pages can be shared must not be copied */
extern bool device_shares_pages;

/* --pulled: how often the host pulls the device */
extern unsigned int device_pulls;

/* Is its render node there? */
bool device_is_there(void);
/*
 * Finds the device's driver, for the next two; skips the test without root's
 * rights. Unbinding a device in sysfs is to the driver what pulling it is;
 * device_bind() waits for the render node.
 */
void device_find_driver(void);
void device_unbind(void);
void device_bind(void);
/* Waits for the render node of a device that has just come */
void device_wait(void);
int device_open(void);
int device_open_card(void);

/* Unit of ranges: the host's page size or the guest's, the larger one */
uint64_t device_page(int fd);
uint64_t device_param(int fd, uint64_t param);
bool device_feature(int fd, uint64_t feature);

uint32_t bo_create(int fd, uint64_t size);
void bo_close(int fd, uint32_t bo);
uint64_t bo_map_offset(int fd, uint32_t bo);
void *bo_map(int fd, uint32_t bo, uint64_t size);

/* A REGISTER of one range and no property, ready to be changed */
struct registration {
    struct drm_virtbuf_bo_range ranges[DRM_VIRTBUF_MAX_BO_RANGES + 1];
    struct drm_virtbuf_register args;
};
void registration_init(struct registration *reg, uint32_t bo, uint64_t size);
int registration_do(int fd, struct registration *reg);
/* With --zero-copy, its pages are shared and can be taken back */
void registration_expect_shared(const struct registration *reg);

/* With APPLICATION_ALONE in LATEST mode; gives the buffer handle */
uint32_t buffer_register(int fd, uint32_t bo, uint64_t size);
uint32_t buffer_register_for(int fd, uint32_t bo, uint64_t size,
                             const char *application, uint32_t mode);
/* Gives DRM_VIRTBUF_STATE_* */
uint32_t buffer_unregister(int fd, uint32_t buffer);
/* Unregisters and waits until the pages are back */
void buffer_take_back(int fd, uint32_t buffer);

struct drm_virtbuf_update update_of(uint32_t buffer, uint64_t size);
int update_do(int fd, struct drm_virtbuf_update *update);
/* Updates all of it; gives the serial */
uint64_t buffer_update(int fd, uint32_t buffer, uint64_t size);

struct drm_virtbuf_property property(const char *name, const char *value);
struct drm_virtbuf_property property_delete(const char *name);
int properties_set(int fd, uint32_t buffer,
                   const struct drm_virtbuf_property *list, uint32_t count);
/* The value of @name in @value; false when there is no such property */
bool property_get(int fd, uint32_t buffer, const char *name, char *value,
                  size_t size);
void property_expect(int fd, uint32_t buffer, const char *name,
                     const char *value);
uint32_t properties_count(int fd, uint32_t buffer);

/*
 * The longest element that the driver takes, a page, and one that is too long.
 * wide_element() gives room for either that is zero behind @element, so that
 * nothing else is wrong with it; each call fills the same room.
 */
uint32_t stride_longest(void);
uint32_t stride_too_long(void);
void *wide_element(const void *element, size_t size);

/* CLOCK_MONOTONIC in @ms milliseconds; negative: in the past */
int64_t time_in(int64_t ms);
int wait_one(int fd, uint32_t buffer, uint32_t condition, uint64_t value,
             int64_t ms);
/*
 * Until a program on the host that does not let go (--holder) has the buffer.
 * It is attached before that: a copy has to be made, or a message to be sent.
 */
void wait_for_holder(int fd, uint32_t buffer);
/* Registers one page; gives the buffer, or 0 and errno */
uint32_t register_page(int fd, uint64_t page);
/* Is this the errno of a limit that is reached? */
bool is_limit(int error);
/*
 * Registers as many buffers as the device allows, at most @max, and gives their
 * number. A limit counts only when it lasts: buffers of dead programs are given
 * back in the background.
 */
uint32_t device_fill(int fd, uint32_t *buffers, uint32_t max);
/*
 * All of the device's buffers are there for the taking: the measure for
 * "nothing has leaked" is the device's own limit.
 */
void check_nothing_leaked(void);

/* Sleeps; for polling of what has no event */
void sleep_ms(unsigned int ms);

#endif
