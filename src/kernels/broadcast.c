#include "kernels/broadcast.h"

/* Elements between neighbours along each of out's dimensions; 0 where the operand has one or none there. */
static void steps_of(const struct shape *s, const struct shape *out, int64_t *step)
{
    int64_t size = 1;
    for (int i = out->rank - 1; i >= 0; i--) {
        int k = i - (out->rank - s->rank);
        int64_t dim = k >= 0 ? s->dim[k] : 1;
        step[i] = dim == 1 ? 0 : size;
        size *= dim;
    }
}

static bool merges(const struct broadcast *p, int64_t dim, int64_t step_a, int64_t step_b)
{
    int last = p->rank - 1;
    return p->rank > 0 && p->step_a[last] == step_a * dim && p->step_b[last] == step_b * dim;
}

void broadcast_plan(const struct shape *a, const struct shape *b, const struct shape *out,
                    struct broadcast *plan)
{
    int64_t step_a[SHAPE_MAX], step_b[SHAPE_MAX];
    steps_of(a, out, step_a);
    steps_of(b, out, step_b);
    plan->rank = 0;
    for (int i = 0; i < out->rank; i++) {
        if (out->dim[i] == 1)
            continue;
        if (merges(plan, out->dim[i], step_a[i], step_b[i]))
            plan->dim[plan->rank - 1] *= out->dim[i];
        else
            plan->dim[plan->rank++] = out->dim[i];
        plan->step_a[plan->rank - 1] = step_a[i];
        plan->step_b[plan->rank - 1] = step_b[i];
    }
    if (plan->rank == 0) { /* one element */
        plan->rank = 1;
        plan->dim[0] = 1;
        plan->step_a[0] = plan->step_b[0] = 0;
    }
}

bool broadcast_next(const struct broadcast *plan, int64_t *index, int64_t *at_a, int64_t *at_b)
{
    for (int i = plan->rank - 2; i >= 0; i--) {
        *at_a += plan->step_a[i];
        *at_b += plan->step_b[i];
        if (++index[i] < plan->dim[i])
            return true;
        *at_a -= plan->step_a[i] * plan->dim[i];
        *at_b -= plan->step_b[i] * plan->dim[i];
        index[i] = 0;
    }
    return false;
}
