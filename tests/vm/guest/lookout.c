/*
 * lookout: counts, in a guest, what a trespasser's frames brought to its card.
 *
 *   lookout INTERFACE          until SIGTERM; then prints one line of JSON
 *
 *   frames       all that came
 *   announced    those that the trespasser sent: its EtherType
 *   canaries     those in which bytes of a canary page are, anywhere
 *
 * It prints the line "looking" when nothing escapes it any more.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "canary.h"

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "lookout: %s: %s\n", what, strerror(errno));
    exit(2);
}

static int card(const char *interface)
{
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    int n_bytes = 16 << 20;
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = (int)if_nametoindex(interface),
    };
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        die(interface);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &n_bytes, sizeof(n_bytes));
    return fd;
}

static int termination(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    int fd = sigprocmask(SIG_BLOCK, &set, NULL) == 0 ? signalfd(-1, &set, 0) : -1;
    if (fd < 0) {
        die("signalfd");
    }
    return fd;
}

int main(int argc, char **argv)
{
    static uint8_t frame[65536];
    if (argc != 2) {
        fprintf(stderr, "usage: lookout INTERFACE\n");
        return 2;
    }
    unsigned frames_n = 0;
    unsigned announced_n = 0;
    unsigned canaries_n = 0;
    struct pollfd wait[] = {{.fd = card(argv[1]), .events = POLLIN},
                            {.fd = termination(), .events = POLLIN}};
    printf("looking\n");
    fflush(stdout);
    /* Frames first: what came before the signal is counted. */
    while (poll(wait, 2, -1) > 0 && (wait[0].revents != 0 || wait[1].revents == 0)) {
        struct sockaddr_ll from = {0};
        socklen_t from_bytes = sizeof(from);
        ssize_t got = recvfrom(wait[0].fd, frame, sizeof(frame), MSG_DONTWAIT,
                               (struct sockaddr *)&from, &from_bytes);
        if (got < ETH_HLEN || from.sll_pkttype == PACKET_OUTGOING) {
            continue;
        }
        frames_n++;
        announced_n += ntohs(from.sll_protocol) == TRESPASS_ETHERTYPE;
        canaries_n += memmem(frame, (size_t)got, CANARY_TEXT, CANARY_TEXT_BYTES) != NULL;
    }
    printf("{\"frames\": %u, \"announced\": %u, \"canaries\": %u}\n", frames_n, announced_n,
           canaries_n);
    return 0;
}
