/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos driver for virtio-buf: the guest's side
 */
#ifndef TESTS_LIBQOS_VIRTIO_BUF_H
#define TESTS_LIBQOS_VIRTIO_BUF_H

#include "qgraph.h"
#include "virtio.h"
#include "virtio-pci.h"
#include "standard-headers/linux/virtio_buf.h"
#include "virtio-buf/wire.h"

/* Generous: the tests also run in an emulated machine */
#define QVIRTIO_BUF_TIMEOUT_US  (60 * G_USEC_PER_SEC)

/* Bytes of either part of a command: a REGISTER of 16384 ranges fits */
#define QVIRTIO_BUF_PART_SIZE   (320 * 1024)

typedef struct QVirtioBuf {
    QVirtioDevice *vdev;
    QVirtioPCIDevice *pci;  /* NULL: another transport */
    QVirtQueue *vq;
    uint64_t features;      /* at the next restart: those of this device */
    uint16_t queue_size;    /* of PCI, at the next restart; 0: a short one */
    QTestState *qts;
    QGuestAllocator *alloc;
    uint64_t request;       /* guest RAM for both parts of a command */
    uint64_t response;
    uint64_t last_id;
    uint64_t last_serial;
    uint64_t news;          /* of the last answer */
} QVirtioBuf;

typedef struct QVirtioBufPCI {
    QVirtioPCIDevice pci_vdev;
    QVirtioBuf buf;
} QVirtioBufPCI;

typedef struct QVirtioBufDevice {
    QOSGraphObject obj;
    QVirtioBuf buf;
} QVirtioBufDevice;

/*
 * What tests consume that start machines of their own, instead of "virtio-buf":
 * a node of the graph can have only some 100 of them
 */
#define QVIRTIO_BUF_ALONE "virtio-buf-alone"
/* Of consumers that write, or hold: the same device as "virtio-buf" */
#define QVIRTIO_BUF_WRITER "virtio-buf-writer"
/* Of many consumers, and evil ones: the same, too */
#define QVIRTIO_BUF_PEERS "virtio-buf-peers"
/* Of consoles: the same, too */
#define QVIRTIO_BUF_SCREEN "virtio-buf-screen"
/* Of the management: the same, too */
#define QVIRTIO_BUF_MONITOR "virtio-buf-monitor"

/*
 * For QOSGraphTestOptions.before: shared guest RAM, and a server "s0" at
 * qvirtio_buf_socket_path(); @arg is NULL or more options of the server. The
 * device gets it by QVIRTIO_BUF_SERVER as edge.extra_device_opts.
 */
void *qvirtio_buf_before(GString *cmd_line, void *arg);
#define QVIRTIO_BUF_SERVER "server=s0"
/* With limits that a test reaches */
#define QVIRTIO_BUF_SMALL QVIRTIO_BUF_SERVER ",instance=small," \
    "max-buffers=3,max-ranges=4,max-buffer-size=64K,max-total-size=96K," \
    "max-properties=2,max-property-bytes=64,release-timeout=1234"
const char *qvirtio_buf_socket_path(void);

/* Whether this machine's buffers have to be dma-bufs */
bool qvirtio_buf_zero_copy(void);

/*
 * Negotiates, sets up the queue and DRIVER_OK, after DRIVER has been set; done
 * for devices of the graph. @vdev, @pci and @alloc are the caller's to set.
 */
void qvirtio_buf_setup(QVirtioBuf *b);

/* Device reset, and start anew with the same queue */
void qvirtio_buf_restart(QVirtioBuf *b);

/* The same but for DRIVER_OK */
void qvirtio_buf_prepare(QVirtioBuf *b);

/*
 * Sends a command and returns the number of bytes of the answer. @response gets
 * @response_size bytes, of which those that the device did not write are 0xee.
 */
uint32_t qvirtio_buf_command(QVirtioBuf *b, const void *request,
                             size_t request_size, void *response,
                             size_t response_size);

/* The same for an answer without more than its head: returns the status */
uint32_t qvirtio_buf_command_status(QVirtioBuf *b, const void *request,
                                    size_t request_size);

/*
 * Makes a chain with these lengths, 0 for a part that is not there, and kicks.
 * Does not wait for an answer.
 */
void qvirtio_buf_kick(QVirtioBuf *b, const void *request, size_t request_size,
                      size_t response_size);

/* Reads the configuration space */
void qvirtio_buf_config(QVirtioBuf *b, struct virtio_buf_config *config);

