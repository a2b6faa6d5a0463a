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
