/* The route that traces live requests. */
#pragma once

#include "serve/http.h"

void trace_live(const struct http_request *r, const struct route_parts *parts);
