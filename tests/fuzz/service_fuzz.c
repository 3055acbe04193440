/* A service's description and a model's configuration, ours and Triton's: read, never opened. The first byte says which. */
#include "flow/service.h"
#include "serve/config.h"
#include "serve/traffic.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct err e = { "" };
    struct service s = { 0 };
    struct model_config c = { 0 };
    struct traffic *t;
    if (size == 0)
        return 0;
    struct str text = { (const char *)data + 1, size - 1 };
    arena_init(&a, (size_t)256 << 20);
    switch (data[0] % 5) {
    case 0: (void)!service_from_yaml(text, "f.yml", &a, &s, &e); break;
    case 1: (void)!config_read_ours(text, "f.yml", &a, &c, &e); break;
    case 2: (void)!config_read_json(text, "f.json", &a, &c, &e); break;
    case 3: (void)!config_read_pbtxt(text, "f.pbtxt", &a, &c, &e); break;
    default:
        if (traffic_parse(text, &t, &e) == OK)
            traffic_unref(t);
    }
    arena_deinit(&a);
    return 0;
}
