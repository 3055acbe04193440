/* Channel(endpoint, protocol[, model[, access]]): calls to one server by any number of threads. A call takes an idle connection, or opens
 * one, and gives it back; the GIL is free while it is on its way. Choosing among servers and trying again are for Python
 * (oar/balance.py), which reads from here how busy and how quick this one is. */
#include "ext.h"

#include "oar/client.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define IDLE_CONNECTIONS 64 /* kept for the next calls */
#define MAX_FEEDS        4096

/* What a server wants to be shown, and whom it must be; texts live in `owner`. */
struct access {
    PyObject *owner; /* the tuple that it came in; NULL: in the clear, without a key */
    int tls, insecure;
    const char *ca, *cert, *key, *api_key;
};

struct channel {
    PyObject_HEAD PyObject *endpoint, *protocol, *model; /* bytes; model may be NULL */
    struct access access;
    pthread_mutex_t lock;
    oar_client *idle[IDLE_CONNECTIONS]; /* guarded by lock */
    int idle_count;                     /* guarded by lock */
    unsigned generation;                /* guarded by lock: of the process that opened them */
    int calls;                          /* guarded by lock: on their way */
    double quick_us;                    /* guarded by lock: smoothed time of a call */
};

/* A child must not talk on its parent's connections: each fork begins a new generation. */
static unsigned generation;

