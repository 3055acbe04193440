/* zip members (PKWARE APPNOTE 4.3): the end record at the file's end leads to the central directory, each of its entries
 * to a local header, behind which the member's bytes lie stored or deflated. */
#include "codec/npz.h"

#include "base/limits.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

/* ---- little-endian fields, bounds checked by the caller ---- */

static uint64_t field(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

/* ---- .npy ---- */

struct npy_head {
    dtype dtype;
    struct shape shape;
    bool fortran;
    size_t data_at;
};

/* The text behind 'key': in the header's Python dict; n == 0 when the key is not there. */
static struct str dict_value(struct str head, const char *key)
{
    char quoted[32];
    int n = snprintf(quoted, sizeof(quoted), "'%s':", key);
    const char *at = memmem(head.p, head.n, quoted, (size_t)n);
    if (at == NULL)
        return (struct str){ "", 0 };
    at += n;
    while (at < head.p + head.n && *at == ' ')
        at++;
    return (struct str){ at, (size_t)(head.p + head.n - at) };
}

static bool parse_shape(struct str s, struct shape *out)
{
    struct str inside;
    *out = (struct shape){ 0 };
    if (s.n == 0 || s.p[0] != '(')
        return false;
    s.p++;
    s.n--;
    if (!str_cut(&s, ')', &inside))
        return false;
    while (inside.n > 0) {
        struct str dim;
        str_cut(&inside, ',', &dim);
        dim = str_trim(dim);
        if (dim.n == 0)
            break;
        if (out->rank == SHAPE_MAX || !str_to_i64(dim, &out->dim[out->rank]) ||
            out->dim[out->rank] < 0)
            return false;
        out->rank++;
    }
    return true;
}

static status parse_dict(struct str dict, const char *file, struct npy_head *h, struct err *e)
{
    struct str descr = dict_value(dict, "descr"), order = dict_value(dict, "fortran_order"),
               shape = dict_value(dict, "shape"), code;
    if (descr.n == 0 || (descr.p[0] != '\'' && descr.p[0] != '"'))
        return err_set(e, UNSUPPORTED,
                       "%s: expected an array of one element type, its descr is %.*s", file,
                       STR_ARG(((struct str){ descr.p, descr.n < 40 ? descr.n : 40 })));
    char quote = descr.p[0];
    descr.p++;
    descr.n--;
    if (!str_cut(&descr, quote, &code) || !dtype_from_npy(code, &h->dtype))
        return err_set(e, UNSUPPORTED, "%s: element type '%.*s' is not one that is read here", file,
                       STR_ARG(code));
    h->fortran = str_starts(order, "True");
    if (!parse_shape(shape, &h->shape))
        return err_set(e, INVALID, "%s: the .npy header has no shape that can be read", file);
    return OK;
}

static status parse_head(struct str bytes, const char *file, struct npy_head *h, struct err *e)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    if (bytes.n < 10 || memcmp(p, "\x93NUMPY", 6) != 0)
        return err_set(e, INVALID, "%s: not a .npy file (it does not begin with \\x93NUMPY)", file);
    if (p[6] < 1 || p[6] > 3)
        return err_set(e, UNSUPPORTED, "%s: .npy version %d, 1 to 3 are read", file, p[6]);
    size_t length_bytes = p[6] == 1 ? 2 : 4;
    if (bytes.n < 8 + length_bytes)
        return err_set(e, INVALID, "%s: the .npy header is cut off", file);
    size_t n = (size_t)field(p + 8, (int)length_bytes), at = 8 + length_bytes;
    if (n > bytes.n - at)
        return err_set(e, INVALID, "%s: the .npy header says %zu bytes, %zu are left", file, n,
                       bytes.n - at);
    h->data_at = at + n;
    return parse_dict((struct str){ bytes.p + at, n }, file, h, e);
}

/* Copies a column-major array to row-major order: the last index of `from` moves slowest. */
static void reorder(const struct tensor *t, const uint8_t *from, uint8_t *to)
{
    size_t size = dtype_size(t->dtype);
    int64_t n = shape_numel(&t->shape), index[SHAPE_MAX] = { 0 };
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        for (int d = t->shape.rank; d-- > 0;)
            at = at * t->shape.dim[d] + index[d];
        memcpy(to + (size_t)i * size, from + (size_t)at * size, size);
        for (int d = t->shape.rank; d-- > 0 && ++index[d] == t->shape.dim[d];)
            index[d] = 0;
    }
}

