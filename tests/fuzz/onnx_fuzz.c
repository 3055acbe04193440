/* The bytes are an ONNX model; there are no files beside it. */
#include "import/onnx/lower.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct onnx_model model;
    struct port_names names;
    struct err e = { "" };
    arena_init(&a, (size_t)256 << 20);
    struct graph *g = graph_new();
    struct onnx_tensors tensors = { .dir = "nowhere", .arena = &g->arena };
    status s = onnx_decode((struct str){ (const char *)data, size }, &a, &model, &e);
    if (s == OK)
        s = onnx_lower(&model, &tensors, g, &names, &e);
    if (s != OK && e.text[0] == '\0')
        __builtin_trap(); /* a refusal without words */
    graph_free(g);
    arena_deinit(&a);
    return 0;
}
