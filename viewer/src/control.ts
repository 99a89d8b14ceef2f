// How this page asks the board for something over farol-control/1, and hears what comes of it.
//
// Every request gets an outcome: the reply, the device's refusal, or that there was none in time.
// Nothing that comes from the channel throws.

import {
  type BoardState,
  type Control,
  type ControlMessage,
  type ControlRequest,
  type ControlValue,
  type ErrorCode,
  type Fields,
  type NightMode,
  type Statistics,
  MAX_STILL_BYTES,
  readControl,
  readControls,
  readState,
  readStatistics,
  writeRequest,
} from "./control-message";

/** How long a reply is waited for. */
export const REPLY_MS = 5_000;
/** How long a still is waited for, and then for each next part of it: the device gives it 5 s itself. */
export const STILL_MS = 10_000;
/** The device takes 20 requests a second and 40 at once; we stay below, so that none is refused. */
export const PER_SECOND = 16;
export const BURST = 32;
/** Requests that wait to be sent or answered; those beyond are refused here. */
export const MAX_WAITING = 64;

/** What became of a request. `text` is for people, and empty when there is nothing to add. */
export type Outcome<T> = { ok: true; value: T } | { ok: false; code: ErrorCode | "timeout" | "closed"; text: string };

/** What the channel tells unasked. */
export interface RemoteEvents {
  state(state: BoardState): void;
  controls(controls: Control[]): void;
}

type Failure = Extract<Outcome<never>, { ok: false }>;

interface Waiting {
  request: ControlRequest;
  isSent: boolean;
  settle(outcome: Outcome<Fields>): void;
  timer: ReturnType<typeof setTimeout>;
  /** Who is given the still that follows the reply. */
  still?: ((outcome: Outcome<Blob>) => void) | undefined;
}

/** A still on its way; nobody waits for it any more when `settle` is missing. */
interface Still {
  left: number;
  parts: ArrayBuffer[];
  settle?: ((outcome: Outcome<Blob>) => void) | undefined;
  timer?: ReturnType<typeof setTimeout>;
}

/** The board at the other end of one data channel. */
export class Remote {
  readonly #send: (text: string) => void;
  readonly #events: RemoteEvents;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #tokens = BURST;
  #filledAt: number;
  #pacer: ReturnType<typeof setTimeout> | undefined;
  #still: Still | undefined;
  #isAsking = false;
  #isClosed = false;

  /** `send` may throw, as a data channel does that is no longer open. */
  constructor(send: (text: string) => void, events: RemoteEvents) {
    this.#send = send;
    this.#events = events;
    this.#filledAt = performance.now();
  }

