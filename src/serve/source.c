#include "serve/source.h"

#include "base/mem.h"
#include "codec/json.h"
#include "serve/curl_library.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LIST_BYTES_MAX ((size_t)16 << 20)
#define FILES_MAX      100000
#define TIMEOUT_S      3600
#define CONNECT_S      10

/* ---- rows ---- */

struct source;

struct source_row {
    const char *type;
    bool (*takes)(const struct source_options *o);
    status (*stamp)(struct source *s, const char *path, struct arena *a, const char **out,
                    struct err *e);
    status (*list)(struct source *s, const char *path, struct arena *a, struct source_file **out,
                   int *count, struct err *e);
    status (*fetch)(struct source *s, const char *path, const char *to, struct err *e);
};

struct source {
    struct source_options options;
    const struct source_row *row;
    struct curl_library library;
    CURL *curl; /* NULL for a directory */
};

static bool is_safe_name(struct str name)
{
    if (name.n == 0 || name.n > 255 || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == '/' || (unsigned char)name.p[i] < ' ')
            return false;
    return true;
}

struct listing {
    struct arena *arena;
    struct source_file *file;
    int count, room;
};

/* Names come from the other side: those that lead elsewhere are left out. */
static void add_file(struct listing *l, struct str name, bool is_dir)
{
    if (!is_safe_name(name) || l->count == FILES_MAX)
        return;
    for (int i = 0; i < l->count; i++)
        if (str_is(name, l->file[i].name))
            return;
    if (l->count == l->room) {
        struct source_file *more =
            arena_zalloc(l->arena, (size_t)(l->room * 2 + 16) * sizeof(*more));
        if (l->count > 0)
            memcpy(more, l->file, (size_t)l->count * sizeof(*more));
        l->file = more;
        l->room = l->room * 2 + 16;
    }
    l->file[l->count++] = (struct source_file){ arena_strndup(l->arena, name.p, name.n), is_dir };
}

/* ---- a directory of this machine ---- */

static bool takes_dir(const struct source_options *o)
{
    return strstr(o->host, "://") == NULL;
}

static const char *local_path(const struct source *s, const char *path, struct arena *a)
{
    return arena_printf(a, "%s/%s", s->options.host, path);
}

static status stamp_dir(struct source *s, const char *path, struct arena *a, const char **out,
                        struct err *e)
{
    struct stat st;
    const char *full = local_path(s, path, a);
    if (stat(full, &st) != 0)
        return err_set(e, errno == ENOENT ? NOT_FOUND : IO_FAILED, "%s: %s", full, strerror(errno));
    *out = arena_printf(a, "%lld.%09ld %lld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                        (long long)st.st_size);
    return OK;
}

static status list_dir(struct source *s, const char *path, struct arena *a,
                       struct source_file **out, int *count, struct err *e)
{
    const char *full = local_path(s, path, a);
    struct listing l = { .arena = a };
    DIR *d = opendir(full);
    if (d == NULL)
        return err_set(e, errno == ENOTDIR ? UNSUPPORTED : IO_FAILED, "%s: %s", full,
                       strerror(errno));
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        struct stat st;
        if (fstatat(dirfd(d), f->d_name, &st, 0) == 0)
            add_file(&l, str_of(f->d_name), S_ISDIR(st.st_mode));
    }
    closedir(d);
    *out = l.file;
    *count = l.count;
    return OK;
}

static status copy_stream(FILE *from, FILE *to, const char *path, struct err *e)
{
    char bytes[65536];
    size_t n;
    while ((n = fread(bytes, 1, sizeof(bytes), from)) > 0)
        if (fwrite(bytes, 1, n, to) != n)
            return err_set(e, IO_FAILED, "%s: %s", path, strerror(errno));
    return ferror(from) ? err_set(e, IO_FAILED, "%s: reading failed", path) : OK;
}

static status fetch_dir(struct source *s, const char *path, const char *to, struct err *e)
{
    struct arena a;
    arena_init(&a, 0);
    const char *full = local_path(s, path, &a);
    FILE *in = fopen(full, "rb"), *out = in != NULL ? fopen(to, "wb") : NULL;
    status code = out != NULL
                      ? copy_stream(in, out, to, e)
                      : err_set(e, IO_FAILED, "%s: %s", in != NULL ? to : full, strerror(errno));
    if (in != NULL)
        fclose(in);
    if (out != NULL && fclose(out) != 0 && code == OK)
        code = err_set(e, IO_FAILED, "%s: %s", to, strerror(errno));
    arena_deinit(&a);
    return code;
}

