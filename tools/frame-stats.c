/* SPDX-License-Identifier: MIT */
/*
 * How many frames came, how fast and how late. Latencies go into a histogram,
 * so that a long run needs no memory.
 */
#include <inttypes.h>
#include <time.h>

#include "frame-stats.h"
#include "virtio-buf/virtio-buf.h"

uint64_t frame_stats_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/*
 * Values below 16 have a step each; above, the four bits behind the first one
 * choose the step
 */
static unsigned int step_of(uint64_t us)
{
    unsigned int exponent, step;

    if (us < 16) {
        return (unsigned int)us;
    }
    exponent = 63 - (unsigned int)__builtin_clzll(us);
    step = (exponent - 3) * 16 + (unsigned int)(us >> (exponent - 4) & 15);
    return step < LATENCY_STEPS ? step : LATENCY_STEPS - 1;
}

static uint64_t middle_of(unsigned int step)
{
    unsigned int exponent = step / 16 + 3;
    uint64_t low;

    if (step < 16) {
        return step;
    }
    low = (UINT64_C(16) + step % 16) << (exponent - 4);
    return low + (UINT64_C(1) << (exponent - 4)) / 2;
}

void frame_stats_add(struct frame_stats *stats, uint64_t sent, uint32_t backing,
                     uint64_t bytes)
{
    uint64_t now = frame_stats_now();
    uint64_t us = now > sent ? (now - sent) / 1000 : 0;

    if (!stats->frames) {
        stats->first_ns = now;
    }
    stats->last_ns = now;
    stats->frames++;
    stats->bytes += bytes;
    if (backing == VBUF_BACKING_DMABUF) {
        stats->from_dmabuf++;
    } else {
        stats->from_copy++;
    }
    stats->latency_last_us = us;
    stats->latency_sum_us += us;
    if (us > stats->latency_max_us) {
        stats->latency_max_us = us;
    }
    stats->latencies[step_of(us)]++;
}

static double seconds(const struct frame_stats *stats)
{
    return (double)(stats->last_ns - stats->first_ns) / 1e9;
}

double frame_stats_rate(const struct frame_stats *stats)
{
    return stats->frames > 1 && stats->last_ns > stats->first_ns ?
           (double)(stats->frames - 1) / seconds(stats) : 0;
}

uint64_t frame_stats_percentile(const struct frame_stats *stats,
                                unsigned int percent)
{
    uint64_t wanted = (stats->frames * percent + 99) / 100, seen = 0, us;
    unsigned int step;

    if (!stats->frames) {
        return 0;
    }
    for (step = 0; step < LATENCY_STEPS - 1; step++) {
        seen += stats->latencies[step];
        if (seen >= wanted) {
            break;
        }
    }
    us = middle_of(step);
    return us < stats->latency_max_us ? us : stats->latency_max_us;
}

const char *frame_stats_backing(const struct frame_stats *stats)
{
    return stats->from_dmabuf && stats->from_copy ? "dma-buf and copy" :
           stats->from_dmabuf ? "dma-buf" :
           stats->from_copy ? "copy" : "none";
}

void frame_stats_print_line(const struct frame_stats *stats, FILE *file)
{
    fprintf(file, "%" PRIu64 " frames  %.1f fps  latency %.2f ms  %s  "
            "%" PRIu64 " lost", stats->frames, frame_stats_rate(stats),
            (double)stats->latency_last_us / 1000, frame_stats_backing(stats),
            stats->lost);
}

void frame_stats_print_summary(const struct frame_stats *stats, FILE *file)
{
    fprintf(file, "%" PRIu64 " frames in %.2f s (%.1f fps), %" PRIu64 " lost; "
            "latency p50 %.2f ms, p99 %.2f ms, max %.2f ms\n",
            stats->frames, seconds(stats), frame_stats_rate(stats),
            stats->lost,
            (double)frame_stats_percentile(stats, 50) / 1000,
            (double)frame_stats_percentile(stats, 99) / 1000,
            (double)stats->latency_max_us / 1000);
    fprintf(file, "%" PRIu64 " frames from dma-bufs, %" PRIu64 " from copies "
            "by QEMU; %" PRIu64 " of %" PRIu64 " bytes copied by this "
            "program\n", stats->from_dmabuf, stats->from_copy,
            stats->bytes_copied, stats->bytes);
}

void frame_stats_print_json(const struct frame_stats *stats, FILE *file)
{
    fprintf(file,
            "{\"frames\": %" PRIu64 ", \"lost\": %" PRIu64 ", "
            "\"frames_from_dmabuf\": %" PRIu64 ", "
            "\"frames_from_copy\": %" PRIu64 ", "
            "\"seconds\": %.6f, \"fps\": %.3f, "
            "\"bytes\": %" PRIu64 ", \"bytes_copied\": %" PRIu64 ", "
            "\"latency_us\": {\"mean\": %" PRIu64 ", \"p50\": %" PRIu64 ", "
            "\"p99\": %" PRIu64 ", \"max\": %" PRIu64 "}}\n",
            stats->frames, stats->lost, stats->from_dmabuf, stats->from_copy,
            seconds(stats), frame_stats_rate(stats), stats->bytes,
            stats->bytes_copied,
            stats->frames ? stats->latency_sum_us / stats->frames : 0,
            frame_stats_percentile(stats, 50),
            frame_stats_percentile(stats, 99), stats->latency_max_us);
}
