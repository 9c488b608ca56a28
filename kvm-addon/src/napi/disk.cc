#include "disk.h"

#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "error.h"
#include "instance.h"

namespace
{

const char *op_name(enum disk_op op)
{
    switch (op) {
    case DISK_READ:
        return "read";
    case DISK_WRITE:
        return "write";
    case DISK_FLUSH:
        return "flush";
    case DISK_DISCARD:
        return "discard";
    case DISK_WRITE_ZEROES:
        return "write-zeroes";
    }
    return "unknown";
}

bool to_scripted(Napi::Value value, unsigned *out)
{
    bool flush, discard, write_zeroes;
    if (!get_option(value, "flush", to_bool, &flush) ||
        !get_option(value, "discard", to_bool, &discard) ||
        !get_option(value, "writeZeroes", to_bool, &write_zeroes))
        return false;
    *out = (flush ? DISK_SCRIPTED_FLUSH : 0) | (discard ? DISK_SCRIPTED_DISCARD : 0) |
           (write_zeroes ? DISK_SCRIPTED_WRITE_ZEROES : 0);
    return true;
}

bool to_extent(Napi::Value value, struct extent *out)
{
    bool zero, read_only;
    if (!get_option(value, "offset", to_u64, &out->offset) ||
        !get_option(value, "length", to_u64, &out->length) ||
        !get_option(value, "zero", to_bool, &zero) ||
        !get_option(value, "readOnly", to_bool, &read_only))
        return false;
    out->fd = -1;
    out->fd_offset = 0;
    if (!zero && (!get_option(value, "fd", to_fd, &out->fd) ||
                  !get_option(value, "fdOffset", to_u64, &out->fd_offset)))
        return false;
    out->flags = (zero ? EXTENT_ZERO : 0) | (read_only ? EXTENT_READ_ONLY : 0);
    return true;
}

} // namespace

Napi::Function NativeDisk::define(Napi::Env env)
{
    return DefineClass(env, "NativeDisk",
                       {
                           InstanceMethod<&NativeDisk::replace>("replace"),
                           InstanceMethod<&NativeDisk::set_scripted>("setScripted"),
                           InstanceMethod<&NativeDisk::push_extents>("pushExtents"),
                           InstanceMethod<&NativeDisk::withdraw_extents>("withdrawExtents"),
                           InstanceMethod<&NativeDisk::add_stock>("addStock"),
                           InstanceMethod<&NativeDisk::set_claiming>("setClaiming"),
                           InstanceMethod<&NativeDisk::take_claims>("takeClaims"),
                           InstanceMethod<&NativeDisk::take_script_requests>("takeScriptRequests"),
                           InstanceMethod<&NativeDisk::take_failure>("takeFailure"),
                           InstanceMethod<&NativeDisk::retry>("retry"),
                           InstanceMethod<&NativeDisk::finish>("finish"),
                           InstanceMethod<&NativeDisk::copy_write_data>("copyWriteData"),
                           InstanceMethod<&NativeDisk::close>("close"),
                       });
}

NativeDisk *NativeDisk::from(Napi::Value value)
{
    return unwrap_instance<NativeDisk>(value, &Classes::disk, "a NativeDisk is expected");
}

NativeDisk::NativeDisk(const Napi::CallbackInfo &info) : Napi::ObjectWrap<NativeDisk>(info)
{
    Napi::Env env = info.Env();
    Napi::Function on_requests;
    if (!get_option(info[0], "onScriptRequests", to_function, &on_requests))
        return;
    auto quiet = [this](const Napi::CallbackInfo &call) { resolve_withdrawals(call.Env()); };
    requests_ = std::make_unique<Wake>(env, on_requests, "tsvm-disk", false);
    quiet_ = std::make_unique<Wake>(env, Napi::Function::New(env, quiet), "tsvm-disk-quiet", false);
    open_ = init(info[0]);
}

