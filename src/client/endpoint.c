#include "client/endpoint.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define UNIX          "unix:"
#define UNIX_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

static bool split(struct str text, struct str *host, struct str *port)
{
    const char *colon = text.n != 0 ? memrchr(text.p, ':', text.n) : NULL;
    if (colon == NULL)
        return false;
    *host = (struct str){ text.p, (size_t)(colon - text.p) };
    *port = (struct str){ colon + 1, text.n - host->n - 1 };
    if (host->n >= 2 && host->p[0] == '[' && host->p[host->n - 1] == ']') {
        *host = (struct str){ host->p + 1, host->n - 2 };
        return host->n != 0;
    }
    return host->n != 0 && memchr(host->p, ':', host->n) == NULL;
}

static status parse_unix(struct str path, struct endpoint *out, struct err *e)
{
    if (str_starts(path, "///"))
        path = (struct str){ path.p + 2, path.n - 2 };
    bool named = path.n > 0 && !str_is(path, "@") && !str_is(path, "/");
    if (!named || path.n > UNIX_PATH_MAX || memchr(path.p, '\0', path.n) != NULL)
        return err_set(e, INVALID,
                       "'" UNIX "%.*s': expected " UNIX "PATH or " UNIX
                       "@NAME of 1 to %zu bytes (such as " UNIX "/run/oar.sock)",
                       STR_ARG(path), UNIX_PATH_MAX);
    memcpy(out->host, path.p, path.n);
    out->host[path.n] = out->port[0] = '\0';
    return OK;
}

status endpoint_parse(struct str text, struct endpoint *out, struct err *e)
{
    struct str host, port;
    int64_t number;
    if (str_starts(text, UNIX))
        return parse_unix((struct str){ text.p + strlen(UNIX), text.n - strlen(UNIX) }, out, e);
    if (!split(text, &host, &port) || !str_to_i64(port, &number) || number < 1 || number > 65535)
        return err_set(e, INVALID,
                       "'%.*s' is no HOST:PORT with a port from 1 to 65535 (such as "
                       "127.0.0.1:9292 or [::1]:9292), and no " UNIX "PATH",
                       STR_ARG(text));
    if (host.n >= sizeof(out->host))
        return err_set(e, INVALID, "a host name of %zu bytes is longer than %zu", host.n,
                       sizeof(out->host) - 1);
    memcpy(out->host, host.p, host.n);
    out->host[host.n] = '\0';
    snprintf(out->port, sizeof(out->port), "%d", (int)number);
    return OK;
}

bool endpoint_is_unix(const struct endpoint *at)
{
    return at->port[0] == '\0';
}

const char *endpoint_text(const struct endpoint *at, char out[ENDPOINT_TEXT_MAX])
{
    if (endpoint_is_unix(at))
        snprintf(out, ENDPOINT_TEXT_MAX, UNIX "%s", at->host);
    else
        snprintf(out, ENDPOINT_TEXT_MAX, strchr(at->host, ':') ? "[%s]:%s" : "%s:%s", at->host,
                 at->port);
    return out;
}

const char *endpoint_authority(const struct endpoint *at, char out[ENDPOINT_TEXT_MAX])
{
    if (!endpoint_is_unix(at))
        return endpoint_text(at, out);
    snprintf(out, ENDPOINT_TEXT_MAX, "localhost");
    return out;
}
