// What the broker has shown of the device: its status, its standing offer, and whether the two agree.
//
// Status is a hint, and a retained offer may be old, so neither is believed alone: an offer is worth
// an answer when it authenticated, its boot is that of status, and nobody here has answered it yet.

import type { Offer, Status } from "./message";

/** How many offers are remembered, oldest forgotten first; a device lights a new one every 8 minutes. */
const REMEMBERED = 64;

/** What is known of the device without having spoken to it. */
export class Beacon {
  #status: Status | undefined;
  #offer: Offer | undefined;
  #isForged = false;
  /** The highest revision seen of each offer. */
  readonly #revisions = new Map<string, number>();
  readonly #spent = new Set<string>();

  /** The last status. */
  get status(): Status | undefined {
    return this.#status;
  }

  /** Whether the last standing offer failed to authenticate: most likely, the key is wrong. */
  get isForged(): boolean {
    return this.#isForged;
  }

  /** Whether there is nothing more to wait for before saying hello. */
  get isSettled(): boolean {
    return this.#status !== undefined && (this.#offer !== undefined || this.#isForged);
  }

  /** The boots that the device may be in, that of status first: one, two, or none. */
  get boots(): string[] {
    const boots = [this.#status?.boot, this.#offer?.boot].filter((boot) => boot !== undefined);
    return [...new Set(boots)];
  }

  /** The standing offer, when it may be answered. */
  get answerable(): Offer | undefined {
    const offer = this.#offer;
    if (offer === undefined || offer.boot !== this.#status?.boot || this.#spent.has(offer.offer)) return undefined;
    return offer;
  }

  /** A new connection hands everything out again, so what is gone meanwhile must not be remembered. */
  forget(): void {
    this.#status = undefined;
    this.#offer = undefined;
    this.#isForged = false;
  }

  /** Takes a status; true when it names a boot that was not known before. */
  heardStatus(status: Status | undefined): boolean {
    const isNew = status !== undefined && !this.boots.includes(status.boot);
    this.#status = status;
    return isNew;
  }

  /** Takes an authenticated standing offer, or that there is none. An equal revision changes nothing. */
  heardOffer(offer: Offer | undefined): void {
    this.#isForged = false;
    if (offer === undefined) {
      this.#offer = undefined;
      return;
    }
    if (offer.rev < (this.#revisions.get(offer.offer) ?? 0)) return;
    remember(this.#revisions, offer.offer, offer.rev);
    this.#offer = offer;
  }

  /** Takes that an offer did not authenticate. What did before stays. */
  heardForgery(): void {
    this.#isForged = true;
  }

  /** Something authenticated, so the key is right. */
  heardTruth(): void {
    this.#isForged = false;
  }

  /** Whether an offer was answered here before. */
  isSpent(offer: string): boolean {
    return this.#spent.has(offer);
  }

  /** Marks an offer as answered: its id is used once, by one session. */
  spend(offer: string): void {
    this.#spent.add(offer);
    const [oldest] = this.#spent;
    if (this.#spent.size > REMEMBERED && oldest !== undefined) this.#spent.delete(oldest);
  }
}

function remember(revisions: Map<string, number>, offer: string, rev: number): void {
  revisions.delete(offer);
  revisions.set(offer, rev);
  const [oldest] = revisions.keys();
  if (revisions.size > REMEMBERED && oldest !== undefined) revisions.delete(oldest);
}
