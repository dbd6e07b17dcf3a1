/* SPDX-License-Identifier: MIT */
/*
 * Frames to files: raw bytes, YUV4MPEG2 (y4m) or PNG.
 *
 * Files are unbuffered, so that rows go from the mapped buffer to the kernel or
 * to libpng without a copy in between; what has to be converted is counted. The
 * layout has been checked against the buffer before a byte of it is read. The
 * guest may change pixels while they are read: nothing here depends on them.
 */
#include <drm_fourcc.h>
#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "frame-writer.h"

__attribute__((format(printf, 4, 5)))
static int failed(int ret, char *message, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, size, format, args);
    va_end(args);
    return ret;
}

/* The one %d or %0Nd of a pattern: where it starts, ends and its width */
static bool find_number(const char *pattern, const char **start,
                        const char **end, int *width)
{
    const char *c = strchr(pattern, '%');

    if (!c) {
        return false;
    }
    *start = c++;
    *width = 0;
    if (c[0] == '0' && c[1] >= '1' && c[1] <= '9') {
        *width = c[1] - '0';
        c += 2;
    }
    *end = c + 1;
    return *c == 'd' && !strchr(*end, '%');
}

int frame_writer_init(struct frame_writer *writer, const char *pattern,
                      enum frame_format format)
{
    const char *start, *end;
    int width;

    memset(writer, 0, sizeof(*writer));
    writer->pattern = pattern;
    writer->format = format;
    if (strchr(pattern, '%') && !find_number(pattern, &start, &end, &width)) {
        return -EINVAL;
    }
    return 0;
}

bool frame_writer_has_many_files(const struct frame_writer *writer)
{
    return strchr(writer->pattern, '%') != NULL;
}

static int open_file(struct frame_writer *writer, uint64_t number,
                     char *message, size_t size)
{
    const char *start, *end;
    char path[4096];
    int width, len;

    if (writer->file) {
        return 0;
    }
    if (!strcmp(writer->pattern, "-")) {
        writer->file = stdout;
        setvbuf(stdout, NULL, _IONBF, 0);
        return 0;
    }
    if (find_number(writer->pattern, &start, &end, &width)) {
        len = snprintf(path, sizeof(path), "%.*s%0*llu%s",
                       (int)(start - writer->pattern), writer->pattern, width,
                       (unsigned long long)number, end);
    } else {
        len = snprintf(path, sizeof(path), "%s", writer->pattern);
    }
    if (len < 0 || (size_t)len >= sizeof(path)) {
        return failed(-ENAMETOOLONG, message, size,
                      "the name of the output file is too long");
    }
    writer->file = fopen(path, "wbe");
    if (!writer->file) {
        return failed(-errno, message, size, "cannot write %s: %s", path,
                      strerror(errno));
    }
    setvbuf(writer->file, NULL, _IONBF, 0);
    return 0;
}

int frame_writer_finish(struct frame_writer *writer)
{
    FILE *file = writer->file;
    int ret = 0;

    free(writer->row);
    writer->row = NULL;
    writer->row_size = 0;
    writer->has_stream = false;
    writer->file = NULL;
    if (file == stdout) {
        ret = fflush(file);
    } else if (file) {
        ret = fclose(file);
    }
    return ret ? -errno : 0;
}

/*
 * Some file systems (9p is one) want the very pages of what they write, and the
 * kernel does not give out those of a dma-buf: EFAULT. Then a copy is written.
 */
static size_t put_copied(struct frame_writer *writer, const uint8_t *bytes,
                         size_t len)
{
    uint8_t copy[16384];
    size_t done = 0;

    clearerr(writer->file);
    while (done < len) {
        size_t part = len - done < sizeof(copy) ? len - done : sizeof(copy);
        size_t put;

        memcpy(copy, bytes + done, part);
        writer->bytes_copied += part;
        put = fwrite(copy, 1, part, writer->file);
        done += put;
        if (put != part) {
            break;
        }
    }
    return done;
}

