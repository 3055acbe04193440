/* Private to the room: HTTP/2's connection, for gRPC. */
#pragma once

#include "proto/h2.h"
#include "serve/http.h"

/* Starts a call whose answer goes to s; body is part of h2_body(s), or in call->taken. when_done finds call->exchange NULL
 * where the stream has gone meanwhile; else it clears exchange->user, answers, and then does h2_call_over, h2_send and
 * call_free. */
void h2_call_start(struct h2_stream *s, struct call *call, void (*when_done)(struct call *call),
                   struct str body);
void h2_call_over(struct call *call);
/* Sends what there is to send, now or, while the connection is being fed, at the end of that. */
void h2_send(struct conn *c);
/* Goes on with HTTP/2 on a connection of HTTP/1.1 whose request asked for it (Upgrade: h2c), and serves that request as the
 * first stream; the caller frees its own state. false: nothing has changed, the request did not ask well. */
bool h2_take_over(struct conn *c, const struct http_head *head, struct str body);
