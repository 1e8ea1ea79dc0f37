//! A server that stores what it receives: its workers sum the readings of each client, exactly
//! once, in one SQLite file.
//!
//! ```sh
//! export READINGS=/var/tmp/readings.sqlite
//! cargo run --release -p metronome-server --example store_readings
//! ```
//!
//! It takes all flags of metronome-server. A reading is the first 8 bytes of a packet's payload,
//! little-endian; a packet without so many has none and is counted all the same.
//!
//! A worker may die between the transaction and the mark of the batch, and the next worker is then
//! given the batch again. So the sequence that comes next is stored with the sum, in the same
//! transaction: what is below it was summed before.

use std::{env, path::Path, process::ExitCode, time::Duration};

use metronome_server::{PacketBatch, PacketHandler, Server};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

/// Another worker's transaction takes less. A call of a handler must not take 1 s.
const BUSY_TIME_MAX: Duration = Duration::from_millis(500);

const TABLE: &str = "CREATE TABLE IF NOT EXISTS readings (
    run TEXT NOT NULL,
    client INTEGER NOT NULL,
    -- Packets, and the sum of their readings.
    packets INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    -- The sequence that comes next.
    next INTEGER NOT NULL,
    -- Packets that were handed on again, and not summed again.
    repeats INTEGER NOT NULL,
    PRIMARY KEY (run, client)
) WITHOUT ROWID";

/// The handler of one worker.
struct Readings(Connection);

/// What is stored of a client.
#[derive(Default)]
struct Row {
    packets: i64,
    sum: i64,
    next: i64,
    repeats: i64,
}

impl Readings {
    fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIME_MAX)?;
        // A process that dies loses nothing; only a host that does loses the last transactions.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute(TABLE, [])?;
        Ok(Self(connection))
    }

    fn store(&mut self, batch: &PacketBatch<'_>) -> rusqlite::Result<()> {
        let (run, client) = (batch.run().to_string(), batch.client());
        let transaction = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut row = transaction
            .prepare_cached(
                "SELECT packets, sum, next, repeats FROM readings WHERE run = ?1 AND client = ?2",
            )?
            .query_row((&run, client), |row| {
                Ok(Row {
                    packets: row.get(0)?,
                    sum: row.get(1)?,
                    next: row.get(2)?,
                    repeats: row.get(3)?,
                })
            })
            .optional()?
            .unwrap_or_default();
        for packet in batch.packets() {
            let sequence = packet.sequence as i64;
            if sequence < row.next {
                row.repeats += 1;
                continue;
            }
            row.packets += 1;
            row.sum = row.sum.saturating_add(reading(packet.payload).unwrap_or(0));
            row.next = sequence + 1;
        }
        transaction
            .prepare_cached("INSERT OR REPLACE INTO readings VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute((run, client, row.packets, row.sum, row.next, row.repeats))?;
        transaction.commit()
    }
}

impl PacketHandler for Readings {
    fn handle(&mut self, batch: &PacketBatch<'_>) {
        // The next worker tries again; after three times the client is ended, which its run shows.
        if let Err(error) = self.store(batch) {
            panic!("the readings cannot be stored: {error}");
        }
    }
}

fn reading(payload: &[u8]) -> Option<i64> {
    payload.first_chunk().copied().map(i64::from_le_bytes)
}

fn main() -> ExitCode {
    // A worker has the environment of the server, but neither its arguments nor its folder.
    let path = env::var_os("READINGS").unwrap_or_default();
    let path = Path::new(&path).to_owned();
    let of_workers = path.clone();
    let server = Server::new().handler(move |worker| {
        Readings::open(&of_workers)
            .unwrap_or_else(|error| panic!("worker {worker} cannot open the readings: {error}"))
    });
    if let Some(code) = server.run_as_worker_if_asked() {
        return code;
    }
    if !path.is_absolute() {
        eprintln!("error: READINGS has to be the absolute path of a file");
        return ExitCode::from(2);
    }
    // Before any worker, so that what is wrong is reported here, and once.
    if let Err(error) = Readings::open(&path) {
        eprintln!("error: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    server.main()
}
