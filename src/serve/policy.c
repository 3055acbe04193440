#include "serve/policy.h"

static status add_version(struct version_policy *p, struct str word, struct str text, struct err *e)
{
    int64_t n;
    if (!str_to_i64(str_trim(word), &n) || n < 1)
        return err_set(e, INVALID, "'%.*s': '%.*s' is no version number", STR_ARG(text),
                       STR_ARG(word));
    if (p->version_count == POLICY_VERSIONS_MAX)
        return err_set(e, INVALID, "'%.*s': more than %d versions", STR_ARG(text),
                       POLICY_VERSIONS_MAX);
    p->version[p->version_count++] = n;
    return OK;
}

static status parse_specific(struct str rest, struct str text, struct version_policy *p,
                             struct err *e)
{
    struct str word;
    for (bool more = rest.n > 0; more;) {
        more = str_cut(&rest, ',', &word);
        TRY(add_version(p, word, text, e));
    }
    return OK;
}

static status parse_latest(struct str rest, struct str text, struct version_policy *p,
                           struct err *e)
{
    int64_t n = 1;
    if (rest.n > 0 && (!str_to_i64(rest, &n) || n < 1 || n > 1000))
        return err_set(e, INVALID, "'%.*s': expected a count from 1 to 1000 behind 'latest:'",
                       STR_ARG(text));
    p->latest = (int)n;
    return OK;
}

status policy_parse(struct str text, struct version_policy *out, struct err *e)
{
    struct str rest = text, kind;
    *out = (struct version_policy){ 0 };
    str_cut(&rest, ':', &kind);
    if (str_is(kind, "latest")) {
        out->kind = POLICY_LATEST;
        return parse_latest(rest, text, out, e);
    }
    if (str_is(kind, "all") && rest.n == 0) {
        out->kind = POLICY_ALL;
        return OK;
    }
    if (str_is(kind, "specific") && rest.n > 0) {
        out->kind = POLICY_SPECIFIC;
        return parse_specific(rest, text, out, e);
    }
    return err_set(e, INVALID,
                   "version policy '%.*s': expected latest, latest:N, all or specific:N,N",
                   STR_ARG(text));
}

bool policy_wants(const struct version_policy *p, int64_t version, int better)
{
    if (p->kind == POLICY_LATEST)
        return better < p->latest;
    for (int i = 0; i < p->version_count; i++)
        if (p->version[i] == version)
            return true;
    return p->kind == POLICY_ALL;
}
