/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests $n.o: cc -O2 ${n}_test.c $n.o -o ${n}_test -lpthread && ./${n}_test
 *
 *   ${n}_test                          compares outputs with the model's: serially, with two threads, between
 *                                      protected pages
 *   ${n}_test INPUT OUTPUT [THREADS]   runs the network on a file of samples
 *   ${n}_test --time [RUNS]            prints the median time of one sample in microseconds
$weights_usage */
#define _DEFAULT_SOURCE
#include "$n.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES $samples
#define THREADS 2

/* Bits of the numbers. For each level: the first sample alone, and all samples in one call. */
static const $bits_type golden_input[SAMPLES * ${N}_INPUT_SIZE] = {
$golden_input
};
static const $output_bits_type golden_single[${N}_LEVELS][${N}_OUTPUT_SIZE] = {
$golden_single
};
static const $output_bits_type golden_batch[${N}_LEVELS][SAMPLES * ${N}_OUTPUT_SIZE] = {
$golden_batch
};
/* Whether the expected outputs were computed by a processor of the level; else a difference of 1e-5 is allowed. */
static const int golden_exact[${N}_LEVELS] = {$golden_exact};
$golden_uint8
$weights_code
struct task {
    void (*function)(void *, int32_t);
    void *argument;
    int32_t index;
};

static void *start(void *pointer)
{
    struct task *task = pointer;
    task->function(task->argument, task->index);
    return NULL;
}

/* A parallel loop with a new thread for each iteration. A program has a pool of threads instead. */
static void threads_run(void *context, int32_t count, void (*function)(void *, int32_t), void *argument)
{
    pthread_t threads[64];
    struct task tasks[64];
    (void)context;
    for (int32_t i = 0; i < count; i++) {
        tasks[i] = (struct task){function, argument, i};
        if (pthread_create(&threads[i], NULL, start, &tasks[i]) != 0) {
            perror("pthread_create");
            exit(2);
        }
    }
    for (int32_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void *scratch_for(int32_t threads)
{
    size_t size = (${n}_scratch_size(threads) + 63) / 64 * 64;
    void *scratch = NULL;
    if (posix_memalign(&scratch, ${N}_ALIGNMENT, size) != 0) {
        fprintf(stderr, "no memory for %zu bytes of scratch\n", size);
        exit(2);
    }
    memset(scratch, 0xff, size); /* numbers in scratch memory are NaN until the network has written them */
    memset(scratch, 0, ${N}_ALIGNMENT);
    return scratch;
}

static int check(const char *what, int status, const ${n}_output *found, const void *expected, size_t count)
{
    if (status != ${N}_OK) {
        printf("%s: %s\n", what, ${n}_status_text(status));
        return 1;
    }
    if (memcmp(found, expected, count * sizeof *found) == 0) {
        printf("%s: equal\n", what);
        return 0;
    }
    const ${n}_output *wanted = expected;
    double worst = 0, largest = 1;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)found[i] - (double)wanted[i];
        double size = (double)wanted[i] < 0 ? -(double)wanted[i] : (double)wanted[i];
        difference = difference < 0 ? -difference : difference;
        if (!(difference <= worst))
            worst = difference;
        if (size > largest)
            largest = size;
    }
    int accepted = !golden_exact[${n}_level()] && worst <= 1e-5 * largest;
    printf("%s: differs by %g%s\n", what, worst, accepted ? ", accepted" : "");
    return !accepted;
}

/* Memory of size bytes that ends, or begins, at a protected page. */
static void *guarded(size_t size, int at_end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
    char *base = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + page, room, PROT_READ | PROT_WRITE) != 0) {
        perror("mmap");
        exit(2);
    }
    memset(base + page, 0xff, room);
    return base + page + (at_end ? room - size : 0);
}

static int test_guarded(int level, const ${n}_parallel *parallel)
{
    int failures = 0;
    for (int at_end = 0; at_end < 2; at_end++) {
        ${n}_input *input = guarded(sizeof golden_input, at_end);
        ${n}_output *output = guarded(sizeof golden_batch[0], at_end);
        void *scratch = guarded(${n}_scratch_size(THREADS), at_end);
        memset(scratch, 0, ${N}_ALIGNMENT);
        memcpy(input, golden_input, sizeof golden_input);
        int status = ${n}_run_batch(${weights_value}SAMPLES, input, output, scratch, parallel);
        failures += check(
            at_end ? "before a protected page" : "after a protected page", status, output, golden_batch[level],
            SAMPLES * ${N}_OUTPUT_SIZE);
    }
    return failures;
}

