/* Stands in for libFuzzer where it is not built in: feeds every file of a corpus directory to the
 * target, in order of name, so that what fuzzing once found is tested by each build. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* The bytes are copied to a block of just their size, so that a sanitizer sees a read past the end.
 */
static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        return 1;
    }
    size_t size = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(size ? size : 1);
    int bad = !data || fread(data, 1, size, f) != size;
    fclose(f);
    if (bad)
        perror(path);
    else
        LLVMFuzzerTestOneInput(data, size);
    free(data);
    return bad;
}

int main(int argc, char **argv)
{
    struct dirent **entry;
    int count = argc == 2 ? scandir(argv[1], &entry, visible, alphasort) : -1;
    if (count <= 0) {
        fprintf(stderr, "replay: wants a directory with at least one file, got %s\n",
                argc == 2 ? argv[1] : "nothing");
        return 1;
    }
    int bad = 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], entry[i]->d_name);
        bad += replay_file(path);
        free(entry[i]);
    }
    free(entry);
    printf("%d files replayed\n", count - bad);
    return bad != 0;
}
