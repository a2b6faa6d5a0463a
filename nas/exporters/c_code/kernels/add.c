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
