/* The outputs that were asked for, in the order in which they were: one list for each node that hands some in. */
#include "flow/ops.h"

static int find_tensor(const struct flow_value *v, struct str alias)
{
    for (int i = 0; i < v->count; i++)
        if (str_eq(alias, v->tensor[i].alias))
            return i;
    for (int i = 0; i < v->count; i++)
        if (str_eq(alias, v->tensor[i].name))
            return i;
    return -1;
}

/* ---- names that nobody has ---- */

struct inputs {
    struct flow_value *value;
    int count, tensors;
};

static status unknown_fetch(const struct inputs *in, struct str name, struct arena *a,
                            struct err *e)
{
    const char **known = arena_zalloc(a, ((size_t)in->tensors + 1) * sizeof(*known));
    int n = 0;
    for (int i = 0; i < in->count; i++)
        for (int k = 0; k < in->value[i].count; k++) {
            struct str s = in->value[i].tensor[k].alias;
            known[n++] = arena_strndup(a, s.p, s.n);
        }
    const char *near = str_nearest(name, known, (size_t)n);
    return err_set(e, INVALID, "fetch '%.*s' is no output of the model%s", STR_ARG(name),
                   str_hint(near, n > 0 ? known[0] : NULL).text);
}

static status check_fetch(const struct infer_request *r, const struct inputs *in, struct arena *a,
                          struct err *e)
{
    for (int f = 0; f < r->fetch_count; f++) {
        bool found = false;
        for (int i = 0; i < in->count && !found; i++)
            found = find_tensor(&in->value[i], r->fetch[f]) >= 0;
        if (!found)
            return unknown_fetch(in, r->fetch[f], a, e);
    }
    return OK;
}

/* ---- the reply ---- */

static status put_output(const struct infer_request *r, const struct flow_value *v,
                         const char *name, struct arena *a, struct infer_output *out, struct err *e)
{
    int room = r->fetch_count > 0 ? r->fetch_count : v->count;
    struct named_tensor *t = arena_try_array(a, (size_t)room + 1, sizeof(*t));
    int count = 0;
    if (t == NULL)
        return err_set(e, NO_MEMORY, "no memory for %d outputs", room);
    for (int i = 0; i < room; i++) {
        int k = r->fetch_count > 0 ? find_tensor(v, r->fetch[i]) : i;
        if (k >= 0)
            t[count++] = v->tensor[k];
    }
    *out = (struct infer_output){ str_of(name), t, count };
    return OK;
}

static status run(struct flow_step *s, struct exec *x, struct err *e)
{
    const struct flow_call *c = flow_step_call(s);
    const struct flow_node *n = s->node;
    struct inputs in = { .count = n->edge_count };
    in.value = arena_zalloc(s->arena, ((size_t)in.count + 1) * sizeof(*in.value));
    for (int i = 0; i < in.count; i++) {
        in.value[i] = flow_step_input(s, i);
        in.tensors += in.value[i].count;
    }
    bool all = true;
    for (int i = 0; i < in.count; i++)
        all = all && in.value[i].skipped;
    if (all)
        return err_set(e, INVALID,
                       "nothing answers this request: no condition ('when', or "
                       "request_field_value) of the service holds for it");
    TRY(check_fetch(c->request, &in, s->arena, e));
    c->reply->output = arena_zalloc(s->arena, ((size_t)in.count + 1) * sizeof(*c->reply->output));
    for (int i = 0; i < in.count; i++)
        if (!in.value[i].skipped)
            TRY(put_output(c->request, &in.value[i], flow_step_source(s, i), s->arena,
                           &c->reply->output[c->reply->output_count++], e));
    return OK;
}

static const char *const keys[] = { NULL };
const struct flow_op general_response_op = { .type = "GeneralResponseOp",
                                             .also = "response",
                                             .inputs_min = 1,
                                             .inputs_max = 64,
                                             .keys = keys,
                                             .run = run,
                                             .takes_skipped = true,
                                             .answers = true };
const struct flow_op text_response_op = { .type = "GeneralTextResponseOp",
                                          .also = "text_response",
                                          .inputs_min = 1,
                                          .inputs_max = 64,
                                          .keys = keys,
                                          .run = run,
                                          .takes_skipped = true,
                                          .answers = true };
