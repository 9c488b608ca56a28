#include "host.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "arguments.h"
#include "error.h"

extern "C" {
#include "../backend/io_engine.h"
#include "../kvm/host_probe.h"
#include "../pvm/engine_probe.h"
#include "../util/end_deadline.h"
#include "../util/file_lock.h"
#include "../util/file_space.h"
#include "../util/terminal.h"
#include "../util/write_now.h"
}

static Napi::Value probe_host(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    std::string path;
    if (!to_string(info[0], &path))
        return Napi::Value();
    enum kvm_host host;
    struct vm_error failed;
    if (!kvm_host_probe(path.c_str(), &host, &failed))
        return throw_errno(env, failed.error, failed.call);
    Napi::Object result = Napi::Object::New(env);
    int works = host == KVM_HOST_PVM ? engine_probe(path.c_str()) : 0;
    if (works < 0)
        return throw_errno(env, works, "engine_probe");
    result.Set("emulatesKernelMode", Napi::Boolean::New(env, host == KVM_HOST_PVM));
    result.Set("interpreterWorks", Napi::Boolean::New(env, works == 1));
    return result;
}

static Napi::Value check_extension(const Napi::CallbackInfo &info)
{
    std::string path;
    uint32_t capability;
    if (!to_string(info[0], &path) || !to_u32(info[1], &capability))
        return Napi::Value();
    int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return throw_errno(info.Env(), errno, "open");
    int answer = ioctl(fd, KVM_CHECK_EXTENSION, capability);
    int error = errno;
    close(fd);
    if (answer < 0)
        return throw_errno(info.Env(), error, "KVM_CHECK_EXTENSION");
    return Napi::Number::New(info.Env(), answer);
}

static Napi::Value probe_io_uring(const Napi::CallbackInfo &info)
{
    return Napi::Boolean::New(info.Env(), io_engine_probe_io_uring());
}

static Napi::Value stock_io_uring(const Napi::CallbackInfo &info)
{
    uint32_t count;
    if (!to_u32(info[0], &count))
        return Napi::Value();
    int error = io_engine_stock_io_uring(count);
    return error < 0 ? throw_errno(info.Env(), error, "io_uring_setup") : info.Env().Undefined();
}

struct LockArguments {
    int fd;
    bool exclusive;
    uint64_t start;
    uint64_t length;
};

static bool to_lock_arguments(const Napi::CallbackInfo &info, LockArguments *out)
{
    return to_fd(info[0], &out->fd) && to_bool(info[1], &out->exclusive) &&
           to_u64(info[2], &out->start) && to_u64(info[3], &out->length);
}

static Napi::Value lock_file(const Napi::CallbackInfo &info)
{
    LockArguments lock;
    if (!to_lock_arguments(info, &lock))
        return Napi::Value();
    int error = file_lock(lock.fd, lock.exclusive, lock.start, lock.length);
    if (error < 0)
        return throw_errno(info.Env(), error, "fcntl");
    return info.Env().Undefined();
}

static Napi::Value is_file_locked(const Napi::CallbackInfo &info)
{
    LockArguments lock;
    if (!to_lock_arguments(info, &lock))
        return Napi::Value();
    int answer = file_lock_conflicts(lock.fd, lock.exclusive, lock.start, lock.length);
    if (answer < 0)
        return throw_errno(info.Env(), answer, "fcntl");
    return Napi::Boolean::New(info.Env(), answer == 1);
}

// Runs a seek function and returns the offset found.
static Napi::Value seek_file(const Napi::CallbackInfo &info, int64_t (*seek)(int, uint64_t))
{
    int fd;
    uint64_t offset;
    if (!to_fd(info[0], &fd) || !to_u64(info[1], &offset))
        return Napi::Value();
    int64_t found = seek(fd, offset);
    if (found < 0)
        return throw_errno(info.Env(), (int)found, "lseek");
    return Napi::Number::New(info.Env(), (double)found);
}

