// Native failures as JavaScript errors: {code, errno, syscall} are properties, never text to parse.
#pragma once

#include <napi.h>

// `error` is an errno, negative or positive. Returns the pending exception's (empty) value so that
// a method can `return throw_errno(...)`.
Napi::Value throw_errno(Napi::Env env, int error, const char *syscall);

Napi::Value throw_type_error(Napi::Env env, const char *message);
