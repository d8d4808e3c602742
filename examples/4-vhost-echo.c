/*
 * 4. A vhost echo: a virtual machine's network card. What it sends comes back, addresses swapped.
 *
 *     4-vhost-echo [-c CPUS] [-t SECONDS] [SOCKET]
 *
 * A vhost-user port is a port like any other. What is different is that the sender is somebody
 * else's machine: its memory changes while we look at it, it stops in the middle, it lies. None of
 * that reaches a stage.
 */
#include <headgate/headgate.h>
#include <stdio.h>
#include <string.h>

enum { QUEUES = 2 };

static unsigned echo(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    uint8_t mac[HG_MAC_BYTES];
    unsigned kept = 0;

    (void)ctx;
    for (unsigned i = 0; i < n; i++) {
        uint8_t *head = pkts[i]->head;

        if (hg_mac_is_group(head + HG_ETH_DST))
            continue; /* counted as dropped by "echo" */
        memcpy(mac, head + HG_ETH_DST, HG_MAC_BYTES);
        memcpy(head + HG_ETH_DST, head + HG_ETH_SRC, HG_MAC_BYTES);
        memcpy(head + HG_ETH_SRC, mac, HG_MAC_BYTES);
        pkts[kept++] = pkts[i];
    }
    return kept;
}

int main(int argc, char **argv)
{
    struct hg_program_options options = {0};
    struct hg_program *program;
    struct hg_err err;
    char port[200];
    int at = hg_program_args(&options, argc, argv, &err);
    int rc;

    if (at < 0 || hg_program_new(&program, &options, &err) < 0) {
        fprintf(stderr, "vhost-echo: %s\n", err.text);
        return 2;
    }

    snprintf(port, sizeof(port), "vhost-user:socket=%s,queues=%d",
             at < argc ? argv[at] : "/tmp/vhost-echo.sock", QUEUES);
    hg_program_open(program, port);
    /* A queue that the guest does not use is not polled: all of them may share a worker. */
    for (unsigned queue = 0; queue < QUEUES; queue++) {
        struct hg_pipe *pipe = hg_program_receive(program, 0, queue, 0);

        hg_pipe_stage(pipe, "parse", hg_stage_parse, NULL); /* so that flows keep to a queue */
        hg_pipe_stage(pipe, "echo", echo, NULL);
        hg_pipe_transmit(pipe, 0);
    }

    rc = hg_program_run(program, &err);
    if (rc < 0)
        fprintf(stderr, "vhost-echo: %s\n", err.text);
    else
        hg_program_report(program, stdout);
    hg_program_free(program);
    return rc < 0;
}
