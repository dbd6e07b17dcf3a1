/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the copy of a buffer, for consumers that cannot have its pages
 *
 * A copy is a memfd of fixed size that QEMU maps and fills; consumers of
 * read-only buffers cannot write it, whatever they do with their fd: it is
 * sealed against every future write but through QEMU's own mapping.
 *
 * A worker thread copies in slices. Everything else runs under the BQL. The
 * worker touches only what VirtIOBufCopy says is its own, and guest RAM only
 * under the copy's lock and while its state is RUN: so whoever changes the
 * state and then has had the lock knows that guest RAM is not read any more.
 * The VirtIOBufCopy lives until the worker has ended; the VirtIOBufMemory need
 * not.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/memfd.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "block/thread-pool.h"
#include "virtio-buf-memory-internal.h"
#include "trace.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* What the main loop waits for at most: some 50 us, page faults aside */
#define COPY_SLICE (256 * KiB)
/* Less is not worth a thread's wake-up */
#define COPY_AT_ONCE (64 * KiB)

typedef enum CopyState {
    COPY_RUN,
    COPY_PAUSE,
    COPY_CANCEL,
} CopyState;

typedef struct CopySpan {
    uint64_t offset;
    uint64_t len;
} CopySpan;

struct VirtIOBufCopy {
    int fd;                         /* the only one in this process */
    uint8_t *map;
    size_t map_size;
    unsigned refs;                  /* BQL */
    bool filled;                    /* BQL; everything has been copied once */
    VirtIOBufMemory *memory;        /* BQL; NULL: freed */
    QLIST_ENTRY(VirtIOBufCopy) next_running; /* BQL */

    /* Constant while the worker runs */
    CopySpan spans[VIRTIO_BUF_MAX_DAMAGE];
    uint32_t span_count;
    const VirtIOBufMemory *source;  /* valid while state is RUN */

    CopyState state;                /* atomic; the worker only reads it */
    QemuMutex lock;
    QemuCond resume;
};

static QLIST_HEAD(, VirtIOBufCopy) running =
    QLIST_HEAD_INITIALIZER(running);

VirtIOBufCopy *virtio_buf_copy_new(const VirtIOBufMemory *memory, int *error)
{
    VirtIOBufCopy *copy;
    Error *err = NULL;
    unsigned seals = F_SEAL_SEAL;
    void *map;
    int fd;

    errno = 0;
    fd = qemu_memfd_create("virtio-buf", memory->export_size, false, 0,
                           F_SEAL_SHRINK | F_SEAL_GROW, &err);
    if (fd < 0) {
        *error = errno ? -errno : -ENOMEM;
        trace_virtio_buf_copy_failed(memory, error_get_pretty(err));
        error_free(err);
        return NULL;
    }
    map = mmap(NULL, memory->export_size, PROT_READ | PROT_WRITE, MAP_SHARED,
               fd, 0);
    if (map == MAP_FAILED) {
        *error = -errno;
        close(fd);
        return NULL;
    }
    if (!memory->writer) {
        seals |= F_SEAL_FUTURE_WRITE;
    }
    if (fcntl(fd, F_ADD_SEALS, seals) < 0) {
        *error = -errno;
        munmap(map, memory->export_size);
        close(fd);
        return NULL;
    }

    copy = g_new0(VirtIOBufCopy, 1);
    copy->fd = fd;
    copy->map = map;
    copy->map_size = memory->export_size;
    copy->refs = 1;
    qemu_mutex_init(&copy->lock);
    qemu_cond_init(&copy->resume);
    return copy;
}

int virtio_buf_copy_fd(const VirtIOBufCopy *copy)
{
    return copy->fd;
}

static void copy_unref(VirtIOBufCopy *copy)
{
    if (--copy->refs) {
        return;
    }
    munmap(copy->map, copy->map_size);
    qemu_cond_destroy(&copy->resume);
    qemu_mutex_destroy(&copy->lock);
    g_free(copy);
}

/*
 * The state is changed before the lock is taken: the worker sees it before its
 * next slice and then leaves the lock alone. So this waits for one slice,
 * though mutexes are not fair.
 */
static void copy_set_state(VirtIOBufCopy *copy, CopyState state)
{
    qatomic_set(&copy->state, state);
    qemu_mutex_lock(&copy->lock);
    qemu_cond_signal(&copy->resume);
    qemu_mutex_unlock(&copy->lock);
}

void virtio_buf_copy_close(VirtIOBufCopy *copy)
{
    copy_set_state(copy, COPY_CANCEL);
    close(copy->fd);
    copy->fd = -1;
    copy_unref(copy);
}

