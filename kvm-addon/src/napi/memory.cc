#include "memory.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "arguments.h"
#include "error.h"
#include "instance.h"

Napi::Function NativeMemory::define(Napi::Env env)
{
    return DefineClass(env, "NativeMemory",
                       {
                           InstanceMethod<&NativeMemory::region>("region"),
                           InstanceMethod<&NativeMemory::write>("write"),
                           InstanceMethod<&NativeMemory::map_file>("mapFile"),
                           InstanceMethod<&NativeMemory::discard>("discard"),
                           InstanceMethod<&NativeMemory::write_out>("writeOut"),
                           InstanceMethod<&NativeMemory::read_in>("readIn"),
                           InstanceMethod<&NativeMemory::fds>("fds"),
                           InstanceMethod<&NativeMemory::close>("close"),
                       });
}

NativeMemory *NativeMemory::from(Napi::Value value)
{
    return unwrap_instance<NativeMemory>(value, &Classes::memory, "a NativeMemory is expected");
}

// Converts the optional `backing` argument for region `index`. Returns false with an error pending.
static bool to_source(Napi::Value backing, uint32_t index, struct guest_memory_source *source)
{
    *source = {};
    if (backing.IsUndefined())
        return true;
    if (backing.IsString()) {
        std::string name = backing.As<Napi::String>().Utf8Value();
        if (name == "memfd")
            source->backing = GUEST_MEMORY_SHARED;
        else if (name == "huge")
            source->huge_pages = true;
        else if (name != "anonymous")
            throw_errno(backing.Env(), EINVAL, "NativeMemory");
        return !backing.Env().IsExceptionPending();
    }
    source->backing = GUEST_MEMORY_FILE;
    if (!get_option(backing, "fd", to_fd, &source->fd))
        return false;
    Napi::Value offsets = backing.As<Napi::Object>().Get("offsets");
    if (offsets.IsArray())
        return to_u64(offsets.As<Napi::Array>().Get(index), &source->offset);
    throw_type_error(backing.Env(), "an array of offsets is expected");
    return false;
}

// Converts a file that is guest memory. Returns false with an error pending.
static bool to_file(Napi::Value file, struct guest_memory_source *source)
{
    *source = {};
    source->backing = GUEST_MEMORY_PERSISTENT;
    return get_option(file, "fd", to_fd, &source->fd) &&
           get_option(file, "fileBytes", to_u64, &source->file_size) &&
           get_option(file, "readOnly", to_bool, &source->read_only);
}

// Adds a region. False with an error pending.
bool NativeMemory::add(Napi::Value region, const struct guest_memory_source *source)
{
    uint64_t gpa, size;
    if (!get_option(region, "gpa", to_u64, &gpa) || !get_option(region, "sizeBytes", to_u64, &size))
        return false;
    int error = guest_memory_add_from(&memory_, gpa, size, source);
    if (error < 0)
        throw_errno(region.Env(), error, "mmap");
    return error == 0;
}

NativeMemory::NativeMemory(const Napi::CallbackInfo &info) : Napi::ObjectWrap<NativeMemory>(info)
{
    Napi::Env env = info.Env();
    if (!info[0].IsArray()) {
        throw_type_error(env, "an array of regions is expected");
        return;
    }
    Napi::Array regions = info[0].As<Napi::Array>();
    for (uint32_t i = 0; i < regions.Length(); i++) {
        struct guest_memory_source source;
        if (!to_source(info[1], i, &source) || !add(regions.Get(i), &source)) {
            guest_memory_free(&memory_);
            return;
        }
    }
    Napi::Array files = info[2].IsArray() ? info[2].As<Napi::Array>() : Napi::Array::New(env);
    for (uint32_t i = 0; i < files.Length(); i++) {
        struct guest_memory_source source;
        if (!to_file(files.Get(i), &source) || !add(files.Get(i), &source)) {
            guest_memory_free(&memory_);
            return;
        }
    }
    // Of RAM alone: JavaScript reads and writes no files by their memory.
    buffers_.resize(regions.Length());
}

// Does not free the memory: a view of a buffer may outlive this object. Memory that was never
// closed is freed at process exit.
NativeMemory::~NativeMemory() = default;

struct guest_memory *NativeMemory::memory()
{
    return closed_ ? nullptr : &memory_;
}

void NativeMemory::hold()
{
    holds_++;
    Ref();
}

void NativeMemory::release()
{
    holds_--;
    Unref();
}

