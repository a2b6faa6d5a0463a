/* max(x, 0) of a map whose byte `zero` stands for 0. */
static void relu(const int8_t *in, int size, int zero, int8_t *out)
{
    for (int i = 0; i < size; i++)
        out[i] = in[i] > zero ? in[i] : (int8_t)zero;
}
