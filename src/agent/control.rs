//! What a person asks of a running agent, by signals and files, and the loop's answer to it.

use super::injector::Why;
use super::look::{LIMIT, Looker};
use super::{Agent, gone};
use crate::config;
use crate::error::{Context, Result};
use crate::linux::plain;
use crate::linux::sys::{bell, event::EventFd, inotify::Inotify};
use crate::linux::watch::File;
use crate::steady::Verdict;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

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

/// Something that is looked at, and what the last look found.
struct Looked<T> {
    looker: Looker,
    found: Arc<Mutex<Option<T>>>,
    /// The look that the next tick waits for.
    wanted: u64,
    /// Whether its silence was told.
    silent: bool,
}

impl<T: Send + 'static> Looked<T> {
    fn new(bell: &Arc<EventFd>, look: impl Fn() -> Option<T> + Send + Sync + 'static) -> Looked<T> {
        let found = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&found);
        let looker = Looker::new(bell, move || {
            if let Some(fresh) = look() {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
            }
        });
        looker.ask();
        Looked { looker, found, wanted: 0, silent: false }
    }

    fn take(&self) -> Option<T> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn ask(&mut self) {
        self.looker.ask();
        self.wanted = self.looker.asked();
    }

    /// Whether a tick need not wait for it any more.
    fn is_answered(&self) -> bool {
        self.looker.is_done(self.wanted) || self.looker.is_silent()
    }

    /// Whether it has just become silent (true) or has just answered again (false).
    fn turned(&mut self) -> Option<bool> {
        let silent = self.looker.is_silent();
        (std::mem::replace(&mut self.silent, silent) != silent).then_some(silent)
    }

    /// When its silence will be told.
    fn until(&self) -> Option<Instant> {
        self.looker.until().filter(|_| !self.silent)
    }
}

/// The config's file and what its next look is to do.
struct ConfigFile {
    file: File,
    /// Its folder told of a change.
    told: AtomicBool,
    /// It is read whether it has changed or not.
    read: AtomicBool,
}

/// The files and signals that the loop listens to.
pub struct Control {
    bell: &'static Arc<EventFd>,
    inotify: Option<Arc<Inotify>>,
    config: Option<(Arc<ConfigFile>, Looked<Result<Vec<u8>>>)>,
    halt: Option<(Arc<File>, Looked<std::io::Result<bool>>)>,
    gone: Option<(Vec<String>, Looked<Option<String>>)>,
    proc: PathBuf,
}

impl Control {
    /// Listens from now on. `proc` is where `/proc` is.
    ///
    /// # Errors
    /// Signals cannot be handled.
    pub fn new(config: Option<&Path>, agent: &config::Agent, proc: &Path) -> Result<Control> {
        let bell = bell()?;
        let signals = [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];
        bell::watch(&signals, bell).doing("handle", "SIGHUP, SIGUSR1 and SIGUSR2")?;
        let inotify = Inotify::new().ok().map(Arc::new);
        let proc = proc.to_owned();
        let mut control = Control { bell, inotify, config: None, halt: None, gone: None, proc };
        control.config = config.map(|path| control.config_file(path));
        control.follow(agent);
        Ok(control)
    }

    fn config_file(&self, path: &Path) -> (Arc<ConfigFile>, Looked<Result<Vec<u8>>>) {
        let file = File::new(path, self.inotify.clone());
        // It may have changed between its loading and the first look.
        let state = Arc::new(ConfigFile { file, told: AtomicBool::default(), read: AtomicBool::new(true) });
        let own = Arc::clone(&state);
        let look = move || {
            let (told, read) =
                (own.told.swap(false, Ordering::AcqRel), own.read.swap(false, Ordering::AcqRel));
            let changed = own.file.changed(told);
            let content = (changed || read).then(|| config::read(own.file.path()));
            // What kept it from being read may go without the file changing.
            own.read.fetch_or(matches!(content, Some(Err(_))), Ordering::AcqRel);
            content
        };
        (state, Looked::new(self.bell, look))
    }

    /// Looks at what this config names; nothing happens where that is the same as before.
    pub fn follow(&mut self, agent: &config::Agent) {
        let halt = agent.halt_file.as_deref();
        if self.halt.as_ref().map(|(file, _)| file.path()) != halt {
            self.halt = halt.map(|path| {
                let file = Arc::new(File::new(path, self.inotify.clone()));
                let own = Arc::clone(&file);
                let look = move || {
                    own.watch();
                    Some(plain::is_there(own.path()))
                };
                (file, Looked::new(self.bell, look))
            });
        }
        if self.gone.as_ref().map_or(&[][..], |(names, _)| names) != agent.rest_when_gone {
            let names = agent.rest_when_gone.clone();
            self.gone = (!names.is_empty()).then(|| {
                let (own, proc) = (names.clone(), self.proc.clone());
                (names, Looked::new(self.bell, move || Some(gone::reason(&proc, &own))))
            });
        }
    }

    /// Readable when somebody rang.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Readable when a watched file may have changed.
    pub fn files(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(|inotify| inotify.as_fd())
    }

