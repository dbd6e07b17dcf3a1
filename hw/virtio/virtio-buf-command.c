/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-buf: the commands of the driver
 *
 * Owns the request at work: one copy of what the guest sent, in a buffer that
 * is as large as the largest request that can be right. All checks and all
 * work are done on that copy; guest RAM is not read twice. A function per
 * command checks everything first, so that an error has changed nothing, and
 * writes the whole answer. What a command means for buffers is in
 * virtio-buf-buffer.c, for consumers in virtio-buf-update.c, what the guest
 * hears later in virtio-buf-event.c.
 *
 * Everything the guest sends is hostile. A chain that cannot be answered is
 * malformed; all else is a status. Under the BQL.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "qemu/log.h"
#include "hw/virtio/virtio-buf.h"
#include "trace.h"

#define MAX_DAMAGE_SIZE (VIRTIO_BUF_MAX_DAMAGE * \
                         (sizeof(struct virtio_buf_rect) + \
                          sizeof(struct virtio_buf_span)))

/*
 * A command that can be acted on: its fixed part is in @request, of which
 * @size bytes are there; the guest's chain had @full_size.
 */
typedef struct Command {
    const struct virtio_buf_request *request;
    size_t size;
    size_t full_size;
    const struct iovec *in;
    unsigned in_count;
    uint32_t status;        /* of the answer */
    size_t written;
} Command;

typedef struct CommandType {
    const char *name;
    size_t request_size;    /* of the fixed part */
    size_t response_size;   /* of the fixed part */
    void (*run)(VirtIOBuf *s, Command *cmd);
} CommandType;

static void answer(VirtIOBuf *s, Command *cmd, uint32_t status, void *response,
                   size_t size)
{
    struct virtio_buf_response *hdr = response;

    cmd->status = status;
    hdr->status = cpu_to_le32(status);
    hdr->news = cpu_to_le64(s->news);
    cmd->written = iov_from_buf(cmd->in, cmd->in_count, 0, response, size);
}

static void answer_status(VirtIOBuf *s, Command *cmd, uint32_t status)
{
    struct virtio_buf_response response = {};

    answer(s, cmd, status, &response, sizeof(response));
}

/* @type: as it is counted, 0 for one that is not known */
static void account(VirtIOBuf *s, uint32_t number, uint32_t type,
                    const Command *cmd)
{
    s->counters.commands[type]++;
    s->counters.statuses[cmd->status]++;
    trace_virtio_buf_command(s, number, cmd->full_size, cmd->status,
                             cmd->written);
}

static VirtIOBufBuffer *find_buffer(VirtIOBuf *s, uint64_t id)
{
    return g_hash_table_lookup(s->by_id, &id);
}

static bool list_deletes(const uint8_t *list, size_t size)
{
    struct virtio_buf_property_view view;
    size_t pos = 0;

    while (virtio_buf_property_next(list, size, &pos, &view) == 1) {
        if (view.deleted) {
            return true;
        }
    }
    return false;
}

static uint32_t check_register(VirtIOBuf *s,
                               const struct virtio_buf_register *reg,
                               size_t full_size)
{
    const VirtIOBufLimits *limits = &s->limits;
    uint32_t range_count = le32_to_cpu(reg->range_count);
    uint32_t property_bytes = le32_to_cpu(reg->property_bytes);
    uint64_t size = le64_to_cpu(reg->size);
    size_t ranges_size;

    if (reg->reserved || !size || !range_count ||
        reg->mode > VIRTIO_BUF_MODE_EVERY ||
        reg->access > VIRTIO_BUF_ACCESS_WRITER ||
        !virtio_buf_name_valid(reg->application, false)) {
        return VIRTIO_BUF_S_INVALID;
    }
    if (reg->access == VIRTIO_BUF_ACCESS_WRITER &&
        !virtio_vdev_has_feature(VIRTIO_DEVICE(s), VIRTIO_BUF_F_WRITER)) {
        return VIRTIO_BUF_S_UNSUPPORTED;
    }
    if (range_count > limits->ranges ||
        property_bytes > limits->property_bytes) {
        return VIRTIO_BUF_S_LIMIT;
    }
    ranges_size = range_count * sizeof(struct virtio_buf_range);
    if (full_size != sizeof(*reg) + ranges_size + property_bytes ||
        list_deletes((const uint8_t *)(reg + 1) + ranges_size,
                     property_bytes)) {
        return VIRTIO_BUF_S_INVALID;
    }
    if (le64_to_cpu(reg->buffer_id) <= s->last_id) {
        return VIRTIO_BUF_S_ID_ORDER;
    }
    if (s->buffer_count >= limits->buffers || size > limits->buffer_size ||
        size > limits->total_size - s->total_size) {
        return VIRTIO_BUF_S_LIMIT;
    }
    return VIRTIO_BUF_S_OK;
}

