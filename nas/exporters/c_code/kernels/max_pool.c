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
