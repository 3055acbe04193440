#include "ext.h"

#include <string.h>

/* NumPy's array interface, version 3 (the C struct behind __array_struct__). */
struct interface {
    int two; /* always 2: a mark */
    int nd;
    char typekind;
    int itemsize;
    int flags;
    Py_ssize_t *shape, *strides;
    void *data;
    PyObject *descr;
};

#define INTERFACE_DENSE 0x301 /* C_CONTIGUOUS, ALIGNED, NOTSWAPPED */

/* The code of a NumPy type; -1: none. */
static int dtype_of(char kind, int size)
{
    static const struct {
        char kind, size, code;
    } rows[] = {
        { 'f', 4, 1 },  { 'i', 8, 0 },   { 'i', 4, 2 },  { 'f', 8, 3 },  { 'i', 2, 4 },
        { 'f', 2, 5 },  { 'V', 2, 6 },   { 'u', 1, 7 },  { 'i', 1, 8 },  { 'b', 1, 9 },
        { 'c', 8, 10 }, { 'c', 16, 11 }, { 'u', 2, 12 }, { 'u', 4, 13 }, { 'u', 8, 14 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].kind == kind && rows[i].size == size)
            return rows[i].code;
    return -1;
}

Py_ssize_t array_itemsize(int dtype)
{
    static const unsigned char size[EXT_DTYPES] = {
        8, 4, 4, 8, 2, 2, 2, 1, 1, 1, 8, 16, 2, 4, 8, [EXT_BYTES] = 1,
    };
    return dtype >= 0 && dtype < EXT_DTYPES ? size[dtype] : 0;
}

/* bfloat16 has no NumPy type: its bits travel as uint16. */
static bool same_type(int have, int want)
{
    return want < 0 || have == want || (want == EXT_BF16 && have == 12);
}

/* A view, if the object offers one that fits; no exception is set otherwise. */
static bool view(PyObject *value, int want, struct array *out)
{
    PyObject *capsule = PyObject_GetAttr(value, ext.array_struct);
    struct interface *i = capsule != NULL ? PyCapsule_GetPointer(capsule, NULL) : NULL;
    if (i == NULL || i->two != 2) {
        PyErr_Clear();
        Py_XDECREF(capsule);
        return false;
    }
    int dtype = dtype_of(i->typekind, i->itemsize);
    if (dtype < 0 || (i->flags & INTERFACE_DENSE) != INTERFACE_DENSE || i->nd > EXT_MAX_RANK ||
        !same_type(dtype, want)) {
        Py_DECREF(capsule);
        return false;
    }
    out->dtype = want < 0 ? dtype : want;
    out->rank = i->nd;
    for (int k = 0; k < i->nd; k++)
        out->shape[k] = i->shape[k];
    out->data = i->data;
    out->owner = capsule;
    return true;
}

static bool wrong_kind(PyObject *array, int want, const char *what)
{
    PyObject *from = PyObject_GetAttr(array, ext.dtype_name);
    PyObject *can = from == NULL
                        ? NULL
                        : PyObject_CallFunctionObjArgs(ext.numpy_can_cast, from, ext.dtype[want],
                                                       ext.same_kind, NULL);
    int fine = can != NULL ? PyObject_IsTrue(can) : -1;
    if (fine == 0)
        PyErr_Format(PyExc_TypeError,
                     "feed '%s': the model takes %S, which values of type %S do not become without "
                     "loss; convert them with .astype first if that is meant",
                     what, ext.dtype[want], from);
    Py_XDECREF(from);
    Py_XDECREF(can);
    return fine != 1;
}

/* What numpy.asarray would make an object of: a producer of DLPack alone. */
static bool only_dlpack(PyObject *value)
{
    return ext.numpy_from_dlpack != NULL && PyObject_HasAttrString(value, "__dlpack__") &&
           !PyObject_HasAttrString(value, "__array__");
}

