/* SPDX-License-Identifier: MIT */
/*
 * Who uses a virtio-buf device of this machine, as the kernel tells in
 * /proc/PID/fdinfo. No device is opened.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * struct client - an open file of a device, and what it shares with the host
 * @pid: a process that has it; several may
 * @program: the process's name; chosen by it
 * @parent: of the device, as in struct virtbuf_device; empty when it is no PCI
 *          device
 * @id: the kernel's name for the open file
 * @buffers: registered
 * @bytes: of these buffers
 * @pending: of these buffers, those that were taken back and that a program on
 *           the host still has
 * @property_bytes: of these buffers
 */
struct client {
    pid_t pid;
    char program[32];
    char parent[32];
    uint64_t id;
    uint64_t buffers;
    uint64_t bytes;
    uint64_t pending;
    uint64_t property_bytes;
};

/*
 * Reads the text of one fdinfo; false when it is no file of such a device.
 * Leaves @pid and @program alone.
 */
bool client_parse(const char *fdinfo, struct client *client);

/*
 * Lists the clients that may be seen below @proc ("/proc"), by process id.
 * Returns how many are in *@clients, which is the caller's to free, or a
 * negative errno.
 */
int client_list(const char *proc, struct client **clients);

#endif /* CLIENT_H */
