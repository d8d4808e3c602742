/*
 * The port type `pcap`: receives the frames of a capture file, and writes what is sent to it into
 * another.
 */
#ifndef HG_PORT_PCAP_PCAP_H
#define HG_PORT_PCAP_PCAP_H

#include "base/api.h"
#include "port/port.h"

HG_API_BEGIN

extern const struct hg_port_driver hg_pcap_driver;

HG_API_END

#endif
