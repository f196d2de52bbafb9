import { largestOf, type Figures, type Role } from './figures.ts';
import { cpuSeconds, memory, treeCpuSeconds } from './processes.ts';

const SAMPLE_MS = 100;
const CURVE_POINTS = 48;
const CURVES: ReadonlySet<Role> = new Set(['streamer', 'client', 'ClickHouse']);

interface Watched {
  readonly role: Role;
  readonly pid: number;
  readonly cpuBefore: number;
  cpu: number;
  peakMb: number;
}

/** Measures the CPU and memory of processes from now on. A process that ends keeps its last figures. */
export class Meter implements Disposable {
  readonly #postgres: number | undefined;
  readonly #postgresBefore: number;
  readonly #watched: Watched[] = [];
  readonly #curvesMb = new Map<Role, number[]>();
  readonly #timer: NodeJS.Timeout;

  private constructor(postgres: number | undefined, postgresBefore: number) {
    this.#postgres = postgres;
    this.#postgresBefore = postgresBefore;
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  /** @param postgres the postmaster's process id, if Postgres takes part */
  static async begin(postgres?: number): Promise<Meter> {
    return new Meter(postgres, postgres === undefined ? 0 : await treeCpuSeconds(postgres));
  }

  /** Counts a process's CPU from now on, or since its birth. Processes of the same role add up. */
  watch(role: Role, pid: number, since: 'now' | 'its birth' = 'now'): void {
    const cpu = cpuSeconds(pid);
    this.#watched.push({ role, pid, cpuBefore: since === 'now' ? cpu : 0, cpu, peakMb: 0 });
  }

  async read(): Promise<Pick<Figures, 'cpu' | 'peakMb' | 'curvesMb'>> {
    this.#sample();
    const cpu: Partial<Record<Role, number>> = {};
    if (this.#postgres !== undefined) {
      cpu.Postgres = (await treeCpuSeconds(this.#postgres)) - this.#postgresBefore;
    }
    const peakMb: Partial<Record<Role, number>> = {};
    for (const { role, cpu: after, cpuBefore, peakMb: peak } of this.#watched) {
      cpu[role] = (cpu[role] ?? 0) + after - cpuBefore;
      peakMb[role] = Math.max(peakMb[role] ?? 0, peak);
    }
    const curvesMb: Partial<Record<Role, readonly number[]>> = {};
    for (const [role, curve] of this.#curvesMb) curvesMb[role] = largestOf(curve, CURVE_POINTS);
    return { cpu, peakMb, curvesMb };
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    for (const watched of this.#watched) {
      try {
        watched.cpu = Math.max(watched.cpu, cpuSeconds(watched.pid));
        const { residentMb, peakMb } = memory(watched.pid);
        if (!Number.isFinite(residentMb)) continue;
        watched.peakMb = peakMb;
        if (!CURVES.has(watched.role)) continue;
        const curve = this.#curvesMb.get(watched.role) ?? [];
        this.#curvesMb.set(watched.role, curve);
        curve.push(Math.round(residentMb));
      } catch {
        // the process has ended
      }
    }
  }
}
