#include "import/unknown.h"

void unknown_init(struct unknown_list *l, struct arena *a)
{
    *l = (struct unknown_list){ .arena = a };
    l->tail = &l->first;
    map_init(&l->by_type, a);
}

/* The entry for type, counted once more; *is_new: it was not there. */
static struct unknown *note(struct unknown_list *l, struct str type, bool *is_new)
{
    struct unknown *u = map_get(&l->by_type, type);
    *is_new = u == NULL;
    if (u == NULL) {
        u = arena_zalloc(l->arena, sizeof(*u));
        u->type = (struct str){ arena_strndup(l->arena, type.p, type.n), type.n };
        map_put(&l->by_type, u->type, u);
        *l->tail = u;
        l->tail = &u->next;
    }
    u->count++;
    return u;
}

void unknown_note(struct unknown_list *l, struct str type, int block, int index)
{
    bool is_new;
    struct unknown *u = note(l, type, &is_new);
    if (is_new) {
        u->block = block;
        u->index = index;
    }
}

void unknown_note_named(struct unknown_list *l, struct str type, struct str name)
{
    bool is_new;
    struct unknown *u = note(l, type, &is_new);
    if (is_new)
        u->name = arena_strndup(l->arena, name.p, name.n);
}

const char *unknown_places(const struct unknown_list *l, const struct unknown *u)
{
    const char *times = arena_printf(l->arena, "%d time%s", u->count, u->count > 1 ? "s" : "");
    if (u->name != NULL)
        return arena_printf(l->arena, "%s, first as '%s'", times, u->name);
    return arena_printf(l->arena, "%s, first at operator %d of block %d", times, u->index,
                        u->block);
}

#define UNKNOWN_TOLD 32 /* words are cut anyway */

status unknown_tell(const struct unknown_list *l, struct err *e)
{
    const struct unknown *u = l->first;
    const char *text = "";
    if (u == NULL)
        return OK;
    for (int i = 0; u != NULL && i < UNKNOWN_TOLD; u = u->next, i++)
        text = arena_printf(l->arena, "%s%s'%.*s' (%s)", text, i > 0 ? ", " : "", STR_ARG(u->type),
                            unknown_places(l, u));
    return err_set(e, UNSUPPORTED, "not supported: operator %s%s", text, u != NULL ? ", ..." : "");
}
