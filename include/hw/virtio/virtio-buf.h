/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: buffers of guest RAM for programs on the host
 *
 * The device's state, and the interface for whoever consumes its buffers: the
 * socket server is one implementation, parts of QEMU can be others. The
 * guest's side is docs/specs/virtio-buf.rst.
 *
 * Everything here runs in the main loop under the BQL, and nothing here waits.
 *
 * A consumer pulls: the device tells it once that something is ready, and
 * keeps what it has not taken. So an update that nobody takes costs no memory,
 * and a newer one can overtake it.
 *
 * The life of a consumer is
 *
 *   virtio_buf_consumer_add()
 *     ops->buffer()              a buffer is there
 *       virtio_buf_attach()      from there or later, until ops->remove()
 *     ops->ready()
 *       virtio_buf_consumer_peek(), virtio_buf_consumer_taken()
 *                                later, until there is nothing
 *       virtio_buf_readable(), virtio_buf_read()
 *                                a consumer inside of QEMU: while the update
 *                                is its own
 *       virtio_buf_release()     hand-off modes: the guest may draw again
 *     ops->remove()
 *       virtio_buf_detach()      at once or later
 *   virtio_buf_consumer_remove() or the device goes: then it is removed
 *                                without a call, after ops->reset()
 *
 * A VirtIOBufBuffer is the device's and may be used until ops->remove() or
 * ops->reset() has returned; a VirtIOBufAttachment until virtio_buf_detach(),
 * ops->reset() or ops->overdue(). Handles may be kept for ever.
 */
#ifndef HW_VIRTIO_VIRTIO_BUF_H
#define HW_VIRTIO_VIRTIO_BUF_H

#include "qemu/queue.h"
#include "qemu/timer.h"
#include "qemu/uuid.h"
#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio-buf-memory.h"
#include "hw/virtio/virtio-buf-property.h"
#include "qom/object.h"
#include "standard-headers/linux/virtio_buf.h"
#include "virtio-buf/wire.h"

#define TYPE_VIRTIO_BUF "virtio-buf-device"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOBuf, VIRTIO_BUF)

typedef struct VirtIOBufAttachment VirtIOBufAttachment;
typedef struct VirtIOBufBuffer VirtIOBufBuffer;
typedef struct VirtIOBufConsumer VirtIOBufConsumer;
typedef struct VirtIOBufMigration VirtIOBufMigration;
typedef struct VirtIOBufServer VirtIOBufServer;
typedef struct VirtIOBufShared VirtIOBufShared;
typedef struct VirtIOBufStream VirtIOBufStream;
typedef struct VirtioBufConsumerInfo VirtioBufConsumerInfo; /* qapi/ */

/*
 * What the device tells a consumer. An implementation must not add or remove
 * consumers, attach or detach inside of these, except where said.
 */
typedef struct VirtIOBufConsumerOps {
    /*
     * The consumer passes memory on: virtio_buf_consumer_peek() brings the fd
     * of each buffer that it attaches. Without, attaching makes neither a
     * dma-buf nor a copy, and virtio_buf_read() reads guest RAM.
     */
    bool needs_fd;

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
     * The guest takes the buffer back. If @attachment is not NULL, the
     * consumer calls virtio_buf_detach() when it has let go, here or later;
     * before that the guest cannot have the pages. @buffer is not to be used
     * afterwards.
     */
    void (*remove)(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer,
                   VirtIOBufAttachment *attachment);

    /*
     * All buffers and attachments are gone already, their memory is taken
     * back. @reason is one of VIRTIO_BUF_RESET_REASON_*.
     */
    void (*reset)(VirtIOBufConsumer *consumer, uint32_t reason);

    /*
     * LATEST: the update @serial, which the consumer has taken, was held for
     * longer than the hold timeout: its contents are the guest's. The consumer
     * answers with virtio_buf_release(), here or later; it gets nothing else of
     * the stream before. If it was the buffer's writer, there is nothing to
     * answer: it is detached when this returns.
     */
    void (*lost)(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer,
                 uint64_t serial);

    /*
     * virtio_buf_written() can be called again. NULL for a consumer that never
     * attaches as a writer.
     */
    void (*writable)(VirtIOBufConsumer *consumer);

    /*
     * The consumer has not answered remove() within the release timeout, or not
     * released an update of EVERY within the hold timeout. Its attachment has
     * been detached for it; it should be disconnected, later.
     */
    void (*overdue)(VirtIOBufConsumer *consumer, uint64_t handle);

    /*
     * query-virtio-buf asks who the consumer is: sets @info->kind, and the
     * members of the union that belong to it. Strings are allocated.
     */
    void (*describe)(VirtIOBufConsumer *consumer, VirtioBufConsumerInfo *info);
} VirtIOBufConsumerOps;