  /** What can be set at the camera. */
  async controls(): Promise<Outcome<Control[]>> {
    return reading(await this.#ask({ t: "controls" }), ({ controls }) => readControls(controls));
  }

  /** How the board is; it also tells by itself. */
  async status(): Promise<Outcome<BoardState>> {
    return reading(await this.#ask({ t: "status" }), ({ state }) => readState(state));
  }

  /** What the board counts of this viewer, or of all, which needs the right to control. */
  async statistics(of: "me" | "all"): Promise<Outcome<Statistics>> {
    return reading(await this.#ask({ t: "stats", of }), readStatistics);
  }

  /** Sets a control; the outcome is what the driver made of it. */
  async set(control: string, value: ControlValue): Promise<Outcome<ControlValue | null>> {
    return reading(await this.#ask({ t: "set", control, value }), ({ value }) =>
      typeof value === "number" || typeof value === "boolean" || typeof value === "string" ? value : null);
  }

  /** Turns the camera, in degrees: to a place, or by some. */
  move(to: { pan?: number; tilt?: number } | { pan_by?: number; tilt_by?: number }): Promise<Outcome<Fields>> {
    return this.#ask({ t: "move", ...to });
  }

  /** Says how it is decided whether it is night. */
  night(mode: NightMode): Promise<Outcome<Fields>> {
    return this.#ask({ t: "night", mode });
  }

  /** Sets the lamp, 0 to 100. */
  lamp(level: number): Promise<Outcome<Fields>> {
    return this.#ask({ t: "lamp", level });
  }

  /** A still picture from the camera, as a JPEG. One at a time. */
  async snapshot(): Promise<Outcome<Blob>> {
    // Parts carry no id: until the last of one still has come, there is no telling them from the next one's.
    if (this.#isAsking || this.#still !== undefined) return refusal("busy");
    this.#isAsking = true;
    const outcome = await new Promise<Outcome<Blob>>((settle) => {
      void this.#ask({ t: "snapshot" }, settle).then((reply) => {
        if (!reply.ok) settle(reply);
        else if (this.#still?.settle !== settle) settle(refusal("invalid"));
      });
    });
    this.#isAsking = false;
    return outcome;
  }

  /** Takes what the channel brought. */
  take(data: unknown): void {
    if (this.#isClosed) return;
    if (data instanceof ArrayBuffer) return this.#takePart(data);
    const message = typeof data === "string" ? readControl(data) : undefined;
    if (message !== undefined) this.#takeMessage(message);
  }

  /** The channel is closed: whatever is waited for will not come. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#pacer);
    for (const id of [...this.#waiting.keys()]) this.#settle(id, refusal("closed"));
    this.#endStill(refusal("closed"));
  }

  #takeMessage(message: ControlMessage): void {
    switch (message.type) {
      case "state":
        return this.#events.state(message.state);
      case "controls":
        return this.#events.controls(message.controls);
      case "error":
        // Without an id nobody can be told: one of ours was not understood at all.
        if (message.id !== undefined) this.#settle(message.id, { ok: false, code: message.code, text: message.text });
        return;
      case "ok":
        return this.#takeOk(message.id, message.fields);
    }
  }

  #takeOk(id: number, fields: Fields): void {
    const { bytes } = fields;
    // Parts follow even when nobody waits for this still any more: they must be counted off.
    if (typeof bytes === "number") this.#beginStill(bytes, this.#waiting.get(id)?.still);
    this.#settle(id, { ok: true, value: fields });
  }

  #ask(request: ControlRequest, still?: (outcome: Outcome<Blob>) => void): Promise<Outcome<Fields>> {
    if (this.#isClosed) return Promise.resolve(refusal("closed"));
    if (this.#waiting.size >= MAX_WAITING) return Promise.resolve(refusal("busy"));
    const id = (this.#lastId += 1);
    return new Promise((settle) => {
      const timer = setTimeout(() => this.#settle(id, refusal("timeout")), still === undefined ? REPLY_MS : STILL_MS);
      this.#waiting.set(id, { request, isSent: false, settle, timer, still });
      this.#sendWaiting();
    });
  }

  #settle(id: number, outcome: Outcome<Fields>): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    waiting.settle(outcome);
  }

  /** Sends what the pace allows, and the rest as soon as it does. */
  #sendWaiting(): void {
    const now = performance.now();
    this.#tokens = Math.min(BURST, this.#tokens + ((now - this.#filledAt) * PER_SECOND) / 1000);
    this.#filledAt = now;
    clearTimeout(this.#pacer);
    for (const [id, waiting] of this.#waiting) {
      if (waiting.isSent) continue;
      if (this.#tokens < 1) {
        const missing = 1 - this.#tokens;
        this.#pacer = setTimeout(() => this.#sendWaiting(), Math.ceil((missing * 1000) / PER_SECOND));
        return;
      }
      this.#tokens -= 1;
      waiting.isSent = true;
      try {
        this.#send(writeRequest(id, waiting.request));
      } catch {
        this.#settle(id, refusal("closed"));
      }
    }
  }

  #beginStill(bytes: number, settle: ((outcome: Outcome<Blob>) => void) | undefined): void {
    if (this.#still !== undefined || !Number.isSafeInteger(bytes) || bytes < 1) return;
    const isWanted = settle !== undefined && bytes <= MAX_STILL_BYTES;
    this.#still = { left: bytes, parts: [], ...(isWanted && { settle }) };
    if (isWanted) this.#awaitPart(this.#still);
  }

  #awaitPart(still: Still): void {
    clearTimeout(still.timer);
    still.timer = setTimeout(() => this.#giveUp(still, refusal("timeout")), STILL_MS);
  }

  #takePart(part: ArrayBuffer): void {
    const still = this.#still;
    if (still === undefined) return;
    still.left -= part.byteLength;
    if (still.left < 0) return this.#endStill(refusal("invalid"));
    if (still.settle !== undefined) {
      still.parts.push(part);
      this.#awaitPart(still);
    }
    if (still.left === 0) {
      this.#endStill({ ok: true, value: new Blob(still.parts, { type: "image/jpeg" }) });
    }
  }

  /** Stops waiting for a still; its parts are counted off when they come after all. */
  #giveUp(still: Still, why: Failure): void {
    still.settle?.(why);
    still.settle = undefined;
    still.parts = [];
  }

  #endStill(outcome: Outcome<Blob>): void {
    clearTimeout(this.#still?.timer);
    this.#still?.settle?.(outcome);
    this.#still = undefined;
  }
}

function refusal(code: Failure["code"]): Failure {
  return { ok: false, code, text: "" };
}

/** Reads a reply's fields; a reply without what was asked for is none. */
function reading<T>(outcome: Outcome<Fields>, read: (fields: Fields) => T | undefined): Outcome<T> {
  if (!outcome.ok) return outcome;
  const value = read(outcome.value);
  return value === undefined ? refusal("invalid") : { ok: true, value };
}
