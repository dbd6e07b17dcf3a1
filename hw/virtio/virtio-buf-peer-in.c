/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: what a consumer says over its socket
 *
 * Messages are taken from the peer's reader, checked and carried out, in the
 * order in which they were sent. A WRITTEN that the device cannot take yet
 * stops the reading until it can, an ATTACH of a stream until its last buffer
 * is attached.
 *
 * Invariants: a wake-up handles a bounded number of messages, and takes a
 * bounded time but for the last of them, of which an ATTACH is one buffer's;
 * the rest goes on in the bottom half. What a peer can make the server keep is
 * bounded by the constants here.
 *
 * Main loop, BQL. All of these bytes are hostile: they have been copied into
 * the reader, are checked before they are used, and a fault ends the
 * connection.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "trace.h"
#include "virtio-buf-server.h"

#define MESSAGES_PER_WAKE_UP    64
#define APPLICATIONS_MAX        64
#define STREAMS_MAX             1024
#define PROPERTY_BYTES_MAX      4096

static void virtio_buf_peer_fault(VirtIOBufPeer *peer, const char *text)
{
    virtio_buf_peer_close(peer, EPROTO, text);
}

static void virtio_buf_peer_on_hello(VirtIOBufPeer *peer,
                                     const struct virtio_buf_msg_hello *msg)
{
    if (peer->state != VIRTIO_BUF_PEER_CONNECTED) {
        virtio_buf_peer_fault(peer, "HELLO came twice");
    } else if (le32_to_cpu(msg->magic) != VIRTIO_BUF_PROTOCOL_MAGIC) {
        virtio_buf_peer_fault(peer, "HELLO has a wrong magic");
    } else if (le16_to_cpu(msg->major) != VIRTIO_BUF_PROTOCOL_MAJOR) {
        virtio_buf_peer_fault(peer, "HELLO has another major version than 1");
    } else {
        peer->state = VIRTIO_BUF_PEER_GREETED;
    }
}

/* Whether @list is well-formed and takes nothing away */
static bool virtio_buf_peer_properties_valid(const uint8_t *list, uint32_t size)
{
    struct virtio_buf_property_view view;
    size_t pos = 0;

    if (virtio_buf_properties_check(list, size) < 0) {
        return false;
    }
    while (virtio_buf_property_next(list, size, &pos, &view) == 1) {
        if (view.deleted) {
            return false;
        }
    }
    return true;
}

static void
virtio_buf_peer_on_subscribe(VirtIOBufPeer *peer,
                             const struct virtio_buf_msg_subscribe *msg)
{
    VirtIOBufConsumer *consumer = &peer->consumer;
    uint32_t size = le32_to_cpu(msg->msg.size);
    uint32_t flags = le32_to_cpu(msg->flags);
    uint32_t names = le32_to_cpu(msg->application_count);
    uint32_t property_bytes = le32_to_cpu(msg->property_bytes);
    const uint8_t *name = (const uint8_t *)(msg + 1);
    const uint8_t *records;
    uint32_t i;

    if (peer->state == VIRTIO_BUF_PEER_SUBSCRIBED) {
        virtio_buf_peer_fault(peer, "SUBSCRIBE came twice");
        return;
    }
    if (flags & ~(VIRTIO_BUF_SUBSCRIBE_ALL | VIRTIO_BUF_SUBSCRIBE_WRITER)) {
        virtio_buf_peer_fault(peer, "SUBSCRIBE has an unknown flag");
        return;
    }
    consumer->all = flags & VIRTIO_BUF_SUBSCRIBE_ALL;
    if (consumer->all != !names || names > APPLICATIONS_MAX) {
        virtio_buf_peer_fault(peer, "SUBSCRIBE needs 1 to 64 applications, or"
                              " none and the flag for all");
        return;
    }
    if (property_bytes > PROPERTY_BYTES_MAX) {
        virtio_buf_peer_fault(peer, "SUBSCRIBE has too many properties");
        return;
    }
    if (size != sizeof(*msg) + names * VIRTIO_BUF_NAME_SIZE + property_bytes) {
        virtio_buf_peer_fault(peer, "SUBSCRIBE has another size than its"
                              " fields say");
        return;
    }
    for (i = 0; i < names; i++, name += VIRTIO_BUF_NAME_SIZE) {
        if (!virtio_buf_name_valid(name, false)) {
            virtio_buf_peer_fault(peer, "SUBSCRIBE has a bad application");
            return;
        }
        if (!virtio_buf_server_allows_application(peer->server,
                                                  (const char *)name)) {
            virtio_buf_peer_close(peer, EACCES, "SUBSCRIBE to an application"
                                  " that is not one of the server's");
            return;
        }
        g_hash_table_add(consumer->applications, g_strdup((const char *)name));
    }
    records = name;
    if (!virtio_buf_peer_properties_valid(records, property_bytes)) {
        virtio_buf_peer_fault(peer, "SUBSCRIBE has a bad property");
        return;
    }

    if (consumer->all && peer->server->applications) {
        consumer->all = false;
        g_hash_table_unref(consumer->applications);
        consumer->applications = g_hash_table_ref(peer->server->applications);
    }
    consumer->properties = g_memdup2(records, property_bytes);
    consumer->property_bytes = property_bytes;
    consumer->flags = flags & VIRTIO_BUF_SUBSCRIBE_WRITER ?
                      VIRTIO_BUF_CONSUMER_WRITER : 0;
    consumer->hold = peer->server->hold;
    peer->credit = MIN(le32_to_cpu(msg->credit), peer->server->max_attached);
    peer->state = VIRTIO_BUF_PEER_SUBSCRIBED;
    timer_del(peer->timer);
    virtio_buf_peer_link(peer);
    peer->subscribed_due = true;
    peer->subscribed_after = QTAILQ_EMPTY(&peer->unannounced) ? 0 :
                             QTAILQ_LAST(&peer->unannounced)->handle;
    trace_virtio_buf_peer_subscribe(peer->number, names, peer->credit,
                                    consumer->device ? consumer->id : 0);
}

