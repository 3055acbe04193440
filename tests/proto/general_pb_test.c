#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/mem.h"
#include "codec/pb.h"
#include "proto/baidu_std.h"
#include "proto/general_model.h"

#include <stdio.h>
#include <stdlib.h>

#define CAPTURES OAR_SOURCE_DIR "/tests/data/captures/"

static struct arena arena;

static int setup(void **state)
{
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    arena_deinit(&arena);
    return 0;
}

static void unmap(void *m)
{
    file_map_unref(m);
}

static struct str read_file(const char *name, const char *ending)
{
    char path[512];
    struct file_map *m;
    struct err e = { "" };
    snprintf(path, sizeof(path), CAPTURES "%s%s", name, ending);
    if (file_map_open(path, 1 << 20, &m, &e) != OK)
        fail_msg("%s", e.text);
    arena_defer(&arena, unmap, m);
    return (struct str){ (const char *)file_map_data(m), file_map_size(m) };
}

/* The protobuf message in a capture: behind a baidu_std head, behind an HTTP head, or the whole
 * file. */
static struct str payload_of(const char *name)
{
    struct str bytes = read_file(name, ".bin");
    struct baidu_frame f;
    if (str_starts(bytes, "PRPC")) {
        assert_int_equal(baidu_std_parse(bytes, 1 << 20, &f).state, PARSE_DONE);
        return f.payload;
    }
    const char *end = str_starts(bytes, "POST") ? memmem(bytes.p, bytes.n, "\r\n\r\n", 4) : NULL;
    if (end == NULL)
        return bytes;
    return (struct str){ end + 4, bytes.n - (size_t)(end + 4 - bytes.p) };
}

/* ---- a request in protobuf's text form, as the .txt files have it ---- */

static void put_float_text(struct buf *b, float v)
{
    char text[32];
    for (int digits = 6; digits < 10; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    buf_str(b, text);
    if (strpbrk(text, ".e") == NULL)
        buf_str(b, ".0");
}

static void put_quoted(struct buf *b, struct str s)
{
    buf_byte(b, '"');
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] < 0x20 || (uint8_t)s.p[i] >= 0x7f)
            buf_printf(b, "\\%03o", (uint8_t)s.p[i]);
        else
            buf_byte(b, (uint8_t)s.p[i]);
    buf_str(b, "\"\n");
}

static void put_elements(struct buf *b, const struct tensor *t)
{
    int64_t n = shape_numel(&t->shape);
    const char *string = t->data;
    for (int64_t i = 0; i < n; i++) {
        switch (t->dtype) {
        case DTYPE_F32:
            buf_str(b, "  float_data: ");
            put_float_text(b, ((const float *)t->data)[i]);
            buf_str(b, "\n");
            break;
        case DTYPE_I64:
            buf_printf(b, "  int64_data: %lld\n", (long long)((const int64_t *)t->data)[i]);
            break;
        case DTYPE_I32: buf_printf(b, "  int_data: %d\n", ((const int32_t *)t->data)[i]); break;
        case DTYPE_BYTES:
            if (string[i] != '\0')
                break;
            buf_str(b, "  data: ");
            put_quoted(b, str_of(string));
            string += i + 1;
            break;
        default: break;
        }
    }
}

static void put_tensor(struct buf *b, const struct named_tensor *n)
{
    const struct tensor *t = &n->tensor;
    buf_str(b, "tensor {\n");
    put_elements(b, t);
    if (t->dtype != 0)
        buf_printf(b, "  elem_type: %d\n", t->dtype);
    for (int i = 0; i < t->shape.rank; i++) /* strings: their one string */
        buf_printf(b, "  shape: %lld\n",
                   t->dtype == DTYPE_BYTES ? 1LL : (long long)t->shape.dim[i]);
    for (int i = 0; i < t->lod.levels; i++)
        for (int64_t k = 0; k < t->lod.level[i].count; k++)
            buf_printf(b, "  lod: %lld\n", (long long)t->lod.level[i].offset[k]);
    buf_str(b, "  name: ");
    put_quoted(b, n->name);
    buf_str(b, "  alias_name: ");
    put_quoted(b, n->alias);
    if (t->dtype == DTYPE_F16 || t->dtype == DTYPE_U8 || t->dtype == DTYPE_I8) {
        buf_str(b, "  tensor_content: ");
        put_quoted(b, (struct str){ t->data, (size_t)tensor_bytes(t) });
    }
    buf_str(b, "}\n");
}

