/* An int8 network of 986 parameters for 10 classes of 1x28x28 images.
 *
 * Study                 mnist-1k, trial 18
 * Data set              mnist
 * Parameters            986
 * Multiply-accumulates  348,400 an image
 * Test accuracy         98.72% of 10,000 test images, trained on all 60,000 training images; the
 *                       first of 10 seeds
 * Made with             nas 0.1.0, torch 2.14.1+cu130, optuna 5.0.0, python 3.11.7
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

#define OFFSET_BITS 16
#define ADD_SHIFT 20

/* A sum as a byte of the next map: scaled, half a step rounded up, cut off where it is too large.
 * Shifting a negative number right must keep its sign, as it does with every usual compiler. */
static int8_t to_byte(int32_t sum, int32_t multiplier, int32_t offset, int shift)
{
    const int64_t scaled = (int64_t)sum * multiplier
                         + (int64_t)offset * ((int32_t)1 << (shift - OFFSET_BITS));
    const int64_t rounded = scaled >> shift;

    return (int8_t)(rounded < INT8_MIN ? INT8_MIN : rounded > INT8_MAX ? INT8_MAX : rounded);
}

/* A convolution, or a linear layer: one whose window is the whole map. */
typedef struct {
    int height, width, channels;          /* of its input */
    int zero;                             /* the byte of its input that stands for 0 */
    int kernel_height, kernel_width;
    int padding;                          /* rows and columns of 0 around the input */
    int stride;                           /* rows and columns from one window to the next */
    int out_channels;
    const int8_t *weights;
    const int32_t *multipliers, *offsets; /* of each output channel */
    int shift;
} Conv;

/* Across all channels. Weights: [out_channels][kernel_height][kernel_width][channels]. */
static void conv(const Conv *layer, const int8_t *in, int8_t *out)
{
    const int width = layer->width, channels = layer->channels, zero = layer->zero;
    const int kernel_width = layer->kernel_width, stride = layer->stride;
    const int size = layer->kernel_height * kernel_width * channels;
    const int last_top = layer->height + layer->padding - layer->kernel_height;
    const int last_left = width + layer->padding - kernel_width;

    for (int top = -layer->padding; top <= last_top; top += stride) {
        for (int left = -layer->padding; left <= last_left; left += stride) {
            /* The rows and columns of the window that lie within the map. */
            const int first_row = top < 0 ? -top : 0;
            const int first_column = left < 0 ? -left : 0;
            const int end_row = top + layer->kernel_height > layer->height
                              ? layer->height - top : layer->kernel_height;
            const int end_column = left + kernel_width > width ? width - left : kernel_width;
            const int row_size = (end_column - first_column) * channels;

            for (int o = 0; o < layer->out_channels; o++) {
                int32_t sum = 0;

                for (int row = first_row; row < end_row; row++) {
                    const int8_t *x = in + ((top + row) * width + left + first_column) * channels;
                    const int8_t *w = layer->weights + o * size
                                    + (row * kernel_width + first_column) * channels;

                    for (int i = 0; i < row_size; i++)
                        sum += (x[i] - zero) * w[i];
                }
                *out++ = to_byte(sum, layer->multipliers[o], layer->offsets[o], layer->shift);
            }
        }
    }
}

/* Of each channel by itself. Weights: [kernel_height][kernel_width][channels]. */
static void depthwise(const Conv *layer, const int8_t *in, int8_t *out)
{
    const int width = layer->width, channels = layer->channels, zero = layer->zero;
    const int kernel_width = layer->kernel_width, stride = layer->stride;
    const int last_top = layer->height + layer->padding - layer->kernel_height;
    const int last_left = width + layer->padding - kernel_width;

    for (int top = -layer->padding; top <= last_top; top += stride) {
        for (int left = -layer->padding; left <= last_left; left += stride) {
            /* The rows and columns of the window that lie within the map. */
            const int first_row = top < 0 ? -top : 0;
            const int first_column = left < 0 ? -left : 0;
            const int end_row = top + layer->kernel_height > layer->height
                              ? layer->height - top : layer->kernel_height;
            const int end_column = left + kernel_width > width ? width - left : kernel_width;

            for (int c = 0; c < channels; c++) {
                int32_t sum = 0;

                for (int row = first_row; row < end_row; row++) {
                    const int8_t *x = in + ((top + row) * width + left) * channels + c;
                    const int8_t *w = layer->weights + row * kernel_width * channels + c;

                    for (int column = first_column; column < end_column; column++)
                        sum += (x[column * channels] - zero) * w[column * channels];
                }
                *out++ = to_byte(sum, layer->multipliers[c], layer->offsets[c], layer->shift);
            }
        }
    }
}

