/* For tests: the recorded cases of a zoo directory (case_N.in.npz, case_N.out.npz) as tensors. */
#pragma once

#include "base/file.h"
#include "codec/npz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct zoo_case {
    struct file_map *in_file, *out_file;
    struct npz in, out;
};

/* false: there is no case n. */
static inline bool zoo_case_open(const char *dir, int n, struct arena *a, struct zoo_case *c)
{
    struct err e = { "" };
    char path[1024];
    snprintf(path, sizeof(path), "%s/case_%d.in.npz", dir, n);
    if (file_map_open(path, 1 << 28, &c->in_file, &e) != OK)
        return false;
    struct str bytes = { (const char *)file_map_data(c->in_file), file_map_size(c->in_file) };
    if (npz_read(bytes, path, a, &c->in, &e) != OK) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    snprintf(path, sizeof(path), "%s/case_%d.out.npz", dir, n);
    if (file_map_open(path, 1 << 28, &c->out_file, &e) != OK) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    bytes = (struct str){ (const char *)file_map_data(c->out_file), file_map_size(c->out_file) };
    if (npz_read(bytes, path, a, &c->out, &e) != OK) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    return true;
}

static inline void zoo_case_close(struct zoo_case *c)
{
    file_map_unref(c->in_file);
    file_map_unref(c->out_file);
}

/* in0.., with the offsets in0_lod0.. hung on it; false: there is none. */
static inline bool zoo_tensor(const struct npz *z, const char *prefix, int n, struct tensor *out)
{
    char name[64];
    snprintf(name, sizeof(name), "%s%d", prefix, n);
    const struct tensor *t = npz_find(z, str_of(name));
    if (t == NULL)
        return false;
    *out = *t;
    for (int l = 0; l < LOD_MAX; l++) {
        snprintf(name, sizeof(name), "%s%d_lod%d", prefix, n, l);
        const struct tensor *lod = npz_find(z, str_of(name));
        if (lod == NULL || lod->dtype != DTYPE_I64)
            break;
        out->lod.level[l] = (struct lod_level){ lod->data, lod->shape.dim[0] };
        out->lod.levels = l + 1;
    }
    return true;
}

/* Largest difference of two float tensors over the largest magnitude of `want`; infinity when they
 * do not compare. */
static inline double zoo_error(const struct tensor *got, const struct tensor *want)
{
    if (got->dtype != want->dtype || !shape_eq(&got->shape, &want->shape))
        return INFINITY;
    int64_t n = shape_numel(&want->shape);
    if (got->dtype != DTYPE_F32)
        return memcmp(got->data, want->data, (size_t)tensor_bytes(want)) == 0 ? 0 : INFINITY;
    const float *g = got->data, *w = want->data;
    double worst = 0, scale = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)g[i] - w[i]);
        if (g[i] == w[i] || (isnan(g[i]) && isnan(w[i])))
            d = 0;
        if (!(d <= worst))
            worst = isnan(d) ? INFINITY : d;
        if (isfinite(w[i]) && fabs((double)w[i]) > scale)
            scale = fabs((double)w[i]);
    }
    return scale > 0 ? worst / scale : worst;
}
