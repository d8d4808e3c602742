/*
 * 7. A capture filter: lets the packets pass that tcpdump's expression describes.
 *
 *     7-pcap-filter [-c CPUS] [-t SECONDS] [EXPRESSION [PORT [PORT]]]
 *
 *     7-pcap-filter 'udp port 53' pcap:read=all.pcap pcap:write=dns.pcap
 *
 * Another library at work in a stage: libpcap compiles the expression (pcap-filter(7)), its
 * interpreter judges. It sees the private head, so an expression that looks for bytes behind the
 * first 192 does not find them.
 */
#include <errno.h>
#include <headgate/headgate.h>
#include <pcap/pcap.h>
#include <stdio.h>

static unsigned filter(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    const struct bpf_program *code = ctx;
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++)
        if (bpf_filter(code->bf_insns, pkts[i]->head, pkts[i]->len, pkts[i]->head_len) != 0)
            pkts[kept++] = pkts[i];
    return kept;
}

int main(int argc, char **argv)
{
    struct hg_program_options options = {0};
    struct hg_program *program = NULL;
    struct bpf_program code = {0};
    struct hg_pipe *pipe;
    struct hg_err err;
    pcap_t *pcap = pcap_open_dead(DLT_EN10MB, HG_FRAME_BYTES_MAX);
    int at = hg_program_args(&options, argc, argv, &err);
    int rc = at;

    if (rc >= 0 && pcap_compile(pcap, &code, at < argc ? argv[at] : "udp", 1, PCAP_NETMASK_UNKNOWN))
        rc = hg_err_set(&err, EINVAL, "%s", pcap_geterr(pcap));
    if (rc < 0 || hg_program_new(&program, &options, &err) < 0) {
        fprintf(stderr, "pcap-filter: %s\n", err.text);
        pcap_freecode(&code);
        pcap_close(pcap);
        return 2;
    }

    hg_program_open(program, at + 1 < argc ? argv[at + 1] : "generator");
    hg_program_open(program, at + 2 < argc ? argv[at + 2] : "sink");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_stage(pipe, "filter", filter, &code);
    hg_pipe_transmit(pipe, 1);

    rc = hg_program_run(program, &err);
    if (rc < 0)
        fprintf(stderr, "pcap-filter: %s\n", err.text);
    else
        hg_program_report(program, stdout);
    hg_program_free(program);
    pcap_freecode(&code);
    pcap_close(pcap);
    return rc < 0;
}
