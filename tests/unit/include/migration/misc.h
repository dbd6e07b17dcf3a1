/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef MIGRATION_MISC_H
#define MIGRATION_MISC_H

bool migration_in_incoming_postcopy(void);
bool migration_in_bg_snapshot(void);

#endif /* MIGRATION_MISC_H */