/* The sum of two maps, each in steps of its own. */
typedef struct {
    int size;
    int32_t first, second, offset;        /* factors of the two maps, in 1 / 2^ADD_SHIFT */
} Add;

static void add(const Add *layer, const int8_t *first, const int8_t *second, int8_t *out)
{
    for (int i = 0; i < layer->size; i++) {
        const int32_t sum = first[i] * layer->first + second[i] * layer->second + layer->offset;
        const int32_t rounded = sum >> ADD_SHIFT;

        out[i] = (int8_t)(rounded < INT8_MIN ? INT8_MIN : rounded > INT8_MAX ? INT8_MAX : rounded);
    }
}

/* The largest byte of each window of size x size; rows and columns left over are dropped.
 * `out` may be `in`: a window is read before its place is written. */
static void max_pool(const int8_t *in, int height, int width, int channels, int size, int8_t *out)
{
    for (int top = 0; top + size <= height; top += size) {
        for (int left = 0; left + size <= width; left += size) {
            for (int c = 0; c < channels; c++) {
                int8_t most = INT8_MIN;

                for (int row = top; row < top + size; row++) {
                    for (int column = left; column < left + size; column++) {
                        const int8_t x = in[(row * width + column) * channels + c];

                        if (x > most)
                            most = x;
                    }
                }
                *out++ = most;
            }
        }
    }
}

/* The network: 848 weights, 348,400 multiply-accumulates an image. */

const char *const nas_classes[NAS_NUM_CLASSES] = {
    "0 - zero",
    "1 - one",
    "2 - two",
    "3 - three",
    "4 - four",
    "5 - five",
    "6 - six",
    "7 - seven",
    "8 - eight",
    "9 - nine",
};

/* The byte of each grey of a pixel, normalised as for the training. */
static const int8_t pixel_bytes[1][256] = {
    {
    -128, -127, -126, -125, -124, -123, -122, -121, -120, -119, -118, -117, -116, -115, -114, -113,
    -112, -111, -110, -109, -108, -107, -106, -105, -104, -103, -102, -101, -100, -99, -98, -97,
    -96, -95, -94, -93, -92, -91, -90, -89, -88, -87, -86, -85, -84, -83, -82, -81, -80, -79, -78,
    -77, -76, -75, -74, -73, -72, -71, -70, -69, -68, -67, -66, -65, -64, -63, -62, -61, -60, -59,
    -58, -57, -56, -55, -54, -53, -52, -51, -50, -49, -48, -47, -46, -45, -44, -43, -42, -41, -40,
    -39, -38, -37, -36, -35, -34, -33, -32, -31, -30, -29, -28, -27, -26, -25, -24, -23, -22, -21,
    -20, -19, -18, -17, -16, -15, -14, -13, -12, -11, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1,
    2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
    28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75,
    76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99,
    100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118,
    119, 120, 121, 122, 123, 124, 125, 126, 127,
    },
};

