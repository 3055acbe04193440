/* Every operator's inference function as a table: types in, types out or the words of the refusal. Types and
 * attributes are written as in spec.h and spec_node.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spec_node.h"

struct row {
    const char *op, *attrs, *in;
    const char *out; /* or, behind "!", a part of the words */
};

#define BIG "9223372036854775807"

#define CONV "stride_h=1 stride_w=1 dilation_h=1 dilation_w=1 groups=1 "
#define POOL "kernel_h=2 kernel_w=2 stride_h=2 stride_w=2 "
#define MUL  "alpha=1 "

// clang-format off
static const struct row unary_rows[] = {
    { "identity", "",        "l[2,3]",   "l[2,3]" },
    { "relu",     "",        "f[]",      "f[]" },
    { "tanh",     "",        "f[0,3]",   "f[0,3]" },
    { "sigmoid",  "",        "f[2]",     "f[2]" },
    { "exp",      "",        "d[2]",     "d[2]" },
    { "log",      "",        "f[2]",     "f[2]" },
    { "sqrt",     "",        "f[2]",     "f[2]" },
    { "abs",      "",        "f[2]",     "f[2]" },
    { "square",   "",        "f[2]",     "f[2]" },
    { "affine",   "scale=2", "f[1,2,3]", "f[1,2,3]" },
    { "softmax",  "axis=-1", "f[2,3]",   "f[2,3]" },
    { "softmax",  "axis=0",  "f[2,3]",   "f[2,3]" },
    { "softmax",  "axis=2",  "f[2,3]",   "!axis 2 does not fit 2 dimensions" },
    { "softmax",  "axis=-3", "f[2,3]",   "!axis -3 does not fit 2 dimensions" },
    { "softmax",  "axis=0",  "f[]",      "!axis 0 does not fit 0 dimensions" },
};

static const struct row binary_rows[] = {
    { "add", "", "f[2,3] f[2,3]",   "f[2,3]" },
    { "sub", "", "l[2,3] l[3]",     "l[2,3]" },
    { "mul", "", "f[3] f[2,1]",     "f[2,3]" },
    { "div", "", "f[] f[2]",        "f[2]" },
    { "max", "", "f[4,1,3] f[5,1]", "f[4,5,3]" },
    { "min", "", "f[0,3] f[1,3]",   "f[0,3]" },
    { "pow", "", "f[1] f[0]",       "f[0]" },
    { "add", "", "f[2,3] f[2]",     "!shapes [2, 3] and [2] do not broadcast" },
    { "add", "", "f[2] f[0]",       "!shapes [2] and [0] do not broadcast" },
    { "add", "", "f[2] l[2]",       "!its inputs are float32 and int64, expected one dtype" },
};

static const struct row matmul_rows[] = {
    { "matmul", MUL,                             "f[2,3] f[3,4]",             "f[2,4]" },
    { "matmul", MUL "trans_a=true",              "f[3,2] f[3,4]",             "f[2,4]" },
    { "matmul", MUL,                             "u[2,3] c[3,4] - - f[4]",    "f[2,4]" },
    { "matmul", MUL "q.result=int8 q.out_scale=1", "u[2,3] c[3,4] f[4] - f[4]", "c[2,4]" },
    { "matmul", MUL,                             "u[2,3] c[3,4]",             "!integers without a scale" },
    { "matmul", MUL "q.result=int8",             "u[2,3] c[3,4] - - f[4]",    "!a result in units of 0" },
    { "matmul", MUL "q.result=int8 q.out_scale=1", "f[2,3] f[3,4]",           "!an integer result of float32" },
    { "matmul", MUL,                             "u[2,3] c[3,4] - c[2,4] f[4]", "!int8 cannot be added to a result of float32" },
    { "matmul", MUL "trans_a=true",              "u[3,2] c[3,4] - - f[4]",    "!integers are multiplied as rows times one matrix" },
    { "matmul", MUL "trans_b=true",              "f[2,3] f[4,3]",             "f[2,4]" },
    { "matmul", MUL "trans_a=true trans_b=true", "f[3,2] f[4,3]",             "f[2,4]" },
    { "matmul", MUL,                             "f[3] f[3]",                 "f[]" },
    { "matmul", MUL,                             "f[3] f[3,4]",               "f[4]" },
    { "matmul", MUL,                             "f[2,3] f[3]",               "f[2]" },
    { "matmul", MUL "trans_a=true",              "f[3] f[3,4]",               "f[4]" },
    { "matmul", MUL "trans_b=true",              "f[2,3] f[3]",               "f[2]" },
    { "matmul", MUL,                             "f[5,2,3] f[3]",             "f[5,2]" },
    { "matmul", MUL,                             "f[3] f[5,3,4]",             "f[5,4]" },
    { "matmul", MUL,                             "f[7,1,2,3] f[5,3,4]",       "f[7,5,2,4]" },
    { "matmul", MUL "trans_a=true",              "f[7,3,2] f[7,3,4]",         "f[7,2,4]" },
    { "matmul", MUL,                             "f[0,3] f[3,4]",             "f[0,4]" },
    { "matmul", MUL,                             "f[2,0] f[0,4]",             "f[2,4]" },
    { "matmul", MUL,                             "f[2,3] f[3,4] f[4]",        "f[2,4]" },
    { "matmul", MUL,                             "f[2,3] f[3,4] -",           "f[2,4]" },
    { "matmul", MUL,                             "f[2,3] f[3] f[1]",          "f[2]" },
    { "matmul", MUL,                             "f[1,1,1,1,1,1,2,3] f[3,4]", "f[1,1,1,1,1,1,2,4]" },
    { "matmul", MUL,                             "f[2,3] f[4,3]",             "!shapes [2, 3] and [4, 3] do not make a matrix product" },
    { "matmul", MUL,                             "f[2,2,3] f[3,3,4]",         "!shapes [2, 2, 3] and [3, 3, 4] do not make" },
    { "matmul", MUL,                             "f[] f[3]",                  "!shapes [] and [3] do not make" },
    { "matmul", MUL,                             "f[3] f[]",                  "!shapes [3] and [] do not make" },
    { "matmul", MUL,                             "f[2,3] d[3,4]",             "!expected float32 as its second operand, got float64" },
    { "matmul", MUL,                             "f[2,3] f[3,4] f[3]",        "!expected a bias of shape [4], got [3]" },
    { "matmul", MUL,                             "f[2,3] f[3,4] f[1,4]",      "!expected a bias of shape [4], got [1, 4]" },
    { "matmul", MUL,                             "f[2,3] f[3,4] l[4]",        "!expected float32 as its bias, got int64" },
    { "matmul", MUL,                             "f[2,3] f[3,4] - f[2,4]",    "f[2,4]" },
    { "matmul", MUL,                             "f[2,3] f[3,4] - f[4]",      "!expected [2, 4] to be added, got [4]" },
    { "matmul", MUL,                             "f[2,3] f[3,4] - l[2,4]",    "!expected float32 as what is added, got int64" },
};

