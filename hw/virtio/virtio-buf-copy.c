/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the copy of a buffer, for consumers that cannot have its pages
 *
 * A copy is a memfd of fixed size that QEMU maps and fills; consumers of
 * read-only buffers cannot write it, whatever they do with their fd: it is
 * sealed against every future write but through QEMU's own mapping. What a
 * writer has written there is copied back to guest RAM, no byte more than it
 * names: the bytes around may be newer in the guest.
 *
 * Who keeps a copy keeps memory that QEMU pays for. That of a writer is emptied
 * when QEMU closes it. One that is sealed cannot be emptied by anybody: as long
 * as somebody has it, the buffer has no other one, however often consumers come
 * and go, and after the buffer's end it is counted (virtio_buf_kept_add()).
 *
 * A worker thread copies in slices, in either direction; one job at a time for
 * a buffer. Everything else runs under the BQL, marking guest RAM dirty too:
 * that is done before anything that follows from the job, or from its end. The
 * worker touches only what VirtIOBufCopy says is its own, and guest RAM only
 * under the copy's lock and while its state is RUN: so whoever changes the
 * state and then has had the lock knows that guest RAM is left alone.
 * The VirtIOBufCopy lives until the worker has ended; the VirtIOBufMemory need
 * not.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/lockable.h"
#include "qemu/log.h"
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
    bool counted;                   /* the kernel counts who has it open */
    bool sealed;                    /* nobody can write to it, or empty it */
    uint8_t *map;
    size_t map_size;
    unsigned refs;                  /* BQL */
    bool filled;                    /* BQL; everything has been copied once */
    VirtIOBufMemory *memory;        /* BQL; NULL: freed */
    QLIST_ENTRY(VirtIOBufCopy) next_running; /* BQL */

    /* Constant while the worker runs */
    CopySpan spans[VIRTIO_BUF_MAX_DAMAGE];
    uint32_t span_count;
    bool write_back;                /* to guest RAM, not from there */
    const VirtIOBufMemory *guest;   /* valid while state is RUN */

    CopyState state;                /* atomic; the worker only reads it */
    QemuMutex lock;
    QemuCond resume;
};

static QLIST_HEAD(, VirtIOBufCopy) running =
    QLIST_HEAD_INITIALIZER(running);

/*
 * Another open file of the same memory; -1 if that cannot be, for want of /proc
 * or of the right to use it
 */
static int reopen(int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

    return qemu_open_old(path, O_RDWR);
}

VirtIOBufCopy *virtio_buf_copy_new(const VirtIOBufMemory *memory, int *error)
{
    VirtIOBufCopy *copy;
    Error *err = NULL;
    unsigned seals = F_SEAL_SEAL;
    int fd, counted;
    void *map;

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

    /* The file that memfd_create() has opened is in no count of the kernel's */
    counted = reopen(fd);
    if (counted < 0 && (errno == EMFILE || errno == ENFILE)) {
        *error = -errno;
        munmap(map, memory->export_size);
        close(fd);
        return NULL;
    }
    if (counted >= 0) {
        close(fd);
        fd = counted;
    }

    copy = g_new0(VirtIOBufCopy, 1);
    copy->fd = fd;
    copy->counted = counted >= 0;
    copy->sealed = !memory->writer;
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

bool virtio_buf_copy_file_held(int *fd)
{
    int own = reopen(*fd);

    if (own < 0) {
        return true;
    }
    close(*fd);
    *fd = own;
    if (fcntl(own, F_SETLEASE, F_WRLCK) < 0) {
        return errno == EAGAIN;
    }
    fcntl(own, F_SETLEASE, F_UNLCK);
    return false;
}

static bool copy_is_held(VirtIOBufCopy *copy)
{
    return !copy->counted || virtio_buf_copy_file_held(&copy->fd);
}

bool virtio_buf_copy_idle(VirtIOBufCopy *copy)
{
    copy_set_state(copy, COPY_CANCEL);
    copy->filled = false;
    return copy->sealed && copy_is_held(copy);
}

void virtio_buf_copy_close(VirtIOBufCopy *copy, VirtIOBufMemoryPool *pool)
{
    copy_set_state(copy, COPY_CANCEL);
    if (!copy->sealed &&
        fallocate(copy->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  copy->map_size) < 0) {
        trace_virtio_buf_copy_not_emptied(copy->map_size, errno);
    }
    if (copy->sealed && copy->counted && copy_is_held(copy)) {
        virtio_buf_kept_add(pool, copy->fd, copy->map_size);
    } else {
        close(copy->fd);
    }
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
            virtio_buf_memory_copy(copy->guest, offset, copy->map + offset,
                                   len, copy->write_back);
            offset += len;
            left -= len;
        }
    }
    return 0;
}

