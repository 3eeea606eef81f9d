/* Classifies samples of float32 from standard input with a native network, and prints the names of their classes.
 *
 *   striate export runs/digits --native -o net/
 *   cc -O2 -Inet examples/native/classify.c net/net.o -o classify
 *   ./classify < samples.f32
 */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>

static int largest(const net_output *scores)
{
    int best = 0;
    for (int i = 1; i < NET_OUTPUT_SIZE; i++)
        if (scores[i] > scores[best])
            best = i;
    return best;
}

int main(void)
{
    static net_input input[NET_INPUT_SIZE];
    static net_output output[NET_OUTPUT_SIZE];
    void *scratch = aligned_alloc(NET_ALIGNMENT, (NET_SCRATCH_BYTES + NET_ALIGNMENT - 1) / NET_ALIGNMENT * NET_ALIGNMENT);
    if (scratch == NULL)
        return 2;
    while (fread(input, sizeof input, 1, stdin) == 1) {
        int status = net_run_batch(1, input, output, scratch, NULL);
        if (status != NET_OK) {
            fprintf(stderr, "%s\n", net_status_text(status));
            return 1;
        }
        int best = largest(output);
        const char *name = net_class_name(best);
        if (name != NULL)
            printf("%s\n", name);
        else
            printf("class %d\n", best);
    }
    free(scratch);
    return 0;
}
