//! The live view on the terminal of standard error: when it is drawn and when it is taken away.
//!
//! It is drawn when a snapshot comes and when the terminal changes its size, at most ten times a
//! second; taken away before anything else is written, and when Ctrl-Z stops this process; and not
//! drawn while another job has the terminal. It changes nothing of the terminal that would have to
//! be set back: no raw mode, no other screen, no hidden cursor; and it reads nothing.

use std::{
    io, panic,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metronome_os::{
    signals::is_ignored,
    standard_error::{write_passing, write_waiting},
    terminal,
};
use metronome_proto::v1;
use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::render::{
    live::{
        Frame, Size, View,
        frame::{self, BYTES_MAX},
    },
    text::colour::Colour,
};

/// At most ten times a second.
const PAUSE: Duration = Duration::from_millis(100);
/// The size of a terminal that has none set.
const SIZE_NORM: (usize, usize) = (80, 24);

/// The size of the terminal when the view was first drawn on it: columns, and rows in the upper
/// half. 0 while it does not stand there. Of the whole process, as the terminal is.
static STANDS: AtomicU64 = AtomicU64::new(0);

/// A live view, and what listens for the signals of its terminal.
#[derive(Debug)]
pub(crate) struct Live {
    screen: Arc<Mutex<Screen>>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Screen {
    /// `None` before a run has begun.
    view: Option<View>,
    hint: &'static str,
    colour: Colour,
    /// When it was drawn last.
    drawn_at: Option<Instant>,
}

impl Live {
    /// A view of the run that begins next; `hint` is what Ctrl-C does.
    pub(crate) fn new(hint: &'static str, colour: Colour) -> Self {
        clear_when_this_process_panics();
        let screen = Arc::new(Mutex::new(Screen {
            view: None,
            hint,
            colour,
            drawn_at: None,
        }));
        let listener = tokio::spawn(listen(Arc::clone(&screen)));
        Self { screen, listener }
    }

    /// From now on this run is shown.
    pub(crate) fn begin(&self, run: &v1::Run) {
        let mut screen = locked(&self.screen);
        screen.view = Some(View::new(run, screen.hint));
    }

    /// Shows how it stands.
    pub(crate) fn show(&self, snapshot: &v1::Snapshot) {
        let mut screen = locked(&self.screen);
        let hint = screen.hint;
        let view = screen
            .view
            .get_or_insert_with(|| View::new(&v1::Run::default(), hint));
        view.take(snapshot);
        if screen.drawn_at.is_none_or(|then| then.elapsed() >= PAUSE) {
            screen.draw();
        }
    }

    /// Takes it away, so that something else can be written in its place.
    pub(crate) fn clear(&self) {
        // So that nothing is being drawn meanwhile, which would stand behind what comes now.
        let _nothing_is_drawn = locked(&self.screen);
        clear();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.listener.abort();
        self.clear();
    }
}

impl Screen {
    fn draw(&mut self) {
        let stderr = io::stderr();
        let Some(view) = self.view.as_ref().filter(|_| terminal::may_draw(&stderr)) else {
            return;
        };
        let size = size();
        let is_first = STANDS.load(Ordering::Relaxed) != in_one_word(size);
        let text = Frame::text(view, size, self.colour, is_first);
        if text.len() <= BYTES_MAX && write_passing(&text) {
            STANDS.store(in_one_word(size), Ordering::Relaxed);
        }
        self.drawn_at = Some(Instant::now());
    }

    /// Draws it anew where it stands.
    fn draw_again(&mut self) {
        if STANDS.load(Ordering::Relaxed) != 0 {
            self.draw();
        }
    }
}

fn size() -> Size {
    let (columns, rows) = terminal::size(&io::stderr()).unwrap_or(SIZE_NORM);
    Size { columns, rows }
}

/// Both are numbers of 16 bits, and not 0.
fn in_one_word(size: Size) -> u64 {
    (size.rows as u64) << 32 | size.columns as u64
}

fn clear() {
    let stood = STANDS.swap(0, Ordering::Relaxed);
    if stood != 0 {
        write_waiting(frame::clear(stood == in_one_word(size())));
    }
}

/// A panic holds no lock of ours for longer than it lasts.
fn locked(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ctrl-Z, and a terminal of another size. Where a signal cannot be caught there is one thing less
/// to draw for.
async fn listen(screen: Arc<Mutex<Screen>>) {
    let caught = |of: Signal| {
        let is_ours = !is_ignored(of);
        is_ours.then(|| signal(SignalKind::from_raw(of.as_raw())).ok())?
    };
    let (Some(mut resized), Some(mut continued)) = (caught(Signal::WINCH), caught(Signal::CONT))
    else {
        return;
    };
    let mut stopped = caught(Signal::TSTP);
    loop {
        let stop = async {
            match &mut stopped {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = stop => {
                let stood = STANDS.load(Ordering::Relaxed) != 0;
                clear();
                // Where it cannot be stopped it goes on.
                let _ = terminal::stop_until_continued();
                if stood {
                    locked(&screen).draw();
                }
            }
            _ = resized.recv() => {
                locked(&screen).draw_again();
                sleep(PAUSE).await;
            }
            _ = continued.recv() => locked(&screen).draw_again(),
        }
    }
}

/// The message of a panic stands below nothing of ours.
fn clear_when_this_process_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            clear();
            before(panic);
        }));
    });
}