static const struct row conv_rows[] = {
    { "conv2d", CONV,                             "f[2,3,8,9] f[4,3,3,2]",        "f[2,4,6,8]" },
    { "conv2d", CONV,                             "f[2,3,8,9] f[4,3,3,2] f[4]",   "f[2,4,6,8]" },
    { "conv2d", CONV,                             "u[2,3,8,9] c[4,3,3,2] f[4] f[4]", "f[2,4,6,8]" },
    { "conv2d", CONV "q.result=uint8 q.out_scale=0.5 q.residual_scale=1", "c[2,3,8,9] c[4,3,3,2] f[4] f[4] u[2,4,6,8]", "u[2,4,6,8]" },
    { "conv2d", CONV "q.result=uint8 q.out_scale=0.5", "c[2,3,8,9] c[4,3,3,2] f[4] f[4] u[2,4,6,8]", "!uint8 cannot be added" },
    { "conv2d", CONV,                             "f[2,3,8,9] f[4,3,3,2] f[4] f[4] f[2,4,6,8]", "f[2,4,6,8]" },
    { "conv2d", CONV,                             "f[2,3,8,9] f[4,3,3,2] - f[3]", "!expected a scale of shape [4], got [3]" },
    { "conv2d", CONV,                             "f[2,3,8,9] f[4,3,3,2] - - f[4]", "!expected [2, 4, 6, 8] to be added, got [4]" },
    { "conv2d", CONV,                             "f[2,3,8,9] f[4,3,3,2] -",      "f[2,4,6,8]" },
    { "conv2d", CONV "pad_top=1 pad_right=2",     "f[2,3,8,9] f[4,3,3,2]",        "f[2,4,7,10]" },
    { "conv2d", CONV "stride_h=2 stride_w=3",     "f[2,3,8,9] f[4,3,3,2]",        "f[2,4,3,3]" },
    { "conv2d", CONV "dilation_h=3 dilation_w=2", "f[2,3,8,9] f[4,3,3,2]",        "f[2,4,2,7]" },
    { "conv2d", CONV "groups=3",                  "f[1,6,8,8] f[9,2,1,1]",        "f[1,9,8,8]" },
    { "conv2d", CONV "groups=6",                  "f[1,6,8,8] f[6,1,8,8]",        "f[1,6,1,1]" },
    { "conv2d", CONV,                             "f[0,3,8,8] f[4,3,3,3]",        "f[0,4,6,6]" },
    { "conv2d", CONV "pad_top=2 pad_left=2",      "f[1,3,0,1] f[4,3,2,3]",        "f[1,4,1,1]" },
    { "conv2d", CONV "auto_pad=same",             "f[1,1,7,8] f[1,1,3,3]",        "f[1,1,7,8]" },
    { "conv2d", CONV "auto_pad=same stride_h=2 stride_w=2", "f[1,1,7,8] f[1,1,3,3]",        "f[1,1,4,4]" },
    { "conv2d", CONV "auto_pad=same stride_h=9 stride_w=9", "f[1,1,7,8] f[1,1,2,2]",        "f[1,1,1,1]" },
    { "conv2d", CONV "auto_pad=same dilation_h=2 dilation_w=3", "f[1,1,7,8] f[1,1,3,3]",        "f[1,1,7,8]" },
    { "conv2d", CONV "auto_pad=same pad_top=5",   "f[1,1,7,8] f[1,1,3,3]",        "f[1,1,7,8]" },
    { "conv2d", CONV "auto_pad=valid pad_top=5",  "f[1,1,7,8] f[1,1,3,3]",        "f[1,1,5,6]" },
    { "conv2d", CONV,                             "f[3,8,8] f[4,3,3,3]",          "!expected 4 dimensions of its image, got [3, 8, 8]" },
    { "conv2d", CONV,                             "f[1,3,8,8] f[3,3]",            "!expected 4 dimensions of its filter, got [3, 3]" },
    { "conv2d", CONV,                             "f[1,3,8,8] d[4,3,3,3]",        "!expected float32 as its filter, got float64" },
    { "conv2d", CONV,                             "f[1,3,8,8] f[4,2,3,3]",        "!image [1, 3, 8, 8] and filter [4, 2, 3, 3] do not agree in 1 group(s)" },
    { "conv2d", CONV "groups=2",                  "f[1,3,8,8] f[4,1,3,3]",        "!do not agree in 2 group(s)" },
    { "conv2d", CONV "groups=2",                  "f[1,4,8,8] f[3,2,3,3]",        "!do not agree in 2 group(s)" },
    { "conv2d", CONV "groups=0",                  "f[1,3,8,8] f[4,3,3,3]",        "!do not agree in 0 group(s)" },
    { "conv2d", CONV "groups=-1",                 "f[1,3,8,8] f[4,3,3,3]",        "!do not agree in -1 group(s)" },
    { "conv2d", CONV,                             "f[1,3,8,8] f[4,3,3,3] f[3]",   "!expected a bias of shape [4], got [3]" },
    { "conv2d", CONV,                             "f[1,3,8,8] f[4,3,3,3] f[4,1]", "!expected a bias of shape [4], got [4, 1]" },
    { "conv2d", CONV,                             "f[1,3,8,8] f[4,3,3,3] d[4]",   "!expected float32 as its bias, got float64" },
    { "conv2d", CONV,                             "f[1,3,2,8] f[4,3,3,3]",        "!the filter (3 x 3) is larger than the padded image" },
    { "conv2d", CONV "dilation_w=4",              "f[1,3,8,8] f[4,3,3,3]",        "!the filter (3 x 9) is larger than the padded image" },
    { "conv2d", CONV,                             "f[1,3,8,8] f[4,3,0,3]",        "!a filter without elements" },
    { "conv2d", CONV "stride_w=0",                "f[1,3,8,8] f[4,3,3,3]",        "!strides 1, 0 and dilations 1, 1 must be 1 or more" },
    { "conv2d", CONV "dilation_h=-2",             "f[1,3,8,8] f[4,3,3,3]",        "!strides 1, 1 and dilations -2, 1 must be 1 or more" },
    { "conv2d", CONV "pad_left=-1",               "f[1,3,8,8] f[4,3,3,3]",        "!pads 0, 0, -1, 0 must not be negative" },
    { "conv2d", CONV "auto_pad=same",             "f[1,3,0,8] f[4,3,3,3]",        "!larger than the padded image" },
    { "conv2d", CONV "pad_top=1",                 "f[0,1," BIG ",1] f[1,1,1,1]",  "!too large" },
    { "conv2d", CONV "auto_pad=same stride_w=2",  "f[0,1,1," BIG "] f[1,1,1,1]",  "!too large" },
};

