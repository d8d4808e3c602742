/*
 * trespass: hands a virtio NIC the address of a page that it has no business with.
 *
 *   trespass vfio|bare DEVICE OWN_IPV4 PEER_IPV4 transmit|receive ADDRESS
 *
 * The page is a canary: locked in memory, filled with a text that nothing else holds. On transmit
 * it is the payload of frames to the peer, on receive the only buffer for what the peer sends.
 * ADDRESS says what the device is told about it:
 *
 *   mapped       a right address: the proof that the page can be read and written over this way
 *   physical     the page's guest-physical address, which nobody mapped
 *   stale        an address that was mapped, and used, and unmapped before the text was written
 *   read-only    (receive) an address at which the device may read
 *
 * First the program exchanges ARP with the peer through pages that are in order. Then it hands the
 * canary over, prints the line "handed over", and waits until the device has given everything back,
 * or for SIGTERM. It ends with one line of JSON:
 *
 *   returned     chains that the device gave back
 *   written      the bytes it says it wrote to them
 *   damaged      bytes of the canary that have changed
 *   address      what the device was told
 *
 * The status is 0 whatever came of it, and 2 if the program could not do its work.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "canary.h"
#include "nic.h"

enum {
    ATTEMPTS_N = 8, /* chains with the canary */
    PAYLOAD_BYTES = 256,
    GREETINGS_MAX = 200,
    ANSWER_MS = 50,
    HEAD_BYTES = NIC_HEADER_BYTES + ETHER_HDR_LEN,
};

struct trespass {
    struct nic nic;
    struct in_addr own, peer;
    uint8_t peer_mac[ETH_ALEN];
    struct page head, inbox; /* in order: both mapped */
    struct page canary;
};

/* ---- in order ---- */

static void put_ethernet(struct trespass *t, const uint8_t *to, uint16_t type)
{
    struct ether_header header = {.ether_type = htons(type)};
    memcpy(header.ether_dhost, to, ETH_ALEN);
    memcpy(header.ether_shost, t->nic.mac, ETH_ALEN);
    memset(t->head.at, 0, NIC_HEADER_BYTES);
    memcpy(t->head.at + NIC_HEADER_BYTES, &header, sizeof(header));
}

