/* SPDX-License-Identifier: MIT */
/*
 * Reading YUV4MPEG2 clips.
 *
 * A clip is hostile: headers are read into bounded buffers, sizes are checked
 * before anything is derived from them, and a short read is an error with the
 * number of the frame in it.
 */
#include "y4m.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include <drm_fourcc.h>

#define MAX_HEADER          1024
#define MAX_FRAME_HEADER    256

static int __attribute__((format(printf, 3, 4)))
fail(char *message, size_t size, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(message, size, format, ap);
    va_end(ap);
    return -1;
}

/*
 * Reads up to the end of the line, which is not stored. Returns the length, or
 * -1 when the line is too long, holds a NUL, or does not end; *at_end tells
 * that the file ended before the first byte.
 */
static int read_line(FILE *file, char *line, size_t size, bool *at_end)
{
    size_t length = 0;
    int c;

    *at_end = false;
    while ((c = getc(file)) != '\n') {
        if (c == EOF) {
            *at_end = length == 0 && !ferror(file);
            return -1;
        }
        if (c == '\0' || length + 1 == size) {
            return -1;
        }
        line[length++] = (char)c;
    }
    line[length] = '\0';
    return (int)length;
}

static bool parse_side(const char *text, uint32_t *side)
{
    uint32_t value = 0;

    if (*text == '\0') {
        return false;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > FRAME_MAX_SIDE) {
            return false;
        }
        value = value * 10 + (uint32_t)(*text - '0');
    }
    *side = value;
    return value > 0 && value <= FRAME_MAX_SIDE;
}

/* "25:1"; "0:0" is unknown */
static bool parse_rate(char *text, struct frame_rate *rate)
{
    char *colon = strchr(text, ':');

    if (strcmp(text, "0:0") == 0) {
        rate->num = 0;
        return true;
    }
    if (!colon) {
        return false;
    }
    *colon = '/';
    return frame_rate_parse(text, rate);
}

static bool parse_sampling(const char *text, uint32_t *fourcc,
                           const char **siting)
{
    static const struct {
        const char *name;
        uint32_t fourcc;
        const char *siting;
    } samplings[] = {
        { "420", DRM_FORMAT_YUV420, NULL },
        { "420jpeg", DRM_FORMAT_YUV420, "centre" },
        { "420mpeg2", DRM_FORMAT_YUV420, "left" },
        { "420paldv", DRM_FORMAT_YUV420, "top-left" },
        { "422", DRM_FORMAT_YUV422, NULL },
        { "444", DRM_FORMAT_YUV444, NULL },
    };

    for (size_t i = 0; i < sizeof(samplings) / sizeof(samplings[0]); i++) {
        if (strcmp(text, samplings[i].name) == 0) {
            *fourcc = samplings[i].fourcc;
            *siting = samplings[i].siting;
            return true;
        }
    }
    return false;
}

static void set_colour(struct frame_format *format, const char *range,
                       const char *siting)
{
    snprintf(format->colour, sizeof(format->colour), "%s%s%s%s%s",
             range ? "range=" : "", range ? range : "",
             range && siting ? "," : "", siting ? "siting=" : "",
             siting ? siting : "");
}

int y4m_open(struct y4m *y4m, FILE *file, char *message, size_t size)
{
    const char *range = NULL, *siting = NULL;
    uint32_t width = 0, height = 0, fourcc = DRM_FORMAT_YUV420;
    char header[MAX_HEADER], *tag, *save = NULL;
    bool at_end;

    memset(y4m, 0, sizeof(*y4m));
    y4m->file = file;
    if (read_line(file, header, sizeof(header), &at_end) < 0) {
        return fail(message, size, "the y4m header does not end");
    }
    if (strncmp(header, Y4M_MAGIC + Y4M_MAGIC_SIZE, 1) != 0 ||
        (header[1] != ' ' && header[1] != '\0')) {
        return fail(message, size, "this is no YUV4MPEG2 file");
    }
    for (tag = strtok_r(header + 1, " ", &save); tag;
         tag = strtok_r(NULL, " ", &save)) {
        const char *value = tag + 1;

        switch (*tag) {
        case 'W':
        case 'H':
            if (!parse_side(value, *tag == 'W' ? &width : &height)) {
                return fail(message, size, "%s is %s: 1 to %d pixels are "
                            "possible", *tag == 'W' ? "the width" :
                            "the height", value, FRAME_MAX_SIDE);
            }
            break;
        case 'F':
            if (!parse_rate(tag + 1, &y4m->rate)) {
                return fail(message, size, "the frame rate is wrong in the "
                            "y4m header");
            }
            break;
        case 'C':
            if (!parse_sampling(value, &fourcc, &siting)) {
                return fail(message, size, "colour space %s: only 8-bit 4:2:0, "
                            "4:2:2 and 4:4:4 can be played; convert it with "
                            "ffmpeg -i IN -pix_fmt yuv420p OUT.y4m", value);
            }
            break;
        case 'X':
            if (strcmp(value, "COLORRANGE=FULL") == 0) {
                range = "full";
            } else if (strcmp(value, "COLORRANGE=LIMITED") == 0) {
                range = "limited";
            }
            break;
        default:
            break; /* field order, pixel aspect, what others invent */
        }
    }
    if (!width || !height) {
        return fail(message, size, "the y4m header has no %s",
                    width ? "height (H)" : "width (W)");
    }
    if (!frame_format_init(&y4m->format, fourcc, width, height)) {
        return fail(message, size, "a frame of %ux%u cannot be played", width,
                    height);
    }
    set_colour(&y4m->format, range, siting);
    return 0;
}

int y4m_read(struct y4m *y4m, uint8_t *pixels, char *message, size_t size)
{
    unsigned long long number = y4m->frames + 1;
    char header[MAX_FRAME_HEADER];
    bool at_end;

    if (read_line(y4m->file, header, sizeof(header), &at_end) < 0) {
        if (at_end) {
            return 0;
        }
        return fail(message, size, "frame %llu: %s", number,
                    ferror(y4m->file) ? strerror(errno) :
                    "its header does not end");
    }
    if (strncmp(header, "FRAME", 5) != 0 ||
        (header[5] != '\0' && header[5] != ' ')) {
        return fail(message, size, "frame %llu does not start with FRAME: the "
                    "file is damaged", number);
    }
    for (unsigned int p = 0; p < y4m->format.plane_count; p++) {
        const struct frame_plane *plane = &y4m->format.planes[p];

        for (uint32_t row = 0; row < plane->rows; row++) {
            uint8_t *to = pixels + plane->offset +
                          (uint64_t)row * plane->stride;

            if (fread(to, 1, plane->row_bytes, y4m->file) !=
                plane->row_bytes) {
                return fail(message, size, "frame %llu: %s", number,
                            ferror(y4m->file) ? strerror(errno) :
                            "the file is cut off in the middle of it");
            }
        }
    }
    y4m->frames++;
    return 1;
}
