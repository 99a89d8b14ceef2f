// How far apart a person sees the flash and hears the beep of the test picture (src/io/capture/pattern.rs).
//
// Both happen at each whole second of CLOCK_MONOTONIC. In the page:
//
//   seen  = when the first picture with the white square is on the screen (requestVideoFrameCallback's
//           expectedDisplayTime), less how long after the second it was taken, which its strip tells:
//           at 30 pictures a second the first white one is up to 33 ms late of itself
//   heard = when the beep's first sample left the browser's jitter buffer for the sound card, on the clock
//           of performance.now() (MediaStreamTrackProcessor stamps the sound there), plus the latency of the
//           output: the browser is told to use none, and then counts CARD_MS for it
//
// seen - heard is the offset: positive when the picture is late. Neither end of it is a moment at which
// a script ran, so a busy machine that runs the script late measures the same.
//
// The browser brings the two into step by the sender reports alone, and says how far apart it believes them
// to be. On a machine so busy that sound arrives in bursts it is behind with that, and knows it. The part of
// the offset that it does not know of is what the device tells wrong, whatever the machine does, and what
// the browser itself gets wrong: it seems to show pictures some milliseconds before the moment it counts with.
import { pathToFileURL } from "node:url";
import { launch, open } from "./browser.mjs";
import { SMALL_PICTURE, device } from "./daemon.mjs";
import { Mosquitto } from "./mosquitto.mjs";

/** How far apart sound and picture may be. */
export const BOUND_MS = 40;
/** No sound card, so that the output's latency is the same on every machine. */
export const NO_CARD = "--disable-audio-output";
/**
 * What Chromium counts for it: how much older the sound is that getStats says is being played
 * (estimatedPlayoutTimestamp) than what just left the jitter buffer. Ten runs gave 11.6 to 12.5.
 */
const CARD_MS = 12;
/** A viewer that has just joined is still being brought into step. */
const SETTLE_S = 10;
/** From 1900, where NTP begins, to 1970. */
const NTP_EPOCH_MS = 2_208_988_800_000;

/** Watches for so many seconds; the offset of each in ms, and what the browser itself says of both tracks. */
export async function lipsync(t, browser, { seconds, settleS = SETTLE_S } = {}) {
  const broker = await Mosquitto.start(t);
  const board = await device(t, broker, SMALL_PICTURE);
  const link = await board.pair("Ana");
  const daemon = await board.start();
  const viewer = await open(browser, link);
  await viewer.plays();
  await viewer.tap("sound");
  await viewer.hears();
  const wallAtZeroMs = wallAtMonotonicZero();
  const measured = await viewer.page.evaluate(measure, { seconds, settleS, wallAtZeroMs });
  await viewer.close();
  await daemon.stop();
  const result = offsets(measured, wallAtZeroMs);
  return { ...result, ...summary(result.offsets) };
}