/* What has happened to a consumer since it was added */
typedef struct VirtIOBufConsumerCounters {
    uint64_t updates;       /* taken */
    uint64_t released;      /* by virtio_buf_release() */
    uint64_t overtaken;     /* by newer ones, before they were taken */
    uint64_t lost;          /* held for too long */
    uint64_t written;       /* by virtio_buf_written() */
} VirtIOBufConsumerCounters;

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

    /*
     * The implementation's, false at first: no fd can be passed on now, so
     * virtio_buf_consumer_peek() leaves out VIRTIO_BUF_READY_ATTACHED, and what
     * comes after it for the same buffer. Whoever sets it to false peeks again.
     */
    bool fd_refused;

    /* The device's */
    VirtIOBuf *device;                  /* NULL while not added */
    uint64_t id;                        /* set by add */
    bool asleep;                        /* has let an update wait too long */
    GHashTable *attachments;            /* uint64_t handle -> attachment */
    GHashTable *streams;                /* VirtIOBufStream * -> what it holds */
    VirtIOBufConsumerCounters counters;
    QTAILQ_HEAD(, VirtIOBufAttachment) announcements; /* ATTACHED to tell */
    QTAILQ_HEAD(, VirtIOBufAttachment) updates; /* UPDATE to tell */
    QTAILQ_ENTRY(VirtIOBufConsumer) next;
};

/* An update: struct virtio_buf_frame and what follows it, checked */
typedef struct VirtIOBufFrame {
    uint8_t *bytes;
    uint32_t size;
    uint32_t capacity;      /* grows only, so that updates allocate nothing */
    uint32_t property_bytes;
    uint64_t serial;        /* 0: none */
    int64_t time;           /* when it came, CLOCK_MONOTONIC of the host, ns */
    bool full;              /* its damage is not known: everything */
    bool bare;              /* its properties have been told already */
} VirtIOBufFrame;

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
    struct virtio_buf_range *ranges;    /* as the guest sent them */
    uint32_t range_count;
    VirtIOBufMemory *memory;

    VirtIOBufAttachment *writer; /* NULL: none */

    uint64_t serial;        /* of the update consumers have; 0: none yet */
    uint64_t released;      /* largest serial that nobody will still read */
    int64_t time;           /* of that update, CLOCK_MONOTONIC, ns */
    uint32_t owners;        /* who has not released it, a copy being made too */

    /*
     * The device's. An update goes through @copying (while a copy of its
     * contents is made) to @published; @following is what an IN_PLACE buffer
     * got meanwhile. In the hand-off modes @published does not change before
     * all consumers have released it.
     */
    VirtIOBufFrame published;
    VirtIOBufFrame copying;
    VirtIOBufFrame following;
    bool refreshing;        /* virtio_buf_memory_refresh() is under way */
    bool copied;            /* @copying waits for older ones of the stream */
    bool stale;             /* a fresh copy: nothing of it is filled yet */

    /*
     * What the writer says goes through @writing (while it is written back to
     * guest RAM) to @written, which the guest is told.
     */
    VirtIOBufFrame writing;
    VirtIOBufFrame written;
    bool writing_back;      /* virtio_buf_memory_write_back() is under way */
    bool write_stopped;     /* it was stopped, and has to begin anew */
    QTAILQ_ENTRY(VirtIOBufBuffer) next_writing;

    VirtIOBufStream *stream;
    QTAILQ_ENTRY(VirtIOBufBuffer) next_copying;
    QTAILQ_ENTRY(VirtIOBufBuffer) next_in_stream;

    bool unregistered;      /* in no table; waits for its memory to be let go */
    bool removing;          /* its consumers are being told */
    int64_t deadline;       /* virtual clock, ms, then it is revoked */
    uint8_t told_backing;   /* what the guest knows */
    uint8_t told_reason;
    uint32_t news;          /* VIRTIO_BUF_EVENT_* */
    QLIST_HEAD(, VirtIOBufAttachment) attachments;
    uint32_t attachment_count;
    uint32_t fd_attachment_count;   /* of consumers that need the fd */
    VirtIOBufShared *shared;        /* in QEMU's table of shared objects */
    QTAILQ_ENTRY(VirtIOBufBuffer) next_news;
    QTAILQ_ENTRY(VirtIOBufBuffer) next;     /* in buffers or in pending */
};

