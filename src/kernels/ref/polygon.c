#include "kernels/ref/polygon.h"

#include <math.h>

struct point {
    double x, y;
};

/* Twice the area of a triangle, positive against the clock. */
static double turn(struct point a, struct point b, struct point c)
{
    return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
}

static struct point corner(const float *p, int i)
{
    return (struct point){ (double)p[2 * i], (double)p[2 * i + 1] };
}

static double area(const float *p, int corners)
{
    double sum = 0;
    for (int i = 1; i + 1 < corners; i++)
        sum += turn(corner(p, 0), corner(p, i), corner(p, i + 1));
    return fabs(sum) / 2;
}

#define CUT_MAX 8 /* corners of a triangle that three lines cut: each adds one at most */

/* What of the convex shape lies on the left of the line from a to b (Sutherland and Hodgman). */
static int cut(const struct point *in, int count, struct point a, struct point b, struct point *out)
{
    int n = 0;
    for (int i = 0; i < count; i++) {
        struct point p = in[i], q = in[(i + 1) % count];
        double at_p = turn(a, b, p), at_q = turn(a, b, q);
        if (at_p >= 0)
            out[n++] = p;
        if ((at_p >= 0) == (at_q >= 0) || n == CUT_MAX)
            continue;
        double part = at_p / (at_p - at_q);
        out[n++] = (struct point){ p.x + part * (q.x - p.x), p.y + part * (q.y - p.y) };
    }
    return n;
}

/* The area that two triangles share, as the product of their directions. */
static double shared(const struct point a[3], const struct point b[3])
{
    struct point shape[2][CUT_MAX + 1] = { { a[0], a[1], a[2] } };
    double sign = turn(b[0], b[1], b[2]), sum = 0;
    int n = 3, now = 0;
    for (int i = 0; i < 3 && n > 0; i++, now = !now) {
        int from = sign > 0 ? i : 2 - i, to = sign > 0 ? (i + 1) % 3 : (4 - i) % 3;
        n = cut(shape[now], n, b[from], b[to], shape[!now]);
    }
    for (int i = 1; i + 1 < n; i++)
        sum += turn(shape[now][0], shape[now][i], shape[now][i + 1]);
    return sign == 0 ? 0 : sign > 0 ? sum / 2 : -sum / 2;
}

/* A polygon is the sum of the triangles that its first corner makes with its sides, those that turn the other way taken
 * away: so is what two share. */
static double intersection(const float *a, const float *b, int corners)
{
    double sum = 0;
    for (int i = 1; i + 1 < corners; i++)
        for (int k = 1; k + 1 < corners; k++)
            sum += shared((struct point[]){ corner(a, 0), corner(a, i), corner(a, i + 1) },
                          (struct point[]){ corner(b, 0), corner(b, k), corner(b, k + 1) });
    return fabs(sum);
}

float polygon_iou(const float *a, const float *b, int corners)
{
    double of_a = area(a, corners), of_b = area(b, corners), both = intersection(a, b, corners);
    if (!(of_a > 0) || !(of_b > 0) || !(both > 0))
        return 0;
    return (float)(both / (of_a + of_b - both));
}
