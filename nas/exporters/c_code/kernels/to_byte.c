/* A sum as a byte of the next map: scaled, half a step rounded up, cut off where it is too large.
 * Shifting a negative number right must keep its sign, as it does with every usual compiler. */
static int8_t to_byte(int32_t sum, int32_t multiplier, int32_t offset, int shift)
{
    const int64_t scaled = (int64_t)sum * multiplier
                         + (int64_t)offset * ((int32_t)1 << (shift - OFFSET_BITS));
    const int64_t rounded = scaled >> shift;

    return (int8_t)(rounded < INT8_MIN ? INT8_MIN : rounded > INT8_MAX ? INT8_MAX : rounded);
}
