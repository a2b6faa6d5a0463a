/* Compares the scores of the images in vectors.h, byte by byte.
 *
 *     ./test                          the exit code says whether any byte differs
 *     ./test - < pixels > scores      the scores of images from standard input
 */
#include <stdio.h>
#include <string.h>

#include "net.h"
#include "vectors.h"

static int score_standard_input(void)
{
    static uint8_t pixels[sizeof vector_pixels[0]];
    int8_t scores[NAS_NUM_CLASSES];

    while (fread(pixels, sizeof pixels, 1, stdin) == 1) {
        nas_scores(pixels, scores);
        if (fwrite(scores, sizeof scores, 1, stdout) != 1)
            return 1;
    }
    return fflush(stdout) != 0;
}

int main(int argc, char **argv)
{
    int8_t scores[NAS_NUM_CLASSES];
    int num_different = 0;

    if (argc > 1 && strcmp(argv[1], "-") == 0)
        return score_standard_input();
    for (int i = 0; i < NAS_NUM_VECTORS; i++) {
        nas_scores(vector_pixels[i], scores);
        for (int k = 0; k < NAS_NUM_CLASSES; k++)
            num_different += scores[k] != vector_scores[i][k];
        printf("image %d: %s\n", i, nas_classes[nas_predict(vector_pixels[i])]);
    }
    printf("%d of %d bytes differ\n", num_different, NAS_NUM_VECTORS * NAS_NUM_CLASSES);
    return num_different != 0;
}
