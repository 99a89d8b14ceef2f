import { expect, test } from "vitest";

import { inTopic, offerTopic, outTopic, statusTopic } from "../src/topic";

test("topics are those that a broker's four ACL lines allow", () => {
  expect([statusTopic("d"), offerTopic("d", "k"), inTopic("d", "k", "s"), outTopic("d", "k", "s")]).toEqual([
    "farol/1/d/status",
    "farol/1/d/offer/k",
    "farol/1/d/in/k/s",
    "farol/1/d/out/k/s",
  ]);
});
