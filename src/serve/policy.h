/* Which of a directory's versions are to be served. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define POLICY_VERSIONS_MAX 32

typedef enum policy_kind {
    POLICY_LATEST, /* the highest `latest` of them */
    POLICY_ALL,
    POLICY_SPECIFIC,
} policy_kind;

struct version_policy {
    policy_kind kind;
    int latest;
    int64_t version[POLICY_VERSIONS_MAX]; /* POLICY_SPECIFIC */
    int version_count;
};

/* "latest", "latest:2", "all", "specific:1,3". */
status policy_parse(struct str text, struct version_policy *out, struct err *e);
/* Whether a version is wanted when `better` higher ones are there already. */
bool policy_wants(const struct version_policy *p, int64_t version, int better);