static void put_request(struct buf *b, const struct infer_request *r)
{
    for (int i = 0; i < r->feed_count; i++)
        put_tensor(b, &r->feed[i]);
    for (int i = 0; i < r->fetch_count; i++) {
        buf_str(b, "fetch_var_names: ");
        put_quoted(b, r->fetch[i]);
    }
    if (r->log_id != 0)
        buf_printf(b, "log_id: %llu\n", (unsigned long long)r->log_id);
}

static struct str stated_request(const char *name)
{
    struct str text = read_file(name, ".txt");
    const char *begin = memmem(text.p, text.n, "\ntensor {", 9);
    const char *end =
        begin != NULL ? memmem(begin, text.n - (size_t)(begin - text.p), "\n\n---", 5) : NULL;
    if (end == NULL)
        fail_msg("%s.txt has no message in it", name);
    return (struct str){ begin + 1, (size_t)(end - begin) };
}

static const char *const requests[] = {
    "01_single.brpc_req",
    "02_batch1.brpc_req",
    "03_batch3.brpc_req",
    "04_2d_nobatch.brpc_req",
    "05_1d_batch.brpc_req",
    "06_fetch_none.brpc_req",
    "07_log_id.brpc_req",
    "08_lod.brpc_req",
    "09_words_lod_int64.brpc_req",
    "10_all_types.brpc_req",
    "11_err_no.brpc_req",
    "12_rpc_error.brpc_req",
    "13_retry_on_close.brpc_req",
    "13_retry_on_close.brpc_req_2",
    "13_retry_on_close.brpc_req_3",
    "14_two_outputs.brpc_req",
    "20_http_proto.http_req",
    "25_http_lod.http_req",
    "30_grpc.grpc_msg",
};

static void captured_requests_are_what_their_text_says(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct infer_request r;
        struct err e = { "" };
        struct buf b;
        if (general_request_from_pb(payload_of(requests[i]), &arena, &r, &e) != OK)
            fail_msg("%s: %s", requests[i], e.text);
        buf_init(&b, 1 << 20);
        put_request(&b, &r);
        struct str stated = stated_request(requests[i]);
        if (!str_eq(buf_view(&b), stated))
            fail_msg("%s:\n%.*s\ninstead of\n%.*s", requests[i], (int)b.len, b.data, (int)stated.n,
                     stated.p);
        buf_deinit(&b);
    }
}

static void a_request_is_written_as_the_original_client_writes_it(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct infer_request r;
        struct buf b;
        struct str bytes = payload_of(requests[i]);
        assert_int_equal(general_request_from_pb(bytes, &arena, &r, NULL), OK);
        buf_init(&b, 1 << 20);
        general_request_to_pb(&r, &b);
        if (!str_eq(buf_view(&b), bytes))
            fail_msg("%s comes out different", requests[i]);
        buf_deinit(&b);
    }
}

/* What INDEX.txt says of each reply: one row a tensor. */
struct stated_tensor {
    const char *capture;
    int output, tensor;
    const char *engine, *name, *alias;
    dtype dtype;
    struct shape shape;
    double value[6];
    int64_t lod[4];
};