VirtIOBufBuffer *virtio_buf_register(VirtIOBuf *s,
                                     const struct virtio_buf_register *reg,
                                     size_t size, const QemuUUID *uuid,
                                     uint32_t *status)
{
    const struct virtio_buf_range *ranges = (const void *)(reg + 1);
    const uint8_t *properties;
    VirtIOBufBuffer *buffer;

    *status = check_register(s, reg, size);
    if (*status != VIRTIO_BUF_S_OK) {
        return NULL;
    }
    properties = (const uint8_t *)(ranges + le32_to_cpu(reg->range_count));
    buffer = virtio_buf_buffer_new(s, reg, ranges, properties, uuid, status);
    if (buffer) {
        s->last_id = buffer->id;
    }
    return buffer;
}

static void run_register(VirtIOBuf *s, Command *cmd)
{
    const struct virtio_buf_register *reg = (const void *)cmd->request;
    struct virtio_buf_register_response response = {};
    VirtIOBufBuffer *buffer;
    uint32_t status;

    buffer = virtio_buf_register(s, reg, cmd->full_size, NULL, &status);
    if (buffer) {
        virtio_buf_announce(buffer);
        response.backing = buffer->told_backing;
        response.reason = buffer->told_reason;
        memcpy(response.uuid, buffer->uuid.data, sizeof(response.uuid));
    }
    trace_virtio_buf_register(s, le64_to_cpu(reg->buffer_id),
                              le64_to_cpu(reg->size),
                              le32_to_cpu(reg->range_count), status,
                              response.backing, response.reason);
    answer(s, cmd, status, &response, sizeof(response));
}

static void run_unregister(VirtIOBuf *s, Command *cmd)
{
    const struct virtio_buf_unregister *req = (const void *)cmd->request;
    uint64_t id = le64_to_cpu(req->buffer_id);
    VirtIOBufBuffer *buffer = find_buffer(s, id);
    uint32_t status;

    if (cmd->full_size != sizeof(*req)) {
        status = VIRTIO_BUF_S_INVALID;
    } else if (!buffer) {
        status = VIRTIO_BUF_S_NO_BUFFER;
    } else if (virtio_buf_buffer_unregister(buffer, false)) {
        status = VIRTIO_BUF_S_OK;
    } else {
        status = VIRTIO_BUF_S_PENDING;
    }
    trace_virtio_buf_unregister(s, id, status);
    answer_status(s, cmd, status);
}

static uint32_t properties_status(int ret)
{
    switch (ret) {
    case 0:
        return VIRTIO_BUF_S_OK;
    case -ENOSPC:
        return VIRTIO_BUF_S_LIMIT;
    case -ENOMEM:
        return VIRTIO_BUF_S_NO_MEMORY;
    default:
        return VIRTIO_BUF_S_INVALID;
    }
}

