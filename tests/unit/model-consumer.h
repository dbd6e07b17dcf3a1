/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A model of consumers, and of a memory whose copies take as long as the test
 * wants. Each consumer checks what it is told against what the guest has done.
 *
 * A buffer is CELLS cells; a cell holds the serial of the update that wrote it.
 */
#ifndef MODEL_CONSUMER_H
#define MODEL_CONSUMER_H

#include "hw/virtio/virtio-buf.h"

enum { CELLS = 8, CELL = 4096, CONSUMERS = 3, BUFFERS = 10, STREAMS = 4 };
enum { HOLD_TIMEOUT = 100 };

struct VirtIOBufMemory {
    bool copies;
    bool exported;
    uint64_t guest[CELLS];
    uint64_t copy[CELLS];
    uint64_t snapshot[CELLS];   /* what a refresh under way will bring, or 0 */
    void (*done)(void *opaque);
    void *opaque;
};

typedef struct Buffer {
    VirtIOBufBuffer b;          /* first */
    VirtIOBufMemory memory;
    uint64_t published;         /* what the model has seen of b.serial */
    GArray *writes[CELLS];      /* serials, rising */
    bool alive;
} Buffer;

typedef struct View {
    Buffer *buffer;
    bool attach_asked;
    bool attached;              /* has heard of the memory */
    bool removed;
    uint64_t pending;           /* hand-off: given to it, by the model */
    uint64_t taken;             /* hand-off: held */
    int64_t since;              /* when it was given, or taken */
    bool lost;                  /* it was held for too long: no answer yet */
    uint64_t seen;
    uint64_t born;              /* last serial when it heard of the buffer */
    bool unknown;               /* IN_PLACE: needs everything */
    GArray *missed;             /* IN_PLACE: Sent, not seen yet */
    GHashTable *properties;
} View;

typedef struct Fake {
    VirtIOBufConsumer c;        /* first */
    GHashTable *views;          /* handle -> View */
    bool notified;
    bool eager;                 /* takes inside of ready() */
    uint64_t stream_seen[STREAMS];
} Fake;

/* An update as the guest sent it */
typedef struct Sent {
    uint64_t serial;
    unsigned rects;
    unsigned spans;             /* 0: everything */
    uint64_t cells;             /* mask */
} Sent;

extern GRand *dice;
extern bool copies_take_time;
extern VirtIOBuf device;
extern VirtIOBufStream streams[STREAMS];
extern Buffer *buffers[BUFFERS];    /* those that are registered, or NULL */
extern Fake *fakes[CONSUMERS];
extern uint64_t last_serial;

bool chance(unsigned percent);

/* The virtual clock, in milliseconds; goes on by this */
void time_passes(int64_t ms);

/* The copy that is under way is made */
void finish_refresh(VirtIOBufMemory *memory);

void buffer_free(Buffer *buffer);

/* A consumer that may hold so many updates of a LATEST stream */
Fake *fake_new(uint32_t hold);
void fake_disconnect(Fake *fake);

/* What the consumer knows of a buffer; NULL: it has not heard of it */
View *view_of(Fake *fake, Buffer *buffer);
void fake_attach(Fake *fake, View *view);
/* Takes the next thing that it is to hear, if there is any */
void fake_take(Fake *fake);
void fake_release(Fake *fake, View *view);
void fake_let_go(Fake *fake, View *view);

/* Has to be called between a publication and what follows from it */
void look_for_published(void);

/* What must be true at any time */
void check_all(void);

#endif /* MODEL_CONSUMER_H */
