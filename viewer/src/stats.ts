// How well picture and sound arrive, from two reports of the browser.

/** What is told once a second while media flows. */
export interface Stats {
  /** Frames decoded in the last second. */
  fps: number;
  /** Video and sound received, thousands of bits per second. */
  kbps: number;
  width: number;
  height: number;
  /** Packets lost since the start, in percent of those expected. */
  lossPercent: number;
  /** Round trip on the path that carries media, when the browser knows it. */
  rttMs?: number;
  /** How long a frame waited in the jitter buffer, on average over the last second. */
  jitterBufferMs?: number;
  /** From the page's opening to its first picture. */
  firstFrameMs?: number;
}

/** The counters of one moment; the difference of two is a rate. */
export interface Counters {
  /** When they were read, ms. */
  at: number;
  bytes: number;
  framesDecoded: number;
  packetsReceived: number;
  packetsLost: number;
  width: number;
  height: number;
  /** Seconds that all frames together spent in the jitter buffer, and how many did. */
  bufferedS: number;
  emitted: number;
  rttMs?: number;
}

type Report = Record<string, unknown>;

/** Picks the counters out of a report (W3C webrtc-stats: inbound-rtp, candidate-pair). */
export function readCounters(reports: Iterable<Report>, at: number): Counters {
  const sum: Counters = {
    at, bytes: 0, framesDecoded: 0, packetsReceived: 0, packetsLost: 0, width: 0, height: 0, bufferedS: 0, emitted: 0,
  };
  for (const report of reports) {
    if (report["type"] === "inbound-rtp") {
      sum.bytes += number(report["bytesReceived"]);
      sum.packetsReceived += number(report["packetsReceived"]);
      sum.packetsLost += number(report["packetsLost"]);
      if (report["kind"] !== "video") continue;
      sum.framesDecoded += number(report["framesDecoded"]);
      sum.width = number(report["frameWidth"]);
      sum.height = number(report["frameHeight"]);
      sum.bufferedS += number(report["jitterBufferDelay"]);
      sum.emitted += number(report["jitterBufferEmittedCount"]);
    } else if (report["type"] === "candidate-pair" && report["nominated"] === true) {
      const rtt = report["currentRoundTripTime"];
      if (typeof rtt === "number") sum.rttMs = rtt * 1000;
    }
  }
  return sum;
}

/** What happened between two moments. */
export function statsBetween(before: Counters, after: Counters): Stats {
  const seconds = Math.max((after.at - before.at) / 1000, 0.001);
  const expected = after.packetsReceived + after.packetsLost;
  const emitted = after.emitted - before.emitted;
  return {
    fps: Math.round((after.framesDecoded - before.framesDecoded) / seconds),
    kbps: Math.round(((after.bytes - before.bytes) * 8) / 1000 / seconds),
    width: after.width,
    height: after.height,
    lossPercent: expected > 0 ? (100 * after.packetsLost) / expected : 0,
    ...(after.rttMs !== undefined && { rttMs: after.rttMs }),
    ...(emitted > 0 && { jitterBufferMs: (1000 * (after.bufferedS - before.bufferedS)) / emitted }),
  };
}

function number(value: unknown): number {
  return typeof value === "number" ? value : 0;
}
