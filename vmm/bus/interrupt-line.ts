/** An interrupt line of the guest's interrupt controller. All lines are edge-triggered. */
export interface InterruptLine {
  /** Global system interrupt number. */
  readonly gsi: number;
  /** Raises one edge. The interrupt is latched even while the guest has it masked. */
  pulse(): void;
}
