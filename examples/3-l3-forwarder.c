/*
 * 3. An IPv4 router between two ports.
 *
 *     3-l3-forwarder [-c CPUS] [-t SECONDS] [PORT PORT PREFIX NEXTHOP PREFIX NEXTHOP]
 *
 * The first prefix and its next hop are behind the first port. Without arguments a generator's
 * packets go to a sink, whose neighbour is introduced.
 *
 * The library's hg_route4() is the router: it checks a packet, looks its destination up, and writes
 * what the next hop's adjacency says. A pipe surrounds it with the stages that a router needs and
 * it does not have: here ARP.
 */
#include "3-neighbours.h"

enum { WORDS_N = 3 * PORTS_N };

/* A route to a prefix, whose next hop is the neighbour with the number of its port. */
static int add_route(struct hg_lpm4 *routes, struct neighbours *all, uint16_t port,
                     const char *const *text, struct hg_err *err)
{
    struct hg_adjacency *to = &all->adjacency[port];
    uint32_t prefix;
    unsigned bits;

    to->out = port;
    to->link[HG_ETH_SRC] = 2; /* 02:00:00:00:00:0i is ours */
    to->link[HG_ETH_SRC + 5] = (uint8_t)port;
    if (hg_ip4_prefix_read(&all->address[port], &bits, text[1], err) < 0 ||
        hg_ip4_prefix_read(&prefix, &bits, text[0], err) < 0)
        return -1;
    return hg_lpm4_add(routes, prefix, bits, port, err);
}

static void report(const struct hg_program *program, const struct hg_route4 *router)
{
    hg_program_report(program, stdout);
    for (unsigned i = 0; i < HG_ROUTE_DROP_N; i++)
        if (hg_count_get(&router->drops[i]) != 0)
            printf("  not routed, %s: %" PRIu64 "\n", hg_route_drop_names[i],
                   hg_count_get(&router->drops[i]));
}

int main(int argc, char **argv)
{
    static const char *const defaults[WORDS_N] = {
        "generator:flows=0", "sink", "198.18.0.0/16", "10.0.0.2", "198.19.0.0/16", "10.0.1.2"};
    static struct neighbours all;
    struct hg_arena_options memory = {.name = "routes", .bytes = hg_lpm4_bytes(NULL)};
    struct hg_route4 router = {.adjacency = all.adjacency, .adjacency_n = PORTS_N};
    struct hg_program_options options = {0};
    struct hg_arena *arena;
    struct hg_lpm4 *routes;
    struct hg_err err;
    int at = hg_program_args(&options, argc, argv, &err);
    const char *const *word = defaults;
    int rc = at;

    if (at > 0 && at < argc)
        word = (const char *const *)argv + at;
    if (word != defaults && argc - at != WORDS_N)
        rc = hg_err_set(&err, EINVAL, "expected 0 or %d words", WORDS_N);
    if (rc < 0 || hg_program_new(&all.program, &options, &err) < 0 ||
        hg_arena_new(&arena, &memory, &err) < 0 || hg_lpm4_new(&routes, arena, NULL, &err) < 0) {
        fprintf(stderr, "l3-forwarder: %s\n", err.text);
        return 2;
    }

    router.lpm = routes;
    for (uint16_t port = 0; rc >= 0 && port < PORTS_N; port++) {
        hg_program_open(all.program, word[port]);
        rc = add_route(routes, &all, port, word + PORTS_N + 2 * port, &err);

        struct hg_pipe *pipe = hg_program_receive(all.program, port, 0, 0);

        hg_pipe_stage(pipe, "parse", hg_stage_parse, NULL);
        hg_pipe_stage(pipe, "ARP", meet, &all);
        hg_pipe_stage(pipe, "route", hg_route4, &router);
        hg_pipe_stage(pipe, "neighbour", reach, &all);
        hg_pipe_transmit(pipe, HG_OUT_BY_PACKET);
    }
    if (word == defaults)
        introduce(&all, 1, (const uint8_t[]){2, 0, 0, 0, 1, 2});

    if (rc >= 0)
        rc = hg_program_run(all.program, &err);
    if (rc < 0)
        fprintf(stderr, "l3-forwarder: %s\n", err.text);
    else
        report(all.program, &router);
    hg_program_free(all.program);
    hg_arena_free(arena);
    return rc < 0;
}
