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
