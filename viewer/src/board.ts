// What the element knows of the board behind the camera, and when it shows it.
//
// What draws it, panel and all, is a part of the script that is fetched only once there is a channel to
// the board: the way to the first picture does not carry it.

import type { BoardView } from "./board-view";
import type { Remote } from "./control";
import type { BoardState, Control } from "./control-message";
import type { Screen } from "./screen";

/** The board, from the element's side. */
export class Board {
  readonly #newView: () => Promise<BoardView>;
  #view: BoardView | undefined;
  #isLoading = false;
  #remote: Remote | undefined;
  #state: BoardState | undefined;
  #controls: Control[] | undefined;

  /** `say` tells the person something in passing. */
  constructor(screen: Screen, shadow: ShadowRoot, say: (title: string, detail: string) => void) {
    this.#newView = async () => new (await import("./board-view")).BoardView(screen, shadow, say);
  }

  /** How the board is, as far as it said. */
  get state(): BoardState | undefined {
    return this.#state;
  }

  /** The board, while it can be reached. */
  get remote(): Remote | undefined {
    return this.#remote;
  }

  /** The board came within reach, or went. */
  attach(remote: Remote | undefined): void {
    this.#remote = remote;
    this.#state = undefined;
    this.#controls = undefined;
    this.#view?.attach(remote);
    if (remote !== undefined && this.#view === undefined) void this.#load();
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

  async #load(): Promise<void> {
    if (this.#isLoading) return;
    this.#isLoading = true;
    try {
      const view = await this.#newView();
      view.attach(this.#remote);
      if (this.#state !== undefined) view.take(this.#state);
      if (this.#controls !== undefined) view.takeControls(this.#controls);
      this.#view = view;
    } catch (error) {
      // The picture needs none of it; the next channel tries again.
      console.warn("farol: the camera's buttons could not be loaded:", error);
    }
    this.#isLoading = false;
  }
}
