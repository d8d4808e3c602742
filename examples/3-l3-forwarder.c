/*
 * 3. An IPv4 router between two ports.
 *
 *     3-l3-forwarder [-c CPUS] [-t SECONDS] [PORT PORT PREFIX NEXTHOP PREFIX NEXTHOP]
 *
 * Each prefix is behind a port. Without arguments a generator's packets go to a sink, whose neighbour is introduced.
 */
#include "3-neighbours.h"

struct router {
    struct hg_lpm4 *routes; /* their next hops are indices of neighbours */
    struct neighbours neighbours;
};

/* Sends a packet on its way to a neighbour. False: it cannot go there. */
static bool forward(const struct router *r, struct hg_pkt *pkt, const struct neighbour *to)
{
    if (!to->known)
        ask_for(&r->neighbours, to);
    if (!to->known || !hg_ip4_age(pkt->head + pkt->l3_offset))
        return false;
    memcpy(pkt->head + HG_ETH_DST, to->mac, HG_MAC_BYTES);
    our_mac(pkt->head + HG_ETH_SRC, to->port);
    pkt->out = to->port;
    return true;
}

static unsigned route(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    const struct router *r = ctx;
    uint32_t address[HG_BURST_N] = {0};
    uint16_t next_hop[HG_BURST_N];
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++) /* all look-ups of a burst are under way together */
        address[i] = hg_load_be32(pkts[i]->head + pkts[i]->l3_offset + HG_IP4_DST);
    hg_lpm4_lookup_bulk(r->routes, address, next_hop, n);
    for (unsigned i = 0; i < n; i++)
        if (pkts[i]->out != HG_OUT_NONE || /* an answer of ours */
            (pkts[i]->parsed & HG_PARSED_IP4 && next_hop[i] != HG_LPM4_NONE &&
             forward(r, pkts[i], &r->neighbours.of[next_hop[i]])))
            pkts[kept++] = pkts[i];
    return kept;
}

static int add_route(struct router *r, uint16_t port, const char *const *text, struct hg_err *err)
{
    struct neighbour *to = &r->neighbours.of[r->neighbours.n++];
    uint32_t prefix;
    unsigned bits;

    to->port = port;
    if (hg_ip4_prefix_read(&to->address, &bits, text[1], err) < 0 ||
        hg_ip4_prefix_read(&prefix, &bits, text[0], err) < 0)
        return -1;
    return hg_lpm4_add(r->routes, prefix, bits, port, err);
}

int main(int argc, char **argv)
{
    static struct router router;
    static const char *const defaults[] = {"generator:flows=0", "sink",          "198.18.0.0/16",
                                           "10.0.0.2",          "198.19.0.0/16", "10.0.1.2"};
    struct hg_arena_options memory = {.name = "routes", .bytes = hg_lpm4_bytes(NULL)};
    struct hg_program_options options = {0};
    struct hg_arena *arena;
    struct hg_pipe *pipe;
    struct hg_err err;
    int at = hg_program_args(&options, argc, argv, &err);
    const char *const *arg = argc == at ? defaults : (const char *const *)argv + at;
    int rc = at;

    if (rc < 0 ||
        (arg != defaults && argc - at != 6 && hg_err_set(&err, EINVAL, "expected 0 or 6 words")) ||
        hg_program_new(&router.neighbours.program, &options, &err) < 0 ||
        hg_arena_new(&arena, &memory, &err) < 0 ||
        hg_lpm4_new(&router.routes, arena, NULL, &err) < 0) {
        fprintf(stderr, "l3-forwarder: %s\n", err.text);
        return 2;
    }
    for (uint16_t port = 0; rc >= 0 && port < 2; port++) {
        hg_program_open(router.neighbours.program, arg[port]);
        pipe = hg_program_receive(router.neighbours.program, port, 0, 0);
        hg_pipe_stage(pipe, "parse", hg_stage_parse, NULL);
        hg_pipe_stage(pipe, "ARP", meet, &router.neighbours);
        hg_pipe_stage(pipe, "route", route, &router);
        hg_pipe_transmit(pipe, HG_OUT_BY_PACKET);
        rc = add_route(&router, port, arg + 2 + 2 * port, &err);
    }
    if (arg == defaults)
        learn(&router.neighbours, 0x0a000102, (const uint8_t[]){2, 0, 0, 0, 1, 2});
    if (rc < 0 || (rc = hg_program_run(router.neighbours.program, &err)) < 0)
        fprintf(stderr, "l3-forwarder: %s\n", err.text);
    else
        hg_program_report(router.neighbours.program, stdout);
    hg_program_free(router.neighbours.program);
    hg_arena_free(arena);
    return rc < 0;
}