    /// Has everything looked at that a tick depends on.
    pub fn ask(&mut self) {
        if let Some((_, looked)) = &mut self.config {
            looked.ask();
        }
        if let Some((_, looked)) = &mut self.halt {
            looked.ask();
        }
        if let Some((_, looked)) = &mut self.gone {
            looked.ask();
        }
    }

    /// Whether what may forbid the faults of a tick was looked at since [`Control::ask`], or will not answer.
    pub fn is_answered(&self) -> bool {
        self.halt.as_ref().is_none_or(|(_, looked)| looked.is_answered())
            && self.gone.as_ref().is_none_or(|(_, looked)| looked.is_answered())
    }

    /// Whether nothing is being looked at.
    pub fn is_idle(&self) -> bool {
        self.config.as_ref().is_none_or(|(_, looked)| looked.looker.is_idle())
            && self.halt.as_ref().is_none_or(|(_, looked)| looked.looker.is_idle())
            && self.gone.as_ref().is_none_or(|(_, looked)| looked.looker.is_idle())
    }

    /// When somebody who was asked will have been silent for too long.
    pub fn until(&self) -> Option<Instant> {
        let config = self.config.as_ref().and_then(|(_, looked)| looked.until());
        let halt = self.halt.as_ref().and_then(|(_, looked)| looked.until());
        let gone = self.gone.as_ref().and_then(|(_, looked)| looked.until());
        [config, halt, gone].into_iter().flatten().min()
    }

    /// Has those files looked at of which their folders tell something.
    fn listen(&mut self) {
        let events = self.inotify.as_ref().map(|inotify| inotify.events()).unwrap_or_default();
        if let Some((state, looked)) = &self.config
            && events.iter().any(|event| state.file.is_meant(event))
        {
            state.told.store(true, Ordering::Release);
            looked.looker.ask();
        }
        if let Some((file, looked)) = &self.halt
            && events.iter().any(|event| file.is_meant(event))
        {
            looked.looker.ask();
        }
    }

    /// Has the config read even if it is the same.
    fn read_config(&self) {
        if let Some((state, looked)) = &self.config {
            state.read.store(true, Ordering::Release);
            looked.looker.ask();
        }
    }
}

impl Agent {
    /// Looks at everything that somebody may have asked for. Says whether there is another config.
    pub(super) fn attend(&mut self, control: &mut Control) -> bool {
        control.bell.clear();
        let came = bell::take();
        // Halts first: they must not wait for a config to be read.
        if came(libc::SIGUSR1) {
            self.halt("signal", Some("SIGUSR1; SIGUSR2 resumes".to_owned()));
        }
        if came(libc::SIGUSR2) {
            self.halt("signal", None);
        }
        control.listen();
        if came(libc::SIGHUP) {
            self.forced = true;
            control.read_config();
            if control.config.is_none() {
                log::warn!("the built-in config is not loaded again");
            }
        }
        self.look_at_halt_file(control);
        self.look_at_application(control);
        self.look_at_steady_state();
        let reloaded = self.look_at_config(control);
        if reloaded {
            control.follow(&self.config.agent);
            self.look_at_halt_file(control);
            self.look_at_application(control);
            self.look_at_steady_state();
        }
        reloaded
    }

    /// Takes over another config if there is one.
    fn look_at_config(&mut self, control: &mut Control) -> bool {
        let Some((state, looked)) = &mut control.config else { return false };
        let found = looked.take();
        match looked.turned() {
            Some(true) => {
                self.refuse(config::silent(state.file.path(), LIMIT.as_secs()));
            }
            // Whatever was said about it is to be said anew.
            Some(false) if found.is_none() => control.read_config(),
            _ => {}
        }
        found.is_some_and(|content| self.reload(content))
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

    /// Halts while the halt file is there, or while nobody can know that it is not.
    fn look_at_halt_file(&mut self, control: &mut Control) {
        let Some((file, looked)) = &mut control.halt else { return self.halt("file", None) };
        let path = file.path().display();
        let found = match (looked.turned(), looked.take()) {
            (_, Some(found)) => found.map_err(|error| format!("{path} cannot be looked at: {error}")),
            (Some(true), None) => {
                Err(format!("{path}: its file system has not answered for {} s", LIMIT.as_secs()))
            }
            _ => return,
        };
        let why = match found {
            Ok(there) => there.then(|| format!("{path} is there")),
            Err(why) => Some(why),
        };
        self.halt("file", why);
    }

    /// Rests while the application is not there, or while nobody can know that it is.
    fn look_at_application(&mut self, control: &mut Control) {
        let Some((_, looked)) = &mut control.gone else { return self.rest_without(None) };
        match (looked.turned(), looked.take()) {
            (_, Some(found)) => self.rest_without(found),
            (Some(true), None) => {
                self.rest_without(Some("agent.rest_when_gone: the processes cannot be listed".to_owned()));
            }
            _ => {}
        }
    }

    /// Ends what runs because the agent was halted, or the application is not well.
    pub(super) fn end_all(&self, why: Why) {
        match self.end(why, |_| true) {
            0 => {}
            count => log::warn!("ending and reverting {count} injections"),
        }
    }
}
