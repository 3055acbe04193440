#include "import/unknown.h"

void unknown_init(struct unknown_list *l, struct arena *a)
{
    *l = (struct unknown_list){ .arena = a };
    l->tail = &l->first;
    map_init(&l->by_type, a);
}

void unknown_note(struct unknown_list *l, struct str type, int block, int index)
{
    struct unknown *u = map_get(&l->by_type, type);
    if (u == NULL) {
        u = arena_zalloc(l->arena, sizeof(*u));
        type.p = arena_strndup(l->arena, type.p, type.n);
        *u = (struct unknown){ .block = block, .index = index, .type = type };
        map_put(&l->by_type, type, u);
        *l->tail = u;
        l->tail = &u->next;
    }
    u->count++;
}

#define UNKNOWN_TOLD 32 /* words are cut anyway */

status unknown_tell(const struct unknown_list *l, struct err *e)
{
    const struct unknown *u = l->first;
    const char *text = "";
    if (u == NULL)
        return OK;
    for (int i = 0; u != NULL && i < UNKNOWN_TOLD; u = u->next, i++)
        text = arena_printf(l->arena, "%s%s'%.*s' (%d time%s, first at operator %d of block %d)",
                            text, i > 0 ? ", " : "", STR_ARG(u->type), u->count,
                            u->count > 1 ? "s" : "", u->index, u->block);
    return err_set(e, UNSUPPORTED, "not supported: operator %s%s", text, u != NULL ? ", ..." : "");
}