// clang-format off
#define PRICE "general_infer_0", "fc_0.tmp_1", "price", DTYPE_F32
static const struct stated_tensor replies[] = {
    { "01_single.brpc_res",     0, 0, PRICE, { 2, { 1, 1 } }, { 18.901151657104492 }, { 0 } },
    { "02_batch1.brpc_res",     0, 0, PRICE, { 2, { 1, 1 } }, { 18.901151657104492 }, { 0 } },
    { "03_batch3.brpc_res",     0, 0, PRICE, { 2, { 3, 1 } }, { 18.901151657104492, 15.064005, 22.738298 }, { 0 } },
    { "04_2d_nobatch.brpc_res", 0, 0, PRICE, { 2, { 1, 1 } }, { 18.901151657104492 }, { 0 } },
    { "05_1d_batch.brpc_res",   0, 0, PRICE, { 2, { 1, 1 } }, { 18.901151657104492 }, { 0 } },
    { "06_fetch_none.brpc_res", 0, 0, PRICE, { 2, { 1, 1 } }, { 18.901151657104492 }, { 0 } },
    { "07_log_id.brpc_res",     0, 0, PRICE, { 2, { 1, 1 } }, { 18.901151657104492 }, { 0 } },
    { "08_lod.brpc_res",        0, 0, PRICE, { 2, { 3, 1 } }, { 18.901151657104492, 18.901151657104492, 18.901151657104492 }, { 0, 1, 3 } },
    { "09_words_lod_int64.brpc_res", 0, 0, "general_infer_0", "o_words", "o_words", DTYPE_I64, { 2, { 4, 1 } }, { 8, 233, 52, 601 }, { 0, 3, 4 } },
    { "10_all_types.brpc_res",  0, 0, "general_infer_0", "o_xf", "o_xf", DTYPE_F32, { 3, { 1, 2, 3 } }, { 0, 1, 2, 3, 4, 5 }, { 0 } },
    { "10_all_types.brpc_res",  0, 1, "general_infer_0", "o_xi", "o_xi", DTYPE_I64, { 2, { 1, 3 } }, { 1, -2, 3 }, { 0 } },
    { "10_all_types.brpc_res",  0, 2, "general_infer_0", "o_xj", "o_xj", DTYPE_I32, { 2, { 1, 3 } }, { 1, -2, 300 }, { 0 } },
    { "10_all_types.brpc_res",  0, 5, "general_infer_0", "o_u", "o_u", DTYPE_U8, { 1, { 4 } }, { 0, 1, 2, 127 }, { 0 } },
    { "10_all_types.brpc_res",  0, 6, "general_infer_0", "o_b", "o_b", DTYPE_I8, { 1, { 4 } }, { 0, 1, 2, 127 }, { 0 } },
    { "14_two_outputs.brpc_res", 0, 0, "engine_a", "fc_0.tmp_1", "price", DTYPE_F32, { 2, { 1, 1 } }, { 18.901151657104492 }, { 0 } },
    { "14_two_outputs.brpc_res", 1, 0, "engine_b", "fc_0.tmp_1", "price", DTYPE_F32, { 2, { 1, 1 } }, { 1018.9011 }, { 0 } },
};
// clang-format on

static double value_at(const struct tensor *t, int64_t i)
{
    switch (t->dtype) {
    case DTYPE_F32: return (double)((const float *)t->data)[i];
    case DTYPE_I64: return (double)((const int64_t *)t->data)[i];
    case DTYPE_I32: return ((const int32_t *)t->data)[i];
    default: return ((const uint8_t *)t->data)[i];
    }
}

static void check_stated(const struct infer_reply *r, const struct stated_tensor *want)
{
    assert_true(want->output < r->output_count);
    const struct infer_output *o = &r->output[want->output];
    assert_true(want->tensor < o->tensor_count);
    const struct named_tensor *n = &o->tensor[want->tensor];
    assert_true(str_is(o->engine, want->engine));
    assert_true(str_is(n->name, want->name));
    assert_true(str_is(n->alias, want->alias));
    assert_int_equal(n->tensor.dtype, want->dtype);
    assert_true(shape_eq(&n->tensor.shape, &want->shape));
    for (int64_t i = 0; i < shape_numel(&want->shape); i++)
        assert_float_equal(value_at(&n->tensor, i), want->value[i], 1e-4);
    assert_int_equal(n->tensor.lod.levels, want->lod[1] != 0);
    for (int i = 0; i < 3 && want->lod[1] != 0; i++)
        assert_int_equal(n->tensor.lod.level[0].offset[i], want->lod[i]);
}

