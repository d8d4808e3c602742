/*
 * What the parts of probe share: probe.c has it, probe_ping.c and probe_stream.c use it.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    DATAGRAM_MAX_BYTES = 65536,
    COUNT_MAX = 1 << 20,
};

struct address {
    struct sockaddr_storage storage;
    socklen_t n_bytes;
};

extern uint8_t buffer[DATAGRAM_MAX_BYTES];

/* Says what failed, with errno's text, and ends the program with 2. */
_Noreturn void die(const char *what);

uint64_t now_ns(void);
uint64_t min_u64(uint64_t a, uint64_t b);

/* An argument as a number, or as milliseconds in nanoseconds; dies if it is none. */
uint32_t number(const char *text, uint32_t max);
uint64_t milliseconds(const char *text);

/* The bytes of stream `seed` from `offset` on. */
void pattern_fill(uint8_t *bytes, size_t n_bytes, uint32_t seed, uint64_t offset);

/* Returns the index of the first byte that is not as pattern_fill left it, or n_bytes. */
size_t pattern_check(const uint8_t *bytes, size_t n_bytes, uint32_t seed, uint64_t offset);

/* Takes a numeric address of either family. */
struct address resolve(const char *host, const char *port);

/* A bound socket that takes IPv4 and IPv6. */
int listen_on(const char *port, int type);

void widen_receive_buffer(int fd);

/* A card that does not send would block its senders for ever. */
void limit_sending(int fd);

/* Sends the first n_bytes of the buffer, or dies. */
void send_datagram(int fd, size_t n_bytes, const struct address *to);

/* Waits until fd is ready for one of the events (can be read) or the deadline has passed; true if
 * it is. */
bool ready_before(int fd, short events, uint64_t deadline_ns);
bool readable_before(int fd, uint64_t deadline_ns);

/* The commands: their arguments, their exit status. */
int ping_main(int argc, char **argv);
int udp_send_main(int argc, char **argv);
int udp_recv_main(int argc, char **argv);
int tcp_send_main(int argc, char **argv);
int tcp_recv_main(int argc, char **argv);

#endif
