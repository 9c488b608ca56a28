#pragma once

#include <napi.h>

#include <memory>
#include <utility>
#include <vector>

#include "wake.h"

extern "C" {
#include "../backend/disk.h"
}

class NativeDisk : public Napi::ObjectWrap<NativeDisk>
{
  public:
    static Napi::Function define(Napi::Env env);
    // The wrapped object, or nullptr with a TypeError pending.
    static NativeDisk *from(Napi::Value value);

    explicit NativeDisk(const Napi::CallbackInfo &info);
    ~NativeDisk() override;

    // nullptr after close().
    struct disk *disk();
    // While a worker holds the disk, close() throws EBUSY.
    void hold();
    void release();
    // True once: for the one of the disk's workers that reports wakes().
    bool claim_wakes()
    {
        return !std::exchange(wakes_claimed_, true);
    }
    // How often JavaScript was called.
    uint64_t wakes() const
    {
        return requests_->calls() + quiet_->calls();
    }

  private:
    Napi::Value replace(const Napi::CallbackInfo &info);
    Napi::Value set_scripted(const Napi::CallbackInfo &info);
    Napi::Value push_extents(const Napi::CallbackInfo &info);
    Napi::Value withdraw_extents(const Napi::CallbackInfo &info);
    Napi::Value add_stock(const Napi::CallbackInfo &info);
    Napi::Value set_claiming(const Napi::CallbackInfo &info);
    Napi::Value take_claims(const Napi::CallbackInfo &info);
    Napi::Value take_script_requests(const Napi::CallbackInfo &info);
    Napi::Value take_failure(const Napi::CallbackInfo &info);
    Napi::Value retry(const Napi::CallbackInfo &info);
    Napi::Value finish(const Napi::CallbackInfo &info);
    Napi::Value copy_write_data(const Napi::CallbackInfo &info);
    Napi::Value close(const Napi::CallbackInfo &info);

    // Creates disk_ with the properties of `options`. Returns false with an error pending.
    bool init(Napi::Value options);
    bool check_open(Napi::Env env);
    void resolve_withdrawals(Napi::Env env);

    struct Withdrawal {
        uint64_t ticket;
        Napi::Promise::Deferred deferred;
    };

    struct disk disk_ = {};
    bool open_ = false;
    bool wakes_claimed_ = false;
    unsigned holds_ = 0;
    std::unique_ptr<Wake> requests_;
    std::unique_ptr<Wake> quiet_;
    std::vector<Withdrawal> withdrawals_;
};
