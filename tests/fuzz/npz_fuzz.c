/* The bytes are a .npz file, and a .npy file. */
#include "codec/npz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Touches the first and the last byte, for the sanitizer to see a view that leads outside. */
static void touch(const struct tensor *t)
{
    volatile uint8_t sum = 0;
    int64_t bytes = tensor_bytes(t);
    if (bytes < 0)
        __builtin_trap();
    if (bytes > 0)
        sum = (uint8_t)(((const uint8_t *)t->data)[0] + ((const uint8_t *)t->data)[bytes - 1]);
    (void)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = { (const char *)data, size };
    struct arena a;
    struct npz z;
    struct tensor t;
    struct err e = { "" };
    arena_init(&a, (size_t)64 << 20);
    if (npz_read(bytes, "npz", &a, &z, &e) == OK)
        for (int i = 0; i < z.count; i++)
            touch(&z.array[i].tensor);
    else if (e.text[0] == '\0')
        __builtin_trap(); /* a refusal without words */
    if (npy_read(bytes, "npy", &a, &t, &e) == OK)
        touch(&t);
    arena_deinit(&a);
    return 0;
}
