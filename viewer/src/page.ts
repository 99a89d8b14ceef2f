// The page around one <farol-camera>: it finds the link, and knows nothing of the rest.

import { firstLink } from "./first";
import type { FarolCamera, FarolState } from "./farol-camera";
import "./farol-camera";
import { openEarlySocket } from "./early";
import { type Found, hostLink, putLinkAway, tabLink } from "./link-source";
import css from "./page.css?inline";

// In the script, not beside it: a style sheet on its way would hold the script back.
const sheet = new CSSStyleSheet();
sheet.replaceSync(css);
document.adoptedStyleSheets = [sheet];

/** So long the way to the picture goes before what the browser's own window shows of the page. */
const TIDY_AFTER_MS = 200;

const camera = document.querySelector("farol-camera") as FarolCamera;

async function show(found: Found): Promise<void> {
  let link = found;
  if (!link.ok && link.fault === "no-link") {
    link = await hostLink();
    if (link.ok) openEarlySocket(link.link.broker.url);
  }
  // A link that is not one is given as it stands: the element says what is wrong with it.
  camera.link = link.ok ? link.link : link.fault === "no-link" ? undefined : location.hash.slice(1);
  if (!link.ok) camera.start();
}

camera.addEventListener("farol-state", (event) => {
  const { name } = (event as CustomEvent<FarolState>).detail;
  document.title = name === "" ? "farol" : `${name} · farol`;
});

function tidy(): void {
  putLinkAway();
  const icon = document.createElement("link");
  Object.assign(icon, { rel: "icon", href: "./favicon.svg", type: "image/svg+xml" });
  document.head.append(icon);
}

// A link pasted into the address bar of an open page changes the fragment and loads nothing.
addEventListener("hashchange", () => {
  if (location.hash.length <= 1) return;
  void show(tabLink());
  putLinkAway();
});

void show(firstLink);
setTimeout(tidy, TIDY_AFTER_MS);
