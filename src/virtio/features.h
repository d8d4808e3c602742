/*
 * Virtio features by name, for people: those of virtio 1.2, 5.1.3 and 6, and vhost-user's own.
 */
#ifndef HG_VIRTIO_FEATURES_H
#define HG_VIRTIO_FEATURES_H

#include <stddef.h>
#include <stdint.h>

/* The names of the features in `bits`, in the order of their bits and separated by spaces, as in
 * "csum mrg_rxbuf version_1"; one that virtio/virtio.h does not know is "bit_N". Cut to fit `n`
 * bytes. Pure. */
void hg_virtio_features_text(uint64_t bits, char *text, size_t n);

#endif
