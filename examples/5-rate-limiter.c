/*
 * 5. A rate limiter: at most so many bits a second from one port to another.
 *
 *     5-rate-limiter [-c CPUS] [-t SECONDS] [MBITS [PORT [PORT]]]
 *
 * A meter is a token bucket (RFC 2697 with one bucket); hg_meter_police() is a stage that lets the packets fall that find no
 * tokens. Its burst size decides how uneven the traffic may be: here what the rate makes in ten milliseconds.
 */
#include <errno.h>
#include <headgate/headgate.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct hg_program_options options = {0};
    struct hg_meter_options rate = {.kind = HG_METER_BUCKET};
    struct hg_meter_profile profile;
    struct hg_meter meter;
    struct hg_program *program = NULL;
    struct hg_pipe *pipe;
    struct hg_err err;
    int at = hg_program_args(&options, argc, argv, &err);

    if (at >= 0) {
        rate.cir = (at < argc ? strtoull(argv[at], NULL, 10) : 100) * 1000000;
        rate.cbs = rate.cir / 8 / 100;
        if (rate.cir == 0)
            at = hg_err_set(&err, EINVAL, "found '%s'; expected Mbit/s, as in 100", argv[at]);
    }
    if (at < 0 || hg_meter_profile_init(&profile, &rate, &err) < 0 ||
        hg_program_new(&program, &options, &err) < 0) {
        fprintf(stderr, "rate-limiter: %s\n", err.text);
        return 2;
    }
    hg_meter_init(&meter, &profile, hg_now_ns());

    hg_program_open(program, at + 1 < argc ? argv[at + 1] : "generator:size=1250,rate=50000");
    hg_program_open(program, at + 2 < argc ? argv[at + 2] : "sink");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_stage(pipe, "limit", hg_meter_police, &meter);
    hg_pipe_transmit(pipe, 1);
    hg_pipe_transmit(hg_program_receive(program, 1, 0, 0), 0);

    int rc = hg_program_run(program, &err);

    if (rc < 0)
        fprintf(stderr, "rate-limiter: %s\n", err.text);
    else
        hg_program_report(program, stdout);
    hg_program_free(program);
    return rc < 0;
}
