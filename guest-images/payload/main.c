/* A bare-metal guest: the fast test tier of a VMM, and its benchmark guest. See README.md. */
#include "boot_info.h"
#include "cmdline.h"
#include "cpu.h"
#include "interrupts.h"
#include "power.h"
#include "serial.h"
#include "test.h"
#include "virtio_device.h"

#define BOOT_STAMP_PORT 0x80

void payload_main(uint64_t info_address, uint32_t protocol)
{
    serial_init();
    print("payload: hello\n");
    interrupts_init();
    boot_info_read(info_address, protocol);
    struct text stamp;
    if (cmdline_find("port80", 0, &stamp))
        outb(BOOT_STAMP_PORT, (uint8_t)text_take_number(&stamp));
    virtio_devices_find();
    power_off(tests_run() == 0 ? POWER_OFF_SUCCESS : POWER_OFF_FAILURE);
}