bool NativeDisk::init(Napi::Value options)
{
    uint64_t size;
    bool read_only;
    unsigned scripted;
    if (!get_option(options, "sizeBytes", to_u64, &size) ||
        !get_option(options, "readOnly", to_bool, &read_only) ||
        !get_option(options, "scripted", to_scripted, &scripted))
        return false;
    if (open_)
        disk_destroy(&disk_);
    disk_init(&disk_, size, read_only, scripted, requests_->core(), quiet_->core());
    return true;
}

NativeDisk::~NativeDisk()
{
    if (open_)
        disk_destroy(&disk_);
}

struct disk *NativeDisk::disk()
{
    return open_ ? &disk_ : nullptr;
}

void NativeDisk::hold()
{
    holds_++;
    Ref();
}

void NativeDisk::release()
{
    holds_--;
    Unref();
}

bool NativeDisk::check_open(Napi::Env env)
{
    if (!open_)
        throw_errno(env, EBADF, "NativeDisk");
    return open_;
}

Napi::Value NativeDisk::replace(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (!check_open(env))
        return Napi::Value();
    if (holds_ > 0)
        return throw_errno(env, EBUSY, "replace");
    if (!init(info[0]))
        return Napi::Value();
    // No worker uses what was to be withdrawn.
    resolve_withdrawals(env);
    return env.Undefined();
}

Napi::Value NativeDisk::set_scripted(const Napi::CallbackInfo &info)
{
    unsigned scripted;
    if (check_open(info.Env()) && to_scripted(info[0], &scripted))
        disk_set_scripted(&disk_, scripted);
    return info.Env().Undefined();
}

Napi::Value NativeDisk::push_extents(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (!check_open(env))
        return Napi::Value();
    if (!info[0].IsArray())
        return throw_type_error(env, "an array of extents is expected");
    Napi::Array list = info[0].As<Napi::Array>();
    std::vector<struct extent> extents(list.Length());
    for (uint32_t i = 0; i < list.Length(); i++) {
        if (!to_extent(list.Get(i), &extents[i]))
            return Napi::Value();
    }
    int error = extent_map_push(&disk_.extents, extents.data(), extents.size());
    return error < 0 ? throw_errno(env, error, "pushExtents") : env.Undefined();
}

Napi::Value NativeDisk::withdraw_extents(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    uint64_t offset, length;
    if (!check_open(env) || !to_u64(info[0], &offset) || !to_u64(info[1], &length))
        return Napi::Value();
    uint64_t ticket = extent_map_withdraw(&disk_.extents, offset, length);
    auto deferred = Napi::Promise::Deferred::New(env);
    withdrawals_.push_back({ticket, deferred});
    resolve_withdrawals(env);
    return deferred.Promise();
}

void NativeDisk::resolve_withdrawals(Napi::Env env)
{
    std::vector<Withdrawal> waiting = std::move(withdrawals_);
    withdrawals_.clear();
    for (Withdrawal &withdrawal : waiting) {
        if (!open_ || extent_map_is_quiet(&disk_.extents, withdrawal.ticket))
            withdrawal.deferred.Resolve(env.Undefined());
        else
            withdrawals_.push_back(withdrawal);
    }
}

Napi::Value NativeDisk::add_stock(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    int fd;
    uint64_t unit, offset, length;
    if (!check_open(env) || !to_fd(info[0], &fd) || !to_u64(info[1], &unit) ||
        !to_u64(info[2], &offset) || !to_u64(info[3], &length))
        return Napi::Value();
    int error = extent_map_add_stock(&disk_.extents, fd, unit, offset, length);
    return error < 0 ? throw_errno(env, error, "addStock") : env.Undefined();
}

Napi::Value NativeDisk::set_claiming(const Napi::CallbackInfo &info)
{
    bool allowed;
    if (check_open(info.Env()) && to_bool(info[0], &allowed))
        extent_map_set_claiming(&disk_.extents, allowed);
    return info.Env().Undefined();
}