static const int8_t weights1[144] = { /* 16x3x3x1 */
    -127, 7, 78, -45, -25, 52, -39, -94, -11, -127, -38, 9, 32, -33, -99, 69, 47, -46, 127, 24,
    -114, 36, -7, -91, -60, -70, -116, -99, -78, -62, -127, -32, 9, 7, 61, 97, -24, 15, 53, 22, 35,
    79, 127, -7, 30, -127, -39, 0, -10, -89, -104, 96, 58, -60, 60, -77, -122, 23, -31, -127, 1, 95,
    -88, 73, -84, -89, -83, -102, 55, -127, 34, 68, 31, -86, -112, 27, 25, -61, 111, -53, -127, 63,
    125, 127, 80, 15, 73, -110, -91, 33, 15, -3, -124, -26, -29, -56, -127, -43, -21, 39, 62, 102,
    -127, -1, 63, -66, -85, -113, -99, 53, 60, 72, 10, -127, 107, 7, -113, -43, -47, -72, -87, -71,
    -27, 126, 127, 54, -43, 70, 32, -86, -127, -83, -10, 50, -58, 88, -88, -69, 127, -101, 11, -6,
    47, 79,
};
static const int32_t conv1_multipliers[16] = {
    1927374, 2424887, 791973, 625, 782314, 840054, 9702, 1315392, 1281686, 542625, 167069, 1810703,
    -1505, 820229, 1813319, 1895204,
};
static const int32_t conv1_offsets[16] = {
    -8553006, -9665480, -7948618, -8384221, -7252893, -8167736, -8446271, -8361802, -9557940,
    -7730154, -8743218, -9292002, -8409937, -7521649, -8170992, -10870654,
};
static const Conv conv1 = {
    .height = 28, .width = 28, .channels = 1, .zero = -95, .kernel_height = 3, .kernel_width = 3,
    .padding = 1, .stride = 1, .out_channels = 16, .weights = weights1,
    .multipliers = conv1_multipliers, .offsets = conv1_offsets, .shift = 29,
};

static const int8_t weights2[144] = { /* 3x3x16 */
    127, -98, 60, -57, -24, 42, -17, -45, -49, 24, 31, -66, -39, 25, -111, 6, 69, -107, 51, -64, 15,
    27, -15, -55, -80, 4, 15, -65, -66, 26, -14, 14, 34, -37, -36, -82, 51, 127, -22, 38, -127,
    -127, 127, -27, -71, -119, -9, -127, 2, -127, -42, -25, -31, 34, 57, 66, 1, -39, 81, -114, -42,
    73, -76, -32, -7, 72, -47, -59, -49, -60, -70, 41, 74, 18, 53, -76, 101, -69, -62, -55, -38, 24,
    -101, 8, 6, 92, -45, -9, -2, 41, 4, 71, 6, -127, -127, -66, -50, -37, -115, 33, -127, 9, 127,
    127, 73, -13, 38, 100, -96, 3, -18, -121, -20, 26, -127, 107, -45, -12, 59, 107, 53, 67, 14,
    127, -60, -43, 22, -22, 19, 28, -35, 127, 117, 65, 42, 1, 79, 96, -28, 126, -127, -84, -9, -30,
};
static const int32_t depthwise1_multipliers[16] = {
    3734187, 2928484, 3008947, 2680747, 3085723, 3159980, 3630199, 3712819, 3594973, 3882558,
    3349123, 2145072, 3724583, 2851531, 3160199, 2194221,
};
static const int32_t depthwise1_offsets[16] = {
    -753664, -753664, -753664, -753664, -753664, -753664, -753664, -753664, -753664, -753664,
    -753664, -753664, -753664, -753664, -753664, -753664,
};
static const Conv depthwise1 = {
    .height = 14, .width = 14, .channels = 16, .zero = -128, .kernel_height = 3, .kernel_width = 3,
    .padding = 1, .stride = 1, .out_channels = 16, .weights = weights2,
    .multipliers = depthwise1_multipliers, .offsets = depthwise1_offsets, .shift = 30,
};

