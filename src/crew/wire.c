#include "crew/wire.h"

#include <string.h>

static uint64_t filled_up(uint64_t n)
{
    return (n + CREW_ALIGN - 1) & ~(uint64_t)(CREW_ALIGN - 1);
}

/* ---- WORK ---- */

static uint64_t part_bytes(const struct crew_part *p)
{
    return p->bytes.n + (p->source == CREW_FROM_REQUEST ? p->head.n + 1 : 0);
}

uint64_t crew_work_bytes(const struct crew_item *item, int count)
{
    uint64_t n = 0;
    for (int i = 0; i < count; i++) {
        n += sizeof(struct crew_item_head);
        for (int p = 0; p < item[i].part_count; p++)
            n = filled_up(n + sizeof(struct crew_part_head)) +
                filled_up(part_bytes(&item[i].part[p]));
    }
    return n;
}

static uint8_t *put(uint8_t *to, const void *from, size_t n)
{
    if (n > 0)
        memcpy(to, from, n);
    return to + n;
}

static uint8_t *put_part(uint8_t *start, uint8_t *to, const struct crew_part *p)
{
    const struct crew_part_head head = { .source = p->source, .bytes = part_bytes(p) };
    to = put(to, &head, sizeof(head));
    to = start + filled_up((uint64_t)(to - start));
    uint8_t *end = to + filled_up(head.bytes);
    if (p->source == CREW_FROM_REQUEST) {
        to = put(to, p->head.p, p->head.n);
        *to++ = '\n';
    }
    put(to, p->bytes.p, p->bytes.n);
    return end;
}

void crew_work_put(const struct crew_item *item, int count, uint8_t *to)
{
    uint8_t *start = to;
    for (int i = 0; i < count; i++) {
        const struct crew_item_head head = { .id = item[i].id,
                                             .form = item[i].form,
                                             .parts = (uint32_t)item[i].part_count,
                                             .left_us = item[i].left_us };
        to = put(to, &head, sizeof(head));
        for (int p = 0; p < item[i].part_count; p++)
            to = put_part(start, to, &item[i].part[p]);
    }
}

/* ---- what a worker says ---- */

status crew_head_read(struct str packet, struct crew_head *out, struct err *e)
{
    if (packet.n < sizeof(*out))
        return err_set(e, INVALID, "a message of %zu bytes has no head", packet.n);
    memcpy(out, packet.p, sizeof(*out));
    if (out->kind != CREW_READY && out->kind != CREW_FAILED && out->kind != CREW_ANSWER)
        return err_set(e, INVALID, "a message of kind %u, which no worker sends", out->kind);
    if (out->shared > 1 || out->bytes > CREW_MESSAGE_BYTES)
        return err_set(e, INVALID, "a payload of %llu bytes", (unsigned long long)out->bytes);
    if (out->shared == 0 && out->bytes != packet.n - sizeof(*out))
        return err_set(e, INVALID, "a payload of %zu bytes that is said to have %llu",
                       packet.n - sizeof(*out), (unsigned long long)out->bytes);
    return OK;
}

status crew_answer_read(struct str payload, int count, struct crew_outcome *out, struct err *e)
{
    uint64_t at = 0;
    for (int i = 0; i < count; i++) {
        struct crew_outcome_head head;
        if (payload.n - at < sizeof(head))
            return err_set(e, INVALID, "%d outcomes where %d were expected", i, count);
        memcpy(&head, payload.p + at, sizeof(head));
        at += sizeof(head);
        if (head.kind > CREW_FINAL || head.bytes > payload.n - at)
            return err_set(e, INVALID, "outcome %d of kind %u with %llu bytes does not fit", i,
                           head.kind, (unsigned long long)head.bytes);
        if (head.kind == CREW_FINAL && (head.code < 200 || head.code > 599))
            return err_set(e, INVALID, "outcome %d: HTTP has no code %u", i, head.code);
        out[i] =
            (struct crew_outcome){ .kind = (enum crew_outcome_kind)head.kind,
                                   .code = (int)head.code,
                                   .fault = head.fault > INT32_MAX ? INT32_MAX : (int)head.fault,
                                   .bytes = { payload.p + at, (size_t)head.bytes } };
        at += head.bytes;
        uint64_t next = filled_up(at);
        at = next < payload.n ? next : payload.n;
    }
    return at == payload.n ? OK
                           : err_set(e, INVALID, "%llu bytes behind the last outcome",
                                     (unsigned long long)(payload.n - at));
}
