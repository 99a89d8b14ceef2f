// How the way to this viewer is, and to the others: the panel's part for who wants to know more.
//
// It is folded, and asks the board only while somebody has it open.

import type { Outcome, Remote } from "./control";
import type { Statistics, ViewerStatistics } from "./control-message";
import { make, setText } from "./elements";
import { DETAILS, wordsForBitrate, wordsForPath } from "./panel-words";

/** Between two questions: the board counts once a second. */
const ASK_MS = 2_000;

/** The folded part of the panel. */
export class Details {
  readonly element = make("details", "details");
  readonly #ask: (question: (board: Remote) => Promise<Outcome<Statistics>>) => Promise<Outcome<Statistics>>;
  readonly #list = make("dl");
  readonly #values = new Map<string, HTMLElement>();
  readonly #others = make("table");
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `ask` puts a question to the board as it can be reached at that moment. */
  constructor(ask: (question: (board: Remote) => Promise<Outcome<Statistics>>) => Promise<Outcome<Statistics>>) {
    this.#ask = ask;
    this.element.append(make("summary", "", DETAILS.title), this.#list, this.#others);
    this.element.addEventListener("toggle", () => this.refresh());
    this.#others.hidden = true;
  }

  /** Asks the board now, and again for as long as this is open and seen. */
  refresh(): void {
    clearTimeout(this.#timer);
    if (!this.element.open || !this.element.checkVisibility()) return;
    void this.#ask((board) => board.statistics("all")).then((outcome) => {
      if (outcome.ok) this.show(outcome.value);
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.refresh(), ASK_MS);
    });
  }

  /** Shows what the board said. */
  show({ me, viewers, more }: Statistics): void {
    const { path, sentBps, estimateBps, framesPerS, roundTripMs, framesDropped, lost, repaired } = me;
    this.#set(DETAILS.path, wordsForPath(path));
    this.#set(DETAILS.rate, wordsForBitrate(sentBps));
    this.#set(DETAILS.network, estimateBps === null ? DETAILS.unknown : wordsForBitrate(estimateBps));
    this.#set(DETAILS.frames, framesPerS.toFixed(1));
    this.#set(DETAILS.roundTrip, roundTripMs === null ? DETAILS.unknown : `${Math.round(roundTripMs)} ms`);
    this.#set(DETAILS.lost, String(lost));
    this.#set(DETAILS.repaired, String(repaired));
    this.#set(DETAILS.leftOut, String(framesDropped));
    this.#others.hidden = viewers.length <= 1;
    const rows = viewers.map((viewer) => rowFor(viewer));
    if (more > 0) rows.push(row("td", [DETAILS.more(more), "", "", ""]));
    this.#others.replaceChildren(row("th", DETAILS.columns), ...rows);
  }

  #set(name: string, text: string): void {
    let value = this.#values.get(name);
    if (value === undefined) {
      value = make("dd");
      this.#values.set(name, value);
      this.#list.append(make("dt", "", name), value);
    }
    setText(value, text);
  }
}

function rowFor(viewer: ViewerStatistics): HTMLElement {
  const { name, state, path, sentBps, roundTripMs, troubles } = viewer;
  const words = [...troubles.map((trouble) => DETAILS.troubles[trouble]), ...(state === "connecting" ? [DETAILS.connecting] : [])];
  const made = row("td", [name, wordsForPath(path), wordsForBitrate(sentBps), roundTripMs === null ? DETAILS.unknown : `${Math.round(roundTripMs)} ms`]);
  if (words.length > 0) made.firstElementChild?.append(make("span", "trouble", words.join(", ")));
  return made;
}

function row(kind: "td" | "th", cells: readonly string[]): HTMLElement {
  const made = make("tr");
  made.append(...cells.map((text) => make(kind, "", text)));
  return made;
}
