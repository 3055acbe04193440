#include "proto/flat.h"

static struct str name_of(const struct named_tensor *t)
{
    return t->alias.n > 0 ? t->alias : t->name;
}

static bool has(const struct infer_output *o, struct str name)
{
    for (int i = 0; i < o->tensor_count; i++)
        if (str_eq(name_of(&o->tensor[i]), name))
            return true;
    return false;
}

struct infer_output reply_flat(const struct infer_reply *r, struct arena *a)
{
    struct infer_output all = { .tensor_count = 0 };
    size_t room = 1;
    if (r->output_count == 0)
        return all;
    if (r->output_count == 1)
        return r->output[0];
    for (int i = 0; i < r->output_count; i++)
        room += (size_t)r->output[i].tensor_count;
    all.tensor = arena_alloc(a, room * sizeof(*all.tensor));
    for (int i = 0; i < r->output_count; i++)
        for (int k = 0; k < r->output[i].tensor_count; k++)
            if (!has(&all, name_of(&r->output[i].tensor[k])))
                all.tensor[all.tensor_count++] = r->output[i].tensor[k];
    return all;
}
