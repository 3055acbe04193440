/* Spec(feeds, fetches): what serving_client_conf.prototxt says, ready for calls. Each is a list of
 * (name, alias, dtype code, ragged, shape without the batch dimension). Immutable. */
#include "ext.h"

/* The UTF-8 of a str, kept by `texts`. */
static const char *keep_text(PyObject *texts, PyObject *name)
{
    Py_ssize_t n;
    const char *p = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &n) : NULL;
    if (p == NULL || PyList_Append(texts, name) != 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a variable's names are str");
        return NULL;
    }
    return p;
}

static bool read_shape(PyObject *shape, struct spec_var *v)
{
    Py_ssize_t rank = PySequence_Size(shape);
    if (rank < 0 || rank > EXT_MAX_RANK - 1) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "variable '%s': %zd dimensions are more than %d",
                         v->alias_text, rank, EXT_MAX_RANK - 1);
        return false;
    }
    v->rank = (int)rank;
    v->numel = 1;
    for (int i = 0; i < v->rank; i++) {
        PyObject *n = PySequence_GetItem(shape, i);
        v->shape[i] = n != NULL ? PyLong_AsLongLong(n) : -1;
        Py_XDECREF(n);
        if (PyErr_Occurred())
            return false;
        v->numel = v->numel < 0 || v->shape[i] < 0 ? -1 : v->numel * v->shape[i];
    }
    return true;
}

static bool read_var(PyObject *row, PyObject *texts, struct spec_var *v)
{
    PyObject *name, *alias, *shape;
    int ragged;
    if (!PyArg_ParseTuple(row, "OOipO", &name, &alias, &v->dtype, &ragged, &shape))
        return false;
    v->ragged = ragged != 0;
    v->name = keep_text(texts, name);
    v->alias_text = keep_text(texts, alias);
    if (v->name == NULL || v->alias_text == NULL || !read_shape(shape, v))
        return false;
    Py_INCREF(alias);
    v->alias = alias;
    v->lod_key = PyUnicode_FromFormat("%U.lod", alias);
    return v->lod_key != NULL;
}

static bool put(PyObject *index, PyObject *key, int number)
{
    PyObject *n = PyLong_FromLong(number);
    bool fine = n != NULL && PyDict_SetItem(index, key, n) == 0;
    Py_XDECREF(n);
    return fine;
}

static struct spec_var *read_vars(PyObject *list, PyObject *texts, PyObject *index, int *count)
{
    Py_ssize_t n = PySequence_Size(list);
    struct spec_var *v = n >= 0 ? PyMem_Calloc((size_t)n + 1, sizeof(*v)) : NULL;
    if (v == NULL)
        return NULL;
    *count = (int)n;
    for (int i = 0; i < (int)n; i++) {
        PyObject *row = PySequence_GetItem(list, i);
        bool fine = row != NULL && read_var(row, texts, &v[i]) && put(index, v[i].alias, i) &&
                    put(index, v[i].lod_key, i + (int)n);
        Py_XDECREF(row);
        if (!fine)
            return v;
    }
    return v;
}

static int spec_init(PyObject *self, PyObject *args, PyObject *kw)
{
    struct spec *s = (struct spec *)self;
    PyObject *feeds, *fetches;
    if (s->texts != NULL || !PyArg_ParseTuple(args, "OO", &feeds, &fetches)) {
        if (s->texts != NULL)
            PyErr_SetString(PyExc_RuntimeError, "a Spec is made once");
        return -1;
    }
    s->texts = PyList_New(0);
    s->feed_index = PyDict_New();
    s->fetch_index = PyDict_New();
    if (s->texts == NULL || s->feed_index == NULL || s->fetch_index == NULL)
        return -1;
    s->feed = read_vars(feeds, s->texts, s->feed_index, &s->feed_count);
    if (!PyErr_Occurred())
        s->fetch = read_vars(fetches, s->texts, s->fetch_index, &s->fetch_count);
    return PyErr_Occurred() ? -1 : 0;
}

static void free_vars(struct spec_var *v, int count)
{
    for (int i = 0; v != NULL && i < count; i++) {
        Py_XDECREF(v[i].alias);
        Py_XDECREF(v[i].lod_key);
    }
    PyMem_Free(v);
}

static void spec_dealloc(PyObject *self)
{
    struct spec *s = (struct spec *)self;
    PyTypeObject *type = Py_TYPE(self);
    free_vars(s->feed, s->feed_count);
    free_vars(s->fetch, s->fetch_count);
    Py_XDECREF(s->feed_index);
    Py_XDECREF(s->fetch_index);
    Py_XDECREF(s->texts);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

PyObject *spec_type(void)
{
    static PyType_Slot slots[] = {
        { Py_tp_init, spec_init },
        { Py_tp_new, PyType_GenericNew },
        { Py_tp_dealloc, spec_dealloc },
        { Py_tp_doc, (void *)(uintptr_t) "Spec(feeds, fetches): lists of (name, alias, dtype code, "
                                         "ragged, shape)." },
        { 0 },
    };
    static PyType_Spec spec = {
        .name = "oar._oar.Spec",
        .basicsize = sizeof(struct spec),
        .flags = Py_TPFLAGS_DEFAULT,
        .slots = slots,
    };
    return PyType_FromSpec(&spec);
}
