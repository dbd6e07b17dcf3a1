/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: tries every ioctl of the virtio-buf driver, in the guest.
 *
 * Static and without any dependency, so that it runs in every initramfs. Its
 * output is TAP. It trusts nothing of the driver, and the driver may not trust
 * it: most of the tests are what a hostile program would do.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "device.h"
#include "harness.h"
#include "suites.h"

static void usage(FILE *out)
{
    fputs(
"Usage: virtbuf-test [OPTION]...\n"
"Tries every ioctl of the virtio-buf driver and writes TAP.\n"
"\n"
"  --consumer         a host program has subscribed to '"
APPLICATION_CONSUMER "',\n"
"                     reads and releases\n"
"  --holder           a host program has subscribed to '"
APPLICATION_HOLDER "',\n"
"                     attaches its buffers and never releases\n"
"  --writer           a host program has subscribed to '"
APPLICATION_WRITER "',\n"
"                     and writes to its buffers\n"
"  --pulled N         the host pulls the device N times, when it is asked to\n"
"  --suspend          the machine may sleep in earnest, in S3\n"
"  --zero-copy        the host has KVM and udmabuf: pages that can be shared\n"
"                     must not be copied\n"
"  --device NODE      test this device, /dev/dri/renderD128 for example\n"
"  --instance NAME    test the device of this name\n"
"  --filter GLOBS     run the tests whose name fits: 'memory/*,wait/*' for\n"
"                     example\n"
"  --list             list the tests and run none\n"
"  --shard K/N        of the tests, each N-th from the K-th on\n"
"  --time-limit SECS  for one test (default 120)\n"
"  --self-test        test what runs the tests; needs no device\n"
"  --help\n"
"\n"
"Exit codes: 0 no test failed, 1 a test failed or none ran, 2 wrong usage,\n"
"3 no device.\n", out);
}

/* "2/3" */
static bool parse_shard(const char *text, struct harness_options *options)
{
    unsigned int number;
    char end;

    if (sscanf(text, "%u/%u%c", &number, &options->shards, &end) != 2 ||
        number < 1 || number > options->shards) {
        return false;
    }
    options->shard = number - 1;
    return true;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        { "consumer", no_argument, NULL, 'c' },
        { "holder", no_argument, NULL, 'o' },
        { "writer", no_argument, NULL, 'w' },
        { "pulled", required_argument, NULL, 'p' },
        { "suspend", no_argument, NULL, 'S' },
        { "zero-copy", no_argument, NULL, 'z' },
        { "device", required_argument, NULL, 'd' },
        { "instance", required_argument, NULL, 'i' },
        { "filter", required_argument, NULL, 'f' },
        { "list", no_argument, NULL, 'l' },
        { "shard", required_argument, NULL, 'n' },
        { "time-limit", required_argument, NULL, 't' },
        { "self-test", no_argument, NULL, 's' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    const struct suite suites[] = {
        memory_suite, import_suite, userptr_suite,
        register_suite, property_suite, update_suite, wait_suite, sync_suite,
        event_suite, writer_suite, lifetime_suite, limit_suite, quota_suite,
        consumer_suite, fragment_suite, sleep_suite, unplug_suite,
        hostile_suite, hostile_answers_suite, shortage_suite, fuzz_suite,
    };
    struct harness_options options = { .time_limit_s = 120 };
    const char *node = NULL, *instance = NULL;
    char message[1024];
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'c':
            options.provided |= NEEDS_CONSUMER;
            break;
        case 'o':
            options.provided |= NEEDS_HOLDER;
            break;
        case 'w':
            options.provided |= NEEDS_WRITER;
            break;
        case 'p':
            options.provided |= NEEDS_PULLS;
            device_pulls = (unsigned int)atoi(optarg);
            break;
        case 'S':
            options.provided |= NEEDS_SUSPEND;
            break;
        case 'z':
            device_shares_pages = true;
            break;
        case 'd':
            node = optarg;
            break;
        case 'i':
            instance = optarg;
            break;
        case 'f':
            options.filter = optarg;
            break;
        case 'l':
            options.list = true;
            break;
        case 'n':
            if (!parse_shard(optarg, &options)) {
                usage(stderr);
                return 2;
            }
            break;
        case 't':
            options.time_limit_s = (unsigned int)atoi(optarg);
            break;
        case 's':
            return harness_self_test();
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind < argc || options.time_limit_s == 0) {
        usage(stderr);
        return 2;
    }
    if (!options.list &&
        !device_setup(node, instance, message, sizeof(message))) {
        fprintf(stderr, "virtbuf-test: %s\n", message);
        printf("Bail out! no device\n");
        return 3;
    }
    return harness_run(suites, sizeof(suites) / sizeof(suites[0]), &options);
}
