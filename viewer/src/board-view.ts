// What the element shows of the board behind the picture: still, panel and motion, as far as this viewer
// may use them. It is made with the first data channel, when the picture is there already (board.ts).

import type { Remote } from "./control";
import type { BoardState, Control } from "./control-message";
import { button, make } from "./elements";
import { Panel, hasPanel } from "./panel";
import css from "./panel.css?inline";
import { PANEL, wordsForFailure } from "./panel-words";
import type { Overlay } from "./overlay";
import type { Screen } from "./screen";
import { keepStill } from "./still";
import { sheet } from "./style";
import { LABELS } from "./words";

let panelSheet: CSSStyleSheet | undefined;

/** The board's part of the screen. */
export class BoardView {
  readonly #overlay: Overlay;
  readonly #say: (title: string, detail: string) => void;
  readonly #still = button("still", "still", LABELS.still);
  readonly #open = button("settings", "settings", PANEL.open);
  readonly #motion = make("div", "motion", LABELS.motion);
  readonly #panel: Panel;
  #remote: Remote | undefined;
  #state: BoardState | undefined;
  #isAsked = false;

  /** `say` tells the person something in passing. */
  constructor(screen: Screen, overlay: Overlay, say: (title: string, detail: string) => void) {
    this.#overlay = overlay;
    this.#say = say;
    screen.addSheet((panelSheet ??= sheet(css)));
    this.#panel = new Panel(() => this.#remote, () => this.#toggle(false));
    this.#motion.setAttribute("role", "status");
    this.#still.addEventListener("click", () => void this.#takeStill());
    this.#open.addEventListener("click", () => this.#toggle(!this.#isOpen));
    overlay.tools.append(this.#still, this.#open);
    overlay.root.append(this.#motion, this.#panel.element);
    this.#draw();
  }

  /** The board came within reach, or went. */
  attach(remote: Remote | undefined): void {
    this.#remote = remote;
    this.#isAsked = false;
    this.#panel.showControls(undefined);
    if (remote === undefined) this.#state = undefined;
    this.#draw();
  }

  /** The board said how it is. */
  take(state: BoardState): void {
    const isBack = state.camera === "ready" && this.#state?.camera !== "ready";
    this.#state = state;
    // A camera that comes back may be another one.
    if (isBack) this.#isAsked = false;
    this.#draw();
  }

  /** The board said what can be set. */
  takeControls(controls: Control[]): void {
    this.#isAsked = true;
    this.#panel.showControls(controls);
  }

  get #isOpen(): boolean {
    return !this.#panel.element.hidden;
  }

  #draw(): void {
    const state = this.#state;
    this.#still.hidden = state?.may.includes("snapshot") !== true || state.camera !== "ready";
    this.#open.hidden = state === undefined || !hasPanel(state);
    this.#motion.hidden = state?.motion?.isActive !== true;
    if (this.#open.hidden && this.#isOpen) this.#toggle(false);
    if (state === undefined) return;
    this.#panel.show(state);
    if (this.#isOpen) void this.#askControls();
  }

  #toggle(isOpen: boolean): void {
    const had = this.#panel.element.matches(":focus-within");
    this.#panel.element.hidden = !isOpen;
    this.#open.setAttribute("aria-expanded", String(isOpen));
    this.#overlay.root.classList.toggle("has-panel", isOpen);
    if (!isOpen) {
      if (had) this.#open.focus();
      return;
    }
    this.#panel.focus();
    this.#draw();
  }

  async #askControls(): Promise<void> {
    const remote = this.#remote;
    if (this.#isAsked || remote === undefined || this.#state?.may.includes("set") !== true) return;
    this.#isAsked = true;
    const outcome = await remote.controls();
    if (this.#remote === remote && outcome.ok) this.#panel.showControls(outcome.value);
  }

  async #takeStill(): Promise<void> {
    const remote = this.#remote;
    if (remote === undefined || this.#still.getAttribute("aria-busy") === "true") return;
    this.#still.setAttribute("aria-busy", "true");
    const outcome = await remote.snapshot();
    this.#still.removeAttribute("aria-busy");
    if (outcome.ok) keepStill(outcome.value, this.#overlay.root);
    else this.#say(LABELS.noStill, outcome.text || wordsForFailure(outcome.code));
  }
}