static void run_set_properties(VirtIOBuf *s, Command *cmd)
{
    const struct virtio_buf_set_properties *req = (const void *)cmd->request;
    const uint8_t *records = (const uint8_t *)(req + 1);
    uint64_t id = le64_to_cpu(req->buffer_id);
    uint32_t size = le32_to_cpu(req->property_bytes);
    VirtIOBufBuffer *buffer = find_buffer(s, id);
    uint32_t status;

    if (req->reserved) {
        status = VIRTIO_BUF_S_INVALID;
    } else if (size > s->limits.property_bytes) {
        status = VIRTIO_BUF_S_LIMIT;
    } else if (cmd->full_size != sizeof(*req) + size) {
        status = VIRTIO_BUF_S_INVALID;
    } else if (!buffer) {
        status = VIRTIO_BUF_S_NO_BUFFER;
    } else {
        status = properties_status(
            virtio_buf_properties_apply(buffer->properties, records, size));
    }
    if (status == VIRTIO_BUF_S_OK && size) {
        virtio_buf_tell_properties(buffer, records, size);
    }
    trace_virtio_buf_set_properties(s, id, size, status);
    answer_status(s, cmd, status);
}

/* What the fields of an UPDATE say it has */
static size_t update_size(const struct virtio_buf_frame *frame)
{
    return sizeof(struct virtio_buf_update) +
           le16_to_cpu(frame->rect_count) * sizeof(struct virtio_buf_rect) +
           le16_to_cpu(frame->span_count) * sizeof(struct virtio_buf_span) +
           le32_to_cpu(frame->property_bytes);
}

static uint32_t update(VirtIOBuf *s, const Command *cmd,
                       const struct virtio_buf_update *req,
                       VirtIOBufBuffer *buffer)
{
    const uint8_t *bytes = (const uint8_t *)&req->frame;
    size_t size = cmd->size - offsetof(struct virtio_buf_update, frame);
    struct virtio_buf_frame_view view;
    uint32_t status;

    if (le32_to_cpu(req->frame.property_bytes) > s->limits.property_bytes) {
        return VIRTIO_BUF_S_LIMIT;
    }
    if (cmd->full_size != update_size(&req->frame)) {
        return VIRTIO_BUF_S_INVALID;
    }
    if (!buffer) {
        return VIRTIO_BUF_S_NO_BUFFER;
    }
    /* Also more damage than there may be, of which only a part was copied */
    if (cmd->size != cmd->full_size ||
        virtio_buf_frame_parse(bytes, size, buffer->size, &view) < 0) {
        return VIRTIO_BUF_S_INVALID;
    }
    if (view.serial <= buffer->stream->last_serial) {
        return VIRTIO_BUF_S_ID_ORDER;
    }
    if (buffer->owners) {
        return VIRTIO_BUF_S_BUSY;
    }
    if (!virtio_buf_reserve(buffer, size)) {
        return VIRTIO_BUF_S_NO_MEMORY;
    }
    status = properties_status(
        virtio_buf_properties_apply(buffer->properties, view.properties,
                                    view.property_bytes));
    if (status == VIRTIO_BUF_S_OK) {
        buffer->stream->last_serial = view.serial;
        s->last_serial = MAX(s->last_serial, view.serial);
        s->updating = buffer;
        virtio_buf_publish(buffer, bytes, size, &view);
        s->updating = NULL;
    }
    return status;
}

static void run_update(VirtIOBuf *s, Command *cmd)
{
    const struct virtio_buf_update *req = (const void *)cmd->request;
    VirtIOBufBuffer *buffer = find_buffer(s, le64_to_cpu(req->buffer_id));
    struct virtio_buf_update_response response = {};
    uint32_t status = update(s, cmd, req, buffer);

    if (buffer) {
        response.released = cpu_to_le64(buffer->released);
    }
    trace_virtio_buf_update(s, le64_to_cpu(req->buffer_id),
                            le64_to_cpu(req->frame.serial), status,
                            le64_to_cpu(response.released));
    answer(s, cmd, status, &response, sizeof(response));
}

static uint32_t reset_all(VirtIOBuf *s, const struct virtio_buf_reset *req)
{
    uint32_t context = le32_to_cpu(req->context);
    bool all = le32_to_cpu(req->scope) == VIRTIO_BUF_RESET_ALL;
    VirtIOBufBuffer *buffer, *next;
    uint32_t count = 0;

    QTAILQ_FOREACH_SAFE(buffer, &s->buffers, next, next) {
        if (all || buffer->context == context) {
            virtio_buf_buffer_unregister(buffer, true);
            count++;
        }
    }
    return count;
}

