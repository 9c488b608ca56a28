#pragma once

#include <napi.h>

// archivePump() and makePipe().
void define_archive_functions(Napi::Env env, Napi::Object exports);
