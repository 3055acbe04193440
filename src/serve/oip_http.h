/* Private to the room: what the files of the Open Inference Protocol over HTTP have in common. */
#pragma once

#include "serve/http.h"
#include "serve/oip.h"

/* The model of a path, of the version that it names as its second part; NULL: answered. */
struct flow *oip_http_find(const struct http_request *r, const struct route_parts *parts);
