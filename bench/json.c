/* bench_json: how quickly JSON of 150,528 floats (an image of 224 x 224 x 3) is read and written, in megabytes of text a second on
 * one core. Best of many, since what else the machine does can only make it slower. */
#include "codec/json.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>

#define FLOATS 150528
#define ROUNDS 60

static float values[FLOATS], back[FLOATS];

/* Pixels scaled to about -2 to 2, as vision models want them: eight or nine digits each. */
static void fill(void)
{
    uint32_t x = 12345;
    for (int i = 0; i < FLOATS; i++) {
        x = x * 1664525u + 1013904223u;
        values[i] = (float)(x >> 24) / 255.0f / 0.225f - 2.1f;
    }
}

static double mb_per_s(size_t bytes, uint64_t ns)
{
    return (double)bytes * 1e3 / (double)ns;
}

static void write_once(struct buf *b)
{
    buf_clear(b);
    json_put_shortest(b, DTYPE_F32, values, FLOATS);
}

static int64_t read_once(const struct buf *b, struct arena *a)
{
    struct json j;
    struct json_array out = { .dtype = DTYPE_F32, .to = back, .max = FLOATS };
    json_init(&j, buf_view(b), a);
    json_numbers(&j, &out);
    return json_failed(&j) ? -1 : out.count;
}

int main(void)
{
    struct buf b;
    struct arena a;
    uint64_t least_write = UINT64_MAX, least_read = UINT64_MAX;
    buf_init(&b, (size_t)64 << 20);
    arena_init(&a, 0);
    fill();
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t begin = clock_ns();
        write_once(&b);
        uint64_t written = clock_ns();
        if (read_once(&b, &a) != FLOATS) {
            fprintf(stderr, "bench_json: what was written cannot be read\n");
            return 1;
        }
        uint64_t read = clock_ns();
        least_write = written - begin < least_write ? written - begin : least_write;
        least_read = read - written < least_read ? read - written : least_read;
    }
    for (int i = 0; i < FLOATS; i++)
        if (back[i] != values[i]) {
            fprintf(stderr, "bench_json: element %d has changed\n", i);
            return 1;
        }
    printf("{\"bytes\":%zu,\"parse_mb_s\":%.0f,\"write_mb_s\":%.0f}\n", b.len,
           mb_per_s(b.len, least_read), mb_per_s(b.len, least_write));
    buf_deinit(&b);
    arena_deinit(&a);
    return 0;
}
