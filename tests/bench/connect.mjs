// How long from opening the page to its first picture, and where that time goes: in a cold Chromium, or in a new tab.
import { setTimeout as passed } from "node:timers/promises";
import { launch } from "../e2e/browser.mjs";

/** What happens on the way, in order; each is a time in ms since the navigation began. */
export const STEPS = ["script", "broker open", "offer set", "answer sent", "connected", "first frame"];

/** Opens the link in a Chromium that was started for it; the times of the steps. */
export async function connect(link) {
  const browser = await launch();
  try {
    return await connectIn(await browser.newContext(), link);
  } finally {
    await browser.close();
  }
}

/** Janus asks its camera for a keyframe once a second at most, so whoever comes sooner waits for the next. */
const KEYFRAME_MS = 1_100;

/**
 * Opens the link in a new tab of a browser that has shown it before, so many times. farol's camera is still running
 * from the tab before, as Janus's always is, so each needs a keyframe.
 */
export async function connectWarm(link, runs) {
  const browser = await launch();
  try {
    const context = await browser.newContext();
    await connectIn(context, link);
    const all = [];
    for (let run = 0; run < runs; run += 1) {
      await passed(KEYFRAME_MS);
      all.push(await connectIn(context, link));
    }
    return all;
  } finally {
    await browser.close();
  }
}

async function connectIn(context, link) {
  const page = await context.newPage();
  await page.addInitScript(mark);
  await page.goto(link, { waitUntil: "commit" });
  const marks = await page.evaluate(() => globalThis.marked);
  // A page that is left says bye; a browser that is closed from here does not leave it first.
  await page.goto("about:blank");
  await page.close();
  return marks;
}

/**
 * What the same browser needs for two peer connections inside one page: no signalling, no network, a
 * picture that is there already. What is above it is ours.
 */
export async function connectInside(address) {
  const browser = await launch();
  try {
    const page = await browser.newPage();
    await page.goto(new URL("/favicon.svg", address).href);
    return await page.evaluate(async () => {
      // The page is a picture, so what HTML has is asked for by its namespace.
      const make = (name) => document.createElementNS("http://www.w3.org/1999/xhtml", name);
      const canvas = make("canvas");
      [canvas.width, canvas.height] = [1280, 720];
      const context = canvas.getContext("2d");
      const draw = () => {
        context.fillStyle = `rgb(${Math.floor(Math.random() * 255)}, 99, 99)`;
        context.fillRect(0, 0, 1280, 720);
      };
      draw();
      setInterval(draw, 33);
      const begun = performance.now();
      const [from, to] = [new RTCPeerConnection(), new RTCPeerConnection()];
      from.onicecandidate = ({ candidate }) => candidate && to.addIceCandidate(candidate);
      to.onicecandidate = ({ candidate }) => candidate && from.addIceCandidate(candidate);
      for (const track of canvas.captureStream(30).getTracks()) from.addTrack(track);
      const first = new Promise((resolve) => {
        to.ontrack = ({ track }) => {
          const video = make("video");
          video.muted = true;
          video.srcObject = new MediaStream([track]);
          document.documentElement.append(video);
          video.requestVideoFrameCallback((now) => resolve(now - begun));
          void video.play();
        };
      });
      await from.setLocalDescription();
      await to.setRemoteDescription(from.localDescription);
      await to.setLocalDescription();
      await from.setRemoteDescription(to.localDescription);
      return first;
    });
  } finally {
    await browser.close();
  }
}

/** Runs in the page before its own script: notes when each step happens. */
function mark() {
  const marks = {};
  let finish;
  globalThis.marked = new Promise((resolve) => (finish = resolve));
  const note = (name, at = performance.now()) => {
    marks[name] ??= at;
  };
  globalThis.WebSocket = class extends WebSocket {
    constructor(...args) {
      note("script");
      super(...args);
      this.addEventListener("open", () => note("broker open"));
    }
  };
  const { setRemoteDescription, setLocalDescription } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.setRemoteDescription = function (...args) {
    note("offer set");
    this.addEventListener("connectionstatechange", () => this.connectionState === "connected" && note("connected"));
    return setRemoteDescription.apply(this, args);
  };
  // The page sends its answer just before it sets it.
  RTCPeerConnection.prototype.setLocalDescription = function (...args) {
    note("answer sent");
    return setLocalDescription.apply(this, args);
  };
  const ask = HTMLVideoElement.prototype.requestVideoFrameCallback;
  HTMLVideoElement.prototype.requestVideoFrameCallback = function (then) {
    return ask.call(this, (now, metadata) => {
      note("first frame", now);
      finish(marks);
      return then(now, metadata);
    });
  };
}
