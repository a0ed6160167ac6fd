//! Tables without lines, so that `awk` and `grep` can read them too.

use comfy_table::{Table, presets};

/// Stands for what is not known or does not apply.
pub const NONE: &str = "-";

/// A table with a line of column names; `nothing` stands for an empty one.
pub fn list(header: &[&str], rows: Vec<Vec<String>>, nothing: &str) -> String {
    if rows.is_empty() {
        return nothing.to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.iter().copied());
    table.add_rows(rows);
    finish(table)
}

/// Names and values, one pair a line.
pub fn pairs<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in rows {
        table.add_row([name, &value]);
    }
    finish(table)
}

fn finish(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A value that may be absent.
pub fn opt<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

/// A text that may be empty.
pub fn text(value: &str) -> String {
    let line = crate::format::one_line(value);
    if line.is_empty() {
        NONE.to_owned()
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_needed_and_lines_end_where_the_text_does() {
        let rows = vec![
            vec![
                "1".to_owned(),
                "http://127.0.0.1:7701".to_owned(),
                "up".to_owned(),
            ],
            vec!["12".to_owned(), text(" \n"), opt(Some(3))],
        ];
        let expected = "\
ID  URL                    HEALTH
1   http://127.0.0.1:7701  up
12  -                      3";
        assert_eq!(list(&["ID", "URL", "HEALTH"], rows, "no nodes"), expected);
        assert_eq!(list(&["ID"], Vec::new(), "no nodes"), "no nodes");
        assert_eq!(
            pairs([("leader", "1".to_owned()), ("id", opt(None::<u64>))]),
            "leader  1\nid      -"
        );
    }
}
