#include "seccomp.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "protocol.h"
#include "seccomp_profile.h"

#define CALLS 512
#define PROGRAM_MAX 1024

// What happens to a call.
enum verdict {
    DENY,
    ALLOW,
    NOT_THERE,        // ENOSYS: C libraries then use an older call
    CHECK_SOCKET,     // the host is reached by the agent only: no AF_VSOCK
    CHECK_CLONE,      // no new namespaces
    CHECK_PERSONALITY // those that keep the address space random
};

// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
#define CLONE_NAMESPACES 0x7e020000
static const uint32_t personalities[] = {0, 8, 0x20000, 0x20008, 0xffffffff};

static struct sock_filter program[PROGRAM_MAX];
static unsigned short length;

static void emit(uint16_t code, uint32_t value, uint8_t if_true, uint8_t if_false)
{
    if (length < PROGRAM_MAX)
        program[length++] = (struct sock_filter){code, if_true, if_false, value};
}

static void emit_return(uint32_t action)
{
    emit(BPF_RET | BPF_K, action, 0, 0);
}

static void emit_errno(int number)
{
    emit_return(SECCOMP_RET_ERRNO | (uint32_t)number);
}

static void emit_load(size_t offset)
{
    emit(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void emit_verdict(enum verdict verdict)
{
    // The low half of the first argument, which the kernel looks at.
    const size_t argument = offsetof(struct seccomp_data, args);
    switch (verdict) {
    case DENY:
        emit_errno(EPERM);
        break;
    case ALLOW:
        emit_return(SECCOMP_RET_ALLOW);
        break;
    case NOT_THERE:
        emit_errno(ENOSYS);
        break;
    case CHECK_SOCKET:
        emit_load(argument);
        emit(BPF_JMP | BPF_JEQ | BPF_K, AF_VSOCK, 1, 0);
        emit_return(SECCOMP_RET_ALLOW);
        emit_errno(EPERM);
        break;
    case CHECK_CLONE:
        emit_load(argument);
        emit(BPF_JMP | BPF_JSET | BPF_K, CLONE_NAMESPACES, 1, 0);
        emit_return(SECCOMP_RET_ALLOW);
        emit_errno(EPERM);
        break;
    case CHECK_PERSONALITY:
        emit_load(argument);
        for (size_t i = 0; i < sizeof personalities / sizeof personalities[0]; i++) {
            emit(BPF_JMP | BPF_JEQ | BPF_K, personalities[i], 0, 1);
            emit_return(SECCOMP_RET_ALLOW);
        }
        emit_errno(EPERM);
        break;
    }
}

// Calls with the same verdict, from `first` to the next range's first.
struct range {
    uint16_t first;
    uint8_t verdict;
};

// A search tree: the call's number is loaded.
static void emit_search(const struct range *ranges, size_t count)
{
    if (count == 1) {
        emit_verdict(ranges[0].verdict);
        return;
    }
    size_t half = count / 2;
    unsigned short branch = length;
    // Jumps are short, so the far side of the branch is reached by a jump of its own.
    emit(BPF_JMP | BPF_JGE | BPF_K, ranges[half].first, 0, 1);
    emit(BPF_JMP | BPF_JA, 0, 0, 0);
    emit_search(ranges, half);
    if (branch + 1 < PROGRAM_MAX)
        program[branch + 1].k = (uint32_t)(length - branch - 2);
    emit_search(ranges + half, count - half);
}

static void judge_calls(uint8_t verdicts[CALLS], uint64_t capabilities)
{
    for (size_t i = 0; i < sizeof allowed_calls / sizeof allowed_calls[0]; i++)
        verdicts[allowed_calls[i]] = ALLOW;
    verdicts[SYS_socket] = CHECK_SOCKET;
    verdicts[SYS_personality] = CHECK_PERSONALITY;
    verdicts[SYS_clone] = CHECK_CLONE;
    verdicts[SYS_clone3] = NOT_THERE;
    for (size_t i = 0; i < sizeof capable_calls / sizeof capable_calls[0]; i++) {
        if (capabilities >> capable_calls[i].capability & 1)
            verdicts[capable_calls[i].call] = ALLOW;
    }
}

static int set_filter(struct sock_filter *instructions, unsigned short count,
                      struct failure *failure)
{
    struct sock_fprog filter = {.len = count, .filter = instructions};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
        return fail_call(failure, "cannot set the seccomp profile");
    return 0;
}

int seccomp_prepare(void)
{
    struct sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};
    struct sock_fprog filter = {.len = 1, .filter = &nothing};
    // It stays open: the memory is freed with the last program in it.
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0)
        return -errno;
    return 0;
}

int seccomp_apply(uint64_t capabilities, struct failure *failure)
{
    uint8_t verdicts[CALLS] = {0};
    struct range ranges[CALLS];
    size_t count = 0;
    judge_calls(verdicts, capabilities);
    for (uint16_t call = 0; call < CALLS; call++) {
        if (call == 0 || verdicts[call] != verdicts[call - 1])
            ranges[count++] = (struct range){call, verdicts[call]};
    }
    length = 0;
    emit_load(offsetof(struct seccomp_data, arch));
    emit(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    emit_errno(ENOSYS);
    emit_load(offsetof(struct seccomp_data, nr));
    emit_search(ranges, count);
    if (length == PROGRAM_MAX)
        return fail(failure, ERROR_GUEST_FAILED, E2BIG, "the seccomp profile is too long");
    return set_filter(program, length, failure);
}

int seccomp_apply_filter(struct bytes filter, struct failure *failure)
{
    static struct sock_filter given[BPF_MAXINSNS];
    if (filter.length % sizeof given[0] != 0 || filter.length > sizeof given)
        return fail(failure, ERROR_INVALID_REQUEST, 0, "the seccomp profile is too long");
    memcpy(given, filter.data, filter.length);
    return set_filter(given, (unsigned short)(filter.length / sizeof given[0]), failure);
}
