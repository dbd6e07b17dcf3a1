/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands in for QEMU's header of this name */
#ifndef QAPI_TYPES_COMMON_H
#define QAPI_TYPES_COMMON_H

typedef enum OnOffAuto {
    ON_OFF_AUTO_AUTO,
    ON_OFF_AUTO_ON,
    ON_OFF_AUTO_OFF,
} OnOffAuto;

#endif /* QAPI_TYPES_COMMON_H */
