#ifndef TSVM_NAPI_SANDBOX_H
#define TSVM_NAPI_SANDBOX_H

#include <napi.h>

void define_sandbox_functions(Napi::Env env, Napi::Object exports);

#endif
