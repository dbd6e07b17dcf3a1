/* SPDX-License-Identifier: MIT */
/*
 * Reading PNG pictures, through libpng.
 *
 * A picture is hostile: sides and chunks are bounded before libpng allocates
 * anything for them. libpng reports errors with longjmp(): each function here
 * that calls it sets its own target, and keeps what must survive in the struct.
 */
#include "picture.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <drm_fourcc.h>
#include <png.h>

#define MAX_CHUNK_BYTES     (8 * 1024 * 1024)
#define MAX_CHUNKS          64

struct picture {
    png_structp png;
    png_infop info;
    struct frame_format format;
    png_bytep *rows;
    char error[256];
};

static void on_error(png_structp png, png_const_charp text)
{
    struct picture *picture = png_get_error_ptr(png);

    snprintf(picture->error, sizeof(picture->error), "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    /* odd metadata; the pixels are all right */
    (void)png;
    (void)text;
}

/* Everything becomes 8-bit B, G, R and X or A */
static void set_transforms(png_structp png, bool alpha)
{
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    png_set_bgr(png);
    if (!alpha) {
        png_set_filler(png, 0xff, PNG_FILLER_AFTER);
    }
    png_set_interlace_handling(png);
}

/* Returns 0 or -1 and picture->error */
static int read_header(struct picture *picture, FILE *file)
{
    uint32_t width, height;
    bool alpha;

    if (setjmp(png_jmpbuf(picture->png))) {
        return -1;
    }
    png_init_io(picture->png, file);
    png_set_sig_bytes(picture->png, PICTURE_MAGIC_SIZE);
    png_set_user_limits(picture->png, FRAME_MAX_SIDE, FRAME_MAX_SIDE);
    png_set_chunk_malloc_max(picture->png, MAX_CHUNK_BYTES);
    png_set_chunk_cache_max(picture->png, MAX_CHUNKS);
    png_read_info(picture->png, picture->info);
    width = png_get_image_width(picture->png, picture->info);
    height = png_get_image_height(picture->png, picture->info);
    alpha = (png_get_color_type(picture->png, picture->info) &
             PNG_COLOR_MASK_ALPHA) ||
            png_get_valid(picture->png, picture->info, PNG_INFO_tRNS);
    set_transforms(picture->png, alpha);
    png_read_update_info(picture->png, picture->info);
    if (!frame_format_init(&picture->format, alpha ? DRM_FORMAT_ARGB8888 :
                           DRM_FORMAT_XRGB8888, width, height) ||
        png_get_rowbytes(picture->png, picture->info) != width * 4) {
        png_error(picture->png, "a picture of this kind cannot be played");
    }
    return 0;
}

struct picture *picture_open(FILE *file, char *message, size_t size)
{
    struct picture *picture = calloc(1, sizeof(*picture));

    if (!picture) {
        snprintf(message, size, "out of memory");
        return NULL;
    }
    picture->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, picture,
                                          on_error, on_warning);
    picture->info = picture->png ? png_create_info_struct(picture->png) : NULL;
    if (!picture->info) {
        snprintf(message, size, "libpng is out of memory");
    } else if (read_header(picture, file) < 0) {
        snprintf(message, size, "%s", picture->error);
    } else {
        return picture;
    }
    picture_close(picture);
    return NULL;
}

const struct frame_format *picture_format(const struct picture *picture)
{
    return &picture->format;
}

/* Returns 0 or -1 and picture->error */
static int read_rows(struct picture *picture)
{
    if (setjmp(png_jmpbuf(picture->png))) {
        return -1;
    }
    png_read_image(picture->png, picture->rows);
    png_read_end(picture->png, NULL);
    return 0;
}

int picture_read(struct picture *picture, uint8_t *pixels, char *message,
                 size_t size)
{
    const struct frame_plane *plane = &picture->format.planes[0];

    free(picture->rows);
    picture->rows = calloc(plane->rows, sizeof(*picture->rows));
    if (!picture->rows) {
        snprintf(message, size, "out of memory");
        return -1;
    }
    for (uint32_t i = 0; i < plane->rows; i++) {
        picture->rows[i] = pixels + (uint64_t)i * plane->stride;
    }
    if (read_rows(picture) < 0) {
        snprintf(message, size, "%s", picture->error);
        return -1;
    }
    return 0;
}

void picture_close(struct picture *picture)
{
    if (!picture) {
        return;
    }
    if (picture->png) {
        png_destroy_read_struct(&picture->png, &picture->info, NULL);
    }
    free(picture->rows);
    free(picture);
}
