#include "client/remote.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

#define KEY_MAX ((size_t)4096)

static status take_key(struct str key, char **out, struct err *e)
{
    static const char scheme[] = "Bearer ";
    key = str_trim(key);
    if (key.n == 0 || key.n > KEY_MAX)
        return err_set(e, INVALID, "the API key has %zu bytes; expected 1 to %zu", key.n, KEY_MAX);
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return err_set(e, INVALID, "the API key holds a byte that no header may have");
    char *text = mem_alloc(sizeof(scheme) + key.n);
    memcpy(text, scheme, sizeof(scheme) - 1);
    memcpy(text + sizeof(scheme) - 1, key.p, key.n);
    text[sizeof(scheme) - 1 + key.n] = '\0';
    *out = text;
    return OK;
}

static status read_key(const char *path, char **out, struct err *e)
{
    struct file_map *map;
    struct str line;
    TRY(file_map_open(path, (size_t)1 << 20, &map, e));
    struct str text = { (const char *)file_map_data(map), file_map_size(map) };
    str_cut(&text, '\n', &line);
    status s = take_key(line, out, e);
    file_map_unref(map);
    return s == OK ? OK : err_prefix(e, s, "%s: ", path);
}

status remote_open(const struct remote *r, struct remote_link *out, struct err *e)
{
    const struct net_tls_client_options *f = &r->files;
    *out = (struct remote_link){ NULL, NULL };
    if (f->key != NULL && f->cert == NULL)
        return err_set(e, INVALID, "a TLS key wants its certificate too");
    if (r->api_key != NULL && r->api_key[0] == '@')
        TRY(read_key(r->api_key + 1, &out->authorization, e));
    else if (r->api_key != NULL)
        TRY(take_key(str_of(r->api_key), &out->authorization, e));
    if (!r->tls && f->ca == NULL && f->cert == NULL && !f->insecure)
        return OK;
    status s = net_tls_open_client(f, &out->tls, e);
    if (s != OK)
        remote_close(out);
    return s;
}

void remote_close(struct remote_link *l)
{
    net_tls_close(l->tls);
    mem_free(l->authorization);
    *l = (struct remote_link){ NULL, NULL };
}
