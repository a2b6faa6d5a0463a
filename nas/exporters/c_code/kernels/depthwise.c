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
