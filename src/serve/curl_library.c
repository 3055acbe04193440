#include "serve/curl_library.h"

#include <dlfcn.h>
#include <string.h>

#define FILE_NAME "libcurl.so.4"

static status find(void *library, const char *name, void *function, struct err *e)
{
    void *found = dlsym(library, name);
    if (found == NULL)
        return err_set(e, UNSUPPORTED, FILE_NAME " has no %s", name);
    memcpy(function, &found, sizeof(found)); /* C has no cast from an object to a function */
    return OK;
}

status curl_library_load(struct curl_library *out, struct err *e)
{
    void *library = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == NULL)
        return err_set(e, UNSUPPORTED,
                       "models at an address are fetched with libcurl, and %s; install Debian's "
                       "libcurl4 or its like",
                       dlerror());
#define CURL_FIND(name) TRY(find(library, "curl_" #name, &out->name, e));
    CURL_FUNCTIONS(CURL_FIND)
#undef CURL_FIND
    return OK;
}