static Napi::Value seek_data(const Napi::CallbackInfo &info)
{
    return seek_file(info, file_seek_data);
}

static Napi::Value seek_hole(const Napi::CallbackInfo &info)
{
    return seek_file(info, file_seek_hole);
}

static Napi::Value allocate_file(const Napi::CallbackInfo &info)
{
    int fd;
    uint64_t offset;
    uint64_t length;
    if (!to_fd(info[0], &fd) || !to_u64(info[1], &offset) || !to_u64(info[2], &length))
        return Napi::Value();
    int error = file_allocate(fd, offset, length);
    if (error < 0)
        return throw_errno(info.Env(), error, "fallocate");
    return info.Env().Undefined();
}

static Napi::Value zero_file(const Napi::CallbackInfo &info)
{
    int fd;
    uint64_t offset;
    uint64_t length;
    bool deallocate;
    if (!to_fd(info[0], &fd) || !to_u64(info[1], &offset) || !to_u64(info[2], &length) ||
        !to_bool(info[3], &deallocate))
        return Napi::Value();
    int error = file_zero(fd, offset, length, deallocate);
    if (error < 0)
        return throw_errno(info.Env(), error, "fallocate");
    return info.Env().Undefined();
}

static Napi::Value write_bytes_now(const Napi::CallbackInfo &info)
{
    int fd;
    const uint8_t *bytes;
    size_t length;
    if (!to_fd(info[0], &fd) || !to_bytes(info[1], &bytes, &length))
        return Napi::Value();
    ssize_t written = write_now(fd, bytes, length);
    if (written < 0)
        return throw_errno(info.Env(), (int)written, "pwritev2");
    return Napi::Number::New(info.Env(), (double)written);
}

static Napi::Value make_terminal_raw(const Napi::CallbackInfo &info)
{
    int fd;
    if (!to_fd(info[0], &fd))
        return Napi::Value();
    struct termios saved;
    int error = terminal_make_raw(fd, &saved);
    if (error < 0)
        return throw_errno(info.Env(), error, "tcsetattr");
    return Napi::Buffer<uint8_t>::Copy(info.Env(), reinterpret_cast<uint8_t *>(&saved),
                                       sizeof saved);
}

static Napi::Value is_terminal_ours(const Napi::CallbackInfo &info)
{
    int fd;
    if (!to_fd(info[0], &fd))
        return Napi::Value();
    return Napi::Boolean::New(info.Env(), terminal_is_ours(fd));
}

static Napi::Value restore_terminal(const Napi::CallbackInfo &info)
{
    int fd;
    const uint8_t *bytes;
    size_t length;
    if (!to_fd(info[0], &fd) || !to_bytes(info[1], &bytes, &length))
        return Napi::Value();
    struct termios saved;
    if (length != sizeof saved)
        return throw_errno(info.Env(), EINVAL, "tcsetattr");
    memcpy(&saved, bytes, sizeof saved);
    int error = terminal_restore(fd, &saved);
    if (error < 0)
        return throw_errno(info.Env(), error, "tcsetattr");
    return info.Env().Undefined();
}

static Napi::Value set_end_deadline(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    struct end_times times = {.grace_ms = 0, .repeat_min_ms = END_REPEAT_MIN_MS};
    if (!info[0].IsArray())
        return throw_type_error(env, "an array of signal numbers is expected");
    if (!to_u32(info[1], &times.grace_ms))
        return Napi::Value();
    std::vector<int> signals;
    for (uint32_t i = 0; i < info[0].As<Napi::Array>().Length(); i++) {
        int number;
        if (!to_fd(info[0].As<Napi::Array>().Get(i), &number))
            return Napi::Value();
        signals.push_back(number);
    }
    int error = end_deadline_set(signals.data(), signals.size(), &times);
    if (error < 0)
        return throw_errno(env, error, "sigaction");
    return env.Undefined();
}

