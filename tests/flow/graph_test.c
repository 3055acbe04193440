/* Services as files describe them: what they compute, and what is refused with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "flow/rows.h"
#include "flow/service.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZOO    OAR_SOURCE_DIR "/tests/data/zoo/"
#define CNN    ZOO "imdb_cnn/pdmodel26"
#define HOUSES OAR_SOURCE_DIR "/tests/data/zoo/fit_a_line/pdmodel26"
#define BOW    ZOO "imdb_bow/pdmodel26"

static struct exec *exec_of_worker[2];

static status build(const char *text, const struct flow_env *env, struct flow **out, struct err *e)
{
    struct arena a;
    struct service s = { 0 };
    const struct flow_options opt = { .name = "test", .env = env };
    arena_init(&a, 0);
    status code = service_from_yaml(str_of(text), "g.yml", &a, &s, e);
    if (code == OK)
        code = service_open(&s, &opt, false, out, e);
    arena_deinit(&a);
    return code;
}

static const int64_t words[5] = { 8, 233, 52, 7, 99 }, offsets[3] = { 0, 2, 5 };
static struct named_tensor feed = {
    { "words", 5 }, { "words", 5 }, { DTYPE_I64, { 2, { 5, 1 } }, words, { 1, { { offsets, 3 } } } }
};

/* The first output's numbers of a call; the reply is printed as name=shape for what else there is. */
static status run(struct flow *f, struct arena *a, struct exec *x, struct infer_reply *reply,
                  struct err *e)
{
    struct infer_request *request = arena_zalloc(a, sizeof(*request));
    *request = (struct infer_request){ .feed = &feed, .feed_count = 1 };
    struct flow_call *c = arena_zalloc(a, sizeof(*c));
    *c = (struct flow_call){ .request = request, .reply = reply, .arena = a, .exec = x, .err = e };
    return flow_run(f, c);
}

static struct tensor run_one(const char *text, const struct flow_env *env, struct arena *a)
{
    struct flow *f;
    struct infer_reply reply;
    struct err e = { "" };
    struct exec *x = exec_new();
    if (build(text, env, &f, &e) != OK || run(f, a, x, &reply, &e) != OK)
        fail_msg("%s", e.text);
    assert_int_equal(reply.output_count, 1);
    assert_int_equal(reply.output[0].tensor_count, 1);
    struct tensor out;
    assert_int_equal(rows_copy(&reply.output[0].tensor[0].tensor, a, &out), OK);
    flow_unref(f);
    exec_free(x);
    return out;
}

#define HEAD                            \
    "nodes:\n"                          \
    "  - {name: cnn, model: " CNN "}\n" \
    "  - {name: bow, model: " BOW "}\n"

static void a_weighted_sum_of_two_models(void **state)
{
    struct arena a;
    arena_init(&a, 0);
    struct tensor cnn = run_one("nodes: [{name: cnn, model: " CNN "}]", NULL, &a);
    struct tensor bow = run_one("nodes: [{name: bow, model: " BOW "}]", NULL, &a);
    struct tensor sum =
        run_one(HEAD "  - {name: s, op: weighted_sum, inputs: [cnn, bow.prediction], "
                     "weights: [0.75, 0.25]}\n",
                NULL, &a);
    assert_int_equal(shape_numel(&sum.shape), 4);
    for (int i = 0; i < 4; i++)
        assert_true(fabsf(((const float *)sum.data)[i] - 0.75f * ((const float *)cnn.data)[i] -
                          0.25f * ((const float *)bow.data)[i]) < 1e-6f);
    arena_deinit(&a);
}