static const int8_t weights3[256] = { /* 16x1x1x16 */
    127, -36, -4, 24, 99, -52, 42, 81, -52, 2, -42, 8, -4, 40, 61, -10, -43, -125, 28, 8, -2, -23,
    68, -93, 53, -41, 62, 33, 51, -10, 1, -127, -2, 81, -10, -59, 63, -48, 5, -93, 119, -12, -127,
    115, -13, 26, 75, -99, 127, 2, 53, 40, -67, 1, 12, 28, -27, 84, 49, 55, 68, -3, -24, 20, 10, 21,
    -67, 8, -32, -86, 37, -89, -11, -48, 37, -66, -101, -127, 83, 47, 42, -3, 93, -55, -4, 127, -3,
    -27, 78, -66, 1, -1, -126, 7, -40, 18, -47, 10, 61, 30, -10, -31, 127, -81, 17, -2, 27, 22, 57,
    -33, 9, -40, -10, 13, -11, -71, 68, -53, -20, 42, 37, -23, 1, -61, -36, 127, -5, 38, 28, 11,
    -127, 88, 42, -12, 45, 9, -94, 16, -87, 31, -43, 57, 45, 13, 8, 9, -9, 127, 50, -19, -5, 11, 6,
    -68, 22, -53, 59, -43, -1, 26, 41, -61, 76, 68, -8, 121, 64, 28, 20, -47, 23, 77, 86, -26, -127,
    17, 17, 59, 5, 9, 69, 40, -78, -94, -19, -1, -76, 104, 21, -71, 61, -127, -37, -27, 25, -12,
    -55, 42, -18, -14, 71, -42, 1, -24, -127, 19, 9, -6, 12, -42, 24, 20, -10, 14, 2, 38, -115, -54,
    21, -127, 19, -19, -92, 54, 26, 127, -16, -25, -39, -41, -49, 101, 58, -85, 20, -30, -11, 16,
    21, 29, -1, 42, 88, 46, 35, -60, -77, -89, 9, -85, -67, 17, 20, -62, 127, -36,
};
static const int32_t conv2_multipliers[16] = {
    344, -4964, 9140, 2259018, 314, 2365268, 2747179, 103267, 3132, 3544519, 2158414, 1728619,
    3894945, 3180231, -563, 3427026,
};
static const int32_t conv2_offsets[16] = {
    -8363777, -8518393, -8432714, -9967811, -8366288, -7705069, -5541076, -8684816, -8377280,
    -7555049, -10884981, -7767674, -8609872, -10338896, -8390326, -2592756,
};
static const Conv conv2 = {
    .height = 14, .width = 14, .channels = 16, .zero = -12, .kernel_height = 1, .kernel_width = 1,
    .padding = 0, .stride = 1, .out_channels = 16, .weights = weights3,
    .multipliers = conv2_multipliers, .offsets = conv2_offsets, .shift = 28,
};

static const Add add1 = {
    .size = 3136, .first = 613902, .second = 1013087, .offset = 74561152,
};

static const int32_t depthwise2_multipliers[16] = {
    3586882, 2812962, 2890251, 2574997, 2963998, 3035326, 3486995, 3566356, 3453159, 3729399,
    3217008, 2060454, 3577656, 2739044, 3035536, 2107664,
};
static const int32_t depthwise2_offsets[16] = {
    1015808, 1015808, 1015808, 1015808, 1015808, 1015808, 1015808, 1015808, 1015808, 1015808,
    1015808, 1015808, 1015808, 1015808, 1015808, 1015808,
};
static const Conv depthwise2 = {
    .height = 14, .width = 14, .channels = 16, .zero = -128, .kernel_height = 3, .kernel_width = 3,
    .padding = 1, .stride = 1, .out_channels = 16, .weights = weights2,
    .multipliers = depthwise2_multipliers, .offsets = depthwise2_offsets, .shift = 30,
};

static const int32_t conv3_multipliers[16] = {
    2217857, -10956, 902834, 1361290, 1222949, 1203972, 1648548, 1212898, 1530070, 696552, 1568842,
    -2009, 1467732, -649, 3131749, -13397,
};
static const int32_t conv3_offsets[16] = {
    -5958993, -8421039, -6567481, -9859766, -8698891, -9596985, -7170107, -6637918, -7274865,
    -8669359, -12830962, -8376108, -8712316, -8393278, -6213946, -8536067,
};
static const Conv conv3 = {
    .height = 14, .width = 14, .channels = 16, .zero = 15, .kernel_height = 1, .kernel_width = 1,
    .padding = 0, .stride = 1, .out_channels = 16, .weights = weights3,
    .multipliers = conv3_multipliers, .offsets = conv3_offsets, .shift = 27,
};

