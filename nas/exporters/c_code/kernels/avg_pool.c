/* The mean of each window, which is a part of the map or all of it.
 * `out` may be `in`: a window is read before its place is written. */
typedef struct {
    int height, width, channels;          /* of its input */
    int kernel_height, kernel_width;
    int32_t multiplier, offset;
    int shift;
} AvgPool;

static void avg_pool(const AvgPool *layer, const int8_t *in, int8_t *out)
{
    const int kernel_height = layer->kernel_height, kernel_width = layer->kernel_width;

    for (int top = 0; top + kernel_height <= layer->height; top += kernel_height) {
        for (int left = 0; left + kernel_width <= layer->width; left += kernel_width) {
            for (int c = 0; c < layer->channels; c++) {
                int32_t sum = 0;

                for (int row = top; row < top + kernel_height; row++)
                    for (int column = left; column < left + kernel_width; column++)
                        sum += in[(row * layer->width + column) * layer->channels + c];
                *out++ = to_byte(sum, layer->multiplier, layer->offset, layer->shift);
            }
        }
    }
}
