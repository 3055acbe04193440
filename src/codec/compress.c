#include "codec/compress.h"

#include <limits.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define GZIP_WINDOW (MAX_WBITS + 16) /* zlib's way of asking for a gzip header */
#define STEP_BYTES  ((size_t)16 << 10)

static status zlib_inflate(int window, struct str in, struct buf *out, struct err *e)
{
    z_stream z = { 0 };
    if (inflateInit2(&z, window) != Z_OK)
        return err_set(e, NO_MEMORY, "no memory to inflate");
    z.next_in = (Bytef *)in.p;
    z.avail_in = (uInt)in.n;
    int rc = Z_OK;
    while (rc == Z_OK) {
        size_t left = out->max - out->len, step = left < STEP_BYTES ? left : STEP_BYTES;
        uint8_t *to = step > 0 ? buf_reserve(out, step) : NULL;
        if (to == NULL)
            break;
        size_t room = out->cap - out->len;
        z.next_out = to;
        z.avail_out = (uInt)(room < UINT_MAX ? room : UINT_MAX);
        uInt before = z.avail_out;
        rc = inflate(&z, Z_NO_FLUSH);
        out->len += before - z.avail_out;
        if (rc == Z_BUF_ERROR || (rc == Z_OK && z.avail_in == 0 && z.avail_out != 0))
            break;
    }
    bool full = rc == Z_OK && out->len == out->max;
    size_t unread = z.avail_in;
    const char *words = z.msg;
    inflateEnd(&z);
    if (rc == Z_STREAM_END && unread == 0)
        return OK;
    if (out->failed != OK)
        return err_set(e, out->failed, "no room for the inflated bytes");
    if (full)
        return err_set(e, TOO_LARGE, "the compressed bytes inflate to more than %zu", out->max);
    if (rc == Z_STREAM_END)
        return err_set(e, INVALID, "%zu bytes follow the compressed ones", unread);
    return err_set(e, INVALID, "damaged or cut off compressed bytes%s%s", words != NULL ? ": " : "",
                   words != NULL ? words : "");
}

static status zlib_deflate(int window, struct str in, struct buf *out, struct err *e)
{
    z_stream z = { 0 };
    /* Level 1: bodies are numbers; higher levels cost several times as much for a few percent. */
    if (deflateInit2(&z, 1, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return err_set(e, NO_MEMORY, "no memory to deflate");
    uLong bound = deflateBound(&z, in.n);
    uint8_t *to = bound <= UINT_MAX ? buf_reserve(out, bound) : NULL;
    int rc = Z_MEM_ERROR;
    if (to != NULL) {
        z.next_in = (Bytef *)in.p;
        z.avail_in = (uInt)in.n;
        z.next_out = to;
        z.avail_out = (uInt)bound;
        rc = deflate(&z, Z_FINISH);
        out->len += bound - z.avail_out;
    }
    deflateEnd(&z);
    return rc == Z_STREAM_END ? OK : err_set(e, TOO_LARGE, "no room for the compressed bytes");
}

static status snappy_unpack(struct str in, struct buf *out, struct err *e)
{
    size_t n;
    if (snappy_uncompressed_length(in.p, in.n, &n) != SNAPPY_OK)
        return err_set(e, INVALID, "damaged snappy bytes (no length)");
    if (n > out->max - out->len)
        return err_set(e, TOO_LARGE, "the compressed bytes inflate to %zu, at most %zu are taken",
                       n, out->max - out->len);
    if (snappy_validate_compressed_buffer(in.p, in.n) != SNAPPY_OK)
        return err_set(e, INVALID, "damaged snappy bytes");
    uint8_t *to = buf_reserve(out, n + 1);
    if (to == NULL && n + 1 > out->max - out->len) {
        out->failed = OK;
        to = buf_reserve(out, n);
    }
    if (to == NULL)
        return err_set(e, NO_MEMORY, "no memory for %zu bytes", n);
    if (snappy_uncompress(in.p, in.n, (char *)to, &n) != SNAPPY_OK)
        return err_set(e, INVALID, "damaged snappy bytes");
    out->len += n;
    return OK;
}

static status snappy_pack(struct str in, struct buf *out, struct err *e)
{
    size_t n = snappy_max_compressed_length(in.n);
    uint8_t *to = buf_reserve(out, n);
    if (to == NULL || snappy_compress(in.p, in.n, (char *)to, &n) != SNAPPY_OK)
        return err_set(e, TOO_LARGE, "no room for the compressed bytes");
    out->len += n;
    return OK;
}

static status lz4_pack(struct str in, struct buf *out, struct err *e)
{
    size_t bound = LZ4F_compressFrameBound(in.n, NULL);
    uint8_t *to = buf_reserve(out, bound);
    size_t n = to != NULL ? LZ4F_compressFrame(to, bound, in.p, in.n, NULL) : 0;
    if (to == NULL || LZ4F_isError(n))
        return err_set(e, TOO_LARGE, "no room for the compressed bytes");
    out->len += n;
    return OK;
}

/* Steps until the frame ends (then *left is 0) or nothing moves any more. */
static status lz4_steps(LZ4F_dctx *ctx, struct str in, struct buf *out, size_t *left, struct err *e)
{
    for (*left = 1; *left != 0;) {
        size_t room = out->max - out->len, taken = in.n;
        uint8_t *to = buf_reserve(out, room < STEP_BYTES ? room + (room == 0) : STEP_BYTES);
        size_t made = out->cap - out->len < room ? out->cap - out->len : room;
        if (to == NULL)
            return err_set(e, TOO_LARGE, "the compressed bytes inflate to more than %zu", out->max);
        *left = LZ4F_decompress(ctx, to, &made, in.p, &taken, NULL);
        if (LZ4F_isError(*left))
            return err_set(e, INVALID, "damaged lz4 bytes: %s", LZ4F_getErrorName(*left));
        out->len += made;
        in = (struct str){ in.p + taken, in.n - taken };
        if (*left != 0 && made == 0 && taken == 0)
            return err_set(e, INVALID, "lz4 bytes that are cut off");
    }
    return in.n == 0 ? OK : err_set(e, INVALID, "%zu bytes follow the compressed ones", in.n);
}

static status lz4_unpack(struct str in, struct buf *out, struct err *e)
{
    LZ4F_dctx *ctx;
    size_t left;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&ctx, LZ4F_VERSION)))
        return err_set(e, NO_MEMORY, "no memory to inflate");
    status s = lz4_steps(ctx, in, out, &left, e);
    LZ4F_freeDecompressionContext(ctx);
    return s;
}