static const struct row pool_rows[] = {
    { "pool2d", POOL,                             "f[2,3,8,9]",       "f[2,3,4,4]" },
    { "pool2d", POOL "ceil_mode=true",            "f[2,3,8,9]",       "f[2,3,4,5]" },
    { "pool2d", POOL "pad_top=1 pad_left=1",      "f[2,3,8,9]",       "f[2,3,4,5]" },
    { "pool2d", POOL "stride_h=1 stride_w=3",     "f[2,3,8,9]",       "f[2,3,7,3]" },
    { "pool2d", POOL "auto_pad=same",             "f[2,3,8,9]",       "f[2,3,4,5]" },
    { "pool2d", POOL "auto_pad=same stride_h=1",  "f[2,3,8,9]",       "f[2,3,8,5]" },
    { "pool2d", POOL "auto_pad=valid pad_top=1",  "f[2,3,8,9]",       "f[2,3,4,4]" },
    { "pool2d", POOL "global=true kernel_h=0",    "f[2,3,8,9]",       "f[2,3,1,1]" },
    { "pool2d", POOL "adaptive=true kernel_w=5",  "f[2,3,8,9]",       "f[2,3,2,5]" },
    { "pool2d", POOL "adaptive=true kernel_w=50 stride_h=0", "f[2,3,8,9]",       "f[2,3,2,50]" },
    { "pool2d", POOL,                             "f[0,3,8,8]",       "f[0,3,4,4]" },
    { "pool2d", POOL "mode=avg",                  "d[1,0,8,8]",       "d[1,0,4,4]" },
    { "pool2d", POOL,                             "f[3,8,8]",         "!expected 4 dimensions of its image, got [3, 8, 8]" },
    { "pool2d", POOL "kernel_h=0",                "f[1,1,8,8]",       "!window 0 x 2, strides 2, 2 or pads do not make sense" },
    { "pool2d", POOL "kernel_h=0 adaptive=true",  "f[1,1,8,8]",       "!do not make sense" },
    { "pool2d", POOL "stride_w=0",                "f[1,1,8,8]",       "!do not make sense" },
    { "pool2d", POOL "pad_right=-1",              "f[1,1,8,8]",       "!do not make sense" },
    { "pool2d", POOL "kernel_w=9",                "f[1,1,8,8]",       "!some of the 2 x 9 windows lie outside the image" },
    { "pool2d", POOL "pad_top=2",                 "f[1,1,8,8]",       "!lie outside the image" },
    { "pool2d", POOL "pad_bottom=2 stride_h=1",   "f[1,1,8,8]",       "!lie outside the image" },
    { "pool2d", POOL "ceil_mode=true stride_w=7", "f[1,1,8,7]",       "!lie outside the image" },
    { "pool2d", POOL "global=true",               "f[1,1,0,8]",       "!lie outside the image" },
    { "pool2d", POOL "adaptive=true",             "f[1,1,8,0]",       "!lie outside the image" },
    { "pool2d", POOL "auto_pad=same",             "f[1,1,0,8]",       "!lie outside the image" },
    { "pool2d", POOL "pad_left=1 ceil_mode=true", "f[0,1,1," BIG "]", "!too large" },
    { "pool2d", POOL "adaptive=true",             "f[0,1," BIG ",1]", "!too large" },
};

