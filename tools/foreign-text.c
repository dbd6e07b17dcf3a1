/* SPDX-License-Identifier: MIT */
/*
 * Printing texts that somebody else has chosen: they cannot do anything to a
 * terminal or to a reader of JSON.
 */
#include "foreign-text.h"

void print_json_string(FILE *file, const char *text)
{
    const char *c;

    fputc('"', file);
    for (c = text; *c; c++) {
        if (*c == '"' || *c == '\\') {
            fprintf(file, "\\%c", *c);
        } else if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            fprintf(file, "\\u%04x", (unsigned char)*c);
        } else {
            fputc(*c, file);
        }
    }
    fputc('"', file);
}

void print_safe(FILE *file, const char *text)
{
    const unsigned char *c = (const unsigned char *)text;

    for (; *c; c++) {
        if (*c < 0x20 || *c == 0x7f) {
            fprintf(file, "\\x%02x", *c);
        } else if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) {
            /* U+0080 to U+009F are control characters as well */
            fprintf(file, "\\u%04x", c[1]);
            c++;
        } else {
            fputc(*c, file);
        }
    }
}
