// What the element knows of the board behind the camera, and when it shows it.

import { BoardView } from "./board-view";
import type { Remote } from "./control";
import type { BoardState, Control } from "./control-message";
import type { Overlay } from "./overlay";
import type { Screen } from "./screen";

/** The board, from the element's side. */
export class Board {
  readonly #screen: Screen;
  readonly #say: (title: string, detail: string) => void;
  #overlay: Overlay | undefined;
  #view: BoardView | undefined;
  #remote: Remote | undefined;
  #state: BoardState | undefined;
  #controls: Control[] | undefined;

  /** `say` tells the person something in passing. */
  constructor(screen: Screen, say: (title: string, detail: string) => void) {
    this.#screen = screen;
    this.#say = say;
  }

  /** How the board is, as far as it said. */
  get state(): BoardState | undefined {
    return this.#state;
  }

  /** The board, while it can be reached. */
  get remote(): Remote | undefined {
    return this.#remote;
  }

  /** There is something over the picture now, in which the board can be shown. */
  furnish(overlay: Overlay): void {
    this.#overlay = overlay;
    this.#show();
  }

  /** The board came within reach, or went. */
  attach(remote: Remote | undefined): void {
    this.#remote = remote;
    this.#state = undefined;
    this.#controls = undefined;
    this.#view?.attach(remote);
    this.#show();
  }

  /** The board said how it is. */
  take(state: BoardState): void {
    this.#state = state;
    this.#view?.take(state);
  }

  /** The board said what can be set. */
  takeControls(controls: Control[]): void {
    this.#controls = controls;
    this.#view?.takeControls(controls);
  }

  /** A page whose board is never within reach has nothing of it. */
  #show(): void {
    if (this.#view !== undefined || this.#remote === undefined || this.#overlay === undefined) return;
    this.#view = new BoardView(this.#screen, this.#overlay, this.#say);
    this.#view.attach(this.#remote);
    if (this.#state !== undefined) this.#view.take(this.#state);
    if (this.#controls !== undefined) this.#view.takeControls(this.#controls);
  }
}