/* NumPy's own words do not say which feed they are about. */
static void name_feed(const char *what)
{
    PyObject *type, *value, *trace;
    if (!PyErr_ExceptionMatches(PyExc_ValueError) && !PyErr_ExceptionMatches(PyExc_TypeError))
        return;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_Format(type, "feed '%s': %S", what, value != NULL ? value : Py_None);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

static PyObject *convert(PyObject *value, int want, bool strict, const char *what)
{
    PyObject *first = NULL, *to = want >= 0 ? ext.dtype[want] : Py_None;
    bool dlpack = only_dlpack(value);
    if (dlpack || (strict && want >= 0)) {
        first = PyObject_CallFunctionObjArgs(dlpack ? ext.numpy_from_dlpack : ext.numpy_asarray,
                                             value, NULL);
        if (first == NULL || (strict && want >= 0 && wrong_kind(first, want, what))) {
            Py_XDECREF(first);
            return NULL;
        }
        value = first;
    }
    PyObject *made = PyObject_CallFunctionObjArgs(ext.numpy_asarray, value, to, ext.order_c, NULL);
    if (made == NULL)
        name_feed(what);
    Py_XDECREF(first);
    return made;
}

bool array_in(PyObject *value, int want, bool strict, const char *what, struct array *out)
{
    out->owner = NULL;
    if (want >= 0 && (want >= EXT_DTYPES || ext.dtype[want] == NULL)) {
        PyErr_Format(PyExc_ValueError, "feed '%s': no dtype has code %d", what, want);
        return false;
    }
    if (view(value, want, out))
        return true;
    PyObject *made = convert(value, want, strict, what);
    if (made == NULL)
        return false;
    bool fine = view(made, want, out);
    if (!fine)
        PyErr_Format(PyExc_TypeError,
                     "feed '%s': an array of %S with at most %d dimensions was expected, not %R",
                     what, want >= 0 ? ext.dtype[want] : (PyObject *)&PyFloat_Type, EXT_MAX_RANK,
                     (PyObject *)Py_TYPE(value));
    Py_DECREF(made); /* the view's capsule holds it */
    return fine;
}

void array_release(struct array *a)
{
    Py_CLEAR(a->owner);
}

static bool is_plain_text(PyObject *value)
{
    return PyUnicode_Check(value) || PyBytes_Check(value);
}

/* 'U', 'S' and 'O' are arrays of text (or of what turns out not to be), other kinds numbers; 0: no array. */
static char array_kind(PyObject *value)
{
    PyObject *capsule = PyObject_GetAttr(value, ext.array_struct);
    struct interface *i = capsule != NULL ? PyCapsule_GetPointer(capsule, NULL) : NULL;
    char kind = i != NULL && i->two == 2 ? i->typekind : 0;
    PyErr_Clear();
    Py_XDECREF(capsule);
    return kind;
}

static bool is_text_kind(char kind)
{
    return kind == 'U' || kind == 'S' || kind == 'O';
}

bool array_is_text(PyObject *value)
{
    if (PyList_Check(value) || PyTuple_Check(value)) {
        PyObject *first = PySequence_Size(value) > 0 ? PySequence_GetItem(value, 0) : NULL;
        bool text = first != NULL && is_plain_text(first);
        Py_XDECREF(first);
        return text;
    }
    return is_plain_text(value) || is_text_kind(array_kind(value));
}

static PyObject *text_bytes(PyObject *value, const char *what)
{
    if (PyUnicode_Check(value))
        return PyUnicode_AsUTF8String(value);
    if (PyBytes_Check(value)) {
        Py_INCREF(value);
        return value;
    }
    PyErr_Format(PyExc_TypeError,
                 "feed '%s': text (str or bytes, or a list of them) was expected, not %R", what,
                 (PyObject *)Py_TYPE(value));
    return NULL;
}

/* A list, a text, or what they are made of: the items of an array of texts, the bytes of one of numbers. New. */
static PyObject *text_items(PyObject *value)
{
    char kind = is_plain_text(value) ? 0 : array_kind(value);
    if (kind == 0) {
        Py_INCREF(value);
        return value;
    }
    if (!is_text_kind(kind))
        return PyObject_CallMethod(value, "tobytes", NULL);
    PyObject *flat = PyObject_CallMethod(value, "ravel", NULL);
    PyObject *list = flat != NULL ? PyObject_CallMethod(flat, "tolist", NULL) : NULL;
    Py_XDECREF(flat);
    return list;
}

/* Consumes both; what is joined carries one NUL more. */
static PyObject *join(PyObject *all, PyObject *part)
{
    PyBytes_ConcatAndDel(&all, part);
    PyObject *nul = all != NULL ? PyBytes_FromStringAndSize("", 1) : NULL;
    if (all != NULL)
        PyBytes_ConcatAndDel(&all, nul);
    return all;
}

static PyObject *join_texts(PyObject *value, const char *what)
{
    bool list = PyList_Check(value) || PyTuple_Check(value);
    Py_ssize_t count = list ? PySequence_Size(value) : 1;
    PyObject *all = PyBytes_FromStringAndSize("", 0);
    for (Py_ssize_t i = 0; i < count && all != NULL; i++) {
        PyObject *item = list ? PySequence_GetItem(value, i) : value;
        PyObject *part = item != NULL ? text_bytes(item, what) : NULL;
        if (list)
            Py_XDECREF(item);
        if (part == NULL)
            Py_CLEAR(all);
        else
            all = join(all, part);
    }
    return all;
}

bool array_text(PyObject *value, const char *what, struct array *out)
{
    PyObject *items = text_items(value);
    PyObject *all = items != NULL ? join_texts(items, what) : NULL;
    Py_XDECREF(items);
    if (all == NULL)
        return false;
    *out = (struct array){ .dtype = EXT_BYTES, .rank = 1, .owner = all };
    out->shape[0] = PyBytes_Size(all);
    out->data = PyBytes_AsString(all);
    return true;
}

static PyObject *shape_tuple(int rank, const int64_t *shape)
{
    PyObject *tuple = PyTuple_New(rank);
    for (int i = 0; i < rank && tuple != NULL; i++) {
        PyObject *n = PyLong_FromLongLong(shape[i]);
        if (n == NULL || PyTuple_SetItem(tuple, i, n) != 0)
            Py_CLEAR(tuple);
    }
    return tuple;
}

PyObject *array_empty(int dtype, int rank, const int64_t *shape, void **data)
{
    PyObject *type = dtype >= 0 && dtype < EXT_DTYPES ? ext.dtype[dtype] : NULL;
    if (type == NULL) {
        PyErr_Format(PyExc_ValueError, "no NumPy type for dtype code %d", dtype);
        return NULL;
    }
    PyObject *tuple = shape_tuple(rank, shape);
    PyObject *made =
        tuple != NULL ? PyObject_CallFunctionObjArgs(ext.numpy_empty, tuple, type, NULL) : NULL;
    Py_XDECREF(tuple);
    struct array a = { 0 };
    if (made != NULL && view(made, -1, &a) && a.data != NULL) {
        *data = (void *)a.data;
        array_release(&a);
        return made;
    }
    Py_XDECREF(made);
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "numpy.empty gave no array");
    return NULL;
}

