// Passing file descriptors over UNIX sockets; see `../util/fd_passing.h`.
#pragma once

#include <napi.h>

void define_socket_functions(Napi::Env env, Napi::Object exports);