static const Add add2 = {
    .size = 3136, .first = 726264, .second = 882111, .offset = 72178560,
};

static const int32_t depthwise3_multipliers[16] = {
    2815268, 2207834, 2268497, 2021061, 2326380, 2382363, 2736869, 2799158, 2710312, 2927127,
    2524962, 1617207, 2808027, 2149818, 2382529, 1654261,
};
static const int32_t depthwise3_offsets[16] = {
    -229376, -229376, -229376, -229376, -229376, -229376, -229376, -229376, -229376, -229376,
    -229376, -229376, -229376, -229376, -229376, -229376,
};
static const Conv depthwise3 = {
    .height = 14, .width = 14, .channels = 16, .zero = -128, .kernel_height = 3, .kernel_width = 3,
    .padding = 1, .stride = 1, .out_channels = 16, .weights = weights2,
    .multipliers = depthwise3_multipliers, .offsets = depthwise3_offsets, .shift = 30,
};

static const int32_t conv4_multipliers[16] = {
    815761, 2394730, 1555239, 1614037, 1704007, 804451, 952285, 2929943, 1773309, 1946107, -423,
    966675, 1084450, 999719, -645, 2433133,
};
static const int32_t conv4_offsets[16] = {
    -7633226, -8565209, -5434741, -9721286, -8822926, -9321137, -7620554, -5516637, -7861834,
    -8460945, -8387370, -7656410, -8348367, -9410680, -8374631, -1327350,
};
static const Conv conv4 = {
    .height = 14, .width = 14, .channels = 16, .zero = -4, .kernel_height = 1, .kernel_width = 1,
    .padding = 0, .stride = 1, .out_channels = 16, .weights = weights3,
    .multipliers = conv4_multipliers, .offsets = conv4_offsets, .shift = 27,
};

static const Add add3 = {
    .size = 3136, .first = 597180, .second = 609744, .offset = 20792832,
};

static const int8_t weights4[144] = { /* 3x3x16 */
    94, 14, -36, 40, -6, 9, 42, -24, 15, -30, 61, 8, -62, 21, -33, -127, 20, 66, 15, 127, -31, -51,
    127, -46, 56, -127, 13, -23, 0, -4, -127, 5, 55, -2, -12, -45, -38, -86, 100, -21, -8, -15, -27,
    17, 74, 40, -116, -12, -25, -24, 10, 14, 35, 10, -1, -36, -126, 108, -39, 15, 7, 79, 89, 22, 58,
    22, -56, 43, -10, -21, -90, 24, -19, 34, -30, 12, -3, -81, 18, 88, -127, 5, -1, -15, -86, 127,
    -48, 19, 127, -37, -127, 98, 57, -34, 16, 12, -37, -16, 19, -23, 7, 9, 6, -63, -43, 59, 64, -23,
    -26, 2, 28, 2, 38, -127, 127, -39, -2, 31, 6, 127, -54, 56, 102, 8, -45, -113, 80, 32, -35, -29,
    -17, -14, 127, -22, -43, 53, -1, 15, -93, -127, -127, 127, -36, 3,
};
static const int32_t depthwise4_multipliers[16] = {
    2351624, 3130360, 3220057, 2705158, 2756744, 2871050, 2155663, 2805749, 2575967, 2384968,
    1951847, 2772927, 2322185, 1563688, 2295124, 3896376,
};
static const int32_t depthwise4_offsets[16] = {
    -688128, -688128, -688128, -688128, -688128, -688128, -688128, -688128, -688128, -688128,
    -688128, -688128, -688128, -688128, -688128, -688128,
};
static const Conv depthwise4 = {
    .height = 3, .width = 3, .channels = 16, .zero = -128, .kernel_height = 3, .kernel_width = 3,
    .padding = 0, .stride = 1, .out_channels = 16, .weights = weights4,
    .multipliers = depthwise4_multipliers, .offsets = depthwise4_offsets, .shift = 29,
};

