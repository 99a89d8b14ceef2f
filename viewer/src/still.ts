// What becomes of a still picture: a file for the person who took it, and a glance at it.

import { make } from "./elements";

/** How long the glance stays. */
const GLANCE_MS = 4_000;

/** The file's name, by the viewer's own clock: farol-2026-11-22-19-30-05.jpg. */
export function stillName(now: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  return `farol-${day}-${two(now.getHours())}-${two(now.getMinutes())}-${two(now.getSeconds())}.jpg`;
}

/** Saves it as a file, and shows it small for a moment inside `where`. */
export function keepStill(picture: Blob, where: HTMLElement): void {
  const url = URL.createObjectURL(picture);
  const link = make("a");
  link.href = url;
  link.download = stillName(new Date());
  link.click();
  const glance = make("img", "glance");
  glance.src = url;
  glance.alt = "";
  where.querySelector(".glance")?.remove();
  where.append(glance);
  // Browsers read the file within this time; the address would otherwise hold the picture in memory.
  setTimeout(() => {
    glance.remove();
    URL.revokeObjectURL(url);
  }, GLANCE_MS);
}
