// The panel: everything that this viewer may set at the camera, and nothing else.
//
// It shows what it is told and sends what is tapped; rights and limits are the board's.

import type { Outcome, Remote } from "./control";
import type { BoardState, Control, Fields, NightMode } from "./control-message";
import { Details } from "./details";
import { button, make, setText } from "./elements";
import { Latest } from "./latest";
import { Pad, type Target } from "./pad";
import { Row } from "./panel-row";
import { PANEL, wordsForAgo, wordsForFailure } from "./panel-words";

const NIGHT_WORDS: readonly [NightMode, string][] = [["auto", PANEL.auto], ["day", PANEL.day], ["night", PANEL.nightMode]];
let groups = 0;

/** Whether there is anything in the panel for this viewer. */
export function hasPanel({ may, night, lamp, pan, tilt }: BoardState): boolean {
  return may.includes("set") || (may.includes("night") && night !== null) || (may.includes("lamp") && lamp !== null) ||
    (may.includes("move") && (pan !== null || tilt !== null));
}

/** The panel's inside. */
export class Panel {
  readonly element = make("section", "panel");
  readonly #remote: () => Remote | undefined;
  readonly #about = make("p", "about");
  readonly #fault = make("p", "fault");
  readonly #close = button("small close", "close", PANEL.close);
  readonly #pad: Pad;
  readonly #turning: Latest<Target, Outcome<Fields>>;
  readonly #night = make("div", "night");
  readonly #modes = new Map<NightMode, HTMLInputElement>();
  readonly #nightNow = make("p", "about");
  readonly #lamp = make("div", "row lamp");
  readonly #lampInput = make("input");
  readonly #lampValue = make("output", "value");
  readonly #lighting: Latest<number, Outcome<Fields>>;
  readonly #camera = make("div", "camera");
  readonly #cameraNote = make("p", "about");
  readonly #rows = make("div", "rows");
  readonly #resetAll = make("button", "text", PANEL.resetAll);
  readonly #details: Details;
  #rowsByName = new Map<string, Row>();
  #motionAt: number | undefined;
  #state: BoardState | undefined;

