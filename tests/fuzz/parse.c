/*
 * Attacks the parser and the validation of offload requests: any bytes in a head of any length, any
 * request. Input: 1 byte of head length, 4 bytes of frame length beyond it, 8 bytes of request,
 * then the head.
 *
 * What must hold: nothing behind the head is read (ASan sees to it) or has influence; offsets are in
 * order and inside the head; a request that passes keeps its promises.
 */
#include <sanitizer/asan_interface.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "flow/offload.h"
#include "flow/parse.h"
#include "wire/eth.h"
#include "wire/tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_offsets(const struct hg_pkt *pkt)
{
    const unsigned transport = HG_PARSED_TCP | HG_PARSED_UDP | HG_PARSED_ICMP;
    const unsigned network = HG_PARSED_IP4 | HG_PARSED_IP6;

    require(pkt->l3_offset <= pkt->head_len);
    require(pkt->l4_offset <= pkt->payload_offset);
    require(pkt->payload_offset <= pkt->head_len);
    require(((pkt->parsed & transport) != 0) == (pkt->l4_offset != 0));
    require((pkt->parsed & network) != network);
    require(!(pkt->parsed & transport) || (pkt->parsed & network));
    require(!(pkt->parsed & transport) || !(pkt->parsed & HG_PARSED_FRAGMENT));
    require(pkt->l4_offset == 0 || pkt->l4_offset >= pkt->l3_offset + 20);
}

static void check_request(const struct hg_pkt *pkt)
{
    const struct hg_offload *ol = &pkt->ol;

    if (!hg_offload_valid(pkt))
        return;
    if (ol->flags & HG_OL_NEEDS_CSUM) {
        require((uint32_t)ol->csum_start + ol->csum_offset + 2 <= pkt->len);
        require(ol->csum_start >= HG_ETH_BYTES && ol->csum_start >= pkt->l4_offset);
    }
    if (ol->gso != HG_GSO_NONE) {
        require(pkt->parsed & HG_PARSED_TCP);
        require(ol->flags & HG_OL_NEEDS_CSUM);
        require(ol->csum_start == pkt->l4_offset && ol->csum_offset == HG_TCP_CSUM);
        require(ol->gso_size >= HG_GSO_SIZE_MIN && pkt->len > pkt->payload_offset);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct hg_pkt pkt;
    static struct hg_pkt other;
    uint32_t beyond;

    if (size < 13)
        return 0;
    memset(&pkt, 0, sizeof(pkt));
    memcpy(&beyond, data + 1, sizeof(beyond));
    memcpy(&pkt.ol, data + 5, sizeof(pkt.ol));
    pkt.head_len = (uint16_t)hg_min_u32(data[0], HG_HEAD_BYTES);
    pkt.head_len = (uint16_t)hg_min_u32(pkt.head_len, (uint32_t)(size - 13));
    pkt.len = pkt.head_len + beyond % (HG_FRAME_BYTES_MAX - HG_HEAD_BYTES);
    memcpy(pkt.head, data + 13, pkt.head_len);

    other = pkt;
    memset(other.head + other.head_len, 0xff, HG_HEAD_BYTES - other.head_len);
    hg_parse(&other);

    ASAN_POISON_MEMORY_REGION(pkt.head + pkt.head_len, HG_HEAD_BYTES - pkt.head_len);
    hg_parse(&pkt);
    check_offsets(&pkt);
    check_request(&pkt);
    ASAN_UNPOISON_MEMORY_REGION(pkt.head + pkt.head_len, HG_HEAD_BYTES - pkt.head_len);
    require(memcmp(&pkt, &other, offsetof(struct hg_pkt, head)) == 0);
    return 0;
}
