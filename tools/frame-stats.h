/* SPDX-License-Identifier: MIT */
/*
 * How many frames came, how fast and how late.
 */
#ifndef FRAME_STATS_H
#define FRAME_STATS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Latencies in microseconds, by powers of two with 16 steps each: the middle of
 * a step is at most 1/32 off
 */
#define LATENCY_STEPS (16 * 40)

struct frame_stats {
    uint64_t frames;
    uint64_t lost;
    uint64_t from_dmabuf;
    uint64_t from_copy;
    uint64_t bytes;             /* of the frames' payload */
    uint64_t bytes_copied;
    uint64_t first_ns;          /* when the first and the last frame came */
    uint64_t last_ns;
    uint64_t latency_sum_us;
    uint64_t latency_max_us;
    uint64_t latency_last_us;
    uint64_t latencies[LATENCY_STEPS];
};

/* CLOCK_MONOTONIC */
uint64_t frame_stats_now(void);

/* A frame came now that QEMU got from the guest at @sent */
void frame_stats_add(struct frame_stats *stats, uint64_t sent, uint32_t backing,
                     uint64_t bytes);

/* Frames in a second; 0 with fewer than two frames */
double frame_stats_rate(const struct frame_stats *stats);

/* The latency that @percent of the frames do not exceed, in microseconds */
uint64_t frame_stats_percentile(const struct frame_stats *stats,
                                unsigned int percent);

/* "dma-buf", "copy", "dma-buf and copy" or "none": what the frames came from */
const char *frame_stats_backing(const struct frame_stats *stats);

/* One line, without a newline */
void frame_stats_print_line(const struct frame_stats *stats, FILE *file);

/* What the whole run was */
void frame_stats_print_summary(const struct frame_stats *stats, FILE *file);

/* The shape is documented in virtio-buf-cat(1) */
void frame_stats_print_json(const struct frame_stats *stats, FILE *file);

#endif /* FRAME_STATS_H */
