/** An interrupt line of the guest's interrupt controller. All our lines are edge-triggered. */
export interface InterruptLine {
  /** Global system interrupt number. */
  readonly gsi: number;
  /** One edge: the interrupt is latched, whether or not the guest has it enabled. */
  pulse(): void;
}
