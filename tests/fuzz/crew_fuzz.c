/* What a worker process says: a message's head, and the payload of an answer to so many items. */
#include "crew/wire.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct crew_outcome outcome[CREW_BATCH_MAX];
    struct crew_head head;
    struct err e;
    struct str packet = { (const char *)data, size };
    if (crew_head_read(packet, &head, &e) != OK || head.kind != CREW_ANSWER)
        return 0;
    int count = (int)(head.count % CREW_BATCH_MAX);
    struct str payload = { packet.p + sizeof(head), packet.n - sizeof(head) };
    if (crew_answer_read(payload, count, outcome, &e) != OK)
        return 0;
    for (int i = 0; i < count; i++) {
        const struct str b = outcome[i].bytes;
        if (b.n > payload.n || (b.n > 0 && (b.p < payload.p || b.p + b.n > payload.p + payload.n)))
            __builtin_trap();
    }
    return 0;
}
