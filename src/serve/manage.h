/* Routes that change which models are served: the Open Inference Protocol's repository calls, and ours beside them. */
#pragma once

#include "serve/http.h"

/* POST /v2/repository/index: every version with its state; {"ready": true} lists those alone that are. */
void manage_index(const struct http_request *r, const struct route_parts *parts);
/* The same calls, and these, of a repository with a name of its own: there is none such. */
void manage_named(const struct http_request *r, const struct route_parts *parts);
/* POST /v2/repository/models/NAME/load; the body may bring {"parameters": {"config": JSON, "file:PATH": base64}}. */
void manage_load(const struct http_request *r, const struct route_parts *parts);
void manage_unload(const struct http_request *r, const struct route_parts *parts);
/* POST /v2/repository/models/NAME/rollback: back to the next lower version. */
void manage_rollback(const struct http_request *r, const struct route_parts *parts);
/* POST /v2/repository/models/NAME/label with {"label": "stable", "version": 3}; version 0 takes it away. */
/* GET /v2/repository/traffic: what the variants of every model with divided traffic did. */
void manage_traffic_list(const struct http_request *r, const struct route_parts *parts);
/* POST /v2/repository/models/NAME/traffic: divides it as the body says; an empty body: no more. */
void manage_traffic(const struct http_request *r, const struct route_parts *parts);
/* POST /v2/repository/models/NAME/outcome with {"variant": "b", "value": 1}. */
void manage_outcome(const struct http_request *r, const struct route_parts *parts);
void manage_label(const struct http_request *r, const struct route_parts *parts);
