/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whoever has a dma-buf can put lines into its fdinfo, by its name; but only
 * behind exp_name:, so that the first count: line is the kernel's.
 */
#include "proof.h"

int main(void)
{
    static const char name[] = "x\ncount:\t1";
    int udmabuf = open_udmabuf();
    int memfd = make_memfd(4096, F_SEAL_SHRINK);
    int dmabuf = make_dmabuf(udmabuf, memfd, 0, 4096);
    char text[4096], *first, *forged, *exp_name;

    NEED(dmabuf >= 0);
    NEED(dup(dmabuf) >= 0);
    NEED(ioctl(dmabuf, DMA_BUF_SET_NAME, name) == 0);
    read_fdinfo(dmabuf, text, sizeof(text));
    printf("%s", text);

    first = strstr(text, "\ncount:\t");
    exp_name = strstr(text, "\nexp_name:\tudmabuf\n");
    NEED(first && exp_name);
    forged = strstr(exp_name, "\ncount:\t1\n");
    FACT(forged != NULL, "the name's count line is in fdinfo");
    FACT(first < exp_name && first_count(dmabuf) == 2,
         "the first count line is in front of it and true");
    return proof_result();
}
