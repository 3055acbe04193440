/* The first byte chooses an element type, the rest is JSON: read as an array of numbers, and copied
 * value by value, which must come out the same when the copy is copied again. */
#include "codec/json.h"
#include "tensor/shape.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void copy_value(struct json *j, struct buf *out);

static void copy_items(struct json *j, struct buf *out)
{
    struct str key;
    bool object = json_peek(j) == JSON_OBJECT;
    const char *separator = "";
    buf_str(out, object ? "{" : "[");
    if (object)
        json_object(j);
    else
        json_array(j);
    while (object ? json_key(j, &key) : json_item(j)) {
        buf_str(out, separator);
        separator = ",";
        if (object) {
            json_put_string(out, key);
            buf_str(out, ":");
        }
        copy_value(j, out);
    }
    buf_str(out, object ? "}" : "]");
}

static void copy_value(struct json *j, struct buf *out)
{
    switch (json_peek(j)) {
    case JSON_NONE: json_fail(j, "nothing"); break;
    case JSON_NULL:
        json_null(j);
        buf_str(out, "null");
        break;
    case JSON_BOOL: buf_str(out, json_bool(j) ? "true" : "false"); break;
    case JSON_NUMBER: json_put_double(out, json_number(j)); break;
    case JSON_STRING: json_put_string(out, json_string(j)); break;
    case JSON_ARRAY:
    case JSON_OBJECT: copy_items(j, out); break;
    }
}

static status copy(struct str text, struct arena *a, struct buf *out)
{
    struct json j;
    struct err e = { "" };
    json_init(&j, text, a);
    copy_value(&j, out);
    status s = json_end(&j, &e);
    if (s != OK && e.text[0] == '\0')
        __builtin_trap(); /* a refusal without words */
    return s;
}

static void copy_twice(struct str text, struct arena *a)
{
    struct buf once, twice;
    buf_init(&once, 1 << 24);
    buf_init(&twice, 1 << 24);
    if (copy(text, a, &once) == OK && buf_check(&once) == OK)
        if (copy(buf_view(&once), a, &twice) != OK || !str_eq(buf_view(&once), buf_view(&twice)))
            __builtin_trap();
    buf_deinit(&once);
    buf_deinit(&twice);
}

static void read_numbers(struct str text, dtype d, struct arena *a)
{
    struct json j;
    int64_t dims[SHAPE_MAX];
    json_init(&j, text, a);
    struct json_array array = { .dtype = d, .max = json_count_numbers(&j), .dims = dims };
    array.to = arena_try_array(a, (size_t)array.max, dtype_size(d));
    json_numbers(&j, &array);
    if (json_failed(&j))
        return;
    struct buf out;
    int64_t n = 1;
    for (int i = 0; i < array.rank; i++)
        n *= dims[i];
    if (n != array.count)
        __builtin_trap();
    buf_init(&out, 1 << 24);
    json_put_numbers(&out, d, array.to, array.count);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    if (size == 0)
        return 0;
    struct str text = { (const char *)data + 1, size - 1 };
    arena_init(&a, 1 << 26);
    copy_twice(text, &a);
    if (dtype_valid(data[0] % 21))
        read_numbers(text, (dtype)(data[0] % 21), &a);
    arena_deinit(&a);
    return 0;
}
