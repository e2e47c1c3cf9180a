//! What ends a fault by hand before its time, beside signals: the agent, standard input, a halt file. One thread waits
//! for all of them, for as long as the process lives, and looks after the guard.

use crate::agent::{Injector, Seat, Why, set_why};
use crate::cancel::Cancel;
use crate::error::{Context, Error, Result};
use crate::linux::sys::{poll, thread};
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

/// Between two looks at a halt file: without an agent, nobody else does it.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at the guard.
const TEND: Duration = Duration::from_secs(1);
const STACK: usize = 128 << 10;

/// What to wait for.
#[derive(Default)]
pub struct Ends {
    /// The agent that knows of the fault.
    pub seat: Option<Arc<Seat>>,
    /// Standard input.
    pub input: Option<File>,
    /// A file that is not there yet.
    pub halt_file: Option<PathBuf>,
}

impl Ends {
    /// Waits from now on, and then notes why and throws the switch.
    ///
    /// # Errors
    /// There is no thread left.
    pub fn watch(self, injector: Arc<Injector>, stop: Arc<Cancel>, why: Arc<AtomicU8>) -> Result<()> {
        let body = move || {
            set_why(&why, self.first(&injector));
            stop.cancel();
        };
        thread::spawn("ends", STACK, Box::new(body)).doing("start", "a thread")?;
        Ok(())
    }

    /// The first of them.
    fn first(mut self, injector: &Injector) -> Why {
        let path = self.halt_file.as_deref();
        let time = Some(if path.is_some() { LOOK } else { TEND });
        loop {
            injector.guard.tend();
            if let Some(path) = path.filter(|path| path.symlink_metadata().is_ok()) {
                log::warn!("the halt file {} is there: ending and reverting", path.display());
                return Why::Halt;
            }
            let seat = self.seat.as_ref().map(|seat| seat.as_fd());
            let input = self.input.as_ref().map(AsFd::as_fd);
            let Ok([said, _]) = poll::readable(&[seat, input], time) else { continue };
            if let Some(seat) = self.seat.as_ref().filter(|_| said) {
                match seat.hear() {
                    Some(why) => return why,
                    None if seat.is_over() => self.seat = None,
                    None => {}
                }
            }
            if self.input.as_mut().is_some_and(is_closed) {
                return Why::Input;
            }
        }
    }
}

/// Standard input, if its end says anything.
///
/// # Errors
/// It is no pipe, socket or terminal (exit 64).
#[inline(never)]
pub fn input() -> Result<File> {
    let input = std::io::stdin();
    let own = input.as_fd().try_clone_to_owned().doing("copy", "standard input")?;
    let file = File::from(own);
    let kind = file.metadata().doing("look at", "standard input")?.file_type();
    match kind.is_fifo() || kind.is_socket() || input.is_terminal() {
        true => Ok(file),
        false => Err(Error::usage("--with-stdin needs a pipe or a terminal as standard input")),
    }
}

/// Whether there is nothing more to come. What came is of no interest.
fn is_closed(file: &mut File) -> bool {
    if !matches!(poll::readable(&[Some(file.as_fd())], Some(Duration::ZERO)), Ok([true])) {
        return false;
    }
    match file.read(&mut [0; 512]) {
        Ok(count) => count == 0,
        Err(error) => ![ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&error.kind()),
    }
}
