/*
 * 1. A forwarder: what comes in at one port goes out at the other, both ways.
 *
 *     1-forwarder [-c CPUS] [-t SECONDS] [PORT [PORT]]
 *
 * A program owns ports, workers and pipes; a pipe carries the packets of one receive queue. Ports
 * are opened by a word each. Try, with two virtual machines or anything else that speaks
 * vhost-user:
 *
 *     1-forwarder vhost-user:socket=/tmp/a.sock vhost-user:socket=/tmp/b.sock
 */
#include <headgate/headgate.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct hg_program_options options = {0};
    struct hg_program *program;
    struct hg_err err;
    uint16_t a, b;
    int at = hg_program_args(&options, argc, argv, &err);

    if (at < 0 || hg_program_new(&program, &options, &err) < 0) {
        fprintf(stderr, "forwarder: %s\n", err.text);
        return 2;
    }

    a = hg_program_open(program, at < argc ? argv[at] : "generator");
    b = hg_program_open(program, at + 1 < argc ? argv[at + 1] : "sink");
    for (unsigned queue = 0; queue < hg_program_queues(program, a); queue++)
        hg_pipe_transmit(hg_program_receive(program, a, queue, 0), b);
    for (unsigned queue = 0; queue < hg_program_queues(program, b); queue++)
        hg_pipe_transmit(hg_program_receive(program, b, queue, 0), a);

    /* Until a signal, or -t. Whatever failed above is said here. */
    int rc = hg_program_run(program, &err);

    if (rc < 0)
        fprintf(stderr, "forwarder: %s\n", err.text);
    else
        hg_program_report(program, stdout);
    hg_program_free(program);
    return rc < 0;
}