/* Sends a request (RFC 826) that makes the peer answer. Waits until its buffer is free again. */
static void ask(struct trespass *t)
{
    static const uint8_t everybody[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct ether_arp arp = {.ea_hdr = {.ar_hrd = htons(ARPHRD_ETHER),
                                       .ar_pro = htons(ETHERTYPE_IP),
                                       .ar_hln = ETH_ALEN,
                                       .ar_pln = sizeof(t->own),
                                       .ar_op = htons(ARPOP_REQUEST)}};
    memcpy(arp.arp_sha, t->nic.mac, ETH_ALEN);
    memcpy(arp.arp_spa, &t->own, sizeof(t->own));
    memcpy(arp.arp_tpa, &t->peer, sizeof(t->peer));
    put_ethernet(t, everybody, ETHERTYPE_ARP);
    memcpy(t->head.at + HEAD_BYTES, &arp, sizeof(arp));

    struct piece frame = {t->head.bus, HEAD_BYTES + sizeof(arp)};
    uint32_t ignored;
    nic_transmit(&t->nic, &frame, 1);
    if (!nic_wait(&t->nic.tx, 20000, &ignored)) {
        errno = 0;
        die("sending a frame that is in order");
    }
}

/* Whether the inbox holds the peer's answer, of which it takes the peer's address. */
static bool is_answer(struct trespass *t, uint32_t n_bytes)
{
    struct ether_arp arp;
    if (n_bytes < HEAD_BYTES + sizeof(arp)) {
        return false;
    }
    memcpy(&arp, t->inbox.at + HEAD_BYTES, sizeof(arp));
    if (arp.ea_hdr.ar_op != htons(ARPOP_REPLY) ||
        memcmp(arp.arp_spa, &t->peer, sizeof(t->peer)) != 0 ||
        memcmp(arp.arp_tha, t->nic.mac, ETH_ALEN) != 0) {
        return false;
    }
    memcpy(t->peer_mac, arp.arp_sha, ETH_ALEN);
    return true;
}

/* Finds the peer, and shows that frames go both ways through pages that are mapped. */
static void greet(struct trespass *t)
{
    struct piece inbox = {t->inbox.bus, PAGE_BYTES};
    uint32_t n_bytes;
    nic_post(&t->nic, &inbox, 1);
    for (unsigned i = 0; i < GREETINGS_MAX; i++) {
        ask(t);
        while (nic_wait(&t->nic.rx, ANSWER_MS, &n_bytes)) {
            if (is_answer(t, n_bytes)) {
                return;
            }
            nic_post(&t->nic, &inbox, 1);
        }
    }
    errno = 0;
    die("waiting for the peer's answer");
}

/* ---- out of order ---- */

static bool is_told_to_end(unsigned wait_ms)
{
    sigset_t set;
    struct timespec wait = {.tv_nsec = (long)wait_ms * 1000000};
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    return sigtimedwait(&set, NULL, &wait) == SIGTERM;
}

static void send_canary(struct trespass *t, unsigned n)
{
    struct piece frame[] = {{t->head.bus, HEAD_BYTES}, {t->canary.bus, PAYLOAD_BYTES}};
    put_ethernet(t, t->peer_mac, TRESPASS_ETHERTYPE);
    for (unsigned i = 0; i < n; i++) {
        nic_transmit(&t->nic, frame, 2);
    }
}

static void receive_canary(struct trespass *t, unsigned n)
{
    struct piece buffer = {t->canary.bus, PAGE_BYTES};
    for (unsigned i = 0; i < n; i++) {
        nic_post(&t->nic, &buffer, 1);
    }
    for (unsigned i = 0; i < n; i++) {
        ask(t);
    }
}

/* Uses the page as it will be used again, so that whoever caches its address has it. */
static void use_once(struct trespass *t, bool is_transmit)
{
    struct queue *queue = is_transmit ? &t->nic.tx : &t->nic.rx;
    uint32_t ignored;
    (is_transmit ? send_canary : receive_canary)(t, 1);
    for (unsigned i = 0; !nic_wait(queue, ANSWER_MS, &ignored); i++) {
        if (i == GREETINGS_MAX) {
            errno = 0;
            die("using a page that is mapped");
        }
        if (!is_transmit) {
            ask(t);
        }
    }
    nic_reset(&t->nic);
}

/* Makes canary.bus what ADDRESS says, then the page a canary. */
static bool prepare(struct trespass *t, bool is_transmit, const char *address)
{
    t->canary = page_new();
    if (strcmp(address, "mapped") == 0) {
        device_map(&t->nic.device, &t->canary, ACCESS_BOTH);
    } else if (strcmp(address, "physical") == 0) {
        t->canary.bus = page_physical(&t->canary);
    } else if (strcmp(address, "read-only") == 0 && !is_transmit) {
        device_map(&t->nic.device, &t->canary, ACCESS_READ);
    } else if (strcmp(address, "stale") == 0) {
        device_map(&t->nic.device, &t->canary, ACCESS_BOTH);
        use_once(t, is_transmit);
        uint64_t bus = t->canary.bus;
        device_unmap(&t->nic.device, &t->canary);
        t->canary.bus = bus;
    } else {
        return false;
    }
    canary_fill(t->canary.at, PAGE_BYTES);
    return true;
}

static void hand_over(struct trespass *t, bool is_transmit)
{
    struct queue *queue = is_transmit ? &t->nic.tx : &t->nic.rx;
    unsigned returned_n = 0;
    uint64_t written_bytes = 0;
    uint32_t n_bytes;
    (is_transmit ? send_canary : receive_canary)(t, ATTEMPTS_N);
    printf("handed over\n");
    fflush(stdout);
    while (returned_n < ATTEMPTS_N && !is_told_to_end(1)) {
        if (nic_wait(queue, 1, &n_bytes)) {
            returned_n++;
            written_bytes += n_bytes;
        }
    }
    printf("{\"returned\": %u, \"written\": %llu, \"damaged\": %zu, \"address\": \"0x%llx\"}\n",
           returned_n, (unsigned long long)written_bytes, canary_damage(t->canary.at, PAGE_BYTES),
           (unsigned long long)t->canary.bus);
}

int main(int argc, char **argv)
{
    static struct trespass t;
    bool is_bare = argc > 1 && strcmp(argv[1], "bare") == 0;
    bool is_transmit = argc > 5 && strcmp(argv[5], "transmit") == 0;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (argc != 7 || (!is_bare && strcmp(argv[1], "vfio") != 0) ||
        (!is_transmit && strcmp(argv[5], "receive") != 0) ||
        inet_pton(AF_INET, argv[3], &t.own) != 1 || inet_pton(AF_INET, argv[4], &t.peer) != 1) {
        fprintf(stderr, "usage: trespass vfio|bare DEVICE OWN_IPV4 PEER_IPV4 transmit|receive "
                        "mapped|physical|stale|read-only\n");
        return 2;
    }
    nic_open(&t.nic, argv[2], is_bare);
    t.head = page_new();
    t.inbox = page_new();
    device_map(&t.nic.device, &t.head, ACCESS_READ);
    device_map(&t.nic.device, &t.inbox, ACCESS_WRITE);
    greet(&t);
    nic_reset(&t.nic);
    if (!prepare(&t, is_transmit, argv[6])) {
        fprintf(stderr, "trespass: no address is called %s here\n", argv[6]);
        return 2;
    }
    hand_over(&t, is_transmit);
    nic_close(&t.nic);
    return 0;
}
