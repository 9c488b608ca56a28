#include <napi.h>

#include "archives.h"
#include "disk.h"
#include "event_fd.h"
#include "host.h"
#include "instance.h"
#include "memory.h"
#include "net_port.h"
#include "queue_worker.h"
#include "rate_limiter.h"
#include "register_bank.h"
#include "sandbox.h"
#include "script_queues.h"
#include "sockets.h"
#include "vhost.h"
#include "vm.h"
#include "vsock.h"

static Napi::Object init(Napi::Env env, Napi::Object exports)
{
    Classes *classes = new Classes;
    env.SetInstanceData(classes);
    auto add = [&](const char *name, Napi::Function constructor) {
        exports.Set(name, constructor);
        return Napi::Persistent(constructor);
    };
    classes->memory = add("NativeMemory", NativeMemory::define(env));
    classes->event_fd = add("NativeEventFd", NativeEventFd::define(env));
    classes->register_bank = add("NativeRegisterBank", NativeRegisterBank::define(env));
    classes->disk = add("NativeDisk", NativeDisk::define(env));
    classes->script_queues = add("NativeScriptQueues", NativeScriptQueues::define(env));
    classes->vhost_queues = add("NativeVhostQueues", NativeVhostQueues::define(env));
    classes->vsock = add("NativeVsock", NativeVsock::define(env));
    classes->rate_limiter = add("NativeRateLimiter", NativeRateLimiter::define(env));
    classes->net_port = add("NativeNetPort", NativeNetPort::define(env));
    exports.Set("NativeQueueWorker", NativeQueueWorker::define(env));
    exports.Set("NativeVm", NativeVm::define(env));
    define_host_functions(env, exports);
    define_sandbox_functions(env, exports);
    define_archive_functions(env, exports);
    define_socket_functions(env, exports);
    define_net_functions(env, exports);
    return exports;
}

NODE_API_MODULE(tsvm, init)
