//! Sizes in bytes, as a number or for people.

use serde_json::Value;

/// How sizes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SizeFormat {
    /// As a number of bytes.
    #[default]
    Raw,
    /// With a unit, like `1.50 MiB`.
    Human,
}

impl SizeFormat {
    /// A size in bytes as JSON.
    #[must_use]
    pub fn view(self, bytes: u64) -> Value {
        match self {
            Self::Raw => Value::from(bytes),
            Self::Human => Value::from(human(bytes)),
        }
    }
}

/// With the largest binary unit that keeps it at 1 or more, and two decimals where there is a
/// fraction.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut power = 0;
    while power + 1 < UNITS.len() && bytes >> (10 * (power + 1)) > 0 {
        power += 1;
    }
    let unit = 1_u64 << (10 * power);
    if bytes.is_multiple_of(unit) {
        return format!("{} {}", bytes / unit, UNITS[power]);
    }
    format!("{:.2} {}", bytes as f64 / unit as f64, UNITS[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let table = [
            (0, "0 B"),
            (196, "196 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (12_288, "12 KiB"),
            (10_000, "9.77 KiB"),
            (3 << 19, "1.50 MiB"),
            (u64::MAX, "16.00 EiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(SizeFormat::Human.view(bytes), Value::from(text));
            assert_eq!(SizeFormat::Raw.view(bytes), Value::from(bytes));
        }
    }
}
