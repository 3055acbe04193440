/* Where a model's files come from before they are a directory here: a row each for a local directory, HTTP(S), FTP and
 * WebHDFS. One thread; a source belongs to its user. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

struct source;

struct source_options {
    /* "general" (an http:// or https:// address, or a directory), "ftp", "hdfs", "afs" */
    const char *type;
    /* general: the address or directory that paths begin at; ftp: the host; hdfs: http://host:port */
    const char *host;
    int port;                    /* ftp; 0: 21 */
    const char *user, *password; /* hdfs: user.name is user */
    int timeout_s;               /* of one file; 0: 3600 */
};

struct source_file {
    const char *name; /* below the path that was listed, without slashes */
    bool is_dir;
};

status source_open(const struct source_options *opt, struct source **out, struct err *e);
void source_close(struct source *s); /* NULL is fine */

/* What tells that the file at path was written again (its time), as text in the arena. NOT_FOUND: there is none. */
status source_stamp(struct source *s, const char *path, struct arena *a, const char **out,
                    struct err *e);
/* Whether path is a directory, and what lies in it. */
status source_list(struct source *s, const char *path, struct arena *a, struct source_file **out,
                   int *count, struct err *e);
/* Writes the file at path to `to`. */
status source_fetch(struct source *s, const char *path, const char *to, struct err *e);