static int put(struct frame_writer *writer, const void *bytes, size_t len,
               char *message, size_t size)
{
    size_t done = len ? fwrite(bytes, 1, len, writer->file) : 0;

    if (done != len && errno == EFAULT) {
        done += put_copied(writer, (const uint8_t *)bytes + done, len - done);
    }
    if (done != len) {
        return failed(-errno, message, size, "cannot write: %s",
                      strerror(errno));
    }
    return 0;
}

/* Makes writer->row large enough */
static int need_row(struct frame_writer *writer, size_t len, char *message,
                    size_t size)
{
    if (writer->row_size < len) {
        free(writer->row);
        writer->row_size = 0;
        writer->row = malloc(len);
        if (!writer->row) {
            return failed(-ENOMEM, message, size, "out of memory");
        }
        writer->row_size = len;
    }
    return 0;
}

static const char *chroma_name(uint32_t fourcc)
{
    return fourcc == DRM_FORMAT_YUV420 ? "420jpeg" :
           fourcc == DRM_FORMAT_YUV422 ? "422" : "444";
}

static int put_plane(struct frame_writer *writer, const uint8_t *data,
                     const struct frame_plane *plane, char *message,
                     size_t size)
{
    uint32_t row;
    int ret = 0;

    if (plane->stride == plane->row_bytes) {
        return put(writer, data + plane->offset,
                   (size_t)plane->row_bytes * plane->rows, message, size);
    }
    for (row = 0; row < plane->rows && ret == 0; row++) {
        ret = put(writer, data + plane->offset + plane->stride * row,
                  plane->row_bytes, message, size);
    }
    return ret;
}

/* BT.601, 16 to 235, in 16.16 fixed point; the sums stay in a byte's range */
static const int32_t rgb_to_yuv[3][4] = {
    {  16829,  33039,   6416,  16 << 16 },
    {  -9714, -19070,  28784, 128 << 16 },
    {  28784, -24103,  -4681, 128 << 16 },
};

/* One component of a picture of RGB as a plane */
static int put_converted(struct frame_writer *writer, const uint8_t *data,
                         const struct frame_layout *layout,
                         const int32_t *factors, char *message, size_t size)
{
    const struct frame_plane *plane = &layout->planes[0];
    const uint8_t *pixel;
    uint32_t row, x;
    int ret;

    ret = need_row(writer, (size_t)layout->width * layout->height, message,
                   size);
    if (ret < 0) {
        return ret;
    }
    for (row = 0; row < layout->height; row++) {
        pixel = data + plane->offset + plane->stride * row;
        for (x = 0; x < layout->width; x++, pixel += 4) {
            /* In memory: B, G, R, and X or A */
            writer->row[(size_t)row * layout->width + x] = (uint8_t)
                ((factors[0] * pixel[2] + factors[1] * pixel[1] +
                  factors[2] * pixel[0] + factors[3] + 0x8000) >> 16);
        }
    }
    writer->bytes_copied += (uint64_t)layout->width * layout->height;
    return put(writer, writer->row, (size_t)layout->width * layout->height,
               message, size);
}

static int write_y4m(struct frame_writer *writer, const uint8_t *data,
                     const struct frame_layout *layout, char *message,
                     size_t size)
{
    const struct frame_layout *stream = &writer->stream;
    char header[128];
    uint32_t i;
    int len, ret;

    if (!writer->has_stream) {
        len = snprintf(header, sizeof(header),
                       "YUV4MPEG2 W%u H%u F%u:%u Ip A1:1 C%s\n",
                       layout->width, layout->height, layout->rate_numerator,
                       layout->rate_denominator, chroma_name(layout->fourcc));
        ret = put(writer, header, (size_t)len, message, size);
        if (ret < 0) {
            return ret;
        }
        writer->stream = *layout;
        writer->has_stream = true;
    } else if (layout->width != stream->width ||
               layout->height != stream->height ||
               strcmp(chroma_name(layout->fourcc),
                      chroma_name(stream->fourcc))) {
        return failed(-EINVAL, message, size, "the picture changed from %ux%u "
                      "to %ux%u, but a y4m file has one size and format: use "
                      "--format png, or an --output with %%d", stream->width,
                      stream->height, layout->width, layout->height);
    }
    ret = put(writer, "FRAME\n", 6, message, size);
    for (i = 0; i < 3 && ret == 0; i++) {
        if (frame_layout_is_yuv(layout)) {
            ret = put_plane(writer, data, &layout->planes[i], message, size);
        } else {
            ret = put_converted(writer, data, layout, rgb_to_yuv[i], message,
                                size);
        }
    }
    return ret;
}