/* ---- libcurl ---- */

static size_t into_buf(char *p, size_t size, size_t n, void *arg)
{
    struct buf *b = arg;
    buf_append(b, p, size * n);
    return buf_check(b) == OK ? size * n : 0;
}

static size_t into_file(char *p, size_t size, size_t n, void *arg)
{
    return fwrite(p, size, n, arg);
}

static void begin(struct source *s, const char *url)
{
    const struct curl_library *lib = &s->library;
    CURL *c = s->curl;
    lib->easy_reset(c);
    lib->easy_setopt(c, CURLOPT_URL, url);
    lib->easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    lib->easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L); /* WebHDFS sends one on to a data node */
    lib->easy_setopt(c, CURLOPT_MAXREDIRS, 5L);
    lib->easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    lib->easy_setopt(c, CURLOPT_FILETIME, 1L);
    lib->easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https,ftp,ftps");
    lib->easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    lib->easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    lib->easy_setopt(c, CURLOPT_TIMEOUT, (long)s->options.timeout_s);
    if (s->options.user != NULL && s->options.user[0] != '\0' &&
        strcmp(s->row->type, "hdfs") != 0) {
        lib->easy_setopt(c, CURLOPT_USERNAME, s->options.user);
        lib->easy_setopt(c, CURLOPT_PASSWORD,
                         s->options.password != NULL ? s->options.password : "");
    }
}

static status perform(struct source *s, const char *url, struct err *e)
{
    CURLcode code = s->library.easy_perform(s->curl);
    long answer = 0;
    if (code == CURLE_OK)
        return OK;
    s->library.easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &answer);
    bool missing = code == CURLE_REMOTE_FILE_NOT_FOUND || answer == 404 || answer == 550;
    return err_set(e, missing ? NOT_FOUND : IO_FAILED, "%s: %s%s%.0ld", url,
                   s->library.easy_strerror(code), answer > 0 ? ", the server says " : "", answer);
}

static status get(struct source *s, const char *url, struct buf *out, struct err *e)
{
    begin(s, url);
    s->library.easy_setopt(s->curl, CURLOPT_WRITEFUNCTION, into_buf);
    s->library.easy_setopt(s->curl, CURLOPT_WRITEDATA, out);
    return perform(s, url, e);
}

static status get_file(struct source *s, const char *url, const char *to, struct err *e)
{
    FILE *out = fopen(to, "wb");
    if (out == NULL)
        return err_set(e, IO_FAILED, "%s: %s", to, strerror(errno));
    begin(s, url);
    s->library.easy_setopt(s->curl, CURLOPT_WRITEFUNCTION, into_file);
    s->library.easy_setopt(s->curl, CURLOPT_WRITEDATA, out);
    status code = perform(s, url, e);
    if (fclose(out) != 0 && code == OK)
        code = err_set(e, IO_FAILED, "%s: %s", to, strerror(errno));
    return code;
}

/* Headers that libcurl makes up for FTP, and would print. */
static size_t into_nothing(char *p, size_t size, size_t n, void *arg)
{
    return size * n;
}

/* The time that the server gives the file; where it gives none, what it calls its size. */
static status stamp_url(struct source *s, const char *url, struct arena *a, const char **out,
                        struct err *e)
{
    curl_off_t time = -1, size = -1;
    begin(s, url);
    s->library.easy_setopt(s->curl, CURLOPT_NOBODY, 1L);
    s->library.easy_setopt(s->curl, CURLOPT_WRITEFUNCTION, into_nothing);
    TRY(perform(s, url, e));
    s->library.easy_getinfo(s->curl, CURLINFO_FILETIME_T, &time);
    s->library.easy_getinfo(s->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &size);
    *out = arena_printf(a, "%lld %lld", (long long)time, (long long)size);
    return OK;
}