static void branches_on_workers_give_the_same(void **state)
{
    static const char text[] = HEAD "  - {name: s, op: weighted_sum, inputs: [cnn, bow]}\n";
    struct arena a;
    arena_init(&a, 0);
    for (int i = 0; i < 2; i++)
        exec_of_worker[i] = exec_new();
    struct flow_env env = { .workers = workers_start(2, 64), .worker_exec = exec_of_worker };
    struct tensor one = run_one(text, NULL, &a);
    for (int i = 0; i < 50; i++) {
        struct tensor two = run_one(text, &env, &a);
        assert_memory_equal(one.data, two.data, 4 * sizeof(float));
    }
    workers_free(env.workers);
    for (int i = 0; i < 2; i++)
        exec_free(exec_of_worker[i]);
    arena_deinit(&a);
}

static void batches_in_branches_give_the_same(void **state)
{
    static const char text[] =
        "nodes:\n"
        "  - {name: cnn, model: " CNN ", batch: {threads: 1, max_rows: 8}}\n"
        "  - {name: bow, model: " BOW ", batch: {threads: 1, delay_us: 100}}\n"
        "  - {name: s, op: weighted_sum, inputs: [cnn, bow]}\n";
    struct arena a;
    arena_init(&a, 0);
    struct tensor one =
        run_one(HEAD "  - {name: s, op: weighted_sum, inputs: [cnn, bow]}\n", NULL, &a);
    struct tensor two = run_one(text, NULL, &a);
    for (int i = 0; i < 4; i++)
        assert_true(fabsf(((const float *)one.data)[i] - ((const float *)two.data)[i]) < 1e-6f);
    arena_deinit(&a);
}

struct form {
    const char *tail;
    dtype type;
    int64_t numbers;
    double first; /* NAN: any */
};

static double first_of(const struct tensor *t)
{
    if (t->dtype == DTYPE_F32)
        return (double)((const float *)t->data)[0];
    return t->dtype == DTYPE_I64 ? (double)((const int64_t *)t->data)[0]
                                 : ((const double *)t->data)[0];
}

static void every_operator_of_form(void **state)
{
    static const struct form forms[] = {
        { "  - {name: o, op: concat, inputs: [cnn, bow], axis: 1}\n", DTYPE_F32, 8, NAN },
        { "  - {name: o, op: concat, inputs: [cnn, bow], axis: 0}\n", DTYPE_F32, 8, NAN },
        { "  - {name: x, op: select, inputs: [{left: cnn.prediction}, {right: bow.prediction}]}\n"
          "  - {name: o, op: select, inputs: [x.right]}\n",
          DTYPE_F32, 4, NAN },
        { "  - {name: t, op: top_k, k: 1, inputs: [cnn]}\n"
          "  - {name: o, op: select, inputs: [t.indices, ]}\n"
          "  - {name: b, op: copy, inputs: [bow]}\n"
          "  - {op: response, inputs: [o]}\n",
          DTYPE_I64, 2, NAN },
        { "  - {name: s, op: softmax, inputs: [cnn]}\n"
          "  - {name: o, op: cast, to: float64, inputs: [s]}\n"
          "  - {op: response, inputs: [o]}\n",
          DTYPE_F64, 4, NAN },
        { "  - {name: o, op: reshape, shape: [-1], inputs: [cnn]}\n"
          "  - {op: response, inputs: [o]}\n",
          DTYPE_F32, 4, NAN },
        { "  - {name: o, op: constant, value: [2, 3], type: int64}\n"
          "  - {op: response, inputs: [o]}\n",
          DTYPE_I64, 2, 2 },
        { "  - {name: o, op: constant, value: 4}\n"
          "  - {op: response, inputs: [o]}\n"
          "  - {name: unread, op: copy, inputs: [o]}\n",
          DTYPE_F32, 1, 4 },
        { "  - {name: a, op: copy, inputs: [cnn], when: {input: cnn.prediction, index: 0, above: "
          "2}}\n"
          "  - {name: c, op: constant, value: [7]}\n"
          "  - {name: o, op: first, inputs: [a, c]}\n"
          "  - {op: response, inputs: [o]}\n",
          DTYPE_F32, 1, 7 },
        { "  - {name: a, op: copy, inputs: [cnn], when: {input: cnn.prediction, index: 0, below: "
          "2}}\n"
          "  - {name: c, op: constant, value: [7]}\n"
          "  - {name: o, op: first, inputs: [a, c]}\n"
          "  - {op: response, inputs: [o]}\n",
          DTYPE_F32, 4, NAN },
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct arena a;
        struct buf text;
        arena_init(&a, 0);
        buf_init(&text, 1 << 16);
        buf_printf(&text, HEAD "%s", forms[i].tail);
        buf_byte(&text, 0);
        struct tensor t = run_one((const char *)text.data, NULL, &a);
        assert_int_equal(t.dtype, forms[i].type);
        assert_int_equal(shape_numel(&t.shape), forms[i].numbers);
        if (!isnan(forms[i].first))
            assert_true(first_of(&t) == forms[i].first);
        buf_deinit(&text);
        arena_deinit(&a);
    }
}

