/* Asks a server many different questions from several connections and compares each answer with what the model says here:
 * an answer that is wrong, or another caller's, is found.
 *
 *     build/bench_crosscheck HOST:PORT MODEL_DIR REQUESTS CONNECTIONS */
#include "base/arena.h"
#include "client/client.h"
#include "exec/exec.h"
#include "exec/model.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define SAME 16 /* one request in so many asks what others asked too, for the cache's sake */

static const char *address;
static struct model *model;
static long requests;
static atomic_long next, wrong, failed, busy;

struct question {
    struct named_tensor feed;
    int64_t rows, width;
    float *x;
};

static void make_question(struct question *q, long id, struct arena *a)
{
    int count;
    const struct port *p = model_inputs(model, &count);
    if (id % SAME == 0)
        id = id / SAME % 64 - 1000000000;
    q->rows = 1 + labs(id) % 3;
    q->width = p->shape.dim[1];
    q->x = arena_zalloc(a, (size_t)(q->rows * q->width) * sizeof(float));
    for (int64_t r = 0; r < q->rows; r++) {
        q->x[r * q->width] = (float)(id % 4096);
        q->x[r * q->width + 1] = (float)(id / 4096);
        q->x[r * q->width + 2] = (float)r;
    }
    q->feed = (struct named_tensor){ str_of(p->alias),
                                     str_of(p->alias),
                                     { DTYPE_F32, SHAPE(q->rows, q->width), q->x, { 0 } } };
}

static bool is_right(const struct question *q, const struct infer_reply *reply, struct exec *x)
{
    struct tensor out[8];
    if (reply->output_count != 1 || reply->output[0].tensor_count < 1 ||
        exec_run(x, model, &q->feed.tensor, out, NULL) != OK)
        return false;
    const struct tensor *got = &reply->output[0].tensor[0].tensor;
    if (!shape_eq(&got->shape, &out[0].shape))
        return false;
    for (int64_t i = 0; i < shape_numel(&got->shape); i++) {
        float a = ((const float *)got->data)[i], b = ((const float *)out[0].data)[i];
        if (!(fabsf(a - b) <= 1e-4f * fmaxf(1, fabsf(b))))
            return false;
    }
    return true;
}

static void *work(void *arg)
{
    struct client *c;
    struct exec *x = exec_new();
    struct arena a;
    struct err e;
    arena_init(&a, 0);
    if (client_open(str_of(address), STR("brpc"), &c, &e) != OK)
        exit(2);
    for (long id; (id = atomic_fetch_add(&next, 1)) < requests;) {
        struct question q;
        struct infer_reply reply;
        make_question(&q, id, &a);
        struct infer_request r = { .feed = &q.feed, .feed_count = 1 };
        status s = client_infer(c, &r, 0, &reply, &e);
        if (s == BUSY)
            atomic_fetch_add(&busy, 1);
        else if (s != OK && atomic_fetch_add(&failed, 1) < 5)
            fprintf(stderr, "%s\n", e.text);
        if (s == OK && !is_right(&q, &reply, x) && atomic_fetch_add(&wrong, 1) < 5)
            fprintf(stderr, "request %ld: a wrong answer\n", id);
        arena_reset(&a);
    }
    client_close(c);
    exec_free(x);
    arena_deinit(&a);
    return NULL;
}

int main(int argc, char **argv)
{
    struct err e;
    if (argc != 5) {
        fprintf(stderr, "usage: bench_crosscheck HOST:PORT MODEL_DIR REQUESTS CONNECTIONS\n");
        return 2;
    }
    address = argv[1];
    requests = atol(argv[3]);
    int count = atoi(argv[4]) > 0 && atoi(argv[4]) < 1024 ? atoi(argv[4]) : 16;
    if (model_open(argv[2], NULL, &model, &e) != OK) {
        fprintf(stderr, "%s\n", e.text);
        return 2;
    }
    pthread_t *thread = calloc((size_t)count, sizeof(*thread));
    for (int i = 0; i < count; i++)
        pthread_create(&thread[i], NULL, work, NULL);
    for (int i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
    free(thread);
    model_unref(model);
    printf("{\"requests\":%ld,\"wrong\":%ld,\"failed\":%ld,\"busy\":%ld}\n", requests,
           atomic_load(&wrong), atomic_load(&failed), atomic_load(&busy));
    return atomic_load(&wrong) + atomic_load(&failed) > 0;
}