/* Every part of the path as URLs want it. */
static const char *escaped(struct source *s, const char *path, struct arena *a)
{
    struct str rest = str_of(path), part;
    const char *out = "";
    for (bool more = true; more;) {
        more = str_cut(&rest, '/', &part);
        if (part.n == 0)
            continue;
        char *text = s->library.easy_escape(s->curl, part.p, (int)part.n);
        out = arena_printf(a, "%s/%s", out, text != NULL ? text : "");
        s->library.free(text);
    }
    return out;
}

/* ---- HTTP: a directory is its index page, as servers of files show it ---- */

static bool takes_http(const struct source_options *o)
{
    return strncmp(o->host, "http://", 7) == 0 || strncmp(o->host, "https://", 8) == 0;
}

static const char *http_url(struct source *s, const char *path, struct arena *a)
{
    size_t n = strlen(s->options.host);
    while (n > 0 && s->options.host[n - 1] == '/')
        n--;
    return arena_printf(a, "%.*s%s", (int)n, s->options.host, escaped(s, path, a));
}

static status stamp_http(struct source *s, const char *path, struct arena *a, const char **out,
                         struct err *e)
{
    return stamp_url(s, http_url(s, path, a), a, out, e);
}

static void take_links(struct source *s, const char *page, struct listing *l)
{
    for (const char *p = page; (p = strstr(p, "href=\"")) != NULL;) {
        p += 6;
        const char *end = strchr(p, '"');
        if (end == NULL)
            return;
        size_t n = (size_t)(end - p);
        bool is_dir = n > 0 && p[n - 1] == '/';
        int length = 0;
        char *name = s->library.easy_unescape(s->curl, p, (int)(is_dir ? n - 1 : n), &length);
        if (name != NULL && strpbrk(name, "?#:") == NULL)
            add_file(l, (struct str){ name, (size_t)length }, is_dir);
        s->library.free(name);
        p = end;
    }
}

static status list_http(struct source *s, const char *path, struct arena *a,
                        struct source_file **out, int *count, struct err *e)
{
    struct listing l = { .arena = a };
    struct buf page;
    char *type = NULL;
    buf_init(&page, LIST_BYTES_MAX);
    status code = get(s, arena_printf(a, "%s/", http_url(s, path, a)), &page, e);
    if (code == OK)
        s->library.easy_getinfo(s->curl, CURLINFO_CONTENT_TYPE, &type);
    if (code == OK && (type == NULL || strncmp(type, "text/html", 9) != 0))
        code = err_set(e, UNSUPPORTED, "%s: no page that lists files", path);
    buf_byte(&page, 0);
    if (code == OK && buf_check(&page) == OK)
        take_links(s, (const char *)page.data, &l);
    buf_deinit(&page);
    *out = l.file;
    *count = l.count;
    return code;
}

static status fetch_http(struct source *s, const char *path, const char *to, struct err *e)
{
    struct arena a;
    arena_init(&a, 0);
    status code = get_file(s, http_url(s, path, &a), to, e);
    arena_deinit(&a);
    return code;
}

/* ---- FTP ---- */

static bool takes_any(const struct source_options *o)
{
    return true;
}

static const char *ftp_url(struct source *s, const char *path, struct arena *a)
{
    const char *host = s->options.host;
    if (strncmp(host, "ftp://", 6) == 0)
        host += 6;
    return arena_printf(a, "ftp://%s:%d%s", host, s->options.port > 0 ? s->options.port : 21,
                        escaped(s, path, a));
}

static status stamp_ftp(struct source *s, const char *path, struct arena *a, const char **out,
                        struct err *e)
{
    return stamp_url(s, ftp_url(s, path, a), a, out, e);
}

static bool is_number(struct str s)
{
    int64_t n;
    return str_to_i64(s, &n);
}

/* "17:58", "05:58PM", "2026" */
static bool is_time(struct str s)
{
    return memchr(s.p, ':', s.n) != NULL || (s.n == 4 && is_number(s));
}

/* The words before the name end with a date: "Nov 26 17:58", "Nov 26 2026", "2026-11-26 17:58"; behind DOS's "11-26-26 05:58PM"
 * stands a size or "<DIR>". */
