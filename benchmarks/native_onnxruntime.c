/* Print the median time in microseconds of OrtApi.Run on one thread, in C.

     native_onnxruntime LIBRARY MODEL INPUT OUTPUT CALLS CLASSES AXIS...  < input.bin > output.bin

   LIBRARY is libonnxruntime.so, INPUT and OUTPUT are the names of the model's arrays, and AXIS... is the shape of the
   input. The time goes to standard error. The header of onnxruntime is not needed: OrtApi is a table of functions whose
   order never changes, and the places of those that are called are listed here. */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    GET_ERROR_MESSAGE = 2, CREATE_ENV = 3, CREATE_SESSION = 7, RUN = 9, CREATE_SESSION_OPTIONS = 10,
    SET_OPTIMIZATION = 23, SET_INTRA_OP_THREADS = 24, CREATE_TENSOR_WITH_DATA = 49, CREATE_CPU_MEMORY_INFO = 69
};
enum { WARNING = 2, ALL_OPTIMIZATIONS = 99, FLOAT = 1, ARENA_ALLOCATOR = 1, MEMORY_DEFAULT = 0, API_VERSION = 13 };

typedef void *const *Api;
struct base {
    Api (*get_api)(uint32_t);
};
typedef void *(*Create)(int, const char *, void **);
typedef void *(*CreateSession)(void *, const char *, void *, void **);
typedef void *(*New)(void **);
typedef void *(*SetInt)(void *, int);
typedef void *(*CreateMemory)(int, int, void **);
typedef void *(*CreateTensor)(void *, void *, size_t, const int64_t *, size_t, int, void **);
typedef void *(*Run)(void *, void *, const char *const *, void *const *, size_t, const char *const *, size_t, void **);
typedef const char *(*Message)(void *);

static Api api;

static void check(void *status)
{
    if (status) {
        fprintf(stderr, "%s\n", ((Message)api[GET_ERROR_MESSAGE])(status));
        exit(1);
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments)
{
    if (count < 8)
        return 2;
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    struct base *(*get_base)(void) = (struct base * (*)(void)) dlsym(library, "OrtGetApiBase");
    api = get_base()->get_api(API_VERSION);
    const char *input_name = arguments[3], *output_name = arguments[4];
    int calls = atoi(arguments[5]), rank = count - 7;
    int64_t output_shape[2] = {1, atoi(arguments[6])}, shape[8];
    size_t size = 1;
    for (int i = 0; i < rank && i < 8; i++)
        size *= shape[i] = atoi(arguments[7 + i]);
    float *x = malloc(size * sizeof(float)), *y = calloc(output_shape[1], sizeof(float));
    double *times = malloc(calls * sizeof(double));
    if (fread(x, sizeof(float), size, stdin) != size)
        return 1;
    void *environment, *options, *session, *memory, *input, *output;
    check(((Create)api[CREATE_ENV])(WARNING, "benchmark", &environment));
    check(((New)api[CREATE_SESSION_OPTIONS])(&options));
    check(((SetInt)api[SET_INTRA_OP_THREADS])(options, 1));
    check(((SetInt)api[SET_OPTIMIZATION])(options, ALL_OPTIMIZATIONS));
    check(((CreateSession)api[CREATE_SESSION])(environment, arguments[2], options, &session));
    check(((CreateMemory)api[CREATE_CPU_MEMORY_INFO])(ARENA_ALLOCATOR, MEMORY_DEFAULT, &memory));
    CreateTensor tensor = (CreateTensor)api[CREATE_TENSOR_WITH_DATA];
    check(tensor(memory, x, size * sizeof(float), shape, rank, FLOAT, &input));
    check(tensor(memory, y, output_shape[1] * sizeof(float), output_shape, 2, FLOAT, &output));
    for (int i = 0; i < calls; i++) {
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        check(((Run)api[RUN])(session, NULL, &input_name, &input, 1, &output_name, 1, &output));
        clock_gettime(CLOCK_MONOTONIC, &end);
        times[i] = (end.tv_sec - start.tv_sec) * 1e6 + (end.tv_nsec - start.tv_nsec) / 1e3;
    }
    qsort(times, calls, sizeof(double), ascending);
    fprintf(stderr, "%.3f\n", times[calls / 2]);
    fwrite(y, sizeof(float), output_shape[1], stdout);
    return 0;
}
