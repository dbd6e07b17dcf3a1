/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: buffers of guest RAM for programs on the host
 *
 * The device's state, and the interface for whoever consumes its buffers: the
 * socket server is one implementation, parts of QEMU can be others. The guest's
 * side is docs/specs/virtio-buf.rst.
 *
 * Everything here runs in the main loop under the BQL, and nothing here waits.
 *
 * A consumer pulls: the device tells it once that something is ready, and keeps
 * what it has not taken. So an update that nobody takes costs no memory, and a
 * newer one can overtake it.
 */
#ifndef HW_VIRTIO_VIRTIO_BUF_H
#define HW_VIRTIO_VIRTIO_BUF_H

#include "qemu/queue.h"
#include "qemu/timer.h"
#include "qemu/uuid.h"
#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio-buf-memory.h"
#include "qom/object.h"
#include "standard-headers/linux/virtio_buf.h"
#include "virtio-buf/wire.h"

#define TYPE_VIRTIO_BUF "virtio-buf-device"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOBuf, VIRTIO_BUF)

typedef struct VirtIOBufAttachment VirtIOBufAttachment;
typedef struct VirtIOBufBuffer VirtIOBufBuffer;
typedef struct VirtIOBufConsumer VirtIOBufConsumer;
typedef struct VirtIOBufProperties VirtIOBufProperties;
typedef struct VirtIOBufServer VirtIOBufServer;
typedef struct VirtIOBufStream VirtIOBufStream;

/*
 * What the device tells a consumer. An implementation must not add or remove
 * consumers, attach or detach inside of these, except where said.
 */
typedef struct VirtIOBufConsumerOps {
    /*
     * There is a buffer of an application that the consumer wants. It may
     * attach to it here.
     */
    void (*buffer)(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer);

    /*
     * Properties changed. @records is a checked list of records, deletions
     * included, of @size bytes, valid during the call.
     */
    void (*properties)(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer,
                       const uint8_t *records, uint32_t size);

    /*
     * virtio_buf_consumer_peek() was empty and is no longer. Not called again
     * before it has been empty once more.
     */
    void (*ready)(VirtIOBufConsumer *consumer);

    /*
     * The guest takes the buffer back. If @attachment is not NULL, the consumer
     * calls virtio_buf_detach() when it has let go, here or later; before that
     * the guest cannot have the pages. @buffer is not to be used afterwards.
     */
    void (*remove)(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer,
                   VirtIOBufAttachment *attachment);

    /*
     * All buffers and attachments are gone already, their memory is taken
     * back. @reason is one of VIRTIO_BUF_RESET_REASON_*.
     */
    void (*reset)(VirtIOBufConsumer *consumer, uint32_t reason);

    /*
     * The consumer has not answered remove() within the release timeout. Its
     * attachment has been detached for it; it should be disconnected, later.
     */
    void (*overdue)(VirtIOBufConsumer *consumer, uint64_t handle);
} VirtIOBufConsumerOps;

/* Embedded in the implementation's own structure */
struct VirtIOBufConsumer {
    /* Set before virtio_buf_consumer_add(), constant while added */
    const VirtIOBufConsumerOps *ops;
    bool all;                           /* every application */
    GHashTable *applications;           /* set of char *, unless all */
    uint8_t *properties;                /* encoded, checked; what it is */
    uint32_t property_bytes;
    uint32_t flags;                     /* VIRTIO_BUF_CONSUMER_* */
    uint32_t hold;                      /* held updates of one LATEST stream */

    /* The device's */
    VirtIOBuf *device;                  /* NULL while not added */
    uint64_t id;                        /* set by add */
    GHashTable *attachments;            /* uint64_t handle -> attachment */
    GHashTable *streams;                /* VirtIOBufStream * -> what it holds */
    QTAILQ_HEAD(, VirtIOBufAttachment) ready;
    QTAILQ_ENTRY(VirtIOBufConsumer) next;
};

/* What a consumer reads of a buffer; written by the device only */
struct VirtIOBufBuffer {
    VirtIOBuf *device;
    uint64_t handle;        /* for consumers: unique in this QEMU, for ever */
    uint64_t id;            /* the guest's */
    uint64_t size;
    uint64_t stream_id;
    uint32_t context;
    uint8_t mode;
    uint8_t access;
    char application[VIRTIO_BUF_NAME_SIZE];
    QemuUUID uuid;
    VirtIOBufProperties *properties;
    VirtIOBufMemory *memory;

    /*
     * The last update as the guest sent it: a struct virtio_buf_frame and what
     * follows it, checked. In the hand-off modes it does not change before all
     * consumers have released it.
     */
    uint8_t *frame;
    uint32_t frame_size;
    uint32_t frame_capacity;
    uint64_t serial;        /* of that update; 0: none yet */
    uint64_t released;      /* largest serial that nobody will still read */
    int64_t time;           /* of that update, QEMU_CLOCK_HOST_MONOTONIC, ns */
    uint32_t owners;        /* attachments that have not released @serial */

