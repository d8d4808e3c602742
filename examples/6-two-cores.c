/*
 * 6. A pipeline over two cores: one receives and parses, the other one does the work.
 *
 *     6-two-cores [-c CPUS] [-t SECONDS] [PORT [PORT]]
 *
 * hg_pipe_handoff() continues a pipe on another worker. What was lent for the burst is copied, into
 * buffers of a pool; the packets travel through a ring, in order, and none is lost there: while the
 * ring is full the first worker does not receive. A copy and a trip between cores cost about what a
 * small packet costs elsewhere, so hand off what is worth it.
 */
#include <headgate/headgate.h>
#include <stdio.h>

/* Something that takes its time: the checksum over all that the head has of a packet, again and
 * again. */
static unsigned work(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    uint64_t *sum = ctx;

    for (unsigned i = 0; i < n; i++)
        for (unsigned round = 0; round < 8; round++)
            *sum += hg_csum(pkts[i]->head, pkts[i]->head_len);
    return n;
}

int main(int argc, char **argv)
{
    struct hg_program_options options = {.workers_n = 2};
    struct hg_program *program;
    struct hg_pipe *pipe;
    struct hg_err err;
    uint64_t sum = 0;
    int at = hg_program_args(&options, argc, argv, &err);
    int rc;

    if (at < 0 || hg_program_new(&program, &options, &err) < 0) {
        fprintf(stderr, "two-cores: %s\n", err.text);
        return 2;
    }

    hg_program_open(program, at < argc ? argv[at] : "generator:flows=1000");
    hg_program_open(program, at + 1 < argc ? argv[at + 1] : "sink");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_stage(pipe, "parse", hg_stage_parse, NULL);
    hg_pipe_handoff(pipe, 1);
    hg_pipe_stage(pipe, "work", work, &sum); /* the second worker's alone: no lock */
    hg_pipe_transmit(pipe, 1);

    rc = hg_program_run(program, &err);
    if (rc < 0)
        fprintf(stderr, "two-cores: %s\n", err.text);
    else
        hg_program_report(program, stdout);
    hg_program_free(program);
    return rc < 0;
}
