//! The disk fault as others on the disk feel it: space gone and back, an application that meets a full disk, bytes
//! that reach the device. On the file system of the build, and on a tmpfs of its own where mounting is allowed.

use crate::common::space::{self, MIB, taken};
use crate::support::*;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const ACTIVE: &str = "chaos_injection_active{failure_type=\"disk\"}";

fn start(entry: &str) -> Agent {
    Agent::start(&format!(
        "agent:\n  interval_seconds: 3600\n  metrics: {{address: 127.0.0.1, port: PORT}}\n\
         failures:\n  fault: {{type: disk, enabled: true, probability: 1, {entry}}}\n"
    ))
}

/// A directory beside what cargo builds, and so on a disk; a tmpfs on it if asked for.
struct Disk {
    path: PathBuf,
    mounted: bool,
    _folder: TempDir,
}

impl Disk {
    fn real() -> Disk {
        let folder =
            tempfile::Builder::new().prefix("disk-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Disk { path: folder.path().to_owned(), mounted: false, _folder: folder }
    }

    /// `None` for who may not mount; the kernel tier does the same for certain.
    fn tmpfs(mib: u64) -> Option<Disk> {
        let mut disk = Disk::real();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}M"), "tmpfs"]).arg(&disk.path);
        disk.mounted = mount.output().is_ok_and(|output| output.status.success());
        if !disk.mounted {
            println!("left out: no tmpfs can be mounted here");
        }
        disk.mounted.then_some(disk)
    }

    /// The keys of an entry that works here.
    fn entry(&self, keys: &str) -> String {
        format!("path: {}, allow_root_filesystem: true, {keys}", self.path.display())
    }

    /// Bytes free, by the file system.
    fn free(&self) -> u64 {
        space::free(&self.path)
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(&self.path).unwrap().next().is_none()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let status = Command::new("umount").arg(&self.path).status();
            assert!(status.unwrap().success(), "something still uses {}", self.path.display());
        }
    }
}

/// Stops the agent in the middle of its fault.
fn ends_well(agent: Agent) {
    agent.signal(libc::SIGTERM);
    let line = agent.wait_log("fault: success");
    assert!(line.contains("ended early by a stop"), "{line}");
    assert_eq!({ agent }.wait_exit().code(), Some(0));
}

#[test]
fn space_is_taken_and_kill_9_gives_it_back() {
    let disk = Disk::real();
    let before = disk.free();
    let mut agent = start(&disk.entry("mb: 1024, duration_seconds: 3600"));
    agent.wait_metric(ACTIVE, |value| value == 1.0);
    let took = taken(agent.pid(), &disk.path);
    assert!((1024 * MIB..1026 * MIB).contains(&took), "{took}");
    assert!(disk.is_empty(), "the file has a name");
    // Others write and delete on this disk meanwhile.
    assert!(disk.free() + 512 * MIB < before, "{} of {before} are free", disk.free());
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    wait_for("the space", || {
        let free = disk.free();
        if free + 512 * MIB > before { Ok(()) } else { Err(format!("{free} of {before}")) }
    });
    assert!(disk.is_empty());
}

#[test]
fn a_stop_during_the_ramp_gives_everything_back() {
    let disk = Disk::real();
    let agent = start(&disk.entry("mb: 1024, ramp_seconds: 3600, duration_seconds: 3600"));
    agent.wait_log("growing by 0.3 MiB a second");
    wait_for("the first bytes", || match taken(agent.pid(), &disk.path) {
        0 => Err("none yet".to_owned()),
        some => Ok(some),
    });
    ends_well(agent);
    assert!(disk.is_empty());
}

