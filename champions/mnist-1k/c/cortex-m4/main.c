/* Runs the network without an operating system on QEMU's board mps2-an386, a Cortex-M4 at 25 MHz.
 *
 * With `-icount shift=0` each instruction takes one nanosecond, so a tick of the timer is 40
 * instructions. These are instructions, not the cycles of a real processor. Prints, and says by
 * semihosting's exit code whether any byte differs:
 *
 *     differ BYTES
 *     stack BYTES
 *     instructions PER_IMAGE
 */
#include <stdint.h>

#include "net.h"
#include "vectors.h"

#define SYSTICK ((volatile uint32_t *)0xE000E010) /* control, reload, value */
#define RELOAD 0xFFFFFFu
#define INSTRUCTIONS_PER_TICK 40u
#define PAINT 0xA5A5A5A5u

extern uint32_t data_begin[], data_end[], data_stored[], bss_begin[], bss_end[], stack_top[];

void reset(void);
static volatile uint32_t num_wraps;

static void tick(void)
{
    num_wraps++;
}

static void hang(void)
{
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))stack_top, reset, hang, hang, hang, hang, hang, hang,
    hang, hang, hang, hang, hang, hang, hang, tick,
};

static void semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(const char *name, uint64_t value)
{
    char digits[24], *p = digits + sizeof digits;

    *--p = '\0';
    *--p = '\n';
    do {
        *--p = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    semihosting(0x04, name);
    semihosting(0x04, p);
}

static uint64_t now(void)
{
    uint32_t wraps, value;

    do {
        wraps = num_wraps;
        value = SYSTICK[2];
    } while (wraps != num_wraps);
    return (uint64_t)wraps * (RELOAD + 1u) + (value ? RELOAD + 1u - value : 0);
}

/* The bytes of the stack that a call takes: those below it that no longer hold the paint. */
static uint32_t stack_of_a_call(int8_t *scores)
{
    uint32_t *p, *top;

    SYSTICK[0] = 0; /* an interrupt would use the stack as well */
    __asm__ volatile("mov %0, sp" : "=r"(top));
    for (p = bss_end; p < top; p++)
        *(volatile uint32_t *)p = PAINT;
    nas_scores(vector_pixels[0], scores);
    for (p = bss_end; p < top && *(volatile uint32_t *)p == PAINT; p++) {
    }
    return (uint32_t)((top - p) * (int)sizeof *p);
}

int main(void)
{
    int8_t scores[NAS_NUM_CLASSES];
    uint32_t num_different = 0, exit_code[2] = {0x20026, 0};
    uint64_t begin, end, total = 0;

    SYSTICK[1] = RELOAD;
    SYSTICK[2] = 0;
    SYSTICK[0] = 7; /* on, with interrupt, at the processor's clock */
    while (SYSTICK[2] == 0) {
    }
    for (int i = 0; i < NAS_NUM_VECTORS; i++) {
        begin = now();
        nas_scores(vector_pixels[i], scores);
        end = now();
        total += end - begin;
        for (int k = 0; k < NAS_NUM_CLASSES; k++)
            num_different += scores[k] != vector_scores[i][k];
    }
    print("differ ", num_different);
    print("stack ", stack_of_a_call(scores));
    print("instructions ", total * INSTRUCTIONS_PER_TICK / NAS_NUM_VECTORS);
    exit_code[1] = num_different != 0;
    semihosting(0x20, exit_code);
    return 0;
}

void reset(void)
{
    uint32_t *from = data_stored;

    for (uint32_t *p = data_begin; p < data_end; p++)
        *p = *from++;
    for (uint32_t *p = bss_begin; p < bss_end; p++)
        *p = 0;
    main();
    hang();
}
