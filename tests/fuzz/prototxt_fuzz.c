/* The bytes are a configuration in protobuf's text format. */
#include "codec/prototxt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct prototxt *p)
{
    int64_t i;
    bool b;
    for (; p != NULL; p = p->next) {
        if (prototxt_i64(p, "f", &i, NULL) == OK && p->text.n == 0)
            __builtin_trap(); /* a number of no digits */
        (void)!prototxt_bool(p, "f", &b, NULL);
        walk(p->child);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct prototxt *p;
    struct err e = { "" };
    arena_init(&a, (size_t)64 << 20);
    if (prototxt_parse((struct str){ (const char *)data, size }, "f", &a, &p, &e) == OK)
        walk(p);
    else if (e.text[0] == '\0')
        __builtin_trap(); /* a refusal without words */
    arena_deinit(&a);
    return 0;
}
