/* The floor: what a round trip costs when the server does nothing. One thread, epoll, sends back
 * what it reads.
 *
 *     echo PORT */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 16) != 0) {
        perror("echo");
        exit(1);
    }
    return fd;
}

static void watch(int poll, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

static void admit(int poll, int listener)
{
    int fd = accept(listener, NULL, NULL), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(poll, fd);
}

static void answer(int fd)
{
    static char bytes[65536];
    ssize_t size = read(fd, bytes, sizeof bytes);
    if (size <= 0 || write(fd, bytes, (size_t)size) != size)
        close(fd);
}

int main(int argc, char **argv)
{
    int listener = listen_on(argc == 2 ? atoi(argv[1]) : 0);
    int poll = epoll_create1(0);
    watch(poll, listener);
    for (;;) {
        struct epoll_event event;
        if (epoll_wait(poll, &event, 1, -1) != 1)
            continue;
        if (event.data.fd == listener)
            admit(poll, listener);
        else
            answer(event.data.fd);
    }
}
