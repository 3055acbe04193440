/* A file that lines are appended to while the program runs: an access log, a trace. What cannot be written, on a full disk say,
 * is lost and never waited for; the log says so once when that begins, and once, with the number of lines, when it has ended. */
#pragma once

#include "base/err.h"

#include <stddef.h>

struct line_file;

/* Creates the file where there is none; "-" is stderr. The words name the path. */
status line_file_open(const char *path, struct line_file **out, struct err *e);
void line_file_close(struct line_file *f); /* NULL is fine */
/* Opens the path anew, for who has renamed the file: lines go there from now on. On a fault the old one stays. Any thread. */
status line_file_reopen(struct line_file *f, struct err *e);
/* Appends whole lines, the last with its newline, by one write where the system takes them so. Any thread. */
void line_file_put(struct line_file *f, const void *lines, size_t size);
