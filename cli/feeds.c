#include "feeds.h"

#include "base/limits.h"
#include "codec/prototxt.h"

#include <stdio.h>
#include <string.h>

#define CONF_NAME "serving_client_conf.prototxt"

struct name_pair {
    struct str name, alias;
};

struct names {
    struct name_pair *pair;
    int count;
};

static struct name_pair pair_of(const struct prototxt *feed_var)
{
    struct name_pair p = { 0 };
    for (const struct prototxt *f = feed_var->child; f != NULL; f = f->next) {
        if (str_is(f->name, "name"))
            p.name = f->text;
        else if (str_is(f->name, "alias_name"))
            p.alias = f->text;
    }
    return p.alias.n != 0 ? p : (struct name_pair){ p.name, p.name };
}

static void names_add(struct names *n, struct name_pair p, struct arena *a)
{
    struct name_pair *grown = arena_alloc(a, ((size_t)n->count + 1) * sizeof(*grown));
    if (n->count > 0)
        memcpy(grown, n->pair, (size_t)n->count * sizeof(*grown));
    grown[n->count] = p;
    *n = (struct names){ grown, n->count + 1 };
}

static status read_conf(const char *path, struct arena *a, struct names *out, struct err *e)
{
    struct file_map *map;
    struct prototxt *top;
    TRY(file_map_open(path, LIMIT_CONFIG_BYTES, &map, e));
    char *text = arena_strndup(a, (const char *)file_map_data(map), file_map_size(map));
    struct str bytes = { text, file_map_size(map) };
    file_map_unref(map);
    TRY(prototxt_parse(bytes, path, a, &top, e));
    for (const struct prototxt *f = top; f != NULL; f = f->next)
        if (str_is(f->name, "feed_var") && f->is_message && out->count < LIMIT_REQUEST_TENSORS)
            names_add(out, pair_of(f), a);
    return OK;
}

/* The configuration to read, or NULL: that of --client-conf, else one beside the arrays. */
static const char *conf_path(const struct feeds_args *args, struct arena *a)
{
    const char *asked = args->client_conf;
    if (asked != NULL)
        return file_is_dir(asked) ? arena_printf(a, "%s/" CONF_NAME, asked) : asked;
    const char *slash = strrchr(args->in, '/');
    int n = slash != NULL ? (int)(slash - args->in) + 1 : 0;
    const char *beside = arena_printf(a, "%.*s" CONF_NAME, n, args->in);
    return file_exists(beside) ? beside : NULL;
}

static status known_names(const struct feeds_args *args, struct arena *a, struct names *out,
                          struct err *e)
{
    for (int i = 0; i < args->feed_names.count; i++) {
        struct str name = str_of(args->feed_names.word[i]);
        names_add(out, (struct name_pair){ name, name }, a);
    }
    const char *path = out->count == 0 ? conf_path(args, a) : NULL;
    return path != NULL ? read_conf(path, a, out, e) : OK;
}

/* The model's name for an array: itself, unless it is an alias or inN and the names are known. */
static struct name_pair resolve(const struct names *names, struct str array)
{
    int index = arrays_index(array);
    for (int i = 0; i < names->count; i++)
        if (str_eq(names->pair[i].name, array) || str_eq(names->pair[i].alias, array))
            return names->pair[i];
    if (index >= 0 && index < names->count)
        return names->pair[index];
    return (struct name_pair){ array, array };
}

static status fill(const struct feeds_args *args, const struct names *names,
                   const struct arrays *file, struct arena *a, struct infer_request *out,
                   struct err *e)
{
    out->feed = arena_zalloc(a, (size_t)file->npz.count * sizeof(*out->feed));
    for (int i = 0; i < file->npz.count; i++) {
        struct str array = file->npz.array[i].name;
        if (arrays_is_lod(file, array))
            continue;
        struct name_pair p = resolve(names, array);
        struct named_tensor *t = &out->feed[out->feed_count++];
        *t = (struct named_tensor){ .name = p.name, .alias = p.alias };
        TRY(arrays_get(file, array, a, &t->tensor, e));
    }
    out->fetch = arena_zalloc(a, (size_t)args->fetch.count * sizeof(*out->fetch));
    for (int i = 0; i < args->fetch.count; i++)
        out->fetch[out->fetch_count++] = str_of(args->fetch.word[i]);
    return OK;
}

status feeds_open(const struct feeds_args *args, struct arena *a, struct arrays *file,
                  struct infer_request *out, struct err *e)
{
    struct names names = { 0 };
    *out = (struct infer_request){ 0 };
    TRY(known_names(args, a, &names, e));
    TRY(arrays_open(args->in, a, file, e));
    status s = fill(args, &names, file, a, out, e);
    if (s != OK)
        arrays_close(file);
    return s;
}

const char *feeds_protocol(const char *protocol, const char *encoding)
{
    if (strcmp(encoding, "json") != 0)
        return protocol;
    if (strcmp(protocol, "http") == 0)
        return "http-json";
    return strcmp(protocol, "kserve-http") == 0 ? "kserve-http-json" : protocol;
}
