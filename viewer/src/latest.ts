// How a slider that is dragged does not flood the board: of its values only the newest is sent, when the
// one before has been answered.

/** Sends the newest of many values, one at a time. */
export class Latest<T, R> {
  readonly #send: (value: T) => Promise<R>;
  readonly #done: (outcome: R) => void;
  #next: { value: T } | undefined;
  #isSending = false;

  /** `send` must not reject. `done` is told of the last outcome, when nothing newer is left to send. */
  constructor(send: (value: T) => Promise<R>, done: (outcome: R) => void) {
    this.#send = send;
    this.#done = done;
  }

  /** Whether something is on its way. */
  get isBusy(): boolean {
    return this.#isSending;
  }

  /** Sends this value, now or after the one on its way; one that still waits is forgotten. */
  put(value: T): void {
    this.#next = { value };
    if (!this.#isSending) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isSending = true;
    let outcome: R | undefined;
    while (this.#next !== undefined) {
      const { value } = this.#next;
      this.#next = undefined;
      outcome = await this.#send(value);
    }
    this.#isSending = false;
    this.#done(outcome as R);
  }
}
