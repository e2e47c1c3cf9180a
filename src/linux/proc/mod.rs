//! Reading `/proc`: who runs, under which name, since when, started by whom.
//!
//! Layouts are those of proc_pid_stat(5), proc_pid_cmdline(5) and proc_pid_status(5). Processes come and go
//! while they are read: one that vanished is left out, never an error. Names and command lines are bytes,
//! because nothing keeps a process from putting any byte but NUL into them.

mod handle;

pub use handle::Handle;

use crate::linux::sys::{Result, file::open_at};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// `PF_KTHREAD` in the flags (linux/sched.h): a kernel thread.
const KERNEL_THREAD: u32 = 0x0020_0000;
/// Bytes of a command line that are looked at; the rest cannot match.
const MAX_CMDLINE: usize = 128 * 1024;
/// Length at which the kernel cuts a name: `TASK_COMM_LEN` less the NUL (linux/sched.h).
pub const COMM_LEN: usize = 15;

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat<'a> {
    /// The process.
    pub pid: u32,
    /// Its name, cut to [`COMM_LEN`] bytes (kernel threads have longer ones).
    pub comm: &'a [u8],
    /// One letter: `R`, `S`, `D` (uninterruptible sleep), `Z` (zombie), `T` (stopped), ...
    pub state: u8,
    /// The parent; 0 when it is outside of this PID namespace.
    pub ppid: u32,
    /// The session; 0 when its leader is outside of this PID namespace.
    pub session: u32,
    /// `PF_*` of linux/sched.h.
    pub flags: u32,
    /// How many threads it has; a zombie counts as one until its parent takes it away.
    pub threads: u64,
    /// When it started, in clock ticks since the boot: with the pid, it names one process for good.
    pub start: u64,
}

impl<'a> Stat<'a> {
    /// Reads one line. The name ends at the last `)`, since it may hold any byte itself; `None` for anything
    /// that is no such line.
    pub fn parse(line: &'a [u8]) -> Option<Stat<'a>> {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let pid = number(line.get(..open)?.strip_suffix(b" ")?)?;
        let comm = line.get(open + 1..close)?;
        let mut fields = line.get(close + 1..)?.strip_prefix(b" ")?.split(|byte| *byte == b' ');
        let state = *fields.next()?.first()?;
        let ppid = number(fields.next()?)?;
        let session = number(fields.nth(1)?)?;
        let flags = number(fields.nth(2)?)?;
        let threads = number(fields.nth(10)?)?;
        let start = number(fields.nth(1)?)?;
        let narrow = |wide: u64| u32::try_from(wide).ok();
        Some(Stat {
            pid: narrow(pid)?,
            comm,
            state,
            ppid: narrow(ppid)?,
            session: narrow(session)?,
            flags: narrow(flags)?,
            threads,
            start,
        })
    }

    /// Whether this is a thread of the kernel, which no signal ends.
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }

    /// Whether a signal or a debugger has stopped it.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }

    /// Whether it has ended, and at most its parent has not noticed. A process whose first thread alone has ended goes
    /// on, see [`Reader::stat`].
    pub fn is_dead(&self) -> bool {
        self.is_ended() && self.threads < 2
    }

    /// Whether the thread that the line is about has ended.
    fn is_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A process as a scan sees it: by its names only, which is all that most of them are asked for. `stat` costs
/// as much as both together.
#[derive(Clone, Copy, Debug)]
pub struct Process<'a> {
    /// Its number.
    pub pid: u32,
    /// Its name, cut to [`COMM_LEN`] bytes (kernel threads have longer ones).
    pub comm: &'a [u8],
    /// The arguments, each ended by a NUL unless the process rewrote them; empty for kernel threads and
    /// zombies; at most 128 KiB of it.
    pub cmdline: &'a [u8],
}

impl<'a> Process<'a> {
    /// The first argument: the program's path, or a title that the process gave itself.
    pub fn argv0(&self) -> &'a [u8] {
        self.cmdline.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The name that psutil and ps show: where the kernel cut it, the first argument's base name completes it.
    pub fn name(&self) -> &'a [u8] {
        let base = base_name(self.argv0());
        let cut = self.comm.len() == COMM_LEN && base.starts_with(self.comm);
        if cut { base } else { self.comm }
    }

    /// The name for people: where a process gave itself a title, of which the kernel's name is the beginning, its first
    /// word, since a title may be a whole command line.
    pub fn shown(&self) -> &'a [u8] {
        let (argv0, blank) = (self.argv0(), |byte: &u8| byte.is_ascii_whitespace());
        let is_title = argv0.iter().any(blank)
            && (argv0.starts_with(self.comm) || base_name(argv0).starts_with(self.comm));
        if !is_title {
            return self.name();
        }
        self.name().split(blank).find(|word| !word.is_empty()).unwrap_or_default()
    }
}

