#include "sockets.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "arguments.h"
#include "error.h"

extern "C" {
#include "../util/fd_passing.h"
#include "../util/tcp_socket.h"
#include "../util/unix_socket.h"
}

static Napi::Array to_array(Napi::Env env, const int *fds, size_t count)
{
    Napi::Array array = Napi::Array::New(env, count);
    for (size_t i = 0; i < count; i++)
        array.Set((uint32_t)i, Napi::Number::New(env, fds[i]));
    return array;
}

static Napi::Value socket_pair(const Napi::CallbackInfo &info)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return throw_errno(info.Env(), errno, "socketpair");
    return to_array(info.Env(), ends, 2);
}

static Napi::Value replace_descriptor(const Napi::CallbackInfo &info)
{
    int fd;
    int target;
    if (!to_fd(info[0], &fd) || !to_fd(info[1], &target))
        return Napi::Value();
    return dup2(fd, target) < 0 ? throw_errno(info.Env(), errno, "dup2") : info.Env().Undefined();
}

static Napi::Value send_descriptors(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    int socket;
    const uint8_t *bytes;
    size_t length;
    if (!to_fd(info[0], &socket) || !to_bytes(info[1], &bytes, &length))
        return Napi::Value();
    if (!info[2].IsArray())
        return throw_type_error(env, "an array of file descriptors is expected");
    std::vector<int> fds;
    for (uint32_t i = 0; i < info[2].As<Napi::Array>().Length(); i++) {
        int fd;
        if (!to_fd(info[2].As<Napi::Array>().Get(i), &fd))
            return Napi::Value();
        fds.push_back(fd);
    }
    ssize_t sent = fd_passing_send(socket, bytes, length, fds.data(), fds.size());
    if (sent < 0)
        return throw_errno(env, (int)sent, "sendmsg");
    return Napi::Number::New(env, (double)sent);
}

static Napi::Value receive_descriptors(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    int socket;
    uint32_t length;
    uint32_t fds_max;
    if (!to_fd(info[0], &socket) || !to_u32(info[1], &length) || !to_u32(info[2], &fds_max))
        return Napi::Value();
    if (fds_max > FD_PASSING_MAX)
        return throw_errno(env, EINVAL, "recvmsg");
    Napi::Uint8Array bytes = Napi::Uint8Array::New(env, length);
    int fds[FD_PASSING_MAX];
    size_t count;
    ssize_t received =
        fd_passing_receive(socket, bytes.Data(), bytes.ByteLength(), fds, fds_max, &count);
    if (received == -EAGAIN)
        return env.Undefined();
    if (received < 0)
        return throw_errno(env, (int)received, "recvmsg");
    Napi::Object message = Napi::Object::New(env);
    message.Set("bytes", Napi::Uint8Array::New(env, (size_t)received, bytes.ArrayBuffer(), 0));
    message.Set("fds", to_array(env, fds, count));
    return message;
}

static Napi::Value listen_tcp(const Napi::CallbackInfo &info)
{
    std::string address;
    uint32_t port;
    if (!to_string(info[0], &address) || !to_u32(info[1], &port))
        return Napi::Value();
    if (port > UINT16_MAX)
        return throw_errno(info.Env(), EINVAL, "listen");
    int fd = tcp_socket_listen(address.c_str(), (uint16_t)port);
    return fd < 0 ? throw_errno(info.Env(), fd, "listen") : Napi::Number::New(info.Env(), fd);
}

static Napi::Value listen_unix(const Napi::CallbackInfo &info)
{
    std::string path;
    if (!to_string(info[0], &path))
        return Napi::Value();
    int fd = unix_socket_listen(path.c_str());
    return fd < 0 ? throw_errno(info.Env(), fd, "listen") : Napi::Number::New(info.Env(), fd);
}

static Napi::Value connect_unix(const Napi::CallbackInfo &info)
{
    std::string path;
    if (!to_string(info[0], &path))
        return Napi::Value();
    int fd = unix_socket_connect(path.c_str());
    return fd < 0 ? throw_errno(info.Env(), fd, "connect") : Napi::Number::New(info.Env(), fd);
}

void define_socket_functions(Napi::Env env, Napi::Object exports)
{
    exports.Set("socketPair", Napi::Function::New(env, socket_pair, "socketPair"));
    exports.Set("replaceDescriptor",
                Napi::Function::New(env, replace_descriptor, "replaceDescriptor"));
    exports.Set("listenTcp", Napi::Function::New(env, listen_tcp, "listenTcp"));
    exports.Set("listenUnix", Napi::Function::New(env, listen_unix, "listenUnix"));
    exports.Set("connectUnix", Napi::Function::New(env, connect_unix, "connectUnix"));
    exports.Set("sendDescriptors", Napi::Function::New(env, send_descriptors, "sendDescriptors"));
    exports.Set("receiveDescriptors",
                Napi::Function::New(env, receive_descriptors, "receiveDescriptors"));
}
