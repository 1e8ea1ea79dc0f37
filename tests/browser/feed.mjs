// What moves: a run that goes on, through the end of one server and the start of the next.

/** The checks of the live part. */
export async function feedChecks() {}