/// What follows the last slash.
pub fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// A mounted proc file system and the buffers to read it with.
pub struct Reader {
    root: PathBuf,
    /// The same, opened: names relative to it are a fifth cheaper to open than whole paths.
    folder: File,
    name: Vec<u8>,
    stat: Vec<u8>,
    cmdline: Vec<u8>,
}

impl Reader {
    /// Reads the proc file system at `root`, usually `/proc`.
    ///
    /// # Errors
    /// The folder cannot be opened.
    pub fn new(root: &Path) -> io::Result<Reader> {
        let folder = File::open(root)?;
        let root = root.to_owned();
        Ok(Reader { root, folder, name: Vec::new(), stat: vec![0; 1024], cmdline: vec![0; 4096] })
    }

    /// The numbers of all processes, in ascending order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name().into_vec();
            pids.extend(number(&name).and_then(|pid| u32::try_from(pid).ok()));
        }
        pids.sort_unstable();
        Ok(pids)
    }

    /// Shows every process to `visit`, in ascending order of pid.
    ///
    /// # Errors
    /// The directory cannot be read, or no file descriptor is left. Processes that vanish or may not be read
    /// are left out.
    pub fn scan(&mut self, visit: &mut dyn FnMut(&Process<'_>)) -> Result<()> {
        for pid in self.pids()? {
            if let Some(process) = self.process(pid)? {
                visit(&process);
            }
        }
        Ok(())
    }

    /// One process; `None` when it is not there or may not be read.
    ///
    /// # Errors
    /// No file descriptor or memory is left.
    pub fn process(&mut self, pid: u32) -> Result<Option<Process<'_>>> {
        let comm = fill(&self.folder, locate(&mut self.name, pid, c"comm"), &mut self.stat)?;
        let Some(comm) = comm else { return Ok(None) };
        let length = comm.strip_suffix(b"\n").unwrap_or(comm).len();
        let mut name = locate(&mut self.name, pid, c"cmdline");
        let mut seen = fill(&self.folder, name, &mut self.cmdline)?.map(<[u8]>::len);
        if seen == Some(0)
            && let Some(thread) = thread(&self.root, &self.folder, pid)
        {
            name = locate_in(&mut self.name, pid, thread, c"cmdline");
            seen = fill(&self.folder, name, &mut self.cmdline)?.map(<[u8]>::len);
        }
        let comm = self.stat.get(..length).unwrap_or_default();
        Ok(seen.and_then(|seen| Some(Process { pid, comm, cmdline: self.cmdline.get(..seen)? })))
    }

    /// `stat` of one process; `None` when it is not there or may not be read. Where its first thread has ended and
    /// others go on, the state is that of one of those: the kernel calls the whole process a zombie.
    ///
    /// # Errors
    /// No file descriptor or memory is left.
    pub fn stat(&mut self, pid: u32) -> Result<Option<Stat<'_>>> {
        let line = fill(&self.folder, locate(&mut self.name, pid, c"stat"), &mut self.stat)?;
        let mut stat = line.and_then(Stat::parse);
        if let Some(stat) = stat.as_mut().filter(|stat| stat.is_ended() && !stat.is_dead())
            && let Some((_, state)) = thread_state(&self.root, &self.folder, pid)
        {
            stat.state = state;
        }
        Ok(stat)
    }

    /// Whether the process that started at `start` under this pid has ended (a zombie has).
    ///
    /// # Errors
    /// No file descriptor or memory is left.
    pub fn is_gone(&mut self, pid: u32, start: u64) -> Result<bool> {
        Ok(self.stat(pid)?.is_none_or(|stat| stat.start != start || stat.is_dead()))
    }

    /// The real uid of a process, which decides with CAP_KILL who may signal it.
    pub fn uid(&self, pid: u32) -> Option<u32> {
        let text = self.read(pid, c"status")?;
        let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:\t"))?;
        let uid = number(line.split(|byte| *byte == b'\t').next()?)?;
        u32::try_from(uid).ok()
    }

    /// The program that a process runs, as a path in the process's own file system.
    ///
    /// # Errors
    /// `EACCES` or `EPERM` for a process of another user without CAP_SYS_PTRACE, `ENOENT` for one that is gone.
    pub fn exe(&self, pid: u32) -> io::Result<PathBuf> {
        let path = self.root.join(format!("{pid}/exe"));
        fs::read_link(path).or_else(|error| match thread(&self.root, &self.folder, pid) {
            Some(thread) => fs::read_link(self.root.join(format!("{pid}/task/{thread}/exe"))),
            None => Err(error),
        })
    }

    /// A whole file of a process; `None` when it is not there or may not be read.
    pub fn read(&self, pid: u32, file: &CStr) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 2048];
        let length = fill(&self.folder, locate(&mut Vec::new(), pid, file), &mut buffer).ok()??.len();
        buffer.truncate(length);
        Some(buffer)
    }
}