static int test(void)
{
    int32_t level = ${n}_level();
    if (level < 0) {
        printf("%s\n", ${n}_status_text(${N}_ERROR_PROCESSOR));
        return 1;
    }
    printf("%s\n", ${n}_target(level));
    static ${n}_output output[SAMPLES * ${N}_OUTPUT_SIZE];
    const ${n}_input *input = (const ${n}_input *)(const void *)golden_input;
    ${n}_parallel parallel = {NULL, THREADS, threads_run};
    void *scratch = scratch_for(THREADS);
    int failures = ${n}_abi_version() != ${N}_ABI_VERSION || ${n}_scratch_size(1) != ${N}_SCRATCH_BYTES ||
        ${n}_scratch_size(3) != ${N}_SCRATCH_BYTES_FOR(3) || ${n}_input_size() != ${N}_INPUT_SIZE ||
        ${n}_output_size() != ${N}_OUTPUT_SIZE || ${n}_batch() != ${N}_BATCH;
    int status = ${n}_run_batch(${weights_value}1, input, output, scratch, NULL);
    failures += check("one sample", status, output, golden_single[level], ${N}_OUTPUT_SIZE);
    status = ${n}_run_batch(${weights_value}1, input, output, scratch, &parallel);
    failures += check("one sample, two threads", status, output, golden_single[level], ${N}_OUTPUT_SIZE);
    status = ${n}_run_batch(${weights_value}SAMPLES, input, output, scratch, NULL);
    failures += check("all samples", status, output, golden_batch[level], SAMPLES * ${N}_OUTPUT_SIZE);
    status = ${n}_run_batch(${weights_value}SAMPLES, input, output, scratch, &parallel);
    failures += check("all samples, two threads", status, output, golden_batch[level], SAMPLES * ${N}_OUTPUT_SIZE);
$uint8_test    failures += test_guarded(level, &parallel);
    failures += ${n}_run_batch(${weights_value}0, input, output, scratch, NULL) != ${N}_ERROR_COUNT;
    failures += ${n}_run_batch(${weights_value}1, input, output, (char *)scratch + 4, NULL) != ${N}_ERROR_ALIGNMENT;
    failures += ${n}_run_batch(${weights_value}1, input, NULL, scratch, NULL) != ${N}_ERROR_POINTER;
    free(scratch);
    printf(failures ? "%d failures\n" : "ok\n", failures);
    return failures != 0;
}

static int run_file(const char *from, const char *to, int32_t threads)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    if (in == NULL || out == NULL) {
        perror(in == NULL ? from : to);
        return 2;
    }
    ${n}_input *input = malloc(sizeof *input * ${N}_INPUT_SIZE * ${N}_BATCH);
    ${n}_output *output = malloc(sizeof *output * ${N}_OUTPUT_SIZE * ${N}_BATCH);
    void *scratch = scratch_for(threads);
    ${n}_parallel parallel = {NULL, threads, threads_run};
    size_t count;
    while ((count = fread(input, sizeof *input * ${N}_INPUT_SIZE, ${N}_BATCH, in)) > 0) {
        int status = ${n}_run_batch(${weights_value}(int32_t)count, input, output, scratch, threads > 1 ? &parallel : NULL);
        if (status != ${N}_OK) {
            fprintf(stderr, "%s\n", ${n}_status_text(status));
            return 1;
        }
        fwrite(output, sizeof *output * ${N}_OUTPUT_SIZE, count, out);
    }
    free(input);
    free(output);
    free(scratch);
    fclose(in);
    return fclose(out) != 0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int time_runs(int runs)
{
    void *scratch = scratch_for(1);
    static ${n}_output output[${N}_OUTPUT_SIZE];
    double *times = malloc(sizeof *times * (size_t)runs);
    for (int i = 0; i < runs; i++) {
        struct timespec before, after;
        clock_gettime(CLOCK_MONOTONIC, &before);
        ${n}_run_batch(${weights_value}1, (const ${n}_input *)(const void *)golden_input, output, scratch, NULL);
        clock_gettime(CLOCK_MONOTONIC, &after);
        times[i] = 1e6 * (double)(after.tv_sec - before.tv_sec) + 1e-3 * (double)(after.tv_nsec - before.tv_nsec);
    }
    qsort(times, (size_t)runs, sizeof *times, ascending);
    printf("%.2f us\n", times[runs / 2]);
    free(times);
    free(scratch);
    return 0;
}

int main(int argc, char **argv)
{
$weights_open    if (argc > 1 && strcmp(argv[1], "--time") == 0)
        return time_runs(argc > 2 ? atoi(argv[2]) : 1001);
    if (argc > 2)
        return run_file(argv[1], argv[2], argc > 3 ? atoi(argv[3]) : 1);
    return test();
}
