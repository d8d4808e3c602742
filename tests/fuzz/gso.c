/*
 * Attacks segmentation and the checksum in software with frames and requests that passed validation,
 * scattered in any way. Input: 1 byte of head length, 1 byte of segment length, 2 bytes of frame
 * length, 8 bytes of request, then the frame, repeated to its length.
 *
 * What must hold: the original stays as it is; the segments' payloads are the original's in order; the
 * checksum is the one that a sum of word after word gives.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/frame.h"
#include "flow/offload.h"
#include "flow/parse.h"
#include "pkt/gso.h"

enum { PARAMETER_BYTES = 12 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct frame frame;
static struct hg_seg segs[HG_BURST_SEGS];
static uint8_t out[HG_FRAME_BYTES_MAX];

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void make_packet(struct hg_pkt *pkt, const uint8_t *data, size_t size)
{
    unsigned len = hg_load_be16(data + 2);
    unsigned head_len = hg_min_u32(data[0], HG_HEAD_BYTES);
    unsigned seg_bytes = hg_max_u32(1 + data[1], len / HG_CHAIN_SEGS_MAX + 1);

    for (unsigned at = 0; at < len; at++)
        frame.bytes[at] = data[PARAMETER_BYTES + at % (size - PARAMETER_BYTES)];
    frame.len = len;
    frame_scatter(&frame, pkt, segs, head_len, seg_bytes, NULL);
    memcpy(&pkt->ol, data + 4, sizeof(pkt->ol));
    hg_parse(pkt);
}

static void check_checksum(const struct hg_pkt *pkt)
{
    unsigned start = pkt->ol.csum_start;
    unsigned field = start + pkt->ol.csum_offset;
    struct hg_pkt done = *pkt;
    uint16_t was;
    uint16_t want;

    if (!hg_csum_finish(&done)) {
        require(field + 2 > pkt->head_len);
        return;
    }
    require(!(done.ol.flags & HG_OL_NEEDS_CSUM));
    require(frame_gather(&done, out) == pkt->len);
    was = hg_load_be16(out + field);
    memcpy(out + field, pkt->head + field, 2);
    want = (uint16_t)~frame_reference_sum(0, out + start, pkt->len - start);
    require(was != 0 && was % 0xffff == want % 0xffff);
}

static void check_segments(const struct hg_pkt *pkt)
{
    static struct hg_seg slices[HG_GSO_SLICES_MAX];
    static struct hg_pkt slot;
    struct hg_gso_iter gso;
    unsigned at = pkt->payload_offset;

    require(hg_gso_begin(&gso, pkt));
    for (unsigned made_n = 0; hg_gso_left(&gso) != 0; made_n++) {
        unsigned payload_bytes;

        require(hg_gso_next(&gso, &slot, slices, HG_GSO_SLICES_MAX));
        require(frame_gather(&slot, out) == slot.len);
        payload_bytes = slot.len - slot.head_len;
        require(payload_bytes != 0 && payload_bytes <= pkt->ol.gso_size);
        require(memcmp(out + slot.head_len, frame.bytes + at, payload_bytes) == 0);
        at += payload_bytes;
        if (made_n < 4)
            check_checksum(&slot);
    }
    require(at == pkt->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct hg_pkt pkt;
    static struct hg_pkt before;

    if (size <= PARAMETER_BYTES)
        return 0;
    make_packet(&pkt, data, size);
    if (!hg_offload_valid(&pkt))
        return 0;
    before = pkt;
    if (pkt.ol.gso != HG_GSO_NONE)
        check_segments(&pkt);
    else if (pkt.ol.flags & HG_OL_NEEDS_CSUM)
        check_checksum(&pkt);
    require(memcmp(&pkt, &before, sizeof(pkt)) == 0);
    return 0;
}