Napi::Value NativeDisk::take_claims(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (!check_open(env))
        return Napi::Value();
    Napi::Array taken = Napi::Array::New(env);
    struct claim claims[64];
    size_t count;
    while ((count = extent_map_take_claims(&disk_.extents, claims, 64)) > 0) {
        for (size_t i = 0; i < count; i++) {
            Napi::Object claim = Napi::Object::New(env);
            claim.Set("offset", static_cast<double>(claims[i].offset));
            claim.Set("length", static_cast<double>(claims[i].length));
            claim.Set("fdOffset", static_cast<double>(claims[i].fd_offset));
            taken.Set(taken.Length(), claim);
        }
    }
    return taken;
}

Napi::Value NativeDisk::take_script_requests(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    if (!check_open(env))
        return Napi::Value();
    Napi::Array requests = Napi::Array::New(env);
    struct disk_script_request taken;
    while (disk_script_take(&disk_, &taken)) {
        Napi::Object request = Napi::Object::New(env);
        request.Set("id", static_cast<double>(taken.id));
        request.Set("op", op_name(taken.op));
        request.Set("offset", static_cast<double>(taken.offset));
        request.Set("length", static_cast<double>(taken.length));
        request.Set("gapOffset", static_cast<double>(taken.gap_offset));
        request.Set("mayUnmap", taken.may_unmap);
        requests.Set(requests.Length(), request);
    }
    return requests;
}

Napi::Value NativeDisk::take_failure(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    enum disk_op op;
    int error = open_ ? disk_take_failure(&disk_, &op) : 0;
    if (error == 0)
        return env.Undefined();
    const char *name = strerrorname_np(error);
    const char *description = strerrordesc_np(error);
    Napi::Object failure = Napi::Object::New(env);
    failure.Set("op", op_name(op));
    failure.Set("code", name ? name : "UNKNOWN");
    failure.Set("description", description ? description : "unknown error");
    return failure;
}

Napi::Value NativeDisk::retry(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    uint64_t id;
    if (!check_open(env) || !to_u64(info[0], &id))
        return Napi::Value();
    int error = disk_script_retry(&disk_, id);
    return error < 0 ? throw_errno(env, error, "retry") : env.Undefined();
}

Napi::Value NativeDisk::finish(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    uint64_t id;
    uint32_t number;
    const uint8_t *data = nullptr;
    size_t length = 0;
    if (!check_open(env) || !to_u64(info[0], &id) || !to_u32(info[1], &number))
        return Napi::Value();
    if (!info[2].IsUndefined() && !to_bytes(info[2], &data, &length))
        return Napi::Value();
    // The kernel's MAX_ERRNO.
    if (number > 4095)
        return throw_errno(env, EINVAL, "finish");
    int error = disk_script_finish(&disk_, id, -static_cast<int>(number), data, length);
    return error < 0 ? throw_errno(env, error, "finish") : env.Undefined();
}

Napi::Value NativeDisk::copy_write_data(const Napi::CallbackInfo &info)
{
    Napi::Env env = info.Env();
    uint64_t id;
    if (!check_open(env) || !to_u64(info[0], &id))
        return Napi::Value();
    int64_t length = disk_script_data_bytes(&disk_, id);
    if (length < 0)
        return throw_errno(env, static_cast<int>(length), "copyWriteData");
    Napi::Uint8Array data = Napi::Uint8Array::New(env, static_cast<size_t>(length));
    int error = disk_script_copy_data(&disk_, id, data.Data(), data.ByteLength());
    if (error < 0)
        return throw_errno(env, error, "copyWriteData");
    return data;
}

Napi::Value NativeDisk::close(const Napi::CallbackInfo &info)
{
    if (holds_ > 0)
        return throw_errno(info.Env(), EBUSY, "close");
    if (open_) {
        open_ = false;
        resolve_withdrawals(info.Env());
        disk_destroy(&disk_);
        requests_->close();
        quiet_->close();
    }
    return info.Env().Undefined();
}
