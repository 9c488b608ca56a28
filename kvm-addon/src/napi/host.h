// Functions that concern the host instead of a VM.
#pragma once

#include <napi.h>

void define_host_functions(Napi::Env env, Napi::Object exports);
