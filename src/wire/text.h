/*
 * Addresses as people write them. Pure, any thread.
 */
#ifndef HG_WIRE_TEXT_H
#define HG_WIRE_TEXT_H

#include <stdint.h>

#include "base/api.h"
#include "base/err.h"
#include "wire/eth.h"

HG_API_BEGIN

/* Reads "02:00:00:00:00:01". 0 or -EINVAL with *err. */
int hg_mac_read(uint8_t mac[HG_MAC_BYTES], const char *text, struct hg_err *err);

/* Reads "198.18.0.0/15" or "198.18.0.1", which is a prefix of 32 bits. *address is in host order,
 * without bits beyond the prefix; *bits is 0 to 32. 0 or -EINVAL with *err. */
int hg_ip4_prefix_read(uint32_t *address, unsigned *bits, const char *text, struct hg_err *err);

HG_API_END

#endif
