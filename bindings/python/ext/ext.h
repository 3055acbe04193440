/* Private to the extension module `oar._oar`: what its files share.
 *
 * It is built against the limited API of CPython 3.9, so that one binary serves every later version. Two things that the
 * limited API of 3.9 leaves out, though every 3.9 has them, are declared here: METH_FASTCALL and PyUnicode_AsUTF8AndSize.
 * Arrays come in and go out through NumPy's array interface (a capsule with a C struct), which needs no NumPy headers.
 *
 * Threads: the GIL is released while a model runs or a call waits. What two threads may touch at once (a model's idle
 * sessions, a channel's idle connections) is guarded by a mutex, since builds without a GIL exist. */
#pragma once

#define PY_SSIZE_T_CLEAN
#ifndef Py_GIL_DISABLED /* CMakeLists.txt says it of interpreters without a lock, which have no limited API */
#define Py_LIMITED_API 0x03090000
#endif
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#ifndef METH_FASTCALL
#define METH_FASTCALL 0x0080
#endif
extern const char *PyUnicode_AsUTF8AndSize(PyObject *text, Py_ssize_t *size);

#define EXT_DTYPES   21 /* codes of Paddle Serving's elem_type, 0 to 20 */
#define EXT_I64      0
#define EXT_BF16     6
#define EXT_BYTES    20
#define EXT_MAX_RANK 8

/* Names and functions that calls need again and again. One for the process: the limited API of 3.9 knows no way from an
 * object to its module's state. Set when the module is imported, then constant. */
struct ext_state {
    PyObject *numpy_asarray, *numpy_empty, *numpy_can_cast;
    PyObject *numpy_from_dlpack; /* NULL: NumPy is older than 1.23 */
    PyObject *dtype[EXT_DTYPES]; /* NULL: no such code, or no NumPy type for it */
    PyObject *array_struct;      /* "__array_struct__" */
    PyObject *order_c;           /* "C" */
    PyObject *same_kind;         /* "same_kind" */
    PyObject *dtype_name;        /* "dtype" */
    PyObject *make_error;        /* (status, code, words) -> exception; see oar/errors.py */
};
extern struct ext_state ext;

/* A caller's dict as a call may walk through it: without a global lock others might change it meanwhile, so it is a copy there. New. */
PyObject *ext_own_dict(PyObject *dict);

/* The elements of a Python object, seen from C. `owner` keeps them alive: release with array_release. */
struct array {
    int dtype, rank;
    int64_t shape[EXT_MAX_RANK];
    const void *data;
    PyObject *owner;
};

/* Views the elements where they lie if the object has NumPy's interface, is dense and of dtype `want` (-1: any), else
 * converts it by numpy.asarray. strict: refuses a conversion that is not of the same kind (1.5 for an int64).
 * what: the name in the words of the TypeError or ValueError. false: an exception is set. */
bool array_in(PyObject *value, int want, bool strict, const char *what, struct array *out);
void array_release(struct array *a);
/* Offsets of sequences: one list, or of nested sequences a list of lists, which are put one behind the other. */
bool array_lod(PyObject *value, bool strict, const char *what, struct array *out);
/* Whether a value without a configured type is text: str, bytes, a list that begins with one, an array of text. */
bool array_is_text(PyObject *value);
/* Text for a tensor of strings (code 20): str, bytes, a list or an array of them, each ended by a NUL; of an array of numbers its bytes. */
bool array_text(PyObject *value, const char *what, struct array *out);
/* A new ndarray with a copy of these elements; NULL: an exception is set. */
PyObject *array_out(int dtype, int rank, const int64_t *shape, const void *data);
/* The elements of a new, uninitialised ndarray. */
PyObject *array_empty(int dtype, int rank, const int64_t *shape, void **data);
Py_ssize_t array_itemsize(int dtype);

/* Sets the exception that ext.make_error makes of a failed call; returns NULL. */
PyObject *ext_fail(int status, int code, const char *words);

PyObject *ext_aes_ctr(PyObject *module, PyObject *args); /* crypt.c */

PyObject *model_type(void);   /* a new reference to oar._oar.Model */
PyObject *spec_type(void);    /* oar._oar.Spec */
PyObject *channel_type(void); /* oar._oar.Channel */

/* Spec: what a client knows of a model before it asks, from serving_client_conf.prototxt. */
struct spec_var {
    PyObject *alias, *lod_key; /* "words", "words.lod" */
    const char *name, *alias_text;
    int dtype, rank;
    bool ragged;
    int64_t shape[EXT_MAX_RANK]; /* without the batch dimension */
    int64_t numel;               /* of shape; -1 where one is open */
};

struct spec {
    PyObject_HEAD struct spec_var *feed, *fetch;
    int feed_count, fetch_count;
    PyObject *feed_index,
        *fetch_index; /* dict of alias (and "alias.lod", number + count) to number */
    PyObject *texts;  /* keeps the UTF-8 of all names */
};
