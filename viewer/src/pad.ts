// How a camera is turned: a pad to drag a point on, or to press arrow keys at.
//
// The pad is the whole range of both axes; a camera with one axis gets a narrow one.

import type { Axis, BoardState } from "./control-message";
import { button, make, setText } from "./elements";
import { PANEL, wordsForAngle } from "./panel-words";

/** Where to turn, in degrees; an axis that the camera lacks is missing. */
export interface Target {
  pan?: number;
  tilt?: number;
}

/** What an arrow key turns, in degrees; with Shift, one. */
const KEY_STEP_DEG = 5;

type Turns = Pick<BoardState, "pan" | "tilt">;

/** The pad, its words and its button to the middle. */
export class Pad {
  readonly element = make("div", "turn");
  readonly #turn: (to: Target) => void;
  readonly #field = make("div", "pad");
  readonly #knob = make("span", "knob");
  readonly #words = make("output", "value");
  readonly #centre = button("small centre", "centre", PANEL.centre);
  #axes: Turns = { pan: null, tilt: null };
  #isHeld = false;

  constructor(turn: (to: Target) => void) {
    this.#turn = turn;
    this.#field.tabIndex = 0;
    // Its arrow keys turn the camera; inside any other role a screen reader keeps them for itself.
    this.#field.setAttribute("role", "application");
    this.#field.title = PANEL.moveHelp;
    this.#field.append(this.#knob);
    this.#centre.addEventListener("click", () => this.#go({ pan: 0, tilt: 0 }));
    this.#field.addEventListener("keydown", (event) => this.#pressed(event));
    this.#field.addEventListener("pointerdown", (event) => this.#grabbed(event));
    this.#field.addEventListener("pointermove", (event) => this.#isHeld && this.#dragged(event));
    for (const end of ["pointerup", "pointercancel"]) this.#field.addEventListener(end, () => (this.#isHeld = false));
    const head = make("div", "head");
    head.append(make("h3", "", PANEL.move), this.#words, this.#centre);
    this.element.append(head, this.#field);
  }

  /** Shows where the camera looks; not under a finger that is just moving it. */
  show({ pan, tilt }: Turns): void {
    if (!this.#isHeld) this.#draw({ pan, tilt });
  }

  #draw(axes: Turns): void {
    this.#axes = axes;
    const { pan, tilt } = axes;
    this.#field.classList.toggle("flat", tilt === null);
    this.#field.classList.toggle("narrow", pan === null);
    // Up is positive for the camera, and down for the screen.
    this.#knob.style.left = `${100 * (pan === null ? 0.5 : share(pan))}%`;
    this.#knob.style.top = `${100 * (tilt === null ? 0.5 : 1 - share(tilt))}%`;
    const words = [pan && wordsForAngle(pan.at, "pan"), tilt && wordsForAngle(tilt.at, "tilt")];
    const text = words.filter((part) => part).join(", ");
    setText(this.#words, text);
    this.#field.setAttribute("aria-label", `${PANEL.move}: ${text}. ${PANEL.moveHelp}`);
  }

  #go(to: Target): void {
    const { pan, tilt } = this.#axes;
    const axes = {
      pan: pan && { ...pan, at: clamp(to.pan ?? pan.at, pan) },
      tilt: tilt && { ...tilt, at: clamp(to.tilt ?? tilt.at, tilt) },
    };
    // The point follows the finger at once; the board's word for it comes after.
    this.#draw(axes);
    this.#turn({ ...(axes.pan && { pan: axes.pan.at }), ...(axes.tilt && { tilt: axes.tilt.at }) });
  }

  #grabbed(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.#isHeld = true;
    this.#field.setPointerCapture(event.pointerId);
    this.#dragged(event);
  }

  #dragged(event: PointerEvent): void {
    const { left, top, width, height } = this.#field.getBoundingClientRect();
    const { pan, tilt } = this.#axes;
    const to: Target = {};
    if (pan !== null && width > 0) to.pan = pan.min + ((event.clientX - left) / width) * (pan.max - pan.min);
    if (tilt !== null && height > 0) to.tilt = tilt.max - ((event.clientY - top) / height) * (tilt.max - tilt.min);
    this.#go(to);
  }

  #pressed(event: KeyboardEvent): void {
    const step = event.shiftKey ? 1 : KEY_STEP_DEG;
    const pan = this.#axes.pan?.at ?? 0;
    const tilt = this.#axes.tilt?.at ?? 0;
    const keys: Record<string, Target> = {
      ArrowLeft: { pan: pan - step },
      ArrowRight: { pan: pan + step },
      ArrowUp: { tilt: tilt + step },
      ArrowDown: { tilt: tilt - step },
      Home: { pan: 0, tilt: 0 },
    };
    const to = keys[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#go(to);
  }
}

/** Where on its range an axis stands, 0 to 1. */
function share({ min, max, at }: Axis): number {
  return max > min ? Math.min(Math.max((at - min) / (max - min), 0), 1) : 0.5;
}

/** Tenths of a degree are finer than any servo. */
function clamp(degrees: number, { min, max }: Axis): number {
  return Math.min(Math.max(Math.round(degrees * 10) / 10, min), max);
}
