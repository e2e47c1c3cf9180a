//! Consumers that stall: a console that nobody reads, a log or audit file on a disk that hangs. Whatever is asked of the
//! agent meanwhile must happen.

use crate::support::*;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A paused victim, and more lines than any pipe takes.
const CONFIG: &str = "agent:
  interval_seconds: 0.005
  halt_file: FOLDER/halt
  AUDIT
  steady_state: [{tcp: \"127.0.0.1:PROBED\", interval_seconds: 0.1, failures_before_halt: 1, successes_before_resume: 1}]
  metrics: {address: 127.0.0.1, port: PORT}
logging: {level: DEBUG, LOGGING}
failures:
  process: {enabled: true, probability: 1, target_name: VICTIM, action: pause, duration_seconds: 3600}
  burn: {type: cpu, enabled: true, probability: 0, duration_seconds: 1}
";

/// An ext4 file system of its own in a file, which can be frozen; thawed and unmounted at the end, whatever happens.
struct Disk(PathBuf, #[expect(dead_code, reason = "its end removes the folder")] Folder);

fn tool(name: &str, words: &[&Path]) {
    let done = Command::new(name).args(words).stdout(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{name} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Disk {
    fn new() -> Disk {
        let folder = Folder::new();
        let (image, at) = (folder.0.join("image"), folder.0.join("disk"));
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        fs::create_dir(&at).unwrap();
        tool("mkfs.ext4", &[Path::new("-q"), &image]);
        tool("mount", &[Path::new("-oloop"), &image, &at]);
        Disk(at, folder)
    }

    fn freeze(&self) {
        tool("fsfreeze", &[Path::new("-f"), &self.0]);
    }

    fn thaw(&self) {
        tool("fsfreeze", &[Path::new("-u"), &self.0]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let quiet = |command: &mut Command| _ = command.stderr(Stdio::null()).status();
        quiet(Command::new("fsfreeze").arg("-u").arg(&self.0));
        quiet(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// An agent whose lines nobody takes, and whom it holds.
struct Stalled {
    agent: Running,
    victim: Victim,
    folder: Folder,
    port: u16,
    config: String,
    probed: std::net::TcpListener,
    /// Kept open, never read.
    _pipe: Option<std::io::PipeReader>,
}

impl Stalled {
    fn start(number: u32, logging: &str, audit: &str, stall: impl FnOnce()) -> Stalled {
        let name = format!("1000.{}{number}", std::process::id());
        let victim = Victim::spawn(Command::new("sleep").arg(&name));
        let (folder, port) = (Folder::new(), free_port());
        let probed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = CONFIG
            .replace("FOLDER", folder.0.to_str().unwrap())
            .replace("AUDIT", audit)
            .replace("LOGGING", logging)
            .replace("PROBED", &probed.local_addr().unwrap().port().to_string())
            .replace("PORT", &port.to_string())
            .replace("VICTIM", &format!("sleep {name}"));
        let file = folder.write("config.yaml", &config);
        let (reader, writer) = std::io::pipe().unwrap();
        // SAFETY: takes three integers.
        #[allow(unsafe_code)]
        let size = unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
        assert_eq!(size, 4096);
        let mut command = Command::new(binary());
        command.args(["run", "--config"]).arg(file).current_dir(&folder.0).stdin(Stdio::null());
        let agent = Running(command.stdout(writer).stderr(Stdio::null()).spawn().unwrap());
        let stalled = Stalled { agent, victim, folder, port, config, probed, _pipe: Some(reader) };
        stalled.wait_victim('T');
        stall();
        let dropped = "chaos_log_lines_dropped_total";
        wait_for("dropped lines", || {
            stalled.metric(dropped).filter(|count| *count > 0.0).ok_or(String::new())
        });
        stalled
    }

    fn metric(&self, name: &str) -> Option<f64> {
        sample(&get(self.port, "/metrics").ok()?.1, name)
    }

    fn wait_victim(&self, wanted: char) {
        wait_for(&format!("victim in state {wanted}"), || match state(self.victim.pid()) {
            Some(state) if state == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// A signal halts and resumes, so does the file, another config is taken, an application that is ill ends the fault.
    fn everything_is_heard(&mut self) {
        kill(self.agent.0.id(), libc::SIGUSR1);
        self.wait_victim('S');
        kill(self.agent.0.id(), libc::SIGUSR2);
        self.wait_victim('T');
        let halt = self.folder.write("halt", "");
        self.wait_victim('S');
        fs::remove_file(halt).unwrap();
        self.wait_victim('T');
        let replace = |text: &str| {
            fs::rename(self.folder.write("new", text), self.folder.0.join("config.yaml")).unwrap();
        };
        replace(&self.config.replace("probability: 1,", "probability: 0,"));
        self.wait_victim('S');
        replace(&self.config);
        self.wait_victim('T');
        self.probed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        self.wait_victim('S');
        assert!(self.metric("chaos_halted{reason=\"steady_state\"}") == Some(1.0));
    }

    fn ends(mut self) {
        kill(self.agent.0.id(), libc::SIGTERM);
        let agent = &mut self.agent.0;
        let status = wait_for("end of the agent", || agent.try_wait().unwrap().ok_or_else(String::new));
        assert_eq!(status.code(), Some(0));
        self.wait_victim('S');
    }
}

#[test]
fn a_console_that_nobody_reads_holds_up_nothing() {
    let mut stalled = Stalled::start(1, "console: {enabled: true}", "audit_log: true", || {});
    stalled.everything_is_heard();
    stalled.ends();
    // A stop in the middle of a fault.
    Stalled::start(2, "format: json", "audit_log: true", || {}).ends();
}

#[test]
fn a_disk_that_hangs_holds_up_nothing() {
    for (number, audit) in [(3, false), (4, true)] {
        let disk = Disk::new();
        let file = disk.0.join("lines");
        let logging = match audit {
            false => {
                format!("console: {{enabled: false}}, file: {{enabled: true, path: {}}}", file.display())
            }
            true => "console: {enabled: false}".to_owned(),
        };
        let audit =
            if audit { format!("audit_file: {}", file.display()) } else { "audit_log: false".to_owned() };
        let mut stalled = Stalled::start(number, &logging, &audit, || disk.freeze());
        stalled.everything_is_heard();
        kill(stalled.agent.0.id(), libc::SIGTERM);
        stalled.wait_victim('S');
        // The kernel keeps the last of a process whose write hangs until the disk is back.
        disk.thaw();
        stalled.ends();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.lines().count() > 5 && text.ends_with('\n'));
    }
}

#[test]
fn what_was_dropped_is_said_by_the_next_line() {
    said_by_the_next_line(0);
}

#[test]
fn a_console_that_refuses_lines_is_waited_for_too() {
    said_by_the_next_line(libc::O_NONBLOCK);
}

/// With these flags of the pipe.
fn said_by_the_next_line(flags: i32) {
    let (folder, port) = (Folder::new(), free_port());
    let text = "agent: {interval_seconds: 0.001, metrics: {address: 127.0.0.1, port: PORT}}\n\
        logging: {level: DEBUG}\nfailures: {cpu: {enabled: true, probability: 0, duration_seconds: 1}}\n";
    let file = folder.write("config.yaml", text.replace("PORT", &port.to_string()));
    let mut command = Command::new(binary());
    command.args(["run", "--config"]).arg(file).stdin(Stdio::null());
    let (reader, writer) = std::io::pipe().unwrap();
    // SAFETY: takes three integers.
    #[allow(unsafe_code)]
    let set = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_WRONLY | flags) };
    assert_eq!(set, 0);
    let _agent = Running(command.stdout(writer).spawn().unwrap());
    drop(command);
    let mut dropped = 0.0;
    wait_for("dropped lines", || {
        let text = get(port, "/metrics").map_err(|error| error.to_string())?.1;
        dropped = sample(&text, "chaos_log_lines_dropped_total").unwrap_or_default();
        if dropped > 100.0 { Ok(()) } else { Err(format!("{dropped}")) }
    });
    let lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
    let said = lines.map(Result::unwrap).find(|line| line.contains("dropped")).unwrap();
    let count = said.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap();
    assert!(said.contains(" WARNING ") && count >= dropped, "{said}");
}

#[test]
fn an_agent_that_is_killed_while_its_disk_hangs_leaves_nothing_behind() {
    let disk = Disk::new();
    let file = disk.0.join("lines");
    let logging = format!("console: {{enabled: false}}, file: {{enabled: true, path: {}}}", file.display());
    let mut stalled = Stalled::start(5, &logging, "audit_log: false", || disk.freeze());
    kill(stalled.agent.0.id(), libc::SIGKILL);
    // Its thread in the kernel holds all that it had opened until the disk is back.
    stalled.wait_victim('S');
    assert!(stalled.agent.0.try_wait().unwrap().is_none());
    disk.thaw();
    let agent = &mut stalled.agent.0;
    let status = wait_for("end of the agent", || agent.try_wait().unwrap().ok_or_else(String::new));
    assert_eq!(status.code(), None);
    stalled.wait_victim('S');
}

#[test]
fn configs_that_come_and_go_while_a_disk_hangs_leave_few_threads_behind() {
    let (disk, folder, port) = (Disk::new(), Folder::new(), free_port());
    let text = |number: u32| {
        format!(
            "agent: {{interval_seconds: 0.05, audit_file: {disk}/audit{number}, metrics: {{address: 127.0.0.1, port: {port}}}}}
logging: {{level: DEBUG, console: {{enabled: false}}, file: {{enabled: true, path: {disk}/lines{number}}}}}
failures: {{cpu: {{enabled: true, probability: 0, duration_seconds: 1}}}}\n",
            disk = disk.0.display()
        )
    };
    let file = folder.write("config.yaml", text(0));
    let mut command = Command::new(binary());
    command.args(["run", "--config"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
    let mut agent = Running(command.spawn().unwrap());
    let hash = || {
        let status = get(port, "/status").ok()?.1;
        Some(status.split_once("\"hash\":\"")?.1.get(..16)?.to_owned())
    };
    let mut last = wait_for("answer", || hash().ok_or_else(String::new));
    wait_for("line", || fs::metadata(disk.0.join("lines0")).map_err(|error| error.to_string()));
    disk.freeze();
    for number in 1..=40 {
        fs::rename(folder.write("new", text(number)), &file).unwrap();
        last = wait_for("reload", || hash().filter(|hash| *hash != last).ok_or_else(String::new));
    }
    let threads = fs::read_dir(format!("/proc/{}/task", agent.0.id())).unwrap().count();
    disk.thaw();
    assert!(threads < 40, "{threads}");
    kill(agent.0.id(), libc::SIGTERM);
    let agent = &mut agent.0;
    let status = wait_for("end of the agent", || agent.try_wait().unwrap().ok_or_else(String::new));
    assert_eq!(status.code(), Some(0));
}
