#include "port/pcap/load.h"

#include <errno.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/quote.h"
#include "port/pcap/file.h"

/* Makes room for one more element of `size` bytes in an array of n, which grows by doubling. */
static int reserve(void **array, uint64_t *room, uint64_t n, uint64_t more, size_t size)
{
    uint64_t wanted = *room != 0 ? *room : 4096;
    void *grown;

    if (*array != NULL && n + more <= *room)
        return 0;
    while (wanted < n + more)
        wanted *= 2;
    grown = realloc(*array, wanted * size);
    if (grown == NULL)
        return -ENOMEM;
    *array = grown;
    *room = wanted;
    return 0;
}

struct loading {
    struct hg_capture *capture;
    uint64_t byte_room;
    uint64_t frame_room;
    uint64_t first_ns;
    uint64_t last_ns; /* of the last frame, counted from there */
};

/* Seconds and a fraction that may be nonsense: times count modulo 2^64 and never go back. */
static uint64_t time_of(struct loading *l, const struct pcap_pkthdr *header)
{
    const struct hg_capture *c = l->capture;
    uint64_t now_ns = (uint64_t)header->ts.tv_sec * HG_NS_PER_S + (uint64_t)header->ts.tv_usec;

    if (c->frame_n == 0)
        l->first_ns = now_ns;
    now_ns -= l->first_ns;
    if (now_ns >= l->last_ns && now_ns <= INT64_MAX)
        l->last_ns = now_ns;
    return l->last_ns;
}

static int add(struct loading *l, const struct pcap_pkthdr *header, const uint8_t *bytes,
               struct hg_err *err)
{
    struct hg_capture *c = l->capture;
    uint32_t len = header->caplen;

    if (len > HG_CAPTURE_FRAME_MAX)
        return hg_err_set(err, EINVAL, "frame %" PRIu64 " has %u bytes; expected at most %d",
                          c->frame_n + 1, len, HG_CAPTURE_FRAME_MAX);
    if (c->frame_n == HG_CAPTURE_FRAMES_MAX)
        return hg_err_set(err, EFBIG, "more than %d frames; expected a smaller file",
                          HG_CAPTURE_FRAMES_MAX);
    if (c->bytes_n + len > HG_CAPTURE_BYTES_MAX)
        return hg_err_set(err, EFBIG, "more than %d bytes of frames; expected a smaller file",
                          HG_CAPTURE_BYTES_MAX);
    if (reserve((void **)&c->bytes, &l->byte_room, c->bytes_n, len, 1) < 0 ||
        reserve((void **)&c->frame, &l->frame_room, c->frame_n, 1, sizeof(c->frame[0])) < 0)
        return hg_err_set(err, ENOMEM, "no memory for its frames");
    memcpy(c->bytes + c->bytes_n, bytes, len);
    c->frame[c->frame_n] =
        (struct hg_capture_frame){.at_ns = time_of(l, header), .offset = c->bytes_n, .len = len};
    c->frame_n++;
    c->bytes_n += len;
    return 0;
}

static int read_all(struct hg_capture *capture, pcap_t *pcap, struct hg_err *err)
{
    struct loading l = {.capture = capture};
    struct pcap_pkthdr *header;
    const uint8_t *bytes;
    int rc;

    if (pcap_datalink(pcap) != DLT_EN10MB) {
        const char *name = pcap_datalink_val_to_name(pcap_datalink(pcap));

        return hg_err_set(err, EINVAL, "a capture of link type %d (%s); expected Ethernet frames",
                          pcap_datalink(pcap), name != NULL ? name : "unknown");
    }
    while ((rc = pcap_next_ex(pcap, &header, &bytes)) == 1) {
        rc = add(&l, header, bytes, err);
        if (rc < 0)
            return rc;
    }
    if (rc != PCAP_ERROR_BREAK)
        return hg_err_set(err, EINVAL, "behind frame %" PRIu64 ": %s", capture->frame_n,
                          pcap_geterr(pcap));
    return 0;
}

int hg_capture_load(struct hg_capture *capture, const char *path, struct hg_err *err)
{
    char said[PCAP_ERRBUF_SIZE] = "";
    struct hg_err why = {.text = ""};
    pcap_t *pcap;
    FILE *file;
    int rc = 0;

    memset(capture, 0, sizeof(*capture));
    file = hg_capture_open(path, "read", false, &rc, err);
    if (file == NULL)
        return rc;
    pcap = pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, said);
    if (pcap == NULL) {
        fclose(file);
        return hg_err_set(err, EINVAL, "read: %s: %s; expected a pcap or pcapng file",
                          hg_quote(path).text, said);
    }
    rc = read_all(capture, pcap, &why);
    pcap_close(pcap); /* and the file */
    if (rc == 0)
        return 0;
    hg_capture_free(capture);
    return hg_err_set(err, -rc, "read: %s: %s", hg_quote(path).text, why.text);
}

void hg_capture_free(struct hg_capture *capture)
{
    free(capture->bytes);
    free(capture->frame);
    memset(capture, 0, sizeof(*capture));
}
