//! The end of every process's log, for a test that failed.

use std::path::Path;

/// Lines of each.
const LINES: usize = 12;

/// The last lines of all logs in a directory, each under its name.
#[must_use]
pub fn ends_of_logs(dir: &Path) -> String {
    let mut logs: Vec<_> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    logs.sort();
    let mut text = String::new();
    for log in logs {
        let all = std::fs::read(&log).unwrap_or_default();
        let all = String::from_utf8_lossy(&all);
        // The engine tells of every sanity check.
        let told = |line: &&str| !line.contains("milli_core");
        let lines: Vec<&str> = all.lines().filter(told).collect();
        text.push_str(&format!("== {}\n", log.display()));
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
