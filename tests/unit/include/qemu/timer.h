/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name; the test is the clock */
#ifndef QEMU_TIMER_H
#define QEMU_TIMER_H

#define SCALE_US 1000

typedef enum QEMUClockType {
    QEMU_CLOCK_REALTIME,
    QEMU_CLOCK_VIRTUAL,
} QEMUClockType;

typedef struct QEMUTimer {
    void (*cb)(void *opaque);
    void *opaque;
    int64_t expires;        /* -1: not pending */
} QEMUTimer;

int64_t qemu_clock_get_ns(QEMUClockType type);
int64_t qemu_clock_get_ms(QEMUClockType type);

QEMUTimer *timer_new_ms(QEMUClockType type, void (*cb)(void *opaque),
                        void *opaque);
void timer_mod(QEMUTimer *timer, int64_t expires);
void timer_mod_anticipate(QEMUTimer *timer, int64_t expires);
void timer_del(QEMUTimer *timer);
bool timer_pending(QEMUTimer *timer);
void timer_free(QEMUTimer *timer);

#endif /* QEMU_TIMER_H */
