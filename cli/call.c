#include "feeds.h"
#include "options.h"
#include "remote.h"
#include "text.h"
#include "verbs.h"

#include "client/client.h"

#include <string.h>

struct call_args {
    struct words words;
    struct feeds_args feeds;
    struct remote remote;
    const char *protocol, *encoding, *out, *model;
    int64_t timeout_ms;
    bool json;
};

#define FIELD(f) offsetof(struct call_args, f)

// clang-format off
static const struct option options[] = {
    FEEDS_OPTIONS(FIELD(feeds)),
    REMOTE_OPTIONS(FIELD(remote)),
    { "protocol", OPT_CHOICE, FIELD(protocol), "brpc|grpc|http|kserve-http|kserve-grpc|tfs", "brpc", "how to ask", 0, 0, NULL },
    { "model", OPT_TEXT, FIELD(model), "NAME", "default", "the model to ask, where requests name one (kserve-http, kserve-grpc, tfs)", 0, 0, NULL },
    { "encoding", OPT_CHOICE, FIELD(encoding), "proto|json", "proto", "the body over HTTP (kserve-http: binary tensors or JSON alone)", 0, 0, NULL },
    { "out", OPT_TEXT, FIELD(out), "FILE.npz", NULL, "where the answer goes; without it, it is printed", 0, 0, NULL },
    { "timeout-ms", OPT_INT, FIELD(timeout_ms), "N", "20000", "for the whole call", 1, 86400000, NULL },
    { "json", OPT_FLAG, FIELD(json), NULL, NULL, "print the answer as JSON", 0, 0, NULL },
};
// clang-format on

static const struct command command = {
    .name = "oar call",
    .usage = "HOST:PORT|unix:PATH --in in.npz [--protocol "
             "brpc|grpc|http|kserve-http|kserve-grpc|tfs] [options]",
    .about = "Asks a server for one inference (GeneralModelService) and prints the answer, one "
             "array a line. Arrays are fed under their own names, which must be the model's. inN "
             "stands for the N-th name of --feed-names, or the N-th feed of --client-conf or of a "
             "serving_client_conf.prototxt that lies beside the arrays. The offsets of a ragged "
             "array NAME stand in NAME.lod.",
    .examples = "  oar call localhost:9292 --in in.npz\n"
                "  oar call localhost:9292 --in in.npz --protocol kserve-grpc --model uci --json\n"
                "  oar call serve.example:443 --in in.npz --protocol grpc --tls --api-key @key\n",
    .options = options,
    .option_count = ARRAY_LEN(options),
    .positional = FIELD(words),
    .positional_min = 1,
    .positional_max = 1,
};

/* All tensors of all outputs, one after another. */
static struct named_tensor *flatten(const struct infer_reply *r, struct arena *a, int *count)
{
    *count = 0;
    for (int i = 0; i < r->output_count; i++)
        *count += r->output[i].tensor_count;
    struct named_tensor *all = arena_zalloc(a, (size_t)*count * sizeof(*all)), *next = all;
    for (int i = 0; i < r->output_count; i++)
        for (int k = 0; k < r->output[i].tensor_count; k++)
            *next++ = r->output[i].tensor[k];
    return all;
}

static status deliver(const struct call_args *args, const struct infer_reply *r, struct arena *a,
                      struct err *e)
{
    int count;
    const struct named_tensor *all = flatten(r, a, &count);
    if (args->out != NULL)
        TRY(arrays_save(args->out, all, count, e));
    if (args->out != NULL && !args->json)
        return OK;
    struct buf text;
    buf_init(&text, TEXT_BYTES);
    if (args->json)
        text_put_json(&text, all, count);
    for (int i = 0; i < count && !args->json; i++)
        text_put_tensor(&text, all[i].alias.n != 0 ? all[i].alias : all[i].name, &all[i].tensor);
    return text_print(&text, e);
}

static status call(const struct call_args *args, struct arena *a, struct err *e)
{
    struct client *client;
    struct arrays file;
    struct infer_request request;
    struct infer_reply reply;
    TRY(client_open(str_of(args->words.word[0]),
                    str_of(feeds_protocol(args->protocol, args->encoding)), &client, e));
    client_set_timeout_ms(client, args->timeout_ms);
    client_set_model(client, args->model);
    status s = client_set_remote(client, &args->remote, e);
    if (s == OK)
        s = feeds_open(&args->feeds, a, &file, &request, e);
    if (s == OK) {
        s = client_infer(client, &request, 0, &reply, e);
        if (s == OK)
            s = deliver(args, &reply, a, e);
        arrays_close(&file);
    }
    client_close(client);
    return s;
}

int verb_call(int argc, char **argv)
{
    struct arena arena;
    struct call_args args = { 0 };
    struct err e = { "" };
    int exit_status;
    arena_init(&arena, 0);
    if (options_parse(&command, argc, argv, &arena, &args, &exit_status)) {
        if (args.feeds.in == NULL)
            exit_status = command_misused(&command, "--in is missing: the .npz file of the feeds");
        else if (call(&args, &arena, &e) != OK)
            exit_status = command_failed(&command, &e);
    }
    arena_deinit(&arena);
    return exit_status;
}
