/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The library at one end of a socket pair, and the fake server at the other */
#ifndef SESSION_H
#define SESSION_H

#include "fake-server.h"
#include "virtio-buf/virtio-buf.h"

#define PAGE 4096

struct session {
    struct vbuf *vbuf;
    struct fake fake;
    const struct vbuf_event *event;
};

struct session *open_session(void);

/* A session that has subscribed */
struct session *open_subscribed(void);

void close_session(struct session *s);

void expect_nothing(struct session *s);

/* The next event is there, has this type and is about this buffer; 0: none */
void expect(struct session *s, uint32_t type, uint64_t id);

/* The connection has ended */
void expect_disconnected(struct session *s, int error);

/* The server said something wrong: it is disconnected, the session closed */
void expect_broken(struct session *s);

/* Gives a buffer of one page to the session, with its memory */
struct vbuf_buffer *give_buffer(struct session *s, uint64_t id, uint8_t mode);

#endif /* SESSION_H */