/** What the wall clock shows, in ms, when the monotonic one is at zero: the strip shows one, the flash follows the other. */
function wallAtMonotonicZero() {
  // Date.now() is cut to whole milliseconds, so the largest of many differences is the true one.
  let largest = -Infinity;
  for (let look = 0; look < 20_000; look += 1) largest = Math.max(largest, Date.now() - Number(process.hrtime.bigint()) / 1e6);
  return largest;
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** Median, 5th and 95th percentile, how much of it is within the bound, and the drift in ms a minute. */
export function summary(offsets) {
  if (offsets.length === 0) throw new Error("no second had both a flash and a beep");
  const sorted = offsets.map(({ offset }) => offset).sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const within = sorted.filter((offset) => Math.abs(offset) <= BOUND_MS).length / sorted.length;
  return { count: sorted.length, median: at(0.5), p5: at(0.05), p95: at(0.95), within, drift: slope(offsets) * 60 };
}

/** The least-squares line through the offsets, in ms a second. */
function slope(offsets) {
  const mean = (read) => offsets.reduce((sum, one) => sum + read(one), 0) / offsets.length;
  const [second, offset] = [mean((one) => one.second), mean((one) => one.offset)];
  const spread = mean((one) => (one.second - second) ** 2);
  return spread === 0 ? 0 : mean((one) => (one.second - second) * (one.offset - offset)) / spread;
}

/** The figures for people. */
export function table({ count, median, p5, p95, within, drift, unknown, latency }) {
  const ms = (value) => `${value >= 0 ? "+" : ""}${value.toFixed(1)} ms`;
  return [
    "picture later than sound (+) or earlier (-)",
    `  seconds    ${count}`,
    `  median     ${ms(median)}`,
    `  5% to 95%  ${ms(p5)} to ${ms(p95)}`,
    `  within ${BOUND_MS} ms  ${(100 * within).toFixed(0)}% of the seconds`,
    `  drift      ${ms(drift)} a minute`,
    `  of which the browser does not know ${ms(unknown)}; it counts ${latency.toFixed(1)} ms for the output`,
  ].join("\n");
}

/** The offset of each second, and the part of it that the browser does not know of. */
function offsets({ flashes, beeps, played }, capturedAtZeroMs) {
  // A flash belongs to the beep next to it; a second without one of the two is left out.
  const seconds = flashes.flatMap(({ second, seenMs }) => {
    const heardMs = beeps.find((beep) => Math.abs(beep - seenMs) < 400);
    const said = played.findLast(({ atMs }) => atMs <= heardMs);
    return said === undefined ? [] : [{ second, seenMs, heardMs, said }];
  });
  const list = seconds.map(({ second, seenMs, heardMs, said }) => {
    const offset = seenMs - heardMs - CARD_MS;
    return { second, offset, unknown: offset - (said.audio - said.video) };
  });
  const latency = median(seconds.map(({ second, heardMs, said }) =>
    second * 1000 + capturedAtZeroMs - (said.audio - NTP_EPOCH_MS + heardMs - said.atMs)));
  return { offsets: list, latency, unknown: median(list.map(({ unknown }) => unknown)) };
}

/** Runs in the page. */
async function measure({ seconds, settleS, wallAtZeroMs }) {
  const { video } = document.querySelector("farol-camera");
  const [track] = video.srcObject.getAudioTracks();
  const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
  const begin = performance.now() + settleS * 1000;
  const end = begin + seconds * 1000;
  const [flashes, beeps, played] = [[], [], []];

  // The picture. Its RTP timestamps are CLOCK_MONOTONIC at 90 kHz plus an unknown number, which the first
  // pictures' strips tell; the strip itself follows the wall clock, which may be set while this runs.
  const CALIBRATION = 31;
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const zeros = [];
  let zero;
  let wasWhite = true;
  /** The low 32 bits of the wall clock in ms, cut off: half of one is the mean error. */
  const stripMs = (width) => {
    const line = context.getImageData(0, 0, width, 1).data;
    const cell = Math.floor(width / 32);
    const bits = Array.from({ length: 32 }, (_, bit) => (line[4 * Math.floor((bit + 0.5) * cell) + 1] > 127 ? 1 : 0));
    return bits.reduce((number, bit) => number * 2 + bit, 0) + 0.5;
  };
  /** RTP ticks since the clock's zero, modulo 2^32. */
  const ticks = (ms) => (((ms * 90) % 2 ** 32) + 2 ** 32) % 2 ** 32;
  const shown = (_, { expectedDisplayTime, rtpTimestamp }) => {
    if (performance.now() < end) video.requestVideoFrameCallback(shown);
    const { videoWidth: width, videoHeight: height } = video;
    if (canvas.width !== width) [canvas.width, canvas.height] = [width, 9];
    const [side, edge] = [Math.floor(height / 8), Math.floor(height / 24)];
    context.drawImage(video, 0, 2, width, 1, 0, 0, width, 1);
    context.drawImage(video, width - edge - side, height - edge - side, side, side, 0, 1, 8, 8);
    if (zero === undefined) {
      const wall = Date.now();
      const takenMs = wall - (((wall % 2 ** 32) - stripMs(width) + 2 ** 32) % 2 ** 32) - wallAtZeroMs;
      zeros.push((rtpTimestamp - ticks(takenMs) + 2 ** 32) % 2 ** 32);
      if (zeros.length === CALIBRATION) {
        // Near the wrap the numbers would lie at both ends: all are taken relative to the first.
        const first = zeros[0];
        const apart = zeros.map((one) => ((one - first + 1.5 * 2 ** 32) % 2 ** 32) - 2 ** 31).sort((a, b) => a - b);
        zero = { number: first + apart[CALIBRATION >> 1], nearMs: takenMs };
      }
      return;
    }
    const sinceZero = rtpTimestamp - zero.number - ticks(zero.nearMs);
    const takenMs = zero.nearMs + ((((sinceZero % 2 ** 32) + 1.5 * 2 ** 32) % 2 ** 32) - 2 ** 31) / 90;
    const isWhite = context.getImageData(4, 5, 1, 1).data[1] > 127;
    if (isWhite && !wasWhite && performance.now() > begin) {
      const second = Math.round(takenMs / 1000);
      flashes.push({ second, seenMs: expectedDisplayTime - (takenMs - second * 1000) });
    }
    wasWhite = isWhite;
  };
  video.requestVideoFrameCallback(shown);

  // The sound, 10 ms at a time: the beep is what is loud after a quarter of a second that was not.
  const LOUD = 0.1;
  async function listen() {
    let quiet = 0;
    while (performance.now() < end) {
      const { value, done } = await reader.read();
      if (done) return;
      const samples = new Float32Array(value.numberOfFrames);
      value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
      for (const [at, sample] of samples.entries()) {
        if (Math.abs(sample) >= LOUD) {
          if (quiet > value.sampleRate / 4) beeps.push(value.timestamp / 1000 + (at * 1000) / value.sampleRate);
          quiet = 0;
        } else {
          quiet += 1;
        }
      }
      value.close();
    }
  }

  // What the browser says is being played and shown, on the camera's clock.
  async function ask() {
    while (performance.now() < end) {
      const peer = globalThis.farolTest.peers.find(({ connectionState }) => connectionState === "connected");
      const said = {};
      for (const report of (await peer.getStats()).values()) {
        if (report.type !== "inbound-rtp") continue;
        said[report.kind] = report.estimatedPlayoutTimestamp;
        said.atMs = report.timestamp - performance.timeOrigin;
      }
      if (said.audio !== undefined && said.video !== undefined && said.atMs > begin) played.push(said);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
  await Promise.all([listen(), ask()]);
  return { flashes, beeps, played };
}

// `node tests/e2e/lipsync.mjs [SECONDS]`: what `make lipsync` runs.
if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const ends = [];
  const t = { after: (end) => ends.unshift(end) };
  const browser = await launch({ flags: [NO_CARD] });
  try {
    const result = await lipsync(t, browser, { seconds: Number(process.argv[2] ?? 300) });
    console.log(table(result));
    const isGood = Math.abs(result.median) <= BOUND_MS && result.within >= 0.9 && result.count > 0;
    console.log(isGood ? "in step" : `out of step: the median and 90% of the seconds should be within ${BOUND_MS} ms`);
    process.exitCode = isGood ? 0 : 1;
  } finally {
    await browser.close();
    for (const end of ends) await end();
  }
}
