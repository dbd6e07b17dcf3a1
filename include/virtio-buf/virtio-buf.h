/* SPDX-License-Identifier: MIT */
/*
 * libvirtio-buf: buffers of virtual machines, in host programs.
 *
 * A guest fills buffers in its own RAM; this library hands their very pages to
 * a program on the host, as dma-buf file descriptors or mapped memory, and
 * tells when there are new contents. A program connects to the socket of QEMU's
 * -object virtio-buf-server, subscribes to applications, and handles events:
 *
 *     struct vbuf *vbuf;
 *     const struct vbuf_event *event;
 *     const char *const applications[] = { "org.example.viewer" };
 *     const void *data;
 *
 *     if (vbuf_connect("/run/vm1/buf.sock", &vbuf) < 0 ||
 *         vbuf_subscribe(vbuf, applications, 1, 16, 0) < 0) {
 *         ...
 *     }
 *     while (vbuf_wait_event(vbuf, -1, &event) > 0) {
 *         if (event->type == VBUF_EVENT_UPDATE &&
 *             vbuf_map(event->buffer, &data) == 0) {
 *             vbuf_begin_read(event->buffer);
 *             show(data, vbuf_buffer_property(event->buffer, "fourcc"), ...);
 *             vbuf_end_read(event->buffer);
 *             vbuf_release(event->buffer, event->serial);
 *         }
 *     }
 *     vbuf_disconnect(vbuf);
 *
 * What is in a buffer, and each property of it, comes from the guest: check
 * that planes lie inside of vbuf_buffer_size() before touching them.
 *
 * Functions that return int return 0, or what they say, and -errno on an error;
 * they do not set errno. Texts are UTF-8. Times are nanoseconds. A connection
 * and its buffers belong to one thread at a time; the library has no state
 * besides them, starts no threads, installs no signal handlers, and never
 * blocks except where it is said.
 *
 * Structures that the library fills may get more fields at their end in later
 * versions; programs only read them through the pointers that they are given.
 */
#ifndef VIRTIO_BUF_VIRTIO_BUF_H
#define VIRTIO_BUF_VIRTIO_BUF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** struct vbuf - a connection to a server */
struct vbuf;

/**
 * struct vbuf_buffer - a buffer that the server has announced
 *
 * Owned by the connection. It is valid from its VBUF_EVENT_BUFFER until the
 * call of vbuf_next_event() or vbuf_wait_event() after its VBUF_EVENT_REMOVE,
 * or until vbuf_disconnect().
 */
struct vbuf_buffer;

/** vbuf_version() - version of the library that runs, "1.2.3"; static */
const char *vbuf_version(void);

/* Connection */

/**
 * vbuf_connect() - connects to a server
 * @path: its unix socket
 * @vbuf: out: the connection, to be ended with vbuf_disconnect()
 *
 * May block while the server does not take connections. What the server thinks
 * of us comes as an event.
 *
 * Returns 0; -ENOENT or -ECONNREFUSED when there is no server, -EACCES,
 * -ENAMETOOLONG, -ENOMEM, or another -errno of connect().
 */
int vbuf_connect(const char *path, struct vbuf **vbuf);

/**
 * vbuf_connect_fd() - as vbuf_connect(), with a socket that is connected
 * @fd: SOCK_STREAM unix socket; the library's from here on, also after an error
 * @vbuf: out: the connection
 *
 * Returns 0, or -errno.
 */
int vbuf_connect_fd(int fd, struct vbuf **vbuf);

/**
 * vbuf_disconnect() - ends a connection
 * @vbuf: the connection; or NULL
 *
 * Unmaps and closes everything and frees all memory. What is still queued for
 * the server is not waited for; the server treats all buffers as given back.
 */
void vbuf_disconnect(struct vbuf *vbuf);

/** VBUF_LOG_* - how much it matters */
enum {
    VBUF_LOG_ERROR = 0, /* why the connection ended */
    VBUF_LOG_DEBUG = 1, /* messages that hit nothing any more */
};

