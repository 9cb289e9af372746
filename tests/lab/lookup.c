/* lookup NAME [4|6]: what getaddrinfo of this C library says, one address a line.
 *
 * A program that knows nothing of WeaveDNS, for tests of names in containers. Exit codes: 0 found, 1 not found
 * (the reason on standard error), 2 wrong usage.
 */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    struct addrinfo wanted;
    struct addrinfo *found = NULL;
    char text[128];
    int failure;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: lookup NAME [4|6]\n");
        return 2;
    }
    memset(&wanted, 0, sizeof wanted);
    wanted.ai_socktype = SOCK_STREAM;
    wanted.ai_family = AF_UNSPEC;
    if (argc == 3)
        wanted.ai_family = strcmp(argv[2], "6") == 0 ? AF_INET6 : AF_INET;

    failure = getaddrinfo(argv[1], NULL, &wanted, &found);
    if (failure != 0) {
        fprintf(stderr, "%s: %s\n", argv[1], gai_strerror(failure));
        return 1;
    }
    for (const struct addrinfo *each = found; each != NULL; each = each->ai_next) {
        if (getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0)
            puts(text);
    }
    freeaddrinfo(found);
    return 0;
}
