/* grpc.reflection, v1 and v1alpha, which are the same but for their name: each request on the stream gets one answer. */
#include "codec/pb.h"
#include "serve/descriptors.h"
#include "serve/grpc.h"

#define REPLY_BYTES ((size_t)1 << 20)

enum {
    ASK_FILE = 3,
    ASK_SYMBOL = 4,
    ASK_EXTENSION = 5,
    ASK_EXTENSION_NUMBERS = 6,
    ASK_SERVICES = 7,

    REPLY_HOST = 1,
    REPLY_REQUEST = 2,
    REPLY_FILE = 4,
    REPLY_EXTENSION_NUMBERS = 5,
    REPLY_SERVICES = 6,
    REPLY_ERROR = 7,
};

static const struct descriptor *by_file(struct str name)
{
    for (const struct descriptor *d = descriptors; d->file != NULL; d++)
        if (str_is(name, d->file))
            return d;
    return NULL;
}

static const struct descriptor *by_symbol(struct str name)
{
    for (const struct descriptor *d = descriptors; d->file != NULL; d++)
        for (const char *const *s = d->symbols; *s != NULL; s++)
            if (str_is(name, *s))
                return d;
    return NULL;
}

static void put_error(struct buf *b, enum grpc_code code, const char *words)
{
    struct str text = str_of(words);
    pb_put_begin(b, REPLY_ERROR, pb_size_u64(1, code) + pb_size_bytes(2, text.n));
    pb_put_u64(b, 1, code);
    pb_put_bytes(b, 2, text);
}

static void put_file(struct buf *b, const struct descriptor *d)
{
    if (d == NULL) {
        put_error(b, GRPC_NOT_FOUND, "no file and no symbol of that name");
        return;
    }
    pb_put_begin(b, REPLY_FILE, pb_size_bytes(1, d->bytes.n));
    pb_put_bytes(b, 1, d->bytes);
}

/* The services that are served, each once: their methods stand together in the tables. */
static void put_services(struct buf *b)
{
    const struct grpc_method *m;
    struct str last = STR(""), service;
    struct buf list;
    buf_init(&list, REPLY_BYTES);
    for (size_t at = 0; (m = grpc_method_next(&at)) != NULL; last = service) {
        struct str path = str_of(m->path + 1);
        str_cut(&path, '/', &service);
        if (str_eq(service, last))
            continue;
        pb_put_begin(&list, 1, pb_size_bytes(1, service.n));
        pb_put_bytes(&list, 1, service);
    }
    pb_put_bytes(b, REPLY_SERVICES, buf_view(&list));
    buf_deinit(&list);
}

/* No type here has extensions. */
static void put_numbers(struct buf *b, struct str type)
{
    if (by_symbol(type) == NULL) {
        put_error(b, GRPC_NOT_FOUND, "no type of that name");
        return;
    }
    pb_put_begin(b, REPLY_EXTENSION_NUMBERS, pb_size_bytes(1, type.n));
    pb_put_bytes(b, 1, type);
}

static void put_answer(struct buf *b, uint32_t asked, struct str value)
{
    switch (asked) {
    case ASK_FILE: put_file(b, by_file(value)); break;
    case ASK_SYMBOL: put_file(b, by_symbol(value)); break;
    case ASK_EXTENSION: put_error(b, GRPC_NOT_FOUND, "no type here has extensions"); break;
    case ASK_EXTENSION_NUMBERS: put_numbers(b, value); break;
    case ASK_SERVICES: put_services(b); break;
    default: put_error(b, GRPC_INVALID_ARGUMENT, "the request asks nothing that is known"); break;
    }
}

static void info(struct grpc_rpc *g, struct str message)
{
    struct pb r;
    struct str host = STR(""), value = STR("");
    uint32_t asked = 0;
    struct buf b;
    for (pb_init(&r, message); pb_next(&r);) {
        if (r.wire != PB_BYTES) {
            pb_skip(&r);
        } else if (r.field == 1) {
            host = pb_bytes(&r);
        } else {
            asked = r.field;
            value = pb_bytes(&r);
        }
    }
    if (!pb_ok(&r)) {
        grpc_fail(g, MALFORMED, "the protobuf message is damaged or cut short");
        return;
    }
    buf_init(&b, REPLY_BYTES + message.n);
    if (host.n > 0)
        pb_put_bytes(&b, REPLY_HOST, host);
    pb_put_bytes(&b, REPLY_REQUEST, message);
    put_answer(&b, asked, value);
    grpc_send(g, buf_view(&b));
    buf_deinit(&b);
}

// clang-format off
const struct grpc_method grpc_reflection[] = {
    { "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",      ACCESS_METADATA, true, false, info, NULL, NULL, NULL },
    { "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", ACCESS_METADATA, true, false, info, NULL, NULL, NULL },
    { 0 },
};
// clang-format on
