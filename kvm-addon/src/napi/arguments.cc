#include "arguments.h"

#include <cmath>

static bool reject(Napi::Value value, const char *message)
{
    Napi::TypeError::New(value.Env(), message).ThrowAsJavaScriptException();
    return false;
}

// Reads a whole number below `limit`, which doubles represent exactly.
static bool whole_number(Napi::Value value, double limit, const char *message, double *out)
{
    if (!value.IsNumber())
        return reject(value, message);
    double number = value.As<Napi::Number>().DoubleValue();
    if (!(number >= 0 && number < limit) || std::floor(number) != number)
        return reject(value, message);
    *out = number;
    return true;
}

bool to_u64(Napi::Value value, uint64_t *out)
{
    double number = 0;
    if (!whole_number(value, 9007199254740992.0, "a whole number below 2^53 is expected", &number))
        return false;
    *out = static_cast<uint64_t>(number);
    return true;
}

bool to_u32(Napi::Value value, uint32_t *out)
{
    double number = 0;
    if (!whole_number(value, 4294967296.0, "a whole number below 2^32 is expected", &number))
        return false;
    *out = static_cast<uint32_t>(number);
    return true;
}

bool to_fd(Napi::Value value, int *out)
{
    double number = 0;
    if (!whole_number(value, 2147483648.0, "a file descriptor is expected", &number))
        return false;
    *out = static_cast<int>(number);
    return true;
}

bool to_bool(Napi::Value value, bool *out)
{
    if (!value.IsBoolean())
        return reject(value, "a boolean is expected");
    *out = value.As<Napi::Boolean>().Value();
    return true;
}

bool to_string(Napi::Value value, std::string *out)
{
    if (!value.IsString())
        return reject(value, "a string is expected");
    *out = value.As<Napi::String>().Utf8Value();
    return true;
}

bool to_bytes(Napi::Value value, const uint8_t **bytes, size_t *length)
{
    if (!value.IsTypedArray())
        return reject(value, "a typed array is expected");
    Napi::TypedArray array = value.As<Napi::TypedArray>();
    *bytes = static_cast<const uint8_t *>(array.ArrayBuffer().Data()) + array.ByteOffset();
    *length = array.ByteLength();
    return true;
}

bool to_function(Napi::Value value, Napi::Function *out)
{
    if (!value.IsFunction())
        return reject(value, "a function is expected");
    *out = value.As<Napi::Function>();
    return true;
}