struct png_job {
    char *message;
    size_t size;
};

static void png_failed(png_structp png, png_const_charp text)
{
    struct png_job *job = png_get_error_ptr(png);

    failed(0, job->message, job->size, "cannot write PNG: %s", text);
    longjmp(png_jmpbuf(png), 1);
}

static void png_warned(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void put_png(png_structp png, png_infop info, FILE *file,
                    const uint8_t *data, const struct frame_layout *layout)
{
    const struct frame_plane *plane = &layout->planes[0];
    bool alpha = layout->fourcc == DRM_FORMAT_ARGB8888;
    uint32_t row;

    png_init_io(png, file);
    png_set_user_limits(png, FRAME_SIDE_MAX, FRAME_SIDE_MAX);
    png_set_IHDR(png, info, layout->width, layout->height, 8,
                 alpha ? PNG_COLOR_TYPE_RGB_ALPHA : PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    /* Quick to write: another tool can make it smaller at leisure */
    png_set_compression_level(png, 1);
    png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_UP);
    png_write_info(png, info);
    png_set_bgr(png);
    if (!alpha) {
        png_set_filler(png, 0, PNG_FILLER_AFTER);
    }
    for (row = 0; row < layout->height; row++) {
        png_write_row(png, data + plane->offset + plane->stride * row);
    }
    png_write_end(png, NULL);
}

static int write_png(struct frame_writer *writer, const uint8_t *data,
                     const struct frame_layout *layout, char *message,
                     size_t size)
{
    struct png_job job = { message, size };
    png_structp png;
    png_infop info;

    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &job, png_failed,
                                  png_warned);
    info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_write_struct(&png, NULL);
        return failed(-ENOMEM, message, size, "out of memory");
    }
    if (setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        return -EIO;
    }
    put_png(png, info, writer->file, data, layout);
    png_destroy_write_struct(&png, &info);
    return 0;
}

static int write_picture(struct frame_writer *writer,
                         const struct vbuf_buffer *buffer,
                         const uint8_t *payload, uint64_t payload_size,
                         uint64_t number, char *message, size_t size)
{
    struct frame_layout layout;
    int ret;

    ret = frame_layout_read(buffer, payload_size, &layout, message, size);
    if (ret < 0) {
        return ret;
    }
    if (writer->format == FRAME_FORMAT_PNG && frame_layout_is_yuv(&layout)) {
        return failed(-EINVAL, message, size, "the picture is of format %s, "
                      "which PNG cannot hold: use --format y4m",
                      vbuf_buffer_property(buffer, "fourcc"));
    }
    ret = open_file(writer, number, message, size);
    if (ret < 0) {
        return ret;
    }
    return writer->format == FRAME_FORMAT_PNG ?
           write_png(writer, payload, &layout, message, size) :
           write_y4m(writer, payload, &layout, message, size);
}

int frame_writer_write(struct frame_writer *writer, uint64_t number,
                       const struct vbuf_buffer *buffer, const void *data,
                       const struct vbuf_frame *frame, char *message,
                       size_t size)
{
    const uint8_t *payload = (const uint8_t *)data + frame->data_offset;
    int ret;

    if (writer->format == FRAME_FORMAT_RAW) {
        ret = open_file(writer, number, message, size);
        if (ret == 0) {
            ret = put(writer, payload, (size_t)frame->data_size, message,
                      size);
        }
    } else {
        ret = write_picture(writer, buffer, payload, frame->data_size, number,
                            message, size);
    }
    if (ret == 0 && frame_writer_has_many_files(writer)) {
        ret = frame_writer_finish(writer);
        if (ret < 0) {
            failed(ret, message, size, "cannot write: %s", strerror(-ret));
        }
    }
    return ret;
}
