// How figures look: as in benchctl's tables. What is not known is a dash, never 0. Times are in
// microseconds, rates in packets per second.

/** What stands where a figure is not known. */
export const UNKNOWN = "–";

/** Whether a figure is one. */
export const isKnown = (value) => value !== null && value !== undefined && !Number.isNaN(value);

/** The text of a figure that may not be known. */
export function known(value, text) {
	return isKnown(value) ? text(value) : UNKNOWN;
}

/** A whole number: `1,000,000`. */
export function count(value) {
	return known(value, (number) => Math.round(number).toLocaleString("en-US"));
}

function fixed(number, decimals) {
	return number.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** At most so many decimals, without zeros at the end. */
export function decimal(number, decimals) {
	return number.toLocaleString("en-US", { maximumFractionDigits: decimals });
}

/** Three digits, all of them where there are more before the point: `0.00123`, `1.00`, `12,345`. */
export function threeDigits(number) {
	if (number === 0) return "0";
	for (let decimals = 0; decimals <= 9; decimals++) {
		if (Math.abs(number) * 10 ** decimals >= 99.949999999) return fixed(number, decimals);
	}
	return number.toExponential(2);
}

const UNITS = [[1e-3, "ns"], [1, "µs"], [1e3, "ms"], [1e6, "s"]];

function unitOf(us) {
	// 999.5 of a unit are shown as 1.00 of the next one.
	return UNITS.find(([factor]) => Math.abs(us) < 999.5 * factor) ?? UNITS[3];
}

/** A time with three digits, in the unit that it has one of: `640 ns`, `6.40 µs`, `1.38 s`. */
export function time(us) {
	return known(us, (value) => {
		if (Math.abs(value) < 0.9995) return `${Math.round(value * 1e3)} ns`;
		const [factor, unit] = unitOf(value);
		return `${threeDigits(value / factor)} ${unit}`;
	});
}

/** A time without zeros at the end: `1 µs`, `50 ms`. */
export function timeShort(us) {
	return known(us, (value) => {
		const [factor, unit] = value === 0 ? UNITS[1] : unitOf(value);
		return `${decimal(value / factor, 3)} ${unit}`;
	});
}

/** Seconds as a time. */
export function seconds(s) {
	return known(s, (value) => time(value * 1e6));
}

/** Rounded down to three decimals, as they are written: a product would be less than some of them. */
function down(number) {
	return Number(number.toFixed(12).slice(0, -9));
}

/** Packets per second, as they were measured: never more than there were. */
export function rate(hz) {
	return known(hz, (value) => `${value < 100 ? decimal(down(value), 3) : count(Math.floor(value))}/s`);
}

/** A share in percent. */
export function percent(value, decimals = 0) {
	return known(value, (share) => `${decimal(share, decimals)} %`);
}

/** Bytes: `39.2 MB`. */
export function bytes(value) {
	return known(value, (number) => {
		const units = [[1, "B"], [1e3, "kB"], [1e6, "MB"], [1e9, "GB"], [1e12, "TB"]];
		const [factor, unit] = units.find(([one]) => number < 999.5 * one) ?? units[4];
		return `${factor === 1 ? number : threeDigits(number / factor)} ${unit}`;
	});
}

/** A word of the API as people write it: `not held`. */
export function word(value) {
	return known(value, (text) => String(text).replaceAll("_", " ").toLowerCase());
}

/** The name of a counter as people write it. */
export function counterName(name) {
	return name.replace("warm_up", "warm-up").replaceAll("_", " ");
}

/** A quantile as its key in JSON has it: `p99_9` is `p99.9`. */
export function quantileName(key) {
	return key.replace("_", ".");
}

/** An instant in the time of the reader: `26 Nov 05:00:00`, with the year where it is another. */
export function instant(text) {
	return known(text, (value) => {
		const at = new Date(value);
		if (Number.isNaN(at.getTime())) return UNKNOWN;
		const year = at.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
		return at.toLocaleString("en-GB", { day: "numeric", month: "short", year, hour: "2-digit", minute: "2-digit", second: "2-digit" }).replace(",", "");
	});
}

/** Something that may be in the plural: `1 client`, `2 clients`. */
export function numberOf(number, thing) {
	return known(number, (value) => `${count(value)} ${thing}${value === 1 ? "" : "s"}`);
}

/** A quantile of a distribution, µs. Undefined where it is not known; `max` is one, too. */
export function quantile(times, key) {
	return key === "max" ? times?.max : times?.percentiles?.[key] ?? undefined;
}

/** The times of a run, in the order in which they are shown: key, name, from where to where. */
export const TIMES = [
	["lateness_us", "lateness", "due → written"],
	["transit_us", "transit", "written → read"],
	["latency_us", "latency", "due → read"],
	["one_way_us", "one-way", "written → read"],
	["queueing_us", "queueing", "above the floor"],
	["spread_us", "spread", "above the best"],
	["rtt_from_due_us", "rtt from due", "due → reply"],
	["rtt_from_write_us", "rtt from write", "written → reply"],
];

/** The name of a time: `one-way`. */
export function timeName(key) {
	return TIMES.find(([of]) => of === key)?.[1] ?? "latency";
}

/** The times that are known of any of `objects`. */
export function knownTimes(objects) {
	return TIMES.filter(([key]) => objects.some((of) => of?.[key]));
}

/** What a reader looks at first: what counts from due where that is known, else what needs no common clock. */
export function mainTime(objects) {
	const known = knownTimes(objects).map(([key]) => key);
	const order = ["latency_us", "spread_us", "one_way_us", "rtt_from_due_us", "lateness_us"];
	return order.find((key) => known.includes(key)) ?? known[0];
}
