#include "archives.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "arguments.h"
#include "error.h"

extern "C" {
#include "../util/archive_pump.h"
}

// The most that a user without privileges may have, by default.
static const int PIPE_BYTES = 1 << 20;

namespace
{

class Pump : public Napi::AsyncWorker
{
  public:
    Pump(Napi::Env env, int connection, int pipe, bool out)
        : Napi::AsyncWorker(env, "tsvm-archive"), deferred_(Napi::Promise::Deferred::New(env)),
          connection_(connection), pipe_(pipe), out_(out)
    {
    }

    ~Pump() override
    {
        free(answer_.payload);
    }

    Napi::Promise promise() const
    {
        return deferred_.Promise();
    }

  protected:
    void Execute() override
    {
        error_ = out_ ? archive_pump_out(connection_, pipe_, &answer_)
                      : archive_pump_in(pipe_, connection_, &answer_);
    }

    void OnOK() override
    {
        Napi::Env env = Env();
        if (error_ < 0) {
            deferred_.Reject(make_errno(env, error_, "archivePump").Value());
            return;
        }
        Napi::Object answer = Napi::Object::New(env);
        answer.Set("type", static_cast<double>(answer_.type));
        answer.Set("whole", answer_.whole);
        answer.Set("moved", static_cast<double>(answer_.moved));
        answer.Set("payload", Napi::Buffer<uint8_t>::Copy(env, answer_.payload, answer_.length));
        deferred_.Resolve(answer);
    }

  private:
    Napi::Promise::Deferred deferred_;
    int connection_;
    int pipe_;
    bool out_;
    int error_ = 0;
    struct archive_answer answer_ = {};
};

} // namespace

static Napi::Value archive_pump(const Napi::CallbackInfo &info)
{
    int connection, pipe;
    bool out;
    if (!to_fd(info[0], &connection) || !to_fd(info[1], &pipe) || !to_bool(info[2], &out))
        return Napi::Value();
    Pump *pump = new Pump(info.Env(), connection, pipe, out);
    Napi::Promise promise = pump->promise();
    pump->Queue();
    return promise;
}

static Napi::Value make_pipe(const Napi::CallbackInfo &info)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return throw_errno(info.Env(), -errno, "pipe2");
    // A smaller one is slower, no more.
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
    Napi::Array array = Napi::Array::New(info.Env(), 2);
    array.Set(0u, ends[0]);
    array.Set(1u, ends[1]);
    return array;
}

void define_archive_functions(Napi::Env env, Napi::Object exports)
{
    exports.Set("archivePump", Napi::Function::New(env, archive_pump, "archivePump"));
    exports.Set("makePipe", Napi::Function::New(env, make_pipe, "makePipe"));
}
