#include "net/tls.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>

#define READ_BYTES ((size_t)16 << 10) /* a record holds as much */

struct net_tls {
    struct net_tls_options opt;
    pthread_mutex_t lock;
    SSL_CTX *ctx; /* guarded by lock */
};

struct tls {
    SSL *ssl;
    BIO *in, *out;       /* of ssl */
    unsigned long fault; /* what broke it */
};

/* ---- configuration ---- */

static status refuse(struct err *e, const char *what, const char *path)
{
    unsigned long fault = ERR_get_error();
    const char *why =
        ERR_SYSTEM_ERROR(fault) ? strerror(ERR_GET_REASON(fault)) : ERR_reason_error_string(fault);
    ERR_clear_error();
    return err_set(e, INVALID, "%s '%s': %s", what, path, why != NULL ? why : "cannot be read");
}

/* HTTP/2 where the client offers it; else HTTP/1.1, or nothing. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                           const unsigned char *in, unsigned in_n, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_n, ours, sizeof(ours) - 1, in, in_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static status load_files(SSL_CTX *ctx, const struct net_tls_options *opt, struct err *e)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, opt->cert) != 1)
        return refuse(e, "TLS certificate", opt->cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, opt->key, SSL_FILETYPE_PEM) != 1)
        return refuse(e, "TLS key", opt->key);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return refuse(e, "TLS key, which does not belong to the certificate,", opt->key);
    if (opt->client_ca == NULL)
        return OK;
    if (SSL_CTX_load_verify_locations(ctx, opt->client_ca, NULL) != 1)
        return refuse(e, "TLS authority for clients", opt->client_ca);
    SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(opt->client_ca));
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return OK;
}

static status make_context(const struct net_tls_options *opt, SSL_CTX **out, struct err *e)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL)
        return err_set(e, NO_MEMORY, "no memory for TLS");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"oar", 3);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    status s = load_files(ctx, opt, e);
    if (s == OK)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    return s;
}

status net_tls_open(const struct net_tls_options *opt, struct net_tls **out, struct err *e)
{
    SSL_CTX *ctx;
    TRY(make_context(opt, &ctx, e));
    struct net_tls *t = mem_zalloc(sizeof(*t));
    t->opt = *opt;
    t->ctx = ctx;
    pthread_mutex_init(&t->lock, NULL);
    *out = t;
    return OK;
}

static status load_client_files(SSL_CTX *ctx, const struct net_tls_client_options *opt,
                                struct err *e)
{
    if (opt->ca != NULL && SSL_CTX_load_verify_locations(ctx, opt->ca, NULL) != 1)
        return refuse(e, "TLS authority", opt->ca);
    if (opt->ca == NULL && !opt->insecure && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return err_set(e, IO_FAILED, "TLS: the system's authorities cannot be read");
    if (opt->cert == NULL)
        return OK;
    if (SSL_CTX_use_certificate_chain_file(ctx, opt->cert) != 1)
        return refuse(e, "TLS certificate", opt->cert);
    const char *key = opt->key != NULL ? opt->key : opt->cert; /* one file may hold both */
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return refuse(e, "TLS key", key);
    return OK;
}

status net_tls_open_client(const struct net_tls_client_options *opt, struct net_tls **out,
                           struct err *e)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL)
        return err_set(e, NO_MEMORY, "no memory for TLS");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(ctx, opt->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    status s = load_client_files(ctx, opt, e);
    if (s != OK) {
        SSL_CTX_free(ctx);
        return s;
    }
    struct net_tls *t = mem_zalloc(sizeof(*t));
    t->ctx = ctx;
    pthread_mutex_init(&t->lock, NULL);
    *out = t;
    return OK;
}

status net_tls_reload(struct net_tls *t, struct err *e)
{
    SSL_CTX *fresh, *old;
    TRY(make_context(&t->opt, &fresh, e));
    pthread_mutex_lock(&t->lock);
    old = t->ctx;
    t->ctx = fresh;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old); /* each connection has a reference of its own */
    return OK;
}

void net_tls_close(struct net_tls *t)
{
    if (t == NULL)
        return;
    SSL_CTX_free(t->ctx);
    pthread_mutex_destroy(&t->lock);
    mem_free(t);
}

/* ---- one connection ---- */