static uint32_t reset_stream(VirtIOBuf *s, uint64_t id)
{
    VirtIOBufStream *stream = g_hash_table_lookup(s->streams, &id);
    VirtIOBufBuffer *buffer, *next;
    uint32_t count = 0;

    if (stream) {
        /* The last one takes the stream with it */
        QTAILQ_FOREACH_SAFE(buffer, &stream->buffers, next_in_stream, next) {
            virtio_buf_buffer_unregister(buffer, true);
            count++;
        }
    }
    return count;
}

static bool reset_valid(const Command *cmd, const struct virtio_buf_reset *req)
{
    if (cmd->full_size != sizeof(*req)) {
        return false;
    }
    switch (le32_to_cpu(req->scope)) {
    case VIRTIO_BUF_RESET_ALL:
        return !req->context && !req->stream;
    case VIRTIO_BUF_RESET_CONTEXT:
        return !req->stream;
    case VIRTIO_BUF_RESET_STREAM:
        return !req->context && req->stream;
    default:
        return false;
    }
}

static void run_reset(VirtIOBuf *s, Command *cmd)
{
    const struct virtio_buf_reset *req = (const void *)cmd->request;
    struct virtio_buf_reset_response response = {};
    uint32_t status = VIRTIO_BUF_S_INVALID;
    uint32_t count = 0;

    if (reset_valid(cmd, req)) {
        status = VIRTIO_BUF_S_OK;
        count = le32_to_cpu(req->scope) == VIRTIO_BUF_RESET_STREAM ?
                reset_stream(s, le64_to_cpu(req->stream)) : reset_all(s, req);
        response.buffers = cpu_to_le32(count);
    }
    trace_virtio_buf_reset(s, le32_to_cpu(req->scope),
                           le32_to_cpu(req->context), le64_to_cpu(req->stream),
                           status, count);
    answer(s, cmd, status, &response, sizeof(response));
}

/* Bytes of an event that has all there can be */
static size_t largest_event(VirtIOBuf *s)
{
    size_t size = sizeof(struct virtio_buf_event);

    if (virtio_vdev_has_feature(VIRTIO_DEVICE(s), VIRTIO_BUF_F_WRITER)) {
        size += sizeof(struct virtio_buf_frame) + MAX_DAMAGE_SIZE +
                s->limits.property_bytes;
    }
    return size;
}

static void run_get_events(VirtIOBuf *s, Command *cmd)
{
    struct virtio_buf_events_response response = {};

    if (cmd->full_size != sizeof(struct virtio_buf_get_events) ||
        iov_size(cmd->in, cmd->in_count) <
        sizeof(response) + largest_event(s)) {
        answer(s, cmd, VIRTIO_BUF_S_INVALID, &response, sizeof(response));
        return;
    }
    cmd->written = virtio_buf_get_events(s, cmd->in, cmd->in_count);
}

static void run_get_consumers(VirtIOBuf *s, Command *cmd)
{
    const struct virtio_buf_get_consumers *req = (const void *)cmd->request;
    struct virtio_buf_consumers_response response = {};

    if (cmd->full_size != sizeof(*req) ||
        !virtio_buf_name_valid(req->application, false) ||
        iov_size(cmd->in, cmd->in_count) <
        sizeof(response) + sizeof(struct virtio_buf_consumer) +
        VIRTIO_BUF_MAX_PROPERTY_BYTES) {
        answer(s, cmd, VIRTIO_BUF_S_INVALID, &response, sizeof(response));
        return;
    }
    cmd->written = virtio_buf_get_consumers(s, le64_to_cpu(req->after),
                                            (const char *)req->application,
                                            cmd->in, cmd->in_count);
}

