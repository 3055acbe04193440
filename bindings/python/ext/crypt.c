/* AES in counter mode, as Paddle encrypts models: the first 16 bytes are the initial counter, the rest is the content. */
#include "ext.h"

#include <limits.h>
#include <openssl/evp.h>

#define COUNTER_BYTES 16

static const EVP_CIPHER *cipher_for(Py_ssize_t key_bytes)
{
    switch (key_bytes) {
    case 16: return EVP_aes_128_ctr();
    case 24: return EVP_aes_192_ctr();
    case 32: return EVP_aes_256_ctr();
    default: return NULL;
    }
}

/* Counter mode is its own inverse. */
static bool run(const EVP_CIPHER *cipher, const char *key, const char *counter, const char *data,
                Py_ssize_t n, char *out)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int taken = 0;
    bool fine = c != NULL && n <= INT_MAX - COUNTER_BYTES &&
                EVP_EncryptInit_ex(c, cipher, NULL, (const unsigned char *)key,
                                   (const unsigned char *)counter) == 1 &&
                EVP_EncryptUpdate(c, (unsigned char *)out, &taken, (const unsigned char *)data,
                                  (int)n) == 1;
    EVP_CIPHER_CTX_free(c);
    return fine && taken == (int)n;
}

/* aes_ctr(key, counter, data) -> bytes */
PyObject *ext_aes_ctr(PyObject *module, PyObject *args)
{
    const char *key, *counter, *data;
    Py_ssize_t key_bytes, counter_bytes, n;
    if (!PyArg_ParseTuple(args, "y#y#y#", &key, &key_bytes, &counter, &counter_bytes, &data, &n))
        return NULL;
    const EVP_CIPHER *cipher = cipher_for(key_bytes);
    if (cipher == NULL || counter_bytes != COUNTER_BYTES)
        return PyErr_Format(
            PyExc_ValueError,
            "a key of 16, 24 or 32 bytes and a counter of 16 were expected, not %zd and %zd",
            key_bytes, counter_bytes);
    PyObject *out = PyBytes_FromStringAndSize(NULL, n);
    bool fine = false;
    char *to = out != NULL ? PyBytes_AsString(out) : NULL;
    if (to != NULL) {
        Py_BEGIN_ALLOW_THREADS fine = run(cipher, key, counter, data, n, to);
        Py_END_ALLOW_THREADS
    }
    if (out != NULL && !fine) {
        Py_DECREF(out);
        return PyErr_Format(PyExc_ValueError, "%zd bytes could not be encrypted", n);
    }
    return out;
}
