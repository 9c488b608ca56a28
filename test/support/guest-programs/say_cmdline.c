/* PID 1 of an initrd: prints the kernel's command line and powers the machine off. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
    char line[4096];
    ssize_t length = -1;

    mkdir("/proc", 0755);
    if (mount("proc", "/proc", "proc", 0, NULL) == 0) {
        int file = open("/proc/cmdline", O_RDONLY);

        length = read(file, line, sizeof line - 1);
    }
    line[length < 0 ? 0 : length] = '\0';
    printf("\nCMDLINE[%s]\n", line);
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    return 1;
}