static void on_fork(void)
{
    generation++;
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void close_idle(struct channel *c)
{
    while (c->idle_count > 0)
        oar_client_close(c->idle[--c->idle_count]);
}

/* A client that has not connected yet. *out is set even on failure, for its words. */
static int open_client(const struct channel *c, oar_client **out)
{
    const struct access *a = &c->access;
    const oar_tls tls = { .ca = a->ca, .cert = a->cert, .key = a->key, .insecure = a->insecure };
    int status = oar_client_open(PyBytes_AsString(c->endpoint), PyBytes_AsString(c->protocol), out);
    if (status == 0 && c->model != NULL)
        status = oar_client_set_model(*out, PyBytes_AsString(c->model));
    if (status == 0 && a->owner != NULL)
        status = oar_client_set_access(*out, a->tls ? &tls : NULL, a->api_key);
    return status;
}

/* An idle client, or a new one. Where it fails *out is for its words and for `drop`. */
static int take(struct channel *c, oar_client **out)
{
    *out = NULL;
    pthread_mutex_lock(&c->lock);
    if (c->generation != generation) {
        close_idle(c);
        c->generation = generation;
    }
    if (c->idle_count > 0)
        *out = c->idle[--c->idle_count];
    c->calls++;
    pthread_mutex_unlock(&c->lock);
    return *out != NULL ? 0 : open_client(c, out);
}

static void drop(struct channel *c, oar_client *client)
{
    pthread_mutex_lock(&c->lock);
    c->calls--;
    pthread_mutex_unlock(&c->lock);
    oar_client_close(client);
}

/* An exception with the client's words, after take has failed. */
static PyObject *refuse_taken(struct channel *c, oar_client *client, int status)
{
    ext_fail(status, 0, oar_client_error(client));
    drop(c, client);
    return NULL;
}

static void give(struct channel *c, oar_client *client, double took_us)
{
    pthread_mutex_lock(&c->lock);
    bool room = c->idle_count < IDLE_CONNECTIONS;
    if (room)
        c->idle[c->idle_count++] = client;
    c->calls--;
    c->quick_us = c->quick_us == 0 ? took_us : c->quick_us + (took_us - c->quick_us) / 8;
    pthread_mutex_unlock(&c->lock);
    if (!room)
        oar_client_close(client);
}

/* ---- one call ---- */

struct feed {
    struct array value, lod;
    int64_t shape[EXT_MAX_RANK + 1];
    int64_t whole[2]; /* offsets of one sequence, where none were given */
};

struct call {
    struct spec *spec; /* NULL: names and types are as they come */
    bool batch, strict, tagged;
    oar_call out;
    oar_array *array; /* out.feeds */
    struct feed *feed;
    const char **fetch;
    int count;
};

static bool call_new(struct call *call, Py_ssize_t feeds, Py_ssize_t fetches)
{
    if (feeds > MAX_FEEDS || fetches > MAX_FEEDS) {
        PyErr_Format(PyExc_ValueError, "%zd feeds and %zd fetch names are more than %d", feeds,
                     fetches, MAX_FEEDS);
        return false;
    }
    call->count = (int)feeds;
    call->array = PyMem_Calloc((size_t)feeds + 1, sizeof(*call->array));
    call->feed = PyMem_Calloc((size_t)feeds + 1, sizeof(*call->feed));
    call->fetch = PyMem_Calloc((size_t)fetches + 1, sizeof(*call->fetch));
    if (call->array != NULL && call->feed != NULL && call->fetch != NULL)
        return true;
    PyErr_NoMemory();
    return false;
}

static void call_free(struct call *call)
{
    for (int i = 0; call->feed != NULL && i < call->count; i++) {
        array_release(&call->feed[i].value);
        array_release(&call->feed[i].lod);
    }
    PyMem_Free(call->array);
    PyMem_Free(call->feed);
    PyMem_Free(call->fetch);
}

static void take_shape(struct feed *f, oar_array *a)
{
    memcpy(f->shape, f->value.shape, sizeof(f->value.shape));
    a->rank = f->value.rank;
}

static void prepend(struct feed *f, oar_array *a)
{
    memmove(f->shape + 1, f->shape, EXT_MAX_RANK * sizeof(*f->shape));
    f->shape[0] = 1;
    a->rank++;
}

static int64_t numel(const struct array *a)
{
    int64_t n = 1;
    for (int i = 0; i < a->rank; i++)
        n *= a->shape[i];
    return n;
}

/* A plain list has no shape that was meant: its values fill the configured one. */
static bool shape_list(const struct spec_var *v, struct feed *f, oar_array *a)
{
    int64_t n = numel(&f->value);
    if (v->ragged || v->numel < 0 || n == v->numel) {
        if (!v->ragged && v->numel == n && f->value.rank == 1) {
            memcpy(f->shape, v->shape, sizeof(v->shape));
            a->rank = v->rank;
        }
        return true;
    }
    PyErr_Format(PyExc_ValueError,
                 "The shape of feed tensor %s not match. It has %lld values and the client's "
                 "configuration wants %lld for one sample.",
                 v->alias_text, (long long)n, (long long)v->numel);
    return false;
}

/* Rows of a ragged variable: [n, 1] where only n ids are given; they are one sequence unless offsets say otherwise. */
static void shape_ragged(struct feed *f, oar_array *a)
{
    if (a->rank == 1) {
        f->shape[1] = 1;
        a->rank = 2;
    }
    if (a->lod == NULL) {
        f->whole[1] = f->shape[0];
        a->lod = f->whole;
        a->lod_count = 2;
    }
}

static bool shape_feed(const struct call *call, const struct spec_var *v, PyObject *value,
                       struct feed *f, oar_array *a)
{
    take_shape(f, a);
    if (v == NULL || v->dtype == EXT_BYTES)
        return true;
    if (v->ragged) {
        shape_ragged(f, a);
        return true;
    }
    if (call->batch)
        return true;
    if ((PyList_Check(value) || PyTuple_Check(value)) && !shape_list(v, f, a))
        return false;
    if (a->rank >= EXT_MAX_RANK) {
        PyErr_Format(PyExc_ValueError,
                     "feed '%s': %d dimensions and one for the batch are more than %d",
                     v->alias_text, a->rank, EXT_MAX_RANK);
        return false;
    }
    prepend(f, a);
    return true;
}

static bool set_feed(struct call *call, int i, const struct spec_var *v, const char *name,
                     PyObject *value)
{
    struct feed *f = &call->feed[i];
    int want = v != NULL ? v->dtype : -1;
    array_release(&f->value);
    bool fine = want == EXT_BYTES || (want < 0 && array_is_text(value))
                    ? array_text(value, name, &f->value)
                    : array_in(value, want, call->strict, name, &f->value);
    if (!fine)
        return false;
    oar_array *a = &call->array[i];
    a->name = v != NULL ? v->name : name;
    a->alias = name;
    a->dtype = f->value.dtype;
    a->data = f->value.data;
    a->shape = f->shape;
    return true;
}

static bool set_lod(struct call *call, int i, const char *name, PyObject *value)
{
    struct array *lod = &call->feed[i].lod;
    array_release(lod);
    if (!array_lod(value, call->strict, name, lod))
        return false;
    if (lod->rank != 1 && numel(lod) != lod->shape[lod->rank - 1]) {
        PyErr_Format(PyExc_ValueError,
                     "feed '%s.lod': one list of offsets was expected (such as [0, 3, 8])", name);
        return false;
    }
    call->array[i].lod = lod->data;
    call->array[i].lod_count = numel(lod);
    return true;
}

static bool wrong_name(const struct spec *s, PyObject *key)
{
    PyObject *known = PyList_New(0);
    for (int i = 0; i < s->feed_count && known != NULL; i++)
        PyList_Append(known, s->feed[i].alias);
    PyErr_Format(PyExc_ValueError, "Wrong feed name: %S. The client's configuration has %R.", key,
                 known);
    Py_XDECREF(known);
    return false;
}

/* Slots are the configuration's order; which of them are given is seen by their names. */
static bool fill_by_spec(struct call *call, PyObject *feed)
{
    const struct spec *s = call->spec;
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(feed, &at, &key, &value)) {
        PyObject *number = PyDict_GetItemWithError(s->feed_index, key);
        if (number == NULL)
            return PyErr_Occurred() ? false : wrong_name(s, key);
        int n = (int)PyLong_AsLong(number), i = n % s->feed_count;
        bool lod = n >= s->feed_count;
        Py_INCREF(value); /* converting runs code that may change the dict */
        bool fine = lod ? set_lod(call, i, s->feed[i].alias_text, value)
                        : set_feed(call, i, &s->feed[i], s->feed[i].alias_text, value);
        Py_DECREF(value);
        if (!fine)
            return false;
    }
    return true;
}