/* The buffers of one surface, camera or pipe; one with stream_id 0 is alone */
struct VirtIOBufStream {
    uint64_t id;
    uint64_t last_serial;
    QTAILQ_HEAD(, VirtIOBufBuffer) buffers;
    QTAILQ_HEAD(, VirtIOBufBuffer) copying; /* updates, by rising serial */
};

/* The limits that config space states; properties, constant while realized */
typedef struct VirtIOBufLimits {
    uint32_t buffers;
    uint32_t ranges;
    uint64_t buffer_size;
    uint64_t total_size;
    uint32_t properties;
    uint32_t property_bytes;
    uint32_t release_timeout_ms;
    uint32_t hold_timeout_ms;
} VirtIOBufLimits;

/* What has happened since the device was realized */
typedef struct VirtIOBufCounters {
    uint64_t commands[VIRTIO_BUF_CMD_GET_CONSUMERS + 1]; /* 0: unknown ones */
    uint64_t statuses[VIRTIO_BUF_S_OVERLAP + 1];    /* of answers */
    uint64_t attached;
    uint64_t freed;         /* buffers whose pages are the guest's again */
} VirtIOBufCounters;

struct VirtIOBuf {
    VirtIODevice parent_obj;

    /* Properties */
    VirtIOBufServer *server;
    char *instance;
    VirtIOBufMemoryConfig memory_config;
    bool share_uuid;
    VirtIOBufLimits limits;

    /* The command queue */
    VirtQueue *vq;
    QEMUBH *bh;             /* goes on with the queue */
    uint8_t *request;       /* the command at work, copied out of guest RAM */
    size_t request_capacity;
    VirtIOBufBuffer *updating;  /* its release goes into the answer */

    /* Buffers, by what they are looked up */
    GHashTable *by_id;          /* guest's id -> buffer */
    GHashTable *by_handle;      /* handle -> buffer */
    GHashTable *streams;        /* stream id -> stream, without 0 */
    QTAILQ_HEAD(, VirtIOBufBuffer) buffers;     /* registered */
    QTAILQ_HEAD(, VirtIOBufBuffer) pending;     /* unregistered, not free */
    uint32_t buffer_count;      /* FREED ones that were not told included */
    uint64_t total_size;        /* of those whose memory is not free */
    uint64_t last_id;
    uint64_t last_serial;       /* the largest of any update */
    VirtIOBufMemoryPool *pool;
    uint32_t dmabuf_ranges;     /* of one dma-buf, within the limits; 0: none */
    uint64_t dmabuf_size;       /* the same in bytes */

    /* News for the guest */
    QTAILQ_HEAD(, VirtIOBufBuffer) with_news;
    uint64_t news;
    bool drained;
    bool config_changed;        /* while the VM was stopped */
    VMChangeStateEntry *vm_change;

    /* Taking back */
    QEMUTimer *timer;
    uint32_t poll_interval_ms;
    bool in_system_reset;

    /* Consumers that write, or hold */
    QTAILQ_HEAD(, VirtIOBufBuffer) writing;
    QTAILQ_HEAD(, VirtIOBufAttachment) timed; /* by rising deadline */
    QEMUTimer *hold_timer;

    /* Consumers, by rising id */
    QTAILQ_HEAD(, VirtIOBufConsumer) consumers;
    uint32_t consumer_count;
    uint64_t last_consumer_id;
    bool quiet;                 /* ready() is not called */

    VirtIOBufCounters counters;

