// The default guest's PID 1: mounts the kernel's file systems, keeps a shell on the console and
// shuts down in order.
//
// It is a program of its own and not a script around busybox because starting a process is the
// most expensive thing a guest does on kvm-pvm (about a second each): from the kernel to the
// prompt there are two execs, this one and the shell's, and a shutdown needs none.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <linux/rtc.h>
#include <mntent.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// A mount table of more lines than this is unmounted as far as it goes.
#define MAX_MOUNTS 256
// How long programs get to end after SIGTERM, in `s`.
#define TERMINATION_GRACE 2
// Pause before restarting a shell that has ended, so that a broken one cannot spin.
static const struct timespec respawn_pause = {.tv_sec = 1};

static const struct mount_point {
    const char *type;
    const char *path;
    unsigned long flags;
    const char *options;
} mount_points[] = {
    {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
    {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
    // On a root disk the kernel has mounted this one already; from an initrd it has not.
    {"devtmpfs", "/dev", MS_NOSUID, NULL},
    {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
    {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755"},
    {"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777"},
};

static void warn(const char *what, const char *object)
{
    dprintf(STDERR_FILENO, "init: %s %s: %s\n", what, object, strerror(errno));
}

static void mount_kernel_file_systems(void)
{
    for (size_t i = 0; i < sizeof mount_points / sizeof mount_points[0]; i++) {
        const struct mount_point *point = &mount_points[i];
        mkdir(point->path, 0755);
        if (mount(point->type, point->path, point->type, point->flags, point->options) < 0 &&
            errno != EBUSY)
            warn("cannot mount", point->path);
    }
}

// The kernel reads the clock when it starts, and where its code is emulated it then loses seconds
// of ticks before it has a clock source. A clock that is right is left alone: the RTC has whole
// seconds.
static void set_clock(void)
{
    struct rtc_time rtc;
    int fd = open("/dev/rtc0", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (ioctl(fd, RTC_RD_TIME, &rtc) == 0) {
        struct tm utc = {
            .tm_sec = rtc.tm_sec,
            .tm_min = rtc.tm_min,
            .tm_hour = rtc.tm_hour,
            .tm_mday = rtc.tm_mday,
            .tm_mon = rtc.tm_mon,
            .tm_year = rtc.tm_year,
        };
        struct timespec time = {.tv_sec = timegm(&utc), .tv_nsec = 500 * 1000 * 1000};
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        if (labs(time.tv_sec - now.tv_sec) > 1 && clock_settime(CLOCK_REALTIME, &time) < 0)
            warn("cannot set", "the clock");
    }
    close(fd);
}

// True if the interface was down and is up now.
static bool raise_interface(int fd, const char *name)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0 && request.ifr_flags & IFF_UP)
        return false;
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) == 0)
        return true;
    warn("cannot raise", name);
    return false;
}

// Asks for an address in the background: a network without a DHCP server delays nothing.
static void start_dhcp_client(const char *interface, const sigset_t *handled)
{
    pid_t pid = fork();
    if (pid != 0) {
        if (pid < 0)
            warn("cannot fork for", interface);
        return;
    }
    sigprocmask(SIG_UNBLOCK, handled, NULL);
    setsid();
    int null = open("/dev/null", O_RDWR);
    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    execl("/bin/busybox", "udhcpc", "-f", "-i", interface, "-s", "/etc/udhcpc.script",
          (char *)NULL);
    _exit(127);
}

// Raises all interfaces, of which the kernel raises none by itself. Programs expect 127.0.0.1 to
// answer; Ethernet interfaces get their address by DHCP, unless `ip=` on the kernel's command line
// has configured them, and so raised them.
static void start_network(const sigset_t *handled)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    raise_interface(fd, "lo");
    DIR *interfaces = opendir("/sys/class/net");
    for (struct dirent *entry; interfaces && (entry = readdir(interfaces));)
        if (strncmp(entry->d_name, "eth", 3) == 0 && raise_interface(fd, entry->d_name))
            start_dhcp_client(entry->d_name, handled);
    if (interfaces)
        closedir(interfaces);
    close(fd);
}

static void set_environment(void)
{
    // The kernel hands unknown `NAME=value` words of its command line to us as environment, so
    // TERM=... there names the user's terminal. Its own default, "linux", is never right here.
    const char *term = getenv("TERM");
    if (!term || strcmp(term, "linux") == 0)
        setenv("TERM", "vt102", 1);
    setenv("HOME", "/root", 1);
    setenv("USER", "root", 1);
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    if (chdir("/root") < 0)
        warn("cannot enter", "/root");
}

// Makes the console's terminal the standard input and output and the controlling terminal of this
// process, which leads a session. The kernel opened /dev/console for PID 1, but that is only an
// alias, which job control, Ctrl-C and ttyname(3) do not take.
static void open_terminal(void)
{
    // For instance "ttyS0", or "hvc0 ttyS0"; the last one is what /dev/console stands for.
    char active[128] = "";
    char path[sizeof "/dev/" + sizeof active];
    int list = open("/sys/class/tty/console/active", O_RDONLY | O_CLOEXEC);
    if (list < 0)
        return;
    ssize_t length = read(list, active, sizeof active - 1);
    close(list);
    active[length > 0 ? strcspn(active, "\n") : 0] = '\0';
    const char *separator = strrchr(active, ' ');
    snprintf(path, sizeof path, "/dev/%s", separator ? separator + 1 : active);
    int terminal = open(path, O_RDWR);
    if (terminal < 0)
        return;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        dup2(terminal, fd);
    if (terminal > STDERR_FILENO)
        close(terminal);
}