/* Shapes wait until all is read, since offsets may come before or after their rows; then the gaps are closed. */
static bool finish_by_spec(struct call *call, PyObject *feed)
{
    const struct spec *s = call->spec;
    int n = 0;
    for (int i = 0; i < s->feed_count; i++) {
        if (call->array[i].name == NULL && call->array[i].lod != NULL) {
            PyErr_Format(PyExc_ValueError, "'%s.lod' gives offsets for '%s', which is not fed",
                         s->feed[i].alias_text, s->feed[i].alias_text);
            return false;
        }
        if (call->array[i].name == NULL)
            continue;
        PyObject *value = PyDict_GetItemWithError(feed, s->feed[i].alias);
        if (value == NULL || !shape_feed(call, &s->feed[i], value, &call->feed[i], &call->array[i]))
            return false;
        call->array[n++] = call->array[i];
    }
    call->out.feed_count = n;
    return true;
}

static int find_name(const struct call *call, int count, const char *name, size_t length)
{
    for (int i = 0; i < count; i++)
        if (strlen(call->array[i].name) == length && memcmp(call->array[i].name, name, length) == 0)
            return i;
    return -1;
}

/* Without a configuration: values first, then the offsets of those that have them. */
static bool fill_as_is(struct call *call, PyObject *feed)
{
    PyObject *key, *value;
    int n = 0;
    for (int lods = 0; lods < 2; lods++) {
        Py_ssize_t at = 0, length;
        while (PyDict_Next(feed, &at, &key, &value)) {
            const char *name = PyUnicode_Check(key) ? PyUnicode_AsUTF8AndSize(key, &length) : NULL;
            if (name == NULL) {
                if (!PyErr_Occurred())
                    PyErr_SetString(PyExc_TypeError, "the names in a feed are str");
                return false;
            }
            bool lod = length > 4 && strcmp(name + length - 4, ".lod") == 0;
            if (lod != (lods == 1))
                continue;
            int i = lod ? find_name(call, n, name, (size_t)length - 4) : n++;
            if (i < 0) {
                PyErr_Format(PyExc_ValueError, "'%s' has offsets for a feed that is not given",
                             name);
                return false;
            }
            Py_INCREF(value);
            bool fine = lod ? set_lod(call, i, call->array[i].name, value)
                            : set_feed(call, i, NULL, name, value) &&
                                  shape_feed(call, NULL, value, &call->feed[i], &call->array[i]);
            Py_DECREF(value);
            if (!fine)
                return false;
        }
    }
    call->out.feed_count = n;
    return true;
}

