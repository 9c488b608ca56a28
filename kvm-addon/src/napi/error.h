// Throws failed system calls as JavaScript errors with the properties code, errno and syscall.
#pragma once

#include <napi.h>

// `error` is an errno, negative or positive.
Napi::Error make_errno(Napi::Env env, int error, const char *syscall);
// The same, thrown. Returns an empty value, so that a method can
// `return throw_errno(...)`.
Napi::Value throw_errno(Napi::Env env, int error, const char *syscall);

Napi::Value throw_type_error(Napi::Env env, const char *message);
