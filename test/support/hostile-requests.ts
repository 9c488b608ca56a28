/**
 * Requests of hostile drivers from the headers in `test/vectors`, which the unit tests in C and the
 * payload use too, for the tests with a fake driver.
 */
import { runC } from './compiled-c.ts';

/** Of `test/vectors/hostile_block.h`. */
export interface HostileBlockRequest {
  readonly id: string;
  readonly type: number;
  /** The status byte of the answer. */
  readonly status: number;
  readonly sector: bigint;
  /** Data that the driver sends. */
  readonly out: Uint8Array;
  /** Bytes of data that it asks for. */
  readonly inBytes: number;
}

/** Of `test/vectors/hostile_console.h`. */
export interface HostileControl {
  readonly name: string;
  readonly message: Uint8Array;
}

interface Printed {
  readonly block: readonly {
    readonly id: string;
    readonly type: number;
    readonly status: number;
    readonly sector: string;
    readonly dataBytes: number;
    readonly writable: boolean;
    readonly range: string;
  }[];
  readonly pages: readonly number[];
  readonly controls: readonly { readonly name: string; readonly message: string }[];
}

const PROGRAM = `
#include <inttypes.h>
#include <stdio.h>
#include "../test/vectors/hostile_balloon.h"
#include "../test/vectors/hostile_block.h"
#include "../test/vectors/hostile_console.h"

static void print_bytes(const char *name, const void *bytes, size_t count)
{
    printf("\\"%s\\":\\"", name);
    for (size_t i = 0; i < count; i++)
        printf("%02x", ((const uint8_t *)bytes)[i]);
    printf("\\"}");
}

int main(void)
{
    uint64_t capacity, ram_end;
    if (scanf("%" SCNu64 " %" SCNu64, &capacity, &ram_end) != 2)
        return 1;
    printf("{\\"block\\":[");
    for (unsigned i = 0; i < HOSTILE_BLOCK_REQUEST_COUNT; i++) {
        const struct hostile_block_request *request = &hostile_block_requests[i];
        uint64_t sector = hostile_block_sector(request, capacity);
        const struct virtio_blk_discard_write_zeroes range = {
            sector, request->range_length, request->range_flags};
        printf("%s{\\"id\\":\\"%s\\",\\"type\\":%u,\\"status\\":%u,\\"sector\\":\\"%" PRIu64 "\\",",
               i == 0 ? "" : ",", request->id, request->type, request->status,
               request->has_range ? 0 : sector);
        printf("\\"dataBytes\\":%u,\\"writable\\":%s,", request->data_bytes,
               request->writable ? "true" : "false");
        print_bytes("range", &range, request->has_range ? sizeof range : 0);
    }
    printf("],\\"pages\\":[");
    for (unsigned i = 0; i < HOSTILE_PAGE_COUNT; i++)
        printf("%s%u", i == 0 ? "" : ",", hostile_page_number(&hostile_pages[i], ram_end));
    printf("],\\"controls\\":[");
    for (unsigned i = 0; i < HOSTILE_CONTROL_COUNT; i++) {
        const struct hostile_control *control = &hostile_controls[i];
        printf("%s{\\"name\\":\\"%s\\",", i == 0 ? "" : ",", control->name);
        print_bytes("message", &control->message, control->bytes);
    }
    printf("]}");
    return 0;
}
`;

function printed({ sectors = 0, ramEnd = 0 }): Printed {
  return JSON.parse(runC(PROGRAM, { input: `${sectors} ${ramEnd}` }).toString()) as Printed;
}

/** @param sectors capacity of the disk */
export function hostileBlockRequests(sectors: number): HostileBlockRequest[] {
  return printed({ sectors }).block.map(
    ({ id, type, status, sector, dataBytes, writable, range }) => {
      const out = new Uint8Array(writable ? 0 : dataBytes);
      out.set(Buffer.from(range, 'hex'));
      return { id, type, status, sector: BigInt(sector), out, inBytes: writable ? dataBytes : 0 };
    },
  );
}

/** @param ramEnd the first address after RAM. @returns guest-physical addresses */
export function hostilePages(ramEnd: number): number[] {
  return printed({ ramEnd }).pages.map((page) => page * 4096);
}

export function hostileControls(): HostileControl[] {
  return printed({}).controls.map(({ name, message }) => ({
    name,
    message: Buffer.from(message, 'hex'),
  }));
}
