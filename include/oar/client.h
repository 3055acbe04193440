/* liboar_client: calls a server over baidu_std, HTTP or gRPC from C, in the clear or over TLS. One handle per thread; calls block until their timeout.
 *
 * Every function that can fail returns 0 for success or a negative code, with words from oar_client_error. */
#ifndef OAR_CLIENT_H
#define OAR_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define OAR_API __attribute__((visibility("default")))
#else
#define OAR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct oar_client oar_client;

/* A dense array; dtype is Paddle Serving's elem_type code (0 int64, 1 float32, 2 int32, ...). The bytes belong to whoever
 * made the struct: the caller for feeds, the client until its next call for results. */
typedef struct oar_array {
    const char *name;
    int32_t dtype;
    int32_t rank;
    const int64_t *shape;
    const void *data;
    /* offsets, or NULL: 0, 3, 8; of nested sequences all levels, the outermost first: 0, 2, 0, 3, 8 */
    const int64_t *lod;
    int64_t lod_count;
    const char *alias; /* feeds: the name that clients use, NULL: the same as name */
    /* results: the operator of the service's graph that gave it; may be empty */
    const char *engine;
} oar_array;

/* One call and its answer. Zero what is not wanted. */
typedef struct oar_call {
    const oar_array *feeds; /* by real name */
    int feed_count;
    const char *const *fetch; /* aliases; none: every output */
    int fetch_count;
    uint64_t log_id;
    int profile;        /* stamps of every operator are wanted */
    int64_t timeout_ms; /* of this call; 0: the client's own */
} oar_call;

typedef struct oar_answer {
    const oar_array *results;
    int result_count;
    int output_count;         /* outputs that the results come from; each has its own engine */
    const int64_t *stamps_us; /* wall clock: begin and end of each operator, then of the service */
    int stamp_count;
} oar_answer;

/* protocol: "brpc", "http" (protobuf over HTTP), "http-json", "grpc", "kserve-http", "kserve-http-json", "kserve-grpc" or "tfs".
 * endpoint: "host:port", or a server's unix socket: "unix:/path", "unix:@name" (Linux's abstract namespace). */
/* Touches no network: the first call connects. *out is set even on failure, so that its words can be read; it is then good for
 * oar_client_error and oar_client_close alone. */
OAR_API int oar_client_open(const char *endpoint, const char *protocol, oar_client **out);
OAR_API void oar_client_close(oar_client *c);
OAR_API void oar_client_set_timeout_ms(oar_client *c, int64_t timeout_ms);
/* The model to ask, for protocols whose requests name one (NULL: "default"); copied. */
OAR_API int oar_client_set_model(oar_client *c, const char *name);

/* TLS 1.2 or 1.3. Zero what is not wanted; strings are needed until the call returns. */
typedef struct oar_tls {
    /* a file in PEM: who must have signed the server's certificate; NULL: the system's authorities */
    const char *ca;
    /* a file in PEM, for servers that want a certificate of their clients; or NULL */
    const char *cert;
    const char *key; /* its private key; NULL: cert holds it */
    int insecure;    /* whoever answers is believed */
} oar_tls;
/* From the next call on, over a new connection. tls NULL: in the clear. api_key: sent with every request (over baidu_std with a
 * connection's requests); NULL: none. */
OAR_API int oar_client_set_access(oar_client *c, const oar_tls *tls, const char *api_key);
/* feeds by real name; fetch: aliases, none for all. results point into the client until its next call. */
OAR_API int oar_client_infer(oar_client *c, const oar_array *feeds, int feed_count,
                             const char *const *fetch, int fetch_count, const oar_array **results,
                             int *result_count);
/* The same with everything that a call can say. The answer points into the client until its next call. */
OAR_API int oar_client_call(oar_client *c, const oar_call *call, oar_answer *answer);
/* Of protocol "grpc" or "kserve-grpc": calls any unary method, "/package.Service/Method", with one message as its service's .proto has it.
 * gzip: the message goes compressed. timeout_ms 0: the client's own. The reply lives in the client until its next call. */
OAR_API int oar_client_invoke(oar_client *c, const char *method, const void *message, size_t bytes,
                              int gzip, int64_t timeout_ms, const void **reply,
                              size_t *reply_bytes);
/* Which of the versions that share a name answered last, where the server divides its traffic: the variant's tag; "" otherwise.
 * Until the next call. */
OAR_API const char *oar_client_variant(const oar_client *c);
OAR_API const char *oar_client_error(const oar_client *c);
/* The server's own number for the last refusal (baidu_std error_code, HTTP status); 0: the last call was answered, or failed
 * before a server had said anything. */
OAR_API int oar_client_code(const oar_client *c);

#ifdef __cplusplus
}
#endif
#endif