Napi::Value NativeMemory::region(const Napi::CallbackInfo &info)
{
    uint32_t index;
    if (!to_u32(info[0], &index))
        return Napi::Value();
    if (closed_ || index >= buffers_.size())
        return throw_errno(info.Env(), EINVAL, "region");
    if (buffers_[index].IsEmpty()) {
        // The buffer does not own the memory. close() detaches it before freeing the memory.
        const struct guest_memory_region *region = &memory_.regions[index];
        Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(info.Env(), region->hva, region->size);
        if (info.Env().IsExceptionPending())
            return Napi::Value();
        buffers_[index] = Napi::Persistent(buffer);
    }
    return buffers_[index].Value();
}

Napi::Value NativeMemory::write(const Napi::CallbackInfo &info)
{
    uint64_t gpa;
    const uint8_t *bytes;
    size_t length;
    if (!to_u64(info[0], &gpa) || !to_bytes(info[1], &bytes, &length))
        return Napi::Value();
    void *target = closed_ ? nullptr : guest_memory_at(&memory_, gpa, length);
    if (!target)
        return throw_errno(info.Env(), EFAULT, "write");
    // Not memcpy: the source may be a view of the same guest memory.
    memmove(target, bytes, length);
    if (guest_memory_is_watched(&memory_))
        guest_memory_tell(&memory_, gpa, length);
    return info.Env().Undefined();
}

Napi::Value NativeMemory::map_file(const Napi::CallbackInfo &info)
{
    uint64_t gpa, length, offset;
    int fd;
    if (!to_u64(info[0], &gpa) || !to_u64(info[1], &length) || !to_fd(info[2], &fd) ||
        !to_u64(info[3], &offset))
        return Napi::Value();
    int error = closed_ ? -EINVAL : guest_memory_map_file(&memory_, gpa, length, fd, offset);
    if (error < 0)
        return throw_errno(info.Env(), error, "mmap");
    return info.Env().Undefined();
}

Napi::Value NativeMemory::discard(const Napi::CallbackInfo &info)
{
    uint64_t gpa, length;
    if (!to_u64(info[0], &gpa) || !to_u64(info[1], &length))
        return Napi::Value();
    int error = closed_ ? -EINVAL : guest_memory_discard(&memory_, gpa, length);
    return error < 0 ? throw_errno(info.Env(), error, "madvise") : info.Env().Undefined();
}

Napi::Value NativeMemory::write_out(const Napi::CallbackInfo &info)
{
    uint64_t gpa, length, offset, written;
    int fd;
    if (!to_u64(info[0], &gpa) || !to_u64(info[1], &length) || !to_fd(info[2], &fd) ||
        !to_u64(info[3], &offset))
        return Napi::Value();
    int error =
        closed_ ? -EINVAL : guest_memory_write_out(&memory_, gpa, length, fd, offset, &written);
    if (error < 0)
        return throw_errno(info.Env(), error, "write");
    return Napi::Number::New(info.Env(), static_cast<double>(written));
}

Napi::Value NativeMemory::read_in(const Napi::CallbackInfo &info)
{
    uint64_t gpa, length, offset;
    int fd;
    if (!to_u64(info[0], &gpa) || !to_u64(info[1], &length) || !to_fd(info[2], &fd) ||
        !to_u64(info[3], &offset))
        return Napi::Value();
    int error = closed_ ? -EINVAL : guest_memory_read_in(&memory_, gpa, length, fd, offset);
    return error < 0 ? throw_errno(info.Env(), error, "read") : info.Env().Undefined();
}

Napi::Value NativeMemory::fds(const Napi::CallbackInfo &info)
{
    Napi::Array list = Napi::Array::New(info.Env());
    for (unsigned i = 0; i < memory_.count; i++) {
        if (memory_.regions[i].backing == GUEST_MEMORY_SHARED)
            list.Set(i, static_cast<double>(memory_.regions[i].fd));
    }
    return list;
}

Napi::Value NativeMemory::close(const Napi::CallbackInfo &info)
{
    if (holds_ > 0)
        return throw_errno(info.Env(), EBUSY, "close");
    if (!closed_) {
        closed_ = true;
        for (auto &buffer : buffers_) {
            if (!buffer.IsEmpty())
                buffer.Value().Detach();
        }
        buffers_.clear();
        guest_memory_free(&memory_);
    }
    return info.Env().Undefined();
}
