//! Numbers, durations, times and foreign text as people read them.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]Z");

/// A count with its thousands apart: `63,666`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration in its two largest units: `850ms`, `12.3s`, `2m 05s`, `3h 20m`.
#[must_use]
pub fn duration(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}.{}s", ms % 1_000 / 100),
        60..3_600 => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{}h {:02}m", s / 3_600, s % 3_600 / 60),
    }
}

/// A time, given in milliseconds since 1970, in UTC.
#[must_use]
pub fn time(ms: u64) -> String {
    let parsed = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    parsed
        .ok()
        .and_then(|at| at.format(TIME).ok())
        .unwrap_or_else(|| format!("{ms} ms"))
}

/// Bytes in the unit that keeps them short: `512 B`, `1.5 MiB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1_024 {
        return format!("{n} B");
    }
    // Rounding decides the unit too: 1,048,575 bytes are 1.0 MiB, not 1024.0 KiB.
    let mut tenths = u128::from(n) * 10 / 1_024;
    let mut unit = 0;
    while tenths >= 10_235 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Foreign text on one line and without control characters: a node's error message must not move
/// the cursor or colour the terminal.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out.trim().to_owned()
}

/// A name of the protocol (`PHASE_CATCHING_UP`) as the documentation spells it (`CatchingUp`).
#[must_use]
pub fn proto_name(name: &str, prefix: &str) -> String {
    let words = name.strip_prefix(prefix).unwrap_or(name).split('_');
    words
        .map(|word| {
            let lower = word.to_ascii_lowercase();
            let mut chars = lower.chars();
            chars.next().map_or_else(String::new, |first| {
                format!("{}{}", first.to_ascii_uppercase(), chars.as_str())
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_apart() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (63_666, "63,666"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        let table = [
            (0, "0ms"),
            (850, "850ms"),
            (1_000, "1.0s"),
            (12_349, "12.3s"),
            (59_999, "59.9s"),
            (60_000, "1m 00s"),
            (125_000, "2m 05s"),
            (12_000_000, "3h 20m"),
        ];
        for (ms, text) in table {
            assert_eq!(duration(ms), text, "{ms}");
        }
    }

    #[test]
    fn bytes_are_short() {
        let table = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (1_572_864, "1.5 MiB"),
            (5 << 40, "5.0 TiB"),
        ];
        for (n, text) in table {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(0), "1970-01-01 00:00:00.000Z");
        assert_eq!(time(1_700_000_000_123), "2023-11-14 22:13:20.123Z");
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(one_line(" a\r\n\tb\u{1b}[31m c\n"), "a b\\u{1b}[31m c");
        assert_eq!(one_line("héllo"), "héllo");
    }

    #[test]
    fn names_are_those_of_the_documentation() {
        assert_eq!(proto_name("PHASE_CATCHING_UP", "PHASE_"), "CatchingUp");
        assert_eq!(
            proto_name("REPLICA_STATE_IN_SYNC", "REPLICA_STATE_"),
            "InSync"
        );
    }
}
