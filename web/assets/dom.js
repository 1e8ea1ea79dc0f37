// Elements. Every text that comes from data goes through here, as text: no module makes HTML of it.

/**
 * An element with attributes and children. A child is an element, a text or a list of these; null,
 * undefined and false are none. An attribute that is a function listens to the event of its name,
 * one that is null, undefined or false is left out.
 */
export function h(tag, attributes, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes ?? {})) {
		if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
		else if (isThere(value)) {
			element.setAttribute(name, value === true ? "" : clean(String(value)));
		}
	}
	element.append(...present(children));
	return element;
}

/** Characters that hide, or turn the text around them: as benchctl shows them, they become `?`. */
const HARMFUL = /[\p{Cc}\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB\u{E0000}-\u{E007F}]/gu;

function clean(text) {
	return text.replace(HARMFUL, "?");
}

const isThere = (value) => (value ?? false) !== false;

/** The children that are there, flat. */
function present(children) {
	return children.flat(Infinity)
		.filter(isThere)
		.map((child) => (child instanceof Node ? child : clean(String(child))));
}

/** Shows these children, and no others. */
export function fill(element, ...children) {
	element.replaceChildren(...present(children));
	return element;
}

/** A figure with what it is. */
export function kpi(value, text, kind) {
	return h("div", { class: "kpi" }, h("b", { class: kind }, value), h("span", {}, text));
}

/** A card with its heading, so many of twelve columns wide. */
export function card(columns, title, ...children) {
	const heading = title ? h("h2", {}, title) : null;
	return h("section", { class: `card w${columns}` }, heading, ...children);
}

/** A card that is folded until it is asked for; `body` is called once, when it is. */
export function folded(columns, title, body, { open = false } = {}) {
	const place = h("div", {});
	const details = h("details", { ontoggle: show }, h("summary", {}, h("h2", {}, title)), place);
	function show() {
		if (details.open && !place.hasChildNodes()) fill(place, body());
	}
	if (open) {
		details.open = true;
		show();
	}
	return h("section", { class: `card w${columns}` }, details);
}

/**
 * A table. A column is `{title, of, left, wrap, row}`: `of(row)` is the child of its cell, `row`
 * makes it the heading of its row. `name` says what the table has to those who do not see it.
 */
export function table(name, columns, rows) {
	const cell = (column, row) => {
		const of = column.row ? { scope: "row" } : { class: [column.left && "left", column.wrap && "wrap"].filter(Boolean).join(" ") || null };
		return h(column.row ? "th" : "td", of, column.of(row));
	};
	const heading = (column) => column.title
		? h("th", { scope: "col", class: column.left || column.row || column.wrap ? "left" : null }, column.title)
		: h("td", {});
	return h("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": name }, h("table", {},
		h("thead", {}, h("tr", {}, columns.map(heading))),
		h("tbody", {}, rows.map((row) => h("tr", {}, columns.map((column) => cell(column, row)))))));
}

/** A row of buttons of which one is pressed. `choices`: [value, text]. */
export function choice(name, choices, chosen, choose) {
	const buttons = choices.map(([value, text]) => h("button", {
		type: "button",
		"aria-pressed": String(value === chosen),
		onclick: () => {
			for (const button of buttons) button.setAttribute("aria-pressed", String(button.value === value));
			choose(value);
		},
		value,
	}, text));
	return h("div", { class: "switch", role: "group", "aria-label": name }, buttons);
}

/** An element of SVG. Its colours are attributes, since styles in attributes are not allowed here. */
export function svg(tag, attributes, ...children) {
	const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
	for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
	element.append(...children);
	return element;
}