    VirtIOBufMigration *migration;

    /* A head that is not as the guest sent it, see VirtIOBufReady */
    struct {
        struct virtio_buf_frame head;
        uint8_t damage[VIRTIO_BUF_MAX_DAMAGE *
                       (sizeof(struct virtio_buf_rect) +
                        sizeof(struct virtio_buf_span))];
    } frame;
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
    uint32_t flags;             /* ATTACHED: VIRTIO_BUF_ATTACH_* */

    /* ATTACHED: the memory's own fd, borrowed; never to be dup()ed */
    int fd;

    /*
     * UPDATE: what to send, in wire format, as at most two pieces (a frame
     * whose damage was merged for this consumer has another head than the one
     * that the guest sent). Borrowed until the next call into the device.
     */
    struct iovec frame[2];
    unsigned frame_count;
    uint64_t serial;
} VirtIOBufReady;

/**
 * virtio_buf_consumer_add: make @consumer one of @s's
 *
 * Calls ops->buffer for each buffer that it wants, before it returns. The
 * guest is told. @consumer stays the caller's, until
 * virtio_buf_consumer_remove().
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

/* Whether virtio_buf_consumer_peek() brings VIRTIO_BUF_READY_ATTACHED next */
bool virtio_buf_consumer_wants_fd(const VirtIOBufConsumer *consumer);

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
 * virtio_buf_stream_find: the live buffers of a stream
 * @id: not 0
 *
 * Of all applications, by rising handle. Attaching changes nothing in it. NULL:
 * there are none.
 */
VirtIOBufStream *virtio_buf_stream_find(VirtIOBufConsumer *consumer,
                                        uint64_t id);

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
 * With ops->needs_fd, makes the dma-buf or the copy if this is the first, and
 * queues VIRTIO_BUF_READY_ATTACHED.
 *
 * Returns 0; -EALREADY when it is attached; -EACCES, -EBUSY, -ENOMEM, -EMFILE
 * as VIRTIO_BUF_MSG_REFUSED says.
 */
int virtio_buf_attach(VirtIOBufConsumer *consumer, VirtIOBufBuffer *buffer,
                      uint32_t flags);

/**
 * virtio_buf_readable: whether virtio_buf_read() may copy any part of this
 * @offset: bytes from the start of the buffer
 *
 * Until the main loop goes on. False if it is not inside of the buffer, or not
 * the guest's RAM any more: unmapped, or unplugged.
 */
bool virtio_buf_readable(const VirtIOBufAttachment *attachment,
                         uint64_t offset, uint64_t len);

/**
 * virtio_buf_read: copy contents of an attached buffer
 * @offset: bytes from the start of the buffer
 * @dest: @len bytes
 *
 * From guest RAM, whatever the backing is; virtio_buf_readable() has been asked
 * before. The guest can write there at any time: copy first, then check. Of a
 * hand-off buffer, to be called between virtio_buf_consumer_taken() and
 * virtio_buf_release(), or what comes may be parts of two updates.
 */
void virtio_buf_read(const VirtIOBufAttachment *attachment, uint64_t offset,
                     void *dest, uint64_t len);

/**
 * virtio_buf_detach: @attachment's consumer has let go of the memory
 *
 * Releases what it held. @attachment is freed.
 */
void virtio_buf_detach(VirtIOBufAttachment *attachment);

/**
 * virtio_buf_release: the consumer will not read @serial or older ones again
 *
 * Returns false if no update with @serial, or with a larger one, was ever
 * taken from this attachment: the consumer is broken.
 */
bool virtio_buf_release(VirtIOBufAttachment *attachment, uint64_t serial);

/**
 * virtio_buf_written: the writer's contents are ready for the guest
 * @attachment: of its writer
 * @bytes: struct virtio_buf_frame and what follows, unchecked; read during the
 *         call only
 * @size: bytes of all of it
 *
 * Between virtio_buf_consumer_taken() of an update and its release, or, of an
 * IN_PLACE buffer, while it is attached. A release may follow at once: it takes
 * effect after this.
 *
 * Returns 0, also for a buffer that is unregistered; -EAGAIN: the last one is
 * being written back, this one is to be tried again after ops->writable(), if
 * the attachment is still there; -EPERM: not the writer, or not its turn;
 * -EINVAL: a bad frame, a serial that is not above its last, or more properties
 * than the device takes; -ENOMEM.
 */