/**
 * vbuf_set_log_handler() - hears what happens inside
 * @vbuf: the connection
 * @handler: gets each line, without a newline; NULL: nobody, as at first
 * @opaque: passed to @handler
 */
void vbuf_set_log_handler(struct vbuf *vbuf,
                          void (*handler)(int level, const char *text,
                                          void *opaque),
                          void *opaque);

/**
 * vbuf_set_property() - says something about this program
 * @vbuf: the connection, before vbuf_subscribe()
 * @name: not empty, without '=', 255 bytes at most
 * @value: copied; NULL takes the name away
 *
 * Guest programs can read it; docs/properties has the names that are known.
 *
 * Returns 0; -EBUSY after vbuf_subscribe(), -EINVAL for a bad text, -ENOSPC
 * when it is too much, -ENOMEM.
 */
int vbuf_set_property(struct vbuf *vbuf, const char *name, const char *value);

/** VBUF_SUBSCRIBE_* - flags of vbuf_subscribe() */
enum {
    VBUF_SUBSCRIBE_ALL = 1 << 0,    /* every application */
    VBUF_SUBSCRIBE_WRITER = 1 << 1, /* tells guests that we want to write */
};

/**
 * vbuf_subscribe() - says which buffers to hear of; once
 * @vbuf: the connection
 * @applications: names of 1 to 63 bytes
 * @application_count: how many; 0 with VBUF_SUBSCRIBE_ALL
 * @credit: how many buffers the server attaches by itself; 0: only those that
 *      vbuf_attach() or vbuf_attach_stream() ask for. It may take less.
 * @flags: VBUF_SUBSCRIBE_*
 *
 * Returns 0; -EBUSY the second time, -EINVAL for a bad name or no name at all,
 * -E2BIG for too many names, -ENOTCONN.
 */
int vbuf_subscribe(struct vbuf *vbuf, const char *const *applications,
                   size_t application_count, uint32_t credit, uint32_t flags);

/**
 * struct vbuf_terms - what the server answered to vbuf_subscribe()
 * @consumer_id: what the guest sees of this connection
 * @hold: updates of one VBUF_MODE_LATEST stream that may be held at once
 * @hold_timeout_ms: how long one may be held before it is VBUF_EVENT_LOST;
 *      0: for ever
 * @release_timeout_ms: how long after VBUF_EVENT_REMOVE the next event must be
 *      asked for; later the server disconnects. 0: for ever
 * @credit: what the server took of it
 */
struct vbuf_terms {
    uint64_t consumer_id;
    uint32_t hold;
    uint32_t hold_timeout_ms;
    uint32_t release_timeout_ms;
    uint32_t credit;
};

/** vbuf_terms() - NULL before VBUF_EVENT_SUBSCRIBED; owned by the connection */
const struct vbuf_terms *vbuf_terms(const struct vbuf *vbuf);

/** vbuf_instance() - name of the guest's device; "" while there is none */
const char *vbuf_instance(const struct vbuf *vbuf);

/* Events */

/** VBUF_EVENT_* - what happened, and which fields of the event tell more */
enum {
    /* A device came (@present is 1) or went; @text: its name */
    VBUF_EVENT_DEVICE = 1,
    /* There is a @buffer */
    VBUF_EVENT_BUFFER = 2,
    /* All that was there has been announced; vbuf_terms() are known */
    VBUF_EVENT_SUBSCRIBED = 3,
    /* The memory of @buffer is here: vbuf_map(), vbuf_buffer_fd() */
    VBUF_EVENT_ATTACHED = 4,
    /* There will be no memory for @buffer; @error: why */
    VBUF_EVENT_REFUSED = 5,
    /* @buffer has new contents: @frame, @serial, @time */
    VBUF_EVENT_UPDATE = 6,
    /* Properties of @buffer changed */
    VBUF_EVENT_PROPERTIES = 7,
    /*
     * The update @serial of @buffer was held for too long: its contents may
     * change. When the next event is asked for, the server is told that we have
     * left them; before, it sends no other update of the stream. Its writer is
     * none any more: then the buffer is unmapped and closed instead, and may be
     * attached again.
     */
    VBUF_EVENT_LOST = 8,
    /*
     * @buffer goes: let go of everything that was made of it. When the next
     * event is asked for it is unmapped, closed, answered and freed.
     */
    VBUF_EVENT_REMOVE = 9,
    /*
     * The guest was reset; each buffer has come with VBUF_EVENT_REMOVE before.
     * @reason: VBUF_RESET_*
     */
    VBUF_EVENT_RESET = 10,
    /*
     * The connection has ended; @error: why, @text: in words. Buffers stay what
     * they are until vbuf_disconnect(); nobody updates them any more.
     */
    VBUF_EVENT_DISCONNECTED = 11,
};