struct refusal {
    const char *text, *words;
};

static void what_cannot_be_is_refused_with_its_line(void **state)
{
    static const struct refusal refusals[] = {
        { "", "g.yml:1: 'nodes' is missing" },
        { "nodes: 3", "g.yml:1: 'nodes': expected a list" },
        { "nodse: []", "g.yml:1: unknown key 'nodse'; did you mean 'nodes'?" },
        { "nodes:\n  - {name: a, op: weighted_sun}\n",
          "g.yml:2: no operator is called 'weighted_sun'; did you mean 'weighted_sum'?" },
        { HEAD "  - {name: cnn, op: copy, inputs: [bow]}\n",
          "g.yml:4: two nodes are called 'cnn'; the first is in line 2" },
        { HEAD "  - {name: s, op: copy, inputs: [bov]}\n", "did you mean 'bow'?" },
        { HEAD "  - {name: s, op: copy, inputs: [bow.predicton]}\n",
          "gives no 'predicton'; did you mean 'prediction'?" },
        { HEAD "  - {name: s, op: weighted_sum, inputs: [cnn, bow], weigths: [1, 2]}\n",
          "g.yml:4: unknown key 'weigths'; did you mean 'weights'?" },
        { HEAD "  - {name: s, op: weighted_sum, inputs: [cnn, bow], weights: [1]}\n",
          "g.yml:4: node 's' has 2 inputs and 1 weights" },
        { HEAD "  - {name: t, op: top_k, inputs: [cnn]}\n"
               "  - {name: s, op: weighted_sum, inputs: [t.indices, bow]}\n",
          "g.yml:5: node 's' (WeightedSumOp): input 'indices' is int64, expected float32 or "
          "float64" },
        { "nodes:\n  - {name: a, op: copy, inputs: [b]}\n  - {name: b, op: copy, inputs: [c]}\n"
          "  - {name: c, op: copy, inputs: [a]}\n  - {op: response, inputs: [a]}\n",
          "g.yml:4: the graph has a cycle: 'c' waits for 'a' waits for 'b' waits for 'c'" },
        { "nodes:\n  - {name: a, op: infer}\n",
          "g.yml:2: node 'a' (GeneralInferOp) needs a model" },
        { "nodes:\n  - {name: a, model: /nowhere}\n", "g.yml:2: " },
        { HEAD "  - {name: s, op: concat, inputs: [cnn, bow], axis: 7}\n", "has no axis 7" },
        { HEAD "  - {name: s, op: cast, inputs: [cnn], to: flaot32}\n", "did you mean 'float32'?" },
        { HEAD "  - {name: h, model: " HOUSES
               "}\n  - {name: s, op: weighted_sum, inputs: [cnn, h]}\n",
          "g.yml:5: node 's': 'prediction' is [-1, 2] and 'price' is [-1, 1]" },
        { HEAD "  - {name: s, op: top_k, inputs: [cnn], k: 3}\n",
          "g.yml:4: node 's': 'k' is 3, and a row of 'prediction' has 2 numbers" },
        { HEAD "  - {name: h, model: " HOUSES ", inputs: [cnn]}\n",
          "g.yml:4: node 'h': 'cnn.prediction' is float32 [-1, 2] and the model's 'x' is float32 "
          "[-1, 13]" },
        { HEAD "  - {name: h, model: " BOW ", inputs: [{words: cnn.prediction}]}\n",
          "the model's 'words' is int64" },
        { HEAD "  - {name: a, op: response, inputs: [cnn]}\n  - {name: b, op: response, inputs: "
               "[bow]}\n",
          "g.yml:5: nodes 'a' and 'b' both answer" },
        { HEAD "  - {name: a, op: response, inputs: [cnn]}\n  - {name: b, op: copy, inputs: [a]}\n",
          "g.yml:4: node 'b' waits for 'a', which ends the request" },
        { HEAD "  - {name: s, op: copy, inputs: [cnn, bow]}\n", "has 2 input(s); expected 1" },
        { "nodes: &x [*x]", "anchors are not supported" },
        { "nodes: [\n", "g.yml:" },
        { "nodes: []\nnodes: []\n", "g.yml:2: 'nodes' is said twice; first in line 1" },
        { HEAD "  - {name: s, op: copy, inputs: [cnn], when: {input: cnn, abov: 1}}\n",
          "unknown key 'abov'; did you mean 'above'?" },
        { "nodes:\n  - {name: a, model: " CNN ", batch: {thread: 1}}\n",
          "g.yml:2: unknown key 'thread'; did you mean 'threads'?" },
        { "nodes:\n  - {name: a, op: remote, inputs: [request]}\n", "'address' is missing" },
    };
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct flow *f;
        struct err e = { "" };
        status s = build(refusals[i].text, NULL, &f, &e);
        if (s == OK || strstr(e.text, refusals[i].words) == NULL)
            fail_msg("case %zu: %d '%s' does not say '%s'", i, s, e.text, refusals[i].words);
    }
}

