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
 * Whatever the network does, each ends by itself: nothing here waits without a limit.
 *
 * Why not ping(8): its statistics have no percentiles, it compares payloads with one repeated
 * pattern only, and below 10 ms it paces itself by the answers that arrive.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    DATAGRAM_MAX_BYTES = 65536,
    COUNT_MAX = 1 << 20,
    LINGER_MS = 5000,
    SEND_LIMIT_S = 20, /* for one datagram to find room in the card's queue */
    SEQUENCE_BYTES = 4,
};

static uint8_t buffer[DATAGRAM_MAX_BYTES];

static void die(const char *what)
{
    fprintf(stderr, "probe: %s: %s\n", what, errno != 0 ? strerror(errno) : "wrong argument");
    exit(2);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint32_t number(const char *text, uint32_t max)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value > max) {
        die(text);
    }
    return (uint32_t)value;
}

static uint64_t milliseconds(const char *text)
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

static void pattern_fill(uint8_t *bytes, size_t n_bytes, uint32_t seed, uint64_t offset)
{
    for (size_t i = 0; i < n_bytes; i++) {
        bytes[i] = pattern_at(seed, offset + i);
    }
}

/* Returns the index of the first byte that is not as pattern_fill left it, or n_bytes. */
static size_t pattern_check(const uint8_t *bytes, size_t n_bytes, uint32_t seed, uint64_t offset)
{
    size_t i = 0;
    while (i < n_bytes && bytes[i] == pattern_at(seed, offset + i)) {
        i++;
    }
    return i;
}

struct address {
    struct sockaddr_storage storage;
    socklen_t n_bytes;
};

/* Takes a numeric address of either family. */
static struct address resolve(const char *host, const char *port)
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

/* A bound socket that takes IPv4 and IPv6. */
static int listen_on(const char *port, int type)
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

static void widen_receive_buffer(int fd)
{
    int n_bytes = 16 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &n_bytes, sizeof(n_bytes));
}

/* A card that does not send would block its senders for ever. */
static void limit_sending(int fd)
{
    struct timeval limit = {.tv_sec = SEND_LIMIT_S};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

/* Waits until fd is ready for one of the events or the deadline has passed; true if it is ready. */
static bool ready_before(int fd, short events, uint64_t deadline_ns)
{
    uint64_t now = now_ns();
    uint64_t left_ns = deadline_ns > now ? deadline_ns - now : 0;
    struct timespec left = {.tv_sec = (time_t)(left_ns / 1000000000u),
                            .tv_nsec = (long)(left_ns % 1000000000u)};
    struct pollfd wait = {.fd = fd, .events = events};
    return ppoll(&wait, 1, &left, NULL) > 0;
}

static bool readable_before(int fd, uint64_t deadline_ns)
{
    return ready_before(fd, POLLIN, deadline_ns);
}

/* ---- ping ---- */

struct ping {
    int fd;
    bool is_v6;
    uint16_t id;
    uint32_t count, payload_bytes;
    uint32_t received_n, duplicate_n, damaged_n, reordered_n, newest;
    uint64_t *sent_ns; /* by sequence number */
    uint64_t *rtt_ns;  /* by sequence number; 0: no answer yet */
};

static uint16_t internet_checksum(const uint8_t *bytes, size_t n_bytes)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n_bytes; i += 2) {
        sum += (uint32_t)(bytes[i] << 8 | (i + 1 < n_bytes ? bytes[i + 1] : 0));
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return htons((uint16_t)~sum);
}

static int ping_socket(bool is_v6)
{
    int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_RAW,
                    is_v6 ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP);
    if (fd < 0) {
        die("raw socket");
    }
    if (is_v6) {
        struct icmp6_filter filter;
        ICMP6_FILTER_SETBLOCKALL(&filter);
        ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
        setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter));
    }
    widen_receive_buffer(fd);
    limit_sending(fd);
    return fd;
}

/* The echo headers of ICMP and ICMPv6 differ in the type alone (RFC 792, RFC 4443); the checksum of
 * ICMPv6 is the kernel's affair. */