static bool fill_fetch(struct call *call, PyObject *fetch)
{
    if (fetch == Py_None)
        return true;
    Py_ssize_t count = PySequence_Size(fetch);
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t n;
        PyObject *name = PySequence_GetItem(fetch, i); /* the list keeps it */
        call->fetch[i] =
            name != NULL && PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &n) : NULL;
        Py_XDECREF(name);
        if (call->fetch[i] == NULL) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "Fetch only accepts string or list of string");
            return false;
        }
    }
    call->out.fetch_count = (int)count;
    return true;
}

/* ---- the answer ---- */

static const struct spec_var *find_fetch(const struct spec *s, const char *name)
{
    for (int i = 0; s != NULL && i < s->fetch_count; i++)
        if (strcmp(s->fetch[i].alias_text, name) == 0)
            return &s->fetch[i];
    return NULL;
}

static bool put(PyObject *to, PyObject *key, const char *name, const char *suffix, PyObject *value)
{
    PyObject *made = key == NULL ? PyUnicode_FromFormat("%s%s", name, suffix) : NULL;
    if (key == NULL)
        key = made;
    bool fine = key != NULL && value != NULL && PyDict_SetItem(to, key, value) == 0;
    Py_XDECREF(made);
    Py_XDECREF(value);
    return fine;
}

/* A configuration decides whether offsets are looked at; without one they are. */
static bool put_result(PyObject *to, const struct spec *s, const oar_array *r)
{
    const struct spec_var *v = find_fetch(s, r->name);
    if (!put(to, v != NULL ? v->alias : NULL, r->name, "",
             array_out(r->dtype, r->rank, r->shape, r->data)))
        return false;
    if (r->lod_count == 0 || (v != NULL && !v->ragged))
        return true;
    return put(to, v != NULL ? v->lod_key : NULL, r->name, ".lod",
               array_out(EXT_I64, 1, &r->lod_count, r->lod));
}

static PyObject *engine_dict(PyObject *all, const char *engine)
{
    PyObject *key = PyUnicode_FromString(engine);
    PyObject *d = key != NULL ? PyDict_GetItemWithError(all, key) : NULL;
    if (d == NULL && !PyErr_Occurred()) {
        d = PyDict_New();
        if (d != NULL && PyDict_SetItem(all, key, d) != 0)
            Py_CLEAR(d);
        Py_XDECREF(d); /* the dict keeps it */
    }
    Py_XDECREF(key);
    return d;
}

static PyObject *answer_dict(const struct spec *s, const oar_answer *answer)
{
    PyObject *all = PyDict_New();
    for (int i = 0; i < answer->result_count && all != NULL; i++) {
        const oar_array *r = &answer->results[i];
        PyObject *to = answer->output_count > 1 ? engine_dict(all, r->engine) : all;
        if (to == NULL || !put_result(to, s, r))
            Py_CLEAR(all);
    }
    return all;
}

static PyObject *with_stamps(PyObject *result, const oar_answer *answer)
{
    PyObject *list = PyList_New(0);
    for (int i = 0; i < answer->stamp_count && list != NULL; i++) {
        PyObject *n = PyLong_FromLongLong(answer->stamps_us[i]);
        if (n == NULL || PyList_Append(list, n) != 0)
            Py_CLEAR(list);
        Py_XDECREF(n);
    }
    if (result != NULL && list != NULL)
        return Py_BuildValue("(NN)", result, list);
    Py_XDECREF(result);
    Py_XDECREF(list);
    return NULL;
}