status npy_read(struct str bytes, const char *file, struct arena *a, struct tensor *out,
                struct err *e)
{
    struct npy_head h = { 0 };
    TRY(parse_head(bytes, file, &h, e));
    *out = (struct tensor){ .dtype = h.dtype, .shape = h.shape };
    int64_t need = tensor_bytes(out);
    size_t left = bytes.n - h.data_at;
    if (need < 0 || (uint64_t)need > left)
        return err_set(e, INVALID, "%s: the array needs %lld bytes, %zu are there", file,
                       (long long)need, left);
    const uint8_t *data = (const uint8_t *)bytes.p + h.data_at;
    size_t align = dtype_size(h.dtype) > 8 ? 8 : dtype_size(h.dtype);
    bool aligned = (uintptr_t)data % align == 0;
    out->data = data;
    if (aligned && !h.fortran)
        return OK;
    uint8_t *copy = arena_try(a, (size_t)need, 64);
    if (copy == NULL)
        return err_set(e, NO_MEMORY, "%s: no memory for %lld bytes", file, (long long)need);
    if (h.fortran)
        reorder(out, data, copy);
    else
        memcpy(copy, data, (size_t)need);
    out->data = copy;
    return OK;
}

/* ---- zip ---- */

#define END_BYTES     22
#define CENTRAL_BYTES 46
#define LOCAL_BYTES   30

struct member {
    struct str name;
    int method; /* 0 stored, 8 deflated */
    uint32_t crc;
    uint64_t packed, size, local_at;
};

struct directory {
    uint64_t at, count;
};

static status find_directory(struct str z, const char *file, struct directory *d, struct err *e)
{
    const uint8_t *p = (const uint8_t *)z.p;
    size_t lowest = z.n > END_BYTES + 65535 ? z.n - END_BYTES - 65535 : 0;
    for (size_t at = z.n >= END_BYTES ? z.n - END_BYTES + 1 : 0; at-- > lowest;) {
        if (memcmp(p + at, "PK\5\6", 4) != 0)
            continue;
        *d = (struct directory){ field(p + at + 16, 4), field(p + at + 10, 2) };
        bool big = d->at == 0xffffffff || d->count == 0xffff;
        if (big && at >= 20 && memcmp(p + at - 20, "PK\6\7", 4) == 0) {
            uint64_t end64 = field(p + at - 20 + 8, 8);
            if (end64 <= z.n && z.n - end64 >= 56 && memcmp(p + end64, "PK\6\6", 4) == 0)
                *d = (struct directory){ field(p + end64 + 48, 8), field(p + end64 + 32, 8) };
        }
        if (d->count > LIMIT_ZIP_ENTRIES)
            return err_set(e, TOO_LARGE, "%s: %llu arrays, at most %d are read", file,
                           (unsigned long long)d->count, LIMIT_ZIP_ENTRIES);
        return OK;
    }
    return err_set(e, INVALID, "%s: not a .npz file (no zip directory at its end)", file);
}

/* zip64 sizes replace, in this order, those fields that are all ones (APPNOTE 4.5.3). */
static bool read_zip64(struct str extra, struct member *m)
{
    const uint8_t *p = (const uint8_t *)extra.p, *end = p + extra.n;
    while (end - p >= 4) {
        size_t n = (size_t)field(p + 2, 2);
        if ((size_t)(end - p - 4) < n)
            return false;
        const uint8_t *v = p + 4, *stop = v + n;
        if (field(p, 2) == 1) {
            uint64_t *want[] = { &m->size, &m->packed, &m->local_at };
            for (size_t i = 0; i < ARRAY_LEN(want); i++) {
                if (*want[i] != 0xffffffff)
                    continue;
                if (stop - v < 8)
                    return false;
                *want[i] = field(v, 8);
                v += 8;
            }
        }
        p = stop;
    }
    return true;
}

/* Reads the central entry at *at and steps over it; false when it is no entry or cut off. */
static bool read_entry(struct str z, uint64_t *at, struct member *m)
{
    if (*at > z.n || z.n - *at < CENTRAL_BYTES)
        return false;
    const uint8_t *p = (const uint8_t *)z.p + *at;
    size_t name = (size_t)field(p + 28, 2), extra = (size_t)field(p + 30, 2),
           comment = (size_t)field(p + 32, 2);
    if (memcmp(p, "PK\1\2", 4) != 0 || z.n - *at - CENTRAL_BYTES < name + extra + comment)
        return false;
    *m = (struct member){ .name = { (const char *)p + CENTRAL_BYTES, name },
                          .method = (int)field(p + 10, 2),
                          .crc = (uint32_t)field(p + 16, 4),
                          .packed = field(p + 20, 4),
                          .size = field(p + 24, 4),
                          .local_at = field(p + 42, 4) };
    *at += CENTRAL_BYTES + name + extra + comment;
    return read_zip64((struct str){ m->name.p + name, extra }, m);
}