static void a_node_s_fault_ends_the_call_with_its_words(void **state)
{
    struct arena a;
    struct flow *f;
    struct infer_reply reply;
    struct err e = { "" };
    struct exec *x = exec_new();
    arena_init(&a, 0);
    assert_int_equal(build(HEAD "  - {name: s, op: reshape, shape: [3, 7], inputs: [cnn]}\n"
                                "  - {op: response, inputs: [s, bow]}\n",
                           NULL, &f, &e),
                     OK);
    assert_int_equal(run(f, &a, x, &reply, &e), INVALID);
    assert_string_equal(e.text, "node 's': [2, 2] cannot become [3, 7]");
    flow_unref(f);
    arena_deinit(&a);
    exec_free(x);
}

/* ---- the original's files ---- */

static const char *write_in(const char *dir, const char *name, const char *text, struct arena *a)
{
    const char *path = arena_printf(a, "%s/%s", dir, name);
    assert_int_equal(file_write(path, text, strlen(text), NULL), OK);
    return path;
}

#define WORKFLOW                                                                                   \
    "workflows { name: \"workflow1\" workflow_type: \"Sequence\"\n"                                \
    "  nodes { name: \"GeneralReaderOp_0\" type: \"GeneralReaderOp\" }\n"                          \
    "  nodes { name: \"cnn\" type: \"GeneralInferOp\"\n"                                           \
    "    dependencies { name: \"GeneralReaderOp_0\" mode: \"RO\" } }\n"                            \
    "  nodes { name: \"bow\" type: \"%s\"\n"                                                       \
    "    dependencies { name: \"GeneralReaderOp_0\" mode: \"RO\" } }\n"                            \
    "  nodes { name: \"GeneralResponseOp_0\" type: \"GeneralResponseOp\"\n"                        \
    "    dependencies { name: \"cnn\" mode: \"RO\" } dependencies { name: \"bow\" mode: \"RO\" } " \
    "} }\n"

