// The first program of a kernel that has its drivers as modules: loads the drivers of the devices
// that it finds, then goes on with the root that the command line names or else with the initrd's
// /init. As /sbin/modprobe it loads what the kernel asks for as long as the initrd is the root. The
// archive that it is in has modules.dep and modules.alias, as depmod(8) writes them.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

// How long a root disk may take to appear, in `ms`, and how often it is looked for.
#define ROOT_TIMEOUT_MS 10000
#define ROOT_POLL_MS 10

static char module_folder[sizeof "/lib/modules/" + sizeof((struct utsname *)NULL)->release];
static char *dependencies; // modules.dep: "PATH: DEPENDENCY..." a line
static char *aliases;      // modules.alias: "alias PATTERN NAME" a line
static char *command_line;

// Ends the program, and so the machine: PID 1's end is a panic.
static _Noreturn void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load-modules: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

// A file's content with a NUL at its end, or an empty text. Never freed.
static char *read_file(const char *path)
{
    static const size_t step = 65536;
    char *text = malloc(step + 1);
    size_t length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t count; text && fd >= 0 && (count = read(fd, text + length, step)) > 0;) {
        length += (size_t)count;
        text = realloc(text, length + step + 1);
    }
    if (!text)
        fail("out of memory");
    if (fd >= 0)
        close(fd);
    text[length] = '\0';
    return text;
}

// The value of the last NAME=VALUE on the command line, or NULL.
static char *parameter(const char *name)
{
    size_t length = strlen(name);
    char *value = NULL;
    char *words = strdup(command_line);
    char *rest = words;
    for (char *word; (word = strsep(&rest, " \n"));)
        if (strncmp(word, name, length) == 0 && word[length] == '=')
            value = word + length + 1;
    return value;
}

