// What the page does before anything else: find the link, and open the way to the broker.
//
// It is evaluated first because it is imported first; the MQTT client's own evaluation, the largest
// part of the script, then runs while the handshake is under way.

import { openEarlySocket } from "./early";
import { type Found, tabLink } from "./link-source";

/** The link that the page was opened with. */
export const firstLink: Found = tabLink();

if (firstLink.ok) openEarlySocket(firstLink.link.broker.url);