static const char *write_workdir(struct arena *a, const char *bow_type)
{
    char *dir =
        arena_printf(a, "%s/oar-workdir-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(dir));
    write_in(dir, "infer_service.prototxt",
             "port: 9393\nservices { name: \"GeneralModelService\" workflows: \"workflow1\" }\n",
             a);
    write_in(dir, "workflow.prototxt", arena_printf(a, WORKFLOW, bow_type), a);
    write_in(dir, "resource.prototxt",
             "model_toolkit_path: \"elsewhere\" model_toolkit_file: \"cnn.prototxt\"\n"
             "model_toolkit_path: \"elsewhere\" model_toolkit_file: \"bow.prototxt\"\n",
             a);
    write_in(dir, "cnn.prototxt",
             "engines { name: \"cnn\" type: \"PADDLE_INFER\" reloadable_meta: \"x\" "
             "reloadable_type: \"timestamp_ne\" model_dir: \"" CNN "\" runtime_thread_num: 0 "
             "batch_infer_size: 32 enable_overrun: false allow_split_request: true }\n",
             a);
    write_in(dir, "bow.prototxt",
             "engines { name: \"bow\" type: \"PADDLE_INFER\" reloadable_meta: \"x\" "
             "reloadable_type: \"timestamp_ne\" model_dir: \"" BOW "\" }\n",
             a);
    return dir;
}

static void remove_workdir(const char *dir, struct arena *a)
{
    static const char *const files[] = { "infer_service.prototxt", "workflow.prototxt",
                                         "resource.prototxt", "cnn.prototxt", "bow.prototxt" };
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        unlink(arena_printf(a, "%s/%s", dir, files[i]));
    rmdir(dir);
}

static void the_original_s_files_are_read_as_they_are(void **state)
{
    struct arena a;
    struct service s;
    struct flow *f;
    struct infer_reply reply;
    struct err e = { "" };
    struct exec *x = exec_new();
    const struct flow_options opt = { .name = "test" };
    arena_init(&a, 0);
    const char *dir = write_workdir(&a, "GeneralInferOp");
    assert_true(service_detect(dir));
    if (service_read(dir, &a, &s, &e) != OK || service_open(&s, &opt, false, &f, &e) != OK ||
        run(f, &a, x, &reply, &e) != OK)
        fail_msg("%s", e.text);
    assert_string_equal(s.name, "GeneralModelService");
    assert_int_equal(reply.output_count, 2);
    assert_true(str_is(reply.output[0].engine, "cnn"));
    assert_true(str_is(reply.output[1].engine, "bow"));
    flow_unref(f);
    exec_free(x);
    remove_workdir(dir, &a);
    arena_deinit(&a);
}

/* What is written into one of the files in place of something else, and what is said about it. */
struct slip {
    const char *file, *from, *to, *words;
};

static void put_slip(const char *dir, const struct slip *slip, struct arena *a)
{
    struct file_map *m;
    const char *path = arena_printf(a, "%s/%s", dir, slip->file);
    assert_int_equal(file_map_open(path, 1 << 20, &m, NULL), OK);
    const char *text = arena_strndup(a, (const char *)file_map_data(m), file_map_size(m));
    file_map_unref(m);
    const char *at = strstr(text, slip->from);
    assert_non_null(at);
    write_in(dir, slip->file,
             arena_printf(a, "%.*s%s%s", (int)(at - text), text, slip->to, at + strlen(slip->from)),
             a);
}

static void faults_of_the_original_s_files_have_their_line(void **state)
{
    static const struct slip slips[] = {
        { "workflow.prototxt", "\"cnn\" type: \"GeneralInferOp\"",
          "\"cnn\" type: \"GeneralInfreOp\"",
          "workflow.prototxt:3: no operator is called 'GeneralInfreOp'; did you mean "
          "'GeneralInferOp'?" },
        { "workflow.prototxt", "Sequence", "Seqence",
          "workflow.prototxt:1: 'workflow_type' cannot be 'Seqence'; did you mean 'Sequence'?" },
        { "workflow.prototxt", "RO", "RX",
          "workflow.prototxt:4: 'mode' cannot be 'RX'; did you mean 'RO'?" },
        { "workflow.prototxt", "nodes { name: \"GeneralResponseOp_0\"", "nodes { name: \"bow\"",
          "workflow.prototxt:7: two nodes are called 'bow'; the first is in line 5" },
        { "workflow.prototxt", "{ name: \"cnn\" mode", "{ name: \"cmm\" mode",
          "no node is called 'cmm'; did you mean 'cnn'?" },
        { "infer_service.prototxt", "port", "prot",
          "infer_service.prototxt:1: unknown key 'prot'; did you mean 'port'?" },
        { "cnn.prototxt", "timestamp_ne", "timestmp_ne",
          "cnn.prototxt:1: 'reloadable_type' cannot be 'timestmp_ne'; did you mean "
          "'timestamp_ne'?" },
        { "cnn.prototxt", "PADDLE_INFER", "PADLE_INFER",
          "'type' cannot be 'PADLE_INFER'; did you mean 'PADDLE_INFER'?" },
        { "cnn.prototxt", "enable_overrun: false", "enable_overrun: fals", "cnn.prototxt:1: " },
        { "cnn.prototxt", "batch_infer_size: 32", "batch_infer_size: many", "cnn.prototxt:1: " },
    };
    for (size_t i = 0; i < ARRAY_LEN(slips); i++) {
        struct arena a;
        struct service s;
        struct flow *f;
        struct err e = { "" };
        const struct flow_options opt = { .name = "test" };
        arena_init(&a, 0);
        const char *dir = write_workdir(&a, "GeneralInferOp");
        put_slip(dir, &slips[i], &a);
        status code = service_read(dir, &a, &s, &e);
        if (code == OK)
            code = service_open(&s, &opt, false, &f, &e);
        if (code != INVALID || strstr(e.text, slips[i].words) == NULL)
            fail_msg("%s in place of %s: %d '%s'", slips[i].to, slips[i].from, code, e.text);
        remove_workdir(dir, &a);
        arena_deinit(&a);
    }
}

static void a_chain_is_what_the_command_line_says(void **state)
{
    static const char *const models[] = { CNN, BOW };
    static const char *const ops[] = { "GeneralInferOp", "GeneralCopyOp:0" };
    struct arena a;
    struct service s;
    struct err e = { "" };
    arena_init(&a, 0);
    assert_int_equal(service_chain(models, 1, ops, 2, &a, &s, &e), OK);
    assert_int_equal(s.spec.node_count, 4);
    assert_string_equal(s.spec.node[2].name, "GeneralCopyOp_0");
    assert_string_equal(s.spec.node[3].input[0].text, "GeneralCopyOp_0");
    assert_int_equal(service_chain(models, 2, ops, 2, &a, &s, &e), INVALID);
    assert_int_equal(service_chain(models, 0, ops, 2, &a, &s, &e), INVALID);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_weighted_sum_of_two_models),
        cmocka_unit_test(branches_on_workers_give_the_same),
        cmocka_unit_test(batches_in_branches_give_the_same),
        cmocka_unit_test(every_operator_of_form),
        cmocka_unit_test(what_cannot_be_is_refused_with_its_line),
        cmocka_unit_test(a_node_s_fault_ends_the_call_with_its_words),
        cmocka_unit_test(the_original_s_files_are_read_as_they_are),
        cmocka_unit_test(faults_of_the_original_s_files_have_their_line),
        cmocka_unit_test(a_chain_is_what_the_command_line_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
