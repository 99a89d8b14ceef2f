// Where the picture is shown.
//
// There is nothing else in it at first: what is laid over the picture (overlay.ts) takes a cold browser as
// long to draw as a step on the way to the picture, and comes after it, or when it keeps one waiting.

import { make } from "./elements";
import { screenSheet } from "./style";
import { LABELS } from "./words";

/** The inside of the element. */
export class Screen {
  readonly video = document.createElement("video");
  /** What is laid over the picture goes in here. */
  readonly root = make("div", "root");
  readonly #shadow: ShadowRoot;

  constructor(shadow: ShadowRoot) {
    this.#shadow = shadow;
    this.addSheet(screenSheet());
    this.video.autoplay = true;
    this.video.muted = true;
    this.video.playsInline = true;
    this.video.setAttribute("aria-label", LABELS.video);
    this.root.append(this.video);
    shadow.append(this.root);
  }

  /** Has what stands in it look so. */
  addSheet(sheet: CSSStyleSheet): void {
    this.#shadow.adoptedStyleSheets = [...this.#shadow.adoptedStyleSheets, sheet];
  }
}