/** VBUF_RESET_* - reason of VBUF_EVENT_RESET */
enum {
    VBUF_RESET_DRIVER = 0,  /* the driver reset the device */
    VBUF_RESET_SYSTEM = 1,  /* the machine was reset */
    VBUF_RESET_UNPLUG = 2,  /* the device is going */
};

/** VBUF_FRAME_* - flags of struct vbuf_frame */
enum {
    VBUF_FRAME_KEYFRAME = 1 << 0,
    VBUF_FRAME_DISCONTINUITY = 1 << 1,
    VBUF_FRAME_END_OF_STREAM = 1 << 2,
    VBUF_FRAME_ERROR = 1 << 3,      /* the contents are damaged */
};

/** VBUF_CLOCK_* - what pts of struct vbuf_frame counts */
enum {
    VBUF_CLOCK_NONE = 0,        /* there is no pts */
    VBUF_CLOCK_STREAM = 1,      /* since the start of the stream */
    VBUF_CLOCK_MONOTONIC = 2,   /* CLOCK_MONOTONIC of the guest */
    VBUF_CLOCK_REALTIME = 3,    /* CLOCK_REALTIME of the guest */
    VBUF_CLOCK_TAI = 4,         /* CLOCK_TAI of the guest */
};

/** struct vbuf_rect - a changed rectangle, in the application's pixels */
struct vbuf_rect {
    uint32_t x;
    uint32_t y;
    uint32_t width;
    uint32_t height;
};

/** struct vbuf_span - changed bytes; inside of the buffer */
struct vbuf_span {
    uint64_t offset;
    uint64_t len;
};

/**
 * struct vbuf_frame - what an update says of the contents
 * @flags: VBUF_FRAME_*
 * @clock: VBUF_CLOCK_*
 * @data_offset: where the payload starts in the buffer, in bytes
 * @data_size: bytes of payload; it ends inside of the buffer
 * @pts: presentation time in nanoseconds of @clock
 * @duration: nanoseconds; 0: unknown
 * @guest_time: CLOCK_MONOTONIC of the guest when it sent the update
 * @rects: @rect_count changed rectangles, as the guest gave them: they may lie
 *      outside of the picture
 * @spans: @span_count changed pieces; when 0, all of the payload changed
 */
struct vbuf_frame {
    uint32_t flags;
    uint32_t clock;
    uint64_t data_offset;
    uint64_t data_size;
    uint64_t pts;
    uint64_t duration;
    uint64_t guest_time;
    uint32_t rect_count;
    uint32_t span_count;
    const struct vbuf_rect *rects;
    const struct vbuf_span *spans;
};

/**
 * struct vbuf_event - something that happened; see VBUF_EVENT_*
 * @type: VBUF_EVENT_*
 * @error: errno, positive; 0: none
 * @buffer: which one; NULL when the event is about none
 * @serial: names the update, for vbuf_release()
 * @time: CLOCK_MONOTONIC of this host when the guest's update arrived
 * @frame: of an update; NULL else
 * @text: never NULL
 * @present: see VBUF_EVENT_DEVICE
 * @reason: VBUF_RESET_*
 */
struct vbuf_event {
    uint32_t type;
    int32_t error;
    struct vbuf_buffer *buffer;
    uint64_t serial;
    uint64_t time;
    const struct vbuf_frame *frame;
    const char *text;
    uint32_t present;
    uint32_t reason;
};