static const struct row shape_rows[] = {
    { "reshape", "shape=[3,2]",                "f[2,3]",               "f[3,2]" },
    { "reshape", "shape=[0,-1]",               "f[2,3,4]",             "f[2,12]" },
    { "reshape", "shape=[7]",                  "f[2,3,4] l{4,-1}",     "f[4,6]" },
    { "reshape", "shape=[-1,0,2]",             "f[2,3,4]",             "f[4,3,2]" },
    { "reshape", "shape=[-1]",                 "l[]",                  "l[1]" },
    { "reshape", "shape=[]",                   "f[1,1]",               "f[]" },
    { "reshape", "shape=[0,-1]",               "f[0,3,4]",             "f[0,0]" },
    { "reshape", "shape=[-1,12]",              "f[0,3,4]",             "f[0,12]" },
    { "reshape", "shape=[2,3,0]",              "f[0]",                 "f[2,3,0]" },
    { "reshape", "shape=[1,1,1,1,1,1,1,6]",    "f[6]",                 "f[1,1,1,1,1,1,1,6]" },
    { "reshape", "shape=[3,3]",                "f[2,3]",               "!shape [2, 3] cannot become [3, 3]" },
    { "reshape", "shape=[-1,-1]",              "f[2,3]",               "!shape [2, 3] cannot become [-1, -1]" },
    { "reshape", "shape=[-2,3]",               "f[2,3]",               "!shape [2, 3] cannot become [-2, 3]" },
    { "reshape", "shape=[-1,4]",               "f[2,3]",               "!shape [2, 3] cannot become [-1, 4]" },
    { "reshape", "shape=[2,3,0]",              "f[2,3]",               "!shape [2, 3] cannot become [2, 3, 0]" },
    { "reshape", "shape=[-1,4,0]",             "f[2,2]",               "!shape [2, 2] cannot become [-1, 4, 0]" },
    { "reshape", "shape=[1,1,1,1,1,1,1,1,6]",  "f[6]",                 "!shape [6] cannot become [1, 1, 1, 1, 1, 1, 1, 1]" },
    { "reshape", "shape=[" BIG "," BIG ",1]",  "f[2,3]",               "!cannot become" },
    { "reshape", "shape=[" BIG "," BIG ",-1]", "f[2,3]",               "!cannot become" },
    { "flatten", "start=0 stop=-1",            "f[2,3,4]",             "f[24]" },
    { "flatten", "start=1 stop=-1",            "f[2,3,4]",             "f[2,12]" },
    { "flatten", "start=-3 stop=1",            "f[2,3,4]",             "f[6,4]" },
    { "flatten", "start=1 stop=1",             "f[2,3,4]",             "f[2,3,4]" },
    { "flatten", "start=1 stop=2",             "l[2,0,4]",             "l[2,0]" },
    { "flatten", "start=2 stop=1",             "f[2,3,4]",             "!dimensions 2 to 1 do not fit 3 dimensions" },
    { "flatten", "start=0 stop=3",             "f[2,3,4]",             "!dimensions 0 to 3 do not fit 3 dimensions" },
    { "flatten", "start=0 stop=0",             "f[]",                  "!dimensions 0 to 0 do not fit 0 dimensions" },
    { "trees",   "targets=2",                  "f[9,4] i[5,7] f[5] i[3] f[3] i[2]",      "f[9,2]" },
    { "trees",   "targets=2",                  "f[9,4] i[5,7] f[5] i[3] f[3] i[2] f[2]", "f[9,2]" },
    { "trees",   "targets=0",                  "f[9,4] i[5,7] f[5] i[3] f[3] i[2]",      "!0 targets" },
    { "trees",   "targets=2",                  "f[9,4] i[5,6] f[5] i[3] f[3] i[2]",      "!nodes of 6 numbers, expected 7" },
    { "trees",   "targets=2",                  "f[9,4] i[5,7] f[4] i[3] f[3] i[2]",      "!4 of thresholds, expected 5" },
    { "trees",   "targets=2",                  "f[9,4] i[5,7] f[5] i[3] f[3] i[2] f[3]", "!3 of base values, expected 2" },
    { "nms_each", "",                          "f[2,5,4] f[2,3,5]",                      "l[30,3]" },
    { "nms_each", "",                          "f[2,5,4] f[2,3,6]",                      "!boxes [2, 5, 4] and scores [2, 3, 6]" },
    { "nms_each", "",                          "f[2,5,4] f[2,3,5] l[2]",                 "!how many at most: expected one number, got 2" },
    { "append",  "",                           "f[0] f[2,3]",          "f[1,2,3]" },
    { "append",  "",                           "f[4,2,3] f[2,3]",      "f[5,2,3]" },
    { "append",  "",                           "l[3] l[]",             "l[4]" },
    { "append",  "",                           "f[4,2,3] f[3,2]",      "!float32 [3, 2] cannot join float32 [4, 2, 3]" },
    { "append",  "",                           "f[0] l[3]",            "!int64 [3] cannot join float32 [0]" },
    { "concat",  "axis=0",                     "f[2,3]",               "f[2,3]" },
    { "concat",  "axis=1",                     "f[2,3] f[2,1] f[2,0]", "f[2,4]" },
    { "concat",  "axis=-2",                    "l[2,3] l[5,3]",        "l[7,3]" },
    { "concat",  "axis=2",                     "f[2,3] f[2,3]",        "!its axis does not fit 2 dimensions" },
    { "concat",  "axis=0",                     "f[] f[]",              "!its axis does not fit 0 dimensions" },
    { "concat",  "axis=0",                     "f[2,3] f[2,4]",        "!inputs 0 and 1 (float32 [2, 3] and float32 [2, 4]) do not join along axis 0" },
    { "concat",  "axis=0",                     "f[2] f[2] l[2]",       "!inputs 0 and 2 (float32 [2] and int64 [2]) do not join along axis 0" },
    { "concat",  "axis=0",                     "f[2] f[2,1]",          "!do not join along axis 0" },
    { "concat",  "axis=0",                     "f[2] -",               "!do not join along axis 0" },
    { "concat",  "axis=0",                     "f[" BIG "] f[1]",      "!the joined axis overflows" },
};

