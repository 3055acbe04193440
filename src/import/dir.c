#include "import/dir.h"

#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_TOLD 12

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int count_entries(DIR *d)
{
    int n = 0;
    while (n < DIR_ENTRIES_MAX && readdir(d) != NULL)
        n++;
    rewinddir(d);
    return n;
}

status dir_read(const char *path, struct arena *a, struct dir_list *out, struct err *e)
{
    DIR *d = opendir(path);
    if (d == NULL)
        return err_set(e, errno == ENOENT ? NOT_FOUND : IO_FAILED, "%s: %s", path, strerror(errno));
    int max = count_entries(d);
    *out = (struct dir_list){ .name = arena_zalloc(a, (size_t)(max + 1) * sizeof(char *)) };
    for (struct dirent *entry; out->count < max && (entry = readdir(d)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            out->name[out->count++] = arena_strndup(a, entry->d_name, strlen(entry->d_name));
    closedir(d);
    qsort(out->name, (size_t)out->count, sizeof(char *), by_name);
    return OK;
}

const char *dir_text(const struct dir_list *l, struct arena *a)
{
    const char *text = l->count > 0 ? l->name[0] : "nothing";
    int told = l->count < NAMES_TOLD ? l->count : NAMES_TOLD;
    for (int i = 1; i < told; i++)
        text = arena_printf(a, "%s, %s", text, l->name[i]);
    return told < l->count ? arena_printf(a, "%s and %d more", text, l->count - told) : text;
}

const char *dir_of(const char *path, struct arena *a)
{
    if (file_is_dir(path))
        return path;
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return ".";
    return slash == path ? "/" : arena_strndup(a, path, (size_t)(slash - path));
}
