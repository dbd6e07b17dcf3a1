/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the devices for people
 *
 * Prints what query-virtio-buf answers, and knows nothing else. Names come from
 * the guest and from consumers: what could steer a terminal is not printed.
 */
#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/qapi-commands-virtio-buf.h"
#include "qobject/qdict.h"

static char *printable(const char *text)
{
    GString *out = g_string_new(NULL);

    for (; *text; text = g_utf8_next_char(text)) {
        gunichar c = g_utf8_get_char(text);

        g_string_append_unichar(out, g_unichar_isprint(c) ? c : '?');
    }
    return g_string_free(out, false);
}

static void print_consumer(Monitor *mon, const VirtioBufConsumerInfo *info)
{
    const VirtioBufConsumerCounters *counters = info->counters;
    const VirtioBufConsumerSocket *socket = &info->u.socket;
    const strList *name;

    monitor_printf(mon, "  consumer %" PRIu64 ": ", info->id);
    if (info->kind == VIRTIO_BUF_CONSUMER_KIND_SOCKET) {
        monitor_printf(mon, "pid %" PRId64 ", uid %" PRIu32 ", gid %" PRIu32
                       ", connection %" PRIu64 ", %" PRIu64
                       " bytes queued, %" PRIu32 " fds unread",
                       socket->pid, socket->uid, socket->gid,
                       socket->connection, socket->queued_bytes,
                       socket->unread_fds);
    } else {
        monitor_printf(mon, "internal, %s", info->u.internal.name);
    }
    monitor_printf(mon, "%s\n    applications:",
                   info->writer ? ", writer" : "");
    for (name = info->applications; name; name = name->next) {
        g_autofree char *text = printable(name->value);

        monitor_printf(mon, " '%s'", text);
    }
    monitor_printf(mon, "%s\n", info->has_applications ? "" : " all");
    for (VirtioBufPropertyList *property = info->properties; property;
         property = property->next) {
        g_autofree char *key = printable(property->value->name);
        g_autofree char *value = printable(property->value->value);

        monitor_printf(mon, "    %s=%s\n", key, value);
    }
    monitor_printf(mon, "    buffers attached: %" PRIu32 ", updates held: %"
                   PRIu32 ", got: %" PRIu64 ", released: %" PRIu64
                   ", overtaken: %" PRIu64 ", lost: %" PRIu64
                   ", written: %" PRIu64 "\n", info->attached, info->held,
                   counters->updates, counters->released, counters->overtaken,
                   counters->lost, counters->written);
}

static void print_buffer(Monitor *mon, const VirtioBufBufferInfo *info)
{
    g_autofree char *application = printable(info->application);

    monitor_printf(mon, "  buffer %" PRIu64 ": '%s', context %" PRIu32
                   ", stream %" PRIu64 ", %s, %s, %s\n",
                   info->id, application, info->context, info->stream,
                   VirtioBufBufferMode_str(info->mode),
                   VirtioBufBufferAccess_str(info->access),
                   VirtioBufBufferState_str(info->state));
    monitor_printf(mon, "    uuid %s, handle %" PRIu64 ", %" PRIu64
                   " bytes in %" PRIu64 " ranges, %" PRIu32
                   " bytes of properties\n", info->uuid, info->handle,
                   info->size, info->ranges, info->property_bytes);
    monitor_printf(mon, "    backing: %s, reason: %s, %s, attachments: %"
                   PRIu32 "\n", VirtioBufBufferBacking_str(info->backing),
                   VirtioBufBackingReason_str(info->reason),
                   info->exported ? "exported" : "not exported",
                   info->attachments);
    monitor_printf(mon, "    serial %" PRIu64 ", released %" PRIu64
                   ", unreleased by %" PRIu32, info->serial, info->released,
                   info->unreleased);
    if (info->has_writer) {
        monitor_printf(mon, ", writer: consumer %" PRIu64, info->writer);
    }
    monitor_printf(mon, "\n");
}