static void captured_replies_are_what_their_text_says(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        struct infer_reply r;
        struct err e = { "" };
        if (general_reply_from_pb(payload_of(replies[i].capture), &arena, &r, &e) != OK)
            fail_msg("%s: %s", replies[i].capture, e.text);
        check_stated(&r, &replies[i]);
    }
}

static void a_reply_is_written_as_the_original_server_writes_it(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        struct infer_reply r;
        struct buf b;
        struct str bytes = payload_of(replies[i].capture);
        assert_int_equal(general_reply_from_pb(bytes, &arena, &r, NULL), OK);
        buf_init(&b, 1 << 20);
        general_reply_to_pb(&r, &b);
        /* 07 and 14 end with the log_id that their test server echoed; the original never does. */
        assert_true(b.len <= bytes.n && bytes.n - b.len <= 4);
        assert_memory_equal(b.data, bytes.p, b.len);
        buf_deinit(&b);
    }
}

static void a_reply_that_tells_of_an_error_is_one(void **state)
{
    struct infer_reply r;
    struct err e = { "" };
    assert_int_equal(general_reply_from_pb(payload_of("11_err_no.brpc_res"), &arena, &r, &e),
                     INTERNAL);
    assert_string_equal(e.text, "the server answers err_no 5000: injected err_no");
    assert_int_equal(general_reply_from_pb(payload_of("12_rpc_error.brpc_res"), &arena, &r, &e),
                     OK);
    assert_int_equal(r.output_count, 0);
}

/* ---- hostile bytes ---- */

/* Decodes a copy of just these bytes, both ways; a refusal must have words. */
static void decode_exact(struct str bytes)
{
    struct arena a;
    struct infer_request request;
    struct infer_reply reply;
    char *copy = mem_alloc(bytes.n + 1);
    memcpy(copy + 1, bytes.p, bytes.n);
    struct str odd = { copy + 1, bytes.n }; /* also not aligned */
    arena_init(&a, LIMIT_ARENA_BYTES);
    struct err e = { "" };
    if (general_request_from_pb(odd, &a, &request, &e) != OK)
        assert_true(e.text[0] != '\0');
    e.text[0] = '\0';
    if (general_reply_from_pb(odd, &a, &reply, &e) != OK)
        assert_true(e.text[0] != '\0');
    arena_deinit(&a);
    mem_free(copy);
}

static void every_truncation_and_every_flipped_byte_is_survived(void **state)
{
    static const char *const names[] = { "01_single.brpc_req",      "08_lod.brpc_req",
                                         "10_all_types.brpc_req",   "08_lod.brpc_res",
                                         "10_all_types.brpc_res",   "11_err_no.brpc_res",
                                         "14_two_outputs.brpc_res", "30_grpc.grpc_msg" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str bytes = payload_of(names[i]);
        for (size_t n = 0; n <= bytes.n; n++)
            decode_exact((struct str){ bytes.p, n });
        char *damaged = arena_strndup(&arena, bytes.p, bytes.n);
        for (size_t k = 0; k < bytes.n; k++) {
            for (int bit = 0; bit < 8; bit++) {
                damaged[k] = (char)(bytes.p[k] ^ 1 << bit);
                decode_exact((struct str){ damaged, bytes.n });
            }
            damaged[k] = bytes.p[k];
        }
    }
}

/* A tensor message built by hand: what a test says, in the order in which it says it. */
static struct buf tensor_buf;

static void begin_tensor(const char *name, int elem_type)
{
    buf_init(&tensor_buf, 1 << 20);
    pb_put_bytes(&tensor_buf, 13, str_of(name));
    pb_put_u64(&tensor_buf, 10, (uint64_t)(int64_t)elem_type);
}

