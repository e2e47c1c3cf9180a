//! The keys of a config but for those of the failures and the probes, and the tables of all of them.

use crate::failures::KINDS;
use crate::settings::{Keys, keys};
use crate::steady;

/// The top of a config, down to its entries.
pub const TOP: Keys = keys! {
    "agent" Map "" or "": "";
    "agent.interval_seconds" Seconds "0.001 to 86400" = "10": "time between two rolls of the dice";
    "agent.dry_run" Bool "" = "false": "check, describe and count as `skipped`; touch nothing";
    "agent.seed" Whole "0 to 2^64-1" or "random, logged": "the same seed makes the same decisions";
    "agent.max_concurrent" Whole "1 to 1000" or "no limit":
        "how many injections may be active at once; more are `skipped`";
    "agent.max_injections_per_hour" Whole "1 to 1000000" or "no limit":
        "how many may start within any 3600 s; more are `skipped`";
    "agent.stop_after" Scalar "seconds, `\"90m\"`, `\"2h\"`, `\"100 injections\"`" or "never":
        "then the dice rest for good; metrics stay";
    "agent.schedule" Text "cron expression" or "always": "the dice are rolled only in minutes that match";
    "agent.timezone" Text "`\"+02:00\"`, `Z`" = "Z": "fixed offset of schedules from UTC, also for entries";
    "agent.halt" Bool "" = "false": "nothing is injected, and what is active is reverted at once";
    "agent.halt_file" Text "absolute path" or "none": "the same while this file is there";
    "agent.rest_when_gone" Strings "a name or a list of names" or "none":
        "no fault starts while no process has one of these in its name or command line";
    "agent.steady_state" List "list of probes (below)" or "none": "faults only while the application is well";
    "agent.audit_file" Text "path" or "none": "a JSON line for each decision and outcome";
    "agent.audit_log" Bool "" = "false": "the same lines to the log";
    "agent.metrics" Map "" or "": "";
    "agent.metrics.enabled" Bool "" = "true": "serve the exporter";
    "agent.metrics.address" Text "an IP address" = "0.0.0.0": "`::` serves IPv4 as well";
    "agent.metrics.port" Whole "1 to 65535" = "8000": "TCP port of the exporter";
    "failures" Map "any names" or "required": "an entry a name; several may have the same type";
};

/// What every entry has.
pub const ENTRY: Keys = keys! {
    "type" Text "cpu, memory, process, network, disk" or "NAME": "which fault";
    "enabled" Bool "" = "false": "whether it is rolled at all";
    "probability" Number "0 to 1" or "required, or `schedule`": "chance at each roll; 1 is always";
    "schedule" Text "as for the agent" or "none":
        "rolled only in these minutes; without a probability, once in each";
    "timezone" Text "as for the agent" or "the agent's": "of its schedule";
    "duration_seconds" Seconds "0.001 to 86400" or "required but for process": "how long it holds";
};

/// The rest of the top.
pub const LOGGING: Keys = keys! {
    "logging" Map "" or "": "";
    "logging.level" Choice "DEBUG, INFO, WARNING, ERROR, CRITICAL" = "INFO": "also `LOG_LEVEL`; `RUST_LOG` wins";
    "logging.format" Choice "text, json" = "text": "of the console; also `JSON_LOGS=true`";
    "logging.command_lines" Bool "" = "false":
        "log and audit trail show the command lines of victims, redacted as well as can be; the port never does";
    "logging.console" Map "" or "": "";
    "logging.console.enabled" Bool "" = "true": "log to standard output";
    "logging.file" Map "" or "": "";
    "logging.file.enabled" Bool "" = "false": "log to a file as JSON lines; also by `LOG_FILE=PATH`";
    "logging.file.path" Text "path" = "./logs/agent.log": "rotated ones are `PATH.1`, the newest, and so on";
    "logging.file.max_size_mb" Number "0 to 1000000" = "10": "MiB at which it is rotated; 0 is never";
    "logging.file.backup_count" Whole "0 to 1000" = "5": "how many rotated ones are kept";
};

/// The tables of keys that the README has, in Markdown, each between the lines that mark its place there: that of
/// `section`, or of all.
pub fn reference(section: Option<&str>) -> String {
    let mut out = String::new();
    let mut table = |name: &str, parts: &[(&str, Keys)]| {
        if section.is_some_and(|section| section != name) {
            return;
        }
        for text in [
            "<!-- keys: ",
            name,
            " -->\n| key | allowed | default | what it does |\n| --- | --- | --- | --- |\n",
        ] {
            out.push_str(text);
        }
        for (before, keys) in parts {
            keys.markdown(before, &mut out);
        }
        out.push_str("<!-- end -->\n");
    };
    table("agent", &[("", TOP), ("failures.NAME.", ENTRY), ("", LOGGING)]);
    for kind in KINDS {
        table(kind.name, &[("", kind.keys)]);
    }
    table("steady_state", &[("", steady::KEYS)]);
    out
}