static void ping_send(struct ping *ping, const struct address *to, uint32_t sequence)
{
    struct icmphdr header = {.type = ping->is_v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO};
    header.un.echo.id = htons(ping->id);
    header.un.echo.sequence = htons((uint16_t)sequence);
    size_t n_bytes = sizeof(header) + ping->payload_bytes;
    pattern_fill(buffer + sizeof(header), ping->payload_bytes, sequence, 0);
    memcpy(buffer, &header, sizeof(header));
    if (!ping->is_v6) {
        header.checksum = internet_checksum(buffer, n_bytes);
        memcpy(buffer, &header, sizeof(header));
    }
    ping->sent_ns[sequence] = now_ns();
    if (sendto(ping->fd, buffer, n_bytes, 0, (const struct sockaddr *)&to->storage, to->n_bytes) <
        0) {
        die("send");
    }
}

static void ping_receive(struct ping *ping)
{
    ssize_t got = recv(ping->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    uint64_t now = now_ns();
    size_t offset = ping->is_v6 || got < 1
                        ? 0
                        : (size_t)(buffer[0] & 0xf) * 4; /* a raw IPv4 socket shows the IP header */
    struct icmphdr header;
    if (got < (ssize_t)(offset + sizeof(header))) {
        return;
    }
    memcpy(&header, buffer + offset, sizeof(header));
    uint32_t sequence = ntohs(header.un.echo.sequence);
    bool is_reply = ping->is_v6 || header.type == ICMP_ECHOREPLY;
    if (!is_reply || ntohs(header.un.echo.id) != ping->id || sequence >= ping->count) {
        return;
    }
    size_t payload_bytes = (size_t)got - offset - sizeof(header);
    if (payload_bytes != ping->payload_bytes ||
        pattern_check(buffer + offset + sizeof(header), payload_bytes, sequence, 0) !=
            payload_bytes) {
        ping->damaged_n++;
        return;
    }
    if (ping->rtt_ns[sequence] != 0) {
        ping->duplicate_n++;
        return;
    }
    ping->rtt_ns[sequence] = now - ping->sent_ns[sequence];
    ping->received_n++;
    if (sequence < ping->newest) {
        ping->reordered_n++;
    } else {
        ping->newest = sequence;
    }
}

static int by_value(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static int ping_report(struct ping *ping)
{
    uint64_t *rtt = ping->rtt_ns;
    uint32_t n = 0;
    for (uint32_t i = 0; i < ping->count; i++) {
        if (rtt[i] != 0) {
            rtt[n++] = rtt[i];
        }
    }
    qsort(rtt, n, sizeof(*rtt), by_value);
    double us[4] = {0};
    if (n > 0) {
        us[0] = (double)rtt[0] / 1e3;
        us[1] = (double)rtt[n / 2] / 1e3;
        us[2] = (double)rtt[(uint64_t)n * 99 / 100] / 1e3;
        us[3] = (double)rtt[n - 1] / 1e3;
    }
    printf("{\"sent\": %u, \"received\": %u, \"lost\": %u, \"duplicate\": %u, \"damaged\": %u, "
           "\"reordered\": %u, "
           "\"rtt_us\": {\"min\": %.1f, \"median\": %.1f, \"p99\": %.1f, \"max\": %.1f}}\n",
           ping->count, ping->received_n, ping->count - ping->received_n, ping->duplicate_n,
           ping->damaged_n, ping->reordered_n, us[0], us[1], us[2], us[3]);
    return ping->received_n != ping->count || ping->duplicate_n != 0 || ping->damaged_n != 0;
}

static int ping_main(int argc, char **argv)
{
    struct address to = resolve(argv[0], "0");
    uint64_t interval_ns = argc > 2 ? number(argv[2], 60000000) * (uint64_t)1000 : 1000000;
    uint64_t linger_ns = argc > 4 ? milliseconds(argv[4]) : LINGER_MS * (uint64_t)1000000;
    struct ping ping = {
        .is_v6 = to.storage.ss_family == AF_INET6,
        .id = (uint16_t)getpid(),
        .count = argc > 1 ? number(argv[1], 65536) : 1000, /* the sequence number has 16 bits */
        .payload_bytes = argc > 3 ? number(argv[3], 65000) : 56,
    };
    ping.fd = ping_socket(ping.is_v6);
    ping.sent_ns = calloc(ping.count + 1, sizeof(*ping.sent_ns));
    ping.rtt_ns = calloc(ping.count + 1, sizeof(*ping.rtt_ns));
    if (ping.sent_ns == NULL || ping.rtt_ns == NULL) {
        die("memory");
    }

    uint64_t start_ns = now_ns();
    for (uint32_t i = 0; i < ping.count; i++) {
        while (readable_before(ping.fd, start_ns + i * interval_ns)) {
            ping_receive(&ping);
            if (now_ns() >= start_ns + i * interval_ns) {
                break;
            }
        }
        ping_send(&ping, &to, i);
    }
    uint64_t end_ns = now_ns() + linger_ns;
    while (ping.received_n < ping.count && readable_before(ping.fd, end_ns)) {
        ping_receive(&ping);
    }
    return ping_report(&ping);
}

/* ---- UDP: each datagram starts with its number, big endian ---- */

static int udp_send_main(int argc, char **argv)
{
    (void)argc;
    struct address to = resolve(argv[0], argv[1]);
    uint32_t count = number(argv[2], COUNT_MAX);
    uint64_t interval_ns = number(argv[3], 60000000) * (uint64_t)1000;
    uint32_t n_bytes = number(argv[4], 65000);
    int fd = socket(to.storage.ss_family, SOCK_DGRAM, 0);
    if (fd < 0 || n_bytes < SEQUENCE_BYTES) {
        die("socket");
    }
    limit_sending(fd);
    uint64_t start_ns = now_ns();
    for (uint32_t i = 0; i < count; i++) {
        uint64_t due_ns = start_ns + i * interval_ns;
        struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000u),
                               .tv_nsec = (long)(due_ns % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        uint32_t sequence = htonl(i);
        memcpy(buffer, &sequence, SEQUENCE_BYTES);
        pattern_fill(buffer + SEQUENCE_BYTES, n_bytes - SEQUENCE_BYTES, i, 0);
        if (sendto(fd, buffer, n_bytes, 0, (struct sockaddr *)&to.storage, to.n_bytes) < 0) {
            die("send");
        }
    }
    printf("{\"sent\": %u, \"bytes\": %u}\n", count, n_bytes);
    return 0;
}

static int udp_recv_main(int argc, char **argv)
{
    (void)argc;
    int fd = listen_on(argv[0], SOCK_DGRAM);
    uint32_t count = number(argv[1], COUNT_MAX);
    uint64_t silence_ns = milliseconds(argv[2]);
    uint64_t end_ns = now_ns() + milliseconds(argv[3]);
    uint8_t *seen = calloc(count + 1, 1);
    if (seen == NULL) {
        die("memory");
    }
    widen_receive_buffer(fd);

    uint32_t received_n = 0, duplicate_n = 0, damaged_n = 0, reordered_n = 0, newest = 0;
    uint64_t patience_ns = end_ns; /* the sender may take its time before the first */
    while (received_n < count && now_ns() < end_ns && readable_before(fd, patience_ns)) {
        ssize_t got = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (got < 0) {
            continue; /* the kernel found a wrong checksum after all */
        }
        patience_ns = min_u64(now_ns() + silence_ns, end_ns);
        uint32_t sequence = 0;
        if (got >= SEQUENCE_BYTES) {
            memcpy(&sequence, buffer, SEQUENCE_BYTES);
        }
        sequence = ntohl(sequence);
        size_t payload_bytes = (size_t)got - SEQUENCE_BYTES;
        if (got < SEQUENCE_BYTES || sequence >= count ||
            pattern_check(buffer + SEQUENCE_BYTES, payload_bytes, sequence, 0) != payload_bytes) {
            damaged_n++;
        } else if (seen[sequence]) {
            duplicate_n++;
        } else {
            seen[sequence] = 1;
            received_n++;
            reordered_n += sequence < newest;
            newest = sequence > newest ? sequence : newest;
        }
    }
    printf(
        "{\"received\": %u, \"lost\": %u, \"duplicate\": %u, \"damaged\": %u, \"reordered\": %u}\n",
        received_n, count - received_n, duplicate_n, damaged_n, reordered_n);
    return received_n != count || duplicate_n != 0 || damaged_n != 0;
}

/* ---- TCP: one stream of the pattern with seed 0 ---- */

static int tcp_send_main(int argc, char **argv)
{
    (void)argc;
    struct address to = resolve(argv[0], argv[1]);
    uint64_t total_bytes = number(argv[2], UINT32_MAX);
    uint64_t end_ns = now_ns() + milliseconds(argv[3]);
    int fd = socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 ||
        (connect(fd, (struct sockaddr *)&to.storage, to.n_bytes) < 0 && errno != EINPROGRESS)) {
        die("connect");
    }
    uint64_t start_ns = now_ns();
    uint32_t random = 1;
    for (uint64_t sent_bytes = 0; sent_bytes < total_bytes;) {
        random = random * 1664525u + 1013904223u;
        uint64_t n_bytes = 1 + (random >> 8) % (DATAGRAM_MAX_BYTES - 1);
        if (n_bytes > total_bytes - sent_bytes) {
            n_bytes = total_bytes - sent_bytes;
        }
        pattern_fill(buffer, n_bytes, 0, sent_bytes);
        for (uint64_t done = 0; done < n_bytes;) {
            if (!ready_before(fd, POLLOUT, end_ns)) {
                errno = ETIMEDOUT;
                die("send");
            }
            ssize_t put = send(fd, buffer + done, n_bytes - done, MSG_NOSIGNAL);
            if (put < 0 && errno != EAGAIN) {
                die("send");
            }
            done += put > 0 ? (uint64_t)put : 0;
        }
        sent_bytes += n_bytes;
    }
    /* The receiver acknowledges the end by closing: only then is the work done. */
    shutdown(fd, SHUT_WR);
    ssize_t rest = readable_before(fd, end_ns) ? recv(fd, buffer, sizeof(buffer), 0) : -1;
    printf("{\"sent_bytes\": %llu, \"seconds\": %.3f}\n", (unsigned long long)total_bytes,
           (double)(now_ns() - start_ns) / 1e9);
    return rest != 0;
}

static int tcp_recv_main(int argc, char **argv)
{
    (void)argc;
    int listener = listen_on(argv[0], SOCK_STREAM);
    uint64_t end_ns = now_ns() + milliseconds(argv[1]);
    if (listen(listener, 1) < 0) {
        die("listen");
    }
    if (!readable_before(listener, end_ns)) {
        errno = ETIMEDOUT;
        die("accept");
    }
    int fd = accept(listener, NULL, NULL);
    uint64_t received_bytes = 0;
    ssize_t got = -1;
    long long first_bad = -1;
    while (readable_before(fd, end_ns) &&
           (got = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) != 0) {
        if (got < 0 && errno == EAGAIN) {
            continue;
        }
        if (got < 0) {
            break;
        }
        size_t good_bytes = pattern_check(buffer, (size_t)got, 0, received_bytes);
        if (good_bytes != (size_t)got && first_bad < 0) {
            first_bad = (long long)(received_bytes + good_bytes);
        }
        received_bytes += (uint64_t)got;
        got = -1;
    }
    bool is_ended = got == 0;
    close(fd);
    printf("{\"received_bytes\": %llu, \"first_bad_offset\": %lld, \"ended\": %s}\n",
           (unsigned long long)received_bytes, first_bad, is_ended ? "true" : "false");
    return first_bad >= 0 || !is_ended;
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
