/* Times a server from outside, with one baidu_std frame, on one blocking connection.
 *
 *     probe start FRAME PORT COMMAND...     milliseconds from starting COMMAND to its first whole
 * answer probe rtt FRAME ROUNDS PORT...        per port the median and 99th percentile in
 * microseconds; the ports take turns, a hundred calls each, so that noise falls on all alike
 *
 * FRAME is a file with the bytes to send. An answer is whole when the length in its header is
 * there. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    HEADER = 12,
    TURN = 100,
    MAX_PORTS = 8,
    WARM_UP = 2000
};

struct frame {
    char bytes[65536];
    size_t size;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static struct frame read_frame(const char *path)
{
    struct frame frame;
    FILE *f = fopen(path, "rb");
    if (!f)
        die(path);
    frame.size = fread(frame.bytes, 1, sizeof frame.bytes, f);
    fclose(f);
    return frame;
}

/* The connected socket, or -1. */
static int try_connect(int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static size_t big_endian(const unsigned char *p)
{
    return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* A refusal has a header and a description, but no payload: timing one would flatter the server. */
static size_t answer_size(const unsigned char *header, size_t limit)
{
    size_t body = big_endian(header + 4), described = big_endian(header + 8);
    if (memcmp(header, "PRPC", 4) != 0 || HEADER + body > limit || described >= body) {
        fprintf(stderr, "probe: the answer is no baidu_std frame with a payload\n");
        exit(1);
    }
    return HEADER + body;
}

static void call(int fd, const struct frame *frame)
{
    unsigned char answer[65536];
    size_t got = 0, want = HEADER;
    if (write(fd, frame->bytes, frame->size) != (ssize_t)frame->size)
        die("write");
    while (got < want) {
        ssize_t n = read(fd, answer + got, sizeof answer - got);
        if (n <= 0)
            die("read");
        got += (size_t)n;
        if (got >= HEADER)
            want = answer_size(answer, sizeof answer);
    }
}

static int start(const struct frame *frame, int port, char **command)
{
    double begin = now_us();
    pid_t child = fork();
    if (child == 0) {
        execvp(command[0], command);
        die(command[0]);
    }
    int fd;
    while ((fd = try_connect(port)) < 0) {
        if (waitpid(child, NULL, WNOHANG) != 0 || now_us() - begin > 10e6) {
            fprintf(stderr, "probe: %s does not listen on port %d\n", command[0], port);
            exit(1);
        }
        usleep(50);
    }
    call(fd, frame);
    printf("%.3f\n", (now_us() - begin) / 1e3);
    kill(child, SIGTERM);
    waitpid(child, NULL, 0);
    return 0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void take_turn(int fd, const struct frame *frame, double *times)
{
    for (int i = 0; i < TURN; i++) {
        double begin = now_us();
        call(fd, frame);
        times[i] = now_us() - begin;
    }
}

static int round_trips(const struct frame *frame, int rounds, int ports, char **port)
{
    int fd[MAX_PORTS];
    double *times[MAX_PORTS];
    int turns = (rounds + TURN - 1) / TURN, count = turns * TURN;
    for (int p = 0; p < ports; p++) {
        fd[p] = try_connect(atoi(port[p]));
        times[p] = calloc((size_t)count, sizeof(double));
        if (fd[p] < 0 || !times[p])
            die(port[p]);
        for (int i = 0; i < WARM_UP; i++)
            call(fd[p], frame);
    }
    for (int t = 0; t < turns; t++)
        for (int p = 0; p < ports; p++)
            take_turn(fd[p], frame, times[p] + t * TURN);
    for (int p = 0; p < ports; p++) {
        qsort(times[p], (size_t)count, sizeof(double), ascending);
        printf("%.2f %.2f\n", times[p][count / 2], times[p][count - 1 - count / 100]);
        free(times[p]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "probe start FRAME PORT COMMAND... | probe rtt FRAME ROUNDS PORT...\n");
        return 2;
    }
    struct frame frame = read_frame(argv[2]);
    if (strcmp(argv[1], "start") == 0)
        return start(&frame, atoi(argv[3]), argv + 4);
    return round_trips(&frame, atoi(argv[3]), argc - 4 < MAX_PORTS ? argc - 4 : MAX_PORTS,
                       argv + 4);
}