/* Node-API has no function for this; Node's executable exports V8's. */
static Napi::Value set_v8_option(const Napi::CallbackInfo &info)
{
    std::string text;
    if (!to_string(info[0], &text))
        return Napi::Value();
    const char *name = "_ZN2v82V818SetFlagsFromStringEPKc"; /* v8::V8::SetFlagsFromString */
    auto set_flags = (void (*)(const char *))dlsym(RTLD_DEFAULT, name);
    if (set_flags != NULL)
        set_flags(text.c_str());
    return Napi::Boolean::New(info.Env(), set_flags != NULL);
}

static Napi::Value exit_now(const Napi::CallbackInfo &info)
{
    uint32_t code;
    if (!to_u32(info[0], &code))
        return Napi::Value();
    _exit((int)code);
}

static Napi::Value fill_random(const Napi::CallbackInfo &info)
{
    const uint8_t *bytes;
    size_t length;
    if (!to_bytes(info[0], &bytes, &length))
        return Napi::Value();
    for (size_t done = 0; done < length;) {
        ssize_t got = getrandom((uint8_t *)bytes + done, length - done, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return throw_errno(info.Env(), errno, "getrandom");
        done += (size_t)got;
    }
    return info.Env().Undefined();
}

/* Of the OpenSSL in Node's executable. */
static Napi::Value hash_sha256(const Napi::CallbackInfo &info)
{
    const uint8_t *bytes;
    size_t length;
    if (!to_bytes(info[0], &bytes, &length))
        return Napi::Value();
    uint8_t digest[32];
    auto hash = (uint8_t * (*)(const uint8_t *, size_t, uint8_t *)) dlsym(RTLD_DEFAULT, "SHA256");
    if (hash == NULL || hash(bytes, length, digest) == NULL)
        return info.Env().Undefined();
    Napi::Uint8Array result = Napi::Uint8Array::New(info.Env(), sizeof digest);
    memcpy(result.Data(), digest, sizeof digest);
    return result;
}

void define_host_functions(Napi::Env env, Napi::Object exports)
{
    exports.Set("probeHost", Napi::Function::New(env, probe_host, "probeHost"));
    exports.Set("checkExtension", Napi::Function::New(env, check_extension, "checkExtension"));
    exports.Set("probeIoUring", Napi::Function::New(env, probe_io_uring, "probeIoUring"));
    exports.Set("stockIoUring", Napi::Function::New(env, stock_io_uring, "stockIoUring"));
    exports.Set("lockFile", Napi::Function::New(env, lock_file, "lockFile"));
    exports.Set("isFileLocked", Napi::Function::New(env, is_file_locked, "isFileLocked"));
    exports.Set("seekData", Napi::Function::New(env, seek_data, "seekData"));
    exports.Set("seekHole", Napi::Function::New(env, seek_hole, "seekHole"));
    exports.Set("allocateFile", Napi::Function::New(env, allocate_file, "allocateFile"));
    exports.Set("zeroFile", Napi::Function::New(env, zero_file, "zeroFile"));
    exports.Set("writeNow", Napi::Function::New(env, write_bytes_now, "writeNow"));
    exports.Set("makeTerminalRaw", Napi::Function::New(env, make_terminal_raw, "makeTerminalRaw"));
    exports.Set("isTerminalOurs", Napi::Function::New(env, is_terminal_ours, "isTerminalOurs"));
    exports.Set("restoreTerminal", Napi::Function::New(env, restore_terminal, "restoreTerminal"));
    exports.Set("setEndDeadline", Napi::Function::New(env, set_end_deadline, "setEndDeadline"));
    exports.Set("exitNow", Napi::Function::New(env, exit_now, "exitNow"));
    exports.Set("fillRandom", Napi::Function::New(env, fill_random, "fillRandom"));
    exports.Set("sha256", Napi::Function::New(env, hash_sha256, "sha256"));
    exports.Set("setV8Option", Napi::Function::New(env, set_v8_option, "setV8Option"));
}