#define COPY_WITHOUT_GIL ((size_t)256 << 10) /* bytes from which giving the GIL away pays */

PyObject *array_out(int dtype, int rank, const int64_t *shape, const void *data)
{
    void *to = NULL;
    PyObject *made = array_empty(dtype, rank, shape, &to);
    if (made == NULL)
        return NULL;
    size_t bytes = (size_t)array_itemsize(dtype);
    for (int i = 0; i < rank; i++)
        bytes *= (size_t)shape[i];
    if (bytes >= COPY_WITHOUT_GIL) {
        Py_BEGIN_ALLOW_THREADS memcpy(to, data, bytes);
        Py_END_ALLOW_THREADS
    } else if (bytes != 0) {
        memcpy(to, data, bytes);
    }
    return made;
}

/* [[0, 2], [0, 3, 8]] -> [0, 2, 0, 3, 8], new; anything else: itself. */
static PyObject *joined(PyObject *value)
{
    PyObject *first =
        PyList_Check(value) && PyList_Size(value) > 0 ? PyList_GetItem(value, 0) : NULL;
    if (first == NULL || PyLong_Check(first) || !PySequence_Check(first)) {
        Py_INCREF(value);
        return value;
    }
    PyObject *all = PyList_New(0);
    for (Py_ssize_t i = 0; i < PyList_Size(value) && all != NULL; i++) {
        PyObject *more = PySequence_List(PyList_GetItem(value, i));
        if (more == NULL || PyList_SetSlice(all, PyList_Size(all), PyList_Size(all), more) != 0)
            Py_CLEAR(all);
        Py_XDECREF(more);
    }
    return all;
}

bool array_lod(PyObject *value, bool strict, const char *what, struct array *out)
{
    PyObject *flat = joined(value);
    bool fine = flat != NULL && array_in(flat, EXT_I64, strict, what, out);
    Py_XDECREF(flat);
    return fine;
}
