/* trine.h: the runtime of Trine for C99 and C++.
 *
 * A model that `trine compile` wrote to a `.trine` file is opened, shared by any number of threads, and run by sessions.
 * The library has no compiler in it and no global state.
 *
 * `cargo build --release -p trine-capi` builds it. A program links with the archive:
 *
 *     cc -std=c99 -I runtime/capi/include run.c target/release/libtrine_c.a -lpthread -ldl -lm -o run
 *
 * or with the shared library, `-L target/release -ltrine_c`, which must then be found where the program runs.
 *
 * STATUSES. A function that can fail returns a status: TRINE_OK, which is zero, or what went wrong. The last argument
 * is the caller's `trine_error`, or NULL where the text is not wanted; it is written in both cases. After an error
 * handles and pointers that were to be set are NULL, and other results are not written unless a function says so. A
 * pointer that is NULL where a function needs one is an error, not a crash. Pointers that are not NULL have to be
 * valid, and handles to be ones that are not closed: no library can check that.
 *
 * THREADS. Any number of threads may use one model at once. A session belongs to one thread at a time: it may move from
 * one to another, and no two calls on it may overlap. Sessions of one model run at once without waiting for each other.
 *
 * LIFETIMES. Sessions keep what they need of their model, which may be closed before them. Nothing that a function
 * returns a pointer to is to be freed but by the function that closes it. Closing NULL does nothing.
 *
 * TRUST. A `.trine` file is code, and whoever opens one runs it: open only files that you would run as a program.
 *
 * Text is UTF-8 and ends with a zero byte. Sizes of memory are bytes. A program built with this header runs with each
 * library of the same TRINE_ABI_VERSION: options, and structures in memory of the library, only ever grow at their ends.
 */
#ifndef TRINE_H
#define TRINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRINE_ABI_VERSION 1

/* The version of Trine, such as "0.1.0". */
const char *trine_version(void);
/* TRINE_ABI_VERSION of the library, which a program may compare with that of its header. */
uint32_t trine_abi_version(void);

/* What a call came to, and whose fault it is. */
typedef int32_t trine_status;
enum {
    TRINE_OK = 0,
    /* The caller's: an argument is NULL, out of range or not what it has to be. */
    TRINE_ARGUMENT = 1,
    /* The file cannot be read, is damaged, or is of another format. */
    TRINE_FILE = 2,
    /* The file has no code that this machine can run. */
    TRINE_MACHINE = 3,
    /* The caller's: an input is missing, or its type or sizes are not the model's. */
    TRINE_INPUT = 4,
    /* A buffer of the caller's is too small. */
    TRINE_BUFFER = 5,
    /* States are full, do not fit, or saved ones are damaged. */
    TRINE_STATE = 6,
    /* There is not as much memory. */
    TRINE_MEMORY = 7,
    /* A step of the model failed on the data that it was given. */
    TRINE_RUN = 8,
    /* A defect of Trine. A session that it happened in can only be closed. */
    TRINE_INTERNAL = 9
};
/* The name of a status, such as "TRINE_FILE"; "TRINE_UNKNOWN" of what is none. */
const char *trine_status_name(trine_status status);

#define TRINE_ERROR_TEXT 1020
/* What went wrong, in memory of the caller. Nothing of it is to be freed. */
typedef struct trine_error {
    trine_status status;
    /* One sentence; empty after success. A longer one is cut and ends with three points. */
    char text[TRINE_ERROR_TEXT];
} trine_error;

/* Types of elements, by their numbers in ONNX. Elements of less than 8 bits are packed, low bits first. */
typedef int32_t trine_elem;
enum {
    TRINE_F32 = 1,
    TRINE_U8 = 2,
    TRINE_I8 = 3,
    TRINE_U16 = 4,
    TRINE_I16 = 5,
    TRINE_I32 = 6,
    TRINE_I64 = 7,
    /* One byte, which is 0 or 1. */
    TRINE_BOOL = 9,
    TRINE_F16 = 10,
    TRINE_F64 = 11,
    TRINE_U32 = 12,
    TRINE_U64 = 13,
    TRINE_BF16 = 16,
    TRINE_F8E4M3 = 17,
    TRINE_F8E4M3UZ = 18,
    TRINE_F8E5M2 = 19,
    TRINE_F8E5M2UZ = 20,
    TRINE_U4 = 21,
    TRINE_I4 = 22,
    TRINE_F4E2M1 = 23,
    TRINE_F8E8M0 = 24,
    TRINE_U2 = 25,
    TRINE_I2 = 26,
    /* One of -1, 0 and 1 in two bits, as the value plus 1. ONNX does not have it. */
    TRINE_TRIT = 256
};
/* The name of a type, such as "f32"; NULL of what is none. */
const char *trine_elem_name(trine_elem elem);
/* The bits of an element; 0 of what is none. */
size_t trine_elem_bits(trine_elem elem);

/* ---- Models ---- */

typedef struct trine_model trine_model;

enum {
    /* TRINE_WEIGHTS_MAP for files, TRINE_WEIGHTS_COPY for memory. */
    TRINE_WEIGHTS_DEFAULT = 0,
    /* Weights stay in the file, or in the caller's memory. They must not change and not go away until the model and all of
     * its sessions are closed. */
    TRINE_WEIGHTS_MAP = 1,
    /* Weights are copied, and the file or the memory is not needed once the model is open. */
    TRINE_WEIGHTS_COPY = 2
};

