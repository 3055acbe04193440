/* A model in a C program, without a server: engine MODEL tells what the model takes and gives, and runs it on ones. */
#include <oar/engine.h>

#include <stdio.h>
#include <stdlib.h>

enum {
    FLOAT32 = 1,
    MOST = 8
};

static int failed(const oar_error *e)
{
    fprintf(stderr, "%s\n", e->text);
    return 1;
}

/* An array of ones for the port, with 1 for every dimension that a request decides; data is to be freed. */
static oar_tensor ones(const oar_port *p)
{
    oar_tensor t = { .dtype = p->dtype, .rank = p->rank };
    int64_t count = 1;
    for (int i = 0; i < p->rank; i++) {
        t.shape[i] = p->shape[i] < 0 ? 1 : p->shape[i];
        count *= t.shape[i];
    }
    float *data = malloc((size_t)count * sizeof(*data));
    for (int64_t i = 0; data != NULL && i < count; i++)
        data[i] = 1;
    t.data = data;
    return t;
}

static int run(oar_model *model, oar_session *session)
{
    oar_tensor in[MOST] = { { 0 } }, out[MOST];
    oar_port port;
    oar_error e;
    for (int i = 0; i < oar_model_input_count(model); i++) {
        oar_model_input(model, i, &port);
        if (port.dtype != FLOAT32 || port.ragged)
            return printf("input %s is not of dense floats: nothing is run\n", port.name) < 0;
        in[i] = ones(&port);
        printf("in  %s, %d dimensions\n", port.alias, port.rank);
    }
    if (oar_session_run(session, in, out, &e) != 0)
        return failed(&e);
    for (int i = 0; i < oar_model_output_count(model); i++) {
        oar_model_output(model, i, &port);
        if (out[i].dtype == FLOAT32)
            printf("out %s begins with %g\n", port.alias, *(const float *)out[i].data);
    }
    for (int i = 0; i < oar_model_input_count(model); i++)
        free((void *)in[i].data);
    return 0;
}

int main(int argc, char **argv)
{
    oar_model *model;
    oar_session *session;
    oar_error e;
    if (argc != 2)
        return fprintf(stderr, "usage: engine MODEL\n"), 2;
    if (oar_model_open(argv[1], &model, &e) != 0) /* shared by all threads */
        return failed(&e);
    int code = 1;
    if (oar_model_input_count(model) > MOST || oar_model_output_count(model) > MOST)
        fprintf(stderr, "more than %d inputs or outputs\n", MOST);
    else if (oar_session_open(model, &session, &e) != 0) /* one for each thread */
        failed(&e);
    else {
        code = run(model, session);
        oar_session_close(session);
    }
    oar_model_close(model);
    return code;
}
