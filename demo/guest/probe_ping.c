/* probe ping: ICMP echo at a fixed spacing. */
#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

enum { LINGER_MS = 5000 }; /* for the last answers, unless told otherwise */

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
    send_datagram(ping->fd, n_bytes, to);
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

int ping_main(int argc, char **argv)
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

    uint64_t due_ns = now_ns();
    for (uint32_t i = 0; i < ping.count; i++) {
        while (readable_before(ping.fd, due_ns)) {
            ping_receive(&ping);
            if (now_ns() >= due_ns) {
                break;
            }
        }
        ping_send(&ping, &to, i);
        due_ns = ping.sent_ns[i] + interval_ns;
    }
    uint64_t end_ns = now_ns() + linger_ns;
    while (ping.received_n < ping.count && readable_before(ping.fd, end_ns)) {
        ping_receive(&ping);
    }
    return ping_report(&ping);
}
