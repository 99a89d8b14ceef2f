// What does a picture of each kind of camera cost? In the device lab; nothing where there is none.
import { execFileSync } from "node:child_process";
import { table } from "./figures.mjs";

export function tellCameras() {
  const cost = costs();
  if (cost.length === 0) return;
  table("What a picture costs the capture thread, by kind of camera (device lab, one virtual CPU)", [
    ["camera", "size", "pictures/s", "CPU each", "age p50", "age p99", "copies"],
    ...cost.map(({ kind, size, failed, fps, cpu_ms, age_p50_ms, age_p99_ms, detail }) =>
      failed !== undefined ? [kind, size, "", "", "", "", failed] : [
        kind, size, fps.toFixed(1), `${cpu_ms.toFixed(1)} ms`, `${age_p50_ms.toFixed(1)} ms`, `${age_p99_ms.toFixed(1)} ms`, copies(kind, detail),
      ]),
  ]);
  console.log("\n  In the lab vivid gives 13 pictures a second at 1280x720 and 5 at 1920x1080, and the hardware encoder is a");
  console.log("  driver that hands out a canned stream: what it costs is the way to it and back.");
}

function costs() {
  try {
    const lines = execFileSync("tests/lab/sources", { stdio: ["ignore", "pipe", "inherit"] }).toString();
    return lines.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  } catch (cause) {
    console.log(`\nNo figures of cameras: ${cause.message}`);
    return [];
  }
}

/** How often a picture's bytes are copied or written anew until it is an access unit, by what the source says. */
function copies(kind, detail) {
  if (kind === "replay") return "none";
  if (kind === "h264") return "1 of the coded picture";
  if (kind === "pattern") return "drawn, encoded, 1 of the coded picture";
  const raw = detail.endsWith("dma-buf") ? "none" : "1";
  return `${kind.startsWith("mjpeg") ? "decoded, " : ""}raw: ${raw}, coded: 1`;
}
