/* Private to the room: every family of kernels. Each array ends with a row without op. */
#pragma once

#include "kernels/kernel.h"

extern const struct kernel dnnl_matmul[], dnnl_conv[], dnnl_pool[], cpu_attention[];
extern const struct kernel dnnl_deconv[], cpu_deconv[], cpu_norm[], cpu_image[], ref_attention[];
extern const struct kernel cpu_unary[], cpu_matmul[], cpu_binary[], cpu_sequence[], cpu_rnn[];
extern const struct kernel ref_unary[], ref_binary[], ref_matmul[], ref_conv[], ref_pool[],
    ref_softmax[], ref_shape[], ref_index[], ref_sequence[], ref_rnn[];
extern const struct kernel dnnl_columns[], cpu_channels[], cpu_conv_rows[];
extern const struct kernel dnnl_integers[], cpu_integers[], ref_integers[];
extern const struct kernel ref_norm[], ref_conv_nd[], ref_pool_nd[], ref_resize[], ref_rearrange[],
    ref_detect[], ref_roi[], ref_select[], ref_retina[];
extern const struct kernel cpu_move[], ref_move[], ref_sort[], ref_reduce[];
extern const struct kernel ref_fill[], ref_array[];
extern const struct kernel cpu_recurrent[], ref_recurrent[], ref_ragged[];
extern const struct kernel ref_quant[], ref_choose[], ref_trees[], ref_nms_each[];
extern const struct kernel ref_matrices[];
extern const struct kernel ref_signal[], ref_linear_attention[], ref_narrow[];
extern const struct kernel cpu_reduce[], cpu_sort[], cpu_quant[], ref_random[];
