/* oneDNN, loaded when the first layer asks for it: a server of models that do without (fit_a_line, decision trees) starts in half the
 * time and 3 MB smaller. Below this header oneDNN's functions are called by their own names. A function that is called
 * and does not stand in the list fails to link. */
#pragma once

#include <oneapi/dnnl/dnnl.h>

#if DNNL_VERSION_MAJOR != 2
#error "this room is written for oneDNN 2.x (Debian 12 has 2.6)"
#endif

#define DNNL_FUNCTIONS(X)                      \
    X(dilated_convolution_forward_desc_init)   \
    X(dilated_deconvolution_forward_desc_init) \
    X(engine_create)                           \
    X(engine_destroy)                          \
    X(get_effective_cpu_isa)                   \
    X(matmul_desc_init)                        \
    X(memory_create)                           \
    X(memory_desc_equal)                       \
    X(memory_desc_get_size)                    \
    X(memory_desc_init_by_strides)             \
    X(memory_desc_init_by_tag)                 \
    X(memory_destroy)                          \
    X(memory_set_data_handle_v2)               \
    X(pooling_forward_desc_init)               \
    X(post_ops_append_eltwise)                 \
    X(post_ops_append_sum)                     \
    X(post_ops_append_sum_v3)                  \
    X(post_ops_create)                         \
    X(post_ops_destroy)                        \
    X(primitive_attr_create)                   \
    X(primitive_attr_destroy)                  \
    X(primitive_attr_set_output_scales)        \
    X(primitive_attr_set_post_ops)             \
    X(primitive_attr_set_scratchpad_mode)      \
    X(primitive_attr_set_zero_points)          \
    X(primitive_create)                        \
    X(primitive_desc_create)                   \
    X(primitive_desc_destroy)                  \
    X(primitive_desc_query)                    \
    X(primitive_desc_query_md)                 \
    X(primitive_destroy)                       \
    X(primitive_execute)                       \
    X(reorder_primitive_desc_create)           \
    X(sgemm)                                   \
    X(stream_create)                           \
    X(stream_destroy)                          \
    X(stream_wait)

struct dnnl_library {
#define DNNL_FIELD(name) __typeof__(&dnnl_##name) name;
    DNNL_FUNCTIONS(DNNL_FIELD)
#undef DNNL_FIELD
    /* OpenMP's, which oneDNN runs on: how many threads the calling one has to itself; fn(arg) by each thread of a team of so
     * many (NULL: it was built on another runtime). */
    void (*set_num_threads)(int count);
    void (*run_team)(void (*fn)(void *arg), void *arg, unsigned threads, unsigned flags);
};

/* Never NULL: where the library is not on the machine, each of its functions answers dnnl_runtime_error. Any thread. */
const struct dnnl_library *dnnl_library(void);
/* What the loader said where it is not there; else NULL. */
const char *dnnl_library_fault(void);

#ifndef DNNL_LIBRARY_ITSELF
// clang-format off
#define dnnl_dilated_convolution_forward_desc_init    dnnl_library()->dilated_convolution_forward_desc_init
#define dnnl_dilated_deconvolution_forward_desc_init  dnnl_library()->dilated_deconvolution_forward_desc_init
#define dnnl_engine_create                            dnnl_library()->engine_create
#define dnnl_engine_destroy                           dnnl_library()->engine_destroy
#define dnnl_get_effective_cpu_isa                    dnnl_library()->get_effective_cpu_isa
#define dnnl_matmul_desc_init                         dnnl_library()->matmul_desc_init
#define dnnl_memory_create                            dnnl_library()->memory_create
#define dnnl_memory_desc_equal                        dnnl_library()->memory_desc_equal
#define dnnl_memory_desc_get_size                     dnnl_library()->memory_desc_get_size
#define dnnl_memory_desc_init_by_strides              dnnl_library()->memory_desc_init_by_strides
#define dnnl_memory_desc_init_by_tag                  dnnl_library()->memory_desc_init_by_tag
#define dnnl_memory_destroy                           dnnl_library()->memory_destroy
#define dnnl_memory_set_data_handle_v2                dnnl_library()->memory_set_data_handle_v2
#define dnnl_pooling_forward_desc_init                dnnl_library()->pooling_forward_desc_init
#define dnnl_post_ops_append_eltwise                  dnnl_library()->post_ops_append_eltwise
#define dnnl_post_ops_append_sum                      dnnl_library()->post_ops_append_sum
#define dnnl_post_ops_append_sum_v3                   dnnl_library()->post_ops_append_sum_v3
#define dnnl_post_ops_create                          dnnl_library()->post_ops_create
#define dnnl_post_ops_destroy                         dnnl_library()->post_ops_destroy
#define dnnl_primitive_attr_create                    dnnl_library()->primitive_attr_create
#define dnnl_primitive_attr_destroy                   dnnl_library()->primitive_attr_destroy
#define dnnl_primitive_attr_set_output_scales         dnnl_library()->primitive_attr_set_output_scales
#define dnnl_primitive_attr_set_post_ops              dnnl_library()->primitive_attr_set_post_ops
#define dnnl_primitive_attr_set_scratchpad_mode       dnnl_library()->primitive_attr_set_scratchpad_mode
#define dnnl_primitive_attr_set_zero_points           dnnl_library()->primitive_attr_set_zero_points
#define dnnl_primitive_create                         dnnl_library()->primitive_create
#define dnnl_primitive_desc_create                    dnnl_library()->primitive_desc_create
#define dnnl_primitive_desc_destroy                   dnnl_library()->primitive_desc_destroy
#define dnnl_primitive_desc_query                     dnnl_library()->primitive_desc_query
#define dnnl_primitive_desc_query_md                  dnnl_library()->primitive_desc_query_md
#define dnnl_primitive_destroy                        dnnl_library()->primitive_destroy
#define dnnl_primitive_execute                        dnnl_library()->primitive_execute
#define dnnl_reorder_primitive_desc_create            dnnl_library()->reorder_primitive_desc_create
#define dnnl_sgemm                                    dnnl_library()->sgemm
#define dnnl_stream_create                            dnnl_library()->stream_create
#define dnnl_stream_destroy                           dnnl_library()->stream_destroy
#define dnnl_stream_wait                              dnnl_library()->stream_wait
// clang-format on
#endif
