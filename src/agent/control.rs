//! What a person asks of a running agent, by signals and files, and the loop's answer to it.

use super::Agent;
use super::injector::Why;
use crate::error::{Context, Result};
use crate::linux::sys::{bell, event::EventFd};
use crate::linux::watch::Files;
use crate::steady::Verdict;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Rung by signals and by everybody else who wants the loop to look; for as long as the process lives.
static BELL: OnceLock<Arc<EventFd>> = OnceLock::new();

/// The eventfd that wakes the loop.
///
/// # Errors
/// No file descriptor is left.
pub fn bell() -> Result<&'static Arc<EventFd>> {
    if let Some(bell) = BELL.get() {
        return Ok(bell);
    }
    let fresh = EventFd::new().doing("open", "an eventfd")?;
    Ok(BELL.get_or_init(|| Arc::new(fresh)))
}

/// The files and signals that the loop listens to.
pub struct Control {
    bell: &'static Arc<EventFd>,
    paths: Vec<PathBuf>,
    files: Files,
    /// Numbers of the config and of the halt file in `files`.
    config: Option<usize>,
    halt: Option<usize>,
    /// Whether the config was never looked at: it may have changed between its loading and the first look.
    unseen: bool,
}

impl Control {
    /// Listens from now on.
    ///
    /// # Errors
    /// Signals cannot be handled.
    pub fn new(config: Option<&Path>, halt: Option<&Path>) -> Result<Control> {
        let bell = bell()?;
        let signals = [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];
        bell::watch(&signals, bell).doing("handle", "SIGHUP, SIGUSR1 and SIGUSR2")?;
        let mut control = Control {
            bell,
            paths: Vec::new(),
            files: Files::default(),
            config: None,
            halt: None,
            unseen: true,
        };
        control.watch(config, halt);
        Ok(control)
    }

    /// Watches these files instead; nothing happens if they are the same.
    pub fn watch(&mut self, config: Option<&Path>, halt: Option<&Path>) {
        let paths: Vec<&Path> = config.into_iter().chain(halt).collect();
        if self.paths.iter().map(PathBuf::as_path).eq(paths.iter().copied()) {
            return;
        }
        self.files = Files::new(&paths);
        self.config = config.map(|_| 0);
        self.halt = halt.map(|_| usize::from(config.is_some()));
        self.paths = paths.into_iter().map(Path::to_owned).collect();
    }

    /// Readable when somebody rang.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Readable when a watched file may have changed.
    pub fn files(&self) -> Option<BorrowedFd<'_>> {
        self.files.fd()
    }

    /// Whether the config's content may have changed.
    fn config_changed(&mut self) -> bool {
        let Some(index) = self.config else { return false };
        // Where nothing tells of the end of a writer, waiting for it would be waiting for the next tick.
        let patient = self.files.fd().is_some();
        std::mem::take(&mut self.unseen) || self.files.changed(index, patient)
    }
}

impl Agent {
    /// Looks at everything that somebody may have asked for. Says whether there is another config.
    pub(super) fn attend(&mut self, control: &mut Control) -> bool {
        control.bell.clear();
        control.files.listen();
        let came = bell::take();
        let mut reloaded = false;
        // Halts first: they must not wait for a config to be read.
        if came(libc::SIGUSR1) {
            self.halt("signal", Some("SIGUSR1; SIGUSR2 resumes".to_owned()));
            // Also what somebody insisted on while it was halted already.
            self.end_all(Why::Halt);
        }
        if came(libc::SIGUSR2) {
            self.halt("signal", None);
        }
        self.look_at_halt_file(control);
        self.look_at_steady_state();
        if came(libc::SIGHUP) || control.config_changed() {
            reloaded = self.reload(came(libc::SIGHUP));
            if reloaded {
                control.watch(self.source.as_deref(), self.config.agent.halt_file.as_deref());
                self.look_at_halt_file(control);
                self.look_at_steady_state();
            }
        }
        reloaded
    }

    /// Halts while the application is not well, and waits for a first good answer.
    fn look_at_steady_state(&mut self) {
        let Some(steady) = &self.steady else { return };
        let verdict = steady.verdict();
        self.injector.board.set_steady(steady.states());
        self.waiting = match &verdict {
            Verdict::Waiting(probes) => Some(format!("waiting for a first success of {}", probes.join(", "))),
            _ => None,
        };
        let broken = match verdict {
            Verdict::Broken { probe, reason } => Some(format!("{probe}: {reason}")),
            _ => None,
        };
        self.halt("steady_state", broken);
    }

    fn look_at_halt_file(&mut self, control: &Control) {
        let there = control.halt.filter(|index| control.files.exists(*index));
        let path = there.and_then(|index| control.paths.get(index));
        self.halt("file", path.map(|path| format!("{} is there", path.display())));
    }

    /// Ends what runs because the agent was halted, or the application is not well.
    pub(super) fn end_all(&mut self, why: Why) {
        match self.end(why, |_| true) + self.hands.end(why) {
            0 => {}
            count => log::warn!("ending and reverting {count} injections"),
        }
    }
}
