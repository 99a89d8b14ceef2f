// How the element looks. Constructable style sheets, so that a page's CSP needs no inline styles.

const SCREEN = `
:host {
  --farol-accent: #ffb454;
  --farol-ink: #eceff4;
  --farol-quiet: #a4adba;
  --farol-ground: #0b0d11;
  display: block;
  position: relative;
  overflow: hidden;
  aspect-ratio: 16 / 9;
  background: var(--farol-ground);
  color: var(--farol-ink);
  font: 400 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  -webkit-tap-highlight-color: transparent;
}
:host([hidden]) { display: none; }
:host(:fullscreen) { aspect-ratio: auto; width: 100%; height: 100%; }
[hidden] { display: none !important; }

.root { position: absolute; inset: 0; container-type: size; }
video { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.root[data-picture="none"] video { opacity: 0; }
/* It fades when it stops, and not when it comes: the first picture is there at once. */
.root[data-picture="old"] video { opacity: .35; filter: grayscale(1); transition: opacity .3s, filter .3s; }

@media (prefers-reduced-motion: reduce) {
  .root[data-picture="old"] video { transition: none; }
}
`;

const OVERLAY = `
.notice {
  position: absolute; inset: 0 0 72px; display: grid; place-content: center; justify-items: center; gap: 10px;
  padding: 24px; text-align: center; pointer-events: none;
}
.notice h2 { margin: 0; font-size: 20px; font-weight: 600; letter-spacing: -.01em; text-wrap: balance; }
.notice p { margin: 0; max-width: 42ch; color: var(--farol-quiet); text-wrap: pretty; }
.notice .next { font-size: 13px; font-variant-numeric: tabular-nums; min-height: 1.45em; }
.beam { width: 56px; height: 56px; border-radius: 50%; position: relative; margin-bottom: 6px; }
.beam::before, .beam::after { content: ""; position: absolute; border-radius: 50%; }
.beam::before { inset: 22px; background: var(--tone); box-shadow: 0 0 24px 4px color-mix(in srgb, var(--tone) 45%, transparent); }
.beam::after {
  inset: 0; background: conic-gradient(from 0deg, transparent 0 68%, color-mix(in srgb, var(--tone) 70%, transparent) 100%);
  -webkit-mask: radial-gradient(circle, transparent 34%, #000 35% 70%, transparent 71%);
  mask: radial-gradient(circle, transparent 34%, #000 35% 70%, transparent 71%);
  visibility: hidden;
}
.root[data-tone="busy"] .beam::after { visibility: visible; animation: turn 1.6s linear infinite; }
@keyframes turn { to { rotate: 1turn; } }

.bar {
  position: absolute; inset: auto 0 0; display: flex; align-items: center; gap: 8px;
  padding: 28px max(14px, env(safe-area-inset-right)) max(12px, env(safe-area-inset-bottom)) max(16px, env(safe-area-inset-left));
  background: linear-gradient(transparent, rgb(0 0 0 / .66));
}
.state { display: flex; align-items: center; gap: 9px; min-width: 0; margin-right: auto; text-shadow: 0 1px 2px rgb(0 0 0 / .6); }
.dot { flex: none; width: 9px; height: 9px; border-radius: 50%; background: var(--tone); }
.root { --tone: var(--farol-quiet); }
.root[data-tone="live"] { --tone: #4cd782; }
.root[data-tone="busy"] { --tone: var(--farol-accent); }
.root[data-tone="warning"] { --tone: #f5c542; }
.root[data-tone="bad"] { --tone: #ff6b63; }
.root[data-tone="busy"] .dot { animation: breathe 1.6s ease-in-out infinite; }
@keyframes breathe { 50% { opacity: .3; } }
.name { font-weight: 600; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.line { color: var(--farol-quiet); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.name:empty { display: none; }
@container (max-width: 440px) { .name:not(:empty) + .line { display: none; } }

button {
  flex: none; display: grid; place-items: center; width: 44px; height: 44px; padding: 0; border: 0; border-radius: 50%;
  background: rgb(255 255 255 / .1); color: inherit; cursor: pointer; backdrop-filter: blur(8px); transition: background .15s;
}
button:hover { background: rgb(255 255 255 / .2); }
button:focus-visible { outline: 2px solid var(--farol-accent); outline-offset: 2px; }
button[aria-pressed="true"].talk { background: #d93a32; }
button.prompt { background: var(--farol-accent); color: #1a1205; }
button.prompt:hover { background: #ffc57a; }
svg { width: 22px; height: 22px; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
button.play { position: absolute; inset: 0; margin: auto; width: 76px; height: 76px; background: var(--farol-accent); color: #1a1205; }
button.play svg { width: 38px; height: 38px; fill: currentColor; }

@media (prefers-reduced-motion: reduce) {
  .beam::after, .dot { animation-duration: 6s !important; }
}
`;

let screen: CSSStyleSheet | undefined;
let overlay: CSSStyleSheet | undefined;

/** The picture's style sheet, one for all elements of a page. */
export function screenSheet(): CSSStyleSheet {
  return (screen ??= sheet(SCREEN));
}

/** The same for what is laid over it. */
export function overlaySheet(): CSSStyleSheet {
  return (overlay ??= sheet(OVERLAY));
}

/** A style sheet of this text. */
export function sheet(css: string): CSSStyleSheet {
  const made = new CSSStyleSheet();
  made.replaceSync(css);
  return made;
}