/// `PID/FILE`, written into `name`.
fn locate<'a>(name: &'a mut Vec<u8>, pid: u32, file: &CStr) -> &'a CStr {
    name.clear();
    let _ = write!(name, "{pid}/"); // a Vec takes every write
    name.extend_from_slice(file.to_bytes_with_nul());
    CStr::from_bytes_with_nul(name).unwrap_or_default()
}

/// `PID/task/THREAD/FILE`, written into `name`.
fn locate_in<'a>(name: &'a mut Vec<u8>, pid: u32, thread: u32, file: &CStr) -> &'a CStr {
    name.clear();
    let _ = write!(name, "{pid}/task/{thread}/"); // a Vec takes every write
    name.extend_from_slice(file.to_bytes_with_nul());
    CStr::from_bytes_with_nul(name).unwrap_or_default()
}

/// A thread that goes on in a process whose first thread has ended: with that, the kernel shows no command line and
/// no program of the process, but it does of the thread. `None` for every other process.
fn thread(root: &Path, folder: &File, pid: u32) -> Option<u32> {
    let (mut name, mut buffer) = (Vec::new(), vec![0; 1024]);
    let line = fill(folder, locate(&mut name, pid, c"stat"), &mut buffer).ok()??;
    let stat = Stat::parse(line).filter(|stat| stat.is_ended() && !stat.is_dead())?;
    thread_state(root, folder, stat.pid).map(|(thread, _)| thread)
}

/// A thread that goes on, and its state.
fn thread_state(root: &Path, folder: &File, pid: u32) -> Option<(u32, u8)> {
    let (mut name, mut buffer) = (Vec::new(), vec![0; 1024]);
    let threads = fs::read_dir(root.join(format!("{pid}/task"))).ok()?;
    threads.flatten().find_map(|thread| {
        let thread = u32::try_from(number(&thread.file_name().into_vec())?).ok()?;
        let line = fill(folder, locate_in(&mut name, pid, thread, c"stat"), &mut buffer).ok()??;
        let stat = Stat::parse(line).filter(|stat| !stat.is_ended())?;
        Some((thread, stat.state))
    })
}

