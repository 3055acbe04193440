/* Private to the room: what Triton's logging and trace extensions let a client look at and change while the server runs,
 * whichever protocol carries it. A change is gathered from its members, each checked, and applied as a whole or not at all. */
#pragma once

#include "base/log.h"
#include "proto/oip.h"
#include "serve/internal.h"

/* One setting as it is shown: a bool, a whole number or a string. Views of static words or of the caller's room. */
#define SETTINGS_MAX 8
struct setting_room {
    struct oip_param at[SETTINGS_MAX];
    int count;
    char text[2][16];
};

struct log_change {
    bool info, warning;
    uint64_t verbose;
    log_format format;
};

void log_settings(struct setting_room *out);
void log_change_begin(struct log_change *c);
/* INVALID: no such setting, or not its type. UNSUPPORTED: it is fixed while the server runs. STOPPING (503, UNAVAILABLE, as
 * Triton has it): no such format. */
status log_change_take(struct log_change *c, const struct oip_param *p, struct err *e);
void log_change_apply(const struct log_change *c);

/* Traces: one setting for all models. Values are strings; trace_level is a list of them. */
struct trace_change {
    bool off, wanted; /* wanted: it asks for traces */
    int64_t rate, count;
};

void trace_settings(const struct server *s, struct setting_room *out);
void trace_change_begin(const struct server *s, struct trace_change *c);
/* One value of a setting; p NULL: it is cleared, and the server's own comes back. */
status trace_change_take(const struct server *s, struct trace_change *c, struct str key,
                         struct str value, struct err *e);
/* UNSUPPORTED: nothing says where traces would go. */
status trace_change_apply(struct server *s, const struct trace_change *c, struct err *e);
