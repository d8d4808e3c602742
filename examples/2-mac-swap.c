/*
 * 2. A MAC swap: what comes in at a port goes back out of it, to whom it came from.
 *
 *     2-mac-swap [-c CPUS] [-t SECONDS] [PORT]
 *
 * A stage is a function over a burst of packets. It works in their heads: private copies of the
 * first bytes, which no sender can change any more. The rest of a long frame is lent, and is passed
 * on without a look.
 */
#include <headgate/headgate.h>
#include <stdio.h>
#include <string.h>

static unsigned swap(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    uint8_t mac[HG_MAC_BYTES];

    (void)ctx;
    for (unsigned i = 0; i < n; i++) {
        uint8_t *head = pkts[i]->head;

        memcpy(mac, head + HG_ETH_DST, HG_MAC_BYTES);
        memcpy(head + HG_ETH_DST, head + HG_ETH_SRC, HG_MAC_BYTES);
        memcpy(head + HG_ETH_SRC, mac, HG_MAC_BYTES);
    }
    return n; /* all of them go on */
}

int main(int argc, char **argv)
{
    struct hg_program_options options = {0};
    struct hg_program *program;
    struct hg_err err;
    int at = hg_program_args(&options, argc, argv, &err);
    int rc;

    if (at < 0 || hg_program_new(&program, &options, &err) < 0) {
        fprintf(stderr, "mac-swap: %s\n", err.text);
        return 2;
    }

    uint16_t port = hg_program_open(program, at < argc ? argv[at] : "generator");

    for (unsigned queue = 0; queue < hg_program_queues(program, port); queue++) {
        struct hg_pipe *pipe = hg_program_receive(program, port, queue, 0);

        hg_pipe_stage(pipe, "swap", swap, NULL);
        hg_pipe_transmit(pipe, port);
    }

    rc = hg_program_run(program, &err);
    if (rc < 0)
        fprintf(stderr, "mac-swap: %s\n", err.text);
    else
        hg_program_report(program, stdout);
    hg_program_free(program);
    return rc < 0;
}
