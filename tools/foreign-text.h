/* SPDX-License-Identifier: MIT */
#ifndef FOREIGN_TEXT_H
#define FOREIGN_TEXT_H

#include <stdio.h>

/* Prints a text as a JSON string, with quotes */
void print_json_string(FILE *file, const char *text);

/* Prints a text for a terminal: control characters escaped */
void print_safe(FILE *file, const char *text);

#endif /* FOREIGN_TEXT_H */
