/* SPDX-License-Identifier: Apache-2.0
 *
 * $title, written by striate $striate. The weights and class names are those of the exported model.
 *
 * The functions use no library, allocate nothing, and change nothing but their output and scratch memory: any number of
 * threads may call them at the same time, each with scratch memory of its own.
 *
 *   input   $input_comment
 *   output  $output_comment
 *   target  $target_comment
 */
#ifndef ${N}_H
#define ${N}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ${N}_ABI_VERSION $abi_version
#define ${N}_TARGET "$target"
#define ${N}_LEVELS $levels

/* The largest number of samples in one call, and the sizes of one sample. */
#define ${N}_BATCH $batch
#define ${N}_INPUT_SIZE $input_size /* elements */
#define ${N}_INPUT_RANK $input_rank
#define ${N}_INPUT_SHAPE {$input_shape}
#define ${N}_OUTPUT_SIZE $output_size /* elements */
#define ${N}_OUTPUT_RANK $output_rank
#define ${N}_OUTPUT_SHAPE {$output_shape}
#define ${N}_CLASSES $classes
#define ${N}_CLASS_NAMES {$class_names}
#define ${N}_TAKES_UINT8 $takes_uint8

typedef $input_type ${n}_input;
typedef $output_type ${n}_output;

/* Scratch memory in bytes, aligned to ${N}_ALIGNMENT. It may contain anything. Its first ${N}_ALIGNMENT bytes remember
 * from one call to the next that the processor was checked; zero them once if a tool reports uninitialized reads. */
#define ${N}_ALIGNMENT 64
#define ${N}_SCRATCH_BYTES $scratch_bytes /* for one thread */
#define ${N}_SCRATCH_BYTES_FOR(threads) ($scratch_fixed + (size_t)$scratch_per_thread * (size_t)(threads))

$weights_macros/* What the functions return. */
enum ${n}_status {
$status_list
};

/* The caller's parallel loop. run must call function(argument, i) once for each i from 0 to count - 1, in any order and
 * on any threads, and return when all calls have returned. count is at most threads. The outputs have the same bits with
 * any loop, and with NULL, which runs everything on the calling thread. */
typedef struct ${n}_parallel {
    void *context;
    int32_t threads; /* the scratch memory must have ${N}_SCRATCH_BYTES_FOR(threads) bytes */
    void (*run)(void *context, int32_t count, void (*function)(void *argument, int32_t index), void *argument);
} ${n}_parallel;

/* Computes ${N}_BATCH samples; returns ${N}_OK or an error. */
int ${n}_run(${weights_argument}const ${n}_input *input, ${n}_output *output, void *scratch,
    const ${n}_parallel *parallel);

/* Computes count samples, 1 to ${N}_BATCH. */
int ${n}_run_batch(${weights_argument}int32_t count, const ${n}_input *input, ${n}_output *output, void *scratch,
    const ${n}_parallel *parallel);
$uint8_functions
/* The macros above as functions, for programs that load the network without its header. */
int32_t ${n}_abi_version(void);
int32_t ${n}_alignment(void);
size_t ${n}_scratch_size(int32_t threads); /* bytes */
int32_t ${n}_batch(void);
int32_t ${n}_input_size(void);
int32_t ${n}_input_rank(void);
const int32_t *${n}_input_shape(void);
int32_t ${n}_output_size(void);
int32_t ${n}_output_rank(void);
const int32_t *${n}_output_shape(void);
int32_t ${n}_classes(void);
int32_t ${n}_levels(void);

/* The index of the target that runs on this computer, or -1 if none does; ${n}_target(level) is its name. The check can
 * take microseconds in a virtual machine. */
int32_t ${n}_level(void);
const char *${n}_target(int32_t level);

/* The name of a class and the meaning of a status; NULL if there is none. */
const char *${n}_class_name(int32_t number);
const char *${n}_status_text(int32_t status);

#ifdef __cplusplus
}
#endif

#endif