/**
 * vbuf_next_event() - takes the next event, without blocking
 * @vbuf: the connection
 * @event: out: the event, the library's, valid until the next call
 *
 * Also sends what is queued for the server. Call it until it returns 0, then
 * poll() for vbuf_poll_events() on vbuf_fd().
 *
 * Returns 1 with an event, 0 when there is none now; -ENOTCONN after
 * VBUF_EVENT_DISCONNECTED.
 */
int vbuf_next_event(struct vbuf *vbuf, const struct vbuf_event **event);

/**
 * vbuf_wait_event() - takes the next event, waits for it
 * @vbuf: the connection
 * @timeout_ms: how long at most; -1: for ever
 * @event: as in vbuf_next_event()
 *
 * Returns 1 with an event, 0 at the timeout; -EINTR after a signal, -ENOTCONN
 * after VBUF_EVENT_DISCONNECTED.
 */
int vbuf_wait_event(struct vbuf *vbuf, int timeout_ms,
                    const struct vbuf_event **event);

/** vbuf_fd() - the socket, for poll(); stays the library's */
int vbuf_fd(const struct vbuf *vbuf);

/** vbuf_poll_events() - what to poll it for now: POLLIN, maybe POLLOUT */
short vbuf_poll_events(const struct vbuf *vbuf);

/* Buffers */

/** VBUF_MODE_* - who owns the contents after an update */
enum {
    VBUF_MODE_IN_PLACE = 0, /* nobody: it is redrawn while it is shown */
    VBUF_MODE_LATEST = 1,   /* we, until vbuf_release(); newer ones overtake */
    VBUF_MODE_EVERY = 2,    /* we, until vbuf_release(); none is left out */
};

/** VBUF_BACKING_* - what the memory is */
enum {
    VBUF_BACKING_COPY = 0,      /* a sealed memfd that QEMU copies to */
    VBUF_BACKING_DMABUF = 1,    /* the guest's pages: a dma-buf */
};

/** VBUF_ACCESS_* - who writes the contents */
enum {
    VBUF_ACCESS_READ = 0,   /* the guest */
    VBUF_ACCESS_WRITER = 1, /* one of its consumers: vbuf_attach_writer() */
};

/** vbuf_find_buffer() - the buffer with this id; NULL: there is none */
struct vbuf_buffer *vbuf_find_buffer(const struct vbuf *vbuf, uint64_t id);

/**
 * vbuf_each_buffer() - the buffer announced after @last, with NULL the first;
 * NULL at the end
 */
struct vbuf_buffer *vbuf_each_buffer(const struct vbuf *vbuf,
                                     const struct vbuf_buffer *last);

/**
 * vbuf_buffer_id() - the server's name for it; none comes twice while QEMU
 * runs
 */
uint64_t vbuf_buffer_id(const struct vbuf_buffer *buffer);

/** vbuf_buffer_guest_id() - the guest's name for it; information */
uint64_t vbuf_buffer_guest_id(const struct vbuf_buffer *buffer);

/** vbuf_buffer_size() - in bytes; the mapping has at least as many */
uint64_t vbuf_buffer_size(const struct vbuf_buffer *buffer);

/**
 * vbuf_buffer_stream() - the same for buffers of one surface, camera or pipe;
 * 0: it stands alone
 */
uint64_t vbuf_buffer_stream(const struct vbuf_buffer *buffer);

/**
 * vbuf_buffer_serial() - of its last update, also of one from before we came;
 * 0: none
 */
uint64_t vbuf_buffer_serial(const struct vbuf_buffer *buffer);

/**
 * vbuf_buffer_context() - the same for buffers of one guest program, as far as
 * the guest tells
 */
uint32_t vbuf_buffer_context(const struct vbuf_buffer *buffer);

/** vbuf_buffer_mode() - VBUF_MODE_* */
uint32_t vbuf_buffer_mode(const struct vbuf_buffer *buffer);

/** vbuf_buffer_access() - VBUF_ACCESS_* */
uint32_t vbuf_buffer_access(const struct vbuf_buffer *buffer);

/**
 * vbuf_buffer_backing() - VBUF_BACKING_*; before VBUF_EVENT_ATTACHED what it
 * will probably be
 */
