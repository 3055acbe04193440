/* include/oar/engine.h over model.h and exec.h: plain C types outside, the rooms' types inside. */
#include "oar/engine.h"

#include "base/mem.h"
#include "exec/exec.h"
#include "exec/model.h"

#include <stdio.h>
#include <string.h>

_Static_assert(OAR_MAX_RANK == SHAPE_MAX, "a shape outside is a shape inside");

struct oar_model {
    struct model *model; /* one reference */
};

struct oar_session {
    struct model *model; /* one reference */
    struct exec *exec;
    struct tensor *in, *out; /* one for each port */
    int in_count, out_count;
};

static int report(status s, const struct err *e, oar_error *out)
{
    if (out != NULL)
        snprintf(out->text, sizeof(out->text), "%s", s == OK ? "" : e->text);
    return s;
}

/* Fields beyond the size that the caller knows are not looked at. */
static status take_options(const oar_model_options *from, struct model_options *to, struct err *e)
{
    oar_model_options known = { 0 };
    if (from == NULL)
        return OK;
    if (from->size < sizeof(from->size) || from->size > 4096)
        return err_set(e, INVALID, "options of %zu bytes: set size to sizeof(oar_model_options)",
                       from->size);
    memcpy(&known, from, from->size < sizeof(known) ? from->size : sizeof(known));
    to->threads = known.threads;
    to->max_arena_bytes = (size_t)known.max_arena_bytes;
    if (known.precision == NULL || precision_parse(str_of(known.precision), &to->precision))
        return OK;
    return err_set(e, INVALID, "precision '%s' is not one of %s", known.precision,
                   PRECISION_CHOICES);
}

int oar_model_open(const char *path, oar_model **out, oar_error *error)
{
    return oar_model_open_with(path, NULL, out, error);
}

int oar_model_open_with(const char *path, const oar_model_options *options, oar_model **out,
                        oar_error *error)
{
    struct err e = { "" };
    struct model_options how = { 0 };
    struct model *m;
    *out = NULL;
    status s = path != NULL ? take_options(options, &how, &e) : err_set(&e, INVALID, "no path");
    if (s == OK)
        s = model_open(path, &how, &m, &e);
    if (s == OK) {
        *out = mem_alloc(sizeof(**out));
        (*out)->model = m;
    }
    return report(s, &e, error);
}

void oar_model_close(oar_model *model)
{
    if (model == NULL)
        return;
    model_unref(model->model);
    mem_free(model);
}

const char *oar_model_remark(const oar_model *model)
{
    return model_remark(model->model);
}

int oar_model_input_count(const oar_model *model)
{
    int count;
    model_inputs(model->model, &count);
    return count;
}

int oar_model_output_count(const oar_model *model)
{
    int count;
    model_outputs(model->model, &count);
    return count;
}

static int port_out(const struct port *ports, int count, int index, oar_port *out)
{
    if (index < 0 || index >= count)
        return NOT_FOUND;
    const struct port *p = &ports[index];
    *out = (oar_port){
        .name = p->name,
        .alias = p->alias,
        .dtype = p->dtype,
        .rank = p->shape.rank,
        .ragged = p->ragged,
    };
    memcpy(out->shape, p->shape.dim, sizeof(out->shape));
    return OK;
}

int oar_model_input(const oar_model *model, int index, oar_port *out)
{
    int count;
    const struct port *ports = model_inputs(model->model, &count);
    return port_out(ports, count, index, out);
}

int oar_model_output(const oar_model *model, int index, oar_port *out)
{
    int count;
    const struct port *ports = model_outputs(model->model, &count);
    return port_out(ports, count, index, out);
}

int oar_session_open(oar_model *model, oar_session **out, oar_error *error)
{
    oar_session *s = mem_zalloc(sizeof(*s));
    s->model = model_ref(model->model);
    s->exec = exec_new();
    model_inputs(s->model, &s->in_count);
    model_outputs(s->model, &s->out_count);
    s->in = mem_zalloc((size_t)s->in_count * sizeof(*s->in));
    s->out = mem_zalloc((size_t)s->out_count * sizeof(*s->out));
    *out = s;
    return report(OK, NULL, error);
}

void oar_session_close(oar_session *session)
{
    if (session == NULL)
        return;
    exec_free(session->exec);
    model_unref(session->model);
    mem_free(session->in);
    mem_free(session->out);
    mem_free(session);
}

static status tensor_in(const oar_tensor *from, int index, struct tensor *to, struct err *e)
{
    if (!dtype_valid(from->dtype))
        return err_set(e, INVALID, "input %d: no dtype has code %d", index, from->dtype);
    if (from->rank < 0 || from->rank > OAR_MAX_RANK)
        return err_set(e, INVALID, "input %d: rank %d is not from 0 to %d", index, from->rank,
                       OAR_MAX_RANK);
    *to = (struct tensor){ .dtype = (dtype)from->dtype, .data = from->data };
    to->shape.rank = from->rank;
    memcpy(to->shape.dim, from->shape, sizeof(from->shape));
    int64_t bytes = tensor_bytes(to);
    if (bytes < 0 || (bytes > 0 && from->data == NULL))
        return err_set(e, INVALID, "input %d: its shape or its data is missing", index);
    if (from->lod != NULL && from->lod_count > 0)
        to->lod = (struct lod){ .levels = 1, .level = { { from->lod, from->lod_count } } };
    return OK;
}

static void tensor_out(const struct tensor *from, oar_tensor *to)
{
    const struct lod *lod = &from->lod;
    *to = (oar_tensor){ .dtype = from->dtype, .rank = from->shape.rank, .data = from->data };
    memcpy(to->shape, from->shape.dim, sizeof(to->shape));
    if (lod->levels > 0) {
        to->lod = lod->level[lod->levels - 1].offset;
        to->lod_count = lod->level[lod->levels - 1].count;
    }
}

int oar_session_run(oar_session *session, const oar_tensor *inputs, oar_tensor *outputs,
                    oar_error *error)
{
    struct err e = { "" };
    status s = OK;
    for (int i = 0; i < session->in_count && s == OK; i++)
        s = tensor_in(&inputs[i], i, &session->in[i], &e);
    if (s == OK)
        s = exec_run(session->exec, session->model, session->in, session->out, &e);
    for (int i = 0; i < session->out_count && s == OK; i++)
        tensor_out(&session->out[i], &outputs[i]);
    return report(s, &e, error);
}

const char *oar_version(void)
{
    return OAR_VERSION;
}
