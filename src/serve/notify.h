/* Private to the room: what systemd is told of the server where it started us (Type=notify), as sd_notify(3) describes it: a
 * datagram to the socket that $NOTIFY_SOCKET names. Without one, all of this does nothing. From the main thread. */
#pragma once

#include "serve/internal.h"

#include <time.h>

void notify_ready(const struct server *s);
void notify_reloading(void); /* notify_ready follows */
void notify_stopping(void);

/* How often the watchdog (WatchdogSec=) wants to hear of us; zero: never. */
struct timespec notify_beat_every(void);
/* Tells it that we live, when every event loop has had a turn since the last time. */
void notify_beat(struct server *s);
