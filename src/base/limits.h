/* Every bound on what comes from outside, in one place. Those that an option can change say so; the rest are chosen so
 * that no honest client or model comes near them. */
#pragma once

#include <stddef.h>

#define LIMIT_BODY_BYTES     ((size_t)512 << 20) /* one request or response body; `--max_body_size` */
#define LIMIT_INFLATED_BYTES LIMIT_BODY_BYTES    /* a body after decompression */
#define LIMIT_PROMISED_BYTES \
    ((size_t)64 << 20) /* room made by a peer's word alone: address space, not memory */
#define LIMIT_HTTP_HEADER_BYTES \
    ((size_t)64 << 10) /* request line and headers together; `--max-header-size` */
#define LIMIT_HTTP_HEADERS    128
#define LIMIT_H2_STREAMS      256 /* that one connection may have open at once; `--max-streams` */
#define LIMIT_RPC_META_BYTES  ((size_t)64 << 10) /* baidu_std RpcMeta */
#define LIMIT_JSON_DEPTH      64                 /* `--max-json-depth` */
#define LIMIT_PROTO_DEPTH     64
#define LIMIT_REQUEST_TENSORS 4096
#define LIMIT_FETCH_NAMES     4096
#define LIMIT_NAME_BYTES      1024
#define LIMIT_ARENA_BYTES     ((size_t)2 << 30) /* what one request may take from its arena */

#define LIMIT_GRAPH_NODES      (1u << 20)
#define LIMIT_GRAPH_VALUES     (1u << 21)
#define LIMIT_MODEL_FILE_BYTES ((size_t)64 << 30)
#define LIMIT_CONFIG_BYTES     ((size_t)16 << 20)
#define LIMIT_ARENA_OF_RUN \
    ((size_t)3 << 30)         /* working memory of one run of a model; `--max-arena` */
#define LIMIT_PLANS       512 /* plans kept per model, least recently used goes first */
#define LIMIT_PLANS_BYTES ((size_t)256 << 20) /* what they hold together */
#define LIMIT_LOOP_STEPS  (1 << 20)           /* of one loop in a model */
#define LIMIT_GRAPH_DEPTH 32                  /* graphs inside graphs */
#define LIMIT_ZIP_ENTRIES 65536
