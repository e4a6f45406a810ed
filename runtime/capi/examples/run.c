/* Runs a compiled model and prints what it takes and gives.
 *
 *     run MODEL.trine [RUNS]
 *
 * Sizes that are open are 2. Inputs are made up: element `i` is `i % 13 / 13`, which only f32 has.
 */
#include <stdio.h>
#include <stdlib.h>

#include "trine.h"

enum { OPEN_SIZE = 2, MOST_INPUTS = 16 };

/* An input that was made up. */
typedef struct input {
    int64_t *dims;
    float *data;
} input;

static void print_port(const char *what, const trine_port *port)
{
    size_t axis;
    printf("%s %s: %s[", what, port->name, trine_elem_name(port->elem));
    for (axis = 0; axis < port->rank; axis++)
        printf("%s%s", axis == 0 ? "" : ",", port->dim_texts[axis]);
    printf("]%s\n", port->state >= 0 ? ", a state" : "");
}

/* Prints the signature; zero if it went well. */
static int describe(const trine_model *model, trine_error *error)
{
    const trine_port *port;
    size_t i;
    for (i = 0; i < trine_model_input_count(model); i++) {
        if (trine_model_input(model, i, &port, error) != TRINE_OK)
            return 1;
        print_port("input", port);
    }
    for (i = 0; i < trine_model_output_count(model); i++) {
        if (trine_model_output(model, i, &port, error) != TRINE_OK)
            return 1;
        print_port("output", port);
    }
    return 0;
}

/* Makes up an input and gives it to the session; zero if it went well. */
static int give(trine_session *session, const trine_port *port, input *made, trine_error *error)
{
    size_t axis, i, count = 1;
    made->dims = malloc((port->rank + 1) * sizeof *made->dims);
    if (made->dims == NULL)
        return 1;
    for (axis = 0; axis < port->rank; axis++) {
        made->dims[axis] = port->dims[axis] < 0 ? OPEN_SIZE : port->dims[axis];
        count *= (size_t)made->dims[axis];
    }
    made->data = malloc((count + 1) * sizeof *made->data);
    if (made->data == NULL)
        return 1;
    for (i = 0; i < count; i++)
        made->data[i] = (float)(i % 13) / 13.0f;
    return trine_session_set_input(session, port->name, TRINE_F32, made->dims, port->rank, made->data,
                                   count * sizeof *made->data, error) != TRINE_OK;
}

/* Gives all inputs and runs; zero if it went well. */
static int run(const trine_model *model, trine_session *session, trine_error *error)
{
    input inputs[MOST_INPUTS] = {{NULL, NULL}};
    const trine_port *port;
    size_t i, count = trine_model_input_count(model);
    int failed = count > MOST_INPUTS;
    for (i = 0; i < count && !failed; i++)
        failed = trine_model_input(model, i, &port, error) != TRINE_OK || give(session, port, &inputs[i], error);
    if (!failed)
        failed = trine_session_run(session, error) != TRINE_OK;
    /* The run is done with them. */
    for (i = 0; i < MOST_INPUTS; i++) {
        free(inputs[i].dims);
        free(inputs[i].data);
    }
    return failed;
}

/* Prints all outputs, an element a line; zero if it went well. */
static int print(const trine_model *model, trine_session *session, trine_error *error)
{
    const trine_port *port;
    const trine_tensor *tensor;
    size_t i, element;
    for (i = 0; i < trine_model_output_count(model); i++) {
        if (trine_model_output(model, i, &port, error) != TRINE_OK ||
            trine_session_output(session, port->name, &tensor, error) != TRINE_OK)
            return 1;
        printf("%s has %zu bytes\n", tensor->name, tensor->size);
        if (tensor->elem != TRINE_F32)
            continue;
        for (element = 0; element < tensor->size / sizeof(float); element++)
            printf("%.9g\n", (double)((const float *)tensor->data)[element]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    trine_open_options how = TRINE_OPEN_OPTIONS;
    trine_model *model = NULL;
    trine_session *session = NULL;
    trine_error error = {TRINE_OK, ""};
    long i, runs = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
    int failed;
    if (argc < 2 || trine_abi_version() != TRINE_ABI_VERSION) {
        fprintf(stderr, "usage: run MODEL.trine [RUNS], with a library of ABI version %d\n", TRINE_ABI_VERSION);
        return 2;
    }
    how.weights = TRINE_WEIGHTS_MAP;
    failed = trine_model_open(argv[1], &how, &model, &error) != TRINE_OK || describe(model, &error) ||
             trine_session_open(model, NULL, &session, &error) != TRINE_OK;
    for (i = 0; i < runs && !failed; i++)
        failed = run(model, session, &error);
    failed = failed || print(model, session, &error);
    if (failed && error.status == TRINE_OK)
        fprintf(stderr, "the model has more than %d inputs, or memory is short\n", MOST_INPUTS);
    else if (failed)
        fprintf(stderr, "%s: %s\n", trine_status_name(error.status), error.text);
    trine_session_close(session);
    trine_model_close(model);
    return failed;
}