static void set_dirty(const VirtIOBufMemory *memory, const CopySpan *spans,
                      uint32_t span_count)
{
    for (uint32_t i = 0; i < span_count; i++) {
        virtio_buf_memory_set_dirty(memory, spans[i].offset, spans[i].len);
    }
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
        if (copy->write_back) {
            set_dirty(memory, copy->spans, copy->span_count);
        }
        memory->copying = NULL;
        memory->done = NULL;
        done(memory->opaque);
    }
    copy_unref(copy);
}

/* Fills @plan; returns the number of spans to copy, and how many bytes */
static uint32_t copy_plan(CopySpan *plan, const VirtIOBufMemory *memory,
                          const struct virtio_buf_span *spans,
                          uint32_t span_count, uint64_t data_offset,
                          uint64_t data_size, uint64_t *bytes)
{
    struct virtio_buf_span payload = {
        .offset = cpu_to_le64(data_offset),
        .len = cpu_to_le64(data_size),
    };
    uint32_t count = 0;

    if (!span_count) {
        spans = &payload;
        span_count = 1;
    }
    *bytes = 0;
    for (uint32_t i = 0; i < MIN(span_count, VIRTIO_BUF_MAX_DAMAGE); i++) {
        uint64_t offset = le64_to_cpu(spans[i].offset);
        uint64_t len = le64_to_cpu(spans[i].len);

        /* The caller has checked them: this is for the map's sake */
        if (offset < memory->size && len) {
            len = MIN(len, memory->size - offset);
            plan[count++] = (CopySpan) { offset, len };
            *bytes += len;
        }
    }
    return count;
}

static bool copy_mapped(const VirtIOBufCopy *copy,
                        const VirtIOBufMemory *memory)
{
    for (uint32_t i = 0; i < copy->span_count; i++) {
        if (!virtio_buf_memory_mapped(memory, copy->spans[i].offset,
                                      copy->spans[i].len)) {
            return false;
        }
    }
    return true;
}

/* Copies copy->spans; returns true if that is done already */
static bool copy_start(VirtIOBufCopy *copy, VirtIOBufMemory *memory,
                       bool write_back, uint64_t bytes,
                       void (*done)(void *opaque), void *opaque)
{
    if (!copy_mapped(copy, memory)) {
        qemu_log_mask(LOG_GUEST_ERROR, "virtio-buf: memory of a registered "
                      "buffer was unmapped or unplugged: it is not copied\n");
        trace_virtio_buf_copy_unmapped(memory, bytes, write_back);
        /* Should it come back, nobody knows what has changed */
        copy->filled &= write_back;
        return true;
    }
    trace_virtio_buf_copy_start(memory, bytes, copy->span_count, write_back);
    memory->pool->counters.copies++;
    memory->pool->counters.copied_bytes += bytes;
    copy->guest = memory;
    copy->write_back = write_back;
    copy->state = COPY_RUN;
    if (bytes <= COPY_AT_ONCE) {
        copy_worker(copy);
        if (write_back) {
            set_dirty(memory, copy->spans, copy->span_count);
        }
        return true;
    }

    copy->refs++;
    copy->memory = memory;
    QLIST_INSERT_HEAD(&running, copy, next_running);
    memory->copying = copy;
    memory->done = done;
    memory->opaque = opaque;
    thread_pool_submit_aio(copy_worker, copy, copy_done, copy);
    return false;
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
    assert(!memory->copying);

    if (!copy->filled) {
        span_count = 0;
        data_offset = 0;
        data_size = memory->size;
        copy->filled = true;
    }
    copy->span_count = copy_plan(copy->spans, memory, spans, span_count,
                                 data_offset, data_size, &bytes);
    return copy_start(copy, memory, false, bytes, done, opaque);
}

bool virtio_buf_memory_write_back(VirtIOBufMemory *memory,
                                  const struct virtio_buf_span *spans,
                                  uint32_t span_count,
                                  uint64_t data_offset, uint64_t data_size,
                                  void (*done)(void *opaque), void *opaque)
{
    CopySpan plan[VIRTIO_BUF_MAX_DAMAGE];
    VirtIOBufCopy *copy = memory->copy;
    uint64_t bytes;
    uint32_t count = copy_plan(plan, memory, spans, span_count, data_offset,
                               data_size, &bytes);

    assert(memory->writer && !memory->copying);
    if (!copy) {
        set_dirty(memory, plan, count);
        return true;
    }
    memcpy(copy->spans, plan, count * sizeof(plan[0]));
    copy->span_count = count;
    return copy_start(copy, memory, true, bytes, done, opaque);
}

void virtio_buf_memory_stop_write_back(VirtIOBufMemory *memory)
{
    VirtIOBufCopy *copy = memory->copying;

    if (copy && copy->write_back) {
        copy_set_state(copy, COPY_CANCEL);
        set_dirty(memory, copy->spans, copy->span_count);
    }
}
