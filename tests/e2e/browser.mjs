// A real browser on the page, and what a person would see and hear in it.
import { mkdir } from "node:fs/promises";
import { chromium } from "playwright-core";
import { until } from "../lab/guest.mjs";

const PROGRAM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const MICROPHONE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
const SHOTS = new URL("../../target/e2e/", import.meta.url).pathname;
/** Long enough for a loaded machine; only a failing test waits for it. */
const PATIENCE_MS = 30_000;

/** Chromium with a fresh profile; `microphone` gives it one that beeps, and a person who allows it. */
export function launch({ microphone = false, flags = [] } = {}) {
  return chromium.launch({ executablePath: PROGRAM, args: [...FLAGS, ...(microphone ? MICROPHONE : []), ...flags] });
}

/** Opens a link in a context of its own; `init` runs in the page before its own script. */
export async function open(browser, link, { init } = {}) {
  const context = await browser.newContext({ viewport: { width: 960, height: 540 } });
  const page = await context.newPage();
  const viewer = new Viewer(page);
  await page.addInitScript(instrument);
  if (init !== undefined) await page.addInitScript(init);
  await page.goto(link);
  return viewer;
}

/** One page, as a person has it before them. */
export class Viewer {
  page;
  /** What the browser's console shows in red. */
  errors = [];

  constructor(page) {
    this.page = page;
    page.on("pageerror", (error) => this.errors.push(String(error)));
    page.on("console", (line) => line.type() === "error" && this.errors.push(line.text()));
  }

  /** The counters of all media received in this page's life. */
  stats() {
    return this.page.evaluate(() => globalThis.farolTest.stats());
  }

  /** How many peer connections were answered in this page's life. */
  answered() {
    return this.page.evaluate(() => globalThis.farolTest.peers.filter((peer) => peer.remoteDescription).length);
  }

  /** The next picture on the screen: the strips at its top (src/io/capture/pattern.rs), read from a canvas. */
  async picture() {
    const picture = await this.page.evaluate(() => globalThis.farolTest.picture());
    if (picture === null) return undefined;
    // The strip holds the low 32 bits of the clock.
    return { ...picture, age_ms: (Number(BigInt(picture.seen_ms) & 0xffffffffn) - picture.clock_ms + 2 ** 32) % 2 ** 32 };
  }

  /** Waits until the picture moves and shows the present; the last picture read. */
  async plays() {
    let before;
    let seen;
    const shows = until("a live picture", PATIENCE_MS, async () => {
      const picture = (seen = await this.picture());
      const is_live = picture !== undefined && picture.age_ms < 3000;
      const moved = is_live && before !== undefined && picture.counter !== before.counter && picture.clock_ms !== before.clock_ms;
      before = is_live ? picture : undefined;
      return moved && picture;
    });
    return shows.catch(async (why) => {
      const states = await this.page.evaluate(() => globalThis.farolTest.peers.map((peer) => peer.connectionState));
      const facts = JSON.stringify({ screen: await this.title(), seen, states, errors: this.errors, stats: await this.stats() });
      throw new Error(`${why.message}: ${facts}`);
    });
  }

  /** The words in the middle of the screen; empty when there is nothing to say. */
  async title() {
    const notice = this.page.locator(".notice");
    return (await notice.isVisible()) ? notice.locator("h2").innerText() : "";
  }

  /** Waits for words in the middle of the screen; the sentences below them. */
  async says(title) {
    const notice = this.page.locator(".notice");
    await notice.getByRole("heading", { name: title, includeHidden: true }).waitFor({ timeout: PATIENCE_MS });
    return notice.locator("p").first().innerText();
  }

  /** Taps a button: `sound`, `talk`, `fullscreen` or `play`. */
  async tap(button) {
    await this.page.locator(`button.${button}`).click({ timeout: PATIENCE_MS });
  }

  /** Waits until sound with energy arrives; browsers hear nothing while the element is muted. */
  async hears() {
    const before = await this.stats();
    await until("sound", PATIENCE_MS, async () => (await this.stats()).totalAudioEnergy > before.totalAudioEnergy);
  }

  /** A picture of the screen for people: target/e2e/NAME.png. */
  async shot(name) {
    await mkdir(SHOTS, { recursive: true });
    await this.page.screenshot({ path: `${SHOTS}${name}.png` });
  }

  close() {
    return this.page.context().close();
  }
}

/** Runs in the page before its own script: puts the peer connections and the picture within reach. */
function instrument() {
  const peers = [];
  globalThis.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...args) {
      super(...args);
      peers.push(this);
    }
  };
  const SUMMED = ["framesReceived", "framesDecoded", "framesDropped", "bytesReceived", "packetsReceived", "packetsLost", "totalAudioEnergy"];

  async function stats() {
    const sum = { ...Object.fromEntries(SUMMED.map((name) => [name, 0])), pair: undefined };
    for (const peer of peers) {
      const reports = await peer.getStats();
      for (const report of reports.values()) {
        if (report.type === "inbound-rtp") for (const name of SUMMED) sum[name] += report[name] ?? 0;
        if (report.type === "candidate-pair" && report.nominated) {
          const kind = (id) => reports.get(id)?.candidateType;
          sum.pair = `${kind(report.localCandidateId)} to ${kind(report.remoteCandidateId)}`;
        }
      }
    }
    return sum;
  }

  const canvas = document.createElement("canvas");
  function picture() {
    const { video } = document.querySelector("farol-camera");
    return new Promise((resolve) => {
      const late = setTimeout(() => resolve(null), 1000);
      video.requestVideoFrameCallback(async (now, { presentedFrames }) => {
        const { videoWidth: width, videoHeight: height } = video;
        const seen_ms = Date.now();
        const cell = { width: Math.floor(width / 32), height: Math.max(8, Math.floor(height / 45)) };
        [canvas.width, canvas.height] = [width, 2 * cell.height];
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(video, 0, 0);
        const row = (n) => {
          const y = Math.floor((n + 0.5) * cell.height);
          const line = context.getImageData(0, y, width, 1).data;
          let number = 0;
          for (let bit = 0; bit < 32; bit += 1) {
            const green = line[4 * Math.floor((bit + 0.5) * cell.width) + 1];
            number = number * 2 + (green > 127 ? 1 : 0);
          }
          return number;
        };
        clearTimeout(late);
        resolve({ width, height, clock_ms: row(0), counter: row(1), presentedFrames, seen_ms, stats: await stats() });
      });
    });
  }
  globalThis.farolTest = { peers, stats, picture };
}
