#define DNNL_LIBRARY_ITSELF
#include "kernels/dnnl/library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define STRING(x)  #x
#define STRING_(x) STRING(x)
#define FILE_NAME  "libdnnl.so." STRING_(DNNL_VERSION_MAJOR)

/* What the dynamic linker would keep for us, had it linked the library at the start. */
static struct {
    pthread_once_t once;
    struct dnnl_library library;
    char fault[256];
} loaded = { .once = PTHREAD_ONCE_INIT };

static void set_no_threads(int count)
{
}

static dnnl_status_t absent(void)
{
    return dnnl_runtime_error;
}

static void find(void *library, const char *name, void *function)
{
    void *found = library != NULL ? dlsym(library, name) : NULL;
    dnnl_status_t (*none)(void) = absent;
    if (library != NULL && found == NULL)
        snprintf(loaded.fault, sizeof(loaded.fault), FILE_NAME " has no %s", name);
    if (found != NULL)
        memcpy(function, &found, sizeof(found)); /* C has no cast from an object to a function */
    else
        memcpy(function, &none, sizeof(none));
}

/* dlsym looks through what the library brought along too; built on another runtime than OpenMP, it has no such calls.
 * GOMP_parallel is what gcc's `#pragma omp parallel` calls; LLVM's runtime has it too. */
static void find_threads(void *library)
{
    void *set = library != NULL ? dlsym(library, "omp_set_num_threads") : NULL;
    void *run = library != NULL ? dlsym(library, "GOMP_parallel") : NULL;
    loaded.library.set_num_threads = set_no_threads;
    if (set != NULL)
        memcpy(&loaded.library.set_num_threads, &set, sizeof(set));
    if (run != NULL)
        memcpy(&loaded.library.run_team, &run, sizeof(run));
}

static void load(void)
{
    void *library = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == NULL)
        snprintf(loaded.fault, sizeof(loaded.fault), "%s", dlerror());
#define DNNL_FIND(name) find(library, "dnnl_" #name, &loaded.library.name);
    DNNL_FUNCTIONS(DNNL_FIND)
#undef DNNL_FIND
    find_threads(library);
}

const struct dnnl_library *dnnl_library(void)
{
    pthread_once(&loaded.once, load);
    return &loaded.library;
}

const char *dnnl_library_fault(void)
{
    pthread_once(&loaded.once, load);
    return loaded.fault[0] != '\0' ? loaded.fault : NULL;
}
