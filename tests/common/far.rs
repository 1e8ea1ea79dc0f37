//! A path that takes time: a port of this host that passes connections on to another one, each byte
//! later by a fixed time, whichever way it goes.

use std::{net::SocketAddr, thread, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime,
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// Chunks of one connection that are on their way; a sender that is faster is held up.
const CHUNKS_ON_THEIR_WAY_MAX: usize = 1_000;

/// Opens a path to `to` that takes `delay` each way, for as long as the test's process lives.
/// Returns its HOST:PORT at this end.
pub(crate) fn path_to(to: &str, delay: Duration) -> String {
    let to = to.parse().unwrap();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || runtime.block_on(accept(listener, to, delay)));
    address.to_string()
}

async fn accept(listener: TcpListener, to: SocketAddr, delay: Duration) {
    while let Ok((near, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(to).await else {
                return;
            };
            let ends = (near.set_nodelay(true), far.set_nodelay(true));
            ends.0.and(ends.1).unwrap();
            let (near_reads, near_writes) = near.into_split();
            let (far_reads, far_writes) = far.into_split();
            tokio::spawn(pass_on(near_reads, far_writes, delay));
            tokio::spawn(pass_on(far_reads, near_writes, delay));
        });
    }
}

/// Passes all bytes on, and then the end.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut on_their_way) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_ON_THEIR_WAY_MAX);
    let writes = async move {
        while let Some((at, bytes)) = on_their_way.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let reads = async move {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let chunk = (Instant::now() + delay, bytes[..count].to_vec());
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
        sleep_until(Instant::now() + delay).await;
    };
    tokio::join!(writes, reads);
}
