/* A client of one server: a connection that is kept, a protocol, a timeout. One thread at a time.
 *
 * include/oar/client.h is the same for programs outside (public.c). */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "tensor/call.h"

#include <stdbool.h>
#include <stdint.h>

#define CLIENT_TIMEOUT_MS 20000

struct client;

/* endpoint: as endpoint.h has it; protocol: a name of session.h. Touches no network: the first call
 * connects. The words name what is wrong. */
status client_open(struct str endpoint, struct str protocol, struct client **out, struct err *e);
void client_close(struct client *c); /* NULL is fine */
/* For protocols whose requests name one; borrowed, must live as long. */
void client_set_model(struct client *c, const char *model);
bool client_names_model(const struct client *c); /* whether its protocol's do */
/* TLS and a key, from the next connection on. Words name the file. */
struct remote;
status client_set_remote(struct client *c, const struct remote *r, struct err *e);
void client_set_timeout_ms(struct client *c,
                           int64_t timeout_ms); /* of a whole call; <= 0: CLIENT_TIMEOUT_MS */

/* timeout_ms: of this call alone; 0: the client's own.
 * The reply's tensors and names live in the client until its next call. A connection that the
 * server has closed since the last call is replaced once, silently; nothing else is tried twice.
 * The words begin with the endpoint. */
status client_infer(struct client *c, const struct infer_request *r, int64_t timeout_ms,
                    struct infer_reply *out, struct err *e);
/* Over gRPC: calls a method ("/package.Service/Method") with one message. The reply lives in the client until its next call. gzip: the
 * message goes compressed. */
status client_invoke(struct client *c, const char *method, struct str message, bool gzip,
                     int64_t timeout_ms, struct str *reply, struct err *e);
/* Which of divided traffic's variants answered last, also where it refused; "": traffic is not divided. */
const char *client_variant(const struct client *c);
/* The server's own number for the last refusal: baidu_std error_code, HTTP status; 0: there was none. */
int client_code(const struct client *c);
