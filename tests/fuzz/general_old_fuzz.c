/* The forms of before 0.7: the first byte says which. What is taken is written back, and the writer's word is readable. */
#include "proto/general_old.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct infer_request r;
    struct err e = { "" };
    struct arena a;
    struct buf b;
    bool raw = false;
    if (size < 1)
        return 0;
    struct str bytes = { (const char *)data + 1, size - 1 };
    arena_init(&a, (size_t)64 << 20);
    buf_init(&b, (size_t)64 << 20);
    bool lang = (data[0] & 1) != 0;
    bool old = general_is_old(bytes);
    status s = lang ? general_multi_lang_request(bytes, &a, &r, &raw, &e)
                    : general_old_request(bytes, &a, &r, &e);
    if (s == OK) {
        struct infer_output o = { .tensor = r.feed, .tensor_count = r.feed_count };
        struct infer_reply reply = { .output = &o, .output_count = 1 };
        if (lang)
            general_multi_lang_reply(&reply, raw, &b);
        else
            general_old_reply(&reply, &b);
        if (buf_check(&b) != OK && b.failed != TOO_LARGE)
            __builtin_trap();
    } else if (e.text[0] == '\0') {
        __builtin_trap();
    }
    (void)old;
    buf_deinit(&b);
    arena_deinit(&a);
    return 0;
}
