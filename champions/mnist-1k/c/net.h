/* An int8 network of 986 parameters for 10 classes of 1x28x28 images.
 *
 *     int label = nas_predict(pixels);     // 0 .. NAS_NUM_CLASSES - 1
 *     puts(nas_classes[label]);
 *
 * Pixels: 28 rows of 28 pixels in grey, 0 .. 255 as in the data set; the network
 * normalises them itself. Not thread-safe: all calls share one static buffer of 18,816 bytes.
 * No heap, no library. For processors with an int of 32 bits or more.
 */
#ifndef NAS_NET_H
#define NAS_NET_H

#include <stdint.h>

#define NAS_HEIGHT 28
#define NAS_WIDTH 28
#define NAS_CHANNELS 1
#define NAS_NUM_CLASSES 10

/* A score s stands for (s - NAS_SCORE_ZERO) * NAS_SCORE_SCALE, a logit: for softmax. */
#define NAS_SCORE_SCALE 1.989515791e-01f
#define NAS_SCORE_ZERO (-11)

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
