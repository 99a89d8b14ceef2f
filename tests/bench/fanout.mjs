// What does a viewer cost? farol, Janus and the floor send the same recording to as many, one after the other.
import { setTimeout as passed } from "node:timers/promises";
import { device } from "../e2e/daemon.mjs";
import { Mosquitto } from "../e2e/mosquitto.mjs";
import { median, quantile } from "./figures.mjs";
import { ADDRESS, janus } from "./janus.mjs";
import { cpu, memory } from "./process.mjs";
import { Viewers, feed, floor } from "./rig.mjs";
import { within } from "./scope.mjs";

/** After the last has joined: keyframes for newcomers and rates that find their level. */
const SETTLE_MS = 2_000;

/**
 * The median of several rounds for each count of viewers, in each of which all take their turn. For each of farol
 * and janus `cpu_ms` for a viewer and second, `idle_mb` and `all_mb` resident, `p50` and `p99` of the pictures' age in ms,
 * `pictures` a second and `kbps`; for sendto and gso `cpu_ms` alone.
 */
export async function compare(recording, counts, { rounds, measured_ms }) {
  const servers = { farol: serveFarol, janus: serveJanus, sendto: serveFloor("sendto"), gso: serveFloor("gso") };
  const runs = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const count of counts) {
      for (const [name, serve] of Object.entries(servers)) {
        const run = await within((scope) => serve(scope, recording, count, measured_ms));
        runs.push({ name, count, ...run });
      }
    }
  }
  return counts.map((count) => {
    const of = (name) => summary(runs.filter((run) => run.name === name && run.count === count));
    return { count, ...Object.fromEntries(Object.keys(servers).map((name) => [name, of(name)])) };
  });
}

function summary(runs) {
  const names = Object.keys(runs[0]).filter((name) => typeof runs[0][name] === "number" && name !== "count");
  return Object.fromEntries(names.map((name) => [name, median(runs.map((run) => run[name]))]));
}

async function serveFarol(scope, recording, count, measured_ms) {
  const broker = await Mosquitto.start(scope, { rules: "" });
  const board = await device(scope, broker, withRecording(recording), { addresses: [ADDRESS] });
  const daemon = await board.start({ log: "info" });
  await passed(1_000);
  const idle_mb = memory(daemon.pid).all_mb;
  const viewers = await Viewers.join(scope, "farol", broker.mqttPort, count, ADDRESS);
  return { idle_mb, ...(await watched(daemon.pid, viewers, count, measured_ms)) };
}

/** A device whose camera is the recording, with open signalling. */
export const withRecording = (recording) => `
    [signalling]
    security = "open"
    max_viewers = 64
    [video]
    source = "replay"
    file = "${recording}"`;

async function serveJanus(scope, recording, count, measured_ms) {
  const server = await janus(scope);
  await passed(1_000);
  const idle_mb = memory(server.pid).all_mb;
  await feed(scope, recording, server);
  const viewers = await Viewers.join(scope, "janus", server.webSocketPort, count, ADDRESS);
  return { idle_mb, ...(await watched(server.pid, viewers, count, measured_ms)) };
}

function serveFloor(way) {
  return async (scope, recording, count, measured_ms) => {
    const { pid } = await floor(scope, recording, count, way);
    await passed(SETTLE_MS);
    return costs(pid, count, measured_ms);
  };
}

async function costs(pid, count, measured_ms) {
  const [before, begun] = [cpu(pid), performance.now()];
  await passed(measured_ms);
  const seconds = (performance.now() - begun) / 1000;
  return { cpu_ms: (cpu(pid) - before) / seconds / count, seconds };
}

async function watched(pid, viewers, count, measured_ms) {
  await passed(SETTLE_MS);
  viewers.mark();
  const { cpu_ms, seconds } = await costs(pid, count, measured_ms);
  const all_mb = memory(pid).all_mb;
  const told = await viewers.tell();
  const ages = told.flatMap(({ pictures }) => pictures.map(([, age_ms]) => age_ms));
  const each = (value) => told.reduce((sum, viewer) => sum + value(viewer), 0) / count / seconds;
  return {
    cpu_ms,
    all_mb,
    p50: quantile(ages, 0.5),
    p99: quantile(ages, 0.99),
    pictures: each(({ pictures }) => pictures.length),
    kbps: each(({ bytes }) => bytes * 8) / 1000,
  };
}
