//! The audit trail: one JSON object a line for every decision and every outcome, to a file, the log or both.

use crate::text::civil::timestamp;
use crate::text::json::Object;
use crate::text::logging::{Queue, RotatedFile};
use std::path::Path;
use std::time::SystemTime;

/// Size in bytes at which the file is rotated.
const MAX_SIZE: u64 = 10 << 20;
/// How many rotated files are kept.
const BACKUPS: u32 = 5;
/// The target of the lines that go to the log.
const TARGET: &str = "audit";

/// Where the trail goes.
#[derive(Default)]
pub struct Audit {
    file: Option<Queue>,
    log: bool,
}

impl Audit {
    /// A trail to a file, the log, both or nowhere. A file that cannot be opened is told in the log and tried again.
    pub fn new(path: Option<&Path>, log: bool) -> Audit {
        let file = path.map(|path| {
            let file = RotatedFile::new(path.to_owned(), MAX_SIZE, BACKUPS);
            Queue::new(file.into_sink(|why| log::error!("the audit trail: {why}")))
        });
        Audit { file, log }
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
        file.push(json, &|lost| {
            let mut line = Object::new();
            line.text("time", &timestamp(SystemTime::now())).text("event", "lost").whole("lines", lost);
            line.end() + "\n"
        });
    }
}
