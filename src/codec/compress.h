/* Compression formats that requests and replies use, over zlib, libsnappy, liblz4 and libzstd. Pure functions of bytes; any
 * thread. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

typedef enum compression {
    COMPRESSION_NONE = 0, /* the numbers are baidu_std's compress_type */
    COMPRESSION_SNAPPY = 1,
    COMPRESSION_GZIP = 2,
    COMPRESSION_ZLIB = 3,
    COMPRESSION_LZ4 = 4,   /* LZ4's frame format */
    COMPRESSION_ZSTD = 16, /* HTTP alone */
} compression;

/* Appends the result to out, whose maximum bounds it (a bomb ends TOO_LARGE). Words say what is wrong with the bytes. */
status compress_bytes(compression c, struct str in, struct buf *out, struct err *e);
status decompress(compression c, struct str in, struct buf *out, struct err *e);