/* Whether the device has raised a configuration change since the last call */
bool qvirtio_buf_config_changed(QVirtioBuf *b);

/* Fails the test when the device does not raise one in time */
void qvirtio_buf_wait_config_changed(QVirtioBuf *b);

/* Buffers */

/* A buffer as the test wants it; what is 0 or NULL gets what is simplest */
typedef struct QVirtioBufBuffer {
    uint64_t id;            /* 0: the next one */
    uint64_t size;          /* 0: one page */
    uint64_t stream;
    uint32_t context;
    uint8_t mode;
    uint8_t access;
    const char *application;            /* NULL: "test" */
    const struct virtio_buf_range *ranges;  /* little-endian */
    uint32_t range_count;   /* 0: @addr, or RAM that is allocated */
    const uint8_t *properties;          /* records */
    uint32_t property_bytes;

    uint64_t addr;          /* out, if allocated: where its RAM is */
    struct virtio_buf_register_response response;
} QVirtioBufBuffer;

/* Registers @buffer and returns the status */
uint32_t qvirtio_buf_register(QVirtioBuf *b, QVirtioBufBuffer *buffer);

/* The same; it has to succeed. Fills all of the buffer with @pattern. */
void qvirtio_buf_register_ok(QVirtioBuf *b, QVirtioBufBuffer *buffer,
                             uint8_t pattern);

uint32_t qvirtio_buf_unregister(QVirtioBuf *b, uint64_t id);

/* An UPDATE of all of @size bytes, with the next serial: returns the status */
uint32_t qvirtio_buf_update(QVirtioBuf *b, uint64_t id, uint64_t size,
                            uint64_t *released);

/* The same; it has to succeed. Returns the serial. */
uint64_t qvirtio_buf_update_ok(QVirtioBuf *b, uint64_t id, uint64_t size);

uint32_t qvirtio_buf_set_properties(QVirtioBuf *b, uint64_t id,
                                    const uint8_t *records, uint32_t size);

/* Returns the status; @buffers gets how many will be FREED */
uint32_t qvirtio_buf_reset_command(QVirtioBuf *b, uint32_t scope,
                                   uint32_t context, uint64_t stream,
                                   uint32_t *buffers);

/* GET_EVENTS with room for @max: returns the number of events */
unsigned qvirtio_buf_get_events(QVirtioBuf *b, struct virtio_buf_event *events,
                                unsigned max, bool *more);

/*
 * The same with room for so many bytes of records, which are returned as they
 * came, to be freed: an event, and what follows it, behind the other
 */
uint8_t *qvirtio_buf_get_records(QVirtioBuf *b, size_t room, unsigned *count,
                                 bool *more);

/*
 * Takes events until one about @id has all of @flags (in one or in several),
 * and returns it in host byte order. Others are dropped. Fails in the end.
 */
void qvirtio_buf_wait_event(QVirtioBuf *b, uint64_t id, uint32_t flags,
                            struct virtio_buf_event *event);

/* A frame that came with VIRTIO_BUF_EVENT_WRITTEN, and the event */
typedef struct QVirtioBufWritten {
    struct virtio_buf_event event;      /* in host byte order */
    struct virtio_buf_frame_view frame; /* points into @bytes */
    uint8_t bytes[8192] __attribute__((aligned(8)));
} QVirtioBufWritten;

/*
 * Takes events until one about @id has VIRTIO_BUF_EVENT_WRITTEN with the
 * writer's @serial, of @size bytes from the start of the buffer. Others are
 * dropped. @written may be NULL.
 */
void qvirtio_buf_wait_written(QVirtioBuf *b, uint64_t id, uint64_t serial,
                              uint64_t size, QVirtioBufWritten *written);

/* Restarts the device with VIRTIO_BUF_F_WRITER */
void qvirtio_buf_restart_writable(QVirtioBuf *b);

/* Takes all events there are, and fails if one is about @id with @flags */
void qvirtio_buf_no_event(QVirtioBuf *b, uint64_t id, uint32_t flags);

/* Appends a record to @list, which ends at @size; returns the new size */
uint32_t qvirtio_buf_property(uint8_t *list, uint32_t size, const char *name,
                              const char *value);
uint32_t qvirtio_buf_property_delete(uint8_t *list, uint32_t size,
                                     const char *name);

#endif /* TESTS_LIBQOS_VIRTIO_BUF_H */