void virtio_buf_copy_forget_memory(VirtIOBufCopy *copy)
{
    copy->memory = NULL;
}

void virtio_buf_copy_pause_all(void)
{
    VirtIOBufCopy *copy;

    QLIST_FOREACH(copy, &running, next_running) {
        if (copy->state == COPY_RUN) {
            copy_set_state(copy, COPY_PAUSE);
        }
    }
}

void virtio_buf_copy_resume_all(void)
{
    VirtIOBufCopy *copy;

    QLIST_FOREACH(copy, &running, next_running) {
        if (copy->state == COPY_PAUSE) {
            copy_set_state(copy, COPY_RUN);
        }
    }
}

static int copy_worker(void *opaque)
{
    VirtIOBufCopy *copy = opaque;

    for (uint32_t i = 0; i < copy->span_count; i++) {
        uint64_t offset = copy->spans[i].offset, left = copy->spans[i].len;

        while (left) {
            uint64_t len = MIN(left, COPY_SLICE);

            QEMU_LOCK_GUARD(&copy->lock);
            while (qatomic_read(&copy->state) == COPY_PAUSE) {
                qemu_cond_wait(&copy->resume, &copy->lock);
            }
            if (qatomic_read(&copy->state) == COPY_CANCEL) {
                return -ECANCELED;
            }
            virtio_buf_memory_read(copy->source, offset, copy->map + offset,
                                   len);
            offset += len;
            left -= len;
        }
    }
    return 0;
}

/* In the main loop again */
static void copy_done(void *opaque, int ret)
{
    VirtIOBufCopy *copy = opaque;
    VirtIOBufMemory *memory = copy->memory;

    QLIST_REMOVE(copy, next_running);
    copy->memory = NULL;
    if (memory) {
        void (*done)(void *opaque) = memory->done;

        trace_virtio_buf_copy_done(memory, ret);
        memory->refreshed = NULL;
        memory->done = NULL;
        done(memory->opaque);
    }
    copy_unref(copy);
}

/* Fills copy->spans; returns the bytes to copy */
static uint64_t copy_plan(VirtIOBufCopy *copy, const VirtIOBufMemory *memory,
                          const struct virtio_buf_span *spans,
                          uint32_t span_count, uint64_t data_offset,
                          uint64_t data_size)
{
    struct virtio_buf_span whole = { .len = cpu_to_le64(memory->size) };
    struct virtio_buf_span payload = {
        .offset = cpu_to_le64(data_offset),
        .len = cpu_to_le64(data_size),
    };
    uint64_t bytes = 0;

    if (!copy->filled) {
        spans = &whole;
        span_count = 1;
    } else if (!span_count) {
        spans = &payload;
        span_count = 1;
    }
    copy->span_count = 0;
    for (uint32_t i = 0; i < MIN(span_count, VIRTIO_BUF_MAX_DAMAGE); i++) {
        uint64_t offset = le64_to_cpu(spans[i].offset);
        uint64_t len = le64_to_cpu(spans[i].len);

        /* The caller has checked them: this is for the map's sake */
        if (offset < memory->size && len) {
            len = MIN(len, memory->size - offset);
            copy->spans[copy->span_count++] = (CopySpan) { offset, len };
            bytes += len;
        }
    }
    return bytes;
}

bool virtio_buf_memory_refresh(VirtIOBufMemory *memory,
                               const struct virtio_buf_span *spans,
                               uint32_t span_count,
                               uint64_t data_offset, uint64_t data_size,
                               void (*done)(void *opaque), void *opaque)
{
    VirtIOBufCopy *copy = memory->copy;
    uint64_t bytes;

    if (!copy) {
        return true;
    }
    assert(!memory->refreshed);

    bytes = copy_plan(copy, memory, spans, span_count, data_offset, data_size);
    trace_virtio_buf_copy_start(memory, bytes, copy->span_count);
    memory->pool->counters.copies++;
    memory->pool->counters.copied_bytes += bytes;
    copy->source = memory;
    copy->filled = true;
    if (bytes <= COPY_AT_ONCE) {
        copy_worker(copy);
        return true;
    }

    copy->refs++;
    copy->memory = memory;
    QLIST_INSERT_HEAD(&running, copy, next_running);
    memory->refreshed = copy;
    memory->done = done;
    memory->opaque = opaque;
    thread_pool_submit_aio(copy_worker, copy, copy_done, copy);
    return false;
}