static const struct row index_rows[] = {
    { "embedding", "", "l[2,3] f[100,8]",           "f[2,3,8]" },
    { "embedding", "", "i[] f[100,8]",              "f[8]" },
    { "embedding", "", "l[0] d[100,8]",             "d[0,8]" },
    { "embedding", "", "l[1,1,1,1,1,1,1] f[0,2]",   "f[1,1,1,1,1,1,1,2]" },
    { "embedding", "", "f[2,3] f[100,8]",           "!expected int64 or int32 ids, got float32" },
    { "embedding", "", "l[2] f[100]",               "!expected 2 dimensions of its table, got [100]" },
    { "embedding", "", "l[1,1,1,1,1,1,1,1] f[9,2]", "!ids of 8 dimensions, at most 7" },
};

static const struct row sequence_rows[] = {
    { "seq_pool", "mode=sum",                       "f[8,3] l{0,3,8}",          "f[2,3]" },
    { "seq_pool", "mode=sum",                       "f[8] l{0,8}",              "f[1]" },
    { "seq_pool", "mode=sum",                       "f[0,3,2] l{0}",            "f[0,3,2]" },
    { "seq_pool", "mode=sum",                       "f[0,3,2] l{0,0}",          "f[1,3,2]" },
    { "seq_pool", "mode=sum",                       "f[8,3] i[3]",              "!expected int64 as its offsets, got int32" },
    { "seq_pool", "mode=sum",                       "f[8,3] l[3,1]",            "!expected 1 dimensions of its offsets, got [3, 1]" },
    { "seq_pool", "mode=sum",                       "f[8,3] l[0]",              "!its offsets are empty" },
    { "seq_pool", "mode=sum",                       "f[] l[2]",                 "!expected rows, got a scalar" },
    { "seq_conv", "context_start=-1 context_length=3", "f[8,3] l{0,3,8} f[9,5]",   "f[8,5]" },
    { "seq_conv", "context_start=0 context_length=1", "f[0,3] l{0} f[3,5]",       "f[0,5]" },
    { "seq_conv", "context_start=-1 context_length=3", "f[8,3] l[2] f[6,5]",       "!3 rows of 3 do not make the filter's 6" },
    { "seq_conv", "context_start=-1 context_length=0", "f[8,0] l[2] f[0,5]",       "!0 rows of 0 do not make the filter's 0" },
    { "seq_conv", "context_start=0 context_length=-1", "f[8,3] l[2] f[3,5]",       "!-1 rows of 3 do not make" },
    { "seq_conv", "context_start=0 context_length=3", "f[8,3,1] l[2] f[9,5]",     "!expected 2 dimensions of its rows" },
    { "seq_conv", "context_start=0 context_length=3", "f[8,3] l[2] f[9]",         "!expected 2 dimensions of its filter" },
    { "seq_conv", "context_start=0 context_length=3", "f[8,3] l[2] d[9,5]",       "!expected float32 as its filter, got float64" },
    { "seq_conv", "context_start=0 context_length=3", "f[8,3] f[2] f[9,5]",       "!expected int64 as its offsets, got float32" },
    { "seq_conv", "context_start=0 context_length=3", "f[0," BIG "] l[2] f[0,5]", "!do not make the filter's 0" },
};

