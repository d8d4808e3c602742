/*
 * A capture file in memory. Private to the folder; control only.
 *
 * The file is read whole, before the first frame is passed on: a file that is not what it seems is
 * refused at once and by name, and workers neither wait for a disk nor meet a surprise. libpcap
 * understands the formats (pcap, pcapng, either byte order) and checks their structure; what is
 * checked here is that it says Ethernet, and that no length it reports exceeds what we are ready to
 * hold.
 */
#ifndef HG_PORT_PCAP_LOAD_H
#define HG_PORT_PCAP_LOAD_H

#include <stdint.h>

#include "base/err.h"

enum {
    HG_CAPTURE_BYTES_MAX = 1 << 30,  /* of all frames */
    HG_CAPTURE_FRAMES_MAX = 1 << 26, /* whatever their length: a frame may have no bytes at all */
    HG_CAPTURE_FRAME_MAX = 262144,   /* bytes of one: libpcap's own bound */
};

struct hg_capture_frame {
    uint64_t at_ns; /* since the first one's time; never less than the one before */
    uint64_t offset;
    uint32_t len; /* bytes that the file has of it */
};

struct hg_capture {
    uint8_t *bytes;
    uint64_t bytes_n;
    struct hg_capture_frame *frame;
    uint64_t frame_n;
};

/* Reads a file. 0 or a negative errno with *err, nothing to free: -EINVAL for what is no regular
 * file, no capture of Ethernet frames or ends in the middle, -EFBIG for what is too large, -ENOMEM,
 * or what open(2) says. */
int hg_capture_load(struct hg_capture *capture, const char *path, struct hg_err *err);
void hg_capture_free(struct hg_capture *capture);

#endif
