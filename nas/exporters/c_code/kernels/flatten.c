/* A map, channel by channel instead of pixel by pixel. */
static void flatten(const int8_t *in, int height, int width, int channels, int8_t *out)
{
    for (int c = 0; c < channels; c++)
        for (int i = 0; i < height * width; i++)
            *out++ = in[i * channels + c];
}