static const struct row rnn_rows[] = {
    { "lstm", "",               "f[8,20] l{0,3,8} f[5,20] f[1,20]", "f[8,5] f[8,5]" },
    { "lstm", "peepholes=true", "f[8,20] l{0,3,8} f[5,20] f[1,35]", "f[8,5] f[8,5]" },
    { "lstm", "",               "f[8,20] l{0,3,8} f[5,20] f[20] f[2,5] f[2,5]", "f[8,5] f[8,5]" },
    { "lstm", "",               "f[8,20] l{0,3,8} f[5,20] f[20] - f[2,5]", "f[8,5] f[8,5]" },
    { "lstm", "",               "f[0,20] l{0} f[5,20] f[20] - -", "f[0,5] f[0,5]" },
    { "lstm", "",               "f[8,20] l[3] f[5,20] f[1,35]", "!a bias of 4D elements expected, D is 5" },
    { "lstm", "peepholes=true", "f[8,20] l[3] f[5,20] f[1,20]", "!a bias of 7D elements expected, D is 5" },
    { "lstm", "",               "f[8,21] l[3] f[5,20] f[1,20]", "!a weight of [D, 4D] and rows of 4D expected, D is 5" },
    { "lstm", "",               "f[8,20] l[3] f[5,21] f[1,20]", "!a weight of [D, 4D] and rows of 4D expected, D is 5" },
    { "lstm", "",               "f[8,20] l[3] f[5,20] f[1,20] f[3,5] -", "!expected a first state of [2, 5]" },
    { "lstm", "",               "f[8,20] l[3] f[5,20] f[1,20] - f[2,4]", "!expected a first state of [2, 5]" },
    { "lstm", "",               "f[8,20] l[3] f[5,20] f[1,20] f[10] -", "!expected a first state of [2, 5]" },
    { "lstm", "",               "f[8,20] l[3] f[5,20] f[1,20] d[2,5] -", "!expected float32 as its first state, got float64" },
    { "lstm", "",               "f[8,20] l[3] f[5,20] d[1,20]", "!expected float32 as its bias, got float64" },
    { "lstm", "",               "f[8,20] l[3] d[5,20] f[1,20]", "!expected float32 as its weight, got float64" },
    { "lstm", "",               "f[8,20] i[3] f[5,20] f[1,20]", "!expected int64 as its offsets, got int32" },
    { "lstm", "",               "f[8] l[3] f[5,20] f[1,20]",    "!expected 2 dimensions of its rows, got [8]" },
    { "lstm", "",               "f[8,20] l[3] f[100] f[1,20]",  "!expected 2 dimensions of its weight, got [100]" },
    { "lstm", "",               "f[0,0] l[1] f[" BIG ",0] f[0]", "!a weight of [D, 4D]" },
};

#include "detect_rows.h"
#include "elementwise_rows.h"
#include "fill_rows.h"
#include "image_rows.h"
#include "move_rows.h"
#include "ragged_rows.h"

static const struct row attention_rows[] = {
    { "attention", "scale=1", "f[2,4,3,8] f[2,5,3,8] f[2,5,3,7]", "f[2,4,3,7]" },
    { "attention", "scale=1", "f[2,4,3,8] f[2,5,3,8] f[2,5,3,7] f[4,5]", "f[2,4,3,7]" },
    { "attention", "scale=1 q_heads_first=true out_heads_first=true", "f[2,3,4,8] f[2,5,3,8] f[2,5,3,7] -", "f[2,3,4,7]" },
    { "attention", "scale=1", "f[1,4,3,8] f[2,5,1,8] f[2,5,3,7]", "f[2,4,3,7]" },
    { "attention", "scale=1", "f[2,4,3,8] f[2,5,2,8] f[2,5,3,7]", "!query [2, 4, 3, 8], key [2, 5, 2, 8] and value [2, 5, 3, 7] do not agree" },
    { "attention", "scale=1", "f[2,4,3,8] f[2,5,3,9] f[2,5,3,7]", "!do not agree" },
    { "attention", "scale=1", "f[2,4,3,8] f[2,5,3,8] f[2,6,3,7]", "!do not agree" },
    { "attention", "scale=1", "f[4,3,8] f[2,5,3,8] f[2,6,3,7]", "!expected 4 dimensions" },
    { "attention", "scale=1", "f[2,4,3,8] d[2,5,3,8] f[2,5,3,7]", "!expected float32 as its operands" },
    { "attention", "scale=1", "f[2,4,3,8] f[2,5,3,8] f[2,5,3,7] f[3,5]", "!mask [3, 5] does not fit" },
    { "attention", "scale=1", "f[1,4,3,8] f[1,5,3,8] f[1,5,3,7] f[2,1,4,5]", "!mask [2, 1, 4, 5] does not fit" },
};

