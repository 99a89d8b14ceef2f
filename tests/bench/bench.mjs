// `make bench`: farol against Janus and against the floor in one run, and the figures of the README.
//
// $FAROL is a release build of the daemon, $RIG and $SOURCES the examples of these names. QUICK=1 leaves out what takes
// long. A machine that does something else meanwhile makes all of them slower, so what is compared takes turns, and
// medians are printed. Goals are said to be met or missed; nothing fails for them.
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { tellCameras } from "./cameras.mjs";
import { compare } from "./fanout.mjs";
import { goal, median, quantile, table } from "./figures.mjs";
import { ADDRESS } from "./janus.mjs";
import { lightTheLamp, openings, sumUp, tellOpenings } from "./opening.mjs";
import { within } from "./scope.mjs";

const IS_QUICK = Boolean(process.env.QUICK);
const RUNS = Number(process.env.RUNS ?? (IS_QUICK ? 3 : 10));
const ROUNDS = Number(process.env.ROUNDS ?? (IS_QUICK ? 1 : 3));
const MEASURED_MS = IS_QUICK ? 5_000 : 10_000;
const VIEWERS = [1, 4, 16];
/** A keyframe every two seconds, as cameras are set; a loop of ten. */
const CAMERA = `
    [video]
    source = "pattern"
    bitrate_kbps = 4000
    keyframe_interval_frames = 60
    [audio]
    source = "none"`;

async function record(scope) {
  const directory = await mkdtemp(join(tmpdir(), "farol-bench-"));
  scope.after(() => rm(directory, { recursive: true, force: true }));
  const [config, recording] = [join(directory, "pattern.toml"), join(directory, "pattern.h264")];
  await writeFile(config, CAMERA);
  execFileSync(process.env.SOURCES, ["record", config, "300", recording]);
  return recording;
}

function tellFanout(rows) {
  const kbps = Math.round(median(rows.map(({ farol }) => farol.kbps)));
  const cells = (all, each) => rows.map(({ count, ...of }) => [count, ...all.map((name) => each(of[name], of))]);
  const stream = `${kbps} kbit/s, 1280x720, 30 pictures a second`;
  table(`CPU for each viewer and second, ms (${stream}; median of ${ROUNDS} rounds of ${MEASURED_MS / 1000} s)`, [
    ["viewers", "farol", "Janus", "floor, sendto", "floor, GSO", "farol to Janus", "farol to floor, GSO"],
    ...rows.map(({ count, farol, janus, sendto, gso }) => [
      count, ...[farol, janus, sendto, gso].map(({ cpu_ms }) => cpu_ms.toFixed(2)),
      (farol.cpu_ms / janus.cpu_ms).toFixed(2), (farol.cpu_ms / gso.cpu_ms).toFixed(2),
    ]),
  ]);
  table("Resident memory, MB", [["viewers", "farol", "Janus"],
    [0, ...["farol", "janus"].map((name) => median(rows.map((row) => row[name].idle_mb)).toFixed(1))],
    ...cells(["farol", "janus"], ({ all_mb }) => all_mb.toFixed(1)),
  ]);
  table("From capture to the last packet at the viewer, ms; pictures that came whole, a second", [
    ["viewers", "farol p50", "p99", "pictures", "Janus p50", "p99", "pictures"],
    ...rows.map(({ count, farol, janus }) => [
      count, ...[farol, janus].flatMap(({ p50, p99, pictures }) => [p50.toFixed(2), p99.toFixed(2), pictures.toFixed(1)]),
    ]),
  ]);
}

function tellGoals(rows, opened) {
  const [first, last] = [rows[0], rows.at(-1)];
  const each_mb = (last.farol.all_mb - first.farol.all_mb) / (last.count - first.count);
  console.log("\nGoals\n");
  goal(`CPU per viewer-second at ${last.count} viewers, to Janus's`, last.farol.cpu_ms / last.janus.cpu_ms, 0.25);
  goal(`CPU per viewer-second at ${last.count} viewers, to the floor's with GSO`, last.farol.cpu_ms / last.gso.cpu_ms, 5);
  goal("resident memory, idle", median(rows.map(({ farol }) => farol.idle_mb)), 15, " MB");
  goal(`resident memory for each viewer from ${first.count} to ${last.count}`, each_mb, 0.5, " MB");
  goal(`capture to last packet at ${last.count} viewers, p99`, last.farol.p99, 2, " ms");
  for (const [how, all] of [["cold browser", opened.cold], ["new tab", opened.warm]]) {
    for (const [where, name] of [["farol run", "farol"], ["farol demo", "demo"]]) {
      goal(`page open to first picture at ${where}, ${how}, p50`, all[name], 150, " ms");
      goal(`page open to first picture at ${where}, ${how}, to a page with Janus's library`, all[name] / all.janus, 0.65);
      console.log(`  and to the least that a page at Janus can be: ${(all[name] / all.least).toFixed(2)}`);
    }
  }
  console.log(`\nfanout ${last.count} viewers: ratio to janus ${(last.farol.cpu_ms / last.janus.cpu_ms).toFixed(3)}`);
}

await within(async (scope) => {
  if (ADDRESS === undefined) throw new Error("Janus wants an IPv4 address besides 127.0.0.1: bring an interface up, or add one to a dummy");
  console.log(`${cpus().length} x ${cpus()[0].model}`);
  const recording = await record(scope);
  const rows = await compare(recording, VIEWERS, { rounds: ROUNDS, measured_ms: MEASURED_MS });
  tellFanout(rows);
  const opened = await openings(recording, RUNS);
  tellOpenings(opened);
  if (!IS_QUICK) {
    const lit = await lightTheLamp(recording, RUNS);
    console.log(`\nConnected to the broker to offer lit: p50 ${quantile(lit, 0.5)} ms, p95 ${quantile(lit, 0.95)} ms (${RUNS} starts)`);
    tellCameras();
  }
  tellGoals(rows, sumUp(opened));
});
