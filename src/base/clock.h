/* Time. Monotonic nanoseconds measure; wall microseconds go into messages and logs. Any thread. */
#pragma once

#include <stdint.h>

uint64_t clock_ns(void);     /* monotonic */
int64_t clock_wall_us(void); /* microseconds since 1970 */