#define HEADS "q_heads=4 kv_heads=2 "
static const struct row signal_rows[] = {
    { "dft", "axis=1", "f[2,8,1]", "f[2,8,2]" },
    { "dft", "axis=-2 inverse=true", "d[2,8,2]", "d[2,8,2]" },
    { "dft", "axis=-2 one_sided=true", "f[2,8,1]", "f[2,5,2]" },
    { "dft", "axis=-2 one_sided=true inverse=true", "f[2,5,2]", "f[2,8,1]" },
    { "dft", "axis=-2 one_sided=true inverse=true", "f[2,5,2] l{9}", "f[2,9,1]" },
    { "dft", "axis=-2", "f[2,3,8,1] l{6} l{1}", "f[2,6,8,2]" },
    { "dft", "axis=2", "f[2,8,1]", "!axis 2 does not fit [2, 8, 1]" },
    { "dft", "axis=1", "f[2,8,3]", "!a last dimension of 1 or 2, got [2, 8, 3]" },
    { "dft", "axis=1", "f[2,8,1] l{0}", "!a transform of 0 elements of 8" },
    { "dft", "axis=1", "f[2,8,1] l{" BIG "}", "!elements of 8" },
    { "dft", "axis=1", "f[2,8,1] l{1,2}", "!its length is not one number but 2" },
    { "dft", "axis=1 one_sided=true", "f[2,8,2]", "!one side of complex numbers" },

    { "linear_attention", HEADS, "f[2,3,20] f[2,3,10] f[2,3,14]", "f[2,3,28] f[2,2,5,7]" },
    { "linear_attention", HEADS, "f[2,3,20] f[2,3,10] f[2,3,14] f[2,2,5,7] f[2,3,10] f[2,3,1]", "f[2,3,28] f[2,2,5,7]" },
    { "linear_attention", HEADS, "f[2,3,20] f[2,3,10] f[2,3,14] - f[2,3,2] f[2,3,2]", "f[2,3,28] f[2,2,5,7]" },
    { "linear_attention", HEADS, "f[2,3,20] f[2,3,10] f[2,3,14] - f[2,3,3]", "!expected [2, 3, 10] as its decay, got [2, 3, 3]" },
    { "linear_attention", HEADS, "f[2,3,20] f[2,3,10] f[2,3,14] - - f[2,3,3]", "!expected [2, 3, 1] as its update rate" },
    { "linear_attention", HEADS, "f[2,3,20] f[2,3,10] f[2,3,14] f[2,2,5,8]", "!expected [2, 2, 5, 7] as its state" },
    { "linear_attention", HEADS, "f[2,3,20] f[2,4,10] f[2,3,14]", "!expected [2, 3, 10] as its keys, got [2, 4, 10]" },
    { "linear_attention", HEADS, "f[2,3,21] f[2,3,10] f[2,3,14]", "!21 and 14 numbers do not make 4 and 2 heads" },
    { "linear_attention", "q_heads=3 kv_heads=2", "f[2,3,21] f[2,3,14] f[2,3,14]", "!do not make 3 and 2 heads" },
    { "linear_attention", "", "f[2,3,21] f[2,3,14] f[2,3,14]", "!do not make 0 and 0 heads" },
    { "linear_attention", HEADS, "f[2,20] f[2,3,10] f[2,3,14]", "!expected 3 dimensions of its queries" },
};

#define FAMILY(rows) { rows, ARRAY_LEN(rows) }
static const struct {
    const struct row *row;
    size_t count;
} families[] = {
    FAMILY(unary_rows), FAMILY(binary_rows), FAMILY(matmul_rows), FAMILY(conv_rows),
    FAMILY(pool_rows), FAMILY(shape_rows), FAMILY(index_rows), FAMILY(sequence_rows),
    FAMILY(rnn_rows), FAMILY(elementwise_rows), FAMILY(image_rows), FAMILY(detect_rows), FAMILY(detect_rows),
    FAMILY(move_rows), FAMILY(choose_rows), FAMILY(reduce_rows),
    FAMILY(fill_rows), FAMILY(array_rows), FAMILY(attention_rows),
    FAMILY(recurrent_rows), FAMILY(ragged_rows),
    FAMILY(quant_rows), FAMILY(choose_odd_rows), FAMILY(random_rows), FAMILY(signal_rows),
};
// clang-format on

/* ---- running a row ---- */

static void expect_types(const struct row *r, struct spec_node *n)
{
    struct tensor want[SPEC_MAX];
    char text[SHAPE_TEXT_MAX];
    int count = spec_read(r->out, 1, &n->arena, want);
    assert_int_equal(count, n->node.out_count);
    for (int i = 0; i < count; i++)
        if (n->out[i].dtype != want[i].dtype || !shape_eq(&n->out[i].shape, &want[i].shape))
            fail_msg("%s %s of %s: output %d is %s %s", r->op, r->attrs, r->in, i,
                     dtype_name(n->out[i].dtype), shape_text(&n->out[i].shape, text, sizeof(text)));
}

