//! What a person asks of a running agent, by signals and files, and the loop's answer to it.

use super::look::{self, Found, LIMIT, Looker};
use super::why::Why;
use super::{Agent, gone};
use crate::config;
use crate::error::{Context, Error, Result};
use crate::linux::plain;
use crate::linux::sys::{bell, event::EventFd, inotify::Inotify};
use crate::linux::watch::File;
use crate::steady::Verdict;
use crate::text::logging;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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

/// Something that is looked at.
struct Looked {
    looker: Looker,
    /// The look that the next tick waits for.
    wanted: u64,
    /// Whether its silence was told.
    silent: bool,
}

impl Looked {
    fn new(bell: &Arc<EventFd>, look: impl Fn() -> Option<Found> + Send + Sync + 'static) -> Looked {
        let looker = Looker::new(bell, look);
        looker.ask();
        // A tick that is due already waits for it, too.
        Looked { wanted: looker.asked(), looker, silent: false }
    }

    /// Whether it has just become silent (true) or has just answered again (false).
    fn turned(&mut self) -> Option<bool> {
        let silent = self.looker.is_silent();
        (std::mem::replace(&mut self.silent, silent) != silent).then_some(silent)
    }

    /// What was found, or that nothing is any more, in these words.
    fn news(&mut self, silence: impl FnOnce() -> Error) -> Option<Found> {
        let turned = self.turned();
        self.looker.take().or_else(|| (turned == Some(true)).then(|| Err(silence())))
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

/// Places in [`Control::looked`]: what a tick waits for, and the config.
const HALT: usize = 0;
const GONE: usize = 1;
const CONFIG: usize = 2;

/// How often the config is looked at although its folder tells of changes: some file systems promise that and do not.
const REGULAR: Duration = Duration::from_secs(30);

/// How often the halt file is looked at while faults are active, however far the next tick is: many a file system tells
/// nothing of what others do in it.
const OFTEN: Duration = Duration::from_secs(10);

/// The files and signals that the loop listens to.
pub struct Control {
    bell: &'static Arc<EventFd>,
    inotify: Option<Arc<Inotify>>,
    config: Option<Arc<ConfigFile>>,
    halt: Option<Arc<File>>,
    names: Vec<String>,
    looked: [Option<Looked>; 3],
    /// When the config was last looked at without being told.
    regular: Instant,
    /// When the halt file was last looked at for the tick or [`Control::look_again`].
    often: Instant,
    proc: PathBuf,
}

impl Control {
    /// Listens from now on. `proc` is where `/proc` is.
    ///
    /// # Errors
    /// Signals cannot be handled.
    pub fn new(config: Option<&Path>, agent: &config::Agent, proc: &Path) -> Result<Control> {
        let bell = bell()?;
        let signals = [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD];
        // SIGCHLD: the guard, and the orphans that process 1 inherits.
        bell::watch(&signals, bell).doing("handle", "SIGHUP, SIGUSR1 and SIGUSR2")?;
        let mut control = Control {
            bell,
            inotify: Inotify::new().ok().map(Arc::new),
            config: None,
            halt: None,
            names: Vec::new(),
            looked: [None, None, None],
            regular: Instant::now(),
            often: Instant::now(),
            proc: proc.to_owned(),
        };
        control.follow(agent);
        if let Some(path) = config {
            control.follow_config(path);
        }
        Ok(control)
    }

    fn follow_config(&mut self, path: &Path) {
        let file = File::new(path, self.inotify.clone());
        // It may have changed between its loading and the first look.
        let state = Arc::new(ConfigFile { file, told: AtomicBool::default(), read: AtomicBool::new(true) });
        self.config = Some(Arc::clone(&state));
        self.looked[CONFIG] = Some(Looked::new(self.bell, move || state.look()));
    }

    /// Looks at what this config names; nothing happens where that is the same as before.
    pub fn follow(&mut self, agent: &config::Agent) {
        let halt = agent.halt_file.as_deref();
        if self.halt.as_ref().map(|file| file.path()) != halt {
            self.halt = halt.map(|path| Arc::new(File::new(path, self.inotify.clone())));
            let look = |file: Arc<File>| Looked::new(self.bell, move || Some(look_at_halt_file(&file)));
            self.looked[HALT] = self.halt.clone().map(look);
        }
        if self.names != agent.rest_when_gone {
            self.names.clone_from(&agent.rest_when_gone);
            let (names, proc) = (self.names.clone(), self.proc.clone());
            let there = !names.is_empty();
            self.looked[GONE] =
                there.then(|| Looked::new(self.bell, move || Some(gone::look(&proc, &names))));
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

    /// Has everything looked at that a tick depends on, and the config where nothing has told of it for long.
    pub fn ask(&mut self) {
        for looked in self.looked[..CONFIG].iter_mut().flatten() {
            looked.looker.ask();
            looked.wanted = looked.looker.asked();
        }
        self.often = Instant::now();
        self.ask_config();
    }

    /// Has looked at, between two ticks, what may end active faults, if it is time to. Says when it is next.
    pub fn look_again(&mut self) -> Option<Instant> {
        if self.often.elapsed() >= OFTEN {
            self.often = Instant::now();
            self.look(HALT);
            self.ask_config();
        }
        self.often.checked_add(OFTEN)
    }

    fn ask_config(&mut self) {
        // A look is a thread: where the folder tells, every tick would be too often.
        let told = self.config.as_ref().is_some_and(|config| config.file.is_told());
        if !told || self.regular.elapsed() >= REGULAR {
            self.regular = Instant::now();
            self.look(CONFIG);
        }
    }

    /// Whether what may forbid the faults of a tick was looked at since [`Control::ask`], or will not answer.
    pub fn is_answered(&self) -> bool {
        let mut waited_for = self.looked[..CONFIG].iter().flatten();
        waited_for.all(|looked| looked.looker.is_done(looked.wanted) || looked.looker.is_silent())
    }

    /// Whether nothing is being looked at.
    pub fn is_idle(&self) -> bool {
        self.looked.iter().flatten().all(|looked| looked.looker.is_idle())
    }

    /// When somebody who was asked will have been silent for too long.
    pub fn until(&self) -> Option<Instant> {
        let untold = self.looked.iter().flatten().filter(|looked| !looked.silent);
        untold.filter_map(|looked| looked.looker.until()).min()
    }

    /// Takes note of who rang, and has those files looked at of which their folders tell something.
    pub fn hear(&mut self) {
        self.bell.clear();
        let events = self.inotify.as_ref().map(|inotify| inotify.events()).unwrap_or_default();
        for event in &events {
            // Links, folders and pipes are only made, never written.
            if self.halt.as_ref().is_some_and(|file| file.is_meant(event)) {
                self.look(HALT);
            }
            if let Some(config) = self.config.as_ref().filter(|config| config.file.is_meant(event)) {
                // One that was only made is not told of: its writer may be at work.
                config.told.fetch_or(!event.created, Ordering::AcqRel);
                self.look(CONFIG);
            }
        }
    }

    fn look(&self, which: usize) {
        if let Some(looked) = &self.looked[which] {
            looked.looker.ask();
        }
    }

    /// Has the config read even if it is the same.
    fn read_config(&self) {
        if let Some(config) = &self.config {
            config.read.store(true, Ordering::Release);
            self.look(CONFIG);
        }
    }

    /// What is new about one of the places.
    fn news(&mut self, which: usize, silence: impl FnOnce() -> Error) -> Option<Found> {
        self.looked[which].as_mut().and_then(|looked| looked.news(silence))
    }
}

impl ConfigFile {
    /// The content, if it may be another one than at the last look.
    fn look(&self) -> Option<Found> {
        let told = self.told.swap(false, Ordering::AcqRel);
        let read = self.read.swap(false, Ordering::AcqRel);
        let changed = self.file.changed(told);
        let content = (changed || read).then(|| config::read(self.file.path()));
        // What kept it from being read may go without the file changing.
        self.read.fetch_or(matches!(content, Some(Err(_))), Ordering::AcqRel);
        content
    }
}

/// That it is there, or that nobody can know that it is not, is in the way of every fault.
fn look_at_halt_file(file: &File) -> Found {
    file.watch();
    let path = file.path().display();
    match plain::is_there(file.path()) {
        Ok(false) => Ok(Vec::new()),
        Ok(true) => Err(Error::refused(format!("{path} is there"))),
        Err(error) => Err(Error::refused(format!("{path} cannot be looked at: {error}"))),
    }
}

impl Agent {
    /// Looks at everything that somebody may have asked for. Says whether there is another config.
    pub(super) fn attend(&mut self, control: &mut Control) -> bool {
        let came = bell::take();
        // Halts first: they must not wait for a config to be read.
        if came(libc::SIGUSR1) {
            self.halt("signal", Some("SIGUSR1; SIGUSR2 resumes".to_owned()));
            // Also what somebody insisted on while it was halted already.
            self.end_all(Why::Halt);
        }
        if came(libc::SIGUSR2) {
            self.halt("signal", None);
        }
        if came(libc::SIGHUP) {
            logging::reopen();
            self.forced = true;
            control.read_config();
            if control.config.is_none() {
                log::warn!("the built-in config is not loaded again");
            }
        }
        self.look_at_obstacles(control);
        self.look_at_steady_state();
        let reloaded = self.look_at_config(control);
        if reloaded {
            control.follow(&self.config.agent);
            self.look_at_obstacles(control);
            self.look_at_steady_state();
        }
        reloaded
    }

    /// Takes over another config if there is one.
    fn look_at_config(&mut self, control: &mut Control) -> bool {
        let (Some(looked), Some(config)) = (&mut control.looked[CONFIG], &control.config) else {
            return false;
        };
        let (found, turned) = (looked.looker.take(), looked.turned());
        match turned {
            Some(true) => self.refuse(look::silent(config.file.path(), LIMIT).to_string()),
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

    /// Halts while the halt file is there, or while nobody can know that it is not; rests likewise without the
    /// application.
    fn look_at_obstacles(&mut self, control: &mut Control) {
        let reason = |found: Found| found.err().map(|error| error.to_string());
        let path = self.config.agent.halt_file.as_deref().unwrap_or(Path::new("")).display();
        let silence =
            || Error::refused(format!("{path}: its file system has not answered for {} s", LIMIT.as_secs()));
        match (control.halt.is_some(), control.news(HALT, silence)) {
            (false, _) => self.halt("file", None),
            (_, Some(found)) => self.halt("file", reason(found)),
            _ => {}
        }
        let silence = || Error::refused("agent.rest_when_gone: the processes cannot be listed");
        match control.news(GONE, silence) {
            _ if control.names.is_empty() => self.rest_without(None),
            Some(found) => self.rest_without(reason(found)),
            None => {}
        }
    }

    /// Ends what runs because the agent was halted, or the application is not well.
    pub(super) fn end_all(&mut self, why: Why) {
        match self.end(why, |_| true) + self.hands.end(why) {
            0 => {}
            count => log::warn!("ending and reverting {count} injections"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_tick_that_is_due_waits_for_what_a_new_config_names() {
        let mut control = Control::new(None, &config::empty().unwrap().agent, Path::new("/proc")).unwrap();
        control.ask();
        assert!(control.is_answered(), "there is nothing to look at");
        let (let_go, held) = mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let looked = Looked::new(control.bell, move || {
            _ = held.lock().unwrap().recv();
            None
        });
        control.looked[HALT] = Some(looked);
        assert!(!control.is_answered());
        drop(let_go);
        while !control.is_answered() {
            _ = crate::linux::sys::poll::readable(&[Some(control.bell())], None);
            control.bell.clear();
        }
    }
}