/* How a model is opened; zero is the default of all. */
typedef struct trine_open_options {
    /* sizeof(trine_open_options), by which the library knows what the caller knows. */
    size_t size;
    int32_t weights;
    /* 1 leaves out the check of the weights, which reads all of them: about 25 ms for 600 MB. All else is always checked. */
    int32_t skip_weight_check;
} trine_open_options;
#define TRINE_OPEN_OPTIONS { sizeof(trine_open_options), 0, 0 }

/* Opens the file at `path`, which is as the system has it where that is not UTF-8; `options` may be NULL. */
trine_status trine_model_open(const char *path, const trine_open_options *options, trine_model **model,
                              trine_error *error);
/* Opens a file that lies in memory; `options` may be NULL. Weights that are not aligned to 64 bytes are always copied. */
trine_status trine_model_open_memory(const void *bytes, size_t size, const trine_open_options *options,
                                     trine_model **model, trine_error *error);
void trine_model_close(trine_model *model);

/* An input or output of a model, in memory of the model. */
typedef struct trine_port {
    const char *name;
    trine_elem elem;
    size_t rank;
    /* `rank` sizes, -1 where the caller decides. */
    const int64_t *dims;
    /* `rank` sizes as text, such as "64", "batch" or "past+seq". */
    const char *const *dim_texts;
    /* Of an input that a session may hold as a state: the index of the output that it becomes. Of such an output: the
     * index of the input. -1 of all others. */
    int64_t state;
    /* The axis of positions of a state, along which it grows; -1 of states whose size stays, and of what is none. */
    int64_t position_axis;
} trine_port;

/* How many inputs and outputs there are; 0 for NULL. */
size_t trine_model_input_count(const trine_model *model);
size_t trine_model_output_count(const trine_model *model);
/* Sets `port` to input or output `index`, which stays where it is until the model is closed. */
trine_status trine_model_input(const trine_model *model, size_t index, const trine_port **port, trine_error *error);
trine_status trine_model_output(const trine_model *model, size_t index, const trine_port **port, trine_error *error);

/* ---- Sessions ---- */

typedef struct trine_session trine_session;

/* How a session runs; zero is the default of all. */
typedef struct trine_session_options {
    /* sizeof(trine_session_options). */
    size_t size;
    /* Threads that share each run, the caller's among them; 0 is 1. */
    size_t threads;
    /* Positions to hold for the model's states (KV caches). With it, inputs that are states are not given and outputs that
     * are states not taken: the session feeds them back. 0 is none, and states are inputs and outputs as any other. */
    size_t state_capacity;
} trine_session_options;
#define TRINE_SESSION_OPTIONS { sizeof(trine_session_options), 0, 0 }

/* Makes a session; `options` may be NULL. */
trine_status trine_session_open(const trine_model *model, const trine_session_options *options,
                                trine_session **session, trine_error *error);
void trine_session_close(trine_session *session);

/* Gives input `name` for the next run: `rank` sizes, and `size` bytes of elements, row after row, which are not copied and
 * have to stay until that run is done. `dims` may be NULL if `rank` is 0, and `data` if `size` is 0. An input that is given
 * twice is what it was given last; after an error it is not given. A run, failed or not, forgets its inputs. */
trine_status trine_session_set_input(trine_session *session, const char *name, trine_elem elem, const int64_t *dims,
                                     size_t rank, const void *data, size_t size, trine_error *error);
/* Runs on the inputs that were given. After an error there are no outputs, and the session holds the positions that it
 * held; a state whose size stays may hold what the run wrote. */
trine_status trine_session_run(trine_session *session, trine_error *error);

/* An output of the last run, in memory of the session. */
typedef struct trine_tensor {
    const char *name;
    trine_elem elem;
    size_t rank;
    const int64_t *dims;
    const void *data;
    /* Bytes of `data`. */
    size_t size;
} trine_tensor;

/* Sets `tensor` to output `name`, which stays where it is until the next run, or until the session is closed. */
trine_status trine_session_output(trine_session *session, const char *name, const trine_tensor **tensor,
                                  trine_error *error);
/* Copies output `name` to `buffer` of `capacity` bytes. Where it is smaller than the output nothing is copied, and the
 * status is TRINE_BUFFER. `size`, which may be NULL, is set to the bytes of the output in both cases. */
trine_status trine_session_copy_output(trine_session *session, const char *name, void *buffer, size_t capacity,
                                       size_t *size, trine_error *error);

/* ---- States ---- */

/* How many positions a session holds; 0 for NULL, and where no state grows. */
size_t trine_session_filled(const trine_session *session);
/* Forgets all that is held, as if nothing had run. */
trine_status trine_session_reset(trine_session *session, trine_error *error);
/* Forgets the positions from `filled` on. States whose size stays are as they were. */
trine_status trine_session_truncate(trine_session *session, size_t filled, trine_error *error);
/* Copies what is held to `buffer` of `capacity` bytes, as bytes with a version and a checksum. With a `buffer` that is NULL
 * nothing is copied and the status is TRINE_OK; where it is too small the status is TRINE_BUFFER. `size` is set to the bytes
 * that are needed in all three cases. */
trine_status trine_session_save(trine_session *session, void *buffer, size_t capacity, size_t *size,
                                trine_error *error);
/* Holds what was saved, of a session of this model, whatever its threads and its capacity. Where it does not fit, or is not
 * what was saved, the session holds what it held; where there is no memory for it, nothing. */
trine_status trine_session_restore(trine_session *session, const void *bytes, size_t size, trine_error *error);
/* Makes another session with the same options, which holds a copy of what this one holds. It has no inputs and outputs. */
trine_status trine_session_fork(trine_session *session, trine_session **fork, trine_error *error);

#ifdef __cplusplus
}
#endif

#endif