static void add_shape(int64_t dim)
{
    pb_put_u64(&tensor_buf, 11, (uint64_t)dim);
}

static void add_floats(int n)
{
    static const float v[64];
    pb_put_bytes(&tensor_buf, 2, (struct str){ (const char *)v, (size_t)n * sizeof(float) });
}

static status decode_tensor(struct infer_request *out, struct err *e)
{
    struct buf request;
    buf_init(&request, 1 << 20);
    pb_put_bytes(&request, 1, buf_view(&tensor_buf));
    e->text[0] = '\0';
    struct str bytes = { arena_strndup(&arena, (const char *)request.data, request.len),
                         request.len };
    status s = general_request_from_pb(bytes, &arena, out, e);
    buf_deinit(&request);
    buf_deinit(&tensor_buf);
    return s;
}

static void refuses(const char *words)
{
    struct infer_request r;
    struct err e;
    assert_int_equal(decode_tensor(&r, &e), INVALID);
    assert_string_equal(e.text, words);
}

static void counts_must_match_the_shape(void **state)
{
    begin_tensor("x", 1);
    add_shape(2);
    add_shape(3);
    add_floats(5);
    refuses("tensor 0 'x': shape [2, 3] of float32 means 6 in float_data, which holds 5");
    begin_tensor("x", 0);
    add_shape(5);
    add_floats(5);
    refuses("tensor 0 'x': elem_type 0 (int64) wants its elements in int64_data, but they are in "
            "float_data; set elem_type or move them");
    begin_tensor("x", 1);
    add_shape(-1);
    add_floats(1);
    refuses("tensor 0 'x': shape [-1]: every dimension must be 0 or more, and their product fit");
    begin_tensor("x", 1);
    for (int i = 0; i < 4; i++)
        add_shape(1 << 30);
    refuses("tensor 0 'x': shape [1073741824, 1073741824, 1073741824, 1073741824]: every dimension "
            "must be 0 or more, and their product fit");
    begin_tensor("x", 1);
    for (int i = 0; i < 9; i++)
        add_shape(1);
    add_floats(1);
    refuses("tensor 0 'x': a shape of 9 dimensions, the most is 8");
    begin_tensor("x", 1);
    add_shape(1);
    refuses("tensor 0 'x': shape [1] of float32 means 1 in float_data, which holds 0");
}

static void types_must_be_known(void **state)
{
    static const int codes[] = { 11 + 5, 19, 21, 99, -1 };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        char words[200];
        begin_tensor("x", codes[i]);
        add_shape(1);
        add_floats(1);
        snprintf(words, sizeof(words),
                 "tensor 0 'x': elem_type %d is unknown; 0 is int64, 1 float32, 2 int32, 20 string",
                 codes[i]);
        refuses(words);
    }
}

static void content_must_be_whole_elements(void **state)
{
    begin_tensor("x", 5);
    add_shape(2);
    pb_put_bytes(&tensor_buf, 15, STR("abc"));
    refuses(
        "tensor 0 'x': tensor_content holds 3 bytes, which is no multiple of the 2 of one float16");
    begin_tensor("x", 1);
    add_shape(1);
    add_floats(1);
    pb_put_bytes(&tensor_buf, 15, STR("abcd"));
    refuses("tensor 0 'x': elements both in float_data and in tensor_content, give one of them");
    begin_tensor("x", 10);
    add_shape(1);
    pb_put_bytes(&tensor_buf, 7, (struct str){ "123456789012", 12 });
    refuses("tensor 0 'x': complex64_data holds 3 values, which is no multiple of the 2 of one "
            "complex64");
    begin_tensor("x", 1);
    add_shape(1);
    pb_put_bytes(&tensor_buf, 2, STR("abcde"));
    refuses("tensor 0: the protobuf message is damaged or cut short");
}

