// How the page's small parts are made: elements, buttons and texts.

import { type Icon, draw } from "./icons";

/** An element with a class. */
export function make<K extends keyof HTMLElementTagNameMap>(tag: K, className = "", text = ""): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

/** A round button with a drawing. */
export function button(className: string, icon: Icon, label: string): HTMLButtonElement {
  const element = make("button", className);
  element.type = "button";
  setButton(element, icon, label);
  return element;
}

/** Gives a button its drawing and its words. */
export function setButton(element: HTMLButtonElement, icon: Icon, label: string): void {
  if (element.title === label && element.firstChild !== null) return;
  element.title = label;
  element.setAttribute("aria-label", label);
  element.replaceChildren(draw(icon));
}

/** Text that did not change is left alone, so that screen readers do not repeat it. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
