/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef QAPI_TYPES_COMMON_H
#define QAPI_TYPES_COMMON_H

typedef int OnOffAuto;

#endif /* QAPI_TYPES_COMMON_H */
