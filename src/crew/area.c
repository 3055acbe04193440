#include "crew/area.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_BYTES ((uint64_t)1 << 20)
#define KEEP_BYTES  ((uint64_t)16 << 20)

void area_init(struct area *a)
{
    *a = (struct area){ .fd = -1 };
}

static void unmap(struct area *a)
{
    if (a->p != NULL)
        munmap(a->p, a->bytes);
    a->p = NULL;
    a->bytes = 0;
}

void area_close(struct area *a)
{
    unmap(a);
    if (a->fd >= 0)
        close(a->fd);
    area_init(a);
}

static status map(struct area *a, uint64_t bytes, int how, struct err *e)
{
    unmap(a);
    void *p = mmap(NULL, bytes, how, MAP_SHARED, a->fd, 0);
    if (p == MAP_FAILED)
        return err_set(e, NO_MEMORY, "no room for %llu bytes of shared memory: %s",
                       (unsigned long long)bytes, strerror(errno));
    a->p = p;
    a->bytes = bytes;
    return OK;
}

static status make(struct area *a, struct err *e)
{
    a->fd = memfd_create("oar-crew", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (a->fd < 0 || fcntl(a->fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
        return err_set(e, IO_FAILED, "no shared memory: %s", strerror(errno));
    return OK;
}

status area_grow(struct area *a, uint64_t bytes, struct err *e)
{
    uint64_t room = a->bytes > FIRST_BYTES ? a->bytes : FIRST_BYTES;
    if (bytes <= a->bytes)
        return OK;
    if (a->fd < 0)
        TRY(make(a, e));
    while (room < bytes)
        room *= 2;
    if (ftruncate(a->fd, (off_t)room) != 0)
        return err_set(e, NO_MEMORY, "%llu bytes of shared memory: %s", (unsigned long long)room,
                       strerror(errno));
    return map(a, room, PROT_READ | PROT_WRITE, e);
}

void area_trim(struct area *a)
{
    if (a->bytes > KEEP_BYTES)
        fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)FIRST_BYTES,
                  (off_t)(a->bytes - FIRST_BYTES));
}

status area_adopt(struct area *a, int fd, struct err *e)
{
    int seals = fcntl(fd, F_GET_SEALS);
    area_close(a);
    a->fd = fd;
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
        return err_set(e, INVALID, "a file that may be cut short is no area");
    return OK;
}

status area_see(struct area *a, uint64_t bytes, struct err *e)
{
    struct stat st;
    if (bytes <= a->bytes)
        return OK;
    if (a->fd < 0 || fstat(a->fd, &st) != 0 || st.st_size < 0 || (uint64_t)st.st_size < bytes)
        return err_set(e, INVALID, "a payload of %llu bytes in an area that has fewer",
                       (unsigned long long)bytes);
    return map(a, (uint64_t)st.st_size, PROT_READ, e);
}
