// The page around one <farol-camera>: it finds the link, and knows nothing of the rest.

import { firstLink } from "./first";
import type { FarolCamera, FarolState } from "./farol-camera";
import "./farol-camera";
import { openEarlySocket } from "./early";
import { type Found, hostLink, tabLink } from "./link-source";
import css from "./page.css?inline";

// In the script, not beside it: a style sheet on its way would hold the script back.
const sheet = new CSSStyleSheet();
sheet.replaceSync(css);
document.adoptedStyleSheets = [sheet];

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

// A link pasted into the address bar of an open page changes the fragment and loads nothing.
addEventListener("hashchange", () => {
  if (location.hash.length > 1) void show(tabLink());
});

void show(firstLink);