static const int8_t weights5[160] = { /* 10x1x1x16 */
    -112, -50, 7, -67, 13, -20, 36, -127, -114, -86, -43, 85, 110, 26, -3, -1, 79, 26, 6, -59, 0,
    -44, 9, 8, 19, 20, 19, -58, -2, 55, -63, -127, -72, -33, 112, 100, 112, -79, -2, -50, 98, 60,
    -127, -121, 45, -26, 74, -17, 39, -103, -24, 105, -43, 2, 14, -25, 127, 52, 57, 53, -45, -9, 83,
    -18, -63, 116, -53, -52, 37, -57, -98, 122, -13, 112, 63, -27, -36, 31, -127, 54, 53, -88, -71,
    -6, -86, 127, 40, -34, -42, 12, 4, 55, -58, -58, 34, 36, 27, -15, 59, -109, -22, 127, -110,
    -116, -69, -77, -60, -5, 9, -6, -87, 44, -18, 127, -38, 49, 112, -28, 104, 102, 31, 15, -31, 9,
    29, -7, 15, -112, -2, -5, 94, 22, -48, -26, -2, 15, 17, -40, -2, 44, -71, 40, 23, 127, -8, 25,
    -112, 62, -57, -10, -20, 127, -90, -90, 122, -53, 68, -101, 103, 101,
};
static const int32_t conv5_multipliers[10] = {
    1461703, 2387419, 1270509, 1677887, 1419421, 1700301, 1566896, 1677320, 1757392, 1119609,
};
static const int32_t conv5_offsets[10] = {
    -640860, -547565, -657667, -792075, -745609, -600015, -750798, -724703, -682301, -740030,
};
static const Conv conv5 = {
    .height = 1, .width = 1, .channels = 16, .zero = -11, .kernel_height = 1, .kernel_width = 1,
    .padding = 0, .stride = 1, .out_channels = 10, .weights = weights5,
    .multipliers = conv5_multipliers, .offsets = conv5_offsets, .shift = 29,
};

/* Holds all maps of an image; each lies where an earlier one is no longer needed. */
static int8_t memory[18816];

void nas_scores(const uint8_t *pixels, int8_t *scores)
{
    int8_t *const image = memory + 12544;
    int8_t *const map1 = memory + 0;
    int8_t *const map2 = memory + 0;
    int8_t *const map3 = memory + 12544;
    int8_t *const map4 = memory + 15680;
    int8_t *const map5 = memory + 0;
    int8_t *const map6 = memory + 12544;
    int8_t *const map7 = memory + 15680;
    int8_t *const map8 = memory + 0;
    int8_t *const map9 = memory + 12544;
    int8_t *const map10 = memory + 15680;
    int8_t *const map11 = memory + 0;
    int8_t *const map12 = memory + 0;
    int8_t *const map13 = memory + 0;
    int8_t *const map14 = memory + 12544;

    for (int i = 0; i < NAS_HEIGHT * NAS_WIDTH * NAS_CHANNELS; i++)
        image[i] = pixel_bytes[0][pixels[i]];
    conv(&conv1, image, map1);                      /* 28x28x16 */
    max_pool(map1, 28, 28, 16, 2, map2);            /* 14x14x16 */
    depthwise(&depthwise1, map2, map3);             /* 14x14x16 */
    conv(&conv2, map3, map4);                       /* 14x14x16 */
    add(&add1, map2, map4, map5);                   /* 14x14x16 */
    depthwise(&depthwise2, map5, map6);             /* 14x14x16 */
    conv(&conv3, map6, map7);                       /* 14x14x16 */
    add(&add2, map5, map7, map8);                   /* 14x14x16 */
    depthwise(&depthwise3, map8, map9);             /* 14x14x16 */
    conv(&conv4, map9, map10);                      /* 14x14x16 */
    add(&add3, map8, map10, map11);                 /* 14x14x16 */
    max_pool(map11, 14, 14, 16, 2, map12);          /* 7x7x16 */
    max_pool(map12, 7, 7, 16, 2, map13);            /* 3x3x16 */
    depthwise(&depthwise4, map13, map14);           /* 1x1x16 */
    conv(&conv5, map14, scores);                    /* 1x1x10 */
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