int virtio_buf_written(VirtIOBufAttachment *attachment, const uint8_t *bytes,
                       uint32_t size);

/*
 * The server's side of the link from a device (hw/virtio/virtio-buf-server.c).
 * A server has one device at most: false and @errp for the second. The device
 * is told of the consumers that are there, and keeps a reference to the
 * server.
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
uint32_t virtio_buf_hold_timeout_ms(const VirtIOBuf *s);

/*
 * Between the parts of the device; not for consumers.
 */

/* hw/virtio/virtio-buf.c */

/*
 * The device is as after its reset. Consumers get their reset() if there was
 * anything to tell them of. @reason: VIRTIO_BUF_RESET_REASON_*.
 */
void virtio_buf_take_everything_back(VirtIOBuf *s, uint32_t reason);

/* hw/virtio/virtio-buf-command.c */

void virtio_buf_commands_init(VirtIOBuf *s);
void virtio_buf_commands_cleanup(VirtIOBuf *s);

/*
 * Checks a REGISTER of @size bytes and makes its buffer; @uuid: NULL for a
 * random one. Nobody is told: see virtio_buf_announce(). @reg is 8-aligned, has
 * its fixed part, and is whole if @size is what its fields say. Returns NULL
 * and @status.
 */
VirtIOBufBuffer *virtio_buf_register(VirtIOBuf *s,
                                     const struct virtio_buf_register *reg,
                                     size_t size, const QemuUUID *uuid,
                                     uint32_t *status);

/*
 * Runs the command of a chain, answers it. Returns the bytes written, or 0 for
 * a malformed chain.
 */
size_t virtio_buf_command(VirtIOBuf *s, const VirtQueueElement *elem);

/* hw/virtio/virtio-buf-consumer.c */

/* Whether @consumer subscribed to @application */
bool virtio_buf_consumer_wants(const VirtIOBufConsumer *consumer,
                               const char *application);

/* @buffer is in all tables: tell those who want it */
void virtio_buf_announce(VirtIOBufBuffer *buffer);

/*
 * Tells consumers that @buffer goes, which has left all tables. Those that had
 * the memory stay attached until they have let go.
 */
void virtio_buf_retract(VirtIOBufBuffer *buffer);

/* Detaches all; without a call into ops, but for overdue() if @overdue */
void virtio_buf_detach_all(VirtIOBufBuffer *buffer, bool overdue);

/* Tells everybody that all is gone */
void virtio_buf_reset_consumers(VirtIOBuf *s, uint32_t reason);

/* hw/virtio/virtio-buf-hold.c */

void virtio_buf_hold_init(VirtIOBuf *s);
/* Nobody is attached any more */
void virtio_buf_hold_cleanup(VirtIOBuf *s);

/* hw/virtio/virtio-buf-writer.c */

/* @buffer goes: guest RAM is not written for it after this returns */
void virtio_buf_write_back_cancel(VirtIOBufBuffer *buffer);

/* The VM runs, or has stopped: guest RAM must not change meanwhile */
void virtio_buf_write_back_run(VirtIOBuf *s, bool running);

/* hw/virtio/virtio-buf-share.c */

/* With share-uuid=on, puts @buffer into QEMU's table of shared objects */
void virtio_buf_share(VirtIOBufBuffer *buffer);
/* Nobody finds it there any more; does nothing if it is not there */
void virtio_buf_unshare(VirtIOBufBuffer *buffer);

/* hw/virtio/virtio-buf-update.c */

/*
 * Everybody's properties have changed by @records; what consumers still have
 * to hear of older updates is told before.
 */
void virtio_buf_tell_properties(VirtIOBufBuffer *buffer,
                                const uint8_t *records, uint32_t size);

/*
 * Room for an update of @size bytes, so that virtio_buf_publish() cannot fail.
 * Returns false if there is no memory for it.
 */
bool virtio_buf_reserve(VirtIOBufBuffer *buffer, uint32_t size);

/*
 * The contents of @buffer are ready: a frame of @size bytes and its @view. It
 * is not BUSY.
 */