    /* The device's */
    VirtIOBufStream *stream;
    bool unregistered;      /* waits for its memory to be let go */
    int64_t deadline;       /* virtual clock, ms, then it is revoked */
    uint32_t news;          /* VIRTIO_BUF_EVENT_* */
    QLIST_HEAD(, VirtIOBufAttachment) attachments;
    uint32_t attachment_count;
    QTAILQ_ENTRY(VirtIOBufBuffer) next_news;
    QTAILQ_ENTRY(VirtIOBufBuffer) next;
};

/* What virtio_buf_consumer_peek() has found */
typedef enum VirtIOBufReadyKind {
    VIRTIO_BUF_READY_NOTHING,
    VIRTIO_BUF_READY_ATTACHED,  /* tell the consumer of its memory */
    VIRTIO_BUF_READY_UPDATE,    /* tell it of contents */
} VirtIOBufReadyKind;

typedef struct VirtIOBufReady {
    VirtIOBufReadyKind kind;
    VirtIOBufBuffer *buffer;
    VirtIOBufAttachment *attachment;

    /* ATTACHED: the memory's own fd, borrowed; never to be dup()ed */
    int fd;

    /*
     * UPDATE: what to send, in wire format, as at most three pieces (a frame
     * whose damage was merged for this consumer has another head than
     * buffer->frame). Borrowed until the next call into the device.
     */
    struct iovec frame[3];
    unsigned frame_count;
    uint64_t serial;
} VirtIOBufReady;

/**
 * virtio_buf_consumer_add: make @consumer one of @s's
 *
 * Calls ops->buffer for each buffer that it wants, before it returns. The guest
 * is told. @consumer stays the caller's, until virtio_buf_consumer_remove().
 */
void virtio_buf_consumer_add(VirtIOBuf *s, VirtIOBufConsumer *consumer);

/**
 * virtio_buf_consumer_remove: @consumer is gone
 *
 * Releases and detaches all it has, without a call into its ops. The guest is
 * told. Nothing happens if it is not added.
 */
void virtio_buf_consumer_remove(VirtIOBufConsumer *consumer);

/**
 * virtio_buf_consumer_peek: what to tell @consumer next
 *
 * Returns false if there is nothing. The same again until
 * virtio_buf_consumer_taken().
 */
bool virtio_buf_consumer_peek(VirtIOBufConsumer *consumer,
                              VirtIOBufReady *ready);

/**
 * virtio_buf_consumer_taken: @consumer has been told what peek() returned
 *
 * From now on an update of a hand-off mode is the consumer's until
 * virtio_buf_release().
 */
void virtio_buf_consumer_taken(VirtIOBufConsumer *consumer);

/**
 * virtio_buf_buffer_find: the live buffer of a handle
 *
 * Returns NULL if there is none (any more), or if it is of an application that
 * @consumer does not want.
 */
VirtIOBufBuffer *virtio_buf_buffer_find(VirtIOBufConsumer *consumer,
                                        uint64_t handle);

/**
 * virtio_buf_attachment_find: the attachment of a handle
 *
 * Also one whose buffer waits for virtio_buf_detach(). NULL: none.
 */
VirtIOBufAttachment *virtio_buf_attachment_find(VirtIOBufConsumer *consumer,
                                                uint64_t handle);

/**
 * virtio_buf_attach: give @consumer the memory of @buffer
 * @flags: VIRTIO_BUF_ATTACH_*
 *
 * Makes the dma-buf or the copy if this is the first. Queues
 * VIRTIO_BUF_READY_ATTACHED.
 *
 * Returns 0; -EALREADY when it is attached; -EACCES, -EBUSY, -ENOMEM, -EMFILE as
 * VIRTIO_BUF_MSG_REFUSED says.
 */
int virtio_buf_attach(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer,
                      uint32_t flags);

/**
 * virtio_buf_detach: @attachment's consumer has let go of the memory
 *
 * Releases what it held. @attachment is freed.
 */
void virtio_buf_detach(VirtIOBufAttachment *attachment);

/**
 * virtio_buf_release: the consumer will not read @serial or older ones again
 *
 * Returns false if no update with @serial, or with a larger one, was ever taken
 * from this attachment: the consumer is broken.
 */
bool virtio_buf_release(VirtIOBufAttachment *attachment, uint64_t serial);

/* All properties of a buffer, encoded: a borrowed list of *@size bytes */
const uint8_t *virtio_buf_properties_list(const VirtIOBufProperties *properties,
                                          uint32_t *size);

/*
 * The server's side of the link from a device (hw/virtio/virtio-buf-server.c).
 * A server has one device at most: false and @errp for the second. The device
 * is told of the consumers that are there, and keeps a reference to the server.
 */
#define TYPE_VIRTIO_BUF_SERVER "virtio-buf-server"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOBufServer, VIRTIO_BUF_SERVER)

bool virtio_buf_server_link(VirtIOBufServer *server, VirtIOBuf *s,
                            Error **errp);
/* The consumers have had their reset() already. They stay connected. */
void virtio_buf_server_unlink(VirtIOBufServer *server, VirtIOBuf *s);

/* Constant while the device is realized */
const char *virtio_buf_instance(const VirtIOBuf *s);
uint32_t virtio_buf_release_timeout_ms(const VirtIOBuf *s);

#endif /* HW_VIRTIO_VIRTIO_BUF_H */