#define ZSTD_WINDOW_LOG \
    23 /* RFC 9659: what a receiver over HTTP must be able to hold, 8 MiB, and we no more */

static status zstd_step(ZSTD_DCtx *z, ZSTD_inBuffer *from, struct buf *out, size_t *left,
                        struct err *e)
{
    size_t room = out->max - out->len, step = room < STEP_BYTES ? room : STEP_BYTES;
    uint8_t *to = step > 0 ? buf_reserve(out, step) : NULL;
    if (step > 0 && to == NULL)
        return err_set(e, out->failed, "no room for the inflated bytes");
    ZSTD_outBuffer into = { to != NULL ? to : (uint8_t *)&step,
                            to != NULL ? out->cap - out->len : 0, 0 };
    size_t before = from->pos;
    *left = ZSTD_decompressStream(z, &into, from);
    out->len += into.pos;
    if (ZSTD_isError(*left))
        return err_set(e, INVALID, "damaged zstd bytes: %s", ZSTD_getErrorName(*left));
    if (into.pos > 0 || from->pos > before || *left == 0)
        return OK;
    if (step == 0)
        return err_set(e, TOO_LARGE, "the compressed bytes inflate to more than %zu", out->max);
    return err_set(e, INVALID, "cut off zstd bytes");
}

/* One frame or several, one after another. */
static status zstd_unpack(struct str in, struct buf *out, struct err *e)
{
    ZSTD_DCtx *z = ZSTD_createDCtx();
    if (z == NULL)
        return err_set(e, NO_MEMORY, "no memory to inflate");
    ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
    ZSTD_inBuffer from = { in.p, in.n, 0 };
    size_t left = 1;
    status s = OK;
    while (s == OK && (from.pos < from.size || left != 0))
        s = zstd_step(z, &from, out, &left, e);
    ZSTD_freeDCtx(z);
    return s;
}

static status zstd_pack(struct str in, struct buf *out, struct err *e)
{
    size_t bound = ZSTD_compressBound(in.n);
    uint8_t *to = buf_reserve(out, bound);
    size_t n = to != NULL ? ZSTD_compress(to, bound, in.p, in.n, 1) : 0;
    if (to == NULL || ZSTD_isError(n))
        return err_set(e, TOO_LARGE, "no room for the compressed bytes");
    out->len += n;
    return OK;
}

static status copy(struct str in, struct buf *out, struct err *e)
{
    buf_append(out, in.p, in.n);
    return out->failed == OK
               ? OK
               : err_set(e, out->failed, "%zu bytes, at most %zu are taken", in.n, out->max);
}

status compress_bytes(compression c, struct str in, struct buf *out, struct err *e)
{
    if (in.n > UINT_MAX)
        return err_set(e, TOO_LARGE, "%zu bytes are too many to compress", in.n);
    switch (c) {
    case COMPRESSION_NONE: return copy(in, out, e);
    case COMPRESSION_SNAPPY: return snappy_pack(in, out, e);
    case COMPRESSION_GZIP: return zlib_deflate(GZIP_WINDOW, in, out, e);
    case COMPRESSION_ZLIB: return zlib_deflate(MAX_WBITS, in, out, e);
    case COMPRESSION_LZ4: return lz4_pack(in, out, e);
    case COMPRESSION_ZSTD: return zstd_pack(in, out, e);
    }
    return err_set(e, UNSUPPORTED,
                   "compression %d is not known (0 none, 1 snappy, 2 gzip, 3 zlib, 4 lz4)", c);
}

status decompress(compression c, struct str in, struct buf *out, struct err *e)
{
    if (in.n > UINT_MAX)
        return err_set(e, TOO_LARGE, "%zu compressed bytes are too many", in.n);
    switch (c) {
    case COMPRESSION_NONE: return copy(in, out, e);
    case COMPRESSION_SNAPPY: return snappy_unpack(in, out, e);
    case COMPRESSION_GZIP: return zlib_inflate(GZIP_WINDOW, in, out, e);
    case COMPRESSION_ZLIB: return zlib_inflate(MAX_WBITS, in, out, e);
    case COMPRESSION_LZ4: return lz4_unpack(in, out, e);
    case COMPRESSION_ZSTD: return zstd_unpack(in, out, e);
    }
    return err_set(e, UNSUPPORTED,
                   "compression %d is not known (0 none, 1 snappy, 2 gzip, 3 zlib, 4 lz4)", c);
}