  /** `remote` is the board as it can be reached at the moment of a tap. */
  constructor(remote: () => Remote | undefined, close: () => void) {
    this.#remote = remote;
    this.#turning = new Latest((to) => this.#ask((board) => board.move(to)), () => this.#drawPad());
    this.#lighting = new Latest((level) => this.#ask((board) => board.lamp(level)), () => this.#drawLamp());
    this.#details = new Details(async (question) => {
      const board = this.#remote();
      return board === undefined ? closed() : question(board);
    });
    this.#pad = new Pad((to) => this.#turning.put(to));
    this.element.hidden = true;
    this.element.setAttribute("aria-label", PANEL.open);
    this.#close.addEventListener("click", close);
    this.element.addEventListener("keydown", (event) => event.key === "Escape" && close());
    this.#fault.setAttribute("role", "alert");
    this.#build();
  }

  /** Puts the keyboard at the panel's beginning. */
  focus(): void {
    this.#close.focus();
    this.#details.refresh();
  }

  /** Shows how the board is. */
  show(state: BoardState): void {
    this.#state = state;
    const { may, night, motion, watching } = state;
    if (motion?.lastS !== undefined && motion.lastS !== null) this.#motionAt = performance.now() - motion.lastS * 1000;
    const ago = motion !== null && !motion.isActive && this.#motionAt !== undefined
      ? ` · ${PANEL.lastMotion(wordsForAgo((performance.now() - this.#motionAt) / 1000))}` : "";
    setText(this.#about, PANEL.watching(watching) + ago);
    this.#night.hidden = night === null || !may.includes("night");
    if (night !== null) {
      for (const [mode, input] of this.#modes) input.checked = mode === night.mode;
      setText(this.#nightNow, night.isNight ? PANEL.isNight : PANEL.isDay);
    }
    this.#camera.hidden = !may.includes("set");
    this.#drawPad();
    this.#drawLamp();
  }

  /** Shows what can be set at the camera; `undefined` while that is being asked. */
  showControls(controls: Control[] | undefined): void {
    const rows = (controls ?? []).map((control) => {
      const known = this.#rowsByName.get(control.name);
      if (known?.fits(control) !== true) return [control.name, this.#newRow(control)] as const;
      known.update(control);
      return [control.name, known] as const;
    });
    this.#rowsByName = new Map(rows);
    const elements = [...this.#rowsByName.values()].map(({ element }) => element);
    // Putting an element where it stands already would take the keyboard's focus from it.
    const isSame = elements.length === this.#rows.children.length && elements.every((element, at) => this.#rows.children[at] === element);
    if (!isSame) this.#rows.replaceChildren(...elements);
    this.#cameraNote.hidden = elements.length > 0;
    this.#resetAll.hidden = elements.length === 0;
    setText(this.#cameraNote, controls === undefined ? PANEL.waiting : PANEL.none);
  }

  #build(): void {
    const head = make("div", "head");
    head.append(make("h2", "", PANEL.title), this.#close);
    this.#buildNight();
    this.#lampInput.type = "range";
    [this.#lampInput.min, this.#lampInput.max] = ["0", "100"];
    this.#lampInput.setAttribute("aria-label", PANEL.lamp);
    this.#lampInput.addEventListener("input", () => {
      setText(this.#lampValue, `${this.#lampInput.value}%`);
      this.#lighting.put(Number(this.#lampInput.value));
    });
    this.#lamp.append(make("span", "label", PANEL.lamp), this.#lampValue, this.#lampInput);
    this.#resetAll.type = "button";
    this.#resetAll.addEventListener("click", () => this.#rowsByName.forEach((row) => row.reset()));
    this.#camera.append(make("h3", "", PANEL.picture), this.#cameraNote, this.#rows, this.#resetAll);
    this.element.append(head, this.#about, this.#fault, this.#pad.element, this.#night, this.#lamp, this.#camera, this.#details.element);
    this.#fault.hidden = true;
    this.showControls(undefined);
  }

  #buildNight(): void {
    groups += 1;
    const choices = make("div", "choices");
    for (const [mode, words] of NIGHT_WORDS) {
      const input = make("input");
      input.type = "radio";
      input.name = `farol-night-${groups}`;
      input.value = mode;
      input.addEventListener("change", () => void this.#ask((board) => board.night(mode)));
      const label = make("label");
      label.append(input, make("span", "", words));
      choices.append(label);
      this.#modes.set(mode, input);
    }
    this.#night.setAttribute("role", "radiogroup");
    this.#night.setAttribute("aria-label", PANEL.night);
    this.#night.append(make("h3", "", PANEL.night), choices, this.#nightNow);
  }

  #newRow(control: Control): Row {
    return new Row(control, async (name, value) => (await this.#remote()?.set(name, value)) ?? closed());
  }

  #drawPad(): void {
    const state = this.#state;
    if (state === undefined) return;
    this.#pad.element.hidden = !state.may.includes("move") || (state.pan === null && state.tilt === null);
    if (!this.#turning.isBusy) this.#pad.show(state);
  }

  #drawLamp(): void {
    const state = this.#state;
    if (state === undefined) return;
    this.#lamp.hidden = state.lamp === null || !state.may.includes("lamp");
    if (state.lamp === null || this.#lighting.isBusy) return;
    this.#lampInput.value = String(state.lamp);
    setText(this.#lampValue, `${Math.round(state.lamp)}%`);
  }

  /** Asks the board, and says what went wrong. */
  async #ask<T>(ask: (board: Remote) => Promise<Outcome<T>>): Promise<Outcome<T>> {
    const board = this.#remote();
    const outcome = board === undefined ? closed() : await ask(board);
    setText(this.#fault, outcome.ok ? "" : outcome.text || wordsForFailure(outcome.code));
    this.#fault.hidden = outcome.ok;
    if (!outcome.ok && this.#state !== undefined) this.show(this.#state);
    return outcome;
  }
}

function closed(): Extract<Outcome<never>, { ok: false }> {
  return { ok: false, code: "closed", text: "" };
}