// Asks for SIGIO when the power button is pressed: the machine's only input device.
static int watch_power_button(void)
{
    int button = open("/dev/input/event0", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (button < 0)
        return -1; // without ACPI, or a kernel without its driver
    if (fcntl(button, F_SETOWN, getpid()) < 0 ||
        fcntl(button, F_SETFL, O_RDONLY | O_NONBLOCK | O_ASYNC) < 0)
        warn("cannot watch", "the power button");
    return button;
}

static bool power_button_pressed(int button)
{
    struct input_event event;
    bool pressed = false;
    while (read(button, &event, sizeof event) == sizeof event)
        pressed |= event.type == EV_KEY && event.code == KEY_POWER && event.value == 1;
    return pressed;
}

static pid_t start_shell(const sigset_t *handled)
{
    pid_t pid = fork();
    if (pid != 0) {
        if (pid < 0)
            warn("cannot fork", "a shell");
        return pid;
    }
    sigprocmask(SIG_UNBLOCK, handled, NULL);
    setsid();
    open_terminal();
    execl("/bin/sh", "-sh", (char *)NULL);
    warn("cannot run", "/bin/sh");
    _exit(127);
}

// Reaps until no child is left or the time is over. Every process ends up as our child.
static void reap_for(int seconds)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0)
            return;
        if (pid > 0)
            continue;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec))
            return;
        sigtimedwait(&child, NULL, &(struct timespec){.tv_nsec = 100 * 1000 * 1000});
    }
}

static void end_all_processes(void)
{
    kill(-1, SIGTERM);
    // An interactive shell ignores SIGTERM and obeys SIGHUP; a stopped process obeys nothing.
    kill(-1, SIGHUP);
    kill(-1, SIGCONT);
    reap_for(TERMINATION_GRACE);
    kill(-1, SIGKILL);
    reap_for(TERMINATION_GRACE);
}

// Leaves every disk clean: unmounted, newest mount first, or read-only where that cannot be.
static void release_disks(void)
{
    static char directories[MAX_MOUNTS][256];
    size_t count = 0;
    FILE *table = setmntent("/proc/self/mounts", "r");
    if (!table) {
        warn("cannot read", "/proc/self/mounts");
        mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
        return;
    }
    for (struct mntent *entry; count < MAX_MOUNTS && (entry = getmntent(table));)
        if (strncmp(entry->mnt_fsname, "/dev/", 5) == 0 &&
            strlen(entry->mnt_dir) < sizeof directories[0])
            strcpy(directories[count++], entry->mnt_dir);
    endmntent(table);
    while (count-- > 0) {
        const char *directory = directories[count];
        if (strcmp(directory, "/") != 0 && umount(directory) == 0)
            continue;
        if (mount(NULL, directory, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
            warn("cannot make read-only", directory);
    }
}

static _Noreturn void shut_down(int command)
{
    if (chdir("/") < 0)
        warn("cannot enter", "/");
    end_all_processes();
    sync();
    release_disks();
    reboot(command);
    // Only a kernel without the command gets here; PID 1 must not end.
    warn("cannot", command == RB_AUTOBOOT ? "reboot" : "power off");
    for (;;)
        pause();
}

int main(void)
{
    // The signals of busybox's poweroff, reboot and halt, and of Ctrl-Alt-Del (SIGINT).
    sigset_t handled;
    sigemptyset(&handled);
    sigaddset(&handled, SIGUSR1);
    sigaddset(&handled, SIGUSR2);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGINT);
    sigaddset(&handled, SIGCHLD);
    sigaddset(&handled, SIGIO);
    sigprocmask(SIG_BLOCK, &handled, NULL);

    mount_kernel_file_systems();
    set_clock();
    sethostname("tsvm", 4);
    set_environment();
    start_network(&handled);

    int button = watch_power_button();
    pid_t shell = start_shell(&handled);
    for (;;) {
        int signal =
            shell < 0 ? sigtimedwait(&handled, NULL, &respawn_pause) : sigwaitinfo(&handled, NULL);
        switch (signal) {
        case SIGUSR1: // halt: a virtual machine that only stops its CPUs is of no use to anyone
        case SIGUSR2:
            shut_down(RB_POWER_OFF);
        case SIGTERM:
        case SIGINT:
            shut_down(RB_AUTOBOOT);
        case SIGIO:
            if (power_button_pressed(button))
                shut_down(RB_POWER_OFF);
            break;
        case SIGCHLD:
            for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
                if (pid == shell)
                    shell = -1;
            break;
        default:
            if (shell < 0)
                shell = start_shell(&handled);
        }
    }
}
