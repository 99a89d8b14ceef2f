// The custom element <farol-camera>: a camera's live picture in any page.
//
//   <farol-camera link="https://…#1.…"></farol-camera>
//   <farol-camera device="…" broker="ws://…" talk></farol-camera>
//
// Attributes: `link`, or `device`, `broker` and, when sealed, `kid` and `key`; `talk` asks for the
// right to speak and shows a microphone button once it is granted, `control` for the right to set the
// camera. Events: `farol-state` with a FarolState, `farol-stats` with Stats and `farol-board` with a
// BoardState, all in `detail`. A key in an attribute can be read by every script of the page; the
// property `link` keeps it out of the document.

import { Board } from "./board";
import type { Remote } from "./control";
import type { BoardState } from "./control-message";
import { type Link, type ParsedLink, makeLink, parseFragment } from "./link";
import type { Right } from "./message";
import { Microphone } from "./microphone";
import { Overlay, type Picture, talkBlocked } from "./overlay";
import { Screen } from "./screen";
import type { View } from "./session-io";
import type { Stats } from "./stats";
import { Watch } from "./watch";
import { type Refusal, type Words, LABELS, wordsFor, wordsForBoard, wordsForRefusal } from "./words";

/** What the element is doing, for the page around it. */
export interface FarolState {
  /** A state of {@link View}, or `idle` before the start, or `unusable` when nothing can be tried. */
  state: View["state"] | "idle" | "unusable";
  /** Why, when there is a reason. */
  reason?: View["reason"] | Refusal;
  /** The camera's name. */
  name: string;
  /** What this viewer may do, once the camera granted it. */
  rights: View["rights"];
  /** The state in words. */
  words: string;
}

const ATTRIBUTES = ["link", "device", "kid", "key", "broker", "talk", "control"];
const REMARK_MS = 6_000;
/** So long there is nothing to read: a picture that comes sooner needs no word, and drawing words would delay it. */
const SPEECHLESS_MS = 150;
/** What there is no hurry to say. */
const ON_THE_WAY = new Set<View["state"]>(["connecting", "looking", "live"]);
/** While the camera is in one of these, who talks goes on talking; in any other it would be heard much later. */
const TALKING = new Set<View["state"]>(["live", "interrupted", "connecting"]);
const IDLE: FarolState = { state: "idle", name: "", rights: [], words: "" };

/** The element. */
export class FarolCamera extends HTMLElement {
  static readonly observedAttributes = ATTRIBUTES;

