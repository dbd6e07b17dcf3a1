/* SPDX-License-Identifier: MIT */
/*
 * libvirtio-buf: what its files know of each other.
 */
#ifndef VBUF_PRIVATE_H
#define VBUF_PRIVATE_H

#include <stdarg.h>
#include <stdbool.h>

#include "virtio-buf/virtio-buf.h"
#include "virtio-buf/wire.h"

#define VBUF_EXPORT __attribute__((visibility("default")))

/* More buffers than this is no honest server */
#define VBUF_BUFFERS_MAX 65536

/* Room for the largest message behind what a busy program queues */
#define VBUF_QUEUE_SIZE (VIRTIO_BUF_MSG_MAX + 32768)

/* Properties.c */

struct vbuf_property;

/* Sorted by name; encoded never more than VIRTIO_BUF_MAX_PROPERTY_BYTES */
struct vbuf_properties {
    struct vbuf_property **sorted;
    size_t count;
    size_t room;
    size_t encoded;
};

void vbuf_properties_clear(struct vbuf_properties *properties);

/* The value; NULL if there is no such name */
const char *vbuf_properties_get(const struct vbuf_properties *properties,
                                const char *name, size_t name_len);

void vbuf_properties_at(const struct vbuf_properties *properties, size_t index,
                        const char **name, const char **value);

/* Sets or deletes one. Returns 0, -ENOMEM, or -ENOSPC. */
int vbuf_properties_apply(struct vbuf_properties *properties,
                          const struct virtio_buf_property_view *view);

/* Applies a list that virtio_buf_properties_check() is content with */
int vbuf_properties_apply_list(struct vbuf_properties *properties,
                               const uint8_t *list, size_t size);

/* Table.c */

/* The buffers by their ids: open addressing, at most half full */
struct vbuf_table {
    struct vbuf_buffer **slots;
    size_t size;                /* a power of two; 0 at first */
    size_t count;
};

void vbuf_table_clear(struct vbuf_table *table);
struct vbuf_buffer *vbuf_table_find(const struct vbuf_table *table,
                                    uint64_t id);
/* The id is not in there yet. Returns 0 or -ENOMEM. */
int vbuf_table_add(struct vbuf_table *table, struct vbuf_buffer *buffer);
void vbuf_table_remove(struct vbuf_table *table, uint64_t id);

/* Buffer.c */

struct vbuf_buffer {
    struct vbuf *vbuf;
    struct vbuf_buffer *previous;   /* in the order of announcement */
    struct vbuf_buffer *next;
    uint64_t id;
    uint64_t guest_id;
    uint64_t size;
    uint64_t stream;
    uint64_t serial;
    uint64_t sent_serial;           /* newest UPDATE since it is attached */
    uint64_t released_serial;
    uint64_t written_serial;        /* of the last WRITTEN */
    uint32_t context;
    uint32_t backing;
    uint32_t mode;
    uint32_t access;
    uint8_t uuid[VIRTIO_BUF_UUID_SIZE];
    char application[VIRTIO_BUF_NAME_SIZE];
    struct vbuf_properties properties;
    int fd;                         /* -1: not attached */
    uint64_t file_size;             /* as ATTACHED says; checked when mapped */
    bool writer;                    /* ATTACHED says that we are */
    void *map;                      /* NULL: not mapped */
    bool removing;                  /* REMOVE or RESET came */
    bool answer_removed;            /* REMOVED has to be sent */
    void *user_data;
};

/* Unmaps and closes; nothing is said to the server */
void vbuf_buffer_let_go(struct vbuf_buffer *buffer);

/* As vbuf_attach() and vbuf_attach_stream(), with VIRTIO_BUF_ATTACH_* */
int vbuf_queue_attach(struct vbuf_buffer *buffer, uint32_t flags);
int vbuf_queue_attach_stream(struct vbuf *vbuf, uint64_t stream,
                             uint32_t flags);

/* DMA_BUF_IOCTL_SYNC with these flags, where it is a dma-buf */
int vbuf_sync(struct vbuf_buffer *buffer, uint64_t flags);

/* Connection.c */

struct vbuf {
    int fd;
    bool hello_received;
    bool subscribed;                /* SUBSCRIBE has been queued */
    bool output_failed;             /* reading goes on: it may tell why */
    bool disconnected;              /* the event has been given */
    bool resetting;                 /* the buffers go one by one */
    struct virtio_buf_reader reader;
    struct vbuf_table table;
    struct vbuf_buffer *first;
    struct vbuf_buffer *last;
    struct vbuf_properties properties;  /* of this program */
    struct vbuf_terms terms;
    bool have_terms;
    char instance[VIRTIO_BUF_NAME_SIZE];

    struct vbuf_event event;
    struct vbuf_frame frame;
    struct vbuf_rect rects[VIRTIO_BUF_MAX_DAMAGE];
    struct vbuf_span spans[VIRTIO_BUF_MAX_DAMAGE];
    uint32_t reset_reason;
    uint32_t answer;                /* REMOVED or RELEASE is to be queued */
    uint64_t answer_id;             /* about this buffer */
    uint64_t answer_serial;
    char text[160];                 /* of the event */

    void (*log_handler)(int level, const char *text, void *opaque);
    void *log_opaque;

    size_t queue_start;
    size_t queue_end;
    uint8_t queue[VBUF_QUEUE_SIZE];
    _Alignas(8) uint8_t output[VIRTIO_BUF_MSG_MAX]; /* a WRITTEN is made here */
    _Alignas(8) uint8_t input[VIRTIO_BUF_MSG_MAX];
};

/*
 * Queues a message whose parts are in @iov; type and total size are put into
 * its head, the start of the first part. Returns 0, -EAGAIN when there is no
 * room, -ENOTCONN.
 */
int vbuf_queue(struct vbuf *vbuf, uint32_t type, const struct iovec *iov,
               size_t iov_count);

__attribute__((format(printf, 3, 4)))
void vbuf_log(struct vbuf *vbuf, int level, const char *format, ...);

/* Frees it: it is in no table or list behind this */
void vbuf_forget_buffer(struct vbuf *vbuf, struct vbuf_buffer *buffer);

/* Dispatch.c */

/*
 * Makes an event of a message. @fd is taken over. Returns 1 with the event in
 * vbuf->event, 0 when the message is none for the program, or -errno with the
 * sentence in vbuf->text: the connection is to be ended.
 */
int vbuf_dispatch(struct vbuf *vbuf, const struct virtio_buf_msg *msg, int fd);

#endif /* VBUF_PRIVATE_H */
