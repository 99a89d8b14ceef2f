// When has the picture stopped although everything says that it flows?
//
// A connection can be whole and the camera ready, and still no picture comes: an encoder that hangs, a
// decoder that waits. It is told the number of decoded frames about once a second. Time in which nobody
// could have seen a frame does not count: a page in the background, a machine asleep.

/** Without a new frame for this long the picture has stopped. */
export const STALLED_MS = 3_000;
/** A gap between two looks counts as no more than this: the machine slept, or was busy. */
const MAX_GAP_MS = 1_500;

/** What to tell: the picture stopped, or moves again. */
export type Turn = "stalled" | "moves";

/** Looks at one connection's picture. */
export class Stall {
  #frames: number | undefined;
  #lookedAt: number | undefined;
  #stillMs = 0;
  #isStalled = false;

  /** `isExpected`: frames should come, and somebody could see them. The answer is a change, if there is one. */
  look(frames: number, isExpected: boolean, now: number): Turn | undefined {
    const gap = this.#lookedAt === undefined ? 0 : Math.min(now - this.#lookedAt, MAX_GAP_MS);
    const isMoving = this.#frames !== undefined && frames > this.#frames;
    this.#lookedAt = now;
    this.#frames = frames;
    this.#stillMs = isMoving || !isExpected ? 0 : this.#stillMs + gap;
    const isStalled = this.#stillMs >= STALLED_MS;
    if (isStalled === this.#isStalled) return undefined;
    this.#isStalled = isStalled;
    return isStalled ? "stalled" : "moves";
  }
}
