#include "convert/recipe.h"

#include <math.h>
#include <string.h>

void recipe_init(struct recipe *r, struct arena *a)
{
    *r = (struct recipe){ .arena = a };
    map_init(&r->by_name, a);
}

/* Room for one more of `size` bytes in a list that only grows. */
static void *grown(struct arena *a, void *list, int count, int *cap, size_t size)
{
    if (count < *cap)
        return list;
    *cap = 2 * *cap + 16;
    void *more = arena_zalloc(a, (size_t)*cap * size);
    if (count > 0)
        memcpy(more, list, (size_t)count * size);
    return more;
}

struct activation *recipe_activation(struct recipe *r, struct str name)
{
    struct activation *v = map_get(&r->by_name, name);
    if (v != NULL)
        return v;
    v = arena_zalloc(r->arena, sizeof(*v));
    v->name = name;
    map_put(&r->by_name, name, v);
    r->activation = grown(r->arena, r->activation, r->activation_count, &r->activation_cap,
                          sizeof(struct activation *));
    r->activation[r->activation_count++] = v;
    return v;
}

bool recipe_has(const struct recipe *r, struct str name)
{
    return map_get(&r->by_name, name) != NULL;
}

void recipe_add_site(struct recipe *r, const struct site *s)
{
    r->site = grown(r->arena, r->site, r->site_count, &r->site_cap, sizeof(*r->site));
    r->site[r->site_count++] = *s;
}

bool recipe_converts(const struct recipe *r, struct str name)
{
    for (int i = 0; i < r->weight_count; i++)
        if (str_eq(r->weight[i].name, name))
            return true;
    return false;
}

void recipe_add_weight(struct recipe *r, const struct weight *w)
{
    if (recipe_converts(r, w->name))
        return;
    r->weight = grown(r->arena, r->weight, r->weight_count, &r->weight_cap, sizeof(*r->weight));
    r->weight[r->weight_count++] = *w;
}

struct activation *recipe_due(const struct recipe *r, int op)
{
    for (int k = 0; k < r->site_count; k++) {
        struct activation *v = r->site[k].activation;
        if (r->site[k].op != op || v->written)
            continue;
        v->written = true;
        return v;
    }
    return NULL;
}

/* ---- weights ---- */

void weight_quantise(const struct weight *w, struct arena *a, struct quantised *out)
{
    const struct shape *s = &w->tensor->shape;
    const void *x = w->tensor->data;
    int64_t count = shape_numel(s), inner = shape_span(s, w->axis + 1, s->rank);
    out->channels = s->dim[w->axis];
    out->q = arena_alloc(a, (size_t)count + 1);
    out->largest = arena_zalloc(a, (size_t)(out->channels + 1) * sizeof(float));
    for (int64_t i = 0; i < count; i++) {
        float *most = &out->largest[i / inner % out->channels];
        *most = fmaxf(*most, fabsf(float_at(x, i)));
    }
    for (int64_t c = 0; c < out->channels; c++)
        if (!(out->largest[c] > 1e-30f)) /* a dead channel: any step does */
            out->largest[c] = 1;
    for (int64_t i = 0; i < count; i++) {
        float v = rintf(float_at(x, i) / out->largest[i / inner % out->channels] * 127);
        out->q[i] = (int8_t)fmaxf(-127, fminf(127, v));
    }
}

uint16_t *weight_halve(const struct weight *w, precision p, struct arena *a)
{
    const void *x = w->tensor->data;
    int64_t count = shape_numel(&w->tensor->shape);
    uint16_t *half = arena_alloc(a, (size_t)count * sizeof(*half) + 1);
    for (int64_t i = 0; i < count; i++)
        half[i] = p == PRECISION_FP16 ? f32_to_f16(float_at(x, i)) : f32_to_bf16(float_at(x, i));
    return half;
}

/* ---- protobuf ---- */

void proto_put_message(struct buf *to, uint32_t field, struct buf *message)
{
    pb_put_bytes(to, field, buf_view(message));
    buf_deinit(message);
}

void proto_copy_field(struct pb *r, const uint8_t *from, struct buf *to)
{
    pb_skip(r);
    buf_append(to, from, (size_t)(r->p - from));
}

struct str proto_text(struct str message, uint32_t field)
{
    struct pb r;
    struct str text = { "", 0 };
    pb_init(&r, message);
    while (pb_next(&r))
        if (r.field == field)
            text = pb_bytes(&r);
        else
            pb_skip(&r);
    return text;
}