static bool ends_date(const struct str word[3], int count)
{
    bool dos = count == 3 && memchr(word[1].p, ':', word[1].n) != NULL && word[0].p[0] >= '0' &&
               word[0].p[0] <= '9';
    bool iso = count > 3 && word[1].n == 10 && word[1].p[4] == '-' && is_time(word[2]);
    return dos || iso ||
           (count > 4 && word[0].n >= 3 && !is_number(word[0]) && is_number(word[1]) &&
            is_time(word[2]));
}

/* A line of LIST as Unix or DOS servers write it. false: it is none of a file ("total 12"). */
static bool read_line(struct str line, struct str *name, bool *is_dir)
{
    struct str rest = line, word[3] = { { "", 0 }, { "", 0 }, { "", 0 } };
    for (int count = 1; rest.n > 0; count++) {
        while (rest.n > 0 && rest.p[0] == ' ')
            rest = (struct str){ rest.p + 1, rest.n - 1 };
        word[0] = word[1];
        word[1] = word[2];
        str_cut(&rest, ' ', &word[2]);
        if (!ends_date(word, count))
            continue;
        *is_dir = line.p[0] == 'd' || str_is(word[2], "<DIR>");
        *name = str_is(word[2], "<DIR>") || line.p[0] < 'A' ? str_trim(rest) : rest;
        for (size_t i = 0; line.p[0] == 'l' && i + 4 < name->n; i++)
            if (memcmp(name->p + i, " -> ", 4) == 0)
                name->n = i;
        return true;
    }
    return false;
}

static status list_ftp(struct source *s, const char *path, struct arena *a,
                       struct source_file **out, int *count, struct err *e)
{
    struct listing l = { .arena = a };
    struct buf text;
    buf_init(&text, LIST_BYTES_MAX);
    status code = get(s, arena_printf(a, "%s/", ftp_url(s, path, a)), &text, e);
    struct str rest = buf_view(&text), line, name;
    for (bool more = code == OK, is_dir; more;) {
        more = str_cut(&rest, '\n', &line);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (read_line(line, &name, &is_dir))
            add_file(&l, name, is_dir);
    }
    buf_deinit(&text);
    *out = l.file;
    *count = l.count;
    return code;
}

static status fetch_ftp(struct source *s, const char *path, const char *to, struct err *e)
{
    struct arena a;
    arena_init(&a, 0);
    status code = get_file(s, ftp_url(s, path, &a), to, e);
    arena_deinit(&a);
    return code;
}

/* ---- WebHDFS: JSON over HTTP ---- */

static const char *hdfs_url(struct source *s, const char *path, const char *op, struct arena *a)
{
    const char *user =
        s->options.user != NULL && s->options.user[0] != '\0' ? s->options.user : NULL;
    char *name = user != NULL ? s->library.easy_escape(s->curl, user, 0) : NULL;
    const char *url =
        arena_printf(a, "%s/webhdfs/v1%s?op=%s%s%s", s->options.host, escaped(s, path, a), op,
                     name != NULL ? "&user.name=" : "", name != NULL ? name : "");
    s->library.free(name);
    return url;
}

struct hdfs_status {
    struct str name;
    int64_t time, length;
    bool is_dir;
};

static void read_status(struct json *j, struct hdfs_status *st)
{
    struct str key;
    json_object(j);
    while (json_key(j, &key)) {
        if (str_is(key, "pathSuffix"))
            st->name = json_string(j);
        else if (str_is(key, "modificationTime"))
            st->time = json_i64(j);
        else if (str_is(key, "length"))
            st->length = json_i64(j);
        else if (str_is(key, "type"))
            st->is_dir = str_is(json_string(j), "DIRECTORY");
        else
            json_skip(j);
    }
}

static status stamp_hdfs(struct source *s, const char *path, struct arena *a, const char **out,
                         struct err *e)
{
    struct buf text;
    struct json j;
    struct str key;
    struct hdfs_status st = { 0 };
    buf_init(&text, LIST_BYTES_MAX);
    status code = get(s, hdfs_url(s, path, "GETFILESTATUS", a), &text, e);
    if (code == OK) {
        json_init(&j, buf_view(&text), a);
        json_object(&j);
        while (json_key(&j, &key))
            if (str_is(key, "FileStatus"))
                read_status(&j, &st);
            else
                json_skip(&j);
        code = json_end(&j, e);
    }
    if (code == OK)
        *out = arena_printf(a, "%lld %lld", (long long)st.time, (long long)st.length);
    buf_deinit(&text);
    return code;
}

