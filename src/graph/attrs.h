/* Attribute structs of the canonical operators, shared by importers (which fill them), shape inference and kernels. A
 * zeroed struct is the default of every field. Layouts are NCHW for images and row-major everywhere. */
#pragma once

#include "graph/op.h"

/* Activation that a fused matmul or conv2d applies to its result; formulas in ops_unary.c, under the same names. */
typedef enum act {
    ACT_NONE,
    ACT_RELU,
    ACT_TANH,
    ACT_SIGMOID,
    ACT_CLIP,
    ACT_LEAKY_RELU,
    ACT_ELU,
    ACT_HARD_SIGMOID,
    ACT_HARD_SWISH,
    ACT_SWISH,
    ACT_MISH,
    ACT_GELU,
    ACT_GELU_TANH,
    ACT_COUNT,
} act;
extern const char *const
    act_names[]; /* in enum order, NULL-terminated; also the unary op's name from ACT_RELU on */

/* An activation with the numbers that its unary operator has. */
struct act_fn {
    int32_t kind; /* enum act */
    float alpha, beta, gamma;
};

/* What a product or a convolution of integers (x int8 or uint8, w int8) makes of them: with s its scale input, one number
 * for each output channel, out = act(s * ((x - x_zero) * w) + bias + residual) and so on as for floats, where an integer
 * residual stands for residual_scale * (residual - residual_zero). An integer result is round_even(out / out_scale) +
 * out_zero, kept in its range. All zero where x is a float. */
enum result {
    RESULT_F32,
    RESULT_I8,
    RESULT_U8,
};
extern const char *const result_names[];

struct integers {
    int32_t x_zero;
    int32_t result; /* enum result */
    float out_scale;
    int32_t out_zero;
    float residual_scale;
    int32_t residual_zero;
};

/* matmul: out = act(alpha * a x b + bias) + residual. a [..., M, K], b [..., K, N] (or transposed), batch dimensions
 * broadcast; a vector operand is taken as NumPy's matmul does. Inputs: a, b, bias (optional, [N]), residual (optional,
 * of the result's shape), scale (of integers alone, [N]; b is then a matrix). */
enum matmul_input {
    MATMUL_A,
    MATMUL_B,
    MATMUL_BIAS,
    MATMUL_RESIDUAL,
    MATMUL_SCALE
};
struct matmul_attrs {
    bool trans_a, trans_b;
    float alpha; /* set to 1 by matmul's importers; 0 is a legal value */
    int32_t act;
    float act_alpha, act_beta, act_gamma; /* as struct act_fn */
    struct integers q;
};

/* A matmul for concrete shapes: stacks of m x k and k x n matrices, whose batch dimensions broadcast to `stack`. */
struct matmul_dims {
    int64_t m, k, n;
    bool trans_a, trans_b; /* never of a vector */
    struct shape stack_a, stack_b, stack;
    struct shape shape; /* of the result */
};
/* false: the shapes do not agree. */
bool matmul_dims(const struct matmul_attrs *m, const struct shape *a, const struct shape *b,
                 struct matmul_dims *out);

/* affine: out = x * scale + bias, element by element. */
struct affine_attrs {
    float scale, bias;
};

/* Unary operators with numbers of their own; ops_unary.c says for each what it makes of them. */
struct curve_attrs {
    float alpha, beta, gamma;
};

/* softmax, and others that work along one axis (negative counts from the end). concat: same. */
struct axis_attrs {
    int32_t axis;
};

/* conv2d: out = act(scale * (x conv w) + bias + residual), or act(scale * (x conv w) + bias) + residual where act_first.
 * Inputs: x [N,C,H,W], w [O,C/groups,kh,kw]; optional ones: bias [O], scale [O] (a constant; what a batch_norm leaves, so
 * that w stays the file's), residual of the result's shape. */
