//! Where the config comes from.

use super::check::check;
use super::model::Config;
use crate::error::{Error, Result};
use crate::failures::{KINDS, Kind};
use crate::linux::plain;
use crate::settings::{self, Report};
use std::path::{Path, PathBuf};

/// Where a config is looked for when nobody says where it is.
pub const PLACES: [&str; 3] = ["./config.yaml", "/app/config.yaml", "/etc/chaos-agent/config.yaml"];
/// The default config; its comments are for who opens the file, and would be most of it in the binary.
const COMMENTED: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/config.yaml"));
static EMBEDDED: [u8; plain(&mut [])] = {
    let mut bytes = [0; plain(&mut [])];
    plain(&mut bytes);
    bytes
};

/// Copies [`COMMENTED`] without its lines of comment, as far as there is room, and says how many bytes that would take.
const fn plain(into: &mut [u8]) -> usize {
    let (mut at, mut end) = (0, 0);
    while at < COMMENTED.len() {
        let mut first = at;
        while first < COMMENTED.len() && COMMENTED[first] == b' ' {
            first += 1;
        }
        let comment = first < COMMENTED.len() && COMMENTED[first] == b'#';
        loop {
            let byte = COMMENTED[at];
            if !comment {
                if end < into.len() {
                    into[end] = byte;
                }
                end += 1;
            }
            at += 1;
            if byte == b'\n' || at == COMMENTED.len() {
                break;
            }
        }
    }
    end
}

/// A config that can be used.
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What the reader should know, `FILE:LINE:COLUMN: key.path: sentence`.
    pub warnings: Vec<String>,
    /// The config as YAML with all defaults filled in; it loads again to the same.
    pub effective: String,
    /// Where it was found; `None` for the embedded one.
    pub path: Option<PathBuf>,
}

/// Where the config is: `path`, or else `$CHAOS_CONFIG`, or else the first of `./config.yaml`, `/app/config.yaml` and
/// `/etc/chaos-agent/config.yaml` that exists.
pub fn place(path: Option<&Path>) -> Option<PathBuf> {
    let named = || std::env::var_os("CHAOS_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
    // What is there but cannot be read is a problem to tell, not a reason to look further.
    let there = |path: &PathBuf| path.symlink_metadata().is_ok();
    path.map(PathBuf::from).or_else(named).or_else(|| PLACES.map(PathBuf::from).into_iter().find(there))
}

/// Loads the config from its [`place`].
///
/// # Errors
/// [`Error::Config`] with every problem, a line each; or with the places where no config was.
pub fn load(path: Option<&Path>) -> Result<Loaded> {
    let found = place(path).ok_or_else(|| {
        Error::Config(format!(
            "there is no config: --config FILE and $CHAOS_CONFIG are not given, and there is no {}; \
             --demo runs the built-in config, a dry run",
            PLACES.join(", no ")
        ))
    })?;
    let content = read(&found);
    understand(&found, content)
}

/// What [`read`] gave as a config.
///
/// # Errors
/// [`Error::Config`] with every problem, a line each, that of the reading among them.
pub fn understand(path: &Path, content: Result<Vec<u8>>) -> Result<Loaded> {
    let bytes = content.map_err(|error| Error::Config(error.to_string()))?;
    let mut loaded = parse(&path.display().to_string(), &bytes, KINDS)?;
    loaded.path = Some(path.to_owned());
    Ok(loaded)
}

/// A config without entries, to rest on.
///
/// # Errors
/// None, or the build is wrong; tests see to that.
pub fn empty() -> Result<Config> {
    Ok(parse("", b"failures: {}", KINDS)?.config)
}

/// The config that is compiled in: `config/config.yaml`, a dry run.
///
/// # Errors
/// None, or the build is wrong; tests see to that.
pub fn embedded() -> Result<Loaded> {
    parse("built-in config", &EMBEDDED, KINDS)
}

/// The bytes of a config, at most one more than it may have.
///
/// # Errors
/// As [`plain::read`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    plain::read(path, settings::MAX_BYTES + 1)
}

/// Reads a config from memory; `file` is its name in what is said about it.
///
/// # Errors
/// [`Error::Config`] with every problem, a line each.
pub fn parse(file: &str, bytes: &[u8], kinds: &'static [Kind]) -> Result<Loaded> {
    let mut report = Report::default();
    let tree = settings::decode(bytes, &mut report).and_then(|text| settings::parse(&text, &mut report));
    let checked = tree.map(|tree| check(&tree, kinds, &mut report));
    match checked {
        Some((Some(mut config), effective)) if report.is_clean() => {
            config.hash = fnv1a(bytes);
            let (warnings, effective) = (report.warnings(file), effective.to_yaml());
            Ok(Loaded { config, warnings, effective, path: None })
        }
        _ => Err(Error::Config(report.problems(file).join("\n"))),
    }
}

/// The FNV-1a hash (RFC 9923).
fn fnv1a(bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325;
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_config_is_the_file_without_its_comments() {
        let file = std::fs::read_to_string("config/config.yaml").unwrap();
        let lines: Vec<_> = file.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        assert_eq!(std::str::from_utf8(&EMBEDDED).unwrap(), lines.join("\n") + "\n");
        assert_eq!(embedded().unwrap().effective, parse("f", file.as_bytes(), KINDS).unwrap().effective);
    }

    #[test]
    fn the_hash_is_fnv1a() {
        // Test vectors of RFC 9923.
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(fnv1a(text.as_bytes()), hash, "{text}");
        }
    }
}
