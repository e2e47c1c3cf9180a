//! The conventional `process_*` metrics, of this process, cheap enough for every scrape: two files of
//! `/proc/self` stay open and are read in place; the rest are single system calls.

use super::store::{Family, push_seconds, push_value, single};
use crate::linux::sys::usage;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Those whose value changes, by name.
const FAMILIES: [Family; 5] = [
    Family::counter("process_cpu_seconds_total", "User and system CPU time spent, in seconds.", &[]),
    Family::gauge("process_max_fds", "File descriptors that may be open.", &[]),
    Family::gauge("process_open_fds", "File descriptors that are open.", &[]),
    Family::gauge("process_resident_memory_bytes", "Memory that is in RAM, in bytes.", &[]),
    Family::gauge("process_virtual_memory_bytes", "Address space that is mapped, in bytes.", &[]),
];
const START: Family =
    Family::gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", &[]);

/// What is known once, and the files that are read at every scrape. Where `/proc` is missing or belongs to
/// another PID namespace the metrics that come from it are left out.
#[derive(Debug)]
pub struct Process {
    statm: Option<File>,
    fd: Option<File>,
    page: u64,
    /// The lines of [`FAMILIES`] up to their values.
    texts: [String; 5],
    /// The start time does not change, so its text is whole.
    start: Vec<u8>,
}

impl Process {
    /// Opens the files and takes the time: to be called at the start.
    pub fn new() -> Process {
        let mut start = Vec::new();
        if let Some(time) = start_time() {
            push_value(&mut start, &single(&START), time);
        }
        Process {
            statm: File::open("/proc/self/statm").ok(),
            fd: File::open("/proc/self/fd").ok(),
            page: usage::page_size(),
            texts: FAMILIES.each_ref().map(single),
            start,
        }
    }

    /// Appends the text of the metrics, by name.
    pub fn render(&self, out: &mut Vec<u8>) {
        let [cpu, max_fds, open, resident, mapped] = &self.texts;
        if let Ok(time) = usage::cpu_time() {
            push_seconds(out, cpu, time);
        }
        if let Ok(limit) = usage::open_file_limit() {
            push_value(out, max_fds, limit.map_or(f64::INFINITY, |fds| fds as f64));
        }
        if let Some(fds) = self.fd.as_ref().and_then(open_fds) {
            push_value(out, open, fds);
        }
        let memory = self.statm.as_ref().and_then(memory_pages);
        if let Some((_, pages)) = memory {
            push_value(out, resident, (pages * self.page) as f64);
        }
        out.extend_from_slice(&self.start);
        if let Some((pages, _)) = memory {
            push_value(out, mapped, (pages * self.page) as f64);
        }
    }
}

/// Mapped and resident pages: the first two numbers of proc_pid_statm(5).
fn memory_pages(statm: &File) -> Option<(u64, u64)> {
    let mut buffer = [0; 128];
    let length = statm.read_at(&mut buffer, 0).ok()?;
    let mut numbers = std::str::from_utf8(buffer.get(..length)?).ok()?.split_ascii_whitespace();
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Linux 6.2 and newer say in `st_size` how many entries /proc/self/fd has (proc_pid_fd(5)); older kernels
/// say 0 and have to list them, where the directory opened for that is not counted.
fn open_fds(fd: &File) -> Option<f64> {
    match fd.metadata().ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64),
        open => Some(open as f64),
    }
}

/// Now in seconds since 1970, at the start of the program. Hundredths are what others have who ask the kernel, whose
/// count of ticks (field 22 of proc_pid_stat(5)) would cost opening, printing and reading that file.
fn start_time() -> Option<f64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some((now.as_secs_f64() * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    #[test]
    fn the_figures_are_those_of_this_process() {
        let process = Process::new();
        let mut out = Vec::new();
        process.render(&mut out);
        let text = String::from_utf8(out).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value(&text, "process_start_time_seconds");
        assert!((-1.0..3600.0).contains(&age), "started {age} s ago");
        assert!(value(&text, "process_cpu_seconds_total") > 0.0);
        let resident = value(&text, "process_resident_memory_bytes");
        assert!(resident >= 4096.0 && resident < value(&text, "process_virtual_memory_bytes"));
        let open = value(&text, "process_open_fds");
        assert!(open >= 5.0 && open <= value(&text, "process_max_fds"), "{open} open");
    }
}