static PyObject *ask(struct channel *c, struct call *call)
{
    oar_answer answer;
    oar_client *client;
    int status, taken;
    double begin, end;
    call->out.feeds = call->array;
    call->out.fetch = call->fetch;
    Py_BEGIN_ALLOW_THREADS begin = now_us();
    status = taken = take(c, &client);
    if (taken == 0)
        status = oar_client_call(client, &call->out, &answer);
    end = now_us();
    Py_END_ALLOW_THREADS PyObject *r = NULL;
    if (taken != 0)
        return refuse_taken(c, client, taken);
    if (status != 0)
        ext_fail(status, oar_client_code(client), oar_client_error(client));
    else
        r = answer_dict(call->spec, &answer);
    if (r != NULL && call->out.profile)
        r = with_stamps(r, &answer);
    if (r != NULL && call->tagged)
        r = Py_BuildValue("(Ns)", r, oar_client_variant(client));
    give(c, client, end - begin);
    return r;
}

static PyObject *channel_call(PyObject *self, PyObject *const *arg, Py_ssize_t count)
{
    struct channel *c = (struct channel *)self;
    if (count != 8 && count != 9)
        return PyErr_Format(
            PyExc_TypeError,
            "call(spec, feed, fetch, batch, strict, log_id, timeout_ms, profile[, tagged]) takes 8 "
            "or 9 arguments, not %zd",
            count);
    if (!PyDict_Check(arg[1]))
        return PyErr_Format(PyExc_TypeError, "a feed is a dict of arrays by name, not %R",
                            (PyObject *)Py_TYPE(arg[1]));
    struct call call = {
        .spec = arg[0] != Py_None ? (struct spec *)arg[0] : NULL,
        .batch = PyObject_IsTrue(arg[3]) == 1,
        .strict = PyObject_IsTrue(arg[4]) == 1,
        .tagged = count == 9 && PyObject_IsTrue(arg[8]) == 1,
        .out = {
            .log_id = PyLong_AsUnsignedLongLongMask(arg[5]),
            .timeout_ms = PyLong_AsLongLong(arg[6]),
            .profile = PyObject_IsTrue(arg[7]) == 1,
        },
    };
    Py_ssize_t fetches = arg[2] != Py_None ? PySequence_Size(arg[2]) : 0;
    PyObject *r = NULL, *feed = PyErr_Occurred() ? NULL : ext_own_dict(arg[1]);
    if (feed != NULL &&
        call_new(&call, call.spec != NULL ? call.spec->feed_count : PyDict_Size(feed), fetches) &&
        fill_fetch(&call, arg[2]) &&
        (call.spec != NULL ? fill_by_spec(&call, feed) && finish_by_spec(&call, feed)
                           : fill_as_is(&call, feed)))
        r = ask(c, &call);
    Py_XDECREF(feed);
    call_free(&call);
    return r;
}

/* The reply's bytes, or an exception; client goes back to the channel by the caller. */
static PyObject *invoke(oar_client *client, const char *method, PyObject *message, bool gzip,
                        long long timeout_ms)
{
    const void *reply;
    size_t n;
    int status;
    Py_BEGIN_ALLOW_THREADS status =
        oar_client_invoke(client, method, PyBytes_AsString(message), (size_t)PyBytes_Size(message),
                          gzip, timeout_ms, &reply, &n);
    Py_END_ALLOW_THREADS if (status != 0) return ext_fail(status, oar_client_code(client),
                                                          oar_client_error(client));
    return PyBytes_FromStringAndSize(reply, (Py_ssize_t)n);
}

static PyObject *channel_invoke(PyObject *self, PyObject *args)
{
    struct channel *c = (struct channel *)self;
    const char *method;
    PyObject *message;
    long long timeout_ms;
    int gzip;
    if (!PyArg_ParseTuple(args, "sSLp", &method, &message, &timeout_ms, &gzip))
        return NULL;
    double begin = now_us();
    oar_client *client;
    int taken = take(c, &client);
    if (taken != 0)
        return refuse_taken(c, client, taken);
    PyObject *r = invoke(client, method, message, gzip != 0, timeout_ms);
    give(c, client, now_us() - begin);
    return r;
}