static const CommandType command_types[] = {
    [VIRTIO_BUF_CMD_REGISTER] = {
        "REGISTER", sizeof(struct virtio_buf_register),
        sizeof(struct virtio_buf_register_response), run_register,
    },
    [VIRTIO_BUF_CMD_UNREGISTER] = {
        "UNREGISTER", sizeof(struct virtio_buf_unregister),
        sizeof(struct virtio_buf_response), run_unregister,
    },
    [VIRTIO_BUF_CMD_SET_PROPERTIES] = {
        "SET_PROPERTIES", sizeof(struct virtio_buf_set_properties),
        sizeof(struct virtio_buf_response), run_set_properties,
    },
    [VIRTIO_BUF_CMD_UPDATE] = {
        "UPDATE", sizeof(struct virtio_buf_update),
        sizeof(struct virtio_buf_update_response), run_update,
    },
    [VIRTIO_BUF_CMD_RESET] = {
        "RESET", sizeof(struct virtio_buf_reset),
        sizeof(struct virtio_buf_reset_response), run_reset,
    },
    [VIRTIO_BUF_CMD_GET_EVENTS] = {
        "GET_EVENTS", sizeof(struct virtio_buf_get_events),
        sizeof(struct virtio_buf_events_response), run_get_events,
    },
    [VIRTIO_BUF_CMD_GET_CONSUMERS] = {
        "GET_CONSUMERS", sizeof(struct virtio_buf_get_consumers),
        sizeof(struct virtio_buf_consumers_response), run_get_consumers,
    },
};

QEMU_BUILD_BUG_ON(ARRAY_SIZE(command_types) !=
                  ARRAY_SIZE(((VirtIOBufCounters *)0)->commands));

void virtio_buf_commands_init(VirtIOBuf *s)
{
    const VirtIOBufLimits *limits = &s->limits;
    size_t reg = sizeof(struct virtio_buf_register) +
                 limits->ranges * sizeof(struct virtio_buf_range);
    size_t upd = sizeof(struct virtio_buf_update) + MAX_DAMAGE_SIZE;

    s->request_capacity = MAX(reg, upd) + limits->property_bytes;
    s->request = g_malloc(s->request_capacity);
}

void virtio_buf_commands_cleanup(VirtIOBuf *s)
{
    g_clear_pointer(&s->request, g_free);
}

size_t virtio_buf_command(VirtIOBuf *s, const VirtQueueElement *elem)
{
    size_t in_size = iov_size(elem->in_sg, elem->in_num);
    const CommandType *type = NULL;
    Command cmd = {
        .request = (const void *)s->request,
        .full_size = iov_size(elem->out_sg, elem->out_num),
        .in = elem->in_sg,
        .in_count = elem->in_num,
    };
    uint32_t number;

    cmd.size = iov_to_buf(elem->out_sg, elem->out_num, 0, s->request,
                          s->request_capacity);
    if (cmd.size < sizeof(*cmd.request) ||
        in_size < sizeof(struct virtio_buf_response)) {
        return 0;
    }
    number = le32_to_cpu(cmd.request->type);
    if (number < ARRAY_SIZE(command_types) && command_types[number].run) {
        type = &command_types[number];
    }
    if (!type) {
        qemu_log_mask(LOG_GUEST_ERROR, "virtio-buf: unknown command %" PRIu32
                      "\n", number);
        answer_status(s, &cmd, VIRTIO_BUF_S_UNSUPPORTED);
        account(s, number, 0, &cmd);
        return cmd.written;
    }
    if (cmd.size < type->request_size || in_size < type->response_size) {
        return 0;
    }
    if (cmd.request->flags) {
        /* The rest of a fixed answer is zero */
        iov_memset(cmd.in, cmd.in_count, 0, 0, type->response_size);
        answer_status(s, &cmd, VIRTIO_BUF_S_INVALID);
        cmd.written = type->response_size;
    } else {
        type->run(s, &cmd);
    }
    account(s, number, number, &cmd);
    if (cmd.status > VIRTIO_BUF_S_PENDING) {
        qemu_log_mask(LOG_GUEST_ERROR, "virtio-buf: %s: status %" PRIu32 "\n",
                      type->name, cmd.status);
    }
    return cmd.written;
}
