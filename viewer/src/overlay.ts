// What is laid over the picture: state line, buttons, and a notice when there is something to say.
//
// It draws what it is told and reports taps; what they mean is decided in the element.

import type { BoardState } from "./control-message";
import { button, make, setButton, setText } from "./elements";
import type { Screen } from "./screen";
import { overlaySheet } from "./style";
import { LABELS, type Words, nextTry } from "./words";

/** What a person tapped. */
export interface Taps {
  play(): void;
  sound(): void;
  talk(): void;
  fullscreen(): void;
}

/** How much of a picture there is: none yet, one that no longer moves, or a live one. */
export type Picture = "none" | "old" | "live";

/** All of the element but its picture. */
export class Overlay {
  /** Everything stands in here, the picture too. */
  readonly root: HTMLElement;
  /** The board's own buttons stand in here, between sound and full screen. */
  readonly tools = make("div", "tools");
  readonly #notice = make("div", "notice");
  readonly #title = make("h2");
  readonly #detail = make("p");
  readonly #next = make("p", "next");
  readonly #spoken = make("div", "spoken");
  readonly #dot = make("span", "dot");
  readonly #name = make("span", "name");
  readonly #line = make("span", "line");
  readonly #play = button("play", "play", LABELS.play);
  readonly #sound = button("sound", "soundOff", LABELS.unmute);
  readonly #talk = button("talk", "microphone", LABELS.talk);
  readonly #fullscreen = button("fullscreen", "expand", LABELS.fullscreen);

  constructor(screen: Screen, taps: Taps) {
    this.root = screen.root;
    screen.addSheet(overlaySheet());
    this.#build();
    this.#play.addEventListener("click", () => taps.play());
    this.#sound.addEventListener("click", () => taps.sound());
    this.#talk.addEventListener("click", () => taps.talk());
    this.#fullscreen.addEventListener("click", () => taps.fullscreen());
  }

  /** Shows a state; the notice appears when there is no live picture, or more to say than the title. */
  show(name: string, words: Words, picture: Picture): void {
    this.root.dataset["tone"] = words.tone;
    this.root.dataset["picture"] = picture;
    setText(this.#name, name);
    setText(this.#line, words.title);
    setText(this.#title, words.title);
    setText(this.#spoken, [name, words.title, words.detail].filter((part) => part).join(". "));
    setText(this.#detail, words.detail ?? "");
    this.#detail.hidden = words.detail === undefined;
    const isQuiet = picture === "live" && words.tone === "live";
    this.#notice.hidden = isQuiet;
    // The notice says it larger.
    this.#line.hidden = !isQuiet;
    this.#dot.hidden = !isQuiet && name === "";
  }

  /** Shows when the next attempt is. */
  countDown(seconds: number | undefined): void {
    setText(this.#next, seconds === undefined ? "" : nextTry(seconds));
    this.#next.hidden = seconds === undefined;
  }

  /** Offers a play button, for a browser that wants a tap first. */
  offerPlay(isOffered: boolean): void {
    this.#play.hidden = !isOffered;
  }

  /** Shows the sound button as it stands; it stands out while there is sound to be turned on. */
  showSound(isAvailable: boolean, isMuted: boolean): void {
    this.#sound.hidden = !isAvailable;
    this.#sound.classList.toggle("prompt", isMuted);
    setButton(this.#sound, isMuted ? "soundOff" : "soundOn", isMuted ? LABELS.unmute : LABELS.mute);
  }

  /** Shows the microphone button as it stands; `holder` is who speaks, when the board says it. */
  showTalk(isAvailable: boolean, isOn: boolean, holder: BoardState["talk"] | undefined): void {
    this.#talk.hidden = !isAvailable;
    const blocked = isOn ? undefined : talkBlocked(holder);
    const isUnheard = isOn && holder === "other";
    this.#talk.setAttribute("aria-pressed", String(isOn));
    // Not `disabled`: a tap says why, which a finger would otherwise never learn.
    this.#talk.setAttribute("aria-disabled", String(blocked !== undefined));
    this.#talk.classList.toggle("heard", isOn && holder === "you");
    this.#talk.classList.toggle("unheard", isUnheard);
    setButton(this.#talk, "microphone", blocked ?? (isUnheard ? LABELS.talkUnheard : isOn ? LABELS.hush : LABELS.talk));
  }

  /** Shows the full screen button as it stands. */
  showFullscreen(isAvailable: boolean, isOn: boolean): void {
    this.#fullscreen.hidden = !isAvailable;
    setButton(this.#fullscreen, isOn ? "shrink" : "expand", isOn ? LABELS.leaveFullscreen : LABELS.fullscreen);
  }

  #build(): void {
    const beam = make("div", "beam");
    this.#notice.append(beam, this.#title, this.#detail, this.#next);
    const state = make("div", "state");
    state.append(this.#dot, this.#name, this.#line);
    // Notice and state line say the same twice, and count seconds: neither is read out, one summary is.
    for (const silent of [this.#notice, state]) silent.setAttribute("aria-hidden", "true");
    this.#spoken.setAttribute("role", "status");
    const bar = make("div", "bar");
    bar.append(state, this.#talk, this.#sound, this.tools, this.#fullscreen);
    this.root.append(this.#spoken, this.#notice, this.#play, bar);
    for (const hidden of [this.#play, this.#sound, this.#talk, this.#fullscreen, this.#next]) hidden.hidden = true;
  }
}

/** Why nobody can begin to speak now, in words. */
export function talkBlocked(holder: BoardState["talk"] | undefined): string | undefined {
  if (holder === "other") return LABELS.talkOther;
  return holder === "none" ? LABELS.talkNone : undefined;
}
