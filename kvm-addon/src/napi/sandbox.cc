#include "sandbox.h"

#include <cerrno>
#include <string>
#include <vector>

#include "arguments.h"
#include "error.h"

extern "C" {
#include "../sandbox/cleaner.h"
#include "../sandbox/landlock.h"
#include "../sandbox/namespaces.h"
#include "../sandbox/sandbox.h"
}

static Napi::Value confine_threads(const Napi::CallbackInfo &info)
{
    int error = sandbox_enable_threads();
    if (error < 0)
        return throw_errno(info.Env(), error, "seccomp");
    return info.Env().Undefined();
}

// A path as node:fs takes it: a string, or bytes that are no UTF-8.
static bool to_path(Napi::Value value, std::string *out)
{
    if (value.IsString())
        return to_string(value, out);
    const uint8_t *bytes;
    size_t length;
    if (!to_bytes(value, &bytes, &length))
        return false;
    out->assign(reinterpret_cast<const char *>(bytes), length);
    return true;
}

// Fills `paths` with the rows of an array; `texts` keeps their paths.
static bool to_paths(Napi::Value list, std::vector<std::string> *texts,
                     std::vector<struct sandbox_path> *paths)
{
    if (!list.IsArray()) {
        throw_type_error(list.Env(), "an array of paths is expected");
        return false;
    }
    Napi::Array rows = list.As<Napi::Array>();
    for (uint32_t i = 0; i < rows.Length(); i++) {
        std::string text;
        uint32_t access;
        if (!get_option(rows.Get(i), "path", to_path, &text) ||
            !get_option(rows.Get(i), "access", to_u32, &access))
            return false;
        if (access > SANDBOX_CONNECT) {
            throw_errno(list.Env(), EINVAL, "access");
            return false;
        }
        texts->push_back(text);
        paths->push_back({nullptr, static_cast<enum sandbox_access>(access)});
    }
    for (size_t i = 0; i < paths->size(); i++)
        (*paths)[i].path = (*texts)[i].c_str();
    return true;
}

static Napi::Value confine_process(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    struct sandbox_needs needs = {};
    std::vector<std::string> texts;
    std::vector<struct sandbox_path> paths;
    if (!get_option(info[0], "connects", to_bool, &needs.connects) ||
        !get_option(info[0], "user", to_u32, &needs.user) ||
        !get_option(info[0], "writes", to_bool, &needs.writes) ||
        !to_paths(info[0].As<Napi::Object>().Get("paths"), &texts, &paths))
        return Napi::Value();
    needs.paths = paths.data();
    needs.path_count = paths.size();
    struct sandbox_report report;
    int error = sandbox_confine_process(&needs, &report);
    if (error < 0)
        return throw_errno(env, error, "sandbox");
    Napi::Object result = Napi::Object::New(env);
    result.Set("files", Napi::Boolean::New(env, report.files));
    result.Set("namespaces", Napi::Boolean::New(env, report.namespaces));
    result.Set("view", Napi::Boolean::New(env, report.view));
    return result;
}

static Napi::Value begin_namespaces(const Napi::CallbackInfo &info)
{
    std::vector<std::string> texts;
    std::vector<struct sandbox_path> paths;
    if (!to_paths(info[0], &texts, &paths))
        return Napi::Value();
    int error = namespaces_begin(paths.data(), paths.size());
    if (error < 0)
        return throw_errno(info.Env(), error, "pthread_create");
    return info.Env().Undefined();
}

static Napi::Value probe_sandbox(const Napi::CallbackInfo &info)
{
    int version = landlock_version();
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("seccomp", Napi::Boolean::New(info.Env(), sandbox_probe_seccomp() == 0));
    result.Set("landlockVersion", Napi::Number::New(info.Env(), version < 0 ? 0 : version));
    return result;
}

// A small program that outlives this process for a moment: see src/sandbox/cleaner.h.
static Napi::Value start_cleaner(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    std::vector<std::string> texts;
    std::vector<const char *> words;
    if (!info[0].IsArray())
        return throw_type_error(env, "an array of words is expected");
    for (uint32_t i = 0; i < info[0].As<Napi::Array>().Length(); i++) {
        std::string text;
        if (!to_path(info[0].As<Napi::Array>().Get(i), &text))
            return Napi::Value();
        texts.push_back(text);
    }
    for (const std::string &text : texts)
        words.push_back(text.c_str());
    struct cleaner cleaner;
    int error = cleaner_start(&cleaner, words.data(), words.size());
    if (error < 0)
        return throw_errno(env, error, "posix_spawn");
    Napi::Object result = Napi::Object::New(env);
    result.Set("pid", Napi::Number::New(env, cleaner.pid));
    result.Set("fd", Napi::Number::New(env, cleaner.fd));
    return result;
}

static Napi::Value finish_cleaner(const Napi::CallbackInfo &info)
{
    int pid;
    int fd;
    if (!get_option(info[0], "pid", to_fd, &pid) || !get_option(info[0], "fd", to_fd, &fd))
        return Napi::Value();
    struct cleaner cleaner = {pid, fd};
    cleaner_finish(&cleaner);
    return info.Env().Undefined();
}

void define_sandbox_functions(Napi::Env env, Napi::Object exports)
{
    exports.Set("confineThreads", Napi::Function::New(env, confine_threads, "confineThreads"));
    exports.Set("beginNamespaces", Napi::Function::New(env, begin_namespaces, "beginNamespaces"));
    exports.Set("confineProcess", Napi::Function::New(env, confine_process, "confineProcess"));
    exports.Set("probeSandbox", Napi::Function::New(env, probe_sandbox, "probeSandbox"));
    exports.Set("startCleaner", Napi::Function::New(env, start_cleaner, "startCleaner"));
    exports.Set("finishCleaner", Napi::Function::New(env, finish_cleaner, "finishCleaner"));
}
