/* Operators on ragged rows: their offsets become an ordinary input. */
#include "import/paddle/site.h"

static status import_seq_pool(struct site *s)
{
    static const char *const type[] = {
        "SUM", "AVERAGE", "SQRT", "MAX", "MIN", "FIRST", "LAST", NULL
    }; /* as enum seq_pool_mode */
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_offsets(s, "X", &in[1]));
    TRY(site_add1(s, "seq_pool", in, 2, &out));
    *(struct seq_pool_attrs *)node_attrs(out->producer) =
        (struct seq_pool_attrs){ .mode = attr_enum(s, "pooltype", "AVERAGE", type),
                                 .pad_value = (float)attr_f64(s, "pad_value", 0) };
    TRY(site_bind(s, "Out", out));
    if (in[0]->lod_levels > 1) /* the outer levels count what has become rows */
        site_share_lod(out, in[0], in[0]->lod_levels - 1);
    return OK;
}

static status import_seq_conv(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_offsets(s, "X", &in[1]));
    TRY(site_in(s, "Filter", &in[2]));
    if (attr_i64(s, "contextStride", 1) != 1)
        return site_fault(s, UNSUPPORTED, "contextStride %lld, expected 1",
                          (long long)attr_i64(s, "contextStride", 1));
    if (attr_bool(s, "paddingTrainable", false))
        return site_fault(s, UNSUPPORTED, "paddingTrainable");
    TRY(site_add1(s, "seq_conv", in, 3, &out));
    *(struct seq_conv_attrs *)node_attrs(out->producer) =
        (struct seq_conv_attrs){ .context_start = attr_i32(s, "contextStart", 0),
                                 .context_length = attr_i32(s, "contextLength", 1) };
    return site_bind(s, "Out", out);
}

static status read_lstm(struct site *s, struct lstm_attrs *a)
{
    static const char *const name[] = { "identity", "relu", "tanh", "sigmoid",
                                        NULL }; /* enum act */
    *a = (struct lstm_attrs){ .peepholes = attr_bool(s, "use_peepholes", true),
                              .reverse = attr_bool(s, "is_reverse", false),
                              .gate_act = attr_enum(s, "gate_activation", "sigmoid", name),
                              .cell_act = attr_enum(s, "cell_activation", "tanh", name),
                              .candidate_act = attr_enum(s, "candidate_activation", "tanh", name) };
    return OK;
}

static status import_lstm(struct site *s)
{
    struct value *in[6];
    struct node *n;
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_offsets(s, "Input", &in[1]));
    TRY(site_in(s, "Weight", &in[2]));
    TRY(site_in(s, "Bias", &in[3]));
    TRY(site_in_optional(s, "H0", &in[4]));
    TRY(site_in_optional(s, "C0", &in[5]));
    TRY(site_add(s, "lstm", in, in[4] != NULL || in[5] != NULL ? 6 : 4, &n));
    TRY(read_lstm(s, node_attrs(n)));
    s->ragged = in[0];
    TRY(site_bind(s, "Hidden", n->out[0]));
    return site_bind(s, "Cell", n->out[1]);
}

// clang-format off
const struct op_row paddle_sequence[] = {
    { "sequence_pool", "seq_pool", import_seq_pool, LOD_OWN },
    { "sequence_conv", "seq_conv", import_seq_conv, LOD_SHARE },
    { "lstm",          "lstm",     import_lstm,     LOD_SHARE },
    { 0 },
};
// clang-format on
