// Reads a prompt with a compiled language model and goes on from it, twice: what it held after the prompt is saved, restored
// and forked, so that the prompt is read once.
//
//     decode MODEL.trine COUNT TOKEN...
//
// The model takes `input_ids` and `position_ids` as i64[1,n] and `attention_mask` as i64[1,read+n], holds the rest as states,
// and gives `logits` as f32[1,n,vocabulary].
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "trine.h"

// A status that is not TRINE_OK.
struct Error : std::runtime_error {
    Error(trine_status status, const char *text)
        : std::runtime_error(std::string(trine_status_name(status)) + ": " + text) {}
};

// Calls a function with the arguments and an error after them.
template <class Function, class... Arguments>
void call(Function function, Arguments... arguments)
{
    trine_error error;
    trine_status status = function(arguments..., &error);
    if (status != TRINE_OK)
        throw Error(status, error.text);
}

struct CloseModel {
    void operator()(trine_model *model) const { trine_model_close(model); }
};
struct CloseSession {
    void operator()(trine_session *session) const { trine_session_close(session); }
};
using Model = std::unique_ptr<trine_model, CloseModel>;

// Opens a model that lies in memory, as one does that is part of the program. Its weights are copied.
static Model open_model(const std::vector<char> &file)
{
    trine_model *model = nullptr;
    call(trine_model_open_memory, static_cast<const void *>(file.data()), file.size(), nullptr, &model);
    return Model(model);
}

static std::vector<char> read_file(const char *path)
{
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw std::runtime_error(std::string("cannot read ") + path);
    return std::vector<char>(std::istreambuf_iterator<char>(file), {});
}

// What has read some tokens.
class Decoder {
public:
    Decoder(const trine_model *model, size_t capacity)
    {
        trine_session_options options = TRINE_SESSION_OPTIONS;
        options.state_capacity = capacity;
        trine_session *session = nullptr;
        call(trine_session_open, model, &options, &session);
        session_.reset(session);
    }

    // Another one that has read the same.
    Decoder fork() const
    {
        trine_session *session = nullptr;
        call(trine_session_fork, session_.get(), &session);
        return Decoder(session);
    }

    // Reads more tokens; the logits of what comes next are there until it reads again.
    std::vector<float> read(const std::vector<int64_t> &tokens)
    {
        const std::vector<int64_t> mask(length() + tokens.size(), 1);
        std::vector<int64_t> positions(tokens.size());
        std::iota(positions.begin(), positions.end(), static_cast<int64_t>(length()));
        give("input_ids", tokens);
        give("position_ids", positions);
        give("attention_mask", mask);
        call(trine_session_run, session_.get());
        const trine_tensor *logits = nullptr;
        call(trine_session_output, session_.get(), "logits", &logits);
        if (logits->elem != TRINE_F32 || logits->rank != 3 || logits->dims[1] < 1)
            throw std::runtime_error("the logits are not f32[1,n,vocabulary]");
        const float *all = static_cast<const float *>(logits->data);
        const float *last = all + (logits->dims[1] - 1) * logits->dims[2];
        return std::vector<float>(last, last + logits->dims[2]);
    }

    std::vector<unsigned char> save() const
    {
        size_t size = 0;
        call(trine_session_save, session_.get(), nullptr, size_t{0}, &size);
        std::vector<unsigned char> bytes(size);
        call(trine_session_save, session_.get(), static_cast<void *>(bytes.data()), bytes.size(), &size);
        return bytes;
    }

    void restore(const std::vector<unsigned char> &bytes)
    {
        call(trine_session_restore, session_.get(), static_cast<const void *>(bytes.data()), bytes.size());
    }

    void reset() { call(trine_session_reset, session_.get()); }

    size_t length() const { return trine_session_filled(session_.get()); }

private:
    // Gives an input of one row, which has to stay until the run is done.
    void give(const char *name, const std::vector<int64_t> &row)
    {
        const int64_t dims[] = {1, static_cast<int64_t>(row.size())};
        call(trine_session_set_input, session_.get(), name, TRINE_I64, dims, size_t{2},
             static_cast<const void *>(row.data()), row.size() * sizeof(int64_t));
    }

    explicit Decoder(trine_session *session) : session_(session) {}

    std::unique_ptr<trine_session, CloseSession> session_;
};

// The most likely token.
static int64_t pick(const std::vector<float> &logits)
{
    return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

// Goes on for `count` tokens after `logits` and prints them.
static void go_on(const char *what, Decoder &decoder, std::vector<float> logits, long count)
{
    std::printf("%s:", what);
    for (long i = 0; i < count; i++) {
        int64_t token = pick(logits);
        std::printf(" %lld", static_cast<long long>(token));
        logits = decoder.read({token});
    }
    std::printf("\nlogits of %s:", what);
    for (float logit : logits)
        std::printf(" %.9g", static_cast<double>(logit));
    std::printf("\n");
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        std::fprintf(stderr, "usage: decode MODEL.trine COUNT TOKEN...\n");
        return 2;
    }
    try {
        const long count = std::strtol(argv[2], nullptr, 10);
        std::vector<int64_t> prompt;
        for (int i = 3; i < argc; i++)
            prompt.push_back(std::strtoll(argv[i], nullptr, 10));
        Model model = open_model(read_file(argv[1]));
        Decoder decoder(model.get(), prompt.size() + static_cast<size_t>(count));
        const std::vector<float> logits = decoder.read(prompt);
        const std::vector<unsigned char> saved = decoder.save();
        Decoder fork = decoder.fork();
        // Each keeps what it needs of the model.
        model.reset();
        go_on("first", decoder, logits, count);
        decoder.reset();
        decoder.restore(saved);
        std::printf("restored: %zu tokens in %zu bytes\n", decoder.length(), saved.size());
        go_on("again", decoder, logits, count);
        go_on("fork", fork, logits, count);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
