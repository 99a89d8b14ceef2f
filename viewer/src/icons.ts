// What the buttons show: line drawings on a 24 by 24 grid.

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  play: ["M8 5.5v13l10.5-6.5z"],
  soundOff: ["M4 9.5v5h3.5L12 18.5v-13L7.5 9.5z", "M16 9.5l5 5m0-5l-5 5"],
  soundOn: ["M4 9.5v5h3.5L12 18.5v-13L7.5 9.5z", "M15.5 9a4.2 4.2 0 0 1 0 6", "M18 6.5a7.8 7.8 0 0 1 0 11"],
  microphone: ["M12 4a2.5 2.5 0 0 0-2.5 2.5v5a2.5 2.5 0 0 0 5 0v-5A2.5 2.5 0 0 0 12 4z", "M6.5 11.5a5.5 5.5 0 0 0 11 0", "M12 17v3"],
  still: ["M4 8.5h3.5l1.5-2.5h6l1.5 2.5H20v10H4z", "M12 10.3a3 3 0 1 0 0 6 3 3 0 0 0 0-6z"],
  settings: ["M4 7.5h8.5m5 0H20", "M15 5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z", "M4 16.5h2.5m5 0H20", "M9 14a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z"],
  close: ["M6.5 6.5l11 11m0-11l-11 11"],
  reset: ["M5 5v4.5h4.5", "M5.4 9.5a7.2 7.2 0 1 1-.6 4"],
  centre: ["M12 8.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z", "M12 3.5v5m0 7v5M3.5 12h5m7 0h5"],
  expand: ["M9 4.5H4.5V9", "M15 4.5h4.5V9", "M9 19.5H4.5V15", "M15 19.5h4.5V15"],
  shrink: ["M4.5 9H9V4.5", "M19.5 9H15V4.5", "M4.5 15H9v4.5", "M19.5 15H15v4.5"],
} as const;

/** A drawing's name. */
export type Icon = keyof typeof PATHS;

/** Draws an icon; screen readers hear the button's label instead. */
export function draw(icon: Icon): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  for (const d of PATHS[icon]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}