uint32_t vbuf_buffer_backing(const struct vbuf_buffer *buffer);

/** vbuf_buffer_uuid() - 16 bytes, what the guest knows it by as well */
const uint8_t *vbuf_buffer_uuid(const struct vbuf_buffer *buffer);

/** vbuf_buffer_application() - never NULL */
const char *vbuf_buffer_application(const struct vbuf_buffer *buffer);

/**
 * vbuf_buffer_property() - the value as it is now, valid until the next event
 * is asked for; NULL: there is no such name
 */
const char *vbuf_buffer_property(const struct vbuf_buffer *buffer,
                                 const char *name);

/** vbuf_buffer_property_count() - how many properties there are now */
size_t vbuf_buffer_property_count(const struct vbuf_buffer *buffer);

/**
 * vbuf_buffer_property_at() - one of the properties, which are sorted by name
 * @buffer: the buffer
 * @index: below vbuf_buffer_property_count()
 * @name: out: valid until the next event is asked for
 * @value: out: the same
 *
 * Returns 0, or -EINVAL when @index is too large.
 */
int vbuf_buffer_property_at(const struct vbuf_buffer *buffer, size_t index,
                            const char **name, const char **value);

/**
 * vbuf_buffer_set_user_data() - keeps a pointer of the program; NULL at
 * first
 */
void vbuf_buffer_set_user_data(struct vbuf_buffer *buffer, void *data);

/** vbuf_buffer_user_data() - what was set */
void *vbuf_buffer_user_data(const struct vbuf_buffer *buffer);

/* Memory */

/**
 * vbuf_attach() - asks for the memory of a buffer
 * @buffer: one that is not attached
 *
 * Answered by VBUF_EVENT_ATTACHED or VBUF_EVENT_REFUSED.
 *
 * Returns 0; -EALREADY when it is attached, -EAGAIN when too much is queued for
 * the server, -ENOTCONN.
 */
int vbuf_attach(struct vbuf_buffer *buffer);

/**
 * vbuf_attach_stream() - asks for all buffers of a stream
 * @vbuf: the connection
 * @stream: not 0; those that come later are meant as well
 *
 * Returns as vbuf_attach().
 */
int vbuf_attach_stream(struct vbuf *vbuf, uint64_t stream);

/**
 * vbuf_detach() - gives the memory back
 * @buffer: one that is attached
 *
 * Unmaps it, closes its fd and releases its updates; no update of it comes any
 * more.
 *
 * Returns 0; -EINVAL when it is not attached, -EAGAIN when too much is queued
 * for the server (nothing is done), -ENOTCONN.
 */
int vbuf_detach(struct vbuf_buffer *buffer);

/**
 * vbuf_buffer_fd() - the memory as a file descriptor
 * @buffer: the buffer
 *
 * It is close-on-exec and stays the library's: who keeps it for longer than the
 * buffer is attached keeps the guest from its memory.
 *
 * Returns the fd, or -1 when it is not attached.
 */
int vbuf_buffer_fd(const struct vbuf_buffer *buffer);

/**
 * vbuf_map() - maps the memory, for reading
 * @buffer: one that is attached
 * @data: out: vbuf_buffer_size() bytes, page-aligned; the same at each call
 *
 * The mapping is the library's and lives as long as the buffer is attached.
 * That nobody can shorten the file later, which would end in SIGBUS, is checked
 * before. The guest can change the bytes at any time, however wrong that is:
 * what is parsed is copied first.
 *
 * Returns 0; -EINVAL when it is not attached, -EPROTO when the file is too
 * short or is neither a dma-buf nor a memfd that is sealed against shrinking,
 * or another -errno of mmap().
 */
int vbuf_map(struct vbuf_buffer *buffer, const void **data);

/**
 * vbuf_begin_read() - makes what the guest wrote visible to this CPU
 * @buffer: one that is attached
 *
 * Goes before reading the mapping, vbuf_end_read() behind it. Waits for fences
 * that others have put into the dma-buf. Nothing is done for VBUF_BACKING_COPY.
 *
 * Returns 0, -EINVAL when it is not attached, or another -errno.
 */