static void try_row(const struct row *r)
{
    struct spec_node n;
    struct err e = { "" };
    spec_node_init(&n, r->op, r->attrs, r->in);
    assert_in_range(n.node.in_count, n.node.op->in_min, n.node.op->in_max);
    status s = n.node.op->infer(&n.node, n.type, n.out, &e);
    if (r->out[0] == '!') {
        if (s == OK || strstr(e.text, r->out + 1) == NULL)
            fail_msg("%s %s of %s: status %d, '%s'", r->op, r->attrs, r->in, s, e.text);
    } else if (s != OK) {
        fail_msg("%s %s of %s: '%s'", r->op, r->attrs, r->in, e.text);
    } else {
        expect_types(r, &n);
    }
    spec_node_deinit(&n);
}

static void every_row_is_inferred(void **state)
{
    for (size_t f = 0; f < ARRAY_LEN(families); f++)
        for (size_t i = 0; i < families[f].count; i++)
            try_row(&families[f].row[i]);
}

static bool has_row(const char *op)
{
    for (size_t f = 0; f < ARRAY_LEN(families); f++)
        for (size_t i = 0; i < families[f].count; i++)
            if (strcmp(families[f].row[i].op, op) == 0)
                return true;
    return false;
}

static void every_operator_has_rows(void **state)
{
    for (size_t i = 0; op_at(i) != NULL; i++)
        if (!(op_at(i)->flags & OP_CONTROL) && !has_row(op_at(i)->name))
            fail_msg("no row here for operator '%s'", op_at(i)->name);
}

/* ---- the table of operators ---- */

static void each_operator_is_found_under_its_own_name(void **state)
{
    size_t count = 0;
    for (const struct op *o; (o = op_at(count)) != NULL; count++)
        assert_ptr_equal(op_find(o->name), o);
    assert_true(count > 20);
    assert_null(op_at(count + 1));
    assert_null(op_find("reluu"));
    assert_null(op_find(""));
}

static void each_operator_is_sane(void **state)
{
    for (size_t i = 0; op_at(i) != NULL; i++) {
        const struct op *o = op_at(i);
        assert_true(o->in_min <= o->in_max);
        assert_true((o->infer == NULL) == ((o->flags & OP_CONTROL) != 0));
        assert_true(o->attrs == NULL || o->attrs_size > 0);
        assert_false((o->flags & OP_VIEW) && (o->flags & OP_INPLACE));
        for (const struct attr_field *f = o->attrs; f != NULL && f->name != NULL; f++) {
            assert_true(f->offset < o->attrs_size);
            assert_true((f->type == ATTR_ENUM) == (f->names != NULL));
        }
    }
}

/* ---- attributes as text ---- */

static void attributes_are_told_by_name(void **state)
{
    // clang-format off
    static const char *const rows[][3] = {
        { "relu",     "",                                     "" },
        { "softmax",  "axis=-1",                              "axis=-1" },
        { "matmul",   "act=relu alpha=0.5 trans_b=true",      "trans_b=true alpha=0.5 act=relu" },
        { "reshape",  "shape=[0,-1,7]",                       "shape=[0,-1,7]" },
        { "reshape",  "",                                     "shape=[]" },
        { "seq_pool", "mode=max pad_value=-1.5",              "mode=max pad_value=-1.5" },
        { "lstm",     "gate_act=sigmoid reverse=true",        "reverse=true gate_act=sigmoid" },
        { "pool2d",   "mode=avg_with_pads kernel_h=3 kernel_w=2 auto_pad=valid ceil_mode=true",
          "mode=avg_with_pads kernel_h=3 kernel_w=2 stride_h=0 stride_w=0 pad_top=0 pad_bottom=0 pad_left=0 "
          "pad_right=0 auto_pad=valid ceil_mode=true" },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spec_node n;
        char text[256];
        spec_node_init(&n, rows[i][0], rows[i][1], "");
        attrs_text(&n.node, text, sizeof(text));
        assert_string_equal(text, rows[i][2]);
        spec_node_deinit(&n);
    }
}

static void text_that_is_too_long_is_cut(void **state)
{
    struct spec_node n;
    char text[256];
    spec_node_init(&n, "reshape", "", "");
    struct attr_ints *shape = &((struct reshape_attrs *)n.attrs)->shape;
    for (shape->count = 0; shape->count < ATTR_INTS_MAX; shape->count++)
        shape->v[shape->count] = INT64_MIN;
    attrs_text(&n.node, text, sizeof(text));
    assert_in_range(strlen(text), 100, sizeof(text) - 1);
    for (size_t size = 1; size < 20; size++) {
        memset(text, '?', sizeof(text));
        attrs_text(&n.node, text, size);
        assert_in_range(strlen(text), 0, size - 1);
    }
    spec_node_deinit(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_inferred),
        cmocka_unit_test(every_operator_has_rows),
        cmocka_unit_test(each_operator_is_found_under_its_own_name),
        cmocka_unit_test(each_operator_is_sane),
        cmocka_unit_test(attributes_are_told_by_name),
        cmocka_unit_test(text_that_is_too_long_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
