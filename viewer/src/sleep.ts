// Has the machine slept so long that the camera has given this viewer up?
//
// Consent is lost after 30 s without a sign of life (RFC 7675 §5.1), and the device's session with it. The
// browser wakes up with a connection that it believes in for another quarter of a minute. It is told the
// bytes received about once a second, by the clock on the wall, since others can stand still in sleep.

/** A longer gap between two looks is no busy machine, and no session outlives it. */
export const SLEPT_MS = 30_000;

/** Looks at one connection. */
export class Sleep {
  #lookedAt: number | undefined;
  #bytes: number | undefined;
  #isWaking = false;

  /** True once it has slept and nothing has come since; what came before it fell asleep proves nothing. */
  look(bytes: number, wallMs: number): boolean {
    const hasSlept = this.#lookedAt !== undefined && wallMs - this.#lookedAt > SLEPT_MS;
    const isSilent = bytes === this.#bytes;
    const isOver = isSilent && (hasSlept || this.#isWaking);
    this.#isWaking = hasSlept && !isOver;
    this.#lookedAt = wallMs;
    this.#bytes = bytes;
    return isOver;
  }
}