static struct tls *make(struct net_tls *of)
{
    struct tls *t = mem_zalloc(sizeof(*t));
    pthread_mutex_lock(&of->lock);
    t->ssl = SSL_new(of->ctx);
    pthread_mutex_unlock(&of->lock);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (t->ssl == NULL || t->in == NULL || t->out == NULL) {
        SSL_free(t->ssl);
        BIO_free(t->in);
        BIO_free(t->out);
        mem_free(t);
        return NULL;
    }
    SSL_set_bio(t->ssl, t->in, t->out); /* takes both */
    return t;
}

struct tls *tls_new(struct net_tls *of)
{
    struct tls *t = make(of);
    if (t != NULL)
        SSL_set_accept_state(t->ssl);
    return t;
}

/* A certificate is for names or for addresses, and only a name is told to the server. */
static bool expect_host(SSL *ssl, const char *host)
{
    unsigned char address[16];
    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

/* As ALPN has it: a length, then the name. */
static bool offer(SSL *ssl, const char *alpn)
{
    unsigned char wire[32];
    size_t n = alpn != NULL ? strlen(alpn) : 0;
    if (n == 0 || n >= sizeof(wire))
        return n == 0;
    wire[0] = (unsigned char)n;
    memcpy(wire + 1, alpn, n);
    return SSL_set_alpn_protos(ssl, wire, (unsigned)n + 1) == 0;
}

struct tls *tls_new_client(struct net_tls *of, const char *host, const char *alpn)
{
    struct tls *t = make(of);
    if (t == NULL)
        return NULL;
    if (!expect_host(t->ssl, host) || !offer(t->ssl, alpn)) {
        tls_free(t);
        return NULL;
    }
    SSL_set_connect_state(t->ssl);
    SSL_do_handshake(t->ssl); /* its first words lie in `out` now; the rest comes with tls_read */
    ERR_clear_error();
    return t;
}

status tls_fault(const struct tls *t, struct err *e)
{
    char words[256];
    long verdict = SSL_get_verify_result(t->ssl);
    if (verdict != X509_V_OK && SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE)
        return err_set(e, IO_FAILED, "TLS: the server's certificate is not believed: %s",
                       X509_verify_cert_error_string(verdict));
    if (t->fault == 0)
        return err_set(e, IO_FAILED, "TLS: the peer does not speak it, or ended the conversation");
    ERR_error_string_n(t->fault, words, sizeof(words));
    return err_set(e, IO_FAILED, "TLS: %s", words);
}

void tls_free(struct tls *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    mem_free(t);
}

static enum tls_state state_after(struct tls *t, int result)
{
    int why = SSL_get_error(t->ssl, result);
    if (t->fault == 0)
        t->fault = ERR_peek_error();
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return TLS_GOING;
    return why == SSL_ERROR_ZERO_RETURN ? TLS_ENDED : TLS_BROKEN;
}

enum tls_state tls_read(struct tls *t, struct str wire, struct buf *plain)
{
    while (wire.n > 0) {
        int n = BIO_write(t->in, wire.p, wire.n < INT_MAX ? (int)wire.n : INT_MAX);
        if (n <= 0)
            return TLS_BROKEN;
        wire = (struct str){ wire.p + n, wire.n - (size_t)n };
    }
    for (;;) {
        size_t most = plain->max - plain->len, room = most < READ_BYTES ? most : READ_BYTES;
        uint8_t *to = room > 0 ? buf_reserve(plain, room) : NULL;
        if (to == NULL)
            return room > 0 ? TLS_BROKEN : TLS_FULL;
        int n = SSL_read(t->ssl, to, (int)room);
        if (n <= 0)
            return state_after(t, n);
        plain->len += (size_t)n;
    }
}

bool tls_is_ready(const struct tls *t)
{
    return SSL_is_init_finished(t->ssl);
}

status tls_write(struct tls *t, struct str plain)
{
    while (plain.n > 0) {
        int n = SSL_write(t->ssl, plain.p, plain.n < INT_MAX ? (int)plain.n : INT_MAX);
        if (n <= 0) {
            ERR_clear_error();
            return IO_FAILED;
        }
        plain = (struct str){ plain.p + n, plain.n - (size_t)n };
    }
    return OK;
}

void tls_end(struct tls *t)
{
    if (tls_is_ready(t))
        SSL_shutdown(t->ssl);
    ERR_clear_error();
}

void tls_take(struct tls *t, struct buf *wire)
{
    char *bytes;
    long n = BIO_get_mem_data(t->out, &bytes);
    if (n <= 0)
        return;
    buf_append(wire, bytes, (size_t)n);
    (void)BIO_reset(t->out);
}