static void add_lod(const int *lod, int n)
{
    for (int i = 0; i < n; i++)
        pb_put_u64(&tensor_buf, 12, (uint64_t)(int64_t)lod[i]);
}

static void lod_must_rise_to_the_rows(void **state)
{
    begin_tensor("x", 1);
    add_shape(3);
    add_floats(3);
    add_lod((int[]){ 0, 2, 1, 3 }, 4);
    refuses("tensor 0 'x': LoD level 0 must rise, but offset 2 is 1 after 2");
    begin_tensor("x", 1);
    add_shape(3);
    add_floats(3);
    add_lod((int[]){ 0, 2 }, 2);
    refuses("tensor 0 'x': LoD level 0 must end at 3, it ends at 2");
    begin_tensor("x", 1);
    add_shape(3);
    add_floats(3);
    add_lod((int[]){ 1, 3 }, 2);
    refuses("tensor 0 'x': LoD level 0 must begin with 0, it does not");
    begin_tensor("x", 1);
    add_floats(1);
    add_lod((int[]){ 0, 1 }, 2);
    refuses("tensor 0 'x': lod of a tensor without dimensions");
    begin_tensor("x", 1);
    add_shape(1);
    add_floats(1);
    add_lod((int[]){ 0, 1, 0, 1, 0, 1, 0, 1, 0, 1 }, 10);
    refuses("tensor 0 'x': lod of more than 4 levels");
}

static void a_zero_begins_a_level_unless_it_follows_a_zero(void **state)
{
    struct infer_request r;
    struct err e;
    begin_tensor("x", 1);
    add_shape(12);
    add_floats(12);
    add_lod((int[]){ 0, 2, 4, 0, 3, 5, 9, 12 }, 8);
    assert_int_equal(decode_tensor(&r, &e), OK);
    const struct lod *lod = &r.feed[0].tensor.lod;
    assert_int_equal(lod->levels, 2);
    assert_int_equal(lod->level[0].count, 3);
    assert_int_equal(lod->level[1].count, 5);
    assert_int_equal(lod->level[1].offset[4], 12);
    begin_tensor("x", 1);
    add_shape(3);
    add_floats(3);
    add_lod((int[]){ 0, 0, 3, 3 }, 4); /* the first and the last sequence are empty */
    assert_int_equal(decode_tensor(&r, &e), OK);
    assert_int_equal(r.feed[0].tensor.lod.levels, 1);
    assert_int_equal(r.feed[0].tensor.lod.level[0].count, 4);
}

static void names_are_checked(void **state)
{
    char name[LIMIT_NAME_BYTES + 2];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    begin_tensor(name, 1);
    refuses("tensor 0: name: a name of 1025 bytes, the limit is 1024");
    begin_tensor("\xff", 1);
    refuses("tensor 0: name: a name that is not UTF-8");
    struct infer_request r;
    struct err e = { "" };
    assert_int_equal(general_request_from_pb(STR("\x12\x01\xff"), &arena, &r, &e), INVALID);
    assert_string_equal(e.text, "fetch_var_names: a name that is not UTF-8");
}

static void too_many_tensors_are_refused(void **state)
{
    struct buf b;
    struct infer_request r;
    struct err e = { "" };
    buf_init(&b, 1 << 20);
    for (int i = 0; i <= LIMIT_REQUEST_TENSORS; i++)
        pb_put_bytes(&b, 1, STR("\x5a\x01\x00")); /* shape [0] */
    assert_int_equal(general_request_from_pb(buf_view(&b), &arena, &r, &e), INVALID);
    assert_string_equal(e.text, "more than 4096 tensors");
    b.len -= 5;
    assert_int_equal(general_request_from_pb(buf_view(&b), &arena, &r, &e), OK);
    assert_int_equal(r.feed_count, LIMIT_REQUEST_TENSORS);
    buf_clear(&b);
    for (int i = 0; i <= LIMIT_FETCH_NAMES; i++)
        pb_put_bytes(&b, 2, STR("a"));
    assert_int_equal(general_request_from_pb(buf_view(&b), &arena, &r, &e), INVALID);
    assert_string_equal(e.text, "more than 4096 fetch_var_names");
    buf_deinit(&b);
}

