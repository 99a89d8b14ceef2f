// What the page says, to people who know nothing of brokers; and the codes that they pass on.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

import type { Reason, View } from "../src/session-io";
import { type Refusal, type Words, wordsFor, wordsForBoard, wordsForRefusal } from "../src/words";

const REASONS: Record<Reason, View["state"]> = {
  unreachable: "broker", refused: "broker", "wrong-key": "offline", "needs-key": "offline", full: "refused", denied: "refused",
  invalid: "ended", "no-path": "ended", browser: "ended", bye: "ended", revoked: "ended", "no-h264": "live", stalled: "interrupted",
};
const REFUSALS: Record<Refusal, true> = {
  "no-link": true, "mixed-content": true, "no-webrtc": true,
  incomplete: true, version: true, device: true, kid: true, key: true, broker: true,
};
const view = (state: View["state"], reason?: Reason): View => ({ state, ...(reason && { reason }), name: "", rights: [] });
const all: [string, Words | undefined][] = [
  ...Object.entries(REASONS).map(([reason, state]): [string, Words] => [reason, wordsFor(view(state, reason as Reason))]),
  ...Object.keys(REFUSALS).map((refusal): [string, Words] => [refusal, wordsForRefusal(refusal as Refusal)]),
  ["offline", wordsFor(view("offline"))],
  ["a lost camera", wordsForBoard("lost")],
];
const troubleshooting = readFileSync(new URL("../../docs/troubleshooting.md", import.meta.url), "utf8");
const CODE = /(?:gave you the link|gave it to you): ([a-z0-9-]+)\.$/;

describe.each(all)("%s", (_, words) => {
  const text = `${words?.title}. ${words?.detail}`;

  test("is said in plain words", () => {
    expect(text.replace(CODE, "")).not.toMatch(/broker|TURN|STUN|H\.?264|wss?:|WebRTC|MQTT|plugin|config/i);
  });

  test("its code, if it has one, is in docs/troubleshooting.md", () => {
    const code = text.match(CODE)?.[1];
    if (code === undefined) expect(text).not.toMatch(/whoever/);
    else expect(troubleshooting).toContain(`\`${code}\``);
  });
});

test("a link that was withdrawn is told so", () => {
  const { title, detail } = wordsFor(view("ended", "revoked"));
  expect(`${title}. ${detail}`).toBe("This link was withdrawn. Ask for a new one.");
});
