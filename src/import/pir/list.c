#include "import/pir/list.h"

#include <stdint.h>
#include <string.h>

void *pir_push(struct arena *a, void *list, int *count, size_t size)
{
    uint8_t *old, *bytes;
    int n = *count;
    memcpy(&old, list, sizeof(old));
    bytes = old;
    if ((n & (n - 1)) == 0) { /* full: 0, 1, 2, 4, 8, ... elements */
        bytes = n < INT32_MAX / 2 ? arena_try_array(a, n > 0 ? (size_t)n * 2 : 1, size) : NULL;
        if (bytes == NULL)
            return NULL;
        if (n > 0)
            memcpy(bytes, old, (size_t)n * size);
        memcpy(list, &bytes, sizeof(bytes));
    }
    *count = n + 1;
    return memset(bytes + (size_t)n * size, 0, size);
}