/// What the file holds, read into `buffer`; `None` for a process that vanished or is hidden.
fn fill<'a>(folder: &File, name: &CStr, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
    match open_at(folder.as_fd(), name).and_then(|file| Ok(read(&mut File::from(file), buffer)?)) {
        Ok(length) => Ok(buffer.get(..length)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH | libc::EACCES | libc::EPERM | libc::ENOTDIR) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Fills `buffer` from the start, growing it while it is too small. The kernel gives these files in one piece
/// as large as the buffer, so a read that leaves room has come to the end.
fn read(file: &mut File, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut used = 0;
    loop {
        let room = buffer.get_mut(used..).unwrap_or_default();
        let wanted = room.len();
        match file.read(room) {
            Ok(count) if count < wanted => return Ok(used + count),
            Ok(count) => used += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if used == buffer.len() {
            if used >= MAX_CMDLINE {
                return Ok(used);
            }
            buffer.resize(used * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_name_may_hold_any_byte() {
        for name in ["redis-server", "a) R 1 1 (b", "line\nbreak", ") ", "", "tmux: server", "((sd-pam))"] {
            let line = format!("4711 ({name}) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2\n");
            let stat = Stat::parse(line.as_bytes()).unwrap();
            let wanted = Stat {
                pid: 4711,
                comm: name.as_bytes(),
                state: b'S',
                ppid: 7,
                session: 9,
                flags: 4_194_560,
                threads: 1,
                start: 987_654,
            };
            assert_eq!(stat, wanted);
        }
        let bytes = b"1 (\xff\xfe) Z 0 0 0 0 -1 2097152 0 0 0 0 0 0 0 0 20 0 1 0 18446744073709551615 0";
        let stat = Stat::parse(bytes).unwrap();
        assert_eq!((stat.comm, stat.start), (&b"\xff\xfe"[..], u64::MAX));
        assert!(stat.is_dead() && stat.is_kernel_thread());
    }

    #[test]
    fn what_is_no_stat_line_is_refused() {
        let whole = "12 (x) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654";
        assert!(Stat::parse(whole.as_bytes()).is_some());
        for end in 0..whole.len() - 6 {
            assert_eq!(Stat::parse(&whole.as_bytes()[..end]), None, "{}", &whole[..end]);
        }
        for wrong in ["", ")(", "(x) S 1", "x (x) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "-1 (x) S 1"] {
            assert_eq!(Stat::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn the_scan_sees_this_very_process_and_its_pids_ascend() {
        let mut reader = Reader::new(Path::new("/proc")).unwrap();
        let (mut last, mut own) = (0, None);
        let visit = &mut |process: &Process<'_>| {
            assert!(process.pid > last, "{} after {last}", process.pid);
            last = process.pid;
            if last == std::process::id() {
                own = Some((process.comm.to_vec(), process.argv0().to_vec()));
            }
        };
        reader.scan(visit).unwrap();
        let (comm, argv0) = own.expect("this process was not seen");
        assert_eq!(Some(OsStr::from_bytes(&argv0)), std::env::args_os().next().as_deref());
        let stat = reader.stat(std::process::id()).unwrap().unwrap();
        assert_eq!((stat.comm, stat.ppid), (&*comm, std::os::unix::process::parent_id()));
        let start = stat.start;
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let uid: u32 = status.split("Uid:\t").nth(1).unwrap().split('\t').next().unwrap().parse().unwrap();
        assert_eq!(reader.uid(std::process::id()), Some(uid));
        assert_eq!(reader.exe(std::process::id()).unwrap(), std::env::current_exe().unwrap());
        assert!(!reader.is_gone(std::process::id(), start).unwrap());
        assert!(reader.is_gone(std::process::id(), start + 1).unwrap(), "another start time");
    }

    #[test]
    fn a_long_command_line_is_read_whole_and_a_huge_one_is_cut() {
        let folder = std::env::temp_dir().join(format!("proc-{}", std::process::id()));
        fs::create_dir_all(folder.join("7")).unwrap();
        fs::create_dir_all(folder.join("8")).unwrap(); // vanished: no files
        fs::write(folder.join("9"), "a file").unwrap();
        fs::write(folder.join("7/comm"), "a\n\n").unwrap();
        let mut reader = Reader::new(&folder).unwrap();
        for (length, seen) in [(0, 0), (4095, 4095), (4096, 4096), (10_000, 10_000), (500_000, MAX_CMDLINE)] {
            fs::write(folder.join("7/cmdline"), vec![b'a'; length]).unwrap();
            let mut lengths = Vec::new();
            let visit =
                &mut |process: &Process<'_>| lengths.push((process.comm.to_vec(), process.cmdline.len()));
            reader.scan(visit).unwrap();
            assert_eq!(lengths, [(b"a\n".to_vec(), seen)], "a name may end in a line break of its own");
        }
        fs::remove_dir_all(folder).unwrap();
        assert!(reader.pids().is_err(), "a missing root is an error, not an empty list");
    }

    #[test]
    fn a_name_that_the_kernel_cut_is_completed() {
        let named = |cmdline| Process { pid: 7, comm: b"kube-controller", cmdline }.name().to_vec();
        assert_eq!(named(b"/usr/bin/kube-controller-manager\0-v\0"), b"kube-controller-manager");
        assert_eq!(named(b"other\0"), b"kube-controller");
        assert_eq!(named(b""), b"kube-controller");
    }

    #[test]
    fn of_a_title_people_see_one_word() {
        for (comm, cmdline, shown) in [
            ("worker9: --pass", "worker9: --password hunter2", "worker9:"),
            ("app --url=redis", "app --url=redis://me:hunter2@db/0", "app"),
            ("app hunter2", "app hunter2\0\0\0", "app"),
            (" hunter2", " hunter2", "hunter2"),
            ("kube-controller", "/usr/bin/kube-controller-manager\0-v\0", "kube-controller-manager"),
            ("tmux: server", "tmux\0new\0", "tmux: server"),
            ("Web Content", "/usr/lib/firefox\0-contentproc\0", "Web Content"),
            ("java", "java\0-cp\0a b\0", "java"),
        ] {
            let process = Process { pid: 7, comm: comm.as_bytes(), cmdline: cmdline.as_bytes() };
            assert_eq!(String::from_utf8_lossy(process.shown()), shown, "{cmdline:?}");
        }
    }
}
