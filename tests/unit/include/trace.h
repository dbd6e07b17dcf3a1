/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for what QEMU generates: nothing is traced */
#ifndef TRACE_H
#define TRACE_H

#define trace_virtio_buf_attach(...) ((void)0)
#define trace_virtio_buf_consumer_add(...) ((void)0)
#define trace_virtio_buf_consumer_remove(...) ((void)0)
#define trace_virtio_buf_detach(...) ((void)0)
#define trace_virtio_buf_freed(...) ((void)0)
#define trace_virtio_buf_get_consumers(...) ((void)0)
#define trace_virtio_buf_get_events(...) ((void)0)
#define trace_virtio_buf_held_too_long(...) ((void)0)
#define trace_virtio_buf_news(...) ((void)0)
#define trace_virtio_buf_overtaken(...) ((void)0)
#define trace_virtio_buf_memory_export(...) ((void)0)
#define trace_virtio_buf_memory_free(...) ((void)0)
#define trace_virtio_buf_memory_new(...) ((void)0)
#define trace_virtio_buf_memory_refused(...) ((void)0)
#define trace_virtio_buf_memory_revoke(...) ((void)0)
#define trace_virtio_buf_memory_sync_writes(...) ((void)0)
#define trace_virtio_buf_orphans(...) ((void)0)
#define trace_virtio_buf_quarantine(...) ((void)0)
#define trace_virtio_buf_release(...) ((void)0)
#define trace_virtio_buf_replace_pages(block, offset, len, ret) ((void)0)
#define trace_virtio_buf_revoke(s, held, done) ((void)(done))
#define trace_virtio_buf_unrevocable(s, quarantined, buffers, bytes) \
    ((void)(bytes))
#define trace_virtio_buf_written(...) ((void)0)

#endif /* TRACE_H */
