/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef QEMU_ERROR_REPORT_H
#define QEMU_ERROR_REPORT_H

void warn_report(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
void warn_report_once(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

#endif /* QEMU_ERROR_REPORT_H */