  readonly #screen: Screen;
  readonly #board: Board;
  #overlay: Overlay | undefined;
  #furnishing: ReturnType<typeof setTimeout> | undefined;
  #watch: Watch | undefined;
  #link: string | Link | undefined;
  #view: View | undefined;
  #state: FarolState = IDLE;
  #stats: Stats | undefined;
  #media: MediaStream | undefined;
  #hasFrame = false;
  #firstFrameMs: number | undefined;
  readonly #microphone = new Microphone(() => this.#microphoneEnded());
  #remark: Words | undefined;
  #remarkTimer: ReturnType<typeof setTimeout> | undefined;
  #countdown: ReturnType<typeof setInterval> | undefined;
  #isStarting = false;
  /** The browser plays nothing without a tap. */
  #wantsTap = false;
  #wasLeft = false;
  readonly #refresh = (): void => this.#draw();
  readonly #shown = (): void => this.#goOn();
  /** A page that is left says bye, so that its place is free at once; one that comes back starts anew. */
  readonly #left = (): void => {
    this.#wasLeft = this.#watch !== undefined;
    this.stop();
  };
  readonly #returned = (): void => {
    if (this.#wasLeft) this.start();
    this.#wasLeft = false;
  };

  constructor() {
    super();
    this.#screen = new Screen(this.attachShadow({ mode: "open" }));
    this.#screen.video.addEventListener("pause", () => this.#goOn());
    this.#board = new Board(this.#screen, (title, detail) => this.#say(title, detail));
  }

  /** The camera's link: a whole address, its fragment, or a parsed {@link Link}. */
  get link(): string | Link | undefined {
    return this.#link ?? this.getAttribute("link") ?? undefined;
  }
  set link(link: string | Link | undefined) {
    this.#link = link;
    this.#startSoon();
  }

  /** Whether the sound is off; it is at the start, since browsers play only silent video unasked. */
  get muted(): boolean {
    return this.#screen.video.muted;
  }
  set muted(muted: boolean) {
    this.#screen.video.muted = muted;
    if (!muted) this.#joinSound();
    this.#draw();
  }

  /** What the element is doing. */
  get state(): FarolState {
    return this.#state;
  }

  /** The last second's figures, while media flows. */
  get stats(): Stats | undefined {
    return this.#stats;
  }

  /** How the board behind the camera is, as far as it said. */
  get board(): BoardState | undefined {
    return this.#board.state;
  }

  /** The board, to take stills from and to set things at, while it can be reached. */
  get remote(): Remote | undefined {
    return this.#board.remote;
  }

  /** Whether the microphone is on. */
  get isTalking(): boolean {
    return this.#microphone.isOn;
  }

  /** The video element, to take pictures from or to lay things over. */
  get video(): HTMLVideoElement {
    return this.#screen.video;
  }

  /** Starts, or starts over. It happens by itself when the element has a link and is in a document. */
  start(): void {
    this.stop();
    this.#isStarting = false;
    const parsed = this.#parsed();
    const refusal = parsed.ok ? refusalFor(parsed.link) : parsed.fault;
    if (!parsed.ok || refusal !== undefined) {
      this.#refuse(refusal ?? "no-link");
      return;
    }
    const wants: Right[] = ["view", "listen", ...(["talk", "control"] as const).filter((right) => this.hasAttribute(right))];
    this.#watch = new Watch(parsed.link, wants, {
      view: (view) => this.#viewed(view),
      media: (stream) => this.#mediaArrived(stream),
      stats: (stats) => this.#measured(stats),
      remote: (remote) => this.#attached(remote),
      board: (state) => this.#boardSaid(state),
      controls: (controls) => this.#board.takeControls(controls),
    });
    this.#watch.start();
  }

  /** Says bye and stops; `start` begins anew. */
  stop(): void {
    void this.talk(false);
    this.#watch?.stop("left");
    this.#watch = undefined;
    this.#screen.video.srcObject = null;
    this.#media = undefined;
    this.#hasFrame = false;
    this.#stats = undefined;
  }

  /** Turns the sound on. Browsers allow it from a tap only. */
  unmute(): void {
    this.muted = false;
    void this.#play();
  }

  /** Fills the screen, or leaves it. */
  async fullscreen(): Promise<void> {
    const video = this.#screen.video as HTMLVideoElement & { webkitEnterFullscreen?: () => void };
    if (document.fullscreenElement === this) await document.exitFullscreen();
    else if (document.fullscreenEnabled) await this.requestFullscreen();
    else video.webkitEnterFullscreen?.(); // An iPhone fills the screen with videos only.
  }

  /** Turns the microphone on or off; true when it is as asked. The browser asks the person first. */
  async talk(on: boolean): Promise<boolean> {
    if (!on) {
      this.#microphone.close();
      this.#draw();
      await this.#watch?.talk(null);
      return true;
    }
    const watch = this.#watch;
    if (watch === undefined || this.isTalking) return this.isTalking;
    const blocked = talkBlocked(this.board?.talk);
    if (blocked !== undefined) return this.#say(LABELS.noTalk, blocked);
    const track = await this.#microphone.open();
    if (typeof track === "string") return this.#say(LABELS.noMicrophone, track);
    if (track === undefined) return false;
    if (this.#watch !== watch) {
      this.#microphone.close();
      return false;
    }
    this.#draw();
    await watch.talk(track);
    return true;
  }

  /** The browser put the element into a document. */
  connectedCallback(): void {
    document.addEventListener("fullscreenchange", this.#refresh);
    document.addEventListener("visibilitychange", this.#shown);
    addEventListener("pagehide", this.#left);
    addEventListener("pageshow", this.#returned);
    this.#furnishing = setTimeout(() => this.#furnish(), SPEECHLESS_MS);
    if (this.#isNamed()) this.#startSoon();
  }

  /** The browser took the element out of its document. */
  disconnectedCallback(): void {
    document.removeEventListener("fullscreenchange", this.#refresh);
    document.removeEventListener("visibilitychange", this.#shown);
    removeEventListener("pagehide", this.#left);
    removeEventListener("pageshow", this.#returned);
    clearTimeout(this.#furnishing);
    clearInterval(this.#countdown);
    this.#countdown = undefined;
    this.stop();
  }

  /** An attribute changed. */
  attributeChangedCallback(): void {
    if (this.#isNamed()) this.#startSoon();
  }

  #isNamed(): boolean {
    return this.link !== undefined || this.hasAttribute("device");
  }

  /** Several attributes set in a row make one start. */
  #startSoon(): void {
    if (this.#isStarting || !this.isConnected) return;
    this.#isStarting = true;
    queueMicrotask(() => {
      if (this.#isStarting && this.isConnected) this.start();
      this.#isStarting = false;
    });
  }

  #parsed(): ParsedLink | { ok: false; fault: "no-link" } {
    const { link } = this;
    if (typeof link === "object") return { ok: true, link };
    if (link !== undefined) return parseFragment(link.slice(link.indexOf("#") + 1));
    const [device, kid, key, broker] = ["device", "kid", "key", "broker"].map((name) => this.getAttribute(name));
    if (!device) return { ok: false, fault: "no-link" };
    return makeLink({ device, kid: kid ?? "open", key: key ?? "", broker: broker ?? "" });
  }

  /** Shows why nothing is tried. The page uses it too, for what it finds wrong before there is a link. */
  #refuse(refusal: Refusal): void {
    this.#view = undefined;
    this.#setState({ ...IDLE, state: "unusable", reason: refusal, words: wordsForRefusal(refusal).title });
    this.#furnish();
  }

  #viewed(view: View): void {
    this.#view = view;
    // A camera that comes back hours later must not send the microphone again before a tap.
    if (!view.rights.includes("talk") || !TALKING.has(view.state)) this.#stopTalking();
    if (!ON_THE_WAY.has(view.state)) this.#furnish();
    this.#draw();
    const { state, reason, name, rights } = view;
    this.#setState({ state, ...(reason && { reason }), name, rights, words: wordsFor(view).title });
  }

  /** Also while the person is still being asked for the microphone. */
  #stopTalking(): void {
    const wasTalking = this.isTalking;
    this.#microphone.close();
    if (wasTalking) void this.#watch?.talk(null);
  }

  #microphoneEnded(): void {
    void this.talk(false);
    this.#say(LABELS.noMicrophone, LABELS.microphoneGone);
  }

  #attached(remote: Remote | undefined): void {
    this.#board.attach(remote);
    this.#draw();
  }

  #boardSaid(state: BoardState): void {
    const before = this.board?.camera;
    this.#board.take(state);
    // The picture from before stays in the video element: it is shown again once a new one is there.
    if (before !== undefined && before !== "ready" && state.camera === "ready" && this.#media !== undefined) {
      this.#awaitFrame(this.#media);
    }
    this.#draw();
    this.dispatchEvent(new CustomEvent("farol-board", { detail: state, bubbles: true, composed: true }));
  }

  #setState(state: FarolState): void {
    this.#state = state;
    this.dispatchEvent(new CustomEvent("farol-state", { detail: state, bubbles: true, composed: true }));
  }

  #mediaArrived(stream: MediaStream): void {
    const { video } = this.#screen;
    if (this.#media === stream) return this.#draw();
    this.#media = stream;
    // Sound joins later: starting it holds a cold Chromium's page, and so its ICE, up for some 80 ms.
    const pictures = stream.getVideoTracks();
    video.srcObject = new MediaStream(pictures.length > 0 ? pictures : stream.getTracks());
    // Who hears the camera already goes on hearing it: a hidden page gets no first picture to wait for.
    if (!video.muted) this.#joinSound();
    this.#awaitFrame(stream);
    void this.#play();
    this.#draw();
  }

  #awaitFrame(stream: MediaStream): void {
    const { video } = this.#screen;
    this.#hasFrame = false;
    if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(() => this.#frameArrived(stream));
    else (video as HTMLVideoElement).addEventListener("loadeddata", () => this.#frameArrived(stream), { once: true });
  }

  #frameArrived(stream: MediaStream): void {
    if (this.#media !== stream) return;
    this.#hasFrame = true;
    this.#firstFrameMs ??= performance.now();
    this.#furnish();
    this.#joinSound();
  }

  /** Gives the video element the sound too: after the first picture, or when it is to be heard before. */
  #joinSound(): void {
    const shown = this.#screen.video.srcObject;
    if (!(shown instanceof MediaStream)) return;
    this.#media?.getAudioTracks().forEach((track) => shown.addTrack(track));
  }

  async #play(): Promise<void> {
    const { video } = this.#screen;
    if (video.srcObject === null) return;
    try {
      await video.play();
      this.#wantsTap = false;
    } catch (error) {
      // AbortError only says that a newer stream took over; anything else, NotAllowedError above all, wants a tap.
      if (error instanceof DOMException && error.name === "AbortError") return;
      this.#wantsTap = true;
    }
    this.#draw();
  }

  /** Nothing here pauses the picture: an iPhone that leaves full screen does, and browsers with a hidden page. */
  #goOn(): void {
    if (document.visibilityState === "visible" && this.#screen.video.paused) void this.#play();
  }

  #measured(stats: Stats): void {
    if (this.#view?.state !== "live") return;
    this.#stats = this.#firstFrameMs === undefined ? stats : { ...stats, firstFrameMs: this.#firstFrameMs };
    this.dispatchEvent(new CustomEvent("farol-stats", { detail: this.#stats, bubbles: true, composed: true }));
  }

  /** Says something in passing; always false, for the caller to return. */
  #say(title: string, detail: string): false {
    this.#remark = { title, detail, tone: "warning" };
    this.#furnish();
    clearTimeout(this.#remarkTimer);
    this.#remarkTimer = setTimeout(() => {
      this.#remark = undefined;
      this.#draw();
    }, REMARK_MS);
    return false;
  }

  /** Lays everything else over the picture, if it is not there yet. */
  #furnish(): void {
    clearTimeout(this.#furnishing);
    if (this.#overlay === undefined) {
      this.#overlay = new Overlay(this.#screen, {
        play: () => void this.#play(),
        sound: () => (this.muted ? this.unmute() : (this.muted = true)),
        talk: () => void this.talk(!this.isTalking),
        fullscreen: () => void this.fullscreen(),
      });
      this.#board.furnish(this.#overlay);
    }
    this.#draw();
  }

  #draw(): void {
    const overlay = this.#overlay;
    if (overlay === undefined) return;
    const view = this.#view;
    const isLive = view?.state === "live";
    const { board } = this;
    const hasAudio = isLive && this.#media !== undefined && this.#media.getAudioTracks().length > 0;
    const hears = hasAudio && board?.microphone !== "none" && board?.microphone !== "private";
    overlay.show(view?.name ?? "", this.#remark ?? this.#words(), this.#picture());
    overlay.showSound(hears && view.rights.includes("listen"), this.muted);
    // A board without a microphone can have a loudspeaker; without its word, sound both ways is taken for granted.
    const canSpeak = isLive && (board === undefined ? hasAudio : true);
    const maySpeak = canSpeak && view.rights.includes("talk");
    // Whoever is talking must see it, and be able to stop.
    overlay.showTalk(maySpeak || this.isTalking, this.isTalking, board?.talk);
    overlay.showFullscreen(this.#picture() === "live", document.fullscreenElement === this);
    overlay.offerPlay(this.#wantsTap);
    this.#drawCountdown(overlay, view?.retryAt);
  }

  #words(): Words {
    const view = this.#view;
    if (view === undefined) {
      const { state, reason } = this.#state;
      return state === "unusable" ? wordsForRefusal(reason as Refusal) : { title: "Not started", tone: "warning" };
    }
    const trouble = view.state === "live" && this.board !== undefined ? wordsForBoard(this.board.camera) : undefined;
    if (trouble !== undefined) return trouble;
    if (view.state === "live" && view.reason === undefined && !this.#hasFrame) {
      return { title: "Waiting for the picture", tone: "busy" };
    }
    return wordsFor(view);
  }

  #picture(): Picture {
    // A rejected video section still yields a black frame in Chromium.
    if (!this.#hasFrame || this.#view?.reason === "no-h264" || this.board?.camera === "private") return "none";
    return this.#view?.state === "live" && this.board?.camera !== "lost" ? "live" : "old";
  }

  #drawCountdown(overlay: Overlay, retryAt: number | undefined): void {
    overlay.countDown(retryAt === undefined ? undefined : (retryAt - performance.now()) / 1000);
    if (retryAt === undefined) {
      clearInterval(this.#countdown);
      this.#countdown = undefined;
    } else {
      this.#countdown ??= setInterval(this.#refresh, 1_000);
    }
  }
}

/** Why a good link cannot be used here. */
function refusalFor(link: Link): Refusal | undefined {
  if (typeof RTCPeerConnection === "undefined") return "no-webrtc";
  const host = new URL(link.broker.url).hostname;
  const isLocal = host === "localhost" || host === "127.0.0.1" || host === "[::1]";
  // Mixed content: browsers open ws:// from https:// to this machine only, if at all.
  if (location.protocol === "https:" && link.broker.url.startsWith("ws:") && !isLocal) return "mixed-content";
  return undefined;
}

if (customElements.get("farol-camera") === undefined) customElements.define("farol-camera", FarolCamera);
