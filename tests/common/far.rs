//! A path that takes time: a port of this host that passes connections on to another one, each byte
//! later by a fixed time, whichever way it goes. It can be cut for a moment.

use std::{net::SocketAddr, thread, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime,
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// Chunks of one connection that are on their way; a sender that is faster is held up.
const CHUNKS_ON_THEIR_WAY_MAX: usize = 1_000;

/// Opens a path to `to` that takes `delay` each way, for as long as the test's process lives.
/// Returns its HOST:PORT at this end.
pub(crate) fn path_to(to: &str, delay: Duration) -> String {
    let (address, cut) = path_that_can_be_cut(to, delay);
    // It lasts as long as the process.
    std::mem::forget(cut);
    address
}

/// The same; what is sent to the other end of the channel resets all connections of that moment.
pub(crate) fn path_that_can_be_cut(to: &str, delay: Duration) -> (String, watch::Sender<()>) {
    let to = to.parse().unwrap();
    let (cut, cuts) = watch::channel(());
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || runtime.block_on(accept(listener, to, delay, cuts)));
    (address.to_string(), cut)
}

async fn accept(listener: TcpListener, to: SocketAddr, delay: Duration, cuts: watch::Receiver<()>) {
    while let Ok((near, _)) = listener.accept().await {
        let mut cuts = cuts.clone();
        cuts.mark_unchanged();
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(to).await else {
                return;
            };
            for end in [&near, &far] {
                end.set_nodelay(true).unwrap();
                // Cut off, both ends are reset; bytes of an ordinary end have long been taken.
                end.set_zero_linger().unwrap();
            }
            let (near_reads, near_writes) = near.into_split();
            let (far_reads, far_writes) = far.into_split();
            let passing = async {
                tokio::join!(
                    pass_on(near_reads, far_writes, delay),
                    pass_on(far_reads, near_writes, delay)
                )
            };
            tokio::select! {
                _ = passing => {}
                _ = cuts.changed() => {}
            }
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