struct conv_attrs {
    int32_t stride_h, stride_w;
    int32_t dilation_h, dilation_w;
    int32_t pad_top, pad_bottom, pad_left, pad_right;
    int32_t groups;
    int32_t auto_pad; /* enum auto_pad: SAME and VALID are worked out in inference */
    int32_t act;
    float act_alpha, act_beta, act_gamma; /* as struct act_fn */
    bool act_first;
    struct integers q;
};
enum conv_input {
    CONV_X,
    CONV_W,
    CONV_BIAS,
    CONV_SCALE,
    CONV_RESIDUAL
};

enum auto_pad {
    PAD_EXPLICIT,
    PAD_SAME,
    PAD_VALID,
};
extern const char *const auto_pad_names[];

enum pool_mode {
    POOL_MAX,
    POOL_AVG,           /* divides by the elements inside the image */
    POOL_AVG_WITH_PADS, /* divides by the window's size, as far as the pads reach */
};
extern const char *const pool_mode_names[];

/* pool2d: x [N,C,H,W]. global: the window is the image. adaptive: kernel is the output size and the windows divide the
 * image as evenly as they can. */
struct pool_attrs {
    int32_t mode; /* enum pool_mode */
    int32_t kernel_h, kernel_w;
    int32_t stride_h, stride_w;
    int32_t pad_top, pad_bottom, pad_left, pad_right;
    int32_t auto_pad;
    bool ceil_mode, global, adaptive;
    bool ceil_inside; /* a last window that ceil_mode would begin behind the image is left out */
};

/* The pads that conv and pool really use, worked out for one image size (SAME, VALID, global). */
struct window {
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int64_t pad_top, pad_bottom, pad_left, pad_right;
    int64_t out_h, out_w;
};
status conv_window(const struct conv_attrs *a, const struct shape *x, const struct shape *w,
                   struct window *out, struct err *e);
status pool_window(const struct pool_attrs *a, const struct shape *x, struct window *out,
                   struct err *e);

/* reshape: 0 keeps the input's dimension at that place, one -1 takes what is left. Input 1: shape (optional); it then
 * counts, not the attribute. */
struct reshape_attrs {
    struct attr_ints shape;
};

/* append: inputs list [k, ...], item [...]; out [k + 1, ...]. A list [0] holds nothing yet, whatever the item is. */

/* flatten: dimensions start .. stop (inclusive, negative from the end) become one. */
struct flatten_attrs {
    int32_t start, stop;
};

/* embedding: inputs ids (int64 or int32, any shape), table [V, D]; out ids.shape + [D]. Rows of padding_id are zeros.
 * An id outside 0 .. V-1 (and not padding) makes the run fail INVALID. */
struct embedding_attrs {
    bool has_padding;
    int64_t padding_id;
};

enum seq_pool_mode {
    SEQ_SUM,
    SEQ_AVERAGE,
    SEQ_SQRT, /* sum over the root of the length */
    SEQ_MAX,
    SEQ_MIN,
    SEQ_FIRST,
    SEQ_LAST,
};
extern const char *const seq_pool_names[];

/* seq_pool: inputs x [T, ...], offsets int64 [n+1]; out [n, ...]. An empty sequence gives pad_value. */
struct seq_pool_attrs {
    int32_t mode; /* enum seq_pool_mode */
    float pad_value;
};

/* seq_conv: inputs x [T, D], offsets, filter [context_length * D, O]; out [T, O]. Row t sees rows t + context_start ..
 * of its own sequence, zeros outside. */
struct seq_conv_attrs {
    int32_t context_start, context_length;
};

/* lstm: Paddle's dynamic_lstm. inputs x [T, 4D] (already projected, gates in the order candidate, input, forget,
 * output), offsets, w [D, 4D], bias [1, 4D], or [1, 7D] with the peepholes w_ic, w_fc, w_oc behind, h0 and c0 (optional,
 * [n, D]); outputs hidden [T, D], cell [T, D]. */
struct lstm_attrs {
    bool peepholes, reverse;
    int32_t gate_act, cell_act, candidate_act; /* enum act */
};