// Loads a file of the module folder. One that is loaded already is no failure.
static void load_file(const char *path)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", module_folder, path);
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
        fprintf(stderr, "load-modules: cannot load %s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

// Whether PATH, up to ':', is the file of the module, with '-' and '_' alike.
static bool is_file_of(const char *path, size_t length, const char *module)
{
    const char *base = path;
    for (size_t i = 0; i < length; i++)
        if (path[i] == '/')
            base = path + i + 1;
    for (; *module != '\0'; base++, module++)
        if (*base != *module && !(*base == '-' && *module == '_'))
            return false;
    return strncmp(base, ".ko:", 4) == 0;
}

// Loads a module after those that it depends on, which are in reverse order in its line.
static void load_module(const char *module)
{
    for (char *line = dependencies; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        size_t path_length = strcspn(line, ":\n");
        if (is_file_of(line, path_length, module)) {
            char *files = strndup(line, length);
            for (char *space; (space = strrchr(files, ' ')); *space = '\0')
                load_file(space + 1);
            files[path_length] = '\0';
            load_file(files);
            free(files);
            return;
        }
        line += length + (line[length] == '\n');
    }
}

// Loads all modules for a device. Returns whether there is a module that was not loaded before.
static bool load_alias(const char *device)
{
    bool loaded = false;
    for (char *line = aliases; *line != '\0'; line += strlen(line) + 1) {
        char *pattern = line + strlen("alias ");
        char *space = strncmp(line, "alias ", strlen("alias ")) == 0 ? strchr(pattern, ' ') : NULL;
        if (!space)
            continue;
        *space = '\0';
        bool matches = fnmatch(pattern, device, 0) == 0;
        *space = ' ';
        if (!matches)
            continue;
        load_module(space + 1);
        line[0] = '#'; // is loaded once
        loaded = true;
    }
    return loaded;
}

// Loads the drivers of a bus's devices, or of a class's. Returns whether any was loaded.
static bool load_drivers(const char *folder)
{
    bool loaded = false;
    DIR *devices = opendir(folder);
    for (struct dirent *entry; devices && (entry = readdir(devices));) {
        char path[512];
        char device[512];
        snprintf(path, sizeof path, "%s/%s/modalias", folder, entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        ssize_t length = read(fd, device, sizeof device - 1);
        close(fd);
        device[length > 0 ? length : 0] = '\0';
        device[strcspn(device, "\n")] = '\0';
        loaded |= load_alias(device);
    }
    if (devices)
        closedir(devices);
    return loaded;
}

// Drivers of buses make more devices appear, so this goes on until no more drivers are found.
static void load_all_drivers(void)
{
    bool loaded;
    do {
        loaded = load_drivers("/sys/bus/acpi/devices");
        loaded |= load_drivers("/sys/bus/pci/devices");
        loaded |= load_drivers("/sys/bus/virtio/devices");
        loaded |= load_drivers("/sys/bus/nd/devices");
        loaded |= load_drivers("/sys/class/input");
    } while (loaded);
}

// Whether a folder has entries.
static bool is_populated(const char *folder)
{
    bool found = false;
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && !found && (entry = readdir(entries));)
        found = entry->d_name[0] != '.';
    if (entries)
        closedir(entries);
    return found;
}

// On PCI, disks and networks may be added while the guest runs. A root disk without udev, as that
// of the default guest, loads no driver for them.
static void load_drivers_to_come(void)
{
    if (!is_populated("/sys/bus/pci/devices"))
        return;
    load_module("virtio_blk");
    load_module("virtio_net");
}

static void open_modules(void)
{
    struct utsname names;
    char path[sizeof module_folder + 32];
    uname(&names);
    snprintf(module_folder, sizeof module_folder, "/lib/modules/%s", names.release);
    snprintf(path, sizeof path, "%s/modules.dep", module_folder);
    dependencies = read_file(path);
    if (dependencies[0] == '\0')
        fail("there are no modules for Linux %s in this initrd", names.release);
    snprintf(path, sizeof path, "%s/modules.alias", module_folder);
    aliases = read_file(path);
    for (char *end = aliases; (end = strchr(end, '\n')); end++)
        *end = '\0';
}

// Every disk and partition that there is, for a message.
static void list_disks(char *text, size_t size)
{
    size_t length = 0;
    DIR *disks = opendir("/sys/class/block");
    text[0] = '\0';
    for (struct dirent *entry; disks && (entry = readdir(disks));)
        if (entry->d_name[0] != '.' && length < size)
            length += (size_t)snprintf(text + length, size - length, " /dev/%s", entry->d_name);
    if (disks)
        closedir(disks);
}

static void wait_for_disk(const char *device)
{
    struct stat status;
    for (int waited = 0; stat(device, &status) < 0; waited += ROOT_POLL_MS) {
        if (waited >= ROOT_TIMEOUT_MS) {
            char disks[512];
            list_disks(disks, sizeof disks);
            fail("root=%s does not appear; there is:%s", device, disks[0] ? disks : " no disk");
        }
        nanosleep(&(struct timespec){.tv_nsec = ROOT_POLL_MS * 1000000L}, NULL);
    }
}

// Mounts a disk with the first file system that can, or with rootfstype's.
static void mount_disk(const char *device, const char *target, unsigned long flags)
{
    const char *wanted = parameter("rootfstype");
    const char *options = parameter("rootflags");
    if (wanted) {
        load_module(wanted);
        if (mount(device, target, wanted, flags, options) < 0)
            fail("cannot mount %s as %s: %s", device, wanted, strerror(errno));
        return;
    }
    // Most often; the drivers of its predecessors would complain about it.
    if (mount(device, target, "ext4", flags, options) == 0)
        return;
    load_module("erofs");
    char *types = read_file("/proc/filesystems");
    for (char *line; (line = strsep(&types, "\n"));)
        if (line[0] == '\t' && mount(device, target, line + 1, flags, options) == 0)
            return;
    fail("no file system that this kernel knows is on %s", device);
}

// Lets programs on the root disk load more modules, with modprobe(8), if it has a folder for them
// and none for this kernel.
static void offer_modules(void)
{
    char own[sizeof module_folder + sizeof "/root"];
    struct stat status;
    snprintf(own, sizeof own, "/root%s", module_folder);
    if (stat(own, &status) < 0)
        mount("/lib/modules", "/root/lib/modules", NULL, MS_BIND, NULL);
}

// Whether the last of the words "ro" and "rw" is "rw".
static bool is_root_writable(void)
{
    bool writable = false;
    char *words = strdup(command_line);
    for (char *word; (word = strsep(&words, " \n"));)
        if (strcmp(word, "rw") == 0 || strcmp(word, "ro") == 0)
            writable = word[1] == 'w';
    return writable;
}

// Makes a mounted disk the root, and runs its init, as the kernel does without an initrd.
static _Noreturn void start_from_disk(const char *root, char **arguments)
{
    const char *init = parameter("init");
    if (strncmp(root, "/dev/", 5) != 0)
        fail("root=%s: with this kernel, name a device, such as /dev/vda", root);
    wait_for_disk(root);
    mkdir("/root", 0700);
    mount_disk(root, "/root", is_root_writable() ? 0 : MS_RDONLY);
    offer_modules();
    // Where the new root has no folder for it, a file system stays unreachable.
    mount("/dev", "/root/dev", NULL, MS_MOVE, NULL);
    umount2("/proc", MNT_DETACH);
    umount2("/sys", MNT_DETACH);
    if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
        fail("cannot change to the root on %s: %s", root, strerror(errno));
    static const char *const programs[] = {"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"};
    if (init) {
        arguments[0] = (char *)init;
        execv(init, arguments);
        fail("cannot run init=%s: %s", init, strerror(errno));
    }
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        arguments[0] = (char *)programs[i];
        execv(programs[i], arguments);
    }
    fail("no init on %s: name one with init=", root);
}

// Loads a module by its name or by an alias, such as "fs-erofs": the last argument, as the kernel
// passes it (`modprobe -q -- NAME`).
static int modprobe(const char *name)
{
    open_modules();
    if (!load_alias(name))
        load_module(name);
    return EXIT_SUCCESS;
}

int main(int count, char **arguments)
{
    if (getpid() != 1)
        return modprobe(arguments[count - 1]);
    mkdir("/dev", 0755);
    mkdir("/proc", 0555);
    mkdir("/sys", 0555);
    mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL);
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    command_line = read_file("/proc/cmdline");
    open_modules();
    load_all_drivers();
    load_drivers_to_come();
    const char *root = parameter("root");
    if (root)
        start_from_disk(root, arguments);
    // The initrd's init expects to mount these itself.
    umount2("/sys", MNT_DETACH);
    umount2("/proc", MNT_DETACH);
    umount2("/dev", MNT_DETACH);
    arguments[0] = "/init";
    execv("/init", arguments);
    fail("neither root= nor an initrd with /init: %s", strerror(errno));
}
