/* Private to the room: what the files of HTTP/2 share (h2.c: sessions; h2_stream.c: streams and their headers; h2_receive.c and h2_send.c:
 * what comes and what goes). */
#pragma once

#include "proto/h2.h"

#include <nghttp2/nghttp2.h>

#define FRAME_MAX  ((uint32_t)256 << 10)
#define FRAME_HEAD 9
#define PREFACE    24                 /* bytes that a client begins with */
#define KEEP_BYTES ((size_t)16 << 10) /* of each buffer of a spare stream */

#define SKIPPED_MAX 16 /* runs of ids that a peer has stepped over, as far as they are remembered */
#define ENDED_MAX   16 /* ids of streams that a peer has ended, the same */

struct h2 {
    nghttp2_session *session;
    struct h2_options opt;
    struct list streams;
    int open, incomplete, unsent, taken;
    size_t held;
    uint64_t sent;
    int idle_frames;
    bool failed, feeding, large_frames;
    int32_t newest; /* server: the highest id that a stream had */
    struct id_run {
        int32_t from, to;
    } skipped[SKIPPED_MAX];
    int skipped_count;
    /* nghttp2 remembers no streams that are closed: those of a connection would take 64 KB. */
    int32_t ended[ENDED_MAX];
    int ended_count;
    uint32_t skip; /* server: bytes that are in front of the next frame's header */
    uint8_t frame[FRAME_HEAD];
    size_t frame_seen;
    struct h2_stream *viewed; /* whose view is of the bytes being fed */
    struct buf *pump;
};

void h2_fields_add(struct h2_fields *f, struct str name, struct str value);

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id); /* NULL: no memory */
void h2_stream_free(struct h2_stream *s);
struct h2_stream *h2_stream_of(struct h2 *h, int32_t id); /* NULL: it has gone */
/* What is in the session's books about s, before (-1) and after (1) it changes. */
void h2_count_out(struct h2_stream *s, int sign);

/* Adds bytes to its body. */
void h2_keep(struct h2_stream *s, struct str bytes);
/* The peer's side is whole. */
void h2_end_stream(struct h2_stream *s);

void h2_receive_callbacks(nghttp2_session_callbacks *c);
void h2_send_callbacks(nghttp2_session_callbacks *c);
