/* Runs a compiled model once: `main DIM… INPUT-FILE… (OUTPUT-FILE BYTES)…`. */
#include <stdio.h>
#include <stdlib.h>

#include "model.h"

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
    return 0;
}
