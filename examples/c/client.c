/* Asks a server for one inference: client HOST:PORT PROTOCOL MODEL INPUT NUMBER... */
#include <oar/client.h>

#include <stdio.h>
#include <stdlib.h>

enum {
    FLOAT32 = 1,
    MOST = 1024
};

static int failed(const oar_client *c)
{
    fprintf(stderr, "%s\n", oar_client_error(c));
    return 1;
}

int main(int argc, char **argv)
{
    float row[MOST];
    int64_t shape[2] = { 1, argc - 5 };
    oar_client *client;
    const oar_array *result;
    int count;
    if (argc < 6 || argc - 5 > MOST)
        return fprintf(stderr, "usage: client HOST:PORT PROTOCOL MODEL INPUT NUMBER...\n"), 2;
    for (int i = 5; i < argc; i++)
        row[i - 5] = strtof(argv[i], NULL);
    const oar_array feed = {
        .name = argv[4], .dtype = FLOAT32, .rank = 2, .shape = shape, .data = row
    };
    int code = oar_client_open(argv[1], argv[2], &client); /* a handle is one thread's */
    if (code == 0)
        code = oar_client_set_model(client, argv[3]); /* for protocols that name one */
    if (code == 0)
        code = oar_client_infer(client, &feed, 1, NULL, 0, &result, &count);
    if (code != 0)
        code = failed(client);
    for (int i = 0; code == 0 && i < count; i++)
        if (result[i].dtype == FLOAT32)
            printf("%s: %g\n", result[i].name, *(const float *)result[i].data);
        else
            printf("%s: of type %d\n", result[i].name, (int)result[i].dtype);
    oar_client_close(client);
    return code;
}
