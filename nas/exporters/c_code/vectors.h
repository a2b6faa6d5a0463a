/* Images that the network was validated on, and every score that it must give them. */
#ifndef NAS_VECTORS_H
#define NAS_VECTORS_H

#include "net.h"

#define NAS_NUM_VECTORS $num_vectors

static const uint8_t vector_pixels[NAS_NUM_VECTORS][NAS_HEIGHT * NAS_WIDTH * NAS_CHANNELS] = {
$pixels
};

static const int8_t vector_scores[NAS_NUM_VECTORS][NAS_NUM_CLASSES] = {
$scores
};

#endif
