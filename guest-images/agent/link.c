#include "link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container.h"
#include "interface_spec.h"
#include "mounts.h"
#include "names.h"
#include "network.h"
#include "protocol.h"

#define SYSFS "/sys"
#define DEVICES SYSFS "/bus/platform/devices"
#define DRIVER SYSFS "/bus/platform/drivers/virtio-mmio"
// What ACPI's tables call a window of virtio-mmio registers.
#define WINDOW_PREFIX "LNRO0005:"

struct link_spec {
    struct bytes interface;
    const char *resolv_conf; // NULL: it stays
    bool has_names;
    struct name_servers names;
};

static int parse_field(const struct field *field, void *target, struct failure *failure)
{
    struct link_spec *spec = target;
    switch (field->tag) {
    case LINK_INTERFACE:
        spec->interface = field->value;
        return 0;
    case LINK_RESOLV_CONF:
        return field_text(field, &spec->resolv_conf, failure);
    case LINK_NAMES:
        spec->has_names = true;
        return name_servers_parse(field->value, &spec->names, failure);
    default:
        return field_unknown(field, "a network device", failure);
    }
}

static int parse(struct bytes request, struct link_spec *spec, struct interface_spec *interface,
                 struct failure *failure)
{
    *spec = (struct link_spec){0};
    if (!container.assembled)
        return fail(failure, ERROR_WRONG_STATE, 0, "the container is not assembled yet");
    if (fields_take(request, parse_field, spec, failure) < 0)
        return -1;
    return interface_spec_parse(spec->interface, interface, failure);
}

// The container may have mounted the same file system read-only.
static int mount_sysfs(struct failure *failure)
{
    if (access(DRIVER, F_OK) == 0)
        return 0;
    mkdir(SYSFS, 0755);
    if (mount("sysfs", SYSFS, "sysfs", 0, NULL) < 0 ||
        mount(NULL, SYSFS, NULL, MS_REMOUNT, NULL) < 0)
        return fail_call(failure, "cannot mount " SYSFS);
    return 0;
}

static int write_name(const char *path, const char *name)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t count = write(fd, name, strlen(name));
    int error = errno;
    close(fd);
    errno = error;
    return count < 0 ? -1 : 0;
}

// Windows that had no device when the kernel looked have none of its drivers. Which of them has a
// device now is seen by the driver.
static int bind_windows(struct failure *failure)
{
    DIR *devices = opendir(DEVICES);
    struct dirent *entry;
    if (devices == NULL)
        return fail_call(failure, "cannot read " DEVICES);
    while ((entry = readdir(devices)) != NULL) {
        char driver[PATH_MAX];
        if (strncmp(entry->d_name, WINDOW_PREFIX, strlen(WINDOW_PREFIX)) != 0)
            continue;
        snprintf(driver, sizeof driver, DEVICES "/%s/driver", entry->d_name);
        if (access(driver, F_OK) < 0)
            write_name(DRIVER "/bind", entry->d_name);
    }
    closedir(devices);
    return 0;
}

// Of a device such as /sys/devices/platform/LNRO0005:07/virtio5, that is LNRO0005:07.
static int unbind_window(const char *interface, struct failure *failure)
{
    char link[PATH_MAX], device[PATH_MAX];
    snprintf(link, sizeof link, SYSFS "/class/net/%s/device", interface);
    if (realpath(link, device) == NULL)
        return fail_call(failure, "cannot find the device of %s", interface);
    char *end = strrchr(device, '/');
    *end = 0;
    const char *window = strrchr(device, '/') + 1;
    if (strncmp(window, WINDOW_PREFIX, strlen(WINDOW_PREFIX)) != 0)
        return fail(failure, ERROR_GUEST_FAILED, 0, "%s cannot be removed", interface);
    if (write_name(DRIVER "/unbind", window) < 0)
        return fail_call(failure, "cannot let go of %s", interface);
    return 0;
}

static int release(const uint8_t mac[6], struct failure *failure)
{
    char name[NETWORK_NAME_BYTES];
    // Not there: the guest does not use it.
    return network_find(mac, name) == 0 ? 0 : unbind_window(name, failure);
}

static int write_names(const struct link_spec *spec, struct failure *failure)
{
    if (spec->has_names && names_start(&spec->names, failure) < 0)
        return -1;
    return spec->resolv_conf == NULL ? 0 : mounts_write_resolv_conf(spec->resolv_conf, failure);
}

int link_attach(struct bytes request, struct message *reply, struct failure *failure)
{
    struct link_spec spec;
    struct interface_spec interface;
    struct failure ignored;
    (void)reply;
    if (parse(request, &spec, &interface, failure) < 0 || mount_sysfs(failure) < 0 ||
        bind_windows(failure) < 0)
        return -1;
    if (network_configure(&spec.interface, 1, failure) == 0 && write_names(&spec, failure) == 0)
        return 0;
    release(interface.mac, &ignored);
    return -1;
}

int link_detach(struct bytes request, struct message *reply, struct failure *failure)
{
    struct link_spec spec;
    struct interface_spec interface;
    (void)reply;
    if (parse(request, &spec, &interface, failure) < 0 || mount_sysfs(failure) < 0 ||
        release(interface.mac, failure) < 0)
        return -1;
    return write_names(&spec, failure);
}
