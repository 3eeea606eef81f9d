/* Loops that a caller may write, right and wrong ones; run by test_native.py for a network of batch 3 that takes bytes. */
#include "net.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#define CONTROL _mm_getcsr()
#else
#define CONTROL 0u
#endif

static uint8_t bytes[NET_BATCH * NET_INPUT_SIZE + 1];
static net_output expected[NET_BATCH * NET_OUTPUT_SIZE];
static int calls;

static void backwards(void *context, int32_t count, void (*function)(void *, int32_t), void *argument)
{
    unsigned before = CONTROL;
    ++*(int *)context;
    for (int32_t i = count - 1; i >= 0; i--)
        function(argument, i);
    if (CONTROL != before)
        printf("the loop's control word was changed\n");
}

static void lazy(void *context, int32_t count, void (*function)(void *, int32_t), void *argument)
{
    (void)context, (void)count, (void)function, (void)argument;
}

static void *many_times(void *failures)
{
    void *scratch = aligned_alloc(NET_ALIGNMENT, (NET_SCRATCH_BYTES + 63) / 64 * 64);
    static const size_t size = sizeof expected;
    net_output *output = malloc(size);
    for (int i = 0; i < 50; i++) {
        memset(output, 0, size);
        if (net_run_uint8(bytes + 1, output, scratch, NULL) != NET_OK || memcmp(output, expected, size) != 0)
            ++*(int *)failures;
    }
    free(output);
    free(scratch);
    return NULL;
}

int main(void)
{
    static net_output output[NET_BATCH * NET_OUTPUT_SIZE];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 % 251);
    void *scratch = aligned_alloc(NET_ALIGNMENT, (NET_SCRATCH_BYTES_FOR(3) + 63) / 64 * 64);
    unsigned before = CONTROL;
    if (net_run_uint8(bytes + 1, expected, scratch, NULL) != NET_OK || CONTROL != before)
        printf("the network does not run, or changed the control word\n");

    net_parallel parallel = {&calls, 3, backwards};
    int status = net_run_uint8(bytes + 1, output, scratch, &parallel);
    printf("backwards: %d %d\n", status, memcmp(output, expected, sizeof expected));
    printf("called: %d\n", calls > 0);
    parallel.run = lazy;
    printf("lazy: %d\n", net_run_uint8(bytes + 1, output, scratch, &parallel) == NET_ERROR_PARALLEL);
    parallel.run = NULL;
    printf("no loop: %d\n", net_run_uint8(bytes + 1, output, scratch, &parallel));

    pthread_t threads[4];
    int failures[4] = {0};
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, many_times, &failures[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    printf("at the same time: %d\n", failures[0] + failures[1] + failures[2] + failures[3]);
    printf("unknown: %d %d\n", net_class_name(NET_CLASSES) == NULL, net_status_text(-1) == NULL);
    free(scratch);
    return 0;
}
