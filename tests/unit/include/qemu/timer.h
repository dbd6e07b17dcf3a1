/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name; the test is the clock */
#ifndef QEMU_TIMER_H
#define QEMU_TIMER_H

typedef struct QEMUTimer QEMUTimer;

typedef enum QEMUClockType {
    QEMU_CLOCK_REALTIME,
} QEMUClockType;

int64_t qemu_clock_get_ns(QEMUClockType type);

#endif /* QEMU_TIMER_H */
