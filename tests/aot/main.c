/* Runs a compiled model once: `main DIM… INPUT-FILE… (OUTPUT-FILE BYTES)…`; then by three threads, which has to give the
   same. States, where there are any, then begin as zeros and stay in place. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define PARTS 3
#ifdef MODEL_STATES
#define CAPACITY 32
#define STATES(call) (call)->states, CAPACITY,
#else
#define MODEL_STATES 0
#define STATES(call)
#endif

struct call {
    const void *const *inputs;
    void *outputs[MODEL_OUTPUTS + 1], *states[MODEL_STATES + 1];
    const int64_t *dims;
    void *arena;
    int64_t part, status;
    pthread_barrier_t *barrier;
};

static void *memory(size_t bytes) {
    void *start = aligned_alloc(64, (bytes / 64 + 1) * 64);
    if (!start) exit(3);
    return start;
}

static void *contents(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) exit(4);
    fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    void *data = memory(bytes);
    if (fread(data, 1, bytes, file) != bytes) exit(4);
    fclose(file);
    return data;
}

static void meet(void *barrier) { pthread_barrier_wait(barrier); }

static void *run_part(void *given) {
    struct call *call = given;
    call->status = model_run_part(call->inputs, call->outputs, call->dims, call->arena, STATES(call) call->part, PARTS,
                                  meet, call->barrier);
    return NULL;
}

static void make(struct call *call, const void *const *inputs, const int64_t *dims, int64_t parts) {
    call->inputs = inputs;
    call->dims = dims;
    call->arena = memory((size_t)model_arena_size_parts(dims, parts));
    for (int i = 0; i < MODEL_OUTPUTS; i++) {
        size_t bytes = (size_t)model_output_bytes(i, dims);
        call->outputs[i] = memset(memory(bytes), 0, bytes);
    }
#if MODEL_STATES
    for (int i = 0; i < MODEL_STATES; i++) {
        size_t bytes = (size_t)model_state_bytes(i, dims, CAPACITY);
        call->states[i] = memset(memory(bytes), 0, bytes);
    }
#endif
}

/* Whether threads give what one gives. */
static int compare_threads(const void *const *inputs, const int64_t *dims) {
    struct call one, calls[PARTS];
    pthread_t threads[PARTS];
    pthread_barrier_t barrier;
    make(&one, inputs, dims, 1);
    make(&calls[0], inputs, dims, PARTS);
    pthread_barrier_init(&barrier, NULL, PARTS);
#if MODEL_STATES
    if (model_run_held(inputs, one.outputs, dims, one.arena, one.states, CAPACITY)) return 0;
#else
    if (model_run(inputs, one.outputs, dims, one.arena)) return 0;
#endif
    for (int i = 0; i < PARTS; i++) {
        calls[i] = calls[0];
        calls[i].part = i;
        calls[i].barrier = &barrier;
        if (pthread_create(&threads[i], NULL, run_part, &calls[i])) return 0;
    }
    for (int i = 0; i < PARTS; i++) {
        if (pthread_join(threads[i], NULL) || calls[i].status) return 0;
    }
    for (int i = 0; i < MODEL_OUTPUTS; i++) {
        if (memcmp(one.outputs[i], calls[0].outputs[i], (size_t)model_output_bytes(i, dims))) return 0;
    }
#if MODEL_STATES
    for (int i = 0; i < MODEL_STATES; i++) {
        if (memcmp(one.states[i], calls[0].states[i], (size_t)model_state_bytes(i, dims, CAPACITY))) return 0;
    }
#endif
    calls[0].part = PARTS;
    run_part(&calls[0]);
    return calls[0].status == MODEL_STATUS_DIMS && model_arena_size_parts(dims, 0) == MODEL_STATUS_DIMS;
}

int main(int argc, char **argv) {
    int64_t dims[MODEL_DIMS + 1];
    const void *inputs[MODEL_INPUTS + 1];
    void *outputs[MODEL_OUTPUTS + 1];
    int at = 1;
    if (argc != at + MODEL_DIMS + MODEL_INPUTS + 2 * MODEL_OUTPUTS) return 2;
    for (int i = 0; i < MODEL_DIMS; i++) dims[i] = strtoll(argv[at++], NULL, 10);
    int64_t arena = model_arena_size(dims);
    printf("arena %lld\n", (long long)arena);
    if (arena < 0) return model_run(inputs, outputs, dims, NULL) == arena ? 5 : 6;
    for (int i = 0; i < MODEL_INPUTS; i++) inputs[i] = contents(argv[at++]);
    for (int i = 0; i < MODEL_OUTPUTS; i++) outputs[i] = memory(strtoull(argv[at + 2 * i + 1], NULL, 10));
    int64_t status = model_run(inputs, outputs, dims, memory((size_t)arena));
    if (status != 0) return 7;
    for (int i = 0; i < MODEL_OUTPUTS; i++, at += 2) {
        FILE *file = fopen(argv[at], "wb");
        size_t bytes = strtoull(argv[at + 1], NULL, 10);
        if (!file || fwrite(outputs[i], 1, bytes, file) != bytes || fclose(file)) return 8;
    }
    return compare_threads(inputs, dims) ? 0 : 9;
}
