#include "flow/worth.h"

#define FIRST      12                 /* batches that are not believed: they make plans */
#define RUNS       24                 /* of each kind before they are compared */
#define OFTEN      4                  /* one batch of so many is one request while that is tried, */
#define SELDOM     64                 /* and later */
#define FADE_AT    256                /* runs whose sums are halved, so that the past fades */
#define FAR        4                  /* times the mean: no run counts for more */
#define HANDOVER   20000.0            /* ns: to another thread and back, by what both spend */
#define QUICK_NS   200000.0           /* what the server computes on the loop that read it */
#define TRIAL_NS   UINT64_C(30000000) /* for which requests pass the queue, */
#define TRIAL_EACH 512                /* once in so many batches */
#define APART_NS   UINT64_C(500000000) /* at first, then twice as long each time, up to: */
#define APART_MOST UINT64_C(4000000000)

static void add(struct worth_sum *sum, struct worth_cost cost)
{
    if (cost.elements <= 0)
        return;
    double most = FAR * sum->of.ns / sum->of.elements * cost.elements;
    sum->of.ns += sum->runs >= FIRST && cost.ns > most ? most : cost.ns;
    sum->of.elements += cost.elements;
    sum->of.requests += cost.requests;
    if (++sum->runs < FADE_AT)
        return;
    sum->runs /= 2;
    sum->of = (struct worth_cost){ sum->of.ns / 2, sum->of.elements / 2, sum->of.requests / 2 };
}

/* Of the average request that was joined: chance gives the ways different lengths. */
static double ns_of(const struct worth_sum *sum, const struct worth *w)
{
    return sum->of.ns / sum->of.elements * w->joined.of.elements / w->joined.of.requests;
}

static void stay_apart(struct worth *w, uint64_t now)
{
    w->apart_ns = w->apart_ns == 0 ? APART_NS : w->apart_ns * 2;
    w->apart_ns = w->apart_ns > APART_MOST ? APART_MOST : w->apart_ns;
    w->apart_until_ns = now + w->apart_ns;
    w->joined = (struct worth_sum){ 0 };
    w->queued = 0;
}

static void decide(struct worth *w, uint64_t now)
{
    const struct worth_sum *other = w->quick ? &w->direct : &w->alone;
    if (w->joined.runs < RUNS)
        return;
    if (w->quick && (other->runs < RUNS || w->queued >= TRIAL_EACH)) {
        w->trial_until_ns = now + TRIAL_NS;
        w->queued = w->tried = 0;
    }
    if (other->runs < RUNS)
        return;
    if (ns_of(&w->joined, w) + (w->quick ? HANDOVER : 0) < ns_of(other, w))
        w->apart_ns = 0;
    else
        stay_apart(w, now);
}

void worth_note_queued(struct worth *w, struct worth_cost cost, uint64_t now)
{
    bool one = cost.requests < 2;
    w->queued++;
    if (worth_is_apart(w, now) || w->seen++ < FIRST)
        return;
    if (one)
        worth_note_alone(w, cost);
    if (one && !w->quick) /* keeping it out of the queue is no use */
        return;
    add(&w->joined, cost);
    decide(w, now);
}

void worth_note_alone(struct worth *w, struct worth_cost cost)
{
    add(&w->alone, cost);
    w->quick = w->alone.of.ns < QUICK_NS * w->alone.of.requests;
}

void worth_note_direct(struct worth *w, struct worth_cost cost, uint64_t now)
{
    add(&w->direct, cost);
    if (now < w->trial_until_ns && ++w->tried >= RUNS) { /* enough of it */
        w->trial_until_ns = 0;
        decide(w, now);
    }
}

bool worth_compares(struct worth *w)
{
    return ++w->turn % (w->alone.runs < RUNS ? OFTEN : SELDOM) == 0;
}

bool worth_is_apart(const struct worth *w, uint64_t now)
{
    return now < w->apart_until_ns;
}

uint64_t worth_passes_until(const struct worth *w)
{
    uint64_t until = w->apart_until_ns > w->trial_until_ns ? w->apart_until_ns : w->trial_until_ns;
    return w->quick ? until : 0;
}
