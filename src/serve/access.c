#include "serve/access.h"

#include "base/file.h"
#include "base/mem.h"
#include "serve/internal.h"

#define KEYS_FILE_BYTES ((size_t)1 << 20)

static const char *const group_names[ACCESS_GROUPS] = {
    [ACCESS_INFER] = "infer",     [ACCESS_HEALTH] = "health", [ACCESS_METADATA] = "metadata",
    [ACCESS_METRICS] = "metrics", [ACCESS_ADMIN] = "admin",
};

struct key {
    unsigned groups; /* bits */
    struct str text;
};

struct keys {
    struct arena arena;
    unsigned wanted; /* groups that any key is for */
    struct key *key;
    int count;
};

/* ---- the file ---- */

static bool read_groups(struct str names, unsigned *groups)
{
    struct str name;
    for (bool more = true; more;) {
        more = str_cut(&names, ',', &name);
        name = str_trim(name);
        unsigned bit = str_is(name, "all") ? (1u << ACCESS_GROUPS) - 1 : 0;
        for (int g = 0; g < ACCESS_GROUPS; g++)
            bit |= str_is(name, group_names[g]) ? 1u << g : 0;
        if (bit == 0)
            return false;
        *groups |= bit;
    }
    return true;
}

static status read_line(struct keys *k, struct str line, const char *path, int number,
                        struct err *e)
{
    struct key *key = &k->key[k->count];
    struct str groups;
    line = str_trim(line);
    if (line.n == 0 || line.p[0] == '#')
        return OK;
    if (!str_cut(&line, ' ', &groups) || str_trim(line).n == 0)
        return err_set(e, INVALID, "%s:%d: expected GROUPS KEY", path, number);
    if (!read_groups(groups, &key->groups))
        return err_set(e, INVALID,
                       "%s:%d: groups '%.*s': expected infer, health, metadata, metrics, admin or "
                       "all, with commas between them",
                       path, number, STR_ARG(groups));
    line = str_trim(line);
    key->text = (struct str){ arena_strndup(&k->arena, line.p, line.n), line.n };
    k->wanted |= key->groups;
    k->count++;
    return OK;
}

static status read_lines(struct keys *k, struct str text, const char *path, struct err *e)
{
    struct str line;
    size_t lines = 1;
    for (size_t i = 0; i < text.n; i++)
        lines += text.p[i] == '\n';
    k->key = arena_zalloc(&k->arena, lines * sizeof(*k->key));
    for (int number = 1; text.n > 0; number++) {
        str_cut(&text, '\n', &line);
        TRY(read_line(k, line, path, number, e));
    }
    return k->count > 0 ? OK : err_set(e, INVALID, "%s: there is no key in it", path);
}

status keys_load(const char *path, struct keys **out, struct err *e)
{
    struct file_map *map;
    TRY(file_map_open(path, KEYS_FILE_BYTES, &map, e));
    struct keys *k = mem_zalloc(sizeof(*k));
    arena_init(&k->arena, 0);
    struct str text = { (const char *)file_map_data(map), file_map_size(map) };
    status s = read_lines(k, text, path, e);
    file_map_unref(map);
    if (s == OK)
        *out = k;
    else
        keys_free(k);
    return s;
}

void keys_free(struct keys *k)
{
    if (k == NULL)
        return;
    arena_deinit(&k->arena);
    mem_free(k);
}

/* ---- checking ---- */

bool keys_wanted(const struct keys *k, enum access group)
{
    return k != NULL && (k->wanted >> group & 1) != 0;
}

/* Every byte of the known key is looked at, whatever is wrong with the other. */
static unsigned differ(struct str known, struct str given)
{
    unsigned diff = known.n != given.n;
    for (size_t i = 0; i < known.n; i++)
        diff |= (uint8_t)known.p[i] ^ (uint8_t)(given.n > 0 ? given.p[i % given.n] : 0xff);
    return diff;
}

bool keys_match(const struct keys *k, enum access group, struct str key)
{
    volatile unsigned found = 0; /* so that no compiler leaves the loop early */
    for (int i = 0; k != NULL && i < k->count; i++)
        found |= (differ(k->key[i].text, key) == 0) & (k->key[i].groups >> group & 1);
    return found != 0;
}

bool access_is_open(const struct conn *c, enum access group)
{
    return group != ACCESS_ADMIN && !keys_wanted(atomic_load(&c->lane->server->keys), group);
}

status access_check(const struct conn *c, enum access group, struct str key, struct err *e)
{
    const struct server *s = c->lane->server;
    const struct keys *k = atomic_load(&s->keys);
    if (keys_wanted(k, group)) {
        if (keys_match(k, group, key))
            return OK;
        return err_set(e, UNAUTHENTICATED, "%s for %s: send it as 'authorization: Bearer KEY'",
                       key.n > 0 ? "the key is not one" : "a key is wanted", group_names[group]);
    }
    if (group != ACCESS_ADMIN || s->options.admin_anywhere || net_conn_is_loopback(c->net))
        return OK;
    return err_set(e, FORBIDDEN,
                   "models are managed from the server's own machine, or with a key for admin "
                   "(--api-keys); --admin-anywhere allows it to everybody");
}

struct str access_key(struct str authorization, struct str x_api_key)
{
    static const struct str bearer = { "bearer ", 7 };
    if (authorization.n > bearer.n &&
        str_eq_nocase((struct str){ authorization.p, bearer.n }, bearer))
        return str_trim((struct str){ authorization.p + bearer.n, authorization.n - bearer.n });
    return str_trim(x_api_key);
}