static void memory_is_bounded(void **state)
{
    struct arena small;
    struct buf b;
    struct infer_request r;
    struct err e = { "" };
    buf_init(&b, 1 << 20);
    pb_put_begin(&b, 1, 4 + 100000);
    pb_put_begin(&b, 12, 100000); /* one byte each, eight in memory */
    memset(buf_reserve(&b, 100000), 1, 100000);
    b.len += 100000;
    arena_init(&small, 200000);
    assert_int_equal(general_request_from_pb(buf_view(&b), &small, &r, &e), NO_MEMORY);
    assert_true(e.text[0] != '\0');
    arena_deinit(&small);
    buf_deinit(&b);
}

/* ---- forms that other writers use ---- */

static void values_may_come_one_by_one_or_in_pieces(void **state)
{
    struct infer_request r;
    struct err e;
    static const float v[4] = { 1, 2, 3, 4 };
    begin_tensor("x", 1);
    add_shape(4);
    pb_put_bytes(&tensor_buf, 2, (struct str){ (const char *)v, 8 });
    for (int i = 2; i < 4; i++) {
        pb_put_tag(&tensor_buf, 2, PB_FIXED32);
        buf_append(&tensor_buf, &v[i], sizeof(v[i]));
    }
    assert_int_equal(decode_tensor(&r, &e), OK);
    assert_memory_equal(r.feed[0].tensor.data, v, sizeof(v));
    begin_tensor("x", 0);
    add_shape(3);
    pb_put_u64(&tensor_buf, 1, 7);
    pb_put_bytes(&tensor_buf, 1, STR("\x01\x96\x01"));
    assert_int_equal(decode_tensor(&r, &e), OK);
    assert_memory_equal(r.feed[0].tensor.data, ((int64_t[]){ 7, 1, 150 }), 24);
    begin_tensor("x", 0);
    add_shape(2);
    pb_put_bytes(&tensor_buf, 1, STR("\x01\x02\x80")); /* the last varint does not end */
    assert_int_equal(decode_tensor(&r, &e), INVALID);
    assert_string_equal(e.text,
                        "tensor 0: int64_data: the protobuf message is damaged or cut short");
}

static void aligned_floats_are_a_view(void **state)
{
    _Alignas(16) static char bytes[64];
    struct infer_request r;
    struct buf b;
    buf_init(&b, 100);
    pb_put_begin(&b, 1, 14);
    pb_put_u64(&b, 10, 1);
    pb_put_u64(&b, 11, 2);
    pb_put_begin(&b, 2, 8);
    for (size_t at = 0; at < 4; at++) {
        struct err e = { "" };
        const char *floats = bytes + at + b.len, *data;
        memcpy(bytes + at, b.data, b.len);
        memset(bytes + at + b.len, 0, 8);
        if (general_request_from_pb((struct str){ bytes + at, b.len + 8 }, &arena, &r, &e) != OK)
            fail_msg("%s", e.text);
        data = r.feed[0].tensor.data;
        assert_int_equal((uintptr_t)data % 4, 0);
        assert_true((data == floats) == ((uintptr_t)floats % 4 == 0));
    }
    buf_deinit(&b);
}

