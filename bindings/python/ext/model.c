/* Model(path): a model in this process. run(feed, fetch=None) finds an idle session (each holds one thread's working
 * memory), gives the GIL away, and makes arrays of the outputs. */
#include "ext.h"

#include "oar/engine.h"

#include <pthread.h>
#include <string.h>

#define IDLE_SESSIONS 64 /* kept for the next runs; more are closed when their run ends */

struct port {
    oar_port info;
    PyObject *alias, *lod_key;
};

struct model {
    PyObject_HEAD oar_model *model;
    struct port *in, *out;
    int in_count, out_count;
    PyObject *in_index,
        *out_index; /* name or alias -> number; inputs: "alias.lod" -> number + in_count */
    pthread_mutex_t lock;
    oar_session *idle[IDLE_SESSIONS]; /* guarded by lock */
    int idle_count;                   /* guarded by lock */
};

static oar_session *take_session(struct model *m, oar_error *e)
{
    oar_session *s = NULL;
    pthread_mutex_lock(&m->lock);
    if (m->idle_count > 0)
        s = m->idle[--m->idle_count];
    pthread_mutex_unlock(&m->lock);
    if (s == NULL && oar_session_open(m->model, &s, e) != 0)
        return NULL;
    return s;
}

static void give_session(struct model *m, oar_session *s)
{
    pthread_mutex_lock(&m->lock);
    bool room = m->idle_count < IDLE_SESSIONS;
    if (room)
        m->idle[m->idle_count++] = s;
    pthread_mutex_unlock(&m->lock);
    if (!room)
        oar_session_close(s);
}

/* ---- feeds ---- */

struct feeds {
    oar_tensor *tensor; /* one for each input */
    struct array *value, *lod;
};

static bool feeds_new(struct feeds *f, int count)
{
    size_t each = sizeof(*f->tensor) + 2 * sizeof(*f->value);
    char *all = PyMem_Calloc((size_t)count, each);
    if (all == NULL) {
        PyErr_NoMemory();
        return false;
    }
    f->tensor = (oar_tensor *)all;
    f->value = (struct array *)(f->tensor + count);
    f->lod = f->value + count;
    return true;
}

static void feeds_free(struct feeds *f, int count)
{
    for (int i = 0; i < count; i++) {
        array_release(&f->value[i]);
        array_release(&f->lod[i]);
    }
    PyMem_Free(f->tensor);
}

static bool set_feed(struct model *m, struct feeds *f, int i, PyObject *value)
{
    const oar_port *p = &m->in[i].info;
    if (!array_in(value, p->dtype, true, p->alias, &f->value[i]))
        return false;
    oar_tensor *t = &f->tensor[i];
    t->dtype = p->dtype;
    t->rank = f->value[i].rank;
    memcpy(t->shape, f->value[i].shape, sizeof(t->shape));
    t->data = f->value[i].data;
    return true;
}

static bool set_lod(struct model *m, struct feeds *f, int i, PyObject *value)
{
    if (!array_in(value, EXT_I64, true, m->in[i].info.alias, &f->lod[i]))
        return false;
    if (f->lod[i].rank != 1) {
        PyErr_Format(PyExc_ValueError,
                     "feed '%s.lod': one list of offsets was expected (such as [0, 3, 8]), not %d "
                     "dimensions",
                     m->in[i].info.alias, f->lod[i].rank);
        return false;
    }
    f->tensor[i].lod = f->lod[i].data;
    f->tensor[i].lod_count = f->lod[i].shape[0];
    return true;
}

static void unknown_name(const char *what, PyObject *name, const struct port *p, int count)
{
    PyObject *names = PyList_New(0);
    for (int i = 0; i < count && names != NULL; i++)
        PyList_Append(names, p[i].alias);
    PyErr_Format(PyExc_ValueError, "the model has no %s %R; its %ss are %R", what, name, what,
                 names);
    Py_XDECREF(names);
}