static void print_counters(Monitor *mon, const VirtioBufDeviceCounters *info)
{
    const VirtioBufCommandCounters *commands = info->commands;
    const VirtioBufErrorCounters *errors = info->errors;

    monitor_printf(mon, "  commands: register %" PRIu64 ", unregister %" PRIu64
                   ", set-properties %" PRIu64 ", update %" PRIu64
                   ", reset %" PRIu64 ", get-events %" PRIu64
                   ", get-consumers %" PRIu64 ", unknown %" PRIu64 "\n",
                   commands->q_register, commands->unregister,
                   commands->set_properties, commands->update,
                   commands->reset, commands->get_events,
                   commands->get_consumers, commands->unknown);
    monitor_printf(mon, "  errors: unsupported %" PRIu64 ", invalid %" PRIu64
                   ", no-buffer %" PRIu64 ", id-order %" PRIu64
                   ", limit %" PRIu64 ", no-memory %" PRIu64
                   ", busy %" PRIu64 ", not-ram %" PRIu64
                   ", not-shareable %" PRIu64 ", overlap %" PRIu64 "\n",
                   errors->unsupported, errors->invalid, errors->no_buffer,
                   errors->id_order, errors->limit, errors->no_memory,
                   errors->busy, errors->not_ram, errors->not_shareable,
                   errors->overlap);
    monitor_printf(mon, "  attached: %" PRIu64 ", freed: %" PRIu64
                   ", copies: %" PRIu64 " of %" PRIu64 " bytes\n",
                   info->attached, info->freed, info->copies,
                   info->copied_bytes);
    monitor_printf(mon, "  revocations: %" PRIu64 " of %" PRIu64
                   " bytes, guest stopped for %" PRIu64 " ns, at most %" PRIu64
                   " ns\n", info->revocations, info->revoked_bytes,
                   info->revocation_time, info->revocation_time_max);
}

static void print_device(Monitor *mon, const VirtioBufInfo *info)
{
    const VirtioBufDeviceLimits *limits = info->limits;
    g_autofree char *instance = printable(info->instance);

    monitor_printf(mon, "%s:\n  path: %s\n  instance: '%s', server: %s\n",
                   info->id ?: "virtio-buf", info->qom_path, instance,
                   info->server ?: "none");
    monitor_printf(mon, "  buffers: %" PRIu32 " of %" PRIu32 ", %" PRIu64
                   " of %" PRIu64 " bytes\n", info->buffer_count,
                   limits->buffers, info->total_size, limits->total_size);
    monitor_printf(mon, "  last serial: %" PRIu64 ", news: %" PRIu64 "%s\n",
                   info->last_serial, info->news,
                   info->unread_news ? ", unread" : "");
    monitor_printf(mon, "  orphaned: %" PRIu32 " dma-bufs, %" PRIu64 " of %"
                   PRIu64 " bytes; quarantined: %" PRIu32 " buffers, %" PRIu64
                   " bytes; kept: %" PRIu32 " copies, %" PRIu64 " bytes\n",
                   info->orphaned_count, info->orphaned_bytes,
                   limits->orphaned, info->quarantined_count,
                   info->quarantined_bytes, info->kept_count,
                   info->kept_bytes);
    print_counters(mon, info->counters);
    for (VirtioBufConsumerInfoList *l = info->consumers; l; l = l->next) {
        print_consumer(mon, l->value);
    }
    for (VirtioBufBufferInfoList *l = info->buffers; l; l = l->next) {
        print_buffer(mon, l->value);
    }
    if (info->more_buffers) {
        monitor_printf(mon, "  and more buffers: see query-virtio-buf\n");
    }
}

void hmp_info_virtio_buf(Monitor *mon, const QDict *qdict)
{
    const char *device = qdict_get_try_str(qdict, "device");
    VirtioBufInfoList *infos;
    Error *err = NULL;

    infos = qmp_query_virtio_buf(device, true, true, false, 0, &err);
    if (hmp_handle_error(mon, err)) {
        return;
    }
    if (!infos) {
        monitor_printf(mon, "No virtio-buf devices\n");
    }
    for (VirtioBufInfoList *l = infos; l; l = l->next) {
        print_device(mon, l->value);
    }
    qapi_free_VirtioBufInfoList(infos);
}