/* The first buffer of the stream that has not had its turn, or NULL */
static VirtIOBufBuffer *virtio_buf_peer_next_of_stream(VirtIOBufPeer *peer)
{
    VirtIOBufStream *all = virtio_buf_stream_find(&peer->consumer,
                                                  peer->attaching.stream);
    uint64_t done = peer->attaching.handle;
    VirtIOBufBuffer *buffer;

    if (!all) {
        return NULL;
    }
    buffer = g_hash_table_lookup(peer->consumer.device->by_handle, &done);
    if (buffer && buffer->stream == all) {
        return QTAILQ_NEXT(buffer, next_in_stream);
    }
    /* It has just begun, or that one was unregistered meanwhile */
    QTAILQ_FOREACH(buffer, &all->buffers, next_in_stream) {
        if (buffer->handle > done) {
            break;
        }
    }
    return buffer;
}

/* Goes on with the ATTACH of a stream, as long as this wake-up may */
static void virtio_buf_peer_attach_more(VirtIOBufPeer *peer)
{
    VirtIOBufBuffer *buffer = virtio_buf_peer_next_of_stream(peer);
    VirtIOBufPeerBuffer *known;

    while (buffer && peer->state != VIRTIO_BUF_PEER_CLOSED) {
        known = g_hash_table_lookup(peer->buffers, &buffer->handle);
        if (known && known->announced) {
            virtio_buf_peer_attach(peer, buffer, peer->attaching.flags);
        }
        peer->attaching.handle = buffer->handle;
        buffer = QTAILQ_NEXT(buffer, next_in_stream);
        if (buffer && !virtio_buf_peer_may_work(peer)) {
            return;
        }
    }
    peer->attaching.stream = 0;
}

static void virtio_buf_peer_attach_stream(VirtIOBufPeer *peer, uint64_t stream,
                                          uint32_t flags)
{
    if (g_hash_table_size(peer->streams) >= STREAMS_MAX &&
        !g_hash_table_contains(peer->streams, &stream)) {
        virtio_buf_peer_close(peer, ENOSPC, "ATTACH of too many streams");
        return;
    }
    g_hash_table_insert(peer->streams, g_memdup2(&stream, sizeof(stream)),
                        GUINT_TO_POINTER(flags));
    peer->attaching.stream = stream;
    peer->attaching.handle = 0;
    peer->attaching.flags = flags;
    virtio_buf_peer_attach_more(peer);
}

static void virtio_buf_peer_on_attach(VirtIOBufPeer *peer,
                                      const struct virtio_buf_msg_attach *msg)
{
    uint64_t handle = le64_to_cpu(msg->buffer);
    uint64_t stream = le64_to_cpu(msg->stream);
    uint32_t flags = le32_to_cpu(msg->flags);
    VirtIOBufPeerBuffer *known;
    VirtIOBufBuffer *buffer;

    if ((flags & ~VIRTIO_BUF_ATTACH_WRITER) || msg->reserved) {
        virtio_buf_peer_fault(peer, "ATTACH has an unknown flag");
    } else if (!handle == !stream) {
        virtio_buf_peer_fault(peer, "ATTACH needs a buffer or a stream");
    } else if (stream) {
        virtio_buf_peer_attach_stream(peer, stream, flags);
    } else {
        known = g_hash_table_lookup(peer->buffers, &handle);
        buffer = known && known->announced ?
                 virtio_buf_buffer_find(&peer->consumer, handle) : NULL;
        if (buffer) {
            virtio_buf_peer_attach(peer, buffer, flags);
        }
    }
}

static void virtio_buf_peer_on_detach(VirtIOBufPeer *peer,
                                      const struct virtio_buf_msg_detach *msg)
{
    VirtIOBufAttachment *attachment =
        virtio_buf_attachment_find(&peer->consumer, le64_to_cpu(msg->buffer));

    if (attachment) {
        virtio_buf_detach(attachment);
    }
}

static void virtio_buf_peer_on_release(VirtIOBufPeer *peer,
                                       const struct virtio_buf_msg_release *msg)
{
    VirtIOBufAttachment *attachment =
        virtio_buf_attachment_find(&peer->consumer, le64_to_cpu(msg->buffer));

    if (attachment &&
        !virtio_buf_release(attachment, le64_to_cpu(msg->serial))) {
        virtio_buf_peer_fault(peer, "RELEASE of a serial that was not sent");
    }
}

