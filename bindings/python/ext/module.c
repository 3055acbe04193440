/* The module oar._oar: the engine (Model) and the client (Channel, with what Spec knows of a model) of Oar for Python.
 * What users see is made of these in oar/. */
#include "ext.h"

#include "oar/engine.h"

struct ext_state ext;

PyObject *ext_fail(int status, int code, const char *words)
{
    PyObject *e = ext.make_error != NULL
                      ? PyObject_CallFunction(ext.make_error, "iis", status, code, words)
                      : NULL;
    if (e != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(e), e);
        Py_DECREF(e);
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_RuntimeError, words);
    }
    return NULL;
}

static PyObject *set_error_maker(PyObject *module, PyObject *maker)
{
    PyObject *old = ext.make_error;
    Py_INCREF(maker);
    ext.make_error = maker;
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

PyObject *ext_own_dict(PyObject *dict)
{
#ifdef Py_GIL_DISABLED
    return PyDict_Copy(dict);
#else
    Py_INCREF(dict);
    return dict;
#endif
}

static PyMethodDef functions[] = {
    { "set_error_maker", set_error_maker, METH_O,
      "set_error_maker(f): f(status, code, words) makes the exception of a failed call" },
    { "aes_ctr", ext_aes_ctr, METH_VARARGS,
      "aes_ctr(key, counter, data) -> bytes: AES in counter mode" },
    { 0 },
};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "oar._oar",
    .m_doc = "Oar's engine and client in C; use it through the package oar.",
    .m_size = -1,
    .m_methods = functions,
};

/* NumPy's names by code; bfloat16 travels as its bits. */
static const char *const dtype_names[EXT_DTYPES] = {
    "int64",  "float32", "int32",     "float64",
    "int16",  "float16", "uint16",    "uint8",
    "int8",   "bool",    "complex64", "complex128",
    "uint16", "uint32",  "uint64",    [EXT_BYTES] = "uint8",
};

static bool load_numpy(void)
{
    PyObject *numpy = PyImport_ImportModule("numpy");
    PyObject *dtype = numpy != NULL ? PyObject_GetAttrString(numpy, "dtype") : NULL;
    bool fine = dtype != NULL;
    for (int i = 0; i < EXT_DTYPES && fine; i++) {
        if (dtype_names[i] != NULL)
            ext.dtype[i] = PyObject_CallFunction(dtype, "s", dtype_names[i]);
        fine = dtype_names[i] == NULL || ext.dtype[i] != NULL;
    }
    if (fine) {
        ext.numpy_asarray = PyObject_GetAttrString(numpy, "asarray");
        ext.numpy_empty = PyObject_GetAttrString(numpy, "empty");
        ext.numpy_can_cast = PyObject_GetAttrString(numpy, "can_cast");
        if (PyObject_HasAttrString(numpy, "from_dlpack"))
            ext.numpy_from_dlpack = PyObject_GetAttrString(numpy, "from_dlpack");
        ext.array_struct = PyUnicode_InternFromString("__array_struct__");
        ext.dtype_name = PyUnicode_InternFromString("dtype");
        ext.same_kind = PyUnicode_InternFromString("same_kind");
        ext.order_c = PyUnicode_InternFromString("C");
    }
    Py_XDECREF(numpy);
    Py_XDECREF(dtype);
    return fine && ext.numpy_asarray && ext.numpy_empty && ext.numpy_can_cast && ext.array_struct &&
           ext.dtype_name && ext.same_kind && ext.order_c;
}

PyMODINIT_FUNC PyInit__oar(void); /* what the import looks for */

PyMODINIT_FUNC PyInit__oar(void)
{
    static const struct {
        const char *name;
        PyObject *(*make)(void);
    } types[] = {
        { "Model", model_type },
        { "Spec", spec_type },
        { "Channel", channel_type },
    };
    PyObject *module = load_numpy() ? PyModule_Create(&definition) : NULL;
#ifdef Py_GIL_DISABLED
    if (module != NULL)
        PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
#endif
    if (module != NULL && PyModule_AddStringConstant(module, "version", oar_version()) != 0)
        Py_CLEAR(module);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]) && module != NULL; i++) {
        PyObject *type = types[i].make();
        if (type == NULL || PyModule_AddObject(module, types[i].name, type) != 0) {
            Py_XDECREF(type);
            Py_CLEAR(module);
        }
    }
    return module;
}
