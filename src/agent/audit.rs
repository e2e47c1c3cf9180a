//! The audit trail: one JSON object a line for every decision and every outcome, to a file, the log or both.

use crate::error::Error;
use crate::text::logging::RotatedFile;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Size in bytes at which the file is rotated.
const MAX_SIZE: u64 = 10 << 20;
/// How many rotated files are kept.
const BACKUPS: u32 = 5;
/// The target of the lines that go to the log.
const TARGET: &str = "audit";

/// Where the trail goes.
#[derive(Default)]
pub struct Audit {
    file: Option<Mutex<RotatedFile>>,
    log: bool,
}

impl Audit {
    /// A trail to a file, the log, both or nowhere. The second value says why the file cannot be opened now; it
    /// is tried again with later lines.
    pub fn new(path: Option<&Path>, log: bool) -> (Audit, Option<Error>) {
        let mut trouble = None;
        let file = path.map(|path| {
            let mut file = RotatedFile::new(path.to_owned(), MAX_SIZE, BACKUPS);
            trouble = file.open().err();
            Mutex::new(file)
        });
        (Audit { file, log }, trouble)
    }

    /// Whether anybody listens; what nobody hears need not be written.
    pub fn is_on(&self) -> bool {
        self.log || self.file.is_some()
    }

    /// Adds a line: one JSON object without a line end.
    pub fn line(&self, mut json: String) {
        if self.log {
            log::info!(target: TARGET, "{json}");
        }
        let Some(file) = &self.file else { return };
        json.push('\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = file.write(&json) {
            log::warn!("the audit trail: {why}");
        }
    }
}