static void virtio_buf_peer_on_written(VirtIOBufPeer *peer,
                                       const struct virtio_buf_msg_written *msg)
{
    VirtIOBufAttachment *attachment =
        virtio_buf_attachment_find(&peer->consumer, le64_to_cpu(msg->buffer));
    size_t at = offsetof(struct virtio_buf_msg_written, frame);
    int ret = 0;

    if (attachment) {
        ret = virtio_buf_written(attachment, (const uint8_t *)msg + at,
                                 le32_to_cpu(msg->msg.size) - at);
    }
    switch (ret) {
    case 0:
        break;
    case -EAGAIN:
        peer->unwritten = msg;
        break;
    case -EPERM:
        virtio_buf_peer_fault(peer, "WRITTEN by a consumer that is not the"
                              " writer, or does not own the contents");
        break;
    case -EINVAL:
        virtio_buf_peer_fault(peer, "WRITTEN with a bad frame, an old serial or"
                              " more properties than max-property-bytes");
        break;
    default:
        virtio_buf_peer_close(peer, -ret, "No memory for WRITTEN");
        break;
    }
}

static void virtio_buf_peer_message(VirtIOBufPeer *peer,
                                    const struct virtio_buf_msg *msg)
{
    uint32_t type = le32_to_cpu(msg->type);

    trace_virtio_buf_peer_message(peer->number, type, le32_to_cpu(msg->size));
    if (type == VIRTIO_BUF_MSG_HELLO) {
        virtio_buf_peer_on_hello(peer, (const void *)msg);
        return;
    }
    if (peer->state == VIRTIO_BUF_PEER_CONNECTED) {
        virtio_buf_peer_fault(peer, "The first message is not HELLO");
        return;
    }
    if (type == VIRTIO_BUF_MSG_SUBSCRIBE) {
        virtio_buf_peer_on_subscribe(peer, (const void *)msg);
        return;
    }
    if (peer->state != VIRTIO_BUF_PEER_SUBSCRIBED) {
        virtio_buf_peer_fault(peer, "The second message is not SUBSCRIBE");
        return;
    }
    if (!peer->consumer.device) {
        /* Late news about the buffers of a device that is gone */
        return;
    }
    switch (type) {
    case VIRTIO_BUF_MSG_ATTACH:
        virtio_buf_peer_on_attach(peer, (const void *)msg);
        break;
    case VIRTIO_BUF_MSG_DETACH:
    case VIRTIO_BUF_MSG_REMOVED:
        virtio_buf_peer_on_detach(peer, (const void *)msg);
        break;
    case VIRTIO_BUF_MSG_RELEASE:
        virtio_buf_peer_on_release(peer, (const void *)msg);
        break;
    case VIRTIO_BUF_MSG_WRITTEN:
        virtio_buf_peer_on_written(peer, (const void *)msg);
        break;
    default:
        virtio_buf_peer_fault(peer, "Only servers send this message");
        break;
    }
}

/* Whether messages can be read now: the last one is done with */
static bool virtio_buf_peer_goes_on(VirtIOBufPeer *peer)
{
    if (peer->unwritten) {
        virtio_buf_peer_on_written(peer, g_steal_pointer(&peer->unwritten));
        if (!peer->unwritten && peer->state != VIRTIO_BUF_PEER_CLOSED) {
            virtio_buf_peer_watch(peer);
        }
    }
    return !peer->unwritten && peer->state != VIRTIO_BUF_PEER_CLOSED;
}

void virtio_buf_peer_input(VirtIOBufPeer *peer)
{
    const struct virtio_buf_msg *msg;
    unsigned count = 0;
    int ret;

    if (!virtio_buf_peer_goes_on(peer)) {
        return;
    }
    peer->read_more = false;
    if (peer->attaching.stream) {
        virtio_buf_peer_attach_more(peer);
    }
    if (peer->state == VIRTIO_BUF_PEER_CLOSED) {
        return;
    }
    while (!peer->attaching.stream && count < MESSAGES_PER_WAKE_UP &&
           (!count || virtio_buf_peer_may_work(peer))) {
        count++;
        ret = virtio_buf_reader_next(&peer->reader, peer->fd, false, &msg,
                                     NULL);
        if (ret == -EAGAIN) {
            return;
        }
        if (ret == 1) {
            virtio_buf_peer_message(peer, msg);
        } else if (ret == -EPROTO) {
            virtio_buf_peer_fault(peer, "A message is cut off, of a wrong size"
                                  " or type, or carries a descriptor");
        } else {
            virtio_buf_peer_close(peer, 0, NULL);
        }
        if (peer->state == VIRTIO_BUF_PEER_CLOSED) {
            return;
        }
        if (peer->unwritten) {
            virtio_buf_peer_watch(peer);
            return;
        }
    }
    /* The reader may have whole messages: the socket does not tell of them */
    peer->read_more = true;
    qemu_bh_schedule(peer->bh);
}
