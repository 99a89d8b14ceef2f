// What a process costs, from Linux's /proc.
import { readFileSync, readdirSync } from "node:fs";

/** USER_HZ, which is 100 on every Linux that farol runs on (proc(5), times(2)). */
const TICKS_PER_S = 100;

/** Resident memory in MB (10^6 bytes): all of it, and what is no file's (heap and stacks). */
export function memory(pid) {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = (name) => Number(text.match(new RegExp(`^${name}:\\s+(\\d+) kB`, "m"))[1]);
  return { all_mb: (kib("VmRSS") * 1024) / 1e6, anonymous_mb: (kib("RssAnon") * 1024) / 1e6 };
}

/** CPU time used so far, in ms, of each of its threads by name; threads of one name together. */
export function cpu(pid) {
  const used = {};
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    let text;
    try {
      text = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8");
    } catch {
      continue; // It ended meanwhile.
    }
    const name = text.slice(text.indexOf("(") + 1, text.lastIndexOf(")"));
    const [utime, stime] = text.slice(text.lastIndexOf(")") + 2).split(" ").slice(11, 13).map(Number);
    used[name] = (used[name] ?? 0) + ((utime + stime) * 1000) / TICKS_PER_S;
  }
  return used;
}
