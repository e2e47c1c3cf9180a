//! Running another program to its end, within a time limit, without a shell; and, as PID 1 of a container,
//! taking away the zombies that nobody else waits for.

use crate::error::{Context, Error, Result};
use crate::linux::sys::{poll, task};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// More output than this is cut; `tc` says far less.
const MAX_OUTPUT: usize = 1 << 20;
/// What every pipe takes without a reader (pipe(7)).
const PAGE: usize = 4096;

/// Children that somebody waits for. Held while one is started, so that [`reap_orphans`] cannot see it first.
static CHILDREN: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// What a program left behind.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

/// Starts a child that [`reap_orphans`] will leave alone. Wait for it, then call [`forget`].
///
/// # Errors
/// As [`Command::spawn`].
pub fn start(command: &mut Command) -> io::Result<Child> {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    children.push(child.id());
    Ok(child)
}

/// Says that the child was waited for.
pub fn forget(pid: u32) {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| *known != pid);
    reap_orphans(); // it may have stood before orphans
}

/// As process 1, takes away ended children that this program did not start: the orphans that it inherits.
pub fn reap_orphans() {
    if std::process::id() != 1 {
        return;
    }
    while let Some(pid) = task::ended_child() {
        let children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        if children.contains(&pid) {
            return; // its own waiter takes it within milliseconds and calls this again
        }
        task::reap(pid);
    }
}

/// Runs `command` to its end with `input` on its standard input and collects what it printed: on standard error,
/// and on standard output where the caller made that a pipe.
///
/// # Errors
/// It cannot be started, or it is killed because it did not end within `limit`.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = start(command.stdin(Stdio::piped()).stderr(Stdio::piped())).doing("start", &name)?;
    let mut stdin = child.stdin.take();
    let (read, status) = std::thread::scope(|scope| {
        // A pipe holds a page at least, so only a longer input can block, and that only until the program ends.
        if let Some(mut pipe) = stdin.take_if(|_| input.len() > PAGE) {
            scope.spawn(move || pipe.write_all(input));
        } else if let Some(mut pipe) = stdin.take() {
            let _ = pipe.write_all(input); // a program that does not read it has its reasons
        }
        let read = collect(&mut child, Instant::now() + limit);
        if !matches!(read, Ok((_, _, true))) {
            let _ = child.kill();
        }
        (read, child.wait())
    });
    forget(child.id());
    match read.doing("read the output of", &name)? {
        (stdout, stderr, true) => Ok(Output { status: status.doing("wait for", &name)?, stdout, stderr }),
        _ => {
            Err(Error::refused(format!("{name} did not end within {} s and was killed", limit.as_secs_f64())))
        }
    }
}

/// Both outputs up to their end, and whether that came in time.
fn collect(child: &mut Child, deadline: Instant) -> io::Result<(String, String, bool)> {
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let mut text = (Vec::new(), Vec::new());
    let mut chunk = [0; 4096];
    while stdout.is_some() || stderr.is_some() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let fds = [stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)];
        let ready = poll::readable(&fds, Some(left))?;
        if ready[0] && !pull(stdout.as_mut(), &mut chunk, &mut text.0)? {
            stdout = None;
        }
        if ready[1] && !pull(stderr.as_mut(), &mut chunk, &mut text.1)? {
            stderr = None;
        }
    }
    let done = stdout.is_none() && stderr.is_none();
    let words = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((words(text.0), words(text.1), done))
}

/// One read; false at the end of the stream.
fn pull(from: Option<&mut impl Read>, chunk: &mut [u8], into: &mut Vec<u8>) -> io::Result<bool> {
    let Some(from) = from else { return Ok(false) };
    let count = from.read(chunk)?;
    if into.len() < MAX_OUTPUT {
        into.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    Ok(count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
        super::run(command.stdout(Stdio::piped()), input, limit)
    }

    #[test]
    fn output_and_exit_status_come_back_and_a_hanging_program_is_killed() {
        let limit = Duration::from_secs(60);
        let done =
            run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]), b"", limit).unwrap();
        assert_eq!((done.status.code(), &*done.stdout, &*done.stderr), (Some(3), "out\n", "err\n"));
        // With more input than it will ever read, too.
        let input = vec![b'x'; 1 << 20];
        let hung = run(Command::new("sleep").arg("1000"), &input, Duration::from_millis(20)).unwrap_err();
        assert_eq!(hung.to_string(), "sleep did not end within 0.02 s and was killed");
        let missing = run(&mut Command::new("/no/such/program"), b"", limit).unwrap_err();
        assert_eq!(missing.to_string(), "cannot start /no/such/program: No such file or directory");
    }

    #[test]
    fn more_than_a_pipe_holds_goes_in_and_comes_out() {
        let input: Vec<u8> = (0..300_000).map(|number| b'a' + (number % 26) as u8).collect();
        let done = run(&mut Command::new("cat"), &input, Duration::from_secs(60)).unwrap();
        assert!(done.stdout.as_bytes() == input);
    }
}