static void every_type_comes_back(void **state)
{
    static const uint64_t bits[4] = { 0x0102030405060708u, 0x8182838485868788u, 0x3f8000003f800000u,
                                      1 };
    static const uint8_t truth[4] = { 1, 0, 1, 1 };
    for (int code = 0; code < 21; code++) {
        if (!dtype_valid(code) || code == DTYPE_BYTES)
            continue;
        struct named_tensor x = { STR("x"),
                                  STR("alias"),
                                  { .dtype = (dtype)code, .shape = SHAPE(2, 1) } };
        x.tensor.data = code == DTYPE_BOOL ? (const void *)truth : (const void *)bits;
        struct infer_request in = { .feed = &x,
                                    .feed_count = 1,
                                    .profile = true,
                                    .log_id = UINT64_MAX },
                             r;
        struct buf b;
        struct err e = { "" };
        buf_init(&b, 1000);
        general_request_to_pb(&in, &b);
        if (general_request_from_pb(buf_view(&b), &arena, &r, &e) != OK)
            fail_msg("%s: %s", dtype_name((dtype)code), e.text);
        assert_int_equal(r.feed[0].tensor.dtype, code);
        assert_true(shape_eq(&r.feed[0].tensor.shape, &x.tensor.shape));
        assert_memory_equal(r.feed[0].tensor.data, x.tensor.data, (size_t)tensor_bytes(&x.tensor));
        assert_true(r.profile && r.log_id == UINT64_MAX);
        buf_deinit(&b);
    }
}

static void strings_are_bytes_with_ends(void **state)
{
    struct infer_request r;
    struct err e;
    begin_tensor("s", DTYPE_BYTES);
    add_shape(2);
    pb_put_bytes(&tensor_buf, 9, STR("ab"));
    pb_put_bytes(&tensor_buf, 9, STR(""));
    assert_int_equal(decode_tensor(&r, &e), OK);
    const struct tensor *t = &r.feed[0].tensor;
    assert_true(shape_eq(&t->shape, &SHAPE(4)));
    assert_memory_equal(t->data, "ab\0", 4);
    struct buf b;
    struct infer_request again;
    buf_init(&b, 1000);
    general_request_to_pb(&r, &b);
    assert_int_equal(general_request_from_pb(buf_view(&b), &arena, &again, &e), OK);
    assert_true(shape_eq(&again.feed[0].tensor.shape, &SHAPE(4)));
    assert_memory_equal(again.feed[0].tensor.data, "ab\0", 4);
    buf_deinit(&b);
}

static void stamps_and_engines_come_back(void **state)
{
    int64_t stamps[3] = { 1700000000000000, -5, 0 };
    static const float price = 18.9f;
    struct named_tensor x = { STR("fc"),
                              STR("price"),
                              { .dtype = DTYPE_F32, .shape = SHAPE(1), .data = &price } };
    struct infer_output o[2] = { { STR("a"), &x, 1 }, { STR("b"), NULL, 0 } };
    struct infer_reply in = { o, 2, stamps, 3, { 0 } }, r;
    struct buf b;
    struct err e = { "" };
    buf_init(&b, 1000);
    general_reply_to_pb(&in, &b);
    assert_int_equal(general_reply_from_pb(buf_view(&b), &arena, &r, &e), OK);
    assert_int_equal(r.output_count, 2);
    assert_true(str_is(r.output[0].engine, "a") && str_is(r.output[1].engine, "b"));
    assert_int_equal(r.output[1].tensor_count, 0);
    assert_int_equal(r.stamp_count, 3);
    assert_memory_equal(r.stamp_us, stamps, sizeof(stamps));
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(captured_requests_are_what_their_text_says, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_request_is_written_as_the_original_client_writes_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(captured_replies_are_what_their_text_says, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reply_is_written_as_the_original_server_writes_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_reply_that_tells_of_an_error_is_one, setup, teardown),
        cmocka_unit_test_setup_teardown(every_truncation_and_every_flipped_byte_is_survived, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(counts_must_match_the_shape, setup, teardown),
        cmocka_unit_test_setup_teardown(types_must_be_known, setup, teardown),
        cmocka_unit_test_setup_teardown(content_must_be_whole_elements, setup, teardown),
        cmocka_unit_test_setup_teardown(lod_must_rise_to_the_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_zero_begins_a_level_unless_it_follows_a_zero, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(names_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_tensors_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(values_may_come_one_by_one_or_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(aligned_floats_are_a_view, setup, teardown),
        cmocka_unit_test_setup_teardown(every_type_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_are_bytes_with_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(stamps_and_engines_come_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
