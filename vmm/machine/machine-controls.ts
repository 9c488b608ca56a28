/**
 * What the host may ask of a machine's devices while the machine runs. A device that takes requests
 * adds them when it is attached; a machine without it lacks them.
 */
export interface MachineControls {
  /** Presses the ACPI power button, which asks the guest to shut down. */
  pressPowerButton?: () => void;
}
