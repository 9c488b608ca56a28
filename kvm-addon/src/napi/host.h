// Functions about the host rather than about one VM.
#pragma once

#include <napi.h>

void define_host_functions(Napi::Env env, Napi::Object exports);
