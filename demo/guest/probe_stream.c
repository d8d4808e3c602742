/* probe udp-send, udp-recv, tcp-send, tcp-recv. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

enum { SEQUENCE_BYTES = 4 };

/* ---- UDP: each datagram starts with its number, big endian ---- */

int udp_send_main(int argc, char **argv)
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
    uint64_t due_ns = now_ns();
    for (uint32_t i = 0; i < count; i++) {
        struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000u),
                               .tv_nsec = (long)(due_ns % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        due_ns = now_ns() + interval_ns;
        uint32_t sequence = htonl(i);
        memcpy(buffer, &sequence, SEQUENCE_BYTES);
        pattern_fill(buffer + SEQUENCE_BYTES, n_bytes - SEQUENCE_BYTES, i, 0);
        send_datagram(fd, n_bytes, &to);
    }
    printf("{\"sent\": %u, \"bytes\": %u}\n", count, n_bytes);
    return 0;
}

int udp_recv_main(int argc, char **argv)
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

int tcp_send_main(int argc, char **argv)
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

int tcp_recv_main(int argc, char **argv)
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