void virtio_buf_publish(VirtIOBufBuffer *buffer, const uint8_t *bytes,
                        uint32_t size,
                        const struct virtio_buf_frame_view *view);

/*
 * The newest update of @buffer, without what follows its head: all of it has
 * changed. Its serial is 0 if there was none.
 */
void virtio_buf_newest_frame(const VirtIOBufBuffer *buffer,
                             struct virtio_buf_frame *head);

/*
 * @buffer is new, and its contents are those of an update that was released.
 * @head is checked, and nothing follows it.
 */
void virtio_buf_restore_frame(VirtIOBufBuffer *buffer,
                              const struct virtio_buf_frame *head);

/* hw/virtio/virtio-buf-event.c */

/* @flags of @buffer have changed: VIRTIO_BUF_EVENT_* */
void virtio_buf_news(VirtIOBufBuffer *buffer, uint32_t flags);

/* @buffer's news are not worth telling any more */
void virtio_buf_forget_news(VirtIOBufBuffer *buffer);

/* The configuration has changed: tells the guest, now or when it runs */
void virtio_buf_config_changed(VirtIOBuf *s);

/*
 * The answers of GET_EVENTS and GET_CONSUMERS, written to the device-writable
 * part of a chain, which has room for one record. Return the bytes written.
 */
size_t virtio_buf_get_events(VirtIOBuf *s, const struct iovec *in,
                             unsigned in_count);
size_t virtio_buf_get_consumers(VirtIOBuf *s, uint64_t after,
                                const char *application,
                                const struct iovec *in, unsigned in_count);

/* hw/virtio/virtio-buf-buffer.c */

/* A buffer's tables are made and emptied with the device */
void virtio_buf_buffers_init(VirtIOBuf *s);
void virtio_buf_buffers_cleanup(VirtIOBuf *s);

/*
 * What a REGISTER has asked for, checked against the limits. @uuid: NULL for a
 * random one. Nobody is told: see virtio_buf_announce().
 */
VirtIOBufBuffer *virtio_buf_buffer_new(VirtIOBuf *s,
                                       const struct virtio_buf_register *reg,
                                       const struct virtio_buf_range *ranges,
                                       const uint8_t *properties,
                                       const QemuUUID *uuid, uint32_t *status);

/* One without memory, whose only news is that it is FREED */
void virtio_buf_buffer_new_freed(VirtIOBuf *s, uint64_t id);

/*
 * Takes @buffer from the tables and its consumers. Returns true if it is freed
 * already; else, and always with @event, FREED tells when.
 */
bool virtio_buf_buffer_unregister(VirtIOBufBuffer *buffer, bool event);

/* The last one of an unregistered buffer has detached */
void virtio_buf_buffer_detached(VirtIOBufBuffer *buffer);

/* A FREED one that has been told, or that is not to be */
void virtio_buf_buffer_destroy(VirtIOBufBuffer *buffer);

/* Takes everything back at once; what cannot be goes into quarantine */
void virtio_buf_buffers_revoke(VirtIOBuf *s);

/* hw/virtio/virtio-buf-migration.c */

/* With the device's realize and unrealize; the pool lives in between */
void virtio_buf_migration_init(VirtIOBuf *s);
void virtio_buf_migration_cleanup(VirtIOBuf *s);

/* The VM runs: the RAM is this QEMU's */
void virtio_buf_migration_run(VirtIOBuf *s);

extern const struct VMStateDescription vmstate_virtio_buf_device;

/*
 * The device becomes what its vmstate was loaded with. Consumers hear of the
 * buffers at once, the guest when it runs. Returns 0; or -EINVAL with the
 * reason reported, and the device is as after its reset.
 */
int virtio_buf_migration_restore(VirtIOBuf *s);

/* hw/virtio/virtio-buf-qmp.c */

/*
 * The management is told that @buffers, of @bytes, cannot be taken from those
 * who hold them. @quarantined: the guest does not keep them aside any more.
 */
void virtio_buf_qmp_unrevocable(VirtIOBuf *s, bool quarantined,
                                uint32_t buffers, uint64_t bytes);

#endif /* HW_VIRTIO_VIRTIO_BUF_H */