static bool fill_from_dict(struct model *m, struct feeds *f, PyObject *feed)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(feed, &at, &key, &value)) {
        PyObject *number = PyDict_GetItemWithError(m->in_index, key);
        if (number == NULL) {
            if (!PyErr_Occurred())
                unknown_name("input", key, m->in, m->in_count);
            return false;
        }
        int i = (int)PyLong_AsLong(number);
        bool fine =
            i < m->in_count ? set_feed(m, f, i, value) : set_lod(m, f, i - m->in_count, value);
        if (!fine)
            return false;
    }
    return true;
}

static bool all_given(const struct model *m, const struct feeds *f)
{
    for (int i = 0; i < m->in_count; i++) {
        if (f->value[i].owner != NULL)
            continue;
        PyErr_Format(PyExc_ValueError, "no feed for the model's input %R", m->in[i].alias);
        return false;
    }
    return true;
}

static bool fill(struct model *m, struct feeds *f, PyObject *feed)
{
    if (PyDict_Check(feed)) {
        PyObject *own = ext_own_dict(feed);
        bool fine = own != NULL && fill_from_dict(m, f, own) && all_given(m, f);
        Py_XDECREF(own);
        return fine;
    }
    if (m->in_count == 1)
        return set_feed(m, f, 0, feed);
    PyErr_Format(PyExc_TypeError,
                 "the model has %d inputs: feed it a dict of arrays by name, not %R", m->in_count,
                 (PyObject *)Py_TYPE(feed));
    return false;
}

/* ---- results ---- */

static bool add_result(PyObject *to, const struct port *p, const oar_tensor *t)
{
    PyObject *value = array_out(t->dtype, t->rank, t->shape, t->data);
    bool fine = value != NULL && PyDict_SetItem(to, p->alias, value) == 0;
    Py_XDECREF(value);
    if (!fine || t->lod_count == 0)
        return fine;
    PyObject *lod = array_out(EXT_I64, 1, &t->lod_count, t->lod);
    fine = lod != NULL && PyDict_SetItem(to, p->lod_key, lod) == 0;
    Py_XDECREF(lod);
    return fine;
}

/* The number of the output that a name means; -1: an exception is set. */
static int output_named(const struct model *m, PyObject *name)
{
    PyObject *number = name != NULL ? PyDict_GetItemWithError(m->out_index, name) : NULL;
    if (number == NULL && !PyErr_Occurred())
        unknown_name("output", name, m->out, m->out_count);
    return number != NULL ? (int)PyLong_AsLong(number) : -1;
}

static bool add_named(PyObject *to, const struct model *m, const oar_tensor *out, PyObject *name)
{
    int i = output_named(m, name);
    return i >= 0 && add_result(to, &m->out[i], &out[i]);
}

static bool add_fetched(PyObject *to, const struct model *m, const oar_tensor *out, PyObject *fetch)
{
    if (PyUnicode_Check(fetch))
        return add_named(to, m, out, fetch);
    Py_ssize_t count = PySequence_Size(fetch);
    bool fine = count >= 0;
    for (Py_ssize_t k = 0; k < count && fine; k++) {
        PyObject *name = PySequence_GetItem(fetch, k);
        fine = add_named(to, m, out, name);
        Py_XDECREF(name);
    }
    return fine;
}

static PyObject *results(struct model *m, const oar_tensor *out, PyObject *fetch)
{
    PyObject *to = PyDict_New();
    bool fine = to != NULL;
    if (fine && fetch != Py_None)
        fine = add_fetched(to, m, out, fetch);
    for (int i = 0; i < m->out_count && fine && fetch == Py_None; i++)
        fine = add_result(to, &m->out[i], &out[i]);
    if (!fine)
        Py_CLEAR(to);
    return to;
}

