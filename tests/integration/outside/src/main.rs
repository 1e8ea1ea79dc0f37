//! A server that writes down every packet that it receives: a line with run, client and sequence,
//! in a file per worker. Lines of equal packets are repeats.

use std::{
    env,
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
};

use metronome_server::{PacketBatch, PacketHandler, Server};

/// The handler of one worker.
struct Journal {
    file: File,
    /// The lines of one batch.
    lines: String,
}

impl Journal {
    fn of_worker(worker: usize) -> Self {
        // A worker has the environment of the server, but neither its arguments nor its folder.
        let folder = env::var_os("JOURNAL").expect("JOURNAL names a folder");
        let path = PathBuf::from(folder).join(format!("worker-{worker}"));
        let file = OpenOptions::new().create(true).append(true).open(path);
        Self {
            file: file.expect("the journal can be opened"),
            lines: String::new(),
        }
    }
}

impl PacketHandler for Journal {
    fn handle(&mut self, batch: &PacketBatch<'_>) {
        self.lines.clear();
        for packet in batch.packets() {
            let (run, client) = (batch.run(), batch.client());
            let _ = writeln!(self.lines, "{run} {client} {}", packet.sequence);
        }
        // One that panics has failed: the next worker is given the batch again.
        self.file
            .write_all(self.lines.as_bytes())
            .expect("the journal can be written");
    }
}

fn main() -> ExitCode {
    Server::new().handler(Journal::of_worker).main()
}
