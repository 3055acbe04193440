/* The bytes are a PIR program; its parameters are zeros, so that lowering goes as far as it can. */
#include "import/paddle/lower.h"
#include "import/pir/pir.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void zero_params(const struct program *p, struct arena *a, struct params *out)
{
    static const uint8_t zeros[1 << 18];
    map_init(&out->by_name, a);
    for (int i = 0; i < p->block[0].var_count; i++) {
        const struct var_desc *v = &p->block[0].var[i];
        struct tensor *t = arena_zalloc(a, sizeof(*t));
        *t = (struct tensor){ .shape = v->shape, .data = zeros };
        if (var_is_param(v) && program_dtype(v->data_type, &t->dtype) && tensor_bytes(t) >= 0 &&
            (size_t)tensor_bytes(t) <= sizeof(zeros))
            map_put(&out->by_name, v->name, t);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct program program;
    struct params params = { 0 };
    struct port_names names;
    struct err e = { "" };
    arena_init(&a, PROGRAM_ARENA_MAX);
    struct graph *g = graph_new();
    status s = pir_decode((struct str){ (const char *)data, size }, &a, &program, &e);
    if (s == OK) {
        zero_params(&program, &a, &params);
        struct lower_in in = { &program, &params, NULL };
        s = lower_program(&in, g, &names, &e);
    }
    if (s != OK && e.text[0] == '\0')
        __builtin_trap(); /* a refusal without words */
    graph_free(g);
    arena_deinit(&a);
    return 0;
}