static PyObject *run_fed(struct model *m, const struct feeds *f, PyObject *fetch)
{
    oar_error e = { "" };
    oar_session *s = take_session(m, &e);
    oar_tensor *out = PyMem_Calloc((size_t)m->out_count, sizeof(*out));
    if (s == NULL || out == NULL) {
        PyMem_Free(out);
        if (s != NULL)
            give_session(m, s);
        return s == NULL ? ext_fail(-6, 0, e.text) : PyErr_NoMemory();
    }
    int status;
    Py_BEGIN_ALLOW_THREADS status = oar_session_run(s, f->tensor, out, &e);
    Py_END_ALLOW_THREADS PyObject *r =
        status == 0 ? results(m, out, fetch) : ext_fail(status, 0, e.text);
    give_session(m, s);
    PyMem_Free(out);
    return r;
}

/* Arguments by name go where they belong: value[0] is feed, value[1] fetch. */
static bool take_keywords(PyObject *names, PyObject *const *arg, PyObject *value[2])
{
    static const char *const known[] = { "feed", "fetch" };
    for (Py_ssize_t k = 0; names != NULL && k < PyTuple_Size(names); k++) {
        PyObject *name = PyTuple_GetItem(names, k);
        int i = 0;
        while (i < 2 && PyUnicode_CompareWithASCIIString(name, known[i]) != 0)
            i++;
        if (i == 2 || value[i] != NULL) {
            PyErr_Format(PyExc_TypeError,
                         i == 2 ? "run(feed, fetch=None) has no argument %R"
                                : "run() is given %R twice",
                         name);
            return false;
        }
        value[i] = arg[k];
    }
    return true;
}

static PyObject *model_run(PyObject *self, PyObject *const *arg, Py_ssize_t count, PyObject *names)
{
    struct model *m = (struct model *)self;
    struct feeds f;
    PyObject *value[2] = { count > 0 ? arg[0] : NULL, count > 1 ? arg[1] : NULL };
    if (count > 2)
        return PyErr_Format(PyExc_TypeError,
                            "run(feed, fetch=None) takes at most 2 arguments, not %zd", count);
    if (!take_keywords(names, arg + count, value))
        return NULL;
    if (value[0] == NULL)
        return PyErr_Format(PyExc_TypeError,
                            "run(feed, fetch=None) wants a feed: a dict of arrays by name");
    if (!feeds_new(&f, m->in_count))
        return NULL;
    PyObject *r =
        fill(m, &f, value[0]) ? run_fed(m, &f, value[1] != NULL ? value[1] : Py_None) : NULL;
    feeds_free(&f, m->in_count);
    return r;
}

/* ---- life ---- */

static bool index_put(PyObject *index, PyObject *key, int number)
{
    PyObject *n = PyLong_FromLong(number);
    bool fine = key != NULL && n != NULL &&
                (PyDict_Contains(index, key) == 1 || PyDict_SetItem(index, key, n) == 0);
    Py_XDECREF(n);
    return fine;
}

/* lod_offset: 0 where offsets cannot be fed (outputs). */
static bool index_port(struct port *p, int number, PyObject *index, int lod_offset)
{
    PyObject *name = PyUnicode_FromString(p->info.name);
    p->alias = PyUnicode_FromString(p->info.alias);
    p->lod_key = p->alias != NULL ? PyUnicode_FromFormat("%U.lod", p->alias) : NULL;
    bool fine = index_put(index, p->alias, number) && index_put(index, name, number) &&
                (lod_offset == 0 || index_put(index, p->lod_key, number + lod_offset));
    Py_XDECREF(name);
    return fine;
}

static bool index_ports(struct model *m)
{
    m->in_count = oar_model_input_count(m->model);
    m->out_count = oar_model_output_count(m->model);
    m->in = PyMem_Calloc((size_t)m->in_count + (size_t)m->out_count, sizeof(*m->in));
    m->in_index = PyDict_New();
    m->out_index = PyDict_New();
    if (m->in == NULL || m->in_index == NULL || m->out_index == NULL)
        return false;
    m->out = m->in + m->in_count;
    bool fine = true;
    for (int i = 0; i < m->in_count && fine; i++)
        fine = oar_model_input(m->model, i, &m->in[i].info) == 0 &&
               index_port(&m->in[i], i, m->in_index, m->in_count);
    for (int i = 0; i < m->out_count && fine; i++)
        fine = oar_model_output(m->model, i, &m->out[i].info) == 0 &&
               index_port(&m->out[i], i, m->out_index, 0);
    return fine;
}

