//! Whether the application is there at all: a pod that is going ends its application before a native sidecar, and
//! nothing is to be tried on what ends for good.

use super::look::Found;
use crate::error::Error;
use crate::linux::proc::{Process, Reader};
use crate::linux::sys;
use std::path::Path;

/// Programs of the agent's own, whose command lines may name the application (linux/sched.h cuts none of them).
const OWN: [&[u8]; 2] = [b"chaos-agent", b"chaos-guard"];

/// What is in the way of faults: none of these names is part of the name or the command line of a process, capitals or
/// not. What has ended does not count, what is stopped does, and process 1 does, which may be the application itself.
/// Names are in ASCII lower case; `proc` is where `/proc` is.
pub fn look(proc: &Path, names: &[String]) -> Found {
    match is_there(proc, names) {
        Ok(true) => Ok(Vec::new()),
        Ok(false) => Err(Error::refused(format!("no process matches {names:?} (agent.rest_when_gone)"))),
        Err(error) => {
            Err(Error::refused(format!("agent.rest_when_gone: cannot list the processes: {error}")))
        }
    }
}

fn is_there(proc: &Path, names: &[String]) -> sys::Result<bool> {
    let mut reader = Reader::new(proc)?;
    for pid in reader.pids()? {
        let named = reader.process(pid)?.is_some_and(|process| is_meant(&process, names));
        if named && reader.stat(pid)?.is_some_and(|stat| !stat.is_dead() && !stat.is_kernel_thread()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_meant(process: &Process<'_>, names: &[String]) -> bool {
    if OWN.contains(&process.comm) {
        return false;
    }
    // Arguments end with NULs, which stand for blanks.
    let lower = |bytes: &[u8]| {
        let text: Vec<u8> = bytes.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
        text.to_ascii_lowercase()
    };
    let (name, line) = (lower(process.name()), lower(process.cmdline));
    let within = |text: &[u8], needle: &[u8]| text.windows(needle.len()).any(|part| part == needle);
    names.iter().any(|wanted| within(&name, wanted.as_bytes()) || within(&line, wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A process table with these rows: pid, name, command line, state.
    fn table(rows: &[(u32, &str, &str, char)]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        for (pid, comm, cmdline, state) in rows {
            let folder = proc.path().join(pid.to_string());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("comm"), format!("{comm}\n")).unwrap();
            fs::write(folder.join("cmdline"), cmdline).unwrap();
            let rest = "0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0";
            fs::write(folder.join("stat"), format!("{pid} ({comm}) {state} {rest}")).unwrap();
        }
        proc
    }

    #[test]
    fn the_application_is_there_while_a_process_that_lives_matches() {
        let names = ["myapp".to_owned(), "my worker".to_owned()];
        let reason = |proc: &Path| look(proc, &names).err().map(|error| error.to_string());
        let rests = |rows: &[_]| reason(table(rows).path());
        for row in [
            (1, "myapp", "/bin/MyApp\0-v\0", 'S'),
            (7, "python3", "python3\0/srv/MYAPP.py\0", 'R'),
            (7, "run", "my\0worker\0", 'T'),
            (7, "a)b (c", "a\nmyapp\0", 'D'),
        ] {
            let agent = (9, "chaos-agent", "chaos-agent\0run\0", 'S');
            assert_eq!(rests(&[row, agent]), None, "{row:?}");
        }
        for row in [
            (7, "myapp", "", 'Z'),
            (7, "chaos-agent", "chaos-agent\0run\0--config\0/myapp/c.yaml\0", 'S'),
            (7, "chaos-guard", "/myapp/guard\0", 'S'),
            (7, "other", "/bin/other\0my\0", 'S'),
        ] {
            let why = rests(&[row]).unwrap();
            assert_eq!(why, "no process matches [\"myapp\", \"my worker\"] (agent.rest_when_gone)");
        }
        assert!(reason(Path::new("/nowhere")).unwrap().contains("cannot list the processes"));
    }
}