#[test]
fn bytes_reach_the_device_at_the_rate() {
    let disk = Disk::real();
    let keys = "action: io, mb: 16, read_mb_per_s: 8, write_mb_per_s: 4, fsync_per_s: 5, duration_seconds: 2";
    let agent = start(&disk.entry(keys));
    agent.wait_log("fault: success");
    let value = |name: &str| agent.metric(name).unwrap();
    let bytes = |kind, of| value(&format!("chaos_disk_bytes_total{{kind=\"{kind}\",of=\"{of}\"}}"));
    assert_eq!((bytes("read", "asked"), bytes("written", "asked")), (16.0 * MIB as f64, 8.0 * MIB as f64));
    assert_eq!(value("chaos_disk_fsyncs_total{of=\"asked\"}"), 10.0);
    let (read, written) = (bytes("read", "delivered"), bytes("written", "delivered"));
    assert!(read > 0.0 && read <= 16.0 * MIB as f64 && written > 0.0 && written <= 8.0 * MIB as f64);
    assert!(value("chaos_disk_fsyncs_total{of=\"delivered\"}") >= 1.0);
    // The kernel's own count of what went to and came from devices.
    let io = fs::read_to_string(format!("/proc/{}/io", agent.pid())).unwrap();
    let counted = |key: &str| -> f64 {
        io.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().parse().unwrap()
    };
    assert!(counted("read_bytes:") >= read, "{read} bytes read: {io}");
    assert!(counted("write_bytes:") >= written + 16.0 * MIB as f64, "{written} bytes written: {io}");
    assert_eq!(taken(agent.pid(), &disk.path), 0);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn an_endless_load_ends_at_once_with_the_agent() {
    let disk = Disk::real();
    let agent = start(
        &disk.entry("action: io, mb: 8, read_mb_per_s: 100000, fsync_per_s: 100000, duration_seconds: 3600"),
    );
    agent.wait_metric(ACTIVE, |value| value == 1.0);
    ends_well(agent);
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let disk = Disk::real();
    let file = disk.path.join("file");
    fs::write(&file, "").unwrap();
    let shown = disk.path.display();
    for (entry, said) in [
        (
            "path: /no/such/volume".to_owned(),
            "cannot open /no/such/volume: No such file or directory; the volume",
        ),
        (format!("path: {}", file.display()), "Not a directory; `path` is a mounted directory"),
        ("path: /".to_owned(), "cannot use the disk of /: it is on the root file system ("),
        (disk.entry("mb: 1000000000"), "cannot fill 976562.5 GiB on"),
        ("path: /proc, mb: 1".to_owned(), "cannot make a file in /proc (proc): "),
    ] {
        let agent = start(&format!("{entry}, duration_seconds: 1"));
        let line = agent.wait_log("fault: failed");
        assert!(line.contains(said), "{line}\nhas no {said:?} ({shown})");
        assert_eq!(
            agent.metric("chaos_injections_total{failure_type=\"disk\",status=\"failed\"}"),
            Some(1.0)
        );
        assert_eq!(agent.stop().0, 0);
    }
}

#[test]
fn an_application_meets_the_full_disk_and_recovers() {
    let Some(disk) = Disk::tmpfs(48) else { return };
    let before = disk.free();
    let agent = start(&disk.entry("percent: 100, headroom_mb: 0, duration_seconds: 3600"));
    agent.wait_metric(ACTIVE, |value| value == 1.0);
    let line = agent.wait_log("injecting");
    assert!(
        line.contains("fills 100 % of 48 MiB free: 48 MiB on ") && line.contains("which is memory)"),
        "{line}"
    );
    let mut file = File::create(disk.path.join("of the application")).unwrap();
    let full = file.write_all(&[1; 1 << 20]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(agent.stop().0, 0);
    file.write_all(&[1; 1 << 20]).unwrap();
    drop(file);
    fs::remove_file(disk.path.join("of the application")).unwrap();
    assert_eq!(disk.free(), before);
}

#[test]
fn others_that_fill_the_disk_get_the_space_back_first() {
    let Some(disk) = Disk::tmpfs(64) else { return };
    let agent = start(&disk.entry("mb: 32, headroom_mb: 16, duration_seconds: 3600"));
    agent.wait_metric(ACTIVE, |value| value == 1.0);
    // 20 MiB are more than the head-room allows, and less than there is.
    fs::write(disk.path.join("grows"), vec![1; 20 << 20]).unwrap();
    let line = agent.wait_log("gave 32 MiB back after");
    // Looked at while the other one still writes.
    assert!(line.contains(" MiB were left, and 16 MiB must stay free"), "{line}");
    agent.wait_log("fault: success");
    assert_eq!(agent.metric("chaos_disk_shortened_total"), Some(1.0));
    assert_eq!(disk.free(), 44 * MIB);
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_read_only_volume_is_named() {
    let Some(disk) = Disk::tmpfs(4) else { return };
    let status = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.path).status().unwrap();
    assert!(status.success());
    let agent = start(&disk.entry("mb: 1, headroom_mb: 0, duration_seconds: 1"));
    let line = agent.wait_log("fault: failed");
    let said = "\".\", W_OK|X_OK, 0)]; it is mounted read-only: look for `readOnly`";
    assert!(line.contains("Read-only file system [faccessat(") && line.contains(said), "{line}");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_watcher_of_the_directory_sees_nothing_created() {
    let disk = Disk::real();
    let name = CString::new(disk.path.as_os_str().as_bytes()).unwrap();
    // SAFETY: takes an integer.
    #[allow(unsafe_code)]
    let watcher = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
    assert!(watcher >= 0);
    let mask = libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVE;
    // SAFETY: `name` outlives the call.
    #[allow(unsafe_code)]
    let watch = unsafe { libc::inotify_add_watch(watcher, name.as_ptr(), mask) };
    assert!(watch >= 0);
    // SAFETY: the kernel returned this descriptor just now and nobody else knows it.
    #[allow(unsafe_code)]
    let mut events: File = unsafe { std::os::fd::FromRawFd::from_raw_fd(watcher) };
    let agent = start(&disk.entry("mb: 4, duration_seconds: 0.1"));
    agent.wait_log("fault: success");
    let quiet = std::io::Read::read(&mut events, &mut [0; 4096]).unwrap_err();
    assert_eq!(quiet.kind(), std::io::ErrorKind::WouldBlock);
    fs::write(disk.path.join("seen"), "").unwrap();
    assert!(std::io::Read::read(&mut events, &mut [0; 4096]).unwrap() > 0, "the watcher sees nothing at all");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_dry_run_says_the_worst_case_and_takes_nothing() {
    let disk = Disk::real();
    let agent = Agent::start(&format!(
        "agent:\n  interval_seconds: 3600\n  dry_run: true\n  metrics: {{address: 127.0.0.1, port: PORT}}\n\
         failures:\n  fault: {{type: disk, enabled: true, probability: 1, duration_seconds: 5, {}}}\n",
        disk.entry("mb: 500")
    ));
    let line = agent.wait_log("fault: dry run: fills 500 MiB of ");
    assert!(
        line.contains(&format!(" free on {} (", disk.path.display())) && line.ends_with(") for 5 s"),
        "{line}"
    );
    assert_eq!(taken(agent.pid(), &disk.path), 0);
    assert_eq!(agent.stop().0, 0);
}