static int model_init(PyObject *self, PyObject *args, PyObject *kw)
{
    struct model *m = (struct model *)self;
    PyObject *path;
    oar_error e = { "" };
    oar_model_options options = { .size = sizeof(options) };
    if (m->model != NULL || !PyArg_ParseTuple(args, "O&|zi", PyUnicode_FSConverter, &path,
                                              &options.precision, &options.threads)) {
        if (m->model != NULL)
            PyErr_SetString(PyExc_RuntimeError, "a Model is loaded once");
        return -1;
    }
    int status;
    pthread_mutex_init(&m->lock, NULL);
    Py_BEGIN_ALLOW_THREADS status =
        oar_model_open_with(PyBytes_AsString(path), &options, &m->model, &e);
    Py_END_ALLOW_THREADS Py_DECREF(path);
    if (status != 0) {
        ext_fail(status, 0, e.text);
        return -1;
    }
    if (!index_ports(m)) {
        if (!PyErr_Occurred())
            PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static void model_dealloc(PyObject *self)
{
    struct model *m = (struct model *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (int i = 0; i < m->idle_count; i++)
        oar_session_close(m->idle[i]);
    for (int i = 0; m->in != NULL && i < m->in_count + m->out_count; i++) {
        Py_XDECREF(m->in[i].alias);
        Py_XDECREF(m->in[i].lod_key);
    }
    PyMem_Free(m->in);
    Py_XDECREF(m->in_index);
    Py_XDECREF(m->out_index);
    oar_model_close(m->model);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* A list of (name, alias, dtype code, ragged, shape). */
static PyObject *ports(const struct port *p, int count)
{
    PyObject *list = PyList_New(0);
    for (int i = 0; i < count && list != NULL; i++) {
        PyObject *shape = PyTuple_New(p[i].info.rank);
        for (int k = 0; k < p[i].info.rank && shape != NULL; k++)
            PyTuple_SetItem(shape, k, PyLong_FromLongLong(p[i].info.shape[k]));
        PyObject *row = shape != NULL ? Py_BuildValue("(ssiON)", p[i].info.name, p[i].info.alias,
                                                      (int)p[i].info.dtype,
                                                      p[i].info.ragged ? Py_True : Py_False, shape)
                                      : NULL;
        if (row == NULL || PyList_Append(list, row) != 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

static PyObject *model_ports(PyObject *self, PyObject *unused)
{
    struct model *m = (struct model *)self;
    return Py_BuildValue("(NN)", ports(m->in, m->in_count), ports(m->out, m->out_count));
}

static PyMethodDef methods[] = {
    { "run", (PyCFunction)(void (*)(void))model_run, METH_FASTCALL | METH_KEYWORDS,
      "run(feed, fetch=None) -> dict of arrays by output name\n\n"
      "feed: a dict of arrays by input name (alias or the model's own), or the array alone where "
      "the model has one\n"
      "input. Anything NumPy makes an array of will do; a dense array of the right dtype is read "
      "where it lies.\n"
      "A ragged input takes its rows, and its offsets under \"NAME.lod\". fetch: the name or "
      "names of the outputs wanted.\n"
      "Any number of threads may run one model; the GIL is free while it computes." },
    { "_ports", model_ports, METH_NOARGS, "_ports() -> (inputs, outputs), lists of tuples" },
    { 0 },
};

PyObject *model_type(void)
{
    static PyType_Slot slots[] = {
        { Py_tp_init, model_init },
        { Py_tp_new, PyType_GenericNew },
        { Py_tp_dealloc, model_dealloc },
        { Py_tp_methods, methods },
        { Py_tp_doc, (void *)(uintptr_t) "Model(path): a model of the engine in this process." },
        { 0 },
    };
    static PyType_Spec spec = {
        .name = "oar._oar.Model",
        .basicsize = sizeof(struct model),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = slots,
    };
    return PyType_FromSpec(&spec);
}
