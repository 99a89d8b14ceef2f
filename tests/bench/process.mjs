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

/**
 * CPU time that its threads have used so far, user's and system's, in ms. By the scheduler's own count, which is
 * exact to the microsecond; by ticks of 10 ms where the kernel keeps none.
 */
export function cpu(pid) {
  let used = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      used += ofThread(`/proc/${pid}/task/${thread}`);
    } catch {
      // It ended meanwhile.
    }
  }
  return used;
}

function ofThread(path) {
  let nanoseconds = 0;
  try {
    nanoseconds = Number(readFileSync(`${path}/schedstat`, "utf8").split(" ")[0]);
  } catch {
    // A kernel without CONFIG_SCHED_INFO.
  }
  if (nanoseconds > 0) return nanoseconds / 1e6;
  const text = readFileSync(`${path}/stat`, "utf8");
  const [user, system] = text.slice(text.lastIndexOf(")") + 2).split(" ").slice(11, 13).map(Number);
  return ((user + system) * 1000) / TICKS_PER_S;
}
