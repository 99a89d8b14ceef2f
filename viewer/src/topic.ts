// Which MQTT topic carries what.

/** The slot of a viewer: its key's id, or `open`. */
export type Slot = string;

/** Whether the device is online, as it says itself. A hint. */
export function statusTopic(device: string): string {
  return `farol/1/${device}/status`;
}

/** The standing offer for a slot. */
export function offerTopic(device: string, slot: Slot): string {
  return `farol/1/${device}/offer/${slot}`;
}

/** What this viewer says in a session. */
export function inTopic(device: string, slot: Slot, session: string): string {
  return `farol/1/${device}/in/${slot}/${session}`;
}

/** What the device says in a session. */
export function outTopic(device: string, slot: Slot, session: string): string {
  return `farol/1/${device}/out/${slot}/${session}`;
}
