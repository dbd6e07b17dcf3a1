/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name: the C library's lists */
#ifndef QEMU_QUEUE_H
#define QEMU_QUEUE_H

#include <sys/queue.h>

#define QTAILQ_HEAD TAILQ_HEAD
#define QTAILQ_ENTRY TAILQ_ENTRY
#define QTAILQ_INIT TAILQ_INIT
#define QTAILQ_EMPTY TAILQ_EMPTY
#define QTAILQ_FIRST TAILQ_FIRST
#define QTAILQ_FOREACH TAILQ_FOREACH
#define QTAILQ_FOREACH_SAFE(var, head, field, next_var)         \
    for ((var) = TAILQ_FIRST(head);                             \
         (var) && ((next_var) = TAILQ_NEXT(var, field), 1);     \
         (var) = (next_var))
#define QTAILQ_INSERT_HEAD TAILQ_INSERT_HEAD
#define QTAILQ_INSERT_TAIL TAILQ_INSERT_TAIL
#define QTAILQ_INSERT_AFTER TAILQ_INSERT_AFTER
#define QTAILQ_INSERT_BEFORE TAILQ_INSERT_BEFORE
#define QTAILQ_REMOVE TAILQ_REMOVE
#define QTAILQ_LAST(head) \
    (*(((__typeof__(head))((head)->tqh_last))->tqh_last))
#define QTAILQ_PREV(elm, head, field) \
    (*(((__typeof__(head))((elm)->field.tqe_prev))->tqh_last))
#define QTAILQ_FOREACH_REVERSE(var, head, field)        \
    for ((var) = QTAILQ_LAST(head); (var);              \
         (var) = QTAILQ_PREV(var, head, field))

#define QLIST_HEAD LIST_HEAD
#define QLIST_ENTRY LIST_ENTRY
#define QLIST_INIT LIST_INIT
#define QLIST_FOREACH LIST_FOREACH
#define QLIST_FOREACH_SAFE(var, head, field, next_var)          \
    for ((var) = LIST_FIRST(head);                              \
         (var) && ((next_var) = LIST_NEXT(var, field), 1);      \
         (var) = (next_var))
#define QLIST_INSERT_HEAD LIST_INSERT_HEAD
#define QLIST_REMOVE LIST_REMOVE

#endif /* QEMU_QUEUE_H */
