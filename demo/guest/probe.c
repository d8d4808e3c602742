/*
 * probe: traffic whose every byte and number can be checked, for use inside a guest.
 *
 *   probe ping ADDRESS [COUNT [INTERVAL_US [BYTES [LINGER_MS]]]]
 *                         ICMP echo at a fixed spacing, IPv4 or IPv6; waits LINGER_MS for the last
 *   probe udp-send ADDRESS PORT COUNT INTERVAL_US BYTES
 *   probe udp-recv PORT COUNT SILENCE_MS LIMIT_MS
 *                         until all came, or nothing for SILENCE_MS after the first, or LIMIT_MS
 *   probe tcp-send ADDRESS PORT BYTES LIMIT_MS         writes of changing sizes
 *   probe tcp-recv PORT LIMIT_MS
 *
 * Each prints one line of JSON and ends with 0 if nothing was lost, repeated or damaged, with 1 if
 * something was, and with 2 if it could not run. Every payload is a function of its datagram's
 * number (or of the offset in the stream), so a receiver needs nothing but the bytes to tell a
 * damaged, repeated or misplaced piece from a good one.
 *
 * The spacing is from one datagram to the next. A guest that did not run for a while goes on where
 * it was and does not make up for it: that would test how long a ring is.
 *
 * Whatever the network does, each ends by itself: nothing here waits without a limit.
 *
 * Why not ping(8): its statistics have no percentiles, it compares payloads with one repeated
 * pattern only, and below 10 ms it paces itself by the answers that arrive.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "probe.h"

enum { SEND_LIMIT_S = 20 }; /* for one datagram to find room in the card's queue */

uint8_t buffer[DATAGRAM_MAX_BYTES];

_Noreturn void die(const char *what)
{
    fprintf(stderr, "probe: %s: %s\n", what, errno != 0 ? strerror(errno) : "wrong argument");
    exit(2);
}

uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint32_t number(const char *text, uint32_t max)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value > max) {
        die(text);
    }
    return (uint32_t)value;
}

uint64_t milliseconds(const char *text)
{
    return number(text, 3600000) * (uint64_t)1000000;
}

/* The byte at `offset` of stream `seed`: hashed, so that a shifted stream resembles no other. */
static uint8_t pattern_at(uint32_t seed, uint64_t offset)
{
    uint64_t mixed = (offset + 1) * 0x9e3779b97f4a7c15u + (uint64_t)seed * 0xc2b2ae3d27d4eb4fu;
    mixed = (mixed ^ mixed >> 32) * 0xd6e8feb86659fd93u;
    return (uint8_t)(mixed >> 56);
}

void pattern_fill(uint8_t *bytes, size_t n_bytes, uint32_t seed, uint64_t offset)
{
    for (size_t i = 0; i < n_bytes; i++) {
        bytes[i] = pattern_at(seed, offset + i);
    }
}

size_t pattern_check(const uint8_t *bytes, size_t n_bytes, uint32_t seed, uint64_t offset)
{
    size_t i = 0;
    while (i < n_bytes && bytes[i] == pattern_at(seed, offset + i)) {
        i++;
    }
    return i;
}

struct address resolve(const char *host, const char *port)
{
    struct address address = {0};
    uint16_t port_be = htons((uint16_t)number(port, 65535));
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port_be};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port_be};
    errno = 0;
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(&address.storage, &v4, sizeof(v4));
        address.n_bytes = sizeof(v4);
    } else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(&address.storage, &v6, sizeof(v6));
        address.n_bytes = sizeof(v6);
    } else {
        die(host);
    }
    return address;
}

int listen_on(const char *port, int type)
{
    int fd = socket(AF_INET6, type, 0);
    int on = 1;
    int off = 0;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6,
                               .sin6_port = htons((uint16_t)number(port, 65535))};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 ||
        bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0) {
        die("socket");
    }
    return fd;
}

void widen_receive_buffer(int fd)
{
    int n_bytes = 16 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &n_bytes, sizeof(n_bytes));
}

void limit_sending(int fd)
{
    struct timeval limit = {.tv_sec = SEND_LIMIT_S};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

/* For a datagram of several fragments Linux does not wait for
 * room behind those of earlier ones but says ENOBUFS: nothing has been lost, it is only too
 * early. */
void send_datagram(int fd, size_t n_bytes, const struct address *to)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    uint64_t end_ns = now_ns() + (uint64_t)SEND_LIMIT_S * 1000000000u;
    while (sendto(fd, buffer, n_bytes, 0, (const struct sockaddr *)&to->storage, to->n_bytes) < 0) {
        if (errno != ENOBUFS || now_ns() > end_ns) {
            die("send");
        }
        nanosleep(&pause, NULL);
    }
}

bool ready_before(int fd, short events, uint64_t deadline_ns)
{
    uint64_t now = now_ns();
    uint64_t left_ns = deadline_ns > now ? deadline_ns - now : 0;
    struct timespec left = {.tv_sec = (time_t)(left_ns / 1000000000u),
                            .tv_nsec = (long)(left_ns % 1000000000u)};
    struct pollfd wait = {.fd = fd, .events = events};
    return ppoll(&wait, 1, &left, NULL) > 0;
}

bool readable_before(int fd, uint64_t deadline_ns)
{
    return ready_before(fd, POLLIN, deadline_ns);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int args_min, args_max;
        int (*run)(int argc, char **argv);
    } commands[] = {
        {"ping", 1, 5, ping_main},         {"udp-send", 5, 5, udp_send_main},
        {"udp-recv", 4, 4, udp_recv_main}, {"tcp-send", 4, 4, tcp_send_main},
        {"tcp-recv", 2, 2, tcp_recv_main},
    };
    int n_args = argc - 2;
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0 && n_args >= commands[i].args_min &&
            n_args <= commands[i].args_max) {
            return commands[i].run(n_args, argv + 2);
        }
    }
    fprintf(stderr,
            "usage: probe ping|udp-send|udp-recv|tcp-send|tcp-recv ARGUMENTS (see probe.c)\n");
    return 2;
}
