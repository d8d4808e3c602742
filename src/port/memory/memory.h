/*
 * Ports whose other end is this process: for examples, tests and benchmarks, which then run
 * anywhere, without privilege, hugepages or a peer.
 *
 *   null        receives nothing, swallows and counts what is sent to it
 *   generator   makes IPv4/UDP frames, at full speed or at a rate; swallows as null does
 *   sink        receives nothing; counts what is sent to it, and checks the frames of generators
 *   loop        receives what was sent to it, in order
 */
#ifndef HG_PORT_MEMORY_MEMORY_H
#define HG_PORT_MEMORY_MEMORY_H

#include "base/api.h"
#include "port/port.h"

HG_API_BEGIN

extern const struct hg_port_driver hg_null_driver;
extern const struct hg_port_driver hg_generator_driver;
extern const struct hg_port_driver hg_sink_driver;
extern const struct hg_port_driver hg_loop_driver;

HG_API_END

#endif
