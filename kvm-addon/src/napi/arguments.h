// Checked conversions of arguments. Each returns false with a TypeError pending.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

// A whole number in [0, 2^53).
bool to_u64(Napi::Value value, uint64_t *out);
bool to_u32(Napi::Value value, uint32_t *out);
// A file descriptor: a whole number in [0, 2^31).
bool to_fd(Napi::Value value, int *out);
bool to_bool(Napi::Value value, bool *out);
bool to_string(Napi::Value value, std::string *out);
// Any typed array. The bytes are not copied and are valid during the call.
bool to_bytes(Napi::Value value, const uint8_t **bytes, size_t *length);
bool to_function(Napi::Value value, Napi::Function *out);

// A property of an options object, converted by `convert`.
template <typename T>
bool get_option(Napi::Value options, const char *name, bool (*convert)(Napi::Value, T *), T *out)
{
    if (!options.IsObject()) {
        Napi::TypeError::New(options.Env(), "an options object is expected")
            .ThrowAsJavaScriptException();
        return false;
    }
    return convert(options.As<Napi::Object>().Get(name), out);
}
