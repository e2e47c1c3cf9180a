//! Where the agent stands: its config file and its port.

use super::{Finding, State};
use crate::client::{self, Place, Url};
use crate::linux::cgroup::unescape;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long another program on the port may take to say who it is.
const LIMIT: Duration = Duration::from_secs(1);

/// Whether a change of the config would be seen. A file that is mounted by itself (a `subPath`, a bind mount of one
/// file) stays the inode that it was: kubelet never updates it, and an editor that replaces the file is not seen.
pub fn config(path: &Path, proc: &Path) -> Finding {
    let shown = path.display();
    // The folder is resolved, the file is not: in a ConfigMap it is a link that is never a mount itself.
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let real = fs::canonicalize(folder).unwrap_or_default().join(path.file_name().unwrap_or_default());
    if mount_points(proc).contains(&real) {
        let text = format!(
            "{shown} is a mount of its own (a subPath, or a bind mount of one file): an update of the ConfigMap never \
             arrives there; mount the whole folder"
        );
        return Finding::new("config", State::Warning, text);
    }
    let is_link = |path: PathBuf| fs::symlink_metadata(path).is_ok_and(|data| data.is_symlink());
    let text = match is_link(folder.join("..data")) {
        true => format!("{shown} is in a ConfigMap or Secret volume: updates arrive, within a minute or so"),
        false => format!("{shown} is a plain file: changes of it are seen"),
    };
    Finding::new("config", State::Good, text)
}

/// The fifth word of each line of proc_pid_mountinfo(5).
fn mount_points(proc: &Path) -> Vec<PathBuf> {
    let text = fs::read(proc.join("self/mountinfo")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|line| Some(unescape(line.split(' ').nth(4)?).into())).collect()
}

/// Whether the exporter could listen, by listening for a moment.
pub fn port(address: SocketAddr) -> Finding {
    let (state, text) = match TcpListener::bind(address) {
        Ok(_) => (State::Good, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => who(address),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let hint = "ports below 1024 are for root: set agent.metrics.port to a higher one";
            (State::Warning, format!("cannot listen on {address}: {error}; {hint}"))
        }
        Err(error) => {
            let hint = "set agent.metrics.address to 0.0.0.0, :: or an address of this machine";
            (State::Warning, format!("cannot listen on {address}: {error}; {hint}"))
        }
    };
    Finding::new("port", state, text)
}

/// Who has the port.
fn who(address: SocketAddr) -> (State, String) {
    let place = match address.ip() {
        ip if ip.is_unspecified() => Place::local(address.port()),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => Place::at(ip, address.port()),
    };
    match client::get(&Url::new(place, "/healthz"), LIMIT) {
        Ok(answer) if answer.server == "chaos-agent" => (
            State::Good,
            format!("an agent answers on {address} already (chaos-agent status shows what it does)"),
        ),
        other => {
            let server = other.map(|answer| answer.server).unwrap_or_default();
            let server = if server.is_empty() { String::new() } else { format!(" ({server})") };
            let hint = "set agent.metrics.port to a free one";
            (
                State::Warning,
                format!("another program{server} has {address}, so there will be no metrics; {hint}"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_way_a_config_is_mounted_is_told_apart() {
        let folder = std::env::temp_dir().join(format!("doctor place-{}", std::process::id()));
        fs::create_dir_all(folder.join("proc/self")).unwrap();
        for name in ["plain", "volume/..2026"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("plain/c.yaml"), "").unwrap();
        symlink("..2026", folder.join("volume/..data")).unwrap();
        symlink("..data/c.yaml", folder.join("volume/c.yaml")).unwrap();
        fs::write(folder.join("volume/..2026/c.yaml"), "").unwrap();
        let mounted = fs::canonicalize(&folder).unwrap().join("plain/c.yaml");
        let proc = folder.join("proc");
        let look = |file: &str, mounts: &str| {
            fs::write(proc.join("self/mountinfo"), mounts).unwrap();
            let found = config(&folder.join(file), &proc);
            (found.state, found.text)
        };
        let line = |point: &Path| {
            let point = point.display().to_string().replace(' ', "\\040");
            format!("1 0 0:1 / / rw - ext4 x rw\n24 1 0:5 /vol/c.yaml {point} ro,noatime - tmpfs t rw\n")
        };
        let (state, text) = look("plain/c.yaml", &line(&mounted));
        assert!(state == State::Warning && text.contains("subPath"), "{text}");
        let (state, text) = look("plain/c.yaml", &line(mounted.parent().unwrap()));
        assert!(state == State::Good && text.contains("plain file"), "{text}");
        let (state, text) = look("volume/c.yaml", &line(&folder.join("volume")));
        assert!(state == State::Good && text.contains("ConfigMap"), "{text}");
        let (state, _) = look("no/such.yaml", "");
        assert_eq!(state, State::Good);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_port_is_free_or_somebodys() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            use std::io::{Read, Write};
            for name in ["chaos-agent", "nginx"] {
                let mut stream = taken.accept().unwrap().0;
                let _ = stream.read(&mut [0; 1024]);
                write!(stream, "HTTP/1.1 200 OK\r\nServer: {name}\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
            taken
        });
        let found = port(address);
        assert!(found.state == State::Good && found.text.contains("an agent answers"), "{found:?}");
        let found = port(address);
        assert!(found.state == State::Warning && found.text.contains("another program (nginx)"), "{found:?}");
        drop(server.join().unwrap());
        let found = port("192.0.2.1:9".parse().unwrap());
        assert!(found.state == State::Warning && found.text.contains("agent.metrics.address"), "{found:?}");
        assert_eq!(port("127.0.0.1:0".parse().unwrap()).state, State::Good);
    }
}
