/* A batch norm by itself: a factor and an offset for each channel. */
typedef struct {
    int size, channels;                   /* of its map */
    const int32_t *multipliers, *offsets; /* of each channel */
    int shift;
} Affine;

static void affine(const Affine *layer, const int8_t *in, int8_t *out)
{
    for (int i = 0; i < layer->size; i++) {
        const int c = i % layer->channels;

        out[i] = to_byte(in[i], layer->multipliers[c], layer->offsets[c], layer->shift);
    }
}
