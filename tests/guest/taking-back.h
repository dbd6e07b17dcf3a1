/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What virtbuf-revoke in the guest and virtio-buf-hoarder on the host agree on:
 * every byte tells whose it is, and when it was written.
 */
#ifndef VIRTBUF_TEST_TAKING_BACK_H
#define VIRTBUF_TEST_TAKING_BACK_H

#include <stdint.h>

/*
 * The guest fills pages that it has got back with it. Bytes of 0x80 and above
 * are in no page that is shared.
 */
#define SECRET_BYTE     0xa5
#define SECRET_WORD     (SECRET_BYTE * 0x0101010101010101ull)
#define SECRET_BITS     0x8080808080808080ull

/* The hoarder writes it to what it has kept. The guest never does. */
#define JUNK_BYTE       0x6a

/* What the guest writes while pages are shared: bytes below 0x60 */
static inline uint64_t counter_word(uint64_t n)
{
    uint64_t word = 0;

    for (unsigned int i = 0; i < 8; i++) {
        word |= (n >> (6 * i) & 0x3f) << (8 * i);
    }
    return word;
}

#endif
