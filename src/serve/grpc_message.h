/* Private to the room: how the messages of calls that are no inference are read and written. */
#pragma once

#include "codec/pb.h"
#include "serve/grpc.h"

#define MESSAGE_BYTES ((size_t)16 << 20) /* of such an answer */

/* proto3: what has its default is left out. */
void message_text(struct buf *b, uint32_t field, struct str s);
void message_number(struct buf *b, uint32_t field, uint64_t v);

/* A message inside another: written by itself first, since its length stands before it.
 *
 *     struct nested n;
 *     message_text(message_begin(&n), 1, name);
 *     message_end(b, 3, &n); */
struct nested {
    struct buf buf;
};
struct buf *message_begin(struct nested *n);
void message_end(struct buf *b, uint32_t field, struct nested *n);

/* The answer to a unary call; takes b. */
void message_reply(struct grpc_rpc *g, struct buf *b);
/* The strings of fields 1 and 2, which most requests here are. false: it failed, and g is answered. */
bool message_two(struct grpc_rpc *g, struct str message, struct str *one, struct str *two);
/* Fails g: the message cannot be read. */
void message_damaged(struct grpc_rpc *g);
