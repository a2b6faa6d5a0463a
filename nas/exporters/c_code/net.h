/* $title
 *
 *     int label = nas_predict(pixels);     // 0 .. NAS_NUM_CLASSES - 1
 *     puts(nas_classes[label]);
 *
 * Pixels: $height rows of $width pixels$pixel_layout, 0 .. 255 as in the data set; the network
 * normalises them itself. Not thread-safe: all calls share one static buffer of $memory bytes.
 * No heap, no library. For processors with an int of 32 bits or more.
 */
#ifndef NAS_NET_H
#define NAS_NET_H

#include <stdint.h>

#define NAS_HEIGHT $height
#define NAS_WIDTH $width
#define NAS_CHANNELS $channels
#define NAS_NUM_CLASSES $num_classes

/* A score s stands for (s - NAS_SCORE_ZERO) * NAS_SCORE_SCALE, a logit: for softmax. */
#define NAS_SCORE_SCALE ${score_scale}f
#define NAS_SCORE_ZERO ($score_zero)

#ifdef __cplusplus
extern "C" {
#endif

extern const char *const nas_classes[NAS_NUM_CLASSES];

/* Writes a score for each class; the largest is the network's answer. */
void nas_scores(const uint8_t *pixels, int8_t *scores);

/* The class with the largest score; of several the first. */
int nas_predict(const uint8_t *pixels);

#ifdef __cplusplus
}
#endif

#endif