static PyObject *channel_load(PyObject *self, PyObject *unused)
{
    struct channel *c = (struct channel *)self;
    pthread_mutex_lock(&c->lock);
    int calls = c->calls;
    double quick_us = c->quick_us;
    pthread_mutex_unlock(&c->lock);
    return Py_BuildValue("(id)", calls, quick_us);
}

static PyObject *channel_close(PyObject *self, PyObject *unused)
{
    struct channel *c = (struct channel *)self;
    pthread_mutex_lock(&c->lock);
    close_idle(c);
    pthread_mutex_unlock(&c->lock);
    Py_RETURN_NONE;
}

/* ---- life ---- */

/* A client that is opened and closed touches no network: it says whether endpoint and protocol are any, and certificates and keys
 * can be read. */
static int check(const struct channel *c)
{
    oar_client *client;
    int status = open_client(c, &client);
    if (status != 0)
        ext_fail(status, 0, oar_client_error(client));
    oar_client_close(client);
    return status == 0 ? 0 : -1;
}

static int channel_init(PyObject *self, PyObject *args, PyObject *kw)
{
    struct channel *c = (struct channel *)self;
    const char *endpoint, *protocol, *model = NULL;
    struct access *a = &c->access;
    PyObject *access = Py_None;
    if (c->endpoint != NULL ||
        !PyArg_ParseTuple(args, "ss|zO", &endpoint, &protocol, &model, &access)) {
        if (c->endpoint != NULL)
            PyErr_SetString(PyExc_RuntimeError, "a Channel is made once");
        return -1;
    }
    pthread_mutex_init(&c->lock, NULL);
    c->generation = generation;
    c->endpoint = PyBytes_FromString(endpoint);
    c->protocol = PyBytes_FromString(protocol);
    c->model = model != NULL ? PyBytes_FromString(model) : NULL;
    if (model != NULL && c->model == NULL)
        return -1;
    if (access != Py_None) {
        if (!PyArg_ParseTuple(access, "pzzzpz", &a->tls, &a->ca, &a->cert, &a->key, &a->insecure,
                              &a->api_key))
            return -1;
        Py_INCREF(access);
        a->owner = access;
    }
    return c->endpoint != NULL && c->protocol != NULL ? check(c) : -1;
}

static void channel_dealloc(PyObject *self)
{
    struct channel *c = (struct channel *)self;
    PyTypeObject *type = Py_TYPE(self);
    close_idle(c);
    Py_XDECREF(c->endpoint);
    Py_XDECREF(c->protocol);
    Py_XDECREF(c->model);
    Py_XDECREF(c->access.owner);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    { "call", (PyCFunction)(void (*)(void))channel_call, METH_FASTCALL,
      "call(spec, feed, fetch, batch, strict, log_id, timeout_ms, profile) -> dict of arrays, with "
      "profile: (dict, stamps)" },
    { "invoke", channel_invoke, METH_VARARGS,
      "invoke(method, message, timeout_ms, gzip) -> bytes: over gRPC, any unary method" },
    { "load", channel_load, METH_NOARGS,
      "load() -> (calls on their way, smoothed microseconds of a call)" },
    { "close", channel_close, METH_NOARGS,
      "close(): ends the idle connections; calls open new ones" },
    { 0 },
};

PyObject *channel_type(void)
{
    static PyType_Slot slots[] = {
        { Py_tp_init, channel_init },
        { Py_tp_new, PyType_GenericNew },
        { Py_tp_dealloc, channel_dealloc },
        { Py_tp_methods, methods },
        { Py_tp_doc, (void *)(uintptr_t) "Channel(endpoint, protocol[, model[, (tls, ca, cert, "
                                         "key, insecure, api_key)]]): calls to one server." },
        { 0 },
    };
    static PyType_Spec spec = {
        .name = "oar._oar.Channel",
        .basicsize = sizeof(struct channel),
        .flags = Py_TPFLAGS_DEFAULT,
        .slots = slots,
    };
    static bool watching;
    if (!watching && pthread_atfork(NULL, NULL, on_fork) == 0)
        watching = true;
    return PyType_FromSpec(&spec);
}
