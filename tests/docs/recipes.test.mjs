// Do the recipes of docs/cameras.md give a picture that are for a program which Debian has? What they film is not here:
// a made picture is what ffmpeg reads instead, and all its other words are the page's.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Daemon } from "../e2e/daemon.mjs";
import { below } from "./blocks.mjs";

const MADE = ["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30"];

/** The words of a recipe's program, with others in place of those from `first` to what follows `-i`. */
function filming(heading, first, instead) {
  const [{ text }] = below("docs/cameras.md", heading).filter(({ language }) => language === "toml");
  const words = JSON.parse(text.match(/^command = (\[[^]*?\n\])/m)[1].replace(/,\s*\]$/, "]"));
  const from = words.indexOf(first);
  const to = words.indexOf("-i") + 2;
  assert.ok(from > 0 && to > from, `${heading} has no ${first}`);
  return [...words.slice(0, from), "-re", ...instead, ...words.slice(to)];
}

/** Runs the daemon with it until it has had enough pictures to know how the program writes them. */
async function delivers(t, command) {
  const directory = await mkdtemp(join(tmpdir(), "farol-recipe-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const file = join(directory, "farol.toml");
  // Nobody listens there, and nobody needs to: a camera that films always does so without a broker.
  await writeFile(file, `
    [device]
    state_dir = "${directory}/state"
    [broker]
    url = "mqtt://127.0.0.1:9"
    [video]
    source = "command"
    capture = "always"
    command = ${JSON.stringify(command)}`);
  const daemon = new Daemon(["run", "--config", file]);
  t.after(() => daemon.stop());
  await daemon.line(/camera delivers/);
  await daemon.line(/handed_on="as they are written"/);
  assert.deepEqual(daemon.said.filter((line) => /camera lost/.test(line)), []);
}

test("a network camera by ffmpeg: what is copied is a picture", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "farol-recipe-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  // As with many such cameras, SPS and PPS are told once, apart from the pictures.
  const film = join(directory, "film.mp4");
  const made = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "30", "-t", "4"];
  const { status, stderr } = spawnSync("ffmpeg", ["-loglevel", "error", ...MADE, ...made, film], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  await delivers(t, filming("A network camera", "-rtsp_transport", ["-stream_loop", "-1", "-i", film]));
});

test("a USB camera through ffmpeg: what is encoded is a picture", async (t) => {
  await delivers(t, filming("A USB camera through", "-f", MADE));
});
