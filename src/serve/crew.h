/* Private to the room: requests that worker processes answer (room crew), as they come over HTTP and gRPC. */
#pragma once

#include "serve/http.h"

struct buf;
struct crew_view;

/* Whether a request's path is the crew's: POST /NAME/prediction, of a pipeline POST /ANY/ANY. */
bool crew_takes(const struct http_request *r);
void crew_answer(const struct http_request *r);
extern const struct route crew_routes[];

/* What is counted, for /metrics: a view of now (NULL: there is no crew), to be freed with mem_free; the sample that belongs to a
 * family of Paddle Serving's names, if any; and the families of its own. v may be NULL. */
struct crew_view *crew_metrics_look(const struct server *s);
void crew_metrics_put_sample(const struct crew_view *v, const char *family, struct buf *b);
void crew_metrics_put(const struct crew_view *v, struct buf *b);