int vbuf_begin_read(struct vbuf_buffer *buffer);

/** vbuf_end_read() - ends what vbuf_begin_read() began; returns the same */
int vbuf_end_read(struct vbuf_buffer *buffer);

/**
 * vbuf_release() - gives an update back: its contents are not read any more
 * @buffer: whose update
 * @serial: of the update; earlier ones are released with it
 *
 * Not needed with VBUF_MODE_IN_PLACE, where it does nothing, nor for what is
 * released already.
 *
 * Returns 0; -EINVAL when there was no such update, -EAGAIN when too much is
 * queued for the server (call it again after vbuf_next_event()), -ENOTCONN.
 */
int vbuf_release(struct vbuf_buffer *buffer, uint64_t serial);

/* Writing */

/**
 * vbuf_attach_writer() - asks for the memory of a buffer, to fill it
 * @buffer: one with VBUF_ACCESS_WRITER that is not attached; so subscribe with
 *      a credit of 0, which attaches for reading
 *
 * Answered by VBUF_EVENT_ATTACHED, or VBUF_EVENT_REFUSED: EACCES it is not to
 * be written, EBUSY it has a writer.
 *
 * With VBUF_MODE_LATEST and VBUF_MODE_EVERY the guest gives the buffer with
 * VBUF_EVENT_UPDATE, the program fills it, says vbuf_written() once or more
 * often, and vbuf_release() when it is done, within hold_timeout_ms. With
 * VBUF_MODE_IN_PLACE it may do so at any time; what the guest changes there
 * meanwhile has to be other bytes.
 *
 * Returns as vbuf_attach().
 */
int vbuf_attach_writer(struct vbuf_buffer *buffer);

/**
 * vbuf_attach_stream_writer() - the same for all buffers of a stream
 * @vbuf: the connection
 * @stream: not 0; those that come later are meant as well
 *
 * Returns as vbuf_attach().
 */
int vbuf_attach_stream_writer(struct vbuf *vbuf, uint64_t stream);

/** vbuf_is_writer() - 1 while it is attached and we are its writer; else 0 */
int vbuf_is_writer(const struct vbuf_buffer *buffer);

/**
 * vbuf_map_writable() - maps the memory, for reading and writing
 * @buffer: one that we are the writer of
 * @data: out: vbuf_buffer_size() bytes, page-aligned; the same at each call,
 *      and as vbuf_map()
 *
 * Returns as vbuf_map(); -EACCES when it is attached for reading.
 */
int vbuf_map_writable(struct vbuf_buffer *buffer, void **data);

/**
 * vbuf_begin_write() - goes before writing to the mapping
 * @buffer: one that is attached
 *
 * Waits for fences that others have put into the dma-buf. Nothing is done for
 * VBUF_BACKING_COPY.
 *
 * Returns 0, -EINVAL when it is not attached, or another -errno.
 */
int vbuf_begin_write(struct vbuf_buffer *buffer);

/** vbuf_end_write() - goes between writing and vbuf_written() */
int vbuf_end_write(struct vbuf_buffer *buffer);

/**
 * vbuf_written() - tells the guest that there are new contents
 * @buffer: one that we are the writer of
 * @frame: what to say of them; @guest_time is not used. NULL: all of the buffer
 * @properties: name, value, name, value, ..., NULL: what the guest gets with
 *      exactly these contents; NULL: nothing. The buffer's own are the guest's.
 *
 * With VBUF_BACKING_COPY nothing but @spans, or without any the payload, comes
 * to the guest. What the guest has not seen yet is overtaken.
 *
 * Returns 0; -EPERM when we are not its writer, or the contents are the guest's
 * (no update of it, or it is released), -EINVAL when @frame or a property is
 * wrong, -EAGAIN when too much is queued for the server (call it again after
 * vbuf_next_event()), -ENOTCONN.
 */
int vbuf_written(struct vbuf_buffer *buffer, const struct vbuf_frame *frame,
                 const char *const *properties);

#ifdef __cplusplus
}
#endif

#endif /* VIRTIO_BUF_VIRTIO_BUF_H */
