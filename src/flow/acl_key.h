/*
 * From a parsed packet to the key that an ACL looks up (table/acl.h).
 */
#ifndef HG_FLOW_ACL_KEY_H
#define HG_FLOW_ACL_KEY_H

#include <stdbool.h>

#include "base/api.h"
#include "pkt/pkt.h"
#include "table/acl.h"

HG_API_BEGIN

/*
 * Fills the key of a packet that hg_parse() has seen. false, and *key is as it was: the packet is
 * not of this family, or its header is not whole in the head. Ports and TCP flags are 0 where the
 * head has no TCP or UDP header, as in fragments behind the first; the VLAN id is that of the
 * outermost tag. Reads the private head alone. The packet's user only.
 */
bool hg_acl_key4_of(const struct hg_pkt *pkt, struct hg_acl_key4 *key);
bool hg_acl_key6_of(const struct hg_pkt *pkt, struct hg_acl_key6 *key);

HG_API_END

#endif