static bool inflate_member(struct str packed, uint8_t *to, size_t size)
{
    z_stream s = { .next_in = (Bytef *)packed.p,
                   .avail_in = (uInt)packed.n,
                   .next_out = to,
                   .avail_out = (uInt)size };
    if (packed.n > UINT32_MAX || size > UINT32_MAX || inflateInit2(&s, -MAX_WBITS) != Z_OK)
        return false;
    int rc = inflate(&s, Z_FINISH);
    bool whole = rc == Z_STREAM_END && s.total_out == size;
    inflateEnd(&s);
    return whole;
}

/* The member's content: a view where it is stored, a copy where it is deflated. */
static status member_bytes(struct str z, const struct member *m, const char *what, struct arena *a,
                           struct str *out, struct err *e)
{
    const uint8_t *p = (const uint8_t *)z.p + m->local_at;
    if (m->local_at > z.n || z.n - m->local_at < LOCAL_BYTES || memcmp(p, "PK\3\4", 4) != 0)
        return err_set(e, INVALID, "%s: its local header is missing", what);
    uint64_t skip = LOCAL_BYTES + field(p + 26, 2) + field(p + 28, 2), left = z.n - m->local_at;
    if (skip > left || m->packed > left - skip)
        return err_set(e, INVALID, "%s: %llu bytes are promised, the file ends before", what,
                       (unsigned long long)m->packed);
    *out = (struct str){ (const char *)p + skip, (size_t)m->packed };
    if (m->method == 0 && m->size == m->packed)
        return OK;
    if (m->method != 8)
        return err_set(e, UNSUPPORTED, "%s: compression method %d, stored and deflated are read",
                       what, m->method);
    if (m->size / 1100 > m->packed) /* deflate packs at most 1032 to 1 */
        return err_set(e, INVALID, "%s: %llu bytes cannot come from %llu", what,
                       (unsigned long long)m->size, (unsigned long long)m->packed);
    uint8_t *to = arena_try(a, (size_t)m->size, 64);
    if (to == NULL)
        return err_set(e, NO_MEMORY, "%s: no memory for %llu bytes", what,
                       (unsigned long long)m->size);
    if (!inflate_member(*out, to, (size_t)m->size))
        return err_set(e, INVALID, "%s: its deflated bytes are damaged", what);
    *out = (struct str){ (const char *)to, (size_t)m->size };
    return OK;
}

static status read_member(struct str z, const char *file, const struct member *m, struct arena *a,
                          struct npz_array *out, struct err *e)
{
    struct str bytes, name = m->name;
    const char *what = arena_printf(a, "%s: '%.*s'", file, STR_ARG(name));
    TRY(member_bytes(z, m, what, a, &bytes, e));
    if (crc32_z(0, (const Bytef *)bytes.p, bytes.n) != m->crc)
        return err_set(e, CORRUPT, "%s: its CRC-32 is not the one in the directory", what);
    if (str_ends(name, ".npy"))
        name.n -= 4;
    out->name = name;
    return npy_read(bytes, what, a, &out->tensor, e);
}

status npz_read(struct str bytes, const char *file, struct arena *a, struct npz *out, struct err *e)
{
    struct directory d = { 0 };
    TRY(find_directory(bytes, file, &d, e));
    if (d.count > bytes.n / CENTRAL_BYTES)
        return err_set(e, INVALID, "%s: %llu arrays cannot be in %zu bytes", file,
                       (unsigned long long)d.count, bytes.n);
    *out = (struct npz){ .array = arena_try_array(a, (size_t)d.count + 1, sizeof(*out->array)) };
    if (out->array == NULL)
        return err_set(e, NO_MEMORY, "%s: no memory for its directory", file);
    uint64_t at = d.at;
    for (uint64_t i = 0; i < d.count; i++) {
        struct member m;
        if (!read_entry(bytes, &at, &m))
            return err_set(e, INVALID, "%s: entry %llu of its directory is damaged", file,
                           (unsigned long long)i);
        TRY(read_member(bytes, file, &m, a, &out->array[out->count], e));
        out->count++;
    }
    return OK;
}

const struct tensor *npz_find(const struct npz *z, struct str name)
{
    for (int i = 0; i < z->count; i++)
        if (str_eq(z->array[i].name, name))
            return &z->array[i].tensor;
    return NULL;
}

/* ---- writing ---- */

#define NPY_ALIGN 64

