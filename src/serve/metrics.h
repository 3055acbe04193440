/* Private to the room: what the lanes counted, added up, and its text for Prometheus. */
#pragma once

#include "serve/http.h"

struct stats_sums {
    struct arena *arena;
    struct stats_entry **entry; /* names live as long as the lanes and the lane's table do */
    int count;
};

/* Adds all lanes up: one entry a model and version (those that can be asked and were never asked too), or one for each
 * protocol and form of each. On the lane's loop. */
void stats_gather(struct lane *lane, struct arena *a, bool by_protocol, struct stats_sums *out);
uint64_t stats_failures(const struct stats_entry *e);
/* What a version's weights take, and what was packed of them; 0: it has gone. */
uint64_t stats_model_bytes(const struct lane *lane, const struct stats_key *key);

uint64_t process_resident_bytes(void);
/* The two lines that a family of metrics begins with. */
void metrics_put_head(struct buf *b, const char *name, const char *type, const char *help);
/* Appends the whole exposition. On the lane's loop. */
void metrics_put(struct lane *lane, struct buf *b);