static void read_statuses(struct json *j, struct listing *l, bool *is_file)
{
    struct str key;
    json_object(j);
    while (json_key(j, &key)) {
        if (!str_is(key, "FileStatus")) {
            json_skip(j);
            continue;
        }
        json_array(j);
        while (json_item(j)) {
            struct hdfs_status st = { 0 };
            read_status(j, &st);
            *is_file = *is_file || st.name.n == 0; /* a file lists itself, without a name */
            add_file(l, st.name, st.is_dir);
        }
    }
}

static status list_hdfs(struct source *s, const char *path, struct arena *a,
                        struct source_file **out, int *count, struct err *e)
{
    struct listing l = { .arena = a };
    struct buf text;
    struct json j;
    struct str key;
    bool is_file = false;
    buf_init(&text, LIST_BYTES_MAX);
    status code = get(s, hdfs_url(s, path, "LISTSTATUS", a), &text, e);
    if (code == OK) {
        json_init(&j, buf_view(&text), a);
        json_object(&j);
        while (json_key(&j, &key))
            if (str_is(key, "FileStatuses"))
                read_statuses(&j, &l, &is_file);
            else
                json_skip(&j);
        code = json_end(&j, e);
    }
    if (code == OK && is_file)
        code = err_set(e, UNSUPPORTED, "%s is a file", path);
    buf_deinit(&text);
    *out = l.file;
    *count = l.count;
    return code;
}

static status fetch_hdfs(struct source *s, const char *path, const char *to, struct err *e)
{
    struct arena a;
    arena_init(&a, 0);
    status code = get_file(s, hdfs_url(s, path, "OPEN", &a), to, e);
    arena_deinit(&a);
    return code;
}

// clang-format off
static const struct source_row rows[] = {
    { "general", takes_http, stamp_http, list_http, fetch_http },
    { "general", takes_dir,  stamp_dir,  list_dir,  fetch_dir },
    { "ftp",     takes_any,  stamp_ftp,  list_ftp,  fetch_ftp },
    { "hdfs",    takes_http, stamp_hdfs, list_hdfs, fetch_hdfs },
    { "afs",     takes_http, stamp_hdfs, list_hdfs, fetch_hdfs },
};
// clang-format on

/* ---- life ---- */

static status open_curl(struct source *s, struct err *e)
{
    TRY(curl_library_load(&s->library, e));
    s->curl = s->library.easy_init();
    return s->curl != NULL ? OK : err_set(e, IO_FAILED, "libcurl does not start");
}

status source_open(const struct source_options *opt, struct source **out, struct err *e)
{
    const struct source_row *row = NULL;
    for (size_t i = 0; i < ARRAY_LEN(rows) && row == NULL; i++)
        if (strcmp(rows[i].type, opt->type) == 0 && opt->host != NULL && rows[i].takes(opt))
            row = &rows[i];
    if (row == NULL)
        return err_set(e, INVALID,
                       "no source of type '%s' at '%s'; WebHDFS is an address http://HOST:PORT",
                       opt->type, opt->host != NULL ? opt->host : "");
    struct source *s = mem_zalloc(sizeof(*s));
    s->options = *opt;
    s->row = row;
    if (s->options.timeout_s <= 0)
        s->options.timeout_s = TIMEOUT_S;
    status code = row->takes == takes_dir ? OK : open_curl(s, e);
    if (code != OK)
        mem_free(s);
    else
        *out = s;
    return code;
}

void source_close(struct source *s)
{
    if (s == NULL)
        return;
    if (s->curl != NULL)
        s->library.easy_cleanup(s->curl);
    mem_free(s);
}

status source_stamp(struct source *s, const char *path, struct arena *a, const char **out,
                    struct err *e)
{
    return s->row->stamp(s, path, a, out, e);
}

status source_list(struct source *s, const char *path, struct arena *a, struct source_file **out,
                   int *count, struct err *e)
{
    return s->row->list(s, path, a, out, count, e);
}

status source_fetch(struct source *s, const char *path, const char *to, struct err *e)
{
    return s->row->fetch(s, path, to, e);
}
