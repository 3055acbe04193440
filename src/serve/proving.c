/* The first requests of a version that took over: what it took over from stays behind it, answers what it fails, and takes its
 * place again when it fails too much. */
#include "serve/entries.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define PROVE_CALLS 20
#define PROVE_BAD   3
#define PROVE_NS    UINT64_C(60000000000)

/* The version that failed goes, and is not loaded again until its files change; the one before is there still. */
static void take_back(struct repository *r, struct entry *en, uint64_t bad, uint64_t all)
{
    struct err words;
    struct loaded *old = entry_find_version(en, flow_version(en->before));
    err_set(&words, OK,
            "failed in %llu of its first %llu requests, which the one before answered; that one "
            "serves",
            (unsigned long long)bad, (unsigned long long)all);
    for (int i = 0; i < en->count; i++) {
        struct loaded *l = en->version[i];
        if (l->flow != en->proving || l == old)
            continue;
        flow_unref(l->flow);
        l->flow = NULL;
        version_set_state(r, l, MODEL_UNAVAILABLE, words.text);
    }
    if (old != NULL) {
        flow_unref(old->flow);
        old->flow = flow_ref(en->before);
        version_set_state(r, old, MODEL_READY, words.text);
    }
    log_line(LOG_WARN, "serve", "model '%s': the version that was loaded last %s", en->name,
             words.text);
    entry_end_proving(en);
    repository_publish(r);
}

static double share_of(uint64_t bad, uint64_t good)
{
    return bad + good > 0 ? (double)bad / (double)(bad + good) : 0;
}

/* Requests that also the version before fails now and then are no reason to keep it. */
static bool is_worse(const struct entry *en, uint64_t good, uint64_t bad)
{
    uint64_t good_before, bad_before;
    flow_ends(en->before, &good_before, &bad_before);
    return bad >= PROVE_BAD && share_of(bad, good) > 2 * share_of(bad_before, good_before);
}

bool repository_check_proving(struct repository *r)
{
    bool any = false;
    for (int i = 0; i < r->count; i++) {
        struct entry *en = r->entry[i];
        uint64_t good, bad;
        if (en->proving == NULL)
            continue;
        flow_ends(en->proving, &good, &bad);
        if (is_worse(en, good, bad)) {
            take_back(r, en, bad, good + bad);
        } else if (good + bad >= PROVE_CALLS || clock_ns() - en->proving_since_ns > PROVE_NS) {
            entry_end_proving(en);
            repository_publish(r); /* nobody is to hold the one before any more */
        } else {
            any = true;
        }
    }
    return any;
}

void entry_begin_proving(struct entry *en, const struct loaded *was, struct flow *fresh)
{
    struct flow *before = was != NULL ? flow_ref(was->flow) : NULL;
    entry_end_proving(en);
    if (before == NULL)
        return;
    en->before = before;
    en->proving = fresh;
    en->proving_since_ns = clock_ns();
}

void entry_end_proving(struct entry *en)
{
    flow_unref(en->before);
    en->before = en->proving = NULL;
}
