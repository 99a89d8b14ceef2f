// How one control of the camera is shown and set: a slider, a switch, a menu or a button.

import type { Outcome } from "./control";
import type { Control, ControlValue } from "./control-message";
import { button, make, setText } from "./elements";
import { Latest } from "./latest";
import { PANEL, wordsForFailure } from "./panel-words";

/** Sets a control; the outcome is what the driver made of the value. */
export type SetControl = (name: string, value: ControlValue) => Promise<Outcome<ControlValue | null>>;

/** One control's row. */
export class Row {
  readonly element = make("div", "row");
  readonly #input: HTMLInputElement | HTMLSelectElement | HTMLButtonElement;
  readonly #value = make("output", "value");
  readonly #reset: HTMLButtonElement;
  readonly #fault = make("p", "fault");
  readonly #latest: Latest<ControlValue, Outcome<ControlValue | null>>;
  #control: Control;
  /** What the device said last, to go back to when it refuses another. */
  #known: ControlValue | undefined;

  constructor(control: Control, set: SetControl) {
    this.#control = control;
    this.#latest = new Latest((value) => set(control.name, value), (outcome) => this.#answered(outcome));
    this.#input = inputFor(control);
    this.#reset = button("small reset", "reset", PANEL.reset(control.label));
    this.element.dataset["control"] = control.name;
    this.element.classList.add(control.kind);
    this.#fault.setAttribute("role", "alert");
    this.#build();
    this.update(control);
  }

  /** Whether this row can show that control, or another must be made. */
  fits(control: Control): boolean {
    return shapeOf(control) === shapeOf(this.#control);
  }

  /** Shows what the control is now; a value that is just being set is left alone. */
  update(control: Control): void {
    this.#control = control;
    if (!this.#latest.isBusy) this.#known = valueOf(control);
    this.#input.disabled = !control.isSettable;
    this.element.classList.toggle("off", !control.isSettable);
    if (!this.#latest.isBusy) this.#draw();
  }

  /** Sets it back to where the driver begins. */
  reset(): void {
    const control = this.#control;
    if (control.kind === "button" || !this.#isChanged()) return;
    this.#put(control.default);
  }

  #build(): void {
    const { label, kind } = this.#control;
    if (kind === "button") {
      this.#input.addEventListener("click", () => this.#latest.put(0));
      this.element.append(this.#input, this.#fault);
      return;
    }
    const name = make("span", "label", label);
    this.#input.setAttribute("aria-label", label);
    this.#input.addEventListener("input", () => this.#put(this.#read()));
    this.#reset.addEventListener("click", () => this.reset());
    this.element.append(name, this.#value, this.#reset, this.#input, this.#fault);
  }

  /** What the person chose. */
  #read(): ControlValue {
    if (this.#control.kind === "boolean") return (this.#input as HTMLInputElement).checked;
    return Number(this.#input.value);
  }

  #put(value: ControlValue): void {
    this.#control = withValue(this.#control, value);
    this.#draw();
    this.#latest.put(value);
  }

  #answered(outcome: Outcome<ControlValue | null>): void {
    setText(this.#fault, outcome.ok ? "" : outcome.text || wordsForFailure(outcome.code));
    this.#fault.hidden = outcome.ok;
    if (outcome.ok) {
      if (outcome.value !== null) this.#control = withValue(this.#control, outcome.value);
      this.#known = valueOf(this.#control);
    } else if (this.#known !== undefined) {
      this.#control = withValue(this.#control, this.#known);
    }
    this.#draw();
  }

  #draw(): void {
    const control = this.#control;
    this.#reset.hidden = !control.isSettable || !this.#isChanged();
    if (control.kind === "button") return;
    const shown = control.value ?? control.default;
    if (typeof shown === "boolean") (this.#input as HTMLInputElement).checked = shown;
    else this.#input.value = String(shown);
    if (control.kind === "integer") setText(this.#value, control.value === null ? "–" : String(shown));
  }

  #isChanged(): boolean {
    const control = this.#control;
    return control.kind !== "button" && control.value !== null && control.value !== control.default;
  }
}

function inputFor(control: Control): HTMLInputElement | HTMLSelectElement | HTMLButtonElement {
  switch (control.kind) {
    case "integer": {
      const range = make("input");
      range.type = "range";
      [range.min, range.max, range.step] = [String(control.min), String(control.max), String(control.step)];
      return range;
    }
    case "boolean": {
      const box = make("input");
      box.type = "checkbox";
      box.setAttribute("role", "switch");
      return box;
    }
    case "menu": {
      const select = make("select");
      for (const [number, name] of control.entries) select.append(new Option(name, String(number)));
      return select;
    }
    case "button": {
      const push = make("button", "text", control.label);
      push.type = "button";
      return push;
    }
  }
}

function withValue(control: Control, value: ControlValue): Control {
  if (control.kind === "boolean") return typeof value === "boolean" ? { ...control, value } : control;
  if (control.kind === "button") return control;
  return typeof value === "number" ? { ...control, value } : control;
}

function valueOf(control: Control): ControlValue | undefined {
  return control.kind === "button" || control.value === null ? undefined : control.value;
}

/** Everything of a control that its row is built for. */
function shapeOf(control: Control): string {
  const { name, label, kind } = control;
  if (kind === "integer") return JSON.stringify([name, label, kind, control.min, control.max, control.step]);
  if (kind === "menu") return JSON.stringify([name, label, kind, control.entries]);
  return JSON.stringify([name, label, kind]);
}
