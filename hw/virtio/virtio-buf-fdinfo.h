/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: how many references the kernel counts to a dma-buf
 */
#ifndef HW_VIRTIO_VIRTIO_BUF_FDINFO_H
#define HW_VIRTIO_VIRTIO_BUF_FDINFO_H

/**
 * virtio_buf_fdinfo_parse: the count in the text of /proc/self/fdinfo/FD
 * @text: @len bytes, no NUL behind
 *
 * Returns the references to the udmabuf, at least 1, or -EINVAL when the text
 * is not exactly as the kernel writes it, up to and with exp_name.
 */
int64_t virtio_buf_fdinfo_parse(const char *text, size_t len);

/**
 * virtio_buf_fdinfo_count: references to the udmabuf of a fd of this process
 *
 * Every dup, mapping, fd in flight, and import by a driver is one. Returns the
 * count, at least 1, or -errno.
 */
int64_t virtio_buf_fdinfo_count(int fd);

/* Can fdinfo be read at all? Not without /proc, as in a chroot */
bool virtio_buf_fdinfo_readable(int fd);

#endif /* HW_VIRTIO_VIRTIO_BUF_FDINFO_H */
