/* $title
 *
$origin
 *
 * A byte q of a map stands for (q - zero) * scale. Maps lie row by row, the channels of a pixel
 * side by side. Sums are 32 bits wide; a multiplier, an offset and a shift bring them to the bytes
 * of the next map. Batch norm is part of these.
 *
 * This code is under the MIT licence; the numbers belong to whoever trained the network.
 */
#include "net.h"

#include <limits.h>

#if INT_MAX < 2147483647
#error "an int of 32 bits is needed: processors of 8 and 16 bits, such as AVR, are not supported"
#endif

$constants
$kernels
/* The network: $num_weights weights, $num_macs multiply-accumulates an image. */

$data
/* Holds all maps of an image; each lies where an earlier one is no longer needed. */
static int8_t memory[$memory];

void nas_scores(const uint8_t *pixels, int8_t *scores)
{
$pointers

    for (int i = 0; i < NAS_HEIGHT * NAS_WIDTH * NAS_CHANNELS; i++)
        image[i] = pixel_bytes[$pixel_channel][pixels[i]];
$calls
}

int nas_predict(const uint8_t *pixels)
{
    int8_t scores[NAS_NUM_CLASSES];
    int best = 0;

    nas_scores(pixels, scores);
    for (int i = 1; i < NAS_NUM_CLASSES; i++)
        if (scores[i] > scores[best])
            best = i;
    return best;
}
