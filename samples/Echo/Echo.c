/*
 * Sends back what it receives on 127.0.0.1: Echo [PORT [CONNECTIONS]]. By default it listens on port 50000 and
 * serves one connection after the other for ever; with CONNECTIONS it exits after so many. PORT 0 lets the system
 * choose; the port is printed when it listens.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
    perror(what);
    return 1;
}

/* One connection until its end. Returns 0, or 1 if the peer went away. */
static int serve(int connection)
{
    char buffer[4096];
    ssize_t got;

    while ((got = recv(connection, buffer, sizeof buffer, 0)) > 0)
        for (ssize_t sent = 0; sent < got;) {
            ssize_t n = send(connection, buffer + sent, got - sent, MSG_NOSIGNAL);

            if (n < 0)
                return 1;
            sent += n;
        }
    return got < 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    long left = argc > 2 ? atol(argv[2]) : -1;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_port = htons(argc > 1 ? atoi(argv[1]) : 50000);
    if (listener < 0)
        return fail("socket");
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return fail("setsockopt");
    if (bind(listener, (struct sockaddr *)&address, size) < 0)
        return fail("bind");
    if (listen(listener, 5) < 0)
        return fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        return fail("getsockname");
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    while (left < 0 || left-- > 0) {
        int connection = accept(listener, NULL, NULL);

        if (connection < 0)
            return fail("accept");
        if (serve(connection))
            perror("connection");
        close(connection);
    }
    return 0;
}