/* The dict of a .npy header, padded so that the data begins at a multiple of 64 behind `before` bytes. */
static void put_npy_head(const struct tensor *t, struct buf *out)
{
    char descr[8], dict[256];
    dtype_to_npy(t->dtype, descr);
    int n =
        snprintf(dict, sizeof(dict), "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < t->shape.rank; i++)
        n += snprintf(dict + n, sizeof(dict) - (size_t)n, "%lld%s", (long long)t->shape.dim[i],
                      i + 1 < t->shape.rank ? ", " : (t->shape.rank == 1 ? "," : ""));
    n += snprintf(dict + n, sizeof(dict) - (size_t)n, "), }");
    size_t pad = NPY_ALIGN - (10 + (size_t)n + 1) % NPY_ALIGN, length = (size_t)n + pad + 1;
    const uint8_t head[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)length, (uint8_t)(length >> 8)
    };
    buf_append(out, head, sizeof(head));
    buf_append(out, dict, (size_t)n);
    for (size_t i = 0; i < pad; i++)
        buf_byte(out, ' ');
    buf_byte(out, '\n');
}

void npy_write(const struct tensor *t, struct buf *out)
{
    put_npy_head(t, out);
    buf_append(out, t->data, (size_t)tensor_bytes(t));
}

static void put_field(struct buf *out, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++, v >>= 8)
        buf_byte(out, (uint8_t)v);
}

struct written {
    uint32_t crc;
    uint32_t size, at;
};

/* What a local header and a central entry share, from "version needed" to the lengths. */
static void put_common(struct buf *out, const struct written *w, size_t name_bytes)
{
    put_field(out, 20, 2);
    put_field(out, 0, 2);          /* flags */
    put_field(out, 0, 2);          /* stored */
    put_field(out, 0x00210000, 4); /* 1980-01-01 00:00, as np.savez writes */
    put_field(out, w->crc, 4);
    put_field(out, w->size, 4);
    put_field(out, w->size, 4);
    put_field(out, name_bytes + 4, 2);
    put_field(out, 0, 2); /* extra */
}

static void put_name(struct buf *out, struct str name)
{
    buf_append(out, name.p, name.n);
    buf_str(out, ".npy");
}

static void put_member(struct buf *out, const struct npz_array *array, struct written *w)
{
    struct buf head;
    buf_init(&head, 4096);
    put_npy_head(&array->tensor, &head);
    size_t bytes = (size_t)tensor_bytes(&array->tensor);
    uint32_t crc = (uint32_t)crc32_z(0, head.data, head.len);
    *w = (struct written){ .crc = (uint32_t)crc32_z(crc, array->tensor.data, bytes),
                           .size = (uint32_t)(head.len + bytes),
                           .at = (uint32_t)out->len };
    buf_append(out, "PK\3\4", 4);
    put_common(out, w, array->name.n);
    put_name(out, array->name);
    buf_append(out, head.data, head.len);
    buf_append(out, array->tensor.data, bytes);
    buf_deinit(&head);
}

static void put_central(struct buf *out, const struct npz_array *array, const struct written *w)
{
    buf_append(out, "PK\1\2", 4);
    put_field(out, 20, 2); /* made by */
    put_common(out, w, array->name.n);
    put_field(out, 0, 2 + 2 + 2); /* comment, disk, internal attributes */
    put_field(out, 0, 4);         /* external attributes */
    put_field(out, w->at, 4);
    put_name(out, array->name);
}

static void put_end(struct buf *out, int count, size_t directory_at)
{
    size_t bytes = out->len - directory_at;
    buf_append(out, "PK\5\6", 4);
    put_field(out, 0, 4); /* disks */
    put_field(out, (uint64_t)count, 2);
    put_field(out, (uint64_t)count, 2);
    put_field(out, bytes, 4);
    put_field(out, directory_at, 4);
    put_field(out, 0, 2); /* comment */
}

/* Sizes beyond what a plain zip holds; zip64 is read, but not written. */
static bool too_large(const struct npz_array *arrays, int count)
{
    uint64_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += (uint64_t)tensor_bytes(&arrays[i].tensor) + arrays[i].name.n * 2 + 1024;
    return sum >= 0xffffffff || count >= 0xffff;
}

void npz_write(const struct npz_array *arrays, int count, struct buf *out)
{
    if (too_large(arrays, count)) {
        out->failed = TOO_LARGE;
        return;
    }
    struct written *w = mem_alloc((size_t)(count + 1) * sizeof(*w));
    for (int i = 0; i < count; i++)
        put_member(out, &arrays[i], &w[i]);
    size_t directory_at = out->len;
    for (int i = 0; i < count; i++)
        put_central(out, &arrays[i], &w[i]);
    put_end(out, count, directory_at);
    mem_free(w);
}
